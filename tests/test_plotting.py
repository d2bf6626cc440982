"""Figures are drawn as asked, shown exactly once by a notebook, light, and strict about input."""

import base64
import html
import inspect
import io
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from course_lib import plotting
from course_lib.description import LONGEST
from course_lib.player import rasterise

LIMIT = 90_000  # bytes of a figure in a notebook


def refuses(function, message: str, *arguments, **options) -> None:
    """The function's own message: below the run-time check of shapes, which has its own tests."""
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(function)(*arguments, **options)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


class History(dict):
    @property
    def steps(self) -> list[int]:
        return list(range(1, 1 + max(map(len, self.values()), default=0)))


def history(n: int = 400) -> History:
    wave = [1 + 0.3 * math.sin(k) for k in range(n)]
    return History(discriminator_loss=wave, generator_loss=[2 * v for v in wave], extra=wave)


def field(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x[:, 0])


def ring(n: int) -> torch.Tensor:
    angle = torch.arange(n) * 2 * math.pi / n
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1)


X = torch.linspace(-3, 3, 50)
DENSITY = torch.exp(-(X**2) / 2) / math.sqrt(2 * math.pi)
DRAWN = {
    "image_grid": lambda: plotting.image_grid(noise(20, 1, 8, 8)),
    "loss_curves": lambda: plotting.loss_curves(history(), reference_lines={"log 4": math.log(4)}),
    "density_field": lambda: plotting.density_field(field, ring(500), ring(300), (-3.0, 3.0)),
    "densities_1d": lambda: plotting.densities_1d(
        X, {"data": (DENSITY, "data"), "D": (DENSITY, "discriminator")}, top=0.5
    ),
    "densities_and_bars": lambda: plotting.densities_and_bars(
        X,
        {"p(z)": (DENSITY, "prior"), "q(z|x)": (DENSITY, "latent")},
        [{"bound": (3.0, "model"), "gap": (torch.tensor(2.0), "latent")}, {"kl": (5.0, "data")}],
        **{"top": 1, "bar_top": 8},
    ),
    "latent_map": lambda: plotting.latent_map(
        ring(40), torch.arange(40) % 10, (1.0, -2.0), noise(1, 28, 28)
    ),
}


def picture(figure: Figure | plotting.Picture) -> tuple[int, int, str, bytes]:
    """Width and height on the page, alternative text and file of a figure in a notebook."""
    shown = re.fullmatch(
        r'<img class="course-figure" alt="([^"]+)" src="data:image/(?:png|webp);base64,([^"]+)" '
        r'width="(\d+)" height="(\d+)" style="max-width:100%;height:auto">',
        figure._repr_html_(),  # type: ignore[attr-defined]
    )
    assert shown
    return int(shown[3]), int(shown[4]), html.unescape(shown[1]), base64.b64decode(shown[2])


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_light_and_unknown_to_pyplot(name: str) -> None:
    before = plt.get_fignums()
    width, height, alt, png = picture(DRAWN[name]())
    assert plt.get_fignums() == before, "pyplot would show the figure a second time"
    assert len(png) < LIMIT and width <= 640
    assert 30 <= len(alt) <= LONGEST and "unlabelled" not in alt
    density = 1 if name == "image_grid" else 2
    drawn = Image.open(io.BytesIO(png)).size
    assert drawn == pytest.approx((density * width, density * height), abs=1)


def test_a_figure_looks_the_same_each_time_it_is_shown() -> None:
    figure = DRAWN["densities_1d"]()
    assert picture(figure) == picture(figure)
    assert figure.dpi == plotting.DPI


def test_a_picture_from_a_file_is_shown_as_it_is_with_its_words(tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    Image.new("RGB", (30, 20), "red").save(path)
    shown = plotting.Picture(path, alt='Eight "red" squares')
    *told, file = picture(shown)
    assert told == [30, 20, 'Eight "red" squares']
    assert Image.open(io.BytesIO(file)).convert("RGB").getcolors() == [(600, (255, 0, 0))]
    assert repr(shown) == f"<Picture: {path.as_posix()}>"


def test_a_notebook_shows_a_figure_exactly_once() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    grid = "plotting.image_grid(torch.zeros(4, 1, 8, 8))"
    sources = [
        f"import torch\nfrom course_lib import plotting\n{grid}",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",  # from here on pyplot has a say
        grid,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    for cell in (notebook.cells[0], notebook.cells[2]):
        shown = [output for output in cell.outputs if "data" in output]
        assert len(shown) == 1 and 'alt="4 grey images' in shown[0].data["text/html"]


def test_image_grid_shows_the_values_it_was_given() -> None:
    images = torch.stack([torch.full((1, 8, 8), level) for level in (-1.0, 0.0, 1.0)])
    picture = np.asarray(rasterise(plotting.image_grid(images, columns=3)).convert("L"))
    middle = picture[picture.shape[0] // 2]
    thirds = [int(middle[len(middle) * k // 6]) for k in (1, 3, 5)]
    assert thirds == pytest.approx([0, 128, 255], abs=1)


def test_image_grid_shows_colour_and_labels() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1).expand(5, 3, 8, 8)
    figure = plotting.image_grid(
        red, columns=2, row_labels=["a", "b", "c"], titles=list("12345"), title="Reds"
    )
    shown = {text.get_text() for text in figure.findobj(plt.Text)}
    assert {"a", "b", "c", "1", "5", "Reds"} <= shown
    assert (255, 0, 0) in {colour for _, colour in rasterise(figure).getcolors(1 << 16)}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (noise(1, 8, 8), r"got torch.float32 \(1, 8, 8\).*images\[None\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "float tensor"),
        (noise(0, 1, 8, 8), "holds no image"),
        (noise(2, 2, 8, 8), "2 channels, expected 1 .* or 3"),
        (noise(2, 1, 8, 8) * torch.nan, "128 of 128 values are NaN"),
        (noise(2, 1, 8, 8) * 127, "fault of scaling"),
    ],
)
def test_image_grid_refuses_bad_images(images: torch.Tensor, message: str) -> None:
    refuses(plotting.image_grid, message, images)


def test_image_grid_forgives_rounding_but_not_more() -> None:
    plotting.image_grid(torch.full((1, 1, 8, 8), 1.0005))
    refuses(plotting.image_grid, "fault of scaling", torch.full((1, 1, 8, 8), 1.01))


def test_image_grid_refuses_labels_that_do_not_fit() -> None:
    refuses(plotting.image_grid, "row_labels: expected 2", noise(4, 1, 8, 8), 2, row_labels=["a"])
    refuses(plotting.image_grid, "titles: expected 4", noise(4, 1, 8, 8), 2, titles=["a"])
    refuses(plotting.image_grid, "columns must be at least 1", noise(4, 1, 8, 8), 0)


def test_loss_curves_draw_raw_values_and_their_centred_average() -> None:
    values = [0.0, 0.0, 9.0, 0.0, 0.0]
    figure = plotting.loss_curves(History(generator_loss=values), smooth=3)
    raw, average = figure.axes[0].lines
    assert list(raw.get_ydata()) == values
    assert list(average.get_ydata()) == pytest.approx([0, 3, 3, 3, 0])
    assert list(average.get_xdata()) == [1, 2, 3, 4, 5]
    assert to_hex(average.get_color()).upper() == plotting.COLOURS["model"]
    assert average.get_label() == "generator loss"


def test_loss_curves_average_near_the_ends_over_what_there_is() -> None:
    figure = plotting.loss_curves(History(a=[1.0] * 10), smooth=50)
    assert list(figure.axes[0].lines[1].get_ydata()) == pytest.approx([1.0] * 10)


def test_loss_curves_show_names_and_reference_lines() -> None:
    figure = plotting.loss_curves(
        history(), ["extra"], reference_lines={"log 4": math.log(4)}, smooth=1
    )
    axes = figure.axes[0]
    assert len(axes.lines) == 2 and axes.lines[1].get_ydata()[0] == math.log(4)
    assert "log 4" in [text.get_text() for text in axes.texts]
    assert axes.get_xlabel() == "step" and axes.get_ylabel() == "value"


def test_loss_curves_refuse_bad_input() -> None:
    refuses(plotting.loss_curves, "no attribute steps", {"a": [1.0]})
    refuses(plotting.loss_curves, "history is empty", History())
    refuses(plotting.loss_curves, "not in the history", history(), ["generator"])
    refuses(plotting.loss_curves, "smooth must be", history(), smooth=0)
    refuses(plotting.loss_curves, "2 values for 3 steps", History(a=[1.0] * 3, b=[1.0] * 2))


def test_density_field_puts_the_field_the_right_way_round() -> None:
    """D rises along x_1: pale orange (model) on the left, pale blue (data) on the right."""
    nothing = torch.zeros(0, 2)
    picture = rasterise(plotting.density_field(field, nothing, nothing, (-6.0, 6.0)))
    at = {x: picture.getpixel((x, 400)) for x in (100, 420)}
    red, _, blue = at[100]
    assert red > blue + 50
    red, _, blue = at[420]
    assert blue > red + 50


def test_density_field_shows_every_point_and_labels() -> None:
    figure = plotting.density_field(field, ring(70), ring(30), (-3.0, 3.0), title="Step 5")
    axes = figure.axes[0]
    points = {c.get_label(): len(c.get_offsets()) for c in axes.collections}
    assert points["data"] == 70 and points["model"] == 30
    assert axes.get_title(loc="left") == "Step 5"
    assert "D(x)" in figure.axes[1].get_ylabel()


def test_density_field_refuses_bad_input() -> None:
    call = plotting.density_field
    limits = (-3.0, 3.0)
    refuses(call, "if it gives logits", lambda x: 9 * x[:, 0], ring(5), ring(5), limits)
    refuses(call, r"squeeze\(1\)", lambda x: field(x)[:, None], ring(5), ring(5), limits)
    refuses(call, "NaN", lambda x: field(x) * torch.nan, ring(5), ring(5), limits)
    refuses(call, "model_points: 10 of 10", field, ring(5), ring(5) * torch.inf, limits)
    refuses(call, r"data_points has shape \(5, 3\)", field, torch.zeros(5, 3), ring(5), limits)
    refuses(call, "lower < upper", field, ring(5), ring(5), (3.0, -3.0))


def test_density_field_keeps_no_gradient() -> None:
    network = torch.nn.Linear(2, 1)
    made = plotting.density_field(
        lambda x: network(x).squeeze(1).sigmoid(), ring(5), ring(5), (-3.0, 3.0)
    )
    assert isinstance(made, Figure) and network.weight.grad is None


def test_densities_keep_their_scale_and_give_the_discriminator_its_own_axis() -> None:
    figure = DRAWN["densities_1d"]()
    left, right = figure.axes
    assert left.get_ylim() == (0, 0.5) and right.get_ylim()[0] == 0
    assert [len(axes.lines) for axes in (left, right)] == [1, 1]
    x = torch.linspace(0, 1, 5)
    call = plotting.densities_1d
    refuses(call, "role 'truth'", x, {"a": (x, "truth")}, top=1.0)
    refuses(call, "curves is empty", x, {}, top=1.0)
    refuses(call, r"x has shape \(1,\)", x[:1], {"a": (x[:1], "data")}, top=1.0)
    refuses(call, "x: 1 of 5 values are NaN", x / x, {"a": (x, "data")}, top=1.0)
    refuses(call, r"curves\['a'\]: 1 of 5", x, {"a": (x / x, "data")}, top=1.0)
    refuses(call, r"'a'\] has shape \(4,\), expected .*\(5,\)", x, {"a": (x[1:], "data")}, top=1.0)
    refuses(call, "expected densities", x, {"a": (x - 1, "data")}, top=1.0)
    refuses(call, r"in \[0, 1\]; a logit needs", x, {"D": (2 * x, "discriminator")}, top=1.0)
    refuses(call, r"curves\['D'\]: 1 of 5", x, {"D": (1 / x, "discriminator")}, top=1.0)
    refuses(call, "top must be positive and finite, got nan", x, {"a": (x, "data")}, top=math.nan)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_densities_come_in_every_precision_and_with_a_gradient(dtype: torch.dtype) -> None:
    x = torch.linspace(0, 1, 5, dtype=dtype, requires_grad=True)
    figure = plotting.densities_1d(x, {"a": (x, "data"), "D": (x, "discriminator")}, top=1)
    for axes in figure.axes:
        assert axes.lines[0].get_ydata().tolist() == x.tolist()


def test_two_models_in_a_picture_differ_by_more_than_their_names() -> None:
    curves = {name: (DENSITY, "model") for name in ("forward", "reverse")}
    (axes,) = plotting.densities_1d(X, curves, top=0.5).axes
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]


def test_a_discriminator_that_is_nowhere_defined_leaves_a_gap() -> None:
    x = torch.linspace(0, 1, 5)
    gap = torch.where((x > 0.2) & (x < 0.8), torch.nan, x)
    for values in (gap, x * torch.nan):
        figure = plotting.densities_1d(x, {"D": (values, "discriminator")}, top=1)
        drawn = torch.tensor(figure.axes[1].lines[0].get_ydata())
        assert torch.equal(drawn.isnan(), values.isnan()) and picture(figure)


def bars(*stacks, top: float = 8) -> Figure:
    z = torch.linspace(-3, 3, 50)
    return plotting.densities_and_bars(z, {"p(z)": (z**2, "prior")}, stacks, top=9, bar_top=top)


def test_bars_stand_on_each_other_and_equal_totals_are_equally_high() -> None:
    figure = bars(
        {"a": (3.0, "model"), "b": (torch.tensor(2.0), "latent")},
        {"c": (1.0, "data"), "d": (4.0, "model")},
    )
    right = figure.axes[1]
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in right.patches]
    assert spans == [(0, 3), (3, 5), (0, 1), (1, 5)] and right.get_ylim() == (0, 8)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in right.patches]
    assert centres == pytest.approx([0, 0, 1, 1])
    colours = [to_hex(bar.get_facecolor()).upper() for bar in right.patches]
    assert colours == [plotting.COLOURS[role] for role in ("model", "latent", "data", "model")]
    assert [(text.get_text(), text.xy) for text in right.texts] == [
        ("5.00", (0, 5)),
        ("5.00", (1, 5)),
    ]
    named = [text.get_text() for text in right.get_legend().get_texts()]
    assert named == ["a  3.00", "b  2.00", "c  1.00", "d  4.00"]


def test_densities_beside_bars_are_those_given() -> None:
    (line,) = bars({"a": (1.0, "data")}).axes[0].lines
    z = torch.linspace(-3, 3, 50)
    assert line.get_xdata().tolist() == z.tolist() and line.get_ydata().tolist() == (z**2).tolist()
    assert to_hex(line.get_color()).upper() == plotting.COLOURS["prior"]
    assert bars({"a": (1.0, "data")}).axes[0].get_xlim() == (-3, 3) and bars(
        {"a": (1.0, "data")}
    ).axes[0].get_ylim() == (0, 9)


def test_densities_and_bars_refuse_bad_input() -> None:
    z, tops = torch.linspace(0, 1, 5), {"top": 1, "bar_top": 1}
    curves, call = {"a": (z, "data")}, plotting.densities_and_bars
    refuses(call, "role 'truth' unknown", z, {"a": (z, "truth")}, [], **tops)
    refuses(call, "role 'truth' unknown", z, curves, [{"a": (1.0, "truth")}], **tops)
    short = {"a": (z[1:], "data")}
    refuses(call, r"\['a'\] has shape \(4,\), expected .*\(5,\)", z, short, [], **tops)
    for height in (-0.1, math.nan, math.inf, torch.tensor(-1.0)):
        refuses(call, "'a' has the height", z, curves, [{"a": (height, "data")}], **tops)
    call(z, curves, [{"a": (-1e-12, "data")}], **tops)  # a divergence of 0, rounded


def test_a_latent_map_has_each_code_its_marker_and_its_image() -> None:
    codes, labels = torch.tensor([[0.0, 1.0], [1.0, 2.0], [8.0, -1.0]]), torch.tensor([3, 3, 9])
    image = torch.linspace(-1, 1, 12).reshape(1, 3, 4)
    left, right = plotting.latent_map(codes, labels, (0.5, -2.0), image, limit=4).axes
    (dots,) = left.collections
    assert np.array_equal(dots.get_offsets(), codes)
    colours = [tuple(colour[:3]) for colour in dots.get_facecolors()]
    tab10 = plt.get_cmap("tab10")
    assert colours == [tab10(label)[:3] for label in (3, 3, 9)]
    (marker,) = left.lines
    assert (marker.get_xdata(), marker.get_ydata()) == ([0.5], [-2.0])
    named = {text.get_text(): text.xy for text in left.texts}
    assert named == {"3": (0, 1), "9": (4, -1)}, "the median, within the map"
    assert left.get_xlim() == left.get_ylim() == (-4, 4)
    shown = right.images[0].get_array()[:-1, 1:-1]
    assert np.allclose(shown, (image[0] + 1) / 2) and right.images[0].get_clim() == (0, 1)


def test_a_latent_map_refuses_bad_input() -> None:
    codes, labels, image, call = ring(5), torch.arange(5), noise(1, 8, 8), plotting.latent_map
    shapes = r"shapes \(n, 2\) and \(n,\), got "
    refuses(call, shapes + r"\(5, 3\)", torch.zeros(5, 3), labels, (0.0, 0.0), image)
    refuses(call, shapes + r".* and \(4,\)", codes, labels[1:], (0.0, 0.0), image)
    refuses(call, "codes: 10 of 10 values are NaN", codes / 0, labels, (0.0, 0.0), image)
    refuses(call, "labels must lie in 0 … 9, got 6 … 10", codes, labels + 6, (0.0, 0.0), image)
    refuses(call, "labels must lie in 0 … 9, got -1 … 3", codes, labels - 1, (0.0, 0.0), image)
    refuses(call, "image ranges from .* scaling", codes, labels, (0.0, 0.0), 9 * image)
    refuses(call, "image has 2 channels", codes, labels, (0.0, 0.0), noise(2, 8, 8))


def test_the_pictures_change_with_the_values() -> None:
    """Also in what a slider changes between two frames."""
    maps = [
        (ring(5), torch.arange(5), (0.0, 0.0), noise(1, 8, 8)),
        (ring(5), torch.arange(5), (0.5, 0.0), noise(1, 8, 8)),
        (ring(5), torch.arange(5), (0.0, 0.0), -noise(1, 8, 8)),
        (-ring(5), torch.arange(5), (0.0, 0.0), noise(1, 8, 8)),
        (ring(5), torch.arange(5) + 1, (0.0, 0.0), noise(1, 8, 8)),
    ]
    figures = [bars({"a": (3.0, "model")}), bars({"a": (3.5, "model")}), bars({"a": (3.0, "data")})]
    figures += [plotting.latent_map(*arguments) for arguments in maps]
    pictures = [rasterise(figure).tobytes() for figure in figures]
    assert len(set(pictures)) == len(pictures)
    again = [bars({"a": (3.0, "model")}), plotting.latent_map(*maps[0])]
    assert [rasterise(figure).tobytes() for figure in again] == [pictures[0], pictures[3]]
