"""The loop: same seed, same weights; every example once a pass; a clear stop when it diverges."""

import contextlib
import functools
import inspect
import io
import math
import sys

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import mse_loss

from course_lib import progress
from course_lib.training import CHECK_EVERY, History, Trainer, TrainingDivergedError, trainer_for


def examples(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1))


def train(seed: int = 0, steps: int = 5, precision: str = "fp32") -> tuple[nn.Module, History]:
    """A network with dropout that learns to return its input: it uses every source of chance."""
    trainer = Trainer(seed=seed, device="cpu", precision=precision)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    (model,) = trainer.prepare(model)
    (optimiser,) = trainer.prepare(torch.optim.Adam(model.parameters(), 1e-2, fused=True))

    def loss(x: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": mse_loss(model(x + noise).float(), x)}

    def step(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return trainer.minimise(loss, optimiser, x, trainer.randn(*x.shape))

    history = trainer.fit(step, examples(), batch_size=8, steps=steps)
    return trainer.finish(model), history


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters())


def batches(
    *data: torch.Tensor, batch_size: int, steps: int, seed: int = 0
) -> list[tuple[torch.Tensor, ...]]:
    seen = []

    def step(*batch: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return {"zero": torch.zeros(())}

    Trainer(seed=seed, device="cpu").fit(step, *data, batch_size=batch_size, steps=steps)
    return seen


def fit(*data: torch.Tensor, **options) -> History:
    """``fit`` below the run-time check of shapes, so that its own messages are seen."""
    trainer = Trainer(device="cpu")
    run = inspect.unwrap(type(trainer).fit)
    check = inspect.unwrap(type(trainer)._check)
    trainer._check = functools.partial(check, trainer)  # type: ignore[method-assign]
    settings = {"batch_size": 2, "steps": 1} | options
    return run(trainer, lambda *_: {"loss": torch.zeros(())}, *data, **settings)


# --- Determinism ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    (first, history), (second, again) = train(seed=3), train(seed=3)
    assert torch.equal(weights(first), weights(second)) and dict(history) == dict(again)
    assert not torch.equal(weights(first), weights(train(seed=4)[0]))


def test_training_lowers_the_loss() -> None:
    _, history = train(steps=300)
    assert sum(history["loss"][-50:]) < 0.9 * sum(history["loss"][:50])


def test_precisions_may_follow_each_other_in_one_process() -> None:
    results = [weights(train(precision=precision)[0]) for precision in ("fp32", "bf16", "fp32")]
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1]) and results[1].dtype == torch.float32
    assert torch.allclose(results[0], results[1], atol=0.05)


def test_a_finished_model_computes_in_full_precision_and_by_itself() -> None:
    model, _ = train(precision="bf16")
    assert not model.training
    x = examples(4)
    plain = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), plain(x))


def test_an_accelerator_of_ones_own_works_afterwards() -> None:
    train(precision="fp32")
    own = Accelerator(cpu=True, mixed_precision="bf16")  # refused as long as another state holds
    assert own.mixed_precision == "bf16"
    (model,) = (own.prepare(nn.Linear(1, 1)),)
    optimiser = own.prepare(torch.optim.SGD(model.parameters(), 0.1))
    before = weights(model).clone()
    own.backward(model(torch.ones(1, 1)).sum())
    optimiser.step()
    assert not torch.equal(weights(model), before)
    train(precision="fp32")


# --- Batches -------------------------------------------------------------------------------------


def test_every_pass_is_a_new_permutation() -> None:
    seen = [batch for (batch,) in batches(torch.arange(12), batch_size=4, steps=9)]
    passes = [torch.cat(seen[k : k + 3]).tolist() for k in (0, 3, 6)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len({tuple(one) for one in [*passes, range(12)]}) == 4


def test_the_short_batch_at_the_end_of_a_pass_is_dropped() -> None:
    seen = [batch.tolist() for (batch,) in batches(torch.arange(11), batch_size=4, steps=20)]
    assert {len(batch) for batch in seen} == {4}
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert len({*first, *second}) == 8, "two batches of one pass share an example"
    assert {example for batch in seen for example in batch} == set(range(11))


def test_a_batch_must_be_cut_into_equal_parts() -> None:
    """Else the mean over the parts would not be the mean over the batch."""
    fit = inspect.unwrap(Trainer.fit)
    for batch_size, message in ((7, "multiple of processes × accumulate, 1 × 3"), (2, "got 2")):
        with pytest.raises(ValueError, match=message):
            trainer = Trainer(device="cpu", accumulate=3)
            fit(trainer, lambda _: {}, examples(), batch_size=batch_size, steps=1)


@pytest.mark.parametrize("normalisation", [nn.BatchNorm1d(3), nn.BatchNorm2d(3)])
def test_batch_normalisation_needs_more_than_one_example_a_part(normalisation) -> None:
    """On images torch would take one, and train on statistics of nothing but itself."""
    for accumulate, batch_size, refused in ((1, 1, True), (4, 4, True), (4, 8, False)):
        trainer = Trainer(device="cpu", accumulate=accumulate)
        trainer.prepare(nn.Sequential(nn.Linear(3, 3), normalisation))
        expected = pytest.raises(
            ValueError, match=f"batch_size must be more than .*, 1 × {accumulate}, for batch norm"
        )
        with expected if refused else contextlib.nullcontext():
            trainer.fit(lambda _: {}, examples(), batch_size=batch_size, steps=1)


def test_tensors_are_shuffled_together_and_by_the_seed() -> None:
    images, labels = torch.arange(10).float()[:, None], torch.arange(10)
    seen = batches(images, labels, batch_size=5, steps=4)
    assert all(torch.equal(x[:, 0].long(), y) for x, y in seen)
    other = batches(images, labels, batch_size=5, steps=4, seed=1)
    assert [y.tolist() for _, y in seen] != [y.tolist() for _, y in other]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_one_example_or_all_of_them_make_a_batch(batch_size: int) -> None:
    seen = batches(torch.arange(5), batch_size=batch_size, steps=5)
    assert [len(batch) for (batch,) in seen] == [batch_size] * 5


# --- History -------------------------------------------------------------------------------------


def test_history_holds_one_number_a_step_in_order() -> None:
    steps = 2 * CHECK_EVERY + 3
    count = iter(range(1, steps + 1))

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        number = torch.tensor(float(next(count)), requires_grad=True)
        return {"a": number, "b": -number} if number % 2 else {"b": -number, "a": number}

    history = Trainer(device="cpu").fit(step, examples(), batch_size=4, steps=steps)
    assert history.steps == list(range(1, steps + 1))
    assert history["a"] == history.steps and history["b"] == [-number for number in history.steps]
    assert list(history) == ["a", "b"] and len(history) == 2
    assert repr(history) == f"History({steps} steps; last: a={steps}, b=-{steps})"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, r'a mapping of scalar tensors such as \{"loss": loss\}, got NoneType'),
        (torch.zeros(()), "got Tensor"),
        ({"loss": 0.5}, r"'loss' is <class 'float'>; return the tensor itself \(not .item\(\)"),
        ({"good": torch.zeros(()), "bad": torch.zeros(3)}, r"'bad' is shape \(3,\); .*mean"),
        ({"loss": torch.zeros(0)}, r"'loss' is shape \(0,\)"),
    ],
)
def test_a_step_must_return_scalar_tensors_by_name(returned, message: str) -> None:
    with pytest.raises(ValueError, match=f"step must return .*{message}"):
        Trainer(device="cpu").fit(lambda _: returned, examples(), batch_size=4, steps=1)


def test_metrics_of_every_type_are_recorded_as_they_are() -> None:
    metrics = {
        "huge": torch.tensor(1e300, dtype=torch.float64),
        "low": torch.tensor(0.5, dtype=torch.bfloat16),
        "one": torch.ones(1),
        "count": torch.tensor(3),
    }
    history = Trainer(device="cpu").fit(lambda _: metrics, examples(), batch_size=4, steps=2)
    assert dict(history) == {"huge": [1e300] * 2, "low": [0.5] * 2, "one": [1.0] * 2} | {
        "count": [3.0] * 2
    }
    assert isinstance(history["count"][0], float)
    assert not Trainer(device="cpu").fit(lambda _: {}, examples(), batch_size=4, steps=2)


def test_metrics_are_brought_to_the_trainers_device(monkeypatch) -> None:
    """Such as a learning rate, which is on the CPU, beside a loss that is on a GPU."""
    trainer, stacked = Trainer(device="cpu"), []

    def stack(tensors: list[torch.Tensor]) -> torch.Tensor:
        stacked.extend(tensor.device.type for tensor in tensors)
        return torch.zeros(len(tensors))

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        trainer.device = torch.device("meta")  # in the place of a GPU
        return {"rate": torch.ones(()), "loss": torch.ones((), device="meta")}

    monkeypatch.setattr(torch, "stack", stack)
    trainer.fit(step, examples(), batch_size=4, steps=1)
    assert stacked == ["meta"] * 2


def test_metrics_must_keep_their_names() -> None:
    names = iter("aab")
    with pytest.raises(ValueError, match=r"metrics \['b'\], but earlier steps returned \['a'\]"):
        Trainer(device="cpu").fit(
            lambda _: {next(names): torch.zeros(())}, examples(), batch_size=4, steps=3
        )


def test_a_trainer_without_a_run_may_train_again() -> None:
    trainer = Trainer(device="cpu")
    for steps in (2, 3):
        history = trainer.fit(
            lambda _: {"zero": torch.zeros(())}, examples(), batch_size=4, steps=steps
        )
        assert len(history.steps) == steps


def test_zero_steps_train_nothing() -> None:
    model, history = train(steps=0)
    assert history.steps == [] and len(history) == 0
    assert not torch.equal(weights(model), weights(train(steps=1)[0]))


# --- Divergence and bad input --------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 2, CHECK_EVERY, CHECK_EVERY + 1, CHECK_EVERY + 7])
def test_divergence_names_the_first_bad_step_and_metric(at: int, value: float) -> None:
    count = iter(range(1, 100))

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        bad = next(count) >= at  # and bad it stays, in both metrics after the first step
        return {
            "good": torch.tensor(1.0),
            "spoilt": torch.tensor(value if bad else 0.0),
            "also": torch.tensor(value if bad else 0.0),
        }

    with pytest.raises(TrainingDivergedError, match=rf"^spoilt is {value} at step {at}: "):
        Trainer(device="cpu").fit(step, examples(), batch_size=4, steps=CHECK_EVERY + 7)


def test_divergence_stops_soon() -> None:
    calls = []

    def step(_: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"loss": torch.tensor(torch.nan)}

    with pytest.raises(TrainingDivergedError):
        Trainer(device="cpu").fit(step, examples(), batch_size=4, steps=10_000)
    assert len(calls) <= CHECK_EVERY


def test_bad_data_is_refused() -> None:
    spoilt = examples()
    spoilt[[5, 9], 1] = torch.tensor([torch.nan, torch.inf])
    for bad, message in {
        "values": (spoilt, r"NaN or infinite values in 2 of 40 examples, the first at index 5"),
        "nothing": (torch.empty(0, 3), r"at least one example .* got shape \(0, 3\)"),
        "no values": (torch.empty(3, 0), r"got shape \(3, 0\)"),
        "a number": (torch.tensor(1.0), r"got shape \(\)"),
    }.values():
        with pytest.raises(ValueError, match=message):
            fit(bad)
        with pytest.raises(ValueError, match=message):
            fit(examples(), bad)
    with pytest.raises(ValueError, match=r"same number of examples, got the numbers \[40, 7\]"):
        fit(examples(), examples(7))
    with pytest.raises(ValueError, match="one or more tensors"):
        fit()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 41}, r"batch_size must be a whole number .*between 1 and .*, 40; got 41"),
        ({"batch_size": 0}, "got 0"),
        ({"batch_size": -1}, "got -1"),
        ({"batch_size": 4.0}, "got 4.0"),
        ({"batch_size": True}, "got True"),
        ({"steps": -1}, "steps must be a whole number .*, 0 or more; got -1"),
        ({"steps": 2.0}, "got 2.0"),
    ],
)
def test_counts_out_of_range_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(examples(), **options)


# --- Progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def __init__(self, watched: bool) -> None:
        super().__init__()
        self.watched = watched

    def isatty(self) -> bool:
        return self.watched


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("wish", [None, True, False])
def test_the_bar_is_shown_where_somebody_watches(monkeypatch, watched: bool, wish) -> None:
    screen = Terminal(watched)
    monkeypatch.setattr(sys, "stderr", screen)
    trainer = Trainer(device="cpu", progress=wish)
    trainer.fit(lambda _: {"loss": torch.zeros(())}, examples(), batch_size=4, steps=CHECK_EVERY)
    shown = watched if wish is None else wish
    assert ("50/50" in screen.getvalue()) == shown
    assert shown or screen.getvalue() == ""


@pytest.mark.parametrize("wish", [None, True, False])
def test_a_notebook_shows_one_line_of_text_and_no_widget(monkeypatch, capsys, wish) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw
            shown.append(data)

    display = pytest.importorskip("IPython.display")
    monkeypatch.setattr(display, "display", lambda *_, **__: Handle())
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    trainer = Trainer(device="cpu", progress=wish)
    trainer.fit(lambda _: {"loss": torch.zeros(())}, examples(), batch_size=4, steps=CHECK_EVERY)
    if wish is False:
        assert shown == []
    else:
        assert {key for data in shown for key in data} == {"text/plain"}
        assert "50/50" in shown[-1]["text/plain"]
    assert capsys.readouterr().err == ""


def test_a_test_is_no_notebook_and_a_kernel_is_one(monkeypatch) -> None:
    assert not progress.in_notebook()
    ipython = pytest.importorskip("IPython")
    shell = type("Shell", (), {"kernel": object()})()
    monkeypatch.setattr(ipython, "get_ipython", lambda: shell)
    assert progress.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert not progress.in_notebook()


# --- Seed or trainer -----------------------------------------------------------------------------


def test_a_trainer_has_a_seed_of_its_own() -> None:
    assert trainer_for(5, None).seed == 5
    own = Trainer(seed=3, device="cpu")
    assert trainer_for(0, own) is own
    with pytest.raises(ValueError, match="give either seed or trainer"):
        trainer_for(3, own)
