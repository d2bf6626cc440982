"""course_lib.dates: other readers of dates agree with every pair; no held-out day in training."""

import re

import numpy as np
import pytest
import torch
from dateutil.parser import parse
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from course_lib.data_types import PADDING
from course_lib.dates import FORMS, MONTHS, WEEKDAYS, DatePairs, dates

DAYS = 73_049  # of 1900–2099: 200 years of 365 days, and 49 leap days (not in 1900, but in 2000)


@pytest.fixture(scope="module")
def every_day():
    return dates(DAYS - 1, 1)


@pytest.fixture(scope="module")
def pairs():
    return dates()


def both_parts(pairs):
    sources = pairs.train_sources + pairs.test_sources
    return list(zip(sources, pairs.train_targets + pairs.test_targets, strict=True))


def test_another_parser_reads_the_target_in_every_source(pairs):
    for source, target in both_parts(pairs)[::3]:
        assert parse(source).strftime("%Y-%m-%d") == target, source


def test_the_weekday_is_the_right_one(pairs):
    named = [(source, day) for source, day in both_parts(pairs) if source.startswith(WEEKDAYS)]
    assert len(named) > 1000
    numbers = np.array([day for _, day in named], "datetime64[D]").astype(int)
    expected = [WEEKDAYS[(number + 3) % 7] for number in numbers]  # 1970-01-01 was a Thursday
    assert [source.partition(",")[0] for source, _ in named] == expected


def test_the_ordinals_are_english(every_day):
    found = {source.split()[0] for source, _ in both_parts(every_day) if " of " in source}
    special = {"1st", "2nd", "3rd", "21st", "22nd", "23rd", "31st"}
    assert found == special | {f"{day}th" for day in (*range(4, 21), *range(24, 31))}


def test_all_days_of_two_centuries_and_each_one_once(every_day):
    targets = every_day.train_targets + every_day.test_targets
    expected = np.arange("1900-01-01", "2100-01-01", dtype="datetime64[D]")
    assert sorted(targets) == expected.astype(str).tolist() and len(expected) == DAYS


def test_counts_and_parts(pairs):
    assert len(pairs.train_sources) == len(pairs.train_targets) == 6000
    assert len(pairs.test_sources) == len(pairs.test_targets) == 500
    assert not set(pairs.train_targets) & set(pairs.test_targets)
    assert repr(pairs) == "DatePairs(6,000 training and 500 held-out dates in 8 forms)"


def test_the_forms_are_drawn_evenly(every_day):
    month, weekday, ordinal = "|".join(MONTHS), "|".join(WEEKDAYS), r"\d+(st|nd|rd|th)"
    patterns = [
        rf"\d+ ({month}) \d{{4}}",
        r"\d+ [a-z]{3} \d{4}",
        rf"({month}) \d+, \d{{4}}",
        r"[a-z]{3} \d+, \d{4}",
        rf"{ordinal} of ({month}) \d{{4}}",
        rf"({weekday}), \d+ ({month}) \d{{4}}",
        rf"({weekday}), ({month}) {ordinal}, \d{{4}}",
        rf"\d{{4}} ({month}) \d+",
    ]
    # May is its own abbreviation.
    sources = [source for source, _ in both_parts(every_day) if "may" not in source]
    matched = [[bool(re.fullmatch(p, source)) for p in patterns] for source in sources]
    assert {sum(row) for row in matched} == {1} and len(patterns) == len(set(FORMS))
    assert chisquare(np.sum(matched, axis=0)).pvalue > 0.01


def test_seeds():
    one, same, other = dates(50, 5, seed=3), dates(50, 5, seed=3), dates(50, 5, seed=4)
    assert both_parts(one) == both_parts(same) != both_parts(other)
    before = torch.get_rng_state()
    dates(5, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_vocabularies(every_day):
    sources, targets = zip(*both_parts(every_day), strict=True)
    assert every_day.source_vocabulary == tuple(sorted(set("".join(sources))))
    assert every_day.target_vocabulary == ("\n", *sorted(set("".join(targets))))
    assert not {"k", "q", "x", "z"} & set(every_day.source_vocabulary)


def test_encoded_sources_are_the_texts_and_then_padding(pairs):
    tokens = pairs.encode_sources(pairs.test_sources)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (500, max(map(len, pairs.test_sources)))
    for row, source in zip(tokens.tolist(), pairs.test_sources, strict=True):
        assert "".join(pairs.source_vocabulary[i] for i in row[: len(source)]) == source
        assert set(row[len(source) :]) <= {PADDING}


def test_encoded_targets_by_hand_and_back(pairs):
    tokens = pairs.encode_targets(["1998-03-03", "2010-12-31"])
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [
        [0, 3, 11, 11, 10, 1, 2, 5, 1, 2, 5],
        [0, 4, 2, 3, 2, 1, 3, 4, 1, 5, 3],
    ]
    assert pairs.decode_targets(tokens) == ("1998-03-03", "2010-12-31")
    assert pairs.decode_targets(pairs.encode_targets(pairs.test_targets)) == pairs.test_targets


@given(st.lists(st.dates(), min_size=1))
@settings(max_examples=30)
def test_every_date_survives_the_round_trip(days):
    pairs, texts = dates(1, 1), tuple(day.isoformat() for day in days)
    assert pairs.decode_targets(pairs.encode_targets(texts)) == texts


def test_what_a_model_wrote_need_not_be_a_date(pairs):
    assert pairs.decode_targets(torch.tensor([[0, 0, 1], [0, 2, 2]])) == ("\n-", "00")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 500), "^n: 0; expected a whole number"),
        ((10, 0), "^held_out: 0; expected a whole number"),
        ((True, 5), "^n: True"),
        ((73_000, 50), "^n: 73,000, and 50 held out; expected at most 73,049 together"),
    ],
)
def test_bad_counts_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dates(*arguments)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("3 may 1998", r"^texts: '3 may 1998' is a single text; .*\['3 may 1998'\]"),
        ([], r"^texts: \[\]; expected at least one"),
        (["3 may 1998", ""], "^texts: .*none empty"),
        (["3 May 1998"], "^texts: hold 'M'; expected only the 34 characters .*lower case"),
    ],
)
def test_bad_sources_are_refused(pairs, texts, message):
    with pytest.raises(ValueError, match=message):
        pairs.encode_sources(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1998-03-03", "1998-3-3"], "^texts: '1998-3-3' has 8 characters; expected 10"),
        (["1998/03/03"], "^texts: hold '/'"),
        ([], "^texts: "),
    ],
)
def test_bad_targets_are_refused(pairs, texts, message):
    with pytest.raises(ValueError, match=message):
        pairs.encode_targets(texts)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[0, 12]]), "^tokens: from 0 to 12; expected 0 to 11"),
        (torch.tensor([[0, -1]]), "^tokens: from -1"),
        (torch.tensor([0, 1]), r"^tokens: torch.int64 of shape \(2,\); .*\(n, time\)"),
        (torch.zeros(1, 2), r"^tokens: torch.float32 of shape \(1, 2\); expected whole numbers"),
    ],
)
def test_bad_tokens_are_refused(pairs, tokens, message):
    decode = DatePairs.decode_targets.__wrapped__  # without the run-time check of the shapes
    with pytest.raises(ValueError, match=message):
        decode(pairs, tokens)


def test_the_months_are_those_of_the_parser():
    assert [parse(f"1 {month} 2000").month for month in MONTHS] == list(range(1, 13))
    assert [parse(f"1 {month[:3]} 2000").month for month in MONTHS] == list(range(1, 13))
