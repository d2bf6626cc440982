"""What is said about a figure is what was drawn, complete, short and without the signs of TeX."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib import plotting
from course_lib.description import (
    LONGEST,
    describe,
    image_text,
    map_text,
    plain,
    rounded,
    tree_text,
)
from course_lib.distribution_plotting import bars, joint_table, posteriors, transport
from course_lib.text_plotting import attention_map, curves, token_bars, weighted_sum


def line_plot(x, y, **options):
    figure, axes = plotting.subplots()
    axes.plot(x, y, **options)
    axes.set(xlabel="step", ylabel="loss (nats)")
    return figure, axes


def test_a_curve_is_told_by_its_ends_and_its_extremes() -> None:
    figure, axes = line_plot([0, 1, 2, 3, 4], [2, 5, 3, 0.5, 1], label="G")
    axes.plot([0, 4], [3, 1.5], label="D")
    assert describe(figure) == (
        "Line plot. X axis: step, 0 to 4; y axis: loss (nats), 0.5 to 5. G runs from 2 to 1, "
        "highest 5 at 1, lowest 0.5 at 3; D falls from 3 to 1.5."
    )


@pytest.mark.parametrize(
    ("y", "told"),
    [
        ([1, 2, 2], "rises from 1 to 2"),
        ([3, 3, 3], "constant 3"),
        ([1, 4, 1], "starts and ends at 1, highest 4 at 1"),
        ([1e-9, 4, 1e-7], "starts and ends at 0, highest 4 at 1"),
        ([float("nan"), 2, 1], "falls from 2 to 1"),
    ],
)
def test_the_course_of_a_line_in_words(y, told: str) -> None:
    assert told in describe(line_plot([0, 1, 2], y, label="a")[0])


def test_a_path_in_the_plane_is_no_curve() -> None:
    told = describe(line_plot([1, 0, -1], [0, 1, 3], label="θ")[0])
    assert "θ a path from (1, 0) to (−1, 3), x −1 to 1, y 0 to 3" in told


def test_a_figure_without_data_has_words() -> None:
    assert describe(plotting.CourseFigure()) == ""
    told = describe(line_plot([0, 1], [float("nan")] * 2, label="a")[0])
    assert "inf" not in told and "nan" not in told
    figure, axes = plotting.subplots()
    axes.bar([], [])
    assert "no bars" in describe(figure)
    figure, axes = plotting.subplots()
    axes.quiver([], [], [], [])
    assert "0 arrows" in describe(figure)


def test_points_outside_the_names_of_an_axis_have_words() -> None:
    figure, axes = line_plot([-7, 5], [1, 2], label="a")
    axes.set_xticks([0, 1, 2], ["red", "green", "blue"])
    assert "a rises from 1 to 2" in describe(figure)


def test_a_box_plot_has_words() -> None:
    figure, axes = plotting.subplots()
    axes.boxplot([[1, 2, 3]])
    assert "Line plot" in describe(figure)


def test_a_figure_that_cannot_be_described_is_shown_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr("course_lib.description._text", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="ZeroDivisionError.*set figure.alt"):
        page = line_plot([0, 1], [0, 1])[0]._repr_html_()
    assert 'alt="A figure that could not be put into words."' in page and "base64," in page


def test_words_cannot_leave_their_attribute() -> None:
    figure, axes = line_plot([0, 1], [0, 1])
    axes.set_title('a "b" <i> & c')
    assert "A &quot;b&quot; &lt;i&gt; &amp; c." in figure._repr_html_()


def test_an_axis_with_numbers_but_no_name_is_unlabelled() -> None:
    figure, axes = line_plot([0, 1], [0, 1])
    assert "unlabelled" not in describe(figure)
    axes.set_ylabel("")
    assert "y axis: unlabelled" in describe(figure)
    axes.set_yticks([])
    assert "unlabelled" not in describe(figure)


def test_panels_that_share_an_axis_share_its_name() -> None:
    figure, axes = plotting.subplots(1, 3, sharex=True, sharey=True)
    for place, panel in enumerate(axes):
        panel.plot([0, 1], [place, 2])
        panel.set(title=f"run {place}", xlim=(0, 1), ylim=(0, 2), xlabel="x")
    assert describe(figure).count("unlabelled") == 1
    axes[0].set_ylabel("density")
    told = describe(figure)
    assert "3 panels, each with x axis: x, 0 to 1; y axis: density, 0 to 2" in told
    assert "“run 1”: rises from 1 to 2" in told


def test_points_in_view_are_counted() -> None:
    figure, axes = line_plot([0, 2, 1, 9], [1, 3, 1, 9], marker=".", linestyle="none")
    axes.set(xlim=(0, 4), ylim=(0, 4))
    assert "3 points, x 0 to 2, y 1 to 3" in describe(figure)


def test_arrows_are_told_beside_what_has_a_name() -> None:
    figure, axes = line_plot([0], [0], marker="o", label="island")
    axes.quiver([0, 1], [0, 1], [3, 0], [4, 1])
    assert "island at (0, 0); 2 arrows of the mean length 3" in describe(figure)


def test_bars_are_told_by_name_and_many_by_the_largest() -> None:
    p = torch.tensor([0.2, 0.5, 0.3])
    told = describe(bars(["a", "b", "c"], {"p": (p, "data")}))
    assert "Bar chart. X axis: a, b and c" in told and "p a 0.2, b 0.5 and c 0.3" in told
    many = torch.arange(26) / 325
    told = describe(bars(list("abcdefghijklmnopqrstuvwxyz"), {"p": (many, "data")}))
    assert "26 names, a to z" in told and "highest z 0.0769, y 0.0738" in told


def test_logarithmic_axes_are_called_so() -> None:
    told = describe(curves(torch.tensor([1.0, 100.0]), {"a": torch.tensor([1.0, 2.0])}, log_x=True))
    assert "1 to 100, logarithmic" in told


def test_a_long_description_loses_details_but_no_names() -> None:
    figure, axes = plotting.subplots()
    for k in range(12):
        axes.plot(np.arange(50), np.sin(np.arange(50) + k), label=f"curve {k}")
    told = describe(figure)
    assert 200 < len(told) <= LONGEST and "curve 11" in told and "highest" not in told


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"$p_\sigma(x)$", "p_σ(x)"),
        (r"$p_\text{data}$", "p_data"),
        ("$x_1$", "x₁"),
        (r"$\mathdefault{10^{-2}}$", "10^−2".replace("−", "-")),
        (r"$2\cdot 10^{3}$", "2·10^3"),
        (r"costs \$5", "costs $5"),
    ],
)
def test_formulae_are_written_without_tex(tex: str, words: str) -> None:
    assert plain(tex) == words


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (-0.12345, "−0.123"),
        (1190.0, "1,190"),
        (5e-7, "5e-07".replace("-", "−")),
        (2, "2"),
    ],
)
def test_numbers_have_three_digits(value: float, told: str) -> None:
    assert rounded(value) == told


def test_what_axes_cannot_tell_is_told_by_the_function() -> None:
    third = torch.full((3,), 1 / 3)
    told = {
        "weights": attention_map(torch.eye(3), "abc", "abc", row_label="query").alt,
        "bars": token_bars(third, torch.tensor([0.9, 0.1, 0]), "abc", top=1, title="after x").alt,
        "table": joint_table(torch.tensor([[1.0, 2.0]]), ["r"], ["s", "t"]).alt,
        "sum": weighted_sum(
            torch.ones(2), torch.eye(2), torch.eye(2), third[:2] * 1.5, third[:2] * 1.5, "12"
        ).alt,
        "transport": transport(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])).alt,
        "field": posteriors(
            torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
            torch.tensor([0, 1]),
            {"linear": lambda x: x[:, 0].clamp(0, 1)},
            (0, 2),
        ).alt,
    }
    assert "in 3 of 3 rows it is at the place its own" in told["weights"]
    assert "a → a 1, b → b 1, c → c 1" in told["weights"]
    assert (
        told["bars"].startswith("after x: Bars") and "after: a 0.9, b 0.1 and c 0." in told["bars"]
    )
    assert "1 tokens have the probability 0 in after" in told["bars"]
    assert "largest cell is 2, at r and t" in told["table"] and "s 1 and t 2" in told["table"]
    assert "1 0.5 and 2 0.5" in told["sum"] and "at (0.5, 0.5)" in told["sum"]
    assert "W_1 = 1.5" in told["transport"]
    assert "on average: “linear” 0 and 1" in told["field"]
    assert all(40 <= len(text) <= LONGEST for text in told.values())


def test_images_rows_and_branches_are_named() -> None:
    assert image_text((20, 1, 28, 28), 10, ["x", "$P x$"]) == (
        "20 grey images of 28 × 28 pixels in 2 rows of 10; the rows are x and P x."
    )
    assert image_text((1, 3, 8, 8), 1) == "A colour image of 8 × 8 pixels."
    told = tree_text({"explicit": {"exact": "chapter 1", "bound": "VAE"}, "implicit": "GAN"}, "")
    assert told == "A tree. explicit: [exact (chapter 1); bound (VAE)]; implicit (GAN)."
    wide = {f"branch {k}": {f"leaf {k} {j}": "a note" for j in range(9)} for k in range(9)}
    assert (
        "branch 8 (9 branches)" in tree_text(wide, "Wide") and len(tree_text(wide, "")) <= LONGEST
    )


def test_several_maps_are_told_one_by_one() -> None:
    told = map_text({"head 1": np.eye(4), "head 2": np.eye(4, k=-1)}, "abcd", "abcd", "", "")
    assert told.startswith("2 maps of weights, 4 rows and 4 columns.")
    assert "head 2" in told and "in 3 of 4 rows it is at the place 1 before its own" in told
