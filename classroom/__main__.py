"""``python -m classroom``."""

from classroom.cli import app

app(prog_name="python -m classroom")
