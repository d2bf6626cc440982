"""What nbgrader runs in place of the submission, and what it leaves out of the feedback.

nbgrader grades a notebook by the outputs of its cells. Here the outputs come from the outcome that
the sandbox has produced (checking.py); nothing is executed.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor

from classroom.checking import HIDDEN_BEGIN, HIDDEN_END, role
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


class FeedbackPage(Preprocessor):
    """Cuts the hidden tests out of the feedback, and says at its top what there is to say."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        about = resources["nbgrader"]
        root = Path(self.config.CourseDirectory.root)
        for cell in nb.cells:
            if role(cell) == "check":
                cell.source = without_hidden(cell.source)
        remarks = self.remarks(root, about["assignment"], about["student"])
        late = self.late(about)
        if late:
            remarks.insert(0, late)
        if remarks:
            text = "".join(f"<li>{html.escape(each)}</li>" for each in remarks)
            nb.cells.insert(
                0, new_markdown_cell(f"**Remarks on your submission**\n\n<ul>{text}</ul>")
            )
        return nb, resources

    @staticmethod
    def remarks(root: Path, chapter: str, student: str) -> list[str]:
        """What was noticed when the submission was collected and when it was run."""
        path = root / "grading" / "problems" / chapter / f"{student}.json"
        found: list[str] = []
        if path.exists():
            found += [str(each) for each in json.loads(path.read_text("utf8"))["problems"]]
        return found + read_outcome(root, chapter, student).notes

    @staticmethod
    def late(about: dict[str, Any]) -> str:
        """How late the submission was and what that has cost, from the gradebook."""
        with Gradebook(about["db_url"]) as gradebook:
            found = gradebook.find_submission(about["assignment"], about["student"])
            if found.total_seconds_late <= 0:
                return ""
            hours = found.total_seconds_late / 3600
            lost = found.late_submission_penalty or 0
            return f"Handed in {hours:.1f} hours after the deadline: {lost:g} points are taken off."


def without_hidden(source: str) -> str:
    """A check without its hidden tests."""
    kept, inside = [], False
    for line in source.splitlines():
        mark = line.strip()
        inside = inside or mark == HIDDEN_BEGIN
        if not inside:
            kept.append(line)
        inside = inside and mark != HIDDEN_END
    if len(kept) < len(source.splitlines()):
        kept.append("# More tests follow here when it is graded; they are not shown.")
    return "\n".join(kept)
