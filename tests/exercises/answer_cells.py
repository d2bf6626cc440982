"""What the files of collected answers are written with, and how one of them is tried."""

from __future__ import annotations

from textwrap import dedent
from typing import Any


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


def check_visibly(cells: dict[str, str], name: str, code: str) -> dict[str, Any]:
    """Run a solution cell and the visible half of its check; returns the names they leave."""
    namespace: dict[str, Any] = {}
    exec(cells["setup"], namespace)
    exec(code, namespace)
    exec(cells[f"check_{name}"].split("### BEGIN HIDDEN TESTS")[0], namespace)
    return namespace
