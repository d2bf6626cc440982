"""What the exercises of chapter 13 teach is what the library does."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from course_lib import attention, autoregressive, recurrent, transformer

CHAPTER = "13_transformer_language_model"


def build(vocabulary_size: int = 9, **changes):
    """A small model whose weights are so large that every part of it counts."""
    torch.manual_seed(1)
    model = transformer.build(transformer.configure("tiny", **changes), vocabulary_size)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(model.tokens.weight, std=0.1)  # or each token would predict itself
    return model.double().eval()


def test_block_and_normalisation(answer):
    block, x = build().blocks[0], torch.randn(2, 5, 16, dtype=torch.float64)
    attend = functools.partial(block.attention, causal=True)
    norms = block.attention_norm, block.perceptron_norm
    torch.testing.assert_close(answer("block")(x, attend, block.perceptron, *norms), block(x))
    for norm in norms:
        expected = answer("layer_norm")(x, norm.weight, norm.bias, norm.eps)
        torch.testing.assert_close(norm(x), expected)


def test_the_stream_at_the_start_does_not_grow_with_the_depth():
    """The second half of the derivation: what 2 L parts write adds up to the same for every L."""

    def written(layers):
        torch.manual_seed(2)
        config = transformer.configure("tiny", layers=layers, width=64, context=32)
        model, x = transformer.build(config, 50), torch.randn(8, 32, 64)
        start = x
        with torch.no_grad():
            for block in model.blocks:
                x = block(x)
        return float((x - start).var())

    assert written(32) == pytest.approx(written(4), rel=0.25)


@pytest.mark.parametrize("changes", [{}, {"layers": 3, "width": 24, "context": 5}])
def test_parameters_and_operations(answer, changes, monkeypatch):
    def written_out(query, key, value, mask, *, is_causal, **others):
        """PyTorch does not count the products inside of the fused kernel."""
        return attention.scaled_dot_product_attention(
            query, key, value, attention.causal_mask(query.shape[2])
        )

    monkeypatch.setattr(functional, "scaled_dot_product_attention", written_out)
    config = transformer.configure("tiny", **changes)
    model = transformer.build(config, 11)
    shape = config.layers, config.width
    number = sum(parameter.numel() for parameter in model.parameters())
    assert answer("parameters")(11, config.context, *shape) == number
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(3, 5, dtype=torch.long))
    assert answer("operations_per_token")(11, *shape, 5) == counter.get_total_flops() / 15


def test_the_full_preset_is_gpt2_small(answer):
    config = transformer.configure("full")
    with torch.device("meta"):
        model = transformer.build(config, 50_257)
    number = answer("parameters")(50_257, config.context, config.layers, config.width)
    assert number == sum(parameter.numel() for parameter in model.parameters()) == 124_439_808


@pytest.mark.parametrize(("steps", "warmup"), [(20, 2), (9, 0), (4, 4)])
def test_schedule_and_weight_decay(answer, steps, warmup):
    model = build()
    changes = {"steps": steps, "warmup_steps": warmup, "learning_rate": 0.02}
    config = transformer.configure("tiny", **changes)
    adam, schedule = autoregressive.adamw(model, config)
    for step in range(steps):
        expected = answer("learning_rate")(step, steps, warmup, 0.02, 0.002)
        assert [group["lr"] for group in adam.param_groups] == pytest.approx([expected] * 2)
        adam.step()
        schedule.step()
    groups = answer("parameter_groups")(model, config.weight_decay)
    for group, expected in zip(adam.param_groups, groups, strict=True):
        assert group["weight_decay"] == expected["weight_decay"]
        assert {id(p) for p in group["params"]} == {id(p) for p in expected["params"]}


def test_cached_attention(answer):
    function = answer("cached_attention")
    ours = attention.MultiHeadAttention(12, 3).double()
    theirs = function.__globals__["Attention"](12, 3).double()
    matrices = ours.queries_keys_values.weight.chunk(3)
    shifts = ours.queries_keys_values.bias.chunk(3)
    with torch.no_grad():
        parts = theirs.query, theirs.key, theirs.value
        for part, matrix, shift in zip(parts, matrices, shifts, strict=True):
            part.weight.copy_(matrix)
            part.bias.copy_(shift)
    theirs.output = ours.output
    x, cache = torch.randn(2, 6, 12, dtype=torch.float64), {}
    expected = ours(x, causal=True)
    torch.testing.assert_close(theirs(x), expected)
    got = torch.cat([function(theirs, part, cache) for part in x.split([3, 1, 2], dim=1)], dim=1)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("positions", ["learnt", "rotary"])
def test_the_loop_writes_what_the_library_writes(answer, positions):
    model = build(30, positions=positions, context=16)

    def read(tokens, start, cache):
        memory = cache.get("memory")
        assert start == (memory.length if memory else 0)
        logits, cache["memory"] = model.read(tokens, memory)
        return logits[:, None]

    prompt = torch.randint(30, (4, 3))
    with torch.no_grad():
        got = answer("generate_cached")(read, prompt, 13)
    expected = autoregressive.generate(model, prompt, 13, temperature=0)
    assert torch.equal(got, expected)
    assert len(got[:, 3:].unique()) > 2, "the same token again and again would prove little"


@pytest.mark.parametrize("family", ["learnt", "rotary", "lstm"])
def test_no_model_of_the_library_sees_the_future(answer, family):
    if family == "lstm":
        model = recurrent.build(recurrent.configure("tiny", dropout=0.2), 7)
    else:
        model = transformer.build(transformer.configure("tiny", positions=family, dropout=0.2), 7)
    assert answer("sees_the_future")(model.train(), 7, 6) is False
    assert model.training


def test_without_its_mask_the_library_model_is_found_out(answer, monkeypatch):
    fused = functional.scaled_dot_product_attention

    def unmasked(*parts, is_causal, **others):
        return fused(*parts, **others)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", unmasked)
    model = transformer.build(transformer.configure("tiny"), 7)
    assert answer("sees_the_future")(model, 7, 6) is True


def test_log_probabilities_add_up_to_bits_per_character(answer):
    model = build()
    tokens = torch.randint(9, (6, 8))
    lengths = torch.tensor([8, 2, 5, 7, 3, 8])
    tokens[torch.arange(8) >= lengths[:, None]] = autoregressive.PADDING
    function, first = answer("continuation_log_probability"), torch.ones(6, dtype=torch.long)
    with torch.no_grad():
        whole = function(model, tokens, first)
        halves = function(model, tokens, first + 1)
    bits = autoregressive.bits_per_character(model, tokens)
    assert -float(whole.sum()) / math.log(2) / int((lengths - 1).sum()) == pytest.approx(bits)
    second = model(tokens[:, :1]).log_softmax(2)[torch.arange(6), 0, tokens[:, 1]]
    torch.testing.assert_close(whole - halves, second.detach())


def test_induction_scores_of_a_model_and_of_one_built_by_hand(answer):
    function, tokens = answer("induction_scores"), torch.randint(4, (5, 12))
    maps = transformer.attention_maps(build(4, context=12), tokens)
    scores = torch.stack([function(layer, tokens) for layer in maps])
    assert scores.shape == (2, 2) and (scores > 0).all() and (scores < 0.9).all()
    # The derivation's two layers: the token before goes into features of its own, then is matched.
    own, sharp = functional.one_hot(tokens, 4).double(), 50.0
    previous = torch.zeros_like(own)
    previous[:, 1:] = own[:, :-1]
    recent = 0.05 * torch.arange(12)  # of several occurrences the last
    match = sharp * (own @ previous.transpose(1, 2) + recent)
    hidden = torch.ones(12, 12, dtype=torch.bool).triu(0)
    hidden[0, 0] = False
    built = match.masked_fill(hidden, -torch.inf).softmax(2)
    assert 0.9 < function(built[:, None], tokens).item() <= 1


def test_the_first_layer_cannot_tell_what_stands_before_a_key():
    """Two weights of one query keep their ratio in the first layer, whatever another token is."""
    model, tokens = build(), torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = tokens.clone()
    other[0, 2] = 8
    first, second = (transformer.attention_maps(model, each)[:, 0] for each in (tokens, other))
    ratios = [maps[:, :, 5, 3] / maps[:, :, 5, 4] for maps in (first, second)]
    torch.testing.assert_close(ratios[0][0], ratios[1][0])
    assert not torch.allclose(ratios[0][1], ratios[1][1], rtol=1e-3)
