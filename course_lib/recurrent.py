"""A recurrent language model: the whole past in one state (Hochreiter & Schmidhuber 1997).

https://doi.org/10.1162/neco.1997.9.8.1735
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from course_lib import checks, presets
from course_lib.autoregressive import (
    LanguageModel,
    Text,
    TrainedLanguageModel,
    Training,
    fit,
)
from course_lib.training import Trainer, trainer_for

# What generation keeps: output and cell of each layer after the last token, (layers, batch, width).
State = tuple[Tensor, Tensor]


class LSTMLanguageModel(LanguageModel):
    """Learnt vectors of the tokens, through an LSTM from the first token to the last.

    Args:
        vocabulary_size: number of different tokens.
        layers: LSTM layers, one on top of the other.
        width: of a token's vector and of the state.
        dropout: probability of dropping a feature in training, before, between and after layers.
        sample_length: see :class:`~course_lib.autoregressive.LanguageModel`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        layers: int = 1,
        width: int = 128,
        dropout: float | int = 0.0,
        sample_length: int = 64,
    ) -> None:
        super().__init__(vocabulary_size, None, sample_length)
        self.tokens = nn.Embedding(vocabulary_size, width)
        # Without batch_first it would take the examples for the steps of time, and no shape would
        # tell; a test does.
        self.lstm = nn.LSTM(
            width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(width, vocabulary_size)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        states, _ = self.lstm(self.drop(self.tokens(tokens)))
        return self.output(self.drop(states))

    def read(
        self, tokens: Int[Tensor, "batch time"], memory: State | None = None
    ) -> tuple[Float[Tensor, "batch vocabulary"], State]:
        """Logits after the last token, and the state; see the base class."""
        states, memory = self.lstm(self.tokens(tokens), memory)
        return self.output(states[:, -1]), memory


@dataclass(frozen=True, kw_only=True)
class Config(Training):
    """Everything that defines a run except data, seed, device and precision.

    Raises:
        ValueError: names the setting that is out of range.
    """

    batch_size: int = 64
    learning_rate: float | int = 4e-3
    layers: int = 1
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.check(_RULES, vars(self))


_RULES = {"layers": checks.whole(1), "width": checks.whole(1)}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=8, context=8, warmup_steps=2, width=16),
    # names in a notebook
    "quick": Config(steps=800, learning_rate=1.5e-2, warmup_steps=50),
    # on a GPU: the size that Karpathy, Johnson & Fei-Fei 2015 (arXiv 1506.02078) found best for
    # characters, with their dropout
    "full": Config(
        steps=50_000,
        batch_size=100,
        context=100,
        layers=3,
        width=512,
        dropout=0.5,
        learning_rate=2e-3,
    ),
}


def configure(preset: str, **changes: object) -> Config:
    """The preset's :class:`Config` with some fields changed; a ValueError names what is wrong."""
    return presets.configure(PRESETS, preset, changes)


def build(config: Config, vocabulary_size: int) -> LSTMLanguageModel:
    """The untrained model for that many different tokens."""
    return LSTMLanguageModel(
        vocabulary_size,
        layers=config.layers,
        width=config.width,
        dropout=config.dropout,
        sample_length=config.context,
    )


def train_lstm(
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
    """Train the LSTM to predict the next token; each example starts from the state zero.

    Args:
        tokens: the training texts as ids, see :func:`~course_lib.autoregressive.fit`.
        vocabulary_size: number of different tokens.
        preset: a name in ``PRESETS``.
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots, snapshot_size: sets of samples to keep, and texts in each.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``layers=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or tokens that do not
            fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    trainer = trainer_for(seed, trainer)
    model = build(config, vocabulary_size)
    return fit(model, tokens, config, trainer, snapshots=snapshots, snapshot_size=snapshot_size)
