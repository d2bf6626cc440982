"""Autoregressive models: the probability of a text, one token after the other.

p(x_1, …, x_T) = Π_t p(x_t | x_1, …, x_{t-1}) holds for every distribution, so a model of the next
token is a model of texts. What all such models share is here: what they are, how good they are
(bits per character), how they are trained and how texts are drawn from them. The models are in
``ngrams``, ``recurrent`` and ``transformer``.

A text comes as token ids in one of two forms: (n,) is one long text; (n, time) are separate texts,
a row each, padded at the end with ``PADDING``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from course_lib import checks
from course_lib.data_types import PADDING
from course_lib.history import History, Snapshots
from course_lib.training import Trainer, evaluating

Text = Integer[Tensor, " n"] | Integer[Tensor, "n time"]

# --- The model -----------------------------------------------------------------------------------


class LanguageModel(nn.Module):
    """Tokens to the logits of the token that follows each of them.

    Args:
        vocabulary_size: number of different tokens; ids run from 0 to ``vocabulary_size - 1``.
        context: the longest text, in tokens, that the model can read at once; None: any.
        sample_length: tokens in a text of :func:`sample`, and in the pieces into which
            :func:`bits_per_character` cuts a long text.

    Raises:
        ValueError: for a vocabulary of less than one token.
    """

    first_token: Tensor  # p(x_1), which no earlier token can tell: uniform until training sets it

    def __init__(self, vocabulary_size: int, context: int | None, sample_length: int) -> None:
        super().__init__()
        checks.check({"vocabulary_size": checks.whole(1)}, {"vocabulary_size": vocabulary_size})
        self.vocabulary_size, self.context = vocabulary_size, context
        self.sample_length = sample_length
        uniform = torch.full((vocabulary_size,), 1 / vocabulary_size)
        self.register_buffer("first_token", uniform)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        raise NotImplementedError

    def read(
        self, tokens: Int[Tensor, "batch time"], memory: Any = None
    ) -> tuple[Float[Tensor, "batch vocabulary"], Any]:
        """Logits after the last token, and what the model keeps of the text.

        Args:
            tokens: the whole text; or the one token that follows what is in the memory.
            memory: what the call before returned; None: there was none, or the model keeps nothing.
        """
        return self(tokens)[:, -1], None

    def observe_first(self, tokens: Text) -> None:
        """Sets p(x_1): the frequencies of the first tokens of rows, or of all in a long text."""
        # In a long text a window begins anywhere.
        counts = torch.bincount(
            (tokens[:, 0] if tokens.ndim == 2 else tokens).cpu(), minlength=self.vocabulary_size
        )
        self.first_token.copy_(counts / counts.sum())


def cross_entropy(
    model: nn.Module,
    tokens: Int[Tensor, "batch time"],
    next_tokens: Int[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Mean of -log p(next token | tokens before), in nats a token.

    ``next_tokens[:, t]`` is the token that follows ``tokens[:, t]``; where it is ``PADDING``,
    nothing is predicted. Computed in single precision at least, whatever that of the model.
    """
    logits = model(tokens.clamp(min=0))  # padding comes last, where no prediction can see it
    return functional.cross_entropy(
        _single(logits).flatten(0, 1), next_tokens.flatten(), ignore_index=PADDING
    )


def _single(logits: Tensor) -> Tensor:
    """In single precision at least."""
    return logits.float() if logits.dtype.itemsize < 4 else logits


def bits_per_character(model: LanguageModel, tokens: Text, *, batch_size: int = 64) -> float:
    """Mean of -log2 p(token | tokens before), for tokens that are characters.

    Of a row, every token but the first is predicted from all those before it. A long text is cut
    into pieces of ``model.sample_length`` tokens: every token but the very first is predicted once,
    from those before it in its piece and the last one of the piece before; a window that slides by
    one token would give a slightly smaller number.

    Raises:
        ValueError: for tokens that are not of the vocabulary, or less than two.
    """
    check_tokens(tokens, model.vocabulary_size, least=2)
    tokens = tokens.to(model.first_token.device, torch.long)
    if tokens.ndim == 2:
        texts = [(tokens[:, :-1], tokens[:, 1:])]
    else:
        length = model.sample_length
        whole = (len(tokens) - 1) // length * length
        texts = [
            (tokens[:whole].view(-1, length), tokens[1 : whole + 1].view(-1, length)),
            (tokens[whole:-1][None], tokens[whole + 1 :][None]),
        ]
    nats, predicted = 0.0, 0
    with evaluating(model):
        for text, target in texts:
            for part, goal in zip(text.split(batch_size), target.split(batch_size), strict=True):
                if number := int((goal != PADDING).sum()):
                    nats += float(cross_entropy(model, part, goal)) * number
                    predicted += number
    return nats / math.log(2) / predicted


def check_tokens(tokens: Tensor, vocabulary_size: int, *, least: int) -> None:
    """Raise ValueError unless these are ids of the vocabulary, ``least`` or more in each text."""
    rows = tokens.ndim == 2
    if tokens.ndim not in (1, 2) or tokens.is_floating_point() or tokens.shape[-1] < least:
        shape = "(n, time) with time" if rows else "(n,) with n"
        raise ValueError(
            f"tokens must be whole numbers in a tensor {shape} = {least} or more, got "
            f"{tokens.dtype} {tuple(tokens.shape)}; give a longer text, or choose a shorter context"
        )
    if not len(tokens):
        raise ValueError("tokens must hold at least one text, got none")
    kept = tokens
    if rows and tokens.dtype != torch.uint8:
        padding = tokens == PADDING
        if padding[:, :least].any() or (padding[:, :-1] & ~padding[:, 1:]).any():
            raise ValueError(
                f"tokens must have {least} tokens or more in each row, and padding ({PADDING}) "
                "only after them"
            )
        kept = tokens[~padding]
    low, high = (int(bound) for bound in kept.aminmax())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(
            f"tokens must be from 0 to {vocabulary_size - 1} (vocabulary_size = {vocabulary_size})"
            f", got ids from {low} to {high}; were they made with another vocabulary?"
        )


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Training:
    """The part of a Config that all language models share; each adds what defines its network.

    The defaults are those that nanoGPT gives for characters on a laptop's CPU
    (https://github.com/karpathy/nanoGPT, README).

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 12
    context: int = 64  # tokens of the windows that are cut from a long text
    dropout: float | int = 0.0
    learning_rate: float | int = 1e-3  # the highest; warm-up to it, then a cosine down to a tenth
    warmup_steps: int = 100
    betas: tuple[float | int, float | int] = (0.9, 0.99)
    weight_decay: float | int = 0.1  # of matrices, not of biases and normalisations
    clip: float | int = 1.0  # largest norm of the gradient

    def __post_init__(self) -> None:
        checks.check(TRAINING_RULES, vars(self))


TRAINING_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "context": checks.whole(1),
    "dropout": checks.number(0, 1),
    "learning_rate": checks.number(0),
    "warmup_steps": checks.whole(0),
    "betas": checks.pair(checks.number(0, 1)),
    "weight_decay": checks.number(0),
    "clip": checks.number(1e-6),
}


def learning_rate_factor(config: Training, step: int) -> float:
    """Learning rate of the step (0, 1, …) over its highest: warm-up, then a cosine down to 0.1."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def decay_groups(model: nn.Module, weight_decay: float | int) -> list[dict[str, Any]]:
    """Parameters for AdamW: matrices decay, biases and the scales of normalisations do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, config: Training) -> tuple[torch.optim.AdamW, LambdaLR]:
    """AdamW (Loshchilov & Hutter, 1711.05101) and the schedule, stepped after each of its steps."""
    adam = torch.optim.AdamW(
        decay_groups(model, config.weight_decay),
        config.learning_rate,
        betas=(float(config.betas[0]), float(config.betas[1])),
        fused=True,
    )
    return adam, LambdaLR(adam, lambda step: learning_rate_factor(config, step))


@dataclass
class TrainedLanguageModel:
    """What the ``train_…`` functions return, all on the CPU and the model in evaluation mode."""

    config: Any
    model: Any  # the LanguageModel
    history: History  # cross_entropy, in nats a token
    snapshots: Int[Tensor, "frames n length"]  # tokens, drawn with the same noise at each snapshot
    snapshot_steps: list[int]


def fit(
    model: LanguageModel,
    tokens: Text,
    config: Training,
    trainer: Trainer,
    *,
    snapshots: int,
    snapshot_size: int,
) -> TrainedLanguageModel:
    """Train a language model to predict the next token, with :func:`adamw`.

    Args:
        tokens: the training texts as ids. An example is a row; or ``context`` tokens cut from
            anywhere in a long text, which is longer than that. A step's loss is the mean over the
            tokens of its batch; where rows of unequal length are shared by processes or
            accumulated in parts, it is the mean of the parts' means.
        snapshots: how many sets of samples to keep, evenly spaced from step 0 to the last;
            fewer if there are fewer steps.
        snapshot_size: texts in a snapshot.

    Raises:
        ValueError: for tokens that do not fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    rows = tokens.ndim == 2
    check_tokens(tokens, model.vocabulary_size, least=2 if rows else config.context + 1)
    model.observe_first(tokens)
    trainer.prepare(model)
    adam, schedule = adamw(model, config)
    trainer.prepare(adam, schedule)
    text = tokens.to(trainer.device, torch.long)
    window = torch.arange(config.context + 1, device=trainer.device)

    def loss(inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": cross_entropy(model, inputs, targets)}

    def step(examples: Tensor) -> dict[str, Tensor]:
        cut = examples if rows else text[examples[:, None] + window]
        metrics = trainer.minimise(loss, adam, cut[:, :-1], cut[:, 1:], clip=config.clip)
        schedule.step()
        return metrics

    film = Snapshots(
        lambda n: sample(model, n, seed=trainer.seed),
        number=snapshots,
        size=snapshot_size,
        steps=config.steps,
    )
    examples = text if rows else torch.arange(len(tokens) - config.context)
    history = trainer.fit(
        step, examples, batch_size=config.batch_size, steps=config.steps, snapshots=film
    )
    return TrainedLanguageModel(
        config=config,
        model=trainer.finish(model),
        history=history,
        snapshots=film.samples,
        snapshot_steps=film.steps,
    )


# --- Generating ----------------------------------------------------------------------------------


def next_token_probabilities(
    logits: Float[Tensor, "*batch vocabulary"],
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
) -> Float[Tensor, "*batch vocabulary"]:
    """The distribution from which the next token is drawn, in single precision at least.

    Args:
        logits: of any size; -inf for a token that cannot come.
        temperature: divides the logits: 1 leaves the model's probabilities, less makes likely
            tokens likelier, and 0 takes the likeliest one.
        top_k: only the k likeliest tokens remain; None: all.
        top_p: then only the fewest likeliest tokens that together have this share of what remains
            (Holtzman et al. 2020, arXiv 1904.09751), one at least; None: all.

    Raises:
        ValueError: for an argument out of range, or logits without a finite largest one.
    """
    checks.check(
        {
            "temperature": checks.number(0),
            "top_k": checks.optional(checks.whole(1)),
            "top_p": checks.optional(checks.share()),
        },
        {"temperature": temperature, "top_k": top_k, "top_p": top_p},
    )
    logits = _single(logits)
    most = logits.amax(dim=-1, keepdim=True)
    if not most.isfinite().all():  # NaN would be drawn as if it were the likeliest
        raise ValueError(
            "logits must have a finite largest one in each row, got NaN or infinity; has the model "
            "diverged?"
        )
    if temperature == 0:
        likeliest = logits.argmax(dim=-1)
        return functional.one_hot(likeliest, logits.shape[-1]).to(logits.dtype)
    # From the largest logit down, so that a small temperature cannot overflow.
    p = ((logits - most) / temperature).softmax(dim=-1)
    if top_p == 1:
        top_p = None  # for rounding would leave out the least likely tokens
    if top_k is None and top_p is None:
        return p
    ordered, places = p.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered[..., top_k:] = 0
    if top_p is not None:
        ordered = ordered / ordered.sum(dim=-1, keepdim=True)
        likelier = ordered.cumsum(dim=-1) - ordered  # the share of all tokens before this one
        ordered = ordered.where((likelier < top_p) | (likelier == 0), 0.0)
    kept = torch.zeros_like(p).scatter(-1, places, ordered)
    return kept / kept.sum(dim=-1, keepdim=True)


def generate(
    model: LanguageModel,
    prompt: Integer[Tensor, "n time"],
    n_tokens: int,
    *,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    seed: int = 0,
) -> Int[Tensor, "n length"]:
    """Continue each prompt by ``n_tokens`` tokens; returns prompt and continuation, on the CPU.

    While the text fits into the context, a model with a memory reads one new token in each step.
    After that the window slides, and each step reads the whole window of ``context`` tokens again:
    the first token has left what all others have seen, and they have moved to other positions,
    which changes what was kept.

    Args:
        prompt: ids, at least one a text; the model sees the last ``context`` of them.
        temperature, top_k, top_p: see :func:`next_token_probabilities`.
        seed: of the draws, which torch's own random state does not touch.

    Raises:
        ValueError: for an argument out of range.
    """
    checks.check({"n_tokens": checks.whole(0)}, {"n_tokens": n_tokens})
    if prompt.ndim != 2 or prompt.numel() == 0:
        raise ValueError(
            f"prompt must be (n, time) with at least one token a text, got {tuple(prompt.shape)}; "
            "for one text use prompt[None]"
        )
    check_tokens(prompt.flatten(), model.vocabulary_size, least=1)
    stream = torch.Generator().manual_seed(seed)
    time, memory, device = prompt.shape[1], None, model.first_token.device
    text = torch.empty(len(prompt), time + n_tokens, dtype=torch.long)
    text[:, :time] = prompt
    with evaluating(model), torch.inference_mode():
        for end in range(time, time + n_tokens):
            start = end - 1
            if memory is None or (model.context is not None and end > model.context):
                memory, start = None, max(0, end - (model.context or end))
            logits, memory = model.read(text[:, start:end].to(device), memory)
            p = next_token_probabilities(logits.float().cpu(), temperature, top_k, top_p)
            text[:, end : end + 1] = torch.multinomial(p, 1, generator=stream)
    return text


def sample(model: LanguageModel, n: int, *, seed: int = 0) -> Int[Tensor, "n length"]:
    """``n`` texts of ``sample_length`` tokens from the model itself, as ids on the CPU.

    The first token is drawn by its frequency in the training texts, because the model predicts none
    without one before it. For a model of a long text they are like pieces cut from anywhere in it.

    Raises:
        ValueError: for less than one text.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    # Not the noise of generate, or the first two tokens would be drawn with the same.
    stream = torch.Generator().manual_seed(~seed)
    first = torch.multinomial(model.first_token.cpu().expand(n, -1), 1, generator=stream)
    return generate(model, first, model.sample_length - 1, seed=seed)
