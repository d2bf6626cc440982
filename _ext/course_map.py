"""The map of the chapters: a path through all of them, as SVG in two layouts, wide and for a phone.

Text stays text, stations are links, and every colour is a variable of the theme, so that the map
can be searched, read aloud, walked with the Tab key and looked at in the dark. The style sheet
shows one of the two layouts; the other is hidden from everybody, screen readers included.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby, pairwise
from textwrap import wrap

from course_chapters import Chapter

# Units of the wide drawing, about a pixel each on a page of 1280.
WIDE, EDGE, PITCH, TOP = 860, 34, 190, 96
THUMB = (132, 88)
NARROW = 360  # units of the drawing for a phone


def course_map(chapters: tuple[Chapter, ...], picture: str) -> str:
    """The map as HTML; `picture` is the address of a station's picture, with {label} in it."""
    return (
        '<nav class="course-map" aria-label="Map of the chapters">'
        f"{wide(chapters, picture)}{narrow(chapters, picture)}</nav>"
    )


def rows(chapters: tuple[Chapter, ...]) -> Iterator[tuple[str, list[Chapter]]]:
    for part, inside in groupby(chapters, lambda chapter: chapter.part):
        yield part, list(inside)


def places(chapters: tuple[Chapter, ...]) -> dict[int, tuple[float, float]]:
    """Where each station stands: a row a part, and every second row runs from right to left."""
    found: dict[int, tuple[float, float]] = {}
    for row, (_, inside) in enumerate(rows(chapters)):
        # A written chapter takes two places, a planned one takes one; a row is evenly filled.
        widths = [2.0 if chapter.page else 1.0 for chapter in inside]
        unit = min(118.0, (WIDE - 2 * EDGE - 20) / sum(widths))
        x = EDGE + 10.0
        for chapter, width in zip(inside, widths, strict=True):
            middle = x + width * unit / 2
            x += width * unit
            across = middle if row % 2 == 0 else WIDE - middle
            found[chapter.number] = (round(across, 1), TOP + row * PITCH)
    return found


def road(chapters: tuple[Chapter, ...], place: dict[int, tuple[float, float]]) -> str:
    """The path, station by station; dashed where it leads to a chapter that is only planned."""
    drawn = []
    for before, chapter in pairwise(chapters):
        (x1, y1), (x2, y2) = place[before.number], place[chapter.number]
        way = f"M{x1} {y1}H{x2}"
        if y1 != y2:  # round the end of the row
            right = x1 > WIDE / 2
            side, turn = (WIDE - EDGE, 28) if right else (EDGE, -28)
            way = f"M{x1} {y1}H{side - turn}q{turn} 0 {turn} 28V{y2 - 28}q0 28 {-turn} 28H{x2}"
        drawn.append(f'<path class="{"road" if chapter.page else "road ahead"}" d="{way}"/>')
    return "".join(drawn)


def arrows(chapters: tuple[Chapter, ...], place: dict[int, tuple[float, float]]) -> str:
    """An arrow from each chapter to those that need it, as their first paragraphs say."""
    drawn = []
    for chapter in chapters:
        for kind, others in (("need", chapter.needs), ("help", chapter.helped_by)):
            for other in others:
                (x1, y1), (x2, y2) = place[other], place[chapter.number]
                rise = THUMB[1] / 2 + 3
                if y1 == y2:  # an arc over the row
                    shift = 14 if x2 > x1 else -14
                    high = y1 - rise - 12 - abs(x2 - x1) / 14
                    x1, x2, y = x1 + shift, x2 - shift, y1 - rise
                    way = f"M{x1} {y}C{x1} {high} {x2} {high} {x2} {y}"
                else:  # from below the caption to the top of a later row
                    low = y1 + rise + 44
                    way = f"M{x1} {low}C{x1} {low + 30} {x2} {y2 - rise - 40} {x2} {y2 - rise}"
                drawn.append(f'<path class="{kind}" d="{way}" marker-end="url(#map-tip)"/>')
    return "".join(drawn)


def station(chapter: Chapter, x: float, y: float, picture: str) -> str:
    """A written chapter: its picture on the path, its number in the corner, its title below."""
    width, height = THUMB
    left, top = x - width / 2, y - height / 2
    lines = wrap(chapter.short, 22)
    text = "".join(
        f'<text class="title" x="{x}" y="{y + height / 2 + 20 + 19 * k}">{escape(line)}</text>'
        for k, line in enumerate(lines)
    )
    return (
        f'<a href="{chapter.page}.html" aria-label="{escape(name(chapter))}">'
        f'<rect class="frame" x="{left - 3}" y="{top - 3}" width="{width + 6}" '
        f'height="{height + 6}" rx="9"/>'
        f'<image href="{picture.format(label=chapter.label)}" x="{left}" y="{top}" '
        f'width="{width}" height="{height}"/>'
        f'<circle class="disc" cx="{left + 4}" cy="{top + 4}" r="15"/>'
        f'<text class="number" x="{left + 4}" y="{top + 9}">{chapter.label}</text>{text}</a>'
    )


def name(chapter: Chapter) -> str:
    """What a screen reader says of a station; it begins with what can be seen."""
    needs = " and ".join(f"{number:02}" for number in chapter.needs)
    noun = "chapters" if len(chapter.needs) > 1 else "chapter"
    return f"{chapter.label} {chapter.short}" + (f" (needs {noun} {needs})" if needs else "")


def wide(chapters: tuple[Chapter, ...], picture: str) -> str:
    place = places(chapters)
    drawn = []
    for row, (part, inside) in enumerate(rows(chapters)):
        right = row % 2
        at = f'x="{WIDE - EDGE - 12 if right else EDGE + 12}" y="{TOP + row * PITCH - 72}"'
        drawn.append(f'<text class="part{" right" if right else ""}" {at}>{escape(part)}</text>')
        for chapter in inside:
            x, y = place[chapter.number]
            if chapter.page:
                drawn.append(station(chapter, x, y, picture))
            else:
                lines = [*wrap(f"{chapter.label} {chapter.short}", 16), "planned"]
                drawn.append(
                    f'<g class="planned"><circle cx="{x}" cy="{y}" r="8"/>'
                    + "".join(
                        f'<text x="{x}" y="{y + 29 + 17 * k}">{escape(line)}</text>'
                        for k, line in enumerate(lines)
                    )
                    + "</g>"
                )
    height = TOP + (row + 1) * PITCH - 105
    return (
        f'<svg class="wide" viewBox="0 0 {WIDE} {height}" role="group" aria-label="Path">{TIP}'
        f'<g aria-hidden="true">{road(chapters, place)}{arrows(chapters, place)}</g>'
        f"{''.join(drawn)}</svg>"
    )


def narrow(chapters: tuple[Chapter, ...], picture: str) -> str:
    """One station below the other; what a chapter needs stands beside it in words."""
    drawn, stops, y = [], [], 0.0
    for part, inside in rows(chapters):
        y += 44
        drawn.append(f'<text class="part" x="4" y="{y - 12}">{escape(part)}</text>')
        for chapter in inside:
            if chapter.page:
                lines = wrap(chapter.short, 24)
                needs = ", ".join(f"{number:02}" for number in chapter.needs)
                first = y + 44 - 10 * (len(lines) + bool(needs) - 1)
                text = "".join(
                    f'<text class="title" x="140" y="{first + 20 * k}">{escape(line)}</text>'
                    for k, line in enumerate(lines)
                )
                if needs:
                    y_needs = first + 20 * len(lines)
                    text += f'<text class="needs" x="140" y="{y_needs}">needs {needs}</text>'
                drawn.append(
                    f'<a href="{chapter.page}.html" aria-label="{escape(name(chapter))}">'
                    f'<rect class="frame" x="16" y="{y + 2}" width="108" height="74" rx="8"/>'
                    f'<image href="{picture.format(label=chapter.label)}" x="19" y="{y + 5}" '
                    f'width="102" height="68"/><circle class="disc" cx="21" cy="{y + 8}" r="15"/>'
                    f'<text class="number" x="21" y="{y + 13}">{chapter.label}</text>{text}</a>'
                )
                stops.append((y + 39, "road"))
                y += 92
            else:
                lines = [*wrap(f"{chapter.label} {chapter.short}", 30), "planned"]
                text = "".join(
                    f'<text x="92" y="{y + 19 + 17 * k}">{escape(line)}</text>'
                    for k, line in enumerate(lines)
                )
                drawn.append(f'<g class="planned"><circle cx="70" cy="{y + 14}" r="7"/>{text}</g>')
                stops.append((y + 14, "road ahead"))
                y += 20 + 17 * len(lines)
    path = "".join(
        f'<path class="{kind}" d="M70 {above}V{below}"/>'
        for (above, _), (below, kind) in pairwise(stops)
    )
    return (
        f'<svg class="narrow" viewBox="0 0 {NARROW} {y + 4}" role="group" aria-label="Path">'
        f'<g aria-hidden="true">{path}</g>{"".join(drawn)}</svg>'
    )


TIP = (
    '<defs><marker id="map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="11" '
    'markerHeight="11" markerUnits="userSpaceOnUse" orient="auto"><path class="tip" '
    'd="M0 0L8 4L0 8z"/></marker></defs>'
)
