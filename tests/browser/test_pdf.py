"""The book as one PDF, tried on two of its pages."""

from __future__ import annotations

import pdf
import pytest

pytestmark = [pytest.mark.site, pytest.mark.browser]
NAMES = ["intro", "chapters/04_gan_minimax"]


@pytest.fixture(scope="module")
def prints(chromium, site):
    wanted = pdf.anchors(site, NAMES)
    page = chromium.new_page()
    yield [pdf.print_page(page, site, "A part", name, wanted[name]) for name in NAMES]
    page.close()


@pytest.fixture(scope="module")
def book(prints, site):
    return pdf.put_together(prints, prints[0].sheets, site)


def test_the_outline_holds_parts_pages_and_sections(book, prints):
    contents, part, [intro, _, chapter, sections] = book.outline
    assert contents.title == "Contents"
    assert [part.title, intro.title, chapter.title] == ["A part", *(p.headings[0] for p in prints)]
    assert [section.title for section in sections] == prints[1].headings[1:]
    start = 2 * len(prints[0].sheets.pages)
    sheets = [book.get_destination_page_number(section) for section in sections]
    assert start <= sheets[0] and sheets == sorted(sheets) and sheets[-1] < len(book.pages)
    # Each section begins on the sheet that the outline names.
    for section, sheet in zip(sections, sheets, strict=True):
        assert section.title.split()[0] in book.pages[sheet].extract_text()


def test_a_link_to_another_page_leads_there_inside_the_book(book, prints):
    links = [
        reference.get_object()
        for sheet in book.pages
        for reference in sheet.get("/Annots", ())
        if reference.get_object()["/Subtype"] == "/Link"
    ]
    addresses = [link["/A"]["/URI"] for link in links if "/A" in link]
    assert addresses and all(address.startswith("https://") for address in addresses)
    chapter = book.pages[2 * len(prints[0].sheets.pages)].indirect_reference
    assert chapter in [link["/Dest"][0] for link in links if "/Dest" in link]


def test_formulas_pictures_and_the_quiz_are_on_paper(prints):
    chapter = prints[1].sheets
    text = " ".join(page.extract_text() for page in chapter.pages)
    assert "log" in text and "\\log" not in text
    assert "Answers" in text, "the quiz as text"
    assert "Copy to clipboard" not in text
    assert sum(len(page.images) for page in chapter.pages) > 3


def test_every_sheet_gets_its_number(chromium):
    page = chromium.new_page()
    sheets = pdf.numbers(page, 12).pages
    assert [sheet.extract_text().strip() for sheet in sheets] == [str(k) for k in range(1, 13)]
    page.close()
