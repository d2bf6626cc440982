"""The n-gram against a dictionary that follows its recursion, and the perceptron against a loop."""

import inspect
import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib import ngrams
from course_lib.autoregressive import (
    PADDING,
    TRAINING_RULES,
    bits_per_character,
    cross_entropy,
    generate,
    sample,
)
from course_lib.ngrams import (
    PRESETS,
    MLPLanguageModel,
    NGram,
    build,
    configure,
    train_mlp,
)
from course_lib.training import Trainer

BEFORE = "before the text"


def draw(*shape: int, below: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


# --- Counting ------------------------------------------------------------------------------------


class Dictionary:
    """The recursion of the docstring of :class:`NGram`, a context at a time."""

    def __init__(self, texts, size: int, order: int, strength: float) -> None:
        self.size, self.order, self.strength = size, order, strength
        self.counts: Counter = Counter()
        for text in texts:
            for place in range(1, len(text)):
                for context in self.contexts(text[:place]):
                    self.counts[context, text[place]] += 1

    def contexts(self, before):
        """From the longest to the empty one."""
        padded = [BEFORE] * self.order + list(before)
        return [tuple(padded[len(padded) - length :]) for length in reversed(range(self.order))]

    def p(self, token: int, contexts) -> float:
        if not contexts:
            return 1 / self.size
        context, *shorter = contexts
        total = sum(self.counts[context, c] for c in range(self.size))
        share = self.strength * self.p(token, shorter)
        return (self.counts[context, token] + share) / (total + self.strength)


TEXTS = st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=9), min_size=1, max_size=5)


def rows(texts) -> torch.Tensor:
    longest = max(map(len, texts))
    return torch.tensor([[*text, *[PADDING] * (longest - len(text))] for text in texts])


@given(TEXTS, st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 5))
def test_probabilities_are_those_of_the_recursion(texts, text, order: int) -> None:
    """Of rows with padding, and of contexts that were never seen."""
    model = NGram(rows(texts), 4, order=order, strength=0.7)
    expected = Dictionary(texts, 4, order, 0.7)
    found = model(torch.tensor([text])).exp()[0]
    assert found.shape == (len(text), 4)
    for place in range(len(text)):
        contexts = expected.contexts(text[: place + 1])
        wanted = [expected.p(token, contexts) for token in range(4)]
        assert found[place].tolist() == pytest.approx(wanted, rel=1e-5)


def test_a_long_text_is_one_text() -> None:
    text = draw(60)
    model, expected = NGram(text, 5, order=3, strength=2), Dictionary([text.tolist()], 5, 3, 2)
    assert torch.equal(model(text[None]), NGram(text[None], 5, order=3, strength=2)(text[None]))
    found = model(text[None, :20]).exp()[0, -1]
    wanted = [expected.p(token, expected.contexts(text[:20].tolist())) for token in range(5)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


@given(st.integers(1, 6), st.floats(1e-9, 1e6))
def test_probabilities_sum_to_one_and_none_is_impossible(order: int, strength: float) -> None:
    text = draw(50, below=3)  # of four tokens, one of which never comes
    log_p = NGram(text, 4, order=order, strength=strength)(draw(7, 30, below=4, seed=1))
    torch.testing.assert_close(log_p.logsumexp(dim=2), torch.zeros(7, 30), rtol=0, atol=1e-5)
    assert log_p.isfinite().all()


def test_order_1_is_the_smoothed_frequencies_wherever_one_is() -> None:
    text = torch.tensor([[4, 0, 0, 1, 0], [4, 1, 0, PADDING, PADDING]])  # 4 is never predicted
    p = NGram(text, 5, order=1, strength=2).forward(draw(3, 7)).exp()
    expected = torch.tensor([4, 2, 0, 0, 0]).add(2 / 5) / (6 + 2)
    torch.testing.assert_close(p, expected.expand(3, 7, 5))


def test_without_smoothing_to_speak_of_a_rule_is_certain_and_with_much_nothing_is() -> None:
    cycle = torch.arange(100) % 5
    assert bits_per_character(NGram(cycle, 5, order=3, strength=1e-6), cycle) < 1e-3
    ignorant = bits_per_character(NGram(cycle, 5, order=3, strength=1e9), cycle)
    assert ignorant == pytest.approx(math.log2(5), rel=1e-3)


def test_an_unseen_context_leaves_the_word_to_the_shorter_one() -> None:
    text = draw(80, below=4)  # the token 4 is no context at all
    x = torch.tensor([[1, 4, 2]])
    shorter = NGram(text, 5, order=2)(x)
    torch.testing.assert_close(NGram(text, 5, order=3)(x)[0, 2], shorter[0, 2])
    frequencies = NGram(text, 5, order=1)(x)
    torch.testing.assert_close(NGram(text, 5, order=4)(x)[0, 1], frequencies[0, 1])


def test_the_beginning_of_a_text_is_a_context_of_its_own() -> None:
    text = torch.tensor([[0, 1, PADDING], [0, 1, PADDING], [2, 0, 2], [2, 0, 2]])
    p = NGram(text, 4, order=3, strength=1e-6)(torch.tensor([[0, 0]])).exp()[0]
    assert p[0].tolist() == pytest.approx([0, 1, 0, 0], abs=1e-4)
    assert p[1].tolist() == pytest.approx([0, 0.5, 0.5, 0], abs=1e-4), "not after another token"


def test_its_bits_are_those_of_the_recursion() -> None:
    texts, unseen = [[0, 1, 2, 0], [0, 2, 0], [0, 1, 0]], [[0, 1, 2, 3, 0], [0, 3]]
    expected = Dictionary(texts, 4, 3, 1.5)
    bits = [
        -math.log2(expected.p(text[place], expected.contexts(text[:place])))
        for text in unseen
        for place in range(1, len(text))
    ]
    found = bits_per_character(NGram(rows(texts), 4, order=3, strength=1.5), rows(unseen))
    assert found == pytest.approx(sum(bits) / len(bits), rel=1e-5)


def test_samples_are_as_long_as_the_rows_or_as_a_piece_of_a_long_text() -> None:
    assert sample(NGram(draw(6, 9), 5), 3).shape == (3, 9)
    assert NGram(draw(40), 5).sample_length == 40
    assert NGram(draw(4000), 5).sample_length == ngrams.LONGEST_PIECE
    cycle = torch.arange(100) % 5
    drawn = sample(NGram(cycle, 5, order=2, strength=1e-6), 4)
    assert bool(((drawn[:, 1:] - drawn[:, :-1]) % 5 == 1).all())


@pytest.mark.parametrize("model", ["ngram", "mlp"])
def test_generation_reads_no_more_tokens_than_matter(model: str, monkeypatch) -> None:
    order = 4
    made = NGram(draw(300), 5, order=order) if model == "ngram" else MLPLanguageModel(5, order=4)
    x = draw(3, 9)
    read, forward = [], type(made).forward

    def remember(self, tokens):
        read.append(tokens.shape[1])
        return forward(self, tokens)

    expected = [made(x[:, :time])[:, -1] for time in range(1, 10)]
    monkeypatch.setattr(type(made), "forward", remember)
    for time in range(1, 10):
        torch.testing.assert_close(made.read(x[:, :time])[0], expected[time - 1])
    assert read == [1, 2, *[3] * 7]
    generate(made, x, 2)
    assert read[-2:] == [3, 3]


def test_it_comes_back_from_its_state_and_has_nothing_to_train() -> None:
    model, other = NGram(draw(50), 5, order=3), NGram(draw(50), 5, order=3, strength=1)
    assert not list(model.parameters())
    other.load_state_dict(model.state_dict())
    other.strength = model.strength
    assert torch.equal(model(draw(2, 6)), other(draw(2, 6)))
    assert model.to("meta")(draw(2, 6).to("meta")).shape == (2, 6, 5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_counting_takes_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    text = draw(60)
    model, same = NGram(text, 5), NGram(text.to(dtype), 5)
    assert torch.equal(model(text[None]), same(text[None]))
    assert bits_per_character(same, text.to(dtype)) == bits_per_character(model, text)


@pytest.mark.parametrize(
    ("tokens", "settings", "message"),
    [
        (draw(60), {"order": 0}, "order must be a whole number .*1 or more; got 0"),
        (draw(60), {"order": 2.0}, "order must be a whole number .*got 2.0"),
        (draw(60), {"strength": 0}, "strength must be a finite number .*got 0"),
        (draw(60), {"strength": math.inf}, "strength must be a finite number .*got inf"),
        (draw(60), {"order": 26}, "order must be smaller for 5 different tokens.*got 26"),
        (draw(60), {"order": 10**9}, "order must be smaller for 5 different tokens"),
        (draw(60) + 1, {}, "from 0 to 4 .*got ids from 1 to 5"),
        (draw(1), {}, "n = 2 or more"),
        (torch.tensor([[1, PADDING]]), {}, "2 tokens or more in each row"),
    ],
)
def test_what_cannot_be_counted_is_refused(tokens, settings, message: str) -> None:
    init = inspect.unwrap(NGram.__init__)
    with pytest.raises(ValueError, match=message):
        init(NGram.__new__(NGram), tokens, 5, **settings)


def test_the_largest_order_that_a_code_can_hold_is_right() -> None:
    """6 ** 24 < 2 ** 63: 24 tokens of 6 kinds, the symbol before the text counted."""
    text = draw(60)
    model, expected = NGram(text, 5, order=25, strength=2), Dictionary([text.tolist()], 5, 25, 2)
    wanted = [expected.p(token, expected.contexts(text[:50].tolist())) for token in range(5)]
    assert model(text[None, :50]).exp()[0, -1].tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_contexts_of_small_whole_numbers_are_coded_without_overflow(dtype: torch.dtype) -> None:
    text = draw(300, below=60)
    model = NGram(text, 60, order=8)
    assert torch.equal(model.forward(text[None].to(dtype)), model(text[None]))


# --- A perceptron --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4, 9])
def test_the_perceptron_is_a_loop_over_windows(order: int) -> None:
    torch.manual_seed(0)
    model, x = MLPLanguageModel(5, order=order, width=3, hidden=7), draw(2, 6)
    found = model(x)
    for text, logits in zip(x.tolist(), found, strict=True):
        for place in range(6):
            window = ([5] * order + text[: place + 1])[-(order - 1) :]  # 5: before the text
            vector = torch.cat([model.tokens.weight[token] for token in window])
            hidden = torch.tanh(model.hidden.weight @ vector + model.hidden.bias)
            torch.testing.assert_close(
                logits[place], model.output.weight @ hidden + model.output.bias
            )


def test_the_symbol_before_the_text_is_learnt_and_never_predicted() -> None:
    model = MLPLanguageModel(5, order=4, width=3, hidden=7)
    assert model.tokens.weight.shape == (6, 3) and model(draw(2, 6)).shape == (2, 6, 5)
    cross_entropy(model, draw(2, 6), draw(2, 6)).backward()
    assert model.tokens.weight.grad is not None and model.tokens.weight.grad[5].any()


def test_the_networks_size_is_that_of_the_paper_without_direct_connections() -> None:
    """Section 3 of Bengio et al. 2003: |V| (1 + h) + |V| m + h (1 + (n - 1) m), and one symbol."""
    size, m, h, n = 27, 30, 100, 5
    model = MLPLanguageModel(size, order=n, width=m, hidden=h)
    expected = size * (1 + h) + size * m + h * (1 + (n - 1) * m) + m
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("order", [0, 1, 2.5])
def test_a_perceptron_that_would_see_nothing_is_refused(order) -> None:
    with pytest.raises(ValueError, match=f"order must be a whole number .*2 or more; got {order}"):
        inspect.unwrap(MLPLanguageModel.__init__)(
            MLPLanguageModel.__new__(MLPLanguageModel), 5, order=order
        )


def test_dropout_works_in_training_only() -> None:
    model = build(configure("tiny", dropout=0.5), 5)
    x = draw(2, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_it_takes_half_precision_and_the_meta_device(device: str) -> None:
    with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
        model = build(configure("tiny", dropout=0.1), 5)
        x = torch.zeros(3, 9, dtype=torch.int64)
        loss = cross_entropy(model, x[:, :-1], x[:, 1:])
        loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


# --- Training ------------------------------------------------------------------------------------


def tiny(tokens: torch.Tensor, *, seed: int = 0, trainer=(), **changes):
    engine = Trainer(device="cpu", progress=False, seed=seed, **dict(trainer))
    return train_mlp(tokens, 5, "tiny", trainer=engine, **changes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_text_with_a_rule_is_learnt(precision: str) -> None:
    """The next token is the sum of the last two, which no pair of neighbours tells."""
    text = [1, 1]
    while len(text) < 200:
        text.append((text[-1] + text[-2]) % 5)
    made = tiny(torch.tensor(text), trainer={"precision": precision}, steps=300, learning_rate=2e-2)
    start = torch.tensor([text[:3]])
    assert generate(made.model, start, 20, temperature=0).tolist() == [text[:23]]
    assert bits_per_character(NGram(torch.tensor(text), 5, order=2), torch.tensor(text)) > 1


def test_it_learns_from_rows_where_a_text_ends() -> None:
    made = tiny(rows([[0, 1, 2, 0], [0, 3, 0]] * 8), steps=200, learning_rate=2e-2, context=4)
    p = made.model(torch.tensor([[0, 1, 2]]))[0].softmax(dim=1).detach()
    assert p[0].tolist() == pytest.approx([0, 0.5, 0, 0.5, 0], abs=0.1)
    assert p[1, 2] > 0.9 and p[2, 0] > 0.9
    assert made.snapshots.shape == (0, 64, 4)


def test_training_is_deterministic() -> None:
    text = draw(100)
    first, again, other = tiny(text, seed=1), tiny(text, seed=1, snapshots=3), tiny(text, seed=2)
    assert dict(first.history) == dict(again.history) != dict(other.history)
    assert first.config == configure("tiny") and not first.model.training
    assert torch.equal(again.snapshots[-1], sample(first.model, 64, seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        ({"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        ({"vocabulary_size": 0}, "vocabulary_size must be a whole number .*1 or more; got 0"),
        ({"vocabulary_size": 4}, "from 0 to 3 .*got ids from 0 to 4"),
        ({"seed": 1, "trainer": Trainer(device="cpu")}, "either seed or trainer"),
    ],
)
def test_bad_input_is_refused(changes, message: str) -> None:
    arguments = {"vocabulary_size": 5, "preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_mlp)(draw(100), **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"), [("order", 1), ("width", 0), ("hidden", 0), ("steps", -1), ("context", 0)]
)
def test_settings_out_of_range_are_refused(name: str, wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .*; got {wrong}$"):
        configure("tiny", **{name: wrong})


def test_the_rules_cover_the_settings() -> None:
    assert {*TRAINING_RULES, *ngrams._RULES} == set(vars(PRESETS["tiny"]))
