"""f-divergences D_f(p ‖ q) = E_q[f(p / q)], their variational bound, and checks of distributions.

For distributions over finitely many outcomes, with the conventions of
:mod:`course_lib.divergences`, which offers everything here as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib import checks

# By how much a sum of probabilities may miss one, and a covariance its transpose.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}

# --- Checks --------------------------------------------------------------------------------------


def _tensor(name: str, values: object, *axes: str, infinite: tuple[float, ...] = ()) -> Tensor:
    """``values`` in float32 or wider; ValueError unless a float tensor of such axes, all finite.

    Leading axes "..." may be any number and may be empty. ``infinite`` lists what else is good.
    """
    if not isinstance(values, Tensor) or values.dtype not in TOLERANCES:
        came = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"{name} must be a floating-point tensor, got {came}; use {name}.double(), or "
            "torch.tensor(values, dtype=torch.float64) for a list"
        )
    least = len(axes) - (axes[0] == "...")
    if values.ndim < least or (axes[0] != "..." and (values.ndim > least or not values.numel())):
        raise ValueError(
            f"{name} must have the shape ({', '.join(axes)}{',' * (len(axes) == 1)}) and not be "
            f"empty, got {tuple(values.shape)}"
        )
    bad = ~values.isfinite()
    for value in infinite:
        bad &= values != value
    if bad.any():
        raise ValueError(
            f"{name} holds NaN or infinite values, {int(bad.sum())} of {values.numel()}; find "
            "where they arise (0 / 0, log of a negative number), or leave them out"
        )
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_batches(**shapes: torch.Size) -> None:
    """Raise ValueError unless these leading axes broadcast."""
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        listed = ", ".join(f"{name}: {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"the leading axes must broadcast, got {listed}; insert axes of size 1"
        ) from None


def _distributions(**given: Any) -> list[Tensor]:
    """Probabilities along the last axis, in float32 or wider; ValueError if they are none."""
    found = [_tensor(name, p, "...", "outcomes") for name, p in given.items()]
    for (name, original), p in zip(given.items(), found, strict=True):
        if (p < 0).any():
            raise ValueError(
                f"{name} must not be negative, got {float(p.min()):.6g}; a logit becomes a "
                f"probability by {name}.softmax(-1)"
            )
        sums = p.detach().sum(-1)
        off = (sums - 1).abs() > TOLERANCES[original.dtype]
        if off.any():
            raise ValueError(
                f"{name} must sum to one along the last axis, got {float(sums[off][0]):.10g}; "
                f"divide by {name}.sum(-1, keepdim=True)"
            )
    if len({p.shape[-1] for p in found}) > 1:
        shapes = ", ".join(f"{name}: {tuple(p.shape)}" for name, p in given.items())
        raise ValueError(
            f"there must be the same outcomes along the last axis, got {shapes}; give an outcome "
            "that one of them lacks the probability 0"
        )
    _check_batches(**{name: p.shape[:-1] for name, p in given.items()})
    return found


def _at_least_zero(value: Tensor) -> Tensor:
    """Without the -1e-17 that rounding leaves, whose root is NaN; the gradient stays."""
    return value - value.detach().clamp(max=0)


# --- The divergences -----------------------------------------------------------------------------


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
    p, q = torch.broadcast_tensors(*_distributions(p=p, q=q))
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
    return _at_least_zero(terms.sum(-1))


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
    critic_p = _tensor("critic_p", critic_p, "n", infinite=(-math.inf, math.inf))
    critic_q = _tensor("critic_q", critic_q, "m", infinite=(-math.inf, math.inf))
    penalty = F_DIVERGENCES[name].conjugate(critic_q).mean()
    return torch.where(penalty == math.inf, -math.inf, critic_p.mean() - penalty)
