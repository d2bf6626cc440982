"""Binarised images against their greys, and distorted ones against SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from course_lib import augmentation
from course_lib.augmentation import augment, binarise


def test_a_pixel_is_white_with_the_probability_that_its_grey_says() -> None:
    grey = torch.tensor([-1.0, -0.5, 0.3, 1.0]).expand(20_000, 4)
    state = torch.get_rng_state()
    drawn = binarise(grey, seed=3)
    assert drawn.unique().tolist() == [-1, 1] and torch.equal(state, torch.get_rng_state())
    assert drawn.mean(0).tolist() == pytest.approx([-1, -0.5, 0.3, 1], abs=4 / math.sqrt(20_000))
    assert drawn[:, 0].unique().tolist() == [-1] and drawn[:, 3].unique().tolist() == [1]
    correlation = torch.corrcoef(drawn[:, 1:3].T)[0, 1].item()
    assert abs(correlation) < 4 / math.sqrt(20_000), "each pixel by itself"
    assert torch.equal(drawn, binarise(grey, seed=3))
    assert not torch.equal(drawn, binarise(grey, seed=4))
    assert binarise(grey[:9].double()).dtype == torch.float64
    with pytest.raises(ValueError, match=r"images must lie in \[-1, 1\]"):
        binarise(2 * grey)


def test_nothing_is_distorted_where_the_chance_is_one_half() -> None:
    images = torch.rand(3, 2, 5, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(augment(images, torch.full((3, 5), 0.5)), images)


@pytest.fixture
def distortions(monkeypatch) -> None:
    """Whatever the best ones are."""
    for name, value in {"ROTATION": 10.0, "SCALE": 0.1, "SHEAR": 0.1, "SHIFT": 2.0}.items():
        monkeypatch.setattr(augmentation, name, value)


def test_each_distortion_is_that_of_scipy(distortions) -> None:
    """Of images that are not square, with two channels, each distorted in its own way."""
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(4, 2, 9, 14, generator=stream) * 2 - 1
    chance = torch.rand(4, 5, generator=stream)
    found = augment(images, chance)
    for image, made, numbers in zip(images, found, (2 * chance - 1).tolist(), strict=True):
        angle, scale, shear = math.radians(10 * numbers[0]), 1 + 0.1 * numbers[1], 0.1 * numbers[2]
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix = np.array(rotation) / scale @ np.array([[1, shear], [0, 1]])  # of (x, y)
        matrix, shift = matrix[::-1, ::-1], 2 * np.array(numbers[:2:-1])  # of (row, column)
        centre = (np.array(image.shape[1:]) - 1) / 2
        for channel, other in zip(image, made, strict=True):
            expected = affine_transform(
                channel.double().numpy(),
                matrix,
                offset=centre - matrix @ centre + shift,
                order=0,
                mode="grid-constant",
                cval=-1,
            )
            np.testing.assert_allclose(other.numpy(), expected, atol=1e-5)


def test_distorted_images_stay_in_range_and_about_as_bright(distortions) -> None:
    x = torch.full((200, 1, 28, 28), -1.0)
    x[:, :, 9:19, 9:19] = 1  # in the middle, so that nothing leaves
    chance = torch.rand(200, 5, generator=torch.Generator().manual_seed(0))
    made = augment(x, chance)
    assert made.unique().tolist() == [-1, 1], "no new shade"
    assert len(made.flatten(1).unique(dim=0)) > 150, "each in its own way"
    assert made.mean().item() == pytest.approx(x.mean().item(), abs=0.02)
    columns = torch.arange(28.0) - 13.5
    centres = ((made + 1).sum((1, 2)) * columns).sum(1) / (made + 1).sum((1, 2, 3))
    assert 1.8 < centres.abs().max() < 2.6, (
        "by up to two pixels, and a little more where it also shrinks"
    )
    assert centres.std().item() == pytest.approx(2 / math.sqrt(3), rel=0.15)
