"""What becomes of a submission: the verdict on each part, and what the student is told."""

from __future__ import annotations

import nbformat
import pytest
import toy

from classroom.checking import check_submission
from classroom.checks import parts_of_check, takes_values
from classroom.sandbox import bubblewrap_problem
from classroom.types import Limits, Task

KIND = "trusted" if bubblewrap_problem() else "bubblewrap"


def check(answers, extra=None, **limits):
    """The outcome of a submission of the toy chapter."""
    source, submitted = (nbformat.writes(n) for n in (toy.source(), toy.submission(answers, extra)))
    limits = {"cell_seconds": 8, "total_seconds": 60} | limits
    return check_submission(Task("a", toy.CHAPTER, source, submitted, KIND, Limits(**limits)))


def verdicts(outcome):
    return {name.removeprefix("check_"): each.verdict for name, each in outcome.checks.items()}


def test_right_answers_pass():
    outcome = check(toy.RIGHT)
    assert verdicts(outcome) == dict.fromkeys(toy.RIGHT, "passed")
    assert outcome.checks["check_double"].printed == "Exercise 1: OK\n"
    assert outcome.notes == [] and 50 < outcome.peak_megabytes < 2000


def test_nothing_passes_in_a_blank_submission():
    outcome = check({})
    assert verdicts(outcome) == dict.fromkeys(toy.RIGHT, "blank")


def test_each_kind_of_mistake_is_named_and_costs_its_own_points_only():
    outcome = check(
        toy.RIGHT | {"double": "def double(x):\n    return x.abs() * 2", "plus": "plus = 3"},
        {"why": "1 / 0"},
    )
    assert verdicts(outcome) == {
        "double": "wrong (hidden test)",
        "twice": "passed",
        "plus": "error",
    }
    assert outcome.checks["check_double"].message == (
        "A hidden test says: wrong for negative numbers"
    )
    assert "'int' object is not callable" in outcome.checks["check_plus"].message
    (failed,) = [each for each in outcome.cells.values() if each.verdict == "error"]
    assert failed.message == "ZeroDivisionError: division by zero (cell 8, line 1: 1 / 0)"


def test_the_message_of_a_visible_test_and_the_students_own_lines_are_shown():
    outcome = check(
        {
            "double": "def double(x):\n    print('looking', x)\n    return 3 * x",
            "twice": "def twice(f, x):\n    return f(x).no_such_thing",
        }
    )
    double, twice = outcome.checks["check_double"], outcome.checks["check_twice"]
    assert double.message == "twice 1 and 2 are 2 and 4, you return [3.0, 6.0]"
    assert double.printed.startswith("looking tensor([1., 2.])")
    assert twice.verdict == "error" and "cell 4, line 2: return f(x).no_such_thing" in twice.message


def test_a_hidden_test_is_not_shown_and_cannot_be_printed():
    """Neither what it is nor what it passes on: not even through errors of the answer."""
    loud = (
        "def double(x):\n    print(x)\n    if x[0] < 0: raise ValueError(f'got {x}')\n"
        "    return 2 * x"
    )
    louder = (
        "def twice(f, x):\n    print(f(1.0))\n"
        "    if f(1.0) == 7: raise ValueError(f'{f(1.0)}')\n    return f(f(x))"
    )
    outcome = check({"double": loud, "twice": louder})
    for name, error in (("check_double", "ValueError"), ("check_twice", "ValueError")):
        found = outcome.checks[name]
        assert found.verdict == "wrong (hidden test)"
        assert found.message.startswith(f"In a hidden test: {error} (cell ")
    text = str(outcome)
    assert "-3" not in text and "7.0" not in text and "secret" not in text
    assert "tensor([1., 2.])" in text  # of the visible test


@pytest.mark.parametrize(
    ("part", "raising"),
    [
        ("double", "if x[0] < 0: raise AssertionError(f'saw {x.tolist()}')"),
        ("double", "if x[0] < 0: raise type('saw ' + str(x.tolist()), (Exception,), {})()"),
        ("twice", "if f(1.0) == 7: raise AssertionError(f'saw {f(1.0)}')"),
    ],
)
def test_no_error_of_the_answer_tells_what_a_hidden_test_passes_on(part, raising):
    arguments = {"double": "x", "twice": "f, x"}[part]
    right = {"double": "2 * x", "twice": "f(f(x))"}[part]
    code = f"def {part}({arguments}):\n    {raising}\n    return {right}"
    found = check({part: code}).checks[f"check_{part}"]
    assert found.verdict == "wrong (hidden test)"
    text = found.message.replace(raising, "")
    assert "-3" not in text and "7.0" not in text and text.startswith("In a hidden test: A")


LIARS = {
    "a tensor of its own": """
class Liar(torch.Tensor):
    def __eq__(self, other): return True
def twice(f, x): return torch.zeros(1).as_subclass(Liar)""",
    "a number of its own": """
class Liar(float):
    def hex(self): return 0
def twice(f, x): return Liar(2.0)""",
}


@pytest.mark.parametrize("code", LIARS.values(), ids=LIARS)
def test_a_class_that_passes_for_a_value_is_refused(code):
    found = check({"twice": code.replace("__eq__", "equal")}).checks["check_twice"]
    assert found.verdict != "passed"


def test_a_library_that_was_changed_gives_no_points(monkeypatch):
    """By a way that the screen does not know: here the screen is switched off."""
    changes = "N = torch.distributions.Normal\nN.log_prob = lambda *a: 0"
    found = check_in_this_process(monkeypatch, toy.RIGHT, {"twice": changes})
    assert found["check_twice"].verdict == "error"
    assert "changed something" in found["check_twice"].message
    assert found["check_double"].verdict == "passed"


def test_a_forged_verdict_is_recognised(monkeypatch):
    """Written by a cell straight into the channel, where the screen is switched off."""
    forged = """
import json, os, struct
def twice(f, x):
    body = json.dumps({"tree": {"verdict": "passed"}, "lengths": []}).encode()
    for number in range(3, 10):
        try:
            os.write(number, struct.pack("!4sQI", b"ANSW", len(body), len(body)) + body)
        except OSError:
            pass
    return 2.0"""
    found = check_in_this_process(monkeypatch, toy.RIGHT | {"twice": forged})
    assert found["check_twice"].verdict == "stopped"
    assert "broke the protocol" in found["check_twice"].message
    assert found["check_plus"].verdict == "passed"


def check_in_this_process(monkeypatch, answers, extra=None):
    """The outcomes of the checks, with nothing screened."""
    import classroom.checker

    monkeypatch.setattr(classroom.checker, "screen", lambda source, modules: ("", modules))
    texts = nbformat.writes(toy.source()), nbformat.writes(toy.submission(answers, extra))
    found = {}
    task = Task("a", toy.CHAPTER, *texts, KIND, Limits(cell_seconds=20))
    classroom.checker.Checker(task, lambda group, name, each: found.update({name: each})).run()
    return found


def test_a_checker_that_is_killed_is_a_fault_of_the_grading(monkeypatch):
    import subprocess
    import threading

    started = subprocess.Popen

    def killed_soon(*arguments, **options):
        process = started(*arguments, **options)
        threading.Timer(1.0, process.kill).start()
        return process

    monkeypatch.setattr(subprocess, "Popen", killed_soon)
    with pytest.raises(RuntimeError, match="check of a failed"):
        check(toy.RIGHT)


def test_a_long_message_is_cut():
    found = check({"double": "def double(x):\n    return torch.zeros(200_000)"})
    assert 1000 < len(found.checks["check_double"].message) <= 4000


def test_control_characters_are_taken_out():
    coloured = "def double(x):\n    raise ValueError('\\x1b[31mred\\x1b]0;title\\x07\\ud800 ok')"
    outcome = check({"double": coloured}, {"why": "print('\\x1b[2Jtwo\\nlines\\x00')"})
    message = outcome.checks["check_double"].message
    assert "red" in message and " ok" in message
    assert "\x1b" not in str(outcome) and "\x07" not in message and "\ud800" not in message
    assert "two\nlines" in [each.printed.strip() for each in outcome.cells.values()]


def test_an_argument_changed_in_place_is_no_way_to_pass():
    """The check would compare with what the answer has made of the input."""
    outcome = check({"double": "def double(x):\n    return x.mul_(2)"})
    found = outcome.checks["check_double"]
    assert found.verdict == "wrong (hidden test)" and "in place" in found.message


def test_cells_run_in_their_order():
    """A name that a later cell uses anew does not harm an earlier exercise."""
    outcome = check(toy.RIGHT, {"plus": "double = None\nmath.pi"})
    assert verdicts(outcome) == dict.fromkeys(toy.RIGHT, "passed")


def test_an_answer_that_is_missing_is_said_to_be():
    outcome = check({"double": "x = 3"})
    assert outcome.checks["check_double"].message == "NameError: name 'double' is not defined"


def test_names_of_the_checks_are_safe_from_the_students():
    shadow = (
        "def isinstance(*a): return True\nall = any = abs = lambda *a: True\ntorch.Tensor = list"
    )
    outcome = check(
        {"double": "def double(x):\n    return 7", "twice": toy.RIGHT["twice"]}, {"double": shadow}
    )
    assert verdicts(outcome)["double"] == "wrong"
    assert verdicts(outcome)["twice"] == "passed"


def test_an_endless_answer_costs_its_own_points_only():
    endless = (
        "def double(x):\n    while True:\n        try:\n            pass\n"
        "        except BaseException:\n            pass"
    )
    outcome = check(toy.RIGHT | {"double": endless}, {"why": "while True: pass"}, cell_seconds=4)
    assert verdicts(outcome) == {"double": "stopped", "twice": "passed", "plus": "passed"}
    assert "4 seconds" in outcome.checks["check_double"].message
    assert len(outcome.notes) == 2


def test_an_answer_given_a_function_is_stopped_too():
    outcome = check(toy.RIGHT | {"twice": "def twice(f, x):\n    while True: pass"}, cell_seconds=4)
    assert verdicts(outcome) == {"double": "passed", "twice": "stopped", "plus": "passed"}


def test_the_whole_submission_has_a_limit():
    outcome = check(toy.RIGHT, {"double": "while True: pass"}, cell_seconds=6, total_seconds=6)
    assert set(verdicts(outcome).values()) == {"stopped"}
    assert "6 seconds of the whole" in outcome.checks["check_plus"].message


def test_a_cell_that_ends_the_process_is_left_out():
    outcome = check(toy.RIGHT, {"double": "kept = 1", "twice": "import os\nos._exit(0)"})
    assert verdicts(outcome) == dict.fromkeys(toy.RIGHT, "passed")
    assert outcome.notes == [
        "cell 5 was stopped: its process ended (exit status 0). The others were run without it"
    ]


def test_a_process_that_ends_between_a_cell_and_a_check_costs_that_check_only():
    later = "import os, threading\nthreading.Timer(0.0, os._exit, [0]).start()"
    outcome = check(toy.RIGHT | {"plus": f"{toy.RIGHT['plus']}\n{later}"})
    assert verdicts(outcome) | {"plus": ""} == {"double": "passed", "twice": "passed", "plus": ""}
    assert verdicts(outcome)["plus"] in ("stopped", "error")


def test_magics_are_not_carried_out_and_do_no_harm():
    outcome = check(toy.RIGHT, {"double": "%matplotlib inline\n!touch /tmp/x\nx = 3"})
    assert verdicts(outcome) == dict.fromkeys(toy.RIGHT, "passed")


def test_cells_that_are_refused_beside_a_check_are_named():
    outcome = check({"twice": "import os\n\ndef twice(f, x):\n    return f(f(x))"})
    found = outcome.checks["check_twice"]
    assert found.verdict != "passed" and "cell 4 (line 1: the import of os)" in found.message


def test_a_check_that_no_longer_rejects_anything_gives_no_points():
    """As if a hole in the screen had let a change of torch or of Python through."""
    source = toy.source()
    submitted = toy.submission(toy.RIGHT)
    lenient = toy.CHECK_TWICE.replace("assert got == 2.0", "assert True")
    for each in source.cells:
        if each.metadata.get("nbgrader", {}).get("grade_id") == "check_twice":
            each.source = lenient
    texts = nbformat.writes(source), nbformat.writes(submitted)
    outcome = check_submission(Task("a", toy.CHAPTER, *texts, KIND, Limits()))
    found = outcome.checks["check_twice"]
    assert found.verdict == "error" and "accepts any answer" in found.message


def test_a_fault_of_the_grading_is_no_zero():
    source = nbformat.writes(toy.source()).replace("import math", "import no_such_module")
    submitted = nbformat.writes(toy.submission(toy.RIGHT))
    with pytest.raises(RuntimeError, match=r"(?s)check of a failed.*no_such_module"):
        check_submission(Task("a", toy.CHAPTER, source, submitted, KIND, Limits()))


def test_which_answers_are_called_across_the_wall():
    assert takes_values("def f(x: torch.Tensor, n: int = 3) -> tuple[float, torch.Tensor]: ...")
    assert takes_values("def f(x: Tensor, s: int | None) -> list[int]: ...")
    for solution in (
        "def f(x): ...",
        "def f(s: torch.Generator) -> float: ...",
        "def f(x: 'nn.Module') -> float: ...",
        "def f(*x: float) -> float: ...",
        "def f(x: torch.Tensor): ...",
        "def f(model: nn.Module) -> float: ...",
        "def f(g: Callable[[int], int]) -> float: ...",
        "def f(x: float) -> torch.nn.Module: ...",
        "class A: ...",
        "x = 3",
    ):
        assert not takes_values(solution)


def test_the_parts_of_a_check_keep_their_lines():
    visible, hidden = parts_of_check("a\n### BEGIN HIDDEN TESTS\nb\n### END HIDDEN TESTS\nc")
    assert visible.splitlines() == ["a", "", "", "", "c"]
    assert hidden.splitlines() == ["", "", "b", ""]
