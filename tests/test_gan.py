"""The game, its objectives and its players against independent formulas, and training them."""

import copy
import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from course_lib import gan
from course_lib.gan import (
    OBJECTIVES,
    PRESETS,
    Config,
    Discriminator,
    Generator,
    build,
    configure,
    optimal_discriminator,
    sample,
    train_gan,
    train_pair,
    value_function,
)
from course_lib.training import Trainer, TrainingDivergedError

IMAGES = torch.rand(48, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
POINTS = torch.randn(48, 2, generator=torch.Generator().manual_seed(0))
logits = st.lists(st.floats(-30, 30), min_size=1, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


def tiny(data: torch.Tensor = IMAGES, **changes) -> gan.TrainedGAN:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu")
    return train_gan(data, "tiny", **{"trainer": trainer, "steps": 6, **changes})


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def untrained(seed: int = 0, data: torch.Tensor = IMAGES, **changes):
    torch.manual_seed(seed)
    return build(configure("tiny", **changes), data.shape[1:])


# --- The value function --------------------------------------------------------------------------


@given(logits, logits)
def test_value_is_the_log_likelihood_of_a_classifier(real, fake) -> None:
    d = lambda a: 1 / (1 + torch.exp(-a))  # noqa: E731
    paper = torch.log(d(real)).mean() + torch.log(d(-fake)).mean()  # 1 - D(a) = D(-a)
    cross_entropy = binary_cross_entropy_with_logits(real, torch.ones_like(real))
    cross_entropy += binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    value = value_function(real, fake)
    assert value.item() == pytest.approx(paper.item(), rel=1e-6)
    assert value.item() == pytest.approx(-cross_entropy.item(), rel=1e-6)
    assert value <= 0


def test_value_of_an_undecided_discriminator_is_minus_log_4() -> None:
    zeros = torch.zeros(5, dtype=torch.float64)
    assert value_function(zeros, zeros[:2]).item() == pytest.approx(-math.log(4), abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [100.0, 1000.0])
def test_value_and_gradient_are_exact_where_probabilities_round(size: float, dtype) -> None:
    """D(x) is 1 - e^-100 here: log(1 - D) through D itself would be -inf."""
    for real, fake, value, real_slope, fake_slope in [
        (size, -size, 0, 0, 0),  # right about both
        (-size, size, -2 * size, 1, -1),  # wrong about both
        (size, size, -size, 0, -1),
    ]:
        a = torch.tensor([real], dtype=dtype, requires_grad=True)
        b = torch.tensor([fake], dtype=dtype, requires_grad=True)
        v = value_function(a, b)
        v.backward()
        assert v.item() == pytest.approx(value, abs=1e-30)
        assert a.grad.item() == pytest.approx(real_slope, abs=1e-30)
        assert b.grad.item() == pytest.approx(fake_slope, abs=1e-30)


@pytest.mark.parametrize("counts", [(0, 3), (3, 0)])
def test_value_of_nothing_is_refused(counts) -> None:
    real, fake = map(torch.zeros, counts)
    with pytest.raises(ValueError, match=f"must not be empty, got {counts[0]} and {counts[1]}"):
        value_function(real, fake)


# --- The objectives ------------------------------------------------------------------------------


def definition(name: str, real: torch.Tensor, fake: torch.Tensor) -> tuple[float, float]:
    """The discriminator's and the generator's loss, element by element, from the papers."""
    sigmoid = lambda a: 1 / (1 + math.exp(-a))  # noqa: E731
    mean = lambda terms: sum(terms) / len(terms)  # noqa: E731
    r, f = real.tolist(), fake.tolist()
    likelihood = -mean([math.log(sigmoid(a)) for a in r]) - mean([math.log(sigmoid(-a)) for a in f])
    squares = mean([(a - 1) ** 2 for a in r]) / 2 + mean([a**2 for a in f]) / 2
    return {
        "minimax": (likelihood, mean([math.log(sigmoid(-a)) for a in f])),
        "non-saturating": (likelihood, -mean([math.log(sigmoid(a)) for a in f])),
        "least-squares": (squares, mean([(a - 1) ** 2 for a in f]) / 2),
    }[name]


@pytest.mark.parametrize("name", list(OBJECTIVES))
@given(real=logits, fake=logits)
def test_objectives_are_those_of_the_papers(name: str, real, fake) -> None:
    expected = definition(name, real, fake)
    objective = OBJECTIVES[name]
    found = objective.discriminator(real, fake).item(), objective.generator(fake).item()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "of_real", "of_fake", "of_generator"),
    [
        ("minimax", lambda a: -torch.sigmoid(-a), torch.sigmoid, lambda a: -torch.sigmoid(a)),
        (
            "non-saturating",
            lambda a: -torch.sigmoid(-a),
            torch.sigmoid,
            lambda a: -torch.sigmoid(-a),
        ),
        ("least-squares", lambda a: a - 1, lambda a: a, lambda a: a - 1),
    ],
)
def test_gradients_have_their_closed_form(name, of_real, of_fake, of_generator) -> None:
    real = torch.linspace(-12, 12, 9, dtype=torch.float64, requires_grad=True)
    fake = torch.linspace(-11, 13, 5, dtype=torch.float64, requires_grad=True)
    close = {"rtol": 1e-6, "atol": 1e-12}
    OBJECTIVES[name].discriminator(real, fake).backward()
    torch.testing.assert_close(real.grad, of_real(real.detach()) / 9, **close)
    torch.testing.assert_close(fake.grad, of_fake(fake.detach()) / 5, **close)
    fake.grad = None
    OBJECTIVES[name].generator(fake).backward()
    torch.testing.assert_close(fake.grad, of_generator(fake.detach()) / 5, **close)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_each_player_pulls_its_own_way(name: str) -> None:
    """D gains when real logits rise and fake logits fall, G when fake logits rise."""
    low, high = torch.full((3,), 0.2), torch.full((3,), 0.8)
    objective = OBJECTIVES[name]
    assert objective.discriminator(high, low) < objective.discriminator(low, low)
    assert objective.discriminator(low, high) > objective.discriminator(low, low)
    assert objective.generator(high) < objective.generator(low)


def test_only_the_minimax_gradient_dies_where_the_generator_is_found_out() -> None:
    slope = {}
    for name, objective in OBJECTIVES.items():
        fake = torch.tensor([-100.0], requires_grad=True)
        objective.generator(fake).backward()
        slope[name] = fake.grad.item()
    expected = {"minimax": 0, "non-saturating": -1, "least-squares": -101}
    assert slope == pytest.approx(expected, abs=1e-30)


# --- The optimal discriminator -------------------------------------------------------------------


def test_optimal_discriminator_is_the_share_of_the_data() -> None:
    p = torch.tensor([0.1, 0.5, 3.0, 1e-9, 0.7, 0.0], dtype=torch.float64)
    q = torch.tensor([0.3, 0.5, 1.0, 1e-9, 0.0, 0.7], dtype=torch.float64)
    torch.testing.assert_close(optimal_discriminator(p.log(), q.log()), p / (p + q))


def test_optimal_discriminator_holds_where_densities_underflow() -> None:
    """N(0, 1) against N(1, 1) at x = ±60: both densities are 0 in float32, D* is not 0/0."""
    x = torch.tensor([-60.0, 0.5, 60.0])
    best = optimal_discriminator(-(x**2) / 2, -((x - 1) ** 2) / 2)
    assert best.tolist() == pytest.approx([1, 0.5, math.exp(-59.5)], rel=1e-4)


def test_optimal_discriminator_is_undefined_outside_both_supports() -> None:
    nothing = torch.tensor([-math.inf])
    assert optimal_discriminator(nothing, nothing).isnan().all()


@pytest.mark.parametrize("other", [1, 4, (3, 1)])
def test_optimal_discriminator_needs_both_densities_at_the_same_points(other) -> None:
    """Broadcasting would give an answer to another question."""
    with pytest.raises(ValueError, match=r"same points, got \(3,\) and"):
        inspect.unwrap(optimal_discriminator)(torch.zeros(3), torch.zeros(other))


def test_no_discriminator_has_a_higher_value_than_the_optimal_one() -> None:
    x = torch.linspace(-8, 9, 4001, dtype=torch.float64)
    p, q = (torch.distributions.Normal(mean, 1.0).log_prob(x) for mean in (0.0, 1.0))

    def value(d: torch.Tensor) -> float:
        return torch.trapezoid(p.exp() * d.log() + q.exp() * (1 - d).log(), x).item()

    best = optimal_discriminator(p, q)
    for bend in (0.01, -0.01, 0.1, -0.1):
        assert value(torch.sigmoid(best.logit() + bend * torch.sin(x))) < value(best)
        assert value(torch.sigmoid(best.logit() + bend)) < value(best)


# --- The players ---------------------------------------------------------------------------------


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_pair_has_its_parameters() -> None:
    """100 -> 256 -> 512 -> 1024 -> 784 and its mirror: inputs times outputs, and biases."""
    generator = 100 * 256 + 256 + 256 * 512 + 512 + 512 * 1024 + 1024 + 1024 * 784 + 784
    discriminator = 784 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 256 + 256 + 256 + 1
    assert (generator, discriminator) == (1_486_352, 1_460_225)
    assert count(Generator()) == generator
    assert count(Discriminator()) == discriminator
    # A scale and a shift a unit, in every hidden layer but the first.
    assert count(Generator(batch_norm=True)) == generator + 2 * (512 + 1024)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 4, 6), (2,), (1,)])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 7)])
def test_shapes(shape: tuple[int, ...], hidden: tuple[int, ...]) -> None:
    samples = Generator(3, hidden, shape)(torch.randn(4, 3))
    assert samples.shape == (4, *shape)
    assert Discriminator(hidden, shape)(samples).shape == (4,)


def test_only_a_bounded_generator_is_bounded() -> None:
    z = 1e4 * torch.randn(50, 3)
    assert Generator(3, (8,), (2,))(z).abs().max() <= 1
    assert Generator(3, (8,), (2,), bounded=False)(z).abs().max() > 1


def names(model: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]  # type: ignore[union-attr]


def test_layers_are_where_they_are_said_to_be() -> None:
    block = ["Linear", "LeakyReLU"]
    assert names(Generator(3, (4, 5))) == [*block, *block, "Linear", "Tanh", "Unflatten"]
    normalised = names(Generator(3, (4, 5), batch_norm=True, bounded=False))
    assert normalised == [*block, "Linear", "BatchNorm1d", "LeakyReLU", "Linear", "Unflatten"]
    dropping = Discriminator((4, 5), dropout=0.4)
    assert names(dropping) == ["Flatten", *2 * [*block, "Dropout"], "Linear", "Flatten"]
    layers = [*Generator(3, (4, 5)).layers, *dropping.layers]
    assert {x.negative_slope for x in layers if isinstance(x, nn.LeakyReLU)} == {0.2}
    assert {x.p for x in layers if isinstance(x, nn.Dropout)} == {0.4}


def test_dropout_works_in_training_only() -> None:
    discriminator, x = Discriminator((50,), (2,), dropout=0.5), torch.randn(3, 2)
    assert not torch.equal(discriminator(x), discriminator(x))
    discriminator.eval()
    assert torch.equal(discriminator(x), discriminator(x))


def test_players_take_every_precision_and_the_meta_device() -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            generator, discriminator = build(configure("tiny", batch_norm=True), (1, 4, 4))
            fake = generator(torch.randn(5, 8))
            found = discriminator(fake)
            OBJECTIVES["minimax"].generator(found).backward()
        gradients = [p.grad for p in [*generator.parameters(), *discriminator.parameters()]]
        assert fake.shape == (5, 1, 4, 4) and found.shape == (5,)
        assert found.device.type == device
        assert all(gradient is not None for gradient in gradients)
        if device == "cpu":
            assert found.dtype == torch.bfloat16
            assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_every_preset_builds() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            generator, discriminator = build(config, (1, 28, 28))
            assert discriminator(generator(torch.randn(2, config.latent_dim))).shape == (2,)
    with torch.device("meta"):
        generator, discriminator = build(PRESETS["full"], (1, 28, 28))
    assert (count(generator), count(discriminator)) == (1_489_424, 1_460_225)
    assert "Tanh" in names(generator) and names(discriminator).count("Dropout") == 3


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("data", [IMAGES, POINTS], ids=["images", "points"])
def test_training_runs_and_reports(data: torch.Tensor, name: str) -> None:
    bounded = data is IMAGES
    made = tiny(data, objective=name, bounded=bounded, snapshots=3, snapshot_size=5, seed=2)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 3, 6]
    assert made.snapshots.shape == (3, 5, *data.shape[1:])
    assert not made.generator.training and not made.discriminator.training
    assert made.config == configure("tiny", steps=6, objective=name, bounded=bounded)
    assert torch.equal(made.snapshots[-1], sample(made.generator, 5, seed=2))
    assert not torch.equal(made.snapshots[0], made.snapshots[1])
    for key in ("real_probability", "fake_probability"):
        assert all(0 < value < 1 for value in made.history[key])


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    first, again, other = tiny(seed=1), tiny(seed=1, snapshots=4), tiny(seed=2)
    for player in ("generator", "discriminator"):
        mine = weights(getattr(first, player))
        assert torch.equal(mine, weights(getattr(again, player)))
        assert not torch.equal(mine, weights(getattr(other, player)))
    assert dict(first.history) == dict(again.history)


def test_history_describes_the_first_step_truly() -> None:
    """One step with the whole data as its batch, without dropout, redone by hand."""
    made = tiny(steps=1, batch_size=48, dropout=0, objective="minimax")
    generator, discriminator = untrained(dropout=0)
    stream = torch.Generator().manual_seed(0)
    fake = generator(torch.randn(48, 8, generator=stream))
    real_logits, fake_logits = discriminator(IMAGES), discriminator(fake.detach())
    step = torch.optim.Adam(discriminator.parameters(), 2e-4, betas=(0.5, 0.999))
    loss = -value_function(real_logits, fake_logits)
    loss.backward()
    step.step()
    generator_loss = torch.log(1 - discriminator(fake).sigmoid()).mean()
    expected = {
        "discriminator_loss": loss.item(),
        "generator_loss": generator_loss.item(),
        "real_probability": real_logits.sigmoid().mean().item(),
        "fake_probability": fake_logits.sigmoid().mean().item(),
    }
    found = {name: values[0] for name, values in made.history.items()}
    assert found == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(weights(made.discriminator), weights(discriminator))


def test_three_steps_with_betas_of_its_own_are_those_of_the_algorithm() -> None:
    """The whole data is the batch, so that its order matters only to rounding."""
    settings = {"dropout": 0, "objective": "minimax", "learning_rate": 1e-2, "betas": (0.3, 0.7)}
    made = tiny(steps=3, batch_size=48, **settings)
    generator, discriminator = untrained(dropout=0)
    step_of_g, step_of_d = (
        torch.optim.Adam(player.parameters(), 1e-2, betas=(0.3, 0.7))
        for player in (generator, discriminator)
    )
    stream = torch.Generator().manual_seed(0)
    for _ in range(3):
        fake = generator(torch.randn(48, 8, generator=stream))
        step_of_d.zero_grad()
        (-value_function(discriminator(IMAGES), discriminator(fake.detach()))).backward()
        step_of_d.step()
        fake_logits = discriminator(fake)
        step_of_g.zero_grad()
        torch.log(1 - fake_logits.sigmoid()).mean().backward()
        step_of_g.step()
    close = {"rtol": 1e-3, "atol": 1e-4}  # one step moves a weight by about 1e-2
    torch.testing.assert_close(weights(made.discriminator), weights(discriminator), **close)
    torch.testing.assert_close(weights(made.generator), weights(generator), **close)


def test_a_player_with_learning_rate_zero_stays_as_it_was() -> None:
    generator, discriminator = (weights(player) for player in untrained())
    made = tiny(learning_rate=0, discriminator_learning_rate=1e-3)
    assert torch.equal(weights(made.generator), generator)
    assert not torch.equal(weights(made.discriminator), discriminator)
    made = tiny(learning_rate=1e-3, discriminator_learning_rate=0)
    assert not torch.equal(weights(made.generator), generator)
    assert torch.equal(weights(made.discriminator), discriminator)
    made = tiny(learning_rate=0)
    assert torch.equal(weights(made.discriminator), discriminator), "None means: the same rate"


def test_each_loss_reaches_its_own_player_only(monkeypatch) -> None:
    """What a missing no_grad or frozen costs is time, and it would show in no weight."""
    players, seen = [], []

    def build_and_remember(*arguments):
        players.extend(build(*arguments))
        return tuple(players)

    real = Trainer.minimise

    def minimise(trainer: Trainer, loss, optimiser, *batch):
        for player in players:
            player.zero_grad(set_to_none=True)
        metrics = real(trainer, loss, optimiser, *batch)
        seen.append([all(p.grad is not None for p in player.parameters()) for player in players])
        none = [all(p.grad is None for p in player.parameters()) for player in players]
        assert seen[-1] == [not is_none for is_none in none]
        return metrics

    monkeypatch.setattr(gan, "build", build_and_remember)
    monkeypatch.setattr(Trainer, "minimise", minimise)
    made = tiny(steps=2)
    assert seen == [[False, True], [True, False]] * 2
    assert all(parameter.requires_grad for parameter in made.discriminator.parameters())


def test_both_players_train_in_training_mode() -> None:
    made = tiny(batch_norm=True, generator_hidden=(16, 16), snapshots=7, dropout=0.9)
    moved = made.generator.state_dict()["layers.3.num_batches_tracked"]
    assert moved == 6, "the fake batch of each of the six steps"


def test_average_weights_differ_from_the_raw_ones_and_lag_behind() -> None:
    raw = [weights(tiny(steps=steps).generator) for steps in (1, 2)]
    averaged = weights(tiny(steps=2, average_decay=0.75).generator)
    torch.testing.assert_close(averaged, 0.75 * raw[0] + 0.25 * raw[1])
    assert not torch.equal(averaged, raw[1])


def test_averaging_leaves_training_alone_and_covers_batch_norm() -> None:
    settings = {"batch_norm": True, "generator_hidden": (16, 16), "snapshots": 2}
    plain, averaged = tiny(**settings), tiny(**settings, average_decay=0.5)
    assert torch.equal(weights(plain.discriminator), weights(averaged.discriminator))
    assert dict(plain.history) == dict(averaged.history)
    means = [made.generator.state_dict()["layers.3.running_mean"] for made in (plain, averaged)]
    assert not torch.equal(*means) and bool(means[1].any())
    assert torch.equal(averaged.snapshots[-1], sample(averaged.generator, 64))
    assert not torch.equal(averaged.snapshots[-1], plain.snapshots[-1])


@pytest.mark.parametrize("decay", [None, 0.5])
def test_bf16_trains_and_the_generator_uses_its_own_weights(decay: float | None) -> None:
    """Not those of the network that it is a copy of, nor lower precision."""
    trainer = Trainer(device="cpu", precision="bf16")
    made = tiny(trainer=trainer, average_decay=decay, snapshots=2)
    assert not torch.equal(weights(made.generator), weights(tiny(average_decay=decay).generator))
    same, _ = untrained(seed=9)
    same.load_state_dict(made.generator.state_dict())
    assert torch.equal(sample(made.generator, 5), sample(same, 5))
    mute = copy.deepcopy(made.generator)
    for parameter in mute.parameters():
        nn.init.zeros_(parameter)
    assert not sample(mute, 5).any() and sample(made.generator, 5).all()
    if decay is not None:
        assert torch.equal(made.snapshots[-1], sample(made.generator, 64))


class Coarse(nn.Module):
    """A discriminator as confident as they get, whose logits from -20 to 20 are in bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(20.0))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = (self.weight * (x[:, 0] * 9).tanh()).bfloat16()
        self.seen.append(logits.detach().double())
        return logits


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_of_logits_in_bf16_are_computed_with_all_digits(name: str) -> None:
    config, discriminator = configure("points", steps=1, objective=name, batch_size=48), Coarse()
    generator = Generator(2, (16,), (2,), bounded=False)
    made = train_pair(generator, discriminator, POINTS, config, Trainer(device="cpu"))
    real, fake = discriminator.seen[0].chunk(2)
    assert real.abs().max() > 19 and fake.unique().numel() > 9
    objective, history = OBJECTIVES[name], made.history
    expected = {
        "discriminator_loss": objective.discriminator(real, fake),
        "generator_loss": objective.generator(discriminator.seen[1]),
        "real_probability": real.sigmoid().mean(),
        "fake_probability": fake.sigmoid().mean(),
    }
    for metric, value in expected.items():
        assert history[metric][0] == pytest.approx(float(value), rel=1e-6), metric


def test_zero_steps_give_the_untrained_pair() -> None:
    made = tiny(steps=0, snapshots=3)
    assert torch.equal(weights(made.generator), weights(untrained()[0]))
    assert made.snapshot_steps == [0] and len(made.history) == 0


def test_samples_move_to_the_data() -> None:
    centre = torch.tensor([1.5, -1.0])
    data = centre + 0.3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    made = train_gan(data, "points", steps=300, batch_size=64, snapshots=2, snapshot_size=500)
    before, after = (torch.dist(frame.mean(0), data.mean(0)).item() for frame in made.snapshots)
    assert before > 1.5 and after < 0.5


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (IMAGES, {"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        (IMAGES, {"step": 5}, r"unknown settings \['step'\]; the settings are \['steps'"),
        (IMAGES, {"objective": "hinge"}, r"objective must be one of .*'least-squares'.*'hinge'"),
        (IMAGES, {"steps": -1}, "steps must be a whole number .*0 or more; got -1"),
        (IMAGES, {"batch_size": 0}, "batch_size must be a whole number .*1 or more; got 0"),
        (IMAGES, {"batch_size": 49}, r"batch_size must be .*between 1 and .*48; got 49"),
        (IMAGES, {"latent_dim": 0}, "latent_dim must be a whole number .*1 or more"),
        (
            IMAGES,
            {"learning_rate": -1e-3},
            "^learning_rate must be a finite .*got -0.001",
        ),
        (IMAGES, {"discriminator_learning_rate": -1}, "^discriminator_learning_rate must be"),
        (IMAGES, {"snapshots": -1}, "snapshots must be a whole number .*0 or more; got -1"),
        (IMAGES, {"snapshot_size": 0}, "snapshot_size must be a whole number .*1 or more; got 0"),
        (IMAGES, {"device": "cpu"}, r"unknown settings \['device'\]"),
        (IMAGES, {"seed": 1, "trainer": Trainer(device="cpu")}, "give either seed or trainer"),
        (2 * IMAGES, {}, r"data must lie in \[-1, 1\].*bounded=False"),
        (IMAGES / 0, {}, "NaN or infinite values in 48 of 48"),
        (IMAGES[:0], {}, "at least one example"),
        ((127 * IMAGES).long(), {}, r"float tensor .*got torch.int64 .*data.float\(\)"),
        (torch.zeros(48), {}, r"data\[:, None\]"),
        (IMAGES.numpy(), {}, r"got ndarray; .*torch.from_numpy\(array\).float\(\)"),
        (IMAGES.tolist(), {}, r"got list; .*torch.tensor\(values\)"),
    ],
)
def test_bad_input_is_refused(data: torch.Tensor, changes, message: str) -> None:
    arguments = {"preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_gan)(data, **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("steps", value) for value in (-1, 2.0, True, None, "9", math.nan)),
        *((name, value) for name in ("batch_size", "latent_dim") for value in (0, 1.5, True, None)),
        *(
            (f"{player}_hidden", value)
            for player in ("generator", "discriminator")
            for value in (16, None, [16], (16, 0), (16, -1), (16.0,), "ab", (True,))
        ),
        *((name, value) for name in ("bounded", "batch_norm") for value in (None, 1, "no")),
        *(("dropout", value) for value in (-0.1, 1, 2, None, math.nan, "0", True)),
        *(("learning_rate", value) for value in (-1e-3, math.nan, math.inf, None, "1", True)),
        *(("discriminator_learning_rate", value) for value in (-1, math.nan, math.inf, "1")),
        *(("average_decay", value) for value in (-0.1, 1, 1.5, math.nan, "0.9", True)),
        *(("betas", value) for value in (None, 0.5, (0.5,), (0.5, 1), (-0.1, 0.9), (math.nan, 0))),
        *(("betas", value) for value in ([0.5, 0.9], (0.5, 0.9, 0.9), ("0", "1"), "ab")),
        *(("objective", value) for value in (None, "", [], 3)),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = object.__new__(Config)
    vars(settings).update({**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        settings.__post_init__()
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings_and_are_asked() -> None:
    assert [*gan.GAME_RULES, *gan._RULES] == list(vars(PRESETS["tiny"]))
    with pytest.raises(ValueError, match=r"dropout must be .*; got 1"):
        tiny(dropout=1)


def test_batch_norm_needs_more_than_one_example() -> None:
    with pytest.raises(ValueError, match="batch_size must be 2 or more with batch_norm"):
        configure("tiny", batch_size=1, batch_norm=True)
    assert tiny(batch_size=1).history.steps and tiny(batch_size=2, batch_norm=True).history.steps


def test_data_that_carries_a_gradient_is_taken_as_plain_numbers() -> None:
    data = IMAGES.clone().requires_grad_()
    assert torch.equal(weights(tiny(data).discriminator), weights(tiny().discriminator))
    assert data.grad is None


def test_whole_numbers_and_double_precision_are_welcome() -> None:
    made = tiny(IMAGES.double(), learning_rate=1, dropout=0, average_decay=0, betas=(0, 0))
    assert made.generator.layers[0].weight.dtype == torch.float32


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError, match=r"generator_loss is (nan|inf) at step 1:"):
        tiny(POINTS, bounded=False, learning_rate=1e30, steps=100, objective="least-squares")


def test_divergence_in_the_last_step_is_reported() -> None:
    """Losses are those before the step: they are finite, the weights after it are not."""
    with pytest.raises(TrainingDivergedError, match=r"layers.0.weight.* of the trained Generator:"):
        tiny(steps=1, learning_rate=1e39, discriminator_learning_rate=0)
    with pytest.raises(TrainingDivergedError, match="of the trained Generator:"):
        tiny(steps=1, learning_rate=1e39, discriminator_learning_rate=0, average_decay=0.5)


def test_settings_cannot_be_changed_after_the_check() -> None:
    with pytest.raises(AttributeError):
        Config(steps=1).steps = -1  # type: ignore[misc]


# --- Sampling ------------------------------------------------------------------------------------


def test_sampling_is_seeded_and_touches_nothing_else() -> None:
    generator, _ = untrained(batch_norm=True, generator_hidden=(16, 16))
    before, state = weights(generator), torch.get_rng_state()
    drawn = sample(generator, 3, seed=5)
    assert drawn.shape == (3, 1, 4, 4) and not drawn.requires_grad
    assert torch.equal(drawn, sample(generator, 3, seed=5))
    assert not torch.equal(drawn, sample(generator, 3, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(generator), before), "batch statistics are those of training"


@pytest.mark.parametrize("training", [True, False])
def test_sampling_restores_the_mode(training: bool) -> None:
    generator = untrained()[0].train(training)
    sample(generator, 1)
    assert generator.training is training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_samples_are_single_precision(dtype: torch.dtype) -> None:
    assert sample(untrained()[0].to(dtype), 2).dtype == torch.float32


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=rf"n must be a whole number .*1 or more; got {n}"):
        sample(untrained()[0], n)
