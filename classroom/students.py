"""Who handed a file in: the name in it, the list of the class, and the id used from then on."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from course_lib.files import write_atomically

ROSTER = Path("grading", "students.csv")
IDENTITIES = Path("grading", "identities.json")
LONGEST = 64
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# Names that Windows keeps for devices, whatever follows their first dot.
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")

# How learning management systems name what they hand out. What a student chooses (the name of the
# file itself) is always last, so each pattern takes the first place at which it fits.
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+(_.*)?", re.DOTALL)
CANVAS = re.compile(
    r"(?P<name>[^_]+)(?P<late>_LATE)?_(?P<number>\d+)_\d+_.+?(-(?P<again>\d+))?", re.DOTALL
)
BLACKBOARD = re.compile(r".*?_(?P<name>[^_]+)_attempt_(?P<when>\d{4}(-\d\d){5})(_.*)?", re.DOTALL)


@dataclass(frozen=True)
class Student:
    """A line of students.csv."""

    id: str
    first_name: str
    last_name: str
    email: str


@dataclass(frozen=True)
class Owner:
    """What the name of a file or folder says of the student who handed it in.

    ``number`` is the one by which the learning management system tells people of the same name
    apart, ``again`` counts hand-ins, ``when`` is a time without time zone, if the name has one.
    """

    name: str
    system: str = ""
    number: str = ""
    again: int = 0
    is_marked_late: bool = False
    when: datetime | None = None


class Roster:
    """The class, by id; empty if there is no students.csv."""

    def __init__(self, students: Iterable[Student]):
        self.students = {student.id: student for student in students}
        keys: dict[str, set[str]] = {}
        for student in self.students.values():
            first, last = student.first_name, student.last_name
            account = student.email.partition("@")[0]
            for text in (student.id, student.email, account, first + last, last + first):
                if _key(text):
                    keys.setdefault(_key(text), set()).add(student.id)
        # A name that two students share tells nothing.
        self._by_key = {key: min(ids) for key, ids in keys.items() if len(ids) == 1}

    def match(self, name: str) -> str | None:
        """The id of the student whose id, email or full name this is."""
        return name if name in self.students else self._by_key.get(_key(name))

    def match_start(self, name: str) -> str | None:
        """The longest start of ``name`` up to an underscore that is a student's id or name."""
        parts = name.split("_")
        for count in range(len(parts) - 1, 0, -1):
            start = "_".join(parts[:count])
            if self.match(start):
                return start
        return None


def read_roster(root: Path) -> Roster:
    """The list of the class in ``root``/grading/students.csv, which need not exist.

    Raises:
        ValueError: if columns are missing, or an id is missing, unfit for a folder, or there twice.
    """
    path = root / ROSTER
    if not path.exists():
        return Roster([])
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except UnicodeDecodeError as error:
        raise ValueError(f"{ROSTER} must be UTF-8 text, but {error}; save it as UTF-8") from None
    columns = ("id", "first_name", "last_name", "email")
    students: dict[str, Student] = {}
    for line, row in enumerate(rows, start=2):
        missing = [column for column in columns if row.get(column) is None]
        if missing:
            raise ValueError(
                f"{ROSTER} must have the columns {', '.join(columns)}, separated by commas; line "
                f"{line} has no {', '.join(missing)}"
            )
        student = Student(*(row[column].strip() for column in columns))
        if not is_safe(student.id) or student.id in students:
            raise ValueError(
                f"{ROSTER}: the id in line {line} must be new, of at most {LONGEST} letters, "
                f"digits and . _ @ -, and begin with a letter or digit; got {student.id!r}"
            )
        students[student.id] = student
    return Roster(students.values())


def is_safe(student: str) -> bool:
    """Whether an id can be the name of a folder on every system."""
    is_reserved = RESERVED.fullmatch(student) or student.endswith(".")
    return bool(SAFE.fullmatch(student)) and not is_reserved


def owner(name: str, chapter: str, roster: Roster) -> Owner | None:
    """Who handed in the file or folder ``name`` (without its ending); None if unsaid."""
    name = unicodedata.normalize("NFC", name)
    if match := MOODLE.fullmatch(name):
        return Owner(match["name"], "moodle", match["number"])
    if match := CANVAS.fullmatch(name):
        again = int((match["again"] or "0")[:6])
        return Owner(match["name"], "canvas", match["number"], again, bool(match["late"]))
    if match := BLACKBOARD.fullmatch(name):
        try:
            when = datetime.strptime(match["when"], "%Y-%m-%d-%H-%M-%S")
        except ValueError:
            when = None
        return Owner(match["name"], "blackboard", when=when)
    if start := roster.match_start(name):
        return Owner(start)
    tail = rf"(?P<name>.+?)[_ -]{re.escape(chapter)}([-_ ]?\(?(?P<again>\d{{1,6}})\)?)?"
    if match := re.fullmatch(tail, name, re.DOTALL):
        return Owner(match["name"], again=int(match["again"] or 0))
    if re.fullmatch(rf"{re.escape(chapter)}([-_ ]?\(?\d+\)?)?", name):
        return None
    name = name if roster.match(name) else name.partition("_")[0] or name
    return Owner(name) if name.strip() else None


def sanitised(name: str) -> str:
    """An id made from a name: ASCII, fit for a folder, at most 64 characters.

    A name that loses something by that (letters of another script, its end) gets a mark made from
    the whole of it, so that two such names do not become one.
    """
    name = unicodedata.normalize("NFC", name).strip()
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", name)
        if not unicodedata.combining(letter)
    )
    result = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")
    is_whole = all(letter.isascii() and letter.isprintable() for letter in plain)
    if is_whole and len(result) <= LONGEST and is_safe(result):
        return result
    mark = hashlib.sha256(name.encode("utf8", "replace")).hexdigest()[:8]
    start = result[:40].strip("._-")
    return f"{start if is_safe(start) else 'student'}-{mark}"


class Identities:
    """Which id each name got, kept in grading/identities.json: the next collection gives the same.

    Two names that would get one id are two people: the second gets a suffix.
    """

    def __init__(self, root: Path, roster: Roster):
        self._path = root / IDENTITIES
        self._roster = roster
        exists = self._path.exists()
        self._ids: dict[str, str] = json.loads(self._path.read_text("utf8")) if exists else {}

    def assign(self, who: Owner, chapter: str) -> tuple[str, list[str]]:
        """The id of ``who``, and what the instructor should know about it."""
        if known := self._roster.match(who.name):
            return known, []
        notes = [f"{who.name!r} is not in {ROSTER}"] if self._roster.students else []
        # Moodle numbers people anew in each assignment, so there the number tells them apart only
        # within a chapter. Canvas keeps the number of a person.
        scope = {"moodle": f"moodle {chapter}", "canvas": "canvas"}.get(who.system, "name")
        name = unicodedata.normalize("NFC", who.name).strip()
        key = f"{scope}: {name} {who.number}".rstrip()
        if key not in self._ids:
            self._ids[key] = self._new(key, scope, name, who)
        result = self._ids[key]
        if result != sanitised(name):
            notes.append(
                f"{name!r} is {result!r} here, because another has the name {sanitised(name)!r}; "
                f"ids of your own in {ROSTER} make this certain"
            )
        return result, notes

    def _new(self, key: str, scope: str, name: str, who: Owner) -> str:
        taken = {identity.casefold() for identity in self._roster.students}
        for other, identity in self._ids.items():
            # The same name from another source, or in another chapter on Moodle, is one person.
            other_scope, _, other_name = other.partition(": ")
            stripped = re.sub(r" \d+$", "", other_name)
            if other_scope == scope or stripped != name:
                taken.add(identity.casefold())
        wanted = sanitised(name)
        candidates = [wanted, f"{wanted[:50]}-{who.number[-12:]}" if who.number else wanted]
        candidates += [f"{wanted[:50]}-{number}" for number in range(2, len(taken) + 3)]
        return next(each for each in candidates if each.casefold() not in taken)

    def save(self) -> None:
        """Write the ids for the next collection."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(self._ids, indent=1, sort_keys=True).encode())


def _key(text: str) -> str:
    """A name as far as spelling varies between systems: letters and digits only."""
    text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in text if letter.isalnum())
