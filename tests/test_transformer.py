"""The language model against torch's own layers and closed forms, its cache, and training it."""

import inspect
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_lib import transformer
from course_lib.training import Trainer, TrainingDivergedError
from course_lib.transformer import (
    PRESETS,
    Config,
    LanguageModel,
    bits_per_character,
    build,
    configure,
    cross_entropy,
    generate,
    learning_rate_factor,
    sample,
    train_transformer,
)

TEXT = torch.randint(7, (200,), generator=torch.Generator().manual_seed(0))
CYCLE = torch.arange(200) % 7  # each token tells the next


def tiny(tokens: torch.Tensor = TEXT, **changes) -> transformer.TrainedTransformer:
    trainer = Trainer(seed=changes.pop("seed", 0), device="cpu", **changes.pop("trainer", {}))
    return train_transformer(tokens, 7, "tiny", trainer=trainer, **{"steps": 6, **changes})


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


def untrained(seed: int = 0, scale: float = 1, vocabulary_size: int = 7, **changes):
    """With ``scale``, weights so large that every token matters."""
    torch.manual_seed(seed)
    model = build(configure("tiny", **changes), vocabulary_size)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if scale != 1:
                is_norm = "norm.weight" in name
                parameter.copy_(torch.randn(parameter.shape) * scale + is_norm)
    return model.eval()


def tokens(n: int, time: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(7, (n, time), generator=torch.Generator().manual_seed(seed))


# --- The model -----------------------------------------------------------------------------------


def independent(model: LanguageModel, x: torch.Tensor) -> torch.Tensor:
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
    hidden = nn.functional.layer_norm(hidden, [width], model.norm.weight, model.norm.bias)
    return hidden @ model.tokens.weight.T


PARTS = ("weight", "bias")


@pytest.mark.parametrize(("layers", "heads", "time"), [(1, 1, 8), (2, 2, 8), (3, 4, 5), (2, 2, 1)])
def test_logits_are_those_of_torchs_own_layers(layers: int, heads: int, time: int) -> None:
    model, x = untrained(scale=0.3, layers=layers, heads=heads), tokens(3, time)
    found = model(x)
    assert found.shape == (3, time, 7) and found.std() > 0.1
    torch.testing.assert_close(found, independent(model, x), rtol=1e-4, atol=1e-4)


def test_no_token_sees_a_later_one_and_every_token_sees_all_earlier_ones() -> None:
    model, x = untrained(scale=0.3), tokens(1, 8)
    before = model(x)
    for place in range(8):
        changed = x.clone()
        changed[0, place] = (x[0, place] + 1) % 7
        moved = (model(changed) - before).abs().amax(dim=2)[0]
        assert not moved[:place].any()
        assert bool((moved[place:] > 1e-4).all())


def test_positions_matter() -> None:
    model = untrained(scale=0.3)
    same = torch.zeros(1, 8, dtype=torch.int64)  # without positions all places would be alike
    assert model(same)[0].std(dim=0).min() > 1e-3


def test_no_example_sees_another() -> None:
    """An axis mistaken for another leaves every shape right (brief: the silent bug)."""
    model, x = untrained(scale=0.3), tokens(4, 8)
    together = model(x)
    for one in range(4):
        torch.testing.assert_close(together[one], model(x[one : one + 1])[0], rtol=1e-5, atol=1e-6)
    embedded = []
    model.tokens.register_forward_hook(lambda *arguments: embedded.append(arguments[2]))
    output = model(x)
    (gradient,) = torch.autograd.grad(output[1].sum(), embedded)
    assert gradient[1].abs().sum(dim=1).min() > 0 and not gradient[[0, 2, 3]].any()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_gpt_2_small_has_its_published_parameters() -> None:
    with torch.device("meta"):
        model = build(PRESETS["full"], 50_257)
    assert count(model) == 124_439_808
    width, layers = 768, 12
    block = 12 * width**2 + 13 * width  # 4 + 8 squares; 3 + 1 + 4 + 1 biases and 4 of norms
    assert count(model) == (50_257 + 1024) * width + layers * block + 2 * width


def test_input_and_output_share_their_table() -> None:
    model = untrained()
    assert not any("head" in name or "output_layer" in name for name in model.state_dict())
    with torch.no_grad():
        model.tokens.weight.zero_()
    assert not model(tokens(2, 3)).any()


def test_dropout_works_in_training_only() -> None:
    model, x = untrained(scale=0.3, dropout=0.5), tokens(2, 8)
    assert torch.equal(model(x), model(x)) and torch.equal(model(x), untrained(scale=0.3)(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    attention = model.blocks[0].attention
    one = torch.randn(1, 8, 16)
    assert not torch.equal(attention(one), attention(one)), "of the attention's weights too"


def test_it_starts_as_gpt_2_does() -> None:
    model = untrained(width=128, heads=4, vocabulary_size=500, layers=4, context=64)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert bool((parameter == ("norm.weight" in name)).all())
        else:
            writes = "attention.output" in name or "perceptron.2" in name
            spread = 0.02 / math.sqrt(8) if writes else 0.02
            assert parameter.std().item() == pytest.approx(spread, rel=0.05)


def test_the_first_loss_is_that_of_knowing_nothing() -> None:
    model = untrained(vocabulary_size=500, width=64)
    x = torch.randint(500, (32, 9))
    loss = cross_entropy(model, x[:, :-1], x[:, 1:])
    assert loss.item() == pytest.approx(math.log(500), rel=0.02)


def test_it_takes_every_precision_and_the_meta_device() -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = build(configure("tiny", dropout=0.1), 7)
            x = torch.zeros(5, 9, dtype=torch.int64)
            loss = cross_entropy(model, x[:, :-1], x[:, 1:])
            loss.backward()
        assert loss.dtype == torch.float32
        assert model.bfloat16().features(x[:, :-1]).dtype == torch.bfloat16
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


def test_the_loss_is_that_of_the_next_token() -> None:
    model, x = untrained(scale=0.3), tokens(3, 9)
    log_p = model(x[:, :-1]).log_softmax(dim=2)
    expected = -sum(log_p[i, t, x[i, t + 1]] for i in range(3) for t in range(8)) / 24
    torch.testing.assert_close(cross_entropy(model, x[:, :-1], x[:, 1:]), expected)


# --- Bits per character --------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 8, 9, 10, 200])
def test_knowing_nothing_costs_the_logarithm_of_the_vocabulary(n: int) -> None:
    model = untrained()
    with torch.no_grad():
        model.tokens.weight.zero_()
    assert bits_per_character(model, TEXT[:n]) == pytest.approx(math.log2(7), rel=1e-6)


@pytest.mark.parametrize("n", [2, 8, 9, 10, 45])
def test_every_token_but_the_first_is_counted_once(n: int) -> None:
    model, nats = untrained(scale=0.3), 0.0
    for place in range(1, n):
        piece = (place - 1) // 8 * 8  # pieces of the context's 8 tokens
        log_p = model(TEXT[None, piece:place])[0, -1].log_softmax(dim=0)
        nats -= log_p[TEXT[place]].item()
    expected = nats / math.log(2) / (n - 1)
    assert bits_per_character(model, TEXT[:n], batch_size=2) == pytest.approx(expected, rel=1e-5)


def test_one_token_has_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match=r"n = 2 or more, got torch.int64 \(1,\)"):
        bits_per_character(untrained(), TEXT[:1])


# --- Generating ----------------------------------------------------------------------------------


def without_cache(model, prompt, n_tokens, *, temperature=1.0, top_k=None, seed=0):
    """The definition: every step reads the whole window again."""
    stream, text = torch.Generator().manual_seed(seed), prompt
    for _ in range(n_tokens):
        logits = model(text[:, -model.context :])[:, -1].detach()
        if top_k is not None:
            logits[logits < logits.sort(dim=1).values[:, [-top_k]]] = -math.inf
        if temperature == 0:
            drawn = logits.argmax(dim=1)[:, None]
        else:
            p = (logits / temperature).softmax(dim=1)
            drawn = torch.multinomial(p, 1, generator=stream)
        text = torch.cat([text, drawn], dim=1)
    return text


@pytest.mark.parametrize("time", [1, 3, 8, 11])
@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0}, {"temperature": 0.5}, {"top_k": 3}, {"top_k": 2, "temperature": 2}],
)
def test_the_cache_changes_no_token(time: int, settings) -> None:
    """Also beyond the context of 8, where the window slides."""
    model, prompt = untrained(scale=0.3), tokens(5, time)
    found = generate(model, prompt, 15, seed=4, **settings)
    assert found.shape == (5, time + 15) and torch.equal(found[:, :time], prompt)
    assert torch.equal(found, without_cache(model, prompt, 15, seed=4, **settings))


def test_cached_features_are_those_of_the_whole_text() -> None:
    model, x = untrained(scale=0.3), tokens(2, 8)
    cache: transformer.Cache = {}
    parts = [model.features(part, cache) for part in (x[:, :5], x[:, 5:6], x[:, 6:7], x[:, 7:])]
    torch.testing.assert_close(torch.cat(parts, dim=1), model.features(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"at most context = 8 in all.*got 1 after 8"):
        model.features(x[:, :1], cache)


def test_the_cache_is_used(monkeypatch) -> None:
    model, read = untrained(), []
    features = LanguageModel.features

    def remember(model, tokens, cache=None):
        read.append(tokens.shape[1])
        return features(model, tokens, cache)

    monkeypatch.setattr(LanguageModel, "features", remember)
    generate(model, tokens(1, 3), 8)
    assert read == [3, 1, 1, 1, 1, 1, 8, 8]


@pytest.mark.parametrize(("cached", "time"), [(0, 9), (3, 2)])
def test_what_the_context_cannot_hold_is_refused(cached: int, time: int) -> None:
    model, cache = untrained(), {}
    if cached:
        model.features(tokens(1, cached), cache)
    with pytest.raises(ValueError, match=f"at most context = 8 .*got {time} after {cached}"):
        model.features(tokens(1, time), cache)


def test_tokens_are_drawn_by_the_models_probabilities() -> None:
    model, prompt = untrained(scale=0.3), tokens(1, 4)
    p = model(prompt)[0, -1].softmax(dim=0)
    drawn = generate(model, prompt.expand(20_000, 4), 1)[:, -1]
    share = drawn.bincount(minlength=7) / 20_000
    assert bool(((share - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all())
    top = generate(model, prompt.expand(500, 4), 1, top_k=3)[:, -1].unique()
    assert set(top.tolist()) == set(p.topk(3).indices.tolist())
    assert torch.equal(generate(model, prompt, 3, top_k=9), generate(model, prompt, 3))


def test_sampling_is_seeded_and_touches_nothing_else() -> None:
    model, state = untrained(scale=0.3).train(), torch.get_rng_state()
    drawn = sample(model, 3, seed=5)
    assert drawn.shape == (3, 8) and drawn.dtype == torch.int64 and model.training
    assert torch.equal(drawn, sample(model, 3, seed=5))
    assert not torch.equal(drawn, sample(model, 3, seed=6))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"n must be a whole number .*got 0"):
        sample(model, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_tokens": -1}, "n_tokens must be a whole number .*0 or more; got -1"),
        ({"temperature": -1}, "temperature must be a finite number .*got -1"),
        ({"top_k": 0}, "top_k must be None, or a whole number .*1 or more; got 0"),
        ({"prompt": torch.zeros(2, 0, dtype=torch.int64)}, r"at least one token a text.*\(2, 0\)"),
        ({"prompt": TEXT}, r"prompt must be \(n, time\).*prompt\[None\]"),
        ({"prompt": TEXT[None] + 1}, r"from 0 to 6 .*ids from 1 to 7; .*another vocabulary"),
    ],
)
def test_what_cannot_be_continued_is_refused(changes, message: str) -> None:
    arguments = {"prompt": tokens(1, 3), "n_tokens": 2, **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(generate)(untrained(), **arguments)


# --- Training ------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_goes_down_to_a_tenth() -> None:
    config = configure("tiny", steps=30, warmup_steps=10)
    factors = [learning_rate_factor(config, step) for step in range(31)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1 and factors[20] == pytest.approx(0.55)
    assert factors[30] == pytest.approx(0.1) and learning_rate_factor(config, 99) == factors[30]
    assert sorted(factors[10:], reverse=True) == factors[10:]
    assert learning_rate_factor(configure("tiny", steps=1, warmup_steps=0), 0) == 1


def test_training_runs_and_reports() -> None:
    made = tiny(snapshots=3, snapshot_size=5, seed=2)
    assert made.history.steps == [1, 2, 3, 4, 5, 6] and made.snapshot_steps == [0, 3, 6]
    assert list(made.history) == ["cross_entropy"] and made.snapshots.shape == (3, 5, 8)
    assert not made.model.training and made.config == configure("tiny", steps=6)
    assert torch.equal(made.snapshots[-1], sample(made.model, 5, seed=2))
    assert made.history["cross_entropy"][0] == pytest.approx(math.log(7), rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_text_with_a_rule_is_learnt(precision: str) -> None:
    settings = {"steps": 120, "learning_rate": 1e-2}
    made = tiny(CYCLE, trainer={"precision": precision}, **settings)
    assert bits_per_character(made.model, CYCLE) < 0.1
    drawn = sample(made.model, 50)
    follows = (drawn[:, 1:] - drawn[:, :-1]) % 7 == 1
    assert follows.float().mean() > 0.97
    assert generate(made.model, torch.tensor([[3]]), 9, temperature=0).tolist() == [
        [3, 4, 5, 6, 0, 1, 2, 3, 4, 5]
    ]


def test_a_small_text_is_learnt_by_heart() -> None:
    text = TEXT[:40]
    made = tiny(text, steps=250, learning_rate=1e-2, width=32)
    assert made.history["cross_entropy"][-1] < 0.7 < math.log(7)


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    first, again, other = tiny(seed=1), tiny(seed=1, snapshots=4), tiny(seed=2)
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert dict(first.history) == dict(again.history)


@pytest.mark.parametrize("clip", [0.05, 1e6])
def test_steps_are_those_of_adam_with_decay_clipping_and_the_schedule(clip: float) -> None:
    """All windows are the batch, so that their order matters only to rounding."""
    settings = {"steps": 4, "batch_size": 192, "learning_rate": 1e-2, "weight_decay": 0.5}
    made = tiny(**settings, clip=clip)
    model, config = untrained().train(), configure("tiny", **settings)
    named = dict(model.named_parameters())
    plain = [p for name, p in named.items() if name.endswith("bias") or "norm" in name]
    decayed = [p for name, p in named.items() if not (name.endswith("bias") or "norm" in name)]
    adam = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}])
    windows = TEXT.unfold(0, 9, 1)
    for step in range(4):
        for group, decay in zip(adam.param_groups, (0.5, 0.0), strict=True):
            rate = 1e-2 * learning_rate_factor(config, step)
            group.update(lr=rate, betas=(0.9, 0.99), weight_decay=decay)
        adam.zero_grad()
        loss = cross_entropy(model, windows[:, :-1], windows[:, 1:])
        assert made.history["cross_entropy"][step] == pytest.approx(loss.item(), rel=1e-4)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        adam.step()
    for name, parameter in made.model.named_parameters():
        torch.testing.assert_close(parameter, named[name], rtol=1e-2, atol=3e-4)


def test_the_first_token_has_the_frequencies_of_the_text() -> None:
    text = torch.tensor([0, 0, 0, 5] * 20)
    made = tiny(text, steps=0)
    expected = torch.tensor([0.75, 0, 0, 0, 0, 0.25, 0])
    assert torch.equal(made.model.first_token, expected)
    share = sample(made.model, 400)[:, 0].bincount(minlength=7) / 400
    torch.testing.assert_close(share, expected, rtol=0, atol=0.1)
    assert torch.equal(weights(made.model)[7:], weights(untrained())[7:]), "untrained else"


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = tiny(), tiny(trainer={"accumulate": 4})
    assert whole.history["cross_entropy"] == pytest.approx(parts.history["cross_entropy"], rel=1e-4)


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (TEXT, {"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        (TEXT, {"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        (TEXT, {"batch_size": 193}, r"batch_size must be .*between 1 and .*192; got 193"),
        (TEXT, {"heads": 3}, "width must be a multiple of heads, got 16 and 3"),
        (TEXT, {"snapshots": -1}, "snapshots must be a whole number .*0 or more; got -1"),
        (TEXT, {"snapshot_size": 0}, "snapshot_size must be a whole number .*1 or more; got 0"),
        (TEXT, {"vocabulary_size": 0}, "vocabulary_size must be a whole number .*1 or more; got 0"),
        (TEXT, {"vocabulary_size": 6}, "from 0 to 5 .*got ids from 0 to 6"),
        (TEXT - 1, {}, "from 0 to 6 .*got ids from -1 to 5"),
        (TEXT[:8], {}, r"n = 9 or more, got torch.int64 \(8,\); give a longer text"),
        (TEXT.float(), {}, r"tokens must be whole numbers .*got torch.float32 \(200,\)"),
        (TEXT[None], {}, r"tokens must be .*\(n,\) .*got torch.int64 \(1, 200\)"),
        (TEXT, {"seed": 1, "trainer": Trainer(device="cpu")}, "either seed or trainer"),
    ],
)
def test_bad_input_is_refused(text: torch.Tensor, changes, message: str) -> None:
    arguments = {"vocabulary_size": 7, "preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_transformer)(text, **arguments)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_tokens_may_be_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    """A text of a few characters is kept in bytes."""
    made, expected = tiny(TEXT.to(dtype)), tiny(TEXT)
    assert torch.equal(weights(made.model), weights(expected.model))
    bits = [transformer.bits_per_character(made.model, text) for text in (TEXT.to(dtype), TEXT)]
    assert bits[0] == bits[1]
    prompt = TEXT[None, :3]
    found = transformer.generate(made.model, prompt.to(dtype), 4)
    assert torch.equal(found, transformer.generate(made.model, prompt, 4))


COUNTS = ("batch_size", "layers", "heads", "width", "context")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, value) for name in COUNTS for value in (0, 1.5, True, None, "9")),
        *((name, v) for name in ("steps", "warmup_steps") for v in (-1, 2.0, True, None)),
        *(("dropout", value) for value in (-0.1, 1, None, math.nan, "0", True)),
        *((name, v) for name in ("learning_rate", "weight_decay") for v in (-1, math.nan, "1")),
        *(("clip", value) for value in (0, -1, math.nan, math.inf, None)),
        *(("betas", value) for value in (None, 0.5, (0.5,), (0.5, 1), [0.5, 0.9])),
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    settings = SimpleNamespace(**{**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        Config.__post_init__(settings)  # type: ignore[arg-type]
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_the_rules_cover_the_settings() -> None:
    assert list(transformer._RULES) == list(vars(PRESETS["tiny"]))


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError):
        tiny(learning_rate=1e38, steps=20)
