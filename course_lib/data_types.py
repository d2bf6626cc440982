"""What a data set is: labelled images, points on a plane, or text; always with a held-out part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["PADDING", "ImageData", "PointData", "TextData"]

PADDING = -1  # in place of a token after the end of a text shorter than others of its batch


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Labelled images with a held-out part.

    Attributes:
        name: Short name, such as "mnist5k".
        train_images, test_images: In [−1, 1]; −1 is the background of the digits, 1 the ink.
        train_labels, test_labels: Index into ``classes``.
        classes: Name of each class.
        source: Who made the data, and how they come here.
        licence: Terms of the data.

    Raises:
        ValueError: There is no training image, images are not float32 of the shape (N, C, H, W),
            labels are not int64 of the shape (N,), the two do not match in number, or a value is
            NaN or out of range.
    """

    name: str
    train_images: Float[Tensor, "train channels height width"]
    train_labels: Int[Tensor, " train"]
    test_images: Float[Tensor, "test channels height width"]
    test_labels: Int[Tensor, " test"]
    classes: tuple[str, ...]
    source: str
    licence: str

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            for kind, dtype in {"images": torch.float32, "labels": torch.int64}.items():
                given = getattr(self, f"{part}_{kind}")
                came = given.dtype if isinstance(given, Tensor) else type(given).__name__
                if came != dtype:
                    raise ValueError(
                        f"{part}_{kind}: {came}; expected a tensor of {dtype} (a NumPy array: "
                        f"torch.from_numpy(array); another dtype: .to({dtype}))"
                    )
        if len(self.train_images) == 0:
            raise ValueError("train_images: is empty; expected at least one image")
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.ndim != 4 or images.shape[1:] != self.train_images.shape[1:]:
                raise ValueError(
                    f"{part}_images: shape {tuple(images.shape)}; expected 4 dimensions (N, C, H, "
                    "W), the last three the same in both parts (for grey images: unsqueeze(1))"
                )
            if labels.ndim != 1:
                raise ValueError(
                    f"{part}_labels: shape {tuple(labels.shape)}; expected (N,), one index an image"
                    " (for one-hot labels: argmax(dim=1))"
                )
            if len(images) != len(labels):
                raise ValueError(f"{part}_labels: {len(labels)} labels for {len(images)} images")
            if len(images) and not (images.min() >= -1 and images.max() <= 1):  # also for NaN
                raise ValueError(
                    f"{part}_images: values from {images.min():.4g} to {images.max():.4g}; "
                    "expected finite values in [-1, 1] (for bytes: images / 127.5 - 1)"
                )
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
                raise ValueError(
                    f"{part}_labels: from {labels.min()} to {labels.max()}; expected 0 to "
                    f"{len(self.classes) - 1}, an index into classes"
                )

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.train_images.shape[1:]))
        return (
            f"{type(self).__name__}({self.name}: {len(self.train_images)} training and "
            f"{len(self.test_images)} held-out images of {shape}, {len(self.classes)} classes)"
        )


@dataclass(frozen=True, eq=False, repr=False)
class PointData:
    """Points drawn from a mixture of equally likely Gaussians, with a held-out part.

    Attributes:
        name: Short name.
        train_points, test_points: Coordinates (x, y).
        train_labels, test_labels: Which mode each point was drawn from, an index into ``centres``.
        centres: Mean of each mode.
        standard_deviation: Of each mode, in either direction.
    """

    name: str
    train_points: Float[Tensor, "train 2"]
    train_labels: Int[Tensor, " train"]
    test_points: Float[Tensor, "test 2"]
    test_labels: Int[Tensor, " test"]
    centres: Float[Tensor, "modes 2"]
    standard_deviation: float | int

    def __repr__(self) -> str:
        return (
            f"PointData({self.name}: {len(self.train_points)} training and "
            f"{len(self.test_points)} held-out points, {len(self.centres)} modes)"
        )


LEAST_CHARACTERS = 1000  # of a text: less leaves no held-out part to speak of


@dataclass(frozen=True, eq=False, repr=False)
class TextData:
    """A text as numbers, one a character, with a held-out part.

    Attributes:
        name: Short name, such as "python_source".
        train_tokens, test_tokens: Index into ``vocabulary``, in the order of the text.
        vocabulary: The characters, each once; those of the held-out part included.
        source: Who made the text, and how it comes here.
        licence: Terms of the text.
        separate_lines: Whether each line is a text of its own, such as a name.

    Raises:
        ValueError: There is no training token, tokens are not int64 of the shape (N,) or out of
            range, or the vocabulary is not a tuple of different single characters.
    """

    name: str
    train_tokens: Int[Tensor, " train"]
    test_tokens: Int[Tensor, " test"]
    vocabulary: tuple[str, ...]
    source: str
    licence: str
    separate_lines: bool = False

    def __post_init__(self) -> None:
        if any(len(entry) != 1 for entry in self.vocabulary):
            longer = next(entry for entry in self.vocabulary if len(entry) != 1)
            raise ValueError(f"vocabulary: holds {longer!r}; expected one character an entry")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("vocabulary: holds a character twice; expected each one once")
        for name in ("train_tokens", "test_tokens"):
            _check_tokens(getattr(self, name), len(self.vocabulary), name)
        if len(self.train_tokens) == 0:
            raise ValueError("train_tokens: is empty; expected at least one token")

    @classmethod
    def from_text(
        cls, name: str, text: str, held_out: str | None = None, *, source: str, licence: str
    ) -> "TextData":
        """A text and its held-out part; None: the last tenth of ``text`` is held out.

        The vocabulary is the characters of both, sorted.

        Raises:
            ValueError: The text has fewer than 1,000 characters.
        """
        if len(text) < LEAST_CHARACTERS:
            raise ValueError(
                f"text: {name} has {len(text):,} characters; expected at least "
                f"{LEAST_CHARACTERS:,}, so that a tenth can be held out"
            )
        if held_out is None:
            train = len(text) - len(text) // 10
            text, held_out = text[:train], text[train:]
        vocabulary = tuple(sorted(set(text + held_out)))
        train_tokens, test_tokens = _encode(text, vocabulary), _encode(held_out, vocabulary)
        return cls(name, train_tokens, test_tokens, vocabulary, source, licence)

    def encode(self, text: str) -> Int[Tensor, " n"]:
        """The index of each character of ``text``.

        Raises:
            ValueError: A character is not in the vocabulary.
        """
        return _encode(text, self.vocabulary)

    def decode(self, tokens: Int[Tensor, " n"]) -> str:
        """The text whose characters have these indices; the inverse of ``encode``.

        Raises:
            ValueError: The tokens are not int64 of the shape (n,), or one is out of range.
        """
        _check_tokens(tokens, len(self.vocabulary), "tokens")
        return "".join(self.vocabulary[token] for token in tokens.tolist())

    def rows(self, tokens: Int[Tensor, " n"]) -> Int[Tensor, "lines time"]:
        """The lines of a text as separate texts, a row each: newline, the line, newline.

        So a model reads in the first newline that a text begins, and says with the second that it
        ends. Shorter rows are filled at their end with ``PADDING``; empty lines are left out.

        Args:
            tokens: A text, such as ``train_tokens``; it need not begin or end with a newline.

        Raises:
            ValueError: The vocabulary has no newline, the tokens are not those of a text, or no
                line among them has a character.
        """
        if "\n" not in self.vocabulary:
            raise ValueError(
                f"vocabulary: has no newline; expected one that divides the lines of {self.name}"
            )
        _check_tokens(tokens, len(self.vocabulary), "tokens")
        newline = tokens.new_tensor([self.vocabulary.index("\n")])
        text = torch.cat([newline, tokens, newline])
        ends = (text == newline).nonzero()[:, 0]
        lengths = ends.diff() + 1  # both newlines counted
        starts, lengths = ends[:-1][lengths > 2], lengths[lengths > 2]
        if len(lengths) == 0:
            raise ValueError(
                f"tokens: {len(tokens)} of them and no line; expected a text with at least one "
                "character that is not a newline"
            )
        place = torch.arange(int(lengths.max()), device=tokens.device)
        index = (starts[:, None] + place).clamp(max=len(text) - 1)
        return text[index].masked_fill(place >= lengths[:, None], PADDING)

    def texts(self, tokens: Int[Tensor, " n"]) -> Int[Tensor, " n"] | Int[Tensor, "lines time"]:
        """The tokens as a language model takes them: in ``rows`` if the lines are separate."""
        return self.rows(tokens) if self.separate_lines else tokens

    def __repr__(self) -> str:
        return (
            f"TextData({self.name}: {len(self.train_tokens):,} training and "
            f"{len(self.test_tokens):,} held-out characters, {len(self.vocabulary)} different)"
        )


def _check_tokens(tokens: Any, count: int, name: str) -> None:
    came = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
    if came != torch.int64:
        raise ValueError(
            f"{name}: {came}; expected a tensor of torch.int64 (a list: torch.tensor(tokens))"
        )
    if tokens.ndim != 1:
        raise ValueError(
            f"{name}: shape {tuple(tokens.shape)}; expected (N,), one text (of a batch: tokens[0])"
        )
    if len(tokens) and not (tokens.min() >= 0 and tokens.max() < count):
        raise ValueError(
            f"{name}: from {tokens.min()} to {tokens.max()}; expected 0 to {count - 1}, "
            "an index into vocabulary"
        )


def _encode(text: str, vocabulary: Sequence[str]) -> Tensor:
    # By sorted code points and not by a dictionary: a second faster for a million characters.
    points = _code_points("".join(vocabulary))
    order = points.argsort()
    wanted = _code_points(text)
    places = np.searchsorted(points[order], wanted).clip(max=len(points) - 1)
    unknown = points[order][places] != wanted if len(points) else np.ones(len(wanted), bool)
    if unknown.any():
        first = int(unknown.argmax())
        strange = sorted({chr(point) for point in wanted[unknown]})
        named = ", ".join(map(repr, strange[:6])) + (", …" if len(strange) > 6 else "")
        raise ValueError(
            f"text: {len(strange)} characters are not in the vocabulary ({named}), the first at "
            f"position {first}; expected only the {len(vocabulary)} characters "
            f"{''.join(sorted(vocabulary))!r}"
        )
    return torch.from_numpy(order[places].astype(np.int64))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
