"""Keep the chapters' text (.md) and notebooks (.ipynb, with outputs) in step.

    python scripts/notebooks.py sync            execute what differs, write its outputs
    python scripts/notebooks.py sync --all      execute every chapter
    python scripts/notebooks.py sync --check    execute nothing; fail if something differs

The text is the source. A chapter is executed in a fresh kernel, in order, in its own folder, on
one thread, as the tests do it. The pairs below chapters/exercises/ hold solutions for the grader:
they get the cells of their text and no outputs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
CELL_TIMEOUT = 600  # seconds; a chapter takes at most 60 s, so this only ends a kernel that hangs


def texts(root: Path = ROOT) -> list[Path]:
    """The .md file of each pair: chapters that declare a kernel, then exercises."""
    found = [*root.glob("chapters/*.md"), *root.glob("chapters/exercises/*/*.md")]
    return sorted(path for path in found if "\nkernelspec:" in path.read_text("utf8")[:500])


def is_exercise(text: Path) -> bool:
    return text.parent.parent.name == "exercises"


def chapters(root: Path = ROOT) -> list[Path]:
    """The .md file of each chapter."""
    return [text for text in texts(root) if not is_exercise(text)]


def read_text(path: Path) -> NotebookNode:
    """Read a MyST text as a notebook without outputs, with reproducible cell ids.

    An id is a hash of the cell, so that it changes only when its cell does.
    """
    notebook = jupytext.read(path, fmt="md:myst")
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    notebook.metadata = NotebookNode(kernelspec=KERNELSPEC, language_info=LANGUAGE)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def cells(notebook: NotebookNode) -> list[tuple[str, str, dict]]:
    """What both files of a pair must agree on: type, source and metadata (tags) of each cell."""
    volatile = ("trusted", "execution", "collapsed", "scrolled", "jupyter")
    return [
        (
            cell.cell_type,
            cell.source,
            {key: value for key, value in cell.metadata.items() if key not in volatile},
        )
        for cell in notebook.cells
    ]


def without_live_state(notebook: NotebookNode) -> NotebookNode:
    """Remove, in place, what only means something while its kernel is alive.

    An output that holds both a live widget and a precomputed player is shown by Jupyter as the
    widget. In a saved file the widget has no kernel and reads "model not found", so only the
    player is kept. Times and interpreter versions go as well: they would differ at every run.
    """
    notebook["metadata"].pop("widgets", None)
    notebook["metadata"].get("language_info", {}).pop("version", None)
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        for output in cell.get("outputs", []):
            if len(output.get("data", {})) > 1:
                output["data"].pop(WIDGET_VIEW, None)
    return notebook


def was_executed(notebook: NotebookNode) -> bool:
    """Whether the code cells ran in order, once each, in one kernel, without an error."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    return [cell.execution_count for cell in code] == list(range(1, len(code) + 1)) and not any(
        output.output_type == "error" for cell in code for output in cell.outputs
    )


def is_in_step(text: Path) -> bool:
    """Whether the notebook of this text exists, holds the same cells and, if a chapter, ran."""
    path = text.with_suffix(".ipynb")
    if not path.exists():
        return False
    notebook = nbformat.read(path, as_version=4)
    same = cells(notebook) == cells(read_text(text))
    return same and (is_exercise(text) or was_executed(notebook))


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, so that a crash never leaves half of one."""
    nbformat.validate(notebook)
    temporary = path.with_suffix(".ipynb.tmp")
    temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf8")
    os.replace(temporary, path)


def refresh(text: Path) -> str:
    """Write the notebook of one text; returns a line about it.

    Raises:
        CellExecutionError, CellTimeoutError, DeadKernelError: the notebook on disk stays as it was.
    """
    notebook, started = read_text(text), time.perf_counter()
    if not is_exercise(text):
        NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name=KERNELSPEC["name"],
            resources={"metadata": {"path": str(text.parent)}},
            record_timing=False,
            store_widget_state=False,
        ).execute()
        notebook.metadata.language_info = LANGUAGE
    path = text.with_suffix(".ipynb")
    write(without_live_state(notebook), path)
    seconds, size = time.perf_counter() - started, path.stat().st_size / 1000
    return f"{text.stem}: written in {seconds:.0f} s, {size:.0f} kB"


def sync(everything: bool, check: bool) -> int:
    """Refresh what differs (or everything), two at a time; returns the number that failed."""
    found = texts()
    stale = [text for text in found if everything or not is_in_step(text)]
    print(
        f"{len(found)} pairs, {len(stale)} to refresh" if stale else f"{len(found)} pairs in step"
    )
    if check:
        for text in stale:
            print(f"{text.relative_to(ROOT)} and its notebook differ: make sync")
        return len(stale)
    os.environ["OMP_NUM_THREADS"] = "1"
    failures = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = {text: pool.submit(refresh, text) for text in stale}
        for text, future in futures.items():
            try:
                print(future.result(), flush=True)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                failures += 1
                print(f"{text.stem}: FAILED, notebook left as it was\n{error}", flush=True)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    command = parser.add_subparsers(required=True).add_parser("sync")
    command.add_argument("--all", action="store_true", help="execute every chapter")
    command.add_argument("--check", action="store_true", help="execute nothing, only compare")
    arguments = parser.parse_args()
    return 1 if sync(arguments.all, arguments.check) else 0


if __name__ == "__main__":
    sys.exit(main())
