"""A small chapter of exercises: a function of values, a function of functions, and a text."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CHAPTER = "00_toy"

SETUP = "import math\n\nimport torch"
DOUBLE = """\
def double(x: torch.Tensor) -> torch.Tensor:
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION"""
CHECK_DOUBLE = """\
x = torch.tensor([1.0, 2.0])
got = double(x)
assert isinstance(got, torch.Tensor), f"return a tensor, not {type(got).__name__}"
assert got.tolist() == [2.0, 4.0], f"twice 1 and 2 are 2 and 4, you return {got.tolist()}"
print("Exercise 1: OK")
### BEGIN HIDDEN TESTS
secret_input = torch.tensor([-3.0, 0.5])
assert double(secret_input).tolist() == [-6.0, 1.0], "wrong for negative numbers"
assert double(torch.empty(0)).shape == (0,), "wrong for nothing at all"
### END HIDDEN TESTS"""
TWICE = """\
from collections.abc import Callable

def twice(f: Callable[[float], float], x: float) -> float:
    ### BEGIN SOLUTION
    return f(f(x))
    ### END SOLUTION"""
CHECK_TWICE = """\
got = twice(lambda x: x + 1, 0.0)
assert got == 2.0, f"adding 1 twice to 0 gives 2, you return {got}"
print("Exercise 2: OK")
### BEGIN HIDDEN TESTS
secret_factor = 7.0
assert twice(lambda x: secret_factor * x, 1.0) == 49.0, "wrong for a product"
### END HIDDEN TESTS"""
PLUS = """\
def plus(x: float) -> float:
    ### BEGIN SOLUTION
    return x + 1
    ### END SOLUTION"""
CHECK_PLUS = """\
assert plus(1.0) == 2.0, "1 and 1 are 2"
print("Exercise 3: OK")
### BEGIN HIDDEN TESTS
assert plus(-5.0) == -4.0, "wrong for negative numbers"
### END HIDDEN TESTS"""

RIGHT = {
    "double": "def double(x):\n    return x + x",
    "twice": "def twice(f, x):\n    return f(f(x))",
    "plus": "def plus(x):\n    return 1 + x",
}


def cell(source: str, name: str, kind: str, points: float = 0) -> NotebookNode:
    """A cell of an exercise: "setup", "answer", "check" or "text"."""
    about = {
        "grade": kind in ("check", "text"),
        "grade_id": name,
        "locked": kind in ("setup", "check"),
        "schema_version": 3,
        "solution": kind in ("answer", "text"),
        "task": False,
    }
    if about["grade"]:
        about["points"] = points
    make = new_markdown_cell if kind == "text" else new_code_cell
    return make(source, metadata={"nbgrader": about})


def source() -> NotebookNode:
    """The instructor's notebook."""
    head = "Difficulty: ●○○ · about 5 minutes · "
    cells = [
        new_markdown_cell("# Exercises for a toy\n\nThree exercises and 8 points."),
        cell(SETUP, "setup", "setup"),
        new_markdown_cell(f"## Exercise 1. Double\n\n{head}2 points"),
        cell(DOUBLE, "double", "answer"),
        cell(CHECK_DOUBLE, "check_double", "check", 2),
        new_markdown_cell(f"## Exercise 2. Twice\n\n{head}3 points"),
        cell(TWICE, "twice", "answer"),
        cell(CHECK_TWICE, "check_twice", "check", 3),
        new_markdown_cell(f"## Exercise 3. Plus\n\n{head}3 points"),
        cell(PLUS, "plus", "answer"),
        cell(CHECK_PLUS, "check_plus", "check", 2),
        cell("Because $1 + 1 = 2$.", "why", "text", 1),
    ]
    found = new_notebook(cells=cells)
    found.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    return found


def submission(answers: dict[str, str], extra: dict[str, str] | None = None) -> NotebookNode:
    """A student's notebook; ``extra`` are cells of their own, put before the named ones."""
    notebook = source()
    cells = []
    for each in notebook.cells:
        name = each.metadata.get("nbgrader", {}).get("grade_id", "")
        if name in (extra or {}):
            cells.append(new_code_cell((extra or {})[name]))
        if each.metadata.get("nbgrader", {}).get("solution"):
            stub = "YOUR ANSWER HERE (double-click to edit)"
            if each.cell_type == "code":
                head = each.source.split("### BEGIN SOLUTION")[0]
                stub = f'{head}raise NotImplementedError("no answer yet: write it here")'
            each.source = answers.get(name, stub)
        each.source = each.source.split("### BEGIN HIDDEN")[0]
        cells.append(each)
    notebook.cells = cells
    return notebook


def write_course(root: Path, settings: Path) -> Any:
    """A course folder with this one chapter; ``settings`` is the folder of the real course."""
    import shutil

    import jupytext

    for name in ("nbgrader_config.py", "grading.toml"):
        shutil.copy(settings / name, root)
    folder = root / "chapters" / "exercises" / CHAPTER
    folder.mkdir(parents=True)
    notebook = source()
    (folder / f"{CHAPTER}.md").write_text(jupytext.writes(notebook, fmt="md:myst"), "utf8")
    read = jupytext.read(folder / f"{CHAPTER}.md")
    nbformat.write(read, folder / f"{CHAPTER}.ipynb")
    return copy.deepcopy(read)
