"""Presets are frozen settings by name, and a change of them is checked."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from course_lib.presets import configure


@dataclass(frozen=True)
class Config:
    steps: int
    width: int = 3

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, got {self.steps}")


PRESETS = {"tiny": Config(steps=5), "full": Config(steps=100, width=9)}


def test_a_preset_is_taken_as_it_is_or_changed() -> None:
    assert configure(PRESETS, "tiny", {}) == Config(steps=5, width=3)
    assert configure(PRESETS, "full", {"steps": 7}) == Config(steps=7, width=9)
    assert list(PRESETS.values()) == [Config(steps=5), Config(steps=100, width=9)]
    with pytest.raises(FrozenInstanceError):
        configure(PRESETS, "tiny", {}).steps = 1  # type: ignore[misc]


def test_unknown_presets_and_settings_and_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"preset must be one of \['tiny', 'full'\], got 'big'"):
        configure(PRESETS, "big", {})
    message = r"unknown settings \['depth', 'step'\]; the settings are \['steps', 'width'\]"
    with pytest.raises(ValueError, match=message):
        configure(PRESETS, "tiny", {"step": 1, "width": 1, "depth": 2})
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        configure(PRESETS, "tiny", {"steps": -1})
