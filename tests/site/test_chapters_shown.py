"""What the site reads from the chapters: questions, minutes, arrows, pictures; and its map."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import course_chapters
import course_gallery
import pytest
from course_map import course_map, narrow, places, wide
from PIL import Image


@pytest.fixture(scope="module")
def chapters(root):
    return course_chapters.chapters(root)


def written(chapters):
    return [chapter for chapter in chapters if chapter.page]


def test_chapters_are_those_of_the_table_in_order(chapters, root):
    assert [chapter.number for chapter in chapters] == list(range(1, 20))
    assert {f"{c.page}.ipynb" for c in written(chapters)} == {
        str(path.relative_to(root)) for path in root.glob("chapters/*.ipynb")
    }


def test_each_written_chapter_has_its_question_minutes_and_pictures(chapters):
    for chapter in written(chapters):
        assert chapter.question.endswith("?") and len(chapter.question) > 40
        assert re.fullmatch(r"About .+ to read, .+ minute.* to run", chapter.minutes)
        assert chapter.figures, chapter.title


def test_arrows_come_from_the_words_of_a_chapter():
    assert course_chapters.mentioned(
        "You need chapters [11](11_a.ipynb) and [12](12_b.ipynb)."
    ) == [11, 12]
    assert course_chapters.mentioned("You need chapter 04, matrices, 2 pens.") == [4]
    assert course_chapters.mentioned("You need calculus.") == []


def test_nobody_needs_a_later_chapter(chapters):
    for chapter in chapters:
        assert all(other < chapter.number for other in chapter.needs + chapter.helped_by)


def test_a_chapter_is_read_from_its_first_paragraphs(tmp_path):
    need = (
        "You need chapter 04. Chapter 11 helps but is not required. Reading with a pencil takes "
        "about an hour (two sittings); running every cell takes a minute on two CPU cores. More."
    )
    cells = [
        {"cell_type": "markdown", "source": f"# Title: more\n\nText. **Why?** Text.\n\n{need}"}
    ]
    path = tmp_path / "12_x.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    found = course_chapters.read(path, 12, "I", "chapters/12_x")
    assert (found.short, found.question, found.label) == ("Title", "Why?", "12")
    assert found.minutes == "About an hour to read, a minute to run"
    assert found.needs == (4,) and found.helped_by == (11,)


def test_a_chapter_without_minutes_is_refused(tmp_path):
    path = tmp_path / "01_x.ipynb"
    path.write_text('{"cells": [{"cell_type": "markdown", "source": "# X\\n\\n**Why?**"}]}')
    with pytest.raises(ValueError, match=r"01_x.ipynb: the minutes not found.*You need"):
        course_chapters.read(path, 1, "I", "chapters/01_x")
    path.write_text('{"cells": []}')
    with pytest.raises(ValueError, match="the title and the question and the minutes not found"):
        course_chapters.read(path, 1, "I", "chapters/01_x")


def test_a_station_with_a_figure_that_a_chapter_lacks_is_refused(tmp_path):
    figure = course_chapters.Figure(1, "figure", base64.b64decode(png()), "", "")
    chapter = course_chapters.Chapter(4, "I", "T", page="chapters/04_x", figures=(figure,))
    with pytest.raises(ValueError, match="names figure 2 of chapter 04, which has 1"):
        course_gallery.write_thumbnails((chapter,), {"04": 2}, tmp_path)


def png(colour: str = "red", size: tuple[int, int] = (300, 100)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def output(page: str) -> dict:
    return {"data": {"text/html": [page]}}


def test_every_form_of_a_picture_is_read():
    image = f'<img class="course-figure" alt="a &amp; b" src="data:image/png;base64,{png()}">'
    style = "<style>.frame-player-film label{}</style>"  # every player's style names both kinds
    panel = f'<div class="frame-player frame-player-panel">{style}{image}</div>'
    film = f'<div class="frame-player frame-player-film frame-player-pixels">{style}{image}</div>'
    old = {"data": {"image/png": png()}, "metadata": {"image/png": {"alt": "old"}}}
    cells = [
        {"cell_type": "markdown", "source": "## 1.1 A section\n\nText."},
        {"cell_type": "code", "source": "", "outputs": [output(image), output("<table></table>")]},
        {"cell_type": "markdown", "source": ["### Another\n", "\n", "# no heading in mid-line #"]},
        {"cell_type": "code", "source": "", "outputs": [output(panel), output(film), old]},
    ]
    found = course_chapters.figures(cells)
    assert [figure.kind for figure in found] == ["figure", "panel", "film", "figure"]
    assert [figure.alt for figure in found] == ["a & b", "a & b", "a & b", "old"]
    assert [figure.k for figure in found] == [1, 2, 3, 4]
    assert found[0].section == "1.1 A section"
    assert all(Image.open(io.BytesIO(figure.data)).size == (300, 100) for figure in found)


@pytest.mark.parametrize("draw", [wide, narrow])
def test_the_map_is_well_formed_and_links_each_written_chapter_once(chapters, draw):
    drawing = ET.fromstring(draw(chapters, "x/{label}.webp"))
    links = [link for link in drawing.iter("a")]
    assert [link.get("href") for link in links] == [f"{c.page}.html" for c in written(chapters)]
    for link, chapter in zip(links, written(chapters), strict=True):
        seen = " ".join(text.text for text in link.iter("text"))
        # The name that is read aloud begins with the text that is seen.
        assert link.get("aria-label").startswith(f"{chapter.label} {chapter.short}")
        assert seen.startswith(f"{chapter.label} {chapter.short}")
    words = " ".join(text.text for text in drawing.iter("text"))
    planned = [chapter for chapter in chapters if not chapter.page]
    assert words.count("planned") == len(planned)
    assert all(chapter.label in words for chapter in chapters)


def test_stations_do_not_overlap(chapters):
    place = places(chapters)
    for row in {y for _, y in place.values()}:
        across = sorted(x for x, y in place.values() if y == row)
        assert all(b - a > 90 for a, b in pairwise(across))
        assert across[0] > 60 and across[-1] < 800


def test_colours_of_the_map_are_the_theme_s(chapters, root):
    drawing = course_map(chapters, "x/{label}.webp")
    assert not re.search(r'(fill|stroke)="', drawing)
    style = (root / "_static" / "landing.css").read_text("utf8")
    rules = "".join(re.findall(r"^\.course-map[^{]*\{[^}]*\}", style, re.M))
    colours = set(re.findall(r"(?:fill|stroke): ([^;}\s]+)", rules))
    # White is the paper of a picture, in the light and in the dark.
    assert {c for c in colours if not c.startswith("var(--pst-color-")} <= {"none", "#fff"}


def test_a_thumbnail_fits_its_box_and_a_station_fills_it():
    data = base64.b64decode(png(size=(616, 352)))
    assert Image.open(io.BytesIO(course_gallery.small(data, (440, 330)))).size == (440, 251)
    assert Image.open(io.BytesIO(course_gallery.small(data, (264, 176), crop=True))).size == (
        264,
        176,
    )
    little = base64.b64decode(png(size=(100, 50)))
    assert Image.open(io.BytesIO(course_gallery.small(little, (440, 330)))).size == (100, 50)


def test_a_long_description_is_cut_after_a_sentence():
    text = "A sentence of some length about a picture with lines. " * 5
    cut = course_gallery.shortened(text, 120)
    assert cut == ("A sentence of some length about a picture with lines. " * 2).strip()
    assert course_gallery.shortened("word " * 50, 42) == "word " * 8 + "…"
    assert course_gallery.shortened("short", 42) == "short"
