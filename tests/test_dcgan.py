"""The convolutional pair: sizes, published parameter counts, the paper's rules, and training it."""

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from course_lib import dcgan, gan
from course_lib.dcgan import (
    PRESETS,
    Config,
    Discriminator,
    Generator,
    build,
    configure,
    convolution_size,
    init_weights,
    interpolate,
    sample,
    train_dcgan,
    transposed_convolution_size,
)
from course_lib.training import Trainer

SIDES = (28, 32, 64)
IMAGES = {
    side: torch.rand(16, 1 + side % 3, side, side, generator=torch.Generator().manual_seed(side))
    * 2
    - 1
    for side in SIDES
}  # of 2, 3 and 2 channels


def tiny(side: int = 28, **changes) -> gan.TrainedGAN:
    trainer = Trainer(device="cpu", precision=changes.pop("precision", "fp32"))
    return train_dcgan(IMAGES[side], "tiny", trainer=trainer, image_size=side, **changes)


def untrained(side: int = 28, channels: int = 3, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build(configure("tiny", image_size=side, **changes), (channels, side, side))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def convolutions(model: nn.Module) -> list[nn.Module]:
    return [x for x in model.modules() if isinstance(x, nn.Conv2d | nn.ConvTranspose2d)]


# --- Sizes ---------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_sizes_are_those_of_torch(size: int, kernel: int, stride: int, padding: int) -> None:
    with torch.device("meta"):
        if size + 2 * padding >= kernel:
            out = nn.Conv2d(1, 1, kernel, stride, padding)(torch.empty(1, 1, size, size))
            assert out.shape[-1] == convolution_size(size, kernel, stride, padding)
        expected = transposed_convolution_size(size, kernel, stride, padding)
        if expected > 0:
            out = nn.ConvTranspose2d(1, 1, kernel, stride, padding)(torch.empty(1, 1, size, size))
            assert out.shape[-1] == expected


@given(st.integers(1, 99), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_a_convolution_undoes_the_size_of_its_transpose(size, kernel, stride, padding) -> None:
    larger = transposed_convolution_size(size, kernel, stride, padding)
    assert convolution_size(larger, kernel, stride, padding) == size


@pytest.mark.parametrize(
    ("side", "stages"), [(28, [1, 7, 14, 28]), (32, [4, 8, 16, 32]), (64, [4, 8, 16, 32, 64])]
)
def test_every_stage_has_its_side(side: int, stages: list[int]) -> None:
    sides: list[int] = []
    with torch.device("meta"):
        generator, discriminator = (
            Generator(5, 2, (3, side, side)),
            Discriminator(2, (3, side, side)),
        )
        for layer in [*convolutions(generator), *convolutions(discriminator)]:
            layer.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
        found = discriminator(generator(torch.randn(2, 5)))
    assert sides == [*stages, *reversed(stages[:-1]), 1]
    assert found.shape == (2,)


@pytest.mark.parametrize("stages", [3, 5])
def test_layers_that_miss_the_image_are_noticed_at_once(monkeypatch, stages: int) -> None:
    """Three doublings of 7x7 end at 56 pixels and not at 28."""
    double = (4, 2, 1)
    monkeypatch.setitem(dcgan.LAYERS, 64, ((4, 1, 0), *stages * [double]))
    for player in (Generator, Discriminator):
        with pytest.raises(ValueError, match=r"layers must join 1 and 64 pixels, .*got \[1, 4, 8"):
            player(sample_shape=(3, 64, 64))
    monkeypatch.setitem(dcgan.LAYERS, 64, ((4, 1, 0), *3 * [double], (5, 2, 1)))
    with pytest.raises(ValueError, match=r"got \[1, 4, 8, 16, 32, 65\] and"):
        Generator()


# --- The two players -----------------------------------------------------------------------------


def test_the_published_pair_has_its_parameters() -> None:
    assert (count(Generator()), count(Discriminator())) == (3_576_704, 2_765_568)


def test_the_pair_for_28_pixels_has_the_channels_of_the_authors_program() -> None:
    """100 -> 1024 -> 7x7x128 -> 14x14x64 -> 28x28; kernels of 4x4, and scales and shifts."""
    generator = 100 * 1024 + 1024 * 128 * 49 + 128 * 64 * 16 + 64 * 16 + 2 * (1024 + 128 + 64)
    discriminator = 64 * 16 + 64 * 128 * 16 + 128 * 49 * 1024 + 1024 + 2 * (128 + 1024)
    assert count(Generator(sample_shape=(1, 28, 28))) == generator
    assert count(Discriminator(sample_shape=(1, 28, 28))) == discriminator


def kinds(model: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]  # type: ignore[union-attr]


def test_layers_follow_the_papers_rules() -> None:
    """Batch norm in neither G's last nor D's first layer, ReLU in G, tanh at its end."""
    up, down = ["ConvTranspose2d"], ["Conv2d"]
    inside = ["BatchNorm2d", "ReLU"], ["BatchNorm2d", "LeakyReLU"]
    for side, stages in {28: 3, 32: 3, 64: 4}.items():
        shape = (3, side, side)
        expected = ["Unflatten", *stages * [*up, *inside[0]], *up, "Tanh"]
        assert kinds(Generator(5, 2, shape)) == expected
        expected = [*down, "LeakyReLU", *(stages - 1) * [*down, *inside[1]], *down, "Flatten"]
        assert kinds(Discriminator(2, shape)) == expected
        expected = ["Unflatten", *stages * [*up, "ReLU"], *up, "Tanh"]
        assert kinds(Generator(5, 2, shape, batch_norm=False)) == expected
        expected = [*stages * [*down, "LeakyReLU"], *down, "Flatten"]
        assert kinds(Discriminator(2, shape, batch_norm=False)) == expected


@pytest.mark.parametrize("batch_norm", [True, False])
def test_there_are_biases_where_nothing_takes_them_out(batch_norm: bool) -> None:
    for player in untrained(batch_norm=batch_norm):
        assert {x.bias is None for x in convolutions(player)} == {batch_norm}


@pytest.mark.parametrize("slope", [0, 0.2])
def test_the_slope_is_that_of_every_rectifier(slope: float | int) -> None:
    _, discriminator = untrained(slope=slope)
    found = [x.negative_slope for x in discriminator.modules() if isinstance(x, nn.LeakyReLU)]
    assert found == [slope] * 3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_shapes_and_range(side: int, channels: int) -> None:
    generator, discriminator = untrained(side, channels)
    images = generator(1e3 * torch.randn(4, 8))
    assert images.shape == (4, channels, side, side) and images.abs().max() <= 1
    assert discriminator(images).shape == (4,)
    assert discriminator.eval()(images[:1]).shape == (1,)
    assert generator.sample_shape == (channels, side, side) and generator.latent_dim == 8


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_examples_are_independent_in_evaluation_mode(side: int, batch_norm: bool) -> None:
    """Each output depends on its own input alone, and on all of it."""
    generator, discriminator = (x.eval() for x in untrained(side, batch_norm=batch_norm, width=4))
    x = torch.rand(3, 3, side, side) * 2 - 1
    for player, given_ in ((generator, torch.randn(3, 8)), (discriminator, x)):
        given_.requires_grad_()
        player(given_)[1].sum().backward()
        assert not given_.grad[[0, 2]].any() and given_.grad[1].any(), type(player).__name__
        alone = torch.cat([player(part) for part in given_.split(1)])
        torch.testing.assert_close(alone, player(given_), rtol=1e-4, atol=1e-5)


def test_with_batch_norm_examples_depend_on_each_other_in_training() -> None:
    _, discriminator = untrained(64)
    x = torch.rand(3, 3, 64, 64, requires_grad=True)
    discriminator(x)[1].backward()
    assert x.grad[[0, 2]].any()


def test_the_discriminator_sees_the_whole_image() -> None:
    for side in SIDES:
        _, discriminator = untrained(side, batch_norm=False, width=4)
        x = torch.rand(1, 3, side, side, requires_grad=True)
        discriminator(x).sum().backward()
        assert x.grad[0].ne(0).any(0).all()


@pytest.mark.parametrize("side", SIDES)
def test_gradients_reach_every_parameter_in_every_precision_and_on_meta(side: int) -> None:
    for device, precision in (("cpu", "fp32"), ("cpu", "bf16"), ("meta", "fp32")):
        with torch.device(device):
            generator, discriminator = untrained(side, width=4)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = discriminator(generator(torch.randn(5, 8)))
            gan.OBJECTIVES["non-saturating"].generator(logits.float()).backward()
        assert logits.device.type == device
        assert logits.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
        for parameter in [*generator.parameters(), *discriminator.parameters()]:
            assert parameter.grad is not None
            if device == "cpu":
                assert parameter.grad.isfinite().all() and parameter.grad.any()


@pytest.mark.parametrize("side", SIDES)
def test_the_memory_format_changes_nothing(side: int) -> None:
    generator, discriminator = untrained(side, width=4)
    z = torch.randn(4, 8)
    images = generator(z)
    logits = discriminator(images)
    generator.to(memory_format=torch.channels_last)
    discriminator.to(memory_format=torch.channels_last)
    again = generator(z)
    close = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(again, images, **close)
    torch.testing.assert_close(discriminator(again), logits, **close)
    torch.testing.assert_close(
        discriminator(images.contiguous(memory_format=torch.channels_last)), logits, **close
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 30, 30), r"a side of 28, 32, 64 pixels, got \(1, 30, 30\)"),
        ((3, 128, 128), r"a side of 28, 32, 64 pixels"),
        ((3, 64, 78), r"\(channels, side, side\), .*got \(3, 64, 78\); crop"),
        ((28, 28), r"\(channels, side, side\), .*got \(28, 28\); .*images.unsqueeze\(1\)"),
        ((0, 28, 28), r"\(channels, side, side\), .*got \(0, 28, 28\)"),
        ((1, 1, 28, 28), r"\(channels, side, side\), .*got \(1, 1, 28, 28\)"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], message: str) -> None:
    for player in (Generator, Discriminator):
        with pytest.raises(ValueError, match=f"sample_shape must .*{message}"):
            player(sample_shape=shape)


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 1, 32, 32), (2, 3, 28, 28), (2, 3, 96, 96)])
def test_the_discriminator_refuses_images_of_another_shape(shape: tuple[int, ...]) -> None:
    """Convolutions alone would take the larger ones, and return 5x5 scores for each of 64x64."""
    _, discriminator = untrained(32)
    message = rf"x must be images \(n, 3, 32, 32\), got \({', '.join(map(str, shape))}\); resize"
    with pytest.raises(ValueError, match=message):
        discriminator(torch.zeros(shape))
    if shape == (2, 3, 64, 64):
        assert discriminator.layers[:-1](torch.zeros(shape)).shape == (2, 1, 5, 5)


def test_the_generator_refuses_noise_of_another_dimension() -> None:
    with pytest.raises(ValueError, match=r"z must be noise \(n, 8\), got \(2, 9\)"):
        untrained()[0](torch.zeros(2, 9))


# --- Weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [0.02, 0.1])
def test_initial_weights_have_the_papers_distribution(deviation: float) -> None:
    torch.manual_seed(0)
    for player in (Generator(width=32), Discriminator(width=32)):
        init_weights(player, deviation)
        drawn = torch.cat([x.weight.flatten() for x in convolutions(player)]) / deviation
        scales = [x for x in player.modules() if isinstance(x, nn.BatchNorm2d)]
        spread = (torch.cat([x.weight for x in scales]) - 1) / deviation
        for z in (drawn, spread):
            assert abs(z.mean().item()) < 5 / math.sqrt(len(z))
            assert abs(z.std().item() - 1) < 5 / math.sqrt(2 * len(z))
        # Normal and not uniform: P(|z| > 2) = 0.0455, while a uniform z stays below 1.74.
        assert drawn.abs().gt(2).float().mean().item() == pytest.approx(0.0455, abs=0.002)
        assert not any(x.bias.any() for x in scales)


def test_initial_biases_are_zero() -> None:
    for player in untrained(batch_norm=False):
        assert not any(x.bias.any() for x in convolutions(player))


def test_without_a_standard_deviation_torch_initialises() -> None:
    torch.manual_seed(3)
    expected = Generator(8, 2, (3, 28, 28)), Discriminator(2, (3, 28, 28))
    found = untrained(seed=3, initial_standard_deviation=None)
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(weights(mine), weights(other))
    assert not torch.equal(weights(untrained(seed=3)[0]), weights(expected[0]))


# --- Training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_tiny_training_of_every_size(side: int) -> None:
    made = tiny(side, snapshots=2, snapshot_size=3, average_decay=0.5)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 6]
    assert made.snapshots.shape == (2, 3, *IMAGES[side].shape[1:])
    assert made.model is made.generator and not made.generator.training
    assert torch.equal(made.snapshots[-1], sample(made.generator, 3))
    assert made.config == configure("tiny", image_size=side, average_decay=0.5)
    for before, after in zip(
        untrained(side, IMAGES[side].shape[1]), (made.generator, made.discriminator), strict=True
    ):
        pairs = zip(before.parameters(), after.parameters(), strict=True)
        assert all(not torch.equal(a, b) for a, b in pairs), "every parameter is trained"


def test_training_is_repeatable_and_depends_on_the_seed() -> None:
    first, again = tiny(), tiny()
    other = train_dcgan(IMAGES[28], "tiny", seed=1)
    assert torch.equal(weights(first.generator), weights(again.generator))
    assert not torch.equal(weights(first.generator), weights(other.generator))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_samples_move_to_the_data(precision: str) -> None:
    """The data are bright discs of several sizes on a dark ground, unlike the untrained grey."""
    axis = torch.linspace(-1, 1, 28)
    radius = 0.5 + 0.3 * torch.rand(64, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    discs = torch.where((axis[:, None] ** 2 + axis**2).sqrt() < radius, 0.9, -0.9)
    made = train_dcgan(
        discs,
        "tiny",
        trainer=Trainer(device="cpu", precision=precision),
        # Narrow and for a short time, so with larger weights at the start than a wide pair needs.
        **{"initial_standard_deviation": None, "batch_norm": False, "width": 4},
        **{"steps": 120, "batch_size": 16, "learning_rate": 2e-3, "snapshots": 2},
    )
    middle = [(frame.mean(0) - discs.mean(0)).square().mean().sqrt() for frame in made.snapshots]
    assert middle[0] > 0.7 and middle[1] < 0.6


def test_samples_do_not_depend_on_their_batch() -> None:
    """In training mode they would, through batch normalisation."""
    generator = tiny().generator.train()
    few, many = sample(generator, 4), sample(generator, 12)
    torch.testing.assert_close(few, many[:4], rtol=1e-4, atol=1e-5)
    assert generator.training


# --- Settings ------------------------------------------------------------------------------------


def test_presets_build_for_their_size_and_any_channels() -> None:
    for config in PRESETS.values():
        for channels in (1, 3):
            shape = (channels, config.image_size, config.image_size)
            with torch.device("meta"):
                generator, discriminator = build(config, shape)
                assert discriminator(generator(torch.randn(2, config.latent_dim))).shape == (2,)


def test_full_has_the_published_settings() -> None:
    full = PRESETS["full"]
    assert (full.width, full.latent_dim, full.batch_size, full.image_size) == (64, 100, 128, 64)
    assert (full.learning_rate, full.betas) == (2e-4, (0.5, 0.999))
    assert (full.batch_norm, full.slope, full.initial_standard_deviation) == (True, 0.2, 0.02)
    assert full.objective == "non-saturating"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("image_size", value) for value in (0, 27, 30, 128, 28.0, "28", None, True)),
        *(("width", value) for value in (0, 1.5, None, True)),
        *(("batch_norm", value) for value in (None, 1, "no")),
        *(("slope", value) for value in (-0.1, 1, math.nan, None, "0", True)),
        *(("initial_standard_deviation", value) for value in (-0.1, math.inf, math.nan, "0")),
        *(("steps", value) for value in (-1, 2.0)),  # those of every game are checked too
        ("objective", "hinge"),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = object.__new__(Config)
    settings.__dict__.update({**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        Config.__post_init__(settings)
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings() -> None:
    assert {*gan.GAME_RULES, *dcgan._RULES} == set(vars(PRESETS["tiny"]))


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (IMAGES[28], {"preset": "huge"}, r"preset must be one of .*got 'huge'"),
        (IMAGES[28], {"hidden": 5}, r"unknown settings \['hidden'\]; the settings are \['steps'"),
        (IMAGES[28], {"image_size": 30}, r"image_size must be one of \[28, 32, 64\]; got 30"),
        (IMAGES[28], {"image_size": 64}, r"64x64 pixels, .*is \(2, 28, 28\); change image_size"),
        (IMAGES[28][:, :, :14], {}, r"28x28 pixels, .*is \(2, 14, 28\)"),
        (IMAGES[28][:, 0], {}, r"28x28 pixels, .*is \(28, 28\)"),
        (IMAGES[28][:, :0], {}, "at least one example"),
        (2 * IMAGES[28], {}, r"data must lie in \[-1, 1\]"),
        (IMAGES[28], {"batch_size": 1}, "batch_size must be 2 or more with batch_norm"),
        (IMAGES[28], {"batch_size": 17}, r"batch_size must be .*between 1 and .*16"),
        (IMAGES[28], {"snapshots": -1}, "snapshots must be"),
        (IMAGES[28], {"seed": 1, "trainer": Trainer(device="cpu")}, "seed or trainer"),
    ],
)
def test_bad_input_is_refused(data: Tensor, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_dcgan)(data, **{"preset": "tiny", **changes})


# --- Walking through the latent space ------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(2, 9))
def test_the_way_is_an_arc_at_constant_speed(seed: int, latent: int, frames: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    start, end = torch.randn(2, 3, latent, generator=stream, dtype=torch.float64)
    way = interpolate(start, end, frames)
    assert way.shape == (frames, 3, latent)
    torch.testing.assert_close(way[0], start)
    torch.testing.assert_close(way[-1], end)
    lengths = [
        torch.lerp(start.norm(dim=1), end.norm(dim=1), k / (frames - 1)) for k in range(frames)
    ]
    torch.testing.assert_close(way.norm(dim=2), torch.stack(lengths))
    directions = way / way.norm(dim=2, keepdim=True)
    cosines = (directions[1:] * directions[:-1]).sum(2)
    angle = torch.acos(torch.cosine_similarity(start, end).clamp(-1, 1))
    torch.testing.assert_close(cosines, torch.cos(angle / (frames - 1)).expand_as(cosines))


def test_the_way_is_shoemakes_formula() -> None:
    """sin((1 - t)ω)/sin ω · start + sin(tω)/sin ω · end, on the unit circle and beyond it."""
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    expected = [[3, 0], [1.5 * math.sqrt(3), 1.5], [1.5, 1.5 * math.sqrt(3)], [0, 3]]
    torch.testing.assert_close(interpolate(start, end, 4), torch.tensor(expected))


def test_the_straight_line_leaves_the_shell_and_the_arc_does_not() -> None:
    start, end = torch.randn(2, 200, 512, generator=torch.Generator().manual_seed(0))
    radius = math.sqrt(512)
    straight = ((start + end) / 2).norm(dim=1).mean().item()
    assert straight == pytest.approx(radius / math.sqrt(2), rel=0.02)
    assert interpolate(start, end, 3)[1].norm(dim=1).mean().item() == pytest.approx(
        radius, rel=0.02
    )


@pytest.mark.parametrize("nudge", [0.0, 1e-7, 1e-3])
@pytest.mark.parametrize("sign", [1, -1])
def test_opposite_and_equal_vectors(sign: int, nudge: float) -> None:
    """Straight through the origin is no way: there the direction would jump."""
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(2, 3, 20, generator=stream)
    end = sign * start * (1 + nudge * torch.randn(2, 3, 20, generator=stream))
    way = interpolate(start, end, 5)
    torch.testing.assert_close(way[0], start)
    torch.testing.assert_close(way[-1], end, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        way.norm(dim=-1), start.norm(dim=-1).expand(5, 2, 3), rtol=0.01, atol=0
    )
    cosines = torch.cosine_similarity(way[1:], way[:-1], dim=-1)
    expected = 1.0 if sign == 1 else math.cos(math.pi / 4)
    torch.testing.assert_close(cosines, torch.full_like(cosines, expected), rtol=0.01, atol=0)


@pytest.mark.parametrize("axis", range(3))
def test_opposite_vectors_on_an_axis(axis: int) -> None:
    start = torch.eye(3)[axis]
    way = interpolate(start, -start, 3)
    assert way[1].norm().item() == pytest.approx(1) and abs(way[1][axis].item()) < 1e-6


def test_the_way_keeps_the_precision_of_its_ends() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert (
            interpolate(torch.ones(4, dtype=dtype), -torch.ones(4, dtype=dtype), 3).dtype == dtype
        )


@pytest.mark.parametrize(
    ("start", "end", "frames", "message"),
    [
        (torch.ones(3), torch.ones(4), 3, r"same shape .*got \(3,\) and \(4,\)"),
        (torch.ones(2, 3), torch.ones(3), 3, r"same shape .*got \(2, 3\) and \(3,\)"),
        (torch.ones(1), -torch.ones(1), 3, "latent at least 2"),
        (torch.tensor(1.0), torch.tensor(1.0), 3, "latent at least 2"),
        (torch.zeros(3), torch.ones(3), 3, "0 has no direction"),
        (torch.ones(3), torch.full((3,), math.nan), 3, "must be finite"),
        (torch.ones(3), torch.full((3,), math.inf), 3, "must be finite"),
        (torch.ones(3), torch.ones(3), 1, "frames must be a whole number .*2 or more; got 1"),
        (torch.ones(3), torch.ones(3), 2.5, "frames must be"),
    ],
)
def test_ways_that_do_not_exist_are_refused(start, end, frames, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(interpolate)(start, end, frames)
