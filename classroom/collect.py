"""From what a learning management system hands out to one clean notebook a student."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from classroom.cleaning import Unreadable, clean, merge, read
from classroom.inbox import Found, Inbox
from classroom.settings import load
from classroom.students import Identities, Owner, is_safe, read_roster
from course_lib.files import write_atomically

__all__ = ["Received", "clean", "clean_collected", "collect", "problems"]

SUBMITTED = Path("grading", "submitted")
PROBLEMS = Path("grading", "problems")
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
TIME = "%Y-%m-%d %H:%M:%S.%f UTC"  # as nbgrader writes and reads it


@dataclass(frozen=True)
class Received:
    """What was made of the hand-ins of one student.

    ``path`` is the file in the inbox that counts. ``problems`` is what the student, or for an empty
    ``student`` the instructor, should know; without ``is_readable`` the submission counts as blank.
    ``name`` is what the file calls the student.
    """

    student: str
    path: Path
    received: datetime
    problems: list[str] = field(default_factory=list)
    is_readable: bool = True
    name: str = ""


@dataclass(frozen=True)
class _Candidate:
    found: Found
    notebook: NotebookNode
    notes: list[str]
    is_readable: bool

    @property
    def rank(self) -> tuple[bool, datetime, int, str]:
        """The latest counts; one that can be read goes before one that cannot."""
        again = self.found.owner.again if self.found.owner else 0
        return self.is_readable, self.found.received, again, self.found.file


def collect(root: Path, chapter: str, inbox: Path) -> list[Received]:
    """Put the submissions of a chapter that are in the folder ``inbox`` where they will be graded.

    A clean notebook and the time of handing in go to grading/submitted/<student>/<chapter> in
    ``root``, what there is to say about it to grading/problems/<chapter>/<student>.json. Entries
    whose ``student`` is empty are files that nobody seems to own; they are also listed in
    grading/problems/<chapter>.json. The inbox is left as it is.

    Raises:
        ValueError: if the chapter was not released, or there is no such folder, or students.csv or
            grading.toml is not as it should be.
    """
    released = _released(root, chapter)
    if not inbox.is_dir():
        raise ValueError(
            f"inbox must be a folder of submissions, got {str(inbox)!r}; make it first"
        )
    roster = read_roster(root)
    identities = Identities(root, roster)
    others = tuple(path.name for path in released_chapters(root) if path.name != chapter)
    best: dict[str, _Candidate] = {}
    said: dict[str, list[str]] = {}
    files: dict[str, list[str]] = {}
    result: list[Received] = []
    for found in Inbox(chapter, others, roster, load(root).time_zone).scan(inbox):
        if found.owner is None:
            problem = _printable(f"{found.file}: {found.problem}")
            result.append(Received("", found.path, found.received, [problem], False))
            continue
        student, notes = identities.assign(found.owner, chapter)
        said.setdefault(student, [])
        said[student] += [note for note in notes if note not in said[student]]
        candidate = _candidate(found, released)
        files.setdefault(student, []).append(found.file)
        if student not in best or candidate.rank > best[student].rank:
            best[student], candidate = candidate, best.get(student, candidate)
        if candidate is not best[student] and not candidate.is_readable:
            said[student] += candidate.notes
    identities.save()
    for student, candidate in sorted(best.items()):
        if len(files[student]) > 1:
            said[student].insert(0, _several(candidate.found, files[student]))
        result.append(_keep(root, chapter, student, candidate, said[student]))
    _write_json(
        root / PROBLEMS / f"{chapter}.json",
        [each.problems[0] for each in result if not each.student],
    )
    return result


def clean_collected(root: Path, chapter: str) -> list[Received]:
    """Clean what ``nbgrader collect`` brought from the exchange, in place.

    Of each folder grading/submitted/<student>/<chapter> only the clean notebook and the time stay.
    Notebooks that are clean already, as after ``collect``, are left alone.
    """
    released = _released(root, chapter)
    result = []
    for folder in sorted((root / SUBMITTED).glob(f"*/{chapter}")):
        student = folder.parent.name
        is_linked = folder.is_symlink() or folder.parent.is_symlink()
        if is_linked or not folder.is_dir() or not is_safe(student):
            reason = f"{student}/{chapter}: is no folder, or has a name that cannot be an id"
            result.append(Received("", folder, datetime.now(UTC), [_printable(reason)], False))
            continue
        if _is_clean(root, chapter, student):
            continue
        inbox = Inbox(chapter, (), read_roster(root), load(root).time_zone)
        candidates = [_candidate(found, released) for found in inbox.folder(folder, Owner(student))]
        candidate = max(candidates, key=lambda each: each.rank)
        received = _timestamp(folder) or candidate.found.received
        candidate = replace(candidate, found=replace(candidate.found, received=received))
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        result.append(_write(root, chapter, student, candidate, []))
    return result


def problems(root: Path, chapter: str, student: str) -> dict[str, Any]:
    """What ``collect`` wrote about a submission: ``problems``, ``is_readable``, ``name``, and more.

    Empty for a submission that was not collected.
    """
    path = root / PROBLEMS / chapter / f"{student}.json"
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def released_chapters(root: Path) -> Iterator[Path]:
    """The folders of the student versions."""
    folders = sorted((root / "release").glob("*/"))
    return (folder for folder in folders if (folder / f"{folder.name}.ipynb").exists())


def _released(root: Path, chapter: str) -> NotebookNode:
    path = root / "release" / chapter / f"{chapter}.ipynb"
    if not path.exists():
        names = [folder.name for folder in released_chapters(root)]
        raise ValueError(
            f"chapter must be one that was released, {names}, got {chapter!r}; release it first: "
            f"make assignments CHAPTER={chapter}"
        )
    return nbformat.read(path, as_version=4)


def _candidate(found: Found, released: NotebookNode) -> _Candidate:
    try:
        if found.raw is None:
            raise Unreadable(found.problem)
        notebook, notes = merge(*read(found.raw), released)
        nbformat.validate(notebook)
    except (Unreadable, nbformat.ValidationError) as error:
        note = _printable(f"{found.file}: {str(error).splitlines()[0]}")
        return _Candidate(replace(found, raw=None), released, [note], False)
    return _Candidate(
        replace(found, raw=None), notebook, [_printable(each) for each in notes], True
    )


def _several(counted: Found, files: list[str]) -> str:
    others = sorted(set(files) - {counted.file})[:3]
    is_class = len(files) > 5 and counted.owner is not None and not counted.owner.system
    return _printable(
        f"{len(files)} files were handed in; {counted.file} counts, as the latest that can be read "
        f"(not {', '.join(others)}{' …' if len(files) > len(others) + 1 else ''})"
        + is_class
        * f"; if {counted.path.name} has the work of a class, take the _ out of its name"
    )


def _keep(
    root: Path, chapter: str, student: str, candidate: _Candidate, notes: list[str]
) -> Received:
    """Write a submission, unless what was collected before is later, or the only readable one."""
    folder, before = root / SUBMITTED / student / chapter, problems(root, chapter, student)
    received = _timestamp(folder)
    if received is None:
        return _write(root, chapter, student, candidate, notes)
    was_readable = before.get("is_readable", True)
    if (candidate.is_readable, candidate.found.received) >= (was_readable, received):
        return _write(root, chapter, student, candidate, notes)
    file = _printable(candidate.found.file)
    if candidate.found.received < received:
        remark = f"{file} is older than what was collected on {received:%Y-%m-%d %H:%M} UTC"
    else:
        remark = f"{candidate.notes[0]}; what was collected on {received:%Y-%m-%d %H:%M} UTC counts"
        if remark not in before.get("problems", []):  # a hand-in that failed, the student must know
            before = before | {"problems": [*before.get("problems", []), remark]}
            _write_json(root / PROBLEMS / chapter / f"{student}.json", before)
    return Received(student, candidate.found.path, received, [remark], was_readable)


def _write(
    root: Path, chapter: str, student: str, candidate: _Candidate, notes: list[str]
) -> Received:
    found, name = candidate.found, candidate.found.owner.name if candidate.found.owner else ""
    if found.owner is not None and found.owner.is_marked_late:
        notes = [*notes, "Canvas marks this submission as late"]
    everything = list(dict.fromkeys([*candidate.notes, *(_printable(note) for note in notes)]))
    content = nbformat.writes(candidate.notebook).encode()
    folder = root / SUBMITTED / student / chapter
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{chapter}.ipynb", content)
    write_atomically(folder / "timestamp.txt", found.received.strftime(TIME).encode())
    about = {
        "student": student,
        "name": _printable(name),
        "file": _printable(found.file),
        "received": found.received.isoformat(),
        "is_readable": candidate.is_readable,
        "problems": everything,
        "clean": hashlib.sha256(content).hexdigest(),
    }
    _write_json(root / PROBLEMS / chapter / f"{student}.json", about)
    return Received(
        student, found.path, found.received, everything, candidate.is_readable, _printable(name)
    )


def _is_clean(root: Path, chapter: str, student: str) -> bool:
    path = root / SUBMITTED / student / chapter / f"{chapter}.ipynb"
    if path.is_symlink() or not path.is_file():
        return False
    # A notebook too large to be clean is not read to find that out.
    digest = problems(root, chapter, student).get("clean")
    is_small = path.stat().st_size <= 50_000_000
    return is_small and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _timestamp(folder: Path) -> datetime | None:
    path = folder / "timestamp.txt"
    if path.is_symlink() or not path.is_file():
        return None
    from nbgrader.utils import parse_utc

    try:
        return parse_utc(path.read_text("utf8").strip()).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _write_json(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(data, indent=1, ensure_ascii=False).encode())


def _printable(text: str) -> str:
    """Names of files as they come could steer a terminal, write backwards, or not be UTF-8."""
    return ODD.sub("?", text)
