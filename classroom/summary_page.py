"""The look of the summary page: one HTML file with its pictures in it."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from classroom import page

# Colours of Okabe and Ito, which readers with colour-blindness can tell apart; paper, ink, lines.
SCHEMES = {
    "light": {
        "paper": "#ffffff",
        "ink": "#333333",
        "line": "#d0d5da",
        "bar": "#0072b2",
        "median": "#d55e00",
    },
    "dark": {
        "paper": "#1b2027",
        "ink": "#d5dae0",
        "line": "#3b434d",
        "bar": "#56b4e9",
        "median": "#ff9e57",
    },
}


def render(points: list[float], maximum: float, median: float, **content: Any) -> str:
    """The page as HTML. ``content`` is what the template names; all of it is escaped."""
    counted, edges = _histogram(points, maximum)
    steps = [
        f"{count} from {edge:g} to {edge + edges[1] - edges[0]:g}"
        for count, edge in zip(counted, edges, strict=False)
        if count
    ]
    pictures = {
        f"picture_{scheme}": picture(counted, edges, median, maximum, colours)
        for scheme, colours in SCHEMES.items()
    }
    return page.render(
        "summary.html",
        picture_alt=f"Histogram of points. Submissions: {', '.join(steps)}. Median {median:g}.",
        maximum=maximum,
        median=median,
        **pictures,
        **content,
    )


def _histogram(points: list[float], maximum: float) -> tuple[list[int], list[float]]:
    """Counts in at most twenty bins of a round width; the last holds full marks and more."""
    width = next(each for each in (0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if maximum / each <= 20)
    number = max(1, math.ceil(maximum / width))
    counts = [0] * number
    for each in points:
        counts[min(number - 1, int(each / width))] += 1
    return counts, [width * index for index in range(number)]


def picture(
    counts: list[int],
    edges: list[float],
    median: float,
    maximum: float,
    colours: dict[str, str],
) -> str:
    """The histogram as the address of an image that holds its own data."""
    style: Any = {"font.size": 11, "svg.hashsalt": "summary", "svg.fonttype": "path"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.4, 2.7), layout="constrained")
        axes = figure.subplots()
        width = edges[1] - edges[0] if len(edges) > 1 else maximum or 1
        axes.bar(edges, counts, width=0.92 * width, align="edge", color=colours["bar"], zorder=2)
        axes.axvline(median, color=colours["median"], linewidth=2, zorder=3)
        is_right = median > 0.6 * maximum
        axes.annotate(
            f"median {median:.3g}",
            (median, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-6 if is_right else 6, 4),
            textcoords="offset points",
            ha="right" if is_right else "left",
            color=colours["median"],
            annotation_clip=False,
        )
        axes.set(xlabel="points", ylabel="submissions", xlim=(-0.02 * width, edges[-1] + width))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.grid(axis="y", color=colours["line"], linewidth=0.8, zorder=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(colours["line"])
        axes.tick_params(colors=colours["ink"], length=0)
        axes.xaxis.label.set_color(colours["ink"])
        axes.yaxis.label.set_color(colours["ink"])
        figure.patch.set_facecolor(colours["paper"])
        axes.set_facecolor(colours["paper"])
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
