"""Data sets of the Hugging Face hub, through its library ``datasets``, which is optional."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_lib.data_types import ImageData, TextData
from course_lib.folders import (
    as_many_channels,
    check_form,
    hold_out,
    read_images,
    report_problems,
    scaled,
)

__all__ = ["hub"]


def hub(
    name: str,
    size: int | None = None,
    channels: int | None = None,
    configuration: str | None = None,
) -> ImageData | TextData:
    """A data set of the Hugging Face hub, or a folder that its library ``datasets`` can read.

    The first image column is read as in ``image_folder``, with the first class column as labels; a
    data set without images is read as text: the column "text", or the only one of strings, each
    entry ending with a line break. The part "test", or else "validation", is held out; where there
    is neither, a tenth of the part "train".

    Args:
        name: Such as "owner/name", or the path of a folder.
        size: Height and width in pixels; None: the images have one size, which is kept.
        channels: 3 for RGB, 1 for grey; None: 1 if all images are grey, else 3. Of images only.
        configuration: Where a data set has several.

    Raises:
        ValueError: There is no such data set, no column of images or text, or no image.
        ConnectionError: The hub cannot be reached, and no copy is in the cache.
        ImportError: ``datasets`` is not installed.
    """
    check_form(size, 3 if channels is None else channels)
    if not name:
        raise ValueError("name: is empty; expected such as 'owner/name', or the path of a folder")
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            f'datasets cannot be imported ({error}); install it with: pip install "course-lib[hub]"'
        ) from error
    with _offline_without_network(name):
        try:
            parts = datasets.load_dataset(name, configuration)
        except ConnectionError as error:
            raise ConnectionError(
                f"name: {name!r} needs a network, or a copy in the cache of the library datasets "
                f"({datasets.config.HF_DATASETS_CACHE}), and there is neither: {error}"
            ) from error
        except (FileNotFoundError, RuntimeError) as error:
            raise ValueError(f"name: {name!r} cannot be read: {error}") from error
    train = parts["train"] if "train" in parts else next(iter(parts.values()))
    rest = [parts[part] for part in ("test", "validation") if part in parts]
    test = next((part for part in rest if part is not train), None)

    title = Path(name).name if Path(name).is_dir() else name
    source, licence = f"{title}, read with the library datasets", train.info.license
    licence = licence or "not stated; see the page of the data set"
    if any(isinstance(feature, datasets.Image) for feature in train.features.values()):
        classes, pixels, labels = _hub_images(train, size, channels, f"name: {name!r}")
        if test is None:
            tensors = hold_out(pixels, labels)
        else:
            _, test_pixels, test_labels = _hub_images(test, size, channels, f"name: {name!r}, test")
            both = as_many_channels([pixels, test_pixels])
            tensors = (scaled(both[0]), labels, scaled(both[1]), test_labels)
        return ImageData(title, *tensors, classes, source, licence)
    if size is not None:
        raise ValueError(f"size: {size} given, but {name!r} has no images; expected None")
    texts = [_hub_text(part, name) for part in (train, test) if part is not None]
    return TextData.from_text(title, *texts, source=source, licence=licence)


def _hub_images(
    part: Any, size: int | None, channels: int | None, where: str
) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """Classes, bytes and labels of a part that has a column of images."""
    import datasets

    def columns(kind: type) -> list[str]:
        return [name for name, feature in part.features.items() if isinstance(feature, kind)]

    pictures, labelled = columns(datasets.Image)[0], columns(datasets.ClassLabel)
    part = part.cast_column(pictures, datasets.Image(decode=False))
    cells = [row[pictures] or {} for row in part.select_columns([pictures])]
    sources = []
    for i, cell in enumerate(cells):
        path = cell.get("path")
        content = cell.get("bytes") or (Path(path) if path else None)
        sources.append((Path(path).name if path else f"image {i}", content))
    problems: list[str] = []
    kept, pixels = read_images(sources, size, channels, problems)
    report_problems(problems, kept, len(part), where, "skip")
    if not labelled:
        return ("image",), pixels, torch.zeros(len(kept), dtype=torch.int64)
    labels = torch.tensor(part[labelled[0]][:])[kept]
    return tuple(part.features[labelled[0]].names), pixels, labels


def _hub_text(part: Any, name: str) -> str:
    """The entries of the column of text, one a line unless they have line breaks of their own."""
    strings = [c for c, feature in part.features.items() if "string" in str(feature.dtype)]
    if "text" not in strings and len(strings) != 1:
        raise ValueError(
            f"name: {name!r} has the columns {list(part.features)}; expected one of images, one "
            'called "text", or a single one of strings'
        )
    entries = part["text" if "text" in strings else strings[0]]
    return "".join(entry if entry.endswith("\n") else f"{entry}\n" for entry in entries if entry)


@contextmanager
def _offline_without_network(name: str) -> Iterator[None]:
    """Make ``datasets`` look only into its cache while the hub cannot be reached.

    Left alone it repeats each request for half a minute or more, which looks like hanging.
    """
    import datasets
    from huggingface_hub import constants

    address = urllib.parse.urlsplit(constants.ENDPOINT)
    offline = False
    if not Path(name).is_dir() and address.scheme not in urllib.request.getproxies():
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname or "", port), timeout=5).close()
        except OSError:
            offline = True
    places: list[Any] = [datasets.config, constants]
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = place.HF_HUB_OFFLINE or offline
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value
