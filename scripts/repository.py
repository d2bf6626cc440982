"""Tell the course its public address: buttons for Binder and Colab on the site, and Colab's cell.

    python scripts/repository.py https://github.com/OWNER/NAME    set or change it
    python scripts/repository.py ""                               take it back

Binder makes the whole repository from .binder/. Colab opens a single notebook, so each chapter gets
a first code cell that fetches the course when it runs there, and does nothing anywhere else; the
site leaves it out. Nothing is executed: the committed outputs stay as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
import notebooks
from nbformat import NotebookNode

from course_lib.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
SETTING = re.compile(r'^(repository:\n  url: )"[^"]*"$', re.M)
TAG = "colab"

CELL = """\
```{code-cell} ipython3
:tags: [colab, remove-cell]

# On Google Colab this cell fetches the course, which takes a minute; elsewhere it does nothing.
import os
import subprocess
import sys

if "google.colab" in sys.modules:
    if not os.path.exists("/content/course"):
        clone = ["git", "clone", "--quiet", "--depth=1", "URL", "/content/course"]
        packages = ["/content/course[data,plots]", "ipywidgets", "jupyterquiz"]
        for command in clone, [sys.executable, "-m", "pip", "install", "--quiet", *packages]:
            subprocess.run(command, check=True)
    os.chdir("/content/course/chapters")
```

"""
OLD = re.compile(r"```\{code-cell\} ipython3\n:tags: \[colab, remove-cell\]\n.*?\n```\n\n", re.S)


def checked(url: str) -> str:
    """The address without a slash or .git at its end; empty stays empty.

    Raises:
        ValueError: it is no address of a repository on GitHub, which Colab reads from.
    """
    url = re.sub(r"(\.git)?/*$", "", url.strip())
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(
            f"url is {url!r}; expected https://github.com/OWNER/NAME, the address of the "
            "repository's page, because Colab opens notebooks from GitHub only"
        )
    return url


def set_text(path: Path, url: str) -> None:
    """Write, renew or remove Colab's cell in a chapter's text, before its first code cell."""
    text = OLD.sub("", path.read_text("utf8"))
    if url:
        text = text.replace("```{code-cell}", CELL.replace("URL", url) + "```{code-cell}", 1)
    write_atomically(path, text.encode())


def set_notebook(path: Path, text: NotebookNode) -> None:
    """Give a notebook the Colab cell of its text, or none, and count the code cells anew."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if TAG not in c.metadata.get("tags", [])]
    for place, cell in enumerate(text.cells):
        if TAG in cell.metadata.get("tags", []):
            notebook.cells.insert(place, cell)
    code = (cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    notebooks.write(notebook, path)


def set_repository(url: str, root: Path = ROOT) -> None:
    """Write the address into _config.yml and every chapter.

    Raises:
        ValueError: no address on GitHub, or _config.yml has lost its setting, or a chapter's text
            and notebook differ (run make sync first). Nothing has been written then.
    """
    url, config = checked(url), root / "_config.yml"
    settings, found = SETTING.subn(rf'\g<1>"{url}"', config.read_text("utf8"))
    chapters = notebooks.chapters(root)
    stale = [text.name for text in chapters if not notebooks.is_in_step(text)]
    if found != 1 or stale:
        what = f"{', '.join(stale)} and the notebook differ; run make sync first"
        raise ValueError(what if stale else 'no setting `repository:`, `url: ""` in _config.yml')
    write_atomically(config, settings.encode())
    for text in chapters:
        set_text(text, url)
        set_notebook(text.with_suffix(".ipynb"), notebooks.read_text(text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("url", help='https://github.com/OWNER/NAME, or "" to take it back')
    try:
        set_repository(parser.parse_args().url)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("written to _config.yml and the chapters; now: make book, and commit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
