"""The deep convolutional GAN (Radford, Metz and Chintala 2016, arXiv 1511.06434).

The game is that of :mod:`course_lib.gan`; new are the two players, which mirror each other. The
generator turns noise into a small square of many channels and doubles its side layer by layer; the
discriminator halves the side of an image layer by layer, until one number is left. The sides:

    images of 28 pixels: 1, 7, 14, 28;  of 32: 4, 8, 16, 32;  of 64: 4, 8, 16, 32, 64.

Where there is less space there are more channels: next to the image ``width`` of them, twice as
many each time the side halves, and 16 ``width`` where it is a single pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib import checks, presets
from course_lib.gan import Game, TrainedGAN, sample, train_pair
from course_lib.training import Trainer, trainer_for

__all__ = [
    "PRESETS",
    "Config",
    "Discriminator",
    "Generator",
    "build",
    "configure",
    "convolution_size",
    "init_weights",
    "interpolate",
    "sample",
    "train_dcgan",
    "transposed_convolution_size",
]

# --- Layers --------------------------------------------------------------------------------------

# From the noise to the image: kernel, stride and padding of each layer; (4, 2, 1) doubles the side.
# Two halvings of 28 pixels end at features that see 10 of them, a stroke and not a digit. So there
# is one more stage, of a single pixel, as in the authors' own program for MNIST
# (https://github.com/Newmu/dcgan_code): without it the digits have clean strokes, wrongly joined.
LAYERS = {
    28: ((1, 1, 0), (7, 1, 0), (4, 2, 1), (4, 2, 1)),
    32: ((4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1)),
    64: ((4, 1, 0), (4, 2, 1), (4, 2, 1), (4, 2, 1), (4, 2, 1)),
}
CHANNELS = {28: (16, 2, 1), 32: (4, 2, 1), 64: (8, 4, 2, 1)}  # of the stages between, in widths


def convolution_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Pixels along one side of what a convolution returns, given ``size`` pixels.

    out = floor((in + 2 padding - kernel) / stride) + 1
    (Dumoulin and Visin 2016, arXiv 1603.07285, relationship 6).
    """
    return (size + 2 * padding - kernel) // stride + 1


def transposed_convolution_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Pixels along one side of what a transposed convolution returns, given ``size`` pixels.

    out = (in - 1) stride - 2 padding + kernel: the formula of the convolution, solved for its
    input where the division leaves no remainder (the same guide, relationship 13).
    """
    return (size - 1) * stride - 2 * padding + kernel


def _check_sides(sample_shape: Sequence[int]) -> None:
    """Raise ValueError unless the layers join one pixel and images of this shape, both ways."""
    if len(sample_shape) != 3 or sample_shape[0] < 1 or sample_shape[1] != sample_shape[2]:
        raise ValueError(
            "sample_shape must be (channels, side, side), that of square images, got "
            f"{tuple(sample_shape)}; crop them to squares, and give grey ones a channel: "
            "images.unsqueeze(1)"
        )
    side = sample_shape[1]
    if side not in LAYERS:
        raise ValueError(
            f"sample_shape must have a side of {', '.join(map(str, LAYERS))} pixels, got "
            f"{tuple(sample_shape)}; resize or pad the images to one of these"
        )
    up, down = [1], [side]
    for layer in LAYERS[side]:
        up.append(transposed_convolution_size(up[-1], *layer))
    for layer in reversed(LAYERS[side]):
        down.append(convolution_size(down[-1], *layer))
    # A wrong kernel would show late or never: a discriminator that ends at 5x5 pixels returns 25
    # scores an image, and the loss, a mean, takes them.
    if up != down[::-1]:
        raise ValueError(f"layers must join 1 and {side} pixels, both ways; got {up} and {down}")


# --- The two players -----------------------------------------------------------------------------


class Generator(nn.Module):
    """Noise to image, by transposed convolutions; ReLU inside, tanh at the end (section 3).

    Args:
        latent_dim: dimension of the noise z.
        width: channels of the last stage before the image.
        sample_shape: (channels, side, side) of an image; the side is 28, 32 or 64 pixels.
        batch_norm: normalise every stage but the image itself over the batch; normalising that
            too made the training of the paper's authors unstable. Without it the convolutions have
            biases, which batch normalisation would take out again.

    Raises:
        ValueError: for another shape of images.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        width: int = 64,
        sample_shape: Sequence[int] = (3, 64, 64),
        *,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)
        _check_sides(self.sample_shape)
        image_channels, _, side = self.sample_shape
        channels = [latent_dim, *(width * times for times in CHANNELS[side]), image_channels]
        # The noise is an image of one pixel, which the first layers spread out.
        layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
        for (before, after), layer in zip(pairwise(channels), LAYERS[side], strict=True):
            layers.append(nn.ConvTranspose2d(before, after, *layer, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU())
        # The image itself is not normalised, and tanh keeps it in [-1, 1].
        layers[-2 if batch_norm else -1 :] = [nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n channels side side"]:
        if z.shape[1:] != (self.latent_dim,):
            raise ValueError(f"z must be noise (n, {self.latent_dim}), got {tuple(z.shape)}")
        return self.layers(z)


class Discriminator(nn.Module):
    """Image to logit a(x), by convolutions; the probability of "real" is sigmoid(a(x)).

    Args:
        width: channels of the first stage after the image.
        sample_shape: (channels, side, side) of an image; the side is 28, 32 or 64 pixels.
        batch_norm: normalise every stage but the first over the batch. In training, an image's
            logit then depends on the other images of its batch. Without it there are biases.
        slope: of LeakyReLU where its input is negative; 0 makes it a ReLU.

    Raises:
        ValueError: for another shape of images.
    """

    def __init__(
        self,
        width: int = 64,
        sample_shape: Sequence[int] = (3, 64, 64),
        *,
        batch_norm: bool = True,
        slope: float | int = 0.2,
    ) -> None:
        super().__init__()
        self.sample_shape = tuple(sample_shape)
        _check_sides(self.sample_shape)
        image_channels, _, side = self.sample_shape
        channels = [image_channels, *(width * times for times in reversed(CHANNELS[side])), 1]
        layers: list[nn.Module] = []
        for (before, after), layer in zip(pairwise(channels), reversed(LAYERS[side]), strict=True):
            layers.append(nn.Conv2d(before, after, *layer, bias=not batch_norm))
            if batch_norm and len(layers) > 1:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(slope))
        # The logit is the last convolution's output.
        layers[-2 if batch_norm else -1 :] = [nn.Flatten(0)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n channels height width"]) -> Float[Tensor, " n"]:
        if x.shape[1:] != self.sample_shape:  # a larger image would get several scores
            expected = ", ".join(map(str, self.sample_shape))
            raise ValueError(
                f"x must be images (n, {expected}), got {tuple(x.shape)}; resize them, or build "
                "the discriminator with their sample_shape"
            )
        return self.layers(x)


def init_weights(module: nn.Module, standard_deviation: float | int = 0.02) -> None:
    """Draw the weights of ``module`` anew, in place: convolutions from N(0, standard_deviation²).

    Section 4 of the paper, with 0.02. The scales of batch normalisation are drawn from
    N(1, standard_deviation²), as the authors' own program does; biases and shifts become 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            mean = 1.0 if isinstance(part, nn.BatchNorm2d) else 0.0
            nn.init.normal_(part.weight, mean, standard_deviation)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Config(Game):
    """Everything that defines a run except data (with its channels), seed, device and precision.

    The last three settings, and ``betas``, are the paper's guidelines for stable training.

    Raises:
        ValueError: names the setting that is out of range.
    """

    image_size: int = 64  # pixels along one side: 28, 32 or 64
    width: int = 64  # channels of the stages next to the image
    batch_norm: bool = True  # in both players
    slope: float | int = 0.2  # of LeakyReLU in the discriminator; 0: ReLU
    initial_standard_deviation: float | int | None = 0.02  # of the weights; None: as torch does it

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))
        if self.batch_norm and self.batch_size == 1:
            raise ValueError("batch_size must be 2 or more with batch_norm, which needs a spread")


_RULES: dict[str, checks.Rule] = {
    "image_size": (
        lambda value: checks.is_whole(value, 1) and value in LAYERS,
        f"one of {list(LAYERS)}",
    ),
    "width": checks.whole(1),
    "batch_norm": checks.truth(),
    "slope": checks.number(0, 1),
    "initial_standard_deviation": checks.optional(checks.number(0)),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=6, batch_size=8, latent_dim=8, width=2, image_size=28),
    # 28x28 digits in a notebook: a quarter of the published width, so that small batches and a
    # higher learning rate are the fastest way; the averaged weights smooth out what they shake
    "quick": Config(
        steps=1200,
        batch_size=32,
        latent_dim=64,
        learning_rate=2e-3,
        average_decay=0.995,
        image_size=28,
        width=16,
    ),
    # 64x64 letters in colour: about 20 minutes on one CPU core in bf16
    "glyphs": Config(steps=8000, batch_size=32, learning_rate=5e-4, average_decay=0.998, width=32),
    # 64x64 faces, of which there are only 80: fewer steps, for it soon knows them by heart
    "faces": Config(steps=3000, batch_size=32, learning_rate=5e-4, average_decay=0.998, width=32),
    # on a GPU; the paper's settings (section 4) at half the width of its figure 1, and as many
    # batches as its five passes over the 3,033,042 bedrooms of LSUN
    "full": Config(steps=118_000, batch_size=128),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, sample_shape: Sequence[int]) -> tuple[Generator, Discriminator]:
    """The untrained pair for images of the given shape.

    Raises:
        ValueError: when the images are not of ``config.image_size``.
    """
    side = config.image_size
    if tuple(sample_shape[1:]) != (side, side):
        raise ValueError(
            f"data must be images of {side}x{side} pixels, as image_size is {side}, but the shape "
            f"of one is {tuple(sample_shape)}; change image_size, or resize and crop the images"
        )
    pair = (
        Generator(config.latent_dim, config.width, sample_shape, batch_norm=config.batch_norm),
        Discriminator(
            *(config.width, sample_shape), batch_norm=config.batch_norm, slope=config.slope
        ),
    )
    if config.initial_standard_deviation is not None:
        for player in pair:
            init_weights(player, config.initial_standard_deviation)
    return pair


def train_dcgan(
    data: Float[Tensor, "n channels height width"],
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedGAN:
    """Train a convolutional pair on square images, as :func:`course_lib.gan.train_gan` does.

    Args:
        data: images, float, in [-1, 1], of the preset's size; any number of channels.
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
    checks.check_samples(data, bounded=True)
    trainer = trainer_for(seed, trainer)
    return train_pair(
        *(*build(config, data.shape[1:]), data, config, trainer),
        snapshots=snapshots,
        snapshot_size=snapshot_size,
    )


# --- Walking through the latent space ------------------------------------------------------------


def interpolate(
    start: Float[Tensor, "*batch latent"], end: Float[Tensor, "*batch latent"], frames: int
) -> Float[Tensor, "{frames} *batch latent"]:
    """Latent vectors on the way from ``start`` to ``end``, along great circles.

    In many dimensions nearly all of N(0, I) lies in a thin shell at the distance √latent from the
    origin. The straight line between two of its points leaves that shell: half way its length is
    about 1/√2 of theirs, where the generator was never trained. So the direction moves along the
    great circle at constant speed (Shoemake 1985, https://doi.org/10.1145/325165.325242; for
    latent spaces White 2016, arXiv 1609.04468), and the length linearly from one to the other.

    Args:
        start, end: of the same shape, the latent dimension last and at least 2; no vector is 0.
            Where they point in opposite directions, one of the shortest ways is taken.
        frames: how many, both ends included; at least 2.

    Raises:
        ValueError: for shapes that differ, vectors without a direction, or too few frames.
    """
    checks.check({"frames": checks.whole(2)}, {"frames": frames})
    if start.shape != end.shape or start.ndim == 0 or start.shape[-1] < 2:
        raise ValueError(
            "start and end must be of the same shape (..., latent), latent at least 2, got "
            f"{tuple(start.shape)} and {tuple(end.shape)}"
        )
    first, last = start.double(), end.double()
    lengths = [vector.norm(dim=-1, keepdim=True) for vector in (first, last)]
    if not all(bool((length.isfinite() & (length > 0)).all()) for length in lengths):
        raise ValueError("start and end must be finite and not 0, for 0 has no direction")
    u, v = first / lengths[0], last / lengths[1]
    # The way sets out in the direction that v has across u. Where v has none, for it is opposite or
    # equal to u, any direction across u is right: that of the axis farthest from u, say.
    axis = torch.zeros_like(u).scatter_(-1, u.abs().argmin(-1, keepdim=True), 1.0)
    cosine = (u * v).sum(-1, keepdim=True)
    across = v - cosine * u
    sine = across.norm(dim=-1, keepdim=True)
    across = torch.where(sine > 1e-12, across, axis)
    across = across - (across * u).sum(-1, keepdim=True) * u
    across = across / across.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    share = torch.linspace(0, 1, frames, dtype=u.dtype, device=u.device)
    share = share.reshape(-1, *[1] * u.ndim)
    direction = torch.cos(share * angle) * u + torch.sin(share * angle) * across
    way = direction * torch.lerp(lengths[0], lengths[1], share)
    return way.to(start.dtype)
