"""Exercises for a reader alone: a copy of their own, every test at once, solutions at the end.

``write`` makes ``my_exercises/NN_name.ipynb`` of each chapter: the notebook that a class gets, but
its checks hold the hidden tests too, and the solutions are folded away at its end. Git ignores the
folder, and no update overwrites what somebody has worked on. This needs the extra "notebooks" and
nothing of what grading needs. progress.py shows how far the reader has come.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "my_exercises"
PROGRESS = "progress.ipynb"

# As in nbgrader_config.py, so that a reader alone finds what a class finds.
CODE_STUB = (
    "# YOUR CODE HERE\n"
    'raise NotImplementedError("no answer yet: write it here, then run this cell and the check")'
)
TEXT_STUB = "YOUR ANSWER HERE (double-click to edit)"

SOLUTION = re.compile(r"^([ ]*)### BEGIN SOLUTION\n(.*?)^[ ]*### END SOLUTION", re.M | re.S)
MARKS = re.compile(r"^[ ]*### (?:BEGIN|END) SOLUTION\n?", re.M)
HIDDEN = re.compile(r"\n### BEGIN HIDDEN TESTS\n(.*?)\n### END HIDDEN TESTS", re.S)
OK_LINE = re.compile(r'^print\("Exercise \d.*\n', re.M)
HOW_TO_WORK = re.compile(r"\*\*How to work\.\*\*.*?(?=\n\n)", re.S)

HOW_ALONE = """\
**How to work.** This copy is yours: git ignores it, and no update of the course overwrites it.
Replace the line under `YOUR CODE HERE`, run the cell, then run the check below it. The check is
folded up to one line and holds every test there is, so `OK` means that the answer is right. Stuck?
Unfold the hint above the check. The derivations are read by nobody but you: compare them with those
at the end of this page, where the solutions are folded away too. Save, and the notebook
[progress.ipynb](progress.ipynb) in this folder shows what is done and what is open."""

ABOUT_SOLUTIONS = """\
## Solutions

One for each part, folded, so that you see only the one that you open. There are other right
answers: if your check says `OK`, yours is one of them."""

ABOUT_PROGRESS = """\
# Progress

Run the cell below (Shift and Enter). It reads the notebooks of this folder as they were last
*saved*, and sends nothing anywhere."""


def write(root: Path = ROOT, folder: Path | None = None, chapter: str | None = None) -> list[Path]:
    """Give the reader the exercises of all chapters, or of one, and say what was done with each.

    A notebook that is there already is replaced only if the course has a new version of it and
    nothing in it was touched. Otherwise it stays, and the new version is written beside it, as
    ``NN_name.new.ipynb``, with the reader's answers in it.

    Args:
        root: the folder of the course.
        folder: where the notebooks go; by default ``my_exercises`` in the course.
        chapter: such as ``04_gan_minimax``; by default every one.

    Returns:
        The files that were written.

    Raises:
        ValueError: if there are no exercises of this chapter.
    """
    sources = {path.stem: path for path in sorted((root / "chapters/exercises").glob("*/*.ipynb"))}
    if chapter is not None and chapter not in sources:
        raise ValueError(
            f"chapter must be one of {sorted(sources)}, got {chapter!r}; leave it out to get all"
        )
    folder = root / FOLDER if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in sources if chapter is None else [chapter]:
        fresh = for_one_reader(nbformat.read(sources[name], as_version=4), name)
        path, what = _place(fresh, folder / f"{name}.ipynb")
        print(f"{name}: {what}")
        written += [path] if path else []
    if not (folder / PROGRESS).exists():
        _save(_progress_notebook(), folder / PROGRESS)
        written.append(folder / PROGRESS)
    print(f"They are in {folder}; {PROGRESS} there shows how far you have come.")
    return written


def _place(fresh: NotebookNode, path: Path) -> tuple[Path | None, str]:
    """Write a notebook unless that would cost the reader something; what was written, and why."""
    version = fresh.metadata.course.version
    if not path.exists():
        _save(fresh, path)
        return path, "written"
    mine = read(path)
    if mine is not None and course_of(mine).get("version") == version:
        return None, "kept as it is, up to date"
    if mine is not None and _is_untouched(mine):
        _save(fresh, path)
        return path, "replaced by the course's new version; you had not begun"
    beside = path.with_suffix(".new.ipynb")
    if beside.exists():
        other = read(beside)
        if other is not None and course_of(other).get("version") == version:
            return None, f"kept as it is; the course's new version is already in {beside.name}"
        if other is None or not _is_untouched(other):
            return None, (
                f"kept as it is, and {beside.name} too. The course has a newer version: keep one "
                f"of the two as {path.name}, take the other away, and ask again"
            )
    carried = _carry_answers(mine, fresh) if mine is not None else 0
    fresh.metadata.course.written = _digest(fresh)
    _save(fresh, beside)
    return beside, (
        f"yours is kept as it is. The course's new version is in {beside.name}, with {carried} of "
        f"your answers in it; go on there, or rename it to {path.name} when you like it"
    )


# --- A notebook for one reader -------------------------------------------------------------------


def for_one_reader(source: NotebookNode, chapter: str) -> NotebookNode:
    """The instructor's notebook as a reader alone gets it."""
    cells = [_cell(each) for each in source.cells]
    introduction, found = HOW_TO_WORK.subn(lambda _: HOW_ALONE, cells[0].source)
    if found != 1:
        raise ValueError(
            f"source must say once in its first cell how to work, in a paragraph that begins with "
            f"'**How to work.**'; the exercises of {chapter} say it {found} times"
        )
    cells[0].source = introduction
    notebook = new_notebook(cells=cells + _solutions(source))
    notebook.metadata.update({key: source.metadata[key] for key in ("kernelspec", "language_info")})
    version = _digest(notebook)
    title = cells[0].source.split("\n")[0].removeprefix("# Exercises for chapter ")
    notebook.metadata.course = {
        "chapter": chapter,
        "title": title,
        "version": version,
        "written": version,
    }
    return notebook


def _cell(cell: NotebookNode) -> NotebookNode:
    """One cell without its solution, or with all of its tests."""
    about = cell.metadata.get("nbgrader", {})
    metadata: dict[str, Any] = {"nbgrader": dict(about)} if about else {}
    if about.get("locked"):
        metadata |= {"deletable": False, "editable": False}
    if cell.cell_type == "markdown":
        text = TEXT_STUB if about.get("solution") else cell.source
        return new_markdown_cell(text, id=cell.id, metadata=metadata)
    code = cell.source
    if about.get("solution"):
        code = SOLUTION.sub(lambda found: _indented(CODE_STUB, found[1]), code)
    elif about.get("grade"):
        code = _whole_check(code, about["points"])
        metadata["jupyter"] = {"source_hidden": True}
    return new_code_cell(code, id=cell.id, metadata=metadata)


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line for line in text.split("\n"))


def _whole_check(code: str, points: float) -> str:
    """A check that runs its hidden tests too, and only then says OK.

    Folded up, it shows its first line.
    """
    code = HIDDEN.sub("\n# The tests that a class does not see:\n\\1", code)
    says_ok = OK_LINE.search(code)
    if says_ok is not None:
        code = f"{code[: says_ok.start()]}{code[says_ok.end() :]}\n{says_ok[0].rstrip()}"
    worth = f"{points:g} point" + ("" if points == 1 else "s")
    return f"# Run this check ({worth}); unfold it to read the tests.\n{code}"


def _solutions(source: NotebookNode) -> list[NotebookNode]:
    """A heading, and a cell for each exercise with a folded solution for each of its parts."""
    cells = [new_markdown_cell(ABOUT_SOLUTIONS, id="solutions")]
    for cell in source.cells:
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and cell.source.startswith("## Exercise"):
            title = cell.source.split("\n")[0].removeprefix("## ")
            cells.append(new_markdown_cell(f"### {title}", id=f"solutions-{len(cells)}"))
        elif about.get("solution"):
            is_text = cell.cell_type == "markdown"
            name = "The derivation" if is_text else f"<code>{about['grade_id']}</code>"
            body = cell.source if is_text else f"```python\n{MARKS.sub('', cell.source)}\n```"
            cells[
                -1
            ].source += f"\n\n<details><summary><b>{name}</b></summary>\n\n{body}\n\n</details>"
    return cells


def _progress_notebook() -> NotebookNode:
    code = "from classroom.progress import show_progress\n\nshow_progress()"
    notebook = new_notebook(
        cells=[new_markdown_cell(ABOUT_PROGRESS, id="about"), new_code_cell(code, id="progress")]
    )
    notebook.metadata.kernelspec = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    return notebook


# --- What the reader has -------------------------------------------------------------------------


def read(path: Path) -> NotebookNode | None:
    """The notebook, or None if the file holds none (any more)."""
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, TypeError):  # broken in one way or another
        return None


def course_of(notebook: NotebookNode) -> dict[str, Any]:
    """The chapter and its title, the course's version, and a hash of what was written."""
    about = notebook.metadata.get("course", {})
    return about if isinstance(about, dict) else {}


def _digest(notebook: NotebookNode) -> str:
    cells = [
        [cell.cell_type, cell.source, cell.metadata.get("nbgrader", {})] for cell in notebook.cells
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def _is_untouched(notebook: NotebookNode) -> bool:
    ran = any(cell.get("outputs") for cell in notebook.cells)
    return not ran and course_of(notebook).get("written") == _digest(notebook)


def is_blank(cell: NotebookNode) -> bool:
    """Whether a cell for an answer still holds none."""
    stub = CODE_STUB.split("\n")[1] if cell.cell_type == "code" else TEXT_STUB
    return stub in cell.source or not cell.source.strip()


def _carry_answers(mine: NotebookNode, fresh: NotebookNode) -> int:
    """Put the answers of one notebook into another, in place; how many there were."""
    answers = {
        cell.metadata.nbgrader.get("grade_id"): cell.source
        for cell in mine.cells
        if cell.metadata.get("nbgrader", {}).get("solution") and not is_blank(cell)
    }
    places = [
        cell
        for cell in fresh.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
        and cell.metadata.nbgrader.grade_id in answers
    ]
    for cell in places:
        cell.source = answers[cell.metadata.nbgrader.grade_id]
    return len(places)


def _save(notebook: NotebookNode, path: Path) -> None:
    from course_lib.files import write_atomically

    nbformat.validate(notebook)
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode("utf8"))
