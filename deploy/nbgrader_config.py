"""What nbgrader must know on every account of a hub, student or instructor.

Installed as etc/jupyter/nbgrader_config.py of the environment that all accounts share. An
instructor's account adds the file of the course itself: instructor_guide.md shows how.
"""

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = "generative-models"  # as in grading.toml
c.Exchange.root = "/srv/nbgrader/exchange"
