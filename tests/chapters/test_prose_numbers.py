"""A number in a chapter's prose is printed just above it, or defined in the code beside it.

What counts, for a number written in digits in the Markdown of a chapter:

- It is printed in one of the three cells above, in the same section (##); pictures, players and
  their alternative texts are no print. 83 % and 0.83 are the same number. A printed number may be
  rounded to fewer decimals, of at least two digits; after "about" and its like, to a single digit
  or to round thousands.
- It is a number in the code of these three cells, or of the cell that follows.
- It is a reference: an equation, a section or a check, which then must exist; a chapter; a year; a
  figure or theorem.
- It is the size of a data set, or is listed with a reason: prose_numbers.toml.

Decimals inside $...$ are looked at as well, other formulas are not. Why so near? A chapter prints
hundreds of numbers, and any of them could excuse a wrong one by chance. Changing one digit of each
number of the nine chapters was noticed, at the time of writing, for 98 % of the integers above ten
and 81 % of the decimals (with the whole section above: 85 and 52 %). Integers up to ten stand in
nearly every cell, as an axis or an index: for them the rule is the same, but only three changes in
ten were noticed.
"""

from __future__ import annotations

import json
import tomllib
from inspect import signature
from pathlib import Path

import jupytext
import nbformat
import pytest
from prose_numbers import CHAPTERS, unprinted, unprinted_in_quiz, with_outputs

LISTED = tomllib.loads(Path(__file__).with_name("prose_numbers.toml").read_text("utf8"))
DEFINED = [phrase for phrases in LISTED["defined"].values() for phrase in phrases]
ENTRIES = LISTED.get("allowed", [])


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_in_the_prose_are_printed_or_defined(text):
    listed = [entry["phrase"] for entry in ENTRIES if entry["chapter"] == text.stem]
    faults = unprinted(text.read_text("utf8"), with_outputs(text), DEFINED + listed)
    assert not faults, f"{text.name}: print it, define it, or say it in words\n" + "\n".join(faults)


@pytest.mark.parametrize("text", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_in_the_quiz_are_printed_or_defined(text):
    questions = json.loads((text.parent / "quizzes" / f"{text.stem}.json").read_text("utf8"))
    faults = unprinted_in_quiz(questions, with_outputs(text))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["phrase"])
def test_what_is_listed_is_needed_and_has_a_reason(entry):
    text = next(text for text in CHAPTERS if text.stem == entry["chapter"])
    others = [e["phrase"] for e in ENTRIES if e["chapter"] == text.stem and e != entry]
    cells, markdown = with_outputs(text), text.read_text("utf8")
    without = unprinted(markdown, cells, DEFINED + others)
    assert entry["phrase"] in markdown and len(entry["reason"]) > 10
    assert without != unprinted(markdown, cells, [*DEFINED, *others, entry["phrase"]])


def test_what_is_listed_as_defined_is_so_in_the_library():
    from course_lib import datasets, evaluation, names

    digits, small = datasets.mnist5k(), datasets.digits()
    train, test = len(digits.train_images), len(digits.test_images)
    side, small_side = digits.train_images.shape[-1], small.train_images.shape[-1]
    low, high = float(digits.train_images.min()), float(digits.train_images.max())
    lines = names.surnames()
    parts = (lines.train_tokens, lines.test_tokens)
    surnames = sum(int((part == lines.vocabulary.index("\n")).sum()) - 1 for part in parts)
    assert LISTED["defined"] == {
        "mnist5k": [
            f"{side}×{side}",
            f"{side**2}",
            f"{train + test:,}",
            f"{train:,}",
            f"{train // 10} of each",
            f"{test // 10} of each",
            f"{low:.0f} (paper) and {high:.0f} (ink)".replace("-", "−"),
        ],
        "digits": [f"{small_side}×{small_side}", f"{small_side}×{small_side} = {small_side**2}"],
        "surnames": [f"{surnames:,}"],
        "judge": [
            f"at least {signature(evaluation.judge).parameters['threshold'].default:.0%}".replace(
                "%", " %"
            )
        ],
    }


OUTPUT = "area 0.4138, share 83 %, 614,656 weights, 12345 steps\n"
SAMPLE = """\
# Sample

## 4.1 One

```{code-cell} ipython3
x = [28, -7, 0.25, 2e-3]
print(x, f"{x:.9f}", "31 of them")
```

**Check 1.** BELOW

```{code-cell} ipython3
y = 640
```

## 4.2 Two

LATER
"""


def faults(below: str = "", later: str = "", **output: str) -> list[str]:
    """What is found in a chapter of two cells, the first of which prints OUTPUT."""
    markdown = SAMPLE.replace("BELOW", below).replace("LATER", later)
    cells = jupytext.reads(markdown, fmt="md:myst").cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    code[0].outputs = [nbformat.v4.new_output("stream", text=OUTPUT)]
    found = unprinted(markdown, cells, ["a hotel of 99 rooms"])
    return [fault.split(": ")[1] for fault in found]


@pytest.mark.parametrize(
    "prose",
    [
        "The area is 0.4138, or 0.41, or 0.414; 83 % of it, 0.83, is small.",
        "Over 600,000 weights, about 610,000; 12,345 steps, about 12,000.",
        "There are 28 of them, a 28-dimensional −7, at 0.25 or 25 %, at 2e-3 or 0.002, 640 next.",
        "By (4.1), section 4.2, sections 4.1 and 4.2, check 1, chapter 12; in 2014, in the 1980s.",
        "See [Ba et al. (2016)](https://arxiv.org/abs/1607.06450) and [04](04_gan_minimax.ipynb).",
        "GPT-2 in float64; $x_{17} = 55 + \\frac{3}{4}$\n\n$$\na = 17.5\n$$\n",
        "A hotel of stars, not a hotel of 99 rooms. For $s = 0.25$ and `x[28]`.",
    ],
)
def test_what_is_printed_or_defined_may_be_said(prose):
    assert faults(prose) == []


@pytest.mark.parametrize(
    ("prose", "number"),
    [
        ("The area is 0.42.", "0.42"),
        ("The area is 0.4139.", "0.4139"),
        ("The area is about 0.4.", None),
        ("The area is 0.4.", "0.4"),
        ("The area is 0.3.", "0.3"),
        ("A share of 84 %.", "84 %"),
        ("A share of 8.3 %.", "8.3 %"),
        ("There are 610,000 weights.", "610,000"),
        ("There are about 700,000 weights.", "700,000"),
        ("About 13,000 steps.", "13,000"),
        ("At most 29 of them.", "29"),
        ("At −28 it ends.", "−28"),
        ("There are 31 of them.", "31"),
        ("There are 9 of them.", "9"),
        ("By (4.99).", "4.99"),
        ("By sections 4.2 and 4.33.", "4.33"),
        ("By checks 1 and 2.", "2"),
        ("See chapters 04 and 77.", "77"),
        ("See [77](04_gan_minimax.ipynb).", "77"),
        ("The width is 2048.", "2048"),
        ("From 28-30 on.", "30"),
        ("Where $s = 0.35$.", "0.35"),
        ("It takes 2,000 steps.", "2,000"),
    ],
)
def test_planted_numbers_are_found(prose, number):
    assert faults(prose) == ([number] if number else [])
