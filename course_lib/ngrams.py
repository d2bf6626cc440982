"""Language models that see only the last few tokens: by counting, and by a perceptron.

Both predict the next token from the ``order - 1`` tokens before it. What lies before the beginning
of a text is one more symbol, which is never predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from course_lib import checks, presets
from course_lib.autoregressive import (
    LanguageModel,
    Text,
    TrainedLanguageModel,
    Training,
    check_tokens,
    fit,
)
from course_lib.data_types import PADDING
from course_lib.training import Trainer, trainer_for

LONGEST_PIECE = 512  # tokens of a sample, where the training texts are one long text


class ShortMemory(LanguageModel):
    """A model that sees the last ``order - 1`` tokens."""

    order: int

    def read(
        self, tokens: Int[Tensor, "batch time"], memory: None = None
    ) -> tuple[Float[Tensor, "batch vocabulary"], None]:
        """Logits after the last token, from no more tokens than matter; see the base class."""
        return self(tokens[:, -max(1, self.order - 1) :])[:, -1], None


# --- Counting ------------------------------------------------------------------------------------


class NGram(ShortMemory):
    """Frequencies of what followed each context, smoothed towards those of the shorter context.

    With n(h c) the times that the token c followed the context h, and h' the context h without
    its oldest token,

        p(c | h) = (n(h c) + strength · p(c | h')) / (n(h) + strength),

    down to the empty context, which is smoothed towards 1 / vocabulary_size. This is the prediction
    of a Dirichlet prior that is centred on p(. | h') and worth ``strength`` observations. MacKay &
    Peto 1995 (https://doi.org/10.1017/S1351324900000218) treat the centre as unknown, too, and
    arrive at another one than these frequencies.

    Args:
        tokens: the training texts as ids.
        vocabulary_size: number of different tokens.
        order: tokens in a gram, the predicted one included; 1 knows no context.
        strength: tokens that the shorter context's prediction counts for; more than 0.

    Raises:
        ValueError: for tokens that do not fit, or a number out of range.
    """

    def __init__(
        self,
        tokens: Text,
        vocabulary_size: int,
        *,
        order: int = 5,
        strength: float | int = 20.0,
    ) -> None:
        check_tokens(tokens, vocabulary_size, least=2)
        length = tokens.shape[1] if tokens.ndim == 2 else min(len(tokens), LONGEST_PIECE)
        super().__init__(vocabulary_size, None, length)
        checks.check(
            {"order": checks.whole(1), "strength": checks.number(1e-9)},
            {"order": order, "strength": strength},
        )
        self._base = vocabulary_size + 1
        if (order - 1) * math.log2(self._base) >= 63:
            raise ValueError(
                f"order must be smaller for {vocabulary_size} different tokens, for a context is "
                f"coded as one number of 63 bits; got {order}"
            )
        self.order, self.strength = order, strength
        self.observe_first(tokens)
        rows = (tokens if tokens.ndim == 2 else tokens[None]).long()
        before, following = rows[:, :-1].clamp(min=0), rows[:, 1:]
        predicted = following != PADDING
        for size in range(order):  # of the context
            codes = self._codes(before, size)[predicted]
            contexts, which = codes.unique(return_inverse=True)
            cells = which * vocabulary_size + following[predicted]
            counts = cells.bincount(minlength=len(contexts) * vocabulary_size)
            self.register_buffer(f"contexts_{size}", contexts)
            self.register_buffer(f"counts_{size}", counts.view(-1, vocabulary_size).float())

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Logarithms of the probabilities; they are logits too."""
        # In double precision: a weak smoothing, level by level, leaves less than a float can hold.
        p = torch.full(
            (1, 1, self.vocabulary_size),
            1 / self.vocabulary_size,
            dtype=torch.float64,
            device=tokens.device,
        )
        for size in range(self.order):
            contexts = self.get_buffer(f"contexts_{size}")
            counts = self.get_buffer(f"counts_{size}")
            codes = self._codes(tokens, size)
            place = torch.searchsorted(contexts, codes).clamp(max=len(contexts) - 1)
            found = (contexts[place] == codes)[..., None] * counts[place]
            p = (found + self.strength * p) / (found.sum(-1, keepdim=True) + self.strength)
        return p.log().float()

    def _codes(self, tokens: Tensor, size: int) -> Int[Tensor, "batch time"]:
        """The last ``size`` tokens up to each token as one number, digits to the base V + 1."""
        tokens = tokens.long()  # smaller ids would overflow, and say nothing
        codes = torch.zeros_like(tokens)
        for back in range(size):
            shifted = functional.pad(tokens, (back, 0), value=self.vocabulary_size)
            codes = codes + shifted[:, : tokens.shape[1]] * self._base**back
        return codes


# --- A perceptron --------------------------------------------------------------------------------


class MLPLanguageModel(ShortMemory):
    """Learnt vectors of the last tokens, side by side, through one hidden layer.

    After Bengio et al. 2003 (https://www.jmlr.org/papers/v3/bengio03a.html), without the direct
    connections from the vectors to the output.

    Args:
        vocabulary_size: number of different tokens.
        order: tokens in a gram, the predicted one included; 2 or more.
        width: of the vector of a token.
        hidden: units of the hidden layer.
        dropout: probability of dropping a hidden unit in training.
        sample_length: see :class:`~course_lib.autoregressive.LanguageModel`.

    Raises:
        ValueError: for an order of less than 2, which would see no token.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        order: int = 8,
        width: int = 32,
        hidden: int = 256,
        dropout: float | int = 0.0,
        sample_length: int = 64,
    ) -> None:
        super().__init__(vocabulary_size, None, sample_length)
        checks.check({"order": checks.whole(2)}, {"order": order})
        self.order = order
        self.tokens = nn.Embedding(vocabulary_size + 1, width)  # and one for what lies before
        self.hidden = nn.Linear((order - 1) * width, hidden)
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary_size)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        size = self.order - 1
        padded = functional.pad(tokens, (size - 1, 0), value=self.vocabulary_size)
        windows = self.tokens(padded).unfold(1, size, 1).mT  # (batch, time, size, width)
        seen = windows.flatten(2)
        return self.output(self.drop(torch.tanh(self.hidden(seen))))


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    batch_size: int = 128
    learning_rate: float | int = 3e-3
    order: int = 8
    width: int = 32
    hidden: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))


_RULES = {"order": checks.whole(2), "width": checks.whole(1), "hidden": checks.whole(1)}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=8, context=8, warmup_steps=2, order=4, width=8, hidden=16),
    # names in a notebook
    "quick": Config(steps=1000, learning_rate=1e-2),
    # on a GPU: more tokens and hidden units than Bengio et al. 2003 had, for characters
    "full": Config(steps=200_000, order=16, width=60, hidden=1024, learning_rate=1e-3),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, vocabulary_size: int) -> MLPLanguageModel:
    """The untrained model for that many different tokens."""
    return MLPLanguageModel(
        vocabulary_size,
        order=config.order,
        width=config.width,
        hidden=config.hidden,
        dropout=config.dropout,
        sample_length=config.context,
    )


def train_mlp(
    tokens: Text,
    vocabulary_size: int,
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedLanguageModel:
    """Train the perceptron to predict the next token.

    Args:
        tokens: the training texts as ids, see :func:`~course_lib.autoregressive.fit`.
        vocabulary_size: number of different tokens.
        preset: a name in ``PRESETS``.
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots, snapshot_size: sets of samples to keep, and texts in each.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``order=4``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or tokens that do not
            fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    trainer = trainer_for(seed, trainer)
    model = build(config, vocabulary_size)
    return fit(model, tokens, config, trainer, snapshots=snapshots, snapshot_size=snapshot_size)
