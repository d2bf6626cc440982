"""The one training loop of the course, on Hugging Face Accelerate.

A ``train_*`` function of a model file builds its models and optimisers, writes one readable
``step(batch) -> metrics``, and hands it to :meth:`Trainer.fit`. The step is the algorithm; what
lives here is what every algorithm needs and none is about: device, precision, seed, batches,
progress, the record of the metrics, and a clear stop when a metric is no longer finite.

What made the loop fast on a CPU: the data is one preloaded tensor indexed by a permutation (no
worker processes, no collating of single examples), Adam is fused, no gradient flows into a
network that is not being updated, and metrics are read back once in ``CHECK_EVERY`` steps
instead of in every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from jaxtyping import Shaped
from torch import Tensor, nn

from course_lib.checks import check_training_data, is_whole
from course_lib.progress import progress_bar

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
CHECK_EVERY = 50  # steps between two looks at the metrics; each look waits for the device

_REMEDY = "Try a smaller learning_rate, and check that the data is scaled as the model expects"

Metrics = Mapping[str, Tensor]


class TrainingDivergedError(RuntimeError):
    """A metric (the message names it and the step) or a weight became NaN or infinite."""


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

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self._values.items())
        return f"History({len(self.steps)} steps; last: {last or 'nothing recorded'})"


class Trainer:
    """Device, precision and seed of one training run, in one process.

    Accelerate keeps one state a process and refuses a second precision or device in it. A notebook
    trains several models in turn, so the trainer resets that state, at its start and in
    :meth:`finish`. So use one trainer at a time; an ``Accelerator`` of your own works after
    ``finish``, but one that you made before must be made again.

    Args:
        seed: seeds Python, NumPy and torch, and fixes the order of the data.
        device: "auto" (an accelerator if there is one, else the CPU) or "cpu".
        precision: "fp32", "bf16" or "fp16" (autocast of the models' forward pass).
        progress: show a progress bar; None means only where somebody watches, that is in a
            terminal or a notebook.

    Raises:
        ValueError: for an unknown device or precision, fp16 on a CPU, or a bad seed.
        NotImplementedError: when started as one of several processes.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "fp32",
        progress: bool | None = None,
    ) -> None:
        if device not in ("auto", "cpu"):
            raise ValueError(f"device must be 'auto' or 'cpu', got {device!r}")
        if not is_whole(seed, 0) or seed >= 2**32:
            raise ValueError(f"seed must be a whole number (int) from 0 to 2**32 - 1, got {seed!r}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision=PRECISIONS[precision])
        self.device: torch.device = self.accelerator.device
        if (processes := self.accelerator.num_processes) > 1:
            raise NotImplementedError(
                f"training in several processes is not there yet, but this is one of {processes}; "
                "start the program with python instead of a launcher"
            )
        if precision == "fp16" and self.device.type == "cpu":  # else it would silently be fp32
            raise ValueError("precision 'fp16' needs a GPU; on a CPU use 'bf16' or 'fp32'")
        self.seed = seed
        self.progress = progress
        set_seed(seed)

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        """Move models to the device and wrap models, optimisers and schedules for the precision."""
        return tuple(self.accelerator.prepare(part) for part in parts)

    def finish(self, model: Any) -> Any:
        """The trained model on the CPU, bare, in full precision and in evaluation mode.

        What ``prepare`` added is gone, and so is Accelerate's state: finish when all is trained.

        Raises:
            TrainingDivergedError: when a weight is NaN or infinite, or a buffer holds NaN.
        """
        bare = self.accelerator.unwrap_model(model, keep_fp32_wrapper=False).cpu().eval()
        AcceleratorState._reset_state(reset_partial_state=True)
        spoilt = [name for name, weight in bare.named_parameters() if not weight.isfinite().all()]
        spoilt += [name for name, buffer in bare.named_buffers() if buffer.isnan().any()]
        if spoilt:
            raise TrainingDivergedError(
                f"NaN or infinite values in {', '.join(spoilt)} of the trained "
                f"{type(bare).__name__}: training has diverged. {_REMEDY}"
            )
        return bare

    def minimise(self, loss: Tensor, optimiser: Any) -> None:
        """One gradient step on ``loss`` (a scalar) with respect to the optimiser's parameters."""
        optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimiser.step()

    def fit(
        self,
        step: Callable[..., Metrics],
        *data: Shaped[Tensor, "n ..."],
        batch_size: int,
        steps: int,
        after_step: Callable[[int], None] | None = None,
    ) -> History:
        """Call ``step`` on ``steps`` shuffled batches and record the metrics it returns.

        Every pass over the data uses a new permutation. The short batch at the end of a pass is
        dropped, so that every batch has exactly ``batch_size`` examples.

        Args:
            step: one update of the model. Gets one batch of each tensor in ``data`` and returns
                scalar tensors by name (detached or not).
            data: one or more tensors with the examples along the first axis, for instance images
                and their labels. They are moved to the device once and shuffled together.
            batch_size: examples a batch, between 1 and the number of examples.
            steps: number of batches, 0 or more.
            after_step: called with the step's number 1 … ``steps`` after each step.

        Returns:
            The history, one number a step for each metric.

        Raises:
            ValueError: for empty data, values that are not finite, a batch size or a number of
                steps out of range, or a step that returns anything but scalar tensors by name.
            TrainingDivergedError: when a metric is not finite; names the first such step.
        """
        for tensor in data:
            check_training_data(tensor)
        counts = [len(tensor) for tensor in data]
        if len(set(counts)) != 1:
            raise ValueError(
                "data must be one or more tensors with the same number of examples, got the "
                f"numbers {counts}"
            )
        examples = counts[0]
        if not 1 <= batch_size <= examples:
            raise ValueError(
                f"batch_size must be between 1 and the number of examples, {examples}; "
                f"got {batch_size}"
            )
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, got {steps}")
        history = History()
        pending: list[Metrics] = []
        data = tuple(tensor.to(self.device) for tensor in data)
        with progress_bar(steps, self.progress) as bar:
            for number, batch in enumerate(self._batches(data, batch_size, steps), start=1):
                pending.append(_detached(step(*batch)))
                if after_step is not None:
                    after_step(number)
                if len(pending) == CHECK_EVERY or number == steps:
                    self._record(pending, history)
                    bar.update(len(pending))
                    pending = []
        return history

    def _batches(
        self, data: tuple[Tensor, ...], batch_size: int, steps: int
    ) -> Iterator[tuple[Tensor, ...]]:
        order_of_data = torch.Generator().manual_seed(self.seed)
        batches_a_pass = len(data[0]) // batch_size
        for number in range(steps):
            position = number % batches_a_pass
            if position == 0:
                order = torch.randperm(len(data[0]), generator=order_of_data).to(self.device)
            index = order[position * batch_size : (position + 1) * batch_size]
            yield tuple(tensor[index] for tensor in data)

    def _record(self, pending: list[Metrics], history: History) -> None:
        metrics = [value for row in pending for value in row.values()]
        # No conversion: float64 must not overflow.
        values = iter(torch.stack(metrics).tolist() if metrics else [])
        for row in pending:
            numbers = {name: float(next(values)) for name in row}
            history.append(numbers)
            for name, number in numbers.items():
                if not math.isfinite(number):
                    raise TrainingDivergedError(
                        f"{name} is {number} at step {len(history.steps)}: training has diverged. "
                        f"{_REMEDY}"
                    )


def _detached(metrics: object) -> Metrics:
    """What a step returned, without gradients; a ValueError unless it is scalar tensors by name."""
    if not isinstance(metrics, Mapping):
        raise ValueError(
            'step must return a mapping of scalar tensors such as {"loss": loss}, got '
            f"{type(metrics).__name__}"
        )
    for name, value in metrics.items():
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
            raise ValueError(
                f"step must return scalar tensors, but {name!r} is {got}; return the tensor itself "
                "(not .item()), with .mean() where it has a shape"
            )
    return {name: value.detach().reshape(()) for name, value in metrics.items()}


class Snapshots:
    """Keeps what ``draw`` returns at evenly spaced steps; an ``after_step`` for the trainer.

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

    def __call__(self, step: int) -> None:
        if step in self.steps:
            self._kept.append(self._draw()[None])

    @property
    def samples(self) -> Shaped[Tensor, "frames n ..."]:
        return torch.cat(self._kept)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within the block no gradient is computed for the parameters of ``model``.

    Gradients still flow *through* it to its input. The generator's update needs just that, and
    leaving out the discriminator's parameter gradients saves half of its backward pass.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block ``model`` is in evaluation mode and no gradient is recorded."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
