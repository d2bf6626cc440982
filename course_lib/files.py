"""What every file of the course shares: it appears whole or not at all, and damage is noticed."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["tensors_digest", "write_atomically"]


def write_atomically(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write ``content`` to ``path`` so that no other process ever sees a part of it.

    The bytes go to a temporary file in the same folder, to the disk, and then by one rename to
    ``path``: a crash at any moment leaves the old file or the new one, whole. The temporary file is
    removed on any exception. Several processes may write the same path at once; the last one wins.

    The file that was at ``path`` before is renamed to ``previous``, if that is given, once the new
    one is safe on the disk; between the two renames a crash leaves the old one there.
    """
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException:  # also when the reader interrupts the cell
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # make the rename itself survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, of the names, dtypes, shapes and bytes of ``tensors`` (on the CPU).

    The order of the mapping does not matter.
    """
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
