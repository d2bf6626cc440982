"""The exercises of a reader alone: hints, every test at once, solutions, and nothing ever lost."""

from __future__ import annotations

import contextlib
import copy
import io
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbgrader.preprocessors import ClearSolutions

from classroom import progress, self_study
from classroom.grade import load_config
from classroom.self_study import for_one_reader, write

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = {path.stem: path for path in sorted((ROOT / "chapters/exercises").glob("*/*.ipynb"))}
CHAPTER = "04_gan_minimax"
HINT = re.compile(r"<details><summary><b>A hint</b></summary>\n\n(.+)\n\n</details>", re.S)

every_chapter = pytest.mark.parametrize("chapter", SOURCES)


def source(chapter):
    return nbformat.read(SOURCES[chapter], as_version=4)


def grader(cell):
    return cell.metadata.get("nbgrader", {})


def answers(notebook, kind="code"):
    """The cells for answers by name, as far as they are checked by code or read by a person."""
    return {
        grader(cell)["grade_id"]: cell
        for cell in notebook.cells
        if grader(cell).get("solution") and cell.cell_type == kind
    }


def solution_lines(cell):
    """What a solution consists of, without comments and what any answer could hold."""
    body = cell.source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
    lines = [line.split("  #")[0].strip().removeprefix("return ") for line in body.splitlines()]
    return [line for line in lines if len(line) >= 8 and not line.startswith("#")]


# --- Hints ---------------------------------------------------------------------------------------


@every_chapter
def test_each_part_has_a_hint_between_its_answer_and_its_check(chapter):
    cells = source(chapter).cells
    places = [i for i, cell in enumerate(cells) if cell.cell_type == "code" and grader(cell)]
    parts = [i for i in places if grader(cells[i])["solution"]]
    assert parts
    for i in parts:
        name = grader(cells[i])["grade_id"]
        hint = HINT.fullmatch(cells[i + 1].source)
        assert hint, f"{name} has no hint, or one that JupyterLab would not unfold"
        assert grader(cells[i + 2]).get("grade_id") == f"check_{name}"
        assert 10 <= len(hint[1].split()) <= 90, f"the hint for {name} is too short or too long"
        assert hint[1].count("$") % 2 == 0
    assert sum("A hint" in cell.source for cell in cells) == len(parts)


@every_chapter
def test_no_hint_gives_the_solution_away(chapter):
    notebook = source(chapter)
    given_away = [
        (name, line)
        for i, cell in enumerate(notebook.cells)
        for name, answer in answers(notebook).items()
        if answer is cell
        for line in solution_lines(cell)
        if line in notebook.cells[i + 1].source
    ]
    assert given_away == []


# --- The reader's notebook -----------------------------------------------------------------------


@every_chapter
def test_the_stubs_are_those_that_a_class_gets(chapter, tmp_path):
    for name in ("nbgrader_config.py", "grading.toml"):
        shutil.copy(ROOT / name, tmp_path)
    config = load_config(tmp_path)
    released, _ = ClearSolutions(config=config).preprocess(source(chapter), {})
    mine = for_one_reader(source(chapter), chapter)
    for kind in ("code", "markdown"):
        expected = {name: cell.source for name, cell in answers(released, kind).items()}
        assert {name: cell.source for name, cell in answers(mine, kind).items()} == expected
        assert all(self_study.is_blank(cell) for cell in answers(mine, kind).values())


@every_chapter
def test_the_solutions_are_folded_at_the_end_and_nowhere_else(chapter):
    given, mine = source(chapter), for_one_reader(source(chapter), chapter)
    nbformat.validate(mine)
    end = [cell.source.startswith("## Solutions") for cell in mine.cells].index(True)
    page, solutions = ("\n".join(c.source for c in part) for part in split(mine.cells, end))
    for name, cell in answers(given).items():
        code = re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", cell.source)
        assert f"<code>{name}</code></b></summary>\n\n```python\n{code}\n```\n" in solutions
        body = cell.source.split("### BEGIN SOLUTION\n")[1].split("    ### END")[0]
        assert body not in page
    for cell in answers(given, "markdown").values():
        assert f"\n\n{cell.source}\n\n</details>" in solutions and cell.source not in page
    assert not re.search("(BEGIN|END) (SOLUTION|HIDDEN)", page + solutions)
    assert solutions.count("<details>") == solutions.count("</details>")
    assert solutions.count("<details>") == len(answers(given)) + len(answers(given, "markdown"))
    assert "Grading runs" not in page and "progress.ipynb" in page


def split(cells, place):
    return cells[:place], cells[place:]


@every_chapter
def test_each_check_holds_every_test_and_accepts_the_solution(chapter):
    given, mine = source(chapter), for_one_reader(source(chapter), chapter)
    named = {grader(cell).get("grade_id"): cell for cell in mine.cells}
    hidden = {grader(cell).get("grade_id"): cell.source for cell in given.cells}
    for name, cell in answers(given).items():
        check = named[f"check_{name}"]
        tests = hidden[f"check_{name}"].split("### BEGIN HIDDEN TESTS\n")[1]
        assert tests.removesuffix("\n### END HIDDEN TESTS") in check.source
        assert check.metadata.jupyter.source_hidden is True
        assert check.metadata.editable is False and check.metadata.deletable is False
        assert re.match(r"# Run this check \(\d+ points?\)", check.source)
        printed, names = io.StringIO(), {}
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            for code in (named["setup"].source, cell.source, check.source):
                exec(code, names)
        assert progress.SAYS_OK.search(printed.getvalue())


def test_a_check_says_ok_only_after_the_hidden_tests():
    code = (
        'assert f(1) == 2, "f(1) is 2"\nprint("Exercise 1: OK\\n")\ntable = [f(3)]\nprint(table)\n'
        '### BEGIN HIDDEN TESTS\nassert f(2) == table[0], "f(2) is wrong"\n### END HIDDEN TESTS'
    )
    check, printed = self_study._whole_check(code, 1), io.StringIO()
    with contextlib.redirect_stdout(printed):
        with pytest.raises(AssertionError, match=r"f\(2\) is wrong"):
            exec(check, {"f": lambda x: 2 * x})
        assert printed.getvalue() == "[6]\n"
        exec(check, {"f": lambda x: 2})
    assert printed.getvalue() == "[6]\n[2]\nExercise 1: OK\n\n"


def test_a_source_that_does_not_say_how_to_work_is_refused():
    notebook = source(CHAPTER)
    notebook.cells[0].source = "# Exercises"
    with pytest.raises(ValueError, match="say it 0 times"):
        for_one_reader(notebook, CHAPTER)


def test_nothing_of_what_grading_needs_is_imported():
    code = (
        "import sys, classroom.progress; "
        "print([n for n in ('nbgrader', 'sqlalchemy', 'torch') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


# --- A folder of the reader's own ----------------------------------------------------------------


@pytest.fixture
def course(tmp_path):
    """A course of two chapters."""
    for name in (CHAPTER, "05_gan_in_practice"):
        folder = tmp_path / "chapters/exercises" / name
        folder.mkdir(parents=True)
        shutil.copy(SOURCES[name], folder)
    return tmp_path


def update(course):
    """The course changes one exercise."""
    path = course / "chapters/exercises" / CHAPTER / f"{CHAPTER}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source += "\n\nA better explanation."
    notebook.cells[2].source += f" {len(notebook.cells[2].source)}"
    nbformat.write(notebook, path)


def answer(
    path, name="value_at_one_half", code="def value_at_one_half():\n    return -math.log(4)"
):
    notebook = nbformat.read(path, as_version=4)
    answers(notebook)[name].source = code
    nbformat.write(notebook, path)
    return path.read_bytes()


def test_the_first_time_everything_is_written(course, capsys):
    written = write(course)
    folder = course / "my_exercises"
    names = [f"{CHAPTER}.ipynb", "05_gan_in_practice.ipynb", "progress.ipynb"]
    assert [path.name for path in written] == names
    assert sorted(folder.iterdir()) == sorted(written)
    assert f"{CHAPTER}: written\n" in capsys.readouterr().out
    assert write(course) == []
    assert f"{CHAPTER}: kept as it is, up to date\n" in capsys.readouterr().out


def test_one_chapter_and_no_such_chapter(course, tmp_path):
    folder = tmp_path / "elsewhere"
    assert [p.name for p in write(course, folder, CHAPTER)] == [
        f"{CHAPTER}.ipynb",
        "progress.ipynb",
    ]
    with pytest.raises(ValueError, match=r"chapter must be one of \['04_gan.*got '99_nothing'"):
        write(course, folder, "99_nothing")


def test_the_same_source_gives_the_same_bytes(course, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for one, other in zip(write(course, first), write(course, second), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_an_update_keeps_answers_and_brings_them_along(course, capsys):
    write(course)
    mine = course / "my_exercises" / f"{CHAPTER}.ipynb"
    before = answer(mine)
    assert write(course) == []
    update(course)
    beside = mine.with_suffix(".new.ipynb")
    assert write(course) == [beside]
    told = capsys.readouterr().out
    assert "yours is kept as it is" in told and "with 1 of your answers in it" in told
    assert mine.read_bytes() == before
    new = nbformat.read(beside, as_version=4)
    assert "return -math.log(4)" in answers(new)["value_at_one_half"].source
    assert "A better explanation." in new.cells[2].source
    # Asked again, nothing happens; an update later the new one is renewed, as nobody touched it.
    assert write(course) == []
    update(course)
    assert write(course) == [beside]
    # When the reader has taken it for their own it is theirs, and up to date.
    beside.replace(mine)
    assert write(course) == []
    assert not beside.exists()


def test_two_notebooks_with_answers_are_both_kept(course, capsys):
    write(course)
    mine = course / "my_exercises" / f"{CHAPTER}.ipynb"
    first = answer(mine)
    update(course)
    (beside,) = write(course)
    second = answer(beside, code="def value_at_one_half():\n    return -math.log(2) * 2")
    update(course)
    assert write(course) == []
    assert "keep one of the two" in capsys.readouterr().out
    assert (mine.read_bytes(), beside.read_bytes()) == (first, second)


def test_what_was_never_touched_is_replaced(course, capsys):
    (mine, *_) = write(course)
    before = mine.read_bytes()
    update(course)
    assert write(course) == [mine]
    assert mine.read_bytes() != before
    assert "replaced" in capsys.readouterr().out
    assert not mine.with_suffix(".new.ipynb").exists()


@pytest.mark.parametrize("content", ["", "not a notebook", '{"cells": 3}', "[]"])
def test_a_broken_notebook_is_kept_and_a_good_one_laid_beside_it(course, content):
    (mine, *_) = write(course)
    mine.write_text(content)
    assert write(course) == [mine.with_suffix(".new.ipynb")]
    assert mine.read_text() == content
    assert [chapter.name for chapter in progress.read_progress(mine.parent)] == [
        CHAPTER,
        "05_gan_in_practice",
    ]


# --- Progress ------------------------------------------------------------------------------------


def fill(notebook, solutions, chosen):
    for name, cell in answers(notebook).items():
        if name in chosen:
            cell.source = answers(solutions)[name].source
    return notebook


def test_progress_counts_what_the_checks_said(course):
    (mine, *_) = write(course)
    folder, solutions = mine.parent, source(CHAPTER)
    notebook = fill(nbformat.read(mine, as_version=4), solutions, ["value_at_one_half", "diagnose"])
    code = "def minimax_gradient(a):\n    return torch.sigmoid(a)"
    answers(notebook)["minimax_gradient"].source = code
    (derivation,) = answers(notebook, "markdown").values()
    derivation.source = "At each point the integrand is a parabola."
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=60).execute()
    nbformat.write(notebook, mine)
    here, other = progress.read_progress(folder)
    states = {part.name: part.state for part in here.parts}
    assert states.pop("least_squares_derivation") == "written"
    assert states.pop("minimax_gradient") == "tried"
    assert states.pop("value_at_one_half") == states.pop("diagnose") == "solved"
    assert set(states.values()) == {"open"}
    assert (here.points("solved"), here.points("written"), here.points()) == (2, 5, 35)
    assert {part.state for part in other.parts} == {"open"} and other.points() == 40
    table = progress.progress_table(folder)
    assert max(map(len, table.splitlines())) <= 80
    assert f"{CHAPTER}                    2 of 35   3 of 13  value_from_logits" in table
    assert "2 of 75" in table and "5 points of derivations" in table
    page = progress.progress_page(folder)
    assert "2 of 75 points" in page and "<code>minimax_gradient</code> (1), tried" in page
    assert f'href="{CHAPTER}.ipynb"' in page and "<code>diagnose</code>" not in page

    # An older copy in the folder cannot take anything away, nor can an emptied answer count.
    shutil.copy(mine, folder / "copy.ipynb")
    fresh = for_one_reader(solutions, CHAPTER)
    nbformat.write(fill(fresh, solutions, []), mine)
    assert progress.progress_table(folder) == table
    emptied = copy.deepcopy(notebook)
    answers(emptied)["diagnose"].source = answers(fresh)["diagnose"].source
    assert {p.name: p.state for p in progress.parts(emptied)}["diagnose"] == "open"


def test_progress_of_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="make exercises"):
        progress.progress_table(tmp_path)


def test_the_progress_notebook_shows_the_page(course, monkeypatch):
    *_, path = write(course)
    notebook, shown = nbformat.read(path, as_version=4), []
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.chdir(path.parent)  # where JupyterLab starts its kernel
    exec(notebook.cells[1].source, {})
    assert "0 of 75 points" in shown[0].data
