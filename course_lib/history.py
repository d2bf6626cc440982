"""What a run leaves behind besides its weights: the metrics of every step, and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


class History(Mapping[str, list[float]]):
    """What training recorded: for each metric one number a step.

    ``history["generator_loss"]`` is a list with one float a step and ``history.steps`` is the
    matching list 1, 2, …, so that ``plot(history.steps, history[name])`` works as it stands.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    @property
    def steps(self) -> list[int]:
        return list(range(1, 1 + max((len(v) for v in self._values.values()), default=0)))

    def append(self, metrics: Mapping[str, float]) -> None:
        """Record one step.

        Raises:
            ValueError: if the names differ from those of the first step.
        """
        if self._values and metrics.keys() != self._values.keys():
            raise ValueError(
                f"step returned the metrics {sorted(metrics)}, but earlier steps returned "
                f"{sorted(self._values)}; return the same names in every step"
            )
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)

    def rows(self, first: int = 1) -> list[dict[str, float | int]]:
        """One dict a step from step ``first`` on, the number of the step among its entries."""
        return [
            {"step": step, **{name: values[step - 1] for name, values in self._values.items()}}
            for step in self.steps[first - 1 :]
        ]

    def state_dict(self) -> dict[str, Any]:
        return {k: torch.tensor(v, dtype=torch.float64) for k, v in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._values = {name: values.tolist() for name, values in state.items()}

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self._values.items())
        return f"History({len(self.steps)} steps; last: {last or 'nothing recorded'})"


class Snapshots:
    """Keeps what ``draw`` returns at evenly spaced steps of a training.

    Args:
        draw: returns the samples of the moment, always of one shape and on the CPU.
        number: how many to keep, the first now, the last at step ``steps``; one only: now.
        steps: number of steps of the training; if there are fewer than asked for, all are kept.
    """

    def __init__(self, draw: Callable[[], Tensor], *, number: int, steps: int) -> None:
        if number < 0:
            raise ValueError(f"snapshots must be 0 or more, got {number}")
        self._draw = draw
        self._kept = [draw()[None][:0]]  # none yet, but of the right shape
        self.steps: list[int] = torch.linspace(0, steps, number).round().int().unique().tolist()
        self(0)

    def __call__(self, step: int) -> bool:
        """Keep the samples if ``step`` is one of ``steps``; whether they were kept."""
        if step in self.steps:
            self._kept.append(self._draw()[None])
        return step in self.steps

    @property
    def samples(self) -> Shaped[Tensor, "frames n ..."]:
        return torch.cat(self._kept)

    def state_dict(self) -> dict[str, Any]:
        return {"samples": self.samples}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._kept = [state["samples"]]
