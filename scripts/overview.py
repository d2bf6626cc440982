"""Write images/overview.png, the README's picture, from the committed outputs.

It sets the figures of the cells tagged "overview" side by side, so that the picture is what the
course really printed. `make sync` runs it after executing the chapters.
"""

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
HEIGHT = 360  # pixels
GAP = 24


def tagged_figures(root: Path = ROOT) -> list[Image.Image]:
    """The figures of all cells tagged "overview", in the order of the chapters."""
    figures = []
    for path in sorted(root.glob("chapters/*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "overview" in cell.metadata.get("tags", []):
                for output in cell.outputs:
                    if png := output.get("data", {}).get("image/png"):
                        figures.append(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    return figures


def side_by_side(figures: list[Image.Image]) -> Image.Image:
    scaled = [f.resize((round(f.width * HEIGHT / f.height), HEIGHT)) for f in figures]
    width = sum(f.width for f in scaled) + GAP * (len(scaled) - 1)
    picture = Image.new("RGB", (width, HEIGHT), "white")
    left = 0
    for figure in scaled:
        picture.paste(figure, (left, 0))
        left += figure.width + GAP
    return picture


if __name__ == "__main__":
    figures = tagged_figures()
    if not figures:
        raise SystemExit('no cell tagged "overview" has a figure; run make sync first')
    target = ROOT / "images" / "overview.png"
    target.parent.mkdir(exist_ok=True)
    side_by_side(figures).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {len(figures)} figures, {target.stat().st_size // 1000} kB")
