"""Submissions out of nbgrader's exchange, and feedback back into it, without trusting a student.

``nbgrader collect`` believes too much on a machine that students work on: it follows links, so that
a link to the instructor's solution is collected as a perfect submission; a hand-in under another
name only makes it warn; and the time of handing in is a text that the student wrote. Here no link
is followed, a submission must belong to the account whose name it bears, and the time is the one
that the file system keeps and an owner cannot set back.

Where every account is the same user of the operating system, as in containers, the exchange has a
folder for each account instead, ``students/<account>/inbound``, of which the account sees only its
own (deploy/zero_to_jupyterhub); then the folder says whose a submission is.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from classroom.cleaning import MAX_BYTES
from classroom.settings import load
from classroom.students import is_safe
from course_lib.files import write_atomically

EXCHANGE = Path("/srv/nbgrader/exchange")  # the same in deploy/nbgrader_config.py
SECRETS = Path("grading", "exchange")
# The others open a file through a link, or wait where a pipe stands in its place.
OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Refused(ValueError):
    """A submission is left in the exchange; the message says why."""


@dataclass(frozen=True)
class Taken:
    """A submission of ``student``, received at ``seconds`` after 1970.

    ``content`` is None if the notebook has more than the ``size`` that is graded. The ``secret``
    is what only the student's nbgrader knows; the name of the feedback is made from it.
    """

    student: str
    seconds: float
    size: int
    content: bytes | None
    secret: str


def take(root: Path, chapter: str, exchange: Path = EXCHANGE) -> tuple[list[str], list[str]]:
    """Put each student's latest submission of a chapter into grading/inbox/<chapter>.

    Args:
        root: the folder of the course.
        chapter: such as "04_gan_minimax".
        exchange: the folder that nbgrader calls its exchange.

    Returns:
        The students, and what was left in the exchange, with the reasons, for the instructor.

    Raises:
        ValueError: if the exchange has no folder of this course.
    """
    latest: dict[str, Taken] = {}
    problems = []
    for folder, account in _submissions(_course(root, exchange), chapter):
        try:
            taken = _read(folder, account, chapter)
        except Refused as error:
            problems.append(f"{folder.name}: {error}"[:500])
            continue
        if taken.student not in latest or taken.seconds > latest[taken.student].seconds:
            latest[taken.student] = taken
    inbox, secrets = root / "grading" / "inbox" / chapter, root / SECRETS / chapter
    inbox.mkdir(parents=True, exist_ok=True)
    secrets.mkdir(parents=True, exist_ok=True)
    for student, taken in sorted(latest.items()):
        path = inbox / f"{student}_{chapter}.ipynb"
        write_atomically(path, taken.content or b"")
        if taken.content is None:  # as large as it was, so that grading can say so; takes no space
            os.truncate(path, taken.size)
        os.utime(path, (taken.seconds, taken.seconds))
        if taken.secret:
            write_atomically(secrets / student, taken.secret.encode())
    return sorted(latest), problems


def hand_back(root: Path, chapter: str, exchange: Path = EXCHANGE) -> list[str]:
    """Put the feedback of a chapter where each student's Assignment List fetches it.

    Returns:
        The students. Who did not hand in through the exchange is not among them.

    Raises:
        ValueError: if the exchange has no folder of this course.
    """
    from nbgrader.utils import notebook_hash

    course = _course(root, exchange)
    done = []
    for page in sorted((root / "grading" / "returned" / chapter).glob("*.html")):
        secret = root / SECRETS / chapter / page.stem
        if not secret.exists():
            continue
        own = course / "students" / page.stem
        folder = (own if own.is_dir() else course) / "feedback"
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o711)  # to be entered by all and listed by none: the names are secrets
        name = notebook_hash(secret=secret.read_text("utf8"), notebook_id=chapter)
        write_atomically(folder / f"{name}.html", page.read_bytes())
        (folder / f"{name}.html").chmod(0o644)
        done.append(page.stem)
    return done


def _course(root: Path, exchange: Path) -> Path:
    course = exchange / load(root).course_id
    if not course.is_dir():
        raise ValueError(
            f"exchange must be nbgrader's exchange with a folder {course.name!r}, got "
            f"{str(exchange)!r}; `nbgrader release_assignment` makes it"
        )
    return course


def _submissions(course: Path, chapter: str) -> Iterator[tuple[Path, str | None]]:
    """The folders of submissions, with the account if it is told by the folder around them."""
    for folder in sorted(course.glob(f"inbound/*+{chapter}+*")):
        yield folder, None
    for account in sorted((course / "students").glob("*/")):
        if not account.is_symlink() and not (account / "inbound").is_symlink():
            for folder in sorted(account.glob(f"inbound/*+{chapter}+*")):
                yield folder, account.name


def _read(folder: Path, account: str | None, chapter: str) -> Taken:
    claimed = folder.name.split(f"+{chapter}+")[0]
    try:
        number = os.open(folder, OPEN | getattr(os, "O_DIRECTORY", 0))
    except OSError as error:
        raise Refused(f"is not a folder that can be read: {error.strerror}") from None
    try:
        user = os.fstat(number).st_uid
        owner = account if account is not None else _user_name(user)
        if claimed != owner:
            raise Refused(f"claims to be of {claimed!r}, but is of {owner!r}")
        if not is_safe(owner):
            raise Refused("the name of the account cannot be the name of a file")
        content, about = _file(number, f"{chapter}.ipynb", user, MAX_BYTES)
        try:
            secret, _ = _file(number, "submission_secret.txt", user, 1000)
        except Refused:
            secret = b""  # then the feedback cannot be fetched, but the work is graded
    finally:
        os.close(number)
    # Not the time of the last change, which an owner can set: the time of any change, which only
    # the system sets.
    text = (secret or b"").decode("utf8", "replace")
    return Taken(owner, about.st_ctime, about.st_size, content, text)


def _file(folder: int, name: str, user: int, limit: int) -> tuple[bytes | None, os.stat_result]:
    """The content of an ordinary file of this user; None if it is larger than ``limit``."""
    try:
        number = os.open(name, OPEN, dir_fd=folder)
    except OSError as error:
        raise Refused(f"{name} cannot be opened, or is a link: {error.strerror}") from None
    with open(number, "rb") as file:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != user:
            raise Refused(f"{name} is not an ordinary file of the student's own")
        content = file.read(limit + 1)
        return (None if len(content) > limit else content), about


def _user_name(user: int) -> str:
    import pwd  # not on Windows

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m classroom.exchange", description=__doc__)
    parser.add_argument("action", choices=["take", "return"])
    parser.add_argument("chapter", help="such as 04_gan_minimax")
    parser.add_argument("--exchange", type=Path, default=EXCHANGE, help="default: %(default)s")
    chosen = parser.parse_args()
    try:
        if chosen.action == "take":
            students, problems = take(Path.cwd(), chosen.chapter, chosen.exchange)
            print(f"{len(students)} submissions are in grading/inbox/{chosen.chapter}")
            for problem in problems:
                print(f"  left in the exchange: {problem!r}")
        else:
            done = hand_back(Path.cwd(), chosen.chapter, chosen.exchange)
            print(f"the feedback of {len(done)} students can be fetched")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
