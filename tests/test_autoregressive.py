"""What all language models share, against loops that follow the definitions; causality of each."""

import inspect
import math
from collections import Counter
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from course_lib import autoregressive
from course_lib.autoregressive import (
    PADDING,
    LanguageModel,
    TrainedLanguageModel,
    Training,
    bits_per_character,
    check_tokens,
    cross_entropy,
    decay_groups,
    fit,
    generate,
    learning_rate_factor,
    next_token_probabilities,
    sample,
)
from course_lib.ngrams import MLPLanguageModel, NGram
from course_lib.recurrent import LSTMLanguageModel
from course_lib.training import Trainer, TrainingDivergedError
from course_lib.transformer import TransformerLanguageModel

TEXT = torch.randint(7, (200,), generator=torch.Generator().manual_seed(0))
ROWS = torch.tensor(
    [
        [0, 3, 1, 4, 0, PADDING],
        [0, 5, 0, PADDING, PADDING, PADDING],
        [0, 2, 6, 5, 3, 0],
        [0, 3, 1, 0, PADDING, PADDING],
    ]
)


def tokens(n: int, time: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(7, (n, time), generator=torch.Generator().manual_seed(seed))


class Toy(LanguageModel):
    """A fading sum of a vector for each token: a memory that a loop computes as well."""

    def __init__(
        self, vocabulary_size: int = 7, context: int | None = None, *, fading: float = 0.7
    ) -> None:
        super().__init__(vocabulary_size, context, sample_length=8)
        stream = torch.Generator().manual_seed(0)
        self.table = nn.Embedding(vocabulary_size, vocabulary_size)
        self.table.weight.data = torch.randn(vocabulary_size, vocabulary_size, generator=stream)
        self.bias = nn.Parameter(torch.randn(vocabulary_size, generator=stream))
        self.fading = fading
        self.read_lengths: list[int] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = [torch.zeros(self.vocabulary_size)]
        for column in self.table(tokens).unbind(dim=1):
            states.append(self.fading * states[-1] + column)
        return torch.stack(states[1:], dim=1) + self.bias

    def read(self, tokens, memory=None):
        assert self.context is None or tokens.shape[1] <= self.context
        self.read_lengths.append(tokens.shape[1])
        state = torch.zeros(self.vocabulary_size) if memory is None else memory
        for column in self.table(tokens).unbind(dim=1):
            state = self.fading * state + column
        return state + self.bias, state


def log_p(model: LanguageModel, before: torch.Tensor, following: int) -> float:
    """log p(following | before), of a single text."""
    return model(before[None])[0, -1].log_softmax(dim=0)[following].item()


# --- Causality, of every model -------------------------------------------------------------------


def models() -> dict[str, tuple[LanguageModel, int]]:
    """Each with weights so large that every token matters, and the number of tokens it sees."""
    torch.manual_seed(0)
    size = {"context": 8, "layers": 2, "heads": 2, "width": 16}
    made = {
        "ngram": (NGram(tokens(1, 3000)[0], 7, order=4), 3),
        "mlp": (MLPLanguageModel(7, order=4, width=8, hidden=16), 3),
        "lstm": (LSTMLanguageModel(7, layers=2, width=16), 8),
        "learnt positions": (TransformerLanguageModel(7, **size), 8),
        "rotary positions": (TransformerLanguageModel(7, positions="rotary", **size), 8),
    }
    for model, _ in made.values():
        for name, parameter in model.named_parameters():
            parameter.data = 0.5 * torch.randn(parameter.shape) + ("norm.weight" in name)
        model.eval()
    return made


MODELS = models()


@pytest.mark.parametrize("name", MODELS)
def test_a_changed_token_changes_no_earlier_prediction_and_all_later_ones(name: str) -> None:
    model, reach = MODELS[name]
    x = tokens(3, 8)
    before = model(x)
    assert before.shape == (3, 8, 7)
    for place in range(8):
        changed = x.clone()
        changed[:, place] = (x[:, place] + 1) % 7
        moved = (model(changed) - before).abs().amax(dim=2)
        assert not moved[:, :place].any() and not moved[:, place + reach :].any()
        assert bool((moved[:, place : place + reach] > 1e-5).all())


@pytest.mark.parametrize("name", [name for name in MODELS if name != "ngram"])
def test_the_gradient_of_a_prediction_reaches_just_the_tokens_that_it_may_see(name: str) -> None:
    (model, reach), x, embedded = MODELS[name], tokens(3, 8), []
    hook = model.tokens.register_forward_hook(lambda *arguments: embedded.append(arguments[2]))
    output = model(x)
    hook.remove()
    before = embedded[0].shape[1] - 8  # symbols before the text, of the perceptron
    for place in range(8):
        (gradient,) = torch.autograd.grad(
            output[1, place].square().sum(), embedded, retain_graph=True
        )
        seen = (gradient.abs().sum(dim=2) > 0)[:, before:]
        expected = torch.zeros(3, 8, dtype=torch.bool)
        expected[1, max(0, place + 1 - reach) : place + 1] = True  # and of no other text
        assert torch.equal(seen, expected)


@pytest.mark.parametrize("name", MODELS)
def test_padding_after_a_text_changes_none_of_its_predictions(name: str) -> None:
    model, _ = MODELS[name]
    x = tokens(1, 5)
    rows = nn.functional.pad(x, (0, 3), value=PADDING)
    alone = cross_entropy(model, x[:, :-1], x[:, 1:])
    torch.testing.assert_close(cross_entropy(model, rows[:, :-1], rows[:, 1:]), alone)


@pytest.mark.parametrize("name", MODELS)
def test_generation_follows_the_models_own_predictions(name: str) -> None:
    """With or without a memory; the Transformers' window slides beyond their 8 tokens."""
    model, _ = MODELS[name]
    prompt = tokens(4, 3)
    found = generate(model, prompt, 9, seed=2)
    assert torch.equal(found, generated(model, prompt, 9, seed=2))


# --- Loss ----------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_all_tokens_that_are_no_padding() -> None:
    model = Toy()
    terms = [
        -log_p(model, row[: t + 1], int(row[t + 1]))
        for row in ROWS
        for t in range(5)
        if row[t + 1] != PADDING
    ]
    assert len(terms) == 4 + 2 + 5 + 3
    loss = cross_entropy(model, ROWS[:, :-1], ROWS[:, 1:])
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_loss_is_in_single_precision_at_least() -> None:
    model = Toy()
    exact = cross_entropy(model, ROWS[:, :-1], ROWS[:, 1:])
    assert cross_entropy(Toy().double(), ROWS[:, :-1], ROWS[:, 1:]).dtype == torch.float64
    model.forward = lambda tokens: Toy.forward(model, tokens).bfloat16()  # type: ignore[method-assign]
    rounded = cross_entropy(model, ROWS[:, :-1], ROWS[:, 1:])
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=1e-2, atol=0)


# --- Bits per character --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 8, 9, 10, 45])
def test_of_a_long_text_every_token_but_the_first_is_counted_once(n: int) -> None:
    model, bits = Toy(), 0.0
    for place in range(1, n):
        piece = (place - 1) // 8 * 8  # pieces of sample_length
        bits -= log_p(model, TEXT[piece:place], int(TEXT[place])) / math.log(2)
    found = bits_per_character(model, TEXT[:n], batch_size=2)
    assert found == pytest.approx(bits / (n - 1), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_of_rows_every_token_but_the_first_of_each_is_counted_once(batch_size: int) -> None:
    model, bits, predicted = Toy(), 0.0, 0
    for row in ROWS:
        text = row[row != PADDING]
        for place in range(1, len(text)):
            bits -= log_p(model, text[:place], int(text[place])) / math.log(2)
            predicted += 1
    found = bits_per_character(model, ROWS, batch_size=batch_size)
    assert found == pytest.approx(bits / predicted, rel=1e-5)


@pytest.mark.parametrize("text", [TEXT, TEXT[:2], ROWS], ids=["long", "short", "rows"])
def test_knowing_nothing_costs_the_logarithm_of_the_vocabulary(text: torch.Tensor) -> None:
    model = Toy().train()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert bits_per_character(model, text) == pytest.approx(math.log2(7), rel=1e-6)
    assert model.training


def test_one_token_has_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match=r"n = 2 or more, got torch.int64 \(1,\)"):
        bits_per_character(Toy(), TEXT[:1])


def test_the_first_token_is_uniform_until_texts_are_seen() -> None:
    model = Toy(4)
    assert model.first_token.tolist() == [0.25] * 4
    model.observe_first(torch.tensor([[3, 1], [3, 2], [0, PADDING], [3, 1]]))
    assert model.first_token.tolist() == [0.25, 0, 0, 0.75], "of the rows' first tokens"
    model.observe_first(torch.tensor([3, 1, 1, 1], dtype=torch.uint8))
    assert model.first_token.tolist() == [0, 0.75, 0, 0.25], "of all, for windows begin anywhere"
    assert "first_token" in model.state_dict()


# --- What is a text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT - 1, r"from 0 to 6 \(vocabulary_size = 7\), got ids from -1 to 5"),
        (TEXT + 1, "got ids from 1 to 7; were they made with another vocabulary"),
        (TEXT.float(), r"whole numbers in a tensor \(n,\) .*got torch.float32 \(200,\)"),
        (TEXT[:2], r"n = 3 or more, got torch.int64 \(2,\); give a longer text"),
        (TEXT[None, None], r"got torch.int64 \(1, 1, 200\)"),
        (TEXT[0], r"got torch.int64 \(\)"),
        (TEXT[None, :2], r"\(n, time\) with time = 3 or more, got torch.int64 \(1, 2\)"),
        (ROWS[:0], "at least one text, got none"),
        (torch.tensor([[1, 2, PADDING]]), r"3 tokens or more in each row, and padding \(-1\)"),
        (torch.tensor([[1, 2, 3, PADDING, 4]]), "only after them"),
        (torch.tensor([[PADDING, 1, 2, 3]]), "only after them"),
        (torch.tensor([[1, 2, 7, PADDING]]), "got ids from 1 to 7"),
        (torch.tensor([[1, 2, -2, 3]]), "got ids from -2 to 3"),
    ],
)
def test_what_is_no_text_is_refused(text: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(check_tokens)(text, 7, least=3)


def test_texts_of_all_forms_are_taken() -> None:
    for text in (TEXT, TEXT[:3], TEXT.byte(), TEXT.view(2, 100).byte(), ROWS, ROWS.int()):
        check_tokens(text, 7, least=3)


# --- Probabilities of the next token -------------------------------------------------------------

LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=12)
TEMPERATURES = st.floats(0.05, 20)
TOP_K = st.none() | st.integers(1, 15)
TOP_P = st.none() | st.floats(0, 1)


def by_definition(logits, temperature=1.0, top_k=None, top_p=None) -> tuple[list[float], float]:
    """The probabilities, and by how much the nearest sum of shares misses ``top_p``."""
    most = max(logits)
    if temperature == 0:
        return [float(i == logits.index(most)) for i in range(len(logits))], 1.0
    weights = [math.exp((logit - most) / temperature) for logit in logits]
    order = sorted(range(len(logits)), key=lambda i: -weights[i])[:top_k]
    total, margin = sum(weights[i] for i in order), 1.0
    nucleus, share = [], 0.0
    for i in order:
        nucleus.append(i)
        share += weights[i] / total
        if top_p is not None:
            margin = min(margin, abs(share - top_p))
            if share >= top_p:
                break
    total = sum(weights[i] for i in nucleus)
    return [weights[i] / total * (i in nucleus) for i in range(len(logits))], margin


@given(LOGITS, st.just(0) | TEMPERATURES, TOP_K, TOP_P)
def test_the_next_tokens_probabilities_follow_their_definition(
    logits, temperature, top_k, top_p
) -> None:
    expected, margin = by_definition(logits, temperature, top_k, top_p)
    assume(margin > 1e-9)  # else rounding decides
    assume(all(b - a > 1e-6 for a, b in pairwise(sorted(logits))))  # else either of two may come
    tensor = torch.tensor(logits, dtype=torch.float64)
    found = next_token_probabilities(tensor, temperature, top_k, top_p)
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(LOGITS, TEMPERATURES, TOP_K, TOP_P)
def test_probabilities_are_a_distribution_with_one_token_at_least(
    logits, temperature, top_k, top_p
) -> None:
    tensor = torch.tensor(logits)
    p = next_token_probabilities(tensor, temperature, top_k, top_p)
    assert p.shape == tensor.shape and p.dtype == torch.float32
    assert float(p.min()) >= 0 and float(p.sum()) == pytest.approx(1, abs=1e-5)
    assert p[tensor.argmax()] > 0 and int((p > 0).sum()) <= (top_k or 99)


@given(LOGITS, st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1))
def test_less_is_kept_with_a_smaller_k_or_share(logits, k, other_k, share, other_share) -> None:
    tensor = torch.tensor(logits)
    few, many = (
        next_token_probabilities(tensor, 1, pick(k, other_k), pick(share, other_share)) > 0
        for pick in (min, max)
    )
    assert not (few & ~many).any()


@given(LOGITS)
def test_all_tokens_and_the_whole_share_change_nothing(logits) -> None:
    tensor = torch.tensor(logits)
    p = tensor.softmax(dim=0)
    torch.testing.assert_close(next_token_probabilities(tensor), p)
    torch.testing.assert_close(next_token_probabilities(tensor, top_k=len(logits)), p)
    assert torch.equal(next_token_probabilities(tensor, top_p=1), next_token_probabilities(tensor))
    assert torch.equal(
        next_token_probabilities(tensor, top_p=1.0), next_token_probabilities(tensor)
    )


def test_each_row_of_a_batch_is_judged_by_itself() -> None:
    logits = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    for settings in ({}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.6}, {"temperature": 2.5}):
        together = next_token_probabilities(logits, **settings)
        for i in range(3):
            for j in range(4):
                alone = next_token_probabilities(logits[i, j], **settings)
                torch.testing.assert_close(together[i, j], alone)


def test_temperatures_near_nothing_take_the_likeliest() -> None:
    logits = torch.tensor([1.0, 3.0, 2.9, -50.0])
    for temperature in (0, 1e-30, 1e-4):
        p = next_token_probabilities(logits, temperature)
        assert p.tolist() == [0, 1, 0, 0]
    assert next_token_probabilities(100 * logits, 1e-37).tolist() == [0, 1, 0, 0], "no overflow"
    flat = next_token_probabilities(logits, 1e9)
    torch.testing.assert_close(flat, torch.full((4,), 0.25))


def test_a_share_is_of_what_the_k_likeliest_have() -> None:
    logits = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()
    p = next_token_probabilities(logits, top_k=2, top_p=0.5)  # 4/7 of the two is enough
    assert p.tolist() == [0, 1, 0, 0]
    p = next_token_probabilities(logits, top_p=0.5)
    torch.testing.assert_close(p, torch.tensor([0, 4 / 7, 3 / 7, 0]))


def test_a_token_that_cannot_come_never_does() -> None:
    logits = torch.tensor([0.0, -math.inf, 0.0])
    for settings in ({}, {"temperature": 0.1}, {"top_k": 3}, {"top_p": 1.0}, {"top_p": 0.99}):
        assert next_token_probabilities(logits, **settings).tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("wrong", [[0, math.nan, 1], [0, math.inf, 1], [-math.inf] * 3])
def test_logits_of_a_model_that_has_diverged_are_refused(wrong, temperature) -> None:
    logits = torch.tensor([[0.0, 1, 2], wrong])
    with pytest.raises(ValueError, match=r"logits must have a finite largest one.* diverged"):
        next_token_probabilities(logits, temperature)


def test_probabilities_are_in_single_precision_at_least() -> None:
    logits = torch.randn(4000, generator=torch.Generator().manual_seed(0)).bfloat16()
    for settings in ({"temperature": 0}, {"temperature": 0.7}, {"top_k": 9}, {"top_p": 0.9}):
        found = next_token_probabilities(logits, **settings)
        assert found.dtype == torch.float32
        assert torch.equal(found, next_token_probabilities(logits.float(), **settings))
        assert next_token_probabilities(logits.double(), **settings).dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1}, "temperature must be a finite number .*got -1"),
        ({"temperature": math.nan}, "temperature must be a finite number .*got nan"),
        ({"top_k": 0}, "top_k must be None, or a whole number .*1 or more; got 0"),
        ({"top_k": 2.0}, "top_k must be None, or a whole number .*got 2.0"),
        ({"top_p": 1.1}, "top_p must be None, or a number .*from 0 to 1; got 1.1"),
        ({"top_p": -0.1}, "top_p must be None, or a number .*from 0 to 1; got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(next_token_probabilities)(torch.zeros(3), **settings)


# --- Generating ----------------------------------------------------------------------------------


def generated(model, prompt, n_tokens, *, seed=0, **settings):
    """The definition: every step reads the whole text, or as much as the context holds."""
    stream, text = torch.Generator().manual_seed(seed), prompt
    for _ in range(n_tokens):
        window = text if model.context is None else text[:, -model.context :]
        logits = model(window)[:, -1].detach()
        p = torch.tensor([by_definition(row, **settings)[0] for row in logits.tolist()])
        text = torch.cat([text, torch.multinomial(p, 1, generator=stream)], dim=1)
    return text


@pytest.mark.parametrize("context", [None, 6])
@pytest.mark.parametrize("time", [1, 3, 6, 9])
@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6, "temperature": 2}],
)
def test_neither_memory_nor_window_changes_a_token(context, time: int, settings) -> None:
    model, prompt = Toy(context=context), tokens(5, time)
    found = generate(model, prompt, 11, seed=4, **settings)
    assert found.shape == (5, time + 11) and torch.equal(found[:, :time], prompt)
    assert torch.equal(found, generated(model, prompt, 11, seed=4, **settings))


@pytest.mark.parametrize(
    ("context", "time", "lengths"),
    [
        (None, 3, [3, 1, 1, 1, 1, 1]),
        (6, 3, [3, 1, 1, 1, 6, 6]),
        (6, 6, [6, 6, 6, 6, 6, 6]),
        (6, 9, [6, 6, 6, 6, 6, 6]),
    ],
)
def test_what_is_in_the_memory_is_not_read_again(context, time: int, lengths) -> None:
    model = Toy(context=context)
    generate(model, tokens(1, time), 6)
    assert model.read_lengths == lengths


def test_a_model_without_a_memory_reads_the_whole_text() -> None:
    model = Toy()
    logits, memory = LanguageModel.read(model, tokens(2, 5))
    assert memory is None and torch.equal(logits, model(tokens(2, 5))[:, -1])
    forgetful = Toy()
    forgetful.read = lambda *given: LanguageModel.read(forgetful, *given)  # type: ignore[method-assign]
    found = generate(forgetful, tokens(2, 5), 7)
    assert torch.equal(found, generate(model, tokens(2, 5), 7))


def test_tokens_are_drawn_by_the_models_probabilities() -> None:
    model, prompt = Toy(), tokens(1, 4)
    p = model(prompt)[0, -1].softmax(dim=0).detach()
    drawn = generate(model, prompt.expand(20_000, 4), 1)[:, -1]
    share = drawn.bincount(minlength=7) / 20_000
    assert bool(((share - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all())
    top = generate(model, prompt.expand(500, 4), 1, top_k=3)[:, -1].unique()
    assert set(top.tolist()) == set(p.topk(3).indices.tolist())
    assert torch.equal(generate(model, prompt, 0), prompt)


def test_sampling_is_seeded_and_touches_nothing_else() -> None:
    model, state = Toy().train(), torch.get_rng_state()
    drawn = sample(model, 3, seed=5)
    assert drawn.shape == (3, 8) and drawn.dtype == torch.int64 and model.training
    assert torch.equal(drawn, sample(model, 3, seed=5))
    assert not torch.equal(drawn, sample(model, 3, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"n must be a whole number .*got 0"):
        sample(model, 0)


def test_a_sample_begins_as_often_with_a_token_as_the_texts_do() -> None:
    model = Toy()
    model.observe_first(torch.tensor([0, 0, 0, 5]))
    share = sample(model, 2000)[:, 0].bincount(minlength=7) / 2000
    assert share[0] + share[5] == 1
    assert float(share[0]) == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 2000))
    model.observe_first(ROWS)
    assert not sample(model, 50)[:, 0].any()


def test_neither_texts_nor_bits_know_dropout() -> None:
    torch.manual_seed(0)
    model = MLPLanguageModel(7, order=4, dropout=0.5).eval()
    bits, text = bits_per_character(model, TEXT), generate(model, tokens(4, 3), 20)
    model.train()
    assert bits_per_character(model, TEXT) == bits and model.training
    assert torch.equal(generate(model, tokens(4, 3), 20), text) and model.training


def test_the_first_two_tokens_of_a_sample_are_drawn_with_different_noise() -> None:
    """Tokens without a context are independent: two are alike as often as any two are."""
    for seed in (0, 1):
        drawn = sample(NGram(TEXT, 7, order=1), 2000, seed=seed)
        alike = (drawn[:, 0] == drawn[:, 1]).float().mean().item()
        assert alike == pytest.approx(1 / 7, abs=0.04)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_tokens_may_be_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    """A text of a few characters is kept in bytes."""
    model = Toy()
    assert bits_per_character(model, TEXT.to(dtype)) == bits_per_character(model, TEXT)
    prompt = TEXT[None, :3]
    assert torch.equal(generate(model, prompt.to(dtype), 4), generate(model, prompt, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_tokens": -1}, "n_tokens must be a whole number .*0 or more; got -1"),
        ({"temperature": -1}, "temperature must be a finite number .*got -1"),
        ({"prompt": torch.zeros(2, 0, dtype=torch.int64)}, r"at least one token a text.*\(2, 0\)"),
        ({"prompt": TEXT}, r"prompt must be \(n, time\).*prompt\[None\]"),
        ({"prompt": TEXT[None] + 1}, r"from 0 to 6 .*ids from 1 to 7; .*another vocabulary"),
        ({"prompt": ROWS}, "from 0 to 6 .*ids from -1 to 6"),
    ],
)
def test_what_cannot_be_continued_is_refused(changes, message: str) -> None:
    arguments = {"prompt": tokens(1, 3), "n_tokens": 2, **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(generate)(Toy(), **arguments)


# --- The settings of training --------------------------------------------------------------------

SETTINGS = Training(steps=6, batch_size=8, context=8, warmup_steps=2)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((n, v) for n in ("batch_size", "context") for v in (0, 1.5, True, None, "9")),
        *((n, v) for n in ("steps", "warmup_steps") for v in (-1, 2.0, True, None)),
        *(("dropout", value) for value in (-0.1, 1, None, math.nan, "0", True)),
        *((n, v) for n in ("learning_rate", "weight_decay") for v in (-1, math.nan, "1")),
        *(("clip", value) for value in (0, -1, math.nan, math.inf, None)),
        *(("betas", value) for value in (None, 0.5, (0.5,), (0.5, 1), [0.5, 0.9])),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = SimpleNamespace(**{**vars(SETTINGS), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        Training.__post_init__(settings)  # type: ignore[arg-type]
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings() -> None:
    assert list(autoregressive.TRAINING_RULES) == list(vars(SETTINGS))


def test_the_learning_rate_warms_up_and_goes_down_to_a_tenth() -> None:
    config = Training(steps=30, warmup_steps=10)
    factors = [learning_rate_factor(config, step) for step in range(31)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1 and factors[20] == pytest.approx(0.55)
    assert factors[30] == pytest.approx(0.1) and learning_rate_factor(config, 99) == factors[30]
    assert sorted(factors[10:], reverse=True) == factors[10:]
    assert learning_rate_factor(Training(steps=1, warmup_steps=0), 0) == 1


def test_matrices_decay_and_vectors_do_not() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    matrices, vectors = decay_groups(model, 0.3)
    assert [p.shape for p in matrices["params"]] == [(5, 4), (3, 4)]
    assert [p.shape for p in vectors["params"]] == [(3,), (3,), (3,)]
    assert matrices["weight_decay"] == 0.3 and vectors["weight_decay"] == 0


# --- Training ------------------------------------------------------------------------------------


def fitted(
    text: torch.Tensor = TEXT,
    *,
    model: LanguageModel | None = None,
    trainer=(),
    snapshots: int = 0,
    snapshot_size: int = 5,
    seed: int = 0,
    **changes,
) -> TrainedLanguageModel:
    config = Training(**{**vars(SETTINGS), **changes})
    engine = Trainer(device="cpu", progress=False, seed=seed, **dict(trainer))
    made = model if model is not None else Toy()
    sets = {"snapshots": snapshots, "snapshot_size": snapshot_size}
    return inspect.unwrap(fit)(made, text, config, engine, **sets)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def test_training_runs_and_reports() -> None:
    made = fitted(snapshots=3, seed=2)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 3, 6]
    assert list(made.history) == ["cross_entropy"] and made.snapshots.shape == (3, 5, 8)
    assert not made.model.training and made.config == SETTINGS
    assert torch.equal(made.snapshots[-1], sample(made.model, 5, seed=2))
    assert torch.equal(made.model.first_token, TEXT.bincount(minlength=7) / 200)


@pytest.mark.parametrize("kind", ["rows", "windows"])
def test_a_table_of_pairs_learns_the_frequencies_of_pairs(kind: str) -> None:
    """The minimum is known: the share of each token among those that followed its predecessor."""
    if kind == "rows":
        text, windows = ROWS, [row[row != PADDING].tolist() for row in ROWS]
    else:
        text, windows = TEXT[:40], TEXT[:40].unfold(0, 9, 1).tolist()
    counts = Counter(pair for row in windows for pair in pairwise(row))
    made = fitted(
        *(text,),
        model=Toy(fading=0.0),
        steps=600,
        batch_size=len(windows),
        learning_rate=0.1,
        weight_decay=0.0,
    )
    p = made.model(torch.arange(7)[:, None])[:, 0].softmax(dim=1).detach()
    for before in range(7):
        total = sum(counts[before, c] for c in range(7))
        for following in range(7 if total else 0):
            expected = counts[before, following] / total
            assert float(p[before, following]) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("text", [TEXT, ROWS], ids=["windows", "rows"])
@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_steps_are_those_of_adam_with_decay_clipping_and_the_schedule(clip, text) -> None:
    """All examples are the batch, so that their order matters only to rounding."""
    examples = text if text.ndim == 2 else text.unfold(0, 9, 1)
    settings = {"steps": 4, "batch_size": len(examples), "learning_rate": 1e-2}
    made = fitted(text, clip=clip, weight_decay=0.5, **settings)
    model, config = Toy(), Training(**{**vars(SETTINGS), **settings})
    decayed, plain = [model.table.weight], [model.bias]
    adam = torch.optim.AdamW([{"params": decayed}, {"params": plain}])
    for step in range(4):
        for group, decay in zip(adam.param_groups, (0.5, 0.0), strict=True):
            rate = 1e-2 * learning_rate_factor(config, step)
            group.update(lr=rate, betas=(0.9, 0.99), weight_decay=decay)
        adam.zero_grad()
        logits = model(examples[:, :-1].clamp(min=0))
        real = examples[:, 1:] != PADDING
        loss = nn.functional.cross_entropy(logits[real], examples[:, 1:][real])
        assert made.history["cross_entropy"][step] == pytest.approx(loss.item(), rel=1e-4)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        adam.step()
    named = dict(model.named_parameters())
    for name, parameter in made.model.named_parameters():
        torch.testing.assert_close(parameter, named[name], rtol=1e-3, atol=1e-5)


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    first, again, other = fitted(seed=1), fitted(seed=1, snapshots=4), fitted(seed=2)
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert dict(first.history) == dict(again.history)


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = fitted(), fitted(trainer={"accumulate": 4})
    assert whole.history["cross_entropy"] == pytest.approx(parts.history["cross_entropy"], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_training_takes_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    assert torch.equal(weights(fitted(TEXT.to(dtype)).model), weights(fitted().model))


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (TEXT, {"batch_size": 193}, r"batch_size must be .*between 1 and .*192; got 193"),
        (ROWS, {"batch_size": 5}, r"batch_size must be .*between 1 and .*4; got 5"),
        (TEXT, {"snapshots": -1}, "snapshots must be a whole number .*0 or more; got -1"),
        (TEXT, {"snapshot_size": 0}, "snapshot_size must be a whole number .*1 or more; got 0"),
        (TEXT + 1, {}, "from 0 to 6 .*got ids from 1 to 7"),
        (TEXT[:8], {}, r"n = 9 or more, got torch.int64 \(8,\); give a longer text"),
        (ROWS[:, :1], {}, r"time = 2 or more, got torch.int64 \(4, 1\)"),
    ],
)
def test_what_cannot_be_learnt_is_refused(text: torch.Tensor, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(text, **changes)


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError):
        fitted(learning_rate=1e38, steps=20)
