"""course_lib.names: every name of the lists once, fair parts, and no leak from list to list."""

import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import metadata
from importlib.resources import files

import pytest
import torch
from scipy.stats import ks_2samp

from course_lib.datasets import BUILT_IN, first_names, surnames
from course_lib.names import LICENCE

LISTS = {surnames: ["dist.all.last"], first_names: ["dist.female.first", "dist.male.first"]}
# Of the training part and of the held-out one. A change here changes what models are compared on.
SHA256 = {
    surnames: (
        "dc623d318d419436711e9a8931e4f3577e7ed7c8d4daf5bd1b3ce87477750339",
        "8c49431ce4a63c67b5d0a8b7d59e0975b10d364a3172fcef1f330c57fe52bb8a",
    ),
    first_names: (
        "3c57236793f793e6dcd1b90ddb120169bfbe57a138dec08c29488b1eb23079b5",
        "4b8939b8c59986468767f2e2ef75aa053c6b2437095c0fda37f6a0bcc7de992e",
    ),
}
both = pytest.mark.parametrize("load", [surnames, first_names])


def texts(data):
    return data.decode(data.train_tokens), data.decode(data.test_tokens)


def parts(data):
    return [text.split() for text in texts(data)]


@both
def test_the_parts_are_the_lists_of_the_census(load):
    """Read by another rule: the capitals at the beginning of each line."""
    expected = set()
    for file in LISTS[load]:
        expected.update(re.findall(r"^[A-Z]+", files("names").joinpath(file).read_text(), re.M))
    train, test = parts(load())
    assert sorted(train + test) == sorted(name.lower() for name in expected)  # each one once


@pytest.mark.parametrize(
    ("load", "counts", "characters", "longest"),
    [
        (surnames, (79_977, 8_822), (626_186, 69_238), {"xaimoungkhoun": 13}),
        (first_names, (4_668, 495), (32_684, 3_440), {"christopher": 11, "providencia": 11}),
    ],
)
def test_counts(load, counts, characters, longest):
    data = load()
    train, test = parts(data)
    assert (len(train), len(test)) == counts
    assert (len(data.train_tokens), len(data.test_tokens)) == characters
    assert max(map(len, train + test)) == max(longest.values())
    assert set(longest) <= set(train + test)


def test_known_members():
    every = {load: {*parts(load())[0], *parts(load())[1]} for load in LISTS}
    assert {"smith", "johnson", "garcia", "nguyen", "oconnor", "delacruz", "aalderink"} <= every[
        surnames
    ]
    assert {"mary", "patricia", "james", "john", "leslie"} <= every[first_names]
    assert "aalderink" not in every[first_names]


@both
def test_the_form_is_that_of_the_other(load):
    data = load()
    assert data.vocabulary == ("\n", *"abcdefghijklmnopqrstuvwxyz")
    for text in texts(data):
        assert text.startswith("\n") and text.endswith("\n") and "\n\n" not in text


def test_no_held_out_name_is_a_training_name_of_either():
    train, test = set(), set()
    for load in LISTS:
        for found, names in zip((train, test), parts(load()), strict=True):
            found.update(names)
    assert len(train) > 80_000 and not train & test


def test_the_held_out_part_is_a_fair_sample_of_rare_and_common_names():
    ranks = {
        line.split()[0].lower(): int(line.split()[3])
        for line in files("names").joinpath("dist.all.last").read_text().splitlines()
    }
    train, test = ([ranks[name] for name in part] for part in parts(surnames()))
    assert ks_2samp(train, test).pvalue > 0.01
    # And each part is mixed: its beginning is no more common than its end.
    assert ks_2samp(train[: len(train) // 2], train[len(train) // 2 :]).pvalue > 0.01
    # The test can fail: it does where the last tenth of the list is held out.
    in_order = sorted(ranks.values())
    assert ks_2samp(in_order[:-8_880], in_order[-8_880:]).pvalue < 1e-9


@both
def test_the_parts_are_the_same_for_ever(load):
    digests = tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts(load()))
    assert digests == SHA256[load]


def test_the_order_does_not_depend_on_the_seed_of_hashing(root):
    code = (
        "import hashlib; from course_lib.names import first_names\n"
        "print(hashlib.sha256(first_names().train_tokens.numpy().tobytes()).hexdigest())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


@both
def test_rows_are_the_names(load):
    def letter(character):
        return ord(character) - ord("a") + 1

    data = load()
    for tokens, names in zip((data.train_tokens, data.test_tokens), parts(data), strict=True):
        longest = max(map(len, names))
        padded = [[0, *map(letter, name), 0] + [-1] * (longest - len(name)) for name in names]
        assert data.rows(tokens).tolist() == padded


def test_source_and_licence():
    text = metadata("names")
    assert text["License"] == "MIT" and "public domain" in str(text)
    for load in LISTS:
        data = load()
        assert "Census Bureau" in data.source and "names" in data.source
        assert data.licence == LICENCE == BUILT_IN[load.__name__].licence
        assert "public domain" in LICENCE and "MIT" in LICENCE


@both
def test_missing_package_says_what_to_install(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "names", None)  # makes the import fail
    with pytest.raises(ImportError, match=r'^names cannot .*pip install "course-lib\[data\]"'):
        load()


def test_reading_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first_names()
    assert torch.equal(torch.get_rng_state(), before)
