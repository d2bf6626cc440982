"""The late policy: by hand, by its properties, and through nbgrader's gradebook."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom.gradebook import open_gradebook
from classroom.late import DAY, LatePolicy, penalty, record_deadlines
from classroom.settings import Late, Settings

# nbgrader's own habit of using its database session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

LATE = Late(grace_minutes=15, penalty_per_day=0.1, latest_days=3)
policies = st.builds(
    Late,
    grace_minutes=st.floats(0, 10_000),
    penalty_per_day=st.floats(0, 1),
    latest_days=st.floats(0, 100),
)
scores = st.floats(0, 1000)
seconds = st.floats(0, 1e8)


@pytest.mark.parametrize(
    ("lateness", "lost"),
    [
        (0, 0),
        (15 * 60, 0),
        (15 * 60 + 1, 2),
        (15 * 60 + DAY, 2),
        (15 * 60 + DAY + 1, 4),
        (15 * 60 + 3 * DAY, 6),
        (15 * 60 + 3 * DAY + 1, 20),
    ],
)
def test_by_hand(lateness, lost):
    assert penalty(LATE, 20, lateness) == pytest.approx(lost)


@given(policies, scores, seconds)
def test_it_takes_nothing_in_the_time_of_grace_and_never_more_than_there_is(late, score, lateness):
    assert 0 <= penalty(late, score, lateness) <= score
    assert penalty(late, score, min(lateness, late.grace_minutes * 60)) == 0


@given(policies, scores, seconds, seconds)
def test_later_never_loses_less(late, score, one, other):
    assert penalty(late, score, min(one, other)) <= penalty(late, score, max(one, other))


@given(policies, scores, scores, seconds)
def test_more_points_stay_more_points(late, one, other, lateness):
    kept = [score - penalty(late, score, lateness) for score in sorted([one, other])]
    assert kept[0] <= kept[1] + 1e-9


@given(policies, seconds)
def test_a_score_below_nothing_loses_nothing(late, lateness):
    assert penalty(late, -3.0, lateness) == 0


def test_the_plugin_applies_its_own_settings():
    plugin = LatePolicy(grace_minutes=0.0, penalty_per_day=0.5, latest_days=1.0)
    assert plugin.late_submission_penalty("a", 10.0, 3600.0) == 5
    assert plugin.late_submission_penalty("a", 10.0, 2.0 * DAY) == 10
    assert LatePolicy().late_submission_penalty("a", 10.0, 3600.0) == penalty(Late(), 10, 3600)


@pytest.fixture
def gradebook(tmp_path, monkeypatch):
    """One chapter worth 10 points; one student, who earned 8 of them by handing in 2 hours late."""
    monkeypatch.delenv("GRADEBOOK_URL", raising=False)
    with open_gradebook(tmp_path) as gradebook:
        gradebook.add_assignment("04", duedate=datetime(2026, 1, 1))
        gradebook.add_notebook("04", "04")
        gradebook.add_grade_cell("check_a", "04", "04", max_score=10, cell_type="code")
        gradebook.add_student("jane")
        gradebook.add_submission("04", "jane", timestamp=datetime(2026, 11, 30, 14))
        gradebook.find_grade("check_a", "04", "04", "jane").auto_score = 8
        gradebook.db.commit()
        yield gradebook


def test_deadlines_and_penalties_follow_the_settings(gradebook):
    deadline = datetime(2026, 11, 30, 13, tzinfo=UTC).astimezone()
    settings = Settings("", deadlines={"04": deadline, "not_released": deadline})

    def kept():
        record_deadlines(gradebook, settings)
        submission = gradebook.find_submission("04", "jane")
        return submission.score - submission.late_submission_penalty

    assert kept() == pytest.approx(7.2)
    assert gradebook.find_assignment("04").duedate == datetime(2026, 11, 30, 13)
    gradebook.find_grade("check_a", "04", "04", "jane").manual_score = 10
    gradebook.db.commit()
    assert kept() == pytest.approx(9)
    gradebook.grant_extension("04", "jane", hours=1)
    assert kept() == 10
    settings = replace(settings, deadlines={"04": deadline - timedelta(days=30)})
    assert kept() == 0
    settings = replace(settings, late=Late(latest_days=60, penalty_per_day=0.0))
    assert kept() == 10
    settings = replace(settings, deadlines={})
    assert kept() == 10, "the deadline in the gradebook stays"
    assert gradebook.find_assignment("04").duedate == datetime(2026, 10, 31, 13)
