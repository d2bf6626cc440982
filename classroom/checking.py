"""Check one submission, in a process of its own and within a limit that holds in any case.

``check_submission`` is a function of plain data: it can run in a thread, in another process or on
another machine. The work is done by the checker (checker.py), in a process of its own, because the
checks seed random numbers and switch modes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

import nbformat

from classroom.checks import role
from classroom.types import CellOutcome, Outcome, Task, outcome_from_json


def check_submission(task: Task, image: str = "", engine: str = "") -> Outcome:
    """Check one submission.

    Args:
        task: what to check, where and within which limits.
        image, engine: of the container, if ``task.sandbox`` is "container".

    Returns:
        What became of each cell and each check. A submission can do what it likes: it gets an
        outcome, with a reason for each check that did not pass.

    Raises:
        RuntimeError: if the checking itself fails; that is no fault of the submission, and must
            not become a zero.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "classroom.checker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The checker keeps its own limits. This one is for a check that a value sends into a long
    # computation inside a library, where no alarm is heard.
    is_late = threading.Event()

    def stop() -> None:
        is_late.set()
        process.kill()

    hard = threading.Timer(task.limits.total_seconds + 60, stop)
    hard.start()
    text = json.dumps({"task": asdict(task), "image": image, "engine": engine})
    try:
        printed, errors = process.communicate(text)
    finally:
        hard.cancel()
        process.kill()
    found: dict[str, Any] = {"checks": {}, "cells": {}}
    end = None
    for line in printed.splitlines():
        group, name, content = json.loads(line)
        if group == "end":
            end = (name, content)
        else:
            found[group][name] = content
    if end is None and not is_late.is_set():
        raise RuntimeError(f"the check of {task.student} failed:\n{errors[-3000:]}")
    notes, peak = end or (["the checking was stopped: it used up the time of the submission"], 0.0)
    cells = nbformat.reads(task.source, as_version=4).cells
    message = "The check had not ended when the time of the whole submission was over."
    for cell in cells:
        if role(cell) == "check":
            missing = asdict(CellOutcome("stopped", message))
            found["checks"].setdefault(cell.metadata.nbgrader.grade_id, missing)
    return outcome_from_json(
        {
            "student": task.student,
            "chapter": task.chapter,
            **found,
            "notes": notes,
            "seconds": round(time.monotonic() - began, 2),
            "peak_megabytes": round(peak, 1),
        }
    )
