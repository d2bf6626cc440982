"""The f-divergences against sums, quadrature, their conjugates and the bound that follows."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from course_lib import divergences, f_divergences
from course_lib.f_divergences import F_DIVERGENCES, FDivergence, f_divergence, variational_bound

names = pytest.mark.parametrize("name", F_DIVERGENCES)
LOG_2 = math.log(2)

# What the literature calls by these names, as functions of p and q with p, q > 0.
SUMS = {
    "kl": lambda p, q: p * np.log(p / q),
    "reverse kl": lambda p, q: q * np.log(q / p),
    "jensen-shannon": lambda p, q: (
        p * np.log(2 * p / (p + q)) / 2 + q * np.log(2 * q / (p + q)) / 2
    ),
    "total variation": lambda p, q: np.abs(p - q) / 2,
    "squared hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2 / 2,
    "pearson chi2": lambda p, q: (p - q) ** 2 / q,
    "neyman chi2": lambda p, q: (p - q) ** 2 / p,
}


def random_distributions(*shape: int, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(*shape, generator=generator, dtype=torch.float64)
    return logits.softmax(-1)


@st.composite
def pairs(draw, least: int = 1, zeros: bool = True):
    """Two distributions over the same outcomes, maybe with zeros."""
    size = draw(st.integers(least, 7))
    weights = st.floats(1e-6, 1) | (st.just(0.0) if zeros else st.floats(0.5, 1))
    some = st.lists(weights, min_size=size, max_size=size).filter(lambda w: sum(w) > 0)
    p, q = (torch.tensor(draw(some), dtype=torch.float64) for _ in range(2))
    return p / p.sum(), q / q.sum()


# --- The functions -------------------------------------------------------------------------------


@names
def test_each_is_the_sum_that_goes_by_its_name(name: str) -> None:
    p, q = random_distributions(40, 6), random_distributions(40, 6, seed=1)
    expected = torch.from_numpy(SUMS[name](p.numpy(), q.numpy()).sum(-1))
    torch.testing.assert_close(f_divergence(p, q, name), expected, rtol=1e-12, atol=1e-14)


def test_those_with_a_function_of_their_own_equal_it() -> None:
    p, q = random_distributions(40, 6), random_distributions(40, 6, seed=1)
    p[:, 0], q[:, 1] = 0, 0
    p[0], q[1] = q[0].clone(), p[1].clone()
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    for name, own in {
        "kl": divergences.kl(p, q),
        "reverse kl": divergences.kl(q, p),
        "jensen-shannon": divergences.jensen_shannon(p, q),
        "total variation": divergences.total_variation(p, q),
    }.items():
        torch.testing.assert_close(f_divergence(p, q, name), own, rtol=1e-12, atol=1e-15)


@names
def test_of_gaussians_by_quadrature(name: str) -> None:
    """On a fine grid the sum over cells is the integral, here that of an adaptive rule."""
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    p, q = (torch.exp(-((grid - m) ** 2) / (2 * s**2)) for m, s in ((0.3, 1.0), (0.0, 1.1)))
    value = f_divergence(p / p.sum(), q / q.sum(), name)

    def density(x: float, m: float, s: float) -> float:
        return math.exp(-((x - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi))

    expected, _ = quad(
        lambda x: SUMS[name](density(x, 0.3, 1.0), density(x, 0.0, 1.1)), -12, 12, limit=200
    )
    assert value.item() == pytest.approx(expected, rel=1e-6)


@names
def test_f_is_convex_is_zero_at_one_and_has_the_slopes_and_limits_it_says(name: str) -> None:
    chosen = F_DIVERGENCES[name]
    one = torch.ones((), dtype=torch.float64)
    assert chosen.f(one).item() == 0
    assert chosen.f(0 * one).item() == pytest.approx(chosen.at_zero)
    far = 1e14 * one
    if math.isfinite(chosen.slope_at_infinity):
        assert (chosen.f(far) / far).item() == pytest.approx(chosen.slope_at_infinity, abs=1e-6)
    else:
        assert (chosen.f(far) / far).item() > 30
    u = torch.linspace(0.013, 7, 400, dtype=torch.float64, requires_grad=True)
    value = chosen.f(u)
    (slope,) = torch.autograd.grad(value.sum(), u)
    torch.testing.assert_close(chosen.slope(u), slope)
    assert (chosen.slope(u).diff() >= 0).all()
    middle = chosen.f((u[1:] + u[:-1]) / 2)
    assert (middle <= (value[1:] + value[:-1]) / 2 + 1e-14).all()


@names
def test_the_conjugate_is_the_supremum_and_its_conjugate_is_f(name: str) -> None:
    chosen = F_DIVERGENCES[name]
    u = torch.logspace(-9, 6, 200_001, dtype=torch.float64)
    for t in (-3.0, -1.7, -0.6, -0.3, 0.0, 0.2, 0.34, 0.45, 0.9, 1.7):
        value = chosen.conjugate(torch.tensor(t, dtype=torch.float64)).item()
        supremum = (u * t - chosen.f(u)).max().item()
        if t > chosen.slope_at_infinity:
            assert value == math.inf and supremum > 1e3
        elif t < chosen.slope_at_infinity:
            assert value == pytest.approx(supremum, abs=1e-4)
    for u0 in (0.05, 0.5, 1.0, 1.3, 4.0):
        top = min(chosen.slope_at_infinity, 40.0)
        best = minimize_scalar(
            lambda t, u0=u0: chosen.conjugate(torch.tensor(t, dtype=torch.float64)).item() - u0 * t,
            bounds=(-500.0, top),
            method="bounded",
            options={"xatol": 1e-10, "maxiter": 2000},
        )
        again = chosen.f(torch.tensor(u0, dtype=torch.float64)).item()
        assert -best.fun == pytest.approx(again, abs=1e-6)


@names
@settings(max_examples=40)
@given(u=st.floats(1e-4, 1e4))
def test_fenchel_and_young_are_equal_at_the_slope_and_nowhere_exceeded(name: str, u: float) -> None:
    chosen = F_DIVERGENCES[name]
    u_ = torch.tensor(u, dtype=torch.float64)
    t = chosen.slope(u_)
    total = (chosen.f(u_) + chosen.conjugate(t)).item()
    assert total == pytest.approx((u_ * t).item(), rel=1e-9, abs=1e-9)
    others = t + torch.linspace(-3, 3, 61, dtype=torch.float64)
    slack = chosen.f(u_) + chosen.conjugate(others) - u_ * others
    assert (slack >= -1e-9 * max(1, total)).all()


@names
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_and_beyond_the_edge_of_the_domain_the_conjugate_is_no_nan(name: str, dtype) -> None:
    chosen = F_DIVERGENCES[name]
    edge = torch.tensor(min(chosen.slope_at_infinity, 1e30), dtype=dtype)
    around = [edge, torch.nextafter(edge, torch.tensor(-math.inf, dtype=dtype))]
    t = torch.stack(
        [*around, -math.inf * edge.new_ones(()), math.inf * edge.new_ones(()), edge + 1]
    )
    t.requires_grad_()
    value = chosen.conjugate(t)
    assert not value.isnan().any()
    assert value[2].item() == pytest.approx(-chosen.at_zero), "f*(-inf) = -f(0)"
    if math.isfinite(chosen.slope_at_infinity):
        assert value[4].item() == math.inf
        (gradient,) = torch.autograd.grad(value[1] + value[4], t)
        assert gradient[1] > 0 and gradient[4] == 0


# --- The divergences -----------------------------------------------------------------------------


@names
@settings(max_examples=40)
@given(pq=pairs())
def test_none_is_negative_and_none_is_nan(name: str, pq) -> None:
    p, q = pq
    value = f_divergence(p, q, name).item()
    assert value >= 0
    assert f_divergence(p, p, name).item() == pytest.approx(0, abs=1e-15)
    if value < 1e-16:
        torch.testing.assert_close(p, q, rtol=0, atol=1e-7)
    chosen = F_DIVERGENCES[name]
    assert value <= chosen.at_zero + chosen.slope_at_infinity + 1e-12, "Vajda's upper bound"


@names
@settings(max_examples=40)
@given(pq=pairs(least=2), data=st.data())
def test_processing_both_alike_brings_them_closer(name: str, pq, data) -> None:
    p, q = pq
    channel = random_distributions(len(p), 3, seed=data.draw(st.integers(0, 1000)))
    before, after = f_divergence(p, q, name), f_divergence(p @ channel, q @ channel, name)
    assert after <= before * (1 + 1e-9) + 1e-12


@names
def test_disjoint_supports_and_missing_outcomes(name: str) -> None:
    chosen = F_DIVERGENCES[name]
    p, q = torch.tensor([0.5, 0.5, 0.0, 0.0]).double(), torch.tensor([0.0, 0.0, 1.0, 0.0]).double()
    disjoint = chosen.at_zero + chosen.slope_at_infinity
    assert f_divergence(p, q, name).item() == pytest.approx(disjoint)
    wider = torch.tensor([0.25, 0.25, 0.5, 0.0]).double()
    expected = chosen.at_zero / 2 + chosen.f(torch.tensor(2.0)).item() / 2
    assert f_divergence(p, wider, name).item() == pytest.approx(expected)  # q f(0) + Σ q f(2)
    expected = chosen.slope_at_infinity / 2 + chosen.f(torch.tensor(0.5)).item()
    assert f_divergence(wider, p, name).item() == pytest.approx(expected)


def test_a_ratio_that_is_too_large_counts_as_infinite() -> None:
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([1e-41, 1.0])
    assert f_divergence(p, q, "jensen-shannon").item() == pytest.approx(LOG_2)
    assert f_divergence(p, q, "total variation").item() == pytest.approx(1)
    assert f_divergence(p, q, "pearson chi2").item() == math.inf


@names
def test_gradients(name: str) -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a: f_divergence(a[0].softmax(-1), a[1].softmax(-1), name), (logits,)
    )


@names
def test_gradients_at_zero_probabilities_are_those_of_mathematics_or_finite(name: str) -> None:
    """By p it is f'(p / q), by q it is -f*(f'(p / q)), wherever these are finite."""
    p = torch.tensor([0.0, 0.4, 0.6, 0.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.3, 0.7, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    chosen = F_DIVERGENCES[name]
    value = f_divergence(p, q, name)
    by_p, by_q = torch.autograd.grad(value, (p, q))
    assert not (by_p.isnan().any() or by_q.isnan().any())
    ratio = torch.tensor([0.0, 4 / 7, math.inf], dtype=torch.float64)
    slopes = chosen.slope(ratio)
    slopes[2] = chosen.slope_at_infinity
    finite = slopes.isfinite()
    torch.testing.assert_close(by_p[:3][finite], slopes[finite])
    slopes = -chosen.conjugate(slopes)
    finite = slopes.isfinite()
    torch.testing.assert_close(by_q[:3][finite], slopes[finite])
    if math.isinf(chosen.at_zero):
        assert by_q[3] == 0, "where neither distribution has mass"
    if value.isfinite():
        assert by_p.isfinite().all() and by_q.isfinite().all()


# --- The bound -----------------------------------------------------------------------------------


def counted(p: list[int], values: torch.Tensor) -> torch.Tensor:
    """The values as often as the counts say: samples whose frequencies are exact."""
    return values.repeat_interleave(torch.tensor(p))


@names
@settings(max_examples=40)
@given(noise=st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_the_bound_holds_and_the_best_critic_reaches_it(name: str, noise: list[float]) -> None:
    p, q = [1, 2, 3, 4], [4, 3, 1, 2]
    p_, q_ = torch.tensor(p).double() / 10, torch.tensor(q).double() / 10
    truth = f_divergence(p_, q_, name).item()
    best = F_DIVERGENCES[name].slope(p_ / q_)
    reached = variational_bound(counted(p, best), counted(q, best), name).item()
    assert reached == pytest.approx(truth, abs=1e-7)
    other = best + torch.tensor(noise, dtype=torch.float64)
    assert variational_bound(counted(p, other), counted(q, other), name).item() <= truth + 1e-7


def test_a_critic_is_trained_up_to_the_divergence() -> None:
    p, q = [1, 2, 3, 4], [4, 3, 1, 2]
    critic = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([critic], lr=0.05)
    for _ in range(600):
        bound = variational_bound(counted(p, critic), counted(q, critic), "pearson chi2")
        optimiser.zero_grad()
        (-bound).backward()
        optimiser.step()
    p_, q_ = torch.tensor(p).double() / 10, torch.tensor(q).double() / 10
    assert bound.item() == pytest.approx(((p_ - q_) ** 2 / q_).sum().item(), rel=1e-6)


def test_infinite_critics_and_those_outside_the_domain() -> None:
    some = torch.tensor([0.1, 0.2])
    outside = torch.tensor([0.1, 0.6])
    assert variational_bound(some, outside, "total variation").item() == -math.inf
    assert variational_bound(outside, some, "total variation").item() == pytest.approx(0.2)
    never = torch.tensor([-math.inf, 0.0])  # where p is 0
    assert variational_bound(some, never, "kl").item() == pytest.approx(0.15 - math.exp(-1) / 2)
    endless = torch.tensor([math.inf, 0.0])
    assert variational_bound(endless, some, "kl").item() == math.inf
    assert variational_bound(endless, endless, "kl").item() == -math.inf


# --- What is refused -----------------------------------------------------------------------------


HALF = torch.tensor([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, v: f(HALF, HALF, "hellinger"), r"^name must be one of \['kl', .*; got 'helling"),
        (lambda f, v: v(HALF, HALF, ""), "^name must be one of"),
        (lambda f, v: f(HALF, 2 * HALF, "kl"), "^q must sum to one along the last axis, got 2"),
        (lambda f, v: v(HALF[:0], HALF, "kl"), r"^critic_p must have the shape \(n,\) and not be"),
        (lambda f, v: v(HALF, HALF[None], "kl"), r"^critic_q must have .*\(m,\).* got \(1, 2\)"),
        (lambda f, v: v(HALF, HALF * math.nan, "kl"), "^critic_q holds NaN .* 2 of 2"),
        (lambda f, v: v([0.5], HALF, "kl"), "^critic_p must be a floating-point tensor, got list"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(inspect.unwrap(f_divergence), inspect.unwrap(variational_bound))


def test_the_other_module_offers_everything_here_too() -> None:
    for name in ("F_DIVERGENCES", "FDivergence", "f_divergence", "variational_bound"):
        assert getattr(divergences, name) is getattr(f_divergences, name)
    assert all(isinstance(chosen, FDivergence) for chosen in F_DIVERGENCES.values())
