"""What the VAE reaches on held-out digits in a minute and in ten, and the plain one beside it.

Writes results/vae_digits.json, which chapter 09 shows: bounds of log p(x) in nats per image, for
the presets `minute` and `ten_minutes` and for 784-400-20 trained just as long, over three seeds.
About 80 minutes on one CPU core; what is recorded already with the same settings is kept, so that
it can be stopped. Several processes may share the rows (``--only ROW``, more than once).
Seed 0 of each row also leaves a grid of samples, results/vae_digits_ROW.png.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import filelock
import torch
import typer

from course_lib import plotting, vae
from course_lib.datasets import mnist5k
from course_lib.files import write_atomically
from course_lib.training import Trainer

TARGET = Path(__file__).resolve().parents[1] / "results" / "vae_digits.json"
LOCK = Path(tempfile.gettempdir()) / "vae_digits.lock"
DRAWS = 16  # codes an image, in the ELBO
IMPORTANCE_SAMPLES = 1000
IWAE_IMAGES = 500  # the first of the held-out ones, fifty a class; it is most of the evaluation

PROTOCOL = (
    "mnist5k: 4,000 training and 1,000 held-out images. Training: grey pixels binarised anew in "
    "every step. Evaluation: every pixel drawn once (vae.binarise, seed 0), in single precision; "
    f"elbo, reconstruction and kl are means over the 1,000 held-out images and {DRAWS} codes each, "
    f"iwae_1000 is the mean over the first {IWAE_IMAGES} held-out images with {IMPORTANCE_SAMPLES} "
    "codes each, train_elbo that of the first 1,000 training images; all in nats per image, higher "
    "is better. Budgets are processor seconds of one thread; the steps are fixed in the presets."
)


@dataclass(frozen=True)
class Row:
    """One way to train: a preset with some changes, in a precision."""

    preset: str
    changes: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"


# The plain one: 784-400-20, Adam with 1e-3, batches of 128. At least 15, 60 and 600 seconds long.
ROWS = {
    "plain, 15 s": Row("quick", {"steps": 1_800}),
    "plain, 1 minute": Row("quick", {"steps": 7_200}),
    "plain, 10 minutes": Row("quick", {"steps": 72_000}),
    "best, 1 minute": Row("minute", precision="bf16"),
    "best, 10 minutes": Row("ten_minutes", precision="bf16"),
}


def evaluate(model: vae.VAE, train: torch.Tensor, held_out: torch.Tensor) -> dict[str, Any]:
    """The bounds and their parts, of binarised images, in nats per image."""

    def bound(x: torch.Tensor) -> torch.Tensor:
        """ELBO, reconstruction and KL."""
        stream = torch.Generator().manual_seed(0)
        with torch.no_grad():
            draws = [
                torch.stack(vae.elbo(model, x, torch.randn(len(x), latent, generator=stream)))
                for _ in range(DRAWS)
            ]
        return torch.stack(draws).mean(0)

    latent = model.decoder.latent_dim
    elbo, reconstruction, kl = bound(held_out).tolist()
    iwae = vae.iwae_bound(model, held_out[:IWAE_IMAGES], IMPORTANCE_SAMPLES).mean()
    return {
        "elbo": round(elbo, 2),
        "reconstruction": round(reconstruction, 2),
        "kl": round(kl, 2),
        "iwae_1000": round(float(iwae), 2),
        "train_elbo": round(float(bound(train)[0]), 2),
        "active_units": vae.active_units(model, held_out),
    }


def recorded() -> dict[str, list[dict[str, Any]]]:
    """The runs of each row that are on the disk."""
    return json.loads(TARGET.read_text())["rows"] if TARGET.exists() else {}


def settings(row: Row) -> dict[str, Any]:
    """What defines a run except data and seed, as it is written down."""
    config = vae.configure(row.preset, **row.changes)
    return json.loads(json.dumps(asdict(config) | {"precision": row.precision}))


def record(name: str, run: dict[str, Any]) -> None:
    """Add the run to the file, in the place of one with the same seed."""
    TARGET.parent.mkdir(exist_ok=True)
    # Another process may be adding its own; the file is read again right before it is written.
    with filelock.FileLock(LOCK):
        rows = recorded()
        runs = [other for other in rows.get(name, []) if other["seed"] != run["seed"]]
        rows[name] = sorted([*runs, run], key=lambda run: run["seed"])
        content = {
            "protocol": PROTOCOL,
            "device": "CPU, 1 thread",
            "torch": torch.__version__,
            "rows": {name: rows[name] for name in ROWS if name in rows},
        }
        write_atomically(TARGET, (json.dumps(content, indent=1) + "\n").encode())


def draw(name: str, model: vae.VAE) -> None:
    """Keep a picture of the first forty samples, none removed."""
    grid, picture = plotting.image_grid(vae.sample(model, 40, seed=1), columns=10), io.BytesIO()
    grid.savefig(picture, format="png")
    row = name.replace(",", "").replace(" ", "_")
    write_atomically(TARGET.with_name(f"vae_digits_{row}.png"), picture.getvalue())


def main(seeds: int = 3, only: list[str] = list(ROWS)) -> None:  # noqa: B006
    """Train every row, or those named, with every seed and record its bounds of held-out digits."""
    if unknown := set(only) - set(ROWS):
        raise typer.BadParameter(f"--only must be one of {list(ROWS)}, got {unknown}")
    torch.set_num_threads(1)
    data = mnist5k()
    train, held_out = vae.binarise(data.train_images[:1000]), vae.binarise(data.test_images)
    for seed in range(seeds):
        for name, row in ROWS.items():
            kept = [run for run in recorded().get(name, []) if run["seed"] == seed]
            if name not in only or (kept and kept[0]["settings"] == settings(row)):
                continue
            trainer = Trainer(seed=seed, device="cpu", precision=row.precision, progress=False)
            wall, processor = time.monotonic(), time.process_time()
            trained = vae.train_vae(data.train_images, row.preset, trainer=trainer, **row.changes)
            run = {
                "seed": seed,
                "processor_seconds": round(time.process_time() - processor, 1),
                "wall_seconds": round(time.monotonic() - wall, 1),
                "steps": trained.config.steps,
                "parameters": sum(p.numel() for p in trained.model.parameters()),
                **evaluate(trained.model, train, held_out),
                "settings": settings(row),
            }
            record(name, run)
            if seed == 0:
                draw(name, trained.model)
            print(
                f"{name}, seed {seed}: ELBO {run['elbo']}, IWAE {run['iwae_1000']} nats, "
                f"{run['processor_seconds']} s of training",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
