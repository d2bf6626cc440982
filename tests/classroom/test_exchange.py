"""nbgrader's exchange with honest students, and with some who try what nbgrader would believe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nbgrader.utils import notebook_hash

from classroom import exchange
from classroom.exchange import hand_back, take

CHAPTER = "04_gan_minimax"
SECRET = "0123456789abcdef"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A course whose exchange has one user of the operating system, "ada"."""
    (tmp_path / "root").mkdir()
    course = tmp_path / "exchange/generative-models"
    (course / "inbound").mkdir(parents=True)
    (course / "students").mkdir()
    monkeypatch.setattr(exchange, "_user_name", lambda user: "ada")
    return tmp_path / "root"


@pytest.fixture
def course(root):
    return root.parent / "exchange/generative-models"


def submit(
    inbound: Path, account: str, content: bytes | None = b"{}", at: str = "2026-11-22"
) -> Path:
    """What `nbgrader submit` leaves in the exchange."""
    folder = (
        inbound / f"{account}+{CHAPTER}+{at} 10:00:00.000000 UTC+{len(list(inbound.iterdir()))}"
    )
    folder.mkdir(parents=True)
    (folder / "timestamp.txt").write_text("2026-01-01 00:00:00.000000 UTC")
    (folder / "submission_secret.txt").write_text(SECRET + account)
    if content is not None:
        (folder / f"{CHAPTER}.ipynb").write_bytes(content)
    return folder


def inbox(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (root / "grading/inbox" / CHAPTER).iterdir()}


def test_the_latest_submission_counts(root, course):
    submit(course / "inbound", "ada", b"first", at="2027-01-01")  # the name's time is not believed
    time.sleep(0.02)
    submit(course / "inbound", "ada", b"second", at="2026-01-01")
    assert take(root, CHAPTER, course.parent) == (["ada"], [])
    assert inbox(root) == {f"ada_{CHAPTER}.ipynb": b"second"}


def test_the_time_is_that_of_the_file_system_and_cannot_be_set_back(root, course):
    before = time.time() - 1
    folder = submit(course / "inbound", "ada")
    os.utime(folder / f"{CHAPTER}.ipynb", (0, 0))
    take(root, CHAPTER, course.parent)
    received = (root / "grading/inbox" / CHAPTER / f"ada_{CHAPTER}.ipynb").stat().st_mtime
    assert before <= received <= time.time()


def test_a_hand_in_in_the_name_of_another_is_left(root, course):
    submit(course / "inbound", "bob")
    students, (problem,) = take(root, CHAPTER, course.parent)
    assert students == [] and "claims to be of 'bob', but is of 'ada'" in problem
    assert inbox(root) == {}


@pytest.mark.parametrize("what", ["notebook", "folder", "pipe", "nothing"])
def test_links_and_pipes_are_left_and_nothing_waits(root, course, tmp_path, what):
    solution = tmp_path / "solution.ipynb"
    solution.write_text("the solution")
    folder = submit(course / "inbound", "ada", None)
    if what == "notebook":
        (folder / f"{CHAPTER}.ipynb").symlink_to(solution)
    elif what == "pipe":
        os.mkfifo(folder / f"{CHAPTER}.ipynb")
    elif what == "folder":
        real = submit(tmp_path, "ada", b"the solution")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.symlink_to(real)
    students, (problem,) = take(root, CHAPTER, course.parent)
    assert students == [] and inbox(root) == {}
    assert re.search("link|ordinary|cannot be opened|folder", problem)


def test_a_linked_secret_is_not_read(root, course, tmp_path):
    """Or the instructor would publish the hash of a file of hers."""
    (tmp_path / "private").write_text("private")
    folder = submit(course / "inbound", "ada")
    (folder / "submission_secret.txt").unlink()
    (folder / "submission_secret.txt").symlink_to(tmp_path / "private")
    assert take(root, CHAPTER, course.parent)[0] == ["ada"]
    assert not (root / "grading/exchange" / CHAPTER / "ada").exists()


def test_a_huge_notebook_keeps_its_size_and_takes_no_space(root, course):
    folder = submit(course / "inbound", "ada")
    os.truncate(folder / f"{CHAPTER}.ipynb", 200_000_000)
    take(root, CHAPTER, course.parent)
    about = (root / "grading/inbox" / CHAPTER / f"ada_{CHAPTER}.ipynb").stat()
    assert about.st_size == 200_000_000 and about.st_blocks * 512 < 1_000_000


def test_a_folder_for_each_account_says_whose_a_submission_is(root, course):
    """In containers all are one user; what an account can write is its own folder only."""
    for account in ("bob", "cem"):
        (course / f"students/{account}/inbound").mkdir(parents=True)
        submit(course / f"students/{account}/inbound", "bob", account.encode())
    students, (problem,) = take(root, CHAPTER, course.parent)
    assert students == ["bob"] and "claims to be of 'bob', but is of 'cem'" in problem
    assert inbox(root) == {f"bob_{CHAPTER}.ipynb": b"bob"}


def test_feedback_goes_where_nbgrader_looks_for_it(root, course):
    submit(course / "inbound", "ada")
    (course / "students/bob/inbound").mkdir(parents=True)
    submit(course / "students/bob/inbound", "bob")
    take(root, CHAPTER, course.parent)
    returned = root / "grading/returned" / CHAPTER
    returned.mkdir(parents=True)
    for student in ("ada", "bob", "by-mail"):
        (returned / f"{student}.html").write_text(f"for {student}")
    assert hand_back(root, CHAPTER, course.parent) == ["ada", "bob"]
    for student, folder in [("ada", course), ("bob", course / "students/bob")]:
        name = notebook_hash(secret=SECRET + student, notebook_id=CHAPTER)
        assert (folder / f"feedback/{name}.html").read_text() == f"for {student}"
        assert (folder / "feedback").stat().st_mode & 0o777 == 0o711
        assert len(list((folder / "feedback").iterdir())) == 1


def test_an_exchange_without_the_course_is_named(root, tmp_path):
    command = [sys.executable, "-m", "classroom.exchange", "take", CHAPTER, "--exchange"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    got = subprocess.run(
        [*command, str(tmp_path)], cwd=root, env=environment, capture_output=True, text=True
    )
    assert got.returncode == 1
    assert "exchange must be" in got.stderr and "release_assignment" in got.stderr
