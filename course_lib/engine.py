"""Where and how a gradient step is computed: device, precision, processes, compiled or not.

Several processes: Accelerate sets them up and sums up between them. Their gradients are averaged
in :meth:`Engine.minimise` and not by DistributedDataParallel, which expects one forward and one
backward pass through every parameter in a step; a step of a GAN has several of each, and
parameters that are frozen in one of them. Batch normalisation uses the statistics of each
process's own share of the batch, as DistributedDataParallel does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce, set_seed
from torch import Tensor, nn

from course_lib.checks import is_whole

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_LOSSES = 8  # different ones that a trainer compiles
REMEDY = "Try a smaller learning_rate, and check that the data is scaled as the model expects"

Metrics = Mapping[str, Tensor]


class TrainingDivergedError(RuntimeError):
    """A metric (the message names it and the step) or a weight became NaN or infinite."""


class Engine:
    """Device, precision, processes and seed; what a ``step`` function works with.

    The arguments are those of :class:`course_lib.training.Trainer`.
    """

    def __init__(
        self, *, seed: int, device: str, precision: str, compile: bool, accumulate: int
    ) -> None:
        if device not in ("auto", "cpu"):
            raise ValueError(f"device must be 'auto' or 'cpu', got {device!r}")
        if not is_whole(seed, 0) or seed >= 2**32:
            raise ValueError(f"seed must be a whole number (int) from 0 to 2**32 - 1, got {seed!r}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
        if not is_whole(accumulate, 1):
            raise ValueError(
                f"accumulate must be a whole number (int), 1 or more, got {accumulate!r}"
            )
        self.device, self.processes, self.rank = torch.device("cpu"), 1, 0
        # Accelerate remembers for good where a process first computed, so it is not told of a
        # training on the CPU beside an accelerator.
        if device == "auto" or int(os.environ.get("WORLD_SIZE", "1")) > 1:
            state = PartialState(cpu=device == "cpu")
            self.device, self.processes = state.device, state.num_processes
            self.rank = state.process_index
        if precision == "fp16" and self.device.type == "cpu":
            raise ValueError("precision 'fp16' needs a GPU; on a CPU use 'bf16' or 'fp32'")
        self.seed, self.accumulate = seed, accumulate
        self._precision, self._compile = precision, compile
        self._parts: list[Any] = []  # what prepare was given: the saved state
        self._scalers: dict[Any, torch.amp.GradScaler] = {}
        self._compiled: dict[Callable[..., Metrics], Callable[..., Metrics]] = {}
        self._noise = torch.Generator(self.device).manual_seed(seed)
        self._channels_last = False
        if compile:  # else the traces of earlier trainings count, and after eight it gives up
            torch.compiler.reset()
        set_seed(seed)

    @property
    def is_main(self) -> bool:
        """Is this the one process that prints and writes?"""
        return self.rank == 0

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        """Take charge of models, optimisers and schedules: their state is part of the run's.

        Models move to the device, those with convolutions into the memory format channels_last.
        Prepare a model before its optimiser is made, and everything in the same order each time.
        """
        for part in parts:
            if isinstance(part, nn.Module):
                part.to(self.device)
                if any(weight.ndim == 4 for weight in part.parameters()):
                    part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                    self._channels_last = True
            elif isinstance(part, torch.optim.Optimizer) and self._precision == "fp16":
                self._scalers[part] = torch.amp.GradScaler(self.device.type)
        self._parts.extend(parts)
        return parts

    def finish(self, model: Any) -> Any:
        """The trained model on the CPU and in evaluation mode.

        Raises:
            TrainingDivergedError: when a weight is NaN or infinite, or a buffer holds NaN.
        """
        model = model.to(memory_format=torch.contiguous_format).cpu().eval()
        spoilt = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
        spoilt += [name for name, buffer in model.named_buffers() if buffer.isnan().any()]
        if spoilt:
            raise TrainingDivergedError(
                f"NaN or infinite values in {', '.join(spoilt)} of the trained "
                f"{type(model).__name__}: training has diverged. {REMEDY}"
            )
        return model

    def randn(self, n: int, *shape: int) -> Tensor:
        """Standard normal noise ``(n, *shape)`` for the ``n`` examples that this process has.

        All processes together draw what one process would draw for the whole batch.
        """
        return self._draw(torch.randn, n, shape)

    def rand(self, n: int, *shape: int) -> Tensor:
        """Numbers ``(n, *shape)``, uniform in [0, 1), shared among processes like ``randn``."""
        return self._draw(torch.rand, n, shape)

    def _draw(self, source: Callable[..., Tensor], n: int, shape: tuple[int, ...]) -> Tensor:
        noise = source((n * self.processes, *shape), generator=self._noise, device=self.device)
        return noise[self.rank * n : (self.rank + 1) * n]

    # --- One gradient step -----------------------------------------------------------------------

    def minimise(
        self,
        loss: Callable[..., Metrics],
        optimiser: torch.optim.Optimizer,
        *batch: Tensor,
        clip: float | int | None = None,
    ) -> dict[str, Tensor]:
        """One step of ``optimiser`` down the gradient of ``loss(*batch)``.

        Args:
            loss: returns scalars by name, each a mean over the examples of the batch; the first is
                what is minimised. It runs in the trainer's precision.
            optimiser: its parameters are the ones that change.
            batch: tensors with the examples along the first axis; gradients flow through one that
                was computed from parameters, such as a generator's samples.
            clip: largest norm of the gradient; a larger one is scaled down to it.

        Returns:
            What ``loss`` returned, without gradients.

        Raises:
            ValueError: for an optimiser that was not prepared, a batch that cannot be cut into
                ``accumulate`` equal parts, or, where losses are compiled, a new loss in each step.
        """
        if not any(part is optimiser for part in self._parts):
            raise ValueError("optimiser is not the trainer's; prepare it first: trainer.prepare(…)")
        optimiser.zero_grad(set_to_none=True)
        if self._compile:
            loss = self._compiled_loss(loss)
        scaler = self._scalers.get(optimiser)
        if self.accumulate == 1:
            metrics = self._backward(loss, batch, scaler)
        else:
            # What was computed for the whole batch is gone through once, after all its parts.
            leaves = [t.detach().requires_grad_() if t.requires_grad else t for t in batch]
            parts = [self._backward(loss, part, scaler) for part in self._micro_batches(leaves)]
            metrics = {k: torch.stack([part[k] for part in parts]).mean() for k in parts[0]}
            pairs = zip(batch, leaves, strict=True)
            used = [(t, leaf) for t, leaf in pairs if t.requires_grad and leaf.grad is not None]
            if used:
                torch.autograd.backward([t for t, _ in used], [leaf.grad for _, leaf in used])
        if self.processes > 1:
            self._average_gradients(optimiser)
        if scaler is not None:
            scaler.unscale_(optimiser)
        if clip is not None:
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, clip)
        if scaler is None:
            optimiser.step()
        else:  # leaves out a step whose gradients overflowed, and scales them less from then on
            scaler.step(optimiser)
            scaler.update()
        return metrics

    def _backward(
        self,
        loss: Callable[..., Metrics],
        batch: tuple[Tensor, ...],
        scaler: torch.amp.GradScaler | None,
    ) -> dict[str, Tensor]:
        with self.autocast():
            metrics = loss(*batch)
        objective = next(iter(metrics.values()))
        if self.accumulate > 1:
            objective = objective / self.accumulate
        (objective if scaler is None else scaler.scale(objective)).backward()
        return {name: value.detach() for name, value in metrics.items()}

    def autocast(self) -> Any:
        """Within the block matrix products and convolutions run in the trainer's precision."""
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, PRECISIONS[self._precision])

    def _compiled_loss(self, loss: Callable[..., Metrics]) -> Callable[..., Metrics]:
        if loss not in self._compiled:
            if len(self._compiled) == MOST_LOSSES:
                raise ValueError(
                    f"loss is another function than the {MOST_LOSSES} before it, and compiling "
                    "takes long; define the loss once, outside the step"
                )
            self._compiled[loss] = torch.compile(loss, dynamic=False)
        return self._compiled[loss]

    def _micro_batches(self, batch: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        shapes = [tuple(tensor.shape) for tensor in batch]
        if not batch or not all(s and s[0] and s[0] % self.accumulate == 0 for s in shapes):
            raise ValueError(
                "batch must be tensors whose first axis is a multiple of accumulate, "
                f"{self.accumulate}, so that all parts are of one size; got the shapes {shapes}"
            )
        parts = (tensor.split(len(tensor) // self.accumulate) for tensor in batch)
        return zip(*parts, strict=True)

    def _average_gradients(self, optimiser: torch.optim.Optimizer) -> None:
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        # One message for all: most of the time a message takes is its start.
        mean = reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), "mean")
        for gradient, part in zip(
            gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(part.view(gradient.shape))


def has_batch_norm(model: nn.Module) -> bool:
    """Whether ``model`` normalises by the statistics of a batch."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())


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
