"""Pictures of sequences: attention maps, next-token distributions, a weighted sum, curves.

The style is that of `course_lib.plotting`. In labels, a newline is shown as ↵, a space as ␣ and a
tab as ⇥. What stands under a slider has fixed margins: that halves the drawing time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from course_lib import layout
from course_lib.description import largest, map_text, plain, rounded
from course_lib.plotting import COLOURS, DPI, SERIES, WIDTH, CourseFigure, course_style, subplots

# An escaped dollar sign is one; two bare ones would make what is between them a formula.
_SIGNS = str.maketrans({"\n": "↵", " ": "␣", "\t": "⇥", "$": r"\$"})
_DASHES = ("--", ":", "-.")
_MARKERS = "os^Dv"  # with the colours, so that nobody needs the colour
_LINES: Any = ("-", (0, (6, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)))
_FEW = 15  # points that are drawn one by one
_SIZES = (11, 10, 9, 8, 7)  # points of a token's name, the largest that fits


def attention_map(
    weights: Float[Tensor, "n m"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    row_label: str = "",
    column_label: str = "",
    top: float | int = 1,
) -> Figure:
    """Draws one map of attention weights: a row for each query, a column for each key.

    Args:
        weights: in [0, 1]; 5 to 30 rows and columns can be read.
        rows, columns: the token of each row and column; long ones in columns stand upright.
        title: one line above the map.
        row_label, column_label: what rows and columns are.
        top: the weight that has the full colour; the same for all maps that are to be compared.

    Raises:
        ValueError: wrong shapes, weights that are not finite or outside [0, 1], or a top that is
            not in (0, 1].
    """
    return _heat_maps({title: weights}, rows, columns, 1, top, row_label, column_label)


def attention_maps(
    weights: Float[Tensor, "heads n m"] | Mapping[str, Float[Tensor, "n m"]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    columns_of_maps: int = 2,
    top: float | int = 1,
) -> Figure:
    """Draws several maps of attention weights over the same tokens, side by side.

    Args:
        weights: in [0, 1]; the maps are named "head 1", "head 2", …, or by the keys of a mapping.
        rows, columns: as in `attention_map`; rows are named at the left maps, and nothing is where
            the cells are too small for names.
        columns_of_maps: maps in a row.
        top: as in `attention_map`.

    Raises:
        ValueError: as `attention_map`; no map, or no room for a map.
    """
    if isinstance(weights, Tensor):
        weights = {f"head {number}": head for number, head in enumerate(weights, start=1)}
    if not weights:
        raise ValueError("weights holds no map; expected (heads, n, m) or name -> (n, m)")
    if columns_of_maps < 1:
        raise ValueError(f"columns_of_maps must be at least 1, got {columns_of_maps}")
    return _heat_maps(weights, rows, columns, min(columns_of_maps, len(weights)), top)


def token_bars(
    before: Float[Tensor, " tokens"],
    after: Float[Tensor, " tokens"],
    tokens: Sequence[str],
    *,
    top: float | int,
    labels: tuple[str, str] = ("before", "after"),
    title: str = "",
) -> Figure:
    """Draws two distributions of the next token: wide pale bars, and in them narrow full ones.

    Args:
        before, after: probabilities of the same tokens, such as those of the model and those that
            are left after temperature, top-k or top-p. A token that `after` excludes (probability
            0) keeps its pale bar and gets a pale name.
        tokens: up to about 30.
        top: upper end of the axis; fixed, so that pictures can be compared.
        labels: names of the two distributions.
        title: one line above.

    Raises:
        ValueError: lengths that differ, or values that are not probabilities or exceed top.
    """
    if not 0 < top < math.inf:
        raise ValueError(f"top must be positive and finite, got {top}")
    heights = []
    for name, values in (("before", before), ("after", after)):
        if values.shape != (len(tokens),):
            raise ValueError(f"{name} has shape {tuple(values.shape)} for {len(tokens)} tokens")
        heights.append(_weights(values, name))
        if (total := heights[-1].sum()) > 1.01:
            raise ValueError(f"{name} sums to {total:.3g}, expected 1, or less for a part")
        if heights[-1].max(initial=0) > 1.001 * top:
            raise ValueError(f"{name} reaches {heights[-1].max():.3g}, above top={top}; raise top")
    tokens = _shown(tokens)
    width, left, right = WIDTH * DPI, 84, 8  # pixels
    room = (width - left - right) / max(1, len(tokens))
    size = next((size for size in _SIZES if layout.line_height(size) <= room), _SIZES[-1])
    upright = layout.widest(tokens, size) > room
    below = layout.widest(tokens, size) + 18 if upright else 30
    above, inner = 68 if title else 38, 240
    height = above + inner + below
    with course_style():
        # Fixed margins: half the drawing time of an automatic layout, which counts under a slider.
        figure = CourseFigure(figsize=(WIDTH, height / DPI), dpi=DPI)
        axes = figure.add_axes(
            (left / width, below / height, 1 - (left + right) / width, inner / height)
        )
        places = np.arange(len(tokens))
        axes.bar(places, heights[0], 0.86, color="#D5D5D5", edgecolor="#888888", label=labels[0])
        axes.bar(places, heights[1], 0.46, color=COLOURS["model"], label=labels[1])
        axes.set(xlim=(-0.6, len(tokens) - 0.4), ylim=(0, top), ylabel="probability", xticks=[])
        for place, token in enumerate(tokens):
            drop = 7 if upright else 6 + layout.line_height(size) * 0.8
            axes.text(
                place,
                -drop / inner,
                token,
                transform=axes.get_xaxis_transform(),
                size=size,
                color="#333333" if heights[1][place] > 0 else "#757575",
                rotation=90 if upright else 0,
                ha="center",
                va="top" if upright else "baseline",
            )
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        axes.set_title(title, pad=28)
    excluded = int((heights[1] == 0).sum())
    figure.alt = (
        f"{plain(title)}{': ' * bool(title)}Bars of the probabilities of {len(tokens)} tokens. "
        + " ".join(
            f"{label}: {largest(tokens, values, 4)}."
            for label, values in zip(labels, heights, strict=True)
        )
        + (f" {excluded} tokens have the probability 0 in {labels[1]}." if excluded else "")
    )
    return figure


def weighted_sum(
    query: Float[Tensor, "2"],
    keys: Float[Tensor, "n 2"],
    values: Float[Tensor, "n 2"],
    weights: Float[Tensor, " n"],
    output: Float[Tensor, "2"],
    names: Sequence[str],
    *,
    limit: float | int = 3,
) -> Figure:
    """Draws attention in the plane: a query among keys, and the output among values.

    Left: keys with their weights, and the query as a line from 0, since its inner product with a
    key counts. Right: values, the polygon that every weighted mean of them lies in, and the output.
    The area of a dot is proportional to its weight.

    Args:
        query, keys, values, output: coordinates.
        weights: in [0, 1], with the sum 1.
        names: a short name for each pair of key and value.
        limit: both planes show -limit … limit in both directions.

    Raises:
        ValueError: wrong shapes, weights that are not finite, negative or do not sum to 1, or a
            point beyond the limit.
    """
    points = {"query": query[None], "keys": keys, "values": values, "output": output[None]}
    for name, given in points.items():
        expected = (len(names), 2) if name in ("keys", "values") else (1, 2)
        if given.shape != expected:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)} with a row a point, expected {expected}: "
                f"there are {len(names)} names"
            )
        if not (given.abs() <= limit).all():  # also where it is NaN
            raise ValueError(f"{name} goes beyond limit={limit}: {given.tolist()}; raise limit")
    if weights.shape != (len(names),):
        raise ValueError(f"weights has shape {tuple(weights.shape)} for {len(names)} names")
    parts = _weights(weights, "weights")
    if abs(parts.sum() - 1) > 1e-2:
        raise ValueError(f"weights sum to {parts.sum():.4g}, expected 1; they need a softmax")

    places = {name: layout.numbers(given) for name, given in points.items()}
    areas = 700 * parts
    radii = np.sqrt(areas / math.pi) + 1
    with course_style():
        figure = CourseFigure(figsize=(WIDTH, 3), dpi=DPI)
        left = figure.add_axes((0.07, 0.1, 0.42, 0.784))
        right = figure.add_axes((0.57, 0.1, 0.42, 0.784))
        # The union of all triangles of points is their convex hull (Carathéodory).
        triangles = [places["values"][list(three)] for three in combinations(range(len(names)), 3)]
        right.add_collection(PolyCollection(triangles, color=layout.PALE, zorder=0))
        for axes, name in ((left, "keys"), (right, "values")):
            x, y = places[name].T
            axes.scatter(x, y, areas, color=COLOURS["data"], alpha=0.5, linewidths=0)
            axes.scatter(x, y, 14, color=COLOURS["data"], label=name)  # shows where the weight is 0
            for place, text in enumerate(names):
                # Away from the query, which starts at the centre, unless that is beyond the edge.
                outside = abs(y[place]) > 0.7 * limit
                side = 1 if (y[place] >= 0) != outside else -1
                axes.annotate(
                    f"{text}  {parts[place]:.2f}" if axes is left else text,
                    (np.clip(x[place], -0.78 * limit, 0.78 * limit), y[place]),
                    xytext=(0, side * (4 + radii[place])),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if side > 0 else "top",
                    fontsize=11,
                    path_effects=[withStroke(linewidth=3, foreground="white")],
                )
            axes.axhline(0, color="#DDDDDD", linewidth=0.8, zorder=-1)
            axes.axvline(0, color="#DDDDDD", linewidth=0.8, zorder=-1)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(4, integer=True))
        style: Any = {"color": COLOURS["model"], "linewidth": 2.5}
        tip = places["query"][0]
        left.plot([0, tip[0]], [0, tip[1]], **style)
        left.plot(*tip, "o", markersize=8, label="query", clip_on=False, **style)
        cross: Any = {"markersize": 12, "markeredgewidth": 3, "linestyle": "none"}
        right.plot(*places["output"][0], "x", label="output", **style | cross)
        for axes in (left, right):
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.03, 1),
                ncols=2,
                borderaxespad=0.2,
                handletextpad=0.1,
            )
    at = {
        name: f"({rounded(place[0][0])}, {rounded(place[0][1])})" for name, place in places.items()
    }
    figure.alt = (
        f"Two planes. Left: a query at {at['query']} among {len(names)} keys; their weights are "
        f"{largest(names, parts, 6)}. Right: the values, and the output, their weighted mean, at "
        f"{at['output']}."
    )
    return figure


def curves(
    x: Float[Tensor, " points"] | Sequence[str],
    lines: Mapping[
        str,
        Float[Tensor, " points"] | tuple[Float[Tensor, " points"], Float[Tensor, " points"]],
    ],
    *,
    xlabel: str = "",
    ylabel: str = "",
    log_x: bool = False,
    log_y: bool = False,
    dashed: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Draws curves, if asked with their spread and on logarithmic axes.

    Up to 15 points are marked one by one and have error bars; more make a line with a band. Where x
    holds names, nothing joins the points.

    Args:
        x: one place, or one name, for each point of every curve.
        lines: label -> y, or label -> (y, spread): y - spread … y + spread is drawn. A curve passes
            over the points where its y is NaN, so that curves given at different places can share
            one x.
        xlabel, ylabel: names of the axes.
        log_x, log_y: logarithmic axes.
        dashed: labels of up to three curves that are drawn thin, dashed and grey, without marks: a
            fit, a reference.
        title: one line above.

    Raises:
        ValueError: no curve, lengths that differ, infinite values, a negative spread, values that
            are not positive on a logarithmic axis, or a dashed label that is no curve.
    """
    if not lines:
        raise ValueError("lines is empty; expected label -> y or label -> (y, spread)")
    if (unknown := [label for label in dashed if label not in lines]) or len(dashed) > len(_DASHES):
        raise ValueError(f"dashed: {unknown or list(dashed)}; expected up to 3 of {list(lines)}")
    places = layout.numbers(x) if isinstance(x, Tensor) else np.arange(float(len(x)))
    named = not isinstance(x, Tensor)
    if named and not all(isinstance(name, str) for name in x):
        raise ValueError("x holds neither names nor a tensor of numbers; pass torch.tensor(x)")
    if named and log_x:
        raise ValueError("log_x needs numbers as x, got names")
    if not np.isfinite(places).all() or (log_x and places.min(initial=1) <= 0):
        raise ValueError(f"x must be finite{', and positive for log_x' * log_x}, got {x}")

    figure, axes = subplots()
    looks = iter([*zip(SERIES, _MARKERS, _LINES, strict=True)] * len(lines))
    handles: list[Any] = []
    for order, (label, given) in enumerate(lines.items()):
        with_spread = isinstance(given, tuple)
        y, spread = map(layout.numbers, given if isinstance(given, tuple) else (given, 0 * given))
        if y.shape != places.shape or spread.shape != places.shape:
            raise ValueError(f"lines[{label!r}] has {y.size} and {spread.size} values, x {len(x)}")
        keep = ~np.isnan(y)
        y, spread, at = y[keep], spread[keep], places[keep]
        if not (np.isfinite(y).all() and (spread >= 0).all() and np.isfinite(spread).all()):
            raise ValueError(f"lines[{label!r}] has infinite values, or a spread below 0 or NaN")
        if log_y and (y <= 0).any():
            raise ValueError(f"lines[{label!r}] has values <= 0, which log_y cannot show")
        if label in dashed:
            dash = _DASHES[list(dashed).index(label)]
            style: Any = {"color": "#555555", "linestyle": dash, "linewidth": 1.5, "zorder": 1}
            handles += axes.plot(at, y, label=label, **style)
            continue
        colour, marker, dash = next(looks)
        if named:  # beside each other, so that error bars do not hide each other
            at = at + 0.12 * (order - (len(lines) - 1) / 2)
        if len(y) > _FEW:
            handles += axes.plot(at, y, color=colour, linestyle=dash, label=label)
            if with_spread:
                axes.fill_between(at, y - spread, y + spread, color=colour, alpha=0.2, linewidth=0)
        else:
            style = {"fmt": marker if named else f"{marker}-", "linewidth": 1.3, "capsize": 4}
            error = spread if with_spread else None
            handles.append(axes.errorbar(at, y, error, color=colour, label=label, **style))
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log", nonpositive="clip")
    for axis, logarithmic in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
        if logarithmic:
            _ticks(axis)
    if named:
        axes.set_xticks(places, list(x))
        axes.set_xlim(-0.5, len(x) - 0.5)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    with course_style():
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        axes.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=layout.in_a_row(lines)
        )
    return figure


def _heat_maps(
    maps: Mapping[str, Tensor],
    rows: Sequence[str],
    columns: Sequence[str],
    across: int,
    top: float | int,
    row_label: str = "",
    column_label: str = "",
) -> Figure:
    """The maps in a grid, in pixels of the figure, so that every cell has the same whole size."""
    if not 0 < top <= 1:
        raise ValueError(f"top must lie in (0, 1], got {top}")
    if not rows or not columns:
        raise ValueError(f"got {len(rows)} rows and {len(columns)} columns, expected 1 or more")
    shown = {}
    for name, weights in maps.items():
        called = f"weights {name!r}" if name else "weights"
        if weights.shape != (len(rows), len(columns)):
            raise ValueError(
                f"{called} have the shape {tuple(weights.shape)} for {len(rows)} rows and "
                f"{len(columns)} columns"
            )
        shown[name] = _weights(weights, called)

    rows, columns = _shown(rows), _shown(columns)
    gap, bar, outer = 12, 56, 24 if row_label else 0
    for size in (*_SIZES, 0):  # 0: the cells are too small for tokens
        beside = layout.widest(rows, size) + 11 if size else 2
        free = round(WIDTH * DPI) - bar - outer - beside - across * gap
        cell = min(44, free // across // len(columns), 520 // len(rows))
        if layout.line_height(size) <= cell:
            break
    if cell < 2:
        raise ValueError(f"no room for {across} maps of {len(columns)} columns side by side")
    upright = layout.widest(columns, size) > cell
    for_columns = (
        (layout.widest(columns, size) + 12 if upright else layout.line_height(size) + 3)
        if size
        else 2
    )
    width, height = cell * len(columns), cell * len(rows)
    fitting = (points for points in (10, 9, 8) if layout.widest(maps, points) < width + gap)
    title_size = 12 if len(maps) == 1 else next(fitting, 7)
    for_title = layout.line_height(title_size) + 8 if any(maps) else 4
    above = for_title + (22 if column_label else 0) + for_columns
    start, stop = outer + beside, outer + beside + across * (width + gap)
    full_width = max(stop + bar, start + layout.widest([*maps, column_label], title_size) + 10)
    full_height = math.ceil(len(maps) / across) * (above + height + gap)
    full_height = max(full_height, layout.widest([row_label], 11) + 16)
    token: Any = {"size": size, "color": "#333333"}
    with course_style():
        figure = CourseFigure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for place, (title, numbers) in enumerate(shown.items()):
            left = start + place % across * (width + gap)
            upper = place // across * (above + height + gap) + above
            right, lower = left + width, upper + height
            axes.imshow(
                numbers,
                layout.WEIGHT_COLOURS,
                aspect="auto",
                interpolation="nearest",
                vmin=0,
                vmax=top,
                extent=(left, right, lower, upper),
            )
            axes.hlines(range(upper, lower + 1, cell), left, right, **layout.GRID)
            axes.vlines(range(left, right + 1, cell), upper, lower, **layout.GRID)
            axes.text(left, upper - above + 4, title, size=title_size, va="top")
            axes.text(left, upper - for_columns - 6, column_label, size=11)
            for number, text in enumerate(rows if size and left == start else ()):
                y = upper + (number + 0.5) * cell
                axes.text(left - 5, y, text, ha="right", va="center_baseline", **token)
            for number, text in enumerate(columns if size else ()):
                x, y = left + (number + 0.5) * cell, upper - (4 if upright else 6)
                turn = 90 if upright else 0
                axes.text(x, y, text, ha="center", rotation=turn, **token)
        half = layout.widest([row_label], 11) / 2 + 8
        middle = min(max(above + height / 2, half), full_height - half)
        axes.text(12, middle, row_label, size=11, rotation=90, ha="center", va="center")
        _scale(axes, stop, above, min(height, 110), top, shown.values())
        axes.set(xlim=(0, full_width), ylim=(full_height, 0))
    figure.alt = map_text(shown, rows, columns, row_label, column_label)
    return figure


def _scale(
    axes: Axes, left: int, upper: int, height: int, top: float | int, maps: Iterable[np.ndarray]
) -> None:
    """The colours of weights from 0 to top."""
    colours = np.linspace(1, 0, 64)[:, None]
    extent = (left, left + 10, upper + height, upper)
    axes.imshow(colours, layout.WEIGHT_COLOURS, aspect="auto", extent=extent)
    more = "≥ " if any(weights.max() > top for weights in maps) else ""
    for share, text in ((0, "0"), (0.5, f"{top / 2:g}"), (1, f"{more}{top:g}")):
        y = upper + height * (1 - share)
        axes.text(left + 14, y, text, size=9, va="center", color="#333333")


def _ticks(axis: Axis) -> None:
    """Few plain numbers on a logarithmic axis, 10^k for very large and very small ones."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    locator: Locator = MaxNLocator(6, steps=[1, 2, 5, 10])
    if decades > 0.8:
        locator = LogLocator(subs=(1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5))
    axis.set_major_locator(locator)
    axis.set_minor_locator(NullLocator())
    powers = low < 1e-3 or high >= 1e4
    text = _power if powers else "{:g}".format
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _power(value: float | int) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = value / 10**exponent
    return rf"${factor:.3g}\cdot 10^{{{exponent}}}$" if factor > 1.001 else f"$10^{{{exponent}}}$"


def _shown(tokens: Iterable[str]) -> list[str]:
    return [token.translate(_SIGNS) for token in tokens]


def _weights(values: Tensor, name: str) -> np.ndarray:
    """The values as an array, if they lie in [0, 1]."""
    numbers = layout.numbers(values)
    if not ((numbers >= 0) & (numbers <= 1.001)).all():  # also where one is NaN
        raise ValueError(
            f"{name} ranges from {numbers.min():.3g} to {numbers.max():.3g}, expected [0, 1]; "
            "scores need a softmax, and a softmax over nothing, all masked, is NaN"
        )
    return numbers
