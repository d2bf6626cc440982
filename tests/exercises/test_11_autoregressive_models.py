"""What the exercises of chapter 11 teach is what the library does."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import assignments
import notebooks
import pytest
import torch
from torch import Tensor, nn

from course_lib import autoregressive, ngrams, recurrent, transformer

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "11_autoregressive_models"


def lstm(vocabulary_size: int) -> recurrent.LSTMLanguageModel:
    model = recurrent.build(recurrent.configure("tiny"), vocabulary_size)
    return model.double().eval()


def rows() -> Tensor:
    """Names of one to four letters, between two line breaks."""
    names = torch.randint(1, 6, (9, 6))
    names[:, 0] = 0
    for row, letters in enumerate((1, 2, 3, 4, 4, 1, 2, 3, 2)):
        names[row, letters + 1] = 0
        names[row, letters + 2 :] = autoregressive.PADDING
    return names


def test_the_chain_rule_finds_the_conditionals_of_a_model(answer):
    """In the order of the text; the joint is made of all texts of three tokens."""
    model = lstm(3)
    texts = torch.tensor(list(itertools.product(range(3), repeat=3)))
    with torch.no_grad():
        # The token 0 stands before every text.
        inputs = torch.cat([torch.zeros(27, 1, dtype=torch.long), texts[:, :-1]], 1)
        conditionals = model(inputs).softmax(-1)
    chosen = conditionals.gather(2, texts[:, :, None])[..., 0]
    factors = answer("chain_rule")(chosen.prod(1).view(3, 3, 3), (0, 1, 2))
    for position, factor in enumerate(factors):
        got = factor.expand(3, 3, 3).flatten()
        torch.testing.assert_close(got, chosen[:, position])


def test_the_short_memory_is_that_of_a_bigram(answer):
    """Tokens that tell their position, so that counts of pairs are the best model."""
    counts = torch.randint(0, 5, (2, 3, 2))
    values = counts.nonzero().repeat_interleave(counts[counts > 0], 0)
    for order in ((0, 1, 2), (1, 2, 0)):
        tokens = 1 + values[:, order] + 3 * torch.arange(3)
        texts = torch.cat([torch.zeros(len(values), 1, dtype=torch.long), tokens], 1)
        model = ngrams.NGram(texts, 10, order=2, strength=1e-9)
        nats = 3 * math.log(2) * autoregressive.bits_per_character(model, texts)
        got = answer("short_memory_loss")(counts.double() / counts.sum(), order)
        assert got == pytest.approx(nats, abs=1e-5)


def test_bits_per_character(answer):
    model, tokens = lstm(6), rows()
    expected = autoregressive.bits_per_character(model, tokens)
    with torch.no_grad():
        got = answer("bits_per_character")(model(tokens.clamp(min=0)), tokens)
        nats = autoregressive.cross_entropy(model, tokens[:, :-1], tokens[:, 1:])
    assert got == pytest.approx(expected)
    assert answer("bits_from_perplexity")(math.exp(nats), 7, 7) == pytest.approx(expected)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_counting(answer, length):
    text = torch.randint(4, (300,))
    # A first token that occurs nowhere else: the library predicts every token but the first.
    model = ngrams.NGram(torch.cat([torch.tensor([4]), text]), 5, order=length + 1, strength=2.5)
    for _ in range(5):
        context = torch.randint(4, (length,))
        read = context if length else torch.tensor([4])
        expected = model(read[None])[0, -1].exp()
        got = answer("next_token_distribution")(text, context, 5, 2.5)
        torch.testing.assert_close(got.float(), expected)


@pytest.mark.parametrize("top_p", [0.05, 0.55, 0.93, 1.0])
def test_nucleus(answer, top_p):
    logits = 2 * torch.randn(3, 4, 30, dtype=torch.float64)
    for temperature in (0.6, 1.0, 1.8):
        expected = autoregressive.next_token_probabilities(logits, temperature, top_p=top_p)
        torch.testing.assert_close(answer("top_p")(logits, top_p, temperature), expected)


def test_temperature(answer):
    logits = torch.randn(12, dtype=torch.float64)

    def entropy(temperature: float) -> float:
        p = autoregressive.next_token_probabilities(logits, temperature)
        return float(torch.special.entr(p).sum())

    temperature = answer("temperature_for_entropy")(logits, 1.7)
    assert entropy(temperature) == pytest.approx(1.7)
    slope = (entropy(temperature + 1e-4) - entropy(temperature - 1e-4)) / 2e-4
    assert float(answer("entropy_slope")(logits, temperature)) == pytest.approx(slope, rel=1e-5)


def test_the_library_passes_the_test_for_silent_bugs(answer):
    leaks = answer("leaks")
    config = transformer.configure("tiny", dropout=0.5)
    models = [
        recurrent.LSTMLanguageModel(6, width=8, dropout=0.5),
        ngrams.MLPLanguageModel(6, order=3, width=4, hidden=8),
        ngrams.NGram(torch.randint(6, (200,)), 6, order=3),
        transformer.build(config, 6),
    ]
    for model in models:
        assert leaks(model.double().train(), 6) == set()
        assert all(module.training for module in model.modules())
    ngram = ngrams.NGram(torch.randint(6, (200,)), 6, order=2)
    assert leaks(ngram, 6) == {"ignores earlier tokens"}
    models[0].lstm.batch_first = False
    assert leaks(models[0], 6) == {"reads other examples", "ignores earlier tokens"}


def test_the_mended_generator_is_the_library_lstm(answer):
    expected = lstm(6)
    names = {"embedding": "tokens", "lstm": "lstm", "linear": "output"}
    model = answer("text_generator")(6, recurrent.configure("tiny").width).double()
    for name, theirs in names.items():
        getattr(model, name).load_state_dict(getattr(expected, theirs).state_dict())
    tokens = torch.randint(6, (5, 7))
    torch.testing.assert_close(model(tokens), expected(tokens))
    torch.testing.assert_close(
        answer("next_token_loss")(model, tokens),
        autoregressive.cross_entropy(expected, tokens[:, :-1], tokens[:, 1:]),
    )


def test_the_listings_run_and_have_the_faults(cells):
    """Each with tensors of the right shape; the model reacts to the text before, not to its own."""
    text = notebooks.read_text(ROOT / assignments.SOURCE / CHAPTER / f"{CHAPTER}.md")
    (listing,) = [cell.source for cell in text.cells if "class FaultyGenerator" in cell.source]
    namespace = {}
    exec(cells["setup"] + "\n" + listing, namespace)
    torch.manual_seed(0)
    model, tokens = namespace["FaultyGenerator"](5, 4), torch.randint(5, (3, 6))
    own, other = tokens.clone(), tokens.clone()
    own[1, :-1] = (own[1, :-1] + 1) % 5
    other[0] = (other[0] + 1) % 5
    assert model(tokens).shape == (3, 5)
    assert torch.equal(model(own)[1], model(tokens)[1])
    assert not torch.allclose(model(other)[1], model(tokens)[1])
    repeats = nn.Embedding.from_pretrained(50 * torch.eye(5))  # what was read comes again
    assert namespace["faulty_loss"](repeats, tokens) < 1e-6


def test_free_running_is_what_generation_does(answer):
    text = torch.cat([torch.randint(0, 2, (30,)), torch.randint(0, 4, (30,))])
    model, n = ngrams.NGram(text, 4, order=2, strength=1.0), 20_000
    table = model(torch.arange(4)[:, None])[:, 0].exp().double()
    start = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    _, free = answer("forced_and_free")(start, torch.eye(4).double(), table, 4)
    texts = autoregressive.generate(model, torch.ones(n, 1, dtype=torch.long), 3, seed=1)
    for t in range(4):
        frequencies = torch.bincount(texts[:, t], minlength=4) / n
        error = (free[t] * (1 - free[t]) / n).sqrt()
        assert ((frequencies - free[t]).abs() <= 4 * error + 1e-12).all()


def test_lost_is_what_runs_free_and_not_what_is_forced(answer):
    start, error, recovery = torch.tensor([1.0, 0.0]).double(), 0.03, 0.01
    model = torch.tensor([[1 - error, error], [recovery, 1 - recovery]]).double()
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    forced, free = answer("forced_and_free")(start, truth, model, 60)
    lost = [answer("chance_lost")(error, recovery, steps) for steps in range(60)]
    assert free[:, 1].tolist() == pytest.approx(lost)
    assert forced[1:, 1].tolist() == pytest.approx([error] * 59)
