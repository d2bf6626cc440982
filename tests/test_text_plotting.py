"""Pictures of sequences show what they were given, fit their page, and are strict about input."""

import inspect
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from course_lib import text_plotting
from course_lib.player import png_small, rasterise
from course_lib.plotting import COLOURS, SERIES
from course_lib.text_plotting import (
    attention_map,
    attention_maps,
    curves,
    token_bars,
    weighted_sum,
)

LIMIT = 40_000  # bytes of a figure, a pixel for a pixel of the page
CHARACTERS = ["\n", *map(chr, range(97, 123))]
NAN = math.nan


def refuses(function, message: str, *arguments, **options) -> None:
    """The function's own message: below the run-time check of shapes, which has its own tests."""
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(function)(*arguments, **options)


def scores(*shape: int) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def causal(heads: int, n: int) -> Tensor:
    return scores(heads, n, n).masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf).softmax(2)


def in_the_plane(query: Tensor | None = None, weights: Tensor | None = None) -> Figure:
    query = torch.tensor([1.0, 0.5]) if query is None else query
    keys = torch.tensor([[1.5, 1.2], [-1.4, 1.6], [-1.0, -1.8]])
    values = torch.tensor([[2.2, 2.0], [-2.0, 1.0], [-0.5, -2.4]])
    weights = (keys @ query / math.sqrt(2)).softmax(0) if weights is None else weights
    return weighted_sum(query, keys, values, weights, weights @ values, ["a", "b", "c"])


def loss_and_fit() -> Figure:
    places = torch.cat([torch.logspace(3, 6, 7), torch.logspace(3, 7, 60)])
    loss = 1.2 + 8 * places**-0.25
    measured, fit = loss.clone(), loss.clone()
    measured[7:], fit[:7] = NAN, NAN
    return curves(
        places,
        {"measured": (measured, torch.full_like(measured, 0.05)), "fit $L_0 + N^{-a}$": fit},
        xlabel="parameters",
        ylabel="loss in nats a character",
        log_x=True,
        log_y=True,
        dashed=["fit $L_0 + N^{-a}$"],
        title="Loss against parameters",
    )


def comparison() -> Figure:
    bits = torch.tensor([3.0, 2.6, 2.4, 2.2])
    pairs = {"training": (bits, bits / 50), "held out": (bits + 0.3, bits / 40)}
    return curves(["n-gram", "MLP", "LSTM", "Transformer"], pairs, ylabel="bits per character")


DRAWN = {
    "map of a date": lambda: attention_map(
        scores(10, 24).softmax(1),
        "1987-03-14",
        "Wednesday, 14 March 1987",
        title="Where the decoder looks",
        row_label="written",
        column_label="read",
    ),
    "map of words": lambda: attention_map(
        scores(4, 5).softmax(1),
        ["the", " unpronounceable", " word", "\n"],
        ["das", " unaussprechliche", " Wort", "\n", "$$"],
        row_label="a label that is much higher than the map",
        column_label="a label that is much wider than the map",
        title="A title that is much wider than the map",
    ),
    "map of 30": lambda: attention_map(causal(1, 30)[0], *["the quick brown fox jumps wmwm"] * 2),
    "map of 2": lambda: attention_map(causal(1, 2)[0], "ab", "mw", row_label="higher than the map"),
    "four heads": lambda: attention_maps(causal(4, 20), *["\nchristopherson adam"] * 2),
    "eight heads": lambda: attention_maps(causal(8, 12), *["\nchristopher"] * 2, columns_of_maps=4),
    "bars": lambda: token_bars(
        scores(27).softmax(0), (2 * scores(27)).softmax(0), CHARACTERS, top=1, title="After “chri”"
    ),
    "bars of words": lambda: token_bars(
        scores(5).softmax(0), scores(5).softmax(0), ["a", " unpronounceable", "b", "c", "d"], top=1
    ),
    "weighted sum": in_the_plane,
    "query in a corner": lambda: in_the_plane(torch.tensor([-3.0, 3.0])),
    "loss and fit": loss_and_fit,
    "comparison": comparison,
}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(plt.Text)]


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_light_unknown_to_pyplot_and_cut_nothing_off(name: str) -> None:
    before = plt.get_fignums()
    figure = DRAWN[name]()
    assert plt.get_fignums() == before, "pyplot would show the figure a second time"
    picture = rasterise(figure)
    width, height = picture.size
    assert len(png_small(picture)) < LIMIT and width <= 620 and height <= 620
    box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # in inches
    low, (right, upper) = box.min * figure.dpi, box.max * figure.dpi
    assert (low >= -1).all() and right <= width + 1 and upper <= height + 1


@pytest.mark.parametrize("name", ["map of a date", "four heads", "bars", "weighted sum"])
def test_figures_are_fast_enough_for_a_slider(name: str) -> None:
    """Against a plain line with automatic layout, so that a slow machine fails nothing."""
    times: dict[str, list[float]] = {"plain": [], name: []}
    for _ in range(3):
        for which in times:
            start = time.process_time()
            if which == "plain":
                figure, axes = text_plotting.subplots()
                axes.plot([0, 1], label="a")
                axes.legend()
            else:
                figure = DRAWN[name]()
            rasterise(figure)
            times[which].append(time.process_time() - start)
    assert min(times[name]) < 4 * min(times["plain"])


@pytest.mark.parametrize("name", ["map of a date", "four heads", "map of words"])
def test_tokens_of_a_map_do_not_overlap(name: str) -> None:
    figure = DRAWN[name]()
    rasterise(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [
        text.get_window_extent(renderer)
        for text in figure.axes[0].texts
        if text.get_color() == "#333333" and text.get_size() != 9  # 9: the scale
    ]
    assert len(boxes) >= 9
    for number, first in enumerate(boxes):
        for second in boxes[number + 1 :]:
            wide = min(first.x1, second.x1) - max(first.x0, second.x0)
            high = min(first.y1, second.y1) - max(first.y0, second.y0)
            # A box is a line of text: as high as "fg" even where the token is a low "a".
            assert wide <= 1 or high <= 6


def test_a_map_has_cells_of_equal_size_in_the_colour_of_their_weight() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.5], [0.25, 0.75, 0.0]])
    figure = attention_map(weights, ["a", "\n"], ["b", " ", "\t"], top=1)
    shown = figure.axes[0].images[0]
    assert np.array_equal(shown.get_array(), weights) and shown.get_clim() == (0, 1)
    left, right, lower, upper = shown.get_extent()
    cell = (right - left) / 3
    assert cell == (lower - upper) / 2 == int(cell), "square, of whole pixels"
    picture = np.asarray(rasterise(figure)).astype(float)
    blue = np.array(to_rgb(COLOURS["data"]))
    for row, column in np.ndindex(2, 3):
        y, x = int(upper + (row + 0.5) * cell), int(left + (column + 0.5) * cell)
        wanted = 255 * (1 - weights[row, column].item() * (1 - blue))
        assert picture[y, x] == pytest.approx(wanted, abs=2)
    assert {"a", "↵", "b", "␣", "⇥", "0", "0.5", "1"} <= set(texts(figure))


def test_rows_are_named_from_above_and_columns_from_the_left() -> None:
    figure = attention_map(torch.eye(3), "abc", "def", row_label="query", column_label="key")
    place = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    left, _, _, upper = figure.axes[0].images[0].get_extent()
    assert place["a"][1] < place["b"][1] < place["c"][1] and place["a"][0] < left
    assert place["d"][0] < place["e"][0] < place["f"][0] and place["d"][1] < upper
    assert place["query"][0] < place["a"][0] and place["key"][1] < place["d"][1]


def test_the_scale_of_a_map_tells_where_weights_exceed_it() -> None:
    figure = attention_map(torch.eye(3), "abc", "def", top=0.5)
    assert "≥ 0.5" in texts(figure) and figure.axes[0].images[0].get_clim() == (0, 0.5)
    assert "0.5" in texts(attention_map(torch.eye(3) / 2, "abc", "def", top=0.5))


def test_dollar_signs_are_tokens_and_no_formulae() -> None:
    figure = attention_map(torch.eye(2), ["$", r"$\nonsense$"], ["$$", "b"])
    assert rasterise(figure)  # a formula would be an error here


def test_several_maps_are_named_and_laid_out_in_rows() -> None:
    weights = causal(3, 5)
    figure = attention_maps(weights, "abcde", "fghij")
    *maps, _ = figure.axes[0].images
    assert all(np.array_equal(m.get_array(), w) for m, w in zip(maps, weights, strict=True))
    (x1, _, _, y1), (x2, _, _, y2), (x3, _, _, y3) = (m.get_extent() for m in maps)
    assert x1 == x3 < x2 and y1 == y2 < y3
    named = texts(figure)
    assert {"head 1", "head 2", "head 3"} <= set(named)
    assert named.count("a") == 2 and named.count("f") == 3, "rows on the left, columns everywhere"
    named = texts(attention_maps({"early": weights[0], "late": weights[1]}, "abcde", "fghij"))
    assert {"early", "late"} <= set(named) and "head 1" not in named


def test_tokens_are_left_out_where_they_could_not_be_read() -> None:
    figure = attention_maps(causal(4, 30), "a" * 30, "b" * 30, columns_of_maps=4)
    assert not {"a", "b"} & set(texts(figure)) and "head 4" in texts(figure)


def test_maps_refuse_bad_input() -> None:
    eye = torch.eye(3)
    refuses(
        attention_map,
        r"^weights have the shape \(3, 3\) for 2 rows and 3 columns",
        eye,
        "ab",
        "abc",
    )
    refuses(attention_map, "1 rows and 0 columns", eye, "a", "")
    refuses(attention_map, r"\[0, 1\]; scores need a softmax", 2 * eye, "abc", "abc")
    refuses(attention_map, "weights ranges from nan .* all masked", eye / 0, "abc", "abc")
    refuses(attention_map, r"top must lie in \(0, 1\], got 0", eye, "abc", "abc", top=0)
    refuses(attention_maps, "holds no map", {}, "abc", "abc")
    refuses(attention_maps, "weights 'x' ranges", {"x": -eye}, "abc", "abc")
    refuses(attention_maps, "columns_of_maps .* got 0", {"": eye}, "abc", "abc", columns_of_maps=0)
    many = torch.zeros(4, 2, 90)
    refuses(attention_maps, "no room for 4 maps", many, "ab", "b" * 90, columns_of_maps=4)


def test_bars_show_both_distributions_and_which_tokens_are_excluded() -> None:
    before, after = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.625, 0.375, 0.0])
    figure = token_bars(before, after, ["a", "\n", "c"], top=0.8, labels=("model", "top-2"))
    (axes,) = figure.axes
    pale, full = axes.containers
    assert [bar.get_height() for bar in pale] == pytest.approx(before.tolist())
    assert [bar.get_height() for bar in full] == pytest.approx(after.tolist())
    assert all(p.get_width() > f.get_width() for p, f in zip(pale, full, strict=True))
    assert axes.get_ylim() == (0, 0.8)
    assert [text.get_text() for text in axes.texts] == ["a", "↵", "c"]
    kept, also_kept, excluded = (text.get_color() for text in axes.texts)
    assert kept == also_kept != excluded
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "top-2"]


def test_bars_refuse_bad_input() -> None:
    half, call = torch.tensor([0.5, 0.5]), token_bars
    refuses(call, r"after has shape \(3,\) for 2 tokens", half, torch.zeros(3), "ab", top=1)
    refuses(call, "before ranges from -0.5 to 0.5", half * torch.tensor([-1, 1]), half, "ab", top=1)
    refuses(call, "after sums to 1.5", half, 1.5 * half, "ab", top=1)
    refuses(call, "before reaches 0.5, above top=0.4", half, half, "ab", top=0.4)
    refuses(call, "top must be positive", half, half, "ab", top=math.inf)


def test_a_weighted_sum_shows_weights_as_areas_and_the_output_in_the_triangle() -> None:
    weights = torch.tensor([0.5, 0.25, 0.25])
    figure = in_the_plane(weights=weights)
    left, right = figure.axes
    for axes in (left, right):
        assert axes.get_xlim() == axes.get_ylim() == (-3, 3)
        areas = next(c for c in axes.collections if len(getattr(c, "get_sizes", list)()) == 3)
        assert areas.get_sizes() / areas.get_sizes().sum() == pytest.approx(weights.numpy())
    assert {"a  0.50", "b  0.25", "c  0.25"} <= {text.get_text() for text in left.texts}
    query = next(line for line in left.lines if line.get_label() == "query")
    assert (query.get_xdata(), query.get_ydata()) == ([1.0], [0.5])
    output = next(line for line in right.lines if line.get_label() == "output")
    wanted = 0.5 * 2.2 - 0.25 * 2.0 - 0.25 * 0.5, 0.5 * 2.0 + 0.25 * 1.0 - 0.25 * 2.4
    assert (output.get_xdata()[0], output.get_ydata()[0]) == pytest.approx(wanted)
    (triangle,) = next(
        c for c in right.collections if type(c).__name__ == "PolyCollection"
    ).get_paths()
    assert triangle.contains_point(wanted) and not triangle.contains_point((0, 2.5))


def test_a_weighted_sum_refuses_bad_input() -> None:
    query, points, weights = torch.zeros(2), torch.ones(3, 2), torch.full((3,), 1 / 3)
    names, call = list("abc"), weighted_sum
    refuses(
        *(call, r"values has shape \(2, 2\).*\(3, 2\): there are 3 names"),
        *(query, points, points[1:], weights, query, names),
    )
    refuses(call, r"weights has shape \(2,\)", query, points, points, weights[1:], query, names)
    refuses(call, "keys goes beyond", query, 4 * points, points, weights, query, names)
    refuses(call, "query goes beyond", query / 0, points, points, weights, query, names)
    refuses(call, "sum to 0.5.*softmax", query, points, points, weights / 2, query, names)
    refuses(call, "weights ranges", query, points, points, -weights, query, names)


def test_few_points_have_error_bars_and_many_a_band() -> None:
    few = curves(torch.arange(3.0), {"a": (torch.ones(3), torch.tensor([0.1, 0.2, 0.3]))})
    (bars,) = few.axes[0].containers
    segments = bars[2][0].get_segments()
    assert [s[1, 1] - s[0, 1] for s in segments] == pytest.approx([0.2, 0.4, 0.6])
    many = curves(torch.arange(50.0), {"a": (torch.ones(50), torch.full((50,), 0.5))})
    (band,) = many.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.5) and heights.max() == pytest.approx(1.5)
    assert not curves(torch.arange(50.0), {"a": torch.ones(50)}).axes[0].collections


def test_a_fit_is_dashed_and_both_axes_are_logarithmic() -> None:
    (axes,) = loss_and_fit().axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    measured, fit = axes.containers[0][0], axes.lines[-1]
    assert len(measured.get_xdata()) == 7 and len(fit.get_xdata()) == 60, "NaN is passed over"
    assert fit.get_linestyle() == "--" and measured.get_linestyle() == "-"
    assert to_hex(measured.get_color()).upper() == SERIES[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["measured", "fit $L_0 + N^{-a}$"], "in the order they were given"


def test_ticks_of_logarithmic_axes_are_few_and_plain() -> None:
    x = torch.tensor([1.0, 30.0])
    (axes,) = curves(x, {"a": torch.tensor([1.6, 2.4])}, log_x=True, log_y=True).axes
    rasterise(axes.figure)
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        visible = [v for v in axis.get_majorticklocs() if low <= v <= high]
        assert 2 <= len(visible) <= 8 and not len(axis.get_minorticklocs())
    formatted = axes.xaxis.get_major_formatter()
    assert [formatted(v) for v in (1, 3, 10)] == ["1", "3", "10"]
    (axes,) = curves(1e4 * x, {"a": x}, log_x=True).axes
    formatted = axes.xaxis.get_major_formatter()
    assert [formatted(v) for v in (1000, 1e5, 3e5)] == ["$10^{3}$", "$10^{5}$", r"$3\cdot 10^{5}$"]


def test_named_places_are_beside_each_other_and_joined_by_nothing() -> None:
    (axes,) = comparison().axes
    first, second = (container[0] for container in axes.containers)
    assert first.get_linestyle() == second.get_linestyle() == "None"
    assert (second.get_xdata() - first.get_xdata()).min() > 0.05
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["n-gram", "MLP", "LSTM", "Transformer"]


def test_curves_refuse_bad_input() -> None:
    x, call = torch.tensor([1.0, 2.0]), curves
    refuses(call, "lines is empty", x, {})
    refuses(call, r"dashed: \['b'\]; expected up to 3 of \['a'\]", x, {"a": x}, dashed=["b"])
    refuses(call, "log_x needs numbers", ["b", "c"], {"a": x}, log_x=True)
    refuses(call, r"pass torch.tensor\(x\)", [1.0, 2.0], {"a": x})
    refuses(call, "x must be finite, got", x * NAN, {"a": x})
    refuses(call, "positive for log_x", x - 1, {"a": x}, log_x=True)
    refuses(call, r"\['a'\] has 1 and 1 values, x 2", x, {"a": x[:1]})
    refuses(call, r"\['a'\] has 2 and 1 values, x 2", x, {"a": (x, x[:1])})
    for y, spread in ((x / 0, x), (x, -x), (x, x * NAN)):
        refuses(call, "infinite values, or a spread below 0", x, {"a": (y, spread)})
    refuses(call, "values <= 0, which log_y", x, {"a": x - 1}, log_y=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_precision_and_values_with_a_gradient(dtype: torch.dtype) -> None:
    weights = scores(5, 5).to(dtype).softmax(1).requires_grad_()
    maps = attention_maps({"a": weights}, "abcde", "abcde").axes[0].images
    assert maps[0].get_array().tolist() == weights.tolist()
    bars = token_bars(weights[0], weights[1], "abcde", top=1).axes[0].containers
    assert [bar.get_height() for bar in bars[1]] == weights[1].tolist()
    curve = curves(weights[0], {"a": weights[1]}).axes[0].lines[0]
    assert curve.get_ydata().tolist() == weights[1].tolist()
    plane = torch.zeros(2, dtype=dtype), torch.zeros(5, 2, dtype=dtype)
    weighted_sum(plane[0], plane[1], plane[1], weights[0], plane[0], "abcde")


def test_the_pictures_change_with_the_values_and_with_nothing_else() -> None:
    p = scores(27).softmax(0)
    drawn = [
        in_the_plane(torch.tensor([1.0, 0.5])),
        in_the_plane(torch.tensor([1.0, 0.6])),
        token_bars(p, p, CHARACTERS, top=1),
        token_bars(p, p.flip(0), CHARACTERS, top=1),
        attention_map(causal(1, 5)[0], "abcde", "abcde"),
        attention_map(causal(2, 5)[1], "abcde", "abcde"),
    ]
    pictures = [rasterise(figure).tobytes() for figure in drawn]
    assert len(set(pictures)) == len(pictures)
    assert rasterise(in_the_plane()).tobytes() == pictures[0]
