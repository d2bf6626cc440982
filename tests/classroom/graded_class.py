"""A class that was graded, without grading it: the gradebook, the outcomes and the remarks."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from inboxes import CHAPTER, NOON, released

from classroom.gradebook import open_gradebook
from classroom.nbgrader_plugins import outcome_path
from classroom.types import CellOutcome, Outcome


def add_chapter(root: Path, chapter: str = CHAPTER, notebook=None) -> None:
    """What a release records in the gradebook."""
    with open_gradebook(root) as gradebook:
        gradebook.add_assignment(chapter)
        gradebook.add_notebook(chapter, chapter)
        for cell in (notebook or released()).cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("grade"):
                gradebook.add_grade_cell(
                    about.grade_id,
                    *(chapter, chapter),
                    max_score=about.points,
                    cell_type=cell.cell_type,
                )


def add(root: Path, student: str, checks, texts=None, hours=0.0, chapter: str = CHAPTER, **more):
    """A graded submission.

    ``checks`` maps a check to its CellOutcome, ``texts`` an answer to be read to its points, or to
    None; ``hours`` is when it was handed in after NOON. ``more`` goes into the Outcome.
    """
    defaults = {"cells": {}, "notes": [], "seconds": 1.0, "peak_megabytes": 200.0}
    outcome = Outcome(student, chapter, checks, **(defaults | more))
    path = outcome_path(root, chapter, student)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"outcome": asdict(outcome)}))
    with open_gradebook(root) as gradebook:
        gradebook.update_or_create_student(student)
        when = (NOON + timedelta(hours=hours)).replace(tzinfo=None)
        gradebook.add_submission(chapter, student, timestamp=when)
        submission = gradebook.find_submission_notebook(chapter, chapter, student)
        for grade in submission.grades:
            grade.needs_manual_grade = False
            if grade.name in checks:
                is_right = checks[grade.name].verdict == "passed"
                grade.auto_score = grade.cell.max_score if is_right else 0
            else:
                points = (texts or {}).get(grade.name)
                grade.manual_score, grade.needs_manual_grade = points, points is None
        gradebook.db.commit()


def passed() -> CellOutcome:
    return CellOutcome("passed")


def wrong(message: str) -> CellOutcome:
    return CellOutcome("wrong", message)
