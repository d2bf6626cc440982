"""What a hostile submission is built from, and what on the machine it aims at.

The attacks are real. Each of those that could do damage outside a sandbox first calls
``outside()``, which stops it there: a sandbox that does not hold fails a test and harms nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

CHAPTER = "04_gan_minimax"

# Rightly answered beside the attack, before and after it: these points must survive.
HONEST = ("value_at_one_half", "minimax_gradient", "diagnose", "count_modes")
# Where the attack sits, unless it says otherwise.
TARGET = "value_from_logits"

RIGHT_VALUE = "F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()"
WRONG_VALUE = "torch.zeros(())"

# What an attack prints when it got where it should not get.
REACHED = "REACHED"


@dataclass(frozen=True)
class Host:
    """What the attacks aim at: below ``root`` copies made for this, never the real things."""

    root: Path
    repository: Path
    secret: str
    port: int
    bystander: int  # a process of the same user

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def gradebook(self) -> Path:
        return self.root / "grading" / "gradebook.db"

    @property
    def other_submission(self) -> Path:
        return self.root / "grading" / "submitted" / "other" / CHAPTER / f"{CHAPTER}.ipynb"

    @property
    def trace(self) -> Path:
        """A file that only an attack would create."""
        return self.root / "trace"


def make_host(root: Path, repository: Path, *, port: int, bystander: int) -> Host:
    """Write the files that an attack would like to read or to delete."""
    host = Host(root, repository, secrets.token_hex(12), port, bystander)
    for path in (
        host.home / "diary.txt",
        host.gradebook,
        host.other_submission,
        root / "grading" / "outcomes" / CHAPTER / "other.json",
        root / "grading" / "grades.csv",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"private: {host.secret}\n")
    return host


def targets(host: Host) -> str:
    """Python code for the top of an attack: its targets, and the guard that keeps it harmless."""
    # Backwards, so that a search of the process's own memory does not find the attack itself.
    values = dict(
        HOST_ROOT=str(host.root),
        HOST_HOME=str(host.home),
        HOST_REPOSITORY=str(host.repository),
        HOST_GRADEBOOK=str(host.gradebook),
        HOST_TRACE=str(host.trace),
        HOST_PORT=host.port,
        HOST_BYSTANDER=host.bystander,
        HOST_NAMESPACE=os.readlink("/proc/self/ns/pid"),
        SECRET_BACKWARDS=host.secret[::-1],
        HIDDEN_BACKWARDS="stream = torch.Generator().manual_seed(402)"[::-1],
        SOLUTION_BACKWARDS="# log D = log sigmoid(a), and 1 - sigmoid(a) = sigmoid(-a)"[::-1],
    )
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    guard = f"""
        import os, sys, time
        def outside():
            try:
                inside = os.readlink("/proc/self/ns/pid") != HOST_NAMESPACE
            except OSError:
                inside = True
            writable = any(os.access(folder, os.W_OK) for folder in ("/etc", "/usr", "/"))
            if not inside or writable or os.path.exists(HOST_ROOT):
                raise SystemError("{REACHED[0]}" + "{REACHED[1:]} the host")
        def reached(what):
            print("{REACHED[0]}" + "{REACHED[1:]}", what, flush=True)
    """
    return "\n".join(lines) + "\n" + dedent(guard).strip("\n")


def value_function(body: str, result: str) -> str:
    """The answer of the target, which does ``body`` before it returns ``result``."""
    lines = indent(dedent(body).strip("\n") + f"\nreturn {result}", "    ")
    return f"def {TARGET}(real_logits, fake_logits):\n{lines}"


def at_call(body: str, result: str = RIGHT_VALUE) -> Callable[[Host], dict[str, str]]:
    """An attack that waits until its function is called."""
    return lambda host: {TARGET: targets(host) + "\n" + value_function(body, result)}


def at_definition(body: str, result: str = RIGHT_VALUE) -> Callable[[Host], dict[str, str]]:
    """An attack that happens when its cell is run, after its function has been defined."""
    function = value_function("pass", result)
    return lambda host: {TARGET: f"{targets(host)}\n{function}\n{dedent(body).strip()}"}


@dataclass(frozen=True)
class Attack:
    """A hostile submission and what must become of it.

    ``build(host, released)`` is the file as it comes from the students, ``name`` how it is called
    there. ``earns`` are the parts that keep their points; ``reason`` is a regular expression for
    what the student (or the instructor) must be told, "" if nothing went wrong.
    """

    build: Callable[[Host, NotebookNode], bytes]
    earns: tuple[str, ...]
    reason: str
    name: str = "{student}_{chapter}.ipynb"
    chapter: str = CHAPTER


def released_version(source: NotebookNode) -> NotebookNode:
    """The notebook that students are given, as nbgrader makes it, without a gradebook."""
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    notebook = deepcopy(source)
    stub = 'raise NotImplementedError("no answer yet: write it here, then run this cell")'
    for preprocessor in (ClearSolutions(code_stub={"python": stub}), ClearHiddenTests()):
        notebook, _ = preprocessor.preprocess(notebook, {})
    return notebook


def right_answers(chapter: str = CHAPTER) -> dict[str, str]:
    """A right answer to every autograded part, not in the words of the solution."""
    answers = importlib.import_module(f"answers_{chapter}")
    return {part: listed[0][1] for part, listed in answers.RIGHT.items()}


def filled_in(
    released: NotebookNode, answers: Mapping[str, str], extra: Mapping[str, str] | None = None
) -> NotebookNode:
    """The released notebook with some cells answered, and a cell of one's own after some cells.

    A cell of one's own is code, unless it begins with a tag.

    Raises:
        ValueError: if the notebook has no cell of such a name.
    """
    extra = extra or {}
    notebook, names = deepcopy(released), set()
    cells = []
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        names.add(name)
        cell.source = answers.get(name, cell.source)
        cells.append(cell)
        if name in extra:
            is_text = extra[name].startswith("<")
            cells.append((new_markdown_cell if is_text else new_code_cell)(extra[name]))
    if not names >= {*answers, *extra}:
        raise ValueError(
            f"answers and extra must name cells of the notebook, got {sorted({*answers, *extra})}; "
            f"it has {sorted(filter(None, names))}"
        )
    notebook.cells = cells
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    return json.dumps(notebook, ensure_ascii=False).encode()


def honest_answers(chapter: str = CHAPTER) -> dict[str, str]:
    return {part: right_answers(chapter)[part] for part in HONEST}


def in_answers(
    make: Callable[[Host], dict[str, str]],
    *,
    keeps: bool,
    reason: str,
    loses: tuple[str, ...] = (),
    extra: Callable[[Host], dict[str, str]] | None = None,
) -> Attack:
    """An attack in the code of an answer, beside honest ones.

    Args:
        make: the hostile answers by part, from the machine they aim at.
        keeps: whether the target earns its points all the same.
        reason: what must be said.
        loses: the honest answers that are lost with it.
        extra: hostile cells of the student's own, by the cell they follow.
    """

    def build(host: Host, released: NotebookNode) -> bytes:
        own = extra(host) if extra else {}
        return to_bytes(filled_in(released, honest_answers() | make(host), own))

    kept = tuple(part for part in HONEST if part not in loses)
    return Attack(build, (TARGET, *kept) if keeps else kept, reason)
