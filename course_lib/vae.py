"""Variational autoencoders (Kingma & Welling 2014, arXiv 1312.6114), also conditional on labels.

A decoder turns a code z ~ N(0, I) into a distribution p(x|z) of samples; an encoder guesses, for
each sample x, which codes it may have come from: q(z|x) = N(mean(x), diag exp(log_variance(x))).
Both are trained together to raise a lower bound of the log-likelihood, the ELBO (eq. 3):

    log p(x) = ELBO(x) + KL(q(z|x) ‖ p(z|x)),   ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) ‖ p(z)).

Everything is in nats and summed over dimensions: a mean over pixels in one term and a sum over
latent dimensions in the other would silently weight the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import checks, presets
from course_lib.augmentation import augment, binarise, black_or_white
from course_lib.history import History, Snapshots
from course_lib.latent_networks import ACTIVATIONS, NETWORKS, build_decoder, build_encoder
from course_lib.likelihoods import Bernoulli, Gaussian
from course_lib.training import Trainer, evaluating, trainer_for

__all__ = [
    "LOG_VARIANCES",
    "PRESETS",
    "ROWS",
    "VAE",
    "Bernoulli",
    "Config",
    "Decoder",
    "Elbo",
    "Encoder",
    "Gaussian",
    "TrainedVAE",
    "active_units",
    "augment",
    "binarise",
    "build",
    "configure",
    "elbo",
    "gaussian_kl",
    "iwae_bound",
    "kl_per_dimension",
    "kl_weight",
    "learning_rate_factor",
    "reconstruct",
    "sample",
    "train_vae",
]

# q(z|x) is no wider and no narrower than this, as logarithms of the variance; beyond it their
# gradient is 0. A network that is badly off, early in training or on samples unlike those it knows,
# can put out hundreds: exp() of that is infinite, and one such example would spoil the bound of its
# whole batch. Standard deviations from 5e-5 to 2e4 leave out nothing that a useful code needs.
LOG_VARIANCES = (-20.0, 20.0)

ROWS = 4096  # examples that go through a network at once where none are trained

# --- The two networks ----------------------------------------------------------------------------


class Encoder(nn.Module):
    """Sample to the mean and the log-variance of q(z|x), both (batch, latent_dim).

    The arguments are those of :func:`~course_lib.latent_networks.build_encoder`; with ``classes``
    it takes one-hot labels too, and q depends on them.
    """

    def __init__(
        self, sample_shape: Sequence[int], hidden: Sequence[int], latent_dim: int, **options: Any
    ) -> None:
        super().__init__()
        # Mean and log-variance come out of one product, side by side.
        self.network = build_encoder(sample_shape, 2 * latent_dim, hidden=hidden, **options)

    def forward(
        self, x: Float[Tensor, "batch *sample"], *labels: Float[Tensor, "batch classes"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        mean, log_variance = self.network(x, *labels).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Code z to the parameters of p(x|z), one a pixel; what they mean, the likelihood says.

    The arguments are those of :func:`~course_lib.latent_networks.build_decoder`; ``hidden`` is in
    the order of the encoder.
    """

    def __init__(
        self, latent_dim: int, hidden: Sequence[int], sample_shape: Sequence[int], **options: Any
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        self.network = build_decoder(latent_dim, sample_shape, hidden=hidden, **options)

    def forward(
        self, z: Float[Tensor, "batch latent"], *labels: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, "batch *sample"]:
        return self.network(z, *labels)


# --- The bound -----------------------------------------------------------------------------------


def _kl_terms(mean: Tensor, log_variance: Tensor) -> Tensor:  # each (batch, latent)
    # ½ (mean² + variance - 1 - log variance); expm1 keeps small divergences exact.
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance)


def gaussian_kl(
    mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    """KL(N(mean, diag exp(log_variance)) ‖ N(0, I)) of each example, in nats (appendix B)."""
    return _kl_terms(mean, log_variance).sum(1)


class VAE(nn.Module):
    """Encoder, decoder and likelihood: any modules of the same calls as those of the course.

    ``decoder`` needs the attribute ``latent_dim``. With ``classes`` it is conditional: both
    networks get the label y of each example too, from 0 to classes - 1, for a bound of log p(x|y)
    (Sohn, Lee & Yan 2015; here the prior is N(0, I) whatever the label). The functions below need
    ``labels`` for such a model, one an example, and take them for no other.
    """

    encoder: Any  # modules, with attributes and methods that nn.Module does not declare
    decoder: Any
    likelihood: Any

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: nn.Module, *, classes: int = 0
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.classes = classes

    def posterior(
        self, x: Float[Tensor, "batch *sample"], labels: Int[Tensor, " batch"] | None = None
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """Mean and log-variance of q(z|x), the latter within ``LOG_VARIANCES``."""
        mean, log_variance = self.encoder(x, *self._one_hot(labels, x))
        # The networks may run in lower precision (autocast); the objective does not.
        return mean.to(x.dtype), log_variance.to(x.dtype).clamp(*LOG_VARIANCES)

    def decode(
        self, z: Float[Tensor, "batch latent"], labels: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *sample"]:
        """The parameters of p(x|z), as the likelihood takes them."""
        return self.decoder(z, *self._one_hot(labels, z)).to(z.dtype)

    def _one_hot(self, labels: Tensor | None, like: Tensor) -> tuple[Tensor, ...]:
        if labels is None:
            return ()
        return ((labels[:, None] == torch.arange(self.classes, device=like.device)).to(like.dtype),)

    def terms(
        self,
        x: Float[Tensor, "batch *sample"],
        noise: Float[Tensor, "batch latent"],
        labels: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch latent"]]:
        """log p(x|z) at one z ~ q(z|x), and KL(q(z_j|x) ‖ p(z_j)) of each latent dimension j.

        The randomness of z = mean + standard deviation · noise comes from outside, so that the
        gradient passes through z (the reparameterisation trick, section 2.4). Nothing is checked
        here, for a look at the values would wait for the device in every step.
        """
        mean, log_variance = self.posterior(x, labels)
        z = mean + torch.exp(0.5 * log_variance) * noise
        return self.likelihood(x, self.decode(z, labels)), _kl_terms(mean, log_variance)

    def forward(
        self,
        x: Float[Tensor, "batch *sample"],
        noise: Float[Tensor, "batch latent"],
        labels: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """log p(x|z) at one z ~ q(z|x), and KL(q(z|x) ‖ p(z)), of each example."""
        log_likelihood, kl = self.terms(x, noise, labels)
        return log_likelihood, kl.sum(1)


class Elbo(NamedTuple):
    """The bound and its parts, in nats, summed over dimensions and averaged over the batch."""

    elbo: Float[Tensor, ""]  # reconstruction - kl
    reconstruction: Float[Tensor, ""]  # E_q[log p(x|z)], estimated with one z an example
    kl: Float[Tensor, ""]  # KL(q(z|x) ‖ p(z)), exact


def elbo(
    vae: VAE,
    x: Float[Tensor, "batch *sample"],
    noise: Float[Tensor, "batch latent"],
    labels: Int[Tensor, " batch"] | None = None,
) -> Elbo:
    """The evidence lower bound (eq. 10), an unbiased estimate with one code an example.

    Args:
        x: samples; where the likelihood is Bernoulli in [-1, 1], and the value is a bound of
            log p(x) only if they are nothing but -1 and 1.
        noise: drawn from N(0, I), a row for each of ``x``.

    Raises:
        ValueError: for shapes, labels or values that do not fit, or NaN.
    """
    _check(vae, x, labels)
    expected = (len(x), vae.decoder.latent_dim)
    if tuple(noise.shape) != expected:
        raise ValueError(f"noise must be {expected}, a code an x; got shape {tuple(noise.shape)}")
    if not noise.is_meta and not noise.isfinite().all():
        raise ValueError("noise must be finite, a draw from N(0, I); got NaN or infinite values")
    log_likelihood, kl = vae(x, noise, labels)
    reconstruction, kl = log_likelihood.mean(), kl.mean()
    return Elbo(reconstruction - kl, reconstruction, kl)


def _check(vae: VAE, x: Tensor, labels: Tensor | None) -> None:
    shape = getattr(vae.decoder, "sample_shape", None)
    if shape is not None and tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(
            f"x must be (n, {', '.join(map(str, shape))}), the samples that the model was built "
            f"for; got shape {tuple(x.shape)}"
        )
    if not x.is_meta:
        checks.check_samples(x, bounded=isinstance(vae.likelihood, Bernoulli), name="x")
    _check_labels(labels, len(x), vae.classes)


def _check_labels(labels: Tensor | None, n: int, classes: int) -> None:
    """Raise ValueError unless there is a class for each example, or no classes and no labels."""
    if labels is None and classes == 0:
        return
    expected = f"int64 ({n},), a class from 0 to {classes - 1} for each example"
    if classes == 0:
        expected = "None, for the model is not conditional (classes=0)"
    got = "None" if labels is None else f"{labels.dtype} {tuple(labels.shape)}"
    if classes and labels is not None and (labels.dtype, *labels.shape) == (torch.int64, n):
        if labels.is_meta or bool(((labels >= 0) & (labels < classes)).all()):
            return
        got = f"classes from {int(labels.min())} to {int(labels.max())}"
    raise ValueError(f"labels must be {expected}; got {got}")


def _in_parts(
    vae: VAE, x: Tensor, labels: Tensor | None
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]]:
    """``ROWS`` examples at a time, on the model's device: x, mean and log-variance, labels.

    Without gradients; in single precision at least, whatever that of the model.
    """
    _check(vae, x, labels)
    parameter = next(vae.parameters())
    exact = torch.promote_types(parameter.dtype, torch.float32)
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS].to(parameter.device, exact)
        y = None if labels is None else labels[start : start + ROWS].to(parameter.device)
        with evaluating(vae):
            mean, log_variance = vae.posterior(part.to(parameter.dtype), y)
        yield part, (mean.to(exact), log_variance.to(exact)), y


def iwae_bound(
    vae: VAE,
    x: Float[Tensor, "n *sample"],
    samples: int,
    *,
    labels: Int[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Float[Tensor, " n"]:
    """log of the mean of ``samples`` importance weights (Burda et al. 2016, 1509.00519, eq. 8).

    log (1/k) Σ_i p(x, z_i) / q(z_i|x) with z_i ~ q(z|x), for each example, in nats. Its expectation
    is the ELBO at k = 1, never falls as k rises, and tends to log p(x); under the same conditions
    as :func:`elbo`. In evaluation mode and without gradients.

    Args:
        samples: k; the work grows with it, the memory does not.
        seed: of the noise, which torch's own random state does not touch.

    Raises:
        ValueError: for less than one sample, or x or labels that do not fit.
    """
    checks.check({"samples": checks.whole(1)}, {"samples": samples})
    stream, dtype = torch.Generator().manual_seed(seed), next(vae.parameters()).dtype
    parts = list(_in_parts(vae, x, labels))
    exact = parts[0][0].dtype
    # In double precision, which the CPU has: beside a log p(x) of ten thousands, the last of
    # thousands of weights is less than float32 can tell, and adding it would change nothing.
    bounds = [torch.full((len(part),), -math.inf, dtype=torch.float64) for part, _, _ in parts]
    at_once = max(1, ROWS // len(x))
    for done in range(0, samples, at_once):
        k = min(at_once, samples - done)
        # One draw a sample, so that the noise does not depend on how many are computed at once.
        shape = len(x), vae.decoder.latent_dim
        draws = [torch.randn(shape, generator=stream, dtype=exact) for _ in range(k)]
        noises = torch.stack(draws, dim=1).split(ROWS)  # of each part (n, k, latent)
        for index, (part, q, y) in enumerate(parts):
            noise = noises[index].to(part.device).flatten(0, 1)
            rows, mean, log_variance = (t.repeat_interleave(k, 0) for t in (part, *q))
            y = None if y is None else y.repeat_interleave(k)
            z = mean + torch.exp(0.5 * log_variance) * noise
            # log p(z) - log q(z|x); the normalising constants cancel.
            log_ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(1)
            with evaluating(vae):
                log_p = vae.likelihood(rows, vae.decode(z.to(dtype), y).to(z.dtype))
            total = (log_p + log_ratio).view(-1, k).logsumexp(1)
            bounds[index] = torch.logaddexp(bounds[index], total.cpu().double())
    return (torch.cat(bounds) - math.log(samples)).to(exact)


def kl_per_dimension(
    vae: VAE, x: Float[Tensor, "n *sample"], labels: Int[Tensor, " n"] | None = None
) -> Float[Tensor, " latent"]:
    """Mean over x of KL(q(z_j|x) ‖ p(z_j)), in nats; about 0 for a dimension that tells nothing."""
    parts = [_kl_terms(*q) for _, q, _ in _in_parts(vae, x, labels)]
    return torch.cat(parts).mean(0).cpu()


def active_units(
    vae: VAE,
    x: Float[Tensor, "n *sample"],
    *,
    threshold: float | int = 0.01,
    labels: Int[Tensor, " n"] | None = None,
) -> int:
    """Latent dimensions whose mean of q(z|x) has over x a variance of more than ``threshold``.

    That of the prior is 1 (Burda et al. 2016, section 5.2).
    """
    checks.check({"threshold": checks.number(0)}, {"threshold": threshold})
    means = torch.cat([mean for _, (mean, _), _ in _in_parts(vae, x, labels)])
    return int((means.var(0, correction=0) > threshold).sum())


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 128
    latent_dim: int = 20
    network: str = "perceptron"  # or "convolutional"; see course_lib.latent_networks
    hidden: tuple[int, ...] = (400,)  # of the encoder; the decoder has them in reverse
    activation: str = "relu"
    classes: int = 0  # of a conditional model, which is trained with labels; 0: none
    likelihood: str = "bernoulli"
    noise_scale: float | int | None = None  # of the Gaussian likelihood; None: learnt
    bounded: bool = True  # samples in [-1, 1]; False only with the Gaussian likelihood
    dynamic_binarisation: bool = False  # grey pixels become black or white anew in every step
    augment: bool = False  # every image distorted a little, anew in every step, before that
    kl_weight: float | int = 1.0  # β of a β-VAE (Higgins et al. 2017); no bound unless 1
    warm_up_steps: int = 0  # in which the weight of the KL rises from 0 (Bowman et al. 2016)
    # A latent dimension's KL, a mean over the batch, costs this many nats at least (Kingma et al.
    # 2016, arXiv 1606.04934, eq. 15). Over the micro-batch where a batch is cut into such.
    free_bits: float | int = 0.0
    learning_rate: float | int = 1e-3
    schedule: str = "constant"  # of the learning rate; see learning_rate_factor
    adam_epsilon: float | int = 1e-8
    average_decay: float | int | None = None  # of a moving average of the weights; None: none

    def __post_init__(self) -> None:
        checks.check(_RULES, vars(self))
        if self.likelihood == "bernoulli" and not (self.bounded and self.noise_scale is None):
            raise ValueError(
                "the likelihood 'bernoulli' needs bounded=True and noise_scale=None, got "
                f"bounded={self.bounded} and noise_scale={self.noise_scale!r}; for data without "
                "bounds or with a noise scale use likelihood='gaussian'"
            )
        if self.likelihood == "gaussian" and self.dynamic_binarisation:
            raise ValueError(
                "dynamic_binarisation must be False with likelihood='gaussian', whose images stay "
                "grey; got True"
            )


_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "latent_dim": checks.whole(1),
    "network": checks.one_of(NETWORKS),
    "hidden": checks.widths(),
    "activation": checks.one_of(ACTIVATIONS),
    "classes": checks.whole(0),
    "likelihood": checks.one_of(("bernoulli", "gaussian")),
    "noise_scale": checks.optional(checks.number(1e-6)),
    "bounded": checks.truth(),
    "dynamic_binarisation": checks.truth(),
    "augment": checks.truth(),
    "kl_weight": checks.number(0),
    "warm_up_steps": checks.whole(0),
    "free_bits": checks.number(0),
    "learning_rate": checks.number(0),
    "schedule": checks.one_of(("constant", "cosine", "burda")),
    "adam_epsilon": checks.number(0),
    "average_decay": checks.optional(checks.number(0, 1)),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=16, latent_dim=2, hidden=(16,)),
    # 28x28 digits in a notebook: 784 -> 400 -> 20 and back
    "quick": Config(steps=2000, dynamic_binarisation=True),
    # the best found for a minute and for ten of one core, in bf16, with the digits of mnist5k; see
    # scripts/held_out_digits.py. The first sees each of 4,000 digits 19 times, where distortions
    # cost a nat, the second 192 times.
    "minute": Config(
        steps=2400,
        batch_size=32,
        latent_dim=32,
        network="convolutional",
        hidden=(16, 32, 512),
        activation="silu",
        dynamic_binarisation=True,
        learning_rate=2e-3,
        schedule="cosine",
        average_decay=0.995,
    ),
    "ten_minutes": Config(
        steps=24_000,
        batch_size=32,
        latent_dim=32,
        network="convolutional",
        hidden=(16, 32, 512),
        activation="silu",
        dynamic_binarisation=True,
        augment=True,
        learning_rate=2e-3,
        schedule="cosine",
        average_decay=0.999,
    ),
    # on a GPU: the VAE with one stochastic layer of Burda et al. 2016 (section 5), without their
    # initial weights. On MNIST it reached -86.8 nats (table 1: IWAE bound, k = 5000). The steps
    # are their 3,280 passes of the 60,000 training images, which come from the hub:
    #     course train vae --preset full --data hub:ylecun/mnist
    "full": Config(
        steps=3280 * 60_000 // 20,
        batch_size=20,
        latent_dim=50,
        hidden=(200, 200),
        activation="tanh",
        dynamic_binarisation=True,
        schedule="burda",
        adam_epsilon=1e-4,
    ),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, sample_shape: Sequence[int]) -> VAE:
    """The untrained autoencoder for samples of the given shape."""
    options = {name: getattr(config, name) for name in ("network", "activation", "classes")}
    return VAE(
        Encoder(sample_shape, config.hidden, config.latent_dim, **options),
        Decoder(config.latent_dim, config.hidden, sample_shape, **options),
        Bernoulli()
        if config.likelihood == "bernoulli"
        else Gaussian(config.noise_scale, bounded=config.bounded),
        classes=config.classes,
    )


def learning_rate_factor(config: Config, step: int) -> float:
    """Learning rate of the step (0, 1, …) over its highest.

    "constant": 1. "cosine": half a wave, from 1 down to 0. "burda": 10^(-i/7) for a share of the
    steps of 3^i / 3280, i = 0 … 7 (Burda et al. 2016, section 5: 3^i passes of 3,280).
    """
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / max(1, config.steps)))
    if config.schedule == "burda":  # in whole numbers, so that the ends are exact
        ends = (config.steps * (3**i // 2) for i in range(1, 8))  # 1, 4, 13, … of 3,280
        return 10 ** (-sum(3280 * step >= end for end in ends) / 7)
    return 1.0


def kl_weight(config: Config, step: int) -> float:
    """Weight of the KL in the step (0, 1, …): up from 0 to its full value, and constant then."""
    if step < config.warm_up_steps:
        return float(config.kl_weight) * step / config.warm_up_steps
    return float(config.kl_weight)


@dataclass
class TrainedVAE:
    """What training returns, all on the CPU and the model in evaluation mode."""

    config: Config
    model: VAE  # with the averaged weights if there are any
    history: History  # negative_elbo, reconstruction and kl, in nats; loss before, if it is another
    snapshots: Float[Tensor, "frames n *sample"]  # the same codes at each snapshot
    snapshot_steps: list[int]


def train_vae(
    data: Float[Tensor, "n *sample"],
    preset: str = "quick",
    *,
    labels: Int[Tensor, " n"] | None = None,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedVAE:
    """Train a variational autoencoder (the paper's algorithm 1, with Adam).

    Args:
        data: training samples, float; in [-1, 1] unless ``bounded=False``.
        preset: a name in ``PRESETS``.
        labels: the class of each sample, for a conditional model (``classes``).
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots: how many sets of samples to keep, evenly spaced from step 0 to the last;
            fewer if there are fewer steps.
        snapshot_size: samples in a snapshot.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``latent_dim=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or data or labels that
            do not fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    checks.check_samples(data, bounded=config.bounded)
    _check_labels(labels, len(data), config.classes)
    if config.augment and data.ndim != 4:
        raise ValueError(
            "augment=True needs images (n, channels, height, width); got data of shape "
            f"{tuple(data.shape)}"
        )
    tensors = (data.detach().float(), *([] if labels is None else [labels]))
    trainer = trainer_for(seed, trainer)
    (vae,) = trainer.prepare(build(config, data.shape[1:]))
    best, average = vae, None
    if config.average_decay is not None:
        ema = get_ema_multi_avg_fn(config.average_decay)
        (average,) = trainer.prepare(AveragedModel(vae, multi_avg_fn=ema, use_buffers=True))
        best = average.module
    adam = optim.Adam(vae.parameters(), config.learning_rate, eps=config.adam_epsilon, fused=True)
    # It also counts the steps, and its state is saved: the weight of the KL goes by it.
    schedule = optim.lr_scheduler.LambdaLR(adam, lambda step: learning_rate_factor(config, step))
    trainer.prepare(adam, schedule)
    weight = torch.zeros((), device=trainer.device)  # a tensor: a compiled loss stays the same
    bound_is_loss = (config.kl_weight, config.warm_up_steps, config.free_bits) == (1, 0, 0)

    def loss(x: Tensor, noise: Tensor, *labels: Tensor) -> dict[str, Tensor]:
        log_likelihood, kl = vae.terms(x, noise, *labels)
        reconstruction, kl = log_likelihood.mean(), kl.mean(0)  # of each dimension
        parts = {
            "negative_elbo": kl.sum() - reconstruction,
            "reconstruction": reconstruction,
            "kl": kl.sum(),
        }
        if bound_is_loss:
            return parts
        return {"loss": weight * kl.clamp(min=config.free_bits).sum() - reconstruction, **parts}

    def step(x: Tensor, *labels: Tensor) -> dict[str, Tensor]:
        if config.augment:
            x = augment(x, trainer.rand(len(x), 5))
        if config.dynamic_binarisation:
            x = black_or_white(x, trainer.rand(*x.shape))
        weight.fill_(kl_weight(config, schedule.last_epoch))
        noise = trainer.randn(len(x), config.latent_dim)
        metrics = trainer.minimise(loss, adam, x, noise, *labels)
        schedule.step()
        if average is not None:
            average.update_parameters(vae)
        return metrics

    film = Snapshots(
        lambda n: sample(best, n, seed=trainer.seed),
        number=snapshots,
        size=snapshot_size,
        steps=config.steps,
    )
    history = trainer.fit(
        step, *tensors, batch_size=config.batch_size, steps=config.steps, snapshots=film
    )
    return TrainedVAE(config, trainer.finish(best), history, film.samples, film.steps)


# --- Using one -----------------------------------------------------------------------------------


def sample(
    vae: VAE, n: int, *, labels: Int[Tensor, " n"] | None = None, seed: int = 0
) -> Float[Tensor, "n *sample"]:
    """The means E[x|z] of ``n`` codes z ~ N(0, I), float32 and on the CPU.

    They are what papers show as samples. A sample of the model itself would add the noise of
    p(x|z) to each pixel, so the means look cleaner than the model is. The codes depend on
    ``seed`` alone, and torch's own random state is neither used nor changed.

    Args:
        labels: the class of each, for a conditional model; None: 0, 1, 2, … in turn.

    Raises:
        ValueError: for less than one sample, or labels that do not fit.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    if labels is None and vae.classes:
        labels = torch.arange(n) % vae.classes
    _check_labels(labels, n, vae.classes)
    parameter = next(vae.parameters())
    z = torch.randn(n, vae.decoder.latent_dim, generator=torch.Generator().manual_seed(seed))
    labels = None if labels is None else labels.to(parameter.device)
    with evaluating(vae):
        output = vae.decode(z.to(parameter.device, parameter.dtype), labels)
        return vae.likelihood.mean(output).float().cpu()


def reconstruct(
    vae: VAE, x: Float[Tensor, "n *sample"], *, labels: Int[Tensor, " n"] | None = None
) -> Float[Tensor, "n *sample"]:
    """E[x|z] at the mean code of each sample, float32 and on the CPU; draws nothing."""
    dtype, made = next(vae.parameters()).dtype, []
    for _, (mean, _), y in _in_parts(vae, x, labels):
        with evaluating(vae):
            made.append(vae.likelihood.mean(vae.decode(mean.to(dtype), y)).float().cpu())
    return torch.cat(made)
