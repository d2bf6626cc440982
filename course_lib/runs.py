"""The folder of a training run: what it is, where it stands, and how to go on after a kill.

    card.json                  what is trained on what with which settings; at the end the metrics
    state.safetensors          all that is needed to go on, exactly; written anew while it trains
    state.previous.safetensors the state before it, used if the last one is damaged
    history.jsonl              the metrics, one line a step
    samples/step-000000.png    samples of the same noise over time
    model.safetensors          the trained model (see course_lib.checkpoints)

Every file appears whole or not at all, and the operating system frees the lock of a killed process.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
from torch import Tensor, nn

from course_lib.checkpoints import save_checkpoint
from course_lib.files import write_atomically
from course_lib.history import History
from course_lib.state import pack, unpack

CARD, STATE, PREVIOUS = "card.json", "state.safetensors", "state.previous.safetensors"
HISTORY, SAMPLES, MODEL, LOCK = "history.jsonl", "samples", "model.safetensors", ".lock"
# A run is resumed only if these agree: with another one it would be another run.
IDENTITY = ("family", "config", "shape", "data", "data_digest", "seed", "precision")
ROUNDING = ("accumulate", "compile")  # change what is computed in the last digits only


class RunError(ValueError):
    """A run's folder cannot be used; says which folder, why, and what to do."""


class Run:
    """A training run's folder, to be handed to ``Trainer(run=…)``, whose ``fit`` opens it.

    Args:
        folder: made if need be.
        card: what the run is; strict JSON. To resume, the entries in ``IDENTITY`` must agree.
        resume: go on from the folder's state; from step 0 if there is none yet.
        save_seconds: seconds from one saved state to the next.
        save_steps: if given, a state is saved after every so many steps as well.
        show: draws a snapshot of samples to a file; the path comes without a suffix.

    Raises:
        RunError: by ``open`` and by what reads and writes.
        ValueError: for intervals out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        card: Mapping[str, Any],
        *,
        resume: bool = False,
        save_seconds: float | int = 60,
        save_steps: int | None = None,
        show: Callable[[Tensor, Path], None] | None = None,
    ) -> None:
        if not save_seconds >= 0:
            raise ValueError(f"save_seconds must be 0 or more, got {save_seconds}")
        if save_steps is not None and save_steps < 1:
            raise ValueError(f"save_steps must be None or 1 or more, got {save_steps}")
        self.folder = Path(folder)
        self.card = json.loads(json.dumps(dict(card), allow_nan=False))  # as it will be read
        self.resume = resume
        self.save_seconds, self.save_steps = save_seconds, save_steps
        self._show = show
        self._lock = filelock.FileLock(self.folder / LOCK, thread_local=False)
        self._made = False  # was there no such folder before?
        self._saved_at = time.monotonic()
        self._logged = 0  # steps in history.jsonl

    # --- Opening ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the folder's lock and check that the folder may be used for this run."""
        is_new = not self.folder.exists()
        self._acquire()
        self._made = is_new
        try:
            for leftover in self.folder.glob(".*.tmp"):  # of a process killed while it wrote
                leftover.unlink()
            self._check()
        except BaseException:
            self.close()
            raise
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def discard(self) -> None:
        """Remove the folder if this run made it and has saved no state in it.

        Else the command that failed, once it is mended, would be refused.
        """
        if self._made and not any((self.folder / name).exists() for name in (STATE, PREVIOUS)):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _acquire(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._lock.is_locked:
                self._lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise RunError(
                f"{self.folder} is in use by another process, or by an unfinished run in this one; "
                "wait for its end, or train in another folder"
            ) from error
        except OSError as error:
            raise RunError(f"{self.folder} cannot be used as a run's folder: {error}") from error

    def _check(self) -> None:
        path = self.folder / CARD
        if not path.exists():
            strangers = sorted(p.name for p in self.folder.iterdir() if p.name != LOCK)
            if strangers:
                raise RunError(
                    f"{self.folder} holds other files ({', '.join(strangers[:3])}); a run needs a "
                    "new or an empty folder"
                )
            self._write(path, json.dumps(self.card, indent=1).encode())
            return
        card = read_run_card(self.folder)
        if not self.resume:
            raise RunError(
                f"{self.folder} holds a run already ({card.get('family')}, seed "
                f"{card.get('seed')}); go on with it by --resume (resume=True), or choose another "
                "folder"
            )
        if different := list(_differences(card, self.card)):
            raise RunError(
                f"{self.folder} holds another run: {'; '.join(different)}; train in another "
                "folder, or ask for the same settings"
            )
        if changed := [name for name in ROUNDING if card.get(name) != self.card.get(name)]:
            warnings.warn(
                f"{' and '.join(changed)} not as before: training goes on, but it is not "
                "bit-identical to one that was never interrupted",
                stacklevel=5,
            )

    # --- The state -------------------------------------------------------------------------------

    def load_state(self) -> Any:
        """The last sound state; None if none was saved yet.

        A damaged one is replaced by the one before it.

        Raises:
            RunError: when there are states and all of them are damaged.
        """
        damages = []
        for name in (STATE, PREVIOUS):
            path = self.folder / name
            try:
                state = unpack(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                damages.append(f"{path}: {error}")
                continue
            if damages:
                os.replace(path, self.folder / STATE)  # or the next save would keep the damaged one
                warnings.warn(
                    f"{damages[0]}; going on from the state before it, step {state['step']}",
                    stacklevel=2,
                )
            return state
        if damages:
            raise RunError(
                f"no saved state can be read ({'; '.join(damages)}); restore the file from a copy, "
                "or train anew in another folder"
            )
        return None

    def due(self, step: int) -> bool:
        """Is it time to save the state after this step?"""
        late = time.monotonic() - self._saved_at >= self.save_seconds
        return late or (self.save_steps is not None and step % self.save_steps == 0)

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state; the one before it is kept beside it."""
        self._write(self.folder / STATE, pack(state), self.folder / PREVIOUS)
        self._saved_at = time.monotonic()

    # --- The record ------------------------------------------------------------------------------

    def log(self, history: History, *, anew: bool = False) -> None:
        """Add the steps that ``history.jsonl`` does not have yet; ``anew``: write all of them."""
        rows = history.rows(1 if anew else self._logged + 1)
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        path = self.folder / HISTORY
        if anew:
            self._write(path, lines.encode())
        else:
            try:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(lines)
            except OSError as error:
                raise self._full(path, error) from error
        self._logged = len(rows) + (0 if anew else self._logged)

    def keep_samples(self, samples: Tensor, step: int) -> None:
        """Draw the samples of a step."""
        if self._show is None:
            return
        path = self.folder / SAMPLES / f"step-{step:06d}"
        try:
            path.parent.mkdir(exist_ok=True)
            self._show(samples, path)
        except OSError as error:
            raise self._full(path, error) from error

    def finish(self, model: nn.Module, metrics: Mapping[str, Any]) -> None:
        """Write the metrics into the card, and then the trained model; gives the lock back.

        A run that has a model is finished, so the model comes last.

        Raises:
            ValueError: for metrics that strict JSON cannot hold, such as NaN.
        """
        self.card["metrics"] = dict(metrics)
        self._acquire()
        try:
            card = json.dumps(self.card, indent=1, allow_nan=False)
            self._write(self.folder / CARD, card.encode())
            save_checkpoint(self.folder / MODEL, model, self.card)
        except OSError as error:
            raise self._full(self.folder / MODEL, error) from error
        finally:
            self.close()

    def _write(self, path: Path, content: bytes, previous: Path | None = None) -> None:
        try:
            write_atomically(path, content, previous=previous)
        except OSError as error:
            raise self._full(path, error) from error

    def _full(self, path: Path, error: OSError) -> RunError:
        states = (self.folder / name for name in (STATE, PREVIOUS))
        sound = next((f"; {state} is intact" for state in states if state.exists()), "")
        return RunError(
            f"{path} could not be written: {error.strerror or error}{sound}. Make room, then go on "
            "with --resume"
        )


def read_run_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of the run in ``folder``.

    Raises:
        RunError: when there is no run in it, or its card cannot be read.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card, dict):
            raise ValueError("it is no JSON object")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{folder} holds no run: {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); restore it, or train anew") from error
    return card


def _differences(kept: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """In words, each setting in which two cards differ."""
    pairs = {name: (kept.get(name), asked.get(name)) for name in IDENTITY if name != "config"}
    one, other = kept.get("config") or {}, asked.get("config") or {}
    pairs |= {name: (one.get(name), other.get(name)) for name in sorted({*one, *other})}
    return [
        f"{name} is {a!r} there, {b!r} was asked for" for name, (a, b) in pairs.items() if a != b
    ]
