"""Values on their way between two processes, one of which nobody trusts.

A value becomes a tree of JSON and a list of buffers. Nothing is ever unpickled: what comes back is
built here, from a closed list of kinds, and is a plain Python value or a plain tensor whatever the
other side claims. The sizes of messages, texts and values are limited.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch

MAX_MESSAGE = 256 * 2**20  # bytes of one message
MAX_JSON = 2**23  # bytes of the JSON text of one message
MAX_TEXT = 2**20  # characters of one string
MAX_DIGITS = 4000  # of a whole number
MAX_DEPTH = 50
MAX_NODES = 200_000

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *(torch.complex64, torch.complex128),
    )
}


class NotTransferable(ValueError):
    """A message or a value that breaks the rules."""


class Opaque:
    """Stands for an object that cannot be sent; the name of its class is all that is known."""

    def __repr__(self) -> str:
        return f"<an object of the class {type(self).__name__}>"


class Encoder:
    """Turns values into trees; remembers the tensors it met, for what happens to them later."""

    def __init__(self, known: Sequence[torch.Tensor] = ()) -> None:
        self.known = {id(tensor): number for number, tensor in enumerate(known)}
        self.buffers: list[bytes] = []
        self.tensors: list[torch.Tensor] = []  # in the order in which Decoder.tensors has them
        self.containers: list[list | dict | set] = []  # the same for what can be changed in place
        self.nodes = 0

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NotTransferable(f"a value nests deeper than {MAX_DEPTH} or has too many parts")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            if len(value) > MAX_TEXT:
                raise NotTransferable(f"a text of {len(value)} characters is too long")
            return value
        if kind is int:
            if abs(value) >= 10**MAX_DIGITS:
                raise NotTransferable(f"a whole number of more than {MAX_DIGITS} digits")
            return {"int": str(value)} if abs(value) > 2**53 else value
        if kind is float:
            return value if math.isfinite(value) else {"float": str(value)}
        if issubclass(kind, torch.Tensor):  # isinstance believes what an object says of itself
            return self.tensor(value)
        deeper = depth + 1
        if kind in (tuple, list, set, frozenset):
            if kind in (list, set):
                self.containers.append(value)
            return {kind.__name__: [self(each, deeper) for each in value]}
        if issubclass(kind, tuple):  # torch.Size, named results of torch
            return {"tuple": [self(each, deeper) for each in value]}
        if issubclass(kind, dict):
            if kind is dict:
                self.containers.append(value)
            return {"dict": [[self(k, deeper), self(v, deeper)] for k, v in value.items()]}
        if kind is complex:
            return {"complex": [self(value.real), self(value.imag)]}
        if kind is range:
            return {"range": [value.start, value.stop, value.step]}
        if issubclass(kind, np.ndarray | np.generic):
            return self.array(value)
        if kind is torch.dtype and str(value).removeprefix("torch.") in DTYPES:
            return {"dtype": str(value).removeprefix("torch.")}
        if kind is torch.device:
            return {"device": str(value)}
        if kind is torch.Generator:
            return {"generator": self.buffer(value.get_state().numpy().tobytes())}
        return {"opaque": kind.__name__[:80]}

    def buffer(self, content: bytes) -> int:
        self.buffers.append(content)
        return len(self.buffers) - 1

    def array(self, value: np.ndarray | np.generic) -> Any:
        name = str(value.dtype)
        if name not in DTYPES:
            return {"opaque": type(value).__name__}
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        content = self.buffer(np.ascontiguousarray(value).tobytes())
        return {kind: [name, list(np.shape(value)), content]}

    def tensor(self, value: torch.Tensor) -> Any:
        if id(value) in self.known:  # the other side has it: it is one of the arguments
            return {"known": self.known[id(value)]}
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES or value.layout != torch.strided:
            return {"opaque": type(value).__name__}
        self.tensors.append(value)
        size = value.numel() * value.element_size()
        if size > MAX_MESSAGE:
            raise NotTransferable(f"a tensor of {size / 2**20:.0f} MB is too large")
        content = None if value.is_meta else self.buffer(raw(value))
        return {
            "tensor": [name, list(value.shape), content],
            "grad": value.requires_grad,
        }


def raw(value: torch.Tensor) -> bytes:
    """The numbers of a tensor, in the order of its elements."""
    plain = value.detach().resolve_conj().resolve_neg().cpu().reshape(-1)
    # A copy: one element of an expanded tensor has a stride that view() does not take.
    plain = plain.clone(memory_format=torch.contiguous_format)
    return plain.view(torch.uint8).numpy().tobytes()


class Decoder:
    """Builds values from trees. Raises NotTransferable for whatever is not exactly as expected."""

    def __init__(self, buffers: Sequence[bytes], known: Sequence[torch.Tensor] = ()) -> None:
        self.buffers, self.known = buffers, known
        self.tensors: list[torch.Tensor] = []
        self.containers: list[list | dict | set] = []
        self.depth = self.nodes = 0
        self.room = MAX_MESSAGE  # a buffer may be named again and again

    def take(self, number: Any) -> bytearray:
        """A copy of a buffer."""
        content = self.buffers[length(number)]
        self.room -= len(content)
        if self.room < 0:
            raise NotTransferable("the tensors are larger than what was sent")
        return bytearray(content)

    def __call__(self, tree: Any) -> Any:
        self.nodes += 1
        if self.depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NotTransferable(f"a value nests deeper than {MAX_DEPTH} or has too many parts")
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        if type(tree) is not dict or not tree:
            raise NotTransferable("a value of an unknown kind")
        kind, content = next(iter(tree.items()))
        build: Callable[[Any], Any] | None = getattr(self, f"build_{kind}", None)
        if build is None:
            raise NotTransferable(f"a value of the unknown kind {str(kind)[:40]!r}")
        self.depth += 1
        try:
            value = build(content)
        except NotTransferable:
            raise
        except (TypeError, ValueError, IndexError, KeyError, OverflowError, RuntimeError) as error:
            raise NotTransferable(f"a malformed value of the kind {kind!r}: {error}") from None
        self.depth -= 1
        if kind == "tensor" and tree.get("grad") is True and value.is_floating_point():
            value.requires_grad_()
        return value

    def build_int(self, digits: str) -> int:
        if len(digits) > MAX_DIGITS + 1:
            raise ValueError("too many digits")
        return int(digits)

    def build_float(self, name: str) -> float:
        return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[name]

    def build_tuple(self, parts: list) -> tuple:
        return tuple(self(each) for each in parts)

    def build_list(self, parts: list) -> list:
        made: list = []
        self.containers.append(made)
        made.extend(self(each) for each in parts)
        return made

    def build_set(self, parts: list) -> set:
        made: set = set()
        self.containers.append(made)
        made.update(self(each) for each in parts)
        return made

    def build_frozenset(self, parts: list) -> frozenset:
        return frozenset(self(each) for each in parts)

    def build_dict(self, pairs: list) -> dict:
        made: dict = {}
        self.containers.append(made)
        made.update((self(key), self(value)) for key, value in pairs)
        return made

    def build_complex(self, parts: list) -> complex:
        return complex(self(parts[0]), self(parts[1]))

    def build_range(self, parts: list) -> range:
        start, stop, step = parts
        made = range(start, stop, step)
        if len(made) > MAX_NODES:
            raise ValueError("too long a range")
        return made

    def build_dtype(self, name: str) -> torch.dtype:
        return DTYPES[name]

    def build_device(self, name: str) -> torch.device:
        return torch.device(name)

    def build_opaque(self, name: str) -> Opaque:
        safe = "".join(c for c in str(name) if c.isalnum() or c == "_")[:80] or "unknown"
        return type(safe, (Opaque,), {})()

    def build_generator(self, number: int) -> torch.Generator:
        stream = torch.Generator()
        stream.set_state(torch.frombuffer(self.take(number), dtype=torch.uint8))
        return stream

    def build_array(self, parts: list) -> np.ndarray:
        name, shape, number = parts
        found = np.frombuffer(self.take(number), dtype=np.dtype(str(DTYPES[name])[6:]))
        return found.reshape([length(each) for each in shape])

    def build_scalar(self, parts: list) -> Any:
        return self.build_array(parts)[()]

    def build_known(self, number: int) -> torch.Tensor:
        return self.known[length(number)]

    def build_tensor(self, parts: list) -> torch.Tensor:
        name, shape, number = parts
        dtype, shape = DTYPES[name], [length(each) for each in shape]
        if number is None:
            made = torch.empty(shape, dtype=dtype, device="meta")
        else:
            content = self.take(number)
            if len(content) != math.prod(shape) * dtype.itemsize:
                raise ValueError("the number of bytes does not fit the shape")
            made = (
                torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
            made = made.reshape(shape)
        self.tensors.append(made)
        return made


def length(value: Any) -> int:
    """A whole number that can be a length or an index."""
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a whole number from 0 on, got {str(value)[:20]!r}")
    return value


# --- Messages ------------------------------------------------------------------------------------

HEAD = struct.Struct("!4sQI")
MARK = b"ANSW"


def pack(tree: Any, buffers: Sequence[bytes]) -> bytes:
    """One message: a head, the JSON text with the lengths of the buffers, the buffers."""
    text = json.dumps({"tree": tree, "lengths": [len(each) for each in buffers]}).encode()
    total = len(text) + sum(len(each) for each in buffers)
    if len(text) > MAX_JSON:
        raise NotTransferable("a message with too many parts")
    if total > MAX_MESSAGE:
        raise NotTransferable(f"a message of {total / 2**20:.0f} MB; the limit is 256 MB")
    return b"".join([HEAD.pack(MARK, total, len(text)), text, *buffers])


def unpack_head(head: bytes) -> tuple[int, int]:
    """(bytes that follow, bytes of the text)."""
    mark, total, text = HEAD.unpack(head)
    if mark != MARK or not 0 < text <= min(total, MAX_JSON) or total > MAX_MESSAGE:
        raise NotTransferable("the head of a message is wrong")
    return total, text


def unpack_body(body: bytes, text: int) -> tuple[Any, list[bytes]]:
    """(the tree, the buffers) of a message."""
    try:
        found = json.loads(body[:text])
        tree, lengths = found["tree"], [length(each) for each in found["lengths"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotTransferable(f"the text of a message is malformed: {error}") from None
    if sum(lengths) != len(body) - text:
        raise NotTransferable("the lengths of the buffers do not add up")
    view, buffers, at = memoryview(body), [], text
    for each in lengths:
        buffers.append(bytes(view[at : at + each]))
        at += each
    return tree, buffers


def read_message(stream: BinaryIO) -> tuple[Any, list[bytes]]:
    """The next message of a blocking stream; EOFError at its end. For the sandboxed side."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        raise EOFError
    total, text = unpack_head(head)
    return unpack_body(stream.read(total), text)
