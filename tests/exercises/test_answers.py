"""The checks accept what is right, reject what is plausible and wrong, and say why.

These tests run the cells themselves, so each answer is tried alone in a fraction of a second;
test_grading.py sends whole notebooks through nbgrader.
"""

from __future__ import annotations

import ast
import contextlib
import io
import warnings

import pytest

HIDDEN = "### BEGIN HIDDEN TESTS"
STUB = "no answer yet: write it here, then run this cell and the check"


def run(exercises, part, code, *, visible_only=False):
    """Run one solution cell and its check; returns (the error or None, what was printed)."""
    check = exercises.source(f"check_{part}")
    if visible_only:
        check = check.split(HIDDEN)[0]
    printed, namespace = io.StringIO(), {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        exec(exercises.source("setup"), namespace)
        exec(code, namespace)
        try:
            exec(check, namespace)
        except Exception as error:
            return error, printed.getvalue()
    return None, printed.getvalue()


def stub(exercises, part):
    """The solution cell with the solution taken out."""
    head, rest = exercises.source(part).split("### BEGIN SOLUTION")
    assert rest.count("### END SOLUTION") == 1
    return f"{head}raise NotImplementedError({STUB!r})"


def test_every_part_has_a_check_and_answers(exercises):
    assert exercises.parts, "there are no exercises"
    for part in exercises.parts:
        assert HIDDEN in exercises.source(f"check_{part}")
    assert list(exercises.answers.WRONG) == exercises.parts
    assert list(exercises.answers.RIGHT) == exercises.parts
    for part, listed in exercises.answers.WRONG.items():
        assert len({code for _, code in listed}) == len(listed) >= 3, (
            f"{part}: too few wrong answers"
        )
        assert len({fault for fault, _ in listed}) == len(listed)


def test_an_answer_gets_what_it_deserves(exercises, kind, part, code):
    error, _ = run(exercises, part, code)
    if kind == "right":
        assert error is None, f"a right answer is rejected: {error!r}"
    else:
        assert error is not None, "a wrong answer passes"
        assert isinstance(error, AssertionError), f"rejected by accident: {error!r}"


def test_the_solution_passes_and_says_so(exercises, part):
    error, printed = run(exercises, part, exercises.source(part))
    assert error is None
    assert printed.startswith("Exercise ") and "OK" in printed


def test_the_stub_fails_with_advice(exercises, part):
    error, printed = run(exercises, part, stub(exercises, part), visible_only=True)
    assert isinstance(error, NotImplementedError)
    assert str(error) == STUB
    assert "OK" not in printed


def test_the_visible_check_explains_and_reveals_nothing(exercises, part):
    solution = exercises.source(part).split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
    lines = [line.strip().removeprefix("return ") for line in solution.splitlines()]
    rejected = 0
    for fault, code in exercises.answers.WRONG[part]:
        error, printed = run(exercises, part, code, visible_only=True)
        if error is None:
            continue
        rejected += 1
        message = str(error)
        assert isinstance(error, AssertionError), f"{fault}: {error!r}"
        assert len(message.split()) >= 8, f"{fault}: {message!r} does not help"
        assert not any(line and line in message for line in lines), f"{fault}: reveals the answer"
        assert "OK" not in printed
    assert rejected >= 1, "the visible check rejects none of the wrong answers"


def test_the_visible_check_has_a_hint_for_the_fault(exercises, part, fault, words):
    code = dict(exercises.answers.WRONG[part])[fault]
    error, _ = run(exercises, part, code, visible_only=True)
    assert isinstance(error, AssertionError) and words in str(error)


def test_every_hidden_assertion_says_what_to_look_at(exercises, part):
    """Feedback shows the message of a hidden test and never its source."""
    check = exercises.source(f"check_{part}")
    hidden = check[: check.index(HIDDEN)].count("\n") + 1
    for node in ast.walk(ast.parse(check)):
        if isinstance(node, ast.Assert) and node.lineno > hidden:
            words = [
                word
                for text in ast.walk(node.msg or ast.Pass())
                if isinstance(text, ast.Constant) and isinstance(text.value, str)
                for word in text.value.split()
            ]
            assert len(words) >= 3, f"no message for a reader: {ast.unparse(node)}"


@pytest.mark.parametrize("name", ["got", "expected", "real", "fake", "stream", "x", "dx", "loss"])
def test_checks_do_not_lean_on_the_readers_names(exercises, name):
    """A name that another cell of the reader has taken must not change a check's verdict."""
    for part in exercises.parts:
        assert run(exercises, part, f"{name} = None\n{exercises.source(part)}")[0] is None
