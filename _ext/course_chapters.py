"""What the landing page, the map and the gallery know of the chapters: read from the chapters.

Nothing is typed twice. The order and the parts are those of README.md's table, which also names the
planned chapters; titles, questions, minutes, prerequisites and pictures come from the notebooks.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path

PLAIN = ("image/png", "image/jpeg")
# "about 100 minutes", with or without a remark in brackets; "less than a minute on two CPU cores".
TIMES = re.compile(
    r"Reading with a pencil takes ([^;(]+?)\s*(?:\([^)]*\))?; running every cell takes ([^.]+)\."
)
PARTS = ("title", "question", "minutes")
# A row of the table in README.md: the part, or nothing; the number, the title, perhaps a link.
ROW = re.compile(
    r"^\| *(.*?) *\| *\**\[?(\d\d) ([^|\]]+?)(?:\]\(([^)]+)\.ipynb\))?\** *\|.*\|$", re.M
)


@dataclass(frozen=True)
class Figure:
    """One figure, film or panel among a notebook's outputs.

    Attributes:
        k: its place among them, from 1; its address on the page is #figure-k.
        kind: "figure", "film" or "panel".
        data: the bytes of its (first) picture.
        alt: what it shows, in words; empty where the notebook does not say.
        section: the heading above it, with the number of its section.
    """

    k: int
    kind: str
    data: bytes
    alt: str
    section: str


@dataclass(frozen=True)
class Chapter:
    """A written chapter, or a planned one, which has a number, a part and a title only."""

    number: int
    part: str
    title: str
    page: str = ""  # chapters/NN_name, without a suffix; empty: planned
    question: str = ""
    minutes: str = ""
    needs: tuple[int, ...] = ()
    helped_by: tuple[int, ...] = ()
    figures: tuple[Figure, ...] = field(default=(), repr=False)

    @property
    def short(self) -> str:
        """The title without its second half: "Attention: looking things up softly"."""
        return self.title.partition(":")[0]

    @property
    def label(self) -> str:
        return f"{self.number:02}"


class FirstImage(HTMLParser):
    """The source and the alternative text of the first <img> of an output."""

    def __init__(self) -> None:
        super().__init__()
        self.src = self.alt = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" and not self.src:
            found = dict(attrs)
            self.src, self.alt = found.get("src") or "", found.get("alt") or ""


def is_picture(page: str) -> bool:
    """Whether the HTML of an output is a figure, a film or a panel of the library."""
    return 'class="frame-player' in page or 'class="course-figure"' in page


def picture(output: dict) -> tuple[str, bytes, str] | None:
    """Kind, bytes and alternative text of an output that is a picture; None for any other."""
    data = output.get("data", {})
    page = "".join(data.get("text/html", ""))
    if is_picture(page):
        first = FirstImage()
        first.feed(page)
        player = re.search(r'class="frame-player frame-player-(film|panel)', page)
        return (
            player[1] if player else "figure",
            base64.b64decode(first.src.partition("base64,")[2]),
            first.alt,
        )
    for mime in filter(data.__contains__, PLAIN):
        alt = output.get("metadata", {}).get(mime, {}).get("alt", "")
        return "figure", base64.b64decode("".join(data[mime])), alt
    return None


def figures(cells: list[dict]) -> tuple[Figure, ...]:
    """The pictures of a notebook in their order."""
    found: list[Figure] = []
    section = number = ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for heading in re.findall(r"^#+ +(.*)$", "".join(cell["source"]), re.M):
                if numbered := re.match(r"\d+\.\d+ ", heading):
                    number = numbered[0]
                section = heading if numbered else number + heading
        for output in cell.get("outputs", []):
            if (shown := picture(output)) is not None:
                found.append(Figure(len(found) + 1, *shown, section=section))
    return tuple(found)


def mentioned(sentence: str) -> list[int]:
    """The chapters that a sentence names: "chapters [11](…) and [12](…)", "chapter 04"."""
    text = re.sub(r"\]\([^)]*\)", "", sentence).replace("[", "")
    lists = re.findall(r"[Cc]hapters? ((?:\d+(?:, | and |, and )?)+)", text)
    return [int(number) for each in lists for number in re.findall(r"\d+", each)]


def read(path: Path, number: int, part: str, page: str) -> Chapter:
    """A written chapter from its notebook.

    Raises:
        ValueError: its first paragraphs lack the title, the question in bold, or the minutes.
    """
    cells = json.loads(path.read_text("utf8"))["cells"]
    blocks = [
        block
        for cell in cells[:8]
        if cell["cell_type"] == "markdown"
        for block in re.split(r"\n\s*\n", "".join(cell["source"]).strip())
    ]
    title = next((block[2:].strip() for block in blocks if block.startswith("# ")), "")
    question = next((m[1] for b in blocks if (m := re.search(r"\*\*([^*]+\?)\*\*", b))), "")
    need = next((block for block in blocks if TIMES.search(block)), "")
    if missing := [part for part, it in zip(PARTS, (title, question, need), strict=True) if not it]:
        raise ValueError(
            f"{path.name}: the {' and the '.join(missing)} not found; begin the chapter with a "
            "title '# …' and a question in bold, and write 'Reading with a pencil takes …; running "
            "every cell takes ….' in the paragraph 'You need …'"
        )
    reading, running = TIMES.search(need).groups()  # type: ignore[union-attr]
    minutes = f"{reading} to read, {running.removesuffix(' on two CPU cores')} to run"
    needs: list[int] = []
    helped: list[int] = []
    for sentence in re.split(r"(?<=\.) ", need):
        (helped if "not required" in sentence else needs).extend(mentioned(sentence))
    return Chapter(
        number, part, title, page, question, minutes[0].upper() + minutes[1:],
        tuple(needs), tuple(helped), figures(cells),
    )  # fmt: skip


@lru_cache(maxsize=1)
def chapters(root: Path) -> tuple[Chapter, ...]:
    """All chapters, written and planned, in the order of the table in README.md."""
    found, above = [], ""
    for part, digits, title, page in ROW.findall((root / "README.md").read_text("utf8")):
        above, number = part or above, int(digits)
        if page:
            found.append(read(root / f"{page}.ipynb", number, above, page))
        else:
            found.append(Chapter(number, above, title))
    return tuple(found)
