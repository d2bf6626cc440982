"""A decoder-only Transformer language model (Vaswani et al. 2017, arXiv 1706.03762).

It gives the probability of the next token after each token of a text, and so that of the text:
p(x) = Π_t p(x_t | x_1, …, x_{t-1}). The architecture is GPT-2's (Radford et al. 2019): learned
positions, layer normalisation before each part, GELU, and one table of tokens for input and output.

Attention is torch's fused ``scaled_dot_product_attention``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn
from torch.nn import functional

from course_lib import checks, presets
from course_lib.history import History, Snapshots
from course_lib.training import Trainer, evaluating, trainer_for

# --- The model -----------------------------------------------------------------------------------

# What generation keeps: for each attention layer the keys and values of all tokens so far,
# (2, batch, heads, time, width of a head).
Cache = dict[nn.Module, Tensor]


class SelfAttention(nn.Module):
    """Every token looks at itself and at the tokens before it, with several heads."""

    def __init__(self, width: int, heads: int, dropout: float | int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.queries_keys_values = nn.Linear(width, 3 * width)  # one product instead of three
        self.output = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch time width"], cache: Cache | None = None
    ) -> Float[Tensor, "batch time width"]:
        batch, time, width = x.shape
        parts = self.queries_keys_values(x).view(batch, time, 3, self.heads, width // self.heads)
        if x.device.type == "cpu" and parts.dtype.itemsize < 4:
            parts = parts.float()  # the kernel's backward pass in bf16 takes ten times as long
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, time, head)
        if cache is not None:
            past = torch.stack([key, value])
            cache[self] = past if self not in cache else torch.cat([cache[self], past], dim=3)
            key, value = cache[self]
        with torch.autocast("cpu", enabled=False):  # or it would go back to bf16
            mixed = functional.scaled_dot_product_attention(
                *(query, key, value),
                dropout_p=self.dropout if self.training else 0.0,
                is_causal=time > 1,  # a single token comes last, and may look at all before it
            )
        return self.output(mixed.transpose(1, 2).reshape(batch, time, width).to(x.dtype))


class Block(nn.Module):
    """Attention, then a perceptron of four times the width, each added to what comes in."""

    def __init__(self, width: int, heads: int, dropout: float | int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch time width"], cache: Cache | None = None
    ) -> Float[Tensor, "batch time width"]:
        x = x + self.drop(self.attention(self.attention_norm(x), cache))
        return x + self.drop(self.perceptron(self.perceptron_norm(x)))


class LanguageModel(nn.Module):
    """Tokens to the logits of the token that follows each of them.

    The table of tokens serves twice, as input embedding and as output layer (Press & Wolf 2017,
    arXiv 1608.05859), so it is counted and saved once.

    Args:
        vocabulary_size: number of different tokens; ids run from 0 to ``vocabulary_size - 1``.
        context: the longest text, in tokens, that the model can read at once.
        layers, heads, width: number of blocks, of attention heads in each, and features a token;
            ``heads`` must divide ``width``.
        dropout: probability of dropping a feature in training.
    """

    first_token: Tensor  # p(x_1), which no earlier token can tell: uniform until training sets it

    def __init__(
        self,
        vocabulary_size: int,
        *,
        context: int = 64,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        dropout: float | int = 0.0,
    ) -> None:
        super().__init__()
        self.vocabulary_size, self.context = vocabulary_size, context
        self.tokens = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        uniform = torch.full((vocabulary_size,), 1 / vocabulary_size)
        self.register_buffer("first_token", uniform)
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
            cache: keys and values of the tokens before, to which these are added; begin with {}.
                Once it holds something, ``tokens`` is the one next token of each text.

        Raises:
            ValueError: for more tokens than ``context``, or several after a filled cache.
        """
        time = tokens.shape[1]
        start = next(iter(cache.values())).shape[3] if cache else 0
        if start + time > self.context or (start and time > 1):
            raise ValueError(
                f"tokens must be at most context = {self.context} in all, and one at a time after "
                f"those in the cache; got {time} after {start}. Begin a new cache with the last "
                "tokens of the text"
            )
        x = self.drop(self.tokens(tokens) + self.positions.weight[start : start + time])
        for block in self.blocks:
            x = block(x, cache)
        return self.norm(x)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        return self.output(self.features(tokens))

    def output(self, features: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Logits of the next token."""
        return functional.linear(features, self.tokens.weight)


def cross_entropy(
    model: nn.Module,
    tokens: Int[Tensor, "batch time"],
    next_tokens: Int[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Mean of -log p(next token | tokens before), in nats a token.

    ``next_tokens[:, t]`` is the token that follows ``tokens[:, t]``. Computed in single precision
    at least, whatever the precision of the model.
    """
    logits = model(tokens)
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    return functional.cross_entropy(logits.flatten(0, 1), next_tokens.flatten())


def bits_per_character(
    model: LanguageModel, tokens: Integer[Tensor, " n"], *, batch_size: int = 64
) -> float:
    """Mean of -log2 p(token | tokens before) over a text, for tokens that are characters.

    The text is cut into pieces of ``context`` tokens. Every token but the very first is predicted
    once, from those before it in its piece and the last one of the piece before: so from 1 to
    ``context`` tokens, and a window that slides by one token would give a slightly smaller number.

    Raises:
        ValueError: for less than two tokens.
    """
    _check_tokens(tokens, model.vocabulary_size, least=2)
    tokens = tokens.to(model.tokens.weight.device, torch.long)
    whole = (len(tokens) - 1) // model.context * model.context
    texts = [tokens[:whole].view(-1, model.context), tokens[whole:-1][None]]
    targets = [tokens[1 : whole + 1].view(-1, model.context), tokens[whole + 1 :][None]]
    nats = 0.0
    with evaluating(model):
        for text, target in zip(texts, targets, strict=True):
            for part, goal in zip(text.split(batch_size), target.split(batch_size), strict=True):
                if goal.numel():
                    nats += float(cross_entropy(model, part, goal)) * goal.numel()
    return nats / math.log(2) / (len(tokens) - 1)


# --- Training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """Everything that defines a run except data, seed, device and precision.

    The defaults are those that nanoGPT gives for characters on a laptop's CPU
    (https://github.com/karpathy/nanoGPT, README).

    Raises:
        ValueError: names the setting that is out of range.
    """

    steps: int
    batch_size: int = 12
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    dropout: float | int = 0.0
    learning_rate: float | int = 1e-3  # the highest; warm-up to it, then a cosine down to a tenth
    warmup_steps: int = 100
    betas: tuple[float | int, float | int] = (0.9, 0.99)
    weight_decay: float | int = 0.1  # of matrices, not of biases and normalisations
    clip: float | int = 1.0  # largest norm of the gradient

    def __post_init__(self) -> None:
        checks.check(_RULES, vars(self))
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads, got {self.width} and {self.heads}; each head "
                "works on an equal share of the features"
            )


_RULES = {
    "steps": checks.whole(0),
    "batch_size": checks.whole(1),
    "layers": checks.whole(1),
    "heads": checks.whole(1),
    "width": checks.whole(1),
    "context": checks.whole(1),
    "dropout": checks.number(0, 1),
    "learning_rate": checks.number(0),
    "warmup_steps": checks.whole(0),
    "betas": checks.pair(checks.number(0, 1)),
    "weight_decay": checks.number(0),
    "clip": checks.number(1e-6),
}

PRESETS = {
    # seconds; what the tests run
    "tiny": Config(steps=20, batch_size=8, layers=2, heads=2, width=16, context=8, warmup_steps=2),
    # characters in a notebook
    "quick": Config(steps=800),
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


def build(config: Config, vocabulary_size: int) -> LanguageModel:
    """The untrained model for that many different tokens."""
    return LanguageModel(
        vocabulary_size,
        context=config.context,
        layers=config.layers,
        heads=config.heads,
        width=config.width,
        dropout=config.dropout,
    )


def learning_rate_factor(config: Config, step: int) -> float:
    """Learning rate of the step (0, 1, …) over its highest: warm-up, then a cosine down to 0.1."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass
class TrainedTransformer:
    """What :func:`train_transformer` returns, all on the CPU and the model in evaluation mode."""

    config: Config
    model: LanguageModel
    history: History  # cross_entropy, in nats a token
    snapshots: Int[Tensor, "frames n length"]  # tokens, drawn with the same noise at each snapshot
    snapshot_steps: list[int]


def train_transformer(
    tokens: Integer[Tensor, " n"],
    vocabulary_size: int,
    preset: str = "quick",
    *,
    seed: int = 0,
    trainer: Trainer | None = None,
    snapshots: int = 0,
    snapshot_size: int = 64,
    **changes: object,
) -> TrainedTransformer:
    """Train a language model to predict the next token (AdamW, Loshchilov & Hutter, 1711.05101).

    Args:
        tokens: the training text as ids, longer than ``context``. A batch is cut from random
            places in it; a pass over the data begins once at each place.
        vocabulary_size: number of different tokens.
        preset: a name in ``PRESETS``.
        seed: of the trainer that is made if none is given.
        trainer: device, precision and more; see :class:`course_lib.training.Trainer`.
        snapshots: how many sets of samples to keep, evenly spaced from step 0 to the last;
            fewer if there are fewer steps.
        snapshot_size: texts in a snapshot.
        changes: fields of :class:`Config` that differ from the preset, e.g. ``layers=2``.

    Raises:
        ValueError: for an unknown preset or setting, a value out of range, or tokens that do not
            fit.
        TrainingDivergedError: when the loss, or at the end a weight, is no longer finite.
    """
    config = configure(preset, **changes)
    checks.check({"vocabulary_size": checks.whole(1)}, {"vocabulary_size": vocabulary_size})
    _check_tokens(tokens, vocabulary_size, least=config.context + 1)
    trainer = trainer_for(seed, trainer)
    model = build(config, vocabulary_size)
    counts = torch.bincount(tokens.cpu(), minlength=vocabulary_size)
    model.first_token.copy_(counts / len(tokens))  # a window begins anywhere in the text
    trainer.prepare(model)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(
        groups,
        config.learning_rate,
        betas=(float(config.betas[0]), float(config.betas[1])),
        weight_decay=config.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: learning_rate_factor(config, step)
    )
    trainer.prepare(adam, schedule)
    text = tokens.to(trainer.device, torch.long)
    window = torch.arange(config.context + 1, device=trainer.device)

    def loss(inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"cross_entropy": cross_entropy(model, inputs, targets)}

    def step(starts: Tensor) -> dict[str, Tensor]:
        cut = text[starts[:, None] + window]
        metrics = trainer.minimise(loss, adam, cut[:, :-1], cut[:, 1:], clip=config.clip)
        schedule.step()
        return metrics

    film = Snapshots(
        lambda n: sample(model, n, seed=trainer.seed),
        number=snapshots,
        size=snapshot_size,
        steps=config.steps,
    )
    starts = torch.arange(len(tokens) - config.context)
    history = trainer.fit(
        step, starts, batch_size=config.batch_size, steps=config.steps, snapshots=film
    )
    return TrainedTransformer(
        config=config,
        model=trainer.finish(model),
        history=history,
        snapshots=film.samples,
        snapshot_steps=film.steps,
    )


def _check_tokens(tokens: Tensor, vocabulary_size: int, *, least: int) -> None:
    """Raise ValueError unless ``tokens`` are at least that many ids of the vocabulary."""
    if tokens.ndim != 1 or tokens.is_floating_point() or len(tokens) < least:
        raise ValueError(
            f"tokens must be whole numbers in a tensor (n,) with n = {least} or more, got "
            f"{tokens.dtype} {tuple(tokens.shape)}; give a longer text, or choose a shorter context"
        )
    low, high = (int(bound) for bound in tokens.aminmax())
    if low < 0 or high >= vocabulary_size:
        raise ValueError(
            f"tokens must be from 0 to {vocabulary_size - 1} (vocabulary_size = {vocabulary_size})"
            f", got ids from {low} to {high}; were they made with another vocabulary?"
        )


# --- Generating ----------------------------------------------------------------------------------


def generate(
    model: LanguageModel,
    prompt: Integer[Tensor, "n time"],
    n_tokens: int,
    *,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Int[Tensor, "n length"]:
    """Continue each prompt by ``n_tokens`` tokens; returns prompt and continuation, on the CPU.

    While the text fits into the context, keys and values of its tokens are kept, and each step
    reads one new token only. After that the window slides: every token moves to another position,
    which changes all keys, so that each step reads the whole window of ``context`` tokens.

    Args:
        prompt: ids, at least one a text; the model sees the last ``context`` of them.
        temperature: divides the logits: 1 samples from the model, less makes likely tokens
            likelier, and 0 takes the likeliest one.
        top_k: sample among the k likeliest tokens only; None: among all.
        seed: of the draws, which torch's own random state does not touch.

    Raises:
        ValueError: for an argument out of range.
    """
    checks.check(
        {
            "n_tokens": checks.whole(0),
            "temperature": checks.number(0),
            "top_k": checks.optional(checks.whole(1)),
        },
        {"n_tokens": n_tokens, "temperature": temperature, "top_k": top_k},
    )
    if prompt.ndim != 2 or prompt.numel() == 0:
        raise ValueError(
            f"prompt must be (n, time) with at least one token a text, got {tuple(prompt.shape)}; "
            "for one text use prompt[None]"
        )
    _check_tokens(prompt.flatten(), model.vocabulary_size, least=1)
    stream = torch.Generator().manual_seed(seed)
    text = prompt.to("cpu", torch.long)
    cache: Cache = {}
    with evaluating(model):
        for _ in range(n_tokens):
            if not cache or text.shape[1] > model.context:
                cache, unread = {}, text[:, -model.context :]
            else:
                unread = text[:, -1:]
            features = model.features(unread.to(model.tokens.weight.device), cache)
            logits = model.output(features[:, -1]).float().cpu()
            text = torch.cat([text, _draw(logits, temperature, top_k, stream)], dim=1)
    return text


def _draw(
    logits: Float[Tensor, "n vocabulary"],
    temperature: float | int,
    top_k: int | None,
    stream: torch.Generator,
) -> Int[Tensor, "n 1"]:
    if temperature == 0:
        return logits.argmax(dim=1, keepdim=True)
    if top_k is not None and top_k < logits.shape[1]:
        likeliest = logits.topk(top_k, dim=1)
        logits = torch.full_like(logits, -math.inf).scatter(1, *reversed(likeliest))
    return torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=stream)


def sample(model: LanguageModel, n: int, *, seed: int = 0) -> Int[Tensor, "n length"]:
    """``n`` texts of ``context`` tokens from the model itself, as ids on the CPU.

    They are like pieces cut from anywhere in the training text: the first token is drawn by the
    frequency of tokens there, because the model predicts none without one before it.

    Raises:
        ValueError: for less than one text.
    """
    checks.check({"n": checks.whole(1)}, {"n": n})
    stream = torch.Generator().manual_seed(seed)
    first = torch.multinomial(model.first_token.cpu().expand(n, -1), 1, generator=stream)
    return generate(model, first, model.context - 1, seed=seed)
