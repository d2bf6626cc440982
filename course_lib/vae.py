"""Variational autoencoders (Kingma & Welling 2014, arXiv 1312.6114), fully connected.

A decoder turns a code z ~ N(0, I) into a distribution p(x|z) of samples; an encoder guesses, for
each sample x, which codes it may have come from: q(z|x) = N(mean(x), diag exp(log_variance(x))).
Both are trained together to raise a lower bound of the log-likelihood, the ELBO (eq. 3):

    log p(x) = ELBO(x) + KL(q(z|x) ‖ p(z|x)),   ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) ‖ p(z)).

Everything is in nats and summed over dimensions: a mean over pixels in one term and a sum over
latent dimensions in the other would silently weight the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_lib import checks, presets
from course_lib.history import History, Snapshots
from course_lib.training import Trainer, evaluating, trainer_for

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}

# --- The two networks ----------------------------------------------------------------------------


def _perceptron(widths: Sequence[int], activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths):
        layers += [nn.Linear(width, next_width), ACTIVATIONS[activation]()]
    return layers[:-1]  # none after the last layer


class Encoder(nn.Module):
    """Sample to the mean and the log-variance of q(z|x), both (batch, latent_dim)."""

    def __init__(
        self,
        sample_shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (400,),
        latent_dim: int = 20,
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        # Mean and log-variance come out of one product, side by side.
        widths = (math.prod(sample_shape), *hidden, 2 * latent_dim)
        self.layers = nn.Sequential(nn.Flatten(), *_perceptron(widths, activation))

    def forward(
        self, x: Float[Tensor, "batch *sample"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """Code z to the parameters of p(x|z), one a pixel; what they mean, the likelihood says.

    ``hidden`` is in the order of the layers: that of the encoder reversed.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        sample_shape: Sequence[int] = (1, 28, 28),
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        widths = (latent_dim, *hidden, math.prod(sample_shape))
        self.layers = nn.Sequential(
            *_perceptron(widths, activation), nn.Unflatten(1, self.sample_shape)
        )

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *sample"]:
        return self.layers(z)


# --- The likelihoods -----------------------------------------------------------------------------


class Bernoulli(nn.Module):
    """log p(x|z) of pixels that are black (-1) or white (1); the decoder's outputs are logits.

    Images of the course lie in [-1, 1]; they become (x + 1) / 2 in [0, 1] in here.

    A Bernoulli likelihood on grey pixels is not a log-likelihood: on anything but -1 and 1 it is
    the (negative) cross-entropy, a reasonable loss, whose value says nothing about log p(x) and
    compares with no paper's. For a bound of log p(x), train and evaluate on binarised images, for
    instance ``torch.where(images > 0, 1.0, -1.0)``; how they were binarised belongs to the number.
    """

    def forward(
        self, x: Float[Tensor, "batch *sample"], logits: Float[Tensor, "batch *sample"]
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) of each example, summed over pixels: Σ t log p + (1 - t) log(1 - p)."""
        terms = binary_cross_entropy_with_logits(logits, (x + 1) / 2, reduction="none")
        return -terms.flatten(1).sum(1)

    def mean(self, logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """E[x|z] in [-1, 1]."""
        return torch.tanh(logits / 2)  # = 2 sigmoid(a) - 1


class Gaussian(nn.Module):
    """log p(x|z) = log N(x; mean(z), noise_scale² I), a density: it may be positive.

    Its value depends on the unit of x, so it compares neither with a Bernoulli's nor with that of
    images in [0, 1]. The noise scale sets the weight between the two terms of the ELBO. If it is
    learned, its optimum is the root mean square error of the reconstruction (Rybkin, Daniilidis &
    Levine 2021, arXiv 2006.13202).

    Args:
        noise_scale: standard deviation of each value of x around the mean, in units of x; None:
            learned, one for all values, from 1 on.
        bounded: the mean is tanh(output / 2), in [-1, 1] like the images of the course; otherwise
            it is the output of the decoder.
    """

    log_noise_scale: Tensor

    def __init__(self, noise_scale: float | int | None = None, *, bounded: bool = True) -> None:
        super().__init__()
        self.bounded = bounded
        if noise_scale is None:
            self.log_noise_scale = nn.Parameter(torch.tensor(0.0))
        else:
            self.register_buffer("log_noise_scale", torch.tensor(math.log(noise_scale)))

    def forward(
        self, x: Float[Tensor, "batch *sample"], output: Float[Tensor, "batch *sample"]
    ) -> Float[Tensor, " batch"]:
        """log p(x|z) of each example, summed over the values of x."""
        squares = (x - self.mean(output)).flatten(1).square().sum(1)
        constant = math.prod(x.shape[1:]) * (self.log_noise_scale + math.log(2 * math.pi) / 2)
        return -squares / (2 * torch.exp(2 * self.log_noise_scale)) - constant

    def mean(self, output: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """E[x|z]."""
        return torch.tanh(output / 2) if self.bounded else output


# --- The bound -----------------------------------------------------------------------------------


def gaussian_kl(
    mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    """KL(N(mean, diag exp(log_variance)) ‖ N(0, I)) of each example, in nats (appendix B).

    ½ Σ (mean² + variance - 1 - log variance), at least 0. Half of the terms are computed with
    expm1, which keeps small divergences exact.
    """
    return 0.5 * (mean.square() + torch.expm1(log_variance) - log_variance).sum(1)


class VAE(nn.Module):
    """Encoder, decoder and likelihood.

    The parts may be any modules of the same calls, for instance linear ones, for which log p(x)
    is known in closed form. ``decoder`` needs the attribute ``latent_dim``.
    """

    encoder: Any  # modules, with attributes and methods that nn.Module does not declare
    decoder: Any
    likelihood: Any

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood

    def forward(
        self, x: Float[Tensor, "batch *sample"], noise: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """log p(x|z) at one z ~ q(z|x), and KL(q(z|x) ‖ p(z)), of each example.

        z = mean + standard deviation · noise: the randomness comes from outside, so that the
        gradient passes through z (the reparameterisation trick, section 2.4).
        """
        # The networks may run in lower precision (autocast); the objective does not.
        mean, log_variance = (part.to(x.dtype) for part in self.encoder(x))
        z = mean + torch.exp(0.5 * log_variance) * noise
        output = self.decoder(z).to(x.dtype)
        return self.likelihood(x, output), gaussian_kl(mean, log_variance)


class Elbo(NamedTuple):
    """The bound and its parts, in nats, summed over dimensions and averaged over the batch."""

    elbo: Float[Tensor, ""]  # reconstruction - kl
    reconstruction: Float[Tensor, ""]  # E_q[log p(x|z)], estimated with one z an example
    kl: Float[Tensor, ""]  # KL(q(z|x) ‖ p(z)), exact


def elbo(
    vae: nn.Module,
    x: Float[Tensor, "batch *sample"],
    noise: Float[Tensor, "batch latent"],
) -> Elbo:
    """The evidence lower bound (eq. 10), an unbiased estimate with one code an example.

    Args:
        vae: a :class:`VAE`; read at :class:`Bernoulli` when its value is a bound of log p(x).
        x: samples; in [-1, 1] where the likelihood is Bernoulli.
        noise: drawn from N(0, I), as many rows as ``x``, of the dimension of the code.
    """
    log_likelihood, kl = vae(x, noise)
    reconstruction, kl = log_likelihood.mean(), kl.mean()
    return Elbo(reconstruction - kl, reconstruction, kl)


def iwae_bound(
    vae: VAE, x: Float[Tensor, "n *sample"], samples: int, *, seed: int = 0
) -> Float[Tensor, " n"]:
    """log of the mean of ``samples`` importance weights (Burda et al. 2016, 1509.00519, eq. 8).

    log (1/k) Σ_i p(x, z_i) / q(z_i|x) with z_i ~ q(z|x), for each example, in nats. Its expectation
    is the ELBO at k = 1, never falls as k rises, and tends to log p(x); under the same conditions
    as the ELBO (see :class:`Bernoulli`). In evaluation mode and without gradients.

    Args:
        samples: k; the work grows with it, the memory does not.
        seed: of the noise, which torch's own random state does not touch.

    Raises:
        ValueError: for less than one sample.
    """
    checks.check({"samples": checks.whole(1)}, {"samples": samples})
    parameter = next(vae.parameters())
    stream = torch.Generator().manual_seed(seed)
    x = x.to(parameter.device, parameter.dtype)
    bound = torch.full((len(x),), -math.inf, device=x.device, dtype=x.dtype)
    with evaluating(vae):
        mean, log_variance = vae.encoder(x)
        for _ in range(samples):
            noise = torch.randn(mean.shape, generator=stream, dtype=x.dtype).to(x.device)
            z = mean + torch.exp(0.5 * log_variance) * noise
            # log p(z) - log q(z|x); the normalising constants cancel.
            log_ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(1)
            log_weight = vae.likelihood(x, vae.decoder(z)) + log_ratio
            bound = torch.logaddexp(bound, log_weight)
    return (bound - math.log(samples)).cpu()


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
    hidden: tuple[int, ...] = (400,)  # of the encoder; the decoder has them in reverse
    activation: str = "relu"
    likelihood: str = "bernoulli"
    noise_scale: float | int | None = None  # of the Gaussian likelihood; None: learned
    bounded: bool = True  # samples in [-1, 1]; False only with the Gaussian likelihood
    learning_rate: float | int = 1e-3

    def __post_init__(self) -> None:
        checks.check(_RULES, vars(self))
        if self.likelihood == "bernoulli" and not (self.bounded and self.noise_scale is None):
            raise ValueError(
                "the likelihood 'bernoulli' needs bounded=True and noise_scale=None, got "
                f"bounded={self.bounded} and noise_scale={self.noise_scale!r}; for data without "
                "bounds or with a noise scale use likelihood='gaussian'"
            )


_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "latent_dim": checks.whole(1),
    "hidden": checks.widths(),
    "activation": checks.one_of(ACTIVATIONS),
    "likelihood": checks.one_of(("bernoulli", "gaussian")),
    "noise_scale": checks.optional(checks.number(1e-6)),
    "bounded": checks.truth(),
    "learning_rate": checks.number(0),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=16, latent_dim=2, hidden=(16,)),
    # 28x28 digits in a notebook: 784 -> 400 -> 20 and back
    "quick": Config(steps=2000),
    # on a GPU; MNIST in the paper's section 5 and figure 2: 500 tanh units, minibatches of 100,
    # 10^8 training samples seen; Adam instead of Adagrad, no prior of the weights
    "full": Config(steps=1_000_000, batch_size=100, hidden=(500,), activation="tanh"),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, sample_shape: Sequence[int]) -> VAE:
    """The untrained autoencoder for samples of the given shape."""
    hidden, latent_dim = config.hidden, config.latent_dim
    return VAE(
        Encoder(sample_shape, hidden, latent_dim, activation=config.activation),
        Decoder(latent_dim, hidden[::-1], sample_shape, activation=config.activation),
        Bernoulli()
        if config.likelihood == "bernoulli"
        else Gaussian(config.noise_scale, bounded=config.bounded),
    )


@dataclass
class TrainedVAE:
    """What :func:`train_vae` returns, all on the CPU and the model in evaluation mode."""

    config: Config
    model: VAE
    history: History  # negative_elbo, reconstruction and kl, in nats
    snapshots: Float[Tensor, "frames n *sample"]  # the same codes at each snapshot
    snapshot_steps: list[int]


def train_vae(
    data: Float[Tensor, "n *sample"],
    preset: str = "quick",
    *,
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
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots: how many sets of samples to keep, evenly spaced from step 0 to the last;
            fewer if there are fewer steps.
        snapshot_size: samples in a snapshot.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``latent_dim=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or data that does not
            fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    checks.check_samples(data, bounded=config.bounded)
    data = data.detach().float()
    trainer = trainer_for(seed, trainer)
    (vae,) = trainer.prepare(build(config, data.shape[1:]))
    adam = torch.optim.Adam(vae.parameters(), config.learning_rate, fused=True)
    trainer.prepare(adam)

    def loss(x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        parts = elbo(vae, x, noise)
        return {
            "negative_elbo": -parts.elbo,
            "reconstruction": parts.reconstruction,
            "kl": parts.kl,
        }

    def step(x: Tensor) -> dict[str, Tensor]:
        return trainer.minimise(loss, adam, x, trainer.randn(len(x), config.latent_dim))

    film = Snapshots(
        lambda n: sample(vae, n, seed=trainer.seed),
        number=snapshots,
        size=snapshot_size,
        steps=config.steps,
    )
    history = trainer.fit(
        step, data, batch_size=config.batch_size, steps=config.steps, snapshots=film
    )
    return TrainedVAE(
        config=config,
        model=trainer.finish(vae),
        history=history,
        snapshots=film.samples,
        snapshot_steps=film.steps,
    )


# --- Using one -----------------------------------------------------------------------------------


def sample(vae: VAE, n: int, *, seed: int = 0) -> Float[Tensor, "n *sample"]:
    """The means E[x|z] of ``n`` codes z ~ N(0, I), float32 and on the CPU.

    They are what papers show as samples. A sample of the model itself would add the noise of
    p(x|z) to each pixel, so the means look cleaner than the model is. The codes depend on
    ``seed`` alone, and torch's own random state is neither used nor changed.

    Raises:
        ValueError: for less than one sample.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    parameter = next(vae.parameters())
    z = torch.randn(n, vae.decoder.latent_dim, generator=torch.Generator().manual_seed(seed))
    with evaluating(vae):
        output = vae.decoder(z.to(parameter.device, parameter.dtype))
        return vae.likelihood.mean(output).float().cpu()


def reconstruct(vae: VAE, x: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
    """E[x|z] at the mean code of each sample, float32 and on the CPU; draws nothing."""
    parameter = next(vae.parameters())
    with evaluating(vae):
        mean, _ = vae.encoder(x.to(parameter.device, parameter.dtype))
        return vae.likelihood.mean(vae.decoder(mean)).float().cpu()
