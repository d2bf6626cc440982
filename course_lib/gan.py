"""Generative adversarial networks, fully connected (Goodfellow et al. 2014, arXiv 1406.2661).

Two players: a generator G turns noise z ~ N(0, I) into a sample G(z); a discriminator D gives
the probability that a sample is real. The game is

    min over G, max over D of  V(D, G) = E_data[log D(x)] + E_z[log(1 - D(G(z)))].

The networks here return *logits* a(x) with D(x) = sigmoid(a(x)), since log D = -softplus(-a) and
log(1 - D) = -softplus(a) stay exact where D itself rounds to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import checks, presets
from course_lib.history import History, Snapshots
from course_lib.training import Trainer, evaluating, frozen, has_batch_norm, trainer_for

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


@dataclass(frozen=True, kw_only=True)
class Game:
    """What defines the training of any pair, whatever its networks.

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 64
    objective: str = "non-saturating"
    latent_dim: int = 100
    learning_rate: float | int = 2e-4  # 0 leaves a player as it is
    discriminator_learning_rate: float | int | None = None  # None: the same as learning_rate
    betas: tuple[float | int, float | int] = (0.5, 0.999)
    average_decay: float | int | None = None  # of a moving average of G's weights; None: none

    def __post_init__(self) -> None:
        checks.check(GAME_RULES, vars(self))


GAME_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "objective": checks.one_of(OBJECTIVES),
    "latent_dim": checks.whole(1),
    "learning_rate": checks.number(0),
    "discriminator_learning_rate": checks.optional(checks.number(0)),
    "betas": checks.pair(checks.number(0, 1)),
    "average_decay": checks.optional(checks.number(0, 1)),
}


@dataclass(frozen=True, kw_only=True)
class Config(Game):
    """Everything that defines a run except data, seed, device and precision."""

    generator_hidden: tuple[int, ...] = (256, 512, 1024)
    discriminator_hidden: tuple[int, ...] = (1024, 512, 256)
    bounded: bool = True  # samples in [-1, 1] through tanh
    batch_norm: bool = False  # in the generator
    dropout: float | int = 0.3  # in the discriminator

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))
        if self.batch_norm and self.batch_size == 1:
            raise ValueError("batch_size must be 2 or more with batch_norm, which needs a spread")


_RULES = {
    "generator_hidden": checks.widths(),
    "discriminator_hidden": checks.widths(),
    "bounded": checks.truth(),
    "batch_norm": checks.truth(),
    "dropout": checks.number(0, 1),
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
    return presets.configure(PRESETS, preset, changes)


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
    """What training returns, all on the CPU and the networks in evaluation mode.

    ``generator`` holds the averaged weights if there are any.
    """

    config: Game
    generator: nn.Module
    discriminator: nn.Module
    history: History
    snapshots: Float[Tensor, "frames n *sample"]  # the same noise at each snapshot
    snapshot_steps: list[int]

    @property
    def model(self) -> nn.Module:
        """What is kept of a pair: the generator."""
        return self.generator


def train_gan(
    data: Float[Tensor, "n *sample"],
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedGAN:
    """Train a fully connected GAN by alternating gradient steps.

    This is algorithm 1 of the paper with one batch of noise for both players' steps, which saves a
    pass of the generator.

    Args:
        data: training samples, float; in [-1, 1] where the preset's samples are bounded.
        preset: a name in ``PRESETS``.
        seed: of the weights, the noise and the order of the data.
        trainer: device, precision, run folder and so on; instead of ``seed``.
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
    trainer = trainer_for(seed, trainer)
    generator, discriminator = build(config, data.shape[1:])
    return train_pair(
        *(generator, discriminator, data, config, trainer),
        snapshots=snapshots,
        snapshot_size=snapshot_size,
    )


def train_pair(
    generator: nn.Module,
    discriminator: nn.Module,
    data: Float[Tensor, "n *sample"],
    config: Game,
    trainer: Trainer,
    *,
    snapshots: int = 0,
    snapshot_size: int = 64,
) -> TrainedGAN:
    """Train any two networks against each other; the models are changed in place.

    Args:
        generator: (batch, ``config.latent_dim``) to samples; with attributes ``latent_dim`` and
            ``sample_shape``.
        discriminator: samples to logits (batch,).
        data: training samples.
        config, trainer, snapshots, snapshot_size: see :func:`train_gan`.
    """
    objective = OBJECTIVES[config.objective]
    generator, discriminator = trainer.prepare(generator, discriminator)
    best, average = generator, None
    if config.average_decay is not None:
        ema = get_ema_multi_avg_fn(config.average_decay)
        (average,) = trainer.prepare(AveragedModel(generator, multi_avg_fn=ema, use_buffers=True))
        best = average.module
    betas = float(config.betas[0]), float(config.betas[1])  # torch refuses (0, 0.9)
    rate = config.discriminator_learning_rate

    def adam(model: nn.Module, learning_rate: float | int) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), learning_rate, betas=betas, fused=True)

    generator_optimiser, discriminator_optimiser = trainer.prepare(
        adam(generator, config.learning_rate),
        adam(discriminator, config.learning_rate if rate is None else rate),
    )

    judge = judge_of_pairs(discriminator)

    def discriminator_loss(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        real_logits, fake_logits = judge(real, fake)
        # The loss itself in full precision: near 0 and 1 its logarithms need the digits.
        real_logits, fake_logits = real_logits.float(), fake_logits.float()
        return {
            "discriminator_loss": objective.discriminator(real_logits, fake_logits),
            "real_probability": real_logits.sigmoid().mean(),
            "fake_probability": fake_logits.sigmoid().mean(),
        }

    def generator_loss(fake: Tensor) -> dict[str, Tensor]:
        return {"generator_loss": objective.generator(discriminator(fake).float())}

    def step(real: Tensor) -> dict[str, Tensor]:
        with trainer.autocast():
            fake = generator(trainer.randn(len(real), config.latent_dim))
        # Detached: the discriminator's step must not reach the generator.
        metrics = trainer.minimise(discriminator_loss, discriminator_optimiser, real, fake.detach())
        with frozen(discriminator):  # gradients pass through D to G, none are kept for D
            metrics |= trainer.minimise(generator_loss, generator_optimiser, fake)
        if average is not None:
            average.update_parameters(generator)
        return metrics

    film = Snapshots(
        lambda n: sample(best, n, seed=trainer.seed),
        number=snapshots,
        size=snapshot_size,
        steps=config.steps,
    )
    history = trainer.fit(
        *(step, data.detach().float()),
        batch_size=config.batch_size,
        steps=config.steps,
        snapshots=film,
    )
    return TrainedGAN(
        config=config,
        generator=trainer.finish(best),
        discriminator=trainer.finish(discriminator),
        history=history,
        snapshots=film.samples,
        snapshot_steps=film.steps,
    )


def judge_of_pairs(
    discriminator: nn.Module,
) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
    """The function (real, generated) -> their logits.

    Both in one pass are faster, but batch statistics must not mix real and generated.
    """
    if has_batch_norm(discriminator):
        return lambda real, fake: (discriminator(real), discriminator(fake))
    return lambda real, fake: discriminator(torch.cat([real, fake])).chunk(2)


# --- Sampling ------------------------------------------------------------------------------------


def sample(generator: nn.Module, n: int, *, seed: int = 0) -> Float[Tensor, "n *sample"]:
    """Draw ``n`` samples, in evaluation mode, leaving the generator's mode as it was.

    The samples are float32 and on the CPU. Their noise depends on ``seed`` alone: the same seed
    gives the same noise each time, and torch's own random state is neither used nor changed.

    Raises:
        ValueError: for less than one sample.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    parameter = next(generator.parameters())
    stream = torch.Generator().manual_seed(seed)
    latent_dim: int = generator.latent_dim  # type: ignore[assignment]
    z = torch.randn(n, latent_dim, generator=stream)
    with evaluating(generator):
        return generator(z.to(parameter.device, parameter.dtype)).float().cpu()
