"""What only an accelerator can show: every family trained, resumed and compiled on it."""

import pytest
import torch
from torch import nn

from course_lib import autoencoder, dcgan, gan, ngrams, recurrent, transformer, vae
from course_lib.evaluation import train_reference_classifier
from course_lib.runs import Run
from course_lib.training import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator"),
]

IMAGES = torch.rand(48, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
TEXT = torch.randint(0, 9, (2000,), generator=torch.Generator().manual_seed(0))

CHANCE_AND_STATE = {
    **{"dynamic_binarisation": True, "augment": True, "average_decay": 0.9},
    **{"warm_up_steps": 5, "schedule": "cosine", "network": "convolutional", "hidden": (4, 8)},
}


def train(family: str, trainer: Trainer):
    texts = {
        "mlp": ngrams.train_mlp,
        "lstm": recurrent.train_lstm,
        "transformer": transformer.train_transformer,
    }
    if family in texts:
        return texts[family](TEXT, 9, "tiny", dropout=0.1, trainer=trainer)
    function, changes = {
        "gan": (gan.train_gan, {"dropout": 0.3, "batch_norm": True, "average_decay": 0.9}),
        "dcgan": (dcgan.train_dcgan, {}),
        "autoencoder": (autoencoder.train_autoencoder, {"masking": 0.25}),
        "vae": (vae.train_vae, CHANCE_AND_STATE),
    }[family]
    return function(IMAGES, "tiny", trainer=trainer, snapshots=3, snapshot_size=4, **changes)


def weights(made) -> torch.Tensor:
    return nn.utils.parameters_to_vector(made.model.parameters())


FAMILIES = ["gan", "dcgan", "autoencoder", "vae", "mlp", "lstm", "transformer"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_in_every_precision(family: str, precision: str) -> None:
    trainer = Trainer(precision=precision)
    assert trainer.device.type != "cpu"
    made = train(family, trainer)
    assert {weight.device.type for weight in made.model.parameters()} == {"cpu"}
    assert not made.model.training and weights(made).isfinite().all()
    for name, values in train(family, Trainer(device="cpu")).history.items():
        assert made.history[name][0] == pytest.approx(values[0], rel=0.2, abs=0.2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_is_resumed_exactly_on_it(tmp_path, monkeypatch, family: str, precision: str) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    card = {"family": family, "preset": "tiny", "data": "made up", "seed": 0}

    class Ended(Exception):
        pass

    torch.use_deterministic_algorithms(True)
    try:
        expected = train(family, Trainer(precision=precision))
        trainer = Trainer(precision=precision, run=Run(tmp_path, card, save_steps=1))
        real, calls = trainer.minimise, []

        def minimise(*arguments, **options):
            calls.append(1)
            if len(calls) == 7:
                raise Ended
            return real(*arguments, **options)

        monkeypatch.setattr(trainer, "minimise", minimise)
        with pytest.raises(Ended):
            train(family, trainer)
        run = Run(tmp_path, card, resume=True)
        found = train(family, Trainer(precision=precision, run=run))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(weights(found), weights(expected))
    assert dict(found.history) == dict(expected.history)
    run.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_training_is_the_same_to_rounding(family: str) -> None:
    made = [train(family, Trainer(compile=compile)) for compile in (False, True)]
    for name, values in made[0].history.items():
        assert made[1].history[name][0] == pytest.approx(values[0], rel=0.1, abs=0.1)
    assert weights(made[1]).isfinite().all()


def test_the_reference_classifier_trains_on_it() -> None:
    pytest.importorskip("sklearn")
    from course_lib.datasets import digits

    judge = train_reference_classifier(digits(), steps=3)
    assert {weight.device.type for weight in judge.parameters()} == {"cpu"}
