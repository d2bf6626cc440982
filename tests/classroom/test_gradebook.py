"""The gradebook on PostgreSQL, by one setting: released, collected, recorded, exported.

Skipped where the server (initdb, postgres) or the driver (the extra "postgresql") is missing.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import assignments
import pytest
from inboxes import put

from classroom.collect import collect
from classroom.gradebook import open_gradebook
from classroom.late import record_deadlines
from classroom.settings import load
from classroom.summary import write_grades

# nbgrader's own habit of using its database session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
ROOT = assignments.ROOT
CHAPTER = "04_gan_minimax"


@pytest.fixture(scope="module")
def address():
    """The address of an empty database, on a server of its own that only this test can reach."""
    pytest.importorskip("psycopg2", reason="pip install psycopg2-binary")
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("PostgreSQL is not installed")
    # The server refuses to run as root; the path of a socket must be short.
    user = {"user": "nobody", "group": "nogroup"} if os.name == "posix" and os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        if user:
            shutil.chown(folder, "nobody", "nogroup")
        data = f"{folder}/data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder, **user}
        initdb = ["initdb", "-D", data, "-U", "teacher", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([*initdb, "--locale=C"], check=True, **quiet)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(["postgres", "-D", data, *options], **quiet)
        try:
            deadline = time.monotonic() + 60
            while not Path(folder, ".s.PGSQL.5432").exists() or not _answers(folder):
                assert server.poll() is None and time.monotonic() < deadline, "no server"
                time.sleep(0.1)
            yield f"postgresql://teacher@/postgres?host={folder}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _answers(folder: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(host=folder, user="teacher", dbname="postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADEBOOK_URL", raising=False)
    root = tmp_path / "course"
    shutil.copytree(ROOT / assignments.SOURCE / CHAPTER, root / assignments.SOURCE / CHAPTER)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    return root


def test_a_course_on_postgresql(root, address):
    """The release, a late submission with its penalty, the grades: nothing in an SQLite file."""
    (root / "grading.toml").write_text(
        f'[gradebook]\nurl = "{address}"\n[late]\npenalty_per_day = 0.5\n'
        f"[deadlines]\n{CHAPTER} = 2026-11-20T09:00:00\n"
    )
    made = assignments.release(root, CHAPTER)
    inbox = root / "grading" / "inbox"
    put(inbox / f"josé_{CHAPTER}.ipynb", made.notebook.read_bytes())
    (received,) = collect(root, CHAPTER, inbox)
    with open_gradebook(root) as gradebook:
        assert gradebook.engine.dialect.name == "postgresql"
        gradebook.add_student(received.student, last_name="José")
        when = received.received.replace(tzinfo=None)
        gradebook.add_submission(CHAPTER, received.student, timestamp=when)
        grade = gradebook.find_grade("check_training_step", CHAPTER, CHAPTER, received.student)
        grade.auto_score = 4
        gradebook.db.commit()
        record_deadlines(gradebook, load(root))
        # What formgrader shows: the queries that databases are most likely to disagree on.
        (overview,) = gradebook.submission_dicts(CHAPTER)
        (page,) = gradebook.notebook_submission_dicts(CHAPTER, CHAPTER)
        (student,) = gradebook.student_dicts()
        assert overview["score"] == page["score"] == student["score"] == 4
        assert gradebook.average_assignment_score(CHAPTER) == 4
    with open(write_grades(root), newline="", encoding="utf8") as file:
        row, total = csv.DictReader(file)
    assert (row["student"], row["last_name"], row["maximum"]) == (
        "jose",
        "José",
        f"{made.points:g}",
    )
    assert (row["hours_late"], row["points"]) == ("3.00", "2")
    assert total["points"] == "2"
    assert not (root / "grading" / "gradebook.db").exists()


def test_a_database_that_does_not_answer_is_named(root):
    pytest.importorskip("psycopg2")
    (root / "grading.toml").write_text(
        '[gradebook]\nurl = "postgresql://a:secret@/b?host=/nowhere"'
    )
    with pytest.raises(ValueError, match=r"gradebook\.url.*reached") as caught:
        open_gradebook(root)
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named(root, monkeypatch):
    """Whatever is installed here."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    (root / "grading.toml").write_text('[gradebook]\nurl = "postgresql://a@b/c"')
    with pytest.raises(ValueError, match="pip install psycopg2-binary"):
        open_gradebook(root)
