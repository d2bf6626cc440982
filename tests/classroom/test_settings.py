"""grading.toml: what it may say, what it may not, and where its values arrive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import assignments
import notebooks
import pytest

from classroom.settings import Late, Sandbox, Settings, load, with_points
from classroom.types import Limits

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "04_gan_minimax"


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    monkeypatch.delenv("GRADEBOOK_URL", raising=False)


def written(folder, text):
    (folder / "grading.toml").write_text(text, "utf8")
    return load(folder)


@pytest.fixture(scope="module")
def exercises():
    return notebooks.read_text(ROOT / assignments.SOURCE / CHAPTER / f"{CHAPTER}.md")


def test_the_file_of_the_course_says_what_the_defaults_are(tmp_path):
    """Its comment promises that every line may be left out."""
    (tmp_path / "grading.toml").write_bytes((ROOT / "grading.toml").read_bytes())
    assert (
        load(tmp_path)
        == written(tmp_path, "")
        == Settings(gradebook_url=load(tmp_path).gradebook_url)
    )
    (tmp_path / "grading.toml").unlink()
    assert load(tmp_path).late == Late()


def test_the_examples_in_the_comments_are_valid(tmp_path):
    text = (ROOT / "grading.toml").read_text("utf8")
    examples = re.sub(r"(?m)^# (?=\[|\w+ = )", "", text)
    settings = written(tmp_path, examples)
    assert settings.points == {CHAPTER: {"training_step": 8}}
    assert settings.worth == {CHAPTER: 10}
    assert settings.deadlines[CHAPTER].astimezone(UTC) == datetime(2026, 11, 30, 23, 59, tzinfo=UTC)


def test_a_deadline_is_local_time_in_summer_and_winter(tmp_path):
    settings = written(
        tmp_path,
        '[course]\ntime_zone = "Europe/Berlin"\n'
        "[deadlines]\nsummer = 2026-07-01T12:00:00\nwinter = 2026-12-01T12:00:00\n",
    )
    hours = {name: when.astimezone(UTC).hour for name, when in settings.deadlines.items()}
    assert hours == {"summer": 10, "winter": 11}


def test_values_arrive_in_their_types(tmp_path):
    settings = written(
        tmp_path,
        "[limits]\ncell_seconds = 5\nprocesses = 7\n[late]\npenalty_per_day = 1\n"
        '[sandbox]\nkind = "container"\ncontainer_engine = "podman"\n',
    )
    assert settings.limits == Limits(cell_seconds=5.0, processes=7)
    assert isinstance(settings.limits.cell_seconds, float)
    assert settings.late == Late(penalty_per_day=1.0)
    assert settings.sandbox == Sandbox("container", "podman")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cours]", ["cours is not a setting", "course, deadlines"]),
        ("[late]\ngrace = 3", ["late.grace is not", "late.grace_minutes"]),
        ("late = 3", ["late must be a table", "got 3", "[late]"]),
        ("[late]\npenalty_per_day = 1.5", ["late.penalty_per_day", "from 0 to 1", "got 1.5"]),
        ('[late]\ngrace_minutes = "5"', ["late.grace_minutes", "number", "'5'"]),
        ("[late]\ngrace_minutes = -1", ["late.grace_minutes", "from 0 up", "-1"]),
        ("[late]\nlatest_days = nan", ["late.latest_days", "nan"]),
        ("[late]\nlatest_days = true", ["late.latest_days", "True"]),
        ("[limits]\nprocesses = 2.5", ["limits.processes", "whole number", "2.5"]),
        ("[limits]\ncell_seconds = 0", ["limits.cell_seconds", "from 1", "got 0"]),
        ('[course]\ntime_zone = "London"', ["course.time_zone", "'London'", "Europe/London"]),
        ("[course]\nid = 4", ["course.id", "text", "got 4"]),
        ("[deadlines]\na = 2026-11-30", ["deadlines.a", "time", "2026-11-30"]),
        ('[deadlines]\na = "2026-11-30T23:59:00"', ["deadlines.a", "without quotes"]),
        ("[deadlines]\na = 2026-11-30T23:59:00Z", ["deadlines.a", "without offset", "+00:00"]),
        ("[points]\na = 3", ["points.a", "table", "got 3"]),
        ('[points.a]\nb = "3"', ["points.a.b", "'3'"]),
        ("[worth]\na = -1", ["worth.a", "-1"]),
        ('[sandbox]\nkind = "chroot"', ["sandbox.kind", "'chroot'", "auto, bubblewrap"]),
        ('[sandbox]\ncontainer_engine = "rkt"', ["container_engine", "'rkt'", "podman"]),
        ('[gradebook]\nurl = "mysql://a"', ["gradebook.url", "mysql", "postgresql://"]),
        ("[late", ["TOML"]),
    ],
)
def test_a_mistake_names_the_key_what_came_and_what_fits(tmp_path, text, words):
    with pytest.raises(ValueError) as caught:
        written(tmp_path, text)
    assert [word for word in [*words, "grading.toml"] if word not in str(caught.value)] == []


def test_a_chapter_that_does_not_exist_has_no_deadline(tmp_path):
    folder = tmp_path / assignments.SOURCE / CHAPTER
    folder.mkdir(parents=True)
    (folder / f"{CHAPTER}.md").touch()
    for line in ("[deadlines]\n04_gan = 2026-11-30T23:59:00", "[worth]\n04_gan = 3"):
        with pytest.raises(ValueError, match=CHAPTER):
            written(tmp_path, line)
    assert written(tmp_path, f"[worth]\n{CHAPTER} = 3").worth == {CHAPTER: 3}


def test_the_environment_variable_goes_before_the_file_and_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADEBOOK_URL", "postgresql://a:secret@b/c")
    assert written(tmp_path, "").gradebook_url == "postgresql+psycopg2://a:secret@b/c"
    monkeypatch.setenv("GRADEBOOK_URL", "mysql://a:secret@b/c")
    with pytest.raises(ValueError, match="GRADEBOOK_URL") as caught:
        load(tmp_path)
    assert "secret" not in str(caught.value)


# --- Points --------------------------------------------------------------------------------------


def stated(notebook):
    sources = [cell.source for cell in notebook.cells if cell.source.startswith("## Exercise")]
    return [re.search(r"Difficulty: .* · (.*)", source)[1] for source in sources]


def test_points_change_in_the_cells_and_wherever_they_are_stated(exercises):
    before = stated(exercises)
    changed = with_points(exercises, {"training_step": 8, "value_at_one_half": 2.5})
    cells = {c.metadata.nbgrader.grade_id: c for c in changed.cells if "nbgrader" in c.metadata}
    assert cells["check_training_step"].metadata.nbgrader.points == 8
    differences = [pair for pair in zip(before, stated(changed), strict=True) if len(set(pair)) > 1]
    assert differences == [("1 point", "2.5 points"), ("5 points", "8 points")]
    assert "35 points" in exercises.cells[0].source, "the original is changed too, or this test old"
    assert "39.5 points" in changed.cells[0].source
    assert [c.source for c in changed.cells[3:6]] == [c.source for c in exercises.cells[3:6]]


def test_a_text_that_a_person_reads_has_its_points_itself(exercises):
    changed = with_points(exercises, {"least_squares_derivation": 1})
    (cell,) = [
        cell
        for cell in changed.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "least_squares_derivation"
    ]
    assert cell.metadata.nbgrader.points == 1


def test_no_override_changes_nothing(exercises):
    assert with_points(exercises, {}) == exercises


def test_an_unknown_part_is_refused(exercises):
    with pytest.raises(ValueError, match=r"'step'.*grading\.toml") as caught:
        with_points(exercises, {"step": 1})
    assert "'training_step'" in str(caught.value)


# --- nbgrader's own settings ---------------------------------------------------------------------


def test_nbgrader_reads_the_settings_from_any_folder(tmp_path):
    """As nbgrader's programs do: without the course on Python's path."""
    (tmp_path / "nbgrader_config.py").write_bytes((ROOT / "nbgrader_config.py").read_bytes())
    (tmp_path / "classroom").symlink_to(ROOT / "classroom")
    (tmp_path / "grading.toml").write_text('[late]\ngrace_minutes = 99\n[course]\nid = "here"')
    program = (
        "import sys; from traitlets.config.loader import PyFileConfigLoader as Loader\n"
        "c = Loader('nbgrader_config.py', path=sys.argv[1]).load_config()\n"
        "print(c.LatePolicy.grace_minutes, c.CourseDirectory.course_id, c.CourseDirectory.db_url)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tmp_path.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["99.0", "here", f"sqlite:///{tmp_path}/grading/gradebook.db"]
