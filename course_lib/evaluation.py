"""How good are the samples? Numbers beside the picture.

Two questions are kept apart because a model can do well on one and fail the other: *fidelity*
(does each sample look real?) and *coverage* (is every kind of real example produced?).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_lib.checks import check_samples
from course_lib.datasets import ImageData
from course_lib.training import Trainer, evaluating

# --- Points in the plane -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)  # == of tensors has no single truth value
class ModeReport:
    """Coverage of a mixture whose modes are known."""

    counts: Int[Tensor, " modes"]  # samples that lie within the radius of each mode
    covered: int  # modes with at least the minimum share of the samples
    on_mode_share: float  # share of samples that lie within the radius of any mode, in [0, 1]


def count_modes(
    points: Float[Tensor, "n dim"],
    centres: Float[Tensor, "modes dim"],
    radius: float | int,
    minimum_share: float | int = 0.01,
) -> ModeReport:
    """Assign each sample to its nearest mode and count the modes that are really covered.

    A sample counts for its nearest mode only if it lies within ``radius`` of it, and a mode
    counts as covered only if it receives at least ``minimum_share`` of all samples, so that a
    few stray points on their way between two modes do not count as coverage.

    Raises:
        ValueError: for no points, dimensions that differ, values that are not finite, or a radius
            or share out of range.
    """
    if points.ndim != 2 or centres.ndim != 2 or points.shape[1] != centres.shape[1]:
        raise ValueError(
            "points and centres must be (n, dim) and (modes, dim) with the same dim, got "
            f"{tuple(points.shape)} and {tuple(centres.shape)}"
        )
    if len(points) == 0 or len(centres) == 0:
        raise ValueError("points and centres must not be empty; draw some samples first")
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if not 0 < minimum_share <= 1:
        raise ValueError(f"minimum_share must be in (0, 1], got {minimum_share}")
    if not (points.isfinite().all() and centres.isfinite().all()):
        raise ValueError("points and centres must be finite; the model may have diverged")
    # In double precision, because cdist subtracts rounded squares where there are many points.
    distance, nearest = torch.cdist(points.double(), centres.double()).min(dim=1)
    counts = torch.bincount(nearest[distance <= radius], minlength=len(centres))
    return ModeReport(
        counts=counts,
        covered=int((counts >= minimum_share * len(points)).sum()),
        on_mode_share=float(counts.sum()) / len(points),
    )


# --- Images with classes -------------------------------------------------------------------------


class ReferenceClassifier(nn.Module):
    """A small convolutional network that judges samples; it returns class logits.

    Args:
        sample_shape: (channels, height, width); height and width at least 4.
        classes: number of classes.

    Raises:
        ValueError: for images that are too small.
    """

    def __init__(self, sample_shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10) -> None:
        super().__init__()
        channels, height, width = sample_shape
        if min(height, width) < 4:
            raise ValueError(
                f"sample_shape must have a height and width of at least 4, got {sample_shape}; the "
                "network halves both twice"
            )
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32 * (height // 4) * (width // 4), 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        return self.layers(x)


def train_reference_classifier(
    data: ImageData,
    *,
    steps: int = 300,
    seed: int = 0,
    device: str = "auto",
    progress: bool | None = None,
) -> ReferenceClassifier:
    """Train the judge on the training part of ``data`` (Adam, one-cycle learning rate).

    Args:
        steps: batches of 64 images; 300 are about five passes over ``mnist5k``.
        seed, device, progress: see :class:`course_lib.training.Trainer`.

    Returns:
        The judge, on the CPU and in evaluation mode.
    """
    trainer = Trainer(seed=seed, device=device, progress=progress)
    channels, height, width = data.train_images.shape[1:]
    classifier = ReferenceClassifier((channels, height, width), len(data.classes))
    (classifier,) = trainer.prepare(classifier)
    optimiser = torch.optim.Adam(classifier.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(steps, 1))
    trainer.prepare(optimiser, schedule)

    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": cross_entropy(classifier(images).float(), labels)}

    def step(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        metrics = trainer.minimise(loss, optimiser, images, labels)
        schedule.step()
        return metrics

    batch_size = min(64, len(data.train_images))
    trainer.fit(step, data.train_images, data.train_labels, batch_size=batch_size, steps=steps)
    return trainer.finish(classifier)


@dataclass(frozen=True, eq=False)  # == of tensors has no single truth value
class ClassReport:
    """Fidelity and coverage of labelled images, in the eyes of a classifier."""

    confident_share: float  # share of samples whose class is given at least the threshold
    class_counts: Int[Tensor, " classes"]  # confident samples a class
    covered: int  # classes that hold at least minimum_share of the samples, confidently


def judge(
    classifier: nn.Module,
    images: Float[Tensor, "n channels height width"],
    threshold: float | int = 0.9,
    minimum_share: float | int = 0.01,
) -> ClassReport:
    """Let a classifier judge images: how many is it sure of, and which classes are there?

    Being sure is necessary for a good sample and not sufficient: a classifier that was only shown
    digits may be sure of things that are none. So read the numbers beside those of real held-out
    images (the most one can hope for) and of noise (what the judge gives away).

    Args:
        classifier: returns class logits; it is used in evaluation mode.
        images: in [-1, 1], like the images it was trained on.
        threshold: the largest class probability from which on a sample counts as confident.
        minimum_share: share of all samples from which on a class counts as covered.

    Raises:
        ValueError: for no images, images that are not float, not finite or not in [-1, 1], or a
            threshold or share out of range.
    """
    check_samples(images, bounded=True, name="images")
    for name, value in {"threshold": threshold, "minimum_share": minimum_share}.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be in (0, 1], got {value}")
    parameter = next(classifier.parameters())
    with evaluating(classifier):
        logits = torch.cat(
            [classifier(part.to(parameter.device, parameter.dtype)) for part in images.split(1000)]
        ).cpu()
    probability, label = logits.float().softmax(dim=1).max(dim=1)
    counts = torch.bincount(label[probability >= threshold], minlength=logits.shape[1])
    return ClassReport(
        confident_share=float(counts.sum()) / len(images),
        class_counts=counts,
        covered=int((counts >= minimum_share * len(images)).sum()),
    )
