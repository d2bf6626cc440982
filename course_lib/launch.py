"""One training run as the command line starts it, from the words typed to the weights on disk."""

from __future__ import annotations

import ast
import math
import re
import shlex
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib import families, results
from course_lib.runs import MODEL, SAMPLES, Run
from course_lib.training import Trainer, TrainingDivergedError

SNAPSHOTS = 16  # sets of samples drawn while a run goes on
POINTS, TEXTS, IMAGES = 1000, 4, 64  # samples in each
JUDGED = 200  # samples on which a run is judged at its end; `course evaluate` takes more


@dataclass(frozen=True)
class Request:
    """What was typed: the options of ``course train``, by their names and with their defaults."""

    model: str
    preset: str = "quick"
    data: str | None = None
    out: Path | None = None
    device: str = "auto"
    precision: str = "fp32"
    seed: int = 0
    steps: int | None = None
    set: tuple[str, ...] = ()
    resume: bool = False
    compile: bool = False
    accumulate: int = 1
    save_seconds: float | int = 60
    save_steps: int | None = None

    def changes(self) -> dict[str, object]:
        """The settings that differ from the preset; the model's own checks judge their values.

        Raises:
            ValueError: a setting has no value.
        """
        changes: dict[str, object] = {} if self.steps is None else {"steps": self.steps}
        for setting in self.set:
            name, equals, text = (part.strip() for part in setting.partition("="))
            if not equals:
                raise ValueError(
                    f"--set must be NAME=VALUE, such as learning_rate=1e-3; got {setting!r}"
                )
            try:
                changes[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):  # a word, such as least-squares
                changes[name] = text
        return changes

    def command(self, folder: Path | None = None) -> str:
        """The command that asks for this run, in ``folder`` if that is given, without --resume."""
        words = ["course", "train", self.model, "--preset", self.preset]
        if folder is not None:
            words += ["--out", str(folder)]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("model", "preset", "out", "resume") or value == field.default:
                continue
            option = f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(option)
            else:
                for one in value if isinstance(value, tuple) else (value,):
                    words += [option, str(one)]
        return shlex.join(words)


def launch(request: Request) -> None:
    """Train, judge and save; says on standard output what is going on.

    Raises:
        ValueError: for anything in the request that cannot be, or data that do not fit.
        TrainingDivergedError: when training goes wrong; states saved before are in the folder.
        Stopped: after Ctrl-C; its text says how to go on.
    """
    family = families.find(request.model)
    changes = request.changes()
    config = family.configure(request.preset, changes)
    spec = request.data or family.data_of(request.preset)
    name = f"{request.model}-{spec}-{request.preset}-seed{request.seed}"
    folder = request.out or Path("runs", re.sub(r"[^\w.]+", "-", name))
    command = request.command(folder)
    data = families.data_for(family, config, spec)
    shape = families.shape_of(data)
    card = families.describe(request.model, request.preset, config, data, spec) | {
        **{"seed": request.seed, "precision": request.precision, "compile": request.compile},
        **{"accumulate": request.accumulate, "command": request.command()},
    }

    def show(samples: Tensor, path: Path) -> None:
        results.draw_samples(samples, path, card)

    saving = {"save_seconds": request.save_seconds, "save_steps": request.save_steps}
    run = Run(folder, card, resume=request.resume, show=show, **saving)  # type: ignore[arg-type]
    trainer = Trainer(
        seed=request.seed,
        device=request.device,
        precision=request.precision,
        compile=request.compile,
        accumulate=request.accumulate,
        run=run,
    )
    need = families.memory(
        family, config, shape, processes=trainer.processes, accumulate=request.accumulate
    )
    run.card["memory"] = need.total
    lines = {
        "model": f"{request.model}, {family.title}: "
        + families.parameters(family, config, shape)
        + " parameters",
        "data": data,
        "device": _device_name(trainer)
        + f", {request.precision}"
        + (f", {trainer.processes} processes" if trainer.processes > 1 else ""),
        "memory": f"needs {need}",
        "pictures": folder / SAMPLES,
    }
    if trainer.is_main:
        _say(lines.items())
    try:
        trained = family.train(
            *(*families.arguments(data), request.preset),
            **families.labels_for(config, data),
            trainer=trainer,
            snapshots=SNAPSHOTS,
            snapshot_size=TEXTS if family.text else IMAGES if len(shape) == 3 else POINTS,
            **changes,
        )
        if not trainer.is_main:
            return
        seconds = round(trainer.seconds, 1)  # without the time that judging takes
        report: results.Report = {}
        try:
            report = results.evaluate(
                *(family, config, trained.model, data),
                n=JUDGED,
                seed=request.seed,
                device=request.device,
                classifier=trainer.processes == 1,  # its training would wait for the others
            )
        except (ValueError, ImportError, RuntimeError) as error:  # the model is worth keeping
            warnings.warn(f"the model was not judged: {error}", stacklevel=1)
        run.card["device"] = _device_name(trainer)
        run.card["seconds"] = seconds
        run.finish(trained.model, {name: _finite(row) for name, row in report.items()})
    except KeyboardInterrupt as interrupt:
        if not trainer.is_main:
            raise SystemExit(130) from interrupt
        raise Stopped(f"{interrupt or 'stopped'}; go on with:\n  {command} --resume") from interrupt
    except (ValueError, TrainingDivergedError):
        if trainer.is_main:
            run.discard()
        raise
    if report:
        print(results.report_table(report))
    _say([("weights", folder / MODEL), ("next", f"course sample {shlex.quote(str(folder))}")])


class Stopped(Exception):
    """The user stopped the training; the text says how to go on."""


def _say(lines: Iterable[tuple[str, Any]]) -> None:
    for title, text in lines:
        print(f"{title:<9} {text}", flush=True)


def _finite(row: Mapping[str, float | int]) -> dict[str, float | int | None]:
    """The numbers as strict JSON holds them: None for NaN and infinity."""
    return {name: number if math.isfinite(number) else None for name, number in row.items()}


def _device_name(trainer: Trainer) -> str:
    kind = trainer.device.type
    name = getattr(torch.get_device_module(trainer.device), "get_device_name", None)
    return kind if name is None else f"{kind} ({name()})"
