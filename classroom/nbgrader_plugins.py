"""What nbgrader runs in place of the submission.

nbgrader grades a notebook by the outputs of its cells. Here the outputs come from the outcome that
the sandbox has produced (checking.py); nothing is executed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import NbGraderPreprocessor

from classroom.checks import role
from classroom.types import CellOutcome, Outcome, outcome_from_json


def outcome_path(root: Path, chapter: str, student: str) -> Path:
    return root / "grading" / "outcomes" / chapter / f"{student}.json"


def read_outcome(root: Path, chapter: str, student: str) -> Outcome:
    """The outcome of a submission.

    Raises:
        FileNotFoundError: if it has not been checked yet, with the remedy.
    """
    path = outcome_path(root, chapter, student)
    if not path.exists():
        raise FileNotFoundError(
            f"the submission of {student} for {chapter} has not been checked yet: run make grade "
            f"CHAPTER={chapter}. Submissions are only ever run in the sandbox, not by nbgrader"
        )
    return outcome_from_json(json.loads(path.read_text("utf8"))["outcome"])


def outputs(outcome: CellOutcome) -> list[NotebookNode]:
    """The outputs of a cell in a notebook."""
    found = []
    if outcome.printed:
        found.append(new_output("stream", name="stdout", text=outcome.printed))
    if outcome.verdict not in ("ran", "passed"):
        # No traceback: its lines would be those of the check.
        name = outcome.verdict.capitalize()
        text = f"{name}. {outcome.message}"
        found.append(new_output("error", ename=name, evalue=outcome.message, traceback=[text]))
    return found


class ReplayOutcomes(NbGraderPreprocessor):
    """Gives each code cell the outputs that it had in the sandbox."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        about = resources["nbgrader"]
        root = Path(self.config.CourseDirectory.root)
        outcome = read_outcome(root, about["assignment"], about["student"])
        for cell in nb.cells:
            kind = role(cell)
            if kind == "text":
                continue
            if kind == "check":
                name = cell.metadata.nbgrader.grade_id
                missing = CellOutcome("stopped", "This check was not part of the exercises then.")
                cell.outputs = outputs(outcome.checks.get(name, missing))
            else:
                cell.outputs = outputs(outcome.cells.get(cell.id, CellOutcome("ran")))
        return nb, resources
