"""The memory that training is said to need, against counts by hand and against what torch holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from course_lib.memory import (
    Memory,
    kept_for_backward,
    readable,
    state_bytes,
    training_memory,
)

FLOAT = 4  # bytes


def network(device: str = "meta") -> nn.Module:
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1)).to(device)


def loss(model: nn.Module, batch: int = 7, device: str = "meta"):
    return lambda: model(torch.zeros(batch, 10, device=device)).square().sum()


def test_a_small_network_is_counted_as_by_hand() -> None:
    model = network()
    parameters = 10 * 20 + 20 + 20 * 1 + 1
    # Kept: the batch for the first weight, the ReLU's output, which serves the ReLU and the second
    # weight, and the last output for its square. The weights are kept too, and are no activations.
    activations = 7 * 10 + 7 * 20 + 7 * 1
    found = training_memory([loss(model)], [model])
    assert found == Memory(
        parameters=FLOAT * parameters,
        gradients=FLOAT * parameters,
        optimiser=FLOAT * 2 * parameters,
        average=0,
        activations=FLOAT * activations,
    )
    assert found.total == FLOAT * (4 * parameters + activations)


def test_a_moving_average_is_another_copy_with_its_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)).to("meta")
    found = training_memory([lambda: model(torch.zeros(4, 3, device="meta")).sum()], [model], model)
    buffers = FLOAT * (5 + 5) + 8  # running mean and variance, and the int64 count of batches
    assert found.average == found.parameters == FLOAT * (3 * 5 + 5 + 5 + 5) + buffers
    assert found.gradients == found.parameters - buffers


def test_what_is_frozen_has_neither_gradient_nor_moments() -> None:
    model = network()
    model[0].requires_grad_(False)
    found = training_memory([loss(model)], [model])
    assert found.gradients == FLOAT * 21 and found.optimiser == FLOAT * 42


def test_of_two_players_the_larger_graph_decides() -> None:
    small, large = network(), network()
    found = training_memory([loss(small, 3), loss(large, 11)], [small, large])
    assert found.activations == kept_for_backward(loss(large, 11), [small, large])
    assert found.parameters == 2 * FLOAT * 241


def test_tied_weights_count_once() -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    assert state_bytes(model) == FLOAT * 50 * 8


@given(st.integers(1, 9), st.integers(1, 30))
def test_activations_grow_with_the_batch(batch: int, factor: int) -> None:
    model = network()
    one, many = (kept_for_backward(loss(model, n), [model]) for n in (batch, batch * factor))
    assert many == factor * one


def test_the_meta_device_and_the_cpu_agree() -> None:
    def count(device: str) -> int:
        with torch.device(device):
            model = nn.Sequential(
                nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten()
            )
            image = torch.zeros(5, 1, 9, 9)
        return kept_for_backward(lambda: model(image).square().sum(), [model])

    assert count("meta") == pytest.approx(count("cpu"), rel=0.02)


def attending(device: str, time: int):
    with torch.device(device):
        project = nn.Linear(8, 24)
        x = torch.zeros(2, time, 8)

    def loss():
        query, key, value = project(x).view(2, time, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.square().sum()

    return loss, [project]


def test_attention_keeps_what_the_kernel_of_a_real_device_keeps() -> None:
    loss, (project,) = attending("cpu", 64)
    kept = {}
    with saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        loss()
    kept.pop(project.weight.data_ptr(), None)
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    # Queries, keys and values are three views of one memory, but three addresses.
    assert kept_for_backward(*attending("meta", 64)) == real - 2 * FLOAT * 2 * 64 * 24


def test_attention_keeps_no_table_of_all_pairs_of_tokens() -> None:
    short, long = (kept_for_backward(*attending("meta", time)) for time in (64, 128))
    assert long == 2 * short


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9_940, "9.9 kB")),
        *((14_306_816, "14 MB"), (999_000_000, "999 MB"), (1_300_000_000, "1.3 GB")),
        (2_500_000_000_000, "2500 GB"),
    ],
)
def test_bytes_are_written_for_people(size: int, text: str) -> None:
    assert readable(size) == text


def test_the_sentence_names_the_parts_that_there_are() -> None:
    text = str(Memory(14_306_816, 14_306_816, 28_613_632, 0, 1_000_000_000))
    assert text == (
        "about 1.1 GB: parameters 14 MB, gradients 14 MB, optimiser 29 MB, activations 1.0 GB"
    )
