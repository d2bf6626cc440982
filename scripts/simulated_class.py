"""Grade a class that does not exist, and compare every student's every part with what it deserves.

The class hands in what classes hand in: right answers and wrong ones, blank notebooks, late ones,
derivations for a person to read, hostile ones; named and packed as learning management systems do
it. The answers come from tests/exercises and tests/classroom, where each is proven to be right,
wrong or hostile.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import random
import resource
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("exercises", "classroom"))]

import assignments  # noqa: E402

DEADLINE = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
ON_TIME, LATE = DEADLINE - timedelta(hours=5), DEADLINE + timedelta(hours=30)
# Of a class without hostile students; hostile are as many as the catalogue has, at most this share.
HOSTILE_SHARE = 0.4
KINDS = {"right": 0.25, "mixed": 0.5, "blank": 0.1, "derivation": 0.15}
LATE_SHARE = 0.1
SETTINGS = """
[course]
id = "simulated"
time_zone = "UTC"
[deadlines]
{chapter} = 2026-11-20T22:00:00
[late]
grace_minutes = 15
penalty_per_day = 0.1
latest_days = 7
[limits]
cell_seconds = {cell_seconds}
total_seconds = {total_seconds}
memory_megabytes = 1500
[sandbox]
kind = "auto"
"""


@dataclass
class Expected:
    """What a submission must earn: the points of each part, before a penalty for lateness."""

    kind: str
    points: dict[str, float]
    penalty_share: float = 0.0
    file: str = ""


@dataclass
class Measured:
    """One run of the grading."""

    jobs: int
    seconds: float
    recording_seconds: float
    peak_megabytes: float  # of all processes together
    peak_of_one: float
    mismatches: list[str] = field(default_factory=list)


# --- The class -----------------------------------------------------------------------------------


def make_course(root: Path, chapter: str, cell_seconds: float = 10) -> NotebookNode:
    """A course folder with one chapter, released; returns the student version."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    source = assignments.SOURCE / chapter
    shutil.copytree(ROOT / source, root / source, dirs_exist_ok=True)
    (root / "grading.toml").write_text(
        SETTINGS.format(chapter=chapter, cell_seconds=cell_seconds, total_seconds=12 * cell_seconds)
    )
    return nbformat.read(assignments.release(root, chapter).notebook, as_version=4)


def make_class(root: Path, chapter: str, n: int = 100, seed: int = 0) -> dict[str, Expected]:
    """Write the submissions of n students into the inbox of the course folder ``root``.

    Returns:
        What each of them must earn, by student; also in ``root``/expected.json.

    Raises:
        ValueError: if ``n`` is less than 10, too few for every kind of submission.
    """
    if n < 10:
        raise ValueError(f"n must be at least 10, got {n}: every kind of submission is in a class")
    chance = random.Random(seed)
    released = nbformat.read(root / "release" / chapter / f"{chapter}.ipynb", as_version=4)
    source = nbformat.read(root / assignments.SOURCE / chapter / f"{chapter}.ipynb", as_version=4)
    host = importlib.import_module("hostile_kit").make_host(
        root / "host", ROOT, port=9, bystander=os.getpid()
    )
    inbox = root / "grading" / "inbox" / chapter
    inbox.mkdir(parents=True)
    attacks = attacks_on(chapter, chance, int(n * HOSTILE_SHARE))
    kinds = [*attacks, *chance.choices(list(KINDS), list(KINDS.values()), k=n - len(attacks))]
    kinds[len(attacks) : len(attacks) + len(KINDS)] = KINDS  # each of them at least once
    chance.shuffle(kinds)
    names = [(f"s{number:03d}", f"Given{number:03d}", f"Family{number:03d}") for number in range(n)]
    write_roster(root, names)
    expected: dict[str, Expected] = {}
    shared: list[tuple[str, bytes, datetime]] = []  # of the archive that an LMS makes of many
    for (student, given, family), kind in zip(names, kinds, strict=True):
        if kind in attacks:
            attack = attacks[kind]
            content, earned = attack.build(host, released), attack.earns
            outcome = Expected(f"hostile: {kind}", points_of(source, earned))
            name, when = attack.name.format(student=student, chapter=chapter), ON_TIME
        else:
            content, earned = honest(chapter, kind, released, source, chance)
            outcome = Expected(kind, points_of(source, earned))
            name = style(chance, student, given, family, chapter)
            when = ON_TIME
            if chance.random() < LATE_SHARE:
                when, outcome.penalty_share = LATE, 0.2  # two days begun
        if name.startswith("archive/"):
            name = name.removeprefix("archive/")
            shared.append((name, content, when))
        else:
            put(
                inbox / name,
                zipped(f"{chapter}.ipynb", content) if is_zip(name, kind, attacks) else content,
                when,
            )
        outcome.file = name
        expected[student] = outcome
    if shared:
        put(inbox / "submissions.zip", archive(shared), LATE)
    text = {student: asdict(each) for student, each in expected.items()}
    (root / "expected.json").write_text(json.dumps(text, indent=1))
    return expected


def attacks_on(chapter: str, chance: random.Random, most: int) -> dict[str, Any]:
    """The hostile submissions to this chapter, or as many of them as fit."""
    catalogue = importlib.import_module("hostile").HOSTILE
    found = [name for name, attack in catalogue.items() if attack.chapter == chapter]
    return {name: catalogue[name] for name in sorted(chance.sample(found, min(most, len(found))))}


def honest(
    chapter: str, kind: str, released: NotebookNode, source: NotebookNode, chance: random.Random
) -> tuple[bytes, list[str]]:
    """A submission without bad intent, and the parts that it has right."""
    kit = importlib.import_module("hostile_kit")
    answers = importlib.import_module(f"answers_{chapter}")
    ours = {c.metadata.nbgrader.grade_id: c for c in source.cells if "nbgrader" in c.metadata}
    written, right = {}, []
    for part in answers.RIGHT if kind in ("right", "mixed") else ():
        draw = chance.random()
        if kind == "right" or draw < 0.55:
            choices = [ours[part].source, *(code for _, code in answers.RIGHT[part])]
            written[part] = chance.choice(choices)
            right.append(part)
        elif draw < 0.9:
            _, written[part] = chance.choice(answers.WRONG[part])
    if kind in ("right", "derivation"):
        for name, cell in ours.items():
            if cell.cell_type == "markdown":
                written[name] = f"The derivation, for a person to read: $a_{{{chance.random()}}}$"
    return kit.to_bytes(kit.filled_in(released, written)), right


def points_of(source: NotebookNode, earned: Any) -> dict[str, float]:
    """The points of every check, where the parts ``earned`` pass."""
    graded = [c.metadata.nbgrader for c in source.cells if "nbgrader" in c.metadata]
    return {
        cell.grade_id: float(cell.points) * (cell.grade_id.removeprefix("check_") in earned)
        for cell in graded
        if cell.grade and not cell.solution
    }


def style(chance: random.Random, student: str, given: str, family: str, chapter: str) -> str:
    """How a learning management system names a file; those in archive/ are handed out together."""
    number = chance.randrange(10**5, 10**6)
    return chance.choice(
        [
            f"{student}_{chapter}.ipynb",
            f"{student}_my solution (final).ipynb",
            f"{student}/{chapter}.ipynb",
            f"{student}/work/{chapter}.ipynb",
            f"{student}_{chapter}.zip",
            f"{given} {family}_{number}_assignsubmission_file_/{chapter}.ipynb",
            f"archive/{given} {family}_{number}_assignsubmission_file_/{chapter}.ipynb",
            f"{(family + given).lower()}_{number}_{number + 7}_{chapter}-1.ipynb",
            f"archive/{(family + given).lower()}_{number}_{number + 7}_{chapter}.ipynb",
        ]
    )


def is_zip(name: str, kind: str, attacks: dict[str, Any]) -> bool:
    return name.endswith(".zip") and kind not in attacks


def zipped(name: str, content: bytes) -> bytes:
    return archive([(name, content, ON_TIME)])


def archive(members: list[tuple[str, bytes, datetime]]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, when in members:
            file.writestr(zipfile.ZipInfo(name, when.timetuple()[:6]), content)
    return memory.getvalue()


def put(path: Path, content: bytes, when: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when.timestamp(), when.timestamp()))


def write_roster(root: Path, names: list[tuple[str, str, str]]) -> None:
    lines = [f"{one},{given},{family},{one}@example.org" for one, given, family in names]
    path = root / "grading" / "students.csv"
    path.write_text("\n".join(["id,first_name,last_name,email", *lines]) + "\n")


# --- Grading and comparing -----------------------------------------------------------------------


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """The largest memory of all processes that this one has started, in megabytes, as [peak]."""
    peak, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            used = 0.0
            for child in psutil.Process().children(recursive=True):
                try:
                    used += child.memory_full_info().pss / 2**20
                except (psutil.Error, AttributeError):
                    continue
            peak[0] = max(peak[0], used)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def run(root: Path, chapter: str, expected: dict[str, Expected], jobs: int) -> Measured:
    """Grade the class, all of it anew, and compare."""
    from classroom import grade

    with watched_memory() as peak:
        began = time.monotonic()
        report = grade.grade(root, chapter, jobs=jobs, checks_again=True)
        seconds = time.monotonic() - began
    mismatches = [f"{student}: not graded: {text}" for student, text in report.failed.items()]
    mismatches += compare(root, chapter, expected)
    return Measured(
        jobs, seconds, report.recording_seconds, peak[0], report.peak_megabytes, mismatches
    )


def compare(root: Path, chapter: str, expected: dict[str, Expected]) -> list[str]:
    """Every difference between what was expected and what is in the gradebook."""
    from classroom.gradebook import open_gradebook

    found = []
    with open_gradebook(root) as gradebook:
        submissions = {
            each.student_id: each for each in gradebook.find_assignment(chapter).submissions
        }
        found += [f"{student}: nobody expected" for student in submissions.keys() - expected.keys()]
        for student, wanted in expected.items():
            if student not in submissions:
                found.append(f"{student} ({wanted.kind}, {wanted.file}): not in the gradebook")
                continue
            submission = submissions[student]
            scores = {
                grade.name: grade.auto_score or 0.0
                for notebook in submission.notebooks
                for grade in notebook.grades
                if grade.name in wanted.points
            }
            found += [
                f"{student} ({wanted.kind}): {part}: expected {points:g}, got {scores.get(part)}"
                for part, points in wanted.points.items()
                if scores.get(part) != points
            ]
            penalty = wanted.penalty_share * sum(wanted.points.values())
            if abs((submission.late_submission_penalty or 0.0) - penalty) > 1e-6:
                got = submission.late_submission_penalty
                found.append(f"{student} ({wanted.kind}): penalty: expected {penalty:g}, got {got}")
            if not (root / "grading" / "returned" / chapter / f"{student}.html").exists():
                found.append(f"{student} ({wanted.kind}): no feedback")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chapter", default="04_gan_minimax", help="(default: %(default)s)")
    parser.add_argument("--n", type=int, default=100, help="students (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--folder", type=Path, required=True, help="new folder for the course")
    parser.add_argument(
        "--jobs",
        type=int,
        nargs="+",
        default=[os.cpu_count() or 1],
        help="submissions checked at once; several numbers: the class is graded once for each",
    )
    parser.add_argument(
        "--cell-seconds", type=float, default=10, help="limit of a cell (default: %(default)s)"
    )
    options = parser.parse_args()
    root = options.folder.resolve()
    try:
        if root.exists() and any(root.iterdir()):
            raise ValueError(f"folder must be new or empty, got {options.folder}")
        if options.chapter not in assignments.chapters(ROOT):
            raise ValueError(
                f"chapter must be one of {assignments.chapters(ROOT)}, got {options.chapter!r}"
            )
        make_course(root, options.chapter, options.cell_seconds)
        expected = make_class(root, options.chapter, options.n, options.seed)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    kinds = [each.kind.partition(":")[0] for each in expected.values()]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    late = sum(each.penalty_share > 0 for each in expected.values())
    print(f"{len(expected)} submissions of {options.chapter}: {counted}; {late} late")
    host = root / "host"
    before = {path: path.read_bytes() for path in host.rglob("*") if path.is_file()}
    runs = [run(root, options.chapter, expected, jobs) for jobs in options.jobs]
    print("\njobs   seconds   of that recording   MB, all processes   MB, largest submission")
    for each in runs:
        print(
            f"{each.jobs:4d} {each.seconds:9.0f} {each.recording_seconds:19.0f} "
            f"{each.peak_megabytes:19.0f} {each.peak_of_one:24.0f}"
        )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory of the grading's own process: {own:.0f} MB")
    mismatches = [f"jobs {each.jobs}: {text}" for each in runs for text in each.mismatches]
    after = {path: path.read_bytes() for path in host.rglob("*") if path.is_file()}
    if after != before:
        mismatches.append("files outside of the sandbox have changed")
    parts = sum(len(each.points) for each in expected.values())
    print(f"\n{parts} parts compared, {len(mismatches)} differences")
    for text in mismatches:
        print(f"  {text}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
