"""What every test needs: checked shapes, one thread, a cache of its own, repeatable examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Before torch is imported, here and in every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent

# Shapes and types in the signatures of course_lib are checked at every call of a test.
install_import_hook("course_lib", "beartype.beartype")

# The same examples at every run: a failure can be repeated, and a pass means the same everywhere.
settings.register_profile("course", derandomize=True, deadline=None)
settings.load_profile("course")


def pytest_configure(config: pytest.Config) -> None:
    """One empty cache folder a session, shared by its workers; the user's own is never touched."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="course-lib-tests-")
        os.environ["COURSE_LIB_CACHE"] = folder  # workers inherit it
        config.add_cleanup(lambda: shutil.rmtree(folder))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once a session from the committed outputs, warnings as errors."""
    output = tmp_path_factory.mktemp("site")
    command = Path(sys.executable).with_name("jupyter-book")
    options = ["-W", "-n", "--keep-going", "--all", "--path-output", str(output), str(ROOT)]
    build = subprocess.run([command, "build", *options], capture_output=True, text=True)
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, the system's own, with nothing running in its background."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()
