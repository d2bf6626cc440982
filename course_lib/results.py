"""What a trained model is worth: numbers beside their yardsticks, pictures, and the record of both.

``results/`` holds the record of full-size runs. It is written by :func:`record` from a run's
folder, never by hand: the card with settings and metrics, the last samples, and the losses.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from course_lib import autoencoder, families, vae
from course_lib.autoregressive import LanguageModel, bits_per_character
from course_lib.checks import check, one_of, whole
from course_lib.data_types import PADDING
from course_lib.datasets import ImageData, PointData, TextData
from course_lib.evaluation import count_modes, judge, train_reference_classifier
from course_lib.families import Data, Family
from course_lib.files import write_atomically
from course_lib.history import History
from course_lib.runs import CARD, HISTORY, MODEL, SAMPLES, RunError, read_run_card

Report = dict[str, dict[str, float | int]]  # row -> column -> number

LARGEST_PICTURE = 120_000  # bytes, of a picture in the record: it goes into a notebook
MOST_ROWS = 500  # of a recorded history
IWAE_SAMPLES = 100  # codes for each held-out image
CHARACTERS_A_SAMPLE = 100  # held-out characters read for each sample that is asked for

# --- Numbers -------------------------------------------------------------------------------------


def evaluate(
    family: Family,
    config: Any,
    model: nn.Module,
    data: Data,
    *,
    n: int = 1000,
    seed: int = 0,
    device: str = "auto",
    classifier: bool = True,
) -> Report:
    """The model's numbers, a row, beside those of real held-out data and of something worthless.

    Images with classes: the share that a classifier is sure of and the classes it finds, see
    :func:`course_lib.evaluation.judge`. Images: the mean distance to the nearest training image,
    Euclidean, of pixels in [-1, 1]; samples that are much nearer than held-out images are copies.
    Points: the modes that are covered. An autoencoder, of held-out images or points: the squared
    error of their reconstruction, summed over the values of each. A VAE, of the same: the ELBO with
    its parts, and the tighter IWAE bound with ``IWAE_SAMPLES`` codes, in nats. A text: bits a
    character, beside those of the frequencies of characters alone.

    Args:
        n: samples to draw; at most so many held-out examples are used too, such as lines of a text
            whose lines are separate; of another text 100 characters for each.
        seed: of the samples, the classifier and the noise of the bounds.
        device: "auto" or "cpu".
        classifier: whether to train the classifier, which takes most of the time.

    Raises:
        ValueError: for a number or a device out of range, or data without a held-out part.
    """
    rules = {"n": whole(1), "device": one_of(("auto", "cpu"))}
    check(rules, {"n": n, "device": device})
    place = PartialState().device if device == "auto" else torch.device("cpu")
    model = model.to(place)
    train, held_out = families.halves(data)
    if not len(held_out):
        raise ValueError(f"{data.name} has no held-out part, beside which the model is judged")
    if family.text:
        assert isinstance(data, TextData) and isinstance(model, LanguageModel)
        texts = data.texts(held_out)[: n if data.separate_lines else n * CHARACTERS_A_SAMPLE]
        bits = bits_per_character(model, texts)
        predicted = texts[..., 1:]
        alone = unigram_bits(train, predicted[predicted != PADDING], len(data.vocabulary))
        return {
            "model": {"bits per character": bits},
            "frequencies alone": {"bits per character": alone},
        }
    stream = torch.Generator().manual_seed(seed)
    held_out = held_out[:n]
    rows = {"samples": family.sample(model, n, seed=seed), "held out": held_out}
    if isinstance(data, PointData):
        span = float(train.abs().max())
        rows["noise"] = (torch.rand(n, train.shape[1], generator=stream) * 2 - 1) * span
        report = {name: _modes(points, data) for name, points in rows.items()}
    else:
        assert isinstance(data, ImageData)
        rows["noise"] = torch.rand(n, *train.shape[1:], generator=stream) * 2 - 1
        report = {name: {} for name in rows}
        if classifier and len(data.classes) > 1:
            referee = train_reference_classifier(data, seed=seed, device=device, progress=False)
            for name, images in rows.items():
                verdict = judge(referee, images)
                report[name]["confident"] = verdict.confident_share
                report[name][f"classes of {len(data.classes)}"] = verdict.covered
        train = train.to(place)
        for name, images in rows.items():
            report[name]["to nearest training image"] = float(nearest(images, train).mean())
    if isinstance(model, autoencoder.Autoencoder):
        error = autoencoder.reconstruct(model, held_out) - held_out
        report["held out"]["squared error"] = float(error.square().flatten(1).sum(1).mean())
    if isinstance(model, vae.VAE):
        noise = torch.randn(len(held_out), config.latent_dim, generator=stream).to(place)
        given = {k: v[:n] for k, v in families.labels_for(config, data, held_out=True).items()}
        report["held out"] |= _bounds(model, held_out, noise, given, seed)
    return report


def _bounds(
    model: vae.VAE, x: Tensor, noise: Tensor, given: Mapping[str, Tensor], seed: int
) -> dict[str, float | int]:
    """Of log p(x), in nats; ``given`` are the labels, where there are any."""
    on_device = {name: labels.to(noise.device) for name, labels in given.items()}
    with torch.no_grad():
        bound = vae.elbo(model, x.to(noise.device), noise, **on_device)
    return {
        "ELBO": float(bound.elbo),
        "reconstruction": float(bound.reconstruction),
        "KL": float(bound.kl),
        f"IWAE-{IWAE_SAMPLES}": float(
            vae.iwae_bound(model, x, IWAE_SAMPLES, **given, seed=seed).mean()
        ),
    }


def nearest(
    images: Float[Tensor, "n *sample"], training: Float[Tensor, "m *sample"]
) -> Float[Tensor, " n"]:
    """Euclidean distance from each image to the training image nearest to it, on the CPU.

    Which one is nearest is found with rounded squares; its distance is then computed exactly, so
    that a copy has the distance 0.
    """
    flat = training.flatten(1)
    distances = []
    for part in images.flatten(1).split(256):
        part = part.to(flat.device)
        best = torch.full((len(part),), math.inf, device=flat.device)
        index = torch.zeros(len(part), dtype=torch.long, device=flat.device)
        for start in range(0, len(flat), 8192):  # a table of all pairs would not fit
            distance, place = torch.cdist(part, flat[start : start + 8192]).min(dim=1)
            index = torch.where(distance < best, place + start, index)
            best = torch.minimum(distance, best)
        distances.append((part - flat[index]).norm(dim=1).cpu())
    return torch.cat(distances)


def unigram_bits(train: Int[Tensor, " n"], held_out: Int[Tensor, " m"], size: int) -> float:
    """Bits a character of ``held_out`` when only the frequencies in ``train`` are known.

    Each of the ``size`` characters counts once more than it occurs, so that none is impossible.
    """
    counts = torch.bincount(train, minlength=size).double() + 1
    return float(-(counts / counts.sum()).log2()[held_out].mean())


def _modes(points: Tensor, data: PointData) -> dict[str, float | int]:
    report = count_modes(points, data.centres, radius=3 * data.standard_deviation)
    return {f"modes of {len(data.centres)}": report.covered, "on a mode": report.on_mode_share}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text, a column a name; what a row lacks stays blank."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    numeric = [all(not isinstance(row.get(name), str) for row in rows) for name in columns]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [columns, *cells]
    )


def report_table(report: Report) -> str:
    """What :func:`evaluate` found, as aligned text."""
    return table([{"": name, **numbers} for name, numbers in report.items()])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- Pictures ------------------------------------------------------------------------------------


def draw_samples(
    samples: Shaped[Tensor, "n ..."], path: Path, card: Mapping[str, Any] | None = None
) -> Path:
    """Draw samples to a file beside ``path``, which has no suffix; returns the file.

    Images become a grid, points a scatter plot, both .png; tokens a .txt, see :func:`as_text`.
    """
    if not samples.is_floating_point():
        file = path.with_name(f"{path.name}.txt")
        content = as_text(samples, card or {}).encode()
    else:
        file = path.with_name(f"{path.name}.png")
        samples = samples.nan_to_num()  # a run that diverges is stopped by its metrics, not here
        content = _scatter(samples) if samples.ndim == 2 else _grid(samples)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
    return file


def as_text(tokens: Int[Tensor, "n length"], card: Mapping[str, Any]) -> str:
    """The texts, a line of dashes between them; of separate lines the first one of each.

    ``card`` is that of the run, which knows the ``vocabulary`` and whether there are
    ``separate_lines``.
    """
    texts = ["".join(card["vocabulary"][token] for token in row) for row in tokens.tolist()]
    if card.get("separate_lines"):  # which begin and end with a newline
        return "".join(text[1:].partition("\n")[0] + "\n" for text in texts)
    return f"\n{'-' * 40}\n".join(texts) + "\n"


def _grid(images: Tensor) -> bytes:
    """A PNG of the images in about as many columns as rows, small ones enlarged."""
    import numpy as np
    from PIL import Image

    from course_lib.plotting import tile

    side = max(images.shape[2:])
    gap = max(1, side // 14)
    page = tile(images, math.ceil(math.sqrt(len(images))), gap, gap)
    picture = Image.fromarray((page * 255).round().astype(np.uint8))
    factor = max(1, 64 // side)
    return _png(
        picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    )


def _scatter(points: Tensor) -> bytes:
    from course_lib.player import png_small, rasterise
    from course_lib.plotting import COLOURS, subplots

    figure, axes = subplots(width=4, height=4)
    axes.scatter(*points.T.tolist(), s=7, color=COLOURS["model"], alpha=0.7, linewidths=0)
    axes.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    return png_small(rasterise(figure))


def _losses(rows: Sequence[Mapping[str, float | int]]) -> bytes:
    from course_lib.player import png_small, rasterise
    from course_lib.plotting import loss_curves

    history = History()
    for row in rows:
        history.append({name: value for name, value in row.items() if name != "step"})
    # A GAN's are named so; elsewhere the first metric is what is minimised.
    names = [name for name in history if "loss" in name] or list(history)[:1]
    return png_small(rasterise(loss_curves(history, names, smooth=max(25, len(rows) // 100))))


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _small_enough(png: bytes) -> bytes:
    """The picture with fewer colours, and then smaller, until it fits into the record."""
    from PIL import Image

    picture: Image.Image = Image.open(io.BytesIO(png))
    while len(png) > LARGEST_PICTURE:
        png = _png(picture.convert("RGB").quantize(128))
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    return png


# --- The record ----------------------------------------------------------------------------------


def record(run: str | os.PathLike[str], results: str | os.PathLike[str] = "results") -> Path:
    """Copy what is worth keeping of a finished run into ``results``; returns the folder there.

    The card, the last samples, a picture of the losses, and every so many steps of the history. An
    older record of the same name is replaced.

    Raises:
        RunError: there is no run, or it is not finished.
    """
    run = Path(run)
    card = read_run_card(run)
    if not (run / MODEL).exists():
        raise RunError(f"the run in {run} is not finished; only finished runs are recorded")
    files = {CARD: json.dumps(card, indent=1).encode() + b"\n"}
    if drawn := sorted((run / SAMPLES).glob("step-*")):
        content = drawn[-1].read_bytes()
        image = drawn[-1].suffix == ".png"
        files[f"samples{drawn[-1].suffix}"] = _small_enough(content) if image else content
    if rows := _rows(run / HISTORY):
        files["losses.png"] = _losses(rows)
        thinned = rows[:: math.ceil(len(rows) / MOST_ROWS)]
        files[HISTORY] = "".join(f"{json.dumps(row)}\n" for row in thinned).encode()
    folder = Path(results) / run.resolve().name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
    return folder


def recorded(results: str | os.PathLike[str] = "results") -> list[dict[str, Any]]:
    """A row for each recorded run: what it is, how long it took, and its metrics.

    Of the held-out data only what samples do not have, such as the ELBO.
    """
    rows = []
    for path in sorted(Path(results).glob(f"*/{CARD}")):
        card = read_run_card(path.parent)
        row = {"run": path.parent.name, **{k: card.get(k) for k in ("family", "preset", "data")}}
        row["steps"] = card.get("config", {}).get("steps")
        row |= {name: card[name] for name in ("device", "precision", "seconds") if name in card}
        for kind, numbers in (card.get("metrics") or {}).items():
            if kind in ("samples", "model", "held out"):
                row |= {name: number for name, number in numbers.items() if name not in row}
        rows.append(row)
    return rows


def _rows(path: Path) -> list[dict[str, float | int]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise RunError(
            f"{path} is damaged ({error}); restore it before the run is recorded"
        ) from error
