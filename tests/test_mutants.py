"""Mutants: what is changed, one change at a time, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import mutants
import pytest
from mutants import Part, measure, parts_of, texts_of_exercises
from mutation_report import Report, Survivor, Tally, read_explanations
from mutations import mutations, spread

CHAPTER = "04_gan_minimax"


def lines_of(code: str) -> list[str]:
    """What the one line of a function can become."""
    source = f"def f(x, y):\n    {code}\n"
    found = mutations(source, 2, 2)
    assert all(each.line.replace("'", '"') == code for each in found)
    assert len({each.source for each in found}) == len(found)
    return sorted(each.becomes for each in found)


def part(solution: str, check: str) -> Part:
    body = f"def f(x, y):\n    ### BEGIN SOLUTION\n    {solution}\n    ### END SOLUTION"
    return Part("00_trial", "f", "import torch", body, dedent(check))


# --- The changes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("return x + y", {"return -(x + y)", "return x - y", "return x", "return y"}),
        (
            "return x - y",
            {"return -(x - y)", "return x + y", "return x", "return -y", "return y - x"},
        ),
        (
            "return x / y",
            {"return -(x / y)", "return x * y", "return x", "return 1 / y", "return y / x"},
        ),
        ("return x @ y", {"return -(x @ y)", "return x * y", "return y @ x"}),
        (
            "return x ** 2",
            {
                *("return -x ** 2", "return x * 2", "return x", "return 2 ** x"),
                *("return x ** 3", "return x ** 1"),
            },
        ),
        ("return -x", {"return x"}),
        ("return x < y", {"return x <= y", "return x >= y"}),
        ("return x == y", {"return x != y"}),
        ("return x and y", {"return x or y", "return x", "return y"}),
        ("return not x", {"return x"}),
        ("return x[1:y]", {"return x[2:y]", "return x[0:y]", "return x[:y]", "return x[1:]",
                           "return x[1:y + 1]", "return x[1:y - 1]", "return -x[1:y]"}),
        ("x += y", {"x -= y", "x = y", "pass"}),
        ("return (x, y)", {"return (y, x)", "return (-x, y)", "return (x, -y)"}),
    ],
)  # fmt: skip
def test_an_expression_becomes(code, expected):
    assert set(lines_of(code)) == expected


@pytest.mark.parametrize(
    ("code", "some"),
    [
        ("return x.sum(dim=1)", {"return x.mean(dim=1)", "return x.sum(dim=0)", "return x.sum()",
                                 "return x.sum(dim=2)", "return x"}),
        ("return x.sum(-1, keepdim=True)", {"return x.sum(-1, keepdim=False)",
                                            "return x.sum(1, keepdim=True)",
                                            "return x.sum(-2, keepdim=True)"}),
        ("return torch.softmax(x, dim=0)", {"return torch.softmax(-x, dim=0)",
                                            "return torch.softmax(x, dim=1)",
                                            "return torch.softmax(x)", "return x"}),
        ("return x.exp()", {"return (-x).exp()", "return x.expm1()", "return x"}),
        ("return x.detach()", {"return x"}),
        ("return 0.5 * x", {"return 1.0 * x"}),
        ("return f(x, y)", {"return f(y, x)", "return x"}),
        ('return f(x, reduction="none")', {"return f(x, reduction='mean')", "return f(x)"}),
        ("for _ in range(x): y += 1", {"for _ in range(x + 1):", "for _ in range(x - 1):",
                                            "for _ in [*range(x)][:1]:"}),
        ("x = y if x > 0 else -y", {"x = y", "x = -y", "x = y if x >= 0 else -y"}),
    ],
)  # fmt: skip
def test_an_expression_can_become(code, some):
    source = f"def f(x, y):\n    {code}\n"
    assert some <= {each.becomes for each in mutations(source, 2, 2)}


def test_only_the_solution_is_changed():
    source = "def f(x=1):\n    y = x + 1\n    y = y + 2\n    return y + 3\n"
    found = mutations(source, 3, 3)
    assert {each.line for each in found} == {"y = y + 2"}
    assert "pass" in {each.becomes for each in found}
    for each in found:
        assert each.source.startswith("def f(x=1):\n    y = x + 1\n")
        assert each.source.endswith("    return y + 3")


@pytest.mark.parametrize(
    "code",
    [
        '"""A docstring."""',
        "x: int",
        "torch.Generator().manual_seed(0)[0]",
        "f(device=x.device, strict=True)",
    ],
)
def test_what_cannot_be_wrong_is_left_alone(code):
    found = mutations(f"def f(x, y):\n    {code}\n", 2, 2)
    assert {each.becomes for each in found} <= {"pass", "torch.Generator().manual_seed(0)[1]",
                                                "torch.Generator().manual_seed(0)[-1]"}  # fmt: skip


def test_what_does_not_compile_is_no_mutant():
    found = mutations(
        "def f(x):\n    for i in x:\n        break\n    return (i for i in x)\n", 1, 4
    )
    for each in found:
        compile(each.source, "mutant", "exec")


def test_a_choice_has_every_kind_and_is_always_the_same():
    source = "def f(x, y):\n" + "    x = x + y - 1\n" * 20 + "    return x[1:]\n"
    found = mutations(source, 1, 22)
    chosen = spread(found, 40)
    assert len(chosen) == 40 and chosen == spread(found, 40)
    assert chosen == [each for each in found if each in chosen], "the order has changed"
    assert {each.kind for each in chosen} == {each.kind for each in found}
    changed = {
        number
        for each in chosen
        for number, line in enumerate(each.source.splitlines())
        if each.kind == "operator" and line not in source
    }
    assert min(changed) < 7 and max(changed) > 14, "all of a kind are at the same place"
    assert spread(found, 10_000) == found


# --- What becomes of them ------------------------------------------------------------------------


def test_what_the_check_says_decides():
    tried = part("return x - y", "assert f(5, 3) == 2, 'wrong'")
    report = measure([tried], {}, most=None, jobs=2)
    assert report.total == Tally(parts=1, mutants=5, failed=5) and report.status == 0

    weak = part("return x - y", "assert abs(f(5, 3)) == 2, 'wrong'")
    report = measure([weak], {}, most=None, jobs=2)
    assert {each.becomes for each in report.survivors} == {"return y - x", "return -(x - y)"}
    assert report.total.failed == 3 and report.status == 1 and len(report.unexplained) == 2


def test_equivalent_mutants_do_not_count_and_stale_explanations_are_named():
    tried = part("return (x - y) ** 2", "assert f(5, 3) == 4, 'wrong'")
    survivor = ("00_trial/f", "return (x - y) ** 2", "return (y - x) ** 2")
    old = ("00_trial/f", "return (x - y) ** 2", "return (x + y) ** 2")
    gone = ("00_trial/f", "return x", "return y")
    elsewhere = ("01_other/f", "return x", "return y")
    words = ("equivalent", "A square has no sign.")
    report = measure(
        [tried], dict.fromkeys((survivor, old, gone, elsewhere), words), most=None, jobs=1
    )
    known = [each for each in report.survivors if each.kind]
    assert [(each.part, each.line, each.becomes) for each in known] == [survivor]
    assert set(report.stale) == {old, gone}
    assert report.total.equivalent == 1


@pytest.mark.parametrize(
    ("solution", "verdict"),
    [
        ("while x < y: x += 1", "stopped"),  # with -= it goes on for ever
        ("return len(bytes(10**10 * (x > y)))", "error"),  # with <= there is not so much memory
        ("return [x, y][1]", "error"),
    ],
)
def test_a_mutant_can_do_no_harm(monkeypatch, solution, verdict):
    monkeypatch.setattr(mutants, "LEAST_SECONDS", 0.3)
    report = measure([part(solution, "f(1, 3)")], {}, most=None, jobs=2)
    assert getattr(report.total, verdict) >= 1


def test_a_check_that_rejects_its_own_solution_is_reported():
    with pytest.raises(ValueError, match="the check of 00_trial/f must accept its solution"):
        measure([part("return x", "assert f(1, 2) == 2, 'wrong'")], {}, most=None, jobs=1)


def test_the_status_depends_on_the_share_and_on_the_explanations():
    def status(mutants_made, survivors):
        tally = Tally(1, mutants_made, mutants_made - len(survivors), 0, 0)
        tally.equivalent = sum(kind == "equivalent" for kind in survivors)
        listed = [Survivor("c/p", "sign", "x", "-x", kind, None) for kind in survivors]
        return Report({"c/p": tally}, listed, [], True).status

    assert status(100, []) == 0
    assert status(100, ["accepted"] * 5) == 0 and status(100, ["accepted"] * 6) == 1
    assert status(100, ["equivalent"] * 30) == 0
    assert status(100, [None]) == 1
    assert status(0, []) == 0


def test_explanations_must_be_complete(tmp_path):
    path = tmp_path / "survivors.toml"
    entry = '[[survivor]]\npart = "c/p"\nline = "x"\nbecomes = "-x"\nkind = "{}"\nreason = "{}"\n'
    path.write_text(entry.format("equivalent", "Even."))
    assert read_explanations(path) == {("c/p", "x", "-x"): ("equivalent", "Even.")}
    for text, message in [
        (entry.format("fine", "Even."), "kind must be"),
        (entry.format("accepted", " "), "with a reason"),
        ('[[survivor]]\npart = "c/p"\n', "needs part, line, becomes"),
        (2 * entry.format("equivalent", "Even."), "got two"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_explanations(path)


# --- The course ----------------------------------------------------------------------------------


def test_a_real_exercise_rejects_all_its_mutants():
    parts = parts_of(texts_of_exercises()[CHAPTER])
    (chosen,) = [each for each in parts if each.name == "value_from_logits"]
    report = measure([chosen], {}, most=None, jobs=1)
    assert report.total.mutants >= 12 and report.survivors == []


def test_every_explanation_is_about_a_mutant_that_exists():
    made = {
        (each.path, mutation.line, mutation.becomes)
        for text in texts_of_exercises().values()
        for each in parts_of(text)
        for mutation in each.mutants()
    }
    missing = set(read_explanations(mutants.EXPLAINED)) - made
    assert not missing, "run make mutants: the solutions have changed"


def test_the_command_writes_a_record_of_the_whole_course_only(monkeypatch, tmp_path, capsys):
    tried = part("return x + y", "assert f(5, 3) == 8, 'wrong'")
    monkeypatch.setattr(mutants, "texts_of_exercises", lambda: {CHAPTER: Path("no.md")})
    monkeypatch.setattr(mutants, "parts_of", lambda text: [tried])
    monkeypatch.setattr(mutants, "TARGET", tmp_path / "mutants.json")
    assert mutants.main(["--chapter", CHAPTER, "--jobs", "1"]) == 0
    assert not mutants.TARGET.exists()
    assert mutants.main(["--jobs", "1"]) == 0
    record = json.loads(mutants.TARGET.read_text())
    assert record["share"] == 1 and record["parts"]["00_trial/f"]["failed"] == 4
    assert "100.00%" in capsys.readouterr().out


def test_the_command_refuses_what_it_does_not_know(capsys):
    assert mutants.main(["--chapter", "no_such"]) == 2
    assert "chapter must be one of" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        mutants.main(["--help"])
    assert ended.value.code == 0 and "survivors.toml" in capsys.readouterr().out
