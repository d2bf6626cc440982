"""Presets: the named settings of a model, and how to change some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

ConfigType = TypeVar("ConfigType")


def configure(
    presets: Mapping[str, ConfigType], preset: str, changes: Mapping[str, object]
) -> ConfigType:
    """The preset's config, a frozen dataclass, with some fields changed.

    Raises:
        ValueError: for an unknown preset or setting, or a value that the config refuses.
    """
    if preset not in presets:
        raise ValueError(f"preset must be one of {list(presets)}, got {preset!r}")
    config: Any = presets[preset]
    known = [field.name for field in fields(config)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"unknown settings {unknown}; the settings are {known}")
    return replace(config, **changes)
