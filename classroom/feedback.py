"""The page that a student gets back: the points, and for each part what became of the answer.

nbgrader makes it (``GenerateFeedback``), with the exporter of this file in place of its own. The
texts of the exercises, the checks and the hints are not on it: the student has them, and what the
student does not have, hidden tests and solutions, cannot slip in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from nbconvert.exporters import Exporter
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from traitlets import default

from classroom.checks import role
from classroom.collect import problems
from classroom.feedback_page import CODE, PRINTED, TEXT, Room, code, markdown, printable
from classroom.nbgrader_plugins import read_outcome
from classroom.page import render
from classroom.settings import load
from classroom.students import read_roster
from classroom.types import CellOutcome, Outcome

# Bytes of what students wrote and of messages; with the frame the page stays below 120 kB.
ROOM = 80_000
MESSAGE = 2000  # characters of a message
REMARKS, OWN = 50, 20  # remarks, and cells of the student's own that failed
NOTHING = Markup()

# What a verdict looks like (sign, word, class), and what it means where that is not obvious.
LOOKS = {
    "passed": ("✓", "passed", "solved", ""),
    "blank": ("○", "blank", "blank", ""),
    "wrong": (
        *("✗", "wrong", "wrong"),
        "The check that came with the exercise says this too: with it you can try again.",
    ),
    "wrong (hidden test)": (
        *("✗", "wrong on further inputs", "wrong"),
        "Your answer passes the check that came with the exercise. Grading goes on with other "
        "inputs, all of which the text of the exercise covers.",
    ),
    "error": (
        *("!", "error", "wrong"),
        "The check could not come to a result, so the part earns nothing.",
    ),
    "stopped": (
        *("■", "stopped", "stopped"),
        "Time, memory and processes are limited when it is graded. What uses them up or ends its "
        "process is stopped, and earns nothing; other parts are not affected.",
    ),
    "to be read": ("…", "to be read", "toberead", "A person will read this and give the points."),
    "read": ("✎", "read by a person", "", ""),
}


@dataclass
class Entry:
    """A part of an exercise, or a cell of the student's own in which something went wrong."""

    name: str
    verdict: str
    messages: list[str]
    cell: str  # which of the cells of the notebook has the answer
    printed: str = ""
    code: Markup = NOTHING
    text: Markup = NOTHING
    points: float = 0.0
    maximum: float | None = None  # None: not a part
    is_set_by_hand: bool = False
    comment: Markup = NOTHING

    @property
    def sign(self) -> str:
        return LOOKS[self.verdict][0]

    @property
    def word(self) -> str:
        return LOOKS[self.verdict][1]

    @property
    def look(self) -> str:
        if self.verdict == "read":
            is_full = self.points >= (self.maximum or 0)
            return "solved" if is_full else "partly" if self.points > 0 else "wrong"
        return LOOKS[self.verdict][2]

    @property
    def meaning(self) -> str:
        return LOOKS[self.verdict][3]


@dataclass
class Exercise:
    """An exercise: its parts, and among them the student's own cells that failed."""

    title: Markup
    entries: list[Entry] = field(default_factory=list)

    @property
    def parts(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.maximum is not None]

    @property
    def points(self) -> float:
        return sum(part.points for part in self.parts)

    @property
    def maximum(self) -> float:
        return sum(part.maximum or 0 for part in self.parts)


class FeedbackExporter(Exporter):
    """Turns an autograded notebook into the page; reads outcome, remarks and gradebook."""

    @default("file_extension")
    def _html(self) -> str:
        return ".html"

    def from_notebook_node(  # type: ignore[override]  # text, as from every exporter of pages
        self, nb: NotebookNode, resources: Any | None = None, **kw: Any
    ) -> tuple[str, Any]:
        """The page of the student whom ``resources`` names.

        Raises:
            FileNotFoundError: if the submission has not been checked.
        """
        nb, resources = super().from_notebook_node(nb, resources, **kw)
        about = resources["nbgrader"]
        root = Path(self.config.CourseDirectory.root)
        with Gradebook(about["db_url"]) as gradebook:
            submission = gradebook.find_submission(about["assignment"], about["student"])
            return page(root, nb, submission), resources


def page(root: Path, notebook: NotebookNode, submission: Any) -> str:
    """The page of a submission, which is one of nbgrader's gradebook."""
    chapter, student = submission.name, submission.student_id
    outcome = read_outcome(root, chapter, student)
    graded = submission.notebooks[0]
    grades = {grade.name: grade for grade in graded.grades}
    comments = {each.name: each.manual_comment or "" for each in graded.comments}
    room = Room(ROOM)
    exercises = list_exercises(notebook, outcome, grades, comments, room)
    parts = [part for exercise in exercises for part in exercise.parts]
    shown = {part.verdict: part for part in parts}
    lost = submission.late_submission_penalty or 0.0
    about = problems(root, chapter, student)
    remarks = [*about.get("problems", []), *outcome.notes]
    known = read_roster(root).students.get(student)
    names = [known.first_name, known.last_name] if known else [about.get("name", "")]
    when = submission.timestamp  # in UTC; None if nobody has noted it
    if when is not None:
        when = when.replace(tzinfo=UTC).astimezone(load(root).time_zone)
    return render(
        "feedback.html",
        title=_heading(notebook.cells[0]),
        student=student,
        name=printable(" ".join(each for each in names if each), 100) or student,
        submitted=f"{when.day} {when:%B %Y, %H:%M}" if when else "",
        points=max(0.0, submission.score - lost),
        maximum=submission.max_score,
        unread=sum(part.maximum or 0 for part in parts if part.verdict == "to be read"),
        late=lateness(submission.total_seconds_late, lost),
        remarks=[_words(room, each) for each in remarks[:REMARKS]],
        exercises=exercises,
        meanings=[entry for entry in shown.values() if entry.meaning],
    )


def lateness(seconds: float, lost: float) -> str:
    """What there is to say about the time of a submission."""
    if seconds <= 0:
        return ""
    units = (("day", 86_400), ("hour", 3600), ("minute", 60))
    unit, length = next((each for each in units if seconds >= 2 * each[1]), units[-1])
    number = max(1, round(seconds / length))
    late = f"Handed in {number} {unit}{'s' if number > 1 else ''} after the deadline: "
    return late + (
        f"{lost:.3g} points are taken off." if lost else "nothing is taken off for that."
    )


def _words(room: Room, text: str) -> Markup:
    return room.fit(escape(printable(text, MESSAGE)))


def list_exercises(
    notebook: NotebookNode,
    outcome: Outcome,
    grades: dict[str, Any],
    comments: dict[str, str],
    room: Room,
) -> list[Exercise]:
    """The exercises of an autograded notebook that have something to be said.

    ``grades`` are those of nbgrader's gradebook and ``comments`` a person's, by cell.
    """
    exercises = [Exercise(Markup("Before the exercises"))]
    answers: dict[str, tuple[str, NotebookNode]] = {}  # where the answers are, by name
    number, failed = 0, 0
    for cell in notebook.cells:
        kind = role(cell)
        number += cell.cell_type == "code"  # as the messages of the checks count
        where = f"cell {number}"
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        ran = outcome.cells.get(cell.get("id", ""), CellOutcome("ran"))
        if kind == "text" and not name and is_ours(cell) and cell.source.startswith("## "):
            exercises.append(Exercise(_heading(cell)))
        elif kind == "answer" and name not in grades:
            answers[name] = where, cell
        elif kind == "check" and name in grades:
            part = name.removeprefix("check_")
            entry = checked(part, outcome, *answers.get(part, ("", None)))
            exercises[-1].entries.append(_with_grade(entry, grades[name], comments.get(part, "")))
            _fill(entry, room, answers.get(part, ("", None))[1])
        elif name in grades:
            entry = Entry(name, _reading(grades[name]), [], where if kind == "answer" else "")
            exercises[-1].entries.append(_with_grade(entry, grades[name], comments.get(name, "")))
            _fill(entry, room, None if entry.verdict == "blank" else cell)
        elif kind in ("own", "locked") and ran.verdict != "ran":
            failed += 1
            if failed <= OWN:
                entry = Entry("", ran.verdict, [ran.message], where, ran.printed)
                exercises[-1].entries.append(entry)
                _fill(entry, room, cell)
    return [exercise for exercise in exercises if exercise.entries]


def _heading(cell: NotebookNode) -> Markup:
    """The heading with which a cell of ours begins."""
    text = markdown(cell.source.partition("\n")[0].lstrip("# "))
    return Markup(text.strip().removeprefix("<p>").removesuffix("</p>"))


def is_ours(cell: NotebookNode) -> bool:
    """Whether a cell was in the notebook that the students were given (cleaning.py)."""
    return not cell.get("id", "").startswith("added-")


def checked(part: str, outcome: Outcome, where: str, answer: NotebookNode | None) -> Entry:
    """What became of a part with a check. ``answer`` is its cell, and ``where`` that is."""
    missing = CellOutcome("stopped", "This check was not part of the exercises then.")
    check = outcome.checks.get(f"check_{part}", missing)
    messages, printed = [], ""
    if answer is not None and answer.get("id") in outcome.cells:
        ran = outcome.cells[answer.id]
        printed = ran.printed
        if ran.verdict != "ran":
            messages.append(f"{where.capitalize()}: {ran.message}")
    message = check.message
    if message == f"KeyError: {part!r}":
        message = f"There is no {part}: none of the cells that ran to their end defines it."
    messages += [message] if message else []
    return Entry(part, check.verdict, messages, where, printed + check.printed)


def _reading(grade: Any) -> str:
    """The verdict on a text, which a person gives unless it is blank."""
    if grade.needs_manual_grade:
        return "to be read"
    return "blank" if grade.manual_score is None else "read"


def _with_grade(entry: Entry, grade: Any, comment: str) -> Entry:
    entry.points, entry.maximum = grade.score, grade.max_score
    entry.is_set_by_hand = entry.verdict != "read" and grade.manual_score is not None
    entry.comment = markdown(comment) if comment else NOTHING
    return entry


def _fill(entry: Entry, room: Room, cell: NotebookNode | None) -> None:
    """Put in what the student wrote and what it printed, as far as there is room."""
    entry.messages = [_words(room, message) for message in entry.messages]
    entry.printed = room.fit(escape(printable(entry.printed.rstrip(), PRINTED)))
    if cell is None or entry.verdict == "blank":
        return
    if cell.cell_type == "code":
        entry.code = room.fit(code(cell.source), printable(cell.source, CODE))
    else:
        entry.text = room.fit(markdown(cell.source), printable(cell.source, TEXT))
