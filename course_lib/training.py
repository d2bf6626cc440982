"""The one training loop of the course: any device, any precision, killed and resumed, and fast.

A ``train_*`` function of a model file builds its models and optimisers, writes one readable
``step(batch) -> metrics``, and hands it to :meth:`Trainer.fit`. The step is the algorithm; what
lives here, in :mod:`course_lib.engine` and in :mod:`course_lib.resume` is what every algorithm
needs and none is about: device, precision, processes, seed, batches, gradient steps, progress, the
record of the metrics, the saved state of a run, and a clear stop when a metric is no longer finite.

What made the loop fast on a CPU: the data is one preloaded tensor indexed by a permutation (no
worker processes, no collating of single examples), convolutions run in the memory format
channels_last, Adam is fused, no gradient flows into a network that is not being updated, and
metrics are read back about twice a second instead of in every step. ``course bench`` measures it.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate.utils import gather, reduce
from jaxtyping import Shaped
from torch import Tensor, nn

from course_lib.checks import check_training_data, is_whole
from course_lib.engine import (
    PRECISIONS,
    REMEDY,
    Metrics,
    TrainingDivergedError,
    evaluating,
    frozen,
    has_batch_norm,
)
from course_lib.history import History, Snapshots
from course_lib.progress import progress_bar
from course_lib.resume import Resumable
from course_lib.runs import Run

__all__ = [
    "CHECK_EVERY",
    "PRECISIONS",
    "History",
    "Snapshots",
    "Trainer",
    "TrainingDivergedError",
    "evaluating",
    "frozen",
    "has_batch_norm",
    "trainer_for",
]

CHECK_EVERY = 50  # most steps between two looks at the metrics; each look waits for the device
LOOK_SECONDS = 0.5  # about the time between two looks where steps are slow
ECHO_SECONDS = 1.0  # after an interrupt; another one so soon is the same one


class Trainer(Resumable):
    """Device, precision, processes, seed and folder of one training run.

    Started by ``torchrun`` or ``accelerate launch``, it is one of several processes that train one
    model together: each gets its own share of every batch.

    Args:
        seed: seeds Python, NumPy and torch, and fixes the order of the data.
        device: "auto" (an accelerator if there is one, else the CPU) or "cpu".
        precision: "fp32", "bf16" or "fp16" (autocast of the loss; weights stay float32).
        progress: show a progress bar; None means only where somebody watches, that is in a
            terminal or a notebook.
        compile: compile the losses with ``torch.compile``: slow to start, then faster for
            networks of many small operations.
        accumulate: micro-batches a batch is cut into; the gradient is that of the whole batch, and
            a loss takes the memory of one part only. What a step computes before the loss, such as
            a generator's samples, takes that of the whole batch. Exact for losses that are means
            over the examples.
        run: the folder that the run is kept in, and resumed from; None keeps nothing. It is in use
            while ``fit`` goes on, and a trainer with a run trains once.

    Raises:
        ValueError: for an unknown device or precision, fp16 on a CPU, or a bad seed or count.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "fp32",
        progress: bool | None = None,
        compile: bool = False,
        accumulate: int = 1,
        run: Run | None = None,
    ) -> None:
        super().__init__(
            seed=seed,
            device=device,
            precision=precision,
            compile=compile,
            accumulate=accumulate,
            run=run,
        )
        self._progress = progress if self.is_main else False
        self._stop = 0  # the number of the signal that asked for it
        self._used = False  # has a training with a run begun?

    def fit(
        self,
        step: Callable[..., Metrics],
        *data: Shaped[Tensor, "n ..."],
        batch_size: int,
        steps: int,
        snapshots: Snapshots | None = None,
    ) -> History:
        """Call ``step`` on ``steps`` shuffled batches and record the metrics it returns.

        Every pass over the data uses a new permutation. The short batch at the end of a pass is
        dropped, so that every batch has exactly ``batch_size`` examples.

        With a run's folder, its saved state is loaded first, and the state is saved while training
        goes on and at the end. Ctrl-C, or a SIGTERM, then ends the training after a whole step,
        with its state saved.

        Args:
            step: one update of the model. Gets one batch of each tensor in ``data`` and returns
                scalar tensors by name (detached or not).
            data: one or more tensors with the examples along the first axis, for instance images
                and their labels. They are moved to the device once and shuffled together.
            batch_size: examples a batch, between 1 and the number of examples; several processes
                share them.
            steps: number of batches, 0 or more.
            snapshots: called with the step's number 1 … ``steps`` after each step.

        Returns:
            The history, one number a step for each metric, means over the processes.

        Raises:
            ValueError: for empty data, values that are not finite, a batch size or a number of
                steps out of range, a step that returns anything but scalar tensors by name, or a
                second training with a run.
            TrainingDivergedError: when a metric is not finite; names the first such step.
            RunError: when the folder cannot be used, or a state cannot be loaded or saved.
            KeyboardInterrupt: after Ctrl-C.
        """
        self._check(data, batch_size, steps)
        history, pending = History(), list[Metrics]()
        parts = [*self._parts, history, *([] if snapshots is None else [snapshots])]
        settings = {"seed": self.seed, "precision": self._precision, "batch_size": batch_size}
        settings["examples"] = len(data[0])
        with self._folder():
            tensors = tuple(self._to_device(tensor) for tensor in data)
            done = self._start(parts, settings, steps, history, snapshots)
            look_at, looked = done + 1, time.monotonic()
            batches = self._batches(tensors, batch_size, done, steps)
            with progress_bar(steps, self._progress, done) as bar:
                for number, batch in enumerate(batches, start=done + 1):
                    pending.append(_detached(step(*batch)))
                    kept = snapshots is not None and snapshots(number)
                    if kept and snapshots is not None and self._run is not None and self.is_main:
                        self._run.keep_samples(snapshots.samples[-1], number)
                    at_save = (
                        self._run is not None and number % (self._run.save_steps or steps) == 0
                    )
                    stop_at_once = self._stop and self.processes == 1
                    if number < min(look_at, steps) and not at_save and not stop_at_once:
                        continue
                    self._record(pending, history)
                    bar.update(len(pending))
                    now = time.monotonic()
                    pace = len(pending) * LOOK_SECONDS / max(now - looked, 1e-9)
                    ahead, save, stop = self._agree(min(max(int(pace), 1), CHECK_EVERY), number)
                    look_at, looked, pending = number + ahead, now, []
                    if self._run is not None:
                        if self.is_main:
                            self._run.log(history)
                        if save or stop or number == steps:
                            self._save(parts, settings, number)
                    if stop and number < steps:
                        raise KeyboardInterrupt(f"stopped after step {number} of {steps}")
        return history

    def _check(self, data: tuple[Tensor, ...], batch_size: int, steps: int) -> None:
        for tensor in data:
            check_training_data(tensor)
        counts = [len(tensor) for tensor in data]
        if len(set(counts)) != 1:
            raise ValueError(
                "data must be one or more tensors with the same number of examples, got the "
                f"numbers {counts}"
            )
        if not is_whole(batch_size, 1) or batch_size > counts[0]:
            raise ValueError(
                "batch_size must be a whole number (int) between 1 and the number of examples, "
                f"{counts[0]}; got {batch_size!r}"
            )
        shares = self.processes * self.accumulate
        if batch_size % shares:
            raise ValueError(
                f"batch_size must be a multiple of processes × accumulate, {self.processes} × "
                f"{self.accumulate}, so that all parts are of one size; got {batch_size}"
            )
        networks = [part for part in self._parts if isinstance(part, nn.Module)]
        if batch_size == shares and any(map(has_batch_norm, networks)):
            raise ValueError(
                "batch_size must be more than processes × accumulate, "
                f"{self.processes} × {self.accumulate}, for batch normalisation needs two examples "
                f"or more in each part; got {batch_size}"
            )
        if not is_whole(steps, 0):
            raise ValueError(f"steps must be a whole number (int), 0 or more; got {steps!r}")
        if self._run is not None:
            if self._used:
                raise ValueError("a trainer with a run trains once; make another")
            self._used = True

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self._channels_last and tensor.ndim == 4:
            return tensor.to(self.device, memory_format=torch.channels_last)
        return tensor.to(self.device)

    def _batches(
        self, data: tuple[Tensor, ...], batch_size: int, done: int, steps: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """This process's share of the batches ``done`` + 1 … ``steps``."""
        order_of_data = torch.Generator().manual_seed(self.seed)
        batches_a_pass = len(data[0]) // batch_size
        share = batch_size // self.processes
        for number in range(done // batches_a_pass * batches_a_pass, steps):
            position = number % batches_a_pass
            if position == 0:
                if number == done // batches_a_pass * batches_a_pass:
                    for _ in range(done // batches_a_pass):  # the passes before the saved state
                        torch.randperm(len(data[0]), generator=order_of_data)
                order = torch.randperm(len(data[0]), generator=order_of_data).to(self.device)
            if number >= done:
                first = position * batch_size + self.rank * share
                index = order[first : first + share]
                yield tuple(tensor[index] for tensor in data)

    def _record(self, pending: list[Metrics], history: History) -> None:
        metrics = [value.to(self.device) for row in pending for value in row.values()]
        # No conversion: float64 must not overflow.
        numbers = torch.stack(metrics) if metrics else torch.zeros(0, device=self.device)
        if self.processes > 1:
            numbers = reduce(numbers.double(), "mean")
        values = iter(numbers.tolist())
        for row in pending:
            named = {name: float(next(values)) for name in row}
            for name, number in named.items():
                if not math.isfinite(number):
                    if self._run is not None and self.is_main:
                        self._run.log(history)
                    raise TrainingDivergedError(
                        f"{name} is {number} at step {len(history.steps) + 1}: training has "
                        f"diverged. {REMEDY}"
                    )
            history.append(named)

    def _agree(self, ahead: int, number: int) -> tuple[int, bool, bool]:
        """Steps to the next look, whether to save and to stop: the same in every process."""
        save = self._run is not None and self._run.due(number)
        if self.processes == 1:
            return ahead, save, bool(self._stop)
        wishes = torch.tensor([[ahead, int(save), self._stop]], device=self.device)
        wishes = gather(wishes)
        return int(wishes[0, 0]), bool(wishes[0, 1]), bool(wishes[:, 2].any())

    @contextmanager
    def _folder(self) -> Iterator[None]:
        """Opens the run's folder; an interrupt waits for the end of a step, a second one does not.

        Whatever ends the training also gives the folder free, so that the same notebook or program
        can go on with it.
        """
        if self._run is None:
            yield
            return
        asked_at = 0.0

        def remember(number: int, frame: object) -> None:
            nonlocal asked_at
            # torchrun hands on to its processes what the terminal has sent them already.
            if self._stop and time.monotonic() - asked_at > ECHO_SECONDS:
                raise KeyboardInterrupt
            if not self._stop:
                self._stop, asked_at = number, time.monotonic()

        in_main_thread = threading.current_thread() is threading.main_thread()
        signals = (signal.SIGINT, signal.SIGTERM) if in_main_thread else ()
        before = [signal.signal(number, remember) for number in signals]
        try:
            if self.is_main:
                self._run.open()
            yield
        finally:
            for number, handler in zip(signals, before, strict=True):
                signal.signal(number, handler)
            if self.is_main:
                self._run.close()


def trainer_for(seed: int, trainer: Trainer | None) -> Trainer:
    """The trainer that was given, or one with this seed.

    Raises:
        ValueError: when both are given, for the trainer has a seed of its own.
    """
    if trainer is not None and seed != 0:
        raise ValueError("give either seed or trainer: a trainer has its own, Trainer(seed=…)")
    return Trainer(seed=seed) if trainer is None else trainer


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
