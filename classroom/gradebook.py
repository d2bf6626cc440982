"""nbgrader's gradebook, wherever grading.toml puts it."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from nbgrader.api import Gradebook

from classroom.settings import load


def open_gradebook(root: Path) -> Gradebook:
    """The gradebook of the course in ``root``, created if it is new; a context manager.

    Raises:
        ValueError: if it cannot be reached, or the driver of its database is not installed.
    """
    from sqlalchemy.exc import OperationalError

    settings = load(root)
    (root / "grading").mkdir(exist_ok=True)  # SQLite creates the file but not its folder
    # A new gradebook is marked by the program alembic, which nbgrader looks for on the PATH.
    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ.get("PATH", "")
    try:
        return Gradebook(settings.gradebook_url, settings.course_id)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"gradebook.url needs the package {error.name}, which is not installed; for "
            "PostgreSQL: pip install psycopg2-binary"
        ) from None
    except OperationalError as error:
        raise ValueError(
            f"gradebook.url must lead to a database that can be reached, but {error.orig}; is it "
            "running, and are name and password right?"
        ) from None
