"""Dates as people write them, each with its form in ISO 8601: pairs of texts for a translator.

Small, but with what translation is about: the order of the parts changes, words become numbers, one
target has many sources, and some of what is read (the day of the week) must be ignored. A target is
right or wrong, so that a model can be marked exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import torch
from jaxtyping import Int
from torch import Tensor

from course_lib.checks import is_whole
from course_lib.data_types import PADDING

__all__ = ["FORMS", "DatePairs", "dates"]

# Not from the module calendar, which speaks the language of the computer.
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# No year of two digits, which could be of either century, and no month as a number, which could be
# the day. An abbreviation is the first three letters.
FORMS = (
    "{day} {month} {year}",
    "{day} {abbreviation} {year}",
    "{month} {day}, {year}",
    "{abbreviation} {day}, {year}",
    "{ordinal} of {month} {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {ordinal}, {year}",
    "{year} {month} {day}",
)
FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)
START = "\n"  # of every target: what a decoder is given to begin with

_SOURCE_VOCABULARY = tuple(
    sorted(set("".join((*MONTHS, *WEEKDAYS, " ,0123456789", "st nd rd th of"))))
)
_TARGET_VOCABULARY = (START, *"-0123456789")
_TARGET_LENGTH = len("1998-03-03")


@dataclass(frozen=True, eq=False, repr=False)
class DatePairs:
    """Pairs of a date as it is written and its ISO form, with a held-out part.

    Attributes:
        train_sources, test_sources: Such as "3rd of march 1998", in one of ``FORMS``.
        train_targets, test_targets: Such as "1998-03-03", each next to its source.
        source_vocabulary: The characters of all the sources there can be.
        target_vocabulary: "\\n", which begins every target, the hyphen and the ten digits.
    """

    train_sources: tuple[str, ...]
    train_targets: tuple[str, ...]
    test_sources: tuple[str, ...]
    test_targets: tuple[str, ...]
    source_vocabulary: tuple[str, ...]
    target_vocabulary: tuple[str, ...]

    def encode_sources(self, texts: Sequence[str]) -> Int[Tensor, "n time"]:
        """Index of each character in ``source_vocabulary``, a row a text.

        Shorter rows are filled at their end with −1, ``data_types.PADDING``.

        Raises:
            ValueError: There is no text, one is empty, or a character is not in the vocabulary.
        """
        rows = [torch.tensor(row) for row in _indices(texts, self.source_vocabulary)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)

    def encode_targets(self, texts: Sequence[str]) -> Int[Tensor, "n 11"]:
        """Index of each character in ``target_vocabulary``, after the one of the start.

        Raises:
            ValueError: There is no text, one has other than 10 characters, or a character is not
                in the vocabulary.
        """
        rows = _indices(texts, self.target_vocabulary)
        for text in texts:
            if len(text) != _TARGET_LENGTH:
                raise ValueError(
                    f"texts: {text!r} has {len(text)} characters; expected {_TARGET_LENGTH}, such "
                    "as '1998-03-03'"
                )
        start = self.target_vocabulary.index(START)
        return torch.tensor([[start, *row] for row in rows])

    def decode_targets(self, tokens: Int[Tensor, "n time"]) -> tuple[str, ...]:
        """The text of each row; its first token, which stands for the start, is left out.

        The inverse of ``encode_targets``. Rows that a model wrote need not be dates.

        Raises:
            ValueError: The tokens are not whole numbers (n, time), or one is out of range.
        """
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(
                f"tokens: {tokens.dtype} of shape {tuple(tokens.shape)}; expected whole numbers "
                "(n, time), a row a target (of a single one: tokens[None])"
            )
        last = len(self.target_vocabulary) - 1
        if tokens.numel() and not (tokens.min() >= 0 and tokens.max() <= last):
            raise ValueError(
                f"tokens: from {tokens.min()} to {tokens.max()}; expected 0 to {last}, an index "
                "into target_vocabulary"
            )
        rows = tokens[:, 1:].tolist()
        return tuple("".join(self.target_vocabulary[token] for token in row) for row in rows)

    def __repr__(self) -> str:
        return (
            f"DatePairs({len(self.train_sources):,} training and {len(self.test_sources):,} "
            f"held-out dates in {len(FORMS)} forms)"
        )


def dates(n: int = 6000, held_out: int = 500, seed: int = 0) -> DatePairs:
    """Days from 1900-01-01 to 2099-12-31, each in a form drawn at random, and their ISO form.

    The days and the forms are drawn uniformly, the days without replacement: no day comes twice, so
    that a held-out one is new to the model in whatever form.

    Args:
        n: Pairs for training.
        held_out: Pairs held out.
        seed: The same seed gives the same pairs; the global random state is not touched.

    Raises:
        ValueError: A count is below 1, or both together exceed the 73,049 days of two centuries.
    """
    for name, count in {"n": n, "held_out": held_out}.items():
        if not is_whole(count, 1):
            raise ValueError(f"{name}: {count!r}; expected a whole number (int), 1 or more")
    days = LAST.toordinal() - FIRST.toordinal() + 1
    if n + held_out > days:
        raise ValueError(
            f"n: {n:,}, and {held_out:,} held out; expected at most {days:,} together, the days "
            f"from {FIRST} to {LAST}"
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(days, generator=generator)[: n + held_out].tolist()
    forms = torch.randint(len(FORMS), (n + held_out,), generator=generator).tolist()
    days_drawn = [date.fromordinal(FIRST.toordinal() + day) for day in drawn]
    sources = tuple(_written(day, FORMS[form]) for day, form in zip(days_drawn, forms, strict=True))
    targets = tuple(day.isoformat() for day in days_drawn)
    parts = (sources[:n], targets[:n], sources[n:], targets[n:])
    return DatePairs(*parts, _SOURCE_VOCABULARY, _TARGET_VOCABULARY)


def _written(day: date, form: str) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    if 11 <= day.day <= 13:
        ending = "th"
    month = MONTHS[day.month - 1]
    return form.format(
        day=day.day,
        ordinal=f"{day.day}{ending}",
        month=month,
        abbreviation=month[:3],
        year=day.year,
        weekday=WEEKDAYS[day.weekday()],
    )


def _indices(texts: Sequence[str], vocabulary: tuple[str, ...]) -> list[list[int]]:
    if isinstance(texts, str):
        raise ValueError(f"texts: {texts!r} is a single text; expected a list of them: [{texts!r}]")
    if not texts or not all(texts):
        raise ValueError(f"texts: {list(texts)!r}; expected at least one text, and none empty")
    unknown = sorted(set("".join(texts)) - set(vocabulary))
    if unknown:
        raise ValueError(
            f"texts: hold {', '.join(map(repr, unknown))}; expected only the {len(vocabulary)} "
            f"characters {''.join(vocabulary)!r} (letters in lower case)"
        )
    index = {character: i for i, character in enumerate(vocabulary)}
    return [[index[character] for character in text] for text in texts]
