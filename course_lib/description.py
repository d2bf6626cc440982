"""What a figure shows, in words: the alternative text for readers who cannot see it.

The words are computed from what was drawn, so they follow the data as the picture does. A function
whose picture says more than its axes can (a tree, a map of weights) sets `figure.alt` itself.
"""

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.quiver import Quiver
from matplotlib.ticker import NullFormatter, NullLocator

WORDLESS = "A figure that could not be put into words."
LONGEST = 600  # characters: what a screen reader speaks in less than a minute
_LETTERS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ"},
    **{"lambda": "λ", "mu": "μ", "sigma": "σ", "phi": "φ", "psi": "ψ", "pi": "π"},
    **{"cdot": "·", "times": "×", "log": "log ", "exp": "exp ", "mid": "|", "infty": "∞"},
}


def describe(figure: Figure) -> str:
    """Says what a figure shows: titles, axes with their ranges, and the course of what is drawn.

    Details are left out until the text has at most `LONGEST` characters. An axis with numbers but
    without a name is called "unlabelled". A figure for which this fails must still be shown: then
    there is a warning, and the text says so.
    """
    text = ""
    try:
        for detail in (2, 1, 0):
            text = _text(figure, detail)
            if len(text) <= LONGEST:
                return text
    except Exception as error:  # matplotlib draws more than this module knows
        fault = f"{type(error).__name__}: {error}"
        warnings.warn(f"no words for this figure ({fault}); set figure.alt", stacklevel=2)
        return WORDLESS
    return text[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def written(figure: Figure) -> list[str]:
    """What is written in a figure beside its axes' names and numbers: titles, notes, legends."""
    texts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    legends = list(figure.legends)
    for axes in figure.axes:
        texts += [axes.get_title(loc=side) for side in ("left", "center", "right")]
        texts += [text.get_text() for text in axes.texts]
        legends += filter(None, [axes.get_legend()])
    texts += [text.get_text() for legend in legends for text in legend.get_texts()]
    return [plain(text) for text in texts if text.strip()]


def plain(text: str) -> str:
    r"""A label without the signs of TeX: "$p_\sigma(x)$" becomes "p_σ(x)", "$x_1$" "x₁"."""
    text = re.sub(r"\\(?:mathrm|mathit|mathbf|mathdefault|mathcal|text|operatorname)\b", "", text)
    text = re.sub(r"\\([A-Za-z]+) ?", lambda m: _LETTERS.get(m[1], m[1]), text)
    text = re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[${}]", "", text))
    text = re.sub(r"_(\d)", lambda m: chr(ord("₀") + int(m[1])), text)
    return " ".join(text.split())


def rounded(value: float | int) -> str:
    """Three digits, whole numbers with all of theirs, with a true minus sign."""
    text = f"{value:.3g}"
    if 1e3 <= abs(value) < 1e7:
        text = f"{value if value == round(value) else float(text):,.0f}"
    return "0" if value == 0 else text.replace("e+0", "e").replace("-", "−")


def listed(texts: Iterable[str]) -> str:
    """ "a, b and c"."""
    *first, last = list(texts)
    return f"{', '.join(first)} and {last}" if first else last


def image_text(shape: Sequence[int], columns: int, rows: Sequence[str] | None = None) -> str:
    """What a grid of images (n, channels, height, width) is, for its alternative text."""
    n, channels, height, width = shape
    kind = "colour" if channels == 3 else "grey"
    down = math.ceil(n / columns)
    images = f"{n} {kind} images" if n > 1 else f"A {kind} image"
    text = f"{images} of {height} × {width} pixels"
    if n > 1:
        text += f" in {down} rows of {columns}" if down > 1 else " in a row"
    return text + (f"; the rows are {listed(plain(row) for row in rows)}." if rows else ".")


def _text(figure: Figure, detail: int) -> str:
    parts = [
        axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"
    ]
    sentences = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    frames = [_axes_in_words(axes) for axes in parts]
    together = len(parts) > 1 and len(set(frames)) == 1 and frames[0]
    if len(parts) > 1 and not _are_twins(parts):
        each = f", each with {frames[0]}" if together else ""
        sentences.append(f"{len(parts)} panels{each}")
    elif len(parts) == 1:
        sentences.append(_kind(parts[0]))
    for axes, frame in zip(parts, frames, strict=True):
        title = " ".join(axes.get_title(loc=side) for side in ("left", "center", "right"))
        what = _things(axes, detail)
        name = f"“{plain(title)}”: " if len(parts) > 1 and title.strip() else f"{plain(title)}. "
        head = name if title.strip() else ""
        if frame and not together:
            frame = frame[0].upper() + frame[1:] if not head.endswith(": ") else frame
            head += f"{frame}. "
        sentences.append(head + "; ".join(what))
    shown = (plain(sentence).strip(" .;") for sentence in sentences)
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in shown if text)


def _are_twins(parts: list[Axes]) -> bool:
    """Whether all axes lie on the same place: a second scale at the right."""
    return all(
        np.allclose(axes.get_position().bounds, parts[0].get_position().bounds) for axes in parts
    )


def _kind(axes: Axes) -> str:
    if any(isinstance(container, BarContainer) for container in axes.containers):
        return "Bar chart"
    if any(line.get_linestyle() != "None" for line in axes.lines):
        return "Line plot"
    return "Scatter plot" if axes.lines or axes.collections else ""


def _axes_in_words(axes: Axes) -> str:
    across, up = _axis_in_words(axes.xaxis), _axis_in_words(axes.yaxis)
    return "; ".join(
        f"{letter} axis: {text}" for letter, text in (("x", across), ("y", up)) if text
    )


def _axis_in_words(axis: Axis) -> str:
    """Name and range of an axis; nothing where it has no numbers."""
    axes = axis.axes
    is_x = axis is axes.xaxis
    if (
        not axes.axison
        or not axis.get_visible()
        or isinstance(axis.get_major_locator(), NullLocator)
    ):
        return ""
    shown = axis.get_tick_params().get("labelbottom" if is_x else "labelleft", True)
    if not len(axis.get_majorticklocs()) or isinstance(axis.get_major_formatter(), NullFormatter):
        return ""
    figure = axes.figure
    shared = (axes.get_shared_x_axes() if is_x else axes.get_shared_y_axes()).get_siblings(axes)
    labels = [axis.get_label_text()]
    labels += [other.get_xlabel() if is_x else other.get_ylabel() for other in shared]
    if isinstance(figure, Figure):
        labels.append(figure.get_supxlabel() if is_x else figure.get_supylabel())
    label = next((plain(text) for text in labels if text), "unlabelled" if shown else "")
    names = _names(axis)
    if names:
        few = listed(names) if len(names) <= 8 else f"{len(names)} names, {names[0]} to {names[-1]}"
        return f"{label}, {few}" if label != "unlabelled" else few
    free = axes.get_autoscalex_on() if is_x else axes.get_autoscaley_on()
    low, high = axis.get_data_interval() if free else axis.get_view_interval()
    if not low <= high and free:  # nothing is drawn
        low, high = axis.get_view_interval()
    scale = ", logarithmic" if axis.get_scale() == "log" else ""
    return f"{label}, {rounded(low)} to {rounded(high)}{scale}" if label else ""


def _names(axis: Axis) -> list[str]:
    """The texts at the ticks where they are words, not numbers."""
    places = axis.get_majorticklocs()
    # str: at the ticks of a box plot matplotlib hands out numbers.
    texts = [plain(str(text)) for text in axis.get_major_formatter().format_ticks(list(places))]
    return texts if any(re.search(r"[^\W\d_]{2}|^[^\W\d_]", text) for text in texts) else []


def _things(axes: Axes, detail: int) -> list[str]:
    """What is drawn on an axes, a clause each; what has no label counts only if nothing has."""
    named: list[str] = []
    unnamed: list[str] = []
    labels = {
        container.lines[0]: container.get_label()
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
    }
    names = _names(axes.xaxis) if axes.axison else []

    def add(label: object, text: str) -> None:
        if str(label).startswith("_"):
            unnamed.append(f"a mark {text}" if text.startswith("at ") else text)
        else:
            named.append(f"{plain(str(label))} {text}".strip())

    for line in axes.lines:
        if text := _course(line, axes, detail, names):
            # A cloud without a name stands beside the named curves, a further curve does not.
            label = labels.get(line, line.get_label())
            cloud = line.get_linestyle() == "None" and " points" in text
            add("" if cloud and str(label).startswith("_") else label, text)
    for container in axes.containers:
        if isinstance(container, BarContainer):
            add(container.get_label(), _heights(container, detail, names))
    for collection in axes.collections:
        if isinstance(collection, Quiver):
            length = float(np.hypot(collection.U, collection.V).mean()) if collection.N else 0.0
            named.append(f"{collection.N} arrows of the mean length {rounded(length)}")
        elif isinstance(collection, PathCollection):
            add(
                collection.get_label(),
                _cloud(np.ma.getdata(collection.get_offsets()), axes, detail),
            )
    for image in axes.images:
        height, width = image.get_size()
        unnamed.append(f"a picture of {height} × {width} pixels")
    words = [plain(text.get_text()) for text in axes.texts if text.get_text().strip()]
    marks = [f"marked: {', '.join(words)}"] if words and detail else []
    return (named or unnamed[: 2 + 2 * detail]) + marks


def _course(line: Line2D, axes: Axes, detail: int, names: list[str]) -> str:
    """How a line runs: where it starts and ends, and where it is highest and lowest between."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data(orig=False))
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if axes.get_xscale() != "log":
        x = _without_specks(x)
    if axes.get_yscale() != "log":
        y = _without_specks(y)
    if not len(x):
        return ""
    if (np.diff(x) < 0).any():
        cloud = _cloud(np.stack([x, y], 1), axes, detail)
        if line.get_linestyle() == "None":
            return cloud
        return f"a path from {_point(x, y, 0)} to {_point(x, y, -1)}{cloud[cloud.find(',') :]}"
    if len(x) == 1:
        return f"at {_point(x, y, 0)}"
    start, end = rounded(y[0]), rounded(y[-1])
    above_names = names and len(x) <= len(names) and x[0] > -0.5 and x[-1] < len(names) - 0.5
    if above_names and detail:  # a dot above each name
        return listed(
            f"{rounded(height)} at {names[round(place)]}"
            for place, height in zip(x, y, strict=True)
        )
    steps = np.diff(y)
    if rounded(y.min()) == rounded(y.max()):
        return f"constant {start}"
    noise = 1e-6 * np.ptp(y)
    if (steps >= -noise).all() or (steps <= noise).all():
        return f"{'rises' if y[-1] > y[0] else 'falls'} from {start} to {end}"
    text = f"runs from {start} to {end}" if start != end else f"starts and ends at {start}"
    for word, at in (("highest", int(y.argmax())), ("lowest", int(y.argmin()))):
        if detail and 0 < at < len(y) - 1 and (detail > 1 or word == "highest"):
            text += f", {word} {rounded(y[at])} at {rounded(x[at])}"
    return text


def _without_specks(values: np.ndarray) -> np.ndarray:
    """What cannot be told from 0 in the picture is 0."""
    return np.where(np.abs(values) < 1e-3 * np.abs(values).max(initial=0), 0, values)


def _heights(bars: BarContainer, detail: int, names: list[str]) -> str:
    heights = [float(bar.get_height()) for bar in bars.patches]
    if not heights:
        return "no bars"
    if not names or len(names) != len(heights):
        return f"{len(heights)} bars, {rounded(min(heights))} to {rounded(max(heights))}"
    pairs = list(zip(names, heights, strict=True))
    if len(pairs) > 3 + 3 * detail:
        pairs = sorted(pairs, key=lambda pair: -abs(pair[1]))[: 2 + detail]
        return "highest " + listed(f"{name} {rounded(height)}" for name, height in pairs)
    return listed(f"{name} {rounded(height)}" for name, height in pairs)


def _cloud(points: np.ndarray, axes: Axes, detail: int) -> str:
    """How many points are in view, and where."""
    low, high = np.sort([axes.get_xlim(), axes.get_ylim()]).T
    points = points[((points >= low) & (points <= high)).all(1)]
    x, y = points.T
    if len(points) == 1:
        return f"at {_point(x, y, 0)}"
    text = f"{len(points)} points"
    if detail and len(points):
        for name, values in (("x", x), ("y", y)):
            text += f", {name} {rounded(values.min())} to {rounded(values.max())}"
    return text


def _point(x: np.ndarray, y: np.ndarray, position: int) -> str:
    return f"({rounded(x[position])}, {rounded(y[position])})"


def largest(names: Sequence[str], values: np.ndarray, most: int) -> str:
    """ "b 0.6 and a 0.4": the largest values with their names; all in order if few."""
    order = np.arange(len(values))
    if len(values) > most:
        order = np.argsort(-values, kind="stable")[:most]
    told = listed(f"{plain(names[int(place)])} {rounded(float(values[place]))}" for place in order)
    return f"the largest are {told}" if len(values) > most else told


def map_text(
    maps: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
) -> str:
    """Where maps of weights have their largest ones, row by row or, where too many, on average."""
    what = listed(filter(None, (plain(row_label), plain(column_label)))) if row_label else ""
    text = f"Map of weights, {len(rows)} rows and {len(columns)} columns{what and f' ({what})'}."
    if len(maps) > 1:
        text = f"{len(maps)} maps{text[3:]}"
    for name, weights in maps.items():
        best = weights.argmax(1)
        top = weights.max(1)
        summary = f"the largest weight of a row is {rounded(top.mean())} on average"
        if len(rows) == len(columns):
            offsets, counts = np.unique(np.arange(len(rows)) - best, return_counts=True)
            back, often = int(offsets[counts.argmax()]), int(counts.max())
            if often >= len(rows) / 3:
                where = f"{abs(back)} {'before' if back > 0 else 'after'} " if back else ""
                summary += f"; in {often} of {len(rows)} rows it is at the place {where}its own"
        pairs = (f"{rows[k]} → {columns[best[k]]} {rounded(top[k])}" for k in range(len(rows)))
        rest = f"; the largest weight of each row: {', '.join(pairs)}"
        head = f" {plain(name)}: {summary}" if name else f" {summary[0].upper()}{summary[1:]}"
        text += head
        if len(maps) == 1 and len(text) + len(rest) < LONGEST:
            text += rest
        text += "."
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def tree_text(branches: Mapping[str, Any], title: str) -> str:
    """A tree in one sentence for each root, with as many levels as there is room for."""
    for levels in (9, 3, 2, 1):
        roots = "; ".join(_branch(label, below, levels) for label, below in branches.items())
        text = f"{plain(title)}{': ' * bool(title)}a tree. {roots}."
        if len(text) <= LONGEST:
            break
    return text[0].upper() + text[1:LONGEST]


def _branch(label: str, below: Any, levels: int) -> str:
    if isinstance(below, str):
        return f"{label} ({below})" if below and levels > 3 else label
    if levels == 1:
        return f"{label} ({len(below)} branches)"
    inner = [_branch(name, further, levels - 1) for name, further in below.items()]
    return f"{label}: [{'; '.join(inner)}]"
