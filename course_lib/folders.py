"""Data of your own: a folder of images, or a text file.

Files are read in the order of their names, so the same folder always gives the same data. What
cannot be read is named, never dropped in silence.
"""

import io
import os
import warnings
from collections.abc import Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from course_lib.checks import is_whole
from course_lib.data_types import ImageData, TextData
from course_lib.progress import progress_bar

__all__ = ["image_folder", "text_file"]

HELD_OUT_EVERY = 10  # one image in ten is held out
# Only these are tried: Pillow hands some of its other formats to programs outside Python.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_KINDS = "a JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000 or PPM image"
_LONG = 2000  # images from which reading takes long enough for a progress bar

# --- A folder of images ---------------------------------------------------------------------------


def image_folder(
    path: str | Path, size: int, channels: int = 3, broken: Literal["skip", "refuse"] = "skip"
) -> ImageData:
    """Every image below a folder, as squares (n, channels, size, size).

    Each image is scaled until its shorter side is ``size`` and cropped at the centre: nothing is
    squeezed. It is turned as its EXIF orientation says; transparent parts become white; 16-bit
    values become 8-bit ones; of an animation the first frame is taken.

    The subfolders are the classes; an image outside them, or each image if there are none, has a
    class of the folder's name. Hidden files are ignored. One image in ten is held out, evenly over
    the classes and over the order of the names. Both parts are interleaved, so that their first
    images are of different classes.

    Args:
        path: The folder; "~" is your home.
        size: Height and width in pixels.
        channels: 3 for RGB, 1 for grey.
        broken: What cannot be read as an image is skipped with a warning that names it ("skip"), or
            nothing is returned ("refuse").

    Raises:
        ValueError: There is no such folder, no image below it, an argument out of range, or, with
            ``broken="refuse"``, a file that is no image.
        ImportError: Pillow is not installed.
    """
    check_form(size, channels)
    if broken not in ("skip", "refuse"):
        raise ValueError(f'broken: {broken!r}; expected "skip" or "refuse"')
    folder = Path(path).expanduser()
    if not folder.is_dir():
        came = "is a file" if folder.exists() else "does not exist"
        raise ValueError(f"path: {str(folder)!r} {came}; expected a folder of images")

    files, problems = _files_below(folder)
    names = [file.relative_to(folder) for file in files]
    kept, pixels = read_images(zip(map(str, names), files, strict=True), size, channels, problems)
    where = f"path: {str(folder)!r}"
    report_problems(problems, kept, len(files), where, broken)
    own = folder.resolve().name
    class_of = [names[i].parts[0] if len(names[i].parts) > 1 else own for i in kept]
    classes = tuple(sorted(set(class_of)))
    labels = torch.tensor([classes.index(name) for name in class_of])
    return ImageData(
        own, *hold_out(pixels, labels), classes, f"the folder {own}", "not stated; see the folder"
    )


def _files_below(folder: Path) -> tuple[list[Path], list[str]]:
    """The files to try, sorted, and a line for each entry that is neither file nor folder."""
    files, problems = [], []

    def unreadable(error: OSError) -> None:
        problems.append(f"{os.path.relpath(error.filename, folder)} ({error.strerror})")

    for parent, folders, entries in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *sorted(entries)]:
            entry = Path(parent, name)
            if name.startswith("."):
                continue
            if entry.is_file():
                files.append(entry)
            elif entry.is_symlink() or not entry.is_dir():  # a pipe would wait for ever
                problems.append(f"{entry.relative_to(folder)} (neither a file nor a real folder)")
    return sorted(files, key=lambda file: file.relative_to(folder).parts), problems


def check_form(size: int | None, channels: int) -> None:
    """Raise ValueError unless ``size`` is None or 1 or more pixels, and ``channels`` is 1 or 3."""
    if size is not None and not is_whole(size, 1):
        raise ValueError(f"size: {size!r}; expected a whole number of pixels, such as 64")
    if channels not in (1, 3):
        raise ValueError(f"channels: {channels!r}; expected 3 (RGB) or 1 (grey)")


def report_problems(
    problems: list[str], kept: list[int], tried: int, where: str, broken: str
) -> None:
    """Warn of the ``problems``, or raise ValueError if there is no image or they are refused."""
    named = ", ".join(problems[:6]) + (", …" if len(problems) > 6 else "")
    if not kept:
        found = f"none of {tried} files can be read ({named})" if named else "it is empty"
        raise ValueError(f"{where}: no image: {found}; expected at least one, {_KINDS}")
    if problems and broken == "refuse":
        raise ValueError(
            f"{where}: {len(problems)} files cannot be read as images: {named}; remove or repair "
            'them, or pass broken="skip"'
        )
    if problems:
        warnings.warn(
            f"{where}: skipped {len(problems)} files that are no readable images: {named}",
            stacklevel=3,
        )


def hold_out(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, then the held-out ones.

    Every tenth in the order of classes and names, so that each class gives its share even where it
    has fewer than ten.
    """
    by_class = torch.argsort(labels, stable=True)
    every_tenth = torch.arange(len(labels)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    found = []
    for part in (by_class[~every_tenth], by_class[every_tenth]):
        counts = labels[part].bincount()
        rank = torch.arange(len(part)) - (counts.cumsum(0) - counts)[labels[part]]
        part = part[torch.argsort(rank * (labels.max() + 1) + labels[part])]
        found += [scaled(pixels[part]), labels[part]]
    train_images, train_labels, test_images, test_labels = found
    return train_images, train_labels, test_images, test_labels


def scaled(pixels: Tensor) -> Tensor:
    """Bytes as floats in [−1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


# --- One image ------------------------------------------------------------------------------------


def read_images(
    sources: Iterable[tuple[str, Path | bytes | None]],
    size: int | None,
    channels: int | None,
    problems: list[str],
) -> tuple[list[int], Tensor]:
    """Indices of the images that could be read, and their bytes (n, channels, height, width).

    Without ``channels`` they have 1 if all are grey, else 3. A line for each of the others is added
    to ``problems``.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f'Pillow cannot be imported ({error}); install it with: pip install "course-lib[data]"'
        ) from error
    Image.init()  # here, since it is not made for threads

    def read(source: tuple[str, Path | bytes | None]) -> Tensor | str:
        name, content = source
        try:
            return _read(content, size, channels)
        except Exception as error:  # damaged files make Pillow's decoders raise almost anything
            return f"{name} ({_reason(error)})"

    sources = list(sources)
    kept, images = [], []
    with warnings.catch_warnings(), ThreadPool() as pool:
        warnings.simplefilter("ignore")  # of Pillow, about details of files that it can read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with progress_bar(len(sources), None if len(sources) > _LONG else False) as bar:
            for i, found in enumerate(pool.imap(read, sources, chunksize=8)):
                bar.update()
                if isinstance(found, str):
                    problems.append(found)
                else:
                    kept.append(i)
                    images.append(found)
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"size: None, but the images have {len(sizes)} sizes; give one, as 64")
    if not images:
        return kept, torch.empty(0, channels or 3, 1, 1)
    return kept, torch.stack(as_many_channels(images))


def as_many_channels(images: Sequence[Tensor]) -> list[Tensor]:
    """Images or batches (…, channels, height, width): grey ones as RGB if one of them is RGB."""
    most = max(image.shape[-3] for image in images)
    return [image.expand(*image.shape[:-3], most, *image.shape[-2:]) for image in images]


def _read(
    content: Path | bytes | None, size: int | None, channels: int | None
) -> UInt8[Tensor, "c h w"]:
    from PIL import Image, ImageOps

    if content is None:
        raise ValueError("no image")
    place = io.BytesIO(content) if isinstance(content, bytes) else content
    with Image.open(place, formats=[name for name in FORMATS if name in Image.OPEN]) as file:
        if size is not None:
            file.draft(None, (2 * size, 2 * size))  # a large JPEG need not be decoded in full
        image = ImageOps.exif_transpose(file)
    image = _eight_bits(image)
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "LA", "La") else 3
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    if size is not None:
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box)
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1) if channels == 3 else pixels[None]


def _eight_bits(image: Any) -> Any:
    """Grey with 16 bits as grey with 8; Pillow's own conversion would cut at 255."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are fractions, whose range is unknown")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    return f"{error}" if isinstance(error, OSError | ValueError) else f"damaged: {error!r}"


# --- A text file ----------------------------------------------------------------------------------


def text_file(path: str | Path) -> TextData:
    """A text in UTF-8, character by character; the last tenth is held out.

    A line ends with "\\n", whatever it ended with in the file.

    Raises:
        ValueError: There is no such file, it is not UTF-8, or has fewer than 1,000 characters.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        came = "is a folder" if file.is_dir() else "does not exist"
        raise ValueError(f"path: {str(file)!r} {came}; expected a text file")
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"path: {str(file)!r} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at "
            f"position {error.start} ({error.reason}); save it as UTF-8"
        ) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return TextData.from_text(
        file.name, text, source=f"the file {file.name}", licence="not stated; see the file"
    )
