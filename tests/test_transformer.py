"""The Transformer language model against torch's own layers, GPT-2's and the definition."""

import inspect
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib import transformer
from course_lib.attention import Cache
from course_lib.autoregressive import (
    TrainedLanguageModel,
    bits_per_character,
    cross_entropy,
    generate,
    sample,
)
from course_lib.training import Trainer
from course_lib.transformer import (
    POSITIONS,
    PRESETS,
    Config,
    TransformerLanguageModel,
    attention_maps,
    build,
    configure,
    train_transformer,
)

TEXT = torch.randint(7, (200,), generator=torch.Generator().manual_seed(0))
CYCLE = torch.arange(200) % 7  # each token tells the next
both_positions = pytest.mark.parametrize("positions", POSITIONS)


def tiny(tokens: Tensor = TEXT, **changes) -> TrainedLanguageModel:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu", **changes.pop("trainer", {}))
    return train_transformer(tokens, 7, "tiny", trainer=trainer, **{"steps": 6, **changes})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in model.parameters()])


def untrained(seed: int = 0, scale: float = 1, vocabulary_size: int = 7, **changes):
    """With ``scale``, weights so large that every token matters."""
    torch.manual_seed(seed)
    model = build(configure("tiny", **changes), vocabulary_size)
    if scale != 1:
        randomise(model, scale)
    return model.eval()


def randomise(model: nn.Module, scale: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            is_norm = parameter.ndim == 1 and bool((parameter == 1).all())
            parameter.copy_(torch.randn(parameter.shape) * scale + is_norm)


def tokens(n: int, time: int, seed: int = 1) -> Tensor:
    return torch.randint(7, (n, time), generator=torch.Generator().manual_seed(seed))


# --- The model -----------------------------------------------------------------------------------


def of_torchs_layers(model: TransformerLanguageModel, x: Tensor) -> Tensor:
    """The same function built of torch's own encoder layers, with an explicit mask."""
    width, time = model.tokens.embedding_dim, x.shape[1]
    mask = nn.Transformer.generate_square_subsequent_mask(time)
    hidden = model.tokens(x) + model.positions(torch.arange(time))
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            *(width, block.attention.heads, 4 * width, 0.0, "gelu"),
            batch_first=True,
            norm_first=True,
        ).eval()
        copies = {
            "self_attn.in_proj_": block.attention.queries_keys_values,
            "self_attn.out_proj.": block.attention.output,
            "linear1.": block.perceptron[0],
            "linear2.": block.perceptron[2],
            "norm1.": block.attention_norm,
            "norm2.": block.perceptron_norm,
        }
        state = {f"{k}{part}": getattr(v, part) for k, v in copies.items() for part in PARTS}
        layer.load_state_dict(state)
        hidden = layer(hidden, src_mask=mask)
    hidden = functional.layer_norm(hidden, [width], model.norm.weight, model.norm.bias)
    return hidden @ model.tokens.weight.T


PARTS = ("weight", "bias")


def by_definition(model: TransformerLanguageModel, x: Tensor) -> Tensor:
    """With rotary positions: components are complex numbers, and sums are written with indices."""
    batch, time = x.shape
    hidden = model.tokens(x)
    for block in model.blocks:
        heads = block.attention.heads
        projected = block.attention.queries_keys_values(block.attention_norm(hidden))
        q, k, v = projected.view(batch, time, 3, heads, -1).unbind(2)
        half = q.shape[3] // 2
        angles = torch.outer(torch.arange(time), 10_000.0 ** (-torch.arange(half) / half))
        turn = torch.polar(torch.ones_like(angles), angles)[:, None]
        q, k = (torch.complex(part[..., :half], part[..., half:]) * turn for part in (q, k))
        scores = torch.einsum("bthc,bshc->bhts", q, k.conj()).real / math.sqrt(2 * half)
        p = (scores + torch.full((time, time), -math.inf).triu(1)).exp()
        p = p / p.sum(dim=3, keepdim=True)
        mixed = torch.einsum("bhts,bshc->bthc", p, v).reshape(batch, time, -1)
        hidden = hidden + block.attention.output(mixed)
        hidden = hidden + block.perceptron(block.perceptron_norm(hidden))
    return model.norm(hidden) @ model.tokens.weight.T


@both_positions
@pytest.mark.parametrize(("layers", "heads", "time"), [(1, 1, 8), (2, 2, 8), (3, 4, 5), (2, 2, 1)])
def test_logits_are_those_of_the_definition(positions, layers: int, heads: int, time: int) -> None:
    model = untrained(scale=0.3, layers=layers, heads=heads, positions=positions)
    x = tokens(3, time)
    found = model(x)
    assert found.shape == (3, time, 7) and found.std() > 0.1
    expected = (by_definition if positions == "rotary" else of_torchs_layers)(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("activation", "ours"), [("gelu", "none"), ("gelu_new", "tanh")])
def test_logits_are_those_of_gpt_2_in_another_library(activation: str, ours: str) -> None:
    """With our exact GELU, and with the formula that GPT-2's published weights expect."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        **{"vocab_size": 7, "n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2},
        **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        **{"bos_token_id": 0, "eos_token_id": 0, "activation_function": activation},
    )
    model, gpt_2 = untrained().double(), transformers.GPT2LMHeadModel(config).double().eval()
    randomise(gpt_2, 0.3)
    theirs = dict(gpt_2.named_parameters())
    with torch.no_grad():
        for own, (name, other) in zip(model.parameters(), theirs.items(), strict=True):
            # Its linear layers keep their weights the other way round.
            is_linear = other.ndim == 2 and ".h." in name
            own.copy_(other.T if is_linear else other)
    for block in model.blocks:
        block.perceptron[1].approximate = ours
    x = tokens(3, 8)
    found, expected = model(x), gpt_2(x).logits
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@both_positions
def test_no_token_sees_a_later_one_and_every_token_sees_all_earlier_ones(positions) -> None:
    model, x = untrained(scale=0.3, positions=positions), tokens(1, 8)
    before = model(x)
    for place in range(8):
        changed = x.clone()
        changed[0, place] = (x[0, place] + 1) % 7
        moved = (model(changed) - before).abs().amax(dim=2)[0]
        assert not moved[:place].any()
        assert bool((moved[place:] > 1e-4).all())


def test_positions_matter() -> None:
    same = torch.zeros(1, 8, dtype=torch.int64)  # without positions all places would be alike
    model = untrained(scale=0.3)
    assert model(same)[0].std(dim=0).min() > 1e-3
    # Rotary positions tell the order of different tokens only.
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 1, 3]])
    for positions in POSITIONS:
        model = untrained(scale=0.3, layers=1, positions=positions)
        assert (model(one) - model(other))[0, -1].abs().max() > 1e-3


@both_positions
def test_no_example_sees_another(positions) -> None:
    """An axis mistaken for another leaves every shape right."""
    model, x = untrained(scale=0.3, positions=positions), tokens(4, 8)
    together = model(x)
    for one in range(4):
        torch.testing.assert_close(together[one], model(x[one : one + 1])[0], rtol=1e-5, atol=1e-5)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_gpt_2_small_has_its_published_parameters() -> None:
    with torch.device("meta"):
        model, rotary = (build(configure("full", positions=p), 50_257) for p in POSITIONS)
    assert count(model) == 124_439_808
    width, layers = 768, 12
    block = 12 * width**2 + 13 * width  # 4 + 8 squares; 3 + 1 + 4 + 1 biases and 4 of norms
    assert count(model) == (50_257 + 1024) * width + layers * block + 2 * width
    assert count(rotary) == count(model) - 1024 * width


def test_input_and_output_share_their_table() -> None:
    model = untrained()
    assert sum(value.shape == (7, 16) for value in model.state_dict().values()) == 1
    with torch.no_grad():
        model.tokens.weight.zero_()
    assert not model(tokens(2, 3)).any()


def test_dropout_works_in_training_only() -> None:
    model, x = untrained(scale=0.3, dropout=0.5), tokens(2, 8)
    assert torch.equal(model(x), model(x)) and torch.equal(model(x), untrained(scale=0.3)(x))
    model.train()
    assert not torch.equal(model.embed(x), model.embed(x))
    block, one = model.blocks[0], torch.randn(1, 8, 16)
    assert not torch.equal(block.attention(one), block.attention(one)), "of its weights too"
    block.attention.dropout = 0.0
    assert not torch.equal(block(one), block(one)), "of what a block adds too"


def test_dropout_is_of_both_parts_that_a_block_adds() -> None:
    block, x = untrained(scale=0.3, dropout=0.5).train().blocks[0], torch.randn(2, 5, 16)
    added: list[Tensor] = []
    block.drop.register_forward_hook(lambda *arguments: added.append(arguments[2]))
    torch.testing.assert_close(block(x), x + sum(added))
    assert len(added) == 2 and all(0.3 < (part == 0).float().mean() < 0.7 for part in added)


@both_positions
def test_it_starts_as_gpt_2_does(positions) -> None:
    sizes = {"width": 128, "heads": 4, "layers": 4, "context": 64, "positions": positions}
    model = untrained(vocabulary_size=500, **sizes)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert bool((parameter == ("norm.weight" in name)).all())
        else:
            writes = "attention.output" in name or "perceptron.2" in name
            spread = 0.02 / math.sqrt(8) if writes else 0.02
            assert parameter.std().item() == pytest.approx(spread, rel=0.05)
    x = torch.randint(500, (32, 65))
    loss = cross_entropy(model, x[:, :-1], x[:, 1:])
    assert loss.item() == pytest.approx(math.log(500), rel=0.02), "that of knowing nothing"


@both_positions
def test_it_takes_every_precision_and_the_meta_device(positions) -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = build(configure("tiny", dropout=0.1, positions=positions), 7)
            x = torch.zeros(5, 9, dtype=torch.int64)
            loss = cross_entropy(model, x[:, :-1], x[:, 1:])
            loss.backward()
        assert loss.dtype == torch.float32
        assert model.bfloat16().features(x[:, :-1]).dtype == torch.bfloat16
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


# --- The cache -----------------------------------------------------------------------------------


@both_positions
def test_cached_features_are_those_of_the_whole_text(positions) -> None:
    model, x, cache = untrained(scale=0.3, positions=positions), tokens(2, 8), Cache(8)
    parts = [model.features(x[:, first:end], cache) for first, end in pairwise((0, 5, 6, 7, 8))]
    torch.testing.assert_close(torch.cat(parts, dim=1), model.features(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"at most context = 8 in all.*got 1 after 8"):
        model.features(x[:, :1], cache)


@both_positions
@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_reading_token_by_token_gives_the_same_logits_in_every_precision(
    positions, precision
) -> None:
    model, x, memory = untrained(scale=0.3, positions=positions).to(precision), tokens(2, 8), None
    whole, tolerance = model(x), 1e-5 if precision == torch.float64 else 0.1
    for place in range(8):
        logits, memory = model.read(x[:, place : place + 1], memory)
        assert logits.dtype == precision
        torch.testing.assert_close(logits, whole[:, place], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("cached", "time", "message"),
    [
        (0, 9, "at most context = 8 in all; got 9 after 0"),
        (7, 2, "at most context = 8 in all; got 2 after 7"),
        (3, 2, "new must be one token after those in the cache; got 2 after 3"),
    ],
)
def test_what_the_context_or_the_cache_cannot_hold_is_refused(
    cached: int, time: int, message: str
) -> None:
    model, cache = untrained(), Cache(8)
    if cached:
        model.features(tokens(1, cached), cache)
    with pytest.raises(ValueError, match=message):
        model.features(tokens(1, time), cache)


@both_positions
def test_a_sample_may_be_longer_than_the_context(positions) -> None:
    model = untrained(scale=0.3, positions=positions)
    model.sample_length = 20
    drawn = sample(model, 3)
    assert drawn.shape == (3, 20)
    with pytest.raises(ValueError, match="at most context = 8 in all; got 9 after 0"):
        model(drawn[:, :9])
    model.sample_length = 3
    assert model.read(drawn[:, :8])[0].shape == (3, 7)


# --- Where it looks ------------------------------------------------------------------------------


@both_positions
def test_attention_maps_are_what_the_forward_pass_uses(positions) -> None:
    model, x = untrained(scale=0.3, positions=positions), tokens(3, 6)
    maps = attention_maps(model.train(), x)
    assert model.training and maps.shape == (2, 3, 2, 6, 6) and not maps.requires_grad
    torch.testing.assert_close(maps.sum(dim=4), torch.ones(2, 3, 2, 6))
    assert not maps.triu(1).any() and bool((maps.tril() > 0).sum() == maps.numel() * 21 / 36)
    hidden = model.embed(x)
    for block, weights in zip(model.blocks, maps, strict=True):
        values = block.attention.queries_keys_values(block.attention_norm(hidden))[..., 32:]
        mixed = weights @ values.view(3, 6, 2, 8).transpose(1, 2)
        hidden = hidden + block.attention.output(mixed.transpose(1, 2).flatten(2))
        hidden = hidden + block.perceptron(block.perceptron_norm(hidden))
    torch.testing.assert_close(model.output(model.norm(hidden)), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_maps_are_drawn_of_whole_numbers_of_any_size(dtype) -> None:
    model, x = untrained(scale=0.3), tokens(2, 5)
    found = inspect.unwrap(attention_maps)(model, x.to(dtype))
    assert torch.equal(found, attention_maps(model, x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 9, dtype=torch.int64), "at most context = 8 in all"),
        (torch.full((1, 3), 7), "tokens must be from 0 to 6 .*got ids from 7 to 7"),
        (torch.full((1, 3), -1), "tokens must be from 0 to 6 .*got ids from -1 to -1"),
        (TEXT[:8], r"tokens must be \(batch, time\), got \(8,\); of one text, tokens\[None\]"),
    ],
)
def test_what_has_no_maps_is_refused(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(attention_maps)(untrained(), x)


# --- Training ------------------------------------------------------------------------------------


def test_training_runs_and_reports() -> None:
    made = tiny(snapshots=3, snapshot_size=5, seed=2)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 3, 6]
    assert list(made.history) == ["cross_entropy"] and made.snapshots.shape == (3, 5, 8)
    assert not made.model.training and made.config == configure("tiny", steps=6)
    assert torch.equal(made.snapshots[-1], sample(made.model, 5, seed=2))
    assert made.history["cross_entropy"][0] == pytest.approx(math.log(7), rel=0.05)


@pytest.mark.parametrize(("precision", "positions"), [("fp32", "learnt"), ("bf16", "rotary")])
def test_a_text_with_a_rule_is_learnt(precision: str, positions: str) -> None:
    settings = {"steps": 120, "learning_rate": 1e-2, "positions": positions}
    made = tiny(CYCLE, trainer={"precision": precision}, **settings)
    assert bits_per_character(made.model, CYCLE) < 0.1
    drawn = sample(made.model, 50)
    follows = (drawn[:, 1:] - drawn[:, :-1]) % 7 == 1
    assert follows.float().mean() > 0.97
    assert generate(made.model, torch.tensor([[3]]), 9, temperature=0).tolist() == [
        [3, 4, 5, 6, 0, 1, 2, 3, 4, 5]
    ]


def test_training_is_deterministic() -> None:
    first, again, other = tiny(seed=1), tiny(seed=1, snapshots=4), tiny(seed=2)
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert dict(first.history) == dict(again.history)


# --- Fine-tuning ---------------------------------------------------------------------------------


@both_positions
def test_fine_tuning_starts_from_the_given_weights_and_does_not_change_them(positions) -> None:
    settings = {"positions": positions, "learning_rate": 1e-2}
    made = tiny(CYCLE, steps=120, **settings)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    same = tiny(TEXT, steps=0, start=made.model, seed=5, **settings)
    assert torch.equal(weights(same.model), weights(made.model))
    assert torch.equal(same.model.first_token, TEXT.bincount() / 200), "the new text's own"
    again = tiny(CYCLE, start=made.model, seed=5, **settings)
    assert again.history["cross_entropy"][0] < 0.1 < math.log(7)
    assert not torch.equal(weights(again.model), weights(made.model))
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_what_was_learnt_before_helps() -> None:
    """A few steps on a short text keep what the long training found, and find it not anew."""
    made = tiny(CYCLE, steps=120, learning_rate=1e-2)
    text, settings = CYCLE[:40], {"steps": 3, "learning_rate": 1e-3}
    fine_tuned, anew = tiny(text, start=made.model, **settings), tiny(text, **settings)
    bits = [bits_per_character(one.model, CYCLE) for one in (fine_tuned, anew)]
    assert bits[0] < 0.2 < 2 < bits[1]


@pytest.mark.parametrize(
    "changes", [{"width": 8}, {"layers": 1}, {"heads": 4}, {"positions": "rotary"}, {"context": 4}]
)
def test_fine_tuning_a_model_of_another_shape_is_refused(changes) -> None:
    with pytest.raises(ValueError, match="start must have the layers, heads, width, positions"):
        tiny(start=untrained(**changes))


def test_fine_tuning_a_model_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match=r"(?s)start must have the .*vocabulary .*\[9, 16\]"):
        tiny(start=untrained(vocabulary_size=9))


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (TEXT, {"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        (TEXT, {"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        (TEXT, {"heads": 3}, "width must be a multiple of heads, got 16 and 3"),
        (TEXT, {"heads": 16, "positions": "rotary"}, "width of a head.*must be even.*got 1"),
        (TEXT, {"vocabulary_size": 0}, "vocabulary_size must be a whole number .*1 or more; got 0"),
        (TEXT, {"vocabulary_size": 6}, "from 0 to 5 .*got ids from 0 to 6"),
        (TEXT[:8], {}, r"n = 9 or more, got torch.int64 \(8,\); give a longer text"),
        (TEXT[None, :10], {"batch_size": 1}, "at most context = 8 in all"),
        (TEXT, {"seed": 1, "trainer": Trainer(device="cpu")}, "either seed or trainer"),
    ],
)
def test_bad_input_is_refused(text: Tensor, changes, message: str) -> None:
    arguments = {"vocabulary_size": 7, "preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_transformer)(text, **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, v) for name in ("layers", "heads", "width") for v in (0, 1.5, True, None, "9")),
        *(("positions", value) for value in ("sinusoidal", "", None, 1)),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = SimpleNamespace(**{**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        transformer.checks.check(transformer._RULES, vars(settings))
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings() -> None:
    assert list(transformer._RULES) == list(Config.__annotations__)
