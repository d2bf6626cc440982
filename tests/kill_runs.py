"""Kill training at random moments, go on, kill again; then compare with a training not killed.

    python tests/kill_runs.py [--kills 20] [--seed 0] [gan dcgan vae lstm classifier]

For each kind of training: processes of their own train in a run's folder and are killed by SIGKILL
at random moments, again and again, until one of them reaches the end; if that is before the wished
number of kills, another run begins. What the last one leaves (weights, history, snapshots, the
files of the folder) must be, bit for bit, what a training without folder and kills gives. Exit
status 1 if it is not. ``tests/test_resume.py`` runs it with a few kills.
"""

import argparse
import json
import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_lib import dcgan, gan, recurrent, vae
from course_lib.history import Snapshots
from course_lib.runs import HISTORY, Run
from course_lib.state import pack, unpack
from course_lib.training import Trainer

IMAGES = torch.rand(90, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.arange(90) % 5
TEXT = torch.randint(9, (2000,), generator=torch.Generator().manual_seed(0))
SEED = 3


def train_gan(trainer: Trainer):
    """Dropout, batch normalisation, a moving average of the weights."""
    return gan.train_gan(
        *(IMAGES, "tiny"),
        trainer=trainer,
        steps=200,
        generator_hidden=(16, 16),
        batch_norm=True,
        dropout=0.3,
        average_decay=0.9,
        snapshots=5,
        snapshot_size=4,
    )


def train_dcgan(trainer: Trainer):
    """Convolutions, whose weights and moments are channels_last."""
    return dcgan.train_dcgan(
        *(IMAGES, "tiny"),
        trainer=trainer,
        steps=150,
        average_decay=0.9,
        snapshots=4,
        snapshot_size=4,
    )


def train_vae(trainer: Trainer):
    """Two kinds of noise, a learning rate and a weight that change, a moving average."""
    return vae.train_vae(
        *(IMAGES, "tiny"),
        trainer=trainer,
        steps=200,
        dynamic_binarisation=True,
        warm_up_steps=100,
        schedule="cosine",
        average_decay=0.9,
        snapshots=3,
        snapshot_size=4,
    )


def train_lstm(trainer: Trainer):
    """A text, dropout inside torch's own kernel, a schedule, clipping."""
    return recurrent.train_lstm(
        *(TEXT, 9, "tiny"),
        trainer=trainer,
        steps=200,
        layers=2,
        dropout=0.3,
        snapshots=3,
        snapshot_size=4,
    )


def train_classifier(trainer: Trainer):
    """A learning-rate schedule, labels, micro-batches, and chance from Python, NumPy and torch."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3)
    )
    model.append(nn.Linear(4 * 8 * 8, 5))
    trainer.prepare(model)
    adam = torch.optim.AdamW(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 1e-2, total_steps=150)
    trainer.prepare(adam, schedule)

    def loss(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": cross_entropy(model(x), labels)}

    def step(x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        x = x.roll(random.randrange(-2, 3), -1) + np.random.normal(0, 0.01) + 0.01 * torch.randn(1)
        metrics = trainer.minimise(loss, adam, x, labels, clip=1.0)
        schedule.step()
        return metrics | {"learning_rate": torch.tensor(schedule.get_last_lr()[0])}

    film = Snapshots(lambda n: model[-1].weight[:n].detach().clone(), number=4, size=5, steps=150)
    made = argparse.Namespace(snapshots=None)
    made.history = trainer.fit(step, IMAGES, LABELS, batch_size=12, steps=150, snapshots=film)
    made.model, made.snapshots = trainer.finish(model), film.samples
    return made


TRAININGS: dict[str, Callable[[Trainer], object]] = {
    "gan": train_gan,
    "dcgan": train_dcgan,
    "vae": train_vae,
    "lstm": train_lstm,
    "classifier": train_classifier,
}


def live(name: str, folder: Path | None, result: Path, begun: Path) -> None:
    """Train to the end, if nobody kills this process; what comes out goes to ``result``."""
    torch.set_num_threads(1)
    begun.touch()
    run = None
    if folder is not None:
        card = {"family": name, "preset": "tiny", "data": "random", "seed": SEED}
        run = Run(folder, card, resume=True, save_seconds=0.05, save_steps=3)
    trainer = Trainer(seed=SEED, device="cpu", run=run, accumulate=1 + 2 * (name == "classifier"))
    made = TRAININGS[name](trainer)
    networks = {n: m.state_dict() for n, m in vars(made).items() if isinstance(m, nn.Module)}
    kept = {"history": dict(made.history), "snapshots": made.snapshots, "networks": networks}
    result.write_bytes(pack(kept))
    if run is not None:
        run.finish(made.model, {})


def begin(name: str, folder: Path | None, result: Path) -> multiprocessing.Process:
    """A process that has just begun to live."""
    begun = result.with_suffix(".begun")
    begun.unlink(missing_ok=True)
    processes = multiprocessing.get_context("forkserver")
    process = processes.Process(target=live, args=(name, folder, result, begun))
    process.start()
    while not begun.exists() and process.exitcode is None:
        time.sleep(0.001)
    return process


def kill_again_and_again(name: str, kills: int, moments: random.Random, folder: Path) -> bool:
    """Whether every run that was killed comes out as the one that was not."""
    expected = folder / "expected"
    process = begin(name, None, expected)
    start = time.monotonic()
    process.join()
    duration = time.monotonic() - start
    places: list[str] = []
    runs = torn = 0
    same = process.exitcode == 0
    while same and (len(places) < kills or runs == 0):
        runs += 1
        here, result = folder / f"run-{runs}", folder / f"result-{runs}"
        while not result.exists():
            process = begin(name, here, result)
            process.join(moments.uniform(0, duration) if len(places) < kills else None)
            if process.exitcode is None:
                process.kill()
                process.join()
                log, saving = here / HISTORY, list(here.glob(".*.tmp"))
                steps = len(log.read_bytes().splitlines()) if log.exists() else 0
                torn += bool(saving)
                places.append(f"{steps}{'*' if saving else ''}")
            elif process.exitcode != 0:
                print(f"{name}: ended by itself with {process.exitcode} after {places}")
                return False
        same = alike(expected, result) and consistent(here)
    print(
        f"{name}: {len(places)} kills in {runs} runs, {torn} of them amid a save; "
        f"{'identical' if same else 'DIFFERENT'}\n  after steps (* amid a save): "
        f"{' '.join(places)}",
        flush=True,
    )
    return same


def alike(expected: Path, result: Path) -> bool:
    """Are the two results the same in every bit? Prints where they differ."""
    one, other = unpack(expected.read_bytes()), unpack(result.read_bytes())
    differences = []
    for name, values in one["history"].items():
        pairs = enumerate(zip_longest(values, other["history"][name]), start=1)
        if step := next((step for step, (a, b) in pairs if a != b), None):
            differences.append(f"{name} differs from step {step} on")
    for name, weights in one["networks"].items():
        found = other["networks"][name]
        changed = [key for key in weights if not torch.equal(weights[key], found[key])]
        differences += [f"{name} differs in {changed}"] if changed else []
    if not torch.equal(one["snapshots"], other["snapshots"]):
        differences.append("snapshots differ")
    print("\n".join(differences), end="\n" if differences else "")
    return not differences


def consistent(folder: Path) -> bool:
    """Is the record complete, each step once, and nothing left that does not belong there?"""
    rows = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    steps = [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    strangers = [path.name for path in folder.iterdir() if re.fullmatch(r"\..*\.tmp", path.name)]
    if not steps or strangers:
        print(f"{folder}: steps {'in' if steps else 'out of'} order, left over: {strangers}")
    return steps and not strangers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(TRAININGS)}; all")
    parser.add_argument("--kills", type=int, default=20, help="at least, for each (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    options = parser.parse_args()
    multiprocessing.set_forkserver_preload(["course_lib.dcgan", "course_lib.vae", "torch._dynamo"])
    good = True
    for name in options.names or TRAININGS:
        with tempfile.TemporaryDirectory() as folder:
            moments = random.Random(f"{options.seed} {name}")
            good = kill_again_and_again(name, options.kills, moments, Path(folder)) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
