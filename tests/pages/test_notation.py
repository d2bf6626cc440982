"""Every symbol of every chapter is explained on the notation page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_pages import CHAPTERS, ROOT, formulas, links, number, sections
from tex_symbols import symbols

PAGE = ROOT / "notation.md"


class Row(NamedTuple):
    """A line of the page's tables."""

    symbols: list[str]  # the first of each formula in the first column
    chapters: list[str]
    places: list[tuple[str, str]]  # (chapter, anchor) of each link


def rows(text: str) -> list[Row]:
    found = []
    for line in re.findall(r"^\| (?!symbol \|)(.+) \|$", text, re.M):
        cells = line.split(" | ")
        assert len(cells) == 3, line
        places = [
            (Path(target.partition("#")[0]).name[:2], target.partition("#")[2])
            for _, target in links(cells[2])
        ]
        plain = re.findall(r"(?<![\d.])\d\d(?![\d.])", re.sub(r"\[[^]]*\]\([^)]*\)", "", cells[2]))
        names = [symbols(formula)[0] for formula in formulas(cells[0])]
        found.append(Row(names, [chapter for chapter, _ in places] + plain, places))
    return found


def used(text: str) -> dict[str, list[str]]:
    """The anchors of the sections in which each symbol of a chapter stands."""
    found: dict[str, list[str]] = {}
    for anchor, body in sections(text):
        for symbol in {symbol for formula in formulas(body) for symbol in symbols(formula)}:
            found.setdefault(symbol, []).append(anchor)
    return found


ROWS = rows(PAGE.read_text("utf8"))
USED = {number(chapter): used(chapter.read_text("utf8")) for chapter in CHAPTERS}
EXPLAINED = {(name, chapter) for row in ROWS for name in row.symbols for chapter in row.chapters}


@pytest.mark.parametrize("chapter", USED)
def test_every_symbol_is_explained(chapter):
    assert [name for name in USED[chapter] if (name, chapter) not in EXPLAINED] == []


def test_nothing_is_explained_that_does_not_occur():
    assert [pair for pair in EXPLAINED if pair[0] not in USED[pair[1]]] == []


def test_a_row_links_to_a_section_that_holds_its_symbol():
    wrong = []
    for row in ROWS:
        assert row.places, row
        for chapter, anchor in row.places:
            if anchor not in USED[chapter].get(row.symbols[0], []):
                wrong.append((row.symbols[0], chapter, anchor))
    assert wrong == []


def test_a_symbol_with_one_meaning_links_to_its_first_section():
    wrong = []
    for row in ROWS:
        name, (chapter, anchor) = row.symbols[0], row.places[0]
        alone = sum(name in r.symbols and chapter in r.chapters for r in ROWS) == 1
        if alone and USED[chapter][name][0] != anchor:
            wrong.append((name, chapter, anchor, USED[chapter][name][0]))
    assert wrong == []


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"p_\theta(x_i)", ["p", r"\theta", "x", "i"]),
        (r"\log p_\text{data} + \ell_{\text{gen}} \tag{1.4}", ["p_data", r"\ell_gen"]),
        (r"D^*(x) = f'(d)", ["D^*", "x", "f'", "d"]),
        (r"\mathbb{E}_{z \sim q}[\hat x]", [r"\mathbb E", "z", r"\sim", "q", r"\hat x"]),
        (r"\mathcal N(0, I) \text{ and } \operatorname{Var}", [r"\mathcal N", "I", "Var"]),
        (r"\int p(x)\, dx = \frac{d}{da} \sigma(a)", ["p", "x", "a", r"\sigma"]),
        (r"\mathrm{KL}(p \Vert q) \le \tfrac12", ["KL", "p", r"\Vert", "q"]),
    ],
)
def test_symbols_of_a_formula(tex, expected):
    assert symbols(tex) == expected


def test_a_symbol_without_an_explanation_is_noticed():
    found = used("# A\n\nLet $\\Xi_k = x$ and\n\n$$ \\zeta^* = 1 $$\n\n```py\n# $\\aleph$\n```\n")
    assert found == {"\\Xi": ["a"], "k": ["a"], "x": ["a"], "\\zeta^*": ["a"]}
    assert ("\\Xi", "04") not in EXPLAINED


def test_a_row_says_its_chapters():
    page = "| symbol | meaning | where |\n|---|---|---|\n"
    page += "| $x$, $y_i$ | a sample | [4.1](chapters/04_gan.ipynb#41-the-game), 09, 12 |\n"
    assert rows(page) == [Row(["x", "y"], ["04", "09", "12"], [("04", "41-the-game")])]
