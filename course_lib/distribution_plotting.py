"""Pictures of distributions: tables, bars, classifiers in the plane, transport, a map of models.

The style is that of `course_lib.plotting`. Every text has 11 points or more, so that it can be read
where a figure is scaled to the width of a phone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Real
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from torch import Tensor

from course_lib import layout
from course_lib.description import largest, listed, plain, rounded
from course_lib.plotting import (
    COLOURS,
    DPI,
    WIDTH,
    _check_finite,
    course_style,
    subplots,
)
from course_lib.tree_plotting import tree

__all__ = ["bars", "joint_table", "posteriors", "transport", "tree"]

_PAGE = round(WIDTH * DPI)  # pixels
_MARGIN = LinearSegmentedColormap.from_list("margin", ["white", COLOURS["prior"]])
_CLASSES = (COLOURS["model"], "o"), (COLOURS["data"], "^")
_CELLS = 50  # of the field, in each direction
_LEVELS = (0.1, "#888888", 0.9), (0.5, "black", 1.6), (0.9, "#888888", 0.9)  # p, colour, width


def joint_table(
    table: Real[Tensor, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draws a joint distribution as a table with both margins, each cell shaded by its value.

    Whole numbers are written as such, others with three decimals, or fewer digits where ten
    columns and more leave no room. The margins, grey, have a scale of their own.

    Args:
        table: probabilities, or counts, of each pair; 0 or more and finite.
        rows, columns: a name for each row and column.
        title: one line above.

    Raises:
        ValueError: a shape that does not fit the names, values that are negative or not finite, or
            no room for so many columns.
    """
    if table.shape != (len(rows), len(columns)) or not table.numel():
        raise ValueError(
            f"table has shape {tuple(table.shape)} for {len(rows)} rows and {len(columns)} columns,"
            " expected (rows, columns) and at least one of each; is it transposed?"
        )
    cells = layout.numbers(table)
    if not (np.isfinite(cells).all() and (cells >= 0).all()):
        raise ValueError(
            f"table ranges from {cells.min():.3g} to {cells.max():.3g}, expected probabilities or "
            "counts, finite and 0 or more; log-probabilities need .exp()"
        )
    beside, gap, height, size = layout.widest([*rows, "sum"], 11) + 12, 6, 32, 11
    sums = cells.sum(1, keepdims=True), cells.sum(0, keepdims=True), cells.sum(keepdims=True)
    for decimals, zero in ((3, True), (3, False), (2, False)):
        width, last = (
            max(
                layout.widest([_number(value, decimals, zero) for value in numbers], size) + 8,
                least,
            )
            for numbers, least in (
                ([*cells.flat, *sums[1].flat], 24),
                ([*sums[0].flat, *sums[2].flat], layout.widest(["sum"], size) + 8),
            )
        )
        room = (_PAGE - beside - gap - last - 2) // len(columns)
        if width <= room:
            break
    else:
        raise ValueError(
            f"no room for {len(columns)} columns: a number needs {width} pixels and has {room}; "
            "shorten the names of the rows, merge columns or pass the table transposed"
        )
    cell = min(room, max(width, 84))
    upright = layout.widest(columns, size) + 6 > cell
    above = (34 if title else 4) + (
        layout.widest(columns, size) + 12 if upright else layout.line_height(size) + 6
    )
    right, lower = beside + cell * len(columns), above + height * len(rows)
    full_width = max(right + gap + last + 2, layout.widest([title], 12) + beside + 12)
    figure, axes = layout.page(full_width, lower + gap + height + 2)
    areas = (
        (cells, layout.WEIGHT_COLOURS, beside, above, cell),
        (sums[0], _MARGIN, right + gap, above, last),
        (sums[1], _MARGIN, beside, lower + gap, cell),
        (sums[2], None, right + gap, lower + gap, last),
    )
    letters: Any = {"size": size, "color": "#333333"}
    with course_style():
        for values, colours, x, y, width in areas:
            down, across = values.shape
            extent = (x, x + width * across, y + height * down, y)
            # The scale goes on beyond the largest value, so that dark letters can always be read.
            if colours:
                top = 1.7 * values.max() or 1
                axes.imshow(values, colours, aspect="auto", vmin=0, vmax=top, extent=extent)
            axes.hlines(range(y, extent[2] + 1, height), x, extent[1], **layout.GRID)
            axes.vlines(range(x, extent[1] + 1, width), y, extent[2], **layout.GRID)
            for (row, column), value in np.ndenumerate(values):
                at = x + (column + 0.5) * width, y + (row + 0.5) * height
                text = _number(value, decimals, zero)
                axes.text(*at, text, ha="center", va="center_baseline", **letters)
        for number, name in enumerate([*rows, "sum"]):
            middle = above + (number + 0.5) * height + gap * (number == len(rows))
            axes.text(beside - 7, middle, name, ha="right", va="center_baseline", **letters)
        for number, name in enumerate(columns):
            middle, turn = beside + (number + 0.5) * cell, 90 if upright else 0
            axes.text(middle, above - 6, name, ha="center", rotation=turn, **letters)
        axes.text(right + gap + last / 2, above - 6, "sum", ha="center", **letters)
        axes.text(beside, 6, title, size=12, va="top")
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    figure.alt = (
        f"{plain(title)}{'. ' * bool(title)}Table of {len(rows)} rows and {len(columns)} columns. "
        f"Sums of the rows: {largest(rows, sums[0].ravel(), 6)}; of the columns: "
        f"{largest(columns, sums[1].ravel(), 6)}; of all: {rounded(sums[2].item())}. The largest "
        f"cell is {rounded(cells.max())}, at {rows[int(row)]} and {columns[int(column)]}."
    )
    return figure


def bars(
    outcomes: Sequence[str],
    distributions: Mapping[str, tuple[Float[Tensor, " outcomes"], str]],
    *,
    title: str = "",
    ylabel: str = "probability",
) -> Figure:
    """Draws several distributions over the same outcomes as bars side by side.

    Args:
        outcomes: their names; where there is no room for all, every second or third is written.
        distributions: label -> (value of each outcome, role); the role is a key of COLOURS, another
            one for each distribution. Finite; other things than probabilities, such as the terms of
            a divergence, may be negative.
        title: one line above.
        ylabel: name of the axis.

    Raises:
        ValueError: nothing to draw, a wrong length, values that are not finite, or a role that is
            unknown or used twice.
    """
    if not distributions or not len(outcomes):
        raise ValueError(
            f"got {len(distributions)} distributions over {len(outcomes)} outcomes, expected 1 or "
            "more of both"
        )
    room = (_PAGE - 80) / len(outcomes)
    names = [layout.wrapped(name, int(room / 10)) for name in outcomes]
    widest = layout.widest([line for name in names for line in name], 11)
    upright = widest + 3 > max(room, 30)
    step = math.ceil((layout.line_height(11) if upright else widest + 3) / room)
    figure, axes = subplots(height=3.2 + upright * layout.widest(outcomes, 11) / DPI)
    places, width = np.arange(len(outcomes)), 0.84 / len(distributions)
    roles: list[str] = []
    for order, (label, (values, role)) in enumerate(distributions.items()):
        if role not in COLOURS or role in roles:
            wrong = "is used twice" if role in roles else "unknown"
            raise ValueError(f"role {role!r} of {label!r} {wrong}; choose from {list(COLOURS)}")
        roles.append(role)
        if values.shape != (len(outcomes),):
            raise ValueError(
                f"distributions[{label!r}] has shape {tuple(values.shape)}, expected "
                f"({len(outcomes)},): one value for each outcome"
            )
        _check_finite(values, f"distributions[{label!r}]")
        shift = width * (order - (len(distributions) - 1) / 2)
        axes.bar(places + shift, layout.numbers(values), width, color=COLOURS[role], label=label)
    shown = list(outcomes) if upright else ["\n".join(name) for name in names]
    axes.set_xticks(places[::step], shown[::step], rotation=90 if upright else 0)
    axes.set(xlim=(-0.6, len(outcomes) - 0.4), ylabel=ylabel)
    axes.tick_params(axis="x", length=0)
    if axes.get_ylim()[0] < 0:
        axes.axhline(0, color="#888888", linewidth=0.8)
    with course_style():
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        columns = layout.in_a_row(distributions)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, handlelength=1)
    return figure


def posteriors(
    points: Float[Tensor, "n 2"],
    labels: Int[Tensor, " n"],
    panels: Mapping[str, Callable[[Tensor], Tensor]],
    limits: tuple[float | int, float | int],
    *,
    ellipses: Sequence[tuple[Float[Tensor, "2"], Float[Tensor, "2 2"], int]] = (),
    title: str = "",
) -> Figure:
    """Draws the points of two classes over p(y=1|x), a panel for each classifier, two in a row.

    The field is pale orange where class 0 is likely, pale blue where class 1 is, with a black line
    where both are equally likely and grey ones where one of them has the probability 0.9. The size
    depends on nothing but the number of panels and on whether there is a title.

    Args:
        points: coordinates, in the units of `limits`; those beyond are not shown.
        labels: class of each point, 0 or 1.
        panels: title of the panel -> function from points, float (m, 2), to the probability of
            class 1, in [0, 1], shape (m,).
        limits: lower and upper end of both axes.
        ellipses: (mean, covariance, class) of Gaussians whose ellipses at one and two standard
            deviations are drawn in the first panel; the covariance symmetric, positive
            semi-definite.
        title: one line above.

    Raises:
        ValueError: no panel, a title of a panel that is too long, wrong shapes, labels or classes
            that are not 0 or 1, probabilities that are not finite or outside [0, 1], or a
            covariance that is none.
    """
    low, high = limits
    if not low < high:
        raise ValueError(f"limits must be (lower, upper) with lower < upper, got {limits}")
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points and labels must have the shapes (n, 2) and (n,), got {tuple(points.shape)} "
            f"and {tuple(labels.shape)}"
        )
    _check_finite(points, "points")
    if unknown := sorted(set(labels.tolist()) - {0, 1}):
        raise ValueError(f"labels must be 0 or 1, got also {unknown[:5]}")
    if not panels:
        raise ValueError("panels is empty; expected title -> function that gives p(y=1|x)")
    across = min(2, len(panels))
    left, gap, head = 54, 30, (74 if title else 44)
    side = 262 if across == 2 else 440
    right = left + across * (side + gap) - gap
    width = right + 8
    for text, room in ((title, width - 12), *((name, side + gap / 2) for name in panels)):
        if layout.widest([text], 12) > room:
            raise ValueError(f"the title {text!r} is wider than its {room} pixels; shorten it")
    outlines = [(_ellipse(mean, covariance), _class(y)) for mean, covariance, y in ellipses]

    down = math.ceil(len(panels) / 2)
    block = side + 34
    height = head + down * block + 48
    line = torch.linspace(low, high, _CELLS + 1, dtype=points.dtype, device=points.device)
    plane, grid = torch.cartesian_prod(line, line), layout.numbers(line)
    told: list[str] = []
    half = (high - low) / _CELLS / 2  # a pixel of the field stands in the middle of its cell
    edges = low - half, high + half
    whole: Any = {"extent": edges * 2, "origin": "lower", "aspect": "auto", "vmin": 0, "vmax": 1}
    # Fixed margins, no formulae and a legend by hand: an automatic layout, the search of formulae
    # for their shape and an axes for the scale would double the drawing time under a slider.
    figure, page = layout.page(width, height)
    with course_style():
        page.text(6, 8, title, size=12, va="top")
        start, stop, y = right - 130, right - 6, head - 24
        page.imshow(
            np.arange(11)[None], layout.FIELD, aspect="auto", extent=(start, stop, y + 6, y - 6)
        )
        page.vlines((start + stop) / 2, y - 6, y + 6, color="black", linewidth=1.6)
        for share, text in ((0, "0"), (0.5, "0.5"), (1, "1")):
            page.text(start + share * (stop - start), y + 8, text, size=11, ha="center", va="top")
        page.text(start - 12, y, "p(y=1 | x)", size=11, ha="right", va="center_baseline")
        for label, (colour, marker) in enumerate(_CLASSES):
            page.scatter(left + 6 + 84 * label, y, 44, marker=marker, color=colour)
            page.text(left + 18 + 84 * label, y, f"y = {label}", size=11, va="center_baseline")
        for number, (name, probability) in enumerate(panels.items()):
            place = left + number % 2 * (side + gap), height - head - (number // 2 + 1) * block
            axes = figure.add_axes(
                (place[0] / width, place[1] / height, side / width, side / height)
            )
            field = _field(probability, plane, name).T
            told.append(f"“{plain(name)}” {_at_points(field, points, labels, limits)}")
            axes.imshow(field, layout.FIELD, interpolation="bilinear", **whole)
            for level, colour, width_of_line in _LEVELS:
                if field.min() < level < field.max():
                    axes.contour(
                        grid, grid, field, [level], colors=colour, linewidths=width_of_line
                    )
            for label, (colour, marker) in enumerate(_CLASSES):
                x_1, x_2 = layout.numbers(points[labels == label]).T
                style: Any = {"color": colour, "edgecolors": "white", "linewidths": 0.5}
                axes.scatter(x_1, x_2, 28, marker=marker, label=f"y = {label}", **style)
            for (centre, shape), (colour, _) in outlines if number == 0 else ():
                for deviations in (1, 2):
                    axes.plot(*(centre + deviations * shape), color=colour, linewidth=1.8)
            axes.set(xlim=limits, ylim=limits)
            axes.set_title(name, y=1, pad=6)  # with y, no search for a free place
            # Ticks take most of the time: only where their numbers stand, and few.
            for axis, outer, name in (
                (axes.xaxis, number >= len(panels) - across, "x₁"),
                (axes.yaxis, number % 2 == 0, "x₂"),
            ):
                axis.set_major_locator(MaxNLocator(4) if outer else NullLocator())
                axis.set_label_text(name if outer else "", style="italic")
                axis.labelpad = 0
    shares = labels.double().mean().item() if len(labels) else 0.0
    figure.alt = (
        f"{plain(title)}{'. ' * bool(title)}{len(points)} points of two classes, "
        f"{rounded(100 * shares)} % of class 1, in the plane from {rounded(low)} to "
        f"{rounded(high)}, over the field of p(y=1|x). Probability of class 1 at the points "
        f"of class 0 and of class 1, on average: {listed(told)}."
    )
    return figure


def transport(x: Float[Tensor, " n"], y: Float[Tensor, " n"], *, title: str = "") -> Figure:
    """Draws the Wasserstein-1 distance of two samples on a line in two ways.

    Above: their empirical distribution functions; the area between them is W_1. Below: the optimal
    transport, a line from the i-th smallest x to the i-th smallest y; their mean width is W_1.
    (Peyré & Cuturi, Computational Optimal Transport, arXiv:1803.00567, the one-dimensional case.)

    Args:
        x, y: finite; up to about 60 values each can be told apart.
        title: one line above.

    Raises:
        ValueError: no value, numbers of values that differ, or values that are not finite.
    """
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            f"x and y have the shapes {tuple(x.shape)} and {tuple(y.shape)}, expected (n,) twice: "
            "lines join pairs, so draw as many values of one as of the other"
        )
    _check_finite(x, "x")
    _check_finite(y, "y")
    start, end = np.sort(layout.numbers(x)), np.sort(layout.numbers(y))
    n = len(start)
    distance = np.abs(end - start).mean()
    figure, (above, below) = subplots(2, 1, height=4.5, sharex=True, height_ratios=(2, 1))
    # One bar for each pair: 1/n high and as wide as its line below.
    bar: Any = {"height": 1 / n, "left": start, "align": "edge", "linewidth": 0}
    area = f"area $W_1 = {distance:.3g}$"
    above.barh(np.arange(n) / n, end - start, color="#D9D9D9", label=area, antialiased=False, **bar)
    level = np.arange(n + 1) / n
    low, high = min(start[0], end[0]), max(start[-1], end[-1])
    space = 0.06 * (high - low) or 1.0
    ends = low - space, high + space
    for values, label, row, role, marker, dash in (
        (start, "$x$", 1, "data", "o", "-"),
        (end, "$y$", 0, "model", "^", (0, (5, 1.5))),  # where both agree, both show
    ):
        style: Any = {"color": COLOURS[role], "linestyle": dash, "label": label}
        above.step([ends[0], *values, ends[1]], [*level, 1], where="post", **style)
        below.plot(values, np.full(n, row), marker, color=COLOURS[role], markersize=6)
    pairs = np.stack([np.stack([start, np.ones(n)], 1), np.stack([end, np.zeros(n)], 1)], 1)
    below.add_collection(LineCollection(list(pairs), colors="#777777", linewidths=1, zorder=1))
    above.set(xlim=ends, ylim=(0, 1.02), ylabel="share up to here")
    below.set(ylim=(-0.3, 1.3), yticks=[1, 0], xlabel="value")
    below.set_yticklabels(["$x$", "$y$"], fontsize=12)
    with course_style():
        above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    figure.alt = (
        f"{plain(title)}{'. ' * bool(title)}{n} values of x from {rounded(start[0])} to "
        f"{rounded(start[-1])}, {n} of y from {rounded(end[0])} to {rounded(end[-1])}. Above, the "
        f"area between their distribution functions is W_1 = {rounded(distance)}; below, lines "
        "join the values in order of size."
    )
    return figure


def _number(value: float | int, decimals: int, zero: bool) -> str:
    """Whole numbers as such (up to rounding), others with so many decimals, with or without 0."""
    whole = abs(value - round(value)) < 1e-6
    text = f"{value:.0f}" if whole else f"{value:.{decimals}f}"
    return text if zero or whole else text.removeprefix("0")


def _field(probability: Callable[[Tensor], Tensor], plane: Tensor, name: str) -> np.ndarray:
    """p(y=1|x) on the grid, indexed by x_1 and x_2."""
    with torch.no_grad():
        values = probability(plane)
    if values.shape != plane.shape[:1]:
        raise ValueError(
            f"panels[{name!r}] gave shape {tuple(values.shape)} for {len(plane)} points, expected "
            f"({len(plane)},): the probability of class 1 alone"
        )
    _check_finite(values, f"panels[{name!r}]")
    if values.min() < 0 or values.max() > 1.001:
        raise ValueError(
            f"panels[{name!r}] ranges from {values.min():.3g} to {values.max():.3g}, expected "
            "probabilities in [0, 1]; logits need .sigmoid(), log-probabilities .exp()"
        )
    return layout.numbers(values).clip(max=1).reshape(_CELLS + 1, _CELLS + 1)


def _at_points(
    field: np.ndarray, points: Tensor, labels: Tensor, limits: tuple[float | int, float | int]
) -> str:
    """The field's mean at the points of class 0 and of class 1, in words."""
    low, high = limits
    places = ((layout.numbers(points) - low) / (high - low) * _CELLS).round().astype(int)
    inside = ((places >= 0) & (places <= _CELLS)).all(1)
    x, y = places[inside].T
    values, classes = field[y, x], labels.numpy(force=True)[inside]
    means = (values[classes == label] for label in (0, 1))
    return listed(rounded(of_class.mean()) if len(of_class) else "none" for of_class in means)


def _ellipse(mean: Tensor, covariance: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The centre (2, 1), and the ellipse at one standard deviation around 0 (2, points)."""
    centre, matrix = layout.numbers(mean), layout.numbers(covariance)
    if centre.shape != (2,) or matrix.shape != (2, 2):
        raise ValueError(
            f"ellipses: mean and covariance have the shapes {centre.shape} and {matrix.shape}, "
            "expected (2,) and (2, 2)"
        )
    _check_finite(mean, "ellipses: the mean")
    _check_finite(covariance, "ellipses: the covariance")
    values, vectors = np.linalg.eigh(matrix)
    scale = np.abs(matrix).max()
    if not (np.abs(matrix - matrix.T).max() <= 1e-5 * scale and values[0] >= -1e-5 * scale):
        raise ValueError(
            f"ellipses: the covariance {matrix.tolist()} is not symmetric and positive "
            "semi-definite; variances stand on its diagonal"
        )
    angle = np.linspace(0, 2 * math.pi, 73)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    return centre[:, None], vectors @ (np.sqrt(values.clip(0))[:, None] * circle)


def _class(label: int) -> tuple[str, str]:
    if label not in (0, 1):
        raise ValueError(f"ellipses: class {label!r}, expected 0 or 1")
    return _CLASSES[label]
