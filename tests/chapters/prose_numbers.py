"""Reads the numbers of a chapter: in its prose, its outputs and its code."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import nbformat
import notebooks

CHAPTERS = notebooks.chapters()
NEAR = 3  # cells

NUMBER = r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?"
VALUE = rf"(?P<sign>[-−])?(?P<digits>{NUMBER})(?P<exponent>e[-+]?\d+)?(?P<percent>\s?%|\sper cent)?"
# In prose, a digit behind a letter belongs to a name: float64, GPT-2.
PROSE_VALUE = rf"(?<![\w.])(?<![A-Za-z][-−]){VALUE}"
HEDGE = re.compile(r"(?i)\b(about|nearly|almost|roughly|some|over|than|at least|at most)\s+$")
LIST = r"\d+(?:\.\d+)?(?:(?:,| and| or| to|–|, and) \d+(?:\.\d+)?)*"


def found(pattern: str, texts: Iterable[str]) -> set[str]:
    return {match for text in texts for match in re.findall(pattern, text, re.M)}


TEXTS = [text.read_text("utf8") for text in CHAPTERS]
EQUATIONS = found(r"\\tag\{(\d+\.\d+)\}", TEXTS)
README = notebooks.ROOT.joinpath("README.md").read_text("utf8")
PLANNED = found(r"^\|[^|]*\| (?:\*\*\[)?(\d\d) ", [README])
PLANNED |= {str(int(number)) for number in PLANNED}  # of books
SECTIONS = found(r"^## (\d+\.\d+) ", TEXTS)


@dataclass(frozen=True)
class Value:
    """A number as written: 0.50 has two decimals, "about 12,000" has minus three."""

    size: float
    decimals: int
    negative: bool
    roundable: bool = False  # with two digits or an "about": one digit alone fits too much


def values(match: re.Match[str], hedged: bool = False) -> Iterator[Value]:
    """What a written number says: 83 % is also 0.83."""
    digits = match["digits"].replace(",", "")
    decimals = len(digits.partition(".")[2])
    if hedged and not decimals and digits.strip("0"):
        decimals = len(digits.rstrip("0")) - len(digits)
    roundable = hedged or len(digits.replace(".", "").lstrip("0")) >= 2
    exponent = int((match["exponent"] or "e0")[1:])
    for shift in (0, 2) if match["percent"] else (0,):
        size = float(digits) * 10.0 ** (exponent - shift)
        yield Value(size, decimals + shift - exponent, bool(match["sign"]), roundable)


def same(prose: Value, other: Value) -> bool:
    signs = other.negative or not prose.negative
    return signs and abs(prose.size - other.size) <= 1e-9 * prose.size


def rounds_to(prose: Value, printed: Value) -> bool:
    signs = printed.negative or not prose.negative
    half = 0.5 * 10.0**-prose.decimals * (1 + 1e-9)
    finer = prose.roundable and printed.decimals > prose.decimals
    return signs and finer and abs(prose.size - printed.size) <= half


def printed_values(cell: nbformat.NotebookNode) -> Iterator[Value]:
    """The numbers that a cell prints; the text beside a picture or a player is no print."""
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.get("text", "") + (data["text/plain"] if [*data] == ["text/plain"] else "")
        for match in re.finditer(VALUE, text):
            yield from values(match)


def code_values(source: str) -> Iterator[Value]:
    """The numbers in a cell's code, without those in strings and formats."""
    for node in ast.walk(ast.parse(source)):
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        number = node.operand if negative else node
        if isinstance(number, ast.Constant) and type(number.value) in (int, float):
            yield Value(float(number.value), 0, negative)


def blanked(text: str, pattern: str, known: set[str] | None = None) -> str:
    """The text with spaces for each match; if some numbers are known, for these numbers only."""

    def spaces(match: re.Match[str]) -> str:
        if known is None:
            return re.sub(r"\S", " ", match[0])
        number = r"\d+(?:\.\d+)?"
        return re.sub(number, lambda n: " " * len(n[0]) if n[0] in known else n[0], match[0])

    return re.sub(pattern, spaces, text, flags=re.M | re.S)


def without_references(prose: str, checks: set[str]) -> str:
    """The prose with spaces for what is no statement of a number."""
    prose = blanked(prose, r"^```.*?^```|<[^>]*>|\$\$.*?\$\$")
    decimals = r"(?<![\d.])\d+\.\d+"
    for formula in re.finditer(r"(?<!\\)\$[^$]+\$", prose):
        kept = list(re.finditer(decimals, formula[0]))
        blank = [" "] * len(formula[0])
        for number in kept:
            begin = number.start() - formula[0][: number.start()].endswith("-")
            blank[begin : number.end()] = formula[0][begin : number.end()]
        prose = prose[: formula.start()] + "".join(blank) + prose[formula.end() :]
    for pattern, known in (
        (r"(?<=\])\((?:[^()\s]|\([^()]*\))*\)|https?://\S+|`[^`\s]*/[^`]*`", None),
        (r"^#+ \d+\.\d+|^\s*\d+\. ", None),
        (r"\b(?:1[89]\d|20[0-3])\ds?\b", None),  # years; a count has its comma: 2,000
        (r"pencil takes about \d+ minutes", None),
        (r"\(\d+\.\d+\)", EQUATIONS),
        (rf"\b[Ss]ections? {LIST}", SECTIONS),
        (rf"\b[Cc]hecks? {LIST}", checks),
        (rf"\b[Cc]hapters? \[?{LIST}|(?<=\[)\d\d(?=\])|\b0\d\b(?!\.\d)", PLANNED),
        (r"\b(?:[Ff]igure|[Tt]heorem|[Pp]roposition|[Ll]emma) \d+", None),
    ):
        prose = blanked(prose, pattern, known)
    return prose


def sentence(text: str, position: int) -> str:
    """The sentence around a position, on one line."""
    ends = [m.end() for m in re.finditer(r"[.!?:]\**\s+(?=[A-Z*(])|\n\s*\n", text)]
    begin = max((end for end in ends if end <= position), default=0)
    end = min((end for end in ends if end > position), default=len(text))
    return " ".join(text[begin:end].split())


class Nearby:
    """The numbers of the cells above: the last three, and none of an earlier section."""

    def __init__(self) -> None:
        self.printed: deque[list[Value]] = deque(maxlen=NEAR)
        self.code: deque[list[Value]] = deque(maxlen=NEAR)

    def cell(self, cell: nbformat.NotebookNode) -> None:
        self.printed.append(list(printed_values(cell)))
        self.code.append(list(code_values(cell.source)))

    def section(self) -> None:
        self.printed.clear()
        self.code.clear()

    def account_for(self, number: Value, beside: list[Value]) -> bool:
        exact = chain(*self.printed, *self.code, beside)
        return any(same(number, value) for value in exact) or any(
            rounds_to(number, value) for value in chain(*self.printed)
        )


def unprinted(
    markdown: str, cells: list[nbformat.NotebookNode], allowed: Iterable[str]
) -> list[str]:
    """The numbers in a chapter's prose that nothing accounts for: line, number, sentence.

    Args:
        markdown: the chapter's text.
        cells: its cells, the code cells with their outputs.
        allowed: phrases whose numbers may stand.
    """
    checks = found(r"\*\*Check (\d+)\.\*\*", [markdown])
    faults, nearby, offset = [], Nearby(), 0
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type == "code":
            nearby.cell(cell)
            continue
        offset = markdown.index(cell.source, offset)
        prose = cell.source
        for phrase in sorted(allowed, key=len, reverse=True):
            prose = blanked(prose, rf"(?<![\d,.×]){re.escape(phrase)}(?![\d×]|[,.]\d)")
        prose = without_references(prose, checks)
        beside = list(code_values(after.source)) if after and after.cell_type == "code" else []
        for match in re.finditer(rf"(?P<heading>^## )|{PROSE_VALUE}", prose, re.M):
            if match["heading"]:
                nearby.section()
                continue
            hedged = bool(HEDGE.search(prose[: match.start()]))
            if not any(nearby.account_for(v, beside) for v in values(match, hedged)):
                line = markdown[: offset + match.start()].count("\n") + 1
                faults.append(f"{line}: {match[0]}: {sentence(cell.source, match.start())}")
    return faults


def with_outputs(text: Path) -> list[nbformat.NotebookNode]:
    """The cells of the text; the code cells have the outputs that are committed for them."""
    notebook = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    cells = notebooks.read_text(text).cells
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = outputs.get(cell.id, [])  # test_pairs notices what was not executed
    return cells


def unprinted_in_quiz(questions: list[dict], cells: list[nbformat.NotebookNode]) -> list[str]:
    """The numbers in the feedback of a quiz that its chapter nowhere prints or defines.

    A question, and a wrong answer, may suppose a number. Integers up to ten prove nothing here.
    """
    code = [cell for cell in cells if cell.cell_type == "code"]
    printed = [value for cell in code for value in printed_values(cell)]
    exact = printed + [value for cell in code for value in code_values(cell.source)]
    faults = []
    for question in questions:
        given = " ".join([question["question"], *(a["answer"] for a in question["answers"])])
        supposed = [v for match in re.finditer(PROSE_VALUE, given) for v in values(match)]
        for feedback in (answer["feedback"] for answer in question["answers"]):
            plain = without_references(feedback, set(re.findall(r"\d+", feedback)))
            for match in re.finditer(PROSE_VALUE, plain):
                numbers = list(values(match, bool(HEDGE.search(plain[: match.start()]))))
                known = numbers[0].size in range(11) or any(
                    any(same(v, w) for w in chain(exact, supposed))
                    or any(rounds_to(v, w) for w in printed)
                    for v in numbers
                )
                if not known:
                    faults.append(f"{match[0]}: {feedback}")
    return faults
