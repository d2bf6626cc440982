"""What every test needs: checked shapes, one thread, a cache of its own, repeatable examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import chromium as browsers
import pytest
from filelock import FileLock
from hypothesis import settings
from jaxtyping import install_import_hook
from xdist.scheduler import LoadScopeScheduling

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
    """The site, built once for all workers from the committed outputs, warnings as errors."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    output, log = folder / "site", folder / "site.log"
    with FileLock(folder / "site.lock"):
        if not log.exists():
            command = Path(sys.executable).with_name("jupyter-book")
            options = ["-W", "-n", "--keep-going", "--all", "--path-output", str(output), str(ROOT)]
            build = subprocess.run([command, "build", *options], capture_output=True, text=True)
            log.write_text("" if build.returncode == 0 else (build.stdout + build.stderr)[-6000:])
    assert log.read_text() == ""
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, the system's own, with nothing running in its background."""
    if browsers.path() is None:
        pytest.skip(f"none of {', '.join(browsers.NAMES)} is installed")
    with browsers.browser() as browser:
        yield browser


class OnePageOneWorker(LoadScopeScheduling):
    """Tests of one chapter in JupyterLab, or of one page of the site, stay together.

    They share what they opened. (xdist 3.8 loses its own groups, `--dist loadgroup`, under pytest
    9.2.) All other tests stay together by file.
    """

    def _split_scope(self, nodeid: str) -> str:
        opened = re.search(r"\[([\w/]+\.html|\d\d_\w+)\]$", nodeid)
        return opened[1] if opened else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)  # without xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log) -> OnePageOneWorker | None:
    if config.getvalue("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False  # tests/browser/conftest.py sets the order
    return OnePageOneWorker(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured and recorded with `record_property`."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    measured = sorted(
        f"{name}: {value}" for r in reports if r.when == "call" for name, value in r.user_properties
    )
    if measured:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(measured) + "\n")
