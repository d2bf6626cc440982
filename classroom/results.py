"""What is known of each submission: points from the gradebook, outcomes, remarks, names."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook

from classroom.collect import problems
from classroom.nbgrader_plugins import read_outcome
from classroom.settings import Settings
from classroom.students import Roster, Student
from classroom.types import Outcome


@dataclass(frozen=True)
class Result:
    """A submission, or with ``submitted`` None the lack of one. Points are after the penalty.

    ``scores`` are the points of each part and ``waiting`` the parts that a person has to read,
    ``read`` those that a person has graded.
    ``page`` is the feedback, if it was written, seen from grading/summary.
    """

    student: Student
    chapter: str
    maximum: float
    submitted: datetime | None = None
    hours_late: float = 0.0
    raw_points: float = 0.0
    penalty: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    outcome: Outcome | None = None
    remarks: list[str] = field(default_factory=list)
    is_readable: bool = True
    page: str = ""

    @property
    def points(self) -> float:
        return max(0.0, self.raw_points - self.penalty)

    @property
    def name(self) -> str:
        """The name in full, or the id if it is not known."""
        parts = (self.student.first_name, self.student.last_name)
        return " ".join(part for part in parts if part) or self.student.id


def results(
    root: Path, gradebook: Gradebook, settings: Settings, roster: Roster
) -> dict[str, list[Result]]:
    """All results by chapter, each chapter with every student of the course, in order of ids.

    A chapter that nobody has handed in is left out: its exercises are released, perhaps, but not
    due.
    """
    students = {student.id: student for student in gradebook.students}
    ids = sorted({*students, *roster.students})
    found: dict[str, list[Result]] = {}
    for assignment in sorted(gradebook.assignments, key=lambda each: each.name):
        submissions = {each.student_id: each for each in assignment.submissions}
        if not submissions:
            continue
        found[assignment.name] = [
            _result(
                root, assignment, submissions.get(one), settings, roster, students.get(one), one
            )
            for one in ids
        ]
    return found


def _result(
    root: Path,
    assignment: Any,
    submission: Any,
    settings: Settings,
    roster: Roster,
    known: Any,
    student: str,
) -> Result:
    chapter = assignment.name
    about = problems(root, chapter, student) if submission else {}
    who = roster.students.get(student) or Student(
        student,
        (known.first_name if known else None) or "",
        (known.last_name if known else None) or _unless(about.get("name", ""), student),
        (known.email if known else None) or "",
    )
    maximum = float(assignment.max_score or 0)
    if submission is None:
        return Result(who, chapter, maximum)
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
    when = submission.timestamp
    page = Path("..", "returned", chapter, f"{student}.html")
    is_there = (root / "grading" / "summary" / page).resolve().exists()
    try:
        outcome = read_outcome(root, chapter, student)
    except FileNotFoundError:
        outcome = None
    return Result(
        student=who,
        chapter=chapter,
        maximum=maximum,
        submitted=when.replace(tzinfo=UTC).astimezone(settings.time_zone) if when else None,
        hours_late=submission.total_seconds_late / 3600,
        raw_points=float(submission.score or 0),
        penalty=float(submission.late_submission_penalty or 0),
        scores={grade.name: float(grade.score or 0) for grade in grades},
        waiting=[grade.name for grade in grades if grade.needs_manual_grade],
        read=[grade.name for grade in grades if grade.manual_score is not None],
        outcome=outcome,
        remarks=list(about.get("problems", [])),
        is_readable=about.get("is_readable", True),
        page=page.as_posix() if is_there else "",
    )


def _unless(name: str, student: str) -> str:
    return "" if name == student else name
