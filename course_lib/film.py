"""The film of a training run: snapshots that play in JupyterLab and on the static site."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from course_lib.player import Control, Player, player, rasterise
from course_lib.plotting import check_images, tile

__all__ = ["film"]


def film(
    frames: Sequence[Figure] | Sequence[Tensor],
    captions: Sequence[str],
    *,
    alt: str,
    columns: int = 8,
    frames_per_second: float | int = 4,
) -> Player:
    """Turns snapshots of a training run into a player with a play button and a slider.

    Args:
        frames: figures of one size, or batches of images, Float[Tensor, "n channels height width"]
            in [-1, 1], each shown as a grid.
        captions: one plain text for each frame, such as "step 200".
        alt: what the film shows, in a sentence, for readers who cannot see it.
        columns: images in a row, where frames are batches.
        frames_per_second: speed of playing.

    Raises:
        ValueError: no frame, captions that do not match, frames of different sizes, or images that
            are not in [-1, 1].
    """
    if len(captions) != len(frames):
        raise ValueError(f"captions: expected {len(frames)}, one a frame, got {len(captions)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    pictures: list[Image.Image] = []
    scale = 1
    for position, frame in enumerate(frames):
        if isinstance(frame, Tensor):
            check_images(frame, f"frames[{position}]")
            columns = min(columns, len(frame))
            pixels = tile(frame, columns, 1, 1)
            pictures.append(Image.fromarray((255 * pixels).round().astype(np.uint8)).convert("RGB"))
            scale = max(1, 480 // pictures[0].width)
        elif isinstance(frame, Figure):
            pictures.append(rasterise(frame))
        else:
            raise ValueError(
                f"frames[{position}] is a {type(frame).__name__}, expected a Figure or images"
            )
    # It opens on its last frame: what training led to is also what a page without scripts shows.
    control = Control(label="Frame", texts=tuple(captions), start=len(captions) - 1)
    return player(
        pictures,
        [control],
        alt=alt,
        frames_per_second=frames_per_second,
        scale=scale,
        budget=200_000 if scale > 1 else 250_000,
    )
