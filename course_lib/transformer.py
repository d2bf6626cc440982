"""A decoder-only Transformer language model (Vaswani et al. 2017, arXiv 1706.03762).

The architecture is GPT-2's (Radford et al. 2019): learnt positions, layer normalisation before each
part, GELU, and one table of tokens for input and output. Positions can be rotary instead. GELU is
exact here; GPT-2 computed it by a formula with tanh, which differs by less than 0.0005 and takes
three times as long on a CPU. With it, the logits are those of other programs' GPT-2 (a test).

The loss, bits per character, training and sampling are those of all language models, in
``autoregressive``; attention with its cache is in ``attention``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from course_lib import checks, presets
from course_lib.attention import Cache, MultiHeadAttention, check_heads
from course_lib.autoregressive import (
    LanguageModel,
    Text,
    TrainedLanguageModel,
    Training,
    check_tokens,
    fit,
)
from course_lib.training import Trainer, evaluating, trainer_for

# --- The model -----------------------------------------------------------------------------------

POSITIONS = ("learnt", "rotary")


class Block(nn.Module):
    """Attention, then a perceptron of four times the width, each added to what comes in."""

    def __init__(self, width: int, heads: int, dropout: float | int, *, rotary: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout, rotary=rotary)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch time width"], cache: Cache | None = None
    ) -> Float[Tensor, "batch time width"]:
        x = x + self.drop(self.attention(self.attention_norm(x), causal=True, cache=cache))
        return x + self.drop(self.perceptron(self.perceptron_norm(x)))


class TransformerLanguageModel(LanguageModel):
    """Tokens to the logits of the token that follows each of them.

    The table of tokens serves twice, as input embedding and as output layer (Press & Wolf 2017,
    arXiv 1608.05859), so it is counted and saved once.

    Args:
        vocabulary_size: number of different tokens; ids run from 0 to ``vocabulary_size - 1``.
        context: the longest text, in tokens, that the model can read at once.
        layers, heads, width: number of blocks, of attention heads in each, and features a token;
            ``heads`` must divide ``width``.
        positions: "learnt", a vector for each place, or "rotary", see
            :func:`~course_lib.attention.rotate`.
        dropout: probability of dropping a feature in training.

    Raises:
        ValueError: if ``heads`` does not divide ``width``, or for unknown positions.
    """

    context: int

    def __init__(
        self,
        vocabulary_size: int,
        *,
        context: int = 64,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        positions: str = "learnt",
        dropout: float | int = 0.0,
    ) -> None:
        super().__init__(vocabulary_size, context, sample_length=context)
        self.heads = heads
        checks.check({"positions": checks.one_of(POSITIONS)}, {"positions": positions})
        rotary = positions == "rotary"
        self.tokens = nn.Embedding(vocabulary_size, width)
        self.positions = None if rotary else nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, dropout, rotary=rotary) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        # GPT-2's start: small weights, so that all tokens are about equally likely, and smaller
        # ones where a block writes, because 2 * layers such terms add up.
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("attention.output.weight", "perceptron.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if writes else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def features(
        self, tokens: Int[Tensor, "batch time"], cache: Cache | None = None
    ) -> Float[Tensor, "batch time width"]:
        """What the model knows at each token, before the output layer.

        Args:
            tokens: ids; no more than ``context`` with those in the cache.
            cache: keys and values of the tokens before, to which these are added. Once it holds
                something, ``tokens`` is the one next token of each text.

        Raises:
            ValueError: for more tokens than ``context``, or several after a filled cache.
        """
        x = self.embed(tokens, 0 if cache is None else cache.length)
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.norm(x)

    def embed(
        self, tokens: Int[Tensor, "batch time"], start: int = 0
    ) -> Float[Tensor, "batch time width"]:
        """What enters the first block, where ``start`` tokens of each text were read before.

        Raises:
            ValueError: for more tokens than ``context``.
        """
        time = tokens.shape[1]
        if start + time > self.context:
            raise ValueError(
                f"tokens must be at most context = {self.context} in all; got {time} after {start}."
                " Begin a new cache with the last tokens of the text"
            )
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[start : start + time]
        return self.drop(x)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        return self.output(self.features(tokens))

    def output(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of the next token."""
        return functional.linear(features, self.tokens.weight)

    def read(
        self, tokens: Int[Tensor, "batch time"], memory: Cache | None = None
    ) -> tuple[Float[Tensor, "batch vocabulary"], Cache]:
        """Logits after the last token, and the cache; see the base class."""
        cache = Cache(self.context) if memory is None else memory
        return self.output(self.features(tokens, cache)[:, -1]), cache


def attention_maps(
    model: TransformerLanguageModel, tokens: Int[Tensor, "batch time"]
) -> Float[Tensor, "layers batch heads time time"]:
    """Where each head of each block looks: row t are the weights of token t on tokens 0, …, t.

    Raises:
        ValueError: for tokens that are not of the vocabulary, or more than the context.
    """
    if tokens.ndim != 2:
        raise ValueError(
            f"tokens must be (batch, time), got {tuple(tokens.shape)}; of one text, tokens[None]"
        )
    check_tokens(tokens.flatten(), model.vocabulary_size, least=1)
    tokens = tokens.to(model.first_token.device, torch.long)
    maps = []
    block: Any  # a Block, which the list does not tell
    with evaluating(model):
        x = model.embed(tokens)
        for block in model.blocks:
            maps.append(block.attention.weights(block.attention_norm(x), causal=True))
            x = block(x)
    return torch.stack(maps)


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    layers: int = 4
    heads: int = 4
    width: int = 128
    positions: str = "learnt"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))
        check_heads(self.width, self.heads, rotary=self.positions == "rotary")


_RULES = {
    "layers": checks.whole(1),
    "heads": checks.whole(1),
    "width": checks.whole(1),
    "positions": checks.one_of(POSITIONS),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=8, layers=2, heads=2, width=16, context=8, warmup_steps=2),
    # characters in a notebook. After the computing time of 750 steps with the defaults, held-out
    # Python cost 2.15 and 2.18 bits a character in 1370 of these (two seeds); 2.72 and 2.73
    # with the defaults; and with their 4 layers, 4e-3 gave 2.51, 4e-3 and rotary positions 2.38
    "quick": Config(steps=2000, layers=2, learning_rate=6e-3, positions="rotary"),
    # on GPUs: GPT-2 small (Radford et al. 2019, table 2) as nanoGPT trains it, half a million
    # tokens a step; learning rate and batch as in Brown et al. 2020 (arXiv 2005.14165, table 2.1)
    "full": Config(
        steps=600_000,
        batch_size=480,
        layers=12,
        heads=12,
        width=768,
        context=1024,
        learning_rate=6e-4,
        warmup_steps=2000,
        betas=(0.9, 0.95),
    ),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, vocabulary_size: int) -> TransformerLanguageModel:
    """The untrained model for that many different tokens."""
    return TransformerLanguageModel(
        vocabulary_size,
        context=config.context,
        layers=config.layers,
        heads=config.heads,
        width=config.width,
        positions=config.positions,
        dropout=config.dropout,
    )


def train_transformer(
    tokens: Text,
    vocabulary_size: int,
    preset: str = "quick",
    *,
    start: TransformerLanguageModel | None = None,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedLanguageModel:
    """Train a Transformer to predict the next token, from random weights or from learnt ones.

    Args:
        tokens: the training texts as ids, see :func:`~course_lib.autoregressive.fit`; rows have at
            most ``context + 1`` tokens.
        vocabulary_size: number of different tokens.
        preset: a name in ``PRESETS``.
        start: a trained model of the same shape and vocabulary, to be fine-tuned; it is not
            changed. None: random weights.
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots, snapshot_size: sets of samples to keep, and texts in each.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``layers=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, tokens that do not fit,
            or a ``start`` of another shape.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    trainer = trainer_for(seed, trainer)
    model = build(config, vocabulary_size)
    if start is not None:
        try:
            if start.heads != model.heads:  # no weight's shape tells it
                raise RuntimeError(f"it has {start.heads} heads, not {model.heads}")
            model.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise ValueError(
                "start must have the layers, heads, width, positions, context and vocabulary of "
                f"the model that is trained; {error}"
            ) from error
    return fit(model, tokens, config, trainer, snapshots=snapshots, snapshot_size=snapshot_size)
