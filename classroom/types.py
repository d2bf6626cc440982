"""What the stages of grading hand to each other: plain data that can be sent to another machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SandboxKind = Literal["bubblewrap", "container", "trusted"]

# What became of a cell. A student's own cell is "ran", "error" or "stopped"; a check is one of the
# others, or "stopped" if the answer used up its time, its memory or its process.
Verdict = Literal["ran", "passed", "blank", "wrong", "wrong (hidden test)", "error", "stopped"]


@dataclass(frozen=True)
class Limits:
    """What one submission may use; beyond it the sandbox stops the answer, not the grading.

    ``cell_seconds`` is the wall time of one cell or one check, ``total_seconds`` that of the whole
    submission; ``memory_megabytes`` is the sum over its processes; ``file_megabytes`` what it may
    write (it is gone afterwards); ``output_characters`` what is kept of the output of one cell.
    """

    cell_seconds: float = 60.0
    total_seconds: float = 300.0
    memory_megabytes: int = 3000
    processes: int = 48
    file_megabytes: int = 64
    output_characters: int = 20_000


@dataclass(frozen=True)
class Task:
    """One submission to be checked.

    ``source`` is the instructor's notebook with solutions and hidden tests, ``submitted`` the clean
    notebook of the student, both as the JSON text of nbformat 4.
    """

    student: str
    chapter: str
    source: str
    submitted: str
    sandbox: SandboxKind
    limits: Limits = field(default_factory=Limits)


@dataclass
class CellOutcome:
    """What became of one cell. ``message`` is for the student, and shows no hidden test."""

    verdict: Verdict
    message: str = ""
    printed: str = ""  # standard output and error, cut at Limits.output_characters
    seconds: float = 0.0


@dataclass
class Outcome:
    """What became of one submission.

    ``checks`` has an entry for each autograded cell, by its grade_id; ``cells`` one for each code
    cell of the clean notebook, by its cell id.
    """

    student: str
    chapter: str
    checks: dict[str, CellOutcome]
    cells: dict[str, CellOutcome]
    notes: list[str]  # e.g. that the process of the answers had to be started again, and why
    seconds: float
    peak_megabytes: float

    @property
    def passed(self) -> list[str]:
        return [name for name, outcome in self.checks.items() if outcome.verdict == "passed"]


def outcome_from_json(data: dict[str, Any]) -> Outcome:
    """An Outcome from the plain data that ``dataclasses.asdict`` makes of it."""
    checks = {name: CellOutcome(**each) for name, each in data["checks"].items()}
    cells = {name: CellOutcome(**each) for name, each in data["cells"].items()}
    return Outcome(**(data | {"checks": checks, "cells": cells}))
