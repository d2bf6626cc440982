"""Numbers against independent ones, pictures that show what they should, records of runs."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from course_lib import autoencoder, datasets, families, gan, ngrams, results, transformer, vae
from course_lib.data_types import TextData
from course_lib.runs import RunError

DIGITS = datasets.digits()
RING = datasets.gaussian_ring()


class Fixed(nn.Module):
    """A "model" that always gives these samples."""

    def __init__(self, samples: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("samples", samples)


def family_of(samples: torch.Tensor) -> families.Family:
    """A family whose samples are the given ones."""
    row = families.FAMILIES["gan"]
    return dataclasses.replace(row, sample=lambda model, n, seed: model.samples[:n])


def judged(samples: torch.Tensor, data=DIGITS, **options) -> results.Report:
    options = {"n": 200, "device": "cpu", **options}
    return results.evaluate(
        family_of(samples), gan.PRESETS["tiny"], Fixed(samples), data, **options
    )


# --- Numbers -------------------------------------------------------------------------------------


def test_copies_of_the_training_images_are_found_out() -> None:
    report = judged(DIGITS.train_images, classifier=False)
    distance = {name: row["to nearest training image"] for name, row in report.items()}
    assert distance["samples"] == 0
    assert 0 < distance["held out"] < distance["noise"]


def test_real_images_look_real_and_noise_does_not() -> None:
    report = judged(DIGITS.test_images)
    assert report["samples"] == report["held out"]
    assert report["held out"]["confident"] > 0.8 and report["held out"]["classes of 10"] == 10
    assert report["noise"]["confident"] < 0.5


def test_one_digit_only_is_one_class_only() -> None:
    ones = DIGITS.train_images[DIGITS.train_labels == 1]
    report = judged(ones[torch.arange(200) % len(ones)])
    assert report["samples"]["classes of 10"] == 1 < report["held out"]["classes of 10"]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_the_nearest_is_the_nearest_of_all(n: int, m: int, seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    images, training = (torch.randn(size, 1, 2, 2, generator=stream) for size in (n, m))
    found = results.nearest(images, training)
    brute = [min(float((a - b).square().sum().sqrt()) for b in training) for a in images]
    assert found.tolist() == pytest.approx(brute, rel=1e-5)


def test_the_nearest_is_found_across_the_parts_it_is_sought_in() -> None:
    training = torch.zeros(20_000, 1, 1, 1)
    training[12_345] = 1
    training[19_999] = 3
    images = torch.tensor([1.25, 2.5, 0.1]).view(3, 1, 1, 1)
    assert results.nearest(images, training).tolist() == pytest.approx([0.25, 0.5, 0.1])


def test_points_on_the_modes_cover_them() -> None:
    report = judged(RING.test_points, RING)
    assert report["samples"] == report["held out"]
    assert report["samples"]["modes of 8"] == 8
    assert report["samples"]["on a mode"] == pytest.approx(1 - math.exp(-4.5), abs=0.02)
    half = RING.train_points[RING.train_labels < 4]
    assert judged(half, RING)["samples"]["modes of 8"] == 4


def test_a_variational_autoencoder_is_judged_by_the_bound_of_held_out_images() -> None:
    config = vae.configure("tiny", likelihood="gaussian", noise_scale=1.0)
    torch.manual_seed(0)
    model = vae.build(config, (1, 8, 8)).eval()
    report = results.evaluate(
        *(families.FAMILIES["vae"], config, model, DIGITS), n=300, device="cpu", classifier=False
    )
    row = report["held out"]
    assert row["ELBO"] == pytest.approx(row["reconstruction"] - row["KL"], rel=1e-5)
    with torch.no_grad():  # q(z|x) is a normal distribution, p(z) the standard one
        mean, log_variance = model.encoder(DIGITS.test_images[:300])
        q = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert row["KL"] == pytest.approx(float(kl.mean()), rel=1e-4)
    assert "ELBO" not in report["samples"]
    assert row["ELBO"] - 0.1 < row["IWAE-100"], "the tighter bound, of other noise"
    bound = vae.iwae_bound(model, DIGITS.test_images[:300], 100)
    assert row["IWAE-100"] == pytest.approx(float(bound.mean()), rel=1e-5)


def test_a_model_of_points_is_judged_by_its_bound_too() -> None:
    config = vae.configure("tiny", likelihood="gaussian", bounded=False)
    torch.manual_seed(0)
    model = vae.build(config, (2,)).eval()
    report = results.evaluate(families.FAMILIES["vae"], config, model, RING, n=50, device="cpu")
    row, bound = report["held out"], vae.iwae_bound(model, RING.test_points[:50], 100)
    assert row["IWAE-100"] == pytest.approx(float(bound.mean()), rel=1e-5)
    assert row["modes of 8"] == 8 and "ELBO" in row and "ELBO" not in report["samples"]


@pytest.mark.parametrize("data", [DIGITS, RING], ids=["images", "points"])
def test_an_autoencoder_is_judged_by_the_error_of_held_out_reconstructions(data) -> None:
    held_out = families.halves(data)[1][:50]
    config = autoencoder.configure("tiny", bounded=data is DIGITS)
    torch.manual_seed(0)
    model = autoencoder.build(config, held_out.shape[1:]).eval()
    report = results.evaluate(
        *(families.FAMILIES["autoencoder"], config, model, data),
        **{"n": 50, "device": "cpu", "classifier": False},
    )
    expected = autoencoder.squared_error(model, held_out, held_out).item()
    assert report["held out"]["squared error"] == pytest.approx(expected, rel=1e-5)
    assert "squared error" not in report["samples"]


def test_a_conditional_autoencoder_is_judged_with_the_labels() -> None:
    changes = {"likelihood": "gaussian", "classes": 10}
    config = vae.configure("tiny", **changes)
    torch.manual_seed(0)
    model = vae.build(config, (1, 8, 8)).eval()
    report = results.evaluate(
        *(families.FAMILIES["vae"], config, model, DIGITS), n=50, device="cpu", classifier=False
    )
    labels = DIGITS.test_labels[:50]
    bound = vae.iwae_bound(model, DIGITS.test_images[:50], 100, labels=labels)
    assert report["held out"]["IWAE-100"] == pytest.approx(float(bound.mean()), rel=1e-5)


def test_a_language_model_that_knows_nothing_needs_all_the_bits() -> None:
    text = "".join(chr(97 + i * i % 13) for i in range(2000))
    data = TextData.from_text("text", text, source="", licence="")
    config = transformer.configure("tiny")
    model = transformer.build(config, len(data.vocabulary))
    nn.init.zeros_(model.tokens.weight)  # all logits 0: every character equally likely
    report = results.evaluate(
        families.FAMILIES["transformer"], config, model, data, n=10, device="cpu"
    )
    bits = {name: row["bits per character"] for name, row in report.items()}
    assert bits["model"] == pytest.approx(math.log2(len(data.vocabulary)), rel=1e-5)
    assert bits["frequencies alone"] < bits["model"]


def test_separate_lines_are_judged_one_by_one() -> None:
    """A table of pairs and the frequencies alone, each against a count by hand; n is in lines."""
    text = "\n" + "ab\nba\nabba\n" * 100
    data = TextData.from_text("lines", text, "\nab\nb\nbbbb\n", source="", licence="")
    data = dataclasses.replace(data, separate_lines=True)
    model = ngrams.NGram(data.texts(data.train_tokens), 3, order=2, strength=1e-6)
    config = transformer.configure("tiny")
    report = results.evaluate(
        families.FAMILIES["transformer"], config, model, data, n=2, device="cpu"
    )
    # What follows what in the three lines "ab", "ba" and "abba".
    after = {"\n": {"a": 2, "b": 1}, "a": {"b": 2, "\n": 2}, "b": {"\n": 1, "a": 2, "b": 1}}
    pairs = ["\na", "ab", "b\n", "\nb", "b\n"]
    bits = [-math.log2(after[x][y] / sum(after[x].values())) for x, y in pairs]
    found = {name: row["bits per character"] for name, row in report.items()}
    assert found["model"] == pytest.approx(sum(bits) / 5, rel=1e-4)
    share = {"\n": 302 / 1104, "a": 401 / 1104, "b": 401 / 1104}
    alone = [-math.log2(share[y]) for _, y in pairs]
    assert found["frequencies alone"] == pytest.approx(sum(alone) / 5, rel=1e-6)


def test_the_first_line_of_each_sample_is_shown_where_lines_are_separate() -> None:
    tokens = torch.tensor([[0, 1, 2, 0, 2], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    card = {"vocabulary": "\nab", "separate_lines": True}
    assert results.as_text(tokens, card) == "ab\n\naaaa\n"
    whole = results.as_text(tokens, card | {"separate_lines": False})
    assert whole == results.as_text(tokens, {"vocabulary": "\nab"}), "as older cards are"
    assert whole.split("-" * 40) == ["\nab\nb\n", "\n\n\naaa\n", "\n\naaaa\n"]


def test_bits_of_the_frequencies_alone_are_their_entropy() -> None:
    train = torch.tensor([0] * 8 + [1] * 4 + [2] * 4).repeat(1000)
    assert results.unigram_bits(train, train, 3) == pytest.approx(1.5, abs=1e-3)
    assert math.isfinite(results.unigram_bits(train, torch.tensor([3]), 4))  # never seen


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_cannot_be_judged(n: int) -> None:
    with pytest.raises(ValueError, match=f"n must be a whole number.*got {n}"):
        judged(DIGITS.train_images, n=n)


def test_the_device_is_one_that_training_knows() -> None:
    with pytest.raises(ValueError, match=r"device must be one of \['auto', 'cpu'\]; got 'gpu'"):
        judged(DIGITS.train_images, device="gpu")


def test_auto_is_the_device_that_training_takes(monkeypatch) -> None:
    """Accelerate may be told of another one than torch names, by ACCELERATE_USE_CPU."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    report = judged(DIGITS.train_images, classifier=False, device="auto", n=5)
    assert report["samples"]["to nearest training image"] == 0


def test_without_a_held_out_part_there_is_nothing_to_compare_with() -> None:
    data = dataclasses.replace(
        DIGITS, test_images=DIGITS.test_images[:0], test_labels=DIGITS.test_labels[:0]
    )
    with pytest.raises(ValueError, match="digits has no held-out part"):
        judged(DIGITS.train_images, data)


# --- Tables and pictures -------------------------------------------------------------------------


def test_tables_are_aligned_and_leave_blank_what_is_missing() -> None:
    rows = [{"name": "a", "value": 1.23456}, {"name": "longer", "value": 100, "more": 0.5}]
    assert results.table(rows).splitlines() == [
        "name    value  more",
        "a       1.235",
        "longer    100   0.5",
    ]


def test_a_grid_shows_the_images_in_order_and_enlarged(tmp_path) -> None:
    images = torch.linspace(-1, 1, 4).view(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous()
    path = results.draw_samples(images, tmp_path / "folder" / "step-1")
    assert path.name == "step-1.png"
    pixels = np.asarray(Image.open(path))
    scale, cell = 64 // 8, 8 + 1
    centres = [
        (scale * (1 + 4 + cell * (i // 2)), scale * (1 + 4 + cell * (i % 2))) for i in range(4)
    ]
    assert [int(pixels[place]) for place in centres] == [0, 85, 170, 255]


def test_a_model_that_has_diverged_can_be_drawn_too(tmp_path) -> None:
    for shape in ((4, 1, 8, 8), (4, 2)):
        broken = torch.full(shape, float("nan"))
        assert results.draw_samples(broken, tmp_path / "nan").stat().st_size > 0


def test_colours_stay_colours(tmp_path) -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64).contiguous()
    pixels = np.asarray(Image.open(results.draw_samples(red, tmp_path / "red")))
    assert pixels[30, 30].tolist() == [255, 0, 0]


def test_points_become_a_picture_and_tokens_a_text(tmp_path) -> None:
    points = results.draw_samples(RING.train_points[:50], tmp_path / "points")
    assert Image.open(points).size[0] > 200
    card = {"vocabulary": "ab", "separate_lines": False}
    text = results.draw_samples(torch.tensor([[0, 1], [1, 1]]), tmp_path / "text", card)
    first, dashes, second = text.read_text().splitlines()
    assert (first, set(dashes), second) == ("ab", {"-"}, "bb")


@pytest.mark.parametrize("side", [300, 500])
def test_a_picture_in_the_record_is_small(side: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    small = results._small_enough(buffer.getvalue())
    assert len(small) <= results.LARGEST_PICTURE
    assert Image.open(io.BytesIO(small)).size[0] >= 200
    if len(buffer.getvalue()) <= results.LARGEST_PICTURE:
        assert small == buffer.getvalue()


# --- The record ----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """The folder of a run that looks finished."""
    folder = tmp_path / "runs" / "gan-seed0"
    (folder / "samples").mkdir(parents=True)
    card = {"family": "gan", "preset": "full", "data": "mnist5k", "config": {"steps": 1200}}
    metrics = {"samples": {"confident": 0.9}, "held out": {"confident": 1.0, "ELBO": -99.5}}
    card |= {"metrics": {**metrics, "noise": {"confident": 0.0}}}
    (folder / "card.json").write_text(json.dumps(card | {"device": "cpu", "seconds": 12.5}))
    (folder / "model.safetensors").write_bytes(b"weights")
    steps = [{"step": i, "generator_loss": 1 / i, "real_probability": 0.5} for i in range(1, 1201)]
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(step)}\n" for step in steps))
    for step, grey in {0: -1.0, 1200: 0.5}.items():
        image = torch.full((4, 1, 8, 8), grey)
        results.draw_samples(image, folder / "samples" / f"step-{step:06d}")
    return folder


def test_a_record_holds_what_a_reader_needs_and_no_weights(run, tmp_path) -> None:
    folder = results.record(run, tmp_path / "results")
    assert folder == tmp_path / "results" / "gan-seed0"
    names = {"card.json", "samples.png", "losses.png", "history.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "card.json").read_text()) == json.loads(
        (run / "card.json").read_text()
    )
    last = run / "samples" / "step-001200.png"
    assert (folder / "samples.png").read_bytes() == last.read_bytes()
    assert Image.open(folder / "losses.png").size[0] > 300
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert len(rows) <= results.MOST_ROWS and rows[0]["step"] == 1
    assert all(row["generator_loss"] == 1 / row["step"] for row in rows)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 400_000


def test_recording_again_replaces_what_was_there(run, tmp_path) -> None:
    folder = results.record(run, tmp_path / "results")
    (folder / "old.png").write_bytes(b"")
    (run / "history.jsonl").unlink()
    assert {path.name for path in results.record(run, tmp_path / "results").iterdir()} == {
        *("card.json", "samples.png"),
    }


def test_the_table_of_records_has_the_models_own_numbers(run, tmp_path) -> None:
    assert results.recorded(tmp_path / "results") == []
    results.record(run, tmp_path / "results")
    (row,) = results.recorded(tmp_path / "results")
    assert row == {
        **{"run": "gan-seed0", "family": "gan", "preset": "full", "data": "mnist5k"},
        **{"steps": 1200, "device": "cpu", "seconds": 12.5, "confident": 0.9, "ELBO": -99.5},
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "model.safetensors").unlink(), "not finished"),
        (lambda run: (run / "card.json").unlink(), "holds no run"),
        (lambda run: (run / "history.jsonl").write_text("{"), "history.jsonl is damaged"),
    ],
)
def test_what_is_no_finished_run_is_not_recorded(spoil, message: str, run, tmp_path) -> None:
    spoil(run)
    with pytest.raises(RunError, match=message):
        results.record(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()
