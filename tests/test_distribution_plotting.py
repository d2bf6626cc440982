"""Pictures of distributions show what they were given, can be read, and are strict about input."""

import inspect
import math
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import wasserstein_distance
from torch import Tensor

from course_lib import plotting
from course_lib.distribution_plotting import bars, joint_table, posteriors, transport, tree
from course_lib.player import png_small, rasterise
from course_lib.plotting import COLOURS

LIMIT = 40_000  # bytes of a figure, a pixel for a pixel of the page
INK = ["under 16", "16–19", "20–23", "24–27", "28 or more"]
FAMILIES = {
    "explicit density": {
        "exact": {"autoregressive": "chapters 11-13", "normalising flow": "chapter 2"},
        "a bound": {"variational autoencoder": "chapter 9", "diffusion": "chapter 14"},
    },
    "implicit": {"no density": {"GAN": "chapters 4-6"}},
}


def refuses(function, message: str, *arguments, **options) -> None:
    """The function's own message: below the run-time check of shapes, which has its own tests."""
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(function)(*arguments, **options)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def distribution(n: int, seed: int = 0) -> Tensor:
    return drawn(n, seed=seed).softmax(0)


def plane(x: Tensor) -> Tensor:
    """p(y=1|x) = 1/2 where x_1 = 1."""
    return (2 * (x[:, 0] - 1)).sigmoid()


def tilted(x: Tensor) -> Tensor:
    return (x[:, 0] + 2 * x[:, 1]).sigmoid()


def saddle(x: Tensor) -> Tensor:
    return (x[:, 0] * x[:, 1]).sigmoid()


def classified(panels: dict | None = None, labels: Tensor | None = None, **options) -> Figure:
    points = drawn(120, 2) + torch.arange(120)[:, None] // 60
    labels = torch.arange(120) // 60 if labels is None else labels
    panels = panels or {"Gaussian classes": saddle, "logistic regression": plane}
    return posteriors(points, labels, panels, (-4, 4), **options)


ELLIPSES = [
    (torch.tensor([-1.0, 0.5]), torch.tensor([[2.0, 0.6], [0.6, 0.5]]), 0),
    (torch.tensor([1.0, 1.0]), torch.eye(2), 1),
]
DRAWN = {
    "small table": lambda: joint_table(
        torch.tensor([[0.3, 0.1], [0.15, 0.45]]), ["rain", "dry"], ["cloudy", "clear sky"]
    ),
    "table of ten classes": lambda: joint_table(
        drawn(50).softmax(0).reshape(5, 10), INK, list("0123456789"), title="p(x, y) of ink, digit"
    ),
    "table of counts": lambda: joint_table(
        torch.arange(50).reshape(5, 10), INK, list("0123456789")
    ),
    "table with long names": lambda: joint_table(
        drawn(18).softmax(0).reshape(3, 6),
        INK[:3],
        ["a very long name", "b", "another long name", "d", "e", "f"],
        title="A title",
    ),
    "bars": lambda: bars(
        list("abcde"),
        {
            "p, the data": (distribution(5), "data"),
            "q, forward KL": (distribution(5, 1), "model"),
            "q, reverse KL": (distribution(5, 2), "discriminator"),
        },
        title="Three distributions",
    ),
    "bars of letters": lambda: bars(
        [chr(97 + k) for k in range(26)],
        {"p": (distribution(26), "data"), "q": (distribution(26, 1), "model")},
    ),
    "bars of counts": lambda: bars([str(k) for k in range(60)], {"p": (distribution(60), "data")}),
    "bars of long names": lambda: bars(
        ["heads and tails", "unpronounceability", "lost under the sofa", "else", "f", "g", "h"],
        {"p": (drawn(7), "data"), "q": (drawn(7, seed=1), "model")},
        ylabel="nats",
    ),
    "two panels": lambda: classified(ellipses=ELLIPSES),
    "one panel": lambda: classified({"QDA": saddle}, title="n = 120"),
    "four panels": lambda: classified(
        {"QDA": saddle, "LDA": plane, "naive Bayes": saddle, "logistic": plane}, title="n = 120"
    ),
    "transport": lambda: transport(drawn(20), 1.5 * drawn(20, seed=1) + 1, title="p and q"),
    "transport of many": lambda: transport(drawn(300), drawn(300, seed=1) / 2 - 1),
    "transport to itself": lambda: transport(torch.ones(1), torch.ones(1)),
    "tree": lambda: tree(FAMILIES, title="What becomes of p(x)"),
    "tree of leaves": lambda: tree({"a": "", "b": "a note", "c": {"d": "x"}}),
}


def visible(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in visible(figure)]


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_light_and_readable(name: str) -> None:
    before = plt.get_fignums()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = DRAWN[name]()
        picture = rasterise(figure)
    assert plt.get_fignums() == before, "pyplot would show the figure a second time"
    width, height = picture.size
    assert len(png_small(picture)) < LIMIT and width <= 620 and height <= 720
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.get_tightbbox(renderer)  # in inches
    low, (right, upper) = box.min * figure.dpi, box.max * figure.dpi
    assert (low >= -1).all() and right <= width + 1 and upper <= height + 1
    assert all(text.get_size() >= 11 for text in visible(figure))
    shown = []
    for text in visible(figure):
        box = text.get_window_extent(renderer)
        if box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1:  # ticks beyond the limits are not drawn
            shown.append((text.get_text(), box))
    assert len(shown) >= 3
    for number, (one, first) in enumerate(shown):
        for other, second in shown[number + 1 :]:
            wide = min(first.x1, second.x1) - max(first.x0, second.x0)
            high = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert wide <= 1 or high <= 4, f"{one!r} and {other!r}"


def test_posteriors_are_fast_enough_for_a_slider() -> None:
    """Against a plain line with automatic layout, so that a slow machine fails nothing."""
    times: dict[str, list[float]] = {"plain": [], "two panels": []}
    for _ in range(4):
        for which, spent in times.items():
            start = time.process_time()
            if which == "plain":
                figure, axes = plotting.subplots()
                axes.plot([0, 1], label="a")
                axes.legend()
            else:
                figure = DRAWN[which]()
            rasterise(figure)
            spent.append(time.process_time() - start)
    assert min(times["two panels"]) < 3 * min(times["plain"])


def test_a_table_has_both_margins_where_they_belong() -> None:
    figure = joint_table(torch.tensor([[0.3, 0.1], [0.25, 0.35]]), ["r", "s"], ["a", "b"])
    place = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    row, column = (lambda name: place[name][1]), (lambda name: place[name][0])
    assert row("0.300") == row("0.100") == row("0.400") == row("r")
    assert row("0.250") == row("0.350") == row("0.600") == row("s") > row("r")
    assert column("0.300") == column("0.250") == column("0.550") == column("a")
    assert column("0.100") == column("0.350") == column("0.450") == column("b") > column("a")
    assert row("0.550") == row("0.450") == row("1") > row("s")
    assert column("0.400") == column("0.600") == column("1") > column("b")


def test_cells_are_shaded_by_their_value_and_letters_stay_readable() -> None:
    table = torch.tensor([[0.0, 0.1], [0.3, 0.6]])
    figure = joint_table(table, ["r", "s"], ["a", "b"])
    body, right, below = figure.axes[0].images
    assert np.allclose(body.get_array(), table)
    assert np.allclose(right.get_array(), table.sum(1, keepdim=True))
    assert np.allclose(below.get_array(), table.sum(0, keepdim=True))
    picture = np.asarray(rasterise(figure).convert("L")).astype(float)
    left, end, lower, upper = body.get_extent()
    corners = [
        picture[int(upper + (lower - upper) * r / 2) + 4, int(left + (end - left) * c / 2) + 4]
        for r, c in np.ndindex(2, 2)
    ]
    assert corners[0] == 255 and corners == sorted(corners, reverse=True)
    assert corners[3] > 130, "dark letters on it have a contrast above 4.5"


def test_counts_are_whole_and_narrow_columns_drop_the_zero_before_the_point() -> None:
    assert {"1225", "49", "sum"} <= set(texts(DRAWN["table of counts"]()))
    shown = [text for text in texts(DRAWN["table of ten classes"]()) if text.startswith(".")]
    assert len(shown) == 65 and all(len(text) == 4 for text in shown)
    assert sum(map(float, shown[:50])) == pytest.approx(1, abs=0.02)


def test_tables_refuse_bad_input() -> None:
    table, call = torch.full((2, 3), 1 / 6), joint_table
    refuses(call, r"\(2, 3\) for 3 rows and 2 columns.*transposed", table, "abc", "ab")
    refuses(call, r"\(0, 3\).*at least one", table[:0], "", "abc")
    refuses(call, "ranges from -0.167 to -0.167.*exp", -table, "ab", "abc")
    refuses(call, "ranges from nan", table * math.nan, "ab", "abc")
    refuses(call, "ranges from inf", table / 0, "ab", "abc")
    refuses(call, "no room for 40 columns", torch.full((1, 40), 0.025), "a", "b" * 40)


def test_bars_have_the_given_heights_colours_and_names() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.125, 0.375, 0.5])
    (axes,) = bars(["x", "y", "z"], {"p": (p, "data"), "q": (q, "model")}, ylabel="share").axes
    first, second = axes.containers
    assert [bar.get_height() for bar in first] == p.tolist()
    assert [bar.get_height() for bar in second] == q.tolist()
    for place, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one.get_x() + one.get_width() == pytest.approx(place) == other.get_x()
    for container, role in ((first, "data"), (second, "model")):
        assert to_hex(container[0].get_facecolor()).upper() == COLOURS[role]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["p", "q"]
    assert axes.get_ylabel() == "share" and axes.get_ylim()[0] == 0


def test_names_of_many_outcomes_are_thinned_and_long_ones_broken_or_turned() -> None:
    (axes,) = DRAWN["bars of counts"]().axes
    named = {int(label.get_text()): place for place, label in zip(*_ticks(axes), strict=True)}
    assert 10 < len(named) < 60 and all(name == place for name, place in named.items())
    (axes,) = DRAWN["bars of letters"]().axes
    assert len(_ticks(axes)[1]) == 26
    (axes,) = DRAWN["bars of long names"]().axes
    assert {label.get_rotation() for label in _ticks(axes)[1]} == {90}
    two = {"p": (torch.tensor([0.5, -0.5]), "data")}
    (axes,) = bars(["x", "a long name that takes more than half of the page"], two).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0, 0]], "the axis among the bars"
    label = _ticks(axes)[1][1]
    assert "\n" in label.get_text() and label.get_rotation() == 0


def _ticks(axes):
    return axes.get_xticks(), axes.get_xticklabels()


def test_bars_refuse_bad_input() -> None:
    half, call = torch.tensor([0.5, 0.5]), bars
    refuses(call, "0 distributions over 2", "ab", {})
    refuses(call, "1 distributions over 0", "", {"p": (half[:0], "data")})
    refuses(call, "role 'truth' of 'p' unknown", "ab", {"p": (half, "truth")})
    twice = {"p": (half, "data"), "q": (half, "data")}
    refuses(call, "role 'data' of 'q' is used twice", "ab", twice)
    refuses(call, r"\['p'\] has shape \(2,\), expected \(3,\)", "abc", {"p": (half, "data")})
    refuses(call, r"\['p'\]: 2 of 2 values are NaN", "ab", {"p": (half / 0, "data")})


def test_the_field_and_its_line_are_the_right_way_round() -> None:
    figure = posteriors(drawn(2, 2), torch.tensor([0, 1]), {"a": plane, "b": tilted}, (-4, 4))
    figure.canvas.draw()
    _, panel, other = figure.axes
    picture, height = rasterise(figure), figure.bbox.height
    lines = [c for c in panel.collections if type(c).__name__ == "QuadContourSet"]
    for line, level in zip(lines, (0.1, 0.5, 0.9), strict=True):
        (path,) = line.get_paths()
        on_it = torch.from_numpy(path.vertices)
        assert plane(on_it).tolist() == pytest.approx([level] * len(on_it), abs=0.02)
    for axes, place, bluer in (
        *((panel, (-3, -3), -1), (panel, (3, -3), 1)),
        *((other, (0, -3), -1), (other, (0, 3), 1)),
    ):
        x, y = axes.transData.transform(place)
        red, _, blue = picture.getpixel((int(x), int(height - y)))
        assert bluer * (blue - red) > 40
    (field,) = panel.images
    pixel = 8 / (field.get_array().shape[0] - 1)  # its middle is where it was evaluated
    assert field.get_extent() == pytest.approx(2 * (-4 - pixel / 2, 4 + pixel / 2))
    x, y = panel.transData.transform((1, -3))
    assert max(picture.getpixel((round(x), int(height - y)))) < 100, "the line, black"


def test_points_ellipses_and_titles_are_where_they_were_given() -> None:
    labels = (torch.arange(120) % 3 == 0).long()
    _, first, second = classified(labels=labels, ellipses=ELLIPSES).axes
    for axes, title in ((first, "Gaussian classes"), (second, "logistic regression")):
        dots = {c.get_label(): c for c in axes.collections}
        assert len(dots["y = 0"].get_offsets()) == 80 and len(dots["y = 1"].get_offsets()) == 40
        assert to_hex(dots["y = 1"].get_facecolor()[0]).upper() == COLOURS["data"]
        assert axes.get_title(loc="left") == title and axes.get_xlim() == (-4, 4)
        assert axes.bbox.width == pytest.approx(axes.bbox.height)
    assert len(first.lines) == 4 and not second.lines
    for number, line in enumerate(first.lines):
        mean, covariance, label = ELLIPSES[number // 2]
        away = torch.tensor(np.stack(line.get_data(), 1)).float() - mean
        squared = (away @ covariance.inverse() * away).sum(1)
        assert squared.sqrt().numpy() == pytest.approx(1 + number % 2, abs=1e-3)
        assert to_hex(line.get_color()).upper() == COLOURS["data" if label else "model"]


def test_a_classifier_that_is_certain_or_constant_has_no_line_and_warns_of_nothing() -> None:
    """Also without points, as at the first position of a slider."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (0.0, 0.5, 1.0, 1.0005):
            constant = {"a": lambda x, value=value: torch.full((len(x),), value)}
            figure = posteriors(torch.zeros(0, 2), torch.zeros(0).long(), constant, (0, 1))
            rasterise(figure)
            assert (figure.axes[1].images[0].get_array() == min(value, 1)).all()
            assert len(figure.axes[1].collections) == 2


def test_the_ellipse_of_a_singular_covariance_is_a_line() -> None:
    for seed in range(5):
        v = drawn(2, seed=seed)
        flat = (torch.zeros(2), v[:, None] * v, 0)
        x, y = classified(ellipses=[flat]).axes[1].lines[1].get_data()
        assert np.hypot(x, y).max() == pytest.approx(2 * v.norm().item(), rel=1e-2)
        assert abs(x * v[1].item() - y * v[0].item()).max() < 1e-3


def test_posteriors_keep_no_gradient_and_take_every_precision() -> None:
    network = torch.nn.Linear(2, 1).to(torch.bfloat16)
    points = drawn(5, 2).to(torch.bfloat16)
    panels = {"a": lambda x: network(x).squeeze(1).sigmoid()}
    ellipse = (torch.zeros(2).bfloat16(), torch.eye(2).bfloat16(), 1)
    rasterise(posteriors(points, torch.ones(5).int(), panels, (-1.0, 1), ellipses=[ellipse]))
    assert network.weight.grad is None


def test_posteriors_refuse_bad_input() -> None:
    x, y, call, limits = drawn(4, 2), torch.tensor([0, 1, 1, 0]), posteriors, (-1, 1)
    panels = {"a": plane}
    refuses(call, "lower < upper", x, y, panels, (1, -1))
    refuses(call, r"\(n, 2\) and \(n,\), got \(4, 2\) and \(3,\)", x, y[1:], panels, limits)
    refuses(call, r"got \(4, 1\)", x[:, :1], y, panels, limits)
    refuses(call, "points: 8 of 8", x / 0, y, panels, limits)
    refuses(call, r"0 or 1, got also \[2\]", x, 2 * y, panels, limits)
    refuses(call, "panels is empty", x, y, {}, limits)
    refuses(call, "wider than its", x, y, {"a": plane, "b" * 40: plane}, limits)
    refuses(call, "wider than its", x, y, panels, limits, title="b" * 80)
    refuses(call, r"\['a'\] gave shape .*class 1 alone", x, y, {"a": lambda x: x}, limits)
    refuses(call, "logits need .sigmoid", x, y, {"a": lambda x: 9 * x[:, 0]}, limits)
    refuses(call, r"\['a'\]: \d+ of \d+ values", x, y, {"a": lambda x: plane(x) / 0}, limits)
    for bad, message in (
        ((x[0, :1], torch.eye(2), 0), r"shapes \(1,\) and \(2, 2\)"),
        ((x[0], -torch.eye(2), 0), "not symmetric and positive"),
        ((x[0], torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 0), "not symmetric"),
        ((x[0], torch.eye(2) * math.nan, 0), "the covariance: 4 of 4"),
        ((x[0] / 0, torch.eye(2), 0), "the mean: 2 of 2"),
        ((x[0], torch.eye(2), 2), "class 2, expected 0 or 1"),
    ):
        refuses(call, message, x, y, panels, limits, ellipses=[bad])


@pytest.mark.parametrize("seed", range(4))
def test_the_area_between_the_distribution_functions_is_the_distance(seed: int) -> None:
    x, y = drawn(17, seed=seed), 2 * drawn(17, seed=seed + 9) + seed - 1
    figure = transport(x, y)
    above, below = figure.axes
    wanted = wasserstein_distance(x.double().numpy(), y.double().numpy())
    (pieces,) = above.containers
    assert sum(abs(bar.get_width()) * bar.get_height() for bar in pieces) == pytest.approx(wanted)
    assert f"area $W_1 = {wanted:.3g}$" in texts(figure)
    # The same by the integral of |F - G| of the two steps that are drawn.
    places = np.linspace(*above.get_xlim(), 100_001)
    shares = []
    for line in above.lines:
        at, level = line.get_data()
        assert line.get_drawstyle() == "steps-post"
        shares.append(np.asarray(level)[np.searchsorted(at, places, "right").clip(1) - 1])
    assert abs(shares[0] - shares[1]).mean() * np.ptp(places) == pytest.approx(wanted, rel=1e-3)
    (pairs,) = below.collections
    widths = [abs(end[0] - start[0]) for start, end in pairs.get_segments()]
    assert np.mean(widths) == pytest.approx(wanted)
    starts, ends = zip(*pairs.get_segments(), strict=True)
    assert [s[0] for s in starts] == pytest.approx(x.sort().values.tolist())
    assert [e[0] for e in ends] == pytest.approx(y.sort().values.tolist())
    assert {s[1] for s in starts} == {1} and {e[1] for e in ends} == {0}


def test_transport_refuses_bad_input() -> None:
    x = torch.zeros(3)
    refuses(transport, r"\(3,\) and \(2,\).*lines join pairs", x, x[1:])
    refuses(transport, r"\(0,\) and \(0,\)", x[:0], x[:0])
    refuses(transport, "x: 3 of 3", x / 0, x)
    refuses(transport, "y: 3 of 3", x, x / 0)


def test_a_tree_runs_from_left_to_right_and_joins_each_box_to_its_branch() -> None:
    figure = tree(FAMILIES)
    (axes,) = figure.axes
    place = {text.get_text(): text.get_position() for text in axes.texts}
    assert place["explicit density"][0] < place["exact"][0] < place["autoregressive"][0]
    assert place["implicit"][0] == place["explicit density"][0]
    assert place["autoregressive"][1] < place["normalising flow"][1] < place["diffusion"][1]
    assert place["chapters 11-13"][0] == place["autoregressive"][0]
    assert 0 < place["chapters 11-13"][1] - place["autoregressive"][1] < 30, "in the same box"
    boxes = {}
    for patch in axes.patches:
        x, y, width, height = patch.get_bbox().bounds
        inside = [t for t, at in place.items() if x < at[0] < x + width and y < at[1] < y + height]
        boxes[inside[0]] = x, y + height / 2, x + width
    assert len(boxes) == 10
    joined = set()
    for line in axes.lines:
        (x0, *_, x1), (y0, *_, y1) = line.get_data()
        start = [name for name, (_, y, x) in boxes.items() if abs(x - x0) < 2 and y == y0]
        end = [name for name, (x, y, _) in boxes.items() if abs(x - x1) < 2 and y == y1]
        joined.add((*start, *end))
    assert joined == {
        *(("explicit density", "exact"), ("explicit density", "a bound")),
        *(("exact", "autoregressive"), ("exact", "normalising flow")),
        *(("a bound", "variational"), ("a bound", "diffusion")),
        *(("implicit", "no density"), ("no density", "GAN")),
    }


def test_boxes_of_a_tree_never_overlap_and_hold_their_words() -> None:
    deep = {"one two three four five six": {"a": {"b": "c"}}, "d": {"e": {"f": "a note " * 6}}}
    for figure in (tree(FAMILIES), tree(deep)):
        (axes,) = figure.axes
        rasterise(figure)
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [patch.get_window_extent(renderer) for patch in axes.patches]
        for number, first in enumerate(boxes):
            assert not any(first.overlaps(second) for second in boxes[number + 1 :])
        for text in axes.texts:
            inner = text.get_window_extent(renderer)
            if text.get_text():
                assert any(b.x0 < inner.x0 and inner.x1 < b.x1 for b in boxes), text.get_text()


def test_letters_of_a_tree_are_larger_where_there_is_room() -> None:
    assert {
        text.get_size() for text in tree({"a": {"b": ""}}).axes[0].texts if text.get_text()
    } == {14}
    first, second = tree({"a": {"b": ""}}).axes[0].patches
    assert 0 < abs(first.get_bbox().x0 - second.get_bbox().x0) < 150, "near its branch"
    crowded = {"explicit": {"probabilistic": {"factorisation": {"transformer": ""}}}}
    sizes = {text.get_size() for text in tree(crowded).axes[0].texts if text.get_text()}
    assert sizes and max(sizes) < 14 and min(sizes) >= 11


def test_trees_refuse_bad_input() -> None:
    refuses(tree, "mapping without entries", {})
    refuses(tree, "mapping without entries", {"a": {}})
    refuses(tree, "'b' leads to 3, expected a mapping or the text", {"a": {"b": 3}})
    refuses(tree, "2 levels need .* shorten", {"a" * 40: {"b" * 40: ""}})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_precision_and_values_with_a_gradient(dtype: torch.dtype) -> None:
    values = torch.tensor([0.25, 0.75], dtype=dtype, requires_grad=True)
    assert {"0.250", "0.750", "1"} <= set(texts(joint_table(values[None], ["r"], ["a", "b"])))
    heights = bars(["a", "b"], {"p": (values, "data")}).axes[0].containers[0]
    assert [bar.get_height() for bar in heights] == [0.25, 0.75]
    assert "area $W_1 = 0.5$" in texts(transport(values, values + 0.5))


def test_the_pictures_change_with_the_values_and_with_nothing_else() -> None:
    pictures = [rasterise(draw()).tobytes() for draw in DRAWN.values()]
    assert len(set(pictures)) == len(DRAWN)
    assert rasterise(DRAWN["two panels"]()).tobytes() == pictures[list(DRAWN).index("two panels")]
