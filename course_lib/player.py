"""A row of pictures as one self-contained piece of HTML with sliders.

`course_lib.film` and `widgets.panel` both end here. The HTML needs no kernel, no network and no
library, so the same output works in JupyterLab, on the static site and in a saved notebook.

Order of reading: figure -> pixels -> few colours -> small files -> HTML.

Two ideas keep it small. All frames share one palette. And what most frames have in common (axes,
labels, background) is stored once, as the backdrop; a frame then holds only the pixels that differ.
"""

import base64
import hashlib
import html
import io
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Tried in turn until the player fits its budget.
PALETTE_SIZES = (64, 32, 24, 16, 8)


@dataclass(frozen=True)
class Control:
    """One slider of a player: its label, the text shown at each position, the first position."""

    label: str
    texts: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True)
class Player:
    """A finished player; Jupyter shows it through `_repr_html_`.

    Attributes:
        html: the whole player, self-contained.
        frames: how many pictures it holds.
    """

    html: str
    frames: int

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        # No size here: encoders differ by a few bytes, and a notebook's text output is compared.
        return f"<Player: {self.frames} frames>"


def rasterise(figure: object, density: int = 1) -> Image.Image:
    """Draws a figure with Agg into an RGB image of figure size x dpi pixels, and releases it.

    `density` times as many pixels in each direction make it crisp at the same size on the page.

    Raises:
        ValueError: `figure` is not a matplotlib Figure.
    """
    if not isinstance(figure, Figure):
        raise ValueError(
            f"expected a matplotlib Figure, got {type(figure).__name__}; "
            "end the drawing function with `return figure`"
        )
    canvas = FigureCanvasAgg(figure)
    dpi = figure.dpi
    figure.set_dpi(density * dpi)
    canvas.draw()
    figure.set_dpi(dpi)
    rgba = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    plt.close(figure)  # a figure made by pyplot would be shown a second time at the end of the cell
    page = Image.new("RGB", rgba.size, "white")
    page.paste(rgba, mask=rgba.getchannel("A"))
    return page


def png_quickly(picture: Image.Image) -> bytes:
    """The picture as a PNG file, all its colours, lightly compressed: for a live slider."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def png_small(picture: Image.Image) -> bytes:
    """The picture as a PNG file with 128 colours, about half the size: for a file."""
    palette, indices = quantise(np.asarray(picture), 128)
    table = Image.fromarray(indices)
    table.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    table.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def address(picture: Image.Image, colours: int) -> str:
    """The picture in so many colours as the address of an HTML image: a lossless WebP file.

    WebP takes about three quarters of the bytes of a PNG file with the same pixels.
    """
    palette, indices = quantise(np.asarray(picture), colours)
    return _webp(palette[indices])


def quantise(pictures: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduces pictures to one shared palette.

    The palette is chosen from the colours that occur: first the most frequent one, then always the
    one that is farthest from those chosen, weighted by how often it occurs. So the white of the
    page and the colours of lines stay exact, and the pale steps of a background stay apart.

    Args:
        pictures: bytes of shape (..., 3).
        colours: size of the palette, at most 256.

    Returns:
        The palette, bytes of shape (colours or fewer, 3), and the pictures as indices into it,
        bytes of shape (...).
    """
    packed = pictures.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    count = np.bincount(packed.ravel(), minlength=1 << 24)
    codes = np.flatnonzero(count)
    seen = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.float32)
    weight = np.sqrt(count[codes])
    chosen = [int(weight.argmax())]
    distance = ((seen - seen[chosen[0]]) ** 2).sum(axis=1)
    nearest = np.zeros(len(codes), dtype=np.uint8)
    while len(chosen) < min(colours, len(codes)):
        chosen.append(int((weight * distance).argmax()))
        candidate = ((seen - seen[chosen[-1]]) ** 2).sum(axis=1)
        nearest[candidate < distance] = len(chosen) - 1
        distance = np.minimum(distance, candidate)
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[codes] = nearest
    return seen[chosen].astype(np.uint8), table[packed]


def player(
    pictures: Sequence[Image.Image],
    controls: Sequence[Control],
    *,
    alt: str,
    spoken: Sequence[str] = (),
    frames_per_second: float | int | None = None,
    scale: int = 1,
    budget: int = 250_000,
) -> Player:
    """Builds the player.

    Args:
        pictures: RGB pictures of one size, in row-major order of the controls (the last control
            moves fastest).
        controls: one to three sliders; the product of their positions is the number of pictures.
        alt: what the pictures show, for readers who cannot see them; plain text.
        spoken: what else to say of each picture when a slider moves, such as the numbers that are
            drawn in it; as many as there are pictures, or none.
        frames_per_second: adds a play button that steps the first slider at this rate.
        scale: one picture pixel becomes `scale` screen pixels with hard edges; 1 for plots.
        budget: size in bytes that the HTML should not exceed. The palette shrinks until it fits;
            a player that does not fit with the smallest palette warns.

    Raises:
        ValueError: no picture, unequal sizes, a number of pictures that does not match the
            controls or the `spoken` texts, or an empty `alt`.
    """
    _check(pictures, controls, alt, spoken, frames_per_second)
    stack = np.stack([np.asarray(picture) for picture in pictures])
    markup = ""
    for colours in PALETTE_SIZES:
        backdrop, frames = _encode(*quantise(stack, colours))
        markup = _markup(
            backdrop, frames, pictures, controls, alt.strip(), spoken, frames_per_second, scale
        )
        if len(markup) <= budget:
            break
    else:
        warnings.warn(
            f"the player takes {len(markup) / 1000:.0f} kB, more than {budget / 1000:.0f} kB; "
            "use fewer frames, fewer images a frame or a smaller figure",
            stacklevel=3,
        )
    return Player(html=markup, frames=len(pictures))


def _check(
    pictures: Sequence[Image.Image],
    controls: Sequence[Control],
    alt: str,
    spoken: Sequence[str],
    frames_per_second: float | int | None,
) -> None:
    if not pictures:
        raise ValueError("pictures is empty; a player needs at least one frame")
    if not 1 <= len(controls) <= 3:
        raise ValueError(f"a player has one to three sliders, got {len(controls)}")
    positions = math.prod(len(control.texts) for control in controls)
    if positions != len(pictures):
        raise ValueError(
            f"the sliders have {positions} positions in all, but there are {len(pictures)} frames"
        )
    if spoken and len(spoken) != len(pictures):
        raise ValueError(f"spoken has {len(spoken)} texts, but there are {len(pictures)} frames")
    for control in controls:
        if not 0 <= control.start < len(control.texts):
            raise ValueError(
                f"slider {control.label!r} starts at position {control.start}, "
                f"expected 0 to {len(control.texts) - 1}"
            )
    sizes = sorted({picture.size for picture in pictures})
    if len(sizes) > 1:
        raise ValueError(
            f"frames differ in size: {sizes[0]} and {sizes[-1]} pixels; "
            "draw every frame with the same figure size and dpi"
        )
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the pictures show")
    if frames_per_second is not None and not frames_per_second > 0:
        raise ValueError(f"frames_per_second must be positive, got {frames_per_second}")


def _encode(palette: np.ndarray, indices: np.ndarray) -> tuple[str, list[str]]:
    """Splits frames (indices into a palette) into backdrop and differences, as data addresses."""
    # The backdrop holds, for each pixel, the colour it has in most frames.
    backdrop = np.zeros(indices.shape[1:], dtype=np.uint8)
    most = np.zeros(indices.shape[1:], dtype=np.int32)
    for colour in range(len(palette)):
        count = (indices == colour).sum(axis=0, dtype=np.int32)
        backdrop[count > most] = colour
        most = np.maximum(most, count)
    encoded = []
    for index in indices:
        # One pixel wider than needed: where the browser scales the two layers, their seam then
        # lies between equal colours and cannot show.
        differs = _widened(index != backdrop)
        if differs.mean() > 0.5:  # hardly anything in common: a mask would only cost
            encoded.append(_webp(palette[index]))
        else:
            opaque = np.where(differs, 255, 0).astype(np.uint8)
            encoded.append(_webp(np.dstack([palette[index] * differs[..., None], opaque])))
    return _webp(palette[backdrop]), encoded


def _widened(mask: np.ndarray) -> np.ndarray:
    """The mask and the eight neighbours of each of its pixels."""
    rows = np.pad(mask, ((1, 1), (0, 0)))
    tall = rows[:-2] | rows[1:-1] | rows[2:]
    both = np.pad(tall, ((0, 0), (1, 1)))
    return both[:, :-2] | both[:, 1:-1] | both[:, 2:]


def _webp(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _markup(
    backdrop: str,
    frames: list[str],
    pictures: Sequence[Image.Image],
    controls: Sequence[Control],
    alt: str,
    spoken: Sequence[str],
    frames_per_second: float | int | None,
    scale: int,
) -> str:
    width, height = (scale * side for side in pictures[0].size)
    start = 0
    for control in controls:
        start = start * len(control.texts) + control.start
    # Without its script (untrusted notebook, GitHub) a player is this one complete picture.
    first = address(pictures[start], 64)
    button = '<button type="button" aria-label="Play">▶</button>' if frames_per_second else ""
    # Without the attribute data-lm-suppress-shortcuts JupyterLab takes the arrow keys for itself.
    rows = "".join(
        f"<label><span>{html.escape(control.label)}</span>"
        f'<input type="range" min="0" max="{len(control.texts) - 1}" step="1" '
        f'value="{control.start}" autocomplete="off" data-lm-suppress-shortcuts '
        f'aria-label="{html.escape(control.label)}">'
        '<output aria-live="off"></output></label>'
        for control in controls
    )
    data = {
        "backdrop": backdrop,
        "frames": frames,
        "texts": [control.texts for control in controls],
        "spoken": list(spoken) if any(spoken) else [],
        "delay": 1000 / frames_per_second if frames_per_second else 0,
        # Here, not in the page: without the script there must be no dead sliders.
        "controls": f'<div class="frame-player-controls">{button}{rows}</div>',
    }
    # "<" would let a caption end the script element.
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    name = hashlib.sha256((packed + alt + first).encode()).hexdigest()[:12]
    kind = "film" if frames_per_second else "panel"
    pixelated = " frame-player-pixels" if scale > 1 else ""
    return (
        f'<div class="frame-player frame-player-{kind}{pixelated}" data-player="{name}" '
        f'style="max-width:{width}px"><style>{_STYLE}</style>'
        f'<img src="{first}" alt="{html.escape(alt)}" width="{width}" height="{height}">'
        f"<script>{_SCRIPT.replace('NAME', name).replace('DATA', packed)}</script></div>"
    )


# Colours are inherited, so that light and dark pages both work; the picture keeps its white page.
_STYLE = """
.frame-player{margin:.5rem 0;color:inherit;font-size:.95rem;line-height:1.4}
.frame-player img{display:block;width:100%;max-width:100%;height:auto;margin:0;padding:0;
background:#fff 0 0/100% 100% no-repeat;border-radius:4px}
.frame-player-pixels img{image-rendering:pixelated;border-radius:0}
.frame-player-controls{display:flex;flex-direction:column;gap:.15rem;padding:.4rem .25rem}
.frame-player label{display:flex;flex-wrap:wrap;align-items:center;gap:0 .75rem;margin:0;
flex:1 1 auto}
.frame-player label span{flex:0 1 11rem}
.frame-player label span:empty{display:none}
.frame-player input{flex:1 1 9rem;min-width:6rem;height:1.75rem;margin:0;color:inherit;
accent-color:#0072b2;cursor:pointer}
.frame-player output{flex:0 0 3.5rem;padding:0;text-align:right;font-variant-numeric:tabular-nums}
@media (max-width:540px){.frame-player-panel label{display:grid;grid-template-columns:1fr auto}
.frame-player-panel input{grid-row:2;grid-column:1/-1}}
.frame-player-film .frame-player-controls{flex-direction:row;align-items:flex-start;gap:.75rem}
.frame-player-film label span{display:none}
.frame-player-film input{flex-basis:100%;height:2.25rem}
.frame-player-film output{flex:1 0 100%;text-align:left}
.frame-player button{flex:none;width:2.25rem;height:2.25rem;padding:0;border:1px solid;
border-radius:50%;background:none;color:inherit;font-size:.8rem;line-height:1;cursor:pointer}
.frame-player input:focus-visible,.frame-player button:focus-visible{outline:3px solid}
""".replace("\n", "")

# Every run of the script starts the copies of this player that are not yet running, so the same
# player may stand on a page twice. It leaves nothing behind but its event handlers.
_SCRIPT = """
(function () {
  "use strict";
  var data = DATA;
  document.querySelectorAll('[data-player="NAME"]').forEach(function (root) {
    if (root.framePlayer) return;
    root.framePlayer = true;
    root.insertAdjacentHTML("beforeend", data.controls);
    var image = root.querySelector("img"), button = root.querySelector("button");
    var sliders = Array.from(root.querySelectorAll("input"));
    var outputs = root.querySelectorAll("output"), timer = 0;
    image.decoding = "sync";
    image.style.backgroundImage = "url(" + data.backdrop + ")";
    function show() {
      var index = 0;
      sliders.forEach(function (slider, k) {
        var text = data.texts[k][+slider.value];
        index = index * data.texts[k].length + +slider.value;
        outputs[k].textContent = text;
      });
      sliders.forEach(function (slider, k) {
        var text = outputs[k].textContent, said = data.spoken[index];
        slider.setAttribute("aria-valuetext", said ? text + ": " + said : text);
      });
      image.src = data.frames[index];
    }
    function stop() {
      clearInterval(timer);
      timer = 0;
      button.textContent = "\\u25b6";
      button.setAttribute("aria-label", "Play");
    }
    function step() {
      var slider = sliders[0];
      if (!root.isConnected || +slider.value >= +slider.max) return stop();
      slider.value = +slider.value + 1;
      show();
    }
    sliders.forEach(function (slider) {
      slider.addEventListener("input", function () { if (timer) stop(); show(); });
    });
    if (button) button.addEventListener("click", function () {
      if (timer) return stop();
      if (+sliders[0].value >= +sliders[0].max) { sliders[0].value = 0; show(); }
      button.textContent = "\\u275a\\u275a";
      button.setAttribute("aria-label", "Pause");
      timer = setInterval(step, data.delay);
    });
    show();
  });
})();
"""
