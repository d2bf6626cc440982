"""What each guideline of the DCGAN is worth: the preset `quick` without it, for three seeds.

Writes results/dcgan_ablation.json, which chapter 05 shows. About half an hour on two CPU cores;
rows that are recorded already with the same settings are kept, so that it can be stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import typer

from course_lib import dcgan
from course_lib.datasets import mnist5k
from course_lib.evaluation import judge, train_reference_classifier
from course_lib.files import write_atomically

TARGET = Path(__file__).resolve().parents[1] / "results" / "dcgan_ablation.json"
ROWS: dict[str, dict[str, Any]] = {
    "the preset": {},
    "no batch normalisation": {"batch_norm": False},
    "PyTorch's own initialisation": {"initial_standard_deviation": None},
    "ReLU in the discriminator": {"slope": 0.0},
    "beta_1 = 0.9": {"betas": (0.9, 0.999)},
    "no averaging of the weights": {"average_decay": None},
}


def main(seeds: int = 3, threads: int = 1) -> None:
    """Train every row with every seed and record how the samples fare with the judge."""
    torch.set_num_threads(threads)
    data = mnist5k()
    classifier = train_reference_classifier(data)
    known = json.loads(TARGET.read_text())["rows"] if TARGET.exists() else {}
    rows: dict[str, list[dict[str, object]]] = {}
    for name, changes in ROWS.items():
        rows[name] = []
        for seed in range(seeds):
            settings = json.loads(json.dumps(asdict(dcgan.configure("quick", **changes))))
            kept = [run for run in known.get(name, []) if run["seed"] == seed]
            if kept and kept[0]["settings"] == settings:
                rows[name].append(kept[0])
                continue
            start = time.monotonic()
            trained = dcgan.train_dcgan(data.train_images, "quick", seed=seed, **changes)
            seconds = time.monotonic() - start
            report = judge(classifier, dcgan.sample(trained.generator, 1000, seed=1))
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
                "rows": rows,
            }
            TARGET.parent.mkdir(exist_ok=True)
            write_atomically(TARGET, (json.dumps(record, indent=1) + "\n").encode())


if __name__ == "__main__":
    typer.run(main)
