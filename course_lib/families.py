"""What the command line knows of each family of models: one row a family, in ``FAMILIES``.

A new model file joins the commands by a row here. What the families share is written once: how
their data are loaded, how a saved model is rebuilt and what memory its training needs.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import (
    autoencoder,
    autoregressive,
    datasets,
    dcgan,
    gan,
    ngrams,
    presets,
    recurrent,
    transformer,
    vae,
)
from course_lib.checkpoints import CheckpointError, load_checkpoint, read_card
from course_lib.datasets import ImageData, PointData, TextData
from course_lib.files import tensors_digest
from course_lib.memory import Memory, readable, training_memory
from course_lib.runs import MODEL, RunError, read_run_card
from course_lib.training import frozen

Data = ImageData | PointData | TextData
Networks = Sequence[Any]
Losses = list[Callable[[], Tensor]]

FOLDER_SIZE = 28  # pixels, of images of one's own where the model takes any size
CHARACTERS = 100  # different ones, about, of a text that is not loaded yet


@dataclass(frozen=True)
class Family:
    """A row of ``FAMILIES``.

    Attributes:
        title: what it is, in a few words.
        presets: the settings by name.
        train: the model file's ``train_…``.
        sample: (model, n, seed=…) -> samples on the CPU.
        build: (config, shape) -> the untrained networks, the one that is saved first. The shape
            is that of one sample, or (number of characters,) for a text.
        losses: (config, networks, share, part, shape) -> the graphs of one step, for the memory;
            a process has a share of each batch, and computes its losses part by part.
        default_data: the data set that a preset is meant for; "" stands for the presets not named.
        text: learns from a text instead of images or points.
        prepare: (config, training images, held-out images) -> both as the model takes them.
    """

    title: str
    presets: Mapping[str, Any]
    train: Callable[..., Any]
    sample: Callable[..., Tensor]
    build: Callable[[Any, Sequence[int]], Networks]
    losses: Callable[[Any, Networks, int, int, Sequence[int]], Losses]
    default_data: Mapping[str, str]
    text: bool = False
    prepare: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]] = lambda config, *images: images

    def configure(self, preset: str, changes: Mapping[str, object]) -> Any:
        """The settings of a run; a ValueError names what is wrong."""
        return presets.configure(self.presets, preset, changes)

    def data_of(self, preset: str) -> str:
        """The data set that the preset is meant for."""
        return self.default_data.get(preset, self.default_data[""])


def _pair_losses(
    config: gan.Game, networks: Networks, share: int, part: int, shape: Sequence[int]
) -> Losses:
    generator, discriminator = networks
    objective, judge = gan.OBJECTIVES[config.objective], gan.judge_of_pairs(discriminator)
    z, real = torch.zeros(share, config.latent_dim), torch.zeros(share, *shape)

    # The generator has made the samples of the whole share before, and keeps its graph for its own
    # step, which comes after the discriminator's.
    def of_discriminator() -> Tensor:
        fake = generator(z)
        return objective.discriminator(*judge(real[:part], fake.detach()[:part]))

    def of_generator() -> Tensor:
        with frozen(discriminator):
            return objective.generator(discriminator(generator(z)[:part]))

    return [of_discriminator, of_generator]


def _autoencoder_losses(
    config: autoencoder.Config, networks: Networks, share: int, part: int, shape: Sequence[int]
) -> Losses:
    x, corrupted = (torch.zeros(share, *shape)[:part] for _ in range(2))
    return [lambda: autoencoder.squared_error(networks[0], x, corrupted)]


def _vae_losses(
    config: vae.Config, networks: Networks, share: int, part: int, shape: Sequence[int]
) -> Losses:
    x, noise = torch.zeros(share, *shape)[:part], torch.zeros(share, config.latent_dim)[:part]
    labels = torch.zeros(share, dtype=torch.long)[:part] if config.classes else None
    return [lambda: -vae.elbo(networks[0], x, noise, labels).elbo]


def _black_or_white(config: vae.Config, train: Tensor, held_out: Tensor) -> tuple[Tensor, Tensor]:
    # On grey pixels the Bernoulli likelihood is none, and its ELBO no bound of anything.
    if config.likelihood != "bernoulli":
        return train, held_out
    if config.dynamic_binarisation:  # the training draws its own, anew in every step
        return train, vae.binarise(held_out)
    return torch.where(train > 0, 1.0, -1.0), torch.where(held_out > 0, 1.0, -1.0)


def _text_losses(
    config: autoregressive.Training,
    networks: Networks,
    share: int,
    part: int,
    shape: Sequence[int],
) -> Losses:
    text = torch.zeros(share, config.context + 1, dtype=torch.long)[:part]
    return [lambda: autoregressive.cross_entropy(networks[0], text[:, :-1], text[:, 1:])]


FAMILIES = {
    "gan": Family(
        title="fully connected GAN",
        presets=gan.PRESETS,
        train=gan.train_gan,
        sample=gan.sample,
        build=gan.build,
        losses=_pair_losses,
        default_data={"": "mnist5k", "points": "gaussian_ring"},
    ),
    "dcgan": Family(
        title="deep convolutional GAN",
        presets=dcgan.PRESETS,
        train=dcgan.train_dcgan,
        sample=gan.sample,
        build=dcgan.build,
        losses=_pair_losses,
        default_data={"": "mnist5k", "glyphs": "glyphs", "faces": "faces", "full": "glyphs"},
    ),
    "autoencoder": Family(
        title="plain or denoising autoencoder",
        presets=autoencoder.PRESETS,
        train=autoencoder.train_autoencoder,
        sample=autoencoder.sample,
        build=lambda config, shape: (autoencoder.build(config, shape),),
        losses=_autoencoder_losses,
        default_data={"": "mnist5k"},
    ),
    "vae": Family(
        title="variational autoencoder",
        presets=vae.PRESETS,
        train=vae.train_vae,
        sample=vae.sample,
        build=lambda config, shape: (vae.build(config, shape),),
        losses=_vae_losses,
        default_data={"": "mnist5k"},
        prepare=_black_or_white,
    ),
    "mlp": Family(
        title="perceptron that predicts the next character",
        presets=ngrams.PRESETS,
        train=ngrams.train_mlp,
        sample=autoregressive.sample,
        build=lambda config, shape: (ngrams.build(config, shape[0]),),
        losses=_text_losses,
        default_data={"": "surnames", "full": "python_source"},
        text=True,
    ),
    "lstm": Family(
        title="recurrent language model",
        presets=recurrent.PRESETS,
        train=recurrent.train_lstm,
        sample=autoregressive.sample,
        build=lambda config, shape: (recurrent.build(config, shape[0]),),
        losses=_text_losses,
        default_data={"": "surnames", "full": "python_source"},
        text=True,
    ),
    "transformer": Family(
        title="decoder-only language model",
        presets=transformer.PRESETS,
        train=transformer.train_transformer,
        sample=autoregressive.sample,
        build=lambda config, shape: (transformer.build(config, shape[0]),),
        losses=_text_losses,
        default_data={"": "python_source"},
        text=True,
    ),
}


def find(name: str) -> Family:
    """The row of that name.

    Raises:
        ValueError: there is none; names the nearest one.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    near = difflib.get_close_matches(name.lower(), FAMILIES, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"MODEL must be one of {', '.join(FAMILIES)}; got {name!r}{meant}")


# --- Data ----------------------------------------------------------------------------------------


def load(spec: str, size: int | None = None) -> Data:
    """The data set that ``spec`` names, see :func:`course_lib.datasets.load`.

    Images of a folder become ``FOLDER_SIZE`` pixels high and wide if no size is given.
    """
    if size is None and spec not in datasets.BUILT_IN and Path(spec).expanduser().is_dir():
        size = FOLDER_SIZE
    return datasets.load(spec, size=size)


def data_for(family: Family, config: Any, spec: str) -> Data:
    """The data set as a model with these settings takes it.

    Raises:
        ValueError: there is no such data set, or it is of a kind that the family cannot learn.
    """
    size = getattr(config, "image_size", None)
    try:
        data = load(spec, size)
    except ValueError as error:
        if size is None or spec not in datasets.BUILT_IN:
            raise
        raise ValueError(f"{error}, or --set image_size=… to what the data are") from error
    if isinstance(data, TextData) != family.text:
        wanted = "a text" if family.text else "images or points, no text"
        raise ValueError(
            f"--data must be {wanted}, for {family.title} as the model; got {data!r}; "
            "`course data` lists what there is"
        )
    if not len(halves(data)[1]):
        raise ValueError(
            f"--data must have a held-out part, beside which the model is judged; got {data!r}; "
            "add more of the same"
        )
    if isinstance(data, ImageData):
        train, test = family.prepare(config, *halves(data))
        return replace(data, train_images=train, test_images=test)
    return data


def halves(data: Data) -> tuple[Tensor, Tensor]:
    """What is learnt from, and what is held out."""
    if isinstance(data, ImageData):
        return data.train_images, data.test_images
    if isinstance(data, PointData):
        return data.train_points, data.test_points
    return data.train_tokens, data.test_tokens


def shape_of(data: Data) -> list[int]:
    """The shape of one sample; (number of characters,) of a text."""
    if isinstance(data, TextData):
        return [len(data.vocabulary)]
    return list(halves(data)[0].shape[1:])


def arguments(data: Data) -> tuple[Any, ...]:
    """What a ``train_…`` function takes before the preset."""
    train, _ = halves(data)
    if isinstance(data, TextData):
        return data.texts(train), len(data.vocabulary)
    return (train,)


def labels_for(config: Any, data: Data, *, held_out: bool = False) -> dict[str, Tensor]:
    """The labels as an argument by name, for a model that is conditional on them; else nothing.

    Raises:
        ValueError: the data have another number of classes than the model.
    """
    classes = getattr(config, "classes", 0)
    if not classes:
        return {}
    known = len(data.classes) if isinstance(data, ImageData) else 0
    if known != classes:
        raise ValueError(
            f"--set classes=… must be {known}, the number of classes of {data.name}; got {classes}"
            if known
            else f"--set classes={classes} needs images with classes; got {data!r}"
        )
    assert isinstance(data, ImageData)
    return {"labels": data.test_labels if held_out else data.train_labels}


def describe(family: str, preset: str, config: Any, data: Data, spec: str) -> dict[str, Any]:
    """The part of a run's card that says what is trained on what."""
    card: dict[str, Any] = {
        "family": family,
        "preset": preset,
        "config": asdict(config),
        "shape": shape_of(data),
        "data": spec,
        "data_digest": tensors_digest(dict(zip(("train", "test"), halves(data), strict=True))),
    }
    if isinstance(data, TextData):
        card["vocabulary"] = "".join(data.vocabulary)
        card["separate_lines"] = data.separate_lines
    return card


# --- Models --------------------------------------------------------------------------------------


def memory(
    family: Family, config: Any, shape: Sequence[int], *, processes: int = 1, accumulate: int = 1
) -> Memory:
    """What training needs in each of so many processes, each share cut into ``accumulate`` parts.

    Raises:
        ValueError: the shape does not suit the networks.
    """
    with torch.device("meta"):
        networks = family.build(config, shape)
        share = max(1, config.batch_size // processes)
        losses = family.losses(config, networks, share, max(1, share // accumulate), shape)
        averaged = getattr(config, "average_decay", None) is not None
        return training_memory(losses, networks, networks[0] if averaged else None)


def parameters(family: Family, config: Any, shape: Sequence[int]) -> str:
    """How many parameters each network has, such as "Generator 1,486,352"."""
    with torch.device("meta"):
        networks = family.build(config, shape)
    counts = {type(net).__name__: sum(p.numel() for p in net.parameters()) for net in networks}
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def overview() -> list[dict[str, Any]]:
    """A row a preset: what it trains on what, and what that needs."""
    rows = []
    for name, family in FAMILIES.items():
        for preset, config in family.presets.items():
            spec = family.data_of(preset)
            about = datasets.BUILT_IN[spec]
            side = int(getattr(config, "image_size", about.size or 0))
            images = [about.channels or 3, side, side]
            shapes: dict[str, list[int]] = {"images": images, "points": [2], "text": [CHARACTERS]}
            rows.append(
                {
                    **{"model": name, "preset": preset, "data": spec},
                    **{"steps": config.steps, "batch": config.batch_size},
                    "memory": readable(memory(family, config, shapes[about.kind]).total),
                    "parameters": parameters(family, config, shapes[about.kind]),
                }
            )
    return rows


def config_of(card: Mapping[str, Any]) -> Any:
    """The settings that a card holds.

    Raises:
        ValueError: they are not those of the card's family, or one is out of range.
    """
    family = find(str(card.get("family")))
    kind = type(next(iter(family.presets.values())))
    known = {field.name for field in fields(kind)}
    kept = card.get("config")
    if not isinstance(kept, dict) or set(kept) != known:
        raise ValueError(f"its settings are not those of a {family.title} of this version")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()})


def load_model(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model of a run and its card, on the CPU and in evaluation mode.

    It is built from the card, so that no network of another meaning can take its weights.

    Args:
        path: a run's folder, or a model.safetensors.

    Raises:
        RunError: the folder holds no run, or one that is not finished.
        CheckpointError: the file is missing, damaged or not written by a run.
    """
    path = Path(path)
    if path.is_dir():
        card = read_run_card(path)
        if not (path / MODEL).exists():
            command = card.get("command", "the command that started it")  # without the folder
            raise RunError(
                f"the run in {path} is not finished, so it has no model yet; go on with it by: "
                f"{command} --out {shlex.quote(str(path))} --resume"
            )
        path = path / MODEL
    card = read_card(path)
    try:
        family, config = find(str(card.get("family"))), config_of(card)
        with torch.device("meta"):  # draws no random weights, for the file replaces them all
            model = family.build(config, card["shape"])[0]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no model of these families: {error}") from error
    load_checkpoint(path, model.to_empty(device="cpu"))
    return model.eval(), card
