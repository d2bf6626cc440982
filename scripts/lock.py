"""Renew constraints.txt: the tested version of every package that the course needs.

Resolves the extra ``course`` of pyproject.toml in a temporary virtual environment, so that
nothing that happens to be installed gets into the lock, and replaces the file in one step.
To hold a package back: PIP_CONSTRAINT=held.txt make lock, with a line such as torch==2.13.0.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "constraints.txt"
HEADER = """\
# The tested lock: written by `make lock` (Python {python}, {system}), not by hand.
# Ranges are in pyproject.toml. A constraint only bites when its package is installed.
"""


def pinned(freeze: str) -> list[str]:
    """Turn the output of ``pip freeze`` into portable ``name==version`` lines.

    A local version such as ``2.13.0+cpu`` names one build of a release; ``2.13.0`` admits all.

    Raises:
        ValueError: if a line is not ``name==version`` (a path or an address would not be portable).
    """
    lines = []
    for line in freeze.splitlines():
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)(\+[A-Za-z0-9.]+)?", line)
        if not match:
            raise ValueError(f"pip freeze: got {line!r}, expected name==version")
        lines.append(f"{match[1]}=={match[2]}")
    return sorted(lines, key=str.lower)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "install", f"{ROOT}[course]"], check=True)
        freeze = subprocess.run(
            [*pip, "freeze", "--exclude", "course-lib"], check=True, text=True, capture_output=True
        ).stdout
    header = HEADER.format(
        python=".".join(platform.python_version_tuple()[:2]), system=platform.system()
    )
    temporary = LOCK.with_suffix(".tmp")
    temporary.write_text(header + "\n".join(pinned(freeze)) + "\n", encoding="utf8")
    os.replace(temporary, LOCK)
    print(f"{LOCK.name}: {len(pinned(freeze))} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
