"""Exercises under test: the source notebook, the answers collected for it, a course to grade in."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import assignments
import notebooks
import pytest
import torch
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Exercises:
    """One chapter's exercises: ``graded`` maps the name of a cell to the cell itself."""

    chapter: str
    notebook: NotebookNode
    answers: ModuleType

    @property
    def graded(self) -> dict[str, NotebookNode]:
        cells = [cell for cell in self.notebook.cells if "nbgrader" in cell.metadata]
        return {cell.metadata.nbgrader.grade_id: cell for cell in cells}

    def source(self, name: str) -> str:
        return self.graded[name].source

    @property
    def parts(self) -> list[str]:
        """The solution cells that tests grade, each with a check of its own."""
        return [
            name
            for name, cell in self.graded.items()
            if cell.metadata.nbgrader.solution and cell.cell_type == "code"
        ]


def load(chapter: str) -> Exercises:
    path = HERE / f"answers_{chapter}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    answers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answers)
    folder = ROOT / assignments.SOURCE / chapter
    return Exercises(chapter, notebooks.read_text(folder / f"{chapter}.md"), answers)


ALL = [load(chapter) for chapter in assignments.chapters(ROOT)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once a chapter, a part of an exercise, an answer, or a hint, as it asks."""
    names = metafunc.fixturenames
    if "words" in names:
        cases = [
            pytest.param(exercises, part, fault, words, id=f"{part}-{fault}")
            for exercises in ALL
            for part, hints in getattr(exercises.answers, "HINTS", {}).items()
            for fault, words in hints.items()
        ]
        metafunc.parametrize(("exercises", "part", "fault", "words"), cases)
    elif "kind" in names:
        cases = [
            pytest.param(exercises, kind, part, code, id=f"{kind}-{part}-{fault}")
            for exercises in ALL
            for kind, answers in (
                ("wrong", exercises.answers.WRONG),
                ("right", exercises.answers.RIGHT),
            )
            for part, listed in answers.items()
            for fault, code in listed
        ]
        metafunc.parametrize(("exercises", "kind", "part", "code"), cases)
    elif "part" in names:
        cases = [
            pytest.param(exercises, part, id=f"{exercises.chapter}-{part}")
            for exercises in ALL
            for part in exercises.parts
        ]
        metafunc.parametrize(("exercises", "part"), cases)
    elif "exercises" in names:
        metafunc.parametrize("exercises", ALL, ids=[exercises.chapter for exercises in ALL])


@pytest.fixture
def solution() -> Callable[[str, str], Any]:
    """``solution(chapter, part)`` is the function that the solution cell defines."""

    def define(chapter: str, part: str) -> Any:
        (exercises,) = [each for each in ALL if each.chapter == chapter]
        namespace: dict[str, Any] = {}
        with warnings.catch_warnings():
            exec(exercises.source("setup"), namespace)
        exec(exercises.source(part), namespace)
        return namespace[part]

    return define


@pytest.fixture
def answer(request: pytest.FixtureRequest, solution: Callable[[str, str], Any]) -> Any:
    """``answer(part)`` is the solution of the chapter that the test file names."""
    torch.manual_seed(0)
    return functools.partial(solution, request.module.CHAPTER)


@pytest.fixture(scope="module")
def cells(request: pytest.FixtureRequest) -> dict[str, str]:
    """The source of each graded cell of the chapter that the test file names."""
    (exercises,) = [each for each in ALL if each.chapter == request.module.CHAPTER]
    return {name: cell.source for name, cell in exercises.graded.items()}


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder with every chapter's exercises released, as after a fresh clone."""
    root = tmp_path_factory.mktemp("course")
    for name in ("nbgrader_config.py", "grading.toml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / assignments.SOURCE, root / assignments.SOURCE)
    for exercises in ALL:
        assignments.release(root, exercises.chapter)
    return root
