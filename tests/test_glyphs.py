"""course_lib.glyphs: every picture is what its factors say, and a person can read it."""

import math
import time

import pytest
import torch

from course_lib.datasets import BUILT_IN
from course_lib.glyphs import FONTS, LARGEST_ANGLE, glyphs


@pytest.fixture(scope="module")
def data():
    return glyphs(n=800)


def luminance(colours):
    """Relative luminance of sRGB colours (n, 3) in [0, 1] as in WCAG 2, which defines contrast."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ torch.tensor([0.2126, 0.7152, 0.0722])


def inks_and_grounds(data):
    """The darkest pixel and the corner of each picture, in [0, 1]."""
    images = (data.train_images + 1) / 2
    pixels = images.flatten(2)
    darkest = luminance(pixels.transpose(1, 2)).argmin(1)
    return pixels[torch.arange(len(pixels)), :, darkest], images[:, :, 0, 0]


def test_shapes_ranges_and_split(data):
    assert data.train_images.shape == (800, 3, 64, 64)
    assert data.test_images.shape == (200, 3, 64, 64)
    assert data.train_images.dtype == torch.float32
    assert data.train_images.min() >= -1 and data.train_images.max() <= 1
    assert data.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert data.train_labels[:52].tolist() == [*range(26), *range(26)]
    assert not (data.test_images[:26, None] == data.train_images[None, ::26]).all((2, 3, 4)).any()
    assert repr(data).startswith("GlyphData(glyphs: 800 training and 200 held-out images of 3×64")
    assert (data.source, data.licence) == (BUILT_IN["glyphs"].source, BUILT_IN["glyphs"].licence)


def test_factors(data):
    for images, labels, factors in (
        (data.train_images, data.train_labels, data.train_factors),
        (data.test_images, data.test_labels, data.test_factors),
    ):
        assert torch.equal(factors.letter, labels)
        assert all(len(getattr(factors, name)) == len(images) for name in vars(factors))
        assert factors.font.unique().tolist() == list(range(len(FONTS)))
        assert factors.ink.min() >= 0 and factors.ink.max() <= 360
        assert factors.ground.min() >= 0 and factors.ground.max() <= 360
        assert factors.angle.abs().max() <= LARGEST_ANGLE
    angles, inks, grounds = (getattr(data.train_factors, k) for k in ("angle", "ink", "ground"))
    # Uniform: the standard deviation of U(a, b) is (b − a)/√12; independent: no correlation.
    for values, width in ((angles, 2 * LARGEST_ANGLE), (inks, 360), (grounds, 360)):
        assert abs(values.std() / (width / math.sqrt(12)) - 1) < 6 / math.sqrt(800)
    correlations = torch.corrcoef(torch.stack([angles, inks, grounds])) - torch.eye(3)
    assert correlations.abs().max() < 6 / math.sqrt(800)


def test_ink_and_ground_have_good_contrast_and_the_stated_hue(data):
    ink, ground = inks_and_grounds(data)
    contrast = (luminance(ground) + 0.05) / (luminance(ink) + 0.05)
    assert contrast.min() > 4.5  # what WCAG 2.1 asks of text
    # OKLCH hues of the three primaries, from the paper: red 29°, green 142°, blue 264°.
    for hue, channel in ((29, 0), (142, 1), (264, 2)):
        near = (data.train_factors.ink - hue).abs() < 12
        assert near.sum() > 20
        assert (ink[near].argmax(1) == channel).all()


def test_letters_are_whole_and_in_the_middle(data):
    images = data.train_images
    ground = images[:, :, :1, :1]
    inked = (images != ground).any(1)
    edges = torch.cat([inked[:, 0], inked[:, -1], inked[:, :, 0], inked[:, :, -1]], dim=1)
    assert not edges.any()  # none is cut
    share = inked.float().mean((1, 2))
    assert share.min() > 0.03 and share.max() < 0.5
    rows = torch.arange(64.0)
    for axis in (1, 2):
        shadow = inked.any(axis)
        first = torch.where(shadow, rows, torch.inf).amin(1)
        last = torch.where(shadow, rows, -torch.inf).amax(1)
        middle = ((first + last) / 2)[data.train_factors.angle.abs() < 3]  # an L turns out of it
        assert (middle - 31.5).abs().max() < 3


def test_a_letter_can_be_told_from_its_pixels(data):
    """The nearest training picture by shape alone has the right letter far more often than chance.

    The other factors are disturbances here; guessing is right once in 26.
    """

    def shapes(images):
        return (images - images[:, :, :1, :1]).abs().mean(1).flatten(1).sqrt()

    nearest = torch.cdist(shapes(data.test_images), shapes(data.train_images)).argmin(1)
    assert (data.train_labels[nearest] == data.test_labels).float().mean() > 0.6


def test_the_angle_turns_counter_clockwise():
    """The upright stroke of an I leans to the left when it is turned counter-clockwise."""
    data = glyphs(n=200, letters="I")
    inked = (data.train_images - data.train_images[:, :, :1, :1]).abs().mean(1)
    x, y = torch.meshgrid(torch.arange(64.0) - 31.5, torch.arange(64.0) - 31.5, indexing="xy")
    total = inked.sum((1, 2))
    lean = -(inked * x * y).sum((1, 2)) / (inked * y * y).sum((1, 2))
    assert (total > 0).all()
    upright = torch.tensor([i for i, font in enumerate(FONTS) if font == "DejaVuSans"])
    chosen = torch.isin(data.train_factors.font, upright)
    angles = data.train_factors.angle[chosen]
    expected = -(angles * math.pi / 180).tan()
    # Upwards is negative y: a lean to the left means x and y have the same sign above the middle.
    torch.testing.assert_close(lean[chosen], expected, atol=0.05, rtol=0.05)


def test_seed_and_global_random_state():
    first = glyphs(n=40, seed=3)
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    second = glyphs(n=40, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.train_images, second.train_images)
    assert torch.equal(first.test_factors.angle, second.test_factors.angle)
    assert not torch.equal(first.train_images, glyphs(n=40, seed=4).train_images)


def test_fast_enough():
    start = time.process_time()
    glyphs()
    assert time.process_time() - start < 10  # about 3 s; a busy machine is slower


@pytest.mark.parametrize("size", [16, 28, 32])
def test_other_sizes_and_letters(size):
    data = glyphs(size=size, n=10, letters="az09é")
    assert data.train_images.shape == (10, 3, size, size)
    assert data.classes == ("a", "z", "0", "9", "é")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 15}, "^size: 15; expected a whole number"),
        ({"n": 0}, "^n: 0; expected a whole number"),
        ({"letters": ""}, "^letters: ''; expected at least one"),
        ({"letters": "ABA"}, "^letters: 'ABA'; .*only once"),
        ({"letters": "A漢"}, "^letters: the font DejaVuSans cannot draw '漢'"),
        ({"letters": "A "}, "^letters: the font DejaVuSans cannot draw ' '"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        glyphs(**change)
