"""What pictures with fixed margins need: a page measured in pixels, and the width of its texts."""

import math
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.textpath import TextPath
from torch import Tensor

from course_lib.plotting import COLOURS, DPI, CourseFigure, course_style

WEIGHT_COLOURS = LinearSegmentedColormap.from_list("weight", ["white", COLOURS["data"]])
PALE = "#E9EFF4"  # fills what is not data itself: boxes, a hull
# Two classes: pale orange and blue. An odd number of bands: the middle one, white, is p = 1/2.
FIELD = LinearSegmentedColormap.from_list("field", ["#F9D0B1", "#FAFAFA", "#B5D8EF"], N=11)
GRID: Any = {"color": "#E4E4E4", "linewidth": 0.6}


def page(width: int, height: int) -> tuple[CourseFigure, Axes]:
    """A figure and an axes over all of it, whose units are pixels, from above."""
    with course_style():
        figure = CourseFigure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_autoscale_on(False)
    return figure, axes


def wrapped(text: str, characters: int) -> list[str]:
    """Lines of so many characters; a word that is longer has a line of its own."""
    characters = max(1, characters)
    return textwrap.wrap(text, characters, break_long_words=False, break_on_hyphens=False)


def widest(texts: Iterable[str], points: int) -> int:
    """Width of the widest text in pixels; `points` is the size of the letters."""
    return math.ceil(max(map(_width, texts), default=0) * points * DPI / 72)


@lru_cache(maxsize=4096)  # measuring would cost more than drawing
def _width(text: str) -> float:
    """Width of a text whose letters have the size 1."""
    return TextPath((0, 0), text, size=100).get_extents().x1 / 100 if text else 0.0


def line_height(points: int) -> int:
    """Pixels that a line of letters of this size needs."""
    return math.ceil(1.1 * points * DPI / 72)


def in_a_row(labels: Iterable[str]) -> int:
    """How many entries of a legend stand in a row: all, or else two."""
    labels = list(labels)
    return len(labels) if sum(widest([text], 11) + 60 for text in labels) < 520 else 2


def numbers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()  # NumPy knows no bfloat16
