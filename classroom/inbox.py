"""The notebooks in a folder of submissions, as learning management systems hand them out.

Everything here was named, packed and dated by somebody else. Nothing is unpacked to the disk, no
link is followed, and an archive that a student made can speak for that student only: whose it is
tells the name that the learning management system gave to the outermost file.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from zoneinfo import ZoneInfo

from classroom.cleaning import MAX_BYTES, too_large
from classroom.students import Owner, Roster, owner

MAX_STUDENT_BYTES = 50_000_000  # of the archive of one student, packed or unpacked
MAX_CLASS_BYTES = 500_000_000  # unpacked
MAX_MEMBERS = 500  # of the archive of one student
MAX_CLASS_MEMBERS = 5000
MAX_RATIO = 200
MAX_DEPTH = 6  # of folders in the folder of a student
JUNK = re.compile(r"__MACOSX|\.[^.].*|Thumbs\.db|desktop\.ini")  # one part of a path
ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, NotImplementedError),
    *(RuntimeError, EOFError, OSError, ValueError, OverflowError, MemoryError),
)


@dataclass(frozen=True)
class Found:
    """A notebook, or the reason why something is none.

    ``path`` is the file in the inbox and ``file`` how it is called in messages; ``owner`` is None
    if the name does not tell. Either ``raw`` or ``problem`` is given.
    """

    path: Path
    file: str
    owner: Owner | None
    received: datetime
    raw: bytes | None = None
    problem: str = ""


class Refused(ValueError):
    """A file or a member of an archive is not read; the message says why."""


@dataclass(frozen=True)
class Inbox:
    """How the names and times in a folder of submissions of one chapter are to be read."""

    chapter: str
    others: tuple[str, ...]  # the other chapters: what belongs to them is passed over
    roster: Roster
    zone: ZoneInfo

    def scan(self, folder: Path) -> Iterator[Found]:
        """Everything in the folder that is or claims to be a submission, in the order of names."""
        for path in sorted(folder.iterdir()):
            if JUNK.fullmatch(path.name) or self._is_other(path.stem):
                continue
            who, kind = owner(path.stem, self.chapter, self.roster), path.suffix.lower()
            if path.is_symlink():
                yield self._refusal(path, who, "is a link, and links are not followed")
            elif path.is_dir():
                if path.name == self.chapter:
                    yield from self.scan(path)
                else:
                    yield from self.folder(path, owner(path.name, self.chapter, self.roster))
            elif kind == ".zip" and not self._is_students(path.stem, who):
                yield from self._class_archive(path)
            else:
                yield from self._file(path, who, path.name)

    def _is_other(self, stem: str) -> bool:
        pattern = "|".join(re.escape(other) for other in self.others)
        return bool(pattern and re.fullmatch(rf"(.*[_ -])?({pattern})([-_ ]?\(?\d+\)?)?", stem))

    def _is_students(self, stem: str, who: Owner | None) -> bool:
        """Whether an archive is one student's; otherwise it is the learning management system's."""
        if who is None:
            return False
        is_named_so = who.system or stem != who.name or bool(self.roster.match(who.name))
        return bool(is_named_so)

    def _refusal(self, path: Path, who: Owner | None, problem: str) -> Found:
        return Found(path, path.name, who, _time(path.lstat()), problem=problem)

    def folder(self, top: Path, who: Owner | None) -> Iterator[Found]:
        """The folder of one student."""
        number, is_empty = 0, True
        for folder, folders, files in os.walk(top):
            depth = len(Path(folder).relative_to(top).parts)
            folders[:] = sorted(
                each for each in folders if depth < MAX_DEPTH and not JUNK.fullmatch(each)
            )
            for name in sorted(files):
                number += 1
                if number > MAX_MEMBERS:
                    yield self._refusal(top, who, f"holds more than {MAX_MEMBERS} files")
                    return
                path = Path(folder, name)
                kind = path.suffix.lower()
                if kind in (".ipynb", ".zip") and not JUNK.fullmatch(name):
                    is_empty = False
                    yield from self._file(path, who, f"{top.name}/{path.relative_to(top)}")
        if is_empty:
            yield self._refusal(top, who, "is a folder without a notebook (.ipynb)")

    def _file(self, path: Path, who: Owner | None, shown: str) -> Iterator[Found]:
        """A notebook, or the archive of one student."""
        kind = path.suffix.lower()
        if who is None:
            reason = f"does not say whose it is; name it <student>_{self.chapter}{kind}"
            yield self._refusal(path, who, reason)
            return
        if kind not in (".ipynb", ".zip"):
            yield self._refusal(path, who, "is neither a notebook (.ipynb) nor a zip archive")
            return
        limit = MAX_BYTES if kind == ".ipynb" else MAX_STUDENT_BYTES
        try:
            raw, when = _read_file(path, limit)
        except Refused as error:
            yield replace(self._refusal(path, who, str(error)), file=shown)
            return
        if who.when is not None:
            when = who.when.replace(tzinfo=self.zone)
        found = Found(path, shown, who, when.astimezone(UTC), raw)
        yield from [found] if kind == ".ipynb" else _student_archive(found)

    def _class_archive(self, path: Path) -> Iterator[Found]:
        """An archive of the submissions of many, as a learning management system makes it."""
        modified = _time(path.stat())
        try:
            with zipfile.ZipFile(path) as archive:
                yield from self._members(path, archive, modified)
        except ARCHIVE_ERRORS as error:
            yield self._refusal(path, None, f"is not a zip archive that can be read: {error}")

    def _members(self, path: Path, archive: zipfile.ZipFile, modified: datetime) -> Iterator[Found]:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MAX_CLASS_MEMBERS:
            raise Refused(f"{len(infos)} files, the limit is {MAX_CLASS_MEMBERS}")
        if sum(info.file_size for info in infos) > MAX_CLASS_BYTES:
            raise Refused(f"unpacked more than {MAX_CLASS_BYTES // 1_000_000} MB")
        for info, parts in self._without_common_folder(infos):
            if self._is_other(PurePosixPath(parts[0]).stem):
                continue
            stem = PurePosixPath(parts[0]).stem if len(parts) == 1 else parts[0]
            who, kind = owner(stem, self.chapter, self.roster), PurePosixPath(parts[-1]).suffix
            when = _local_time(info, self.zone) or modified
            if who is not None and who.when is not None:
                when = who.when.replace(tzinfo=self.zone)
            found = Found(path, f"{path.name}/{info.filename}", who, when.astimezone(UTC))
            if who is None:
                reason = f"does not say whose it is; <student>_{self.chapter}.zip would"
                yield replace(found, problem=reason)
            elif kind.lower() in (".ipynb", ".zip"):
                limit = MAX_BYTES if kind.lower() == ".ipynb" else MAX_STUDENT_BYTES
                try:
                    found = replace(found, raw=_read_member(archive, info, limit))
                except ARCHIVE_ERRORS as error:
                    yield replace(found, problem=str(error))
                else:
                    yield from [found] if kind.lower() == ".ipynb" else _student_archive(found)
            elif len(parts) == 1:
                yield replace(found, problem="is neither a notebook (.ipynb) nor a zip archive")

    def _without_common_folder(
        self, infos: list[zipfile.ZipInfo]
    ) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
        """The members by name, with the parts of their paths below a folder that all are in."""
        listed = [(info, PurePosixPath(info.filename).parts) for info in infos]
        listed = [
            (info, parts)
            for info, parts in sorted(listed, key=lambda each: each[0].filename)
            if parts and not any(JUNK.fullmatch(part) for part in parts)
        ]
        firsts = {parts[0] for _, parts in listed}
        if len(firsts) == 1 and len(listed) > 1 and all(len(parts) > 1 for _, parts in listed):
            (first,) = firsts
            who = owner(first, self.chapter, self.roster)
            if who is None or not (who.system or self.roster.match(who.name)):
                return [(info, parts[1:]) for info, parts in listed]
        return [
            (info, parts[1:] if len(parts) > 1 and parts[0] == self.chapter else parts)
            for info, parts in listed
        ]


def _student_archive(archive: Found, depth: int = 1) -> Iterator[Found]:
    """The notebooks in the archive of one student, all of them received when the archive was.

    The times inside are not believed: the student could have written them.
    """
    assert archive.raw is not None
    number = 0
    try:
        # Before zipfile makes an object for each member; stored archives count theirs again.
        if archive.raw.count(b"PK\x01\x02") > 3 * MAX_MEMBERS:
            raise Refused(f"your archive holds more than {MAX_MEMBERS} files")
        with zipfile.ZipFile(io.BytesIO(archive.raw)) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            if len(infos) > MAX_MEMBERS:
                raise Refused(f"your archive holds more than {MAX_MEMBERS} files")
            if sum(info.file_size for info in infos) > MAX_STUDENT_BYTES:
                megabytes = MAX_STUDENT_BYTES // 1_000_000
                raise Refused(f"unpacked, your archive has more than {megabytes} MB")
            for info in infos:
                path = PurePosixPath(info.filename)
                kind = path.suffix.lower()
                is_junk = any(JUNK.fullmatch(part) for part in path.parts)
                if is_junk or kind not in (".ipynb", ".zip"):
                    continue
                number += 1
                inner = replace(archive, file=f"{archive.file}/{info.filename}", raw=None)
                try:
                    if kind == ".zip" and depth == 2:
                        raise Refused("an archive in an archive in an archive is not opened")
                    inner = replace(inner, raw=_read_member(opened, info, MAX_BYTES))
                except ARCHIVE_ERRORS as error:
                    yield replace(inner, problem=str(error))
                else:
                    yield from [inner] if kind == ".ipynb" else _student_archive(inner, depth + 1)
    except ARCHIVE_ERRORS as error:
        yield replace(archive, raw=None, problem=f"your zip archive is not read: {error}")
        return
    if number == 0:
        yield replace(archive, raw=None, problem="your zip archive holds no notebook (.ipynb)")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    name = info.filename
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise Refused(f"{name[:80]!r} points out of the archive and is not read")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Refused(f"{name[:80]!r} is a link, and links are not followed")
    if info.flag_bits & 1:
        raise Refused(f"{name[:80]!r} is encrypted: pack it without a password")
    # The other methods unpack without a bound on the memory they take.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused(f"{name[:80]!r} is packed by an unusual method: pack it as an ordinary zip")
    if info.file_size > limit:
        raise Refused(too_large(info.file_size))
    if info.file_size > MAX_RATIO * max(info.compress_size, 1):
        raise Refused(f"{name[:80]!r} unpacks to more than {MAX_RATIO} times its size")
    with archive.open(info) as member:
        return member.read(limit + 1)


def _read_file(path: Path, limit: int) -> tuple[bytes, datetime]:
    """The bytes of a regular file and when it was changed; never waits, never follows a link."""
    try:
        flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
        number = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        raise Refused(f"cannot be opened: {error.strerror}") from None
    with open(number, "rb") as file:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise Refused("is not an ordinary file")
        if about.st_size > limit:
            raise Refused(too_large(about.st_size))
        return file.read(limit + 1), _time(about)


def _time(about: os.stat_result) -> datetime:
    """When a file was changed; a time that no calendar has is as good as 1970."""
    try:
        return datetime.fromtimestamp(about.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _local_time(info: zipfile.ZipInfo, zone: ZoneInfo) -> datetime | None:
    """When the member was changed; archives have local times. None if it says nothing credible."""
    try:
        when = datetime(*info.date_time, tzinfo=zone)
    except ValueError:
        return None
    return when if when.year > 1990 else None
