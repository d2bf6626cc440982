"""How far a reader alone has come: read from the saved notebooks, told to nobody.

A part counts as solved if the outputs that were saved with its check say OK and hold no error.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nbformat import NotebookNode

from classroom.self_study import FOLDER, course_of, is_blank, read

State = Literal["solved", "written", "tried", "open"]
# "written" is a derivation: nobody but its reader can say whether it is right.
STATES: tuple[State, ...] = ("solved", "written", "tried", "open")
SAYS_OK = re.compile(r"^Exercise \d.*\bOK\b", re.M)

# Told apart on a light and on a dark page, by a colour-blind eye and, by their patterns, in grey.
LOOKS = {
    "solved": "background:#1b9e77",
    "written": "background:repeating-linear-gradient(90deg,#7b8fd4 0 3px,#5a6db5 3px 6px)",
    "tried": "background:repeating-linear-gradient(135deg,#e6a100 0 4px,#b87f00 4px 8px)",
    "open": "background:rgba(128,128,128,.3)",
}
MEANING = {
    "solved": "solved",
    "written": "written, to be compared with the solution",
    "tried": "tried",
    "open": "not begun",
}


@dataclass(frozen=True)
class Part:
    """Something that has points: a function with its check, or a derivation."""

    name: str
    exercise: str  # such as "Exercise 3"
    points: float
    state: State


@dataclass(frozen=True)
class Chapter:
    """One chapter, and the notebook of it that the reader saved last."""

    name: str
    title: str
    notebook: str
    parts: list[Part]

    def points(self, *states: State) -> float:
        """The points of the parts in these states; without any, of all."""
        return sum(part.points for part in self.parts if not states or part.state in states)


def state(cell: NotebookNode) -> State:
    """What became of a cell that has points."""
    if cell.cell_type == "markdown":
        return "open" if is_blank(cell) else "written"
    outputs = cell.get("outputs", [])
    if any(output.output_type == "error" for output in outputs):
        return "tried"
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    if SAYS_OK.search(printed):
        return "solved"
    return "tried" if outputs else "open"


def better(first: Part, second: Part) -> Part:
    """The one that has come further."""
    return min(first, second, key=lambda part: STATES.index(part.state))


def parts(notebook: NotebookNode) -> list[Part]:
    """The parts of one notebook, in their order."""
    found: dict[str, Part] = {}
    exercise, unanswered = "", set()
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        heading = re.match(r"## (Exercise \d+)", cell.source)
        if heading is not None:
            exercise = heading[1]
        if about.get("solution") and cell.cell_type == "code" and is_blank(cell):
            unanswered.add(about["grade_id"])
        if about.get("grade"):
            name, now = about["grade_id"].removeprefix("check_"), state(cell)
            # To run the checks of a page that was not worked on is no try yet.
            part = Part(name, exercise, about["points"], "open" if name in unanswered else now)
            found[name] = better(part, found.get(name, part))  # a reader may copy a cell
    return list(found.values())


def read_progress(folder: Path) -> list[Chapter]:
    """What the notebooks in a folder say; of copies of one chapter, the best of each part.

    Raises:
        ValueError: if there are no exercises in it.
    """
    newest_first = sorted(folder.glob("*.ipynb"), key=lambda path: -path.stat().st_mtime)
    chapters: dict[str, Chapter] = {}
    for path in newest_first:
        notebook = read(path)
        if notebook is None or "chapter" not in course_of(notebook):
            continue
        name, title = (str(course_of(notebook).get(key)) for key in ("chapter", "title"))
        known = chapters.setdefault(name, Chapter(name, title, path.name, parts(notebook)))
        if known.notebook != path.name:
            copies = {part.name: part for part in parts(notebook)}
            best = [better(part, copies.get(part.name, part)) for part in known.parts]
            chapters[name] = replace(known, parts=best)
    if not chapters:
        raise ValueError(
            f"folder must hold exercises, but there are none in {folder}; `make exercises`, or "
            f"`python -m classroom exercises`, writes them to {FOLDER}"
        )
    return [chapters[name] for name in sorted(chapters)]


def progress_table(folder: Path) -> str:
    """The progress as text, a line for each chapter, at most 80 characters wide.

    Raises:
        ValueError: if there are no exercises in the folder.
    """
    chapters = read_progress(folder)
    lines = [f"{'chapter':<32}{'points':>9}  {'parts':>8}  next"]
    for chapter in chapters:
        done = [part for part in chapter.parts if part.state in ("solved", "written")]
        following = next((part.name for part in chapter.parts if part not in done), "all done")
        points = f"{chapter.points('solved'):g} of {chapter.points():g}"
        count = f"{len(done)} of {len(chapter.parts)}"
        short = following if len(following) <= 26 else following[:25] + "…"
        lines.append(f"{chapter.name:<32}{points:>9}  {count:>8}  {short}")
    solved, total = (sum(c.points(*which) for c in chapters) for which in (("solved",), ()))
    lines.append(f"{'all':<32}{f'{solved:g} of {total:g}':>9}")
    written = sum(chapter.points("written") for chapter in chapters)
    if written:
        lines.append(f"and {written:g} points of derivations, to be compared with their solutions")
    return "\n".join(lines)


def progress_page(folder: Path) -> str:
    """The progress as HTML: a bar for each chapter, with what is open below it.

    Raises:
        ValueError: if there are no exercises in the folder.
    """
    chapters = read_progress(folder)
    solved, total = (sum(c.points(*which) for c in chapters) for which in (("solved",), ()))
    rows = "".join(_row(chapter) for chapter in chapters)
    legend = "".join(
        f'<span style="white-space:nowrap;margin-right:1em"><span style="display:inline-block;'
        f'width:14px;height:10px;margin-right:5px;{LOOKS[name]}"></span>{MEANING[name]}</span> '
        for name in STATES
    )
    return (
        f'<div style="max-width:46em"><p><b>{solved:g} of {total:g} points</b>, '
        f'as of the last time you saved</p>{rows}<p style="font-size:85%">{legend}</p></div>'
    )


def _row(chapter: Chapter) -> str:
    """A chapter: its name, its points, a bar, and the parts that are not done."""
    total = chapter.points() or 1
    pieces = "".join(
        f'<div style="width:{100 * chapter.points(name) / total:.2f}%;{LOOKS[name]}"></div>'
        for name in STATES
    )
    told = ", ".join(f"{chapter.points(name):g} {MEANING[name]}" for name in STATES)
    left = [part for part in chapter.parts if part.state in ("tried", "open")]
    listed = "".join(
        f"<li>{part.exercise}: <code>{html.escape(part.name)}</code> ({part.points:g})"
        f"{', tried' if part.state == 'tried' else ''}</li>"
        for part in left
    )
    below = (
        f'<details style="font-size:85%"><summary>{len(left)} of {len(chapter.parts)} parts to do'
        f", with their points</summary><ul>{listed}</ul></details>"
        if left
        else '<div style="font-size:85%">all parts done</div>'
    )
    return (
        f'<div style="margin:0 0 .9em"><div style="display:flex;justify-content:space-between;'
        f'gap:1em"><a href="{html.escape(chapter.notebook)}">{html.escape(chapter.title)}</a>'
        f'<span style="white-space:nowrap">{chapter.points("solved"):g} of {chapter.points():g}'
        f'</span></div><div role="img" aria-label="{told}" style="display:flex;height:12px;'
        f'margin:.25em 0">{pieces}</div>{below}</div>'
    )


def show_progress(folder: Path | None = None) -> None:
    """Show the progress in a notebook; by default that of the folder in which the notebook lies.

    Raises:
        ValueError: if there are no exercises in the folder.
    """
    from IPython.display import HTML, display

    display(HTML(progress_page(Path.cwd() if folder is None else folder)))
