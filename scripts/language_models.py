"""What the language models reach on held-out text: their families, fine-tuning, and scale.

Writes three records in results/: surnames.json, the families beside each other, with about the same
time to train; fine_tuning.json, a Transformer that knows surnames and learns a few hundred first
names; scaling.json, loss against size and against training text. Chapters 11 and 13 show them.
About 20 minutes on one CPU core. What is recorded already with the same settings is kept, so that
it can be stopped; ``--only RECORD`` (more than once) makes one alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional

from course_lib import datasets, ngrams, recurrent, transformer
from course_lib.autoregressive import LanguageModel, bits_per_character, sample
from course_lib.data_types import PADDING, TextData
from course_lib.files import write_atomically
from course_lib.training import Trainer

RESULTS = Path(__file__).resolve().parents[1] / "results"
Run = dict[str, Any]
Rows = dict[str, list[Run]]


def shown(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings as a file gives them back, where a tuple is a list."""
    return json.loads(json.dumps(settings))


class Record:
    """A file of rows, each with its runs; a run is known by its row and its seed.

    Args:
        name: of the file.
        protocol: what its numbers mean and how they came about.
        rows: names in the order of the file.
        summary: what the file says of all runs together.
    """

    def __init__(
        self,
        name: str,
        protocol: str,
        rows: list[str],
        summary: Callable[[Rows], Run] | None = None,
    ) -> None:
        self.path, self.protocol = RESULTS / f"{name}.json", protocol
        self.rows, self.summary = rows, summary

    def runs(self, row: str) -> list[Run]:
        """What the disk has of a row."""
        if not self.path.exists():
            return []
        return json.loads(self.path.read_text())["rows"].get(row, [])

    def has(self, row: str, seed: int, settings: dict[str, Any]) -> bool:
        """Was this run recorded, with the same settings?"""
        return any(
            run["seed"] == seed and run["settings"] == shown(settings) for run in self.runs(row)
        )

    def keep(self, row: str, run: Run, settings: dict[str, Any]) -> None:
        """Add the run, in the place of one with the same seed."""
        kept = {name: self.runs(name) for name in self.rows}
        others = [other for other in kept[row] if other["seed"] != run["seed"]]
        run = run | {"settings": shown(settings)}
        kept[row] = sorted([*others, run], key=lambda run: run["seed"])
        content = {
            "protocol": self.protocol,
            "device": "CPU, 1 thread",
            "torch": torch.__version__,
            **({} if self.summary is None else self.summary(kept)),
            "rows": {name: runs for name, runs in kept.items() if runs},
        }
        RESULTS.mkdir(exist_ok=True)
        write_atomically(self.path, (json.dumps(content, indent=1) + "\n").encode())
        result = {name: value for name, value in run.items() if name not in ("samples", "settings")}
        print(f"{self.path.stem}, {row}: {result}", flush=True)


def quiet(seed: int) -> Trainer:
    return Trainer(seed=seed, device="cpu", progress=False)


def bits(model: LanguageModel, tokens: Tensor) -> float:
    return round(bits_per_character(model, tokens, batch_size=256), 4)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def best_counts(fit: Tensor, aside: Tensor, size: int, grid: dict[str, list[Any]]) -> Run:
    """Order and strength of the n-gram that predicts the texts kept aside best."""
    tried = {
        (order, strength): bits_per_character(
            ngrams.NGram(fit, size, order=order, strength=strength), aside, batch_size=256
        )
        for order in grid["orders"]
        for strength in grid["strengths"]
    }
    order, strength = min(tried, key=tried.__getitem__)
    return {"order": order, "strength": strength}


# --- A: the families -----------------------------------------------------------------------------

TRANSFORMER: dict[str, Any] = {
    "steps": 3600,
    "batch_size": 64,
    "context": 14,  # the letters of the longest surname and the newline before them
    "layers": 2,
    "heads": 4,
    "width": 64,
    "positions": "learnt",
    "learning_rate": 1e-2,
    "warmup_steps": 100,
    "dropout": 0.0,
    "weight_decay": 0.1,
}


@dataclass(frozen=True)
class Network:
    """One way to train a neural language model: a family and changes to its preset `quick`."""

    train: Callable[..., Any]
    configure: Callable[..., Any]
    changes: dict[str, Any] = field(default_factory=dict)


NETWORKS = {
    "MLP": Network(ngrams.train_mlp, ngrams.configure, {"steps": 4200}),
    "LSTM": Network(
        recurrent.train_lstm, recurrent.configure, {"steps": 6000, "learning_rate": 1e-2}
    ),
    "Transformer": Network(transformer.train_transformer, transformer.configure, TRANSFORMER),
}
ORDERS, STRENGTHS = [3, 4, 5, 6, 7, 8], [10.0, 20.0, 40.0, 80.0]

SURNAMES = Record(
    "surnames",
    "surnames: 79,977 training and 8,822 held-out names, each read alone, from the newline before "
    "its first letter to the newline after its last one, which is predicted too. bits_per_character"
    " is the mean of -log2 p over all predicted characters of the held-out names, lower is better; "
    "train_bits_per_character is that of the first 8,822 training names. The networks train for a "
    "fixed number of steps, about 70 processor seconds of one thread each; their settings were "
    "chosen by a few short trainings, and order and strength of the n-gram among all of a grid, on "
    "the first tenth of the training names, without the held-out ones. samples are 20 names of the "
    "seed 0, none removed.",
    ["bigram", "n-gram", *NETWORKS],
)


def written(data: TextData, rows: Tensor) -> list[str]:
    """The names in rows of tokens, up to the newline after the last letter."""
    texts = (data.decode(row[row != PADDING]) for row in rows)
    return [text[1:].split("\n")[0] for text in texts]


def surnames(seeds: int) -> None:
    """Each family with every seed; counting knows no seed."""
    data = datasets.surnames()
    train, held_out = data.rows(data.train_tokens), data.rows(data.test_tokens)
    size = len(data.vocabulary)

    def keep(
        row: str, seed: int, settings: dict[str, Any], model: Any, since: float, **more: Any
    ) -> None:
        seconds = round(time.process_time() - since, 1)
        run: Run = {
            "seed": seed,
            "bits_per_character": bits(model, held_out),
            "train_bits_per_character": bits(model, train[: len(held_out)]),
            "processor_seconds": seconds,
            **more,
        }
        if row in NETWORKS:
            run |= {"parameters": count(model), "steps": settings["steps"]}
        if seed == 0:
            run["samples"] = written(data, sample(model, 20, seed=0))
        SURNAMES.keep(row, run, settings)

    for row, orders in {"bigram": [2], "n-gram": ORDERS}.items():
        grid: dict[str, list[Any]] = {"orders": orders, "strengths": STRENGTHS}
        if not SURNAMES.has(row, 0, grid):
            aside = len(train) // 10
            chosen = best_counts(train[aside:], train[:aside], size, grid)
            since = time.process_time()
            keep(row, 0, grid, ngrams.NGram(train, size, **chosen), since, **chosen)
    for seed in range(seeds):
        for row, network in NETWORKS.items():
            settings = asdict(network.configure("quick", **network.changes))
            if SURNAMES.has(row, seed, settings):
                continue
            since = time.process_time()
            trained = network.train(train, size, trainer=quiet(seed), **network.changes)
            keep(row, seed, settings, trained.model, since)


# --- B: fine-tuning ------------------------------------------------------------------------------

NAMES, ASIDE = 500, 200  # first names to train on, and to choose the number of steps with
STUDENTS: dict[
    str, tuple[dict[str, Any], list[int]]
] = {  # the settings, and the numbers of steps of which the best is kept
    "fine-tuned": (
        {"batch_size": 50, "learning_rate": 1e-3, "dropout": 0.1, "warmup_steps": 10},
        [50, 100, 200],
    ),
    "from scratch": (
        {"batch_size": 50, "learning_rate": 5e-3, "dropout": 0.2, "warmup_steps": 20},
        [100, 200, 400],
    ),
}

COUNTS = ["n-gram, first names", "n-gram, first names and surnames"]


def difference(rows: Rows) -> Run:
    """From scratch minus fine-tuned, seed by seed: what pre-training is worth, in bits."""
    tuned, alone = (
        {run["seed"]: run["bits_per_character"] for run in rows[name]}
        for name in ("fine-tuned", "from scratch")
    )
    gains = [alone[seed] - tuned[seed] for seed in tuned if seed in alone]
    if len(gains) < 2:
        return {}
    mean, spread = float(np.mean(gains)), float(np.std(gains, ddof=1))
    numbers = {"mean": mean, "standard_deviation": spread, "least": min(gains), "most": max(gains)}
    return {"difference": {name: round(value, 4) for name, value in numbers.items()}}


FINE_TUNING = Record(
    "fine_tuning",
    "The Transformer of surnames.json (seed 0) knows the surnames and learns "
    f"{NAMES} first names drawn at random from the 4,668 for training; another one of the same "
    "shape learns the same first names alone. Both train once with each number of steps in "
    "steps_tried and keep the one that predicts "
    f"{ASIDE} further training first names best (bits_aside); learning rate and dropout of each "
    "were chosen on such names too. bits_per_character is of the 495 held-out first names, lower "
    "is better. Beside them: the Transformer that knows surnames alone, and counts of the first "
    "names without and with the surnames, order and strength chosen on the same names kept aside. "
    "A seed draws the names and the order of training; the pre-trained Transformer is one. "
    "difference is from scratch minus fine-tuned over the seeds.",
    ["surnames alone", *STUDENTS, *COUNTS],
    difference,
)


def fine_tuning(seeds: int) -> None:
    """Pre-train once, then learn first names with every seed in every way."""
    data, more = datasets.first_names(), datasets.surnames()
    known, all_names = more.rows(more.train_tokens), data.rows(data.train_tokens)
    held_out, size = data.rows(data.test_tokens), len(data.vocabulary)
    start = transformer.train_transformer(known, size, trainer=quiet(0), **TRANSFORMER).model
    run: Run = {
        "seed": 0,
        "bits_per_character": bits(start, held_out),
        "parameters": count(start),
    }
    pretraining = asdict(transformer.configure("quick", **TRANSFORMER))
    FINE_TUNING.keep("surnames alone", run, pretraining)
    for seed in range(seeds):
        order = torch.randperm(len(all_names), generator=torch.Generator().manual_seed(seed))
        names, aside = all_names[order[:NAMES]], all_names[order[NAMES : NAMES + ASIDE]]
        for row, (changes, steps_tried) in STUDENTS.items():
            config = asdict(transformer.configure("quick", **(TRANSFORMER | changes)))
            settings = config | {"pretraining": pretraining, "steps_tried": steps_tried}
            if FINE_TUNING.has(row, seed, settings):
                continue
            since = time.process_time()
            models: dict[int, LanguageModel] = {}
            tried: dict[int, float] = {}
            for steps in steps_tried:
                models[steps] = transformer.train_transformer(
                    *(names, size),
                    start=start if row == "fine-tuned" else None,
                    trainer=quiet(seed),
                    **(TRANSFORMER | changes | {"steps": steps}),
                ).model
                tried[steps] = bits(models[steps], aside)
            best = min(tried, key=tried.__getitem__)
            run = {
                "seed": seed,
                "bits_per_character": bits(models[best], held_out),
                "train_bits_per_character": bits(models[best], names),
                "steps": best,
                "bits_aside": tried,
                "processor_seconds": round(time.process_time() - since, 1),
            }
            if seed == 0:
                run["samples"] = written(data, sample(models[best], 20, seed=0))
            FINE_TUNING.keep(row, run, settings)
        grid: dict[str, list[Any]] = {"orders": [2, 3, 4, 5, 6], "strengths": STRENGTHS}
        # Rows of both are made as long as the longest surname.
        padded = functional.pad(names, (0, known.shape[1] - names.shape[1]), value=PADDING)
        for row, texts in zip(COUNTS, [names, torch.cat([padded, known])], strict=True):
            if not FINE_TUNING.has(row, seed, grid):
                chosen = best_counts(texts, aside, size, grid)
                model = ngrams.NGram(texts, size, **chosen)
                run = {"seed": seed, "bits_per_character": bits(model, held_out), **chosen}
                FINE_TUNING.keep(row, run, grid)


# --- C: scaling ----------------------------------------------------------------------------------

STEPS = 600  # of 1,024 characters: two thirds of the training text
LEARNING_RATES = {16: 3e-2, 32: 2e-2, 64: 1.2e-2, 128: 6e-3, 192: 4e-3}  # by width
SIZES = [(width, STEPS) for width in LEARNING_RATES]
LENGTHS = [(64, STEPS // 4), (64, STEPS // 2), (64, STEPS), (64, STEPS * 2)]


def row_name(width: int, steps: int) -> str:
    return f"width {width}, {steps} steps"


POINTS = {row_name(*point): point for point in SIZES + LENGTHS}


def fits(rows: Rows) -> Run:
    """The straight line through the points in logarithms, against size and against tokens."""
    lines = {}
    for name, points in {"parameters": SIZES, "tokens": LENGTHS}.items():
        runs = [run for point in points for run in rows[row_name(*point)]]
        x, y = (np.log([run[key] for run in runs]) for key in (name, "bits_per_character"))
        if len(set(x)) > 2:
            slope, intercept = np.polyfit(x, y, 1)
            left = y - (intercept + slope * x)
            numbers = {
                "a": math.exp(intercept),
                "b": -slope,
                "r_squared": 1 - float(left.var() / y.var()),
            }
            lines[name] = {key: round(float(value), 4) for key, value in numbers.items()}
    return {"fits": lines}


SCALING = Record(
    "scaling",
    "python_source: Transformers of two blocks learn 900,000 characters of Python's standard "
    "library. bits_per_character is of the 100,000 held-out characters. parameters are those "
    "without the tables of tokens and positions; tokens are the characters read in training, in "
    "windows of 64 from anywhere in the text. Each run has its own cosine of the learning rate, "
    "whose peak is the better of two in runs of a quarter of the steps, on the end of the training "
    "text, for the widths 16, 64 and 192, and lies between for the others. fits: a · N^(-b), "
    "least squares in the logarithms; they describe these runs alone.",
    list(POINTS),
    fits,
)


def scaling(seeds: int) -> None:
    """Every size with the same number of tokens, and one size with several; then the lines."""
    data = datasets.python_source()
    size = len(data.vocabulary)
    for seed in range(seeds):
        for row, (width, steps) in POINTS.items():
            changes: dict[str, Any] = {
                "steps": steps,
                "batch_size": 16,
                "context": 64,
                "layers": 2,
                "heads": width // 16,
                "width": width,
                "positions": "rotary",
                "learning_rate": LEARNING_RATES[width],
                "warmup_steps": 50,
                "dropout": 0.0,
                "weight_decay": 0.1,
            }
            settings = asdict(transformer.configure("quick", **changes))
            if SCALING.has(row, seed, settings):
                continue
            since = time.process_time()
            trained = transformer.train_transformer(
                data.train_tokens, size, trainer=quiet(seed), **changes
            )
            seconds = round(time.process_time() - since, 1)
            run: Run = {
                "seed": seed,
                "bits_per_character": bits(trained.model, data.test_tokens),
                "train_bits_per_character": bits(trained.model, data.train_tokens[:100_000]),
                "parameters": count(trained.model.blocks),
                "tokens": steps * settings["batch_size"] * settings["context"],
                "processor_seconds": seconds,
            }
            SCALING.keep(row, run, settings)


# --- All -----------------------------------------------------------------------------------------

RECORDS = {"surnames": (surnames, 3), "fine_tuning": (fine_tuning, 5), "scaling": (scaling, 1)}


def main(seeds: int | None = None, only: list[str] = list(RECORDS)) -> None:  # noqa: B006
    """Make every record, or those named; with as many seeds as each has, or as given."""
    if unknown := set(only) - set(RECORDS):
        raise typer.BadParameter(f"--only must be one of {list(RECORDS)}, got {unknown}")
    torch.set_num_threads(1)
    for name in only:
        make, usual = RECORDS[name]
        make(usual if seeds is None else seeds)


if __name__ == "__main__":
    typer.run(main)
