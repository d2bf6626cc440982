"""The recurrent model against a loop over torch's own cell; which axis is time; training it."""

import inspect

import pytest
import torch
from torch import nn

from course_lib import recurrent
from course_lib.autoregressive import (
    PADDING,
    TRAINING_RULES,
    bits_per_character,
    cross_entropy,
    generate,
    sample,
)
from course_lib.recurrent import PRESETS, LSTMLanguageModel, build, configure, train_lstm
from course_lib.runs import Run
from course_lib.training import Trainer, TrainingDivergedError

TEXT = torch.randint(7, (200,), generator=torch.Generator().manual_seed(0))


def tokens(n: int, time: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(7, (n, time), generator=torch.Generator().manual_seed(seed))


def untrained(model=LSTMLanguageModel, **changes) -> LSTMLanguageModel:
    """With weights so large that every token matters."""
    torch.manual_seed(0)
    made = model(7, **{"layers": 2, "width": 16, **changes})
    for parameter in made.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape)
    return made.eval()


# --- The model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("time", [1, 9])
def test_logits_are_those_of_a_loop_over_torchs_own_cell(layers: int, time: int) -> None:
    model, x = untrained(layers=layers), tokens(3, time)
    cells = []
    for layer in range(layers):
        cell = nn.LSTMCell(16, 16)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell.load_state_dict({name: getattr(model.lstm, f"{name}_l{layer}") for name in names})
        cells.append(cell)
    states = [(torch.zeros(3, 16), torch.zeros(3, 16)) for _ in cells]
    expected = []
    for place in range(time):
        features = model.tokens.weight[x[:, place]]
        for layer, cell in enumerate(cells):
            states[layer] = cell(features, states[layer])
            features = states[layer][0]
        expected.append(features @ model.output.weight.T + model.output.bias)
    found = model(x)
    assert found.shape == (3, time, 7) and found.std() > 0.1
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=1e-4, atol=1e-5)


class AxesExchanged(LSTMLanguageModel):
    """The mistake: (batch, time) for a network that expects (time, batch). All shapes are right."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.lstm.batch_first = False


def seen_by(model: LSTMLanguageModel, x: torch.Tensor, example: int, place: int) -> torch.Tensor:
    """Which tokens the prediction after that one depends on."""
    embedded: list[torch.Tensor] = []
    hook = model.tokens.register_forward_hook(lambda *arguments: embedded.append(arguments[2]))
    output = model(x)
    hook.remove()
    assert output.shape == (*x.shape, 7)
    (gradient,) = torch.autograd.grad(output[example, place].square().sum(), embedded)
    return gradient.abs().sum(dim=2) > 0


def allowed(example: int, place: int, shape: torch.Size) -> torch.Tensor:
    expected = torch.zeros(shape, dtype=torch.bool)
    expected[example, : place + 1] = True
    return expected


def test_each_prediction_sees_the_past_of_its_own_text_and_nothing_else() -> None:
    model, x = untrained(), tokens(4, 6)
    for example in range(4):
        for place in range(6):
            assert torch.equal(seen_by(model, x, example, place), allowed(example, place, x.shape))


def test_exchanged_axes_would_be_found() -> None:
    """A silent bug: it reads other texts, and none of the tokens before."""
    model, x = untrained(AxesExchanged), tokens(4, 6)
    seen = seen_by(model, x, 2, 3)
    assert not torch.equal(seen, allowed(2, 3, x.shape))
    assert seen[:3, 3].all() and not seen[2, :3].any()
    good, alone = untrained(), x[1:2]
    torch.testing.assert_close(good(x)[1:2], good(alone), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model(x)[1:2], model(alone), atol=1e-2)


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1, 1, 1, 1], [5, 1, 1, 1], [8], [3, 5]])
def test_reading_with_a_memory_is_reading_the_whole_text(cuts: list[int]) -> None:
    model, x, memory, end = untrained(), tokens(3, 8), None, 0
    expected = model(x)
    for part in x.split(cuts, dim=1):
        logits, memory = model.read(part, memory)
        end += part.shape[1]
        torch.testing.assert_close(logits, expected[:, end - 1], rtol=1e-4, atol=1e-5)
    assert [tuple(state.shape) for state in memory] == [(2, 3, 16)] * 2


def test_the_size_is_that_of_the_published_equations() -> None:
    """Four gates a layer, each of the input, the state and a bias; torch has the bias twice."""
    config = PRESETS["full"]
    with torch.device("meta"):
        model = build(config, 100)
    width = config.width
    expected = 100 * width + config.layers * 4 * (2 * width**2 + 2 * width) + width * 100 + 100
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_works_in_training_only(layers: int) -> None:
    model, x = untrained(dropout=0.5, layers=layers), tokens(2, 8)
    assert torch.equal(model(x), model(x)) and torch.equal(model(x), untrained(layers=layers)(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    assert model.lstm.dropout == (0.5 if layers > 1 else 0), "between layers, where there are two"


def test_features_are_dropped_before_and_after_the_layers() -> None:
    model, x = untrained(dropout=0.5).train(), tokens(2, 8)
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    model.drop.register_forward_hook(lambda _, given, output: calls.append((given[0], output)))
    model.lstm.register_forward_hook(lambda _, given, output: calls.append((given[0], output[0])))
    logits = model(x)
    before, layers, after = calls
    assert torch.equal(before[0], model.tokens(x)) and torch.equal(before[1], layers[0])
    assert torch.equal(layers[1], after[0]) and torch.equal(model.output(after[1]), logits)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_it_takes_half_precision_and_the_meta_device(device: str) -> None:
    with torch.device(device), torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
        model = build(configure("tiny", dropout=0.1, layers=2), 7)
        x = torch.zeros(5, 9, dtype=torch.int64)
        loss = cross_entropy(model, x[:, :-1], x[:, 1:])
        loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())


# --- Training ------------------------------------------------------------------------------------


def tiny(text: torch.Tensor = TEXT, *, trainer=(), **changes):
    engine = Trainer(device="cpu", progress=False, **dict(trainer))
    return train_lstm(text, 7, "tiny", trainer=engine, **changes)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_text_with_a_rule_is_learnt(precision: str) -> None:
    cycle = torch.arange(200) % 7
    made = tiny(cycle, trainer={"precision": precision}, steps=150, learning_rate=2e-2)
    assert made.history["cross_entropy"][-1] < 0.1 * made.history["cross_entropy"][0]
    assert bits_per_character(made.model, cycle) < 0.2
    found = generate(made.model, torch.tensor([[3]]), 30, temperature=0)
    assert found.tolist() == [[(3 + place) % 7 for place in range(31)]]


def test_what_came_long_ago_is_remembered() -> None:
    """The last token is the second one; those between them tell nothing."""
    text = torch.randint(1, 7, (400, 5), generator=torch.Generator().manual_seed(0))
    text[:, 0], text[:, 4] = 0, text[:, 1]
    settings = {"steps": 250, "batch_size": 50, "learning_rate": 3e-2, "weight_decay": 0.0}
    made = tiny(text[:300], **settings)
    likeliest = made.model(text[300:, :-1])[:, -1].argmax(dim=1)
    assert (likeliest == text[300:, 4]).float().mean() > 0.9


def test_it_learns_from_rows_where_a_text_ends() -> None:
    rows = torch.tensor([[0, 1, 2, 0], [0, 3, 0, PADDING]] * 8)
    made = tiny(rows, steps=200, learning_rate=2e-2)
    p = made.model(torch.tensor([[0, 1, 2]]))[0].softmax(dim=1).detach()
    assert p[0, [1, 3]].tolist() == pytest.approx([0.5, 0.5], abs=0.1)
    assert p[1, 2] > 0.9 and p[2, 0] > 0.9


def test_training_is_deterministic_and_snapshots_do_not_disturb_it() -> None:
    first, again = tiny(trainer={"seed": 1}), tiny(trainer={"seed": 1}, snapshots=3)
    other = tiny(trainer={"seed": 2})
    assert torch.equal(weights(first.model), weights(again.model))
    assert not torch.equal(weights(first.model), weights(other.model))
    assert first.config == configure("tiny") and not first.model.training
    assert again.snapshots.shape == (3, 64, 8)
    assert torch.equal(again.snapshots[-1], sample(first.model, 64, seed=1))


class Ended(Exception):
    """In the place of a kill."""


def test_a_run_is_resumed_exactly(tmp_path, monkeypatch) -> None:
    settings = {"dropout": 0.3, "layers": 2, "snapshots": 3}
    card = {"family": "lstm", "preset": "tiny", "data": "made up", "seed": 0}
    expected = tiny(**settings)
    run = Run(tmp_path, card, save_steps=1)
    trainer = Trainer(device="cpu", progress=False, run=run)
    real, calls = trainer.minimise, []

    def minimise(*arguments, **options):
        calls.append(1)
        if len(calls) == 7:
            raise Ended
        return real(*arguments, **options)

    monkeypatch.setattr(trainer, "minimise", minimise)
    with pytest.raises(Ended):
        train_lstm(TEXT, 7, "tiny", trainer=trainer, **settings)
    torch.manual_seed(99)
    found = tiny(**settings, trainer={"run": Run(tmp_path, card, resume=True)})
    assert torch.equal(weights(found.model), weights(expected.model))
    assert torch.equal(found.snapshots, expected.snapshots)
    assert dict(found.history) == dict(expected.history)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, r"preset must be one of \['tiny', .*got 'huge'"),
        ({"step": 5}, r"unknown settings \['step'\]; .*'steps'"),
        ({"vocabulary_size": 0}, "vocabulary_size must be a whole number .*1 or more; got 0"),
        ({"vocabulary_size": 6}, "from 0 to 5 .*got ids from 0 to 6"),
        ({"layers": 0}, "layers must be a whole number .*got 0"),
        ({"width": 0}, "width must be a whole number .*got 0"),
        ({"steps": -1}, "steps must be a whole number .*got -1"),
        ({"seed": 1, "trainer": Trainer(device="cpu")}, "either seed or trainer"),
    ],
)
def test_bad_input_is_refused(changes, message: str) -> None:
    arguments = {"vocabulary_size": 7, "preset": "tiny", **changes}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(train_lstm)(TEXT, **arguments)


def test_the_rules_cover_the_settings() -> None:
    assert {*TRAINING_RULES, *recurrent._RULES} == set(vars(PRESETS["tiny"]))


def test_divergence_is_reported() -> None:
    with pytest.raises(TrainingDivergedError):
        tiny(learning_rate=1e38)
