"""The distributions p(x|z) of a sample given its code, for models with a code.

A likelihood turns what a decoder puts out into log p(x|z), summed over the values of x and in nats,
and into the mean of x.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_lib import checks


class Bernoulli(nn.Module):
    """log p(x|z) of pixels that are black (-1) or white (1); the decoder's outputs are logits.

    Images of the course lie in [-1, 1]; they become (x + 1) / 2 in [0, 1] in here.

    On grey pixels this is no log-likelihood of the grey image. It is linear in the pixels, so it is
    the average over the black-and-white images that are drawn from the grey one (`binarise`), and
    an ELBO with it is a bound for those whose encoder has not seen the draw. It compares with no
    paper's number. For a bound of log p(x), train and evaluate on binarised images; how they were
    binarised belongs to the number.
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
    learnt, its optimum is the root mean square error of the reconstruction (Rybkin, Daniilidis &
    Levine 2021, arXiv 2006.13202).

    Args:
        noise_scale: standard deviation of each value of x around the mean, in units of x; None:
            learnt, one for all values, from 1 on.
        bounded: the mean is tanh(output / 2), in [-1, 1] like the images of the course; otherwise
            it is the output of the decoder.

    Raises:
        ValueError: for a noise scale that is no finite number of 1e-6 or more.
    """

    log_noise_scale: Tensor

    def __init__(self, noise_scale: float | int | None = None, *, bounded: bool = True) -> None:
        super().__init__()
        rule = checks.optional(checks.number(1e-6))
        checks.check({"noise_scale": rule}, {"noise_scale": noise_scale})
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
