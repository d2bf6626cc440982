"""The ELBO and its parts against closed forms, the networks against counts, and training them."""

import inspect
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from course_lib import augmentation, likelihoods, vae
from course_lib.runs import Run
from course_lib.training import Trainer, TrainingDivergedError
from course_lib.vae import (
    PRESETS,
    VAE,
    Config,
    Gaussian,
    active_units,
    build,
    configure,
    elbo,
    gaussian_kl,
    iwae_bound,
    kl_per_dimension,
    kl_weight,
    learning_rate_factor,
    reconstruct,
    sample,
    train_vae,
)

IMAGES = torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
BINARY = torch.where(IMAGES > 0, 1.0, -1.0)
HALVES = torch.ones(48, 1, 4, 4)  # two kinds: all white, and black in the upper half
HALVES[::2, :, :2] = -1
KINDS = torch.arange(48) % 2  # which of both
POINTS = 3 * torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
BOTH = {"images": (IMAGES, {}), "points": (POINTS, {"likelihood": "gaussian", "bounded": False})}
# Everything beyond the plain algorithm, with what is random, counted or averaged in it.
EVERYTHING = {
    **{"dynamic_binarisation": True, "augment": True, "warm_up_steps": 4, "free_bits": 0.1},
    **{"kl_weight": 2, "average_decay": 0.5, "schedule": "cosine", "classes": 2},
}
moments = st.tuples(st.floats(-5, 5), st.floats(-8, 5))


def tiny(data: torch.Tensor = IMAGES, **changes) -> vae.TrainedVAE:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu", **changes.pop("trainer", {}))
    return train_vae(data, "tiny", trainer=trainer, **{"steps": 6, **changes})


def spied(data: torch.Tensor = IMAGES, **changes) -> tuple[list[list[torch.Tensor]], list[float]]:
    """The batches that the loss gets in each step, and the learning rates.

    All chance is that of the trainer, which several processes share, and not torch's own.
    """
    trainer, batches, rates, states = Trainer(device="cpu"), [], [], set()
    real = trainer.minimise

    def minimise(loss, optimiser, *batch, **options):
        batches.append([tensor.clone() for tensor in batch])
        rates.append(optimiser.param_groups[0]["lr"])
        states.add(bytes(torch.get_rng_state()))
        return real(loss, optimiser, *batch, **options)

    trainer.minimise = minimise  # type: ignore[method-assign]
    train_vae(data, "tiny", trainer=trainer, **changes)
    assert len(states) == 1
    return batches, rates


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def linear(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def untrained(seed: int = 0, shape=(1, 4, 4), **changes) -> VAE:
    torch.manual_seed(seed)
    return build(configure("tiny", **changes), shape)


def test_what_lives_elsewhere_is_here_too() -> None:
    assert vae.Bernoulli is likelihoods.Bernoulli and vae.Gaussian is likelihoods.Gaussian
    assert vae.binarise is augmentation.binarise and vae.augment is augmentation.augment
    own = {
        name
        for name, value in vars(vae).items()
        if getattr(value, "__module__", "") == vae.__name__
    }
    assert {name for name in own if not name.startswith("_")} <= set(vae.__all__)


# --- The divergence ------------------------------------------------------------------------------


@given(st.lists(moments, min_size=1, max_size=5))
def test_kl_is_that_of_torch(pairs) -> None:
    mean, log_variance = torch.tensor(pairs, dtype=torch.float64).T[:, None]
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), 1.0), 1)
    torch.testing.assert_close(
        gaussian_kl(mean, log_variance), kl_divergence(posterior, prior), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (1.5, -2.0), (-0.7, 1.0)])
def test_kl_is_the_integral_of_its_definition(mean: float, log_variance: float) -> None:
    z = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    log_q = Normal(mean, math.exp(log_variance / 2)).log_prob(z)
    expected = torch.trapezoid(log_q.exp() * (log_q - Normal(0.0, 1.0).log_prob(z)), z)
    found = gaussian_kl(torch.tensor([[mean]]), torch.tensor([[log_variance]]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)


def test_kl_is_summed_over_dimensions_and_exact_where_it_is_small() -> None:
    assert gaussian_kl(torch.ones(3, 7), torch.zeros(3, 7)).tolist() == [3.5] * 3
    small = gaussian_kl(torch.zeros(1, 1), torch.full((1, 1), 1e-3, dtype=torch.float64).float())
    assert small.item() == pytest.approx(1e-6 / 4, rel=1e-2)  # v²/4; else rounding is as large


# --- The bound, where log p(x) is known ----------------------------------------------------------


class LinearGaussian:
    """x = W z + b + s·noise: log p(x) and p(z|x) in closed form, q(z|x) of our choice."""

    def __init__(self, exact: bool = False) -> None:
        stream = torch.Generator().manual_seed(3)
        randn = lambda *shape: torch.randn(shape, generator=stream, dtype=torch.float64)  # noqa: E731
        # Columns at right angles, so that the true posterior has a diagonal covariance.
        w = torch.linalg.qr(randn(4, 2))[0] * torch.tensor([1.5, 0.7])
        b, scale, self.x = randn(4), 0.6, randn(3, 4)
        covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / scale**2)
        self.posterior = MultivariateNormal((self.x - b) @ w @ covariance / scale**2, covariance)
        self.log_p = MultivariateNormal(b, w @ w.T + scale**2 * torch.eye(4)).log_prob(self.x)
        encoder, decoder = nn.Linear(4, 4).double(), nn.Linear(2, 4).double()
        decoder.latent_dim = 2  # type: ignore[assignment]
        with torch.no_grad():
            decoder.weight.copy_(w)
            decoder.bias.copy_(b)
            if exact:
                weight = covariance @ w.T / scale**2
                log_variance = covariance.diagonal().log()
            else:
                weight, log_variance = 0.5 * randn(2, 4), torch.tensor([-0.5, 0.4])
            encoder.weight.copy_(torch.cat([weight, torch.zeros(2, 4)]))
            encoder.bias.copy_(torch.cat([-weight @ b, log_variance]))
        split = SimpleNamespace(encoder=encoder)

        class Encoder(nn.Module):
            def forward(self, x):
                return split.encoder(x).chunk(2, dim=1)

        self.encoder = encoder
        self.model = VAE(Encoder(), decoder, Gaussian(scale, bounded=False).double())

    def q(self) -> MultivariateNormal:
        mean, log_variance = self.encoder(self.x).chunk(2, dim=1)
        return MultivariateNormal(mean, torch.diag_embed(log_variance.exp()))

    def elbo(self, index: int) -> vae.Elbo:
        """With the noise ±√2 e_i, whose means of quadratic functions are those of N(0, I)."""
        noise = math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).double()
        return elbo(self.model, self.x[index].expand(4, 4), noise)


@pytest.mark.parametrize("exact", [True, False])
def test_the_gap_is_the_divergence_from_the_true_posterior(exact: bool) -> None:
    case = LinearGaussian(exact)
    gap = kl_divergence(case.q(), case.posterior)
    assert bool((gap < 1e-12).all()) if exact else bool((gap > 0.1).all())
    for index in range(3):
        found = case.elbo(index)
        expected = (case.log_p - gap)[index].item()
        assert found.elbo.item() == pytest.approx(expected, rel=1e-6)
        assert found.elbo.item() == pytest.approx((found.reconstruction - found.kl).item())
        prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        assert found.kl.item() == pytest.approx(kl_divergence(case.q(), prior)[index].item())


def test_the_gradient_is_that_of_the_expectation() -> None:
    """Through z (reparameterised) as through the closed form: log p(x) - KL(q ‖ p(z|x))."""
    case = LinearGaussian()
    exact = (case.log_p - kl_divergence(case.q(), case.posterior))[0]
    parameters = [case.encoder.weight, case.encoder.bias]
    expected = torch.autograd.grad(exact, parameters)
    found = torch.autograd.grad(case.elbo(0).elbo, parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_that_of_the_score_function_and_less_noisy() -> None:
    case, n = LinearGaussian(), 20_000
    x = case.x[0].expand(n, 4)
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimates = []
    for reparameterised in (True, False):
        mean, log_variance = (part.detach().requires_grad_() for part in case.model.encoder(x))
        z = mean + (log_variance / 2).exp() * noise
        value = case.model.likelihood(x, case.model.decoder(z))
        if not reparameterised:  # E_q[log p(x|z) ∇ log q(z|x)]
            log_q = Normal(mean, (log_variance / 2).exp()).log_prob(z.detach()).sum(1)
            value = value.detach() * log_q
        estimates.append(torch.cat(torch.autograd.grad(value.sum(), [mean, log_variance]), dim=1))
    difference = estimates[0].mean(0) - estimates[1].mean(0)
    error = torch.stack([(part.var(0) / n).sqrt() for part in estimates])
    assert bool((difference.abs() < 4 * error.norm(dim=0)).all())
    assert bool((error[0] < error[1]).all())


def test_the_gradient_is_that_of_finite_differences() -> None:
    model, noise = untrained(activation="tanh").double(), torch.randn(48, 2).double()
    weight = linear(model.encoder)[-1].weight
    (gradient,) = torch.autograd.grad(elbo(model, BINARY.double(), noise).elbo, weight)
    for index in [(0, 0), (1, 5), (3, 2)]:
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[index] += change
                values.append(elbo(model, BINARY.double(), noise).elbo.item())
                weight[index] -= change
        slope = (values[0] - values[1]) / 2e-5
        assert gradient[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_importance_sampling_closes_the_gap() -> None:
    """It begins at the ELBO, rises with k, and ends at log p(x)."""
    case = LinearGaussian()
    x, log_p = case.x[:1].expand(3000, 4), case.log_p[0].item()
    bounds = [iwae_bound(case.model, x, k, seed=k) for k in (1, 2, 8, 64)]
    errors = [bound.std().item() / math.sqrt(3000) for bound in bounds]
    means = [bound.mean().item() for bound in bounds]
    assert means[0] == pytest.approx(case.elbo(0).elbo.item(), abs=4 * errors[0])
    for low, high, error in zip(means, means[1:], errors, strict=False):
        assert high - low > 4 * error
    assert log_p - 0.05 < means[-1] < log_p + 4 * errors[-1]
    assert iwae_bound(case.model, x[:1], 5000).item() == pytest.approx(log_p, abs=0.05)


def test_importance_weights_of_the_true_posterior_are_all_p_of_x() -> None:
    case = LinearGaussian(exact=True)
    for k in (1, 3):
        torch.testing.assert_close(iwae_bound(case.model, case.x, k), case.log_p, rtol=1e-6, atol=0)


def test_the_bound_holds_for_a_nonlinear_model_of_binary_images() -> None:
    """log p(x) by quadrature over the one code of a decoder with a hidden layer."""
    model = untrained(latent_dim=1).double()
    for parameter in model.decoder.parameters():
        parameter.data.mul_(3)
    x = BINARY[:5].double()
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    log_p = []
    for image in x:
        log_joint = model.likelihood(image.expand(4001, 1, 4, 4), model.decoder(z[:, None]))
        log_joint = log_joint + Normal(0.0, 1.0).log_prob(z)
        log_p.append(torch.trapezoid(log_joint.exp(), z).log().item())
    torch.manual_seed(0)
    noise = torch.randn(5 * 4000, 1).double()
    found = elbo(model, x.repeat(4000, 1, 1, 1), noise).elbo.item()
    assert found < sum(log_p) / 5 - 0.01
    assert iwae_bound(model, x, 4000).tolist() == pytest.approx(log_p, abs=0.05)


@pytest.mark.parametrize("rows", [1, 5, 7, 4096])
@pytest.mark.parametrize("samples", [1, 4])
def test_iwae_in_parts_is_the_formula(monkeypatch, rows: int, samples: int) -> None:
    """Any number of rows at once; each example keeps its own noise and label."""
    monkeypatch.setattr(vae, "ROWS", rows)
    model, x, labels = untrained(classes=3, seed=1), BINARY[:6], torch.arange(6) % 3
    for parameter in model.parameters():
        parameter.data.mul_(4)  # so that it matters which code, label and image go together
    seen, stream, log_weights = [], torch.Generator().manual_seed(7), []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    found = iwae_bound(model, x, samples, labels=labels, seed=7)
    assert max(seen) <= rows and sum(seen) == 6 * samples
    mean, log_variance = model.encoder(x, nn.functional.one_hot(labels).float())
    q = Normal(mean, (log_variance / 2).exp())
    for _ in range(samples):
        z = q.mean + q.stddev * torch.randn(6, 2, generator=stream)
        logits = model.decoder(z, nn.functional.one_hot(labels).float())
        p = torch.distributions.Bernoulli(logits=logits)
        log_p = p.log_prob((x + 1) / 2).sum((1, 2, 3)) + Normal(0, 1).log_prob(z).sum(1)
        log_weights.append((log_p - q.log_prob(z).sum(1)).double())
    expected = torch.stack(log_weights).exp().mean(0).log()
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 4096])
def test_iwae_is_exact_where_the_weights_underflow(monkeypatch, rows: int) -> None:
    monkeypatch.setattr(vae, "ROWS", rows)
    case = LinearGaussian(exact=True)
    bound = iwae_bound(case.model, 1000 * case.x, 3)
    assert bool((bound < -1e4).all()), "whose exponential is 0 in double precision too"
    covariance = case.model.decoder.weight @ case.model.decoder.weight.T + 0.36 * torch.eye(4)
    p = MultivariateNormal(case.model.decoder.bias.detach(), covariance.detach())
    torch.testing.assert_close(bound, p.log_prob(1000 * case.x), rtol=1e-6, atol=0)


def test_iwae_of_a_model_in_low_precision_adds_up_in_single_precision() -> None:
    model = untrained().to(torch.bfloat16)
    bound = iwae_bound(model, BINARY, 8)
    assert bound.dtype == kl_per_dimension(model, BINARY).dtype == torch.float32
    torch.testing.assert_close(bound, iwae_bound(model.float(), BINARY, 8), rtol=0, atol=0.2)


class Known(nn.Module):
    """q(z|x) = N(slope · x, variance), in each dimension."""

    def __init__(self, slope: list[float], log_variance: list[float]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.log_variance = nn.Parameter(torch.tensor(log_variance))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * self.slope, self.log_variance.expand(len(x), -1)


def test_weights_too_many_for_single_precision_add_up_all_the_same(monkeypatch) -> None:
    """Where q is p(z) and the code tells nothing, each weight is p(x), and so is their mean."""
    monkeypatch.setattr(vae, "ROWS", 1)
    decoder = nn.Linear(1, 1)
    decoder.latent_dim = 1  # type: ignore[assignment]
    nn.init.zeros_(decoder.weight), nn.init.zeros_(decoder.bias)
    model = VAE(Known([0.0], [0.0]), decoder, Gaussian(bounded=False))
    bound = iwae_bound(model, torch.full((1, 1), 500.0), 3000)
    assert bound.dtype == torch.float32
    assert bound.item() == pytest.approx(Normal(0.0, 1.0).log_prob(torch.tensor(500.0)).item())


def test_divergence_and_activity_of_each_dimension(monkeypatch) -> None:
    monkeypatch.setattr(vae, "ROWS", 7)
    decoder = nn.Linear(4, 1)
    decoder.latent_dim = 4  # type: ignore[assignment]
    encoder = Known([1.0, 0.105, 0.095, 0.0], [-2.0, -0.1, 0.1, 0.0])
    model = VAE(encoder, decoder, Gaussian(bounded=False))
    x = torch.linspace(-3, 3, 50)[:, None]
    x = x / x.std(correction=0)  # so that the means have the squares of the slopes as variances
    q = Normal(x * encoder.slope, (encoder.log_variance / 2).exp())
    expected = kl_divergence(q, Normal(0.0, 1.0)).mean(0).detach()
    torch.testing.assert_close(kl_per_dimension(model, x), expected, rtol=1e-5, atol=1e-6)
    assert kl_per_dimension(model, x)[3] == 0
    assert active_units(model, x) == 2, "0.105² is more than 0.01, and 0.095² is not"
    assert active_units(model, x + 9) == 2, "it is the spread that counts"
    assert active_units(model, x, threshold=0.5) == 1 and active_units(model, x, threshold=0) == 3
    with pytest.raises(ValueError, match=r"threshold must be a finite number .*got -1"):
        active_units(model, x, threshold=-1)


@pytest.mark.parametrize("extreme", [1000.0, -1000.0])
def test_a_log_variance_out_of_all_bounds_spoils_nothing(extreme: float) -> None:
    model = untrained()
    with torch.no_grad():
        linear(model.encoder)[-1].bias[2:] = extreme  # the mean comes first
    value = elbo(model, BINARY, torch.randn(48, 2, generator=torch.Generator().manual_seed(0))).elbo
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    _, log_variance = model.posterior(BINARY)
    assert log_variance.unique().tolist() == [math.copysign(20, extreme)]
    assert iwae_bound(model, BINARY, 3).isfinite().all()
    expected = 0.5 * (math.exp(math.copysign(20, extreme)) - 1 - math.copysign(20, extreme))
    assert kl_per_dimension(model, BINARY).tolist() == pytest.approx([expected] * 2, rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": BINARY[0]}, r"x must be \(n, 1, 4, 4\).*got shape \(1, 4, 4\)"),
        ({"x": BINARY.flatten(1)}, r"x must be \(n, 1, 4, 4\).*got shape \(48, 16\)"),
        ({"x": BINARY[:0]}, "x must be a tensor of at least one example"),
        ({"x": BINARY / 0}, "x holds NaN or infinite values in 48 of 48"),
        ({"x": (BINARY + 1) / 2 * 255}, r"x must lie in \[-1, 1\], but spans \[0, 255\]"),
        ({"noise": torch.zeros(47, 2)}, r"noise must be \(48, 2\).*got shape \(47, 2\)"),
        ({"noise": torch.zeros(48, 3)}, r"noise must be \(48, 2\).*got shape \(48, 3\)"),
        ({"noise": torch.full((48, 2), math.nan)}, "noise must be finite"),
        ({"labels": KINDS}, r"labels must be None, .*not conditional .*got torch.int64"),
    ],
)
def test_the_bound_of_what_does_not_fit_is_refused(changes, message: str) -> None:
    arguments = {"x": BINARY, "noise": torch.zeros(48, 2), "labels": None, **changes}
    model = untrained()
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(elbo)(model, **arguments)
    if "noise" not in changes:
        x, labels = arguments["x"], arguments["labels"]
        for function in (kl_per_dimension, active_units, reconstruct):
            with pytest.raises(ValueError, match=message):
                inspect.unwrap(function)(model, x, labels=labels)
        with pytest.raises(ValueError, match=message):
            inspect.unwrap(iwae_bound)(model, x, 2, labels=labels)


def test_a_gaussian_bound_knows_no_range() -> None:
    model = untrained(likelihood="gaussian", bounded=False)
    assert elbo(model, 5 * IMAGES, torch.zeros(48, 2)).elbo.isfinite()


def test_iwae_is_seeded_and_refuses_no_samples() -> None:
    model, state = untrained(), torch.get_rng_state()
    one = iwae_bound(model, BINARY, 3, seed=1)
    assert one.shape == (48,) and not one.requires_grad
    assert torch.equal(one, iwae_bound(model, BINARY, 3, seed=1))
    assert not torch.equal(one, iwae_bound(model, BINARY, 3, seed=2))
    assert torch.equal(state, torch.get_rng_state()) and model.training
    with pytest.raises(ValueError, match=r"samples must be a whole number .*got 0"):
        iwae_bound(model, BINARY, 0)


# --- The networks --------------------------------------------------------------------------------


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_network_has_its_parameters() -> None:
    """784-400-20: the 652,824 of the VAE in PyTorch's examples."""
    with torch.device("meta"):
        assert count(build(PRESETS["quick"], (1, 28, 28))) == 652_824
        learned = configure("quick", likelihood="gaussian", dynamic_binarisation=False)
        assert count(build(learned, (1, 28, 28))) == 652_825
    layers = 784 * 400 + 400 + 2 * (400 * 20 + 20) + 20 * 400 + 400 + 400 * 784 + 784
    assert layers == 652_824


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 4, 6), (2,)])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 7)])
def test_shapes(shape: tuple[int, ...], hidden: tuple[int, ...]) -> None:
    model = untrained(shape=shape, hidden=hidden, latent_dim=3)
    mean, log_variance = model.encoder(torch.zeros(4, *shape))
    assert mean.shape == log_variance.shape == (4, 3)
    assert model.decoder(mean).shape == (4, *shape)
    widths = [layer.out_features for layer in linear(model)]
    assert widths == [*hidden, 6, *hidden[::-1], math.prod(shape)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"likelihood": "gaussian"},
        {"network": "convolutional", "hidden": (3, 4), "classes": 2},
    ],
)
def test_it_takes_every_precision_and_the_meta_device(changes) -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = build(configure("tiny", **changes), (1, 4, 4))
            labels = torch.zeros(5, dtype=torch.long) if model.classes else None
            parts = elbo(model, torch.zeros(5, 1, 4, 4), torch.randn(5, 2), labels)
            parts.elbo.backward()
            assert model.decode(torch.zeros(5, 2), labels).dtype == torch.float32
        assert {part.dtype for part in parts} == {torch.float32}
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


def test_every_preset_builds() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            model = build(config, (1, 28, 28))
            parts = elbo(model, torch.zeros(2, 1, 28, 28), torch.zeros(2, config.latent_dim))
            assert parts.elbo.shape == ()


# --- What is done to the images ------------------------------------------------------------------


def test_images_are_distorted_anew_in_every_step() -> None:
    x = torch.full((200, 1, 28, 28), -1.0)
    x[:, :, 9:19, 9:19] = 1
    batches, _ = spied(x, augment=True, steps=2, batch_size=200)
    first, second = (batch[0] for batch in batches)
    assert not torch.equal(first, second) and not torch.equal(first, x)
    assert len(first.flatten(1).unique(dim=0)) > 150, "each in its own way"


def test_grey_pixels_are_drawn_anew_in_every_step() -> None:
    x = torch.full((48, 1, 4, 4), 0.4)
    batches, _ = spied(x, dynamic_binarisation=True, steps=40, batch_size=48)
    drawn = torch.stack([batch[0] for batch in batches])
    assert drawn.unique().tolist() == [-1, 1]
    assert drawn.mean().item() == pytest.approx(0.4, abs=4 / math.sqrt(drawn.numel()))
    assert len(drawn.flatten(1).unique(dim=0)) == 40
    correlation = torch.corrcoef(drawn.flatten(1)).fill_diagonal_(0).abs().max()
    assert correlation < 5 / math.sqrt(768)
    noise = torch.stack([batch[1] for batch in batches])
    assert noise.min() < 0 and noise.std().item() == pytest.approx(1, abs=0.05)
    (plain, _), *_ = spied(x, steps=1, batch_size=48)[0]
    assert torch.equal(plain, x)


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(BOTH))
def test_training_runs_and_reports(kind: str) -> None:
    data, settings = BOTH[kind]
    made = tiny(data, snapshots=3, snapshot_size=5, seed=2, **settings)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 3, 6]
    assert made.snapshots.shape == (3, 5, *data.shape[1:])
    assert not made.model.training and made.config == configure("tiny", steps=6, **settings)
    assert torch.equal(made.snapshots[-1], sample(made.model, 5, seed=2))
    assert not torch.equal(made.snapshots[0], made.snapshots[1])
    assert list(made.history) == ["negative_elbo", "reconstruction", "kl"]
    for total, reconstruction, kl in zip(*made.history.values(), strict=True):
        assert total == pytest.approx(kl - reconstruction, rel=1e-5) and kl >= 0


@pytest.mark.parametrize("kind", list(BOTH))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_negative_elbo(kind: str, precision: str) -> None:
    data = HALVES if kind == "images" else POINTS
    settings = {**BOTH[kind][1], "steps": 150, "learning_rate": 1e-2}
    made = tiny(data, trainer={"precision": precision}, **settings)
    values = made.history["negative_elbo"]
    assert sum(values[-10:]) < 0.7 * sum(values[:10])
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    first, again, other = tiny(seed=1), tiny(seed=1, snapshots=4), tiny(seed=2)
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert dict(first.history) == dict(again.history)


def test_history_describes_the_first_step_truly() -> None:
    """One step with the whole data as its batch; the noise is all that is drawn after building."""
    made = tiny(BINARY, steps=1, batch_size=48)
    model, trainer = untrained(), Trainer(seed=0, device="cpu")
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    parts = elbo(model, BINARY[order], trainer.randn(48, 2))
    expected = {"negative_elbo": -parts.elbo, "reconstruction": parts.reconstruction}
    for name, value in {**expected, "kl": parts.kl}.items():
        assert made.history[name][0] == pytest.approx(value.item(), rel=1e-5)
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    (-parts.elbo).backward()
    adam.step()
    torch.testing.assert_close(weights(made.model), weights(model))


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = tiny(), tiny(trainer={"accumulate": 4})
    torch.testing.assert_close(weights(whole.model), weights(parts.model), rtol=1e-4, atol=1e-5)
    assert whole.history["negative_elbo"] == pytest.approx(parts.history["negative_elbo"])


def test_zero_steps_give_the_untrained_model() -> None:
    made = tiny(steps=0)
    assert torch.equal(weights(made.model), weights(untrained())) and len(made.history) == 0


def test_a_fixed_noise_scale_stays_and_a_learned_one_moves() -> None:
    start = untrained(likelihood="gaussian").likelihood.log_noise_scale.item()
    assert start == 0
    fixed, learned = (
        tiny(likelihood="gaussian", noise_scale=scale).model.likelihood.log_noise_scale.item()
        for scale in (0.1, None)
    )
    assert fixed == pytest.approx(math.log(0.1)) and -0.1 < learned < 0


def test_the_weight_of_the_divergence_rises_and_stays() -> None:
    config = configure("tiny", warm_up_steps=4, kl_weight=3)
    assert [kl_weight(config, step) for step in range(6)] == [0, 0.75, 1.5, 2.25, 3, 3]
    assert kl_weight(configure("tiny", kl_weight=0.5), 0) == 0.5


@pytest.mark.parametrize("changes", [{"warm_up_steps": 4}, {"kl_weight": 0.5}, EVERYTHING])
def test_what_is_minimised_comes_first_and_the_bound_stays_the_bound(changes) -> None:
    labels = KINDS if "classes" in changes else None
    made = tiny(labels=labels, learning_rate=1e-2, **{**changes, "free_bits": 0})
    assert list(made.history) == ["loss", "negative_elbo", "reconstruction", "kl"]
    for step, row in enumerate(made.history.rows()):
        weight = kl_weight(made.config, step)
        assert row["loss"] == pytest.approx(weight * row["kl"] - row["reconstruction"], rel=1e-5)
        assert row["negative_elbo"] == pytest.approx(row["kl"] - row["reconstruction"], rel=1e-5)


def test_free_bits_are_those_of_each_dimension_over_the_batch() -> None:
    model = untrained(latent_dim=3)
    mean, log_variance = model.encoder(IMAGES)
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).detach()
    least = kl.mean(0).median().item() * 1.01  # above two of the three
    made = tiny(steps=1, batch_size=48, latent_dim=3, free_bits=least)
    row = made.history.rows()[0]
    found = row["loss"] + row["reconstruction"]
    assert found == pytest.approx(kl.mean(0).clamp(min=least).sum().item(), rel=1e-4)
    wrong = [kl.clamp(min=least).sum(1), kl.sum(1).mean().clamp(min=3 * least), kl.sum(1)]
    assert all(abs(found - value.mean().item()) > 0.01 * found for value in wrong)
    assert row["kl"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-4)


def test_a_divergence_within_the_free_bits_pulls_at_nothing() -> None:
    free, unweighted = tiny(free_bits=1e6), tiny(kl_weight=0)
    assert torch.equal(weights(free.model), weights(unweighted.model))
    assert not torch.equal(weights(free.model), weights(tiny().model))


def test_a_larger_weight_leaves_less_divergence() -> None:
    settings = {"steps": 150, "learning_rate": 1e-2}
    last = [
        sum(tiny(HALVES, kl_weight=weight, **settings).history["kl"][-20:]) / 20
        for weight in (0.1, 1, 30)
    ]
    assert last[0] > 1.2 * last[1] and last[1] > 5 * last[2]


def test_the_published_schedule_has_its_passes() -> None:
    """Burda et al.: 3^i passes at 10^(-i/7) of the rate, i = 0 … 7."""
    config = PRESETS["full"]
    a_pass = config.steps // 3280
    assert a_pass * config.batch_size == 60_000
    end = 0
    for i in range(8):
        start, end = end, end + 3**i * a_pass
        for step in (start, (start + end) // 2, end - 1):
            assert learning_rate_factor(config, step) == pytest.approx(10 ** (-i / 7), rel=1e-12)
    assert end == config.steps


def test_the_cosine_is_half_a_wave() -> None:
    config = configure("tiny", schedule="cosine", steps=8)
    found = [learning_rate_factor(config, step) for step in (0, 2, 4, 6, 8)]
    assert found == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "burda"])
def test_each_step_has_the_rate_of_its_schedule(schedule: str) -> None:
    config = configure("tiny", schedule=schedule, steps=9, learning_rate=0.01)
    _, rates = spied(schedule=schedule, steps=9, learning_rate=0.01)
    assert rates == pytest.approx([0.01 * learning_rate_factor(config, i) for i in range(9)])
    assert (rates[-1] == rates[0]) == (schedule == "constant")


def test_the_average_is_that_of_the_weights_after_each_step() -> None:
    one, two, three = (weights(tiny(steps=steps).model) for steps in (1, 2, 3))
    found = tiny(steps=3, average_decay=0.8, snapshots=2, snapshot_size=4)
    expected = 0.8 * (0.8 * one + 0.2 * two) + 0.2 * three
    torch.testing.assert_close(weights(found.model), expected, rtol=1e-5, atol=1e-7)
    assert torch.equal(found.snapshots[-1], sample(found.model, 4)), "they are of the average"


def test_adam_has_the_epsilon_that_is_asked_for() -> None:
    small, large = (weights(tiny(steps=1, adam_epsilon=e).model) for e in (1e-8, 1e6))
    torch.testing.assert_close(large, weights(untrained()), rtol=0, atol=1e-6)
    assert (small - large).abs().max() > 5e-4


@pytest.mark.parametrize("network", ["perceptron", "convolutional"])
def test_the_network_is_the_one_that_is_asked_for(network: str) -> None:
    hidden = {"perceptron": (16,), "convolutional": (3, 4)}[network]
    made = tiny(HALVES, network=network, hidden=hidden, steps=150, learning_rate=1e-2)
    kinds = {type(layer) for layer in made.model.modules()}
    assert (nn.Conv2d in kinds) == (network == "convolutional")
    values = made.history["negative_elbo"]
    assert sum(values[-10:]) < 0.7 * sum(values[:10])


# --- Resuming ------------------------------------------------------------------------------------


class Ended(Exception):
    """What ends a training here, in the place of a kill."""


@pytest.mark.parametrize("end_after", [1, 5])
@pytest.mark.parametrize("schedule", ["cosine", "burda"])
def test_everything_goes_on_where_it_was(tmp_path, schedule: str, end_after: int) -> None:
    card = {"family": "vae", "preset": "tiny", "data": "made up", "seed": 0}

    def train(trainer: Trainer) -> vae.TrainedVAE:
        settings = {**EVERYTHING, "schedule": schedule, "steps": 8, "snapshots": 3}
        return train_vae(IMAGES, "tiny", labels=KINDS, trainer=trainer, **settings)

    expected = train(Trainer(device="cpu"))
    trainer, calls = Trainer(device="cpu", run=Run(tmp_path, card, save_steps=1)), []
    real = trainer.minimise

    def minimise(*arguments, **options):
        if len(calls) == end_after:
            raise Ended
        calls.append(1)
        return real(*arguments, **options)

    trainer.minimise = minimise  # type: ignore[method-assign]
    with pytest.raises(Ended):
        train(trainer)
    for scramble in (random.seed, np.random.seed, torch.manual_seed):
        scramble(99)
    found = train(Trainer(device="cpu", run=Run(tmp_path, card, resume=True)))
    assert torch.equal(weights(found.model), weights(expected.model))
    assert dict(found.history) == dict(expected.history)
    assert torch.equal(found.snapshots, expected.snapshots)


# --- Conditional models --------------------------------------------------------------------------


def test_a_conditional_model_draws_the_kind_that_is_asked_for() -> None:
    made = tiny(HALVES, labels=KINDS, classes=2, steps=300, learning_rate=1e-2)
    for kind in (0, 1):
        drawn = sample(made.model, 20, labels=torch.full((20,), kind), seed=kind)
        assert (drawn - HALVES[kind]).abs().mean() < 0.1
    drawn = sample(made.model, 4)
    assert (drawn - HALVES[:4]).abs().mean() < 0.1, "0, 1, 0, 1 where nothing is asked for"
    as_other = reconstruct(made.model, HALVES[:10], labels=1 - KINDS[:10])
    as_it_is = reconstruct(made.model, HALVES[:10], labels=KINDS[:10])
    assert (as_it_is - HALVES[:10]).abs().mean() < 0.1 < (as_other - HALVES[:10]).abs().mean()
    noise = torch.zeros(48, 2)
    right, wrong = (elbo(made.model, HALVES, noise, labels) for labels in (KINDS, 1 - KINDS))
    assert right.elbo > wrong.elbo + 1
    assert right.elbo > elbo(tiny(HALVES, steps=300).model, HALVES, noise).elbo


def test_labels_stay_with_their_images() -> None:
    data = (KINDS * 2.0 - 1)[:, None, None, None].expand(48, 1, 4, 4).contiguous()
    batches, _ = spied(data, labels=KINDS, classes=2, steps=5)
    for x, _, labels in batches:
        assert torch.equal(labels * 2.0 - 1, x[:, 0, 0, 0])


def test_both_networks_depend_on_the_label() -> None:
    model, x = untrained(classes=3), BINARY[:1].expand(3, 1, 4, 4)
    mean, log_variance = model.posterior(x, torch.arange(3))
    made = model.decode(torch.zeros(3, 2), torch.arange(3))
    for values in (mean, log_variance, made.flatten(1)):
        assert len(values.unique(dim=0)) == 3


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (None, "None"),
        (KINDS.float(), "torch.float32"),
        (KINDS[:47], r"torch.int64 \(47,\)"),
        (KINDS[:, None], r"torch.int64 \(48, 1\)"),
        (KINDS + 1, "classes from 1 to 2"),
        (KINDS - 1, "classes from -1 to 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, got: str) -> None:
    model = untrained(classes=2)
    message = rf"labels must be int64 \(48,\), a class from 0 to 1 .*got {got}"
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(elbo)(model, BINARY, torch.zeros(48, 2), labels)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_vae)(BINARY, "tiny", labels=labels, classes=2)
    for function in (iwae_bound, reconstruct, kl_per_dimension, active_units):
        arguments = (2,) if function is iwae_bound else ()
        with pytest.raises(ValueError, match=message):
            inspect.unwrap(function)(model, BINARY, *arguments, labels=labels)
    if labels is not None:
        with pytest.raises(ValueError, match=message):
            inspect.unwrap(sample)(model, 48, labels=labels)


def test_samples_come_from_the_data() -> None:
    """Two kinds of image: each sample is close to one of both, and both occur."""
    made = tiny(HALVES, steps=300, learning_rate=1e-2)
    drawn = sample(made.model, 200)
    distance = (drawn[:, None] - HALVES[None, :2]).abs().mean((2, 3, 4))
    share = distance.argmin(dim=1).float().mean().item()
    assert distance.min(dim=1).values.mean() < 0.15 and 0.2 < share < 0.8
    assert (reconstruct(made.model, HALVES) - HALVES).abs().mean() < 0.1


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (IMAGES, {"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        (IMAGES, {"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        (IMAGES, {"batch_size": 49}, r"batch_size must be .*between 1 and .*48; got 49"),
        (IMAGES, {"snapshots": -1}, "snapshots must be a whole number .*0 or more; got -1"),
        (IMAGES, {"snapshot_size": 0}, "snapshot_size must be a whole number .*1 or more; got 0"),
        (IMAGES, {"bounded": False}, "'bernoulli' needs bounded=True .*likelihood='gaussian'"),
        (IMAGES, {"noise_scale": 1}, "'bernoulli' needs .*noise_scale=None, got .*noise_scale=1"),
        (IMAGES, {"labels": KINDS}, r"labels must be None, .*not conditional \(classes=0\)"),
        (
            IMAGES,
            {"likelihood": "gaussian", "dynamic_binarisation": True},
            "dynamic_binarisation must be False with likelihood='gaussian'",
        ),
        (
            POINTS,
            {"likelihood": "gaussian", "bounded": False, "augment": True},
            r"augment=True needs images .*got data of shape \(48, 2\)",
        ),
        (2 * IMAGES, {}, r"data must lie in \[-1, 1\].*bounded=False"),
        (IMAGES / 0, {}, "NaN or infinite values in 48 of 48"),
        (IMAGES[:0], {}, "at least one example"),
        ((127 * IMAGES).long(), {}, r"float tensor .*got torch.int64 .*data.float\(\)"),
        (torch.zeros(48), {}, r"data\[:, None\]"),
        (IMAGES.numpy(), {}, r"got ndarray; .*torch.from_numpy\(array\).float\(\)"),
        (IMAGES, {"seed": 1, "trainer": Trainer(device="cpu")}, "either seed or trainer"),
    ],
)
def test_bad_input_is_refused(data: torch.Tensor, changes, message: str) -> None:
    arguments = {"preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_vae)(data, **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("steps", value) for value in (-1, 2.0, True, None, "9", math.nan)),
        *((name, value) for name in ("batch_size", "latent_dim") for value in (0, 1.5, True, None)),
        *(("hidden", value) for value in (16, None, [16], (16, 0), (16.0,), "ab", (True,))),
        *(("activation", value) for value in (None, "", "gelu", 3)),
        *(("likelihood", value) for value in (None, "", "laplace", [])),
        *(("noise_scale", value) for value in (0, -1, math.nan, math.inf, "1", True)),
        *(
            (name, value)
            for name in ("bounded", "dynamic_binarisation", "augment")
            for value in (None, 1, "no")
        ),
        *((name, v) for name in ("classes", "warm_up_steps") for v in (-1, 2.0, True, None)),
        *(
            (name, value)
            for name in ("kl_weight", "free_bits", "adam_epsilon")
            for value in (-1, math.nan, math.inf, None, "1", True)
        ),
        *(("average_decay", value) for value in (-0.1, 1, math.nan, "1", True)),
        *(("network", value) for value in (None, "", "transformer", 3)),
        *(("schedule", value) for value in (None, "", "linear", 3)),
        *(("learning_rate", value) for value in (-1e-3, math.nan, math.inf, None, "1", True)),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = SimpleNamespace(**{**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        Config.__post_init__(settings)  # type: ignore[arg-type]
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings() -> None:
    assert list(vae._RULES) == list(vars(PRESETS["tiny"]))


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError, match=r"negative_elbo is (nan|inf|-inf) at step"):
        tiny(learning_rate=1e30)


# --- Using one -----------------------------------------------------------------------------------


def test_sampling_is_seeded_and_touches_nothing_else() -> None:
    model, state = untrained(), torch.get_rng_state()
    drawn = sample(model, 3, seed=5)
    assert drawn.shape == (3, 1, 4, 4) and not drawn.requires_grad and model.training
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn, (2 * model.decoder(z).sigmoid() - 1).detach())
    assert not torch.equal(drawn, sample(model, 3, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"n must be a whole number .*got 0"):
        sample(model, 0)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_everything_is_computed_in_evaluation_mode(part: str) -> None:
    model = untrained()
    network = getattr(model, part)
    network.network = nn.Sequential(network.network, nn.Dropout(0.5))
    for function in (
        *(lambda: iwae_bound(model, BINARY, 2), lambda: kl_per_dimension(model, BINARY)),
        *(lambda: reconstruct(model, BINARY), lambda: sample(model, 5)),
    ):
        found = function()
        assert model.training and torch.equal(found, function())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_what_comes_out_is_single_precision(dtype: torch.dtype) -> None:
    model = untrained().to(dtype)
    assert sample(model, 2).dtype == reconstruct(model, IMAGES).dtype == torch.float32


def test_reconstruction_is_at_the_mean_code() -> None:
    model = untrained()
    mean, _ = model.encoder(IMAGES)
    expected = 2 * model.decoder(mean).sigmoid() - 1
    torch.testing.assert_close(reconstruct(model, IMAGES), expected.detach())
