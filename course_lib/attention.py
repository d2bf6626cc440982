"""Attention: a soft lookup in a dictionary of keys and values (Vaswani et al. 2017, 1706.03762).

A query is compared with every key; the softmax of the comparisons says which part each value gets.
Here are the operation itself, masks, several heads, and two ways to tell a position. The weights
can be looked at: :func:`attention_weights` and :meth:`MultiHeadAttention.weights` return them. The
layer's forward pass does not make them, see there.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from course_lib import checks

# --- The operation -------------------------------------------------------------------------------


def attention_weights(
    query: Float[Tensor, "*batch n width"],
    key: Float[Tensor, "*batch m width"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch n m"]:
    """softmax(q kᵀ / √width) over the keys: how much each query takes from each place.

    Args:
        mask: True where a query may look; of a shape that broadcasts to ``(*batch, n, m)``. None:
            all.

    Returns:
        Rows of numbers from 0 to 1 with the sum 1; zeros where a query may look nowhere.

    Raises:
        ValueError: for a mask that is not of truth values.
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is None:
        return scores.softmax(dim=-1)
    _check_mask(mask)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)  # a row of -inf has become NaN


def scaled_dot_product_attention(
    query: Float[Tensor, "*batch n width"],
    key: Float[Tensor, "*batch m width"],
    value: Float[Tensor, "*batch m value_width"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*batch n value_width"]:
    """Each query's weighted mean of the values (equation 1 of the paper), written out.

    It makes all n · m weights, in memory too; torch's function of the same name does not. For the
    mask see :func:`attention_weights`.
    """
    return attention_weights(query, key, mask) @ value


def _check_mask(mask: Tensor) -> None:
    if mask.dtype != torch.bool:  # torch would add numbers to the scores
        raise ValueError(
            f"mask must be of torch.bool, True where a query may look; got {mask.dtype}"
        )


def causal_mask(time: int, device: torch.device | None = None) -> Bool[Tensor, "time time"]:
    """True where the key is the query's own token or an earlier one."""
    return torch.ones(time, time, dtype=torch.bool, device=device).tril()


def padding_mask(tokens: Integer[Tensor, "batch time"]) -> Bool[Tensor, "batch 1 1 time"]:
    """True where there is a token and no padding, for keys of these tokens; for all heads alike."""
    return (tokens >= 0)[:, None, None, :]


# --- Positions -----------------------------------------------------------------------------------

BASE = 10_000  # the slowest turns once in about 2π · BASE tokens; the paper's number


def sinusoidal_positions(time: int, width: int) -> Float[Tensor, "time width"]:
    """Sines and cosines of a position's number, to be added to the features (section 3.5).

    Component 2i is sin(t · BASE^(-2i/width)) and component 2i + 1 the cosine of the same.

    Raises:
        ValueError: for an odd width.
    """
    _check_even(width, "width")
    angles = _angles(torch.arange(time), width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def rotate(
    x: Float[Tensor, "*batch time width"], positions: Integer[Tensor, " time"]
) -> Float[Tensor, "*batch time width"]:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): turns each token's features.

    The components i and i + width/2 are turned as a point of the plane, by the angle
    position · BASE^(-2i/width). The product of a turned query and a turned key then depends on
    their positions by the difference alone.

    Raises:
        ValueError: for an odd width.
    """
    _check_even(x.shape[-1], "the width of x")
    angles = _angles(positions, x.shape[-1])
    cosine, sine = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(turned, dim=-1).to(x.dtype)


def _angles(positions: Tensor, width: int) -> Float[Tensor, "time half"]:
    exponents = torch.arange(0, width, 2, device=positions.device) / width
    return positions[:, None] * BASE**-exponents


def _check_even(width: int, name: str) -> None:
    if width % 2:
        raise ValueError(f"{name} must be even, for components are turned in pairs; got {width}")


# --- The layer -----------------------------------------------------------------------------------


class Cache:
    """Keys and values of the tokens so far, for each attention layer, while a text is generated.

    Args:
        room: the most tokens it will hold.
    """

    def __init__(self, room: int) -> None:
        self.room, self.length = room, 0
        self._kept: dict[nn.Module, Tensor] = {}

    def extend(self, layer: nn.Module, new: Float[Tensor, "2 batch heads time head"]) -> Tensor:
        """Keep a layer's new keys and values; returns all that it has, the old ones first.

        The model counts the tokens once, in ``length``, when all layers have read them.

        Raises:
            ValueError: for more tokens than there is room for, or several after the first ones.
        """
        time = new.shape[3]
        if self.length and time > 1:  # the fused kernel would count their places from 0
            raise ValueError(
                f"new must be one token after those in the cache; got {time} after {self.length}. "
                "Give them one at a time, or begin a new cache with the last tokens of the text"
            )
        end = self.length + time
        if end > self.room:  # or torch would drop a token that finds no room, and say nothing
            raise ValueError(f"room must be at least {end}, the tokens so far; got {self.room}")
        if layer not in self._kept:  # once, so that no step copies what was there before
            self._kept[layer] = new.new_empty(*new.shape[:3], self.room, new.shape[4])
        self._kept[layer][:, :, :, self.length : end] = new
        return self._kept[layer][:, :, :, :end]


class MultiHeadAttention(nn.Module):
    """Attention in several subspaces at once (section 3.2.2), to the same tokens or to others.

    Queries, keys and values are linear maps of the features, and each head works on its own share
    of them. What the heads found is put side by side and mapped once more.

    The forward pass uses torch's fused ``scaled_dot_product_attention``, whose memory grows with
    the number of tokens, not with its square; the weights exist in ``weights`` only.

    Args:
        width: features of a token.
        heads: must divide ``width``.
        dropout: probability of dropping a weight in training.
        rotary: turn queries and keys by their positions, see :func:`rotate`.

    Raises:
        ValueError: if the width cannot be shared by the heads.
    """

    def __init__(
        self, width: int, heads: int, *, dropout: float | int = 0.0, rotary: bool = False
    ) -> None:
        super().__init__()
        check_heads(width, heads, rotary=rotary)
        self.heads, self.dropout, self.rotary = heads, dropout, rotary
        self.queries_keys_values = nn.Linear(width, 3 * width)  # one product instead of three
        self.output = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch time width"],
        source: Float[Tensor, "batch places width"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Float[Tensor, "batch time width"]:
        """What each token of ``x`` gathers.

        Args:
            x: asks.
            source: answers: keys and values are made of it; None: of ``x`` itself.
            mask: True where a token may look, broadcast to (batch, heads, time, places).
            causal: each token looks at itself and at earlier ones only.
            cache: of the earlier tokens, to which those of ``x`` are added; then ``x`` is the
                first tokens, or the one next.

        Raises:
            ValueError: for a mask that is not of truth values, a causal look at a source, a cache
                of a source, or tokens that the cache does not take.
        """
        mask, causal = self._mask(x, source, mask, causal)
        if cache is not None and source is not None:  # it would grow by the same source each time
            raise ValueError("cache must be None where there is a source, which is there at once")
        query, keys_values = self._heads(x, source, 0 if cache is None else cache.length)
        key, value = keys_values if cache is None else cache.extend(self, keys_values)
        with torch.autocast("cpu", enabled=False):  # or it would go back to bf16, see _heads
            mixed = functional.scaled_dot_product_attention(
                *(query, key, value, mask),
                dropout_p=self.dropout if self.training else 0.0,
                # A single token comes last, and may look at all before it.
                is_causal=causal and x.shape[1] > 1,
            )
        return self.output(mixed.transpose(1, 2).flatten(2).to(x.dtype))

    def weights(
        self,
        x: Float[Tensor, "batch time width"],
        source: Float[Tensor, "batch places width"] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch heads time places"]:
        """The weights that the forward pass uses for the same arguments, without dropout."""
        mask, causal = self._mask(x, source, mask, causal)
        query, (key, _) = self._heads(x, source, 0)
        return attention_weights(query, key, causal_mask(x.shape[1], x.device) if causal else mask)

    @staticmethod
    def _mask(
        x: Tensor, source: Tensor | None, mask: Tensor | None, causal: bool
    ) -> tuple[Tensor | None, bool]:
        """The two joined in the mask where there are both, for the fused kernel takes one."""
        if causal and source is not None:
            raise ValueError("causal must be False where there is a source; give a mask instead")
        if mask is None:
            return None, causal
        _check_mask(mask)
        return mask & causal_mask(x.shape[1], x.device) if causal else mask, False

    def _heads(self, x: Tensor, source: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        """Queries (batch, heads, time, head); keys and values (2, batch, heads, places, head)."""
        if source is None:
            parts = self._split(self.queries_keys_values(x), 3)
            query, keys_values = parts[0], parts[1:]
        else:
            width, layer = x.shape[2], self.queries_keys_values
            query = functional.linear(x, layer.weight[:width], layer.bias[:width])
            pair = functional.linear(source, layer.weight[width:], layer.bias[width:])
            query, keys_values = self._split(query, 1)[0], self._split(pair, 2)
        if self.rotary:
            places = torch.arange(keys_values.shape[3], device=x.device) + start
            key, value = keys_values
            keys_values = torch.stack([rotate(key, places), value])
            query = rotate(query, torch.arange(x.shape[1], device=x.device) + start)
        return query, keys_values

    def _split(self, x: Tensor, parts: int) -> Float[Tensor, "parts batch heads time head"]:
        if x.device.type == "cpu" and x.dtype.itemsize < 4:
            x = x.float()  # the fused kernel's backward pass in bf16 takes ten times as long
        batch, time, _ = x.shape
        return x.view(batch, time, parts, self.heads, -1).permute(2, 0, 3, 1, 4)


def check_heads(width: int, heads: int, *, rotary: bool) -> None:
    """Raise ValueError unless each head gets an equal share of the features, even if rotary."""
    checks.check(
        {"width": checks.whole(1), "heads": checks.whole(1)}, {"width": width, "heads": heads}
    )
    if width % heads:
        raise ValueError(
            f"width must be a multiple of heads, got {width} and {heads}; each head "
            "works on an equal share of the features"
        )
    if rotary:
        _check_even(width // heads, "the width of a head, width / heads,")
