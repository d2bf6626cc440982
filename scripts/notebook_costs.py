"""What each chapter costs its reader: seconds and peak memory, in a fresh kernel on one thread.

    python scripts/notebook_costs.py                  the chapters whose code has changed
    python scripts/notebook_costs.py --all            every chapter
    python scripts/notebook_costs.py 04_gan_minimax   this one

Writes results/notebook_costs.json, a chapter at a time. A test looks at the memory. Run it
on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import nbformat
import notebooks
from nbclient import NotebookClient
from notebooks import chapters

from course_lib.files import write_atomically

TARGET = notebooks.ROOT / "results" / "notebook_costs.json"
# Memory does not depend on what else the machine does. Seconds do, those of the processor too (its
# cores share caches and clocks with others), so they are recorded and not judged.
MEMORY_LIMIT = 2.0  # GB
COMMAND = "python scripts/notebook_costs.py"
# Runs last, in the same kernel. On Linux ru_maxrss would begin with the peak of the parent.
METER = """\
import json, re, resource, sys
from pathlib import Path
usage = resource.getrusage(resource.RUSAGE_SELF)
if sys.platform == "linux":
    status = Path("/proc/self/status").read_text()
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
else:
    peak = usage.ru_maxrss  # macOS: bytes
print(json.dumps([usage.ru_utime + usage.ru_stime, peak / 1e9]))
"""


def digest(text: Path) -> str:
    """A hash of the code of a chapter: its prose costs nothing."""
    code = [c.source for c in notebooks.read_text(text).cells if c.cell_type == "code"]
    return hashlib.sha256("\n\n".join(code).encode()).hexdigest()[:12]


def measure(text: Path) -> dict[str, float | str]:
    """Execute a chapter as the reader does: seconds on the clock and of the CPU, peak memory."""
    notebook, code = notebooks.read_text(text), digest(text)
    notebook.cells.append(nbformat.v4.new_code_cell(METER))
    folder = {"metadata": {"path": str(text.parent)}}
    started = time.perf_counter()
    NotebookClient(notebook, timeout=notebooks.CELL_TIMEOUT, resources=folder).execute()
    seconds = time.perf_counter() - started
    cpu_seconds, memory = json.loads(notebook.cells[-1].outputs[0].text)
    return {
        "code": code,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "memory_gb": round(memory, 2),
    }


def recorded() -> dict[str, dict[str, float | str]]:
    return json.loads(TARGET.read_text("utf8")) if TARGET.exists() else {}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("chapter", nargs="*", help="such as 04_gan_minimax")
    parser.add_argument("--all", action="store_true", help="measure every chapter")
    options = parser.parse_args(arguments)
    texts = {text.stem: text for text in chapters()}
    if unknown := set(options.chapter) - texts.keys():
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(texts)}")
    costs = {stem: costs for stem, costs in recorded().items() if stem in texts}
    os.environ["OMP_NUM_THREADS"] = "1"
    for stem, text in texts.items():
        current = costs.get(stem, {}).get("code") == digest(text)
        if stem in options.chapter or options.all or not (options.chapter or current):
            costs[stem] = measure(text)
            write_atomically(
                TARGET, (json.dumps(dict(sorted(costs.items())), indent=1) + "\n").encode()
            )
        if row := costs.get(stem):
            print(f"{stem:34}{row['seconds']:6} s {row['cpu_seconds']:6} s CPU", end="")
            print(f"{row['memory_gb']:6} GB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
