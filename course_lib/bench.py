"""How fast training is: the library's loop against a plain one, and against the machine's limit.

Other programs, and the processor's own heat, change the speed of a machine from second to second.
So the two loops take turns, a fraction of a second each, and what counts is the ratio of two
neighbouring turns: its median and quartiles. Ours is the whole of ``train_*``, with its batches,
steps and looks at the metrics; only what happens once, before the first step, is left out.

What made the difference, as ratios to the plain loop on two cores of a Zen 4 server (AVX-512, with
bf16; torch 2.13), each measured in turns with the others, in loops of their own around networks of
these shapes. ¹: one core, by the processor's time, for others were at work on the machine.

- fused Adam: VAE 1.26 → 1.48, GAN 1.02 → 1.10¹, Transformer 1.04 → 1.07.
- one pass of the generator a step, not two: GAN 1.10 → 1.23¹.
- real and generated samples in one pass of a discriminator without batch statistics: GAN
  1.10 → 1.18¹, and 1.31¹ with the line above.
- no gradients in the discriminator while the generator is updated: GAN 1.07 → 1.10¹.
- no DataLoader, no wait in each step, losses on logits: VAE 1.26, GAN 1.02¹, Transformer nothing.
- bf16: a large product is 2.3 times as fast (430 against 185 GFLOP/s); GAN 1.31 → 1.81¹, VAE
  1.48 → 1.84. But torch's fused attention, forward and backward, takes 3 times *as long* in bf16 on
  a CPU as in fp32. With attention in fp32 the Transformer goes from 1.08¹ to 1.52¹.
- torch.compile: in bf16 VAE 1.84 → 2.01 and Transformer 1.52 → 1.61¹; in fp32 VAE 1.48 → 1.52 and
  Transformer 1.04 → 1.08¹, hardly worth the wait.

What did not:

- torch.compile for the GAN, whose dropout it makes slow: fp32 1.31 → 1.05¹, bf16 1.81 → 1.37¹.
- torch.compile for the DCGAN in bf16: 2.07 → 1.92; for the Transformer in bf16 on two cores it gave
  next to nothing, 1.48 → 1.54.
- compiling the optimiser instead of fusing it: VAE 1.52 → 1.38.
- torch.set_float32_matmul_precision("medium"): Transformer 1.07 → 0.70, VAE 1.48 → 1.51, GAN
  1.31 → 1.39¹.
- attention written out instead of fused, in fp32: 1.04 → 0.97¹.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from course_lib import baselines, checks, dcgan, gan, transformer, vae
from course_lib.history import History
from course_lib.progress import progress_bar
from course_lib.training import Metrics, Trainer

WARM_UP = 2  # turns that do not count: caches fill, and the first one compiles
LIMIT_SIZE = 2048  # rows of the square matrices whose product is the machine's limit


@dataclass(frozen=True)
class Subject:
    """One model to measure: the library's training of it, and the plain loop for the same."""

    batch_size: int
    train: Callable[[Trainer, int], object]  # with this trainer, for this number of steps
    plain: Callable[[], baselines.Losses]
    compiled: bool  # whether torch.compile is worth its while in bf16


@dataclass(frozen=True)
class Row:
    """What was measured of one model in one precision."""

    model: str
    batch_size: int
    precision: str
    compiled: bool
    plain_seconds: float  # median of a step of the plain loop, which is always fp32
    seconds: float  # median of a step of ours
    ratios: tuple[float, float, float]  # plain over ours: lower quartile, median, upper quartile
    operations: int  # floating-point operations of one step of ours; see count_operations
    limit: float  # operations a second of a large fp32 matrix product on this machine

    @property
    def share(self) -> float:
        """Speed of our matrix products and all around them over the limit; bf16 may exceed 1."""
        return self.operations / self.seconds / self.limit


# --- What is measured ----------------------------------------------------------------------------


def _dcgan() -> Subject:
    config = dcgan.configure("full", batch_size=64)
    changes = {"batch_size": 64, "snapshot_size": 1}
    data = _uniform(512, 3, 64, 64)
    return Subject(
        64,
        lambda trainer, steps: dcgan.train_dcgan(
            data, "full", trainer=trainer, steps=steps, **changes
        ),
        lambda: baselines.gan_loop(*dcgan.build(config, data.shape[1:]), data, config),
        compiled=False,
    )


def _gan() -> Subject:
    # The textbooks' pair, without what the preset adds to it.
    changes: dict[str, Any] = {"batch_norm": False, "average_decay": None}
    config = gan.configure("full", **changes)
    data = _uniform(4096, 1, 28, 28)
    return Subject(
        config.batch_size,
        lambda trainer, steps: gan.train_gan(
            data, "full", trainer=trainer, steps=steps, snapshot_size=1, **changes
        ),
        lambda: baselines.gan_loop(*gan.build(config, data.shape[1:]), data, config),
        compiled=False,
    )


def _vae() -> Subject:
    # Images that are black or white already, as for the plain loop.
    changes: dict[str, Any] = {"dynamic_binarisation": False}
    config = vae.configure("quick", **changes)
    data = _uniform(4096, 1, 28, 28).sign()
    return Subject(
        config.batch_size,
        lambda trainer, steps: vae.train_vae(
            data, "quick", trainer=trainer, steps=steps, snapshot_size=1, **changes
        ),
        lambda: baselines.vae_loop(vae.build(config, data.shape[1:]), data, config),
        compiled=True,
    )


def _transformer() -> Subject:
    # nanoGPT's model for characters on a laptop's CPU; the preset is one that learns faster.
    changes: dict[str, Any] = {"layers": 4, "positions": "learnt", "learning_rate": 1e-3}
    config, vocabulary = transformer.configure("quick", **changes), 65
    tokens = torch.randint(vocabulary, (20_000,), generator=torch.Generator().manual_seed(0))
    return Subject(
        config.batch_size,
        lambda trainer, steps: transformer.train_transformer(
            tokens, vocabulary, "quick", trainer=trainer, steps=steps, snapshot_size=1, **changes
        ),
        lambda: baselines.transformer_loop(transformer.build(config, vocabulary), tokens, config),
        compiled=True,
    )


SUBJECTS = {"dcgan": _dcgan, "gan": _gan, "vae": _vae, "transformer": _transformer}


def _uniform(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


# --- Measuring -----------------------------------------------------------------------------------


class _Race(Trainer):
    """A trainer whose ``fit`` takes turns with another loop, and keeps the time of both."""

    def __init__(self, rival: Iterator[Any], turn: int, **settings: Any) -> None:
        super().__init__(device="cpu", progress=False, **settings)
        self.rival, self.turn = rival, turn
        self.ours: list[float] = []  # seconds a step, one number a turn
        self.theirs: list[float] = []

    def fit(self, step: Callable[..., Metrics], *data: Tensor, **settings: Any) -> History:
        done, since = 0, time.perf_counter()

        def raced(*batch: Tensor) -> Metrics:
            nonlocal done, since
            metrics = step(*batch)
            done += 1
            if done % self.turn == 0:
                self.ours.append((time.perf_counter() - since) / self.turn)
                since = time.perf_counter()
                for _ in range(self.turn):
                    next(self.rival)
                self.theirs.append((time.perf_counter() - since) / self.turn)
                # What the loop does between two calls of the step, it does on this time.
                since = time.perf_counter()
            return metrics

        return super().fit(raced, *data, **settings)


def measure(
    models: Sequence[str] | None = None,
    precisions: Sequence[str] = ("fp32", "bf16"),
    *,
    repeats: int = 21,
    seconds: float | int = 0.1,
    progress: bool | None = None,
) -> list[Row]:
    """Let the library's training and the plain loop take turns, on the CPU; a few minutes in all.

    Args:
        models: names in ``SUBJECTS``; None: all.
        precisions: of the library's training; the plain loop is in fp32.
        repeats: turns of each loop, which is the number of ratios, for each model and precision.
        seconds: about how long a turn lasts; at least one step.
        progress: show a progress bar; None means only where somebody watches.

    Raises:
        ValueError: for an unknown model or precision, or a number out of range.
    """
    names = list(SUBJECTS if models is None else models)
    rules = {"repeats": checks.whole(1), "seconds": checks.number(0)}
    checks.check(rules, {"repeats": repeats, "seconds": seconds})
    for name in names:
        checks.check({"models": checks.one_of(SUBJECTS)}, {"models": name})
    for precision in precisions:
        checks.check({"precisions": checks.one_of(("fp32", "bf16"))}, {"precisions": precision})
    rows = []
    with progress_bar(len(names) * len(precisions), progress) as bar:
        limit = matmul_limit()
        for name in names:
            subject = SUBJECTS[name]()
            operations = count_operations(subject.train)
            for precision in precisions:
                bar.set_description(f"{name} {precision}")
                rows.append(_row(name, subject, precision, repeats, seconds, operations, limit))
                bar.update(1)
    return rows


def _row(
    name: str,
    subject: Subject,
    precision: str,
    repeats: int,
    seconds: float | int,
    operations: int,
    limit: float,
) -> Row:
    compiled = subject.compiled and precision == "bf16"
    rival = subject.plain()
    next(rival)
    start = time.perf_counter()
    next(rival)
    turn = max(1, round(seconds / (time.perf_counter() - start)))
    race = _Race(rival, turn, precision=precision, compile=compiled)
    subject.train(race, (WARM_UP + repeats) * turn)
    ours, theirs = (torch.tensor(times[WARM_UP:]) for times in (race.ours, race.theirs))
    low, middle, high = (theirs / ours).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return Row(
        *(name, subject.batch_size, precision, compiled),
        *(theirs.quantile(0.5).item(), ours.quantile(0.5).item()),
        (low, middle, high),
        *(operations, limit),
    )


def count_operations(train: Callable[[Trainer, int], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in one training step.

    Elementwise operations and torch's fused attention on a CPU are not among them.
    """
    totals = []
    for steps in (1, 2):  # the difference leaves out what happens once
        with FlopCounterMode(display=False) as counter:
            train(Trainer(device="cpu", progress=False), steps)
        totals.append(counter.get_total_flops())
    return totals[1] - totals[0]


def matmul_limit(size: int = LIMIT_SIZE, repeats: int = 5) -> float:
    """Operations a second of the fastest of some fp32 products of two square matrices."""
    left, right = torch.rand(2, size, size)
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


# --- Showing -------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """What was measured, as text; says on which machine first, and how to read it last."""
    lines = [
        f"torch {torch.__version__}, CPU {platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads ({torch.backends.cpu.get_cpu_capability()})",
        "",
        f"{'model':<12} {'batch':>5}  {'ours':<14} {'plain':>9} {'ours':>9}  "
        f"{'faster by':>9} {'quartiles':>11}  {'GFLOP':>6} {'of limit':>8}",
    ]
    for row in rows:
        kind = row.precision + (" compiled" if row.compiled else "")
        low, middle, high = row.ratios
        lines.append(
            f"{row.model:<12} {row.batch_size:>5}  {kind:<14} {row.plain_seconds * 1e3:>6.1f} ms "
            f"{row.seconds * 1e3:>6.1f} ms  {middle:>8.2f}× {low:>5.2f}–{high:<5.2f}  "
            f"{row.operations / 1e9:>6.2f} {row.share:>8.0%}"
        )
    if rows:
        lines += [
            "",
            f"The limit is a {LIMIT_SIZE}×{LIMIT_SIZE} matrix product in fp32 on this machine, "
            f"{rows[0].limit / 1e9:.0f} GFLOP/s.",
            "Both loops took turns; the ratio is a median of neighbouring turns.",
        ]
    return "\n".join(lines)
