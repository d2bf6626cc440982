"""A gradient step is that of the textbook, whatever it is cut into and however it is computed."""

import inspect
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from course_lib.engine import Engine, TrainingDivergedError, evaluating, frozen
from course_lib.training import Trainer

DATA = torch.randn(12, 3, generator=torch.Generator().manual_seed(5))


def engine(**changes) -> Engine:
    settings = {"seed": 0, "device": "cpu", "precision": "fp32", "compile": False, "accumulate": 1}
    return Engine(**{**settings, **changes})


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def network(*prepare_in: Engine) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    for trainer in prepare_in:
        trainer.prepare(model)
    return model


# --- Seeds, settings, devices --------------------------------------------------------------------


def test_the_seed_reaches_every_source_of_chance() -> None:
    def drawn(seed: int) -> list[float]:
        trainer = engine(seed=seed)
        return [
            random.random(),
            float(np.random.rand()),
            float(torch.rand(())),
            float(trainer.randn(1, 1)),
        ]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again and all(a != b for a, b in zip(first, other, strict=True))


def test_noise_is_standard_normal_and_a_stream_of_its_own() -> None:
    first, second = engine(seed=4), engine(seed=4)
    before = torch.get_rng_state()
    noise = first.randn(4000, 2, 3)
    assert torch.equal(torch.get_rng_state(), before), "dropout must not depend on it"
    assert noise.shape == (4000, 2, 3) and noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.03 and abs(noise.var() - 1) < 0.03  # over 4 standard errors
    torch.rand(7)
    assert torch.equal(noise, second.randn(4000, 2, 3))
    assert not torch.equal(noise, first.randn(4000, 2, 3))


def test_uniform_noise_is_uniform_and_of_the_same_stream() -> None:
    first, second = engine(seed=4), engine(seed=4)
    before = torch.get_rng_state()
    noise = first.rand(4000, 2, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert noise.shape == (4000, 2, 3) and noise.min() >= 0 and noise.max() < 1
    assert abs(noise.mean() - 0.5) < 0.008 and abs(noise.var() - 1 / 12) < 0.003
    assert torch.equal(noise, second.rand(4000, 2, 3))
    assert torch.equal(first.randn(1, 1), second.randn(1, 1)), "it moves the stream on"
    assert not torch.equal(noise, first.rand(4000, 2, 3))


@pytest.mark.parametrize("kind", ["rand", "randn"])
def test_processes_share_the_noise_of_the_batch(kind: str) -> None:
    whole = getattr(engine(seed=4), kind)(6, 5)
    for rank in (0, 1):
        one = engine(seed=4)
        one.processes, one.rank = 2, rank
        assert torch.equal(getattr(one, kind)(3, 5), whole[3 * rank : 3 * rank + 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device must be 'auto' or 'cpu', got 'gpu'"),
        ({"precision": "fp8"}, r"precision must be one of \['fp32', .*got 'fp8'"),
        ({"precision": "fp16", "device": "cpu"}, "'fp16' needs a GPU; on a CPU use"),
        ({"seed": -1}, r"seed must be a whole number .*from 0 to 2\*\*32 - 1, got -1"),
        ({"seed": 2**32}, "seed must be"),
        ({"seed": 0.5}, "seed must be a whole number .*got 0.5"),
        ({"seed": True}, "seed must be"),
        ({"seed": None}, "seed must be a whole number .*got None"),
        ({"accumulate": 0}, "accumulate must be a whole number .*1 or more, got 0"),
        ({"accumulate": 2.0}, "accumulate must be .*got 2.0"),
    ],
)
def test_unknown_settings_are_refused_and_do_no_harm(options, message: str) -> None:
    settings = {"seed": 0, "device": "cpu", "precision": "fp32", "compile": False, "accumulate": 1}
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(Engine.__init__)(object.__new__(Engine), **{**settings, **options})
    assert Trainer(device="cpu").device.type == "cpu"


def test_only_networks_with_convolutions_change_their_memory_format() -> None:
    trainer = engine()
    model, flat = nn.Conv2d(2, 4, 3), nn.Linear(2, 2)
    assert trainer.prepare(flat) == (flat,) and not trainer._channels_last
    trainer.prepare(model)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.weight.is_contiguous()
    assert trainer.finish(model).weight.is_contiguous()


# --- One step ------------------------------------------------------------------------------------


def squares(model: nn.Module):
    def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        error = (model(x).float() - x).square().mean()
        return {"loss": error, "size": model(x).float().abs().mean()}

    return loss


@pytest.mark.parametrize("clip", [None, 0.05, 100.0])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 12])
def test_a_step_is_that_of_plain_pytorch_whatever_the_batch_is_cut_into(accumulate, clip) -> None:
    trainer = engine(accumulate=accumulate)
    model, plain = network(trainer), network()
    adam, other = (torch.optim.Adam(m.parameters(), 0.05, fused=True) for m in (model, plain))
    trainer.prepare(adam)
    for _ in range(3):
        metrics = trainer.minimise(squares(model), adam, DATA, clip=clip)
        expected = mse_loss(plain(DATA), DATA)
        size = plain(DATA).abs().mean()
        other.zero_grad()
        expected.backward()
        if clip is not None:
            norm = torch.cat([p.grad.flatten() for p in plain.parameters()]).norm()
            assert (norm > clip) == (clip < 1), "the small limit acts, the large one does not"
            for p in plain.parameters():
                p.grad *= min(1.0, clip / float(norm))
        other.step()
        assert list(metrics) == ["loss", "size"]
        assert not any(value.requires_grad for value in metrics.values())
        assert float(metrics["loss"]) == pytest.approx(expected.item(), rel=1e-5)
        assert float(metrics["size"]) == pytest.approx(size.item(), rel=1e-5)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_loss_is_shown_the_whole_batch_in_equal_parts(accumulate: int) -> None:
    trainer, model, seen = engine(accumulate=accumulate), nn.Linear(3, 1), []
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    trainer.prepare(model, sgd)

    def loss(x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append((x, labels))
        return {"loss": model(x).mean()}

    trainer.minimise(loss, sgd, DATA, torch.arange(12))
    assert [len(labels) for _, labels in seen] == [12 // accumulate] * accumulate
    assert torch.equal(torch.cat([x for x, _ in seen]), DATA)
    assert torch.cat([labels for _, labels in seen]).tolist() == list(range(12))


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_gradients_flow_through_a_batch_that_was_computed(accumulate: int) -> None:
    """A generator's samples: its weights change, those of the judge stay."""
    torch.manual_seed(0)
    trainer, maker, judge = engine(accumulate=accumulate), nn.Linear(3, 3), nn.Linear(3, 1)
    sgd = torch.optim.SGD(maker.parameters(), 0.1)
    trainer.prepare(maker, judge, sgd)
    before = [p.detach().clone() for p in (*maker.parameters(), *judge.parameters())]
    expected = torch.autograd.grad(judge(maker(DATA).tanh()).square().mean(), maker.parameters())
    with frozen(judge):
        trainer.minimise(lambda y: {"loss": judge(y).square().mean()}, sgd, maker(DATA).tanh())
    for weight, was, gradient in zip(maker.parameters(), before, expected, strict=False):
        torch.testing.assert_close(weight.detach(), was - 0.1 * gradient)
    assert all(map(torch.equal, judge.parameters(), before[2:]))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_computed_tensors_may_share_a_graph_and_need_not_be_used(accumulate: int) -> None:
    torch.manual_seed(0)
    trainer, maker = engine(accumulate=accumulate), nn.Linear(3, 3)
    sgd = torch.optim.SGD(maker.parameters(), 0.1)
    trainer.prepare(maker, sgd)
    before = [weight.detach().clone() for weight in maker.parameters()]
    y = maker(DATA).tanh()
    gradients = torch.autograd.grad((y.sin() * y.exp()).mean(), maker.parameters())
    y = maker(DATA).tanh()
    trainer.minimise(lambda a, b, _: {"loss": (a * b).mean()}, sgd, y.sin(), y.exp(), 2 * y)
    for weight, was, gradient in zip(maker.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight.detach(), was - 0.1 * gradient)


@pytest.mark.parametrize("batch", [[6], [8, 6], [8, 0], [None], []])
def test_a_batch_that_cannot_be_cut_into_equal_parts_is_refused(batch) -> None:
    """Else the mean over the parts would not be the mean over the batch."""
    trainer, model = engine(accumulate=4), nn.Linear(3, 1)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    trainer.prepare(model, sgd)
    tensors = [torch.tensor(1.0) if n is None else torch.zeros(n, 3) for n in batch]
    with pytest.raises(ValueError, match=r"first axis is a multiple of accumulate, 4, .* shapes"):
        trainer.minimise(lambda *x: {"loss": model(x[0]).mean()}, sgd, *tensors)


def test_an_optimiser_that_was_not_prepared_is_refused() -> None:
    """Its state would not be saved, and its gradients in float16 not be scaled."""
    trainer, model = engine(), nn.Linear(3, 1)
    trainer.prepare(model, torch.optim.SGD(model.parameters(), 0.1))
    other = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="optimiser is not the trainer's; prepare it first"):
        trainer.minimise(lambda x: {"loss": model(x).mean()}, other, DATA)


def test_the_first_metric_is_minimised_and_only_the_optimisers_own_weights_change() -> None:
    trainer, mine, others = engine(), nn.Linear(3, 1), nn.Linear(1, 1)
    sgd = torch.optim.SGD(mine.parameters(), 0.5)
    trainer.prepare(mine, others, sgd)
    before, theirs = weights(mine), weights(others)

    def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = mine(x)
        return {"up": -y.mean() + 0 * others(y).mean(), "down": y.mean()}

    trainer.minimise(loss, sgd, DATA)
    expected = before + 0.5 * torch.cat([DATA.mean(0), torch.ones(1)])
    torch.testing.assert_close(weights(mine), expected)
    assert torch.equal(weights(others), theirs)


def test_gradients_of_the_step_before_are_forgotten() -> None:
    """The other player's loss leaves gradients in this one, which must not be added to its own."""
    trainer, model = engine(), nn.Linear(3, 1, bias=False)
    sgd = torch.optim.SGD(model.parameters(), 1.0)
    trainer.prepare(model, sgd)
    before = model.weight.detach().clone()
    model.weight.grad = torch.full_like(model.weight, 1e6)
    trainer.minimise(lambda x: {"loss": model(x).mean()}, sgd, DATA)
    torch.testing.assert_close(model.weight.detach(), before - DATA.mean(0))


def test_losses_run_in_lower_precision_and_weights_stay_as_they_are() -> None:
    trainer, seen = engine(precision="bf16"), []
    model = network(trainer)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    trainer.prepare(sgd)

    def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = model(x)
        seen.append(y.dtype)
        return {"loss": (y.float() - x).square().mean()}

    metrics = trainer.minimise(loss, sgd, DATA)
    assert seen == [torch.bfloat16] and metrics["loss"].dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    plain = network()
    torch.testing.assert_close(weights(model), weights(plain), atol=0.05, rtol=0)
    assert model(DATA).dtype == torch.float32, "outside a step the precision is the full one"


def test_a_loss_in_float16_is_scaled_and_an_overflow_leaves_a_step_out() -> None:
    """The scaler is for GPUs; a CPU has one as well, which the engine does not offer to anybody."""
    trainer = engine()
    trainer._precision = "fp16"
    model = nn.Linear(3, 1, bias=False)
    adam = torch.optim.Adam(model.parameters(), 0.1, fused=True)
    trainer.prepare(model, adam)
    scaler = trainer._scalers[adam]
    size = {"factor": 1e-9}  # its gradient in float16, without a scale, would be 0

    def loss(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": model(x).float().sum() * size["factor"]}

    before = weights(model)
    trainer.minimise(loss, adam, DATA, clip=1.0)
    assert scaler.get_scale() == 2.0**16
    torch.testing.assert_close(model.weight.grad[0], 1e-9 * DATA.sum(0), rtol=0.01, atol=1e-11)
    assert not torch.equal(weights(model), before)
    before, size["factor"] = weights(model), 1e6
    metrics = trainer.minimise(loss, adam, DATA)
    assert torch.equal(weights(model), before) and scaler.get_scale() == 2.0**15
    assert metrics["loss"].isfinite(), "the record shows the loss itself, not the scaled one"


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_losses_give_the_same_and_are_compiled_once(monkeypatch, backend: str) -> None:
    """Traced and differentiated as always; generating code as well takes the C++ compiler long."""
    compiled, real = [], torch.compile

    def compile(loss, **options):
        compiled.append(loss)
        return real(loss, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compile)
    results = []
    for wish in (False, True):
        trainer = engine(compile=wish, accumulate=2)
        model = network(trainer)
        sgd = torch.optim.SGD(model.parameters(), 0.1)
        trainer.prepare(sgd)
        loss = squares(model)
        metrics = [trainer.minimise(loss, sgd, DATA) for _ in range(3)]
        results.append((weights(model), [float(m["loss"]) for m in metrics]))
    assert compiled == [loss]
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)


def test_a_loss_that_is_new_in_each_step_is_not_compiled_for_ever(monkeypatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda loss, **_: compiled.append(1) or loss)
    trainer, model = engine(compile=True), nn.Linear(3, 1)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    trainer.prepare(model, sgd)
    losses = [lambda x: {"loss": model(x).mean()} for _ in range(9)]
    for loss in losses[:8] * 2:
        trainer.minimise(loss, sgd, DATA)
    assert len(compiled) == 8
    with pytest.raises(ValueError, match="define the loss once, outside the step"):
        trainer.minimise(losses[8], sgd, DATA)


@pytest.mark.parametrize("compile", [False, True])
def test_the_traces_of_earlier_trainings_are_forgotten(monkeypatch, compile: bool) -> None:
    """torch counts them, and after eight of the same function it compiles no more."""
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    engine(compile=compile)
    assert len(resets) == compile


def test_a_classifier_learns_by_it() -> None:
    """Against random labels shuffled anew, so that a step in the wrong direction would show."""
    trainer, model = engine(accumulate=3), network()
    adam = torch.optim.Adam(model.parameters(), 0.05)
    trainer.prepare(model, adam)
    labels = (DATA[:, 0] > 0).long()

    def loss(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": cross_entropy(model(x), y)}

    losses = [float(trainer.minimise(loss, adam, DATA, labels)["loss"]) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


# --- The end -------------------------------------------------------------------------------------


class Recorder(nn.Linear):
    """Remembers where it was sent; what is on an accelerator cannot be seen on every machine."""

    sent = ""

    def cpu(self) -> "Recorder":
        self.sent = "cpu"
        return super().cpu()


def test_a_finished_model_is_on_the_cpu() -> None:
    trainer = Trainer()
    (model,) = trainer.prepare(Recorder(1, 1))
    finished = trainer.finish(model)
    assert finished.sent == "cpu" and finished.weight.device.type == "cpu"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_with_spoilt_weights_is_not_returned(value: float) -> None:
    trainer, model = Trainer(device="cpu"), nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    nn.init.constant_(model[0].bias, value)
    with pytest.raises(TrainingDivergedError, match=r"values in 0.bias of the trained Sequential"):
        trainer.finish(model)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[1].running_mean, math.nan)
    with pytest.raises(TrainingDivergedError, match=r"values in 1.running_mean of"):
        trainer.finish(model)


def test_a_mask_of_infinities_is_no_divergence() -> None:
    model = nn.Linear(1, 1)
    model.register_buffer("mask", torch.tensor([-math.inf, 0.0]))
    model.register_buffer("flags", torch.tensor([True]))
    assert Trainer(device="cpu").finish(model) is model


def test_several_models_are_finished_one_after_the_other() -> None:
    trainer = Trainer(device="cpu")
    models = trainer.prepare(nn.Linear(1, 1), nn.Linear(1, 1))
    assert not any(trainer.finish(model).training for model in models)
    assert trainer.device.type == "cpu"


# --- Helpers -------------------------------------------------------------------------------------


def test_a_frozen_model_passes_gradients_on_and_keeps_none() -> None:
    model, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    model.bias.requires_grad_(False)
    with frozen(model):
        model(x).sum().backward()
    assert model.weight.grad is None and torch.equal(x.grad, model.weight)
    assert model.weight.requires_grad, "what was trainable is trainable again"
    assert not model.bias.requires_grad, "what was not is not"


def test_a_model_thaws_after_an_error() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(KeyError), frozen(model):
        raise KeyError
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_mode_ends_with_its_block(training: bool) -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 1)).train(training)
    with pytest.raises(KeyError), evaluating(model):
        assert not model.training and not model[0].training
        assert not model(torch.ones(1, 1)).requires_grad
        raise KeyError
    assert model.training == model[0].training == training
    assert model(torch.ones(1, 1)).requires_grad
