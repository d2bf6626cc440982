"""A student's notebook as it came, made into a clean one: our cells, and in them their sources.

What comes out holds nothing of the submission but the text of its cells: no metadata, no outputs,
no attachments. So whatever reads it afterwards never meets JSON that a student wrote.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

MAX_BYTES = 20_000_000  # of a notebook
MAX_CELLS = 500
MAX_CELL_BYTES = 200_000
NEW_CELL = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
# Control characters have no place in a source, and some would steer the terminal that shows them;
# a lone surrogate cannot be written as UTF-8.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")


class Unreadable(ValueError):
    """The file is no notebook that could be graded; the message tells the student why."""


@dataclass(frozen=True)
class Cell:
    """What is used of a cell of the student. ``name`` is its grade_id, if it has one."""

    kind: str
    source: str
    name: str | None
    identity: str | None
    has_attachments: bool = False


def too_large(size: int) -> str:
    """What the student reads about a file of ``size`` bytes."""
    megabytes = max(size / 1e6, MAX_BYTES / 1e6 + 0.1)
    return (
        f"your notebook has {megabytes:.4g} MB; the limit is {MAX_BYTES // 1_000_000} MB: clear "
        "the outputs and hand in again"
    )


def clean(raw: bytes, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The clean notebook of a submission, and what there is to say about it.

    ``raw`` is the file as it came, ``released`` the notebook that the students were given. The
    result has the released cells in their order; cells to be answered have the student's source,
    and other cells that the student added follow the released cell that they followed. A file that
    cannot be read gives the released notebook, without an answer, and the reason.
    """
    try:
        return merge(*read(raw), released)
    except Unreadable as error:
        return copy.deepcopy(released), [str(error)]


def read(raw: bytes) -> tuple[list[Cell], list[str]]:
    """The cells of a notebook that may be anything, and what had to be left out of them.

    Raises:
        Unreadable: if it has no cells that could be read.
    """
    if len(raw) > MAX_BYTES:
        raise Unreadable(too_large(len(raw)))
    data = _parse(raw)
    version = data.get("nbformat")
    if version != 4 or isinstance(version, bool):
        raise Unreadable(
            f"your notebook has format {str(version)[:20]}, expected 4: open it in a current "
            "JupyterLab, save it and hand in again"
        )
    listed = data.get("cells")
    if not isinstance(listed, list) or not listed:
        raise Unreadable("your file is no notebook: it has no list of cells")
    notes, cells, left_out = [], [], Counter[str]()
    if len(listed) > MAX_CELLS:
        notes.append(f"your notebook has {len(listed)} cells: only the first {MAX_CELLS} are read")
    for item in listed[:MAX_CELLS]:
        try:
            cells.append(_cell(item, left_out))
        except Unreadable as error:
            left_out[f"{error}: left out"] += 1
    notes += [f"cells ({count}): {what}" for what, count in left_out.items()]
    return cells, notes


def _parse(raw: bytes) -> dict[str, Any]:
    again = "open it in JupyterLab, save it and hand in again"
    if not raw.strip():
        raise Unreadable(f"your file is empty: {again}")
    try:
        # Numbers are not used: no time is spent on long ones, and NaN does no harm.
        data = json.loads(
            raw.decode("utf-8-sig"), parse_int=_small, parse_float=str, parse_constant=str
        )
    except UnicodeDecodeError as error:
        raise Unreadable(f"your file is not UTF-8 text (byte {error.start}): {again}") from None
    except json.JSONDecodeError as error:
        reason = f"it is damaged in line {error.lineno} ({error.msg})"
        raise Unreadable(f"your file is no notebook: {reason}; {again}") from None
    except (RecursionError, MemoryError):
        raise Unreadable(f"your file is no notebook: it is nested too deeply; {again}") from None
    if not isinstance(data, dict):
        raise Unreadable(f"your file is no notebook: it holds a {type(data).__name__}; {again}")
    return data


def _small(digits: str) -> int | str:
    return int(digits) if len(digits) < 10 else digits[:10]


def _cell(item: Any, left_out: Counter[str]) -> Cell:
    """One cell, or Unreadable; ``left_out`` counts smaller faults."""
    if not isinstance(item, dict) or item.get("cell_type") not in ("code", "markdown", "raw"):
        raise Unreadable("neither code nor text")
    source = item.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise Unreadable("their source is neither a text nor a list of lines")
    if len(source) > MAX_CELL_BYTES or len(source.encode("utf8", "replace")) > MAX_CELL_BYTES:
        raise Unreadable(f"larger than {MAX_CELL_BYTES // 1000} kB")
    source, count = UNPRINTABLE.subn("\N{REPLACEMENT CHARACTER}", source.replace("\r\n", "\n"))
    if count:
        left_out["with control characters, which were replaced"] += 1
    metadata = item.get("metadata", {})
    about = metadata.get("nbgrader", {}) if isinstance(metadata, dict) else None
    if not isinstance(about, dict):
        left_out["with metadata that is not valid and was ignored"] += 1
        about = {}
    name, identity = about.get("grade_id"), item.get("id")
    return Cell(
        kind=item["cell_type"],
        source=source,
        name=name if isinstance(name, str) else None,
        identity=identity if isinstance(identity, str) else None,
        has_attachments=bool(item.get("attachments")),
    )


def merge(
    cells: list[Cell], notes: list[str], released: NotebookNode
) -> tuple[NotebookNode, list[str]]:
    """The released notebook with the student's sources put in; adds to ``notes``.

    Raises:
        Unreadable: if none of the graded cells is there; then it is another notebook.
    """
    notebook = copy.deepcopy(released)
    ours = {  # by grade_id: where the cell is
        cell.metadata.nbgrader.grade_id: index
        for index, cell in enumerate(notebook.cells)
        if "nbgrader" in cell.metadata
    }
    names = _identify(cells, notebook, ours)
    if not any(names):
        raise Unreadable(
            "none of the cells of these exercises is in your notebook: is it the right file? Fill "
            "in the notebook that you were given, rather than copying from it"
        )
    chosen, remarks = _choose(cells, names, notebook, ours)
    followers: dict[int, list[Cell]] = {}
    plain: dict[str, list[int]] = {}
    for index, cell in enumerate(notebook.cells):
        if "nbgrader" not in cell.metadata:
            plain.setdefault(cell.source.strip(), []).append(index)
    place = -1  # before the first cell
    for position, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if name is not None and chosen.get(name) == position:
            place = ours[name]
            if notebook.cells[place].metadata.nbgrader.solution:
                notebook.cells[place].source = cell.source
        elif name is None and (indexes := plain.get(cell.source.strip())):
            place = indexes.pop(0) if len(indexes) > 1 else indexes[0]
        elif cell.source.strip():
            followers.setdefault(place, []).append(cell)
    notebook.cells = _with_followers(notebook.cells, followers)
    attached = sum(cell.has_attachments for cell in cells)
    if attached:
        remarks.append(f"pictures attached to {attached} of your cells are not kept")
    return notebook, notes + remarks


def _identify(cells: list[Cell], notebook: NotebookNode, ours: dict[str, int]) -> list[str | None]:
    """The grade_id of each of the student's cells, or None for a cell that is not one of ours.

    Some editors drop or change metadata; then the id of the cell still tells.
    """
    by_identity = {notebook.cells[index].get("id"): name for name, index in ours.items()}
    return [
        cell.name
        if cell.name in ours
        else by_identity.get(cell.identity)
        if cell.identity
        else None
        for cell in cells
    ]


def _choose(
    cells: list[Cell], names: list[str | None], notebook: NotebookNode, ours: dict[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Which of the student's cells counts for each of ours, and what there is to say about it.

    Of several cells of one name the last counts that holds an answer; as in nbgrader the others
    still run, as plain cells.
    """
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if name is not None:
            positions.setdefault(name, []).append(position)
    chosen: dict[str, int] = {}
    kinds: dict[str, list[str]] = {"missing": [], "several": [], "edited": [], "turned": []}
    for name, index in ours.items():
        cell = notebook.cells[index]
        found = positions.get(name, [])
        if not found:
            kinds["missing"].append(name)
            continue
        if cell.metadata.nbgrader.solution:
            answered = [n for n in found if not _is_blank(cells[n].source, cell)]
        else:
            answered = [n for n in found if cells[n].source.strip() == cell.source.strip()]
            if not answered:
                kinds["edited"].append(name)
        chosen[name] = (answered or found)[-1]
        if len(found) > 1:
            kinds["several"].append(name)
        if cells[chosen[name]].kind != cell.cell_type:
            kinds["turned"].append(name)
    words = {
        "missing": "cells that are missing from your notebook (a missing answer counts as blank)",
        "several": "cells that are in your notebook more than once (the last answer counts)",
        "edited": "locked cells that you changed (grading uses the original)",
        "turned": "cells whose type was changed (grading uses the original type)",
    }
    return chosen, [f"{words[kind]}: {', '.join(found)}" for kind, found in kinds.items() if found]


def _is_blank(source: str, released: NotebookNode) -> bool:
    """Whether an answer is the stub, or nothing but comments."""
    if released.cell_type == "code":
        source = re.sub(r"(?m)^\s*#.*$", "", source)
    return source.strip() in ("", released.source.strip())


def _with_followers(
    cells: list[NotebookNode], followers: dict[int, list[Cell]]
) -> list[NotebookNode]:
    taken = {cell.get("id") for cell in cells}
    result: list[NotebookNode] = []
    number = 0
    for index in range(-1, len(cells)):
        if index >= 0:
            result.append(cells[index])
        for follower in followers.get(index, []):
            while (identity := f"added-{number}") in taken:
                number += 1
            taken.add(identity)
            result.append(NEW_CELL[follower.kind](follower.source, id=identity))
    return result
