"""Each family's row works: data, networks, memory as in real training, rebuilding the saved."""

import dataclasses
import time
import weakref
from contextlib import nullcontext

import pytest
import torch
from PIL import Image
from torch.autograd.graph import saved_tensors_hooks
from torch.backends import mkldnn

from course_lib import datasets, dcgan, engine, families, gan, memory, vae
from course_lib.checkpoints import CheckpointError, save_checkpoint
from course_lib.data_types import ImageData, PointData, TextData
from course_lib.families import FAMILIES, Family
from course_lib.runs import RunError
from course_lib.training import Trainer

IMAGES = datasets.digits()
NAMES = list(FAMILIES)
NOWHERE = {"source": "", "licence": ""}


def data_of(name: str):
    """A small data set of the right kind and size."""
    family, config = FAMILIES[name], FAMILIES[name].presets["tiny"]
    if family.text:
        return TextData.from_text(
            "text", "to be or not to be, that is the question. " * 40, **NOWHERE
        )
    if side := getattr(config, "image_size", None):
        noise = torch.rand(40, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return dataclasses.replace(
            IMAGES,
            train_images=noise,
            train_labels=IMAGES.train_labels[:40],
            test_images=noise[:20],
            test_labels=IMAGES.test_labels[:20],
        )
    return IMAGES


def trained(name: str, **changes):
    data = data_of(name)
    trainer = Trainer(device="cpu", progress=False)
    return FAMILIES[name].train(*families.arguments(data), "tiny", trainer=trainer, **changes)


def saved(folder, name: str, config, model, shape, changes=()):
    card = {"family": name, "preset": "tiny", "data": "x", "seed": 0, "metrics": None}
    card |= {"config": dataclasses.asdict(config), "shape": shape} | dict(changes)
    path = folder / "model.safetensors"
    save_checkpoint(path, model, card)
    return path


# --- The table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_family_has_the_presets_that_the_course_promises(name: str) -> None:
    family: Family = FAMILIES[name]
    assert {"tiny", "quick", "full"} <= set(family.presets)
    assert all(family.data_of(preset) in datasets.BUILT_IN for preset in family.presets)
    assert family.configure("tiny", {"steps": 3}).steps == 3


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        *(("gna", "'gan'"), ("GAN", "'gan'"), ("dc-gan", "'dcgan'")),
        *(("autoencodr", "'autoencoder'"), ("transfomer", "'transformer'")),
    ],
)
def test_a_mistyped_model_is_recognised(typed: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"got '{typed}'; did you mean {hint}"):
        families.find(typed)


def test_a_model_like_no_other_gets_the_list_only() -> None:
    with pytest.raises(ValueError, match=r"one of gan, .*; got 'zzz'$"):
        families.find("zzz")


# --- Data ----------------------------------------------------------------------------------------


def test_the_kind_of_data_must_suit_the_family() -> None:
    for name, spec in {"gan": "python_source", "transformer": "digits", "lstm": "digits"}.items():
        family = FAMILIES[name]
        with pytest.raises(ValueError, match="--data must be"):
            families.data_for(family, family.presets["tiny"], spec)


def test_a_bernoulli_likelihood_gets_black_and_white_images_and_a_gaussian_grey_ones() -> None:
    family = FAMILIES["vae"]
    binary = families.data_for(family, family.configure("tiny", {}), "digits")
    assert binary.train_images.unique().tolist() == binary.test_images.unique().tolist() == [-1, 1]
    gaussian = family.configure("tiny", {"likelihood": "gaussian"})
    grey = families.data_for(family, gaussian, "digits")
    assert torch.equal(grey.train_images, IMAGES.train_images)
    assert torch.equal(binary.train_images > 0, grey.train_images > 0)


def test_what_is_binarised_anew_in_each_step_stays_grey_and_the_held_out_part_is_drawn_once() -> (
    None
):
    family = FAMILIES["vae"]
    config = family.configure("tiny", {"dynamic_binarisation": True})
    data, again = (families.data_for(family, config, "digits") for _ in range(2))
    assert torch.equal(data.train_images, IMAGES.train_images)
    assert torch.equal(data.test_images, vae.binarise(IMAGES.test_images, seed=0))
    assert torch.equal(data.test_images, again.test_images)
    thresholded = torch.where(IMAGES.test_images > 0, 1.0, -1.0)
    assert not torch.equal(data.test_images, thresholded)


def test_a_grey_data_set_of_the_hub_gets_the_published_vae(tmp_path, monkeypatch) -> None:
    """784-200-200-50 and back, as for MNIST; with RGB it would have 2,352 inputs."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for part in ("train", "test"):
        folder = tmp_path / "digits" / part / "zero"
        folder.mkdir(parents=True)
        for i in range(2):
            Image.new("L", (28, 28), 50 * i).save(folder / f"{i}.png")
    family = FAMILIES["vae"]
    config = family.presets["full"]
    data = families.data_for(family, config, f"hub:{tmp_path / 'digits'}")
    assert data.train_images.shape == data.test_images.shape == (2, 1, 28, 28)
    encoder = 784 * 200 + 200 + 200 * 200 + 200 + 200 * 100 + 100
    decoder = 50 * 200 + 200 + 200 * 200 + 200 + 200 * 784 + 784
    found = families.parameters(family, config, data.train_images.shape[1:])
    assert found == f"VAE {encoder + decoder:,}"


def test_a_conditional_model_gets_the_labels_of_its_data() -> None:
    family = FAMILIES["vae"]
    config = family.configure("tiny", {"classes": 10})
    given = families.labels_for(config, IMAGES)
    assert torch.equal(given["labels"], IMAGES.train_labels)
    held_out = families.labels_for(config, IMAGES, held_out=True)
    assert torch.equal(held_out["labels"], IMAGES.test_labels)
    assert families.labels_for(family.presets["tiny"], IMAGES) == {}
    with pytest.raises(ValueError, match=r"classes=… must be 10, .*; got 9"):
        families.labels_for(family.configure("tiny", {"classes": 9}), IMAGES)
    with pytest.raises(ValueError, match=r"classes=10 needs images with classes; got Point"):
        families.labels_for(config, datasets.gaussian_ring())


def test_a_conditional_model_and_its_average_come_back_from_a_file(tmp_path) -> None:
    family = FAMILIES["vae"]
    changes = {"classes": 10, "average_decay": 0.9}
    given = families.labels_for(family.configure("tiny", changes), IMAGES)
    result = trained("vae", steps=2, **given, **changes)
    saved(tmp_path, "vae", result.config, result.model, families.shape_of(IMAGES))
    (tmp_path / "card.json").write_text('{"family": "x"}')
    model, _ = families.load_model(tmp_path)
    assert torch.equal(family.sample(model, 12, seed=5), family.sample(result.model, 12, seed=5))
    assert families.memory(family, result.config, [1, 8, 8]).average > 0


def test_a_preset_of_another_image_size_says_which_setting_to_change() -> None:
    family = FAMILIES["dcgan"]
    with pytest.raises(ValueError, match=r"64 given.*--set image_size"):
        families.data_for(family, family.presets["full"], "mnist5k")


def test_separate_lines_are_learnt_from_as_rows_and_other_texts_as_one() -> None:
    family, names = FAMILIES["lstm"], datasets.first_names()
    rows, size = families.arguments(names)
    assert size == 27 and rows.shape[0] == names.decode(names.train_tokens).count("\n") - 1
    assert (
        names.decode(rows[0][rows[0] >= 0])
        == "\n" + names.decode(names.train_tokens).split()[0] + "\n"
    )
    text = data_of("lstm")
    assert torch.equal(families.arguments(text)[0], text.train_tokens)
    cards = [
        families.describe("lstm", "tiny", family.presets["tiny"], d, "x") for d in (names, text)
    ]
    assert [card["separate_lines"] for card in cards] == [True, False]


def test_data_without_a_held_out_part_are_refused_before_the_training(tmp_path) -> None:
    from PIL import Image

    for i in range(9):
        Image.new("RGB", (28, 28), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    family = FAMILIES["gan"]
    with pytest.raises(ValueError, match=r"--data must have a held-out part.*; add more"):
        families.data_for(family, family.presets["tiny"], str(tmp_path))


def test_a_folder_of_images_is_loaded_in_the_size_that_the_model_wants(tmp_path) -> None:
    from PIL import Image

    for i in range(10):
        Image.new("RGB", (50, 40), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
    for name, side in {"gan": families.FOLDER_SIZE, "dcgan": 28}.items():
        family = FAMILIES[name]
        data = families.data_for(family, family.presets["tiny"], str(tmp_path))
        assert families.shape_of(data) == [3, side, side]


def test_the_card_tells_other_data_from_the_same_data() -> None:
    config = gan.PRESETS["tiny"]
    one, same = (families.describe("gan", "tiny", config, datasets.digits(), "d") for _ in range(2))
    assert one == same
    images = IMAGES.test_images.clone()
    images[0, 0, 0, 0] = 0.5
    other = dataclasses.replace(IMAGES, test_images=images)
    changed = families.describe("gan", "tiny", config, other, "d")
    assert {key for key in one if one[key] != changed[key]} == {"data_digest"}


@pytest.mark.parametrize(
    ("data", "shape"),
    [(datasets.digits, [1, 8, 8]), (datasets.gaussian_ring, [2])],
    ids=["images", "points"],
)
def test_shapes_are_those_of_one_sample(data, shape) -> None:
    loaded = data()
    assert isinstance(loaded, ImageData | PointData)
    assert families.shape_of(loaded) == shape
    assert list(families.halves(loaded)[1].shape[1:]) == shape


# --- Memory --------------------------------------------------------------------------------------


class Kept:
    """The bytes that all graphs together keep, while there are networks to tell them from."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.most = trainer, 0
        self.sizes: dict[int, list[int]] = {}  # by memory: bytes, tensors in it

    def pack(self, tensor: torch.Tensor) -> "Kept.Tensor":
        return self.Tensor(self, tensor)

    class Tensor:
        """Lives as long as a graph needs it."""

        def __init__(self, kept: "Kept", tensor: torch.Tensor) -> None:
            networks = [p for p in kept.trainer._parts if isinstance(p, torch.nn.Module)]
            own = {memory._storage(t) for n in networks for t in [*n.parameters(), *n.buffers()]}
            self.tensor, key = tensor, memory._storage(tensor)
            if key not in own:
                entry = kept.sizes.setdefault(key, [tensor.untyped_storage().nbytes(), 0])
                entry[1] += 1
                kept.most = max(kept.most, sum(size for size, _ in kept.sizes.values()))
                weakref.finalize(self, kept.release, key)

    def release(self, key: int) -> None:
        self.sizes[key][1] -= 1
        if not self.sizes[key][1]:
            del self.sizes[key]


@pytest.mark.filterwarnings("ignore:TF32")  # of the switch for oneDNN
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_the_activations_are_those_of_real_training_steps(name: str, accumulate: int) -> None:
    """The most that graphs hold at once, from the generator's samples to the last player's step."""
    family, data = FAMILIES[name], data_of(name)
    trainer = Trainer(device="cpu", progress=False, accumulate=accumulate)
    kept = Kept(trainer)
    # What oneDNN's LSTM keeps in its own memory no one can know before.
    plain = mkldnn.flags(enabled=False) if name == "lstm" else nullcontext()
    with plain, saved_tensors_hooks(kept.pack, lambda kept: kept.tensor):
        family.train(*families.arguments(data), "tiny", trainer=trainer, steps=2)
    config, shape = family.configure("tiny", {}), families.shape_of(data)
    said = families.memory(family, config, shape, accumulate=accumulate)
    assert said.activations == pytest.approx(kept.most, rel=0.03)  # a few numbers an example


@pytest.mark.parametrize("name", NAMES)
def test_the_optimisers_memory_is_that_of_real_ones(name: str, monkeypatch) -> None:
    states = []
    original = engine.Engine.minimise

    def minimise(self, loss, optimiser, *batch, **options):
        metrics = original(self, loss, optimiser, *batch, **options)
        moments = [
            value.nbytes
            for state in optimiser.state.values()
            for value in state.values()
            if value.ndim > 0
        ]
        states.append((id(optimiser), sum(moments)))
        return metrics

    monkeypatch.setattr(engine.Engine, "minimise", minimise)
    family, data = FAMILIES[name], data_of(name)
    trained(name, steps=2)
    said = families.memory(family, family.configure("tiny", {}), families.shape_of(data))
    assert said.optimiser == sum(dict(states).values())


def test_the_published_dcgan_has_the_published_size() -> None:
    text = families.parameters(FAMILIES["dcgan"], dcgan.PRESETS["full"], [3, 64, 64])
    assert text == "Generator 3,576,704, Discriminator 2,765,568"


def test_sharing_the_batch_divides_the_activations_only() -> None:
    family, plain = FAMILIES["gan"], {"batch_norm": False}  # whose statistics do not shrink
    whole, half, parts = (
        families.memory(family, family.configure("full", plain), [1, 28, 28], **cut)
        for cut in ({}, {"processes": 2}, {"accumulate": 2})
    )
    assert half.activations == pytest.approx(whole.activations / 2, rel=1e-3)
    assert half.total - half.activations == whole.total - whole.activations
    assert half.activations < parts.activations < whole.activations, "a generator's stay whole"


def test_the_memory_of_all_presets_is_known_in_seconds_and_without_using_any() -> None:
    started = time.process_time()
    rows = families.overview()
    assert time.process_time() - started < 10
    assert len(rows) == sum(len(family.presets) for family in FAMILIES.values())
    (largest,) = [r for r in rows if (r["model"], r["preset"]) == ("transformer", "full")]
    assert largest["memory"].endswith("GB")


# --- Saved models --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_comes_back_and_gives_the_same_samples(name: str, tmp_path) -> None:
    family, result = FAMILIES[name], trained(name, steps=2)
    shape = families.shape_of(data_of(name))
    saved(tmp_path, name, result.config, result.model, shape)
    (tmp_path / "card.json").write_text('{"family": "x"}')
    model, card = families.load_model(tmp_path)
    assert not model.training and card["family"] == name
    assert families.config_of(card) == result.config
    assert torch.equal(family.sample(model, 3, seed=5), family.sample(result.model, 3, seed=5))


def test_another_familys_weights_are_refused_although_their_class_has_the_same_name(
    tmp_path,
) -> None:
    result = trained("gan", steps=1)
    path = saved(tmp_path, "dcgan", dcgan.PRESETS["tiny"], result.model, [1, 28, 28])
    with pytest.raises(CheckpointError, match="does not fit the model"):
        families.load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "flow"}, "MODEL must be one of"),
        ({"config": {"steps": 1}}, "settings are not those"),
        ({"config": None}, "settings are not those"),
        ({"shape": None}, "holds no model"),
    ],
)
def test_a_card_that_rebuilds_nothing_is_refused(changes, message: str, tmp_path) -> None:
    config, (model, _) = gan.PRESETS["tiny"], gan.build(gan.PRESETS["tiny"], (1, 4, 4))
    path = saved(tmp_path, "gan", config, model, [1, 4, 4], changes)
    with pytest.raises(CheckpointError, match=message):
        families.load_model(path)


def test_a_run_that_is_not_finished_names_the_command_that_goes_on(tmp_path) -> None:
    (tmp_path / "card.json").write_text('{"command": "course train gan"}')
    hint = rf"not finished.*by: course train gan --out '?{tmp_path}'? --resume"
    with pytest.raises(RunError, match=hint):
        families.load_model(tmp_path)


def test_an_empty_folder_holds_no_run(tmp_path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        families.load_model(tmp_path)
