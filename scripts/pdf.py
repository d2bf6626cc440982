"""Print the built site as one book, _build/course.pdf.

    python scripts/pdf.py        after `make book`

Chromium prints each page, with its formulas set; a player shows its first picture and a quiz its
questions and answers as text. pypdf puts the prints together behind a title page and the contents.
A link from page to page becomes a link inside the book, headings become its outline, and every
sheet gets its number.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import chromium
import yaml
from playwright.sync_api import Page
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, FloatObject, NameObject, NullObject
from tqdm import tqdm

from course_lib.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
TARGET = ROOT / "_build" / "course.pdf"
# The gallery repeats the pictures of the chapters, as buttons that lead there.
LEFT_OUT = ("gallery",)
PAPER: dict[str, Any] = {
    "format": "A4",
    "scale": 0.75,
    "print_background": True,
    "outline": True,
    "tagged": True,
    "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
}

# `written` is the page as it lies on the disk, before its scripts: there a player is its first
# picture, and a quiz is text.
_FOR_PAPER = """([written, wanted]) => {
    const source = new DOMParser().parseFromString(written, "text/html");
    const pairs = selector => [...document.querySelectorAll(selector)].map(
        (part, k) => [part, source.querySelectorAll(selector)[k]]);
    for (const [player, first] of pairs(".frame-player"))
        player.replaceWith(first.querySelector("img"));
    const plain = [...source.querySelectorAll(".course-quiz-plain")];
    document.querySelectorAll(".course-quiz").forEach((quiz, k) => quiz.replaceWith(plain[k]));
    document.querySelectorAll("details").forEach(fold => fold.open = true);
    document.querySelectorAll("img").forEach(image => image.loading = "eager");
    // Chromium keeps the places that some link of the same page leads to.
    const links = wanted.map(place => `<a href="#${place}"></a>`).join("");
    document.body.insertAdjacentHTML("beforeend", `<div hidden>${links}</div>`);
    document.head.insertAdjacentHTML("beforeend", `<style>
        .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .bd-footer,
        .bd-footer-content, .prev-next-footer, .headerlink, .copybtn, .skip-link, .pst-async-banner,
        #jb-print-toc, #pst-back-to-top { display: none !important; }
        .bd-content { margin: 0 !important; }
        .bd-article { padding: 0 8px !important; }
        html, body { background: #fff !important; }
        pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
        img, tr, div.math, div.highlight, div.cell_input { break-inside: avoid; }
        h1, h2, h3 { break-after: avoid; }
    </style>`);
}"""


@dataclass
class Print:
    """A printed page of the site: its name, part of the book, headings (title first), sheets."""

    name: str
    part: str
    headings: list[str]
    sheets: PdfReader


def entries(root: Path = ROOT) -> list[tuple[str, str]]:
    """(part, name) of every page of the book, in the order of the contents."""
    listed = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    chapters = [(p["caption"], c["file"]) for p in listed["parts"] for c in p["chapters"]]
    return [("", listed["root"]), *(entry for entry in chapters if entry[1] not in LEFT_OUT)]


def print_page(page: Page, site: Path, part: str, name: str, wanted: Iterable[str]) -> Print:
    """Print one page; `wanted` are the anchors in it that other pages link to."""
    path = site / f"{name}.html"
    page.goto(path.as_uri())
    chromium.typeset(page)
    page.evaluate(_FOR_PAPER, [path.read_text("utf8"), sorted(wanted)])
    page.wait_for_function("[...document.images].every(image => image.complete)")
    headings = page.locator("article h1, article h2").evaluate_all(
        """all => all.filter(heading => heading.checkVisibility()).map(heading => {
            heading.querySelector(".headerlink")?.remove();
            return heading.textContent.replace(/\\s+/g, " ").trim();
        })"""
    )
    return Print(name, part, headings, PdfReader(io.BytesIO(page.pdf(**PAPER))))


def anchors(site: Path, names: Iterable[str]) -> dict[str, set[str]]:
    """For each page, the anchors that links of other pages name."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for name in found:
        folder = (site / name).parent
        for link in re.findall(r'href="([^":]+\.html#[^"]+)"', (site / f"{name}.html").read_text()):
            address, place = urldefrag(link)
            target = (folder / address).resolve()
            if target.is_relative_to(site):
                found.get(target.relative_to(site).with_suffix("").as_posix(), set()).add(place)
    return found


def front(page: Page, prints: list[Print], first: dict[str, int]) -> PdfReader:
    """The title page and the contents; `first` is the number of each page's first sheet."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))
    lines, part = [], None
    for made in prints:
        if made.part != part:
            part = made.part
            lines.append(f"<h2>{escape(part)}</h2>")
        address, title = (SITE / f"{made.name}.html").as_uri(), escape(made.headings[0])
        lines.append(f'<p><a href="{address}">{title}</a><span>{first[made.name]}</span></p>')
    page.set_content(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{config["title"]}</title>
        <style>body {{ font: 19px/1.5 sans-serif }} h1 {{ font-size: 52px; line-height: 1.2;
        margin: 320px 0 24px }} section {{ break-before: page }} h2 {{ font-size: 21px;
        margin: 22px 0 4px }} p {{ display: flex; justify-content: space-between; gap: 3em;
        margin: 3px 0 }} a {{ color: inherit; text-decoration: none }}</style>
        <h1>{escape(config["title"])}</h1><p>{escape(config["author"])}</p>
        <p>{escape(str(config["copyright"]))}</p><section><h1 style="font-size:32px;margin:0">
        Contents</h1>{"".join(lines)}</section>"""
    )
    return PdfReader(io.BytesIO(page.pdf(**PAPER)))


def numbers(page: Page, count: int) -> PdfReader:
    """As many empty sheets as the book has, each with its number at the foot."""
    sheets = "".join(f"<div>{number}</div>" for number in range(1, count + 1))
    page.set_content(
        """<style>@page { size: A4; margin: 0 } body { margin: 0 } div { break-after: page;
        height: 283mm; display: flex; align-items: flex-end; justify-content: center;
        font: 12px sans-serif; color: #444 }</style>"""
        + sheets
    )
    return PdfReader(io.BytesIO(page.pdf(format="A4")))


def put_together(prints: list[Print], front_pages: PdfReader, site: Path) -> PdfWriter:
    """One book of the front pages and the prints, with its outline and its links."""
    writer = PdfWriter()
    writer.append(front_pages, import_outline=False)
    writer.add_outline_item("Contents", min(1, len(front_pages.pages) - 1))
    places: dict[tuple[str, str], ArrayObject] = {}
    owners = [""] * len(front_pages.pages)
    part, above = None, None
    for made in prints:
        start = len(writer.pages)
        writer.append(made.sheets, import_outline=False)
        owners += [made.name] * len(made.sheets.pages)
        if made.part != part:
            part = made.part
            above = writer.add_outline_item(part, start) if part else None
        chapter = writer.add_outline_item(made.headings[0], start, parent=above)
        places[made.name, ""] = _place(writer, start)
        for name, found in made.sheets.named_destinations.items():
            number = made.sheets.get_destination_page_number(found)
            if number is not None:
                places[made.name, name] = _place(writer, start + number, found.top)
        for title, number in zip(made.headings[1:], _sections(made.sheets), strict=False):
            writer.add_outline_item(title, start + number, parent=chapter)
    for sheet, owner in zip(writer.pages, owners, strict=True):
        for reference in sheet.get("/Annots", ()):
            _lead_inside(reference.get_object(), owner, places, site)
    for name in ("/Dests", "/Names"):  # the names of one print mean nothing in another
        writer.root_object.pop(NameObject(name), None)
    return writer


def _place(writer: PdfWriter, number: int, top: Any = None) -> ArrayObject:
    height = FloatObject(top) if isinstance(top, (int, float)) else NullObject()
    reference = writer.pages[number].indirect_reference
    return ArrayObject([reference, NameObject("/XYZ"), NullObject(), height, NullObject()])


def _sections(sheets: PdfReader) -> Iterable[int]:
    """The sheets on which the headings below the title are, from Chromium's outline."""
    # (Its titles lose spaces and double words where a heading has more than one line.)
    for item in sheets.outline:
        for below in item if isinstance(item, list) else ():
            if not isinstance(below, list):
                yield sheets.get_destination_page_number(below) or 0


def _lead_inside(
    link: DictionaryObject, owner: str, places: dict[tuple[str, str], ArrayObject], site: Path
) -> None:
    """Point a link at its place in the book, if it leads to one of the book's pages."""
    address = link.get("/A", {}).get("/URI", "")
    if address.startswith(site.as_uri()):
        page, place = urldefrag(unquote(address[len(site.as_uri()) + 1 :]))
        target = (page.removesuffix(".html"), place)
    elif "/Dest" in link and not isinstance(link["/Dest"], ArrayObject):
        target = (owner, str(link["/Dest"]).removeprefix("/"))
    else:
        return
    found = places.get(target) or places.get((target[0], ""))
    link.pop("/A", None)
    if found is not None:
        link[NameObject("/Dest")] = found


def main() -> None:
    if not (SITE / "intro.html").exists():
        raise SystemExit(f"there is no site in {SITE.relative_to(ROOT)}; run make book first")
    listed = entries()
    wanted = anchors(SITE, [name for _, name in listed])
    with chromium.browser() as browser:
        page = browser.new_page()
        progress = tqdm(listed, unit="page", disable=not sys.stderr.isatty())
        prints = [print_page(page, SITE, part, name, wanted[name]) for part, name in progress]
        draft = front(page, prints, dict.fromkeys((made.name for made in prints), 999))
        first, sheets = {}, len(draft.pages)
        for made in prints:
            first[made.name] = sheets + 1
            sheets += len(made.sheets.pages)
        book = put_together(prints, front(page, prints, first), SITE)
        for sheet, number in zip(book.pages, numbers(page, sheets).pages, strict=True):
            sheet.merge_page(number)
            sheet.compress_content_streams()
    book.compress_identical_objects()
    buffer = io.BytesIO()
    book.write(buffer)
    write_atomically(TARGET, buffer.getvalue())
    size = TARGET.stat().st_size / 1e6
    print(f"{TARGET.relative_to(ROOT)}: {sheets} pages, {size:.1f} MB")


if __name__ == "__main__":
    main()
