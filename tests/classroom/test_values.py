"""Values survive the way between two processes, and a malformed message is refused."""

from __future__ import annotations

import io
import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classroom.values import (
    HEAD,
    MARK,
    MAX_MESSAGE,
    Decoder,
    Encoder,
    NotTransferable,
    Opaque,
    pack,
    read_message,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda deeper: (
        st.lists(deeper, max_size=4)
        | st.tuples(deeper, deeper)
        | st.dictionaries(st.text(max_size=5) | st.integers(), deeper, max_size=4)
    ),
    max_leaves=20,
)


def there_and_back(value):
    """The value after one message."""
    encoder = Encoder()
    tree = encoder(value)
    tree, buffers = read_message(io.BytesIO(pack(tree, encoder.buffers)))
    return Decoder(buffers)(tree)


@given(PLAIN)
def test_plain_values_come_back_with_their_types(value):
    found = there_and_back(value)
    assert repr(found) == repr(value)  # repr tells 1 from 1.0, and nan equals nan in it


@given(
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    st.lists(st.integers(0, 4), max_size=4),
    st.booleans(),
)
def test_tensors_come_back_bit_by_bit(dtype, shape, transposed):
    value = (torch.randn(shape) * 100).to(dtype)
    if transposed and len(shape) > 1:
        value = value.transpose(0, 1)  # not contiguous
    found = there_and_back(value)
    assert found.dtype == dtype and found.shape == value.shape
    assert torch.equal(found, value)


def test_special_values_come_back():
    stream = torch.Generator().manual_seed(3)
    torch.rand(5, generator=stream)
    value = {
        "sizes": torch.Size([2, 3]),
        "type": torch.float16,
        "numbers": {1, 2},
        "frozen": frozenset("ab"),
        "complex": complex(math.inf, -1),
        "range": range(3, 9, 2),
        "array": np.arange(6.0).reshape(2, 3),
        "scalar": np.float32(0.5),
        "large": 3**200,
        "flag": torch.ones(2, requires_grad=True),
        "meta": torch.empty(3, 4, device="meta"),
        "empty": torch.empty(0, 3),
    }
    found = there_and_back(value | {"stream": stream})
    assert torch.equal(torch.rand(4, generator=found["stream"]), torch.rand(4, generator=stream))
    assert found["sizes"] == (2, 3) and found["type"] is torch.float16
    assert found["flag"].requires_grad and found["flag"].is_leaf
    assert found["meta"].is_meta and found["meta"].shape == (3, 4)
    assert found["empty"].shape == (0, 3)
    assert np.array_equal(found["array"], value["array"]) and found["scalar"] == 0.5
    for key in ("numbers", "frozen", "complex", "range", "large"):
        assert found[key] == value[key]


class Lying:
    """Whatever it says of itself, it is an object that cannot be sent."""

    __class__ = torch.Tensor

    def __reduce__(self):
        raise SystemExit("unpickled")

    def __eq__(self, other):
        return True


def test_an_object_becomes_its_name_only():
    class Strange(Lying):
        pass

    found = there_and_back([Strange(), lambda: 0])
    assert isinstance(found[0], Opaque) and type(found[0]).__name__ == "Strange"
    assert found[0] != 1
    assert isinstance(found[1], Opaque)


def test_a_subclass_of_a_plain_type_loses_its_behaviour():
    class Always(str):
        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    assert isinstance(there_and_back(Always("x")), Opaque)


def test_aliases_of_arguments_are_the_arguments():
    first, second = torch.ones(2), torch.zeros(2)
    encoder = Encoder(known=[first, second])
    tree = encoder([second, first + 1])
    found = Decoder(encoder.buffers, known=[first, second])(tree)
    assert found[0] is second and torch.equal(found[1], first + 1)


def test_deep_and_endless_values_are_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(NotTransferable, match="deeper"):
        Encoder()(endless)
    with pytest.raises(NotTransferable, match="too many parts"):
        Encoder()([[0] * 1000] * 300)
    tree: object = 1
    for _ in range(100):
        tree = {"list": [tree]}
    with pytest.raises(NotTransferable, match="deeper"):
        Decoder([])(tree)


def test_a_buffer_that_is_named_again_and_again_is_no_way_to_fill_the_memory():
    tree = {"list": [{"tensor": ["uint8", [2**20], 0]}] * 300}
    with pytest.raises(NotTransferable, match="larger than what was sent"):
        Decoder([bytes(2**20)])(tree)


def test_what_is_too_long_is_refused_and_not_cut():
    for value in ("x" * (2**20 + 1), 10**5000):
        with pytest.raises(NotTransferable):
            Encoder()(value)
    for value in (-(10**3999), "x" * 2**20):
        assert there_and_back(value) == value


MALFORMED = {
    "a list": [1, 2],
    "an unknown kind": {"pickle": "gASVJA=="},
    "a private method": {"_build": 1},
    "a kind that is no text": {"tensor ": 1},
    "no content": {"tensor": None},
    "too few bytes": {"tensor": ["float32", [1000], 0]},
    "too many bytes": {"tensor": ["float32", [], 0]},
    "a negative length": {"tensor": ["float32", [-1], 0]},
    "a length that is no number": {"tensor": ["float32", ["9"], 0]},
    "a length that is true": {"tensor": ["float32", [True], 0]},
    "an unknown type": {"tensor": ["object", [1], 0]},
    "a missing buffer": {"tensor": ["float32", [2], 7]},
    "a negative buffer": {"tensor": ["float32", [2], -1]},
    "an array of objects": {"array": ["object", [1], 0]},
    "a state that is none": {"generator": 0},
    "an argument that was not there": {"known": 3},
    "a key that cannot be one": {"dict": [[{"list": []}, 1]]},
    "a pair that is none": {"dict": [[1]]},
    "a number of many digits": {"int": "9" * 10_000},
    "a device that is none": {"device": "nowhere:1"},
    "a range without a step": {"range": [0, 1, 0]},
    "a range of all numbers": {"range": [0, 10**10, 1]},
}


@pytest.mark.parametrize("tree", MALFORMED.values(), ids=MALFORMED)
def test_malformed_values_are_refused(tree):
    with pytest.raises(NotTransferable):
        Decoder([b"\0" * 8])(tree)


def test_malformed_messages_are_refused():
    good = pack({"list": [1]}, [b"abc"])
    read_message(io.BytesIO(good))
    large = HEAD.pack(MARK, MAX_MESSAGE + 1, 10)
    for bad in (b"x" * 40, large, HEAD.pack(MARK, 4, 0), HEAD.pack(MARK, 2, 3)):
        with pytest.raises(NotTransferable):
            read_message(io.BytesIO(bad))
    for text in (b"{", b"[]", b'{"tree": 1, "lengths": [-3]}', b'{"tree": 1, "lengths": [9]}'):
        with pytest.raises(NotTransferable):
            read_message(io.BytesIO(HEAD.pack(MARK, len(text), len(text)) + text))
    with pytest.raises(EOFError):
        read_message(io.BytesIO(good[:5]))
    with pytest.raises(NotTransferable, match="256 MB"):
        pack(None, [b"\0" * (MAX_MESSAGE + 1)])


def test_random_damage_never_does_more_than_to_be_refused():
    """Whatever bytes come, there is a value or NotTransferable, nothing else."""
    encoder = Encoder()
    value = [{"a": torch.arange(6.0).reshape(2, 3)}, (1, 2.5, "x"), np.ones(3), {3}]
    tree = json.dumps(encoder(value))
    noise = random.Random(0)
    refused = 0
    for _ in range(2000):
        letters = list(tree)
        for _ in range(noise.randint(1, 4)):
            letters[noise.randrange(len(letters))] = noise.choice('0123456789[]{}":,abtn-')
        try:
            Decoder(encoder.buffers)(json.loads("".join(letters)))
        except NotTransferable:
            refused += 1
        except json.JSONDecodeError:
            pass
    assert refused > 100
