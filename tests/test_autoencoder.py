"""Autoencoders against PCA, denoisers against closed forms, corruption, codes, and training."""

import inspect
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_lib import autoencoder
from course_lib.autoencoder import (
    PRESETS,
    Autoencoder,
    Config,
    build,
    configure,
    corrupt,
    describe_codes,
    encode,
    reconstruct,
    sample,
    score_from_denoiser,
    squared_error,
    train_autoencoder,
)
from course_lib.runs import Run
from course_lib.training import Trainer, TrainingDivergedError

IMAGES = torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
HALVES = torch.ones(48, 1, 4, 4)  # two kinds: all white, and black in the upper half
HALVES[::2, :, :2] = -1
POINTS = 3 * torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
BOTH = {"images": (IMAGES, {}), "points": (POINTS, {"bounded": False})}


def tiny(data: torch.Tensor = IMAGES, **changes) -> autoencoder.TrainedAutoencoder:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu", **changes.pop("trainer", {}))
    return train_autoencoder(data, "tiny", trainer=trainer, **{"steps": 6, **changes})


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def untrained(seed: int = 0, shape=(1, 4, 4), **changes) -> Autoencoder:
    torch.manual_seed(seed)
    return build(configure("tiny", **changes), shape)


def chance(seed: int = 0, like: torch.Tensor = IMAGES) -> dict[str, torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    draw = {"noise": torch.randn, "uniform": torch.rand}
    return {name: kind(like.shape, generator=stream) for name, kind in draw.items()}


# --- Linear autoencoders: the principal components -----------------------------------------------


def correlated(n: int = 400) -> torch.Tensor:
    """Points in ten dimensions, of which three matter, away from the origin."""
    stream = torch.Generator().manual_seed(1)
    scales = torch.tensor([2.0, 1.5, 1.0, *[0.2] * 7])
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=stream))[0]
    return (torch.randn(n, 10, generator=stream) * scales) @ rotation + 0.5


def pca_error(data: torch.Tensor, components: int) -> float:
    x = data.double().numpy()
    found = PCA(components, svd_solver="full").fit(x)
    return float(((x - found.inverse_transform(found.transform(x))) ** 2).sum(1).mean())


def test_the_centred_projection_has_the_error_of_pca() -> None:
    """Of the data's own variance it leaves what the other components hold."""
    data, model = correlated(), untrained(shape=(10,), latent_dim=3, hidden=(), bounded=False)
    pca = PCA(3, svd_solver="full").fit(data.double().numpy())
    components, mean = (torch.from_numpy(part).float() for part in (pca.components_, pca.mean_))
    (encoder,) = (part for part in model.encoder.modules() if isinstance(part, nn.Linear))
    (decoder,) = (part for part in model.decoder.modules() if isinstance(part, nn.Linear))
    with torch.no_grad():
        encoder.weight.copy_(components)
        encoder.bias.copy_(-components @ mean)
        decoder.weight.copy_(components.T)
        decoder.bias.copy_(mean)
    found = squared_error(model, data, data).item()
    assert found == pytest.approx(pca_error(data, 3), rel=1e-4)
    left = torch.linalg.eigvalsh(torch.cov(data.T, correction=0))[:7].sum().item()
    assert found == pytest.approx(left, rel=1e-4)
    expected = torch.from_numpy(pca.transform(data.double().numpy())).float()
    torch.testing.assert_close(encode(model, data), expected, rtol=1e-3, atol=1e-4)
    describe_codes(model, data)  # principal components are uncorrelated
    variances = torch.from_numpy(pca.explained_variance_).float() * 399 / 400
    torch.testing.assert_close(model.code_covariance, variances.diag(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(model.code_mean, torch.zeros(3), rtol=0, atol=1e-4)


def test_a_linear_autoencoder_learns_the_subspace_of_pca() -> None:
    data = correlated()
    settings = {"latent_dim": 3, "hidden": (), "bounded": False, "noise_scale": 0}
    made = tiny(data, steps=700, batch_size=400, learning_rate=1e-2, **settings)
    error, best = squared_error(made.model, data, data).item(), pca_error(data, 3)
    variance = data.var(0, correction=0).sum().item()
    assert best * (1 - 1e-5) <= error <= best + 1e-3 * variance, "and nothing linear is better"
    # The same subspace, in a basis of its own: all principal angles are about 0.
    decoder = torch.linalg.qr(made.model.decoder.layers[0].weight.detach())[0]
    components = torch.from_numpy(PCA(3).fit(data.numpy()).components_).T.float()
    assert torch.linalg.svdvals(decoder.T @ components).min() > 0.99


# --- Corruption ----------------------------------------------------------------------------------


@given(st.floats(0, 3), st.integers(0, 99))
def test_noise_is_added_in_its_scale(scale: float, seed: int) -> None:
    noise = chance(seed)["noise"]
    torch.testing.assert_close(corrupt(IMAGES, scale, noise=noise), IMAGES + scale * noise)


def test_noise_has_the_standard_deviation_that_was_asked_for_and_is_not_cut_off() -> None:
    white = torch.ones(4000, 1, 4, 4)
    noise = corrupt(white, 0.5, **chance(like=white)) - white
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01) and noise.max() > 1.5


@pytest.mark.parametrize("masking", [0.1, 0.25, 0.9])
@pytest.mark.parametrize("blank", [-1.0, 0.0])
def test_a_share_of_the_values_is_blanked_and_the_others_stay(masking: float, blank) -> None:
    x = torch.rand(4000, 1, 4, 4, generator=torch.Generator().manual_seed(3)) + 0.1
    found = corrupt(x, masking=masking, blank=blank, **chance(like=x))
    blanked = found == blank
    assert torch.equal(found[~blanked], x[~blanked])
    error = math.sqrt(masking * (1 - masking) / x.numel())
    assert blanked.float().mean().item() == pytest.approx(masking, abs=4 * error)
    # Each value by itself: not whole images, and not the same places in all of them.
    each = math.sqrt(masking * (1 - masking) / 4000)
    assert (blanked.float().mean(0) - masking).abs().max() < 5 * each
    spread = blanked.flatten(1).float().sum(1).var().item()
    assert spread == pytest.approx(16 * masking * (1 - masking), rel=0.15)


def test_masked_values_carry_no_noise() -> None:
    found = corrupt(IMAGES, 0.5, 0.25, **chance())
    masked = chance()["uniform"] < 0.25
    assert (found[masked] == -1).all() and not (found[~masked] == IMAGES[~masked]).any()


def test_without_corruption_nothing_changes_and_nothing_is_drawn() -> None:
    assert torch.equal(corrupt(IMAGES), IMAGES)
    assert torch.equal(corrupt(IMAGES, **chance()), IMAGES)
    clean, state = IMAGES.clone(), torch.get_rng_state()
    corrupt(IMAGES, 0.5, 0.5, **chance())
    assert torch.equal(IMAGES, clean) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_scale": -0.1}, r"^noise_scale must be a finite number .*0 or more; got -0.1"),
        ({"noise_scale": math.nan}, "^noise_scale must be .*got nan"),
        ({"masking": 1.0}, "^masking must be .*less than 1; got 1.0"),
        ({"masking": -1}, "^masking must be .*got -1"),
        ({"noise_scale": 0.1}, r"^noise must have the shape of x, \(48, 1, 4, 4\); got None"),
        ({"masking": 0.1}, r"^uniform must have the shape of x, .*; got None"),
        ({"noise_scale": 1, "noise": IMAGES[:1]}, r"^noise must .*; got shape \(1, 1, 4, 4\)"),
        ({"masking": 0.1, "uniform": IMAGES[:, 0]}, r"^uniform must .*; got shape \(48, 4, 4\)"),
    ],
)
def test_bad_corruption_is_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(corrupt)(IMAGES, **arguments)


# --- The objective -------------------------------------------------------------------------------


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


def test_the_error_is_summed_over_values_averaged_over_examples_and_against_the_clean_x() -> None:
    x, corrupted = IMAGES, corrupt(IMAGES, 0.5, 0.25, **chance())
    found = squared_error(Twice(), x, corrupted).item()
    a, b = x.double().numpy().reshape(48, -1), corrupted.double().numpy().reshape(48, -1)
    assert found == pytest.approx(np.mean(np.linalg.norm(a - 2 * b, axis=1) ** 2), rel=1e-6)
    assert squared_error(nn.Identity(), x, x).item() == 0


def test_the_gradient_is_that_of_finite_differences() -> None:
    model = untrained(activation="tanh").double()
    x, corrupted = IMAGES.double(), corrupt(IMAGES, 0.5, **chance()).double()
    weight = next(model.encoder.parameters())
    (gradient,) = torch.autograd.grad(squared_error(model, x, corrupted), weight)
    for index in [(0, 0), (1, 5), (3, 2)]:
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[index] += change
                values.append(squared_error(model, x, corrupted).item())
                weight[index] -= change
        slope = (values[0] - values[1]) / 2e-5
        assert gradient[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_what_is_learnt_is_the_clean_image_and_not_the_corrupted_one() -> None:
    """With half of the values black, the mean of what would be a corrupted target is grey."""
    made = tiny(HALVES, steps=400, learning_rate=1e-2, noise_scale=0, masking=0.5)
    assert (reconstruct(made.model, HALVES) - HALVES).abs().mean() < 0.1
    masked = corrupt(HALVES, masking=0.5, **chance())
    assert (masked - HALVES).abs().mean() > 0.5
    assert (reconstruct(made.model, masked) - HALVES).abs().mean() < 0.1


def test_masking_blanks_to_black_where_there_are_bounds_and_to_zero_elsewhere(monkeypatch) -> None:
    seen = []
    original = autoencoder.squared_error

    def spy(model, x, corrupted):
        seen.append((x, corrupted))
        return original(model, x, corrupted)

    monkeypatch.setattr(autoencoder, "squared_error", spy)
    for bounded, blank in ((True, -1.0), (False, 0.0)):
        seen.clear()
        tiny(IMAGES, steps=30, noise_scale=0, masking=0.25, bounded=bounded)
        x, corrupted = (torch.cat(parts) for parts in zip(*seen, strict=True))
        changed = x != corrupted
        assert (corrupted[changed] == blank).all()
        error = math.sqrt(0.25 * 0.75 / x.numel())
        assert changed.float().mean().item() == pytest.approx(0.25, abs=4 * error)
        rows = {tuple(row.tolist()) for row in IMAGES.flatten(1)}
        assert all(tuple(row.tolist()) in rows for row in x.flatten(1)), "the target is clean"


# --- Denoisers and the score ---------------------------------------------------------------------


def mixture(scale: float, dtype: torch.dtype = torch.float64) -> MixtureSameFamily:
    """Three round Gaussians in the plane, of this standard deviation."""
    means = torch.tensor([[-2.0, 0.0], [2.0, 0.5], [0.5, 2.5]], dtype=dtype)
    parts = Independent(Normal(means, scale), 1)
    return MixtureSameFamily(Categorical(torch.tensor([0.5, 0.3, 0.2], dtype=dtype)), parts)


def score(density: MixtureSameFamily, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(density.log_prob(x).sum(), x)[0]


SPREAD = 0.3  # of the clean mixture; corrupted with σ it is that with variance SPREAD² + σ²


@pytest.mark.parametrize("noise_scale", [0.3, 1.0])
def test_the_score_is_that_of_the_corrupted_density_where_the_denoiser_is_the_best(
    noise_scale: float,
) -> None:
    """E[x|x̃] by quadrature over x, and nothing else, goes in; ∇ log p_σ comes out."""
    axis = torch.linspace(-5, 6, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    prior = mixture(SPREAD).log_prob(grid)

    def posterior_mean(x: torch.Tensor) -> torch.Tensor:
        squares = (x[:, None] - grid).square().sum(2)
        weight = torch.softmax(prior - squares / (2 * noise_scale**2), dim=1)
        return weight @ grid

    x = torch.tensor([[-2.0, 0.3], [0.0, 1.0], [1.5, -1.0], [0.5, 4.0]], dtype=torch.float64)
    found = score_from_denoiser(posterior_mean, x, noise_scale)
    expected = score(mixture(math.hypot(SPREAD, noise_scale)), x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    clean = score(mixture(SPREAD), x)
    assert (found - clean).abs().max() > 0.1, "and not that of the clean density"


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, "1"])
def test_a_score_needs_a_noise_scale(wrong) -> None:
    with pytest.raises(ValueError, match=r"noise_scale must be a finite number .*; got "):
        inspect.unwrap(score_from_denoiser)(nn.Identity(), POINTS, wrong)


def test_a_trained_denoiser_is_near_the_best_one_and_its_score_near_the_true_one() -> None:
    noise_scale = 0.7
    torch.manual_seed(0)
    data = mixture(SPREAD, torch.float32).sample((4000,))
    made = tiny(
        *(data,),
        **{"steps": 1200, "batch_size": 256, "hidden": (64,), "latent_dim": 64},
        **{"bounded": False, "noise_scale": noise_scale, "learning_rate": 3e-3},
    )
    clean = mixture(SPREAD, torch.float32).sample((4000,))
    corrupted = corrupt(clean, noise_scale, noise=torch.randn_like(clean))
    true_score = score(mixture(math.hypot(SPREAD, noise_scale), torch.float32), corrupted)
    best = corrupted + noise_scale**2 * true_score

    def distance(guess: torch.Tensor) -> float:
        return (guess - best).square().sum(1).mean().item()

    found = reconstruct(made.model, corrupted)
    assert distance(found) < 0.05 * min(distance(corrupted), distance(data.mean(0)))
    # Half the noise is taken away, or twice as much: nowhere near.
    assert distance(found) < 0.2 * distance((corrupted + best) / 2)
    estimate = score_from_denoiser(lambda x: reconstruct(made.model, x), corrupted, noise_scale)
    error = (estimate - true_score).square().sum(1).mean() / true_score.square().sum(1).mean()
    assert error < 0.05
    # No denoiser beats the best one, whose error is left in the history.
    least = (clean - best).square().sum(1).mean().item()
    assert np.mean(made.history["squared_error"][-200:]) == pytest.approx(least, rel=0.1)


# --- The model -----------------------------------------------------------------------------------


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_widths_have_their_parameters() -> None:
    widths = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
    layers = sum(a * b + b for a, b in pairwise(widths))
    with torch.device("meta"):
        assert count(build(PRESETS["full"], (1, 28, 28))) == layers == 2_837_314


@pytest.mark.parametrize(
    ("network", "hidden", "shape"),
    [
        *(("perceptron", (5, 4), shape) for shape in ((1, 28, 28), (3, 4, 8), (2,))),
        *(("convolutional", (4, 8), shape) for shape in ((1, 28, 28), (3, 4, 8))),
    ],
)
def test_shapes_and_bounds(network: str, hidden, shape: tuple[int, ...]) -> None:
    for bounded in (True, False):
        model = untrained(
            shape=shape, network=network, hidden=hidden, latent_dim=3, bounded=bounded
        )
        x = 3 * torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
        z = 100 * model.encode(x)
        assert z.shape == (4, 3)
        decoded = model.decode(z)
        assert decoded.shape == x.shape and bool((decoded.abs() <= 1).all()) == bounded
        torch.testing.assert_close(
            decoded, model.decoder(z).tanh() if bounded else model.decoder(z)
        )
        torch.testing.assert_close(model(x), model.decode(model.encode(x)))


def test_it_takes_every_precision_and_the_meta_device() -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = build(configure("tiny"), (1, 4, 4))
            error = squared_error(model, torch.zeros(5, 1, 4, 4), torch.ones(5, 1, 4, 4))
            error.backward()
        assert error.dtype == torch.float32
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


def test_every_preset_builds() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            model, x = build(config, (1, 28, 28)), torch.zeros(2, 1, 28, 28)
            assert squared_error(model, x, x).shape == ()


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
    assert list(made.history) == ["squared_error"]


@pytest.mark.parametrize("kind", list(BOTH))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_error(kind: str, precision: str) -> None:
    data = HALVES if kind == "images" else POINTS
    settings = {**BOTH[kind][1], "steps": 150, "learning_rate": 1e-2}
    made = tiny(data, trainer={"precision": precision}, **settings)
    values = made.history["squared_error"]
    assert sum(values[-10:]) < 0.3 * sum(values[:10])
    assert {weight.dtype for weight in made.model.state_dict().values()} == {torch.float32}


def test_a_convolutional_one_trains() -> None:
    made = tiny(HALVES, network="convolutional", hidden=(4, 4), steps=60, learning_rate=1e-2)
    values = made.history["squared_error"]
    assert sum(values[-10:]) < 0.5 * sum(values[:10])


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    settings = {"masking": 0.25}
    first, other = tiny(seed=1, **settings), tiny(seed=2, **settings)
    assert not torch.equal(weights(first.model), weights(other.model))
    for snapshots in (0, 1, 4):
        again = tiny(seed=1, snapshots=snapshots, **settings)
        assert torch.equal(weights(first.model), weights(again.model))
        assert dict(first.history) == dict(again.history)


def test_history_describes_the_first_step_truly() -> None:
    """One step with the whole data as its batch; first the noise is drawn, then the mask."""
    made = tiny(steps=1, batch_size=48, noise_scale=0.4, masking=0.25)
    model, trainer = untrained(), Trainer(seed=0, device="cpu")
    x = IMAGES[torch.randperm(48, generator=torch.Generator().manual_seed(0))]
    noisy = x + 0.4 * trainer.randn(48, 1, 4, 4)
    masked = trainer.rand(48, 1, 4, 4) < 0.25
    error = squared_error(model, x, noisy.masked_fill(masked, -1))
    assert made.history["squared_error"] == pytest.approx([error.item()], rel=1e-5)
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    error.backward()
    adam.step()
    for found, expected in zip(made.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = tiny(masking=0.25), tiny(masking=0.25, trainer={"accumulate": 4})
    torch.testing.assert_close(weights(whole.model), weights(parts.model), rtol=1e-4, atol=1e-5)
    assert whole.history["squared_error"] == pytest.approx(parts.history["squared_error"])


def test_zero_steps_give_the_untrained_model_with_its_codes_described() -> None:
    made, start = tiny(steps=0), untrained()
    describe_codes(start, IMAGES)
    assert torch.equal(weights(made.model), weights(start)) and len(made.history) == 0


def test_a_run_is_resumed_to_the_last_bit(tmp_path, monkeypatch) -> None:
    settings = {"masking": 0.25, "snapshots": 3}
    card = {"family": "autoencoder", "preset": "tiny", "data": "made up", "seed": 0}

    class Ended(Exception):
        pass

    expected = tiny(**settings)
    trainer = Trainer(device="cpu", run=Run(tmp_path, card, save_steps=1))
    real, calls = trainer.minimise, []

    def minimise(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise Ended
        return real(*arguments, **options)

    monkeypatch.setattr(trainer, "minimise", minimise)
    with pytest.raises(Ended):
        train_autoencoder(IMAGES, "tiny", trainer=trainer, steps=6, **settings)
    found = tiny(trainer={"run": Run(tmp_path, card, resume=True)}, **settings)
    assert torch.equal(weights(found.model), weights(expected.model))
    assert torch.equal(found.snapshots, expected.snapshots)
    assert dict(found.history) == dict(expected.history)


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (IMAGES, {"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        (IMAGES, {"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        (IMAGES, {"batch_size": 49}, r"batch_size must be .*between 1 and .*48; got 49"),
        (IMAGES, {"snapshots": -1}, "snapshots must be a whole number .*0 or more; got -1"),
        (IMAGES, {"snapshot_size": 0}, "snapshot_size must be a whole number .*1 or more; got 0"),
        (POINTS / 12, {"network": "convolutional", "hidden": (4, 4)}, "sample_shape must be "),
        (IMAGES, {"network": "convolutional", "hidden": (4,)}, "hidden must be the channels"),
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
        inspect.unwrap(train_autoencoder)(data, **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("steps", value) for value in (-1, 2.0, True, None, "9", math.nan)),
        *((name, value) for name in ("batch_size", "latent_dim") for value in (0, 1.5, True, None)),
        *(("hidden", value) for value in (16, None, [16], (16, 0), (16.0,), "ab", (True,))),
        *(("activation", value) for value in (None, "", "sigmoid", 3)),
        *(("network", value) for value in (None, "", "recurrent", [])),
        *(("noise_scale", value) for value in (-1, math.nan, math.inf, "1", True, None)),
        *(("masking", value) for value in (-0.1, 1, math.nan, "1", True, None)),
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
    assert list(autoencoder._RULES) == list(vars(PRESETS["tiny"]))


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError, match=r"squared_error is (nan|inf) at step"):
        tiny(POINTS, bounded=False, learning_rate=1e30)


# --- Using one -----------------------------------------------------------------------------------


def test_codes_of_the_clean_data_are_described() -> None:
    made = tiny(masking=0.25, latent_dim=3, steps=20)
    codes = encode(made.model, IMAGES).double().numpy()
    mean, covariance = made.model.code_mean, made.model.code_covariance
    np.testing.assert_allclose(mean.numpy(), codes.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(covariance.numpy(), np.cov(codes.T, ddof=0), rtol=1e-4, atol=1e-6)
    assert mean.shape == (3,) and covariance.shape == (3, 3)
    assert {"code_mean", "code_covariance"} < set(made.model.state_dict()), "a checkpoint has them"


def test_all_of_the_data_goes_through_the_networks_part_by_part(monkeypatch) -> None:
    model, seen = untrained(), []
    whole = encode(model, IMAGES), reconstruct(model, IMAGES)
    monkeypatch.setattr(autoencoder, "PART", 7)
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    for expected, function in zip(whole, (encode, reconstruct), strict=True):
        torch.testing.assert_close(function(model, IMAGES), expected)
    assert seen == 2 * [7, 7, 7, 7, 7, 7, 6]


def test_what_is_no_sample_is_not_encoded() -> None:
    for function in (encode, reconstruct):
        for wrong, message in ((IMAGES.byte(), "x must be a float"), (IMAGES / 0, "x holds NaN")):
            with pytest.raises(ValueError, match=message):
                inspect.unwrap(function)(untrained(), wrong)


def test_codes_that_are_not_finite_are_reported() -> None:
    """One step with a huge rate: its loss and the weights after it are finite, and no code is."""
    with pytest.raises(TrainingDivergedError, match=r"in code_covariance of the trained Autoenc"):
        tiny(steps=1, learning_rate=1e30, activation="tanh", hidden=())


def test_one_sample_only_has_codes_without_spread() -> None:
    made = tiny(IMAGES[:1], batch_size=1)
    assert torch.equal(made.model.code_covariance, torch.zeros(2, 2))
    drawn = sample(made.model, 3)
    torch.testing.assert_close(drawn, reconstruct(made.model, IMAGES[:1]).expand(3, 1, 4, 4))


class Codes(nn.Module):
    """A decoder that shows the codes themselves."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim, self.scale = latent_dim, nn.Parameter(torch.tensor(1.0))

    def forward(self, z):
        return z * self.scale


@pytest.mark.parametrize("rank", [3, 2])
def test_codes_are_drawn_with_the_mean_and_the_covariance_of_the_buffers(rank: int) -> None:
    model = Autoencoder(nn.Identity(), Codes(3), bounded=False)
    factor = torch.randn(3, rank, generator=torch.Generator().manual_seed(2))
    mean, covariance = torch.tensor([3.0, -2.0, 0.5]), factor @ factor.T
    model.code_mean.copy_(mean)
    model.code_covariance.copy_(covariance)
    n = 40_000
    drawn = sample(model, n)
    error = (covariance.diagonal() / n).sqrt()
    assert bool(((drawn.mean(0) - mean).abs() < 4 * error).all())
    variances = covariance.diagonal()
    spread = ((variances[:, None] * variances + covariance.square()) / n).sqrt()
    assert bool(((torch.cov(drawn.T) - covariance).abs() < 4 * spread).all())


def test_a_variance_that_rounding_has_made_negative_is_none() -> None:
    model = Autoencoder(nn.Identity(), Codes(2), bounded=False)
    model.code_covariance.copy_(torch.tensor([[1.0, 0.0], [0.0, -1e-8]]))
    assert sample(model, 9)[:, 1].tolist() == [0] * 9


def test_sampling_is_seeded_and_touches_nothing_else() -> None:
    model, state = untrained(), torch.get_rng_state()
    drawn = sample(model, 3, seed=5)
    assert drawn.shape == (3, 1, 4, 4) and not drawn.requires_grad and model.training
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(5))  # the buffers of N(0, I)
    torch.testing.assert_close(drawn, model.decoder(z).tanh().detach())
    assert not torch.equal(drawn, sample(model, 3, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"n must be a whole number .*got 0"):
        sample(model, 0)


def test_codes_and_reconstructions_draw_nothing_and_leave_the_mode() -> None:
    model, state = untrained(), torch.get_rng_state()
    codes, images = encode(model, IMAGES), reconstruct(model, IMAGES)
    torch.testing.assert_close(codes, model.encoder(IMAGES).detach())
    torch.testing.assert_close(images, model.decoder(codes).tanh().detach())
    assert not codes.requires_grad and not images.requires_grad and model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_everything_is_computed_in_evaluation_mode() -> None:
    model = Autoencoder(nn.Dropout(0.5), Codes(2), bounded=False)
    assert torch.equal(encode(model, POINTS), POINTS)
    assert torch.equal(reconstruct(model, POINTS), POINTS) and model.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_what_comes_out_is_single_precision(dtype: torch.dtype) -> None:
    model = untrained().to(dtype)
    results = sample(model, 2), reconstruct(model, IMAGES), encode(model, IMAGES)
    assert {result.dtype for result in results} == {torch.float32}
