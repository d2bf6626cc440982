"""A training that was ended and resumed is, bit for bit, the one that was never ended."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from course_lib import gan, resume, training
from course_lib.history import History, Snapshots
from course_lib.runs import HISTORY, STATE, Run, RunError
from course_lib.state import pack, unpack
from course_lib.training import Trainer

IMAGES = torch.rand(44, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
CARD = {"family": "test", "preset": "tiny", "data": "made up", "seed": 0}


class Ended(Exception):
    """What ends a training here, in the place of a kill."""


def trainer_in(folder: Path | None, *, save_steps: int = 1, **options) -> Trainer:
    run = Run(folder, CARD, resume=True, save_steps=save_steps) if folder else None
    return Trainer(device="cpu", run=run, **options)


def scramble() -> None:
    """What another process would find: other random states, and nothing else drawn from them."""
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]


# --- Every source of chance ----------------------------------------------------------------------


def chances(
    trainer: Trainer,
    *,
    steps: int,
    end_after: int | None = None,
    examples: int = 11,
    batch: int = 5,
) -> History:
    """Metrics that are nothing but chance; 5 of 11 examples a batch, so 2 batches a pass."""
    calls = []

    def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(calls) == end_after:
            raise Ended
        calls.append(1)
        return {
            "numpy": torch.tensor(np.random.normal()),  # drawn in pairs, the second is kept
            "torch": torch.rand(()),
            "torch's normal": torch.randn(3).sum(),
            "noise": trainer.randn(1, 1).sum(),
            "data": (x * torch.arange(batch)).sum().float(),
        }

    return trainer.fit(step, torch.arange(examples), batch_size=batch, steps=steps)


def test_random_states_come_back() -> None:
    """Python's too, from which the tests' check of types draws between the steps of the others."""

    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.normal(), float(torch.rand(()))]

    draw()  # both kinds of normal numbers are drawn in pairs, and half a pair is left over
    state = resume._random_state(torch.device("cpu"))
    expected = [draw() for _ in range(3)]
    kept = unpack(pack(state))
    scramble()
    resume._set_random_state(kept, torch.device("cpu"))
    assert [draw() for _ in range(3)] == expected


@pytest.mark.parametrize("end_after", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("save_steps", [1, 3])
def test_every_source_of_chance_goes_on_where_it_was(tmp_path, end_after, save_steps) -> None:
    expected = chances(trainer_in(None), steps=9)
    with pytest.raises(Ended):
        chances(trainer_in(tmp_path, save_steps=save_steps), steps=9, end_after=end_after)
    scramble()
    found = chances(trainer_in(tmp_path, save_steps=save_steps), steps=9)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different
    assert rows(tmp_path) == expected.rows(), "no step twice, none missing"


def test_a_run_may_end_many_times(tmp_path) -> None:
    expected, steps_done = chances(trainer_in(None), steps=9), []
    for _ in range(5):
        try:
            found = chances(trainer_in(tmp_path, save_steps=2), steps=9, end_after=3)
        except Ended:
            steps_done.append(trainer_in(tmp_path)._run.load_state()["step"])
    assert steps_done == [2, 4, 6] and dict(found) == dict(expected)


def test_a_finished_run_is_at_once_complete(tmp_path) -> None:
    expected = chances(trainer_in(tmp_path), steps=4)
    before = (tmp_path / STATE).read_bytes()
    again = chances(trainer_in(tmp_path), steps=4, end_after=0)
    assert dict(again) == dict(expected) and (tmp_path / STATE).read_bytes() == before
    assert rows(tmp_path) == expected.rows()


def test_a_record_that_is_ahead_of_the_state_or_half_written_is_put_right(tmp_path) -> None:
    expected = chances(trainer_in(None), steps=9)
    with pytest.raises(Ended):
        chances(trainer_in(tmp_path, save_steps=2), steps=9, end_after=5)
    with open(tmp_path / HISTORY, "a") as file:
        file.write('{"step": 5, "python": 0.5}\n{"step": 6, "pyt')
    found = chances(trainer_in(tmp_path, save_steps=2), steps=9)
    assert dict(found) == dict(expected) and rows(tmp_path) == expected.rows()


# --- Models, optimisers, schedules, averages ------------------------------------------------------


class Network(nn.Module):
    """Convolutions (channels_last), batch normalisation, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3)),
            nn.LazyLinear(1),
        )
        self(torch.zeros(2, 1, 28, 28))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).squeeze(1)


def train(trainer: Trainer, *, steps=8, end_after: int | None = None, lr=1e-2, frames=5):
    model = Network()
    trainer.prepare(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3 * lr, total_steps=8)
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    trainer.prepare(optimiser, schedule, average)
    calls = []

    def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (model(x).float() - x.mean((1, 2, 3))).square().mean()}

    def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(calls) == end_after:
            raise Ended
        calls.append(1)
        metrics = trainer.minimise(loss, optimiser, x + 0.1 * trainer.randn(*x.shape), clip=1.0)
        schedule.step()
        average.update_parameters(model)
        return metrics | {"learning_rate": torch.tensor(schedule.get_last_lr()[0])}

    film = Snapshots(
        lambda _: model.layers[-1].weight.detach().clone(), number=frames, size=1, steps=8
    )
    history = trainer.fit(step, IMAGES, batch_size=8, steps=steps, snapshots=film)
    moments = [value for state in optimiser.state.values() for value in state.values()]
    tensors = [*model.state_dict().values(), *average.state_dict().values(), *moments]
    tensors += [film.samples]
    return tensors, history, optimiser


@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16"}, {"accumulate": 2}], ids=["fp32", "bf16", "accumulate"]
)
@pytest.mark.parametrize("end_after", [1, 5])
def test_a_resumed_training_is_the_same_to_the_last_bit(tmp_path, options, end_after) -> None:
    expected, history, _ = train(trainer_in(None, **options))
    with pytest.raises(Ended):
        train(trainer_in(tmp_path, **options), end_after=end_after)
    scramble()
    found, record, _ = train(trainer_in(tmp_path, **options))
    assert all(map(torch.equal, found, expected)) and len(found) == len(expected)
    assert dict(record) == dict(history) and rows(tmp_path) == history.rows()
    assert [t.stride() for t in found] == [t.stride() for t in expected]


def test_moments_lie_in_memory_as_their_weights_do(tmp_path) -> None:
    """A fused step goes through both by address: other strides would mix the moments up."""
    with pytest.raises(Ended):
        train(trainer_in(tmp_path), end_after=2)
    _, _, optimiser = train(trainer_in(tmp_path), steps=2)
    convolutions = [weight for weight in optimiser.state if weight.ndim == 4]
    assert len(convolutions) == 2
    for weight in convolutions:
        state = optimiser.state[weight]
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == weight.stride()


def test_the_scale_of_float16_is_part_of_the_state(tmp_path) -> None:
    """On the CPU, whose scaler the trainer does not offer to anybody but this test."""

    def scales(folder: Path, wanted: int) -> list[float]:
        trainer = trainer_in(folder)
        trainer._precision = "fp16"
        model = nn.Linear(1, 1)
        (adam,) = (torch.optim.Adam(model.parameters(), 1e-3, fused=True),)
        trainer.prepare(model, adam)
        scaler, seen = trainer._scalers[adam], []

        def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
            if len(seen) == wanted:
                raise Ended
            # Overflows until the scale is 2**10.
            loss = lambda x: {"loss": 64 * model(x).sum()}  # noqa: E731
            metrics = trainer.minimise(loss, adam, x)
            seen.append(scaler.get_scale())
            return {name: value.float() for name, value in metrics.items()}

        with contextlib.suppress(Ended):
            trainer.fit(step, torch.ones(4, 1), batch_size=1, steps=9)
        return seen

    at_once = scales(tmp_path / "one", 9)
    assert at_once[0] < 2**16 and at_once[-1] <= 2**10
    assert scales(tmp_path / "two", 4) + scales(tmp_path / "two", 9) == at_once


@pytest.mark.parametrize("end_after", [1, 8, 15])
def test_a_resumed_gan_is_the_same_gan(tmp_path, end_after: int, monkeypatch) -> None:
    settings = {"generator_hidden": (16, 12), "batch_norm": True, "dropout": 0.3, "snapshots": 5}

    def made(trainer: Trainer) -> gan.TrainedGAN:
        return gan.train_gan(
            *(IMAGES, "tiny"), trainer=trainer, steps=17, average_decay=0.8, **settings
        )

    expected, trainer = made(trainer_in(None)), trainer_in(tmp_path, save_steps=2)
    real, calls = trainer.randn, []

    def randn(*shape: int) -> torch.Tensor:
        calls.append(1)
        if len(calls) == end_after:
            raise Ended
        return real(*shape)

    monkeypatch.setattr(trainer, "randn", randn)
    with pytest.raises(Ended):
        made(trainer)
    scramble()
    found = made(trainer_in(tmp_path, save_steps=2))
    for player in ("generator", "discriminator"):
        one, other = (getattr(m, player).state_dict() for m in (expected, found))
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert dict(found.history) == dict(expected.history)
    assert torch.equal(found.snapshots, expected.snapshots) and len(found.snapshots) == 5
    assert found.snapshot_steps == expected.snapshot_steps


def test_the_state_of_another_model_is_refused(tmp_path) -> None:
    trainer = trainer_in(tmp_path)
    trainer.prepare(nn.Linear(2, 2))
    chances(trainer, steps=1)
    for other, message in (
        (nn.Linear(2, 3), r"does not fit the model: [\s\S]*size mismatch for weight"),
        (nn.Conv1d(1, 1, 1), r"is of \['Linear', 'History'\], but the training has \['Conv1d', "),
    ):
        trainer = trainer_in(tmp_path)
        trainer.prepare(other)
        with pytest.raises(RunError, match=message):
            chances(trainer, steps=1)


@pytest.mark.parametrize(
    ("trainer", "settings", "message"),
    [
        ({"seed": 1}, {}, "of a training with seed 0, now 1; ask for the same, or train in"),
        ({"precision": "bf16"}, {}, "of a training with precision fp32, now bf16;"),
        ({}, {"batch": 4}, "of a training with batch_size 5, now 4;"),
        ({}, {"examples": 12}, "of a training with examples 11, now 12;"),
        ({}, {"batch": 6, "examples": 12}, "batch_size 5, now 6; examples 11, now 12;"),
        ({}, {"steps": 2}, "of step 3, but the training ends at 2; ask for more steps"),
    ],
)
def test_what_would_not_go_on_as_the_same_training_is_refused(
    tmp_path, trainer, settings, message: str
) -> None:
    chances(trainer_in(tmp_path), steps=3)
    with pytest.raises(RunError, match=f"the saved state is .*{message}"):
        chances(trainer_in(tmp_path, **trainer), **{"steps": 3, **settings})
    more = chances(trainer_in(tmp_path, accumulate=5), steps=4)
    assert dict(more) == dict(chances(trainer_in(None), steps=4))


def test_other_snapshots_are_refused(tmp_path) -> None:
    with pytest.raises(Ended):
        train(trainer_in(tmp_path), end_after=3)
    with pytest.raises(
        RunError, match=r"does not fit the model: its snapshots are .*\[0, 2, 4, 6, 8"
    ):
        train(trainer_in(tmp_path), frames=3)
    train(trainer_in(tmp_path))


@pytest.mark.parametrize("state", [{"step": 3, "parts": []}, {"format": 1, "step": 3}, [3]])
def test_a_state_of_another_version_is_refused(tmp_path, state) -> None:
    chances(trainer_in(tmp_path), steps=3)
    (tmp_path / STATE).write_bytes(pack(state))
    with pytest.raises(RunError, match="of another version of this library; train in another"):
        chances(trainer_in(tmp_path), steps=3)


# --- Whose folder it is --------------------------------------------------------------------------


def free(folder: Path) -> bool:
    """Can another training go on in the folder?"""
    run = Run(folder, CARD, resume=True)
    run.open()
    run.close()
    return True


def test_the_folder_is_in_use_while_the_training_goes_on_and_no_longer(tmp_path) -> None:
    seen = []

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        with pytest.raises(RunError, match="in use by another process, or by an unfinished run"):
            free(tmp_path)
        seen.append(1)
        return {}

    trainer = trainer_in(tmp_path)
    assert free(tmp_path), "a trainer that never trains holds nothing"
    trainer.fit(step, torch.arange(4), batch_size=2, steps=2)
    assert len(seen) == 2 and free(tmp_path), "the cell may be run again"


def test_a_training_that_is_refused_leaves_no_folder(tmp_path) -> None:
    folder = tmp_path / "run"
    trainer = trainer_in(folder)
    with pytest.raises(ValueError, match="preset must be one of"):
        gan.train_gan(IMAGES, "typo", trainer=trainer)
    with pytest.raises(ValueError, match="batch_size must be"):
        gan.train_gan(IMAGES, "tiny", trainer=trainer_in(folder), batch_size=45)
    assert not folder.exists()
    gan.train_gan(IMAGES, "tiny", trainer=trainer, steps=1)


def test_spoilt_weights_at_the_end_leave_the_folder_free(tmp_path) -> None:
    trainer, model = trainer_in(tmp_path), nn.Linear(1, 1)
    trainer.prepare(model)
    chances(trainer, steps=1)
    nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(training.TrainingDivergedError):
        trainer.finish(model)
    assert free(tmp_path)


def test_a_trainer_with_a_run_trains_once(tmp_path) -> None:
    trainer = trainer_in(tmp_path)
    with pytest.raises(ValueError, match="batch_size"):
        chances(trainer, steps=1, batch=99)  # which is no training
    chances(trainer, steps=1)
    with pytest.raises(ValueError, match="a trainer with a run trains once; make another"):
        chances(trainer, steps=2)
    chances(trainer_in(tmp_path), steps=2)


# --- Interrupts ----------------------------------------------------------------------------------


def interrupted(
    trainer: Trainer, number: int, times: int = 1, *, handle: Callable[[], None] = lambda: None
) -> int:
    """Train until the interrupt, sent in step 5, ends it; the number of whole steps."""
    done = []

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(done) == 4:
            for _time in range(times):
                os.kill(os.getpid(), number)
            handle()
        done.append(1)
        return {"torch": torch.rand(())}

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(step, torch.arange(10), batch_size=5, steps=500)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    return len(done)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("echo", [1, 3])
def test_an_interrupt_ends_after_a_whole_step_with_its_state_saved(tmp_path, number, echo) -> None:
    """torchrun repeats at once what its processes got already: that is no second wish."""
    done = interrupted(trainer_in(tmp_path, save_steps=1000), number, echo)
    assert done == 5, "the very step that it came in"
    run = Run(tmp_path, CARD, resume=True)
    run.open()  # the folder is free again, in this very process
    assert run.load_state()["step"] == done == len(rows(tmp_path))


def test_a_second_interrupt_is_immediate_and_the_state_before_stands(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(training, "ECHO_SECONDS", -1.0)
    assert interrupted(trainer_in(tmp_path, save_steps=2), signal.SIGINT, 2) == 4
    run = Run(tmp_path, CARD, resume=True)
    run.open()
    assert run.load_state()["step"] == 4


def test_without_a_folder_an_interrupt_is_what_it_always_is() -> None:
    assert interrupted(trainer_in(None), signal.SIGINT) == 4


def test_handlers_are_put_back_after_a_training(tmp_path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    chances(trainer_in(tmp_path), steps=2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_interrupt_in_the_last_step_lets_the_training_be_finished(tmp_path) -> None:
    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"zero": torch.zeros(())}

    trainer = trainer_in(tmp_path)
    assert trainer.fit(step, torch.arange(4), batch_size=2, steps=1).steps == [1]
    assert trainer._run.load_state()["step"] == 1


def test_the_record_goes_up_to_the_divergence_where_no_state_was_due(tmp_path) -> None:
    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"loss": torch.tensor(torch.inf if len(calls) > 9 else len(calls) / 2)}

    calls: list[int] = []
    trainer = trainer_in(tmp_path, save_steps=1000)
    with pytest.raises(training.TrainingDivergedError, match="loss is inf at step 10"):
        trainer.fit(step, torch.arange(4), batch_size=2, steps=90)
    assert rows(tmp_path) == [{"step": n, "loss": n / 2} for n in range(1, 10)]


def test_a_diverged_training_leaves_the_last_sound_state_and_the_folder_free(tmp_path) -> None:
    count = []

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        count.append(1)
        return {"loss": torch.tensor(torch.nan if len(count) == 4 else 1.0)}

    with pytest.raises(training.TrainingDivergedError, match="loss is nan at step 4"):
        trainer_in(tmp_path).fit(step, torch.arange(4), batch_size=2, steps=9)
    assert trainer_in(tmp_path)._run.load_state()["step"] == 3
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


# --- Kills ---------------------------------------------------------------------------------------


def test_killed_at_random_moments_and_resumed_it_is_the_same(root: Path) -> None:
    """Processes of their own and SIGKILL; more of it, by hand: ``python tests/kill_runs.py``."""
    command = [sys.executable, root / "tests" / "kill_runs.py", "--kills", "4", "gan", "classifier"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("identical") == 2 and "DIFFERENT" not in answer.stdout
