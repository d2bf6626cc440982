"""The page that a student gets back: what it says, and what nobody can put on it or read there."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import assignments
import nbformat
import notebooks
import pytest
from graded_class import add, add_chapter, passed, wrong
from inboxes import CHAPTER, answered, course
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from page_reader import EVIL, read

from classroom.checks import HIDDEN_BEGIN, HIDDEN_END, role
from classroom.cleaning import clean
from classroom.feedback import lateness, page
from classroom.grade import nbgrader
from classroom.gradebook import open_gradebook
from classroom.nbgrader_plugins import outcome_path
from classroom.types import CellOutcome

# nbgrader's own habit of using its database session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def no_address():
    """Not the gradebook of a class that somebody is teaching."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRADEBOOK_URL", raising=False)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A course in which nobody has handed in anything; a gradebook takes a second to make."""
    root = course(tmp_path_factory.mktemp("feedback") / "course")
    add_chapter(root)
    with open_gradebook(root) as gradebook:
        for name in ("half", "proof"):
            gradebook.add_solution_cell(name, CHAPTER, CHAPTER)
    return root


@pytest.fixture
def root(original, tmp_path):
    return shutil.copytree(original, tmp_path / "course")


def feedback(root, student, notebook=None, checks=None, texts=None, **more):
    """The page of a submission with these outcomes."""
    add(root, student, checks or {"check_half": passed()}, texts, **more)
    with open_gradebook(root) as gradebook:
        return page(root, notebook or answered(), gradebook.find_submission(CHAPTER, student))


# --- What it says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        ("passed", "✓ passed"),
        ("blank", "○ blank"),
        ("wrong", "✗ wrong"),
        ("wrong (hidden test)", "✗ wrong on further inputs"),
        ("error", "! error"),
        ("stopped", "■ stopped"),
    ],
)
def test_each_verdict_is_a_sign_and_a_word(root, verdict, word):
    reader = read(feedback(root, "ada", None, {"check_half": CellOutcome(verdict, "Because.")}))
    assert f"half {word} {3 if verdict == 'passed' else 0} of 3 points" in reader.text
    assert "Because." in reader.text
    assert ("return 0.5" in reader.text) == (verdict != "blank")


def test_the_page_of_a_chapter_says_everything_once(root):
    notebook = answered(text="Because $\\frac12$ is *half*.")
    more = new_code_cell("import nothing", id="added-0")
    fake = new_markdown_cell("## Exercise 9\n\nnot ours", id="added-1")
    notebook.cells[3:3] = [more, fake]
    cells = {
        "c0": CellOutcome("ran"),
        "added-0": CellOutcome("error", "ModuleNotFoundError: No module named 'nothing'"),
        "c1": CellOutcome("stopped", "This cell was stopped: it is over.", "42\n"),
    }
    checks = {"check_half": CellOutcome("error", "KeyError: 'half'")}
    notes = ["cell 3 was stopped: it is over"]
    folder = root / "grading" / "problems" / CHAPTER
    folder.mkdir(parents=True)
    about = {"problems": ["locked cells that you changed"], "name": "Ada Lovelace"}
    (folder / "ada.json").write_text(json.dumps(about))
    reader = read(
        feedback(root, "ada", notebook, checks, {"proof": None}, cells=cells, notes=notes)
    )
    for words in (
        "Ada Lovelace (ada) · handed in on 20 November 2026, 12:00",
        "0 of 5 points so far",
        "Answers worth 2 points are still to be read",
        "Locked cells that you changed.",
        "Cell 3 was stopped: it is over.",
        "A cell of yours, cell 2 ! error",
        "No module named 'nothing'",
        "Cell 3: This cell was stopped",
        "There is no half: none of the cells that ran to their end defines it.",
        "Your answer, cell 3",
        "42",
        "proof … to be read 0 of 2 points",
    ):
        assert reader.text.count(words) == 1, words
    assert {"mfrac", "em"} <= reader.elements
    assert "Exercise 9" not in reader.text and "not ours" not in reader.text
    assert "assert half" not in reader.text
    links = [value for _, name, value in reader.attributes if name == "href"]
    targets = {value for _, name, value in reader.attributes if name == "id"}
    assert links and {link[1:] for link in links} <= targets
    assert reader.headings[0] == 1
    steps = itertools.pairwise(reader.headings)
    assert all(after <= before + 1 for before, after in steps)


def test_a_page_of_right_answers_is_short(root):
    reader = read(feedback(root, "ada", None, None, {"proof": 2.0}))
    assert "5 of 5 points" in reader.text and "so far" not in reader.text
    assert "proof ✎ read by a person 2 of 2 points" in reader.text
    assert "Remarks" not in reader.text and "deadline" not in reader.text
    assert ("details", "open", None) not in reader.attributes


def test_what_a_person_changes_is_seen(root):
    add(root, "ada", {"check_half": wrong("no")}, {"proof": 1.0})
    with open_gradebook(root) as gradebook:
        gradebook.find_grade("check_half", CHAPTER, CHAPTER, "ada").manual_score = 2.5
        comments = {"half": "Nearly: $x < 1$.", "proof": f"Why? {EVIL}"}
        for name, text in comments.items():
            gradebook.find_comment(name, CHAPTER, CHAPTER, "ada").manual_comment = text
        gradebook.db.commit()
        content = page(root, answered(), gradebook.find_submission(CHAPTER, "ada"))
    reader = read(content)
    assert "2.5 of 3 points, set by a person" in reader.text
    assert "3.5 of 5 points" in reader.text
    assert "Nearly: x<1." in reader.text and "Why? <script>" in reader.text


@pytest.mark.parametrize(
    ("seconds", "lost", "words"),
    [
        (0, 0, ""),
        (1, 0, "1 minute after the deadline: nothing is taken off"),
        (300, 0, "5 minutes after"),
        (30 * 3600, 2.8, "30 hours after the deadline: 2.8 points are taken off."),
        (86400 * 3, 1, "3 days after"),
    ],
)
def test_lateness_is_told_in_words(seconds, lost, words):
    said = lateness(seconds, lost)
    assert words in said and bool(said) == bool(words)


def test_no_points_below_zero_and_no_bar_beyond_its_end(root):
    add(root, "ada", {"check_half": wrong("no")}, {"proof": 0.0})
    with open_gradebook(root) as gradebook:
        submission = gradebook.find_submission(CHAPTER, "ada")
        submission.notebooks[0].late_submission_penalty = 1.5
        gradebook.db.commit()
        assert "0 of 5 points" in read(page(root, answered(), submission)).text


# --- Hostile content -----------------------------------------------------------------------------


def test_nothing_of_a_student_acts_on_the_page(root):
    notebook = answered(EVIL, EVIL + "\n\n" + EVIL.replace("\x1b[31m", ""))
    notebook.cells[3].outputs = [
        new_output("display_data", {"text/html": "<b onclick=alert(1)>from an output</b>"})
    ]
    notebook.cells.insert(4, new_code_cell(EVIL, id="added-0"))
    cells = {each: CellOutcome("error", EVIL, EVIL) for each in ("c0", "c1", "added-0")}
    checks = {"check_half": CellOutcome("wrong", EVIL, EVIL)}
    folder = root / "grading" / "problems" / CHAPTER
    folder.mkdir(parents=True)
    (folder / "eve.json").write_text(json.dumps({"problems": [EVIL], "name": EVIL}))
    content = feedback(root, "eve", notebook, checks, {"proof": None}, cells=cells, notes=[EVIL])
    assert "<script" not in content and "<img" not in content and "\x1b" not in content
    assert "from an output" not in content
    assert read(content).text.count("<script>alert(1)</script>") >= 12


def test_the_page_stays_small_whatever_is_on_it(root):
    notebook = answered("+" * 10**5, "$" + "x" * 1000 + "$ " * 10**4)
    notebook.cells[4:4] = [new_code_cell("&-" * 50_000, id=f"added-{n}") for n in range(90)]
    cells = {cell.id: CellOutcome("error", "<" * 10**4, "&" * 20_000) for cell in notebook.cells}
    checks = {"check_half": CellOutcome("wrong", "'" * 10**6, "<" * 20_000)}
    notes = ["n" * 10**5] * 100
    began = time.process_time()
    content = feedback(root, "eve", notebook, checks, {"proof": None}, cells=cells, notes=notes)
    assert time.process_time() - began < 5
    assert len(content.encode()) <= 120_000
    assert "left out" in read(content).text


# --- Nothing that students must not see ----------------------------------------------------------


def regions(source):
    """(lines of solutions and hidden tests, all other lines)."""
    secret, public, inside = set(), set(), False
    for line in map(str.strip, source.splitlines()):
        if line in (HIDDEN_BEGIN, "### BEGIN SOLUTION"):
            inside = True
        elif line in (HIDDEN_END, "### END SOLUTION"):
            inside = False
        elif len(line) >= 12:
            (secret if inside else public).add(line)
    return secret, public


@pytest.mark.parametrize("chapter", assignments.chapters(ROOT))
@pytest.mark.parametrize("shift", [0, 2])
def test_no_hidden_test_and_no_solution_is_on_the_page(tmp_path, exercises_of, chapter, shift):
    verdicts = ("wrong", "wrong (hidden test)", "error", "stopped", "passed")
    notebook, answers = exercises_of(chapter)
    secret, public, checks = set(), [], {}
    for rank, cell in enumerate(notebook.cells):
        about = cell.metadata.get("nbgrader", {})
        found, rest = regions(cell.source)
        if about.get("solution") and cell.cell_type == "markdown":  # with the marking scheme
            found, rest, cell.source = found | rest, set(), "No idea."
        elif about.get("solution"):
            listed = answers[about.grade_id]
            _, cell.source = listed[rank % len(listed)]
        if role(cell) == "check":
            verdict = verdicts[(len(checks) + shift) % len(verdicts)]
            checks[about.grade_id] = CellOutcome(verdict, "A message.", "printed").__dict__
        secret |= found
        public += [*rest, cell.source if about.get("solution") else ""]
    secret = {line for line in secret if line not in "\n".join(public)}
    assert len(secret) > 3 * len(checks), "too few lines: do the marks still fit?"
    content = page_of(tmp_path, chapter, notebook, checks)
    shown = read(content).text + html.unescape(content)
    assert "A message." in shown
    assert [line for line in secret if line in shown] == []
    for marker in ("BEGIN SOLUTION", "HIDDEN TESTS", "MARK SCHEME", "Traceback"):
        assert marker not in shown
    assert "$" not in re.sub(r"(?s)<pre>.*?</pre>", "", content), "a formula was not converted"
    assert len(content.encode()) <= 120_000


@pytest.fixture(scope="session")
def exercises_of():
    """``exercises_of(chapter)``: the instructor's notebook, and wrong answers by part."""

    def load(chapter):
        path = ROOT / assignments.SOURCE / chapter / f"{chapter}.md"
        namespace = {}
        answers = ROOT / "tests" / "exercises" / f"answers_{chapter}.py"
        exec(compile(answers.read_text("utf8"), answers, "exec"), namespace)
        return notebooks.read_text(path), namespace["WRONG"]

    return load


def page_of(root, chapter, notebook, checks):
    """The page of a submission that no gradebook knows."""
    for index, cell in enumerate(notebook.cells):
        cell.id = f"c{index}"
    path = outcome_path(root, chapter, "ada")
    path.parent.mkdir(parents=True)
    plain = {"student": "ada", "chapter": chapter, "checks": checks, "cells": {}, "notes": []}
    path.write_text(json.dumps({"outcome": plain | {"seconds": 1.0, "peak_megabytes": 1.0}}))
    grades = [
        SimpleNamespace(
            name=cell.metadata.nbgrader.grade_id,
            max_score=cell.metadata.nbgrader.points,
            score=0.0,
            manual_score=None,
            needs_manual_grade=cell.cell_type == "markdown",
        )
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    submission = SimpleNamespace(
        name=chapter,
        student_id="ada",
        notebooks=[SimpleNamespace(grades=grades, comments=[])],
        late_submission_penalty=None,
        total_seconds_late=0.0,
        timestamp=datetime(2026, 11, 20, 12),
        score=0.0,
        max_score=sum(grade.max_score for grade in grades),
    )
    return page(root, notebook, submission)


# --- Through nbgrader ----------------------------------------------------------------------------


@pytest.fixture
def graded(root):
    """A course with nbgrader's settings in which ada was graded."""
    for name in ("nbgrader_config.py", "grading.toml"):
        shutil.copyfile(ROOT / name, root / name)
    add(root, "ada", {"check_half": wrong("try again")}, {"proof": None})
    folder = root / "grading" / "autograded" / "ada" / CHAPTER
    folder.mkdir(parents=True)
    nbformat.write(answered(), folder / f"{CHAPTER}.ipynb")
    return root


def test_nbgrader_writes_the_page(graded):
    result = nbgrader(graded).generate_feedback(CHAPTER, "ada", force=True)
    assert result["success"], result
    path = graded / "grading" / "feedback" / "ada" / CHAPTER / f"{CHAPTER}.html"
    assert "try again" in read(path.read_text("utf8")).text


def test_the_command_of_nbgrader_writes_it_too(graded):
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", CHAPTER]
    subprocess.run(command, cwd=graded, check=True, capture_output=True)
    path = graded / "grading" / "feedback" / "ada" / CHAPTER / f"{CHAPTER}.html"
    assert "try again" in read(path.read_text("utf8")).text


def test_a_submission_that_was_not_checked_has_no_page(graded):
    outcome_path(graded, CHAPTER, "ada").unlink()
    result = nbgrader(graded).generate_feedback(CHAPTER, "ada", force=True)
    assert not result["success"] and "has not been checked yet" in result["log"]


def test_cells_that_a_student_adds_are_told_by_their_id():
    """The page relies on it to tell our headings from the student's."""
    notebook = answered()
    notebook.cells.insert(3, new_markdown_cell("## Mine", id="mine"))
    cells, _ = clean(nbformat.writes(notebook).encode(), answered())
    assert [cell.id for cell in cells.cells if cell.source == "## Mine"] == ["added-0"]
