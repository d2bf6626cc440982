"""No misspelt word, no doubled one, and British spelling, in everything that people read.

codespell knows common misspellings; the course's own words are in pyproject.toml
([tool.codespell]). It has no list for British texts, so the American forms are given here.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for pattern in ("*.md", "chapters/**/*.md") for path in ROOT.glob(pattern)]
FOLDERS = ("course_lib", "classroom", "scripts", "tests", "_ext")
CODE = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")]
OTHERS = (*ROOT.glob("chapters/quizzes/*.json"), ROOT / "pyproject.toml", ROOT / "Makefile")

# In lower case only, for names (Layer Normalization); size and prize have their z in Britain too.
AMERICAN = re.compile(
    r"\b(?:(?:un|dis)?colo(?:r|rs|red|ring|rful)|gray\w*|behavior\w*|favor\w*|neighbor\w*"
    r"|center(?:s|ed|ing)?|fiber\w*|meters?|liters?|model(?:ed|ing)|label(?:ed|ing)"
    r"|cancel(?:ed|ing)|travel(?:ed|ing)|signal(?:ed|ing)|level(?:ed|ing)|catalogs?|artifacts?"
    r"|(?:un)?learned|spelled|burned|defense|offense|skeptic\w*|fulfill|judgment|gotten|toward"
    r"|honor\w*|analog"
    r"|(?!(?:re|over|under)?si[z]|priz|seiz|capsiz|bucketiz)[a-z]+(?:iz|lyz)(?:e|es|ed|er|ers|ing|ations?))\b"
)
DOUBLED = re.compile(r"(?<![\w-])([A-Za-z]{2,})\s+\1(?![\w-])")


# Titles keep their own spelling: what leads to another host, and what is in italics.
TITLE = r"\[[^\]]*\]\(https?:(?:[^()\s]|\([^()]*\))*\)|(?<!\*)\*[A-Z][^*]*\*(?!\*)|https?://[^\s)]+"


def without(pattern: str, text: str) -> str:
    """The text with a # for each match, on as many lines as before."""
    return re.sub(pattern, lambda m: "#" + "\n" * m[0].count("\n"), text, flags=re.M | re.S)


def page_prose(text: str) -> str:
    """The words of a page: no front matter, code, formulas, titles, addresses."""
    text = without(r"\A---\n.*?\n---\n|^```.*?^```|\$\$.*?\$\$|\$[^$]+\$|`[^`]*`", text)
    return without(rf"{TITLE}|(?<=\])\([^)]*\)|<[^>]*>", text)


def code_prose(source: str) -> str:
    """The comments and docstrings of a program, without the names in backticks."""
    lines = [""] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0]] = token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            docstring = source.splitlines()[first.lineno - 1 : first.end_lineno]
            lines[first.lineno : first.lineno + len(docstring)] = docstring
    return without(rf"``[^`]*``|`[^`]*`|{TITLE}", "\n".join(lines[1:]))


def faults(pattern: re.Pattern[str], path: Path) -> list[str]:
    """Where a page or a program matches: file, line, what."""
    text = path.read_text("utf8")
    prose = code_prose(text) if path.suffix == ".py" else page_prose(text)
    name = path.relative_to(ROOT)
    return [
        f"{name}:{prose[: m.start()].count(chr(10)) + 1}: {m[0]}" for m in pattern.finditer(prose)
    ]


def misspelt(paths) -> str:
    command = [sys.executable, "-m", "codespell_lib", *map(str, paths)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not run.stderr, run.stderr
    return run.stdout


def test_no_word_is_misspelt():
    assert misspelt([*PAGES, *CODE, *OTHERS]) == ""


def test_the_spelling_is_british():
    assert [fault for path in [*PAGES, *CODE] for fault in faults(AMERICAN, path)] == []


def test_no_word_is_doubled():
    assert [fault for path in [*PAGES, *CODE] for fault in faults(DOUBLED, path)] == []


@pytest.mark.parametrize(
    "word",
    ["color", "gray", "centered", "normalize", "analyzes", "tokenizer", "labeled", "optimization"],
)
def test_an_american_form_is_noticed(word, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page, code = tmp_path / "page.md", tmp_path / "code.py"
    page.write_text(f"A `{word}` and ${word}$.\n\n```\n{word}\n```\n\nThe {word} is found.\n")
    code.write_text(
        f'{word} = 1\n\n\ndef f():\n    """The {word}, ``{word}``."""\n    # a {word}\n'
    )
    assert faults(AMERICAN, page) == [f"page.md:7: {word}"]
    assert faults(AMERICAN, code) == [f"code.py:5: {word}", f"code.py:6: {word}"]


def test_a_doubled_and_a_misspelt_word_are_noticed(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    wrong = "t" + "eh"  # in one piece, codespell would find it here
    page.write_text(f"Paris in the\nthe spring is {wrong} best, very-very good.\n")
    assert f"{wrong} ==> the" in misspelt([page])
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert faults(DOUBLED, page) == ["page.md:1: the\nthe"]


@pytest.mark.parametrize("word", ["size", "resized", "prize", "colour", "centre", "analyse"])
def test_british_words_are_left_in_peace(word):
    assert bool(AMERICAN.fullmatch(word)) is False
