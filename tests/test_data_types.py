"""course_lib.data_types: text as numbers and back, and what is refused.

The checks of ImageData are tested in test_datasets.py, where real data are at hand.
"""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data_types import PADDING, TextData


def text_data(vocabulary="ab"):
    tokens = torch.tensor([0, 1, 1])
    return TextData("two", tokens, tokens[:0], tuple(vocabulary), source="here", licence="none")


def from_text(text, *held_out):
    return TextData.from_text("text", text, *held_out, source="here", licence="none")


# Of all characters, lone surrogates included: a vocabulary in any order.
@given(st.lists(st.characters(exclude_categories=()), min_size=1, unique=True), st.data())
def test_encode_and_decode_agree_with_a_dictionary(vocabulary, data):
    text = "".join(data.draw(st.lists(st.sampled_from(vocabulary))))
    index = {character: i for i, character in enumerate(vocabulary)}
    two = TextData("x", torch.tensor([0]), torch.tensor([0]), tuple(vocabulary), "here", "none")
    tokens = two.encode(text)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [index[character] for character in text]
    assert two.decode(tokens) == text


def test_from_text_holds_out_the_last_tenth():
    text = "".join(chr(97 + i % 7) for i in range(1999)) + "é"  # only in the last tenth
    data = from_text(text)
    assert (len(data.train_tokens), len(data.test_tokens)) == (1800, 200)
    assert data.vocabulary == tuple("abcdefgé")
    assert data.decode(data.train_tokens) + data.decode(data.test_tokens) == text
    assert repr(data) == ("TextData(text: 1,800 training and 200 held-out characters, 8 different)")


def test_from_text_with_a_part_held_out_by_somebody_else():
    data = from_text("ab" * 500, "cab")
    assert data.vocabulary == ("a", "b", "c")
    assert len(data.train_tokens) == 1000 and data.test_tokens.tolist() == [2, 0, 1]


@pytest.mark.parametrize("length", [0, 1, 999])
def test_a_short_text_is_refused(length):
    with pytest.raises(ValueError, match=rf"text: text has {length} characters; .* 1,000"):
        from_text("a" * length)
    assert from_text("a" * 1000).test_tokens.tolist() == [0] * 100


def test_unknown_characters_are_named():
    with pytest.raises(
        ValueError, match=r"1 characters .*\('\\n'\), the first at position 2;.*'ab'"
    ):
        text_data().encode("ab\nba\n")
    with pytest.raises(ValueError, match=r"26 characters .*\('0', '1', '2', '3', '4', '5', …\)"):
        text_data().encode("0123456789cdefghijklmnopqr")
    with pytest.raises(ValueError, match=r"position 0"):  # beyond the last of the vocabulary
        text_data().encode("z")
    assert text_data().encode("").tolist() == []


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([0, 2]), "from 0 to 2; expected 0 to 1"),
        (torch.tensor([-1]), "from -1"),
        (torch.tensor([[0]]), r"shape \(1, 1\); .*tokens\[0\]"),
        (torch.tensor([0.0]), "torch.float32; expected a tensor of torch.int64"),
        ([0, 1], r"list; .*torch.tensor\(tokens\)"),
    ],
)
def test_bad_tokens_are_refused(tokens, message):
    # Without the tests' run-time check of the shapes, which would come before it.
    decode = TextData.decode.__wrapped__
    with pytest.raises(ValueError, match=f"^tokens: .*{message}"):
        decode(text_data(), tokens)


@given(st.text("\nab", min_size=1).filter(lambda text: text.strip("\n")))
def test_rows_agree_with_splitting_the_text(text):
    """Whether or not it begins and ends with a newline, and with empty lines anywhere."""
    data = text_data("a\nb")
    rows = data.rows(data.encode(text))
    lines = [line for line in text.split("\n") if line]
    assert rows.dtype == torch.int64
    assert rows.shape == (len(lines), max(map(len, lines)) + 2)
    for row, line in zip(rows, lines, strict=True):
        length = len(line) + 2
        assert data.decode(row[:length]) == f"\n{line}\n"
        assert (row[length:] == PADDING).all()


def test_rows_of_a_text_by_hand():
    data = text_data("\nab")
    expected = [[0, 1, 0, -1], [0, 2, 1, 0]]
    assert data.rows(torch.tensor([0, 1, 0, 0, 2, 1, 0])).tolist() == expected


@pytest.mark.parametrize(
    ("vocabulary", "tokens", "message"),
    [
        ("ab", torch.tensor([0]), "^vocabulary: has no newline; .* lines of two"),
        ("\na", torch.tensor([0, 0]), "^tokens: 2 of them and no line"),
        ("\na", torch.tensor([0])[:0], "^tokens: 0 of them and no line"),
        ("\na", torch.tensor([2]), "^tokens: from 2 to 2; expected 0 to 1"),
        ("\na", torch.tensor([[1]]), r"^tokens: shape \(1, 1\)"),
        ("\na", torch.tensor([1.0]), "^tokens: torch.float32"),
    ],
)
def test_rows_of_no_lines_are_refused(vocabulary, tokens, message):
    rows = TextData.rows.__wrapped__  # the run-time check of the shapes would come before it
    with pytest.raises(ValueError, match=message):
        rows(text_data(vocabulary), tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_tokens": torch.zeros(0).long()}, "train_tokens: is empty"),
        ({"train_tokens": torch.tensor([2])}, "train_tokens: from 2 to 2; expected 0 to 1"),
        ({"test_tokens": torch.tensor([0]).int()}, "test_tokens: torch.int32"),
        ({"vocabulary": ("a", "bc")}, "vocabulary: holds 'bc'; expected one character"),
        ({"vocabulary": ("a", "")}, "vocabulary: holds ''"),
        ({"vocabulary": ("a", "a")}, "vocabulary: holds a character twice"),
    ],
)
def test_bad_text_is_refused(change, message):
    good = {name: getattr(text_data(), name) for name in TextData.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        TextData.__post_init__(SimpleNamespace(**(good | change)))
