"""What a late submission loses, by the rule in grading.toml, and the deadlines in the gradebook."""

from __future__ import annotations

import math

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import LateSubmissionPlugin
from traitlets import Float

from classroom.settings import Late, Settings

DAY = 86_400


def penalty(late: Late, score: float, seconds: float) -> float:
    """The points that a submission worth ``score`` loses, ``seconds`` after its deadline.

    Nothing is lost in the time of grace; the days are counted from its end.
    """
    beyond = seconds - 60 * late.grace_minutes
    if beyond <= 0 or score <= 0:
        return 0.0
    if beyond > DAY * late.latest_days:
        return score
    return score * min(1.0, late.penalty_per_day * math.ceil(beyond / DAY))


class LatePolicy(LateSubmissionPlugin):
    """nbgrader's plugin for the rule; nbgrader_config.py fills it in from grading.toml."""

    grace_minutes = Float(Late.grace_minutes, help="minutes late without a loss").tag(config=True)
    penalty_per_day = Float(Late.penalty_per_day, help="share lost a day begun").tag(config=True)
    latest_days = Float(Late.latest_days, help="days after which all is lost").tag(config=True)

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float:
        """The points lost; nbgrader calls this while it grades."""
        late = Late(self.grace_minutes, self.penalty_per_day, self.latest_days)
        return penalty(late, score, total_seconds_late)


def record_deadlines(gradebook: Gradebook, settings: Settings) -> None:
    """Bring the deadlines, and all penalties that follow from them, in step with the settings.

    nbgrader works a penalty out when it grades; points that a person gives later, a changed
    deadline or a changed rule would leave it as it was. A chapter without a deadline in the
    settings keeps the one that the gradebook has.
    """
    for chapter, deadline in settings.deadlines.items():
        try:
            gradebook.find_assignment(chapter)
        except MissingEntry:  # not released yet
            continue
        gradebook.update_or_create_assignment(chapter, duedate=deadline)
    for assignment in gradebook.assignments:
        for submission in assignment.submissions:
            for notebook in submission.notebooks:
                seconds = submission.total_seconds_late
                notebook.late_submission_penalty = penalty(settings.late, notebook.score, seconds)
    gradebook.db.commit()
