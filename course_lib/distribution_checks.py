"""Checks of distributions and samples, for the divergences between them."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

# By how much a sum of probabilities may miss one, and a covariance its transpose.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}


def float_tensor(name: str, values: object, *axes: str, infinite: tuple[float, ...] = ()) -> Tensor:
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


def check_batches(**shapes: torch.Size) -> None:
    """Raise ValueError unless these leading axes broadcast."""
    try:
        torch.broadcast_shapes(*shapes.values())
    except RuntimeError:
        listed = ", ".join(f"{name}: {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(
            f"the leading axes must broadcast, got {listed}; insert axes of size 1"
        ) from None


def distributions(**given: Any) -> list[Tensor]:
    """Probabilities along the last axis, in float32 or wider; ValueError if they are none."""
    found = [float_tensor(name, p, "...", "outcomes") for name, p in given.items()]
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
    check_batches(**{name: p.shape[:-1] for name, p in given.items()})
    return found


def at_least_zero(value: Tensor) -> Tensor:
    """Without the -1e-17 that rounding leaves, whose root is NaN; the gradient stays."""
    return value - value.detach().clamp(max=0)


def of_one_type(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the widest of their types."""
    dtype = reduce(torch.promote_types, [tensor.dtype for tensor in tensors])
    return [tensor.to(dtype) for tensor in tensors]
