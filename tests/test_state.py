"""A state comes back exactly, or not at all."""

import math
import random
import re
import struct
from fractions import Fraction

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.state import pack, unpack

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
)


def same(a: object, b: object) -> bool:
    """Equal in value, in type (a tuple is no list, 1 is neither True nor 1.0) and in every bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        one, other = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
        return torch.equal(one, other)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = [(type(key), key) for key in a] == [(type(key), key) for key in b]
        return keys and all(map(same, a.values(), b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return a == b


def tensor_of(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    """Any bits at all: NaNs with a content, infinities, numbers too small to be normal."""
    tensor = torch.empty(shape, dtype=dtype)
    raw = bytearray(random.Random(seed).randbytes(tensor.nbytes))
    if tensor.numel() and dtype == torch.bool:
        return torch.frombuffer(raw, dtype=torch.uint8).reshape(shape) % 2 == 1
    return torch.frombuffer(raw, dtype=dtype).reshape(shape) if tensor.numel() else tensor


tensors = st.builds(
    tensor_of,
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=4),
    st.integers(0, 2**32),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
keys = st.text() | st.integers()


def nested(content: st.SearchStrategy) -> st.SearchStrategy:
    lists = st.lists(content, max_size=4)
    return lists | lists.map(tuple) | st.dictionaries(keys, content, max_size=4)


nests = st.recursive(plain | tensors, nested, max_leaves=12)

EXAMPLE = {
    "step": 3,
    "weights": {"a": torch.arange(5.0), "flags": torch.tensor([True, False])},
    7: (math.nan, -math.inf, None, ["é", False]),
}


@settings(max_examples=200)
@given(nests)
def test_what_was_packed_comes_back_exactly(value: object) -> None:
    assert same(unpack(pack(value)), value)


def test_the_comparison_of_these_tests_sees_differences() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    for a, b in [(1, True), (1, 1.0), (0.0, -0.0), ((1,), [1]), ({1: 2}, {"1": 2}), (zero, one)]:
        assert same(a, a) and not same(a, b)
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1}), "the order of a dict is part of it"
    assert not same(torch.zeros(2), torch.zeros(2, dtype=torch.float64))


def test_memory_formats_views_and_gradients_are_no_obstacle() -> None:
    image = torch.arange(48.0).reshape(2, 2, 3, 4).to(memory_format=torch.channels_last)
    whole = torch.arange(10)
    weight = nn.Parameter(torch.ones(2))
    nest = {"image": image, "views": [whole[::3], whole[2:5], whole.expand(2, 10)], "w": weight}
    found = unpack(pack(nest))
    assert torch.equal(found["image"], image) and torch.equal(found["w"], weight.detach())
    assert all(map(torch.equal, found["views"], nest["views"]))
    assert not found["w"].requires_grad


def test_a_state_is_not_tied_to_what_it_was_made_of() -> None:
    weight = torch.zeros(3)
    content = pack(weight)
    weight += 1
    found = unpack(content)
    assert not found.any()
    found += 1
    assert not unpack(content).any()


def test_the_states_of_real_optimisers_and_random_generators_come_back() -> None:
    model = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=9)
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    schedule.step()
    nest = [optimiser.state_dict(), schedule.state_dict(), random.getstate(), torch.get_rng_state()]
    assert same(unpack(pack(nest)), nest)


# --- Damage --------------------------------------------------------------------------------------


def test_a_truncated_state_is_refused_wherever_it_ends() -> None:
    content = pack(EXAMPLE)
    for length in range(len(content)):
        with pytest.raises(ValueError, match="truncated or is no saved state"):
            unpack(content[:length])
    with pytest.raises(ValueError):
        unpack(content + b"\0")


def test_every_flipped_bit_is_noticed() -> None:
    """In the header too, where it may name another tensor, type or key."""
    content = pack({"weights": torch.tensor([1.5, -2.0]), "step": 12})
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            with pytest.raises(ValueError, match=r"^it is (truncated|damaged)"):
                unpack(bytes(damaged))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_state(content: bytes) -> None:
    with pytest.raises(ValueError, match="truncated or is no saved state"):
        unpack(content)


def test_other_safetensors_files_are_no_state() -> None:
    for metadata in (None, {"course_lib_state": "3"}, {"sha256": "0"}):
        content = safetensors.torch.save({"a": torch.zeros(1)}, metadata=metadata)
        with pytest.raises(ValueError, match="is no saved state"):
            unpack(content)


# --- What it cannot hold -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {2}]}, "state['a'][1] is of type set"),
        ({3: (None, Fraction(1, 2))}, "state[3][1] is of type Fraction"),
        ([np.zeros(2)], "state[0] is of type ndarray"),
        (nn.Linear(1, 1), "state is of type Linear"),
        ({"a": {1.5: 0}}, "state['a'] is of type dict"),
        ({"a": {True: 0}}, "state['a'] is of type dict"),
        (1j, "state is of type complex"),
        (b"bytes", "state is of type bytes"),
    ],
)
def test_other_types_are_refused_and_the_place_is_named(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^{re.escape(message)}, which a state cannot hold$"):
        pack(value)
