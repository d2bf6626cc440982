"""Names: the surnames and first names of the census of the United States in 1990, as text.

The Census Bureau published the most frequent names of a large sample, which nine people in ten of
it bear: 88,799 surnames and 5,163 first names. Each name comes once here, however many people bear
it: a model of this text learns how names are spelt, not which ones are common.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files

from course_lib.data_types import TextData

__all__ = ["first_names", "surnames"]

SOURCE = (
    "US Census Bureau, names files of the census of 1990, https://www.census.gov/topics/population/"
    "genealogy/data/1990_census/1990_census_namefiles.html, as packaged in names"
)
LICENCE = "public domain (a work of the US government); the package names: MIT"
_HELD_OUT_EVERY = 10  # about one name in ten is held out


def surnames() -> TextData:
    """88,799 surnames, a line each, in lower case: 79,977 for training and 8,822 held out.

    Both parts begin and end with a newline, the first character of the vocabulary; the others are
    the letters a to z. The source has no apostrophes and no blanks: "oconnor", "delacruz".

    Raises:
        ImportError: The package ``names`` is not installed.
    """
    return _name_data("surnames", _read("dist.all.last"))


def first_names() -> TextData:
    """5,163 first names, in the form of ``surnames``: 4,668 for training and 495 held out.

    A name that both women and men bear comes once. The vocabulary is that of ``surnames``, so that
    a model of the one can read the other; and a name that is held out of the one is never among the
    training names of the other.

    Raises:
        ImportError: The package ``names`` is not installed.
    """
    return _name_data("first_names", {*_read("dist.female.first"), *_read("dist.male.first")})


def _read(file: str) -> list[str]:
    """The names in a file of the Census Bureau, where each line is NAME, three numbers."""
    try:
        folder = files("names")
    except ImportError as error:
        raise ImportError(
            f'names cannot be imported ({error}); install it with: pip install "course-lib[data]"'
        ) from error
    lines = folder.joinpath(file).read_text("ascii").splitlines()
    return [line.split()[0].lower() for line in lines]


def _name_data(name: str, names: Iterable[str]) -> TextData:
    # The lists are sorted by frequency, and a held-out part must be a fair sample of rare and
    # common names alike. A digest has nothing to do with how common a name is, and gives the same
    # order and the same parts in every version of everything. A part depends on the name alone,
    # since two first names in five are surnames too.
    digests = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()) for name in names}
    parts: tuple[list[str], list[str]] = ([], [])
    for entry in sorted(digests, key=digests.__getitem__):
        parts[digests[entry] % _HELD_OUT_EVERY == 0].append(entry)
    train, test = ("\n" + "\n".join(part) + "\n" for part in parts)
    data = TextData.from_text(name, train, test, source=SOURCE, licence=LICENCE)
    return replace(data, separate_lines=True)
