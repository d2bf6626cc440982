"""A picture of a classification: a tree of boxes, from left to right."""

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course_lib import layout
from course_lib.description import tree_text
from course_lib.plotting import COLOURS, DPI, WIDTH, course_style

_PAGE = round(WIDTH * DPI)  # pixels


class _Node(NamedTuple):
    """A box of a tree: its column, its lines (label, note), and what hangs on it."""

    depth: int
    label: list[str]
    note: list[str]
    children: list["_Node"]


def tree(branches: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draws a classification as a tree, from left to right, in letters as large as fit the page.

    Args:
        branches: label -> further branches (a mapping of the same kind), or the note of a leaf, a
            text that is written below its label and may be empty. Labels and notes are broken at
            spaces where they are too long.
        title: one line above.

    Raises:
        ValueError: a mapping without entries, a branch that is neither mapping nor text, or labels
            that do not fit beside each other.
    """
    for size, characters in product((14, 13, 12, 11), (40, 24, 18, 13)):
        roots = _nodes(branches, 0, characters)
        columns: dict[int, int] = {}
        _measure(roots, size, columns)
        widths = [columns[depth] + 22 for depth in sorted(columns)]
        gap = (_PAGE - 4 - sum(widths)) // max(1, len(widths) - 1)
        if gap >= 22:
            break
    else:
        raise ValueError(
            f"branches: {len(widths)} levels need {sum(widths) + 22 * len(widths)} pixels beside "
            f"each other and have {_PAGE}; shorten the labels or leave a level out"
        )
    lefts = [2 + sum(widths[:depth]) + min(gap, 60) * depth for depth in range(len(widths))]
    top = 36 if title else 4
    height = top + sum(_slot(node, size) for node in roots) - 6
    figure, axes = layout.page(_PAGE, height)
    with course_style():
        for node in roots:
            _draw(axes, node, top, size, lefts, widths)
            top += _slot(node, size)
        axes.text(4, 6, title, size=12, va="top")
    figure.alt = tree_text(branches, title)
    return figure


def _nodes(branches: Mapping[str, Any], depth: int, characters: int) -> list[_Node]:
    if not branches:
        raise ValueError('branches holds a mapping without entries; a leaf is label -> "note"')
    nodes = []
    for label, below in branches.items():
        if not isinstance(below, str | Mapping):
            raise ValueError(
                f"branches: {label!r} leads to {below!r}, expected a mapping or the text of a leaf"
            )
        note = layout.wrapped(below, characters) if isinstance(below, str) else []
        further = [] if isinstance(below, str) else _nodes(below, depth + 1, characters)
        nodes.append(_Node(depth, layout.wrapped(label, characters), note, further))
    return nodes


def _measure(nodes: list[_Node], size: int, columns: dict[int, int]) -> None:
    """Enters the width of the widest line of each column."""
    for node in nodes:
        widest = layout.widest([*node.label, *node.note], size)
        columns[node.depth] = max(widest, columns.get(node.depth, 0))
        _measure(node.children, size, columns)


def _box(node: _Node, size: int) -> int:
    return (layout.line_height(size) + 4) * len([*node.label, *node.note]) + 12


def _slot(node: _Node, size: int) -> int:
    """Pixels of height that a node and everything on it take, with the space below."""
    return max(_box(node, size) + 10, sum(_slot(child, size) for child in node.children))


def _draw(
    axes: Axes, node: _Node, top: float | int, size: int, lefts: list[int], widths: list[int]
) -> float | int:
    """Draws a node and what hangs on it below `top`; returns the height of its middle."""
    slot, left, width = _slot(node, size), lefts[node.depth], widths[node.depth]
    middle, right = top + (slot - 10) / 2, left + width
    below = top + (slot - sum(_slot(child, size) for child in node.children)) / 2
    for child in node.children:
        its_middle = _draw(axes, child, below, size, lefts, widths)
        below += _slot(child, size)
        bend = (right + lefts[child.depth]) / 2
        path = [right, bend, bend, lefts[child.depth]], [middle, middle, its_middle, its_middle]
        axes.plot(*path, color="#888888", linewidth=1.4, zorder=0)
    height = _box(node, size)
    box = FancyBboxPatch(
        (left + 1, middle - height / 2),
        width - 2,
        height,
        boxstyle="round,pad=0,rounding_size=6",
        facecolor=layout.PALE if node.children else "white",
        edgecolor="#888888" if node.children else COLOURS["data"],
        linewidth=1.2,
    )
    axes.add_patch(box)
    for number, text in enumerate([*node.label, *node.note]):
        y = middle - height / 2 + 6 + (number + 0.5) * (layout.line_height(size) + 4)
        colour = "#111111" if number < len(node.label) else "#555555"
        axes.text(left + 11, y, text, size=size, va="center_baseline", color=colour)
    return middle
