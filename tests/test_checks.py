"""Every rule lets its own through and nothing else; messages name the argument and the remedy."""

import math

import numpy as np
import pytest
import torch

from course_lib.checks import (
    check,
    check_samples,
    is_number,
    is_whole,
    number,
    one_of,
    optional,
    pair,
    share,
    truth,
    whole,
    widths,
)


def test_numbers_are_those_that_the_card_of_a_checkpoint_can_hold() -> None:
    assert all(is_whole(value, 2) for value in (2, 10**30))
    assert not any(is_whole(value, 2) for value in (1, 2.0, True, "2", None, np.int64(2)))
    assert all(is_number(value, 0, 1) for value in (0, 0.5, np.float64(0.25)))
    wrong = (-0.1, 1, math.nan, "0", None, False, np.float32(0.5))
    assert not any(is_number(value, 0, 1) for value in wrong)


@pytest.mark.parametrize(
    ("rule", "good", "bad", "message"),
    [
        (whole(1), [1, 7], [0, 1.0], "size must be a whole number .int., 1 or more; got 0"),
        (
            number(0),
            [0, 1e39],
            [math.inf, -1],
            "size must be a finite .*0 or more; got inf",
        ),
        (
            number(0, 1),
            [0, 0.9],
            [1],
            "a finite .*0 or more and less than 1; got 1",
        ),
        (share(), [0, 0.5, 1, 1.0], [1.5, -0.1, math.nan, True, "1"], "from 0 to 1; got 1.5"),
        (truth(), [True, False], [1, None], "size must be True or False; got 1"),
        (widths(), [(), (3, 4)], [[3], 3], r"a tuple of whole numbers, .*; got \[3\]"),
        (one_of(["a", "b"]), ["a"], ["c", None], r"one of \['a', 'b'\]; got 'c'"),
        (pair(whole(0)), [(0, 1)], [(0,), 0], r"a pair \(a, b\), each a whole .*; got \(0,\)"),
        (optional(whole(0)), [None, 0], [-1], "None, or a whole number .int., 0 or more; got -1"),
    ],
)
def test_rules(rule, good, bad, message: str) -> None:
    for value in good:
        check({"size": rule}, {"size": value})
    for value in bad:
        with pytest.raises(ValueError, match=r"^size must be "):
            check({"size": rule}, {"size": value})
    with pytest.raises(ValueError, match=message):
        check({"size": rule}, {"size": bad[0]})


def test_samples_are_checked() -> None:
    check_samples(torch.tensor([[-1.0], [1.0]]), bounded=True)
    check_samples(torch.tensor([[-9.0], [9.0]]), bounded=False)
    check_samples(torch.tensor([[1.0 + 1e-6]]), bounded=True)
    for bad, message in [
        (torch.tensor([[1.5]]), r"spans \[1.5, 1.5\].*bounded=False"),
        (torch.tensor([[-1.5, 0]]), r"spans \[-1.5, 0\]"),
        (torch.ones(3, 2, dtype=torch.int64), r"float tensor .*torch.int64 \(3, 2\).*data.float"),
        (torch.ones(3), r"got torch.float32 \(3,\).*data\[:, None\]"),
        (torch.tensor([[torch.nan]]), "NaN or infinite"),
        (torch.empty(0, 2), "at least one example"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_samples(bad, bounded=True)
        with pytest.raises(ValueError, match=r"^images "):
            check_samples(bad, bounded=True, name="images")
