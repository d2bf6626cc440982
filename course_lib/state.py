"""Nested Python values with tensors as one file: exact to the bit, checked, never unpickled.

The state of a run is a nest of dicts, lists and numbers with tensors in it (weights, optimisers,
random states). The tensors become a safetensors file; the nest, with a reference in the place of
each tensor, becomes JSON in its header.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from course_lib.files import tensors_digest

_KEY = "course_lib_state"


def pack(value: object) -> bytes:
    """The content of a file from which :func:`unpack` gives ``value`` back.

    Args:
        value: None, bool, int, float (NaN and infinities too), str, dense tensors, and dicts, lists
            and tuples of these; the keys of a dict are str or int. Tensors come back on the CPU.

    Raises:
        TypeError: for any other type; says where it is.
    """
    tensors: dict[str, Tensor] = {}
    nest = json.dumps(_take_apart(value, tensors, "state"))
    digest = tensors_digest(tensors) + hashlib.sha256(nest.encode()).hexdigest()
    return safetensors.torch.save(tensors, metadata={_KEY: nest, "sha256": digest})


def unpack(content: bytes) -> Any:
    """What was packed.

    Raises:
        ValueError: when the content is truncated, damaged, or was not written by :func:`pack`.
    """
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        nest, digest = header["__metadata__"][_KEY], header["__metadata__"]["sha256"]
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"it is truncated or is no saved state ({error})") from error
    if digest != tensors_digest(tensors) + hashlib.sha256(nest.encode()).hexdigest():
        raise ValueError("it is damaged: its content does not match its SHA-256 digest")
    return _put_together(json.loads(nest), tensors)


def _take_apart(value: object, tensors: dict[str, Tensor], where: str) -> Any:
    """JSON for ``value``: plain values as they are, everything else as [kind, content]."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy of its own: safetensors takes neither strides nor overlapping views.
        plain = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        tensors[name] = plain
        return ["tensor", name]
    if isinstance(value, list | tuple):
        parts = [_take_apart(item, tensors, f"{where}[{i}]") for i, item in enumerate(value)]
        return ["tuple" if isinstance(value, tuple) else "list", parts]
    if isinstance(value, dict) and all(type(key) in (str, int) for key in value):
        parts = [[key, _take_apart(v, tensors, f"{where}[{key!r}]")] for key, v in value.items()]
        return ["dict", parts]
    raise TypeError(f"{where} is of type {type(value).__name__}, which a state cannot hold")


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
