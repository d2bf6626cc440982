"""Autoencoders, denoising ones included (Hinton & Salakhutdinov 2006; Vincent et al. 2008).

An encoder E turns a sample x into a code of few numbers, a decoder D turns the code back into a
sample, and both are trained to make the squared error small:

    E_x ‖x - D(E(x̃))‖²,

summed over the values of a sample. In the plain autoencoder x̃ = x; the denoising one sees a
corrupted x̃ and must give back the *clean* x. With Gaussian noise the best possible denoiser is
E[x|x̃], which tells the gradient of the log-density of the corrupted data; see
:func:`score_from_denoiser`. Neither kind has a distribution of codes or of samples; what
:func:`sample` draws from is put in afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib import checks, presets
from course_lib.history import History, Snapshots
from course_lib.latent_networks import ACTIVATIONS, NETWORKS, build_decoder, build_encoder
from course_lib.training import Trainer, evaluating, trainer_for

PART = 1024  # samples that go through a network at once where none are trained

# --- The model -----------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Encoder and decoder, and the mean and covariance of the codes of the training data.

    Args:
        encoder: samples to codes (batch, latent).
        decoder: codes to tensors of the shape of the samples; with an attribute ``latent_dim``.
        bounded: end in tanh, so that what is decoded lies in [-1, 1] like the images of the course.
    """

    encoder: Any  # modules, with attributes that nn.Module does not declare
    decoder: Any
    code_mean: Tensor  # (latent,)
    code_covariance: Tensor  # (latent, latent)

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, bounded: bool) -> None:
        super().__init__()
        self.encoder, self.decoder, self.bounded = encoder, decoder, bounded
        # Those of N(0, I) until the end of training, when describe_codes replaces them.
        self.register_buffer("code_mean", torch.zeros(self.decoder.latent_dim))
        self.register_buffer("code_covariance", torch.eye(self.decoder.latent_dim))

    def encode(self, x: Float[Tensor, "batch *sample"]) -> Float[Tensor, "batch latent"]:
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch *sample"]:
        output = self.decoder(z)
        return output.tanh() if self.bounded else output

    def forward(self, x: Float[Tensor, "batch *sample"]) -> Float[Tensor, "batch *sample"]:
        return self.decode(self.encode(x))


# --- The objective -------------------------------------------------------------------------------


def corrupt(
    x: Float[Tensor, "batch *sample"],
    noise_scale: float | int = 0.0,
    masking: float | int = 0.0,
    *,
    noise: Float[Tensor, "batch *sample"] | None = None,
    uniform: Float[Tensor, "batch *sample"] | None = None,
    blank: float | int = -1.0,
) -> Float[Tensor, "batch *sample"]:
    """x̃: x with Gaussian noise, and then with values masked; what is asked for with neither is x.

    The noise may lead out of [-1, 1] and is not cut off, for then it would not be Gaussian.

    Args:
        x: samples.
        noise_scale: standard deviation of the noise, in units of x (Vincent 2011, Neural
            Computation 23, section 4).
        masking: probability, in [0, 1), with which each value by itself is set to ``blank``
            (masking noise; Vincent et al. 2008, section 2.3).
        noise: drawn from N(0, I), of the shape of ``x``; needed for a noise scale.
        uniform: drawn from U(0, 1), of the shape of ``x``; needed for masking.
        blank: -1, the black of images in [-1, 1]; data without bounds have 0 there.

    Raises:
        ValueError: for a scale or a probability out of range, or without the noise that it needs.
    """
    rules = {"noise_scale": checks.number(0), "masking": checks.number(0, 1)}
    checks.check(rules, {"noise_scale": noise_scale, "masking": masking})
    for name, given, amount in (("noise", noise, noise_scale), ("uniform", uniform, masking)):
        if amount > 0 and (given is None or given.shape != x.shape):
            came = "None" if given is None else f"shape {tuple(given.shape)}"
            raise ValueError(f"{name} must have the shape of x, {tuple(x.shape)}; got {came}")
    if noise_scale > 0 and noise is not None:
        x = x + noise_scale * noise
    if masking > 0 and uniform is not None:
        x = torch.where(uniform < masking, blank, x)
    return x


def squared_error(
    model: nn.Module, x: Float[Tensor, "batch *sample"], corrupted: Float[Tensor, "batch *sample"]
) -> Float[Tensor, ""]:
    """‖x - D(E(x̃))‖² of clean x and corrupted x̃, summed over values, averaged over the batch.

    Divided by the number of values in a sample it is the mean squared error of a value.
    """
    # The networks may run in lower precision (autocast); the difference has that of x.
    return (x - model(corrupted)).square().flatten(1).sum(1).mean()


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """Everything that defines a run except data, seed, device and precision.

    With ``hidden=()`` and ``bounded=False`` the perceptron is linear, and its best possible code
    spans the same subspace as the principal components (Baldi & Hornik 1989).

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 128
    latent_dim: int = 32
    hidden: tuple[int, ...] = (400,)  # of the encoder; the decoder has them in reverse
    activation: str = "relu"
    network: str = "perceptron"
    noise_scale: float | int = 0.0  # of the corruption, as standard deviation in units of x
    masking: float | int = 0.0  # of the corruption: the share of values that are blanked
    bounded: bool = True  # samples in [-1, 1] through tanh
    learning_rate: float | int = 1e-3

    def __post_init__(self) -> None:
        checks.check(_RULES, vars(self))


_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "latent_dim": checks.whole(1),
    "hidden": checks.widths(),
    "activation": checks.one_of(ACTIVATIONS),
    "network": checks.one_of(NETWORKS),
    "noise_scale": checks.number(0),
    "masking": checks.number(0, 1),
    "bounded": checks.truth(),
    "learning_rate": checks.number(0),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=16, latent_dim=2, hidden=(16,), noise_scale=0.3),
    # 28x28 digits in a notebook: 784 -> 400 -> 32 and back
    "quick": Config(steps=1500),
    # on a GPU; the widths of Hinton & Salakhutdinov 2006 for MNIST, 784-1000-500-250-30, and 200
    # passes through 60,000 images in batches of 1,000. Theirs had logistic units and were
    # pre-trained layer by layer, then tuned by conjugate gradients on the cross-entropy; here are
    # rectified units, Adam from random weights and the squared error.
    "full": Config(steps=12_000, batch_size=1000, latent_dim=30, hidden=(1000, 500, 250)),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, sample_shape: Sequence[int]) -> Autoencoder:
    """The untrained autoencoder for samples of the given shape."""
    options = {name: getattr(config, name) for name in ("network", "hidden", "activation")}
    return Autoencoder(
        build_encoder(sample_shape, config.latent_dim, **options),
        build_decoder(config.latent_dim, sample_shape, **options),
        bounded=config.bounded,
    )


@dataclass
class TrainedAutoencoder:
    """What training returns, all on the CPU and the model in evaluation mode."""

    config: Config
    model: Autoencoder
    history: History  # squared_error, summed over the values of a sample
    snapshots: Float[Tensor, "frames n *sample"]  # see sample; the same chance at each snapshot
    snapshot_steps: list[int]


def train_autoencoder(
    data: Float[Tensor, "n *sample"],
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedAutoencoder:
    """Train an autoencoder, a denoising one where ``noise_scale`` or ``masking`` is not 0.

    Each step corrupts its batch anew. At the end the clean data are encoded once more, for the
    mean and the covariance of their codes.

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
        TrainingDivergedError: when the loss, or at the end a weight or a code, is no longer finite.
    """
    config = configure(preset, **changes)
    checks.check_samples(data, bounded=config.bounded)
    data = data.detach().float()
    trainer = trainer_for(seed, trainer)
    (model,) = trainer.prepare(build(config, data.shape[1:]))
    adam = torch.optim.Adam(model.parameters(), config.learning_rate, fused=True)
    trainer.prepare(adam)
    blank = -1.0 if config.bounded else 0.0

    def loss(x: Tensor, corrupted: Tensor) -> dict[str, Tensor]:
        return {"squared_error": squared_error(model, x, corrupted)}

    def step(x: Tensor) -> dict[str, Tensor]:
        noise = trainer.randn(*x.shape) if config.noise_scale else None
        uniform = trainer.rand(*x.shape) if config.masking else None
        corrupted = corrupt(
            x, config.noise_scale, config.masking, noise=noise, uniform=uniform, blank=blank
        )
        return trainer.minimise(loss, adam, x, corrupted)

    def draw(n: int) -> Tensor:
        describe_codes(model, data)
        return sample(model, n, seed=trainer.seed)

    film = Snapshots(draw, number=snapshots, size=snapshot_size, steps=config.steps)
    history = trainer.fit(
        step, data, batch_size=config.batch_size, steps=config.steps, snapshots=film
    )
    describe_codes(model, data)  # before finish, which refuses what is not finite
    return TrainedAutoencoder(config, trainer.finish(model), history, film.samples, film.steps)


def describe_codes(model: Autoencoder, data: Float[Tensor, "n *sample"]) -> None:
    """Put the mean and the covariance of the codes of ``data`` into the model's buffers.

    The covariance is divided by n and not by n - 1, so one sample is enough.
    """
    codes = encode(model, data)
    model.code_mean.copy_(codes.mean(0))
    model.code_covariance.copy_(torch.cov(codes.T, correction=0))


# --- Using one -----------------------------------------------------------------------------------


def encode(model: Autoencoder, x: Float[Tensor, "n *sample"]) -> Float[Tensor, "n latent"]:
    """The codes of samples, float32 and on the CPU; draws nothing.

    Raises:
        ValueError: for what is no float tensor (n, ...), or holds NaN or infinite values.
    """
    return _in_parts(model, model.encode, x)


def reconstruct(model: Autoencoder, x: Float[Tensor, "n *sample"]) -> Float[Tensor, "n *sample"]:
    """D(E(x)) of samples, float32 and on the CPU; for corrupted ones it is the clean guess.

    Raises:
        ValueError: for what is no float tensor (n, ...), or holds NaN or infinite values.
    """
    return _in_parts(model, model, x)


def _in_parts(model: Autoencoder, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    checks.check_samples(x, bounded=False, name="x")  # noise may lead out of all bounds
    parameter = next(model.parameters())
    with evaluating(model):
        parts = [network(part.to(parameter.device, parameter.dtype)) for part in x.split(PART)]
        return torch.cat(parts).float().cpu()


def sample(model: Autoencoder, n: int, *, seed: int = 0) -> Float[Tensor, "n *sample"]:
    """``n`` codes from N(code_mean, code_covariance), decoded; float32 and on the CPU.

    A makeshift: nothing in the objective asks for any distribution of the codes, and a Gaussian of
    their mean and covariance also covers places where no training sample has its code. A model
    that is trained to be sampled from is in :mod:`course_lib.vae`. The codes depend on ``seed``
    alone, and torch's own random state is neither used nor changed.

    Raises:
        ValueError: for less than one sample.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    parameter = next(model.parameters())
    noise = torch.randn(n, model.decoder.latent_dim, generator=torch.Generator().manual_seed(seed))
    # The symmetric root: also there for a singular covariance, and, unlike the eigenvectors
    # themselves, without signs that may differ from machine to machine.
    values, vectors = torch.linalg.eigh(model.code_covariance.cpu().double())
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    z = model.code_mean.cpu().double() + noise.double() @ root
    with evaluating(model):
        return model.decode(z.to(parameter.device, parameter.dtype)).float().cpu()


def score_from_denoiser(
    denoise: Callable[[Tensor], Tensor],
    x: Float[Tensor, "batch *sample"],
    noise_scale: float | int,
) -> Float[Tensor, "batch *sample"]:
    """(D(x) - x) / σ², an estimate of ∇ log p_σ(x) (Vincent 2011, section 4).

    p_σ is the density of the *corrupted* data x̃ = x + σ·noise. For the best denoiser D(x̃) =
    E[x|x̃] the equation is exact: E[x|x̃] = x̃ + σ² ∇ log p_σ(x̃), Tweedie's formula (Robbins 1956;
    Efron 2011, section 1).

    Args:
        denoise: corrupted samples to guesses of the clean ones, trained with Gaussian noise.
        x: where to estimate it.
        noise_scale: σ, the standard deviation that ``denoise`` was trained with.

    Raises:
        ValueError: for a noise scale that is no finite number of 1e-6 or more.
    """
    checks.check({"noise_scale": checks.number(1e-6)}, {"noise_scale": noise_scale})
    return (denoise(x) - x) / noise_scale**2
