"""nbgrader's settings: where the exercises are, where the student versions go, what stays private.

nbgrader reads this file when a command is started in this folder. Everything about students
(submissions, graded notebooks, feedback, the gradebook) is in the folder grading/, ignored by git.
Deadlines, points, the late policy and the gradebook's address are in grading.toml.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PRIVATE = ROOT / "grading"
PRIVATE.mkdir(exist_ok=True)  # SQLite creates the gradebook but not its folder

# nbgrader's own programs do not have the folder that they are started in on their path.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from classroom.settings import load  # noqa: E402

settings = load(ROOT)

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = settings.course_id
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.db_url = settings.gradebook_url
c.CourseDirectory.source_directory = "chapters/exercises"
c.CourseDirectory.release_directory = "release"
c.CourseDirectory.submitted_directory = "grading/submitted"
c.CourseDirectory.autograded_directory = "grading/autograded"
c.CourseDirectory.feedback_directory = "grading/feedback"
# nbgrader copies whatever else is in a source folder. The paired text holds the solutions.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.md"]

c.ClearSolutions.code_stub = {
    "python": "# YOUR CODE HERE\n"
    'raise NotImplementedError("no answer yet: write it here, then run this cell and the check")'
}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE (double-click to edit)"

# Submissions are run in a sandbox by `make grade`; nbgrader only gets the outputs, and executes
# nothing. The feedback shows no hidden test.
c.Autograde.autograde_preprocessors = [
    "classroom.nbgrader_plugins.ReplayOutcomes",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.GenerateFeedback.exporter_class = "classroom.feedback.FeedbackExporter"
c.GenerateFeedback.preprocessors = []
# In the formgrader too: a derivation with a script in it must not run as the person who reads it.
c.HTMLExporter.filters = {"markdown2html": "classroom.feedback_page.markdown"}

c.AssignLatePenalties.plugin_class = "classroom.late.LatePolicy"
c.LatePolicy.grace_minutes = settings.late.grace_minutes
c.LatePolicy.penalty_per_day = settings.late.penalty_per_day
c.LatePolicy.latest_days = settings.late.latest_days
