"""What the exercises of chapter 05 teach is what the library does."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch

from course_lib import dcgan, gan


@pytest.fixture
def answer(solution):
    return functools.partial(solution, "05_gan_in_practice")


def test_sizes(answer):
    convolution, transposed = answer("convolution_size"), answer("transposed_size")
    for setting in itertools.product(range(5, 9), range(1, 6), range(1, 4), range(3)):
        assert convolution(*setting) == dcgan.convolution_size(*setting)
        assert transposed(*setting) == dcgan.transposed_convolution_size(*setting)


def test_sample(answer):
    generator, _ = gan.build(gan.configure("tiny"), (2,))
    torch.testing.assert_close(answer("sample")(generator, 5, 3), gan.sample(generator, 5, seed=3))


def test_walk(answer):
    start, end = torch.randn(2, 16)
    expected = dcgan.interpolate(start, end, 7)
    torch.testing.assert_close(answer("walk")(start, end, 7), expected, atol=1e-5, rtol=1e-5)
