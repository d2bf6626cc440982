"""What the exercises of chapter 12 teach is what the library does."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import pytest
import torch
from answer_cells import check_visibly
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib import attention

CHAPTER = "12_attention"
ANSWERS = runpy.run_path(str(Path(__file__).with_name(f"answers_{CHAPTER}.py")))


# --- What the text says --------------------------------------------------------------------------


def test_the_leave_one_out_error_chooses_a_good_bandwidth(cells):
    name = "leave_one_out_error"
    table = check_visibly(cells, name, cells[name])["table"]
    training, left_out, new = (min(table, key=lambda row: row[i])[0] for i in (1, 2, 3))
    assert training == table[0][0] < left_out == new < table[-1][0]


def test_the_jacobian_of_unscaled_scores_vanishes_with_the_width(cells):
    name = "squared_jacobian_norm"
    table = check_visibly(cells, name, cells[name])["table"]
    scaled = [row[0] for row in table.values()]
    assert max(scaled) < 1.2 * min(scaled)
    assert table[4][2] > table[4][0], "at first the norm grows"
    assert table[1024][2] < 0.3 * table[1024][0], "ties keep the mean up"
    assert table[1024][3] < 1e-6 * table[1024][1]


def test_no_jacobian_is_larger_than_at_a_tie_of_two(answer):
    norm = answer("squared_jacobian_norm")
    assert norm(torch.tensor([0.0, 0.5, 0.5, 0.0])) == 0.25
    for n in (2, 3, 5, 9):
        for spread in (0.0, 1.0, 5.0, 30.0):
            p = torch.softmax(spread * torch.randn(20_000, n, dtype=torch.float64), 1)
            assert norm(p).max() <= 0.25 + 1e-12


def test_the_softmax_sees_two_of_the_three_terms_of_the_variance(answer):
    """The difference of two scores of one query: what all of its keys share is not in it."""
    d, draws, (mean_q, mean_k), (variance_q, variance_k) = 16, 100_000, (0.8, 1.5), (2.0, 0.5)
    q = mean_q + math.sqrt(variance_q) * torch.randn(draws, 1, d, dtype=torch.float64)
    k = mean_k + math.sqrt(variance_k) * torch.randn(draws, 2, d, dtype=torch.float64)
    first, second = attention.attention_weights(q, k).log().squeeze(1).T
    case = [torch.full((d,), v).double() for v in (mean_q, variance_q, mean_k, variance_k)]
    mean, variance = answer("score_moments")(*case)
    seen = 2 * (variance - variance_q * mean_k**2)
    assert abs((first - second).var() / seen - 1) < 0.03
    assert abs((q * k[:, :1]).sum(2).var() / d / variance - 1) < 0.03
    assert abs((q * k[:, :1]).sum(2).mean() / math.sqrt(d) - mean) < 0.05


# --- What the library does -----------------------------------------------------------------------


def test_attention(answer):
    query, key = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 5, 6)
    value, mask = torch.randn(2, 3, 5, 7), torch.rand(4, 5) < 0.5
    mask[2] = False
    expected = attention.scaled_dot_product_attention(query, key, value, mask)
    assert (expected[:, :, 2] == 0).all()
    torch.testing.assert_close(answer("attention")(query, key, value, mask), expected)


def test_kernel_regression_is_attention_to_keys_of_equal_length(answer):
    query, key = torch.randn(6, 4), nn.functional.normalize(torch.randn(9, 4))
    value = torch.randn(9)
    expected = attention.scaled_dot_product_attention(query, key, value[:, None]).squeeze(1)
    got = answer("kernel_regression")(query, key, value, 4**0.25)  # h² = √d
    torch.testing.assert_close(got, expected)


def test_leave_one_out_is_attention_with_a_mask(answer):
    """A further component, -‖x‖² / 2 in a key and 1 in a query, completes the square."""
    x, y, bandwidth = torch.randn(12, 3), torch.randn(12), 0.7
    query = torch.cat([x, torch.ones(12, 1)], 1) * math.sqrt(4) / bandwidth**2
    key = torch.cat([x, -x.square().sum(1, keepdim=True) / 2], 1)
    others = ~torch.eye(12, dtype=torch.bool)
    estimate = attention.scaled_dot_product_attention(query, key, y[:, None], others).squeeze(1)
    expected = float((y - estimate).square().mean())
    assert answer("leave_one_out_error")(x, y, bandwidth) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_multi_head_attention(answer, heads):
    layer = attention.MultiHeadAttention(12, heads)
    nn.init.zeros_(layer.queries_keys_values.bias)
    nn.init.zeros_(layer.output.bias)
    x = torch.randn(3, 5, 12)
    weights = *layer.queries_keys_values.weight.chunk(3), layer.output.weight
    torch.testing.assert_close(
        answer("multi_head_attention")(x, *weights, heads), layer(x, causal=True)
    )


def test_multiply_adds(answer):
    layer = attention.MultiHeadAttention(24, 4).to("meta")
    query, x = torch.empty(4, 10, 6, device="meta"), torch.empty(1, 10, 24, device="meta")
    with FlopCounterMode(display=False) as projections:
        layer.output(layer.queries_keys_values(x)[..., :24])
    with FlopCounterMode(display=False) as products:
        attention.scaled_dot_product_attention(query, query, query)
    counted = projections.get_total_flops() // 2, products.get_total_flops() // 2
    assert answer("multiply_adds")(10, 24, 4) == counted
    same = answer("multiply_adds")(2 * 24, 24, 4)
    assert same[0] == same[1]


def test_rotate(answer):
    x, positions = torch.randn(2, 3, 5, 8), torch.tensor([0, 1, 2, 30, 500])
    expected = attention.rotate(x, positions)
    torch.testing.assert_close(answer("rotate")(x, positions), expected)


def test_what_scores_can_tell_of_rotary_positions(cells):
    """All faults but one change the scores, and none of them their dependence on the distance."""
    faults, turned = dict(ANSWERS["WRONG"]["rotate"]), {}
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for fault in ("positions from 1", "the other direction", "neighbours paired"):
        namespace = {}
        exec(cells["setup"] + "\n" + faults[fault], namespace)
        turned[fault] = namespace["rotate"]
    for fault, rotate in turned.items():
        scores = [
            float((rotate(q, torch.tensor([t])) * rotate(k, torch.tensor([s]))).sum())
            for t, s in ((7, 4), (57, 54))
        ]
        right = attention.rotate(q, torch.tensor([7])) * attention.rotate(k, torch.tensor([4]))
        assert scores[0] == pytest.approx(scores[1], rel=1e-5)
        is_right = scores[0] == pytest.approx(float(right.sum()), rel=1e-5)
        assert is_right == (fault == "positions from 1")


def test_sinusoidal_positions(answer):
    table = attention.sinusoidal_positions(60, 16)
    got = answer("sinusoidal_table")(60, 16)
    torch.testing.assert_close(got.float(), table, atol=1e-5, rtol=0)
    for shift in (1, 20):
        one = torch.ones(1, dtype=torch.float64)
        moved = table[:-shift] @ answer("shift_matrix")(torch.tensor([shift]), one, 16).float().T
        torch.testing.assert_close(moved, table[shift:], atol=1e-5, rtol=0)


def test_what_a_head_finds_at_several_distances_is_one_matrix(answer):
    """Attention by place, with the same weights of distances everywhere, on the positions."""
    table, shifts = attention.sinusoidal_positions(30, 16).double(), torch.tensor([-3, -1, 2])
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    by_place = torch.zeros(30, 30, dtype=torch.float64)  # (query, key)
    for shift, weight in zip(shifts.tolist(), weights, strict=True):
        by_place += weight * torch.eye(30).roll(shift, 1)
    expected = table @ answer("shift_matrix")(shifts, weights, 16).T
    torch.testing.assert_close((by_place @ table)[3:-3], expected[3:-3], atol=1e-5, rtol=0)


def test_the_score_of_rotary_positions_is_a_sum_of_cosines(answer):
    q, k = torch.randn(2, 8, dtype=torch.float64)
    a, b = (torch.complex(*x.chunk(2)) for x in (q, k))
    rates = 10000 ** (-torch.arange(4, dtype=torch.float64) / 4)
    for t, other in ((0, 0), (7, 3), (3, 40)):
        turned = answer("rotate")(torch.stack([q, k]), torch.tensor([t, other]))
        cosines = (rates * (t - other) + a.angle() - b.angle()).cos()
        torch.testing.assert_close(turned[0] @ turned[1], (a.abs() * b.abs() * cosines).sum())


def test_the_jacobian_is_that_of_the_weights(answer):
    scores = torch.randn(7, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)  # a query of width 1: the keys are the scores

    def weights(z):
        return attention.attention_weights(one, z[:, None])[0]

    expected = torch.autograd.functional.jacobian(weights, scores)
    slopes = torch.randn(7, dtype=torch.float64)
    got = answer("score_gradient")(scores, slopes)
    torch.testing.assert_close(got, expected.T @ slopes)
    assert abs(got.sum()) < 1e-12
    norm = answer("squared_jacobian_norm")(weights(scores))
    torch.testing.assert_close(norm, expected.square().sum())


@torch.no_grad()
def test_which_layers_know_the_order(answer):
    plain = attention.MultiHeadAttention(8, 2)
    rotary = attention.MultiHeadAttention(8, 2, rotary=True)
    for layer in (plain, rotary):  # away from the small weights of the start
        for parameter in layer.parameters():
            nn.init.normal_(parameter)

    is_equivariant, symmetries = answer("is_equivariant"), answer("symmetries")
    assert is_equivariant(plain, 8)
    assert not is_equivariant(rotary, 8)
    assert not is_equivariant(lambda x: plain(x, causal=True), 8)
    assert not is_equivariant(lambda x: plain(x + attention.sinusoidal_positions(x.shape[1], 8)), 8)
    assert symmetries(plain, 8) == (True, True)
    assert symmetries(rotary, 8) == (False, False)
