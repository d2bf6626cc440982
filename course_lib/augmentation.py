"""What is done to images before a model learns from them: drawn black or white, and distorted.

All chance comes from outside, or from a seed; torch's own random state is neither used nor changed.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from course_lib import checks

ROTATION = 10.0  # degrees; each is drawn uniformly between minus and plus this
SCALE = 0.1  # about 1
SHEAR = 0.1
SHIFT = 0.5  # pixels, along each side; digits of MNIST are centred, so 2 would be other data


def binarise(images: Float[Tensor, "n *sample"], *, seed: int = 0) -> Float[Tensor, "n *sample"]:
    """Black (-1) or white (1) pixels: white with the probability (grey + 1) / 2 (0 of -1, 1 of 1).

    Held-out images are drawn once, here with a seed (Salakhutdinov & Murray 2008). Training on one
    draw, or on a fresh one in every step (``dynamic_binarisation``), makes about 2 nats on MNIST,
    and thresholded images are other data again: numbers of different kinds do not compare.

    Args:
        images: in [-1, 1].
        seed: of the draw, which torch's own random state does not touch.

    Raises:
        ValueError: for values outside [-1, 1], NaN, or a tensor that is no float (n, ...).
    """
    checks.check_samples(images, bounded=True, name="images")
    stream = torch.Generator().manual_seed(seed)
    return black_or_white(images, torch.rand(images.shape, generator=stream).to(images.device))


def black_or_white(
    images: Float[Tensor, "n *sample"], chance: Float[Tensor, "n *sample"]
) -> Float[Tensor, "n *sample"]:
    """:func:`binarise` with the chance, uniform in [0, 1), from outside; nothing is checked."""
    return torch.where(chance < (images + 1) / 2, 1.0, -1.0).to(images.dtype)


def augment(
    images: Float[Tensor, "n channels height width"], chance: Float[Tensor, "n 5"]
) -> Float[Tensor, "n channels height width"]:
    """Each image a little turned, scaled, sheared and shifted; what comes in from outside is -1.

    Every pixel is the nearest one of the original. Interpolation would blur the edges, and the
    grey of blurred edges is noise once it is binarised: the entropy of a digit of ``mnist5k``, 46
    nats, stays as it is, and rises to 74 with bilinear interpolation.

    Args:
        images: in [-1, 1], which the result is too.
        chance: uniform in [0, 1); at 0.5 everywhere the images stay as they are.
    """
    signed = 2 * chance - 1
    angle, scale = signed[:, 0] * math.radians(ROTATION), 1 + SCALE * signed[:, 1]
    cos, sin, shear = angle.cos() / scale, angle.sin() / scale, SHEAR * signed[:, 2]
    # Where each pixel of the result comes from, in pixels about the centre: a rotation after a
    # shear; then in units of half a side, as grid_sample takes it.
    height, width = images.shape[2:]
    across = [cos, (cos * shear - sin) * height / width, SHIFT * 2 / width * signed[:, 3]]
    down = [sin * width / height, sin * shear + cos, SHIFT * 2 / height * signed[:, 4]]
    matrices = torch.stack([torch.stack(across, 1), torch.stack(down, 1)], 1)
    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    # It takes the outside to be 0.
    return grid_sample(images + 1, grid, mode="nearest", align_corners=False) - 1
