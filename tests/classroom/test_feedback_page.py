"""Code, text, formulas and output of students as HTML: readable, bounded, and unable to act."""

from __future__ import annotations

import itertools
import time

import pytest
from markupsafe import escape
from page_reader import OF_MATHEMATICS, OF_TEXTS, Reader

from classroom.feedback_page import Room, code, markdown, mathematics, printable

NAMES = [f"q{letter}" for letter in "abcdefghijklmnopqrst"]
# Each command is twice the one before it.
BOMB = "$\\newcommand{\\qa}{xx}" + "".join(
    f"\\newcommand{{\\{after}}}{{\\{before}\\{before}}}"
    for before, after in itertools.pairwise(NAMES)
)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <b onclick=alert(1)>b</b> c",
        "<div onclick='x'>\n\nb\n\n</div>",
        "[a](javascript:alert(1)) [b](JaVaScRiPt&colon;alert(1)) [c](data:text/html,x)",
        "[a](//example.org/x) [b](file:///etc/passwd) [c](vbscript:x)",
        '<javascript:alert(1)> <https://example.org/"onmouseover=alert(1)>',
        '[a](https://example.org/"onmouseover="alert(1) "t\\"onclick=\\"x")',
        '![a](https://example.org/x.png) ![b](x"onerror="alert(1))',
        "![<img src=x onerror=alert(1)>](x)",
        "[a]\n\n[a]: javascript:alert(1)",
        '```html" onclick="x\n<script>alert(1)</script>\n```',
        "`<script>`",
        "# <script>alert(1)</script>",
        "a | b\n-|-\n<script> | <img src=x>",
        "$\\text{<script>alert(1)</script>}$",
        "$\\text{&lt;script&gt;alert(1)&lt;/script&gt;}$",
        "$\\text{&amp;lt;script&amp;gt;}$",
        "$$<img src=x onerror=alert(1)>$$",
        "$\\href{javascript:alert(1)}{x}$",
        "$\\style{background:url(http://example.org)}{x} \\class{solved}{x}$",
        '$\\color{red"onclick="x}x$ $\\textcolor{url(x)}{x}$',
        "$\\unknown{<script>}$ $\\text{</math><script>}$",
        "$$\\begin{<script>}x\\end{<script>}$$",
        "\\begin{align}\n<script> &= x\n\\end{align}",
        "1. <script>\n\n> <script>\n\n- <script>",
    ],
)
def test_markdown_makes_nothing_that_acts(text):
    reader = Reader(markdown(text))
    assert reader.elements <= OF_TEXTS | OF_MATHEMATICS | {"p", "a", "code", "pre", "span"} | {
        *("ul", "ol", "li")
    }
    for element, name, value in reader.attributes:
        assert name in {"class", "href", "rel", "display", "stretchy", "columnalign", "fence"} | {
            *("displaystyle", "rowspacing", "columnspacing", "form", "style", "start")
        }, (element, name)
        assert name != "href" or value.startswith("https://example.org/")
        assert name != "style" or value == "text-align:left"


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 10**5, "$" * 10**5, "*a " * 10**5, "`" * 10**5, "<!--" * 10**5, "> " * 10**5),
        *("a|b\n-|-\n" + "|" * 10**5, "\\begin{a}" * 10**4, "\\\\[" * 10**5, "$a$" * 10**5),
        "$" + "{" * 1900 + "$",
        "$" + "\\sqrt{" * 300 + "}" * 300 + "$",
        BOMB + "\\qt$",
    ],
    ids=lambda text: text[:8],
)
def test_no_text_takes_long(text):
    began = time.process_time()
    markdown(text)
    code(text)
    assert time.process_time() - began < 2  # the longest takes half a second


def test_code_is_marked_and_kept_to_the_letter():
    source = 'def f(x):\n    """Text."""\n    return x + 1  # <why>\n'
    marked = code(source)
    assert Reader(marked).text == source.rstrip()
    for kind, text in (
        ("k", "def"),
        ("f", "f"),
        ("s", '"""Text."""'),
        ("n", "1"),
        ("c", "# <why>"),
    ):
        assert f'<span class="{kind}">{escape(text)}' in marked


def test_output_is_cleaned_and_cut():
    assert printable("\x1b[31mred\x1b[0m\x00\ud800", 100) == "red��"
    assert printable("ab" * 100, 3) == "aba\n… (cut here)"


@pytest.mark.parametrize(
    ("formula", "elements"),
    [
        (r"\tfrac12", {"mfrac"}),
        (r"\mathbb{E}_{x \sim p}[\log D(x)] \le 10^{12}", {"msub", "msup"}),
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", {"mtable", "mtr"}),
        (r"\begin{cases} 1 & x < 0 \\ 2 \end{cases}", {"mtable"}),
        (r"\operatorname{KL}(p \,\Vert\, q) = \sum_{i=1}^n \sqrt{x_i}", {"munderover", "msqrt"}),
    ],
)
def test_a_formula_becomes_mathml(formula, elements):
    reader = Reader(mathematics(formula, "block"))
    assert elements <= reader.elements <= OF_MATHEMATICS | {"span"}
    assert "&" not in reader.text and "\\" not in reader.text


@pytest.mark.parametrize("formula", [r"\frac{1}{", r"\macro x", "x" * 3000, r"\left( x", ""])
def test_a_formula_that_cannot_be_read_is_shown_as_it_is(formula):
    reader = Reader(mathematics(formula))
    assert reader.elements == {"code"} and reader.text == formula


def test_room_is_given_until_it_is_used_up():
    room = Room(10)
    assert room.fit(markdown(""), "") == ""
    assert room.fit(code("aaaa")) == "aaaa"
    assert room.fit(code("bbbbbbbbb"), "bbbb") == "bbbb"
    assert "left out" in room.fit(code("ccc"))
