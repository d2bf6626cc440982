"""Two processes with half of each batch do what one does with the whole of it.

The tests look at what this very file, started by torchrun, leaves behind: twice two processes train
on the CPU, then one by itself.
"""

import contextlib
import io
import json
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import gan
from course_lib.runs import HISTORY, STATE, Run
from course_lib.state import pack, unpack
from course_lib.training import Trainer, TrainingDivergedError

DATA = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
SETTINGS = {"steps": 12, "batch_size": 8, "dropout": 0.0, "learning_rate": 1e-3}


class Ended(Exception):
    pass


# --- What each process does ----------------------------------------------------------------------


def train(name: str, **options) -> dict[str, object]:
    trainer = Trainer(seed=1, device="cpu", **options)
    made = gan.train_gan(
        *(DATA, "tiny"),
        trainer=trainer,
        snapshots=3,
        snapshot_size=4,
        average_decay=0.8,
        **SETTINGS,
    )
    return {
        f"{name} weights": nn.utils.parameters_to_vector(
            [*made.generator.parameters(), *made.discriminator.parameters()]
        ),
        f"{name} history": dict(made.history),
        f"{name} snapshots": made.snapshots,
    }


def batches_and_chance() -> dict[str, object]:
    """What is this process shown, and what does it draw?"""
    trainer, seen = Trainer(seed=1, device="cpu"), []
    kept: dict[str, object] = {"processes": trainer.processes, "rank": trainer.rank}

    def step(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(rows)
        kept["noise"] = trainer.randn(len(rows), 3)
        kept["own"] = [random.random(), np.random.rand(), float(torch.rand(()))]
        return {"mean": rows.double().mean()}

    history = trainer.fit(step, torch.arange(14), batch_size=4, steps=7)
    return kept | {"rows": torch.stack(seen), "means": history["mean"]}


def in_a_folder(folder: Path, kept: dict[str, object]) -> None:
    """Ended after some steps, and resumed, with dropout, whose masks each process draws itself."""

    def once(name: str, end_after: int | None, run: Run | None) -> None:
        trainer, calls = Trainer(seed=1, device="cpu", run=run), []
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Dropout(0.5), nn.Linear(6, 1))
        trainer.prepare(model)
        (adam,) = trainer.prepare(torch.optim.Adam(model.parameters(), fused=True))

        def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": model(x).square().mean()}

        def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
            calls.append(1)
            if len(calls) == end_after:
                raise Ended
            return trainer.minimise(loss, adam, x)

        history = trainer.fit(step, DATA, batch_size=8, steps=9)
        kept[f"{name} history"] = dict(history)
        kept[f"{name} weights"] = nn.utils.parameters_to_vector(model.parameters())

    once("uninterrupted", None, None)
    card = {"family": "test", "seed": 1}
    with contextlib.suppress(Ended):
        once("ended", 6, Run(folder / "ended", card, save_steps=2))
    once("resumed", None, Run(folder / "ended", card, save_steps=2, resume=True))


def refusals(kept: dict[str, object]) -> None:
    def message(error: type[Exception], step, **options) -> str:
        try:
            Trainer(device="cpu").fit(step, torch.arange(14.0), **options)
        except error as caught:
            return str(caught)
        return "nothing"

    zero = {"loss": torch.zeros(())}
    kept["indivisible"] = message(ValueError, lambda _: zero, batch_size=5, steps=1)
    # NaN in the share of one process alone ends the training of both.
    kept["diverged"] = message(
        TrainingDivergedError,
        lambda x: {"loss": torch.tensor(torch.nan if 3.0 in x else 0.0)},
        batch_size=14,
        steps=3,
    )


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    screen = io.StringIO()
    kept = batches_and_chance()
    alone = kept["processes"] == 1
    drawn: list[str] = []
    config = asdict(gan.configure("tiny", **SETTINGS))
    run = Run(
        folder / ("alone" if alone else "together"),
        {"family": "gan", "config": config, "seed": 1},
        save_steps=5,
        show=lambda samples, path: drawn.append(path.name),
    )
    with contextlib.redirect_stderr(screen):
        kept |= train("plain", run=run, progress=True)
    kept |= train("in parts", accumulate=2)
    kept |= {"drawn": drawn, "screen": screen.getvalue()}
    in_a_folder(folder / kept["processes"].__str__(), kept)
    refusals(kept)
    (folder / f"result-{kept['processes']}-{kept['rank']}").write_bytes(pack(kept))


# --- What comes of it ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("processes")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in (torchrun, []):
        command = [sys.executable, *start, __file__, str(folder)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
    names = {"alone": "1-0", "first": "2-0", "second": "2-1"}
    found = {k: unpack((folder / f"result-{name}").read_bytes()) for k, name in names.items()}
    return found | {"folder": folder}


def test_each_process_has_its_own_half_of_each_batch(results) -> None:
    alone, first, second = (results[name]["rows"] for name in ("alone", "first", "second"))
    assert alone.shape == (7, 4) and first.shape == second.shape == (7, 2)
    assert torch.equal(torch.cat([first, second], dim=1), alone)
    for batches in alone.split(3)[:2]:
        assert len(batches.unique()) == 12, "no row twice in a pass"


def test_metrics_are_means_over_the_processes_in_both_of_them(results) -> None:
    means = results["alone"]["rows"].double().mean(dim=1).tolist()
    assert all(results[name]["means"] == means for name in ("alone", "first", "second"))


def test_noise_is_shared_out_and_each_process_has_chance_of_its_own(results) -> None:
    alone, first, second = (results[name] for name in ("alone", "first", "second"))
    assert torch.equal(torch.cat([first["noise"], second["noise"]]), alone["noise"])
    assert all(a != b for a, b in zip(first["own"], second["own"], strict=True)), (
        "masks of dropout would be the same, and what the data are varied by"
    )


@pytest.mark.parametrize("name", ["plain", "in parts"])
def test_two_processes_train_as_one_does(results, name: str) -> None:
    alone, first, second = (results[key] for key in ("alone", "first", "second"))
    assert torch.equal(first[f"{name} weights"], second[f"{name} weights"])
    torch.testing.assert_close(
        first[f"{name} weights"], alone[f"{name} weights"], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        first[f"{name} snapshots"], alone[f"{name} snapshots"], rtol=1e-4, atol=1e-5
    )
    assert first[f"{name} history"] == second[f"{name} history"]
    for metric, values in alone[f"{name} history"].items():
        assert first[f"{name} history"][metric] == pytest.approx(values, rel=1e-4)


def test_the_first_process_alone_writes_and_speaks(results) -> None:
    for name in ("alone", "first"):
        assert results[name]["drawn"] == ["step-000000", "step-000006", "step-000012"]
        assert "12/12" in results[name]["screen"]
    assert results["second"]["drawn"] == [] and results["second"]["screen"] == ""
    folders = [results["folder"] / name for name in ("alone", "together")]
    alone, together = ({path.name for path in folder.iterdir()} for folder in folders)
    assert alone == together and HISTORY in together and STATE in together
    steps = [json.loads(row)["step"] for row in (folders[1] / HISTORY).read_text().splitlines()]
    assert steps == list(range(1, 13))


def test_two_processes_resume_exactly(results) -> None:
    for name in ("alone", "first", "second"):
        one = results[name]
        assert torch.equal(one["resumed weights"], one["uninterrupted weights"])
        assert one["resumed history"] == one["uninterrupted history"]
        assert "ended history" not in one, "it did end"
    first, second = (results[name] for name in ("first", "second"))
    assert torch.equal(first["resumed weights"], second["resumed weights"])


def test_what_cannot_be_shared_is_refused_and_divergence_ends_all(results) -> None:
    for name in ("first", "second"):
        assert "a multiple of processes × accumulate, 2 × 1" in results[name]["indivisible"]
        assert results[name]["diverged"].startswith("loss is nan at step 1")
    assert results["alone"]["indivisible"] == "nothing"


def test_another_number_of_processes_goes_on_with_a_warning(results) -> None:
    run = Run(results["folder"] / "2" / "ended", {"family": "test", "seed": 1}, resume=True)
    trainer = Trainer(seed=1, device="cpu", run=run)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Dropout(0.5), nn.Linear(6, 1))
    trainer.prepare(model)
    trainer.prepare(torch.optim.Adam(model.parameters(), fused=True))
    with pytest.warns(UserWarning, match="saved by 2 processes, there are 1 now: training goes on"):
        history = trainer.fit(lambda _: {}, DATA, batch_size=8, steps=9)
    assert history.steps == list(range(1, 10))
    run.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
