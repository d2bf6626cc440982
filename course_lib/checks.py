"""Checks of input: what a function was given, against what it can use, before it is used.

A failed check is a ValueError that names the argument, what came and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

# --- Settings ------------------------------------------------------------------------------------

Rule = tuple[Callable[[object], bool], str]  # whether a value is good, and what is expected


def is_whole(value: object, least: int) -> bool:
    """Whether ``value`` is an int, ``least`` or more; True and NumPy's integers are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object, least: float | int, below: float | int) -> bool:
    """Whether ``value`` is a float or an int in [least, below); NaN never is."""
    if not isinstance(value, float | int) or isinstance(value, bool):
        return False
    return least <= float(value) < below


def whole(least: int) -> Rule:
    """A whole number, ``least`` or more."""
    return lambda value: is_whole(value, least), f"a whole number (int), {least} or more"


def number(least: float | int, below: float | int = math.inf) -> Rule:
    """A finite number in [least, below)."""
    end = " or more" if below == math.inf else f" or more and less than {below}"
    expected = f"a finite number (float or int), {least}{end}"
    return lambda value: is_number(value, least, below), expected


def share() -> Rule:
    """A number in [0, 1], both ends included."""
    return (
        lambda value: is_number(value, 0, math.inf) and value <= 1,
        "a number (float or int) from 0 to 1",
    )


def truth() -> Rule:
    """True or False."""
    return lambda value: isinstance(value, bool), "True or False"


def widths() -> Rule:
    """The widths of hidden layers; there may be none."""
    return (
        lambda value: isinstance(value, tuple) and all(is_whole(width, 1) for width in value),
        "a tuple of whole numbers, each 1 or more, such as (128, 64)",
    )


def one_of(values: Iterable[str]) -> Rule:
    """One of these values."""
    return lambda value: value in list(values), f"one of {list(values)}"


def pair(rule: Rule) -> Rule:
    """Two values, each of which fits ``rule``."""
    good, expected = rule
    return (
        lambda value: isinstance(value, tuple) and len(value) == 2 and all(map(good, value)),
        f"a pair (a, b), each {expected}",
    )


def optional(rule: Rule) -> Rule:
    """None, or what fits ``rule``."""
    good, expected = rule
    return lambda value: value is None or good(value), f"None, or {expected}"


def check(rules: Mapping[str, Rule], values: Mapping[str, object]) -> None:
    """Raise ValueError unless every value fits the rule of its name; names the first that does not.

    Args:
        rules: name -> rule.
        values: name -> value, for each name in ``rules``.
    """
    for name, (good, expected) in rules.items():
        if not good(values[name]):
            raise ValueError(f"{name} must be {expected}; got {values[name]!r}")


# --- Data ----------------------------------------------------------------------------------------


def check_training_data(data: Tensor, name: str = "data") -> None:
    """Raise ValueError unless ``data`` has at least one example and only finite values."""
    if data.ndim == 0 or data.numel() == 0:
        raise ValueError(
            f"{name} must be a tensor of at least one example with the examples along the first "
            f"axis, got shape {tuple(data.shape)}"
        )
    if data.is_floating_point():
        bad = ~torch.isfinite(data).reshape(len(data), -1).all(dim=1)
        if bad.any():
            raise ValueError(
                f"{name} holds NaN or infinite values in {int(bad.sum())} of {len(data)} examples, "
                f"the first at index {int(bad.nonzero()[0])}; remove or repair these examples"
            )


def check_samples(data: object, *, bounded: bool, name: str = "data") -> None:
    """Raise ValueError unless ``data`` is float (n, ...) and finite; if ``bounded``, in [-1, 1].

    The bounds may be exceeded by 0.001, for rounding. ``name`` is what messages call the data.
    """
    if not isinstance(data, Tensor):
        raise ValueError(
            f"{name} must be a float tensor (n, ...), got {type(data).__name__}; for a NumPy array "
            "use torch.from_numpy(array).float(), for a list torch.tensor(values)"
        )
    if data.ndim < 2 or not data.is_floating_point():
        raise ValueError(
            f"{name} must be a float tensor (n, ...) with a shape for each sample, got {data.dtype}"
            f" {tuple(data.shape)}; use {name}.float(), and {name}[:, None] for plain numbers"
        )
    check_training_data(data, name)
    low, high = (float(bound) for bound in data.detach().aminmax())
    if bounded and not -1.001 <= low <= high <= 1.001:
        raise ValueError(
            f"{name} must lie in [-1, 1], but spans [{low:.4g}, {high:.4g}]; rescale it (bytes: "
            "x / 127.5 - 1), or, to train a model whose samples know no bounds, pass bounded=False"
        )
