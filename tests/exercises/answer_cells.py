"""What the files of collected answers are written with."""

from __future__ import annotations

from textwrap import dedent


def dedented(text: str) -> str:
    """The text of a cell, without the indentation that it has in a file of answers."""
    return dedent(text).strip("\n")


def with_body(signature: str, body: str) -> str:
    """A function, such as ``with_body("f(x)", "return x")``."""
    return f"def {signature}:\n" + "\n".join("    " + line for line in dedented(body).split("\n"))


def changed(code: str, *changes: tuple[str, str]) -> str:
    """The right answer with some changes, each of which must fit exactly once."""
    for old, new in changes:
        if code.count(old) != 1:
            raise ValueError(f"{old!r} occurs {code.count(old)} times, expected once")
        code = code.replace(old, new)
    return code
