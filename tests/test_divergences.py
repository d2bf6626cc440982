"""The divergences against SciPy, torch, quadrature, linear programming and double loops."""

import inspect
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linprog
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from torch.distributions import Categorical, kl_divergence

from course_lib import divergences
from course_lib.divergences import (
    cross_entropy,
    entropy,
    jensen_shannon,
    kl,
    kl_from_counts,
    kl_gaussians,
    kl_monte_carlo,
    kl_nearest_neighbours,
    total_variation,
    wasserstein_1d,
)

LOG_2 = math.log(2)
PAIRS = {"cross_entropy": cross_entropy, "kl": kl, "jsd": jensen_shannon, "tv": total_variation}
examples = settings(max_examples=60)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_distributions(*shape: int, seed: int = 0) -> torch.Tensor:
    return (2 * normal(*shape, seed=seed)).softmax(-1)


@st.composite
def distributions(draw, number: int = 2):
    """Distributions over the same outcomes, maybe with zeros."""
    size = draw(st.integers(1, 7))
    weights = st.floats(1e-6, 1) | st.just(0.0)
    some = st.lists(weights, min_size=size, max_size=size).filter(lambda w: sum(w) > 0)
    drawn = [torch.tensor(draw(some), dtype=torch.float64) for _ in range(number)]
    return [weights / weights.sum() for weights in drawn]


# --- Finitely many outcomes ----------------------------------------------------------------------


@examples
@given(distributions())
def test_all_equal_scipy(pq) -> None:
    p, q = pq
    a, b = p.numpy(), q.numpy()
    assert entropy(p).item() == pytest.approx(stats.entropy(a), abs=1e-12)
    assert kl(p, q).item() == pytest.approx(rel_entr(a, b).sum(), abs=1e-12)
    both = stats.entropy(a) + stats.entropy(a, b)
    assert cross_entropy(p, q).item() == pytest.approx(both, abs=1e-12)
    # SciPy takes the root, and sums the same terms: it may take it of a rounding error.
    expected = np.nan_to_num(jensenshannon(a, b)) ** 2
    assert jensen_shannon(p, q).item() == pytest.approx(expected, abs=1e-12)
    outcomes = list(product([0.0, 1.0], repeat=len(p)))
    events = torch.tensor(outcomes, dtype=torch.float64)
    assert total_variation(p, q).item() == pytest.approx((events @ (p - q)).max().item(), abs=1e-12)


def test_kl_equals_torch_and_batches_broadcast() -> None:
    p, q = random_distributions(5, 1, 6), random_distributions(3, 6, seed=1)
    expected = kl_divergence(Categorical(p.expand(5, 3, 6)), Categorical(q.expand(5, 3, 6)))
    torch.testing.assert_close(kl(p, q), expected)
    for function in PAIRS.values():
        value = function(p, q)
        assert value.shape == (5, 3)
        torch.testing.assert_close(value[4, 1], function(p[4, 0], q[1]))
        assert function(p[:0], q).shape == (0, 3)
    assert entropy(p).shape == (5, 1)


def test_zero_mass_is_worth_nothing_and_a_missing_outcome_everything() -> None:
    p = torch.tensor([0.5, 0.5, 0.0, 0.0])
    q = torch.tensor([0.25, 0.25, 0.5, 0.0])
    assert entropy(p).item() == pytest.approx(LOG_2)
    assert kl(p, q).item() == pytest.approx(LOG_2) and kl(q, p).item() == math.inf
    assert cross_entropy(p, q).item() == pytest.approx(2 * LOG_2)
    assert cross_entropy(q, p).item() == math.inf
    assert total_variation(p, q).item() == 0.5
    apart = torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert jensen_shannon(p, apart).item() == pytest.approx(LOG_2)
    assert total_variation(p, apart).item() == 1 and kl(p, apart).item() == math.inf
    for value in (entropy(apart), entropy(torch.ones(1)), cross_entropy(apart, apart)):
        assert str(value.item()) == "0.0", "and not -0.0"
    assert entropy(torch.tensor([1 + 5e-6])).item() == 0, "never negative"


@examples
@given(distributions(), st.integers(0, 1000))
def test_inequalities(pq, seed: int) -> None:
    p, q = pq
    divergence, js, tv = (f(p, q).item() for f in (kl, jensen_shannon, total_variation))
    assert divergence >= 0 and 0 <= js <= LOG_2 + 1e-12 and 0 <= tv <= 1 + 1e-12
    assert 0 <= entropy(p).item() <= math.log(len(p)) + 1e-12
    assert tv <= math.sqrt(divergence / 2) + 1e-7, "Pinsker"
    assert js <= LOG_2 * tv + 1e-12, "Lin 1991, theorem 3"
    for function in (kl, jensen_shannon, total_variation):
        assert function(p, p).item() == 0
        channel = random_distributions(len(p), 4, seed=seed)
        assert function(p @ channel, q @ channel) <= function(p, q) + 1e-12
    if min(divergence, js, tv) < 1e-15:
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)
    for function in (jensen_shannon, total_variation):
        assert function(q, p).item() == pytest.approx(function(p, q).item(), abs=1e-15)


@examples
@given(distributions(number=3))
def test_metrics_obey_the_triangle_inequality(three) -> None:
    p, q, r = three
    for metric in (total_variation, lambda a, b: jensen_shannon(a, b).sqrt()):
        assert metric(p, r) <= metric(p, q) + metric(q, r) + 1e-7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smallest_numbers_and_rounding_spoil_nothing(dtype: torch.dtype) -> None:
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps  # the smallest there is
    p, q = torch.tensor([tiny, 1.0], dtype=dtype), torch.tensor([0.0, 1.0], dtype=dtype)
    assert p[0] > 0
    assert jensen_shannon(p, q).item() == jensen_shannon(q, p).item() == 0
    assert kl(p, q).item() == math.inf and kl(q, p).item() == 0
    close = random_distributions(2000, 9).to(dtype)
    moved = (close * (1 + torch.finfo(dtype).eps * normal(2000, 9, seed=1).sign())).to(dtype)
    for function in (kl, jensen_shannon):
        value = function(close, moved)
        assert (value >= 0).all() and (value < 1e-6).all()


@pytest.mark.parametrize(("dtype", "close"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_narrow_types_are_taken_as_float32(dtype: torch.dtype, close: float) -> None:
    p, q = random_distributions(50, 8), random_distributions(50, 8, seed=1)
    for function in PAIRS.values():
        value = function(p.to(dtype), q.to(dtype))
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, function(p, q).float(), rtol=close, atol=close)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(function(p.float(), q.float()), function(p, q).float())
    assert kl(p, q.float() / q.float().sum(-1, keepdim=True)).dtype == torch.float64


def test_gradients() -> None:
    logits = normal(2, 3, 4).requires_grad_()
    for function in PAIRS.values():
        assert torch.autograd.gradcheck(
            lambda a, f=function: f(a[0].softmax(-1), a[1].softmax(-1)), (logits,)
        )
    assert torch.autograd.gradcheck(lambda a: entropy(a.softmax(-1)), (logits,))


def test_gradients_where_probabilities_are_zero() -> None:
    p = torch.tensor([0.0, 0.4, 0.6, 0.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.3, 0.3, 0.4, 0.0], dtype=torch.float64, requires_grad=True)
    by_p, by_q = torch.autograd.grad(cross_entropy(p, q), (p, q))
    torch.testing.assert_close(by_p[:3], -q[:3].log())
    torch.testing.assert_close(by_q, -p.detach() / q.detach().clamp(min=1e-9))
    by_p, by_q = torch.autograd.grad(kl(p, q), (p, q))
    torch.testing.assert_close(by_p[1:3], (p / q).log()[1:3] + 1)
    torch.testing.assert_close(by_q, -p.detach() / q.detach().clamp(min=1e-9))
    assert by_p.isfinite().all()
    for value in (jensen_shannon(p, q), total_variation(p, q), entropy(p)):
        assert torch.autograd.grad(value, p)[0].isfinite().all()
    logits = torch.tensor([0.0, 1.0, -2000.0], requires_grad=True)  # a softmax that rounds to 0
    for function in PAIRS.values():
        uniform = torch.full((3,), 1 / 3)
        for value in (function(logits.softmax(-1), uniform), entropy(logits.softmax(-1))):
            assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_the_gradient_survives_the_clamping_of_rounding_errors() -> None:
    p = random_distributions(2000, 9).float()
    q = (p * (1 + 1e-7 * normal(2000, 9, seed=1).sign())).float().requires_grad_()
    value = kl(p, q)
    assert (value == 0).sum() > 100, "there are errors to clamp"
    torch.testing.assert_close(torch.autograd.grad(value.sum(), q)[0], -p / q.detach())


BAD = {
    "integers": (torch.tensor([0, 1]), r"must be a floating-point tensor, got torch.int64; use "),
    "8 bits": (torch.tensor([0.5, 0.5]).to(torch.float8_e5m2), "must be a floating-point tensor"),
    "list": ([0.5, 0.5], "must be a floating-point tensor, got list"),
    "number": (torch.tensor(1.0), r"must have the shape \(..., outcomes\) .* got \(\)"),
    "none": (torch.zeros(0), "must sum to one"),
    "negative": (torch.tensor([1.5, -0.5]), r"must not be negative, got -0.5; .*softmax"),
    "sum": (torch.tensor([0.5, 0.6]), r"must sum to one .* got 1.1\d*; divide by .*keepdim=True"),
    "nearly": (torch.tensor([0.5, 0.5 + 1e-8]).double() * (1 + 2e-9), "must sum to one"),
    "nan": (torch.tensor([0.5, math.nan]), "holds NaN or infinite values, 1 of 2"),
    "infinite": (torch.tensor([0.5, math.inf]), "holds NaN or infinite values, 1 of 2"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("function", PAIRS.values(), ids=PAIRS)
def test_what_is_no_distribution_is_refused_by_name(function, bad: str) -> None:
    values, message = BAD[bad]
    good = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match=f"^p {message}"):
        inspect.unwrap(function)(values, good)
    with pytest.raises(ValueError, match=f"^q {message}"):
        inspect.unwrap(function)(good, values)
    with pytest.raises(ValueError, match=f"^p {message}"):
        inspect.unwrap(entropy)(values)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)],
)
def test_a_sum_may_miss_one_by_as_much_as_is_said(dtype: torch.dtype, tolerance: float) -> None:
    for part, good in ((0.6, True), (2.5, False)):
        for sign in (-1, 1):
            p = torch.tensor([0.5, 0.5 + sign * part * tolerance], dtype=torch.float64).to(dtype)
            if good:
                assert kl(p, p).item() == 0
            else:
                with pytest.raises(ValueError, match="p must sum to one"):
                    kl(p, p)


def test_shapes_that_do_not_fit_are_refused() -> None:
    p, q = torch.full((2, 4), 0.25), torch.full((3, 4), 0.25)
    with pytest.raises(ValueError, match=r"must broadcast, got p: \(2,\), q: \(3,\)"):
        inspect.unwrap(kl)(p, q)
    with pytest.raises(ValueError, match=r"same outcomes .* got p: \(2, 4\), q: \(1,\); give"):
        inspect.unwrap(kl)(p, torch.ones(1))


# --- Wasserstein distance on a line --------------------------------------------------------------


def by_linear_programming(x, y, order, weights_x, weights_y) -> float:
    """The cheapest plan that moves the one sample to the other."""
    cost = (x[:, None] - y).abs() ** order
    rows = torch.kron(torch.eye(len(x)), torch.ones(len(y)))
    columns = torch.kron(torch.ones(len(x)), torch.eye(len(y)))
    plan = linprog(
        cost.flatten().numpy(),
        A_eq=torch.cat([rows, columns]).numpy(),
        b_eq=torch.cat([weights_x, weights_y]).numpy(),
    )
    return plan.fun ** (1 / order)


@pytest.mark.parametrize("order", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (4, 4), (3, 7), (6, 4)])
def test_wasserstein_is_the_cheapest_plan(order: float, n: int, m: int) -> None:
    for seed in range(3):
        x, y = normal(n, seed=seed), 0.5 + 2 * normal(m, seed=seed + 10)
        a, b = random_distributions(n, seed=seed), random_distributions(m, seed=seed + 5)
        expected = by_linear_programming(x, y, order, a, b)
        assert wasserstein_1d(x, y, order, a, b).item() == pytest.approx(expected, rel=1e-5)
        a, b = torch.full((n,), 1 / n).double(), torch.full((m,), 1 / m).double()
        expected = by_linear_programming(x, y, order, a, b)
        assert wasserstein_1d(x, y, order).item() == pytest.approx(expected, rel=1e-5)


points = st.lists(st.floats(-100, 100), min_size=1, max_size=8).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@examples
@given(points, points, st.integers(0, 100))
def test_the_first_wasserstein_distance_is_that_of_scipy(x, y, seed: int) -> None:
    a, b = random_distributions(len(x), seed=seed), random_distributions(len(y), seed=seed + 1)
    a[len(x) // 2 :: 3] = 0
    a = a / a.sum() if a.sum() > 0 else torch.full_like(a, 1 / len(a))
    expected = stats.wasserstein_distance(x, y, a, b)
    assert wasserstein_1d(x, y, 1, a, b).item() == pytest.approx(expected, abs=1e-10)
    expected = stats.wasserstein_distance(x, y)
    assert wasserstein_1d(x, y).item() == pytest.approx(expected, abs=1e-10)


@examples
@given(points, points, points, st.sampled_from([1, 1.3, 2, 5]), st.floats(-50, 50))
def test_wasserstein_is_a_metric(x, y, z, order: float, shift: float) -> None:
    distance = wasserstein_1d(x, y, order).item()
    assert distance >= 0 and wasserstein_1d(x, x, order).item() == 0
    assert distance == pytest.approx(wasserstein_1d(y, x, order).item(), abs=1e-10)
    around = wasserstein_1d(x, z, order) + wasserstein_1d(z, y, order)
    assert distance <= around.item() + 1e-9
    assert wasserstein_1d(x, x + shift, order).item() == pytest.approx(abs(shift), abs=1e-9)
    assert wasserstein_1d(x.repeat(3), x, order).item() == 0, "1/3 and 2/6 are the same level"
    assert distance <= wasserstein_1d(x, y, order + 1).item() + 1e-9


def test_weights_that_are_zero_or_equal_change_nothing() -> None:
    x, y = normal(5), normal(7, seed=1)
    far = torch.tensor([-1e6, 1e6]).double()
    zeros = torch.zeros(2, dtype=torch.float64)
    weights = torch.cat([torch.full((5,), 0.2, dtype=torch.float64), zeros])
    value = wasserstein_1d(torch.cat([x, far]), y, 1, weights_x=weights)
    assert value.item() == pytest.approx(wasserstein_1d(x, y).item(), rel=1e-12)
    counted = torch.tensor([0.4, 0.6], dtype=torch.float64)
    repeated = wasserstein_1d(x[:2].repeat_interleave(torch.tensor([2, 3])), y)
    weighted = wasserstein_1d(x[:2], y, weights_x=counted)
    assert weighted.item() == pytest.approx(repeated.item(), rel=1e-9)


def test_samples_of_two_types_are_compared_in_the_wider() -> None:
    x = normal(3).float()
    y = x.double().repeat(2)  # 1/3 and 2/6 are the same level in one type only
    for pair in ((x, y), (y, x)):
        value = wasserstein_1d(*pair)
        assert value.item() == 0 and value.dtype == torch.float64
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert wasserstein_1d(x, x, 1, weights, weights.float()).item() < 1e-6


def test_large_orders_and_numbers_do_not_overflow() -> None:
    x, y = torch.tensor([0.0, 1e30]), torch.tensor([1e30, 3e30])
    assert wasserstein_1d(x, y, 2).item() == pytest.approx(1e30 * math.sqrt(2.5), rel=1e-5)
    assert wasserstein_1d(x, y, 200).item() == pytest.approx(2e30 * 0.5 ** (1 / 200), rel=1e-5)
    assert wasserstein_1d(torch.zeros(2), torch.zeros(3), 200).item() == 0


@pytest.mark.parametrize("order", [1, 1.5, 2, 4])
def test_gradients_of_wasserstein(order: float) -> None:
    logits = normal(2, 4, seed=3).requires_grad_()
    arguments = (normal(4).requires_grad_(), normal(6, seed=1).requires_grad_(), logits)
    assert torch.autograd.gradcheck(lambda x, y, _: wasserstein_1d(x, y, order), arguments)
    assert torch.autograd.gradcheck(
        lambda x, y, a: wasserstein_1d(x, y[:4], order, a[0].softmax(0), a[1].softmax(0)), arguments
    )
    x = arguments[0]
    (gradient,) = torch.autograd.grad(wasserstein_1d(x, x.detach(), order), x)
    assert (gradient == 0).all(), "at equality"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(0), torch.zeros(2)), r"^x must have the shape \(n,\) and not be empty"),
        ((torch.zeros(2), torch.zeros(2, 1)), r"^y must have the shape \(m,\).* got \(2, 1\)"),
        ((torch.zeros(2), torch.tensor([math.inf])), "^y holds NaN or infinite"),
        ((torch.zeros(2), torch.zeros(2), 0.5), "^order must be a finite number .* 1 or more; got"),
        ((torch.zeros(2), torch.zeros(2), math.inf), "^order must be"),
        ((torch.zeros(2), torch.zeros(2), 1, torch.ones(2)), "^weights_x must sum to one .* got 2"),
        ((torch.zeros(2), torch.zeros(2), 1, None, torch.ones(1)), r"^weights_y .*\(1,\) for \(2,"),
    ],
)
def test_bad_samples_on_a_line_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(wasserstein_1d)(*arguments)


# --- Estimates of the Kullback-Leibler divergence ------------------------------------------------


def test_monte_carlo_is_near_the_truth_by_as_much_as_it_says() -> None:
    p, q = torch.distributions.Normal(0.3, 1.0), torch.distributions.Normal(-0.5, 2.0)
    truth = kl_divergence(p, q).item()
    x = 0.3 + normal(400, 1000)
    estimates = [kl_monte_carlo(p.log_prob(row), q.log_prob(row)) for row in x]
    values = torch.stack([e.value for e in estimates])
    errors = torch.stack([e.standard_error for e in estimates])
    assert values.mean().item() == pytest.approx(truth, abs=4 * values.std().item() / 20)
    assert values.std().item() == pytest.approx(errors.mean().item(), rel=0.15)
    within = ((values - truth).abs() < 1.96 * errors).double().mean().item()
    assert 0.92 < within < 0.98
    row = p.log_prob(x[0]) - q.log_prob(x[0])
    assert estimates[0].standard_error.item() == pytest.approx(stats.sem(row.numpy()))


def test_monte_carlo_where_q_is_zero_is_infinite() -> None:
    value, error = kl_monte_carlo(torch.zeros(3), torch.tensor([0.0, -math.inf, 0.0]))
    assert value.item() == error.item() == math.inf


@pytest.mark.parametrize(
    ("log_p", "log_q", "message"),
    [
        (torch.zeros(1), torch.zeros(1), "^log_p and log_q must be of the same draws .* got 1 and"),
        (torch.zeros(3), torch.zeros(2), "got 3 and 2"),
        (torch.tensor([0.0, -math.inf]), torch.zeros(2), "^log_p holds NaN or infinite"),
        (torch.zeros(2), torch.tensor([0.0, math.inf]), "^log_q holds NaN or infinite"),
        (torch.zeros(2), torch.tensor([0.0, math.nan]), "^log_q holds NaN"),
        (torch.zeros(2), torch.zeros(2, 1), r"^log_q must have the shape \(n,\)"),
        (torch.zeros(2), torch.zeros(2).long(), "^log_q must be a floating-point tensor"),
    ],
)
def test_bad_log_densities_are_refused(log_p, log_q, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(kl_monte_carlo)(log_p, log_q)


def test_counts_become_frequencies() -> None:
    counts_p, counts_q = torch.tensor([[3, 1, 0], [0, 0, 7]]), torch.tensor([2, 5, 1])
    value = kl_from_counts(counts_p, counts_q)
    assert value.dtype == torch.float64 and value.shape == (2,)
    assert value.numpy() == pytest.approx(stats.entropy(counts_p, counts_q[None], axis=1))
    smooth = kl_from_counts(counts_p[0], counts_q, 0.5).item()
    assert smooth == pytest.approx(stats.entropy([3.5, 1.5, 0.5], [2.5, 5.5, 1.5]))
    assert kl_from_counts(counts_q, counts_p[0]).item() == math.inf
    assert kl_from_counts(counts_q, counts_p[0], smoothing=1).item() < math.inf
    floats = kl_from_counts(counts_p.float(), counts_q.float())
    torch.testing.assert_close(floats, value.float())
    uniform = kl_from_counts(torch.zeros(3), torch.tensor([2.0, 2.0, 2.0]), 1.0)
    assert uniform.item() == 0


def test_the_plug_in_is_too_large_by_a_chi_square() -> None:
    """2n KL(p̂ ‖ p) is about χ² with K - 1 degrees of freedom (Wilks 1938)."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    draws = torch.multinomial(
        p.expand(3000, 4), 500, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    counts = torch.nn.functional.one_hot(draws, 4).sum(1)
    statistic = 2 * 500 * kl_from_counts(counts, 1000 * p)
    assert stats.kstest(statistic.numpy(), stats.chi2(3).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("counts", "smoothing", "message"),
    [
        (torch.tensor([1, -1]), 0, "^counts_p must be counts of 0 or more"),
        (torch.tensor([3.0, -0.5]), 1, "^counts_p must be counts of 0 .* got counts from -0.5"),
        (torch.zeros(2), 0, "^counts_p must be .* got counts from 0, sums from 0; draw"),
        (torch.tensor([1.0, math.nan]), 0, "^counts_p holds NaN"),
        (torch.ones(3), 0, r"same outcomes .* got counts_p: \(3,\), counts_q: \(2,\)"),
        (torch.ones(2), -1, "^smoothing must be a finite number .* 0 or more; got -1"),
        ([1, 2], 0, "^counts_p must be a floating-point tensor, got list"),
    ],
)
def test_bad_counts_are_refused(counts, smoothing, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(kl_from_counts)(counts, torch.ones(2), smoothing)


@pytest.mark.parametrize("neighbours", [1, 2, 4])
@pytest.mark.parametrize("d", [1, 3])
def test_nearest_neighbours_equal_a_double_loop(monkeypatch, neighbours: int, d: int) -> None:
    x, y = normal(23, d).tolist(), (0.5 + normal(17, d, seed=1)).tolist()
    total = 0.0
    for i, point in enumerate(x):
        own = sorted(math.dist(point, other) for j, other in enumerate(x) if j != i)
        cross = sorted(math.dist(point, other) for other in y)
        total += math.log(cross[neighbours - 1] / own[neighbours - 1])
    expected = d / 23 * total + math.log(17 / 22)
    arguments = (
        torch.tensor(x, dtype=torch.float64),
        torch.tensor(y, dtype=torch.float64),
        neighbours,
    )
    assert kl_nearest_neighbours(*arguments).item() == pytest.approx(expected, abs=1e-12)
    for cells in (70, 5):  # three rows at a time, and no room for one
        monkeypatch.setattr(divergences, "_CELLS", cells)
        assert kl_nearest_neighbours(*arguments).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2])
def test_nearest_neighbours_are_consistent(d: int) -> None:
    """One estimate has a standard deviation of about 0.02."""
    mean, covariance = torch.full((d,), 1.0).double(), 1.5 * torch.eye(d).double() + 0.5
    factor = torch.linalg.cholesky(covariance)
    truth = kl_gaussians(mean, torch.eye(d).double(), torch.zeros(d).double(), covariance).item()
    values = []
    for seed in range(3):
        x, y = mean + normal(5000, d, seed=seed), normal(5000, d, seed=100 + seed) @ factor.mT
        values.append(kl_nearest_neighbours(x, y, 5).item())
    assert sum(values) / 3 == pytest.approx(truth, abs=0.04)


def test_nearest_neighbours_are_exact_far_from_the_origin() -> None:
    """There the squares of distances are differences of large, rounded numbers."""
    x, y = normal(200, 2), 0.5 + normal(300, 2, seed=1)
    near, far = kl_nearest_neighbours(x, y), kl_nearest_neighbours(x + 1e6, y + 1e6)
    assert far.item() == pytest.approx(near.item(), abs=1e-6)


def test_gradients_of_nearest_neighbours() -> None:
    arguments = (normal(7, 2).requires_grad_(), normal(6, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(kl_nearest_neighbours, arguments)


@pytest.mark.parametrize(
    ("x", "y", "neighbours", "message"),
    [
        (torch.zeros(3, 2), normal(3, 2), 1, "^x holds duplicates of 3 or more points of x"),
        (normal(3, 2), normal(3, 2), 1, "^y holds duplicates of 3 .*; the estimate is for samples"),
        (normal(3, 2), normal(3, 2, seed=1), 3, r"n > neighbours = 3 and .* got \(3, 2\) and"),
        (normal(4, 2), normal(2, 2, seed=1), 3, "m >= neighbours"),
        (normal(4, 2), normal(4, 3), 1, r"^x and y must be .* got \(4, 2\) and \(4, 3\)"),
        (normal(4), normal(4), 1, r"^x must have the shape \(n, d\)"),
        (normal(4, 2), normal(4, 2) / 0, 1, "^y holds NaN or infinite values, 8 of 8"),
        (normal(4, 2), normal(4, 2), 0, "^neighbours must be a whole number .* 1 or more; got 0"),
        (normal(4, 2), normal(0, 2), 1, r"^y must have the shape \(m, d\) and not be empty"),
    ],
)
def test_bad_points_are_refused(x, y, neighbours, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(kl_nearest_neighbours)(x, y, neighbours)
