"""The reading list holds every paper that the course cites, and agrees with what is said of it."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from markdown_pages import CHAPTERS, ROOT, links, prose

PAPER = re.compile(r"https?://(?:dx\.)?(arxiv\.org|doi\.org)/(.+)")
LINKED = r"\[(?P<title>.+?)\]\((?P<url>(?:[^()\s]|\([^()\s]*\))+)\)"
ENTRY = re.compile(
    rf"(?P<authors>[^:]+): (?:{LINKED}|\*(?P<book>.+?)\*)\. "
    r"(?P<venue>.+?) (?P<year>\d{4})(?:, (?P<id>[^.]+(?:\.\S+)*?))?\. (?P<why>[A-Z].+[.?])"
)


class Entry(NamedTuple):
    """One line of the list."""

    authors: str
    title: str
    url: str
    year: int
    identifier: str


def entries(text: str) -> list[Entry]:
    found = []
    for item in re.findall(r"^- (.+(?:\n  .+)*)", text, re.M):
        line = re.sub(r"\s+", " ", item)
        match = ENTRY.fullmatch(line)
        assert match, f"not in the form of the list: {line}"
        title, url = match["title"] or match["book"], match["url"] or ""
        found.append(Entry(match["authors"], title, url, int(match["year"]), match["id"] or ""))
    return found


LIST = entries((ROOT / "reading_list.md").read_text("utf8"))
BY_ADDRESS = {entry.url: entry for entry in LIST if entry.url}
PAGES = [*CHAPTERS, *sorted(ROOT.glob("chapters/exercises/*/*.md")), *sorted(ROOT.glob("*.md"))]


def cited(text: str) -> list[tuple[str, str]]:
    """(text, address) of each link to arXiv or a DOI."""
    flat = re.sub(r"\s+", " ", prose(text))
    return [(name, target) for name, target in links(flat) if PAPER.match(target)]


def disagreement(name: str, entry: Entry) -> str:
    """What a citation such as "Ng and Jordan (2002)" says that the list does not."""
    years = re.findall(r"\b(?:19|20)\d\d\b", name)
    if years and int(years[0]) != entry.year:
        return f"{name}: the list has {entry.year}"
    if not years and "et al" not in name:
        return ""  # a name of the thing, not of its authors
    people = re.findall(r"[^\W\d_a-z][\w-]+", name)
    unknown = [person for person in people if person not in entry.authors]
    return f"{name}: the list has {entry.authors}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_paper_that_is_cited_is_in_the_list(page):
    missing = [pair for pair in cited(page.read_text("utf8")) if pair[1] not in BY_ADDRESS]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_authors_and_years_agree(page):
    pairs = [pair for pair in cited(page.read_text("utf8")) if pair[1] in BY_ADDRESS]
    assert [text for name, url in pairs if (text := disagreement(name, BY_ADDRESS[url]))] == []


def test_no_address_and_no_title_occurs_twice():
    for values in ([entry.url for entry in LIST if entry.url], [entry.title for entry in LIST]):
        assert [value for value in values if values.count(value) > 1] == []


def test_identifiers_are_well_formed_and_those_of_the_links():
    wrong = []
    for entry in LIST:
        address = PAPER.match(entry.url)
        if not address:
            wrong += [entry] * entry.identifier.startswith(("arXiv", "DOI"))
        elif address[1] == "arxiv.org":
            number = re.fullmatch(r"abs/(\d\d(?:0[1-9]|1[0-2])\.\d{4,5})", address[2])
            wrong += [entry] * (not number or entry.identifier != f"arXiv {number[1]}")
        else:
            good = re.fullmatch(r"10\.\d{4,}/\S+", address[2])
            wrong += [entry] * (not good or entry.identifier != f"DOI {address[2]}")
    assert wrong == []


def test_years_fit_the_identifiers():
    """A paper appears at most three years after it was put on arXiv, and not before."""
    wrong = []
    for entry in LIST:
        if entry.identifier.startswith("arXiv "):
            submitted = 2000 + int(entry.identifier.split()[1][:2])
            wrong += [entry] * (not 0 <= entry.year - submitted <= 3)
    assert wrong == []


def test_a_book_without_an_address_has_its_number():
    without = [entry for entry in LIST if not entry.url]
    assert all(re.fullmatch(r"ISBN [\d-]{17}", entry.identifier) for entry in without)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Kingma and Welling (2014)", ""),
        ("Kingma et al.", ""),
        ("the paper", ""),
        ("Kingma and Welling (2013)", "2014"),
        ("Goodfellow et al., 2014", "Kingma"),
    ],
)
def test_a_wrong_citation_is_noticed(name, expected):
    entry = Entry("D. P. Kingma and M. Welling", "Auto-Encoding Variational Bayes", "", 2014, "")
    assert expected in disagreement(name, entry) and bool(disagreement(name, entry)) == bool(
        expected
    )


def test_every_entry_is_read():
    text = (ROOT / "reading_list.md").read_text("utf8")
    assert len(LIST) == len(re.findall(r"^- ", text, re.M)) > 80
