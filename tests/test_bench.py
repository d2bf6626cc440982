"""The plain loops compute what the library does; the measurement counts and divides correctly."""

import itertools
import statistics
import time

import pytest
import torch

from course_lib import baselines, bench, dcgan, gan, transformer, vae
from course_lib.training import Trainer

TOKENS = torch.randint(5, (16,), generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round() * 2 - 1


def first_losses(loop: baselines.Losses, steps: int) -> dict[str, list[float]]:
    rows = list(itertools.islice(loop, steps))
    return {name: [row[name] for row in rows] for name in rows[0]}


# --- The plain loops -----------------------------------------------------------------------------


def test_plain_transformer_takes_the_same_steps() -> None:
    # One batch holds all the data, so its order does not matter, and nothing else is random.
    changes = {"batch_size": 8, "steps": 12, "warmup_steps": 3, "clip": 0.3, "learning_rate": 0.03}
    config = transformer.configure("tiny", **changes)
    trained = transformer.train_transformer(TOKENS, 5, "tiny", trainer=trainer(), **changes)
    torch.manual_seed(0)
    model = transformer.build(config, 5)
    losses = first_losses(baselines.transformer_loop(model, TOKENS, config), 12)
    assert losses["cross_entropy"] == pytest.approx(trained.history["cross_entropy"], rel=1e-3)
    assert losses["cross_entropy"][-1] < losses["cross_entropy"][0] - 0.2


def test_plain_vae_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    without_noise(monkeypatch)
    changes = {"batch_size": 64, "steps": 30, "learning_rate": 0.01}
    config = vae.configure("tiny", **changes)
    trained = vae.train_vae(IMAGES, "tiny", trainer=trainer(), **changes)
    torch.manual_seed(0)
    losses = first_losses(baselines.vae_loop(vae.build(config, (1, 4, 4)), IMAGES, config), 30)
    assert losses["negative_elbo"] == pytest.approx(trained.history["negative_elbo"], rel=1e-3)
    assert losses["negative_elbo"][-1] < losses["negative_elbo"][0] - 0.5


def test_plain_gan_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    without_noise(monkeypatch)
    changes = {"batch_size": 64, "steps": 20, "dropout": 0.0, "learning_rate": 3e-3}
    config = gan.configure("tiny", **changes)
    trained = gan.train_gan(IMAGES, "tiny", trainer=trainer(), **changes)
    torch.manual_seed(0)
    losses = first_losses(baselines.gan_loop(*gan.build(config, (1, 4, 4)), IMAGES, config), 20)
    for name, values in losses.items():
        assert values == pytest.approx(trained.history[name], rel=1e-3), name
    assert losses["discriminator_loss"][-1] < losses["discriminator_loss"][0] - 0.05


def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both loops draw noise in their own ways; here it is a constant."""
    monkeypatch.setattr(Trainer, "randn", lambda self, *shape: torch.full(shape, 0.5))
    monkeypatch.setattr(baselines.torch, "randn", lambda *shape, **_: torch.full(shape, 0.5))
    monkeypatch.setattr(baselines.torch, "randn_like", lambda x: torch.full_like(x, 0.5))


def trainer() -> Trainer:
    return Trainer(device="cpu", progress=False)


# --- Counting ------------------------------------------------------------------------------------


def test_operations_are_those_of_the_products() -> None:
    """A forward pass costs 2 · batch · weights; a backward pass the same for each gradient."""
    config = vae.configure("quick")
    inner = 400 * 40 + 20 * 400 + 400 * 784  # products whose input also needs a gradient
    expected = 2 * config.batch_size * (2 * 784 * 400 + 3 * inner)
    assert bench.count_operations(bench.SUBJECTS["vae"]().train) == expected


def test_the_limit_is_a_speed_of_this_machine() -> None:
    assert 1e8 < bench.matmul_limit(256, repeats=2) < 1e14


def test_subjects_are_the_published_models() -> None:
    def size(model: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in model.parameters())

    pair = dcgan.build(dcgan.configure("full"), (3, 64, 64))
    assert [size(player) for player in pair] == [3_576_704, 2_765_568]
    assert {name: make().batch_size for name, make in bench.SUBJECTS.items()} == {
        "dcgan": 64,
        "gan": 64,
        "vae": 128,
        "transformer": 12,
    }


def test_the_transformer_is_nanogpts_in_both_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model for characters on a laptop's CPU, whatever the course's own preset is."""
    seen = []

    def stop(model, tokens, config, *rest, **settings) -> None:
        seen.append((model, config))
        raise StopIteration

    monkeypatch.setattr(transformer, "fit", stop)
    monkeypatch.setattr(baselines, "transformer_loop", stop)
    subject = bench.SUBJECTS["transformer"]()
    for loop in (lambda: subject.train(trainer(), 2000), subject.plain):
        with pytest.raises(StopIteration):
            loop()
    assert len(seen) == 2
    for model, config in seen:
        assert [config.layers, config.heads, config.width, config.context] == [4, 4, 128, 64]
        assert [config.positions, config.batch_size, config.dropout] == ["learnt", 12, 0]
        assert [config.learning_rate, config.warmup_steps, config.steps] == [1e-3, 100, 2000]
        # 65 characters and 64 places; in a block 12 squares of the width, 9 biases, 4 of norms.
        size = (65 + 64) * 128 + 4 * (12 * 128**2 + 13 * 128) + 2 * 128
        assert sum(weight.numel() for weight in model.parameters()) == size


# --- Measuring -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["ours", "theirs"])
def test_each_loop_is_charged_for_its_own_time(slow: str) -> None:
    def rival():
        while True:
            time.sleep(0.02 if slow == "theirs" else 0.001)
            yield {}

    def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
        time.sleep(0.02 if slow == "ours" else 0.001)
        return {"loss": x.mean()}

    race = bench._Race(rival(), 2)
    race.fit(step, torch.zeros(8, 1), batch_size=4, steps=10)
    assert len(race.ours) == len(race.theirs) == 5
    ratio = statistics.median(race.theirs) / statistics.median(race.ours)
    assert ratio > 4 if slow == "theirs" else ratio < 1 / 4


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small autoencoders stand for the models; the second is worth compiling."""
    config = vae.configure("tiny")

    def subject(compiled: bool) -> bench.Subject:
        return bench.Subject(
            config.batch_size,
            lambda trainer, steps: vae.train_vae(IMAGES, "tiny", trainer=trainer, steps=steps),
            lambda: baselines.vae_loop(vae.build(config, (1, 4, 4)), IMAGES, config),
            compiled=compiled,
        )

    subjects = {"one": lambda: subject(False), "two": lambda: subject(True)}
    monkeypatch.setattr(bench, "SUBJECTS", subjects)
    monkeypatch.setattr(bench, "matmul_limit", lambda: 1e9)


@pytest.mark.usefixtures("small")
def test_measure_and_table() -> None:
    rows = bench.measure(precisions=["fp32"], repeats=5, seconds=0.005)
    assert [(row.model, row.precision, row.compiled) for row in rows] == [
        ("one", "fp32", False),
        ("two", "fp32", False),
    ]
    for row in rows:
        assert 0 < row.ratios[0] <= row.ratios[1] <= row.ratios[2]
        assert row.share == pytest.approx(row.operations / row.seconds / 1e9)
    text = bench.table(rows)
    assert torch.__version__ in text and f"{torch.get_num_threads()} threads" in text
    for row in rows:
        (line,) = (line for line in text.splitlines() if line.startswith(row.model))
        assert f"{row.ratios[1]:.2f}×" in line and f"{row.share:.0%}" in line


@pytest.mark.usefixtures("small")
def test_bf16_is_compiled_where_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda loss, **_: asked.append(loss) or loss)
    rows = bench.measure(["one", "two"], ["fp32", "bf16"], repeats=1, seconds=0)
    assert [row.compiled for row in rows] == [False, False, False, True]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "wrong, named",
    [
        ({"models": ["lstm"]}, "models must be one of .*dcgan.*'lstm'"),
        ({"precisions": ["fp16"]}, "precisions must be one of .*'fp16'"),
        ({"repeats": 0}, "repeats must be .*1 or more.*0"),
        ({"seconds": -1}, "seconds must be .*-1"),
    ],
)
def test_measure_names_what_is_wrong(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bench.measure(**wrong)


def test_an_empty_table_still_names_the_machine() -> None:
    assert bench.table([]).startswith(f"torch {torch.__version__}")
