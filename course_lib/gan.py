"""Generative adversarial networks, fully connected (Goodfellow et al. 2014, arXiv 1406.2661).

Two players: a generator G turns noise z ~ N(0, I) into a sample G(z); a discriminator D gives
the probability that a sample is real. The game is

    min over G, max over D of  V(D, G) = E_data[log D(x)] + E_z[log(1 - D(G(z)))].

The networks here return *logits* a(x) with D(x) = sigmoid(a(x)), since log D = -softplus(-a) and
log(1 - D) = -softplus(a) stay exact where D itself rounds to 0 or 1.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import checks
from course_lib.checkpoints import CheckpointError, load_checkpoint, read_card, save_checkpoint
from course_lib.training import History, Snapshots, Trainer, evaluating, frozen

# --- The two players -----------------------------------------------------------------------------


class Generator(nn.Module):
    """Noise to sample: linear layers with LeakyReLU(0.2), optionally batch-normalised.

    Args:
        latent_dim: dimension of the noise z.
        hidden: widths of the hidden layers.
        sample_shape: shape of one sample, e.g. (1, 28, 28) for an image or (2,) for a point.
        bounded: end in tanh, so that samples lie in [-1, 1] like the images of the course.
        batch_norm: normalise every hidden layer after the first over the batch.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        hidden: Sequence[int] = (256, 512, 1024),
        sample_shape: Sequence[int] = (1, 28, 28),
        *,
        bounded: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        layers: list[nn.Module] = []
        width = latent_dim
        for index, next_width in enumerate(hidden):
            layers.append(nn.Linear(width, next_width))
            if batch_norm and index > 0:
                layers.append(nn.BatchNorm1d(next_width))
            layers.append(nn.LeakyReLU(0.2))
            width = next_width
        layers.append(nn.Linear(width, prod(sample_shape)))
        if bounded:
            layers.append(nn.Tanh())
        layers.append(nn.Unflatten(1, tuple(sample_shape)))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *sample"]:
        return self.layers(z)


class Discriminator(nn.Module):
    """Sample to logit a(x); the probability of "real" is sigmoid(a(x)).

    Args:
        hidden: widths of the hidden layers, LeakyReLU(0.2) after each.
        sample_shape: shape of one sample.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (1024, 512, 256),
        sample_shape: Sequence[int] = (1, 28, 28),
        *,
        dropout: float | int = 0.3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = prod(sample_shape)
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
            width = next_width
        layers += [nn.Linear(width, 1), nn.Flatten(0)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "batch *sample"]) -> Float[Tensor, " batch"]:
        return self.layers(x)


# --- The game ------------------------------------------------------------------------------------


def value_function(
    real_logits: Float[Tensor, " n"], fake_logits: Float[Tensor, " m"]
) -> Float[Tensor, ""]:
    """V(D, G) estimated from samples (Goodfellow et al. 2014, eq. 1), in nats; at most 0.

    Args:
        real_logits: a(x) for x drawn from the data.
        fake_logits: a(G(z)) for z drawn from the prior.

    Raises:
        ValueError: when there are no logits, whose mean would be NaN.
    """
    if min(real_logits.numel(), fake_logits.numel()) == 0:
        counts = f"{real_logits.numel()} and {fake_logits.numel()}"
        raise ValueError(f"real_logits and fake_logits must not be empty, got {counts} logits")
    return -softplus(-real_logits).mean() - softplus(fake_logits).mean()


def optimal_discriminator(
    log_data_density: Float[Tensor, "*points"], log_model_density: Float[Tensor, "*points"]
) -> Float[Tensor, "*points"]:
    """D*(x) = p_data(x) / (p_data(x) + p_g(x)) (Goodfellow et al. 2014, proposition 1).

    Computed as sigmoid(log p_data - log p_g), which does not underflow in the tails. Where both
    densities are zero (both logarithms -inf) V does not depend on D, so no value is optimal
    there and the result is NaN.

    Raises:
        ValueError: when the shapes differ.
    """
    if log_data_density.shape != log_model_density.shape:
        shapes = f"{tuple(log_data_density.shape)} and {tuple(log_model_density.shape)}"
        raise ValueError(f"both log densities must be given at the same points, got {shapes}")
    return torch.sigmoid(log_data_density - log_model_density)


@dataclass(frozen=True)
class Objective:
    """What each player minimises, as functions of logits."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


OBJECTIVES = {
    # G minimises E[log(1 - D(G(z)))]: the game of the theorem. Its gradient dies as D(G(z)) -> 0.
    "minimax": Objective(
        lambda real, fake: -value_function(real, fake), lambda fake: -softplus(fake).mean()
    ),
    # G minimises -E[log D(G(z))]: same fixed point, strong gradient where the generator is poor.
    "non-saturating": Objective(
        lambda real, fake: -value_function(real, fake), lambda fake: softplus(-fake).mean()
    ),
    # Least squares on the raw output with targets 1 and 0 (Mao et al. 2017, arXiv 1611.04076).
    "least-squares": Objective(
        lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda fake: 0.5 * (fake - 1).square().mean(),
    ),
}


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 64
    objective: str = "non-saturating"
    latent_dim: int = 100
    generator_hidden: tuple[int, ...] = (256, 512, 1024)
    discriminator_hidden: tuple[int, ...] = (1024, 512, 256)
    bounded: bool = True  # samples in [-1, 1] through tanh
    batch_norm: bool = False  # in the generator
    dropout: float | int = 0.3  # in the discriminator
    learning_rate: float | int = 2e-4  # 0 leaves a player as it is
    discriminator_learning_rate: float | int | None = None  # None: the same as learning_rate
    betas: tuple[float | int, float | int] = (0.5, 0.999)
    average_decay: float | int | None = None  # of a moving average of G's weights; None: none

    def __post_init__(self) -> None:
        checks.check(_RULES, vars(self))
        if self.batch_norm and self.batch_size == 1:
            raise ValueError("batch_size must be 2 or more with batch_norm, which needs a spread")


_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "objective": checks.one_of(OBJECTIVES),
    "latent_dim": checks.whole(1),
    "generator_hidden": checks.widths(),
    "discriminator_hidden": checks.widths(),
    "bounded": checks.truth(),
    "batch_norm": checks.truth(),
    "dropout": checks.number(0, 1),
    "learning_rate": checks.number(0),
    "discriminator_learning_rate": checks.optional(checks.number(0)),
    "betas": checks.pair(checks.number(0, 1)),
    "average_decay": checks.optional(checks.number(0, 1)),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(
        steps=20, batch_size=16, latent_dim=8, generator_hidden=(16,), discriminator_hidden=(16,)
    ),
    # 28x28 digits in a notebook: narrower than the published pair, batch-normalised, averaged
    "quick": Config(
        steps=2000,
        latent_dim=64,
        generator_hidden=(128, 384),
        discriminator_hidden=(256, 128),
        batch_norm=True,
        dropout=0.0,
        learning_rate=2e-3,
        discriminator_learning_rate=1e-3,
        average_decay=0.99,
    ),
    # points in the plane, e.g. the ring of eight Gaussians
    "points": Config(
        steps=1500,
        batch_size=128,
        latent_dim=2,
        generator_hidden=(64, 64),
        discriminator_hidden=(64, 64),
        bounded=False,
        dropout=0.0,
        learning_rate=2e-3,
        average_decay=0.99,
    ),
    # on a GPU; the widths of the textbooks' pair, 100 -> 256 -> 512 -> 1024 -> 784 and its mirror,
    # with batch normalisation in G and averaging of its weights added
    "full": Config(steps=100_000, batch_norm=True, average_decay=0.999),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {list(PRESETS)}, got {preset!r}")
    known = [field.name for field in fields(Config)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"unknown settings {unknown}; a GAN's settings are {known}")
    return replace(PRESETS[preset], **changes)  # type: ignore[arg-type]


def build(config: Config, sample_shape: Sequence[int]) -> tuple[Generator, Discriminator]:
    """The untrained pair for samples of the given shape."""
    return (
        Generator(
            *(config.latent_dim, config.generator_hidden, sample_shape),
            bounded=config.bounded,
            batch_norm=config.batch_norm,
        ),
        Discriminator(config.discriminator_hidden, sample_shape, dropout=config.dropout),
    )


@dataclass
class TrainedGAN:
    """What :func:`train_gan` returns, all on the CPU and the networks in evaluation mode.

    ``generator`` holds the averaged weights if there are any.
    """

    config: Config
    generator: Generator
    discriminator: Discriminator
    history: History
    snapshots: Float[Tensor, "frames n *sample"]  # the same noise at each snapshot
    snapshot_steps: list[int]


def train_gan(
    data: Float[Tensor, "n *sample"],
    preset: str = "quick",
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    progress: bool | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedGAN:
    """Train a fully connected GAN by alternating gradient steps (algorithm 1 of the paper).

    Args:
        data: training samples, float; in [-1, 1] where the preset's samples are bounded.
        preset: a name in ``PRESETS``.
        seed, device, precision, progress: see :class:`course_lib.training.Trainer`.
        snapshots: how many sets of samples to keep, evenly spaced from step 0 to the last;
            fewer if there are fewer steps.
        snapshot_size: samples in a snapshot.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``steps=100``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or data that does not
            fit.
        TrainingDivergedError: when a loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    checks.check_samples(data, bounded=config.bounded)
    sizes = {"snapshots": checks.whole(0), "snapshot_size": checks.whole(1)}
    checks.check(sizes, {"snapshots": snapshots, "snapshot_size": snapshot_size})
    data = data.detach().float()
    trainer = Trainer(seed=seed, device=device, precision=precision, progress=progress)
    objective = OBJECTIVES[config.objective]
    generator, discriminator = build(config, data.shape[1:])
    best, average = generator, None
    if config.average_decay is not None:
        # A copy must be made before ``prepare``, which may tie a model's forward to that model.
        ema = get_ema_multi_avg_fn(config.average_decay)
        average = AveragedModel(generator.to(trainer.device), multi_avg_fn=ema, use_buffers=True)
        best = cast(Generator, average.module)
    generator, discriminator = trainer.prepare(generator, discriminator)
    betas = float(config.betas[0]), float(config.betas[1])  # torch refuses (0, 0.9)

    def adam(model: nn.Module, learning_rate: float | int) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), learning_rate, betas=betas, fused=True)

    rate = config.discriminator_learning_rate
    generator_optimiser, discriminator_optimiser = trainer.prepare(
        adam(generator, config.learning_rate),
        adam(discriminator, config.learning_rate if rate is None else rate),
    )

    def noise(n: int) -> Tensor:
        return torch.randn(n, config.latent_dim, device=trainer.device)

    def step(real: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():  # the discriminator's step must not reach the generator
            fake = generator(noise(len(real)))
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        discriminator_loss = objective.discriminator(real_logits, fake_logits)
        trainer.minimise(discriminator_loss, discriminator_optimiser)

        with frozen(discriminator):  # gradients pass through D to G, none are kept for D
            generator_loss = objective.generator(discriminator(generator(noise(len(real)))))
            trainer.minimise(generator_loss, generator_optimiser)
        if average is not None:
            average.update_parameters(generator)
        return {
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "real_probability": real_logits.sigmoid().mean(),
            "fake_probability": fake_logits.sigmoid().mean(),
        }

    film = Snapshots(
        lambda: sample(best, snapshot_size, seed=seed), number=snapshots, steps=config.steps
    )
    history = trainer.fit(
        step, data, batch_size=config.batch_size, steps=config.steps, after_step=film
    )
    return TrainedGAN(
        config=config,
        generator=trainer.finish(best),
        discriminator=trainer.finish(discriminator),
        history=history,
        snapshots=film.samples,
        snapshot_steps=film.steps,
    )


# --- Sampling ------------------------------------------------------------------------------------


def sample(generator: Generator, n: int, *, seed: int = 0) -> Float[Tensor, "n *sample"]:
    """Draw ``n`` samples, in evaluation mode, leaving the generator's mode as it was.

    The samples are float32 and on the CPU. Their noise depends on ``seed`` alone: the same seed
    gives the same noise each time, and torch's own random state is neither used nor changed.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    parameter = next(generator.parameters())
    stream = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator.latent_dim, generator=stream)
    with evaluating(generator):
        return generator(z.to(parameter.device, parameter.dtype)).float().cpu()


# --- Keeping a generator -------------------------------------------------------------------------


def save_generator(
    path: str | os.PathLike[str],
    trained: TrainedGAN,
    *,
    preset: str,
    data: str,
    seed: int,
    metrics: Mapping[str, object] | None = None,
) -> None:
    """Write the trained generator, and all that rebuilds it, as a checkpoint.

    ``preset``, ``data``, ``seed`` and ``metrics`` go into the card; its rules and the errors are
    those of :func:`course_lib.checkpoints.save_checkpoint`.
    """
    card = {"preset": preset, "data": data, "seed": seed, "metrics": metrics}
    rebuild = {"config": asdict(trained.config), "sample_shape": trained.generator.sample_shape}
    save_checkpoint(path, trained.generator, card | rebuild)


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """The generator that :func:`save_generator` wrote, on the CPU and in evaluation mode.

    It is built from the card, so that no network of another meaning can take its weights.

    Raises:
        CheckpointError: when the file is missing, damaged or not written by ``save_generator``.
    """
    card = read_card(path)
    if set(card.get("config", ())) != {field.name for field in fields(Config)}:
        raise CheckpointError(f"{path} holds a {card['model']}, but not its GAN's whole config")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()}
    with torch.device("meta"):  # draws no random weights, for the file replaces them all
        generator, _ = build(configure("tiny", **settings), card["sample_shape"])
    load_checkpoint(path, generator.to_empty(device="cpu"))
    return generator.eval()
