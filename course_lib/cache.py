"""Parsed data, kept in a folder of the user's, so that parsing happens once."""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from course_lib.files import tensors_digest, write_atomically

__all__ = ["cache_folder", "cached"]


def cache_folder() -> Path:
    """Folder for parsed data: ``$COURSE_LIB_CACHE``, or else the user's cache folder."""
    chosen = os.environ.get("COURSE_LIB_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("course_lib"))


def cached(
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
    """Raises ValueError if the file is not exactly what ``cached`` wrote."""
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
