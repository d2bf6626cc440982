"""The ELBO and its parts against closed forms, the networks against counts, and training them."""

import inspect
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from course_lib import vae
from course_lib.training import Trainer, TrainingDivergedError
from course_lib.vae import (
    PRESETS,
    VAE,
    Bernoulli,
    Config,
    Gaussian,
    build,
    configure,
    elbo,
    gaussian_kl,
    iwae_bound,
    reconstruct,
    sample,
    train_vae,
)

IMAGES = torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
BINARY = torch.where(IMAGES > 0, 1.0, -1.0)
HALVES = torch.ones(48, 1, 4, 4)  # two kinds: all white, and black in the upper half
HALVES[::2, :, :2] = -1
POINTS = 3 * torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
BOTH = {"images": (IMAGES, {}), "points": (POINTS, {"likelihood": "gaussian", "bounded": False})}
moments = st.tuples(st.floats(-5, 5), st.floats(-8, 5))


def tiny(data: torch.Tensor = IMAGES, **changes) -> vae.TrainedVAE:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu", **changes.pop("trainer", {}))
    return train_vae(data, "tiny", trainer=trainer, **{"steps": 6, **changes})


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def untrained(seed: int = 0, shape=(1, 4, 4), **changes) -> VAE:
    torch.manual_seed(seed)
    return build(configure("tiny", **changes), shape)


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


# --- The likelihoods -----------------------------------------------------------------------------


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
    weight = model.encoder.layers[-1].weight
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
        learned = configure("quick", likelihood="gaussian")
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
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert widths == [*hidden, 6, *hidden[::-1], math.prod(shape)]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_it_takes_every_precision_and_the_meta_device(likelihood: str) -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = build(configure("tiny", likelihood=likelihood), (1, 4, 4))
            parts = elbo(model, torch.zeros(5, 1, 4, 4), torch.randn(5, 2))
            parts.elbo.backward()
        assert {part.dtype for part in parts} == {torch.float32}
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


def test_every_preset_builds() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            model = build(config, (1, 28, 28))
            parts = elbo(model, torch.zeros(2, 1, 28, 28), torch.zeros(2, config.latent_dim))
            assert parts.elbo.shape == ()


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
    assert made.model.encoder.layers[1].weight.dtype == torch.float32


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
        *(("bounded", value) for value in (None, 1, "no")),
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_what_comes_out_is_single_precision(dtype: torch.dtype) -> None:
    model = untrained().to(dtype)
    assert sample(model, 2).dtype == reconstruct(model, IMAGES).dtype == torch.float32


def test_reconstruction_is_at_the_mean_code() -> None:
    model = untrained()
    mean, _ = model.encoder(IMAGES)
    expected = 2 * model.decoder(mean).sigmoid() - 1
    torch.testing.assert_close(reconstruct(model, IMAGES), expected.detach())
