"""Pictures of the course: grids of images, curves, densities.

Every function returns a matplotlib Figure that pyplot does not know, so a notebook cell that ends
with it shows it exactly once, and nothing piles up in memory. The colours of data, model,
discriminator, latent and prior mean the same in every chapter; but for the grey they are those of
Okabe and Ito (https://jfly.uni-koeln.de/color/), and readers with colour-blindness can tell them
apart (tests/test_colours.py computes how well).
"""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from course_lib.description import describe, image_text, listed, plain, rounded
from course_lib.player import address, rasterise

COLOURS = {
    "data": "#0072B2",
    "model": "#D55E00",
    "discriminator": "#009E73",
    "latent": "#CC79A7",
    "prior": "#666666",
}
# For lines without such a role, none like the colours above.
SERIES = ("#332288", "#A67C00", "#99203C", "#1B7F8C", "#000000")

DPI = 110
WIDTH = 5.6  # inches: 616 pixels, so that 12 point text is still readable on a phone
STYLE: Any = {  # matplotlib types the keys as one long Literal
    "figure.dpi": DPI,
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
# D(x) near 1 means "data", near 0 means "model": the background takes the pale colours of the two.
_FIELD = LinearSegmentedColormap.from_list("field", ["#F0A36B", "#FAFAFA", "#6FB1DC"])


def course_style() -> AbstractContextManager[None]:
    """Context in which matplotlib draws in the course's style: `with course_style(): …`."""
    return mpl.rc_context(STYLE)


class CourseFigure(Figure):
    """A Figure that shows itself in a notebook, also where pyplot was never imported."""

    alt = ""  # what it shows, in words; computed from what was drawn if empty
    density = 2  # pixels of the picture for one of the page: crisp letters on phones and paper

    def _repr_html_(self) -> str:
        # Not as image/png: JupyterLab gives such an output no alternative text.
        alt = self.alt or describe(self)
        width, height = (round(side) for side in self.bbox.size)
        return _img(address(rasterise(self, self.density), 128), alt, width, height)


@dataclass(frozen=True)
class Picture:
    """A picture from a file, such as one of a recorded run, with its alternative text.

    IPython's own `Image` has none that JupyterLab would speak.

    Attributes:
        path: a PNG file.
        alt: what it shows, in a sentence, for readers who cannot see it.
    """

    path: Path
    alt: str

    def __repr__(self) -> str:
        return f"<Picture: {self.path.as_posix()}>"

    def _repr_html_(self) -> str:
        with Image.open(self.path) as opened:
            return _img(address(opened.convert("RGB"), 256), self.alt, *opened.size)


def subplots(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | int = WIDTH,
    height: float | int = 3.2,
    **options: Any,
) -> tuple[CourseFigure, Any]:
    """`plt.subplots` in the course's style: width and height in inches, returns (figure, axes).

    `options` go to `Figure.subplots` (`sharey=True`, `squeeze=False`, …).
    """
    with course_style():
        figure = CourseFigure(figsize=(width, height), dpi=DPI, layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def image_grid(
    images: Float[Tensor, "n channels height width"],
    columns: int = 10,
    *,
    row_labels: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Shows images in rows of `columns`, each pixel enlarged by the same whole factor.

    Args:
        images: in [-1, 1]; 1 channel (black to white) or 3 (RGB).
        columns: images in a row.
        row_labels: one text for each row, above it at the left.
        titles: one short text for each image, above it.
        title: one text above the whole grid.

    Raises:
        ValueError: wrong shape, no image, values that are not finite or outside [-1, 1], or a
            number of labels that does not fit.
    """
    check_images(images, "images")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    if row_labels is not None and len(row_labels) != rows:
        raise ValueError(f"row_labels: expected {rows} texts, one a row, got {len(row_labels)}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles: expected {len(images)}, one an image, got {len(titles)}")

    side = max(images.shape[2:])
    factor = max(1, min(112 // side, round(DPI * WIDTH) // ((side + 1) * columns)))
    gap = max(1, side // 14)
    # Texts stand above what they name: beside it they would take the width that a phone lacks.
    for_titles, for_labels = 21 * bool(titles), 21 * bool(row_labels)
    row_gap = gap + math.ceil((for_titles + for_labels) / factor)
    tiled = tile(images, columns, gap, row_gap)
    height, width = tiled.shape[:2]

    # Margins in pixels, so that image pixels fall exactly on figure pixels.
    left = 2
    top = 28 if title else 2
    texts = [_text_width(title, 12), *(_text_width(text, 11) for text in row_labels or ())]
    full_width = left + max(width * factor + 2, max(texts) + 4)
    full_height = top + height * factor + 2
    with course_style():
        figure = CourseFigure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI)
        figure.density = 1  # the pixels of images are large and hard as they are
        lines = [title, image_text(images.shape, columns, row_labels), *(titles or ())]
        figure.alt = ". ".join(plain(line).strip(".") for line in lines if line) + "."
        axes = figure.add_axes(
            (
                left / full_width,
                2 / full_height,
                width * factor / full_width,
                height * factor / full_height,
            )
        )
        shown = tiled if tiled.ndim == 3 else np.repeat(tiled[..., None], 3, axis=2)
        axes.imshow(shown, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        if title:
            figure.text(left / full_width, 1 - 6 / full_height, title, va="top")
        cell_height, cell_width = images.shape[2] + row_gap, images.shape[3] + gap
        for row, text in enumerate(row_labels or ()):
            y = row * cell_height + row_gap - 0.5 - (for_titles + 2) / factor
            axes.text(gap - 0.5, y, text, va="bottom", fontsize=11)
        for position, text in enumerate(titles or ()):
            row, column = divmod(position, columns)
            axes.text(
                gap + column * cell_width + images.shape[3] / 2 - 0.5,
                row * cell_height + row_gap - 0.5 - 2 / factor,
                text,
                ha="center",
                va="bottom",
                fontsize=11,
            )
    return figure


def loss_curves(
    history: Mapping[str, Sequence[float]],
    names: Sequence[str] | None = None,
    *,
    reference_lines: Mapping[str, float | int] | None = None,
    smooth: int = 25,
) -> Figure:
    """Plots metrics of a training run: raw values faint, moving average strong.

    Args:
        history: metric name -> one value for each entry of `history.steps`.
        names: which metrics, in this order; all if None.
        reference_lines: label -> height of a dashed horizontal line, such as {"log 4": 1.386}.
        smooth: width of the centred moving average in entries; 1 for none.

    Raises:
        ValueError: nothing to plot, an unknown name, or lengths that do not match `steps`.
    """
    steps = getattr(history, "steps", None)
    if steps is None:
        raise ValueError(
            f"history of type {type(history).__name__} has no attribute steps; "
            "pass the history that training returned"
        )
    names = list(history) if names is None else list(names)
    unknown = [name for name in names if name not in history]
    if unknown:
        raise ValueError(f"names: {unknown} not in the history, which holds {sorted(history)}")
    if not names or len(steps) == 0:
        raise ValueError("history is empty; train for at least one step before plotting")
    if smooth < 1:
        raise ValueError(f"smooth must be at least 1, got {smooth}")

    figure, axes = subplots()
    further = iter(SERIES * len(names))
    for name in names:
        values = np.asarray(history[name], dtype=float)
        if len(values) != len(steps):
            raise ValueError(f"history[{name!r}] has {len(values)} values for {len(steps)} steps")
        colour = _colour_of(name) or next(further)
        if smooth > 1:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        average = _moving_average(values, smooth)
        axes.plot(steps, average, color=colour, label=name.replace("_", " "))
    for text, level in (reference_lines or {}).items():
        axes.axhline(level, color="#555555", linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            text,
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color="#555555",
            fontsize=11,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("loss" if all("loss" in name for name in names) else "value")
    axes.margins(x=0.01)
    with course_style():
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    return figure


def density_field(
    discriminator: Callable[[Tensor], Tensor],
    data_points: Float[Tensor, "n 2"],
    model_points: Float[Tensor, "m 2"],
    limits: tuple[float | int, float | int],
    *,
    title: str = "",
) -> Figure:
    """Draws samples of data and model over the discriminator's opinion of every place.

    Args:
        discriminator: maps points, float (n, 2), to probabilities in [0, 1], shape (n,): the
            *probability* that a point is data, so put a sigmoid behind a network that gives logits.
        data_points, model_points: coordinates, in the units of `limits`.
        limits: lower and upper end of both axes.

    Raises:
        ValueError: points or probabilities of a wrong shape, not finite, or outside [0, 1].
    """
    low, high = limits
    if not low < high:
        raise ValueError(f"limits must be (lower, upper) with lower < upper, got {limits}")
    for name, points in (("data_points", data_points), ("model_points", model_points)):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{name} has shape {tuple(points.shape)}, expected (n, 2)")
        _check_finite(points, name)
    cells = 100
    line = torch.linspace(low, high, cells, dtype=data_points.dtype, device=data_points.device)
    plane = torch.cartesian_prod(line, line)
    with torch.no_grad():
        field = discriminator(plane)
    if field.shape != (cells * cells,):
        raise ValueError(
            f"discriminator gave shape {tuple(field.shape)} for {cells * cells} points, expected "
            f"({cells * cells},); remove the trailing axis with .squeeze(1)"
        )
    _check_finite(field, "discriminator(x)")
    if field.min() < 0 or field.max() > 1:
        raise ValueError(
            f"discriminator(x) ranges from {field.min():.3g} to {field.max():.3g}, expected "
            "probabilities in [0, 1]; if it gives logits, pass lambda x: d(x).sigmoid()"
        )

    figure, axes = subplots(height=4.6)
    grid = line.numpy(force=True)
    filled = axes.contourf(
        grid,
        grid,
        field.numpy(force=True).reshape(cells, cells).T,
        levels=np.linspace(0, 1, 12),  # odd number of bands: the middle one, white, is D = 1/2
        cmap=_FIELD,
    )
    for role, points in (("data", data_points), ("model", model_points)):
        x, y = points.numpy(force=True).T
        axes.scatter(x, y, s=7, color=COLOURS[role], alpha=0.7, linewidths=0, label=role)
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    with course_style():
        bar = figure.colorbar(filled, ax=axes, label="$D(x)$", ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.outline.set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, markerscale=3)
        axes.set_title(title, pad=32)
    return figure


def densities_1d(
    x: Float[Tensor, " points"],
    curves: Mapping[str, tuple[Float[Tensor, " points"], str]],
    *,
    top: float | int,
    title: str = "",
) -> Figure:
    """Draws densities on a line and, on a second axis from 0 to 1, a discriminator.

    Args:
        x: where the curves are given; finite.
        curves: label -> (values at x, role); the role is a key of COLOURS. A curve of the role
            "discriminator" goes to the second axis: probabilities, or NaN for a gap in the curve
            where none is defined. The others are densities, finite and 0 or more.
        top: upper end of the density axis; fixed, so that pictures can be compared.

    Raises:
        ValueError: no curve, an unknown role, values of another shape than x or out of range, or a
            top that is not positive.
    """
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (points,), at least two")
    _check_finite(x, "x")
    if not curves:
        raise ValueError("curves is empty; expected label -> (values, role)")
    if not 0 < top < math.inf:
        raise ValueError(f"top must be positive and finite, got {top}")
    for label, (values, role) in curves.items():
        if role not in COLOURS:
            raise ValueError(f"role {role!r} of {label!r} unknown; choose from {list(COLOURS)}")
        if values.shape != x.shape:
            raise ValueError(
                f"curves[{label!r}] has shape {tuple(values.shape)}, expected that of x, "
                f"{tuple(x.shape)}"
            )
        is_probability = role == "discriminator"
        defined = values[~values.isnan()] if is_probability else values
        _check_finite(defined, f"curves[{label!r}]")
        if (defined < 0).any() or (is_probability and (defined > 1).any()):
            raise ValueError(
                f"curves[{label!r}] ranges from {defined.min():.3g} to {defined.max():.3g}, "
                f"expected {'probabilities in [0, 1]' if is_probability else 'densities, >= 0'}; "
                "a logit needs .sigmoid(), a log density .exp()"
            )
    with course_style():
        # Fixed margins: half the drawing time of an automatic layout, which counts under a slider.
        figure = CourseFigure(figsize=(WIDTH, 3.4), dpi=DPI)
        axes = figure.add_axes((0.11, 0.165, 0.77, 0.66))
        right: Axes | None = None
        lines = []
        drawn: set[str] = set()
        style: Any
        places = x.detach().cpu().double().numpy()  # NumPy knows no bfloat16
        for label, (values, role) in curves.items():
            height = values.detach().cpu().double().numpy()
            if role == "discriminator":
                if right is None:
                    right = axes.twinx()
                    right.spines["right"].set_visible(True)
                    right.set(ylim=(0, 1.02), ylabel="$D(x)$", yticks=[0, 0.5, 1])
                # A second discriminator is dashed and dark, to show on top of the first.
                second = {"linestyle": "--", "color": "#222222"} if right.lines else {}
                style = {"color": COLOURS[role]} | second
                lines += right.plot(places, height, label=label, **style)
            else:
                # Two of the same role, such as two models: the second is dashed.
                style = {"linestyle": "--"} if role in drawn else {}
                drawn.add(role)
                lines += axes.plot(places, height, color=COLOURS[role], label=label, **style)
                axes.fill_between(places, height, color=COLOURS[role], alpha=0.12, linewidth=0)
        axes.set(xlim=(places[0], places[-1]), ylim=(0, top), xlabel="$x$", ylabel="density")
        axes.set_title(title, pad=28)
        axes.legend(
            handles=lines, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2
        )
    return figure


def densities_and_bars(
    z: Float[Tensor, " points"],
    curves: Mapping[str, tuple[Float[Tensor, " points"], str]],
    stacks: Sequence[Mapping[str, tuple[float | int | Tensor, str]]],
    *,
    top: float | int,
    bar_top: float | int,
) -> Figure:
    """Draws densities of a code and, beside them, numbers as stacked bars.

    Args:
        z: where the densities are given.
        curves: label -> (density at z, role); the role is a key of COLOURS.
        stacks: a bar each, from below: label -> (height, role). Heights are 0 or more.
        top: upper end of the density axis; fixed, so that pictures can be compared.
        bar_top: that of the bars.

    Raises:
        ValueError: an unknown role, values of another shape than z, or a height that is negative
            or not finite.
    """
    roles = [role for _, role in curves.values()]
    roles += [role for stack in stacks for _, role in stack.values()]
    if unknown := [role for role in roles if role not in COLOURS]:
        raise ValueError(f"role {unknown[0]!r} unknown; choose from {list(COLOURS)}")
    with course_style():
        # Fixed margins, as in densities_1d.
        figure = CourseFigure(figsize=(WIDTH, 3.7), dpi=DPI)
        left = figure.add_axes((0.115, 0.15, 0.42, 0.58))
        right = figure.add_axes((0.6, 0.15, 0.36, 0.58))
        for label, (values, role) in curves.items():
            if values.shape != z.shape:
                raise ValueError(
                    f"curves[{label!r}] has shape {tuple(values.shape)}, expected that of z, "
                    f"{tuple(z.shape)}"
                )
            left.plot(z.numpy(), values.numpy(), color=COLOURS[role], label=label)
        left.set(xlim=(float(z[0]), float(z[-1])), ylim=(0, top), xlabel="$z$", ylabel="density")
        left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1)
        for place, stack in enumerate(stacks):
            bottom = 0.0
            for label, (height, role) in stack.items():
                height = float(height)
                if not -1e-9 <= height < math.inf:
                    raise ValueError(f"{label!r} has the height {height}, expected 0 or more")
                height = max(height, 0.0)  # no "-0.00"
                name = f"{label}  {height:.2f}"
                right.bar(place, height, 0.7, bottom, color=COLOURS[role], label=name)
                bottom += height
            right.annotate(f"{bottom:.2f}", (place, bottom), ha="center", va="bottom", fontsize=12)
        right.set(xlim=(-0.5, len(stacks) - 0.5), ylim=(0, bar_top), xticks=[], yticks=[])
        right.spines["left"].set_visible(False)
        right.legend(loc="lower left", bbox_to_anchor=(-0.12, 1), labelspacing=0.2)
    peaks = (f"{plain(label)} peaks at z = {z[y.argmax()]:.2g}" for label, (y, _) in curves.items())
    sums = (
        " + ".join(f"{label} {float(height):.2f}" for label, (height, _) in stack.items())
        for stack in stacks
    )
    figure.alt = f"Densities over z: {listed(peaks)}. Stacked bars: {'; '.join(sums)}."
    return figure


def latent_map(
    codes: Float[Tensor, "n 2"],
    labels: Int[Tensor, " n"],
    place: tuple[float | int, float | int],
    image: Float[Tensor, "channels height width"],
    *,
    limit: float | int = 3,
) -> Figure:
    """Draws a map of two-dimensional codes with a marker, and the image that belongs to the marker.

    Args:
        codes: one dot each.
        labels: class of each code, 0 … 9, which is its colour.
        place: where the marker is.
        image: in [-1, 1]; what the place is decoded to.
        limit: the map shows -limit … limit in both directions.

    Raises:
        ValueError: wrong shapes, a label out of range, or values that are not finite.
    """
    if codes.ndim != 2 or codes.shape[1] != 2 or labels.shape != codes.shape[:1]:
        raise ValueError(
            f"codes and labels must have the shapes (n, 2) and (n,), got {tuple(codes.shape)} and "
            f"{tuple(labels.shape)}"
        )
    _check_finite(codes, "codes")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise ValueError(f"labels must lie in 0 … 9, got {int(labels.min())} … {int(labels.max())}")
    check_images(image[None], "image")
    with course_style():
        # Fixed margins, as in densities_1d.
        figure = CourseFigure(figsize=(WIDTH, 3.3), dpi=DPI)
        left = figure.add_axes((0.1, 0.16, 0.47, 0.8))
        right = figure.add_axes((0.66, 0.22, 0.32, 0.6))
        colours = mpl.colormaps["tab10"](labels.numpy())
        for digit in labels.unique().tolist():
            x, y = codes[labels == digit].median(0).values.clamp(-limit, limit).tolist()
            left.annotate(str(digit), (x, y), fontsize=13, fontweight="bold", ha="center")
        left.scatter(codes[:, 0], codes[:, 1], s=9, c=colours, alpha=0.6, linewidths=0)
        left.plot(*place, "k+", markersize=14, markeredgewidth=2.5)
        left.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="$z_1$", ylabel="$z_2$")
        pixels = tile(image[None], 1, 1, 0)
        right.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        right.set_axis_off()
    figure.alt = (
        f"Map of {len(codes)} codes of {len(labels.unique())} classes in the plane of z_1 and z_2, "
        f"with a marker at ({rounded(place[0])}, {rounded(place[1])}); beside it the image of "
        f"{image.shape[1]} × {image.shape[2]} pixels that the marker's place is decoded to."
    )
    return figure


def check_images(images: Tensor, name: str) -> None:
    """Raises a ValueError unless `images` is a float batch, 1 or 3 channels, in [-1, 1]."""
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        shape = tuple(getattr(images, "shape", ()))
        kind = getattr(images, "dtype", type(images).__name__)
        raise ValueError(
            f"{name}: expected a float tensor (n, channels, height, width), got {kind} {shape}; "
            "a single image needs images[None]"
        )
    if len(images) == 0:
        raise ValueError(f"{name} holds no image")
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{name} has {images.shape[1]} channels, expected 1 (grey) or 3 (RGB)")
    _check_finite(images, name)
    low, high = images.min().item(), images.max().item()
    if low < -1.001 or high > 1.001:
        raise ValueError(
            f"{name} ranges from {low:.3g} to {high:.3g}, expected [-1, 1]; this is a fault of "
            "scaling, not of display: bytes need x / 127.5 - 1, a generator needs tanh at its end"
        )


def tile(
    images: Float[Tensor, "n channels height width"], columns: int, gap: int, row_gap: int
) -> np.ndarray:
    """Lays images in [-1, 1] out in rows, white between them, as an array in [0, 1].

    Returns:
        (H, W) for one channel, (H, W, 3) for three; `gap` pixels between columns and around, and
        `row_gap` pixels above each row.
    """
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    pixels = ((images.detach().float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).numpy(force=True)
    shape = (rows * (height + row_gap) + gap, columns * (width + gap) + gap, channels)
    page = np.ones(shape, dtype=np.float32)
    for position, image in enumerate(pixels):
        y = position // columns * (height + row_gap) + row_gap
        x = position % columns * (width + gap) + gap
        page[y : y + height, x : x + width] = image
    return page[..., 0] if channels == 1 else page


def _img(source: str, alt: str, width: int, height: int) -> str:
    """A picture with its alternative text as HTML; width and height as on the page, in pixels."""
    return (
        f'<img class="course-figure" alt="{html.escape(alt)}" src="{source}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto">'
    )


def _text_width(text: str, points: float | int) -> int:
    """Width of a line of text in pixels."""
    if not text:
        return 0
    return math.ceil(TextPath((0, 0), text, size=points).get_extents().x1 * DPI / 72)


def _colour_of(name: str) -> str | None:
    if "discriminator" in name:
        return COLOURS["discriminator"]
    return COLOURS["model"] if "generator" in name else None


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Centred average; near the ends over the entries there are."""
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _check_finite(values: Tensor, name: str) -> None:
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ValueError(
            f"{name}: {bad} of {values.numel()} values are NaN or infinite; look for the "
            "first step of training that gave one"
        )
