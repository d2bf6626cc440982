"""Check one submission: run its cells in a sandbox, ask its answers, say what is right.

``check_submission`` is a function of plain data: it can run in a thread, in another process or on
another machine. It starts a *checker*, a process of its own with a hard limit of time, because the
checks seed random numbers and switch modes; the checker runs the instructor's checks with their
hidden tests, and lets the sandboxed process of the answers (answering.py) do nothing but answer.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import warnings
from dataclasses import asdict
from typing import Any

import nbformat
from nbformat import NotebookNode

from classroom.types import CellOutcome, Limits, Outcome, Task, outcome_from_json

HIDDEN_BEGIN, HIDDEN_END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
SOLUTION_BEGIN = "### BEGIN SOLUTION"
STUB = "no answer yet"

# Annotations of an answer that takes and returns nothing but values. Everything else (functions,
# networks, optimisers, caches) is checked beside the answer.
VALUES = {
    *("torch", "Tensor", "Generator", "float", "int", "bool", "str", "None", "tuple", "list"),
    *("dict", "set", "np", "ndarray"),
}
OF_TORCH = {"Tensor", "Generator"}
# A check that watches which functions of torch an answer calls must be where the answer is.
WATCHES = ("mock.patch", "TorchFunctionMode")


def code_of(cell: NotebookNode) -> str:
    return cell.source if cell.cell_type == "code" else ""


def role(cell: NotebookNode) -> str:
    """ "check", "answer", "locked" or "own": what a cell of a notebook of exercises is."""
    about = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code":
        return "text"
    if about.get("grade") and not about.get("solution"):
        return "check"
    if about.get("solution"):
        return "answer"
    return "locked" if about.get("locked") else "own"


def defined(source: str) -> list[str]:
    """The functions and classes that the code defines at its top level."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(source).body if isinstance(node, kinds)]


def takes_values(solution: str) -> bool:
    """Whether every function of a solution takes and returns values only, by its annotations."""
    functions = [
        n for n in ast.parse(solution).body if isinstance(n, ast.FunctionDef | ast.ClassDef)
    ]
    for function in functions:
        if isinstance(function, ast.ClassDef) or function.returns is None:
            return False
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        if any(each.annotation is None for each in arguments):
            return False
        for annotation in [*(each.annotation for each in arguments), function.returns]:
            for node in ast.walk(annotation):  # type: ignore[arg-type]
                if isinstance(node, ast.Name) and node.id not in VALUES:
                    return False
                if isinstance(node, ast.Attribute) and node.attr not in OF_TORCH | {"ndarray"}:
                    return False
    return bool(functions)


def parts_of_check(source: str) -> tuple[str, str]:
    """(what the student sees, the hidden tests) of a check, each with its lines at their place."""
    visible, hidden, inside = [], [], False
    for line in source.splitlines():
        mark = line.strip()
        if mark in (HIDDEN_BEGIN, HIDDEN_END):
            inside = mark == HIDDEN_BEGIN
            line = ""
        visible.append("" if inside else line)
        hidden.append(line if inside else "")
    return "\n".join(visible), "\n".join(hidden)


def imports_of(source: str) -> str:
    """The imports at the top level of a visible check: later cells of a student may use them."""
    kinds = (ast.Import, ast.ImportFrom)
    return "\n".join(ast.unparse(n) for n in ast.parse(source).body if isinstance(n, kinds))


# --- The checker's process -----------------------------------------------------------------------


class TimeIsUp(BaseException):
    """The check itself has run for too long."""


class Checker:
    """One submission from its first cell to its last check.

    Args:
        task: the submission.
        image, engine: of the container, where the sandbox is one.
        report: called with the name and the outcome of each cell and check as soon as it is known,
            so that nothing is lost if this process has to be stopped.
    """

    def __init__(self, task: Task, report: Any, image: str = "", engine: str = "") -> None:
        from classroom.wall import Answers

        self.task, self.report, self.limits = task, report, task.limits
        self.started = time.monotonic()
        self.start_answers = lambda: Answers(task.sandbox, task.limits, image, engine)
        self.answers: Any = None  # across the wall
        self.clean: Any = None  # forks a child for each check beside an answer
        self.source = nbformat.reads(task.source, as_version=4)
        self.cells = nbformat.reads(task.submitted, as_version=4).cells
        self.done: list[tuple[str, str]] = []  # (name, source) of the cells that have run
        self.notes: list[str] = []
        self.peak = 0.0
        found = {
            c.metadata.nbgrader.grade_id: c for c in self.source.cells if "nbgrader" in c.metadata
        }
        self.ours = found
        self.setup = "\n".join(c.source for c in self.source.cells if role(c) == "locked")

    def left(self) -> float:
        """Seconds that the submission has left."""
        return self.started + self.limits.total_seconds - time.monotonic()

    def run(self) -> None:
        """Go through the notebook in its order."""
        self.connect()
        number = 0
        for cell in self.cells:
            kind = role(cell)
            if kind == "text":
                continue
            number += 1
            began = time.monotonic()
            if kind == "check":
                name = cell.metadata.nbgrader.grade_id
                outcome = self.check(name)
                target = ("checks", name)
                self.run_cell(
                    f"cell {number}", imports_of(parts_of_check(self.ours[name].source)[0])
                )
            else:
                outcome = self.run_cell(f"cell {number}", cell.source)
                target = ("cells", cell.id)
            outcome.seconds = round(time.monotonic() - began, 3)
            self.report(*target, outcome)
        self.close()

    def connect(self) -> None:
        """Start the process of the answers, and bring it to where the last one was."""
        again = self.answers is not None
        self.close_one("answers")
        self.answers = self.start_answers()
        if not again:
            return
        for name, source in self.done:
            try:
                self.limit(self.answers)
                self.answers.run(name, source)
            except self.stopped():
                self.answers = self.start_answers()  # give up on the cells: one of them is unsteady
                self.done = []
                return

    @staticmethod
    def stopped() -> type[BaseException]:
        from classroom.wall import Stopped

        return Stopped

    def limit(self, answers: Any) -> None:
        seconds = self.limits.cell_seconds
        if self.left() < seconds:
            seconds = max(0.0, self.left())
            answers.reason = f"the {self.limits.total_seconds:g} seconds of the whole submission"
        else:
            answers.reason = f"{seconds:g} seconds, the limit of a cell"
        answers.deadline = time.monotonic() + seconds

    def run_cell(self, name: str, source: str) -> CellOutcome:
        """Run a cell of the student's; if that ends the process, go on without the cell."""
        if not source.strip():
            return CellOutcome("ran")
        if self.left() <= 0:
            return CellOutcome("stopped", self.out_of_time())
        self.limit(self.answers)
        try:
            error, printed = self.answers.run(name, source)
        except self.stopped() as stopped:
            self.notes.append(f"{name} was stopped: {stopped}. The others were run without it")
            self.connect()
            return CellOutcome("stopped", f"This cell was stopped: {stopped}.")
        self.done.append((name, source))
        if error is None:
            return CellOutcome("ran", "", printed)
        return CellOutcome("error", said(error), printed)

    def out_of_time(self) -> str:
        return (
            f"Not run: the cells before this one have used up the "
            f"{self.limits.total_seconds:g} seconds of the whole submission."
        )

    def check(self, name: str) -> CellOutcome:
        """Check an answer; what the student reads comes from here."""
        if self.left() <= 0:
            return CellOutcome("stopped", self.out_of_time())
        source = self.ours[name].source
        part = name.removeprefix("check_")
        solution = self.ours[part].source if part in self.ours else ""
        visible, hidden = parts_of_check(source)
        if solution and (not takes_values(solution) or any(word in visible for word in WATCHES)):
            return self.check_beside(visible, hidden, defined(solution))
        return self.check_across(visible, hidden, defined(solution) if solution else [])

    def check_across(self, visible: str, hidden: str, functions: list[str]) -> CellOutcome:
        """The check runs here, and calls the answer across the wall."""
        from classroom.wall import RemoteFunction

        answers = self.answers
        self.limit(answers)
        answers.printed, answers.errors = [], []
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(self.setup, "<setup>", "exec"), namespace)
        namespace |= {name: RemoteFunction(answers, name) for name in functions}
        answers.changed = False
        own, stage, printed = io.StringIO(), "visible", ""
        seconds = min(self.limits.cell_seconds + 1, max(0.1, self.left() + 1))
        try:
            with contextlib.redirect_stdout(own), alarm(seconds):
                exec(compile(visible, "<check>", "exec"), namespace)
                printed = "".join(answers.printed)
                stage = "hidden"
                exec(compile(hidden, "<check>", "exec"), namespace)
        except self.stopped() as stopped:
            self.notes.append(f"the check of {', '.join(functions)} was stopped: {stopped}")
            self.connect()
            return CellOutcome("stopped", f"Your answer was stopped: {stopped}.")
        except TimeIsUp:
            self.connect()
            message = f"The check had not ended after {seconds:.0f} seconds."
            return CellOutcome("stopped", message)
        except Exception as error:
            printed = printed if stage == "hidden" else "".join(answers.printed)
            theirs = answers.errors[-1] if getattr(error, "from_answer", False) else None
            return self.failed(stage, theirs, error, printed)
        finally:
            reset()
        if answers.changed:
            # Then what the check has computed from the same argument afterwards proves nothing.
            message = "Your function changes what it is given, in place: work on a copy."
            return CellOutcome("wrong (hidden test)", message, printed)
        return CellOutcome("passed", "", own.getvalue() + printed)

    def failed(
        self, stage: str, theirs: dict | None, error: Exception | None, printed: str
    ) -> CellOutcome:
        """What a check that did not pass tells the student; of a hidden test only its message."""
        printed = printed[: self.limits.output_characters]
        if theirs is not None and theirs["type"] != "AssertionError":
            if theirs["type"] == "NotImplementedError" and STUB in theirs["message"]:
                return CellOutcome("blank", "No answer was given.", printed)
            if stage == "visible":
                return CellOutcome("error", said(theirs), printed)
            # The message may hold what the hidden test has passed to the answer.
            short = said(theirs | {"message": ""})
            return CellOutcome("wrong (hidden test)", f"In a hidden test: {short}", printed)
        if isinstance(error, AssertionError) or theirs is not None:
            text = str(error) if error is not None else str((theirs or {}).get("message"))
            if stage == "visible":
                return CellOutcome("wrong", text, printed)
            text = text or "read the text of the exercise again: which case have you not tried?"
            return CellOutcome("wrong (hidden test)", f"A hidden test says: {text}", printed)
        text = f"{type(error).__name__}: {error}" if stage == "visible" else type(error).__name__
        where = "The check" if stage == "visible" else "A hidden test"
        message = f"{where} could not work with what you return ({text})."
        return CellOutcome(
            "wrong" if stage == "visible" else "wrong (hidden test)", message, printed
        )

    def check_beside(self, visible: str, hidden: str, functions: list[str]) -> CellOutcome:
        """The check runs in the sandbox, in a process of its own with cells that were screened."""
        from classroom.screen import screen

        modules: dict[str, Any] = {}
        cells, refused = [], []
        for name, source in self.done:
            reason, modules = screen(source, modules)
            if reason:
                refused.append(f"{name} ({reason})")
            else:
                cells.append((name, source))
        if self.clean is None:
            self.clean = self.start_answers()
        self.limit(self.clean)
        order = {
            "order": "beside",
            "cells": cells,
            "setup": self.setup,
            "functions": functions,
            "visible": visible,
            "seconds": max(0.1, min(self.limits.cell_seconds, self.left())),
        }
        self.clean.deadline += 2  # its own child is stopped first
        try:
            reply, _ = self.clean.ask(order)
            if isinstance(reply, dict) and reply.get("verdict") == "visible tests passed":
                reply, _ = self.clean.ask({"hidden": hidden})
            if not isinstance(reply, dict) or "ended" not in reply:
                self.clean.listen()  # until the child has ended
        except self.stopped() as stopped:
            self.close_one("clean")
            return CellOutcome("stopped", f"Your answer was stopped: {stopped}.")
        outcome = self.verdict(reply)
        if refused and outcome.verdict != "passed":
            outcome.message += (
                " This exercise gets functions or networks, so its check runs in the same process "
                "as your cells, and cells that use what no exercise needs are left out there: "
                + "; ".join(refused)
                + ". If you need it for an honest reason, ask for a look by a person."
            )
        return outcome

    def verdict(self, reply: Any) -> CellOutcome:
        from classroom.wall import error_of, text_of

        kind = reply.get("verdict") if isinstance(reply, dict) else None
        printed = text_of(reply, "printed", self.limits.output_characters)
        if kind == "passed":
            return CellOutcome("passed", "", printed)
        if kind == "tampered":
            message = "After your cells have run, this check accepts any answer: something that it "
            return CellOutcome("error", message + "relies on was replaced. No points.", printed)
        if kind in ("visible", "hidden"):
            theirs = error_of(reply)
            assert theirs is not None
            raised = (
                AssertionError(theirs["message"]) if theirs["type"] == "AssertionError" else None
            )
            if raised is None and not theirs["lines"] and STUB not in theirs["message"]:
                raised = RuntimeError(f"{theirs['type']}: {theirs['message']}")  # type: ignore
                return self.failed(kind, None, raised, printed)
            return self.failed(kind, None if raised else theirs, raised, printed)
        late = isinstance(reply, dict) and reply.get("late") is True
        why = (
            f"it had not ended after {self.limits.cell_seconds:g} seconds"
            if late
            else ("its process ended")
        )
        return CellOutcome("stopped", f"Your answer was stopped: {why}.", printed)

    def close_one(self, name: str) -> None:
        answers = getattr(self, name)
        if answers is not None:
            self.peak = max(self.peak, answers.sandboxed.peak_megabytes)
            answers.close()
        setattr(self, name, None)

    def close(self) -> None:
        self.close_one("answers")
        self.close_one("clean")


def said(error: dict[str, Any]) -> str:
    """An error of the student's code, with the lines of their own that led to it."""
    text = f"{error['type']}: {error['message']}" if error["message"] else error["type"]
    lines = [f"{name}, line {number}: {line}" for name, number, line in error["lines"][-3:]]
    return text + (" (" + "; ".join(lines) + ")" if lines else "")


def harmless(text: str) -> str:
    """A text without the control characters with which a terminal can be steered."""
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))


@contextlib.contextmanager
def alarm(seconds: float) -> Any:
    """Raise TimeIsUp in the code under ``with`` after so many seconds."""

    def ring(_number: int, _frame: Any) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def reset() -> None:
    """Undo what a check or an answer may have left switched."""
    import torch

    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


def main() -> None:
    """The checker's process: a task on the standard input, its outcomes on the standard output."""
    warnings.simplefilter("ignore")
    data = json.load(sys.stdin)
    data["task"]["limits"] = Limits(**data["task"]["limits"])
    task = Task(**data["task"])
    channel, sys.stdout = sys.stdout, sys.stderr  # nothing else may print there

    def report(group: str, name: str, outcome: CellOutcome) -> None:
        # Somebody will read this in a terminal or a spreadsheet.
        outcome.message, outcome.printed = harmless(outcome.message), harmless(outcome.printed)
        print(json.dumps([group, name, asdict(outcome)]), file=channel, flush=True)

    checker = Checker(task, report, data["image"], data["engine"])
    import torch

    torch.set_num_threads(1)
    checker.run()
    print(json.dumps(["end", checker.notes, checker.peak]), file=channel, flush=True)


# --- The caller's side ---------------------------------------------------------------------------


def check_submission(task: Task, image: str = "", engine: str = "") -> Outcome:
    """Check one submission.

    Args:
        task: what to check, where and within which limits.
        image, engine: of the container, if ``task.sandbox`` is "container".

    Returns:
        What became of each cell and each check. A submission can do what it likes: it gets an
        outcome, with a reason for each check that did not pass.

    Raises:
        RuntimeError: if the checking itself fails; that is no fault of the submission, and must
            not become a zero.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "classroom.checking"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The checker keeps its own limits. This one is for a check that a value sends into a long
    # computation inside a library, where no alarm is heard.
    hard = threading.Timer(task.limits.total_seconds + 60, process.kill)
    hard.start()
    text = json.dumps({"task": asdict(task), "image": image, "engine": engine})
    try:
        printed, errors = process.communicate(text)
    finally:
        hard.cancel()
    found: dict[str, Any] = {"checks": {}, "cells": {}}
    end = None
    for line in printed.splitlines():
        group, name, content = json.loads(line)
        if group == "end":
            end = (name, content)
        else:
            found[group][name] = content
    if end is None and process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the check of {task.student} failed:\n{errors[-3000:]}")
    notes, peak = end or (["the checking was stopped: it used up the time of the submission"], 0.0)
    cells = nbformat.reads(task.source, as_version=4).cells
    message = "The check had not ended when the time of the whole submission was over."
    for cell in cells:
        if role(cell) == "check":
            missing = asdict(CellOutcome("stopped", message))
            found["checks"].setdefault(cell.metadata.nbgrader.grade_id, missing)
    return outcome_from_json(
        {
            "student": task.student,
            "chapter": task.chapter,
            **found,
            "notes": notes,
            "seconds": round(time.monotonic() - began, 2),
            "peak_megabytes": round(peak, 1),
        }
    )


if __name__ == "__main__":
    main()
