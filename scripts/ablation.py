"""What the guidelines of the DCGAN, and its convolutions, are worth, each over three seeds.

Writes results/dcgan_ablation.json, which chapter 05 shows: the preset `quick` without one of the
guidelines, and both kinds of pair on digits whose pixels are shuffled. About twenty minutes on one
CPU core; what is recorded already with the same settings is kept, so that it can be stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import typer

from course_lib import dcgan, gan
from course_lib.datasets import mnist5k
from course_lib.evaluation import judge, train_reference_classifier
from course_lib.files import write_atomically

TARGET = Path(__file__).resolve().parents[1] / "results" / "dcgan_ablation.json"


@dataclass(frozen=True)
class Row:
    """One way to train: the preset `quick` of a model file with some changes."""

    model: ModuleType = dcgan
    changes: dict[str, Any] = field(default_factory=dict)
    shuffled: bool = False  # the pixels of all images in one other order, undone to be judged


ROWS = {
    "the preset": Row(),
    "no batch normalisation": Row(changes={"batch_norm": False}),
    "PyTorch's own initialisation": Row(changes={"initial_standard_deviation": None}),
    "ReLU in the discriminator": Row(changes={"slope": 0.0}),
    "beta_1 = 0.9": Row(changes={"betas": (0.9, 0.999)}),
    "no averaging of the weights": Row(changes={"average_decay": None}),
    "shuffled pixels": Row(shuffled=True),
    "fully connected": Row(gan),
    "fully connected, shuffled": Row(gan, shuffled=True),
}


def main(seeds: int = 3, threads: int = 1) -> None:
    """Train every row with every seed and record how the samples fare with the judge."""
    torch.set_num_threads(threads)
    data = mnist5k()
    classifier = train_reference_classifier(data)
    order = torch.randperm(28 * 28, generator=torch.Generator().manual_seed(0))
    known = json.loads(TARGET.read_text())["rows"] if TARGET.exists() else {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, row in ROWS.items():
        rows[name] = []
        for seed in range(seeds):
            config = row.model.configure("quick", **row.changes)
            settings = json.loads(json.dumps(asdict(config)))
            kept = [run for run in known.get(name, []) if run["seed"] == seed]
            if kept and kept[0]["settings"] == settings:
                rows[name].append(kept[0])
                continue
            images = data.train_images
            if row.shuffled:
                images = images.flatten(1)[:, order].reshape(images.shape)
            train = gan.train_gan if row.model is gan else dcgan.train_dcgan
            start = time.monotonic()
            trained = train(images, "quick", seed=seed, **row.changes)
            seconds = time.monotonic() - start
            samples = gan.sample(trained.generator, 1000, seed=1)
            if row.shuffled:
                samples = samples.flatten(1)[:, order.argsort()].reshape(samples.shape)
            report = judge(classifier, samples)
            run = {
                "seed": seed,
                "confident_share": round(report.confident_share, 3),
                "covered": report.covered,
                "seconds": round(seconds, 1),
                "settings": settings,
            }
            rows[name].append(run)
            print(f"{name}, seed {seed}: {run['confident_share']:.1%}, {run['covered']} classes")
            record = {
                "judge": "reference classifier trained on mnist5k; 1,000 samples, sure from 90 %",
                "device": f"CPU, {threads} thread(s)",
                "torch": torch.__version__,
                "rows": known | rows,
            }
            TARGET.parent.mkdir(exist_ok=True)
            write_atomically(TARGET, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
