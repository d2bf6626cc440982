"""From the inbox to what is given back, with nbgrader's gradebook in between."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import assignments
import nbformat
import pytest
import toy
from nbgrader.api import Gradebook

import classroom.grade
from classroom.cli import app
from classroom.grade import grade, nbgrader
from classroom.sandbox import SandboxError, bubblewrap_problem
from classroom.settings import load

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
ROOT = Path(__file__).resolve().parent.parent.parent
IS_TRUSTED = bool(bubblewrap_problem())


def hand_in(root, student, answers):
    folder = root / "grading" / "inbox" / toy.CHAPTER
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(toy.submission(answers), folder / f"{student}_{toy.CHAPTER}.ipynb")


def rows(root):
    """The lines of grades.csv by student, without the totals."""
    with open(root / "grading" / "grades.csv", encoding="utf8") as file:
        return {row["student"]: row for row in csv.DictReader(file) if row["chapter"] != "total"}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course with three students that has been graded once: (the folder, the report)."""
    root = tmp_path_factory.mktemp("course")
    toy.write_course(root, ROOT)
    assignments.release(root, toy.CHAPTER)
    hand_in(root, "ada", toy.RIGHT | {"why": "Because it is so."})
    hand_in(root, "ben", {"double": "def double(x):\n    return 2 * abs(x)"})
    hand_in(root, "cyd", {})
    return root, grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED)


def test_everyone_gets_their_points(graded):
    root, report = graded
    assert report.failed == {} and report.submissions == report.checked == 3
    found = {student: float(row["points"]) for student, row in rows(root).items()}
    assert found == {"ada": 7, "ben": 0, "cyd": 0}
    assert {row["maximum"] for row in rows(root).values()} == {"8"}
    assert {s: row["to_be_read"] for s, row in rows(root).items()} == {
        "ada": "1",
        "ben": "0",
        "cyd": "0",
    }


def test_the_feedback_says_what_to_look_at_and_shows_no_hidden_test(graded):
    root, _ = graded
    for student in ("ada", "ben", "cyd"):
        page = (root / "grading" / "returned" / toy.CHAPTER / f"{student}.html").read_text("utf8")
        assert "secret_input" not in page and "HIDDEN" not in page and "SOLUTION" not in page
        assert ("wrong for negative numbers" in page) == (student == "ben")
    assert (root / "grading" / "summary" / f"{toy.CHAPTER}.html").exists()


def test_only_what_has_changed_is_checked_again(graded):
    root, _ = graded
    assert grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED).checked == 0
    path = root / "grading" / "outcomes" / toy.CHAPTER / "ben.json"
    content = json.loads(path.read_text("utf8"))
    assert content["outcome"]["checks"]["check_double"]["verdict"] == "wrong (hidden test)"
    path.unlink()
    assert grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED).checked == 1
    assert grade(root, toy.CHAPTER, student="ben", is_trusted=IS_TRUSTED).checked == 1


def test_points_given_by_a_person_stay_and_are_fed_back(graded):
    root, _ = graded
    settings = load(root)
    where = (toy.CHAPTER, toy.CHAPTER, "ada")
    with Gradebook(settings.gradebook_url, settings.course_id) as gradebook:
        given = gradebook.find_grade("why", *where)
        given.manual_score, given.needs_manual_grade = 1, False
        gradebook.find_comment("why", *where).manual_comment = "Short and <b>right</b>."
        gradebook.db.commit()
    report = grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED)
    assert report.checked == 0
    assert float(rows(root)["ada"]["points"]) == 8 and rows(root)["ada"]["to_be_read"] == "0"
    page = (root / "grading" / "returned" / toy.CHAPTER / "ada.html").read_text("utf8")
    assert "Short and &lt;b&gt;right" in page


def test_a_better_submission_counts_and_nobody_else_is_touched(graded):
    root, _ = graded
    before = rows(root)["cyd"]
    hand_in(root, "ben", toy.RIGHT)
    report = grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED)
    assert report.checked == 1
    assert float(rows(root)["ben"]["points"]) == 7 and rows(root)["cyd"] == before


def test_a_lost_gradebook_is_made_again(graded):
    root, _ = graded
    before = {student: row["raw_points"] for student, row in rows(root).items()}
    before["ada"] = "7"  # the point that a person gave was only there
    (root / "grading" / "gradebook.db").unlink()
    assignments.release(root, toy.CHAPTER)
    report = grade(root, toy.CHAPTER, is_trusted=IS_TRUSTED)
    assert report.checked == 0 and report.failed == {}
    assert {student: row["raw_points"] for student, row in rows(root).items()} == before


def test_a_fault_of_the_grading_gives_no_points_and_takes_none(graded, monkeypatch):
    root, _ = graded
    before = rows(root)["ben"]

    def fails(task, *_):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(classroom.grade, "check_submission", fails)
    report = grade(root, toy.CHAPTER, student="ben", is_trusted=IS_TRUSTED)
    assert report.failed == {"ben": "the disk is full"} and rows(root)["ben"] == before


def test_nbgrader_itself_runs_no_submission(graded):
    root, _ = graded
    (root / "grading" / "outcomes" / toy.CHAPTER / "cyd.json").rename(root / "cyd.json")
    try:
        result = nbgrader(root).autograde(toy.CHAPTER, "cyd", force=True)
        assert not result["success"]
        assert "make grade CHAPTER=00_toy" in result["error"] + result["log"]
    finally:
        (root / "cyd.json").rename(root / "grading" / "outcomes" / toy.CHAPTER / "cyd.json")


def test_without_a_sandbox_nothing_is_run(graded, monkeypatch):
    root, _ = graded

    def refuse(*_):
        raise SandboxError("no sandbox")

    monkeypatch.setattr(classroom.grade, "choose", refuse)
    monkeypatch.setattr(classroom.grade, "check_submission", None)
    with pytest.raises(SandboxError):
        grade(root, toy.CHAPTER)


def test_clear_errors(graded, tmp_path):
    root, _ = graded
    with pytest.raises(ValueError, match=r"chapter must be one of .*00_toy.*, got '99'"):
        grade(root, "99", is_trusted=True)
    with pytest.raises(ValueError, match=r"student must have a submission.*ada, ben, cyd"):
        grade(root, toy.CHAPTER, student="eve", is_trusted=True)
    with pytest.raises(ValueError, match="inbox must be a folder"):
        grade(root, toy.CHAPTER, inbox=tmp_path / "nowhere", is_trusted=True)
    toy.write_course(tmp_path, ROOT)
    with pytest.raises(ValueError, match="first run make assignments CHAPTER=00_toy"):
        grade(tmp_path, toy.CHAPTER, is_trusted=True)


def test_two_workers_of_a_dask_cluster_do_the_checking(graded, monkeypatch):
    from distributed import LocalCluster

    root, _ = graded
    monkeypatch.setattr(classroom.grade, "ThreadPoolExecutor", None)  # not on this machine
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        report = grade(
            root,
            toy.CHAPTER,
            scheduler=cluster.scheduler_address,
            is_trusted=IS_TRUSTED,
            checks_again=True,
        )
    assert report.checked == 3 and report.failed == {}
    assert float(rows(root)["ben"]["points"]) == 7


# --- The command ---------------------------------------------------------------------------------


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "classroom", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_the_command_grades_what_was_handed_in(graded):
    root, _ = graded
    arguments = ["grade", "--root", str(root), *(["--trusted"] if IS_TRUSTED else [])]
    found = command(*arguments)
    assert found.returncode == 0, found.stderr
    assert "00_toy: 3 submissions, 0 checked" in found.stdout
    assert "grading/returned/00_toy/<student>.html" in found.stdout


def test_errors_of_the_command_are_short(tmp_path):
    for arguments, words in (
        (["grade", "--trusted"], "nothing was handed in"),
        (["grade", "--trusted", "--chapter", "99"], "chapter must be one of"),
        (["progress"], "make exercises"),
        (["exercises", "--chapter", "99"], "chapter must be one of"),
    ):
        found = command(*arguments, "--root", str(tmp_path))
        assert found.returncode == 1 and found.stderr.startswith("error: ")
        assert words in found.stderr and "Traceback" not in found.stderr


def test_the_command_has_help():
    assert {each.name or each.callback.__name__ for each in app.registered_commands} == {
        "grade",
        "exercises",
        "progress",
    }
    for name in ("grade", "exercises", "progress"):
        assert len(command(name, "--help").stdout) > 200
