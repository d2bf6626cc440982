"""The checker's process: one submission from its first cell to its last check.

It runs the instructor's checks with their hidden tests, and lets the sandboxed process of the
answers (answering.py) do nothing but answer. ``python -m classroom.checker`` takes a task on its
standard input and writes each outcome to its standard output as soon as it is known.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import re
import resource
import secrets
import signal
import sys
import time
import unicodedata
import warnings
from dataclasses import asdict
from typing import Any

import nbformat

from classroom.answering import STUB
from classroom.checks import WATCHES, defined, imports_of, parts_of_check, role, takes_values
from classroom.screen import screen
from classroom.types import CellOutcome, Limits, Task
from classroom.wall import Answers, RemoteFunction, Stopped, error_of, text_of

MESSAGE = 4000  # characters of a message to the student


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
            except Stopped:
                self.done = [cell for cell in self.done if cell != (name, source)]
                self.connect()
                return

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
        except Stopped as stopped:
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
                answers.forget()
                exec(compile(visible, "<check>", "exec"), namespace)
                printed = "".join(answers.printed)
                stage = "hidden"
                exec(compile(hidden, "<check>", "exec"), namespace)
        except Stopped as stopped:
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
        if theirs is not None:
            if theirs["type"] == "NotImplementedError" and STUB in theirs["message"]:
                return CellOutcome("blank", "No answer was given.", printed)
            if stage == "visible":
                return CellOutcome("error", said(theirs), printed)
            # Message and class may hold what the hidden test has passed to the answer.
            kind = theirs["type"] if hasattr(builtins, theirs["type"]) else "An error"
            lines = [[name, number, self.line(name, number)] for name, number, _ in theirs["lines"]]
            short = said({"type": kind, "message": "", "lines": lines})
            return CellOutcome("wrong (hidden test)", f"In a hidden test: {short}", printed)
        if isinstance(error, AssertionError):
            text = str(error)
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
            "token": secrets.token_hex(16),
            "seconds": max(0.1, min(self.limits.cell_seconds, self.left())),
        }
        self.clean.deadline += 2  # its own child is stopped first
        try:
            reply, _ = self.clean.ask(order)
            if isinstance(reply, dict) and reply.get("verdict") == "visible tests passed":
                reply, _ = self.clean.ask({"hidden": hidden})
                if isinstance(reply, dict) and "ended" in reply:
                    self.close_one("clean")  # it has not read the hidden tests: they are in the way
            if not isinstance(reply, dict) or "ended" not in reply:
                # The child has said what it had to say, and then ended. A verdict without the token
                # was written by somebody who had found the way to this channel.
                last, _ = self.clean.listen()
                is_forged = not isinstance(reply, dict) or reply.get("token") != order["token"]
                if is_forged or last != {"ended": 0, "late": False}:
                    raise self.clean.stop("its process broke the protocol")
        except Stopped as stopped:
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
        kind = reply.get("verdict") if isinstance(reply, dict) else None
        printed = text_of(reply, "printed", self.limits.output_characters)
        if kind == "passed":
            return CellOutcome("passed", "", printed)
        if kind == "tampered":
            message = "After your cells have run, this check accepts any answer: something that it "
            return CellOutcome("error", message + "relies on was replaced. No points.", printed)
        if kind == "changed":
            message = "Your cells have changed something that this check relies on. No points."
            return CellOutcome("error", message, printed)
        if kind in ("visible", "hidden"):
            theirs = error_of(reply) or {
                "type": "",
                "message": "",
                "lines": [],
                "is_of_check": True,
            }
            if theirs["type"] == "AssertionError" and theirs["is_of_check"]:
                return self.failed(kind, None, AssertionError(theirs["message"]), printed)
            if not theirs["lines"] and STUB not in theirs["message"]:
                problem = RuntimeError(f"{theirs['type']}: {theirs['message']}")
                return self.failed(kind, None, problem, printed)
            return self.failed(kind, theirs, None, printed)
        late = isinstance(reply, dict) and reply.get("late") is True
        why = (
            f"it had not ended after {self.limits.cell_seconds:g} seconds"
            if late
            else "its process ended"
        )
        return CellOutcome("stopped", f"Your answer was stopped: {why}.", printed)

    def line(self, name: str, number: int) -> str:
        """A line of a cell that has run, as the student wrote it."""
        lines = dict(self.done).get(name, "").splitlines()
        return lines[number - 1].strip()[:200] if 0 < number <= len(lines) else ""

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
    """Check the task on the standard input."""
    warnings.simplefilter("ignore")
    data = json.load(sys.stdin)
    data["task"]["limits"] = Limits(**data["task"]["limits"])
    task = Task(**data["task"])
    # What an answer returns can make a check ask for any amount of memory.
    size = (task.limits.memory_megabytes + 1000) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    channel, sys.stdout = sys.stdout, sys.stderr  # nothing else may print there

    def report(group: str, name: str, outcome: CellOutcome) -> None:
        # Somebody will read this in a terminal or a spreadsheet.
        longest = task.limits.output_characters
        outcome.message = harmless(outcome.message)[:MESSAGE]
        outcome.printed = harmless(outcome.printed)[: longest + 100]
        print(json.dumps([group, name, asdict(outcome)]), file=channel, flush=True)

    checker = Checker(task, report, data["image"], data["engine"])
    import torch

    torch.set_num_threads(1)
    checker.run()
    print(json.dumps(["end", checker.notes, checker.peak]), file=channel, flush=True)


if __name__ == "__main__":
    main()
