"""A small course to collect for, and the files that students and their systems make."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from classroom.collect import collect
from classroom.students import is_safe

CHAPTER = "04_gan_minimax"
NAME = f"{CHAPTER}.ipynb"
STUB = 'def half():\n    raise NotImplementedError("no answer yet")'
TEXT_STUB = "YOUR ANSWER HERE"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def graded(name, **more):
    about = {"grade_id": name, "schema_version": 3, "task": False, "grade": False, "locked": False}
    return {"nbgrader": about | {"solution": False} | more}


def released():
    """The version that students are given: a function with its check, and a text."""
    cells = [
        new_markdown_cell("# Exercises", id="title"),
        new_code_cell("import math", id="c0", metadata=graded("setup", locked=True)),
        new_markdown_cell("## Exercise 1", id="first"),
        new_code_cell(STUB, id="c1", metadata=graded("half", solution=True)),
        new_code_cell(
            "assert half() == 0.5",
            id="c2",
            metadata=graded("check_half", grade=True, locked=True, points=3),
        ),
        new_markdown_cell("## Exercise 2", id="second"),
        new_markdown_cell(
            TEXT_STUB, id="c3", metadata=graded("proof", grade=True, solution=True, points=2)
        ),
    ]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def answered(code="def half():\n    return 0.5", text="Because."):
    notebook = released()
    notebook.cells[3].source, notebook.cells[6].source = code, text
    return notebook


def raw(notebook=None):
    return nbformat.writes(answered() if notebook is None else notebook).encode()


def code(number):
    """A submission that can be told from another by its code."""
    return raw(answered(f"def half():\n    return {number}"))


def course(folder: Path) -> Path:
    """A course folder in which the chapter is released, with an empty inbox."""
    for chapter in (CHAPTER, "05_gan_in_practice"):
        path = folder / "release" / chapter / f"{chapter}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(released(), path)
    (folder / "grading" / "inbox").mkdir(parents=True)
    return folder


def put(path: Path, content: bytes, when: datetime = NOON) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when.timestamp(), when.timestamp()))


def archive(members: dict[str, bytes], hour: int = 12, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive; its members are dated on 20 November 2026, local time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as zipped:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2026, 11, 20, hour, 0, 0))
            info.compress_type = method
            zipped.writestr(info, content)
    return file.getvalue()


def by_student(root, inbox):
    """What was collected, and a look at the disk: only the files that belong there."""
    result = collect(root, CHAPTER, inbox)
    for path in (root / "grading" / "submitted").rglob("*"):
        is_folder = path.is_dir() and (path.name == CHAPTER or is_safe(path.name))
        assert is_folder or path.name in (NAME, "timestamp.txt")
    return {each.student: each for each in result if each.student}


def code_of(root, student):
    """The number in the code of the submission that will be graded; None for a blank one."""
    folder = root / "grading" / "submitted" / student / CHAPTER
    notebook = nbformat.read(folder / NAME, as_version=4)
    nbformat.validate(notebook)
    match = re.search(r"return ([\d.]+)", notebook.cells[3].source)
    return float(match[1]) if match else None


def unassigned(root):
    return json.loads((root / "grading" / "problems" / f"{CHAPTER}.json").read_text("utf8"))
