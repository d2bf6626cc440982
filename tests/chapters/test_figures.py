"""Every picture of a chapter says what it shows, and its letters can be read on a phone."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import nbformat
import notebooks
import overview
import pytest
from PIL import Image

from course_lib.description import LONGEST, WORDLESS
from course_lib.plotting import DPI, STYLE

CHAPTERS = notebooks.chapters()
SHORTEST = 40  # characters of an alternative text
WIDEST = 640  # pixels on the page
COLUMN = 368  # pixels: the text of the site on a phone of 400
SMALLEST = 9  # pixels of letters there


class Shown(NamedTuple):
    """A picture in an output: where it stands, its words and its size on the page."""

    cell: int
    alt: str
    width: int
    height: int
    file: bytes


class Pictures(HTMLParser):
    """Collects the <img> of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.found.append({name: value or "" for name, value in attrs})


def pictures(notebook: nbformat.NotebookNode) -> list[Shown]:
    shown = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            page = Pictures()
            page.feed(output.get("data", {}).get("text/html", ""))
            for img in page.found:
                file = base64.b64decode(img["src"].partition("base64,")[2])
                size = int(img["width"]), int(img["height"])
                shown.append(Shown(number, img.get("alt", ""), *size, file))
    return shown


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                found.append(f"cell {number}: image/png, for which JupyterLab has no words")
    seen: set[str] = set()
    for cell, alt, width, height, file in pictures(notebook):
        if not SHORTEST <= len(alt) <= LONGEST:
            found.append(f"cell {cell}: alternative text of {len(alt)} characters: {alt}")
        if alt == WORDLESS:
            found.append(f"cell {cell}: {alt}")
        if "unlabelled" in alt:
            found.append(f"cell {cell}: an axis has no label: {alt}")
        if alt in seen:
            found.append(f"cell {cell}: the words of another picture: {alt}")
        seen.add(alt)
        if width > WIDEST:
            found.append(f"cell {cell}: {width} pixels wide, more than {WIDEST}")
        with Image.open(io.BytesIO(file)) as drawn:
            if abs(drawn.width / drawn.height * height / width - 1) > 0.02:
                found.append(f"cell {cell}: {drawn.size} is shown as {width} × {height}")
    return found


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_pictures_have_words_labels_and_a_size_that_fits(text: Path) -> None:
    notebook = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    assert len(pictures(notebook)) >= 3
    assert faults(notebook) == []


def test_letters_of_the_widest_figure_can_be_read_on_a_phone() -> None:
    points = min(STYLE[key] for key in STYLE if key.endswith(("size", "labelsize", "fontsize")))
    assert points * DPI / 72 * COLUMN / WIDEST >= SMALLEST


def made(*imgs: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("display_data", data={"text/html": img}) for img in imgs]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])


def img(alt: str, width: int = 60) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (2 * width, 80)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{alt}" src="data:image/png;base64,{data}" width="{width}" height="40">'


WORDS = "The loss falls from 2 to 1 within a hundred steps."


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        ([img("A figure")], "alternative text of 8 characters"),
        ([img("")], "alternative text of 0 characters"),
        ([img(WORDLESS)], WORDLESS),
        ([img(WORDS * 20)], "alternative text of 1000 characters"),
        ([img(WORDS), img(WORDS)], "words of another"),
        ([img(WORDS + " y axis: unlabelled, 0 to 1")], "no label"),
        ([img(WORDS, 700)], "700 pixels wide"),
        ([img(WORDS).replace('"40"', '"60"')], "is shown as"),
    ],
)
def test_a_fault_is_noticed(pages: list[str], fault: str) -> None:
    (found,) = faults(made(*pages))
    assert fault in found


def test_a_bare_picture_is_noticed() -> None:
    notebook = made()
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data={"image/png": "QQ=="})]
    assert "no words" in faults(notebook)[0]


def test_good_pictures_are_left_in_peace() -> None:
    assert faults(made(img(WORDS), img(WORDS + " Twice."))) == []


def test_the_readmes_picture_is_made_of_the_figures_that_are_tagged(tmp_path: Path) -> None:
    notebook = made(img(WORDS), img(WORDS, 30))
    (tmp_path / "chapters").mkdir()
    path = tmp_path / "chapters" / "01_a.ipynb"
    nbformat.write(notebook, path)
    assert overview.tagged_figures(tmp_path) == []
    notebook.cells[0].metadata.tags = ["overview"]
    nbformat.write(notebook, path)
    figures = overview.tagged_figures(tmp_path)
    assert [figure.size for figure in figures] == [(120, 80), (60, 80)]
    width, height = overview.BOX
    assert overview.in_rows(figures).size == (3 * width + 2 * overview.GAP, height)
    assert overview.in_rows(4 * figures).height == 3 * height + 2 * overview.GAP
