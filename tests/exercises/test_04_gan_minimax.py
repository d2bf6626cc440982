"""What the exercises of chapter 04 teach is what the library does."""

from __future__ import annotations

import functools

import pytest
import torch

from course_lib import evaluation, gan


@pytest.fixture
def answer(solution):
    return functools.partial(solution, "04_gan_minimax")


def test_value(answer):
    real, fake = torch.randn(7) * 50, torch.randn(5) * 50
    expected = gan.value_function(real, fake)
    torch.testing.assert_close(answer("value_from_logits")(real, fake), expected)
    at_one_half = gan.value_function(torch.zeros(1).double(), torch.zeros(1).double())
    assert answer("value_at_one_half")() == pytest.approx(float(at_one_half), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "objective"),
    [("minimax_gradient", "minimax"), ("non_saturating_gradient", "non-saturating")],
)
def test_gradients(answer, name, objective):
    a = torch.linspace(-9, 9, 19, dtype=torch.float64, requires_grad=True)
    gan.OBJECTIVES[objective].generator(a).backward()
    torch.testing.assert_close(answer(name)(a.detach()), len(a) * a.grad)


def test_optimal_discriminator(answer):
    p_data, p_g = torch.rand(2, 20)
    expected = gan.optimal_discriminator(p_data.log(), p_g.log())
    torch.testing.assert_close(answer("optimal_discriminator")(p_data, p_g), expected)


def test_least_squares_discriminator_minimises_the_library_loss(answer):
    """At a point with densities p and q the library's loss is stationary at the solution's D*."""
    p, q = 0.7, 0.2
    best = answer("least_squares_discriminator")(torch.tensor([p]), torch.tensor([q]), 0.0, 1.0)
    logit = best.clone().requires_grad_()
    zero = torch.zeros(1)
    loss = gan.OBJECTIVES["least-squares"].discriminator
    (p * loss(logit, zero) + q * loss(torch.ones(1), logit)).backward()
    torch.testing.assert_close(logit.grad, zero, atol=1e-6, rtol=0)


def test_count_modes(answer):
    centres = torch.randn(6, 2)
    samples = torch.cat([centres[torch.randint(4, (300,))], torch.randn(40, 2)])
    samples = samples + 0.1 * torch.randn_like(samples)
    report = evaluation.count_modes(samples, centres, 0.2, 0.05)
    got = answer("count_modes")(samples, centres, 0.2, 0.05)
    assert got == (report.covered, pytest.approx(report.on_mode_share))


def test_the_mended_step_trains_the_library_pair(answer):
    """Both networks of the library learn from it, and only from their own losses."""
    torch.manual_seed(0)
    generator = gan.Generator(2, (16,), (2,), bounded=False)
    discriminator = gan.Discriminator((16,), (2,), dropout=0.0)
    optimisers = [torch.optim.SGD(net.parameters(), 0.1) for net in (generator, discriminator)]
    real, z = torch.randn(32, 2) + 2, torch.randn(32, 2)
    before = discriminator(generator(z)).mean().item()
    _, generator_loss = answer("training_step")(generator, discriminator, *optimisers, real, z)
    assert discriminator(generator(z)).mean().item() != before
    after = torch.nn.functional.softplus(-discriminator(generator(z))).mean().item()
    assert after < generator_loss
