"""What a run leaves behind besides its weights: the metrics of every step, and snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from course_lib import checks


class History(Mapping[str, list[float]]):
    """What training recorded: for each metric one number a step.

    ``history["generator_loss"]`` is a list with one float a step and ``history.steps`` is the
    matching list 1, 2, …, so that ``plot(history.steps, history[name])`` works as it stands.
    """

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._count = 0  # of steps

    @property
    def steps(self) -> list[int]:
        return list(range(1, 1 + self._count))

    def append(self, metrics: Mapping[str, float]) -> None:
        """Record one step.

        Raises:
            ValueError: if the names differ from those of the first step.
        """
        if self._count and metrics.keys() != self._values.keys():
            raise ValueError(
                f"step returned the metrics {sorted(metrics)}, but earlier steps returned "
                f"{sorted(self._values)}; return the same names in every step"
            )
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)
        self._count += 1

    def rows(self, first: int = 1) -> list[dict[str, float | int]]:
        """One dict a step from step ``first`` on, the number of the step among its entries."""
        return [
            {"step": step, **{name: values[step - 1] for name, values in self._values.items()}}
            for step in range(first, 1 + self._count)
        ]

    def state_dict(self) -> dict[str, Any]:
        values = {k: torch.tensor(v, dtype=torch.float64) for k, v in self._values.items()}
        return {"count": self._count, "values": values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._values = {name: values.tolist() for name, values in state["values"].items()}
        self._count = state["count"]

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self._values.items())
        return f"History({self._count} steps; last: {last or 'nothing recorded'})"


class Snapshots:
    """Keeps samples of a model at evenly spaced steps of its training.

    Args:
        draw: returns that many samples of the moment, always of one shape and on the CPU.
        number: how many sets to keep, the first now, the last at step ``steps``; one only: now.
        size: samples in a set.
        steps: number of steps of the training; if there are fewer than asked for, all are kept.

    Raises:
        ValueError: for a number or a size out of range.
    """

    def __init__(
        self, draw: Callable[[int], Tensor], *, number: int, size: int, steps: int
    ) -> None:
        rules = {"snapshots": checks.whole(0), "snapshot_size": checks.whole(1)}
        checks.check(rules, {"snapshots": number, "snapshot_size": size})
        self._draw, self._size = draw, size
        self._kept: list[Tensor] = []
        self.steps: list[int] = torch.linspace(0, steps, number).round().int().unique().tolist()
        self(0)

    def __call__(self, step: int) -> bool:
        """Keep the samples if ``step`` is one of ``steps``; whether they were kept."""
        if step in self.steps:
            self._kept.append(self._draw(self._size))
        return step in self.steps

    @property
    def samples(self) -> Shaped[Tensor, "frames n ..."]:
        """The sets that were kept; if there are none, of the right shape all the same."""
        return torch.stack(self._kept) if self._kept else self._draw(self._size)[None][:0]

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "samples": self._kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the sets of a saved state; a ValueError if they are of another kind."""
        kinds = [
            f"{[tuple(samples.shape) for samples in kept[:1]]} at steps {steps}"
            for kept, steps in ((state["samples"], state["steps"]), (self._kept, self.steps))
        ]
        if kinds[0] != kinds[1]:
            raise ValueError(f"its snapshots are {kinds[0]}, those of the training {kinds[1]}")
        self._kept = list(state["samples"])
