"""Prove the exercises' checks: change every solution in many small ways and let the checks decide.

A mutant is a solution with one change: another operator, a lost sign, another axis or reduction, an
end that is off by one, a dropped term, call, argument or statement. Each one is tried against the
visible and the hidden tests of its exercise, in a process of its own with limits on time and
memory. A mutant that fails, raises an error or does not come to an end is rejected. One that passes
survives: then either it does the same as the solution, or the tests have a hole.

    python scripts/mutants.py                             every chapter; writes results/mutants.json
    python scripts/mutants.py --chapter 04_gan_minimax    one of them; only prints

Every survivor is to be explained in tests/exercises/survivors.toml:

    [[survivor]]
    part = "04_gan_minimax/optimal_discriminator"
    line = "total = p_data + p_g"       what ast.unparse makes of the line, before
    becomes = "total = p_g + p_data"    and after the change
    kind = "equivalent"                 it is right wherever the exercise says what is right;
                                        or "accepted": it is wrong somewhere, but tolerated
    reason = "A sum does not depend on the order."

It needs Linux or macOS, and takes some minutes for all chapters on a free machine.
Exit status 0: every survivor is explained, and at least 95 % of the mutants that are not
equivalent are rejected. 1: not so. 2: it could not be measured.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import notebooks
import torch
from mutation_report import Explanations, Key, Report, Survivor, Tally, read_explanations
from mutations import Mutation, mutations, spread
from tqdm import tqdm

from course_lib.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "tests" / "exercises" / "survivors.toml"
TARGET = ROOT / "results" / "mutants.json"
MEMORY = 6 * 2**30  # bytes of address space; PyTorch by itself takes about 1 GiB
MOST = 40  # mutants of each solution, unless all are asked for
SLOWER, LEAST_SECONDS = 10, 5.0  # of CPU time, compared with the solution's own
WAITING = 12  # a mutant that sleeps is stopped after so many times its CPU seconds

PASSED, FAILED, ERROR = 0, 1, 2
VERDICTS = {PASSED: "survived", FAILED: "failed", ERROR: "error"}


@dataclass(frozen=True)
class Part:
    """A solution cell, the cells it needs before it and after it, and its place in the course."""

    chapter: str
    name: str
    setup: str
    solution: str
    check: str

    @property
    def path(self) -> str:
        return f"{self.chapter}/{self.name}"

    def mutants(self) -> list[Mutation]:
        """Every mutation of what is between BEGIN SOLUTION and END SOLUTION."""
        lines = self.solution.splitlines()
        begin, end = (
            next(number for number, line in enumerate(lines, 1) if mark in line)
            for mark in ("### BEGIN SOLUTION", "### END SOLUTION")
        )
        return mutations(self.solution, begin, end)


def texts_of_exercises() -> dict[str, Path]:
    """The file of each chapter that has exercises."""
    return {text.stem: text for text in notebooks.texts(ROOT) if notebooks.is_exercise(text)}


def parts_of(text: Path) -> list[Part]:
    """The parts of one file of exercises that are graded by tests."""
    cells = [cell for cell in notebooks.read_text(text).cells if "nbgrader" in cell.metadata]
    source = {cell.metadata.nbgrader.grade_id: cell.source for cell in cells}
    return [
        Part(text.stem, name, source["setup"], source[name], source[f"check_{name}"])
        for cell in cells
        if cell.cell_type == "code" and cell.metadata.nbgrader.solution
        for name in [cell.metadata.nbgrader.grade_id]
    ]


# --- Trying answers ------------------------------------------------------------------------------


def import_what_is_used(parts: Iterable[Part]) -> None:
    """Import here what the cells import, so that it need not be done in every process again."""
    names: set[str] = set()
    for part in parts:
        for node in ast.walk(ast.parse("\n".join([part.setup, part.solution, part.check]))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    for name in sorted(names):
        importlib.import_module(name)


def attempt(part: Part, code: str, seconds: float) -> int:
    """Start a process that runs ``code`` in place of the solution, then the whole check.

    Returns:
        The process's id. It exits with PASSED, FAILED (an assertion of the check) or ERROR, or the
        system kills it when its time is over.
    """
    child = os.fork()
    if child:
        return child
    verdict = ERROR
    try:
        # The default action of both signals ends the process, also inside compiled code.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WAITING * seconds)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        torch.set_num_threads(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for cell in (part.setup, code):
            exec(cell, namespace)
        try:
            exec(part.check, namespace)
            verdict = PASSED
        except AssertionError:
            verdict = FAILED
    finally:
        os._exit(verdict)  # no clean-up, which belongs to the parent, and no traceback


def outcome(status: int) -> str:
    """What the exit status of an attempt means: "survived", "failed", "error" or "stopped"."""
    return VERDICTS[os.WEXITSTATUS(status)] if os.WIFEXITED(status) else "stopped"


def seconds_of_solution(part: Part) -> float:
    """The CPU time that the solution and its check take.

    Raises:
        ValueError: if the check does not accept the solution.
    """
    _, status, usage = os.wait4(attempt(part, part.solution, 600.0), 0)
    if outcome(status) != "survived":
        raise ValueError(
            f"part: the check of {part.path} must accept its solution, got {outcome(status)!r}; "
            f"try: pytest tests/exercises/test_answers.py -k {part.name}"
        )
    return usage.ru_utime + usage.ru_stime


def outcomes(tasks: list[tuple[Part, Mutation]], jobs: int) -> Iterator[tuple[int, str]]:
    """Try every mutation, ``jobs`` at a time; the number of each and what became of it."""
    limits: dict[str, float] = {}
    running: dict[int, int] = {}
    waiting = iter(enumerate(tasks))
    while True:
        while len(running) < jobs:
            number, (part, mutation) = next(waiting, (-1, (None, None)))
            if part is None or mutation is None:
                break
            if part.path not in limits:
                # Measured between the others; they would be reaped by mistake if it waited for any.
                limits[part.path] = max(LEAST_SECONDS, SLOWER * seconds_of_solution(part))
            running[attempt(part, mutation.source, limits[part.path])] = number
        if not running:
            return
        child, status = os.wait()
        if child in running:  # a process that a library started is no attempt
            yield running.pop(child), outcome(status)


# --- All of them -----------------------------------------------------------------------------


def measure(
    parts: list[Part],
    explanations: Explanations,
    *,
    most: int | None,
    jobs: int,
) -> Report:
    """Try the mutants of some parts, at most ``most`` of each (None: all of them).

    Raises:
        ValueError: if a check does not accept its own solution.
    """
    import_what_is_used(parts)
    tasks: list[tuple[Part, Mutation]] = []
    made: set[Key] = set()
    for part in parts:
        found = part.mutants()
        made.update((part.path, each.line, each.becomes) for each in found)
        chosen = found if most is None else spread(found, most)
        tasks += [(part, each) for each in chosen]
    tallies = {part.path: Tally(parts=1) for part in parts}
    kept: dict[int, Survivor] = {}
    tqdm.monitor_interval = 0  # no thread: this process forks
    progress = tqdm(outcomes(tasks, jobs), total=len(tasks), unit="mutant")
    for number, verdict in progress:
        part, mutation = tasks[number]
        tally = tallies[part.path]
        tally.mutants += 1
        if verdict != "survived":
            setattr(tally, verdict, getattr(tally, verdict) + 1)
            continue
        key = part.path, mutation.line, mutation.becomes
        kind, reason = explanations.get(key, (None, None))
        tally.equivalent += kind == "equivalent"
        kept[number] = Survivor(
            part.path, mutation.kind, mutation.line, mutation.becomes, kind, reason
        )
    tried = {(part.path, mutation.line, mutation.becomes) for part, mutation in tasks}
    alive = {(each.part, each.line, each.becomes) for each in kept.values()}
    stale = [
        key
        for key in explanations
        if key[0] in tallies and key not in alive and (key in tried or key not in made)
    ]
    return Report(tallies, [kept[number] for number in sorted(kept)], stale, most is None)


def main(arguments: list[str] | None = None) -> int:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--chapter", help="only this one, e.g. 04_gan_minimax (default: all)")
    parser.add_argument(
        "--all", action="store_true", help=f"every mutant, not only {MOST} of each solution"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)"
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {chosen.jobs}")
        texts = texts_of_exercises()
        if chosen.chapter is not None and chosen.chapter not in texts:
            raise ValueError(
                f"chapter must be one of {sorted(texts)}, got {chosen.chapter!r}; its exercises "
                "are looked for in chapters/exercises/<chapter>/<chapter>.md"
            )
        names = sorted(texts) if chosen.chapter is None else [chosen.chapter]
        report = measure(
            [part for name in names for part in parts_of(texts[name])],
            read_explanations(EXPLAINED),
            most=None if chosen.all else MOST,
            jobs=chosen.jobs,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(report.lines()))
    if chosen.chapter is None:
        text = json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n"
        write_atomically(TARGET, text.encode())
    return report.status


if __name__ == "__main__":
    sys.exit(main())
