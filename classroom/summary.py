"""grades.csv for the office, and a page for the instructor: how did the class do, who needs me?"""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from classroom.gradebook import open_gradebook
from classroom.late import record_deadlines
from classroom.results import Result, results
from classroom.settings import Settings, load
from classroom.students import read_roster
from classroom.summary_page import render
from classroom.types import CellOutcome
from course_lib.files import write_atomically

COLUMNS = (
    *("student", "first_name", "last_name", "email", "chapter", "submitted", "hours_late"),
    *("raw_points", "late_penalty", "points", "maximum", "worth", "counted", "to_be_read"),
)
EXAMPLES = 4  # students named for each kind of failure
LONGEST = 400  # characters of a message
KINDS = ("solved", "partly", "wrong", "stopped", "blank", "to be read")


def write_grades(root: Path) -> Path:
    """Write grading/grades.csv and, with a line for each student, grading/grades_wide.csv.

    In grades.csv each student has a line for each chapter that anybody has handed in, and one whose
    chapter is "total". ``counted`` is what the points count: points / maximum * worth. Deadlines
    and penalties in the gradebook are brought in step with grading.toml first.
    """
    settings, found = _results(root)
    lines: list[list[Any]] = []
    wide: dict[str, dict[str, Any]] = {}
    for student, own in _by_student(found).items():
        first = own[0].student
        who = [student, first.first_name, first.last_name, first.email]
        wide[student] = dict(zip(COLUMNS, who, strict=False))
        sums = [0.0] * 7
        for result in own:
            worth = settings.worth.get(result.chapter, result.maximum)
            counted = result.points / result.maximum * worth if result.maximum else 0.0
            numbers = [result.raw_points, result.penalty, result.points, result.maximum]
            numbers += [worth, counted, float(len(result.waiting))]
            sums = [one + other for one, other in zip(sums, numbers, strict=True)]
            when = result.submitted.isoformat(" ", "minutes") if result.submitted else ""
            late = f"{result.hours_late:.2f}" if result.hours_late else ""
            lines.append([*who, result.chapter, when, late, *map(_number, numbers)])
            wide[student][result.chapter] = _number(counted)
        lines.append([*who, "total", "", "", *map(_number, sums)])
        wide[student]["total"] = _number(sums[5])
    path = root / "grading" / "grades.csv"
    _write_csv(path, COLUMNS, lines)
    columns = [*COLUMNS[:4], *found, "total"]
    _write_csv(
        path.with_name("grades_wide.csv"), columns, [list(each.values()) for each in wide.values()]
    )
    return path


def _results(root: Path) -> tuple[Settings, dict[str, list[Result]]]:
    settings = load(root)
    with open_gradebook(root) as gradebook:
        record_deadlines(gradebook, settings)
        return settings, results(root, gradebook, settings, read_roster(root))


def _by_student(found: dict[str, list[Result]]) -> dict[str, list[Result]]:
    students: dict[str, list[Result]] = {}
    for own in found.values():
        for result in own:
            students.setdefault(result.student.id, []).append(result)
    return students


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _write_csv(path: Path, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_harmless(cell) for cell in line] for line in lines])
    write_atomically(path, text.getvalue().encode("utf8", "replace"))


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; names come from outside."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


# --- The page ------------------------------------------------------------------------------------


@dataclass
class Part:
    """A part of an exercise: how many students it went how with."""

    name: str
    points: float
    is_text: bool
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    earned: float = 0.0  # mean share of its points
    is_hardest: bool = False

    def share(self, kind: str) -> float:
        return self.counts[kind] / max(1, sum(self.counts.values()))


@dataclass
class Exercise:
    """An exercise and its parts."""

    title: str
    parts: list[Part]
    is_hardest: bool = False

    @property
    def points(self) -> float:
        return sum(part.points for part in self.parts)

    @property
    def is_unread(self) -> bool:
        """Whether a person has yet to read some of it, so that it says little how hard it is."""
        return any(part.counts["to be read"] for part in self.parts)

    @property
    def earned(self) -> float:
        """The mean share of its points."""
        return sum(part.points * part.earned for part in self.parts) / (self.points or 1)


@dataclass
class Group:
    """Students with the same trouble."""

    title: str
    message: str
    students: list[str] = field(default_factory=list)

    @property
    def examples(self) -> str:
        rest = len(self.students) - EXAMPLES
        return ", ".join(self.students[:EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")


def write_summary(root: Path, chapter: str) -> Path:
    """Write grading/summary/<chapter>.html; one file that needs no other, and no network.

    Raises:
        ValueError: if nothing has been handed in for the chapter.
    """
    settings, found = _results(root)
    if chapter not in found:
        raise ValueError(
            f"chapter must be one of which submissions were graded, {list(found)}, got "
            f"{chapter!r}; run make grade CHAPTER={chapter} first"
        )
    handed_in = [result for result in found[chapter] if result.submitted or result.scores]
    points = [result.points for result in handed_in]
    exercises = _exercises(root, chapter, handed_in)
    deadline = settings.deadlines.get(chapter)
    content = render(
        chapter=chapter,
        title=_title(root, chapter),
        course=settings.course_id,
        deadline=f"{deadline:%d %B %Y, %H:%M} ({settings.time_zone})" if deadline else "",
        maximum=found[chapter][0].maximum,
        points=points,
        median=statistics.median(points),
        mean=statistics.fmean(points),
        late=[result.student.id for result in handed_in if result.hours_late],
        exercises=exercises,
        kinds=KINDS,
        failures=_failures(handed_in),
        troubles=_troubles(handed_in),
        waiting=_waiting(handed_in, exercises),
        unassigned=_unassigned(root, chapter),
        unchecked=[result.student.id for result in handed_in if result.outcome is None],
        missing=[result.name for result in found[chapter] if result not in handed_in],
        remarks=[result for result in handed_in if result.remarks],
        results=handed_in,
    )
    path = root / "grading" / "summary" / f"{chapter}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.encode("utf8", "replace"))
    return path


def _notebook(root: Path, chapter: str) -> nbformat.NotebookNode:
    return nbformat.read(root / "release" / chapter / f"{chapter}.ipynb", as_version=4)


def _title(root: Path, chapter: str) -> str:
    return _notebook(root, chapter).cells[0].source.splitlines()[0].lstrip("# ")


def _exercises(root: Path, chapter: str, handed_in: list[Result]) -> list[Exercise]:
    """The exercises of the student version, with what became of their parts."""
    exercises: list[Exercise] = []
    for cell in _notebook(root, chapter).cells:
        if cell.source.startswith("## "):
            exercises.append(Exercise(cell.source.splitlines()[0].lstrip("# "), []))
        about = cell.metadata.get("nbgrader", {})
        if not about.get("grade"):
            continue
        part = Part(
            about.grade_id.removeprefix("check_"), about.points, cell.cell_type == "markdown"
        )
        for result in handed_in:
            part.counts[_kind(result, about.grade_id, part)] += 1
            part.earned += result.scores.get(about.grade_id, 0) / (part.points or 1)
        part.earned /= max(1, len(handed_in))
        if not exercises:
            exercises.append(Exercise("", []))
        exercises[-1].parts.append(part)
    exercises = [exercise for exercise in exercises if exercise.parts]
    read = [exercise for exercise in exercises if not exercise.is_unread]
    parts = [part for e in exercises for part in e.parts if not part.counts["to be read"]]
    for each in (min(read, key=_earned, default=None), min(parts, key=_earned, default=None)):
        if each is not None and each.earned < 1:
            each.is_hardest = True
    return exercises


def _earned(each: Exercise | Part) -> float:
    return each.earned


def _kind(result: Result, cell: str, part: Part) -> str:
    if cell in result.waiting:
        return "to be read"
    score = result.scores.get(cell, 0)
    if part.is_text:
        if 0 < score < part.points:
            return "partly"
        return "solved" if score > 0 else "wrong" if cell in result.read else "blank"
    check = result.outcome.checks.get(cell) if result.outcome else None
    if check is None:
        return "solved" if score >= part.points else "blank"
    return {"passed": "solved", "blank": "blank", "stopped": "stopped"}.get(check.verdict, "wrong")


def general(message: str) -> str:
    """A message without what differs from student to student: numbers, addresses, long tails."""
    message = re.sub(r"0x[0-9a-fA-F]+", "…", message.strip())
    message = re.sub(r"(?<!\w)[-+]?\d+(?:[.,]\d+)*(?:\.(?!\s|$))?(?:[eE][-+]?\d+)?", "…", message)
    message = re.sub(r"…(?:[\s,]*…)+", "…", message)
    return message if len(message) <= LONGEST else message[:LONGEST] + " …"


def _grouped(items: Iterable[tuple[str, str, str]]) -> list[Group]:
    """Groups from (title, message, student), the largest first."""
    groups: dict[tuple[str, str], Group] = {}
    for title, message, student in items:
        group = groups.setdefault((title, general(message)), Group(title, general(message)))
        if student not in group.students:
            group.students.append(student)
    return sorted(groups.values(), key=lambda each: (-len(each.students), each.title, each.message))


def _failures(handed_in: list[Result]) -> list[Group]:
    return _grouped(
        (name.removeprefix("check_"), check.message, result.student.id)
        for result in handed_in
        if result.outcome
        for name, check in result.outcome.checks.items()
        if check.verdict.startswith("wrong") or check.verdict == "error"
    )


def _troubles(handed_in: list[Result]) -> list[Group]:
    """What went wrong other than an answer."""
    found = []
    for result in handed_in:
        student = result.student.id
        if not result.is_readable:
            reason = result.remarks[0].partition(": ")[2] if result.remarks else ""
            found.append(("Not readable, counted as blank", reason, student))
        if result.outcome is None:
            continue
        everything: list[CellOutcome] = [
            *result.outcome.cells.values(),
            *result.outcome.checks.values(),
        ]
        for cell in everything:
            if cell.verdict == "stopped":
                found.append(("Stopped by the sandbox", cell.message, student))
        for cell in result.outcome.cells.values():
            if cell.verdict == "error":
                found.append(("Error in a cell of the student", cell.message, student))
        found += [("Remark of the sandbox", note, student) for note in result.outcome.notes]
    return _grouped(found)


def _waiting(handed_in: list[Result], exercises: list[Exercise]) -> list[tuple[str, int]]:
    names = [part.name for exercise in exercises for part in exercise.parts]
    counts = [(name, sum(name in result.waiting for result in handed_in)) for name in names]
    return [(name, count) for name, count in counts if count]


def _unassigned(root: Path, chapter: str) -> list[str]:
    path = root / "grading" / "problems" / f"{chapter}.json"
    return json.loads(path.read_text("utf8")) if path.exists() else []
