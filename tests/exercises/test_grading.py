"""Whole notebooks through nbgrader: what is released, and what each submission earns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import assignments
import jupytext
import nbformat
import notebooks
import pytest
from nbgrader.api import Gradebook

import classroom.grade
from classroom.collect import collect
from classroom.sandbox import bubblewrap_problem
from classroom.settings import load

# nbgrader's own habit of using its database session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

ROOT = Path(__file__).resolve().parent.parent.parent
REGION = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END \1", re.DOTALL)


def released(course, exercises):
    folder = course / "release" / exercises.chapter
    return nbformat.read(folder / f"{exercises.chapter}.ipynb", as_version=4)


def points(exercises):
    """The points of each cell that is graded, whether by tests or by a person."""
    graded = [cell.metadata.nbgrader for cell in exercises.graded.values()]
    return {cell.grade_id: cell.points for cell in graded if cell.grade}


def by_hand(exercises):
    """The answers that a person reads."""
    return [n for n, c in exercises.graded.items() if c.cell_type == "markdown"]


def grade(course, exercises, student, sources):
    """Submit the released notebook with some cells filled in; returns the scores by cell."""
    chapter = exercises.chapter
    notebook = released(course, exercises)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = sources.get(name, cell.source)
    inbox = course / "inbox" / chapter / student
    inbox.mkdir(parents=True)
    nbformat.write(notebook, inbox / f"{student}_{chapter}.ipynb")
    collect(course, chapter, inbox)
    is_trusted = bool(bubblewrap_problem())
    report = classroom.grade.grade(course, chapter, student=student, is_trusted=is_trusted)
    assert report.checked == 1 and not report.failed
    settings = load(course)
    with Gradebook(settings.gradebook_url, settings.course_id) as gradebook:
        grades = gradebook.find_submission_notebook(chapter, chapter, student).grades
        return {grade.name: grade.auto_score for grade in grades}


# --- Grading -------------------------------------------------------------------------------------


def test_the_solution_earns_full_marks(course, exercises):
    solution = {name: cell.source for name, cell in exercises.graded.items()}
    scores = grade(course, exercises, "solution", solution)
    assert scores == points(exercises) | dict.fromkeys(by_hand(exercises))  # None: to be read


def test_the_blank_stub_earns_nothing(course, exercises):
    assert grade(course, exercises, "blank", {}) == dict.fromkeys(points(exercises), 0)


@pytest.mark.parametrize("parity", [0, 1])
def test_wrong_answers_lose_their_own_points_only(course, exercises, parity):
    """Every second part is answered wrongly, the others rightly but not in our words."""
    sources, expected = {}, dict.fromkeys(by_hand(exercises), 0)
    for number, part in enumerate(exercises.parts):
        is_wrong = number % 2 == parity
        answers = exercises.answers.WRONG if is_wrong else exercises.answers.RIGHT
        _, sources[part] = answers[part][0]
        expected[f"check_{part}"] = 0 if is_wrong else points(exercises)[f"check_{part}"]
    assert grade(course, exercises, f"half-{parity}", sources) == expected


def test_wrong_answers_earn_nothing_even_if_the_checks_are_removed(course, exercises):
    """Grading runs the instructor's checks, whatever the submission made of them."""
    cells = exercises.graded
    sources = {name: "pass" for name, cell in cells.items() if cell.metadata.nbgrader.locked}
    for part, wrong in exercises.answers.WRONG.items():
        _, sources[part] = wrong[1]
    scores = grade(course, exercises, "wrong", sources)
    assert scores == dict.fromkeys(points(exercises), 0)


# --- What a student gets -------------------------------------------------------------------------


def test_a_released_file_holds_no_solution_and_no_hidden_test(course, exercises):
    secret, public = set(), []
    for cell in exercises.notebook.cells:
        read_by_a_person = cell.cell_type == "markdown" and "nbgrader" in cell.metadata
        public.append("" if read_by_a_person else REGION.sub("", cell.source))
        secret |= {line.strip() for line in cell.source.splitlines()}
    secret = {line for line in secret if len(line) >= 12 and line not in "\n".join(public)}
    assert len(secret) > 5 * len(exercises.parts), "too few lines: does the pattern still fit?"
    folder = course / "release" / exercises.chapter
    content = (folder / f"{exercises.chapter}.ipynb").read_text("utf8")
    leaked = [line for line in secret if json.dumps(line, ensure_ascii=False)[1:-1] in content]
    assert leaked == []
    for marker in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN", "MARK SCHEME"):
        assert marker not in content
    assert [path.name for path in folder.rglob("*")] == [f"{exercises.chapter}.ipynb"]


def test_a_released_notebook_is_clean(course, exercises):
    notebook = released(course, exercises)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    nbgrader_keys = {
        *("grade", "grade_id", "locked", "points", "schema_version", "solution", "task"),
        *("cell_type", "checksum"),
    }
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"nbgrader", "deletable", "editable"}
        assert set(cell.metadata.get("nbgrader", {})) <= nbgrader_keys
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            compile(cell.source, "cell", "exec")
    stubs = [c for c in notebook.cells if c.cell_type == "code" and "YOUR CODE HERE" in c.source]
    assert [c.metadata.nbgrader.grade_id for c in stubs] == exercises.parts
    answers = [c.metadata.nbgrader.grade_id for c in notebook.cells if "YOUR ANSWER" in c.source]
    assert answers == by_hand(exercises)


def test_each_exercise_states_its_points_and_effort(exercises):
    """Stated points are those in the gradebook, for each exercise and for the whole."""
    stated = []
    for cell in exercises.notebook.cells:
        if cell.source.startswith("## Exercise"):
            (line,) = re.findall("^Difficulty: .*", cell.source, re.MULTILINE)
            pattern = r"Difficulty: [●○]{3} · about \d+ minutes · (\d+) points?"
            match = re.fullmatch(pattern, line)
            assert match, f"{line!r} does not fit {pattern!r}"
            assert "*Why it matters:*" in cell.source
            stated.append([int(match[1]), 0])
        elif stated:
            stated[-1][1] += cell.metadata.get("nbgrader", {}).get("points", 0)
    assert [first for first, _ in stated] == [second for _, second in stated]
    total = re.search(r"(\d+) points", exercises.notebook.cells[0].source)
    assert total and int(total[1]) == sum(points(exercises).values())


# --- The source pair -----------------------------------------------------------------------------


def test_text_and_notebook_hold_the_same_cells(exercises):
    text = ROOT / assignments.SOURCE / exercises.chapter / f"{exercises.chapter}.md"
    assert notebooks.is_in_step(text), "they differ: make sync"
    notebook = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_the_text_survives_a_round_trip(exercises):
    again = jupytext.reads(jupytext.writes(exercises.notebook, fmt="md:myst"), fmt="md:myst")
    assert notebooks.cells(again) == notebooks.cells(exercises.notebook)


# --- The command ---------------------------------------------------------------------------------


def command(*arguments):
    script = ROOT / "scripts" / "assignments.py"
    # Without the interpreter's folder on the PATH, as when make starts it.
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_releasing_again_replaces_the_old_version(course, exercises):
    path = course / "release" / exercises.chapter / f"{exercises.chapter}.ipynb"
    before = path.read_bytes()
    path.write_text("a student version of last year")
    made = assignments.release(course, exercises.chapter)
    assert path.read_bytes() == before
    assert made == assignments.Released(
        path, len(re.findall("## Exercise", before.decode())), sum(points(exercises).values())
    )


def test_a_notebook_out_of_step_is_rebuilt_before_it_is_released(course, exercises, capsys):
    path = course / assignments.SOURCE / exercises.chapter / f"{exercises.chapter}.ipynb"
    before = path.read_bytes()
    path.unlink()
    assignments.release(course, exercises.chapter)
    assert path.read_bytes() == before
    assert "rebuilt from the text" in capsys.readouterr().out


def test_help_and_an_unknown_chapter():
    assert "--chapter" in command("--help").stdout
    answer = command("--chapter", "99_nothing")
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: chapter must be one of")
    assert "'99_nothing'" in answer.stderr and "Traceback" not in answer.stderr
