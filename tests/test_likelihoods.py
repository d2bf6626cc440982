"""The likelihoods against torch.distributions, sums over all images, and closed forms."""

import inspect
import math

import pytest
import torch
from torch.distributions import Normal

from course_lib.likelihoods import Bernoulli, Gaussian

IMAGES = torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
POINTS = 3 * torch.randn(48, 2, generator=torch.Generator().manual_seed(0))


def test_bernoulli_is_the_cross_entropy_of_images_in_unit_range() -> None:
    logits = 5 * torch.randn(48, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    target, p = (IMAGES.double() + 1) / 2, 1 / (1 + (-logits.double()).exp())
    expected = (target * p.log() + (1 - target) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(Bernoulli()(IMAGES, logits), expected.float())
    extreme = Bernoulli()(torch.ones(1, 1), torch.full((1, 1), -1000.0))
    assert extreme.item() == -1000, "where p rounds to 0"
    torch.testing.assert_close(Bernoulli().mean(logits), 2 * logits.sigmoid() - 1)


def test_bernoulli_is_a_distribution_of_binary_images_and_of_no_others() -> None:
    """The probabilities of all 2^4 images add up to 1; over grey images they have no such sum."""
    images = torch.cartesian_prod(*4 * [torch.tensor([-1.0, 1.0])])
    logits = torch.tensor([0.3, -2.0, 1.0, 0.1]).expand(16, 4)
    assert Bernoulli()(images, logits).exp().sum().item() == pytest.approx(1, abs=1e-6)
    grey = torch.linspace(-1, 1, 10_001)[:, None]
    total = torch.trapezoid(Bernoulli()(grey, torch.full_like(grey, 3.0)).exp(), grey[:, 0])
    assert total.item() == pytest.approx(2 / 3 * math.tanh(3 / 2), rel=1e-5)  # and not 1


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("noise_scale", [None, 0.3])
def test_gaussian_is_that_of_torch(noise_scale: float | None, bounded: bool) -> None:
    likelihood = Gaussian(noise_scale, bounded=bounded)
    output = torch.randn(48, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    mean = torch.tanh(output / 2) if bounded else output
    expected = Normal(mean, noise_scale or 1.0).log_prob(IMAGES).sum((1, 2, 3))
    torch.testing.assert_close(likelihood(IMAGES, output), expected)
    assert torch.equal(likelihood.mean(output), mean)
    assert len(list(likelihood.parameters())) == (noise_scale is None)
    assert list(likelihood.state_dict()) == ["log_noise_scale"], "a checkpoint must tell it"


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, 1e-7, "1"])
def test_a_noise_scale_that_is_none_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"^noise_scale must be None, or a finite number .*; got "):
        inspect.unwrap(Gaussian.__init__)(Gaussian(), wrong)


def test_the_best_noise_scale_is_the_error_of_the_reconstruction() -> None:
    likelihood, output = Gaussian(bounded=False), torch.zeros(48, 2)
    adam = torch.optim.LBFGS(likelihood.parameters(), line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        adam.zero_grad()
        value = -likelihood(POINTS, output).mean()
        value.backward()
        return value

    adam.step(loss)
    best = likelihood.log_noise_scale.exp().item()
    assert best == pytest.approx(POINTS.square().mean().sqrt().item(), rel=1e-3)
