"""The symbols of a TeX formula: letters, Greek letters, words, operators."""

from __future__ import annotations

import re

# What needs no explanation: layout, brackets, arrows, and the signs and functions of school.
SCHOOL = (
    "frac tfrac dfrac sqrt left right bigl bigr Bigl Bigr biggl biggr Bigm bigm big Big middle "
    "quad qquad dots cdots ldots vdots underbrace overbrace begin end text tag displaystyle "
    "cdot times ge le geq leq ne neq approx equiv pm to mapsto leftarrow rightarrow Rightarrow "
    "sum prod int lim log exp max min sin cos tanh infty mid in colon lbrace rbrace bmod "
    "rVert rvert rangle rfloor rceil mathstrut limits nolimits arg"
)
PLAIN = set(SCHOOL.split())
ACCENTS = {"hat", "tilde", "bar", "vec", "dot"}
FONTS = {"mathcal", "mathbb", "mathbf", "boldsymbol"}
WORDS = {"operatorname", "mathrm", "mathit"}
WORD = r"\\(?:text|mathrm|operatorname)\{(\w+)\}"
TOKEN = re.compile(r"\\([A-Za-z]+)|\\.|([A-Za-z])")
ARGUMENT = re.compile(r"\s*(?:\{([^{}]*)\}|(\\[A-Za-z]+|[A-Za-z0-9]))")


def symbols(tex: str) -> list[str]:
    """The symbols of a formula in the order of their first occurrence.

    A subscript that is a word, a star and a prime belong to the symbol (`p_data`, `D^*`, `h'`);
    other subscripts and superscripts are symbols themselves.
    """
    tex = re.sub(r"\\tag\{[^}]*\}|\\(?:begin|end)\{[^}]*\}", " ", tex)
    tex = re.sub(r"\\frac\{d\}\{d([a-z])\}|(?<![A-Za-z\\])d([xzuta])(?![A-Za-z])", r"\1\2", tex)
    found: dict[str, None] = {}
    place = 0
    while match := TOKEN.search(tex, place):
        place = match.end()
        command, letter = match.groups()
        if command in ACCENTS | FONTS | WORDS | {"text"}:
            argument = ARGUMENT.match(tex, place)
            assert argument, f"\\{command} without an argument in {tex!r}"
            place = argument.end()
            inner = (argument[1] or argument[2] or "").strip()
            if command == "text":
                continue
            name = inner if command in WORDS else f"\\{command} {inner}"
        elif letter:
            name = letter
        elif command and command not in PLAIN:
            name = f"\\{command}"
        else:
            continue
        suffix = re.compile(rf"\s*_(?:\{{\s*{WORD}[^{{}}]*\}}|{WORD})").match(tex, place)
        if suffix:
            name, place = f"{name}_{suffix[1] or suffix[2]}", suffix.end()
        if star := re.compile(r"\^(?:\*|\{\*\})").match(tex, place):
            name, place = f"{name}^*", star.end()
        if primes := re.compile(r"'+").match(tex, place):
            name, place = name + primes[0], primes.end()
        found[name] = None
    return list(found)
