"""nbgrader's settings: where the exercises are, where the student versions go, what stays private.

nbgrader reads this file when a command is started in this folder. Everything about students
(submissions, graded notebooks, feedback, the gradebook) is in the folder grading/, ignored by git.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent
PRIVATE = ROOT / "grading"
PRIVATE.mkdir(exist_ok=True)  # SQLite creates the gradebook but not its folder

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = "generative-models"
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.db_url = f"sqlite:///{PRIVATE / 'gradebook.db'}"
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

c.Execute.timeout = 60  # seconds a cell; a whole notebook of ours runs in less than ten
