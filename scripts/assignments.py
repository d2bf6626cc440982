"""Make the student versions of the exercises: chapters/exercises/NN_name -> release/NN_name.

nbgrader removes the solutions and the hidden tests and records the graded cells in the gradebook.
The paired text (.md) is the source: a notebook that is not in step with it is rebuilt first. Points
that grading.toml changes are changed in the released notebook and in the gradebook.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import notebooks

from classroom.grade import SOURCE, nbgrader
from classroom.settings import load, with_points

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Released:
    """A student version: the notebook, how many exercises it has and what they are worth."""

    notebook: Path
    exercises: int
    points: float


def chapters(root: Path) -> list[str]:
    """The assignments, one a folder that holds a text of the same name."""
    texts = (root / SOURCE).glob("*/*.md")
    return sorted(path.stem for path in texts if path.stem == path.parent.name)


def release(root: Path, chapter: str) -> Released:
    """Write ``release/<chapter>/<chapter>.ipynb``, replacing an earlier version.

    Raises:
        ValueError: if there are no exercises of this name, or grading.toml gives points to a part
            that does not exist.
        RuntimeError: if nbgrader refuses the source; the message holds its log.
    """
    if chapter not in chapters(root):
        raise ValueError(
            f"chapter must be one of {chapters(root)}, got {chapter!r}; the exercises of a chapter "
            f"are in {SOURCE}/<chapter>/<chapter>.md"
        )
    text = root / SOURCE / chapter / f"{chapter}.md"
    if not notebooks.is_in_step(text):
        notebooks.refresh(text)
        print(f"{text.with_suffix('.ipynb').relative_to(root)}: rebuilt from the text")
    api, overrides = nbgrader(root), load(root).points.get(chapter, {})
    with tempfile.TemporaryDirectory() as folder:
        if overrides:
            changed = with_points(
                nbformat.read(text.with_suffix(".ipynb"), as_version=4), overrides
            )
            copied = Path(folder) / chapter
            shutil.copytree(text.parent, copied)
            nbformat.write(changed, copied / f"{chapter}.ipynb")
            api.coursedir.source_directory = folder
        result = api.generate_assignment(chapter, force=True)
    if not result["success"]:
        raise RuntimeError(f"nbgrader could not release {chapter}:\n{result['log']}")
    notebook = root / "release" / chapter / f"{chapter}.ipynb"
    cells = nbformat.read(notebook, as_version=4).cells
    return Released(
        notebook=notebook,
        exercises=sum(cell.source.startswith("## Exercise") for cell in cells),
        points=sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in cells),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chapter", help="only this one, e.g. 04_gan_minimax (default: all)")
    chapter = parser.parse_args().chapter
    names = chapters(ROOT) if chapter is None else [chapter]
    try:
        for name in names:
            made = release(ROOT, name)
            print(
                f"{made.notebook.relative_to(ROOT)}: {made.exercises} exercises, "
                f"{made.points:g} points"
            )
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
