"""The networks of models with a code: sample to code and back, for autoencoders and VAEs.

An encoder turns a sample into numbers, a decoder turns a code into something of the shape of a
sample, and the two mirror each other. What the numbers mean is the affair of the model. Two kinds:

- perceptron: fully connected layers, for samples of any shape;
- convolutional: residual blocks at a half and a quarter of the side, then fully connected layers;
  for images.

Neither has batch normalisation, so an example's output never depends on the rest of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from course_lib import checks

NETWORKS = ("perceptron", "convolutional")
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}

# --- Both kinds ----------------------------------------------------------------------------------


class LatentEncoder(nn.Module):
    """Sample to numbers: ``features`` of the sample, then ``head``, which may know the label.

    Made by :func:`build_encoder`.
    """

    def __init__(self, features: nn.Module, head: nn.Module, classes: int) -> None:
        super().__init__()
        self.features, self.head, self.classes = features, head, classes

    def forward(
        self,
        x: Float[Tensor, "batch *sample"],
        labels: Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        return self.head(_join(self.features(x), labels, self.classes))


class LatentDecoder(nn.Module):
    """Code, and label if there are any, to a tensor of the shape of a sample.

    Made by :func:`build_decoder`.
    """

    def __init__(
        self, layers: nn.Module, latent_dim: int, sample_shape: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        self.layers, self.classes = layers, classes
        self.latent_dim, self.sample_shape = latent_dim, tuple(sample_shape)

    def forward(
        self,
        z: Float[Tensor, "batch latent"],
        labels: Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, "batch *sample"]:
        return self.layers(_join(z, labels, self.classes))


def _join(values: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """The labels beside the values; a ValueError unless they are what the network was built for."""
    shape = None if labels is None else tuple(labels.shape)
    if shape != ((len(values), classes) if classes else None):
        raise ValueError(
            "labels must be "
            + (f"one-hot ({len(values)}, {classes})" if classes else "None: there are no classes")
            + f", got {'None' if shape is None else f'shape {shape}'}"
        )
    return values if labels is None else torch.cat([values, labels], dim=1)


def _perceptron(widths: Sequence[int], activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths):
        layers += [nn.Linear(width, next_width), ACTIVATIONS[activation]()]
    return layers[:-1]  # none after the last layer


# --- Convolutions --------------------------------------------------------------------------------

# Why so, measured with VAEs on held-out digits of mnist5k (ELBO; one run each, with distortions).
# The convolutions take the time, so the side is halved at once and they are narrow; a wide fully
# connected layer lets the code see the image as a whole. In 150 processor seconds (16, 32, 512)
# reached -95.0 nats and (32, 64, 256) -97.4; (32, 64), without such a layer, -98.0 in 240 seconds.


class ResidualBlock(nn.Module):
    """x + f(x) with f of two 3x3 convolutions (He et al. 2016, arXiv 1603.05027, figure 1b)."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
            ACTIVATIONS[activation](),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


def _check_image(sample_shape: Sequence[int], hidden: Sequence[int]) -> None:
    if len(sample_shape) != 3 or any(side < 4 or side % 4 for side in sample_shape[1:]):
        raise ValueError(
            "sample_shape must be (channels, height, width) with sides that are multiples of 4 for "
            f"network='convolutional', got {tuple(sample_shape)}; resize or pad the images, or use "
            "network='perceptron'"
        )
    if len(hidden) < 2:
        raise ValueError(
            "hidden must be the channels at a half and at a quarter of the side, then the widths "
            "of fully connected layers, such as (32, 64, 256), for network='convolutional', got "
            f"{tuple(hidden)}"
        )


# --- Building one --------------------------------------------------------------------------------


def build_encoder(
    sample_shape: Sequence[int],
    outputs: int,
    *,
    network: str = "perceptron",
    hidden: Sequence[int] = (400,),
    activation: str = "relu",
    classes: int = 0,
) -> LatentEncoder:
    """A network ``x (batch, *sample) -> (batch, outputs)``.

    Args:
        sample_shape: that of one sample; images (channels, height, width) with sides that are
            multiples of 4 for the convolutional network.
        outputs: numbers an example.
        network: "perceptron" or "convolutional".
        hidden: widths of the layers between, which may be none; for the convolutional network
            the channels at a half and at a quarter of the side, then the widths of fully
            connected layers between the image and the output, such as (32, 64, 256).
        activation: a name in ``ACTIVATIONS``.
        classes: if not 0, the network takes labels too, one-hot (batch, classes).

    Raises:
        ValueError: names the argument that does not fit.
    """
    options = {"network": network, "activation": activation, "classes": classes}
    _check(sample_shape, "outputs", outputs, hidden=tuple(hidden), **options)
    if network == "perceptron":
        widths = (math.prod(sample_shape) + classes, *hidden, outputs)
        head = nn.Sequential(*_perceptron(widths, activation))
        return LatentEncoder(nn.Flatten(), head, classes)
    _check_image(sample_shape, hidden)
    channels, height, width = sample_shape
    half, quarter, *dense = hidden
    features = nn.Sequential(
        nn.Conv2d(channels, half, 4, stride=2, padding=1),
        ResidualBlock(half, activation),
        nn.Conv2d(half, quarter, 4, stride=2, padding=1),
        ResidualBlock(quarter, activation),
        ACTIVATIONS[activation](),
        nn.Flatten(),
    )
    flat = quarter * (height // 4) * (width // 4)
    head = nn.Sequential(*_perceptron((flat + classes, *dense, outputs), activation))
    return LatentEncoder(features, head, classes)


def build_decoder(
    inputs: int,
    sample_shape: Sequence[int],
    *,
    network: str = "perceptron",
    hidden: Sequence[int] = (400,),
    activation: str = "relu",
    classes: int = 0,
) -> LatentDecoder:
    """A network ``z (batch, inputs) -> (batch, *sample)``, the mirror image of the encoder.

    It has the attributes ``latent_dim`` (``inputs``) and ``sample_shape``. ``hidden`` is in the
    order of the encoder; the other arguments and errors are those of :func:`build_encoder`.
    """
    options = {"network": network, "activation": activation, "classes": classes}
    _check(sample_shape, "inputs", inputs, hidden=tuple(hidden), **options)
    if network == "perceptron":
        widths = (inputs + classes, *reversed(hidden), math.prod(sample_shape))
        layers = [*_perceptron(widths, activation), nn.Unflatten(1, tuple(sample_shape))]
        return LatentDecoder(nn.Sequential(*layers), inputs, sample_shape, classes)
    _check_image(sample_shape, hidden)
    channels, height, width = sample_shape
    half, quarter, *dense = hidden
    square = (quarter, height // 4, width // 4)
    layers = [
        *_perceptron((inputs + classes, *reversed(dense), math.prod(square)), activation),
        nn.Unflatten(1, square),
        ResidualBlock(quarter, activation),
        nn.ConvTranspose2d(quarter, half, 4, stride=2, padding=1),
        ResidualBlock(half, activation),
        ACTIVATIONS[activation](),
        nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1),
    ]
    return LatentDecoder(nn.Sequential(*layers), inputs, sample_shape, classes)


def _check(sample_shape: Sequence[int], name: str, numbers: int, **settings: object) -> None:
    rules = {
        "sample_shape": checks.widths(),
        name: checks.whole(1),
        "network": checks.one_of(NETWORKS),
        "hidden": checks.widths(),
        "activation": checks.one_of(ACTIVATIONS),
        "classes": checks.whole(0),
    }
    checks.check(rules, {"sample_shape": tuple(sample_shape), name: numbers, **settings})
