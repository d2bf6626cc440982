"""The questions and answers, the glossary, and the links of all pages outside the chapters."""

from __future__ import annotations

import re
from functools import cache

import nbformat
import pytest
from markdown_pages import CHAPTERS, ROOT, dead, links, number, sections

PAGES = sorted(ROOT.glob("*.md"))
FAQ = (ROOT / "faq.md").read_text("utf8")
GLOSSARY = (ROOT / "glossary.md").read_text("utf8")
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")


def parts(text: str) -> dict[str, str]:
    """What stands below each heading of the third level."""
    found = re.findall(r"^### ([^\n]+)\n+(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert len(found) == len(dict(found)), "a heading occurs twice"
    return {heading: re.sub(r"\s+", " ", body).strip() for heading, body in found}


ANSWERS, TERMS = parts(FAQ), parts(GLOSSARY)


def sentences(text: str) -> int:
    """How many there are; a full stop inside a number, code, a formula or a link is none."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)|`[^`]*`|\$[^$]*\$", "link", text)
    return len(re.findall(r"[.!?](?=[\"”)]*(?:\s|$))", text))


def shown(text: str) -> list[str]:
    """The targets of links into the project."""
    return [target for _, target in links(text) if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    assert dead(page, page.read_text("utf8")) == []


def test_dead_links_are_noticed():
    page = ROOT / "faq.md"
    good = "[a](chapters/04_gan_minimax.ipynb#check-1) [b](training.md) [c](#questions-and-answers)"
    bad = ["chapters/04_gan_minimax.ipynb#check-99", "nowhere.md", "#no-such-heading"]
    assert dead(page, good + "".join(f" [x]({target})" for target in bad)) == bad


@pytest.mark.parametrize("question", ANSWERS)
def test_an_answer_has_two_sentences_and_a_link_that_shows_it(question):
    assert question.endswith("?")
    assert sentences(ANSWERS[question]) == 2, ANSWERS[question]
    assert any("#" in target for target in shown(ANSWERS[question])), ANSWERS[question]


def test_sentences_are_counted():
    text = "It is 0.5 at $D = 0.1$. See [section 1.6](x.md#a.b)! Is `a. b` code?"
    assert sentences(text) == 3 and sentences('He said "no." Then more.') == 2


@cache
def printed(chapter: str) -> dict[str, list[float]]:
    """The numbers printed below each heading of a chapter, also by the names of its checks."""
    path = next(path for path in CHAPTERS if number(path) == chapter)
    below: dict[str, list[str]] = {}
    here: list[str] = []
    for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
        if cell.cell_type == "markdown":
            headings = [anchor for anchor, _ in sections(cell.source)]
            here = [] if headings else here
            checks = re.findall(r"^\*\*Check (\d+)\.", cell.source, re.M)
            below |= dict.fromkeys([*headings, *(f"check-{k}" for k in checks)], here)
        here += [output.get("text", "") for output in cell.get("outputs", [])]
    return {name: numbers_of("\n".join(texts)) for name, texts in below.items()}


def numbers_of(text: str) -> list[float]:
    digits = re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\d)", text)
    return [float(number.replace(",", "")) for number in digits]


def unprinted(text: str, numbers: list[float]) -> list[str]:
    """The numbers of a text that are not among the given ones, rounded or as a percentage."""
    plain = re.sub(r"\[[^]]*\]\([^)]*\)|`[^`]*`|\$[^$]*\$|\b(?:19|20)\d\d\b", "", text)
    plain = re.sub(
        r"\b(?:chapter|section)s? \d[\d.]*(?:,? (?:and )?\d\d\b)*", "", plain, flags=re.I
    )
    missing = []
    for digits in NUMBER.findall(plain):
        value = float(digits.replace(",", ""))
        half = 0.5 * 10.0 ** -len(digits.partition(".")[2]) + 1e-9
        if not any(abs(n - value) <= half or abs(100 * n - value) <= half for n in numbers):
            missing.append(digits)
    return missing


@pytest.mark.parametrize("question", ANSWERS)
def test_a_number_in_an_answer_is_printed_in_a_section_it_links_to(question):
    places = re.findall(r"chapters/(\d\d)_\w+\.ipynb#([\w-]+)", ANSWERS[question])
    numbers = [v for chapter, anchor in places for v in printed(chapter).get(anchor, [])]
    assert unprinted(ANSWERS[question], numbers) == []


def test_a_wrong_number_is_noticed():
    numbers = [0.4913, 116.3, 4000.0]
    assert unprinted("from 49 % to −116 nats on 4,000 digits, chapter 07", numbers) == []
    assert unprinted("from 48 % to −117 nats on 4,001 digits", numbers) == ["48", "117", "4,001"]


def test_there_are_enough_questions_and_terms():
    assert 25 <= len(ANSWERS) <= 40 and 60 <= len(TERMS) <= 90


def test_the_glossary_is_in_order_and_below_its_letters():
    assert list(TERMS) == sorted(TERMS, key=str.lower)
    letter = ""
    for level, title in re.findall(r"^(##|###) (.+)$", GLOSSARY, re.M):
        if level == "##":
            assert title > letter
            letter = title
        assert title[0].upper() == letter


@pytest.mark.parametrize("term", TERMS)
def test_a_term_has_one_to_three_sentences_and_a_place_that_shows_it(term):
    assert any("#" in target for target in shown(TERMS[term])), TERMS[term]
    assert 2 <= sentences(TERMS[term]) <= 4  # the last one is "Shown in ..."
