"""The encoder-decoder against torch's own Transformer with the same weights; training it."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from course_lib.autoregressive import TRAINING_RULES
from course_lib.data_types import PADDING
from course_lib.dates import dates
from course_lib.encoder_decoder import (
    PRESETS,
    Config,
    EncoderDecoder,
    TrainedEncoderDecoder,
    train_encoder_decoder,
    translate,
)
from course_lib.training import Trainer, TrainingDivergedError

# torch says that it takes no short cut in layers that begin with their normalisation.
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")

SIZES = (9, 7)  # of the vocabularies
LENGTHS = (5, 2, 8, 1)


def untrained(**changes) -> EncoderDecoder:
    """With weights so large that every token matters."""
    torch.manual_seed(0)
    model = EncoderDecoder(*SIZES, **{"layers": 2, "heads": 2, "width": 16, **changes})
    for name, parameter in model.named_parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape) * ("tokens" not in name)
    return model


def random_tokens(*shape: int, size: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(seed))


MODEL = untrained()
SOURCE = random_tokens(4, 8, size=9)
SOURCE[torch.arange(8) >= torch.tensor(LENGTHS)[:, None]] = PADDING
TARGET = random_tokens(4, 6, size=7, seed=2)


# --- Against torch's Transformer -----------------------------------------------------------------


def renamed(model: EncoderDecoder) -> dict[str, torch.Tensor]:
    """The weights by the names that torch's Transformer gives them."""
    names = {
        "cross_attention.queries_keys_values.": "multihead_attn.in_proj_",
        "cross_attention.output": "multihead_attn.out_proj",
        "attention.queries_keys_values.": "self_attn.in_proj_",
        "attention.output": "self_attn.out_proj",
        "cross_norm": "norm2",
        "perceptron.0": "linear1",
        "perceptron.2": "linear2",
    }
    found = {}
    for name, value in model.named_parameters():
        part = name.split(".")[0]
        if part in ("encoder", "decoder"):
            new = name.replace(f"{part}.", f"{part}.layers.", 1)
            new = new.replace("perceptron_norm", "norm2" if part == "encoder" else "norm3")
            for ours, theirs in names.items():
                new = new.replace(ours, theirs)
            found[new.replace(".norm.", ".norm1.")] = value
        elif part.endswith("_norm"):
            found[name.replace("_norm", ".norm")] = value
    return found


def by_torch(model: EncoderDecoder, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The logits by torch's layers, and positions by the formula of the paper."""
    width, layers = model.output.in_features, len(model.decoder)
    heads = model.encoder[0].attention.heads
    transformer = nn.Transformer(
        *(width, heads, layers, layers, 4 * width, 0.0, "gelu"),
        batch_first=True,
        norm_first=True,
    )
    for layer in transformer.decoder.layers:
        layer.multihead_attn = nn.MultiheadAttention(width, 1, batch_first=True)
    positions = [
        [
            (math.cos if k % 2 else math.sin)(t / 10_000 ** (k // 2 * 2 / width))
            for k in range(width)
        ]
        for t in range(max(source.shape[1], target.shape[1]))
    ]
    places = torch.tensor(positions)
    padding = source == PADDING
    embedded = (
        model.source_tokens(source.where(~padding, 3)) + places[: source.shape[1]],
        model.target_tokens(target) + places[: target.shape[1]],
    )
    masks = {
        "tgt_mask": torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1),
        "src_key_padding_mask": padding,
        "memory_key_padding_mask": padding,
    }
    weights = renamed(model)
    assert set(weights) == {name for name, _ in transformer.named_parameters()}
    written = torch.func.functional_call(transformer, weights, embedded, masks)
    return model.output(written)


@pytest.mark.parametrize(
    "changes", [{}, {"layers": 1, "heads": 1}, {"layers": 3, "heads": 4, "width": 8}]
)
def test_logits_and_gradients_are_those_of_torchs_transformer(changes) -> None:
    model, goal = untrained(**changes), torch.randn(4, 6, 7)
    found, expected = model(SOURCE, TARGET), by_torch(model, SOURCE, TARGET)
    assert expected.shape == (4, 6, 7) and float(expected.detach().std()) > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    parameters = list(model.parameters())
    mine, other = (
        torch.autograd.grad((logits * goal).sum(), parameters) for logits in (found, expected)
    )
    for ours, theirs in zip(mine, other, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        assert bool(theirs.any())


# --- What is seen --------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.integers(0, 3), st.integers(0, 6), st.permutations(range(4)))
def test_neither_padding_nor_the_other_texts_of_the_batch_change_a_thing(row, more, order) -> None:
    alone = SOURCE[row : row + 1, : LENGTHS[row]]
    expected = MODEL(alone, TARGET[row : row + 1])
    padded = nn.functional.pad(SOURCE[order], (0, more), value=PADDING)
    place = order.index(row)
    found = MODEL(padded, TARGET[order])[place : place + 1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    looks = MODEL.alignment(padded, TARGET[order])[place]
    torch.testing.assert_close(
        looks[:, : LENGTHS[row]], MODEL.alignment(alone, TARGET[row, None])[0]
    )
    assert not looks[:, LENGTHS[row] :].any()


def test_padding_of_the_target_changes_no_token_before_it() -> None:
    padded = torch.cat([TARGET, torch.full((4, 2), PADDING)], dim=1)
    torch.testing.assert_close(MODEL(SOURCE, padded)[:, :6], MODEL(SOURCE, TARGET))


def test_a_prediction_sees_the_whole_source_and_no_later_token_of_the_target() -> None:
    """By the gradient at what enters the layers, of one prediction after the other."""
    embedded: list[torch.Tensor] = []
    keep = lambda *arguments: embedded.append(arguments[2])  # noqa: E731
    hooks = [t.register_forward_hook(keep) for t in (MODEL.source_tokens, MODEL.target_tokens)]
    logits = MODEL(SOURCE, TARGET)
    for hook in hooks:
        hook.remove()
    for row, length in enumerate(LENGTHS):
        for time in range(6):
            gradients = torch.autograd.grad(
                logits[row, time].square().sum(), embedded, retain_graph=True
            )
            source, target = (gradient.abs().sum(dim=2) > 0 for gradient in gradients)
            read, written = torch.zeros(4, 8).bool(), torch.zeros(4, 6).bool()
            read[row, :length] = True
            written[row, : time + 1] = True
            assert torch.equal(source, read) and torch.equal(target, written)


def test_both_orders_matter() -> None:
    source, target = SOURCE[2:3], TARGET[2:3]
    swapped = source[:, [1, 0, *range(2, 8)]], target[:, [1, 0, *range(2, 6)]]
    assert source[0, 0] != source[0, 1] and target[0, 0] != target[0, 1]
    last = MODEL(source, target)[0, -1]
    for changed in ((swapped[0], target), (source, swapped[1])):
        assert float((MODEL(*changed)[0, -1] - last).detach().abs().max()) > 1e-3


# --- The alignment -------------------------------------------------------------------------------


def test_the_alignment_is_what_the_forward_pass_uses() -> None:
    """The output of the last cross-attention, from the alignment and the layer's weights."""
    layer, calls = MODEL.decoder[-1].cross_attention, []
    hook = layer.register_forward_hook(lambda _, given, output: calls.append((given[1], output)))
    MODEL(SOURCE, TARGET)
    hook.remove()
    ((read, output),) = calls
    weights = MODEL.alignment(SOURCE, TARGET)
    values = linear(
        read, layer.queries_keys_values.weight[32:], layer.queries_keys_values.bias[32:]
    )
    torch.testing.assert_close(layer.output(weights @ values), output)
    assert weights.shape == (4, 6, 8) and not weights.requires_grad
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(4, 6))
    assert float(weights.min()) >= 0 and float(weights.std()) > 0.05


def test_the_alignment_knows_no_dropout() -> None:
    model = untrained(dropout=0.5)
    assert torch.equal(model.alignment(SOURCE, TARGET), model.alignment(SOURCE, TARGET))
    assert model.training
    noisy = [model(SOURCE, TARGET) for _ in range(2)]
    assert not torch.equal(*noisy)
    model.eval()
    torch.testing.assert_close(model(SOURCE, TARGET), MODEL(SOURCE, TARGET))


@pytest.mark.parametrize(("decodes", "parts"), [(False, 2), (True, 3)])
def test_dropout_is_of_all_parts_that_a_layer_adds(decodes: bool, parts: int) -> None:
    model, x = untrained(dropout=0.5), torch.randn(4, 5, 16)
    layer = (model.decoder if decodes else model.encoder)[0]
    added: list[torch.Tensor] = []
    layer.drop.register_forward_hook(lambda *arguments: added.append(arguments[2]))
    found = layer(x, torch.randn(4, 3, 16), torch.ones(4, 1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(found, x + sum(added))
    assert len(added) == parts and all(0.3 < (p == 0).float().mean() < 0.7 for p in added)


# --- Writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 3])
def test_translation_is_greedy(first: int) -> None:
    """Each text by itself, without padding, by torch's layers."""
    found = translate(untrained(dropout=0.5).train(), SOURCE, first, 7)
    assert found.shape == (4, 7) and torch.equal(found, translate(MODEL, SOURCE, first, 7))
    for row, length in enumerate(LENGTHS):
        text = [first]
        while len(text) < 7:
            logits = by_torch(MODEL, SOURCE[row : row + 1, :length], torch.tensor([text]))[0, -1]
            text.append(int(logits.argmax()))
        assert found[row].tolist() == text
    assert len(found.unique(dim=0)) > 1


def test_translation_leaves_model_and_random_state_as_they_were() -> None:
    model, state = untrained(), torch.get_rng_state()
    assert translate(model, SOURCE, 2, 1).tolist() == [[2]] * 4
    assert not translate(model, SOURCE, 2, 3).requires_grad and model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, "length must be a whole number .*1 or more; got 0"),
        ({"first": 7}, r"from 0 to 6 \(vocabulary_size = 7\), got ids from 7 to 7"),
        ({"first": PADDING}, "1 tokens or more in each row"),
        ({"source": SOURCE + 2}, "from 0 to 8 .*another vocabulary"),
        ({"source": SOURCE[:, :0]}, r"got torch.int64 \(4, 0\)"),
        ({"source": SOURCE[0]}, r"source must be \(n, time\).*got \(8,\)"),
        ({"source": SOURCE[:0]}, "at least one text, got none"),
        ({"source": SOURCE.flip(1)}, "padding .*only after them"),
        ({"source": torch.full((1, 3), PADDING)}, "1 tokens or more in each row"),
    ],
)
def test_what_cannot_be_translated_is_refused(changes, message: str) -> None:
    arguments = {"source": SOURCE, "first": 0, "length": 3, **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(translate)(MODEL, **arguments)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (SOURCE + 2, TARGET, "tokens must "),
        (SOURCE, TARGET + 1, "tokens must "),
        (SOURCE.flip(1), TARGET, "tokens must "),
        (SOURCE[0], TARGET, r"source must be \(n, time\).*got \(8,\); of one .* source\[None\]"),
        (SOURCE, TARGET[0], r"target must be \(n, time\).*got \(6,\); of one .* target\[None\]"),
        (SOURCE, TARGET[:1], "source and target must be pairs, got {'source': 4, 'target': 1}"),
    ],
)
def test_what_cannot_be_aligned_is_refused(source, target, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(EncoderDecoder.alignment)(MODEL, source, target)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_tokens_may_be_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    source, target = SOURCE.clamp(min=0), TARGET
    small = source.to(dtype), target.to(dtype)
    alignment = inspect.unwrap(EncoderDecoder.alignment)
    assert torch.equal(alignment(MODEL, *small), MODEL.alignment(source, target))
    found = inspect.unwrap(translate)(MODEL, small[0], 0, 4)
    assert torch.equal(found, translate(MODEL, source, 0, 4))
    assert torch.equal(
        weights(tiny(*small, batch_size=4)), weights(tiny(source, target, batch_size=4))
    )


# --- Precision, devices, settings ----------------------------------------------------------------


def test_it_takes_every_precision_and_the_meta_device() -> None:
    for device in ("cpu", "meta"):
        with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
            model = untrained(dropout=0.1)
            logits = model(SOURCE.to(device), TARGET.to(device))
            logits.float().square().mean().backward()
        assert logits.shape == (4, 6, 7)
        assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())
    exact = MODEL(SOURCE, TARGET)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = MODEL(SOURCE, TARGET)
    assert rounded.dtype == torch.bfloat16
    assert bool((rounded.float() - exact).norm() < 0.03 * exact.norm())


def test_double_precision_is_kept() -> None:
    model = untrained().double()
    assert model(SOURCE, TARGET).dtype == torch.float64
    torch.testing.assert_close(model(SOURCE, TARGET).float(), MODEL(SOURCE, TARGET))


def test_positions_follow_the_models_precision_and_device() -> None:
    model = untrained().bfloat16()
    rounded = model(SOURCE, TARGET)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), MODEL(SOURCE, TARGET), rtol=0.2, atol=0.2)
    assert model.to("meta")(SOURCE.to("meta"), TARGET.to("meta")).is_meta


def test_every_preset_builds() -> None:
    for config in PRESETS.values():
        shape = {name: getattr(config, name) for name in ("layers", "heads", "width", "dropout")}
        with torch.device("meta"):
            assert EncoderDecoder(*SIZES, **shape)(SOURCE.to("meta"), TARGET.to("meta")).is_meta


def test_the_full_preset_is_the_published_base_model() -> None:
    """65 million parameters with 37,000 tokens shared by both sides (table 3, section 5.1)."""
    config = PRESETS["full"]
    with torch.device("meta"):
        model = EncoderDecoder(1, 1, layers=config.layers, heads=config.heads, width=config.width)
    layers = sum(p.numel() for p in [*model.encoder.parameters(), *model.decoder.parameters()])
    assert layers + 37_000 * config.width == pytest.approx(65e6, rel=0.04)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((n, v) for n in ("layers", "heads") for v in (0, 1.5, True, None, "9")),
        *(("width", v) for v in (0, 15, 16.0, True, None)),
        ("learning_rate", -1),  # the rules of the base class are tested with it
    ],
)
def test_every_setting_is_checked(name: str, wrong: object) -> None:
    """By itself, because the tests' run-time check of types would come before it."""
    config = object.__new__(Config)
    vars(config).update({**vars(PRESETS["tiny"]), name: wrong})
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        config.__post_init__()
    assert str(caught.value).endswith(f"; got {wrong!r}")


def test_heads_share_the_width() -> None:
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 16 and 3"):
        Config(steps=1, width=16, heads=3)
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        EncoderDecoder(*SIZES, width=16, heads=3)
    own = set(vars(PRESETS["tiny"])) - set(TRAINING_RULES)
    assert own == {"layers", "heads", "width"}, "and there is a test of every setting"


# --- Training ------------------------------------------------------------------------------------

SOURCES = random_tokens(40, 6, size=9, seed=3)
SOURCES[::2, 4:] = PADDING
TARGETS = torch.cat([torch.zeros(40, 1).long(), (SOURCES[:, :4].flip(1) % 7)], dim=1)
TARGETS[::5, 3:] = PADDING


def tiny(sources=SOURCES, targets=TARGETS, sizes=SIZES, *, trainer=(), **changes):
    engine = Trainer(device="cpu", progress=False, **{"seed": 0, **dict(trainer)})
    function = inspect.unwrap(train_encoder_decoder)
    return function(sources, targets, sizes, "tiny", trainer=engine, **changes)


def weights(made: TrainedEncoderDecoder) -> torch.Tensor:
    return torch.cat([value.flatten() for value in made.model.state_dict().values()])


def test_training_reports_and_the_loss_falls() -> None:
    made = tiny(steps=60, learning_rate=1e-2)
    losses = made.history["cross_entropy"]
    assert list(made.history) == ["cross_entropy"] and len(losses) == 60
    assert not made.model.training and made.config == Config(
        **{**vars(PRESETS["tiny"]), "steps": 60, "learning_rate": 1e-2}
    )
    assert sum(losses[:5]) / 5 == pytest.approx(math.log(7), rel=0.3)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_the_loss_is_the_mean_over_all_predicted_tokens_that_are_no_padding() -> None:
    start = tiny(steps=0).model
    terms = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        text, goal = source[source != PADDING], target[target != PADDING]
        p = by_torch(start, text[None], goal[None, :-1])[0].softmax(dim=1)
        terms += [-math.log(p[t, token].item()) for t, token in enumerate(goal[1:].tolist())]
    assert len(terms) == 8 * 2 + 32 * 4
    found = tiny(steps=1, batch_size=40).history["cross_entropy"]
    assert found == pytest.approx([sum(terms) / len(terms)], rel=1e-5)


def test_training_is_deterministic() -> None:
    first, again, other = tiny(), tiny(), tiny(trainer={"seed": 1})
    assert torch.equal(weights(first), weights(again)) and first.history == again.history
    assert not torch.equal(weights(first), weights(other))


def test_the_optimiser_has_the_settings_of_the_config(monkeypatch) -> None:
    """Which steps it then takes is tested with ``autoregressive``."""
    calls, minimise = [], Trainer.minimise

    def spy(self, loss, optimiser, *batch, clip):
        metrics = minimise(self, loss, optimiser, *batch, clip=clip)
        calls.append((optimiser.param_groups[0]["lr"], clip, metrics["cross_entropy"].dtype))
        return metrics

    monkeypatch.setattr(Trainer, "minimise", spy)
    made = tiny(
        clip=0.3, learning_rate=1e-3, warmup_steps=2, steps=4, trainer={"precision": "bf16"}
    )
    rates = [1e-3 * factor for factor in (0.5, 1, 1, 0.1 + 0.45)]
    assert [rate for rate, _, _ in calls] == pytest.approx(rates)
    assert {call[1:] for call in calls} == {(0.3, torch.float32)}
    exact = tiny(clip=0.3, learning_rate=1e-3, warmup_steps=2, steps=4).history
    assert made.history["cross_entropy"] == pytest.approx(exact["cross_entropy"], rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": SOURCES + 2}, "from 0 to 8 .*another vocabulary"),
        ({"targets": TARGETS + 2}, "from 0 to 6 .*another vocabulary"),
        ({"targets": TARGETS[:, :1]}, r"time = 2 or more, got torch.int64 \(40, 1\)"),
        ({"sources": SOURCES[:, :0]}, r"time = 1 or more, got torch.int64 \(40, 0\)"),
        ({"sources": SOURCES[0]}, r"sources must be \(n, time\).*got \(6,\)"),
        ({"targets": TARGETS[:9]}, "must be pairs, got {'sources': 40, 'targets': 9}"),
        ({"sources": SOURCES.flip(1)}, "padding .*only after them"),
        ({"sources": SOURCES.float()}, "whole numbers .*torch.float32"),
        ({"batch_size": 41}, "batch_size must be .*40; got 41"),
        ({"depth": 3}, r"unknown settings \['depth'\]"),
        ({"layers": 0}, "layers must be .*got 0"),
    ],
)
def test_what_cannot_be_learnt_is_refused(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError):
        tiny(learning_rate=1e38)


def test_dates_are_learnt_a_little() -> None:
    """Held-out days cost fewer nats than any model needs that does not read the source.

    A day of the two centuries drawn at random, written as 10 tokens, has log(73,049) nats.
    """
    pairs = dates(2000, 100)
    parts = (pairs.train_sources, pairs.train_targets, pairs.test_sources, pairs.test_targets)
    sources, targets = pairs.encode_sources(parts[0]), pairs.encode_targets(parts[1])
    sizes = len(pairs.source_vocabulary), len(pairs.target_vocabulary)
    changes = {"steps": 120, "batch_size": 32, "warmup_steps": 20, "width": 32}
    model = tiny(sources, targets, sizes, learning_rate=1e-2, **changes).model
    source, target = pairs.encode_sources(parts[2]), pairs.encode_targets(parts[3])
    logits = model(source, target[:, :-1])
    nats = nn.functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
    assert nats.item() < 0.7 * math.log(73_049) / 10
