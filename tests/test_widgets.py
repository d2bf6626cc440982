"""The panel: one output with a live and a static form, both drawn by the same function."""

import io
import math
import re
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from course_lib import plotting
from course_lib.widgets import Panel, Slider, panel

VIEW = "application/vnd.jupyter.widget-view+json"


def dot(height: float, place: float = 0.0) -> Figure:
    figure = Figure(figsize=(2, 1), dpi=50)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.plot([place], [height], "o")
    axes.set(xlim=(-2, 2), ylim=(-2, 2))
    return figure


def small() -> Panel:
    return panel(
        dot, alt="A dot", height=Slider(-1, 1, 0, frames=3), place=Slider(0, 1, 0.5, frames=5)
    )


def gaussians(mean: float, width: float) -> Figure:
    """What chapter 04 draws: data, model, optimal discriminator."""
    x = torch.linspace(-6, 6, 400)

    def density(m: float, s: float) -> torch.Tensor:
        return torch.exp(-((x - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))

    data, model = density(0, 1), density(mean, width)
    curves = {
        "data": (data, "data"),
        "model": (model, "model"),
        "D*": (data / (data + model), "discriminator"),
    }
    return plotting.densities_1d(x, curves, top=0.85, title=f"mean {mean:.2f}, width {width:.2f}")


def stored_frames(made: Panel) -> list[str]:
    frames = re.search(r'"frames":\[([^]]+)\]', made.player.html)
    assert frames
    return re.findall(r'"([^"]+)"', frames[1])


def test_player_holds_a_frame_for_every_pair_of_positions() -> None:
    made = small()
    assert made.player.frames == 15
    assert len(set(stored_frames(made))) == 15, "every pair of positions has its own picture"
    assert made.player.html == small().player.html


def test_slider_positions_and_texts() -> None:
    made = small()
    assert Slider(0, 1, 0.5, frames=5).positions == (0, 0.25, 0.5, 0.75, 1)
    assert '[["−1","0","1"],["0.00","0.25","0.50","0.75","1.00"]]' in made.player.html.replace(
        "\\u2212", "−"
    )
    assert repr(made) == "<Panel(height, place): 3 × 5 frames>"


def test_player_starts_at_the_position_nearest_to_start() -> None:
    made = panel(dot, alt="A dot", height=Slider(0, 1, 0.7, frames=3, label="σ"))
    assert 'value=\\"1\\"' in made.player.html and "\\u03c3" in made.player.html


def test_two_slider_panel_of_a_line_plot_stays_small() -> None:
    made = panel(
        gaussians, alt="Densities", mean=Slider(-3, 3, 1), width=Slider(0.5, 2, 1, frames=7)
    )
    assert made.player.frames == 49
    assert len(made.player.html) < 250_000


def test_moving_a_live_slider_changes_the_picture() -> None:
    made = small()
    image, height, place, failure, spoken = made.live.children
    seen = {bytes(image.value)}
    assert height.value == 0 and place.value == 0.5 and height.step == pytest.approx(0.1)
    for value in (0.3, 0.6):
        height.value = value
        seen.add(bytes(image.value))
    place.value = 0.25
    seen.add(bytes(image.value))
    assert len(seen) == 4 and failure.value == "" and "A dot" in spoken.value
    assert Image.open(io.BytesIO(image.value)).size == (100, 50)


def test_what_is_written_in_the_pictures_and_moves_is_spoken() -> None:
    def draw(height: float) -> Figure:
        figure = dot(height)
        figure.axes[0].set_title(f"height = {height:.1f}")
        figure.axes[0].text(0, 0, "always $p_0$")
        return figure

    made = panel(draw, alt="A dot.", height=Slider(0, 1, 0.5, frames=3))
    assert '"spoken":["height = 0.0","height = 0.5","height = 1.0"]' in made.player.html
    slider, spoken = made.live.children[1], made.live.children[-1]
    assert ">A dot. height = 0.5.</span>" in spoken.value
    slider.value = 0.2
    assert ">A dot. height = 0.2.</span>" in spoken.value
    assert '"spoken":[]' in small().player.html


def test_live_picture_is_the_figure_of_the_slider_values() -> None:
    made = small()
    image, height, place, *_ = made.live.children
    height.value, place.value = 1.0, 0.0
    pixels = np.asarray(Image.open(io.BytesIO(image.value)).convert("L")).astype(int)
    row, column = np.unravel_index(pixels.argmin(), pixels.shape)
    assert (row, column) == (pytest.approx(12, abs=4), pytest.approx(50, abs=4))


@pytest.mark.parametrize("limits", ["fixed", "moving"])
def test_a_live_picture_is_laid_out_as_if_it_were_the_first(limits: str) -> None:
    def draw(height: float) -> Figure:
        figure, (left, right) = plotting.subplots(1, 2)
        left.set(xlabel="$x$", ylabel="density", ylim=(0, 1))
        right.set(ylabel="size", ylim=(0, 1 if limits == "fixed" else 10**height))
        left.axhline(height / 5)
        left.legend(["height"])
        return figure

    def seen(start: float, moved: float) -> np.ndarray:
        made = panel(draw, alt="A line", height=Slider(0, 5, start, frames=2))
        image, slider, *_ = made.live.children
        slider.value = moved
        return np.asarray(Image.open(io.BytesIO(image.value)))

    assert (seen(1, 4) == seen(4, 4)).all()
    assert (seen(1, 4) != seen(1, 1)).any()


def test_live_panel_answers_in_time() -> None:
    made = panel(
        gaussians, alt="Densities", mean=Slider(-3, 3, 1, frames=2), width=Slider(1, 2, 1, frames=2)
    )
    slider = made.live.children[1]
    times = []
    for value in (0.1, 0.4, 0.7, 1.3, 1.6, 1.9):
        start = time.process_time()  # other processes of a busy machine do not count
        slider.value = value
        times.append(time.process_time() - start)
    assert min(times) < 0.15


def test_an_error_while_drawing_is_shown_and_raised() -> None:
    def sometimes(height: float) -> Figure:
        if 0 < height < 0.5:
            raise ZeroDivisionError("<nothing> here")
        return dot(height)

    made = panel(sometimes, alt="A dot", height=Slider(0, 1, 0, frames=3))
    image, height, failure, _ = made.live.children
    before = image.value
    with pytest.raises(ZeroDivisionError):
        height.value = 0.2
    assert "ZeroDivisionError: &lt;nothing&gt; here" in failure.value
    assert "height=0.2" in failure.value and image.value == before
    height.value = 0.8
    assert failure.value == "" and image.value != before


def test_error_while_drawing_a_frame_names_the_values() -> None:
    def broken(height: float) -> Figure:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError) as caught:
        panel(broken, alt="A dot", height=Slider(0, 1, 0))
    assert caught.value.__notes__ == ["while drawing the panel with height=0"]


def test_figures_made_by_pyplot_are_closed() -> None:
    def by_pyplot(height: float) -> Figure:
        figure, axes = plt.subplots(figsize=(2, 1), dpi=50)
        axes.plot([height], [height])
        return figure

    before = plt.get_fignums()
    panel(by_pyplot, alt="A dot", height=Slider(0, 1, 0)).live  # noqa: B018
    assert plt.get_fignums() == before


def test_without_ipywidgets_only_the_player_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    made = small()
    assert set(made._repr_mimebundle_()) == {"text/plain", "text/html", VIEW}
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(made._repr_mimebundle_()) == {"text/plain", "text/html"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1, "high": 1, "start": 1}, "low must be less than high"),
        ({"low": 2, "high": 1, "start": 1}, "low must be less than high"),
        ({"low": 0, "high": 1, "start": 2}, "start must lie between"),
        ({"low": 0, "high": math.inf, "start": 2}, "must be finite"),
        ({"low": 0, "high": 1, "start": 0, "frames": 1}, "frames must be at least 2"),
    ],
)
def test_slider_refuses_bad_ranges(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Slider(**options)


def test_panel_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="one to three"):
        panel(dot, alt="A dot")
    with pytest.raises(ValueError, match="one to three"):
        panel(dot, alt="A dot", **{name: Slider(0, 1, 0) for name in "abcd"})
    with pytest.raises(ValueError, match=r"225 frames.*smaller frames="):
        panel(dot, alt="A dot", height=Slider(0, 1, 0, 15), place=Slider(0, 1, 0, 15))
    with pytest.raises(ValueError, match="alt is empty"):
        panel(dot, alt=" ", height=Slider(0, 1, 0))
    with pytest.raises(ValueError, match="return figure"):
        panel(lambda height: None, alt="A dot", height=Slider(0, 1, 0))


def test_panel_gives_one_output_of_three_forms_in_a_kernel() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    source = """
from course_lib import plotting
from course_lib.widgets import Slider, panel

def draw(slope):
    figure, axes = plotting.subplots(height=2)
    axes.plot([0, 1], [0, slope])
    axes.set_ylim(-1, 1)
    return figure

panel(draw, alt="A line", slope=Slider(-1, 1, 0, frames=3))
"""
    cell = nbformat.v4.new_code_cell(source)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    assert len(cell.outputs) == 1
    assert set(cell.outputs[0].data) == {"text/plain", "text/html", VIEW}
    model = cell.outputs[0].data[VIEW]["model_id"]
    assert model in notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
