"""A run's folder: whose it is, what stands in it, and what happens when it cannot be written."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib.checkpoints import load_checkpoint, read_card
from course_lib.history import History
from course_lib.runs import CARD, HISTORY, IDENTITY, MODEL, PREVIOUS, STATE, Run, RunError
from course_lib.runs import read_run_card as read_card_of
from course_lib.state import pack, unpack
from course_lib.training import Trainer

CARD_OF_RUN = {
    "family": "gan",
    "preset": "tiny",
    "config": {"steps": 5, "betas": (0.5, 0.9)},
    "shape": [1, 4, 4],
    "data": "made up",
    "data_digest": "abc",
    "seed": 0,
    "precision": "fp32",
    "accumulate": 1,
    "compile": False,
    "memory": 12,
}


def opened(folder: Path, resume: bool = False, **changes) -> Run:
    run = Run(folder, {**CARD_OF_RUN, **changes}, resume=resume)
    run.open()
    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".lock"}


def recorded(steps: int) -> History:
    history = History()
    for step in range(1, steps + 1):
        history.append({"loss": 1 / step})
    return history


# --- Whose folder it is --------------------------------------------------------------------------


def test_a_new_run_makes_its_folder_and_says_at_once_what_it_is(tmp_path) -> None:
    folder = tmp_path / "runs" / "first"
    run = opened(folder)
    assert names(folder) == {CARD} and run.load_state() is None
    card = json.loads((folder / CARD).read_text())
    assert card == {**CARD_OF_RUN, "config": {"steps": 5, "betas": [0.5, 0.9]}}
    assert read_card_of(folder) == card


def test_a_folder_with_a_run_is_only_used_to_resume_it(tmp_path) -> None:
    opened(tmp_path).close()
    with pytest.raises(RunError, match=r"holds a run already \(gan, seed 0\); .*resume=True"):
        opened(tmp_path)
    run = opened(tmp_path, resume=True)
    assert run.load_state() is None, "it begins at 0 if nothing was saved yet"


def test_resuming_an_empty_or_new_folder_begins_a_run(tmp_path) -> None:
    opened(tmp_path, resume=True).close()
    opened(tmp_path / "new", resume=True).close()
    assert names(tmp_path / "new") == {CARD}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "vae"}, "family is 'gan' there, 'vae' was asked for"),
        ({"seed": 1}, "seed is 0 there, 1 was asked for"),
        ({"shape": [2]}, r"shape is \[1, 4, 4\] there, \[2\] was asked for"),
        ({"data": "other"}, "data is 'made up' there, 'other' was"),
        ({"data_digest": "abd"}, "data_digest is 'abc' there, 'abd' was"),
        ({"precision": "bf16"}, "precision is 'fp32' there, 'bf16' was"),
        (
            {"config": {"steps": 9, "betas": (0.5, 0.9)}, "seed": 3},
            "seed is 0 there, 3 was asked for; steps is 5 there, 9 was asked for; train in",
        ),
        ({"config": {"steps": 5, "betas": (0.5, 0.99)}}, r"betas is \[0.5, 0.9\] there"),
        ({"config": {"steps": 5}}, r"betas is \[0.5, 0.9\] there, None was"),
        (
            {"config": {**CARD_OF_RUN["config"], "width": 3}},
            "width is None there, 3 was",
        ),
    ],
)
def test_another_run_is_refused_and_each_difference_is_named(tmp_path, changes, message) -> None:
    opened(tmp_path).close()
    with pytest.raises(RunError, match=f"holds another run: {message}"):
        opened(tmp_path, resume=True, **changes)
    opened(tmp_path, resume=True, preset="custom", memory=13).close()  # these make no difference


def test_every_entry_that_makes_a_run_what_it_is_was_tried_above() -> None:
    assert {*IDENTITY} == {*CARD_OF_RUN} - {"preset", "memory", "accumulate", "compile"}


def test_what_changes_the_last_digits_only_is_no_other_run(tmp_path) -> None:
    opened(tmp_path).close()
    with pytest.warns(UserWarning, match="accumulate and compile not as before: .*bit-identical"):
        opened(tmp_path, resume=True, accumulate=2, compile=True).close()
    with pytest.warns(UserWarning, match="^compile not as before"):
        opened(tmp_path, resume=True, compile=True).close()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path) -> None:
    for name in "dcba":
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"holds other files \(a, b, c\); a run needs a new or an "):
        opened(tmp_path)
    with pytest.raises(RunError, match="holds other files"):
        opened(tmp_path, resume=True)
    assert names(tmp_path) == {*"abcd"}


def test_a_file_is_no_folder(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(RunError, match=r"file cannot be used as a run's folder: .*exists"):
        opened(path)
    with pytest.raises(RunError, match="cannot be used as a run's folder"):
        opened(path / "inside")
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match=r"cannot be used as a run's folder: .*[Pp]ermission"):
            opened(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_refused_lock_file_is_a_run_error_too(tmp_path, monkeypatch) -> None:
    """As in a folder without permission, which root does not know."""
    run = Run(tmp_path, CARD_OF_RUN)

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(run._lock, "acquire", refuse)
    with pytest.raises(RunError, match=r"cannot be used as a run's folder: .*Permission denied"):
        run.open()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_card_is_named(tmp_path, content: bytes) -> None:
    opened(tmp_path).close()
    (tmp_path / CARD).write_bytes(content)
    with pytest.raises(RunError, match=r"card.json cannot be read \(.*\); restore it, or train"):
        opened(tmp_path, resume=True)


def test_no_run_no_card(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "nothing" / "at all"):
        with pytest.raises(RunError, match=r"holds no run: .*card.json does not exist"):
            read_card_of(folder)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file holds no run"):
        read_card_of(tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_seconds": -1}, "save_seconds must be 0 or more, got -1"),
        ({"save_seconds": math.nan}, "save_seconds must be 0 or more, got nan"),
        ({"save_steps": 0}, "save_steps must be None or 1 or more, got 0"),
    ],
)
def test_bad_intervals_are_refused(tmp_path, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Run(tmp_path, CARD_OF_RUN, **options)


def test_a_card_is_strict_json(tmp_path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Run(tmp_path, {"rate": math.nan})
    with pytest.raises(TypeError, match="not JSON serializable"):
        Run(tmp_path, {"shape": torch.zeros(1)})


# --- One process at a time -----------------------------------------------------------------------


def test_a_folder_in_use_is_refused_until_its_process_has_ended(tmp_path) -> None:
    opened(tmp_path).close()
    code = "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire()"
    code += "; print('locked', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, tmp_path / ".lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        with pytest.raises(
            RunError, match="is in use by another process, or by an unfinished run in"
        ):
            opened(tmp_path, resume=True)
        process.kill()  # the system gives the lock back, whatever is left in the folder
    opened(tmp_path, resume=True).close()


def test_a_second_run_in_the_same_process_is_refused_until_the_first_gives_it_back(tmp_path):
    first = opened(tmp_path)
    with pytest.raises(RunError, match="in use"):
        opened(tmp_path, resume=True)
    first.close()
    opened(tmp_path, resume=True).close()


def test_a_refused_folder_is_given_back(tmp_path) -> None:
    opened(tmp_path).close()
    with pytest.raises(RunError, match="holds a run already"):
        opened(tmp_path)
    opened(tmp_path, resume=True)


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path) -> None:
    """Killed in its very first write, it leaves this alone, which is no stranger's file."""
    half = tmp_path / f".{CARD}.0123456789abcdef.tmp"
    half.write_text("{")
    run = opened(tmp_path, resume=True)
    assert names(tmp_path) == {CARD}
    run.close()
    (tmp_path / f".{STATE}.0123456789abcdef.tmp").write_bytes(b"half")
    opened(tmp_path, resume=True)
    assert names(tmp_path) == {CARD}


# --- The state -----------------------------------------------------------------------------------


def test_the_last_state_and_the_one_before_it_are_kept(tmp_path) -> None:
    run = opened(tmp_path)
    for step in (1, 2, 3):
        run.save_state({"step": step})
        assert run.load_state() == {"step": step}
    assert names(tmp_path) == {CARD, STATE, PREVIOUS}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / STATE).unlink()  # as between the two renames of a save
        assert run.load_state() == {"step": 2}


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[:-1]
    elif how == "flipped":
        content[-1] ^= 16
    else:
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "flipped", "empty"])
def test_a_damaged_state_is_replaced_by_the_one_before_it(tmp_path, how: str) -> None:
    run = opened(tmp_path)
    for step in (1, 2):
        run.save_state({"step": step, "weight": torch.full((3,), float(step))})
    damage(tmp_path / STATE, how)
    message = r"state.safetensors: it is .*; going on from the state before it, step 1"
    with pytest.warns(UserWarning, match=message):
        assert run.load_state()["step"] == 1
    with largest_file(10), pytest.raises(RunError):
        run.save_state({"step": 2})
    assert run.load_state()["step"] == 1
    run.save_state({"step": 2})
    assert unpack((tmp_path / PREVIOUS).read_bytes())["step"] == 1, "and not the damaged one"
    damage(tmp_path / STATE, how)
    damage(tmp_path / PREVIOUS, how)
    with pytest.raises(RunError, match=r"no saved state can be read \(.*state.safetensors: it is"):
        run.load_state()
    (tmp_path / STATE).unlink()
    with pytest.raises(RunError, match=r"state.previous.safetensors: it is .*; restore the file"):
        run.load_state()


def test_a_state_is_due_after_so_many_seconds_or_steps(tmp_path, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr("course_lib.runs.time.monotonic", lambda: now)
    run = Run(tmp_path, CARD_OF_RUN, save_seconds=10, save_steps=4)
    run.open()
    assert [step for step in range(1, 13) if run.due(step)] == [4, 8, 12]
    now = 109.9
    assert not run.due(5)
    now = 110.0
    assert run.due(5)
    run.save_state({"step": 5})
    assert not run.due(6)
    run.close()
    seldom = Run(tmp_path, CARD_OF_RUN, resume=True)
    seldom.open()
    assert not any(seldom.due(step) for step in range(1, 1000))
    assert Run(tmp_path, CARD_OF_RUN, save_seconds=0).due(1)


# --- A full disk ---------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int):
    """Within the block the system refuses to let a file grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_state_that_cannot_be_written_leaves_the_last_one_intact(tmp_path) -> None:
    run = opened(tmp_path)
    with largest_file(5000), pytest.raises(RunError, match="could not be written") as caught:
        run.save_state({"step": 1, "weight": torch.zeros(5000)})
    assert "intact" not in str(caught.value), "there is none yet"
    run.save_state({"step": 1})
    run.save_state({"step": 2})
    message = (
        rf"{STATE} could not be written: File too large; .*{STATE} is intact. Make room.*--res"
    )
    with largest_file(5000), pytest.raises(RunError, match=message):
        run.save_state({"step": 3, "weight": torch.zeros(5000)})
    assert names(tmp_path) == {CARD, STATE, PREVIOUS}, "what was half written is gone"
    assert run.load_state() == {"step": 2}
    run.save_state({"step": 3})
    assert run.load_state() == {"step": 3}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_noticed_late_is_no_different(tmp_path, monkeypatch, call: str) -> None:
    run = opened(tmp_path)
    run.save_state({"step": 1})

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(RunError, match=r"No space left on device; .*state.safetensors is intact"):
        run.save_state({"step": 2})
    monkeypatch.undo()
    assert run.load_state() == {"step": 1} and names(tmp_path) == {CARD, STATE}


def test_a_save_that_ends_between_its_two_renames_leaves_the_state_before(tmp_path, monkeypatch):
    run = opened(tmp_path)
    run.save_state({"step": 1})
    real, calls = os.replace, []

    def die_at_the_second(*paths: object) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "replace", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run.save_state({"step": 2})
    monkeypatch.undo()
    assert names(tmp_path) == {CARD, PREVIOUS} and run.load_state() == {"step": 1}
    with largest_file(10), pytest.raises(RunError, match=rf"{PREVIOUS} is intact"):
        run.save_state({"step": 2})
    run.save_state({"step": 2})
    assert run.load_state() == {"step": 2}


def test_a_full_disk_is_reported_by_everything_that_writes(tmp_path) -> None:
    def show(samples: torch.Tensor, path: Path) -> None:
        path.with_suffix(".txt").write_text(str(samples.tolist()))

    run = Run(tmp_path, CARD_OF_RUN, show=show)
    run.open()
    with largest_file(20):
        with pytest.raises(RunError, match=f"{HISTORY} could not be written: File too large"):
            run.log(recorded(9))
        with pytest.raises(RunError, match=f"{HISTORY} could not be written"):
            run.log(recorded(9), anew=True)
        with pytest.raises(RunError, match="step-000003 could not be written: File too large"):
            run.keep_samples(torch.zeros(99), 3)
        with pytest.raises(RunError, match=f"{CARD} could not be written: File too large"):
            run.finish(nn.Linear(2, 2), {})
    assert "metrics" not in read_card_of(tmp_path)
    with largest_file(2000), pytest.raises(RunError, match=f"{MODEL} could not be written"):
        run.finish(nn.Linear(200, 20), {})
    assert MODEL not in names(tmp_path)


def test_a_really_full_disk(tmp_path) -> None:
    """A whole training in a file system of 400 kB, which only root may mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small file system could be mounted, which needs Linux and root")
    try:
        trainer = Trainer(device="cpu", run=Run(disk / "run", CARD_OF_RUN, save_steps=1))
        (model,) = trainer.prepare(nn.Linear(100, 100))  # 40 kB
        (adam,) = trainer.prepare(torch.optim.Adam(model.parameters()))
        fill = disk / "somebody else's"

        def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": model(x).square().mean()}

        def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
            with open(fill, "ab") as file:
                file.write(bytes(4096))
            return trainer.minimise(loss, adam, x)

        with pytest.raises(RunError, match=r"No space left on device; .*state.* is intact"):
            trainer.fit(step, torch.ones(4, 100), batch_size=2, steps=200)
        fill.unlink()
        run = Run(disk / "run", CARD_OF_RUN, resume=True)
        run.open()
        assert run.load_state()["step"] >= 1
        run.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- The record ----------------------------------------------------------------------------------


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]


def test_the_record_grows_by_what_is_new(tmp_path) -> None:
    run = opened(tmp_path)
    run.log(History(), anew=True)
    assert (tmp_path / HISTORY).read_bytes() == b""
    for steps in (2, 2, 5):
        run.log(recorded(steps))
        assert rows(tmp_path) == recorded(steps).rows()
    run.log(recorded(3), anew=True)  # resumed from a state that is older than the record
    assert rows(tmp_path) == recorded(3).rows()
    run.log(recorded(4))
    assert rows(tmp_path) == recorded(4).rows() and rows(tmp_path)[-1] == {"step": 4, "loss": 0.25}


def test_samples_are_drawn_to_the_folder_of_samples(tmp_path) -> None:
    drawn = []
    run = Run(tmp_path, CARD_OF_RUN, show=lambda samples, path: drawn.append((samples, path)))
    run.keep_samples(torch.ones(2), 7)
    run.keep_samples(torch.zeros(2), 1234567)
    assert [path for _, path in drawn] == [
        tmp_path / "samples" / name for name in ("step-000007", "step-1234567")
    ]
    assert (tmp_path / "samples").is_dir() and torch.equal(drawn[0][0], torch.ones(2))
    opened(tmp_path / "other").keep_samples(torch.ones(2), 0)
    assert names(tmp_path / "other") == {CARD}, "nothing where nobody draws"


def test_a_finished_run_holds_its_model_and_is_free(tmp_path) -> None:
    run, model = opened(tmp_path), nn.Linear(2, 3)
    run.save_state({"step": 5})
    run.finish(model, {"good": 0.5})
    card = read_card_of(tmp_path)
    assert card["metrics"] == {"good": 0.5} and card["family"] == "gan"
    other = nn.Linear(2, 3)
    load_checkpoint(tmp_path / MODEL, other)
    assert torch.equal(other.weight, model.weight)
    kept = read_card(tmp_path / MODEL)
    assert {name: kept[name] for name in card} == card and kept["model"] == "Linear"
    again = opened(tmp_path, resume=True)
    assert again.load_state() == {"step": 5}


def test_metrics_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path) -> None:
    run = opened(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.finish(nn.Linear(1, 1), {"good": math.nan})
    assert names(tmp_path) == {CARD} and "metrics" not in read_card_of(tmp_path)
    opened(tmp_path, resume=True).close()  # and the folder is free
    run.finish(nn.Linear(1, 1), {"good": None})  # which takes the lock again
    assert names(tmp_path) == {CARD, MODEL}
    opened(tmp_path, resume=True).close()


def test_a_run_is_not_finished_while_another_process_uses_its_folder(tmp_path) -> None:
    run = opened(tmp_path)
    run.close()
    other = opened(tmp_path, resume=True)
    with pytest.raises(RunError, match="in use by another process"):
        run.finish(nn.Linear(1, 1), {})
    other.close()
    run.finish(nn.Linear(1, 1), {})


def test_a_run_killed_in_its_last_writes_has_a_model_only_with_its_metrics(tmp_path, monkeypatch):
    run, real, calls = opened(tmp_path), os.replace, []

    def die_at_the_second(*paths: object) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "replace", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run.finish(nn.Linear(1, 1), {"good": 0.5})
    assert names(tmp_path) == {CARD} and read_card_of(tmp_path)["metrics"] == {"good": 0.5}


def test_another_thread_may_give_the_folder_back(tmp_path) -> None:
    """As the garbage collector does, or a notebook that trains in a thread."""
    run = opened(tmp_path)
    thread = threading.Thread(target=run.close)
    thread.start()
    thread.join()
    opened(tmp_path, resume=True).close()


@pytest.mark.parametrize(("exists", "saved"), [(False, False), (True, False), (False, True)])
def test_only_a_folder_of_its_own_without_a_state_is_discarded(tmp_path, exists, saved) -> None:
    folder = tmp_path / "run"
    if exists:
        folder.mkdir()
    run = opened(folder)
    if saved:
        run.save_state({"step": 1})
    run.close()
    Run(folder, CARD_OF_RUN).discard()
    assert folder.exists(), "another run's folder is none of its own"
    run.discard()
    assert folder.exists() == (exists or saved)


def test_the_size_of_a_state_is_about_that_of_its_tensors(tmp_path) -> None:
    assert len(pack({"weight": torch.zeros(10_000)})) < 41_000
