"""An encoder-decoder Transformer: one text written as another (Vaswani et al. 2017, 1706.03762).

The encoder reads the whole source; the decoder writes the target, one token after the other, and
looks at the source through cross-attention: queries from what is written, keys and values from what
was read. Its weights say which part of the source each token of the target was taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from course_lib import checks, presets
from course_lib.attention import (
    MultiHeadAttention,
    check_heads,
    padding_mask,
    sinusoidal_positions,
)
from course_lib.autoregressive import Training, adamw, check_tokens
from course_lib.data_types import PADDING
from course_lib.history import History
from course_lib.training import Trainer, evaluating, trainer_for

# --- The model -----------------------------------------------------------------------------------


class Layer(nn.Module):
    """Self-attention, cross-attention if there is a source, a perceptron; each added to the rest.

    The cross-attention has a single head, so that there is one alignment and not several.
    """

    def __init__(self, width: int, heads: int, dropout: float | int, *, decodes: bool) -> None:
        super().__init__()
        self.decodes = decodes
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        if decodes:
            self.cross_norm = nn.LayerNorm(width)
            self.cross_attention = MultiHeadAttention(width, 1, dropout=dropout)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def attend(self, x: Tensor, mask: Tensor | None = None) -> Float[Tensor, "batch time width"]:
        """The first part: each token looks at the tokens of its own text."""
        return x + self.drop(self.attention(self.norm(x), mask=mask, causal=self.decodes))

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        source: Float[Tensor, "batch places width"] | None,
        source_mask: Tensor,
    ) -> Float[Tensor, "batch time width"]:
        x = self.attend(x, None if self.decodes else source_mask)
        if self.decodes:
            found = self.cross_attention(self.cross_norm(x), source, mask=source_mask)
            x = x + self.drop(found)
        return x + self.drop(self.perceptron(self.perceptron_norm(x)))


class EncoderDecoder(nn.Module):
    """Source and the beginning of a target to the logits of the target's next tokens.

    Args:
        source_vocabulary_size, target_vocabulary_size: numbers of different tokens.
        layers, heads, width: layers of the encoder and of the decoder, heads of self-attention,
            features a token; ``heads`` must divide ``width``, which must be even.
        dropout: probability of dropping a feature in training.

    Raises:
        ValueError: if ``heads`` does not divide ``width``; at the first use, if that is odd.
    """

    def __init__(
        self,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        *,
        layers: int = 1,
        heads: int = 2,
        width: int = 64,
        dropout: float | int = 0.0,
    ) -> None:
        super().__init__()
        self.vocabulary_sizes = source_vocabulary_size, target_vocabulary_size
        self.source_tokens = nn.Embedding(source_vocabulary_size, width)
        self.target_tokens = nn.Embedding(target_vocabulary_size, width)
        self.encoder = nn.ModuleList(
            Layer(width, heads, dropout, decodes=False) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            Layer(width, heads, dropout, decodes=True) for _ in range(layers)
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.output = nn.Linear(width, target_vocabulary_size)

    def encode(
        self, source: Int[Tensor, "batch places"]
    ) -> tuple[Float[Tensor, "batch places width"], Tensor]:
        """What was read, and the mask of its tokens; ``source`` is padded with ``PADDING``."""
        mask = padding_mask(source)
        x = _embed(self.source_tokens, source)
        for layer in self.encoder:
            x = layer(x, None, mask)
        return self.encoder_norm(x), mask

    def forward(
        self, source: Int[Tensor, "batch places"], target: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time vocabulary"]:
        """Logits of the token after each of ``target``, both padded at the end with ``PADDING``."""
        read, mask = self.encode(source)
        x = _embed(self.target_tokens, target)
        for layer in self.decoder:
            x = layer(x, read, mask)
        return self.output(self.decoder_norm(x))

    def alignment(
        self, source: Int[Tensor, "batch places"], target: Int[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time places"]:
        """Where the last decoder layer looks in the source to tell the token after each of target.

        Rows of numbers from 0 to 1 with the sum 1; padding of the source gets 0.

        Raises:
            ValueError: for tokens that are not of the vocabularies, or no pairs.
        """
        source, target = _checked(self, 1, source=source, target=target)
        with evaluating(self):
            read, mask = self.encode(source)
            x = _embed(self.target_tokens, target)
            for layer in self.decoder[:-1]:
                x = layer(x, read, mask)
            last: Any = self.decoder[-1]
            asks = last.cross_norm(last.attend(x))
            return last.cross_attention.weights(asks, read, mask=mask)[:, 0]


def _embed(table: nn.Embedding, tokens: Tensor) -> Float[Tensor, "batch time width"]:
    places = sinusoidal_positions(tokens.shape[1], table.embedding_dim).to(table.weight)
    return table(tokens.clamp(min=0)) + places


def _checked(model: EncoderDecoder, least: int, **texts: Tensor) -> list[Tensor]:
    """A source and a target, by their names, as the model takes them.

    Raises:
        ValueError: unless they are as many rows of tokens of the model's vocabularies, ``least`` or
            more in each target.
    """
    for (name, tokens), size, shortest in zip(
        texts.items(), model.vocabulary_sizes, (1, least), strict=True
    ):
        if tokens.ndim != 2:
            raise ValueError(
                f"{name} must be (n, time), a row a text, got {tuple(tokens.shape)}; of one text, "
                f"{name}[None]"
            )
        check_tokens(tokens, size, least=shortest)
    counts = {name: len(tokens) for name, tokens in texts.items()}
    if len(set(counts.values())) > 1:  # or torch would take a single row for all of the other
        raise ValueError(f"{' and '.join(counts)} must be pairs, got {counts}, a row a text")
    return [tokens.to(model.output.weight.device, torch.long) for tokens in texts.values()]


def translate(
    model: EncoderDecoder, source: Int[Tensor, "batch places"], first: int, length: int
) -> Int[Tensor, "batch length"]:
    """Writes a target for each source, always with the likeliest next token; on the CPU.

    Args:
        source: padded at the end with ``PADDING``.
        first: the token that every target begins with.
        length: tokens of a target, with the first.

    Raises:
        ValueError: for less than one token, or tokens that are not of the vocabularies.
    """
    checks.check({"length": checks.whole(1)}, {"length": length})
    target = torch.full((len(source), 1), first)
    source, target = _checked(model, 1, source=source, first=target)
    with evaluating(model):
        for _ in range(length - 1):
            likeliest = model(source, target)[:, -1].argmax(dim=1, keepdim=True)
            target = torch.cat([target, likeliest], dim=1)
    return target.cpu()


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    batch_size: int = 32
    learning_rate: float | int = 6e-3
    warmup_steps: int = 50
    layers: int = 1
    heads: int = 2
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))
        check_heads(self.width, self.heads, rotary=False)


_RULES: dict[str, checks.Rule] = {
    "layers": checks.whole(1),
    "heads": checks.whole(1),
    "width": (
        lambda value: isinstance(value, int) and value > 0 and value % 2 == 0,
        "an even whole number (int), 2 or more, for the positions are sines and cosines",
    ),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=8, warmup_steps=2, width=16),
    # dates in a notebook
    "quick": Config(steps=700),
    # on a GPU: sizes and dropout of the base model (Vaswani et al. 2017, table 3), its betas, and
    # the highest learning rate of its schedule
    "full": Config(
        steps=100_000,
        batch_size=256,
        layers=6,
        heads=8,
        width=512,
        dropout=0.1,
        learning_rate=7e-4,
        warmup_steps=4000,
        betas=(0.9, 0.98),
    ),
}


@dataclass
class TrainedEncoderDecoder:
    """What :func:`train_encoder_decoder` returns, on the CPU and in evaluation mode."""

    config: Config
    model: EncoderDecoder
    history: History  # cross_entropy, in nats a token


def train_encoder_decoder(
    sources: Int[Tensor, "n places"],
    targets: Int[Tensor, "n time"],
    vocabulary_sizes: tuple[int, int],
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    **changes: object,
) -> TrainedEncoderDecoder:
    """Train on pairs: each token of the target from the source and the target's earlier tokens.

    Args:
        sources, targets: ids, a pair a row, padded at the end with ``PADDING``; the first token of
            a target is given and never predicted.
        vocabulary_sizes: numbers of different tokens in sources and in targets.
        preset: a name in ``PRESETS``.
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``layers=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or tokens that do not
            fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = presets.configure(PRESETS, preset, changes)
    trainer = trainer_for(seed, trainer)
    model = EncoderDecoder(
        *vocabulary_sizes,
        layers=config.layers,
        heads=config.heads,
        width=config.width,
        dropout=config.dropout,
    )
    sources, targets = _checked(model, 2, sources=sources, targets=targets)
    trainer.prepare(model)
    adam, schedule = adamw(model, config)
    trainer.prepare(adam, schedule)

    def loss(source: Tensor, target: Tensor) -> dict[str, Tensor]:
        logits = model(source, target[:, :-1]).float()
        next_tokens = target[:, 1:].flatten()
        nats = functional.cross_entropy(logits.flatten(0, 1), next_tokens, ignore_index=PADDING)
        return {"cross_entropy": nats}

    def step(source: Tensor, target: Tensor) -> dict[str, Tensor]:
        metrics = trainer.minimise(loss, adam, source, target, clip=config.clip)
        schedule.step()
        return metrics

    history = trainer.fit(step, sources, targets, batch_size=config.batch_size, steps=config.steps)
    return TrainedEncoderDecoder(config=config, model=trainer.finish(model), history=history)
