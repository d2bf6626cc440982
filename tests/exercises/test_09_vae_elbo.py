"""What the exercises of chapter 09 teach is what the library does."""

from __future__ import annotations

import math

import pytest
import torch
from answer_cells import check_visibly
from torch import Tensor, nn

from course_lib import vae

CHAPTER = "09_vae_elbo"


def test_what_the_text_says_about_the_prediction_of_the_bias(cells):
    name = "log_evidence_estimate"
    rows = {row[0]: row[1:] for row in check_visibly(cells, name, cells[name])["table"]}
    bias, _, predicted = rows[1]
    assert 1.6 < bias / predicted < 2.4
    for k in (16, 64):
        bias, error, predicted = rows[k]
        assert abs(bias - predicted) < 3 * error


class LinearEncoder(nn.Module):
    """q(z|x) = N(x · weight + offset, variance), the code of one dimension."""

    def __init__(self, weight: Tensor, offset: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(weight), offset
        self.log_variance = variance.log()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x @ self.weight + self.offset)[:, None]
        return mean, self.log_variance.expand_as(mean)


class LinearDecoder(nn.Module):
    latent_dim = 1

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)

    def forward(self, z: Tensor) -> Tensor:
        return z * self.w + self.b


def linear_gaussian(answer, off: float = 0.0, wide: float = 1.0):
    """The model of the exercises as one of the library, data of it, and (w, b, s).

    Its q is the posterior that the exercise gives, moved by ``off`` and ``wide`` times as wide.
    """
    w, b, x = torch.randn(3, 4, dtype=torch.float64)
    s, data = 0.7, torch.stack([x, 2 * x, -x])
    # The mean is linear in x: its values at 0 and at the unit vectors say all.
    means, variance = answer("posterior")(torch.cat([torch.zeros(1, 4), torch.eye(4)]), w, b, s)
    encoder = LinearEncoder(means[1:] - means[0], means[0] + off, wide * variance)
    model = vae.VAE(encoder, LinearDecoder(w, b), vae.Gaussian(s, bounded=False))
    return model.double(), data, (w, b, s)


def test_divergence(answer):
    mean, log_variance = torch.randn(2, 6, 3)
    zero = torch.zeros(6, 3)
    expected = vae.gaussian_kl(mean, log_variance)
    torch.testing.assert_close(answer("gaussian_kl")(mean, log_variance, zero, zero), expected)
    torch.testing.assert_close(answer("kl_term")(mean, log_variance), expected.mean())


def test_the_mended_steps_make_the_library_bound(answer):
    model = vae.build(vae.configure("tiny"), (1, 4, 4)).double()
    for parameter in model.parameters():  # away from the start, where faults are silent
        nn.init.normal_(parameter, std=0.3)
    x = torch.where(torch.randn(5, 1, 4, 4) > 0, 1.0, -1.0).double()
    noise = torch.randn(5, 2, dtype=torch.float64)
    mean, log_variance = model.posterior(x)
    logits = model.decode(answer("draw_codes")(mean, log_variance, noise)).flatten(1)
    kl = answer("kl_term")(mean, log_variance)
    loss = answer("negative_elbo")(logits, (x.flatten(1) + 1) / 2, kl)
    torch.testing.assert_close(loss, -vae.elbo(model, x, noise).elbo)


def test_exact_elbo(answer):
    """Three nodes of Gauss-Hermite quadrature: the library's bound is quadratic in the noise."""
    model, data, parameters = linear_gaussian(answer, off=0.3, wide=2.0)
    mean, log_variance = (part.squeeze(1).detach() for part in model.posterior(data))
    expected = torch.zeros(3, dtype=torch.float64)
    for node, share in ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6)):
        log_likelihood, kl = model(data, torch.full((3, 1), node, dtype=torch.float64))
        expected += share * (log_likelihood - kl).detach()
    got = answer("exact_elbo")(data, *parameters, mean, log_variance)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("off", "wide", "tolerance"), [(0.0, 1.0, 1e-9), (0.3, 1.5, 0.02)], ids=["exact", "off"]
)
def test_importance_weighted_estimates(answer, off, wide, tolerance):
    model, data, parameters = linear_gaussian(answer, off, wide)
    mean, log_variance = (part.detach() for part in model.posterior(data))
    noise = torch.randn(1, 10_000, dtype=torch.float64)
    expected = vae.iwae_bound(model, data, 10_000)
    z = mean + torch.exp(log_variance / 2) * noise.T[:, :, None]  # (k, batch, 1)
    means = model.decode(z.flatten(0, 1))
    log_likelihood = model.likelihood(data.repeat(10_000, 1), means).detach().view(10_000, 3)
    logs = answer("log_weights")(log_likelihood, z, mean, log_variance)
    whole = answer("iwae_bound")(logs)
    torch.testing.assert_close(whole, expected, atol=tolerance, rtol=0)
    first, second = answer("iwae_bound")(logs[:300]), answer("iwae_bound")(logs[300:])
    torch.testing.assert_close(answer("join_bounds")(first, 300, second, 9700), whole)
    for row in range(3):
        q = float(mean[row]), float(log_variance[row])
        got = answer("log_evidence_estimate")(data[row], *parameters, *q, noise)
        torch.testing.assert_close(got[0], whole[row])


def test_gaussian_likelihood(answer):
    x, mean = torch.randn(2, 3, 1, 4, 4)
    for scale in (0.2, 3.0):
        expected = vae.Gaussian(scale, bounded=False)(x, mean)
        torch.testing.assert_close(answer("gaussian_log_likelihood")(x, mean, scale), expected)


def test_the_learned_noise_scale_rests_at_the_best(answer):
    x, mean = torch.randn(2, 3, 1, 4, 4)
    likelihood = vae.Gaussian(bounded=False)
    nn.init.constant_(likelihood.log_noise_scale, answer("best_noise_scales")(x, mean).log().item())
    likelihood(x, mean).sum().backward()
    assert abs(likelihood.log_noise_scale.grad) < 1e-4


def test_active_units(answer):
    model = vae.build(vae.configure("tiny", latent_dim=5), (1, 4, 4))
    x = torch.rand(200, 1, 4, 4) * 2 - 1
    means, _ = model.posterior(x)
    variances = means.detach().var(0, correction=0).sort().values
    threshold = float(variances[1:3].mean())  # between two of them
    assert answer("active_units")(means.detach(), threshold) == 3
    assert vae.active_units(model, x, threshold=threshold) == 3


def test_free_bits(answer):
    """The loss of a training step that changes nothing is what the exercise charges."""
    x = torch.where(torch.randn(64, 1, 4, 4) > 0, 1.0, -1.0)
    free = {"free_bits": 0.05, "steps": 1, "batch_size": 64, "latent_dim": 6}
    trained = vae.train_vae(x, "tiny", learning_rate=1e-12, **free)
    first = {name: values[0] for name, values in trained.history.items()}
    with torch.no_grad():
        _, kl = trained.model.terms(x, torch.zeros(64, 6))
    charged = float(answer("free_bits_kl")(kl, 0.05, 1))
    assert charged > float(kl.mean(0).sum()) + 0.01, "no dimension was below its free bits"
    assert first["loss"] + first["reconstruction"] == pytest.approx(charged, abs=1e-4)
