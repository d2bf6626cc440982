"""Grading from the inbox to what is given back: collect, check, record, write feedback.

Checking is the slow part. It runs in parallel, on this machine or on the workers of a Dask cluster,
and what has not changed since the last time is not checked again. Recording goes through nbgrader,
one submission after the other, because a gradebook has one writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sysconfig
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from classroom.checking import check_submission
from classroom.collect import clean_collected, collect
from classroom.gradebook import open_gradebook
from classroom.late import record_deadlines
from classroom.nbgrader_plugins import outcome_path
from classroom.sandbox import choose
from classroom.settings import Settings, load
from classroom.summary import write_grades, write_summary
from classroom.types import SandboxKind, Task
from course_lib.files import write_atomically

SOURCE = Path("chapters", "exercises")


@dataclass
class Report:
    """What a run of the grading has done for one chapter; times in seconds."""

    chapter: str
    submissions: int
    checked: int
    checking_seconds: float
    recording_seconds: float
    peak_megabytes: float
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    summary: Path | None = None


def load_config(root: Path) -> Config:
    """The settings of the nbgrader_config.py in ``root``."""
    return PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()


def nbgrader(root: Path) -> Any:
    """nbgrader's own interface, for the course in ``root``."""
    from nbgrader.apps import NbGraderAPI  # slow to import
    from sqlalchemy.exc import SAWarning

    # To create the gradebook nbgrader starts the program alembic, which it looks for on the PATH.
    os.environ["PATH"] = sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")
    # nbgrader's own habit of using its database session
    warnings.filterwarnings("ignore", category=SAWarning)
    return NbGraderAPI(config=load_config(root))


def grade(
    root: Path,
    chapter: str,
    *,
    inbox: Path | None = None,
    student: str | None = None,
    jobs: int | None = None,
    scheduler: str = "",
    is_trusted: bool = False,
    checks_again: bool = False,
) -> Report:
    """Grade the submissions of a chapter.

    Args:
        root: the folder of the course.
        chapter: such as "04_gan_minimax"; it must have been released.
        inbox: the files as the LMS handed them out; by default grading/inbox/<chapter>.
        student: only this one, and checked again even if nothing has changed.
        jobs: submissions that are checked at once; by default one a core.
        scheduler: the address of a Dask scheduler, such as "tcp://host:8786", whose workers do
            the checking; ``jobs`` does not count then.
        is_trusted: run the submissions without a sandbox.
        checks_again: check all of them again, changed or not.

    Raises:
        ValueError: if there is no such chapter or no such student.
        classroom.sandbox.SandboxError: if there is no sandbox and the submissions are not trusted.
    """
    settings = load(root)
    source = root / SOURCE / chapter / f"{chapter}.ipynb"
    if not source.exists():
        known = sorted(path.stem for path in (root / SOURCE).glob("*/*.ipynb"))
        raise ValueError(f"chapter must be one of {known}, got {chapter!r}")
    kind = "trusted" if is_trusted else choose_sandbox(settings)
    api = nbgrader(root)
    is_released(root, chapter, settings)
    report = Report(chapter, 0, 0, 0.0, 0.0, 0.0)
    folder = inbox or root / "grading" / "inbox" / chapter
    if student is None:
        if folder.is_dir():
            for each in collect(root, chapter, folder):
                if not each.student:  # nobody's: for the instructor to look at
                    report.notes += [f"{each.path.name}: {problem}" for problem in each.problems]
        elif inbox is not None:
            raise ValueError(f"inbox must be a folder, got {inbox}")
        clean_collected(root, chapter)
    found = submitted(root, chapter)
    if student is not None:
        if student not in found:
            raise ValueError(
                f"student must have a submission of {chapter}, got {student!r}; there are "
                f"{', '.join(sorted(found)) or 'none'}"
            )
        found = {student: found[student]}
    report.submissions = len(found)
    tasks = make_tasks(found, chapter, source, kind, settings)
    if student is None and not checks_again:
        tasks = {who: task for who, task in tasks.items() if is_stale(root, task)}
    began = time.monotonic()
    check_all(root, tasks, report, jobs, scheduler, settings)
    report.checking_seconds = time.monotonic() - began
    began = time.monotonic()
    with open_gradebook(root) as gradebook:
        record_deadlines(gradebook, settings)
    for who in tqdm(found, desc="recording", unit=""):
        if who not in report.failed:
            # Recorded again only if it was checked again: a person's points would have to be
            # confirmed. The feedback is always new, it also has what a person has written.
            record(root, api, chapter, who, report, is_new=who in tasks)
    write_grades(root)
    if len(report.failed) < len(found):
        report.summary = write_summary(root, chapter)
    report.recording_seconds = time.monotonic() - began
    return report


def choose_sandbox(settings: Settings) -> SandboxKind:
    about = settings.sandbox
    return choose(about.kind, about.container_image, about.container_engine)


def is_released(root: Path, chapter: str, settings: Settings) -> None:
    """Raise a ValueError if the chapter is not in the gradebook yet."""
    from nbgrader.api import Gradebook, MissingEntry

    with Gradebook(settings.gradebook_url, settings.course_id) as gradebook:
        try:
            gradebook.find_notebook(chapter, chapter)
        except MissingEntry:
            raise ValueError(
                f"chapter must have been released before it is graded, got {chapter!r}; first run "
                f"make assignments CHAPTER={chapter}"
            ) from None


def submitted(root: Path, chapter: str) -> dict[str, Path]:
    """The clean notebooks of a chapter, by student."""
    folder = root / "grading" / "submitted"
    paths = sorted(folder.glob(f"*/{chapter}/{chapter}.ipynb"))
    return {path.parent.parent.name: path for path in paths}


# --- Checking ------------------------------------------------------------------------------------


def make_tasks(
    found: dict[str, Path], chapter: str, source: Path, kind: SandboxKind, settings: Settings
) -> dict[str, Task]:
    text = source.read_text("utf8")
    return {
        student: Task(student, chapter, text, path.read_text("utf8"), kind, settings.limits)
        for student, path in found.items()
    }


def fingerprint(task: Task) -> str:
    """What an outcome depends on."""
    return hashlib.sha256(json.dumps(asdict(task), sort_keys=True).encode()).hexdigest()


def is_stale(root: Path, task: Task) -> bool:
    """Whether the submission, the tests or the limits have changed since the last outcome."""
    path = outcome_path(root, task.chapter, task.student)
    if not path.exists():
        return True
    return json.loads(path.read_text("utf8")).get("task") != fingerprint(task)


@contextlib.contextmanager
def workers(jobs: int | None, scheduler: str) -> Iterator[Executor]:
    """Where the checking runs."""
    if scheduler:
        from distributed import Client  # the extra "queue"

        with Client(scheduler) as client, client.get_executor(pure=False, retries=2) as executor:
            yield executor
    else:
        # Threads are enough: each waits for a process of its own.
        with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as executor:
            try:
                yield executor
            except BaseException:  # Ctrl-C: what has not begun is left for the next time
                executor.shutdown(wait=False, cancel_futures=True)
                raise


def check_all(
    root: Path,
    tasks: dict[str, Task],
    report: Report,
    jobs: int | None,
    scheduler: str,
    settings: Settings,
) -> None:
    """Check the submissions and write each outcome as soon as it is there."""
    if not tasks:
        return
    about = settings.sandbox
    with workers(jobs, scheduler) as executor:
        waiting: dict[Future, Task] = {
            executor.submit(
                check_submission, task, about.container_image, about.container_engine
            ): task
            for task in tasks.values()
        }
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="checking", unit=""):
            task = waiting[future]
            try:
                outcome = future.result()
            except Exception as error:  # of the grading, not of the submission: no points are lost
                report.failed[task.student] = str(error)
                continue
            content = {"task": fingerprint(task), "outcome": asdict(outcome)}
            path = outcome_path(root, task.chapter, task.student)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(content, indent=1).encode())
            report.checked += 1
            report.peak_megabytes = max(report.peak_megabytes, outcome.peak_megabytes)
            report.notes += [f"{task.student}: {note}" for note in outcome.notes]


# --- Recording -----------------------------------------------------------------------------------


def record(
    root: Path, api: Any, chapter: str, student: str, report: Report, *, is_new: bool
) -> None:
    """Enter an outcome into the gradebook, and write the feedback."""
    private = root / "grading"
    graded = private / "autograded" / student / chapter / f"{chapter}.ipynb"
    steps = [api.generate_feedback]
    outcome = outcome_path(root, chapter, student)
    is_behind = not graded.exists() or graded.stat().st_mtime < outcome.stat().st_mtime
    if is_new or is_behind or not is_recorded(root, chapter, student):
        steps.insert(0, api.autograde)
    for step in steps:
        result = step(chapter, student, force=True)
        if not result["success"]:
            report.failed[student] = result.get("error", "") + result.get("log", "")
            return
    returned = private / "returned" / chapter
    returned.mkdir(parents=True, exist_ok=True)
    page = private / "feedback" / student / chapter / f"{chapter}.html"
    shutil.copyfile(page, returned / f"{student}.html")


def is_recorded(root: Path, chapter: str, student: str) -> bool:
    """Whether the gradebook has the submission; it may be a new one, with the old files around."""
    from nbgrader.api import MissingEntry

    with open_gradebook(root) as gradebook:
        try:
            gradebook.find_submission(chapter, student)
        except MissingEntry:
            return False
    return True
