"""Coverage and fidelity are counted right, on examples made by hand and on real digits."""

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_lib.datasets import digits
from course_lib.evaluation import (
    ReferenceClassifier,
    count_modes,
    judge,
    train_reference_classifier,
)

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])
clouds = st.lists(st.tuples(*2 * [st.floats(-5, 5, width=32)]), min_size=1, max_size=60).map(
    torch.tensor
)


# --- Modes ---------------------------------------------------------------------------------------


def test_points_are_counted_for_the_nearest_mode_within_the_radius() -> None:
    points = torch.tensor([[0.0, 0.1], [0.5, 0.0], [0.0, 3.7], [4.0, 4.2], [2.0, 2.0], [9.0, 9.0]])
    report = count_modes(points, CORNERS, radius=0.5)
    assert report.counts.tolist() == [2, 1, 0, 1], "a point at the radius counts"
    assert report.covered == 3
    assert report.on_mode_share == pytest.approx(4 / 6)


def test_a_point_counts_once_where_modes_overlap() -> None:
    report = count_modes(torch.tensor([[0.4], [0.6]]), torch.tensor([[0.0], [1.0]]), radius=10)
    assert report.counts.tolist() == [1, 1] and report.on_mode_share == 1


@pytest.mark.parametrize("share", [0.01, 0.07, 0.14, 0.29, 0.57, 1])
def test_a_mode_is_covered_from_exactly_the_minimum_share_on(share: float) -> None:
    """7 of 100 is a share of 0.07, although 0.07 * 100 rounds to more than 7."""
    hits = round(100 * share)
    points = torch.full((100, 1), 99.0)
    points[:hits] = 0
    assert count_modes(points, torch.zeros(1, 1), 1, share).covered == 1
    points[hits - 1] = 99
    assert count_modes(points, torch.zeros(1, 1), 1, share).covered == 0


def test_counting_is_exact_far_from_the_origin_and_for_many_points() -> None:
    """Beyond 25 points cdist subtracts two large, rounded squares."""
    centres = torch.tensor([[1000.0, 1000.0]])
    inside, outside = torch.tensor([[0.2, 0.0]]), torch.tensor([[0.3, 0.0]])
    points = torch.cat([centres + inside.expand(50, 2), centres + outside.expand(50, 2)])
    assert count_modes(points, centres, radius=0.25).counts.tolist() == [50]


@given(clouds, st.floats(0.01, 3), st.randoms(use_true_random=False))
def test_the_order_of_points_and_modes_does_not_matter(points, radius: float, random) -> None:
    report = count_modes(points, CORNERS, radius)
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = count_modes(points[order], CORNERS, radius)
    assert torch.equal(shuffled.counts, report.counts) and shuffled.covered == report.covered
    turned = count_modes(points, CORNERS.flip(0), radius)
    assert turned.on_mode_share == report.on_mode_share


@given(clouds, st.floats(0.01, 1.9))
def test_counts_agree_with_counting_one_by_one(points, radius: float) -> None:
    report = count_modes(points, CORNERS, radius, minimum_share=0.1)
    counts = [0] * 4
    for point in points.tolist():
        distances = [math.dist(point, centre) for centre in CORNERS.tolist()]
        if min(distances) <= radius:
            counts[distances.index(min(distances))] += 1
    assert report.counts.tolist() == counts
    assert report.on_mode_share == sum(counts) / len(points)
    assert report.covered == sum(n / len(points) >= 0.1 for n in counts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(0, 2), CORNERS, 1), "must not be empty; draw some samples"),
        ((CORNERS, torch.zeros(0, 2), 1), "must not be empty"),
        ((torch.zeros(5, 3), CORNERS, 1), r"same dim, got \(5, 3\) and \(4, 2\)"),
        ((torch.zeros(5), CORNERS, 1), r"got \(5,\)"),
        ((CORNERS, CORNERS, 0), "radius must be positive, got 0"),
        ((CORNERS, CORNERS, math.nan), "radius must be positive, got nan"),
        ((CORNERS, CORNERS, 1, 0), r"minimum_share must be in \(0, 1\], got 0"),
        ((CORNERS, CORNERS, 1, 1.01), "minimum_share"),
        ((CORNERS * torch.nan, CORNERS, 1), "must be finite; the model may have diverged"),
        ((CORNERS, CORNERS / 0, 1), "must be finite"),
    ],
)
def test_bad_points_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(count_modes)(*arguments)


# --- Images --------------------------------------------------------------------------------------


SCALE = 25.0  # logits for each unit of brightness, so that images lie in [-1, 1]


class Reader(nn.Module):
    """Reads the logits of four classes off the four pixels of an image; dropout shows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return self.dropout(self.scale * x.flatten(1))


def image(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log().reshape(1, 2, 2) / SCALE


SURE = [image(0.97, 0.01, 0.01, 0.01), image(0.02, 0.94, 0.02, 0.02), image(0.01, 0.97, 0.01, 0.01)]
UNSURE = [image(0.25, 0.25, 0.25, 0.25), image(0.1, 1e-9, 0.05, 0.85)]


def test_confident_images_are_counted_by_class() -> None:
    report = judge(Reader(), torch.stack(SURE + UNSURE))
    assert report.class_counts.tolist() == [1, 2, 0, 0]
    assert report.covered == 2
    assert report.confident_share == pytest.approx(3 / 5)


@pytest.mark.parametrize(("threshold", "sure"), [(0.2, 5), (0.84, 4), (0.86, 3), (0.95, 2), (1, 0)])
def test_the_threshold_decides_who_is_sure(threshold: float, sure: int) -> None:
    report = judge(Reader(), torch.stack(SURE + UNSURE), threshold=threshold)
    assert report.confident_share == pytest.approx(sure / 5)


def test_a_class_is_covered_from_the_minimum_share_on() -> None:
    images = torch.stack(SURE + UNSURE)
    assert judge(Reader(), images, minimum_share=0.2).covered == 2
    assert judge(Reader(), images, minimum_share=0.21).covered == 1
    assert judge(Reader(), images, minimum_share=0.41).covered == 0


def test_many_images_are_judged_in_parts() -> None:
    report = judge(Reader(), torch.stack(SURE).repeat(700, 1, 1, 1))
    assert report.class_counts.tolist() == [700, 1400, 0, 0] and report.confident_share == 1


@pytest.mark.parametrize("training", [True, False])
def test_judging_restores_the_mode(training: bool) -> None:
    classifier = Reader().train(training)
    judge(classifier, torch.stack(SURE))
    assert classifier.training is classifier.dropout.training is training


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.zeros(0, 1, 2, 2), {}, "^images must be .*at least one example"),
        (torch.stack(SURE), {"threshold": 0}, r"threshold must be in \(0, 1\], got 0"),
        (torch.stack(SURE), {"threshold": 90}, "threshold must be"),
        (torch.stack(SURE), {"minimum_share": 0}, "minimum_share must be"),
        (torch.stack(SURE), {"threshold": math.nan}, "got nan"),
        (torch.stack(SURE) * torch.nan, {}, "images holds NaN or infinite values in 3 of 3"),
        (torch.full((2, 1, 2, 2), 255.0), {}, r"images must lie in \[-1, 1\].*x / 127.5 - 1"),
        (torch.full((2, 1, 2, 2), -1.01), {}, r"images must lie in \[-1, 1\]"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), {}, "float tensor .*uint8.*images.float"),
    ],
)
def test_bad_images_and_shares_are_refused(images, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(judge)(Reader(), images, **options)


@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((3, 9, 6), 4), ((1, 4, 4), 2)])
def test_the_classifier_fits_its_images(shape: tuple[int, int, int], classes: int) -> None:
    assert ReferenceClassifier(shape, classes)(torch.zeros(5, *shape)).shape == (5, classes)


@pytest.mark.parametrize("shape", [(1, 3, 28), (1, 28, 3)])
def test_images_too_small_for_the_classifier_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"height and width of at least 4, got \(1, "):
        ReferenceClassifier(shape)


def test_a_classifier_of_low_precision_is_judged_like_any_other() -> None:
    """Between 0.996 and 1 there is no bfloat16: a softmax in it would be sure beyond doubt."""
    sure = image(0.9985, 0.0005, 0.0005, 0.0005)[None]
    classifier = Reader().to(torch.bfloat16)
    assert judge(classifier, sure, threshold=0.99).confident_share == 1
    assert judge(classifier, sure, threshold=0.9995).confident_share == 0


def test_reports_compare_by_identity_for_tensors_have_no_truth() -> None:
    modes = [count_modes(CORNERS, CORNERS, 1) for _ in range(2)]
    classes = [judge(Reader(), torch.stack(SURE)) for _ in range(2)]
    for first, second in (modes, classes):
        assert first == first and first != second and len({first, second}) == 2


@pytest.fixture(scope="module")
def classifier() -> ReferenceClassifier:
    pytest.importorskip("sklearn")
    return train_reference_classifier(digits(), steps=250, device="cpu")


def test_the_reference_classifier_learns_held_out_digits(classifier) -> None:
    data = digits()
    assert not classifier.training
    with torch.no_grad():
        accuracy = (classifier(data.test_images).argmax(1) == data.test_labels).float().mean()
    assert accuracy > 0.96
    real = judge(classifier, data.test_images)
    assert real.covered == 10 and 0.88 < real.confident_share <= 1
    noise = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert judge(classifier, noise).confident_share < 0.2


def test_training_the_judge_is_deterministic_and_seeded() -> None:
    pytest.importorskip("sklearn")
    first, again, other = (
        train_reference_classifier(digits(), steps=2, seed=seed, device="cpu").layers[0].weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_judge_refuses_a_negative_number_of_steps_and_takes_zero() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match=r"steps must be a whole number .*0 or more; got -1"):
        train_reference_classifier(digits(), steps=-1)
    assert not train_reference_classifier(digits(), steps=0).training
