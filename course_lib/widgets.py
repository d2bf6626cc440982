"""Figures that move with a slider, in a live notebook and on the static site.

`panel` takes a function that draws a figure from a few numbers. Its one output holds two forms:
live ipywidgets, which call the function anew, and a self-contained HTML player with frames drawn in
advance. A live JupyterLab shows the first; everything else shows the second.
"""

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from course_lib.description import written
from course_lib.player import Control, Player, player, png_quickly, rasterise
from course_lib.plotting import course_style

MAX_FRAMES = 200
_ONLY_SPOKEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Slider:
    """One number that the reader moves.

    Attributes:
        low, high: the range, both ends included.
        start: where the live slider begins; the player begins at the nearest of its positions.
        frames: evenly spaced positions in the player; the live slider has ten times finer steps.
        label: text beside the slider, plain text or Unicode (σ, not $\\sigma$); the name of the
            argument if empty.
    """

    low: float | int
    high: float | int
    start: float | int
    frames: int = 7
    label: str = ""

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (self.low, self.high, self.start)):
            raise ValueError(
                f"low, high and start must be finite, got {self.low}, {self.high}, {self.start}"
            )
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, got low={self.low}, high={self.high}")
        if not self.low <= self.start <= self.high:
            raise ValueError(
                f"start must lie between low={self.low} and high={self.high}, got {self.start}"
            )
        if self.frames < 2:
            raise ValueError(f"frames must be at least 2, got {self.frames}")

    @property
    def positions(self) -> tuple[float, ...]:
        """The values of the player's frames, from low to high."""
        return tuple(float(value) for value in np.linspace(self.low, self.high, self.frames))

    @property
    def step(self) -> float:
        """Step of the live slider."""
        return (self.high - self.low) / (self.frames - 1) / 10


class Panel:
    """What `panel` returns; put it on the last line of a cell to show it.

    Attributes:
        player: the self-contained player.
        live: the ipywidgets box, made at first use.
    """

    def __init__(self, draw: Callable[..., Figure], alt: str, sliders: Mapping[str, Slider]):
        self._draw = draw
        self._alt = alt
        self._sliders = dict(sliders)
        # Of the axes in the last live picture: their limits, and where the layout put them.
        self._limits: list[tuple[float, float, float, float]] = []
        self._places: list[Bbox] = []
        # What is written in the last picture, and what of it stays in all of the player's.
        self._words: list[str] = []
        self._constant: set[str] = set()
        self.player = self._precompute()

    def _picture(self, values: Mapping[str, float], live: bool = False) -> Image.Image:
        with course_style():
            try:
                figure = self._draw(**values)
                self._words = written(figure) if isinstance(figure, Figure) else []
                if not (live and isinstance(figure, Figure)):
                    return rasterise(figure)
                # To solve the layout takes a third of the time of a drawing, and where the axes
                # have the limits, and so the tick labels, that they had, it would be the same.
                limits = [(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes]
                if limits == self._limits:
                    figure.set_layout_engine("none")
                    for axes, place in zip(figure.axes, self._places, strict=True):
                        axes.set_position(place)
                picture = rasterise(figure)
                self._limits = limits
                self._places = [axes.get_position(original=True) for axes in figure.axes]
                return picture
            except Exception as error:
                told = ", ".join(f"{name}={value:g}" for name, value in values.items())
                error.add_note(f"while drawing the panel with {told}")
                raise

    def _precompute(self) -> Player:
        sliders = self._sliders
        pictures, words = [], []
        for values in product(*(slider.positions for slider in sliders.values())):
            pictures.append(self._picture(dict(zip(sliders, values, strict=True))))
            words.append(self._words)
        self._constant = set.intersection(*map(set, words))
        spoken = [self._moving(each) for each in words]
        controls = [
            Control(
                label=slider.label or name,
                texts=_texts(slider),
                start=int(np.abs(np.array(slider.positions) - slider.start).argmin()),
            )
            for name, slider in sliders.items()
        ]
        return player(pictures, controls, alt=self._alt, spoken=spoken)

    def _moving(self, words: list[str]) -> str:
        """Of what is written in a picture, what a slider changes: for readers who cannot see it."""
        return "; ".join(word for word in words if word not in self._constant)

    @cached_property
    def live(self) -> Any:
        """A VBox of a picture, one FloatSlider for each number, and a line for errors.

        The front end keeps at most one slider message under way and drops those in between, so
        fast dragging cannot queue up drawings.
        """
        import ipywidgets

        start = {name: float(slider.start) for name, slider in self._sliders.items()}
        first = self._picture(start, live=True)
        image = ipywidgets.Image(
            value=png_quickly(first),
            format="png",
            layout={"max_width": "100%", "width": f"{first.width}px"},
        )
        # ipywidgets has no alternative text for pictures, and its tooltip breaks the picture.
        spoken = ipywidgets.HTML(self._spoken_html())
        failure = ipywidgets.HTML()
        inputs = {
            name: ipywidgets.FloatSlider(
                value=start[name],
                min=slider.low,
                max=slider.high,
                step=slider.step,
                description=slider.label or name,
                readout_format=f".{_decimals(slider.low, slider.step)}f",
                style={"description_width": "11rem"},
                layout={"width": "100%", "max_width": f"{first.width}px"},
            )
            for name, slider in self._sliders.items()
        }

        def redraw(change: object) -> None:
            try:
                picture = self._picture(
                    {name: slider.value for name, slider in inputs.items()}, live=True
                )
            except Exception as error:
                # The traceback of a slider message goes to the log, where no reader looks.
                failure.value = _failure_html(error)
                raise
            image.value = png_quickly(picture)
            spoken.value = self._spoken_html()
            failure.value = ""

        for slider in inputs.values():
            slider.observe(redraw, names="value")
        return ipywidgets.VBox([image, *inputs.values(), failure, spoken])

    def _spoken_html(self) -> str:
        text = ". ".join(filter(None, [self._alt.strip(" ."), self._moving(self._words)]))
        return f'<span style="{_ONLY_SPOKEN}">{html.escape(text)}.</span>'

    def __repr__(self) -> str:
        shape = " × ".join(str(slider.frames) for slider in self._sliders.values())
        return f"<Panel({', '.join(self._sliders)}): {shape} frames>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.player.html}
        try:
            import ipywidgets  # noqa: F401
        except ModuleNotFoundError:
            return bundle  # installed without the course's extra: the player alone
        bundle[_WIDGET_VIEW] = self.live._repr_mimebundle_()[_WIDGET_VIEW]
        return bundle


def panel(draw: Callable[..., Figure], /, *, alt: str, **sliders: Slider) -> Panel:
    """Lets the reader move the arguments of a drawing function.

        panel(draw, alt="Densities of data and model", mean=Slider(-3, 3, 1), width=Slider(1, 3, 2))

    Args:
        draw: called as `draw(mean=…, width=…)` with floats; returns a Figure, of the same size and,
            for a calm picture, with the same axis limits each time. It runs once for each frame
            (the product of the sliders' `frames`), and then for each move of a live slider: keep
            it under a tenth of a second.
        alt: what the picture shows, in a sentence, for readers who cannot see it.
        sliders: one to three, named like the arguments of `draw`.

    Raises:
        ValueError: no slider or more than three, more than 200 frames in all, frames of different
            sizes, an empty `alt`, or a `draw` that does not return a Figure.
    """
    if not 1 <= len(sliders) <= 3:
        raise ValueError(
            f"sliders: expected one to three, such as mean=Slider(-3, 3, 0), got {len(sliders)}"
        )
    for name, slider in sliders.items():
        if not isinstance(slider, Slider):
            raise ValueError(f"{name} must be a Slider, got {type(slider).__name__}")
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the picture shows")
    frames = math.prod(slider.frames for slider in sliders.values())
    if frames > MAX_FRAMES:
        raise ValueError(
            f"the sliders ask for {frames} frames in all, at most {MAX_FRAMES} are allowed; "
            "give each Slider a smaller frames=, or use fewer sliders"
        )
    return Panel(draw, alt, sliders)


def _texts(slider: Slider) -> tuple[str, ...]:
    places = _decimals(slider.low, 10 * slider.step)
    return tuple(f"{value:z.{places}f}".replace("-", "−") for value in slider.positions)


def _decimals(*numbers: float | int) -> int:
    """The fewest decimals that write all the numbers out, at most three."""
    for places in range(3):
        if all(math.isclose(round(x, places), x, abs_tol=1e-9) for x in numbers):
            return places
    return 3


def _failure_html(error: Exception) -> str:
    text = html.escape(f"{type(error).__name__}: {error}")
    notes = "<br>".join(html.escape(note) for note in getattr(error, "__notes__", ()))
    return f'<div role="alert" style="color:#D55E00"><b>{text}</b><br>{notes}</div>'
