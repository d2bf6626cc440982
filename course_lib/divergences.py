"""How far apart are two distributions p and q? Closed forms and estimates; everything in nats.

Distributions over finitely many outcomes are probabilities along the last axis, and leading axes
broadcast. They are checked: no negative value, and a sum of one to within 1e-9 in float64, 1e-5 in
float32, 1e-3 in float16, 1e-2 in bfloat16, which rounds its values that coarsely. Types narrower
than float32 are taken as float32. Any other input is a ValueError that names the argument.

Where mathematics says +inf, so do these functions, and 0 log 0 = 0. They are differentiable. Where
a probability of 0 makes a derivative infinite although the value is finite, the gradient is 0, not
infinite, so that it passes unharmed through a softmax that has rounded to 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib import checks
from course_lib.distribution_checks import (
    at_least_zero,
    distributions,
    float_tensor,
    of_one_type,
)
from course_lib.f_divergences import F_DIVERGENCES, FDivergence, f_divergence, variational_bound
from course_lib.gaussian_divergences import kl_gaussians, wasserstein_gaussians

__all__ = [
    "F_DIVERGENCES",
    "Estimate",
    "FDivergence",
    "cross_entropy",
    "entropy",
    "f_divergence",
    "jensen_shannon",
    "kl",
    "kl_from_counts",
    "kl_gaussians",
    "kl_monte_carlo",
    "kl_nearest_neighbours",
    "total_variation",
    "variational_bound",
    "wasserstein_1d",
    "wasserstein_gaussians",
]

_CELLS = 2**22  # distances held at once, so that no more than some 100 MB are needed

# --- Finitely many outcomes ----------------------------------------------------------------------


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    """Σ p (log p - log q), where 0 log 0 = 0; neither value nor gradient is NaN."""
    return (p * (torch.where(p > 0, p, 1).log() - torch.where(p > 0, q, 1).log())).sum(-1)


def entropy(p: Float[Tensor, "*batch outcomes"]) -> Float[Tensor, "*batch"]:
    """H(p) = -Σ p log p, in [0, log outcomes]."""
    (p,) = distributions(p=p)
    return at_least_zero(-(p * torch.where(p > 0, p, 1).log()).sum(-1))


def cross_entropy(
    p: Float[Tensor, "*#batch outcomes"], q: Float[Tensor, "*#batch outcomes"]
) -> Float[Tensor, "*#batch"]:
    """H(p, q) = -Σ p log q = H(p) + KL(p ‖ q), in [0, +inf]."""
    p, q = distributions(p=p, q=q)
    return at_least_zero(-(p * torch.where((p > 0) | (q > 0), q, 1).log()).sum(-1))


def kl(
    p: Float[Tensor, "*#batch outcomes"], q: Float[Tensor, "*#batch outcomes"]
) -> Float[Tensor, "*#batch"]:
    """KL(p ‖ q) = Σ p log (p / q), in [0, +inf] (Kullback & Leibler 1951)."""
    p, q = distributions(p=p, q=q)
    return at_least_zero(_relative_entropy(p, q))


def jensen_shannon(
    p: Float[Tensor, "*#batch outcomes"], q: Float[Tensor, "*#batch outcomes"]
) -> Float[Tensor, "*#batch"]:
    """JSD = ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2, in [0, log 2]; √JSD is a metric.

    Lin 1991 (https://doi.org/10.1109/18.61115); Endres & Schindelin 2003.
    """
    p, q = distributions(p=p, q=q)
    # 2p / (p + q), and not p / m: half of the smallest number there is would round to 0.
    both = _relative_entropy(2 * p, p + q) + _relative_entropy(2 * q, p + q)
    return at_least_zero(both / 4)


def total_variation(
    p: Float[Tensor, "*#batch outcomes"], q: Float[Tensor, "*#batch outcomes"]
) -> Float[Tensor, "*#batch"]:
    """TV = ½ Σ \\|p - q\\|, the most by which the probabilities of any event differ, in [0, 1]."""
    p, q = distributions(p=p, q=q)
    return (p - q).abs().sum(-1) / 2


# --- Samples -------------------------------------------------------------------------------------


def _quantiles(name: str, points: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The points in order, and the level up to which each of them is the quantile."""
    if weights is None:
        # Quotients, not sums of 1 / n, so that levels meet exactly where they should: 1/3 = 2/6.
        count = torch.arange(1, len(points) + 1, dtype=points.dtype, device=points.device)
        return points.sort().values, count / len(points)
    (weights,) = distributions(**{f"weights_{name}": weights})
    if weights.shape != points.shape:
        raise ValueError(
            f"weights_{name} must hold one probability for each point of {name}, got "
            f"{tuple(weights.shape)} for {tuple(points.shape)}"
        )
    points, order = points.sort()
    levels = weights[order].cumsum(0)
    return points, levels / levels[-1]


def wasserstein_1d(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " m"],
    order: float | int = 1,
    weights_x: Float[Tensor, " n"] | None = None,
    weights_y: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, ""]:
    """The exact Wasserstein distance W_order of two samples on a line, in units of x.

    (∫ \\|F⁻¹(s) - G⁻¹(s)\\|^order ds)^(1 / order) over levels s from 0 to 1, with the quantile
    functions F⁻¹ and G⁻¹ of the samples (Villani 2003, theorem 2.18). A weight that rounding
    moves by 1e-16 from one point to the next can count for 1e-16^(1 / order) of their distance.

    Args:
        x, y: the samples, which need no common size.
        order: 1 or more.
        weights_x, weights_y: probabilities of the points, with a sum of one; None: all equal.
    """
    checks.check({"order": checks.number(1)}, {"order": order})
    x, y = of_one_type(float_tensor("x", x, "n"), float_tensor("y", y, "m"))
    x, levels_x = _quantiles("x", x, weights_x)
    y, levels_y = _quantiles("y", y, weights_y)
    levels_x, levels_y = of_one_type(levels_x, levels_y)
    levels = torch.cat([levels_x, levels_y]).sort().values
    steps = levels.diff(prepend=levels.new_zeros(1))
    at, steps = levels[steps > 0].detach(), steps[steps > 0]
    gaps = (
        x[torch.searchsorted(levels_x.detach(), at)] - y[torch.searchsorted(levels_y.detach(), at)]
    )
    largest = gaps.detach().abs().amax()
    scale = torch.where(largest > 0, largest, 1)  # or else large powers would overflow
    return scale * torch.linalg.vector_norm(steps ** (1 / order) * (gaps / scale), order)


class Estimate(NamedTuple):
    """A mean over samples and how far it is from the truth by chance."""

    value: Float[Tensor, ""]
    standard_error: Float[Tensor, ""]  # standard deviation of a draw / √n; +inf if the value is


def kl_monte_carlo(log_p: Float[Tensor, " n"], log_q: Float[Tensor, " n"]) -> Estimate:
    """KL(p ‖ q) as the mean of log p(x) - log q(x) over draws x from p; unbiased, maybe negative.

    Args:
        log_p: log densities (or probabilities) of p at n ≥ 2 draws from p.
        log_q: those of q at the same draws; -inf where q is 0, which makes the estimate +inf.
    """
    log_p = float_tensor("log_p", log_p, "n")
    log_q = float_tensor("log_q", log_q, "n", infinite=(-math.inf,))
    if len(log_p) != len(log_q) or len(log_p) < 2:
        raise ValueError(
            "log_p and log_q must be of the same draws from p, at least 2, got "
            f"{len(log_p)} and {len(log_q)}"
        )
    difference = log_p - log_q
    value = difference.mean()
    error = torch.where(value == math.inf, math.inf, difference.std() / math.sqrt(len(log_p)))
    return Estimate(value, error)


def kl_from_counts(
    counts_p: Float[Tensor, "*#batch outcomes"] | Int[Tensor, "*#batch outcomes"],
    counts_q: Float[Tensor, "*#batch outcomes"] | Int[Tensor, "*#batch outcomes"],
    smoothing: float | int = 0.0,
) -> Float[Tensor, "*#batch"]:
    """:func:`kl` of relative frequencies, after ``smoothing`` ≥ 0 is added to every count.

    Without smoothing it is +inf as soon as something in the one sample is missing in the other.
    Whole numbers are counted in float64.
    """
    checks.check({"smoothing": checks.number(0)}, {"smoothing": smoothing})
    frequencies = {}
    for name, counts in {"counts_p": counts_p, "counts_q": counts_q}.items():
        if isinstance(counts, Tensor) and not counts.is_floating_point():
            counts = counts.double()
        counts = float_tensor(name, counts, "...", "outcomes")
        total = (counts + smoothing).sum(-1, keepdim=True)
        if (counts < 0).any() or not (total > 0).all():
            raise ValueError(
                f"{name} must be counts of 0 or more with a positive sum along the last axis, got "
                f"counts from {counts.min():.6g}, sums from {total.min():.6g}; draw some samples "
                "or use smoothing"
            )
        frequencies[name] = (counts + smoothing) / total
    p, q = distributions(**frequencies)
    return at_least_zero(_relative_entropy(p, q))


def kl_nearest_neighbours(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], neighbours: int = 1
) -> Float[Tensor, ""]:
    """KL(p ‖ q) of two densities from samples of both, by distances to the k-th neighbour.

    d / n Σ log (ν / ρ) + log (m / (n - 1)), where ρ is the distance of a point of x to its k-th
    neighbour in x without itself, ν to its k-th neighbour in y: Wang, Kulkarni & Verdú 2009
    (https://doi.org/10.1109/TIT.2009.2016060), for k the same everywhere. Consistent, maybe
    negative, and the slower the higher the dimension.

    Args:
        x: draws from p, more than ``neighbours``.
        y: draws from q, at least ``neighbours``.
        neighbours: k, 1 or more; a larger one has less variance and more bias.
    """
    checks.check({"neighbours": checks.whole(1)}, {"neighbours": neighbours})
    x, y = of_one_type(float_tensor("x", x, "n", "d"), float_tensor("y", y, "m", "d"))
    if x.shape[1] != y.shape[1] or len(x) <= neighbours or len(y) < neighbours:
        raise ValueError(
            f"x and y must be (n, d) and (m, d) with n > neighbours = {neighbours} and m >= "
            f"neighbours, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    total = x.new_zeros(())
    index = torch.arange(len(x), device=x.device)
    for rows in index.split(max(1, _CELLS // max(len(x), len(y)))):
        inner = _distances(x[rows], x).masked_fill(rows[:, None] == index, math.inf)
        own = inner.kthvalue(neighbours, dim=1).values
        other = _distances(x[rows], y).kthvalue(neighbours, dim=1).values
        for name, distance in {"x": own, "y": other}.items():
            if (distance == 0).any():
                raise ValueError(
                    f"{name} holds duplicates of {int((distance == 0).sum())} or more points of x, "
                    "whose distance to a neighbour is 0; the estimate is for samples of densities: "
                    "remove the duplicates, or add noise of the size of the rounding"
                )
        total = total + (other / own).log().sum()
    return x.shape[1] / len(x) * total + math.log(len(y) / (len(x) - 1))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|, never by a difference of rounded squares, in which close points coincide."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
