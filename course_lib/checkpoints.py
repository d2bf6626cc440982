"""Checkpoints: the weights of a model and the card that says where they come from, in one file.

A checkpoint is an ordinary safetensors file whose metadata holds the card as JSON, so that

* weights and card cannot disagree: they are written together, and one atomic rename publishes both;
* reading one never runs code, which unpickling (``torch.load``) may do;
* damage is noticed: SHA-256 digests cover the card, the names, the shapes and every weight.

A file is checked completely before the model is touched: a load succeeds or changes nothing.
"""

import hashlib
import json
import math
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import course_lib
from course_lib.files import tensors_digest, write_atomically

__all__ = [
    "CheckpointError",
    "load_checkpoint",
    "read_card",
    "save_checkpoint",
]

REQUIRED = ("preset", "data", "seed", "metrics")
_KEY = "course_lib_checkpoint"  # the one metadata entry of the safetensors header
_FORMAT = 1
_LARGEST_HEADER = 100_000_000  # bytes; the limit that safetensors itself sets
_DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}
_FOREIGN = {  # first bytes of files that people mistake for a checkpoint
    b"PK\x03\x04": "looks like a zip file, as torch.save writes them; that is a pickle inside, "
    "which can run code when it is opened, so it was not opened",
    b"\x80": "looks like a pickle, which can run code when it is opened, so it was not opened",
}


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or the file cannot be read into this model; says why."""


def save_checkpoint(path: str | os.PathLike[str], model: nn.Module, card: dict[str, Any]) -> None:
    """Write the weights of ``model`` and its ``card`` to the file ``path``.

    The file appears complete or not at all: a crash leaves an older file as it was. Missing
    folders are made. Tied weights are stored once. Weights keep their dtype and their exact bits;
    infinities are kept too, since a buffer may hold them on purpose (an attention mask).

    Args:
        path: The file to write, by convention ``*.safetensors``; an older one is replaced.
        model: Any module whose state consists of dense tensors, on any device except ``meta``.
        card: Must hold ``preset``, ``data``, ``seed`` and ``metrics`` (None where one does not
            apply) and may hold more. ``model`` (the class name), ``commit`` (of the course's
            repository, None outside one) and ``course_lib`` (the version) are added if absent.
            Values: None, bool, int, finite float, str, and lists and dicts of these.

    Raises:
        CheckpointError: The card is incomplete or is not strict JSON, a tensor cannot be stored,
            or ``path`` is a folder. Names the key, the tensor or the path.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"path: {path} is a folder; expected a file, such as {path / 'model.safetensors'}"
        )
    full_card = _complete_card(card, type(model).__name__)
    state = _state(model)

    # Tensors that are one and the same in memory are stored once, under the first of their names.
    first_name: dict[tuple[object, ...], str] = {}
    tied = {}
    tensors = {}
    for name, tensor in state.items():
        owner = first_name.setdefault(_identity(name, tensor), name)
        if owner == name:
            # A copy of its own: safetensors takes neither strides nor overlapping views.
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = owner

    record = {
        "format": _FORMAT,
        "card": full_card,
        "tied": tied,
        "tensors_sha256": tensors_digest(tensors),
    }
    record["sha256"] = _record_digest(record)
    content = safetensors.torch.save(tensors, metadata={_KEY: json.dumps(record, allow_nan=False)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(
            f"path: {path} cannot be written, because a part of {path.parent} is a file"
        ) from error
    write_atomically(path, content)


def load_checkpoint(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """Read the weights at ``path`` into ``model``, on the device where it is; return the card.

    Everything is checked first, so that the model is unchanged if an error is raised.

    Args:
        path: A file written by ``save_checkpoint``.
        model: Of the same class, with the same names, shapes and dtypes.

    Raises:
        CheckpointError: The file is missing, truncated, damaged or not a checkpoint, or it does not
            fit the model. Says which file and why, and names the tensors that differ.
    """
    path = Path(path)
    record, content = _read(path, whole=True)
    try:
        tensors = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if tensors_digest(tensors) != record["tensors_sha256"]:
        raise CheckpointError(f"{path} is damaged: the weights do not match their SHA-256 digest")
    tensors |= {name: tensors[owner] for name, owner in record["tied"].items()}
    _check_fit(path, record["card"], tensors, model)
    model.load_state_dict(tensors)
    return record["card"]


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the card of the checkpoint at ``path`` without reading its weights.

    Raises:
        CheckpointError: The file is missing, truncated or not a checkpoint, or its card is damaged.
    """
    record, _ = _read(Path(path), whole=False)
    return record["card"]


def _complete_card(card: Mapping[str, Any], class_name: str) -> dict[str, Any]:
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        raise CheckpointError(
            f"card: {_listed(missing)} missing; expected the keys {', '.join(REQUIRED)} "
            "(None where one does not apply)"
        )
    if card.get("model", class_name) != class_name:
        raise CheckpointError(
            f"card: 'model' is {card['model']!r}, but the model is a {class_name}; leave it out"
        )
    defaults = {
        "model": class_name,
        "commit": card["commit"] if "commit" in card else _commit(),
        "course_lib": course_lib.__version__,
    }
    return _strict_json(defaults | dict(card), "card")


def _strict_json(value: Any, where: str) -> Any:
    """A copy of ``value`` that JSON gives back exactly; an error that names the place otherwise."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise CheckpointError(f"{where}: the key {key!r} is not a string; use {str(key)!r}")
        return {key: _strict_json(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict_json(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise CheckpointError(
            f"{where} is {value}, which JSON cannot hold; store None, or a string that says why"
        )
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(
        f"{where} is of type {type(value).__name__}, which JSON cannot hold; expected None, bool, "
        "int, float, str, list or dict (for a tensor or an array: .item() or .tolist())"
    )


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The model's state, each entry checked to be a tensor that holds values."""
    problems = []
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            problems.append(f"{name} is extra state of type {type(value).__name__}, not a tensor")
        elif nn.parameter.is_lazy(value):
            problems.append(f"{name} is not initialised yet; run the model once")
        elif value.device.type == "meta":
            problems.append(f"{name} is on the device 'meta', so it holds no values")
        elif value.layout != torch.strided:
            problems.append(f"{name} is sparse; use to_dense()")
        elif value.dtype not in _DTYPES:
            problems.append(f"{name} has the dtype {value.dtype}, which is not supported")
        elif name == "__metadata__":
            problems.append("__metadata__ is a name that safetensors keeps for itself")
    if problems:
        raise CheckpointError(f"model: {type(model).__name__}: {_listed(problems)}")
    return state


def _identity(name: str, tensor: Tensor) -> tuple[object, ...]:
    """Equal for two tensors exactly if they are the same memory seen in the same way."""
    if tensor.numel() == 0:  # no memory, so nothing to share
        return (name,)
    return (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def _record_digest(record: Mapping[str, Any]) -> str:
    covered = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(covered, allow_nan=False).encode()).hexdigest()


def _read(path: Path, whole: bool) -> tuple[dict[str, Any], bytes]:
    """The verified record of the file, and its content (all of it, or only the header)."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(9)
            length = int.from_bytes(head[:8], "little")
            if head[8:] != b"{" or not 0 < length <= _LARGEST_HEADER:
                raise CheckpointError(f"{path} {_foreign(head)}")
            header = head[8:] + file.read(length - 1)
            content = head[:8] + header + (file.read() if whole else b"")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder, not a checkpoint file") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if len(header) < length:
        raise CheckpointError(
            f"{path} is truncated: its header needs {8 + length} bytes, the file has {size}"
        )
    try:
        entries = json.loads(header)
        text = entries.pop("__metadata__", {}).get(_KEY)
        needed = 8 + length + max((e["data_offsets"][1] for e in entries.values()), default=0)
        record = None if text is None else json.loads(text)
        intact = record is None or record["sha256"] == _record_digest(record)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged or foreign: its header cannot be read ({error})"
        ) from error
    if record is None:
        raise CheckpointError(
            f"{path} has no card: it was not written by save_checkpoint; to read plain safetensors "
            "files, use safetensors.torch.load_file"
        )
    if not intact:
        raise CheckpointError(f"{path} is damaged: its card does not match its SHA-256 digest")
    if record["format"] != _FORMAT:
        raise CheckpointError(
            f"{path} has the format {record['format']}, but course_lib {course_lib.__version__} "
            f"reads format {_FORMAT}; install the version that wrote it"
        )
    if size != needed:
        problem = "is truncated" if size < needed else "is damaged"
        raise CheckpointError(f"{path} {problem}: expected {needed} bytes, the file has {size}")
    return record, content


def _foreign(head: bytes) -> str:
    if not head:
        return "is empty (0 bytes)"
    if len(head) < 9:
        return f"is truncated: {len(head)} bytes are too few for a header"
    for magic, description in _FOREIGN.items():
        if head.startswith(magic):
            return description
    return "is not a checkpoint: it does not begin with a safetensors header"


def _check_fit(
    path: Path, card: Mapping[str, Any], tensors: Mapping[str, Tensor], model: nn.Module
) -> None:
    """Raise unless ``tensors`` can be copied into ``model`` one by one, losing nothing."""
    own = _state(model)
    problems = []
    if card["model"] != type(model).__name__:
        problems.append(f"it holds a {card['model']}")
    problems += [f"{name} is missing in the file" for name in own if name not in tensors]
    problems += [f"{name} is not in the model" for name in tensors if name not in own]
    groups: dict[tuple[object, ...], str] = {}
    for name in (name for name in own if name in tensors):
        here, there = own[name], tensors[name]
        if here.shape != there.shape:
            problems.append(
                f"{name} has the shape {tuple(there.shape)} in the file, {tuple(here.shape)} in "
                "the model"
            )
        if here.dtype != there.dtype:
            problems.append(f"{name} is {there.dtype} in the file, {here.dtype} in the model")
        partner = groups.setdefault(_identity(name, here), name)
        if partner != name and not _same_bits(there, tensors[partner]):
            problems.append(f"{name} and {partner} are tied in the model, but differ in the file")
    if problems:
        raise CheckpointError(
            f"{path} does not fit the model, a {type(model).__name__}: {_listed(problems)}"
        )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return tensors_digest({"": a}) == tensors_digest({"": b})


def _listed(items: Iterable[str], most: int = 6) -> str:
    items = list(items)
    rest = [f"and {len(items) - most} more"] if len(items) > most else []
    return "; ".join(items[:most] + rest)


def _commit() -> str | None:
    """Commit of the course's repository, ``-dirty`` added if files differ; None if there is none.

    Only a repository whose root holds ``course_lib`` counts: an installed package may lie inside
    somebody else's repository. A card without a commit is better than a training run lost at its
    end, so that a missing or failing git is no error.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    # Inside a git hook these variables point at another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(
            [*command, "--exclude=*"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
