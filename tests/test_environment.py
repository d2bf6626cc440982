"""environment.yml, pyproject.toml and constraints.txt agree; importing the package is cheap."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
import tomllib

import pytest
import yaml
from lock import pinned
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]


@pytest.fixture(scope="module")
def lock(root):
    lines = (root / "constraints.txt").read_text("utf8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements(project, extra):
    """The direct requirements of an extra, those of the extras it names included."""
    found = []
    for requirement in map(Requirement, project["optional-dependencies"][extra]):
        if requirement.name == project["name"]:
            for inner in requirement.extras:
                found += requirements(project, inner)
        else:
            found.append(requirement)
    return found


def direct(project):
    return [*map(Requirement, project["dependencies"]), *requirements(project, "course")]


def test_every_direct_dependency_is_locked_inside_its_range(project, lock):
    wrong = {
        str(requirement): lock.get(canonicalize_name(requirement.name))
        for requirement in direct(project)
        if not requirement.specifier.contains(lock.get(canonicalize_name(requirement.name), "0"))
    }
    assert not wrong


def test_every_direct_dependency_has_an_upper_or_lower_bound(project):
    assert [str(r) for r in direct(project) if not str(r.specifier)] == []


def test_the_course_extra_covers_every_extra(project):
    def names(found):
        return {canonicalize_name(requirement.name) for requirement in found}

    everything = set().union(
        *(names(requirements(project, extra)) for extra in project["optional-dependencies"])
    )
    assert names(requirements(project, "course")) == everything


def test_the_library_alone_installs_no_notebook_site_or_grading(project):
    core = {Requirement(line).name for line in project["dependencies"]}
    assert not core & {"jupyterlab", "jupyter-book", "nbgrader", "matplotlib", "pytest"}


def test_the_lock_is_portable(root):
    lines = (root / "constraints.txt").read_text("utf8").splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    # pinned() refuses paths and addresses, and drops local versions such as "+cpu".
    assert pinned("\n".join(entries)) == entries


@pytest.mark.parametrize("line", ["torch @ file:///disk/torch.whl", "-e git+x#egg=y", "a>=1"])
def test_the_lock_writer_refuses_what_is_not_portable(line):
    with pytest.raises(ValueError, match="expected name==version"):
        pinned(f"numpy==2.0\n{line}")


def test_the_lock_writer_drops_the_build_of_a_release():
    assert pinned("torch==2.13.0+cpu\nNumPy==2.4.6") == ["NumPy==2.4.6", "torch==2.13.0"]


def test_jupyter_book_stays_below_two(project, lock):
    book = next(r for r in direct(project) if r.name == "jupyter-book")
    assert not book.specifier.contains("2.0.0", prereleases=True)
    assert lock["jupyter-book"].startswith("1.")


def test_conda_installs_the_same(root, project):
    environment = yaml.safe_load((root / "environment.yml").read_text("utf8"))
    packages = environment["dependencies"]
    (pip,) = [entry["pip"] for entry in packages if isinstance(entry, dict)]
    assert pip == ["-c constraints.txt", "-e .[course]"]
    (python,) = [p for p in packages if isinstance(p, str) and p.startswith("python=")]
    minor = python.removeprefix("python=")
    assert Requirement(f"x{project['requires-python']}").specifier.contains(minor)
    # The lock was made with this Python, and conda's pip must find the same versions.
    assert f"(Python {minor}," in (root / "constraints.txt").read_text("utf8")


def test_the_environment_that_runs_the_tests_is_the_locked_one(project, lock):
    from importlib.metadata import version

    installed = {
        canonicalize_name(r.name): version(r.name).partition("+")[0] for r in direct(project)
    }
    assert installed == {name: lock[name] for name in installed}


def test_importing_the_package_loads_nothing_heavy(root):
    code = "import sys, course_lib; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True).split())
    assert not loaded & {"torch", "numpy", "matplotlib", "accelerate", "mlxtend", "sklearn"}


def test_importing_the_package_costs_less_than_a_tenth_of_a_second(root):
    def seconds(code):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
        return time.perf_counter() - started

    # Interleaved, so that whatever else the machine does weighs on both alike.
    cost = [seconds("import course_lib") - seconds("pass") for _ in range(7)]
    assert statistics.median(cost) < 0.1


def test_the_version_is_one(root, project):
    from importlib.metadata import version

    import course_lib

    citation = yaml.safe_load((root / "CITATION.cff").read_text("utf8"))
    assert course_lib.__version__ == version("course-lib") == str(citation["version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", course_lib.__version__)
