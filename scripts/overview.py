"""Write images/overview.png, the README's picture, from the committed outputs.

It sets the figures of the cells tagged "overview" in rows, so that the picture is what the
course really printed. `make sync` runs it after executing the chapters.
"""

import base64
import io
import math
import re
from pathlib import Path

import nbformat
from PIL import Image, ImageOps

from course_lib.player import png_small

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 3
BOX = (480, 340)  # pixels
GAP = 40


def tagged_figures(root: Path = ROOT) -> list[Image.Image]:
    """The figures of all cells tagged "overview", in the order of the chapters."""
    figures = []
    for path in sorted(root.glob("chapters/*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "overview" in cell.metadata.get("tags", []):
                for output in cell.outputs:
                    page = output.get("data", {}).get("text/html", "")
                    for file in re.findall(r'src="data:image/\w+;base64,([^"]+)"', page):
                        figures.append(
                            Image.open(io.BytesIO(base64.b64decode(file))).convert("RGB")
                        )
    return figures


def in_rows(figures: list[Image.Image]) -> Image.Image:
    """One picture: each figure as large as it can be in its box, in the middle of it."""
    rows = math.ceil(len(figures) / COLUMNS)
    size = [number * (side + GAP) - GAP for number, side in zip((COLUMNS, rows), BOX, strict=True)]
    picture = Image.new("RGB", (size[0], size[1]), "white")
    for k, figure in enumerate(figures):
        fitted = ImageOps.contain(figure, BOX, Image.Resampling.LANCZOS)
        left, top = (BOX[0] - fitted.width) // 2, (BOX[1] - fitted.height) // 2
        row, column = divmod(k, COLUMNS)
        picture.paste(fitted, (column * (BOX[0] + GAP) + left, row * (BOX[1] + GAP) + top))
    return picture


if __name__ == "__main__":
    figures = tagged_figures()
    if not figures:
        raise SystemExit('no cell tagged "overview" has a figure; run make sync first')
    target = ROOT / "images" / "overview.png"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(png_small(in_rows(figures)))
    print(f"{target.relative_to(ROOT)}: {len(figures)} figures, {target.stat().st_size // 1000} kB")
