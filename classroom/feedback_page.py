"""What a student wrote and saw, as harmless HTML: code, text with mathematics, output.

Everything here may be hostile. What comes out holds only elements that are made here, with the
student's characters escaped; no address in it leads to an image, a script or a style.
"""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

from markupsafe import Markup, escape
from mistune import HTMLRenderer, Markdown
from mistune.plugins.table import table
from nbconvert.filters import strip_ansi
from nbconvert.filters.markdown_mistune import MathBlockParser, MathInlineParser
from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]
from pygments.token import Token  # type: ignore[import-untyped]

from classroom.cleaning import UNPRINTABLE

# Characters that are shown of one cell, one text, one output, and one formula. Time is bounded with
# them: no parser here takes long for so little.
CODE, TEXT, PRINTED, FORMULA = 6000, 10_000, 1500, 2000

# The few kinds of word that a reader tells apart by colour, and the class of each on the page.
KINDS = (
    (Token.Comment, "c"),
    (Token.Keyword.Constant, "n"),
    (Token.Keyword, "k"),
    (Token.Operator.Word, "k"),
    (Token.Literal.String, "s"),
    (Token.Literal.Number, "n"),
    (Token.Name.Function, "f"),
    (Token.Name.Class, "f"),
)
LEXER = PythonLexer(stripnl=False, ensurenl=False)


def printable(text: str, longest: int) -> str:
    """The text without what steers a terminal, cut after ``longest`` characters."""
    # Cut before, because the patterns take time, and after, because an escape may grow.
    text = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", strip_ansi(text[: 2 * longest + 1]))
    return text if len(text) <= longest else text[:longest] + "\n… (cut here)"


def code(source: str) -> Markup:
    """Python code with its kinds of word marked."""
    pieces: list[str] = []
    previous, waiting = "", ""
    for token, value in LEXER.get_tokens(printable(source.rstrip(), CODE)):
        kind = next((name for kinds, name in KINDS if token in kinds), "")
        if value.isspace() or kind == previous:
            waiting += value
            continue
        pieces.append(_marked(previous, waiting))
        previous, waiting = kind, value
    return Markup("".join([*pieces, _marked(previous, waiting)]))


def _marked(kind: str, text: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>' if kind and text else str(escape(text))


# --- Text with mathematics -----------------------------------------------------------------------

# Attributes of MathML that come from the converter, not from the student, or that do no harm.
HARMLESS = {
    *("display", "displaystyle", "scriptlevel", "mathvariant", "stretchy", "fence", "form"),
    *("separator", "largeop", "movablelimits", "accent", "accentunder", "columnalign"),
    *("rowspacing", "columnspacing", "linethickness", "minsize", "maxsize", "linebreak"),
}
# Environments for use inside a formula, and those that the converter knows in their place.
INNER = re.compile(r"\{(align|gather)(?:ed)?\*?\}")


def mathematics(source: str, display: str = "inline") -> Markup:
    """A formula of LaTeX as MathML, or as its source if it cannot be read.

    ``display`` is "inline" or "block".
    """
    try:
        from latex2mathml.converter import convert_to_element

        if len(source) > FORMULA:
            raise ValueError("longer than any formula that is meant to be read")
        tree = convert_to_element(INNER.sub(r"{\1*}", source), display=display)
        for element in tree.iter():
            # The converter writes characters as references and takes them back in the finished
            # text, along with everything that was escaped in it: here that is done before.
            element.text = html.unescape(element.text or "")
            if element.text.startswith("\\"):
                raise ValueError(f"the command {element.text} is not known")
            attributes = {key: element.get(key, "") for key in HARMLESS & set(element.attrib)}
            element.attrib.clear()
            element.attrib.update(attributes)
        markup = Markup(ElementTree.tostring(tree, encoding="unicode"))
        return (
            Markup('<span class="display">{}</span>').format(markup)
            if display == "block"
            else markup
        )
    except Exception:  # whatever the converter stumbles over; also if it is not there
        return Markup('<code class="formula {}">{}</code>').format(display, source.strip())


class HarmlessHTML(HTMLRenderer):
    """Markdown without pictures, raw HTML, headings of its own, or addresses other than links."""

    def __init__(self) -> None:
        super().__init__(escape=True)

    def inline_math(self, text: str) -> str:
        return mathematics(text)

    def block_math(self, text: str) -> str:
        return mathematics(text, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return mathematics(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def heading(self, text: str, level: int, **attributes: object) -> str:
        return f'<p class="heading">{text}</p>'  # the headings of the page are ours

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"[picture: {text}]"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not url.lower().startswith(("https://", "http://")):
            return text
        return f'<a href="{escape(url)}" rel="noreferrer">{text}</a>'

    def block_code(self, code: str, info: str | None = None) -> str:
        return f"<pre>{escape(code)}</pre>"


def markdown(source: str) -> Markup:
    """A text in Markdown, with mathematics as Jupyter understands it."""
    parse = Markdown(
        HarmlessHTML(),
        block=MathBlockParser(),
        inline=MathInlineParser(),
        plugins=[table],
    )
    return Markup(parse(printable(source, TEXT)))


# --- Room ----------------------------------------------------------------------------------------


class Room:
    """How much of what students wrote still fits on a page of at most ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def fit(self, content: Markup, plain: str = "") -> Markup:
        """``content``, or if that is too much ``plain``, or if that is too much a word about it."""
        for each in (content, escape(plain)):
            size = len(each.encode())
            if 0 < size <= self.size:
                self.size -= size
                return each
        return Markup("(left out: the page is long)") if content else content
