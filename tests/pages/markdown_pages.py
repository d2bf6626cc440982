"""What the tests of the pages read from Markdown: headings and their anchors, links, formulas."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from myst_parser.mdit_to_docutils.base import default_slugify

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(
    path for path in (ROOT / "chapters").glob("[0-9]*.md") if path.with_suffix(".ipynb").exists()
)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?:[^()\s]|\([^()\s]*\))+)\)")


def number(chapter: Path) -> str:
    """04 for chapters/04_gan_minimax.md."""
    return chapter.stem[:2]


def prose(text: str) -> str:
    """The text without its header and its blocks of code."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    return re.sub(r"^(`{3,})[^\n]*\n.*?^\1`*$", "", text, flags=re.S | re.M)


def sections(text: str) -> list[tuple[str, str]]:
    """(anchor, text) of each section of a page, in order; an anchor as MyST and GitHub make it."""
    found, seen = [], Counter[str]()
    for part in re.split(r"^(?=#{1,6} )", prose(text), flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        title = LINK.sub(r"\1", heading.lstrip("#").strip()).replace("*", "").replace("`", "")
        slug = default_slugify(title)
        body = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "", body)  # code between backticks
        found.append((slug if not seen[slug] else f"{slug}-{seen[slug]}", body))
        seen[slug] += 1
    return found


def anchors(path: Path) -> set[str]:
    """The anchors that a link to a page may name: headings, and the checks of a chapter."""
    text = path.with_suffix(".md").read_text("utf8")
    checks = re.findall(r"^\*\*Check (\d+)\.\*\*", text, re.M)
    return {slug for slug, _ in sections(text)} | {f"check-{k}" for k in checks}


def links(text: str) -> list[tuple[str, str]]:
    """(text, target) of each link."""
    return LINK.findall(text)


def dead(page: Path, text: str) -> list[str]:
    """The links of a page into the project that lead to no file or to no place in it."""
    found = []
    for _, target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        known = anchors(file) if anchor and file.suffix in {".md", ".ipynb"} else {anchor}
        if not file.exists() or anchor not in known:
            found.append(target)
    return found


def formulas(text: str) -> list[str]:
    """Everything between dollars."""
    found = re.findall(r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\$)((?:[^$\\]|\\.)+?)\$", text, re.S)
    return [first or second for first, second in found]
