"""The saved state of a run: what is in it, and how a training goes on from it to the last bit."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor

from course_lib.engine import Engine
from course_lib.history import History, Snapshots
from course_lib.runs import Run, RunError

FORMAT = 2  # of the saved state


class Resumable(Engine):
    """An engine whose whole state a run's folder can hold.

    The arguments are those of :class:`course_lib.training.Trainer`.
    """

    def __init__(self, *, run: Run | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._run = run
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on the run so far, that before it was resumed included."""
        return time.monotonic() - self._began

    def _start(
        self,
        parts: list[Any],
        settings: Mapping[str, Any],
        steps: int,
        history: History,
        snapshots: Snapshots | None,
    ) -> int:
        """Load the run's state if there is one; the number of steps that are done."""
        state = None
        if self._run is not None:
            box = [self._run.load_state() if self.is_main else None]
            if self.processes > 1:
                broadcast_object_list(box)  # the other machines may not see the folder
            state = box[0]
        if state is None:
            # Its own chance for dropout in each process; the noise of randn is shared.
            if self.rank > 0:
                self._own_chance(0)
        else:
            self._load(parts, settings, steps, state)
        if self._run is not None and self.is_main:
            self._run.log(history, anew=True)
            if state is None and snapshots is not None and snapshots.steps:
                self._run.keep_samples(snapshots.samples[0], 0)
        return 0 if state is None else state["step"]

    def _save(self, parts: list[Any], settings: Mapping[str, Any], number: int) -> None:
        chance = [_random_state(self.device)]
        if self.processes > 1:
            chance = gather_object(chance)
        if self._run is not None and self.is_main:
            self._run.save_state(
                {
                    "format": FORMAT,
                    "settings": dict(settings),
                    "step": number,
                    "seconds": self.seconds,
                    "parts": [[type(part).__name__, part.state_dict()] for part in parts],
                    "scalers": [scaler.state_dict() for scaler in self._scalers.values()],
                    "noise": self._noise.get_state(),
                    "random": chance,
                }
            )

    def _load(self, parts: list[Any], settings: Mapping[str, Any], steps: int, state: Any) -> None:
        if not isinstance(state, Mapping) or state.get("format") != FORMAT:
            raise RunError(
                "the saved state is of another version of this library; train in another folder"
            )
        kept = state["settings"]
        if different := [name for name in settings if settings[name] != kept[name]]:
            pairs = (f"{name} {kept[name]}, now {settings[name]}" for name in different)
            raise RunError(
                f"the saved state is of a training with {'; '.join(pairs)}; ask for the same, or "
                "train in another folder"
            )
        if state["step"] > steps:
            raise RunError(
                f"the saved state is of step {state['step']}, but the training ends at {steps}; "
                "ask for more steps, or train in another folder"
            )
        kinds = [type(part).__name__ for part in parts]
        kept = [kind for kind, _ in state["parts"]]
        if kinds != kept:
            raise RunError(f"the saved state is of {kept}, but the training has {kinds}")
        try:
            for part, (_, content) in zip(parts, state["parts"], strict=True):
                part.load_state_dict(content)
                if isinstance(part, torch.optim.Optimizer):
                    _restore_strides(part)
        except (RuntimeError, ValueError, KeyError) as error:
            raise RunError(f"the saved state does not fit the model: {error}") from error
        for scaler, content in zip(self._scalers.values(), state["scalers"], strict=True):
            scaler.load_state_dict(content)
        self._began = time.monotonic() - state["seconds"]
        self._noise.set_state(state["noise"])
        if len(state["random"]) != self.processes:
            warnings.warn(
                f"the state was saved by {len(state['random'])} processes, there are "
                f"{self.processes} now: training goes on, but not with the same random numbers",
                stacklevel=4,
            )
        if self.rank < len(state["random"]):
            _set_random_state(state["random"][self.rank], self.device)
        else:
            self._own_chance(state["step"])

    def _own_chance(self, step: int) -> None:
        """Seed everything but ``randn`` for this process alone."""
        # Not seed + 2**32 * rank: torch's generator of the CPU uses only the last 32 bits.
        mixed = np.random.SeedSequence([self.seed, self.rank, step]).generate_state(1)
        set_seed(int(mixed[0]))


def _restore_strides(optimiser: torch.optim.Optimizer) -> None:
    """Lay the moments out in memory like their weights; fused optimisers rely on it."""
    for weight, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _random_state(device: torch.device) -> dict[str, Any]:
    """The state of every source of chance that training may use."""
    own = np.random.get_state(legacy=False)
    state = {
        "python": random.getstate(),
        "numpy": {**own, "state": {**own["state"], "key": own["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def _set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    random.setstate(state["python"])
    inner = state["numpy"]["state"]
    key = np.array(inner["key"], dtype=np.uint32)
    np.random.set_state({**state["numpy"], "state": {**inner, "key": key}})
    torch.set_rng_state(state["torch"])
    if device.type != "cpu" and "device" in state:
        torch.get_device_module(device).set_rng_state(state["device"], device)
