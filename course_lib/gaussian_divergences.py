"""Divergences of two Gaussians, in closed form.

Means are (..., d), covariances (..., d, d); leading axes broadcast. Types narrower than float32 are
taken as float32. What :mod:`course_lib.divergences` says of gradients and errors holds here too; it
offers both functions as well.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from course_lib.distribution_checks import (
    TOLERANCES,
    at_least_zero,
    check_batches,
    float_tensor,
    of_one_type,
)


def _gaussians(**given: Any) -> list[Tensor]:
    """Means (..., d) and covariances (..., d, d), of one type; ValueError if they do not fit."""
    axes = {name: ("d", "d")[: 1 + name.startswith("covariance")] for name in given}
    found = of_one_type(*[float_tensor(name, x, "...", *axes[name]) for name, x in given.items()])
    d = found[0].shape[-1]
    if d == 0 or any(
        x.shape[-len(axes[name]) :] != len(axes[name]) * (d,) for name, x in given.items()
    ):
        shapes = ", ".join(f"{name}: {tuple(x.shape)}" for name, x in given.items())
        raise ValueError(
            f"means must be (..., d) and covariances (..., d, d) with the same d, got {shapes}; "
            "for plain numbers use mean[..., None] and variance[..., None, None]"
        )
    for name in ("covariance_p", "covariance_q"):
        x = given[name].detach()
        gap, size = (x - x.mT).abs().amax((-2, -1)), x.abs().amax((-2, -1))
        if (gap > TOLERANCES[x.dtype] * size).any():
            raise ValueError(
                f"{name} must be symmetric, but its transpose differs by {float(gap.max()):.3g}; "
                f"use ({name} + {name}.mT) / 2"
            )
    check_batches(**{name: x.shape[: -len(axes[name])] for name, x in given.items()})
    return found


def kl_gaussians(
    mean_p: Float[Tensor, "*#batch d"],
    covariance_p: Float[Tensor, "*#batch d d"],
    mean_q: Float[Tensor, "*#batch d"],
    covariance_q: Float[Tensor, "*#batch d d"],
) -> Float[Tensor, "*#batch"]:
    """KL(p ‖ q) of two Gaussians, both with a positive definite covariance; in [0, +inf).

    ½ (tr Σq⁻¹Σp + (μq - μp)ᵀ Σq⁻¹ (μq - μp) - d + log det Σq - log det Σp).
    """
    mean_p, covariance_p, mean_q, covariance_q = _gaussians(
        mean_p=mean_p, covariance_p=covariance_p, mean_q=mean_q, covariance_q=covariance_q
    )
    factors = []
    for name, covariance in {"covariance_p": covariance_p, "covariance_q": covariance_q}.items():
        factor, info = torch.linalg.cholesky_ex(covariance)
        if info.any():
            smallest = float(torch.linalg.eigvalsh(covariance).min())
            raise ValueError(
                f"{name} must be positive definite, for a Gaussian without a density has no finite "
                f"divergence; its smallest eigenvalue is {smallest:.3g}; add a small multiple of "
                "the identity"
            )
        factors.append(factor)
    of_p, of_q = factors
    whitened = torch.linalg.solve_triangular(of_q, of_p, upper=False)
    shift = torch.linalg.solve_triangular(of_q, (mean_q - mean_p)[..., None], upper=False)
    logarithms = [factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) for factor in factors]
    squares = whitened.square().sum((-2, -1)) + shift.square().sum((-2, -1))
    return at_least_zero((squares - mean_p.shape[-1]) / 2 + logarithms[1] - logarithms[0])


def _root(name: str, covariance: Tensor) -> Tensor:
    """A matrix L with L Lᵀ = covariance, which may be singular; ValueError if it is none."""
    singular = (torch.linalg.cholesky_ex(covariance).info > 0)[..., None, None]
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    root = torch.linalg.cholesky(torch.where(singular, identity, covariance))
    if singular.any():
        values, vectors = torch.linalg.eigh(covariance.detach())
        if (values[..., 0] < -TOLERANCES[values.dtype] * values[..., -1].abs()).any():
            raise ValueError(
                f"{name} must have no negative eigenvalue, got {float(values.min()):.3g}; estimate "
                "it as (x - mean).T @ (x - mean) / n"
            )
        root = torch.where(singular, vectors * values.clamp(min=0).sqrt()[..., None, :], root)
    return root


def wasserstein_gaussians(
    mean_p: Float[Tensor, "*#batch d"],
    covariance_p: Float[Tensor, "*#batch d d"],
    mean_q: Float[Tensor, "*#batch d"],
    covariance_q: Float[Tensor, "*#batch d d"],
) -> Float[Tensor, "*#batch"]:
    """The 2-Wasserstein distance of two Gaussians, in units of x; covariances may be singular.

    Its square is \\|μp - μq\\|² + tr (Σp + Σq - 2 (Σq^½ Σp Σq^½)^½): Dowson & Landau 1982, Olkin &
    Pukelsheim 1982. A singular covariance counts as a constant for the gradient.
    """
    mean_p, covariance_p, mean_q, covariance_q = _gaussians(
        mean_p=mean_p, covariance_p=covariance_p, mean_q=mean_q, covariance_q=covariance_q
    )
    of_p, of_q = _root("covariance_p", covariance_p), _root("covariance_q", covariance_q)
    # With Σ = L Lᵀ the trace is the smallest |Lp - Lq U|² of all orthogonal U. This difference
    # keeps small distances exact, and at its minimum a change of U changes nothing: no gradient.
    with torch.no_grad():
        left, _, right = torch.linalg.svd(of_q.mT @ of_p)
    gap, shift = (of_p - of_q @ (left @ right)).flatten(-2), mean_p - mean_q
    batch = torch.broadcast_shapes(gap.shape[:-1], shift.shape[:-1])
    parts = [part.expand(*batch, -1) for part in (shift, gap)]
    return torch.linalg.vector_norm(torch.cat(parts, -1), dim=-1)
