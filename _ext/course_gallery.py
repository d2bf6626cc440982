"""The gallery: every figure, film and panel of the chapters, and the small pictures it shows.

The filter is style sheet only: radio buttons and `:has()`. So it works from the keyboard, without a
script, and from a disk.
"""

from __future__ import annotations

import io
from html import escape
from pathlib import Path

from course_chapters import Chapter, Figure
from PIL import Image

THUMBNAILS = "_images/thumbnails"
KINDS = {"figure": "figures", "film": "films", "panel": "panels"}


def address(chapter: Chapter, figure: Figure) -> str:
    """Where the small picture of a figure lies in the built site."""
    return f"{THUMBNAILS}/{chapter.label}-{figure.k}.webp"


def small(data: bytes, size: tuple[int, int], crop: bool = False) -> bytes:
    """A picture made small: inside `size`, or filling it from the middle, in pixels."""
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    scale = (max if crop else min)(size[0] / whole.width, size[1] / whole.height)
    if crop or scale < 1:
        whole = whole.resize(
            (max(1, round(whole.width * scale)), max(1, round(whole.height * scale))),
            Image.Resampling.LANCZOS,
        )
    if crop:
        left, top = (whole.width - size[0]) // 2, (whole.height - size[1]) // 2
        whole = whole.crop((left, top, left + size[0], top + size[1]))
    buffer = io.BytesIO()
    whole.save(buffer, "WEBP", quality=82, method=4)
    return buffer.getvalue()


def write_thumbnails(chapters: tuple[Chapter, ...], stations: dict[str, int], site: Path) -> None:
    """The small pictures of the gallery and, twice as dense as the screen, those of the map."""
    folder = site / THUMBNAILS
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in chapters:
        for figure in chapter.figures:
            (site / address(chapter, figure)).write_bytes(small(figure.data, (440, 330)))
        if chapter.figures:
            k = stations.get(chapter.label, 1)
            if not 1 <= k <= len(chapter.figures):
                raise ValueError(
                    f"course_map_figures in _config.yml names figure {k} of chapter "
                    f"{chapter.label}, which has {len(chapter.figures)}; name one of these"
                )
            chosen = chapter.figures[k - 1]
            station = small(chosen.data, (264, 176), crop=True)
            (folder / f"map-{chapter.label}.webp").write_bytes(station)


def shortened(text: str, most: int = 150) -> str:
    """Whole sentences of a text, at most `most` characters; failing that, its first words."""
    if len(text) <= most:
        return text
    end = max(text.rfind(mark, 0, most) for mark in (". ", "; "))
    return text[: end + 1].rstrip(";") if end > 40 else text[: text.rfind(" ", 0, most)] + " …"


def card(chapter: Chapter, figure: Figure) -> str:
    """One picture with its kind, the section it stands in, and what it shows."""
    badge = "" if figure.kind == "figure" else f'<span class="kind">{figure.kind}</span>'
    width, height = Image.open(io.BytesIO(figure.data)).size
    # What an author wrote, for a panel or a film, is its caption. The words for a figure are
    # computed: who sees it needs none of them, who does not hears them from the picture.
    said = shortened(figure.alt)
    alt, caption = (said, "") if figure.kind == "figure" else ("", f" {said}")
    return (
        f'<li class="{figure.kind}"><a href="{chapter.page}.html#figure-{figure.k}">'
        f'<span class="picture"><img src="{address(chapter, figure)}" alt="{escape(alt)}" '
        f'loading="lazy" width="{width}" height="{height}">{badge}</span><span class="caption">'
        f"<strong>{escape(figure.section)}</strong>{escape(caption)}</span></a></li>"
    )


def choices(name: str, legend: str, options: dict[str, str]) -> str:
    """One row of the filter; the first option, everything, is chosen."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" id="{name}-{value}"'
        f"{' checked' if value == 'all' else ''}><span>{text}</span></label>"
        for value, text in {"all": "all", **options}.items()
    )
    return f"<fieldset><legend>{legend}</legend>{buttons}</fieldset>"


def gallery(chapters: tuple[Chapter, ...]) -> str:
    """The page's HTML: the filter, then the pictures chapter by chapter."""
    written = [chapter for chapter in chapters if chapter.figures]
    everything = [figure for chapter in written for figure in chapter.figures]
    numbers = {kind: sum(f.kind == kind for f in everything) for kind in KINDS}
    kinds = {kind: f"{name} ({numbers[kind]})" for kind, name in KINDS.items()}
    rules = [
        f"#course-gallery:has(#chapter-{c.label}:checked) section:not(.chapter-{c.label})"
        for c in written
    ]
    for kind in KINDS:
        chosen = f"#course-gallery:has(#kind-{kind}:checked)"
        rules += [f"{chosen} li:not(.{kind})", f"{chosen} section:not(:has(li.{kind}))"]
    nothing = [
        f"#course-gallery:has(#chapter-{c.label}:checked):has(#kind-{kind}:checked) .nothing"
        for c in written
        for kind in KINDS
        if kind not in {figure.kind for figure in c.figures}
    ]
    sections = "".join(
        f'<section class="chapter-{chapter.label}"><h2>{chapter.label} '
        f'<a href="{chapter.page}.html">{escape(chapter.title)}</a></h2><ul role="list">'
        f"{''.join(card(chapter, figure) for figure in chapter.figures)}</ul></section>"
        for chapter in written
    )
    filters = choices("kind", "Show", kinds)
    filters += choices("chapter", "Chapter", {c.label: c.label for c in written})
    return (
        f"<style>{','.join(['#course-gallery .nothing', *rules])}{{display:none}}"
        f"{','.join(nothing) or 'none'}{{display:block}}</style><div id='course-gallery'>"
        f'<form class="filter" autocomplete="off" aria-label="Filter">{filters}</form>'
        f'<p class="nothing">This chapter has none of these.</p>{sections}</div>'
    )
