"""f-divergences D_f(p ‖ q) = E_q[f(p / q)], and their variational bound.

For distributions over finitely many outcomes, with the conventions of
:mod:`course_lib.divergences`, which offers everything here as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib import checks
from course_lib.distribution_checks import at_least_zero, distributions, float_tensor


@dataclass(frozen=True)
class FDivergence:
    """A convex f with f(1) = 0, which defines D_f(p ‖ q) = E_q[f(p / q)], and what belongs to it.

    Ali & Silvey 1966, Csiszár 1967. ``F_DIVERGENCES`` holds, by name:

    - "kl": u log u, for KL(p ‖ q);
    - "reverse kl": -log u, for KL(q ‖ p);
    - "jensen-shannon": ½ (u log u - (u + 1) log ((u + 1) / 2)), for
      :func:`~course_lib.divergences.jensen_shannon`;
    - "total variation": ½ \\|u - 1\\|, for :func:`~course_lib.divergences.total_variation`;
    - "squared hellinger": ½ (√u - 1)², for ½ Σ (√p - √q)²;
    - "pearson chi2": (u - 1)², for Σ (p - q)² / q;
    - "neyman chi2": (1 - u)² / u, for Σ (p - q)² / p.
    """

    f: Callable[[Tensor], Tensor]  # of u = p / q, from 0 on
    slope: Callable[[Tensor], Tensor]  # f'(u); at a kink, a slope between those on both sides
    conjugate: Callable[[Tensor], Tensor]  # f*(t) = sup of u t - f(u) over u ≥ 0; maybe +inf
    at_zero: float  # f(0)
    slope_at_infinity: float  # the limit of f(u) / u; f* is +inf beyond it


def _up_to(limit: float, conjugate: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``conjugate`` up to ``limit``, where it must hold itself, and +inf beyond."""

    def extended(t: Tensor) -> Tensor:
        inside = t <= limit
        # A NaN outside would spoil the gradient although its value is not chosen.
        return torch.where(inside, conjugate(torch.where(inside, t, limit - 1)), math.inf)

    return extended


_LOG_2 = math.log(2)

F_DIVERGENCES: dict[str, FDivergence] = {
    "kl": FDivergence(
        f=lambda u: -torch.special.entr(u),
        slope=lambda u: u.log() + 1,
        conjugate=lambda t: (t - 1).exp(),
        at_zero=0.0,
        slope_at_infinity=math.inf,
    ),
    "reverse kl": FDivergence(
        f=lambda u: -u.log(),
        slope=lambda u: -1 / u,
        conjugate=_up_to(0.0, lambda t: -1 - (-t).log()),
        at_zero=math.inf,
        slope_at_infinity=0.0,
    ),
    "jensen-shannon": FDivergence(
        f=lambda u: torch.special.entr((u + 1) / 2) - torch.special.entr(u) / 2,
        slope=lambda u: (_LOG_2 - (1 / u).log1p()) / 2,
        # -½ log (2 - exp 2t), but without rounding errors where that tends to infinity
        conjugate=_up_to(_LOG_2 / 2, lambda t: -((-(2 * t - _LOG_2).expm1()).log() + _LOG_2) / 2),
        at_zero=_LOG_2 / 2,
        slope_at_infinity=_LOG_2 / 2,
    ),
    "total variation": FDivergence(
        f=lambda u: (u - 1).abs() / 2,
        slope=lambda u: (u - 1).sign() / 2,
        conjugate=_up_to(0.5, lambda t: t.clamp(min=-0.5)),
        at_zero=0.5,
        slope_at_infinity=0.5,
    ),
    "squared hellinger": FDivergence(
        f=lambda u: (u.sqrt() - 1).square() / 2,
        slope=lambda u: (1 - u.rsqrt()) / 2,
        conjugate=_up_to(0.5, lambda t: 0.5 / (1 - 2 * t) - 0.5),
        at_zero=0.5,
        slope_at_infinity=0.5,
    ),
    "pearson chi2": FDivergence(
        f=lambda u: (u - 1).square(),
        slope=lambda u: 2 * (u - 1),
        conjugate=lambda t: (t.clamp(min=-2) / 2 + 1).square() - 1,
        at_zero=1.0,
        slope_at_infinity=math.inf,
    ),
    "neyman chi2": FDivergence(
        f=lambda u: (1 - u).square() / u,
        slope=lambda u: 1 - u.pow(-2),
        conjugate=_up_to(1.0, lambda t: 2 - 2 * (1 - t).sqrt()),
        at_zero=math.inf,
        slope_at_infinity=1.0,
    ),
}


def _product(x: Tensor, constant: float) -> Tensor:
    """x · constant, where 0 · inf = 0 and has no gradient."""
    if math.isfinite(constant):
        return x * constant
    return torch.where(x > 0, constant, x.new_zeros(()))


def f_divergence(
    p: Float[Tensor, "*#batch outcomes"], q: Float[Tensor, "*#batch outcomes"], name: str
) -> Float[Tensor, "*#batch"]:
    """D_f(p ‖ q) = Σ q f(p / q), for the f of that name in ``F_DIVERGENCES``.

    Where p = 0 the term is q f(0), and where q = 0, or p / q is too large a number, it is p times
    the slope of f at infinity.
    """
    checks.check({"name": checks.one_of(F_DIVERGENCES)}, {"name": name})
    p, q = torch.broadcast_tensors(*distributions(p=p, q=q))
    chosen = F_DIVERGENCES[name]
    quotient = p.detach() / q.detach()
    inside = (quotient > 0) & quotient.isfinite()
    ratio = torch.where(inside, p, 1) / torch.where(inside, q, 1)
    # The second products are 0. They carry the derivatives by p at 0 and by q at 0; in general
    # those are f'(p / q) and -f*(f'(p / q)).
    slope = float(chosen.slope(p.new_zeros(())))
    at_infinity = -float(chosen.conjugate(p.new_tensor(chosen.slope_at_infinity)))
    left = _product(q, chosen.at_zero) + (p * slope if math.isfinite(slope) else 0)
    right = _product(p, chosen.slope_at_infinity)
    right = right + (q * at_infinity if math.isfinite(at_infinity) else 0)
    terms = torch.where(inside, q * chosen.f(ratio), torch.where(p == 0, left, right))
    return at_least_zero(terms.sum(-1))


def variational_bound(
    critic_p: Float[Tensor, " n"], critic_q: Float[Tensor, " m"], name: str
) -> Float[Tensor, ""]:
    """mean of T over samples of p - mean of f*(T) over samples of q: at most D_f(p ‖ q) on average.

    Nguyen, Wainwright & Jordan 2010 (arXiv 0809.0853); Nowozin, Cseke & Tomioka 2016
    (arXiv 1606.00709), equation 4. The best critic is T = f'(p / q), with which both are equal. A
    critic that leaves the domain of f* on a sample of q earns -inf.

    Args:
        critic_p: the critic's values T(x) at samples of p.
        critic_q: the critic's values at samples of q.
        name: of f in ``F_DIVERGENCES``.
    """
    checks.check({"name": checks.one_of(F_DIVERGENCES)}, {"name": name})
    critic_p = float_tensor("critic_p", critic_p, "n", infinite=(-math.inf, math.inf))
    critic_q = float_tensor("critic_q", critic_q, "m", infinite=(-math.inf, math.inf))
    penalty = F_DIVERGENCES[name].conjugate(critic_q).mean()
    return torch.where(penalty == math.inf, -math.inf, critic_p.mean() - penalty)
