"""Letters in colour with known factors, drawn from the fonts that matplotlib brings along.

A picture is a function of five numbers and of nothing else: which letter, which font, the hue of
the ink, the hue of the ground, and the angle. So a model of these pictures can be asked what it has
understood, and a conditional one whether it obeys.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib.checks import is_whole
from course_lib.data_types import ImageData
from course_lib.progress import progress_bar

__all__ = ["FONTS", "GlyphData", "GlyphFactors", "glyphs"]

# All are part of matplotlib; they differ in weight, slant, serifs and spacing.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "DejaVuSansMono-Bold",
    "STIXGeneralItalic",
)
LARGEST_ANGLE = 20  # degrees, in either direction: no letter turns into another
SOURCE = "generated: letters in the fonts that matplotlib packages (DejaVu, STIX)"
LICENCE = "none needed for the pictures; the fonts: Bitstream Vera and STIX font licences"

# Of the ink and the ground in OKLCH. The lightness is fixed, so the contrast is good whatever the
# two hues are; the chroma is about what sRGB can show in every hue.
_INK = (0.43, 0.15)
_GROUND = (0.90, 0.07)
_LONG = 20_000 * 64 * 64  # pixels from which drawing takes long enough for a progress bar


@dataclass(frozen=True, eq=False)
class GlyphFactors:
    """What each picture was drawn from, one entry a picture.

    Attributes:
        letter: Index into the letters; equals the label.
        font: Index into ``FONTS``.
        ink, ground: Hue in degrees, from 0 to 360.
        angle: In degrees, counter-clockwise, from −20 to 20.
    """

    letter: Int[Tensor, " n"]
    font: Int[Tensor, " n"]
    ink: Float[Tensor, " n"]
    ground: Float[Tensor, " n"]
    angle: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False, repr=False)
class GlyphData(ImageData):
    """Pictures of letters, and the factors from which each one was drawn."""

    train_factors: GlyphFactors
    test_factors: GlyphFactors


def glyphs(
    size: int = 64, n: int = 4000, seed: int = 0, letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
) -> GlyphData:
    """RGB pictures (n, 3, size, size) of letters, dark ink on a light ground.

    The letters take turns; the font, both hues and the angle are drawn independently and uniformly.

    Args:
        size: Height and width in pixels, 16 or more.
        n: Pictures for training; n // 4 more are held out.
        seed: The same seed gives the same pictures; the global random state is not touched.
        letters: The classes, each a character that all the fonts have.

    Raises:
        ValueError: A count is too small, or a letter comes twice or is missing in a font.
        ImportError: matplotlib or Pillow is not installed.
    """
    for name, count, least in (("size", size, 16), ("n", n, 1)):
        if not is_whole(count, least):
            raise ValueError(f"{name}: {count!r}; expected a whole number (int), {least} or more")
    if not letters or len(set(letters)) != len(letters):
        raise ValueError(f"letters: {letters!r}; expected at least one letter, and each only once")

    masks = [[_letter_mask(letter, font, size) for font in FONTS] for letter in letters]
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with progress_bar(n + n // 4, None if n * size**2 > _LONG else False) as bar:
        for count in (n, n // 4):
            factors = _draw_factors(count, len(letters), generator)
            pixels = torch.empty(count, 3, size, size, dtype=torch.uint8)
            inks = _colours(factors.ink, *_INK)
            grounds = _colours(factors.ground, *_GROUND)
            for i in range(count):
                mask = masks[factors.letter[i]][factors.font[i]]
                pixels[i] = _picture(mask, float(factors.angle[i]), inks[i], grounds[i])
                bar.update()
            parts.append((pixels.float().div_(127.5).sub_(1), factors))
    (train_images, train), (test_images, test) = parts
    return GlyphData(
        *("glyphs", train_images, train.letter, test_images, test.letter),
        *(tuple(letters), SOURCE, LICENCE, train, test),
    )


def _draw_factors(n: int, letters: int, generator: torch.Generator) -> GlyphFactors:
    return GlyphFactors(
        letter=torch.arange(n) % letters,
        font=torch.randint(len(FONTS), (n,), generator=generator),
        ink=360 * torch.rand(n, generator=generator),
        ground=360 * torch.rand(n, generator=generator),
        angle=LARGEST_ANGLE * (2 * torch.rand(n, generator=generator) - 1),
    )


def _letter_mask(letter, font, size):
    """The letter upright in the middle of a grey Pillow image, at twice the size.

    Raises:
        ValueError: The font does not have the letter, or it leaves no ink.
    """
    try:
        import matplotlib as mpl
        from matplotlib.ft2font import FT2Font
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError(
            f"matplotlib or Pillow cannot be imported ({error}); install them with: "
            'pip install "course-lib[plots]"'
        ) from error
    path = Path(mpl.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    height = 2 * 0.78 * size
    left, _, right, _ = ImageFont.truetype(str(path), round(height)).getbbox(letter)
    widest = 2 * 0.8 * size  # so that a W stays inside at the largest angle
    height *= min(1, widest / max(right - left, 1))
    pen = ImageFont.truetype(str(path), round(height))
    left, top, right, bottom = pen.getbbox(letter)
    if FT2Font(str(path)).get_char_index(ord(letter)) == 0 or right <= left or bottom <= top:
        raise ValueError(
            f"letters: the font {font} cannot draw {letter!r}; expected letters such as A to Z, a "
            "to z or 0 to 9"
        )
    mask = Image.new("L", (2 * size, 2 * size))
    corner = (size - (left + right) / 2, size - (top + bottom) / 2)
    ImageDraw.Draw(mask).text(corner, letter, fill=255, font=pen)
    return mask


def _picture(mask, angle: float, ink: Tensor, ground: Tensor) -> Tensor:
    """Bytes (3, size, size): the turned mask, downsampled, mixes ink and ground."""
    from PIL import Image

    turned = mask.rotate(angle, resample=Image.Resampling.BILINEAR).reduce(2)
    cover = torch.from_numpy(np.array(turned)).int()
    # In whole numbers, so that every machine rounds alike.
    mixed = ground[:, None, None] * (255 - cover) + ink[:, None, None] * cover
    return (mixed + 127) // 255


def _colours(hues: Tensor, lightness: float, chroma: float) -> Tensor:
    """sRGB colours (n, 3), int32 from 0 to 255, of hues in degrees in the OKLCH space.

    Björn Ottosson, *A perceptual color space for image processing* (2020),
    https://bottosson.github.io/posts/oklab/. A component that sRGB cannot show is clipped.
    """
    angles = hues.double() * (math.pi / 180)
    a, b = chroma * angles.cos(), chroma * angles.sin()
    oklab = torch.stack([torch.full_like(a, lightness), a, b], dim=1)
    to_cones = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728]]
    to_cones += [[1, -0.0894841775, -1.2914855480]]
    to_linear = [[4.0767416621, -3.3077115913, 0.2309699292]]
    to_linear += [[-1.2684380046, 2.6097574011, -0.3413193965]]
    to_linear += [[-0.0041960863, -0.7034186147, 1.7076147010]]
    cones = (oklab @ torch.tensor(to_cones, dtype=torch.float64).T) ** 3
    linear = (cones @ torch.tensor(to_linear, dtype=torch.float64).T).clamp(0, 1)
    curved = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * curved).round().int()
