"""Attention against torch's own, positions against closed forms, and what each token may see."""

import inspect
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from course_lib.attention import (
    Cache,
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    padding_mask,
    rotate,
    scaled_dot_product_attention,
    sinusoidal_positions,
)

SIZES = st.integers(1, 6)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


# --- The operation -------------------------------------------------------------------------------


@given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 99))
def test_attention_is_that_of_torch(n: int, m: int, width: int, values: int, seed: int) -> None:
    query, key = numbers(2, 3, n, width, seed=seed), numbers(2, 3, m, width, seed=seed + 1)
    value = numbers(2, 3, m, values, seed=seed + 2)
    expected = functional.scaled_dot_product_attention(query, key, value)
    close(scaled_dot_product_attention(query, key, value), expected)
    weights = attention_weights(query, key)
    close(weights.sum(dim=-1), torch.ones(2, 3, n).double())
    close(weights @ value, expected)

    mask = numbers(2, 1, n, m, seed=seed + 3) > 0
    mask[..., 0] = True
    expected = functional.scaled_dot_product_attention(query, key, value, mask)
    close(scaled_dot_product_attention(query, key, value, mask), expected)
    assert not attention_weights(query, key, mask)[~mask.expand(2, 3, n, m)].any()


def test_who_may_look_nowhere_takes_nothing_and_learns_nothing() -> None:
    x = numbers(3, 4).requires_grad_()
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[1] = False
    found = scaled_dot_product_attention(x, x, x, mask)
    assert not found[1].any() and bool(found[[0, 2]].all())
    expected = functional.scaled_dot_product_attention(*(x[None, None],) * 3, mask)[0, 0]
    close(found, expected)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    assert bool(gradient.isfinite().all()) and bool(gradient[[0, 2]].any())


def test_the_scores_are_divided_by_the_root_of_the_width() -> None:
    """So their variance does not depend on the width: that of a sum of ``width`` products is."""
    for width in (4, 400):
        query, key = numbers(200, width), numbers(200, width, seed=1)
        log_weights = attention_weights(query, key).log()
        assert log_weights.var(dim=1).mean().item() == pytest.approx(1, rel=0.1)


def test_the_order_of_the_keys_does_not_matter_and_that_of_the_queries_comes_out() -> None:
    query, key, value = numbers(5, 4), numbers(6, 4, seed=1), numbers(6, 3, seed=2)
    before, order = scaled_dot_product_attention(query, key, value), torch.randperm(6)
    close(scaled_dot_product_attention(query, key[order], value[order]), before)
    turned = torch.tensor([4, 2, 0, 1, 3])
    close(scaled_dot_product_attention(query[turned], key, value), before[turned])


@pytest.mark.parametrize("function", [attention_weights, scaled_dot_product_attention])
def test_a_mask_of_numbers_is_refused(function) -> None:
    x = [numbers(3, 4)] * (2 if function is attention_weights else 3)
    with pytest.raises(ValueError, match=r"mask must be of torch.bool.*got torch.float32"):
        inspect.unwrap(attention_weights)(*x[:2], torch.zeros(3, 3))
    layer = MultiHeadAttention(4, 2)
    for call in (layer.forward, layer.weights):
        with pytest.raises(ValueError, match=r"mask must be of torch.bool.*got torch.float32"):
            inspect.unwrap(call.__func__)(layer, torch.zeros(1, 3, 4), mask=torch.zeros(3, 3))


def test_masks() -> None:
    expected = nn.Transformer.generate_square_subsequent_mask(5) == 0
    assert torch.equal(causal_mask(5), expected)
    tokens = torch.tensor([[3, 0, 2], [1, -1, -1]])
    expected = torch.tensor([[True, True, True], [True, False, False]])[:, None, None]
    assert torch.equal(padding_mask(tokens), expected)


# --- Positions -----------------------------------------------------------------------------------


def test_sinusoidal_positions_are_those_of_the_paper() -> None:
    found = sinusoidal_positions(50, 6)
    assert found.shape == (50, 6) and found.dtype == torch.float32
    for t in range(50):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert found[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_a_shift_turns_sinusoidal_positions() -> None:
    """One linear map leads from each place to the one three further on, wherever one begins."""
    found = sinusoidal_positions(40, 8).double()
    angles = 3 / 10_000 ** (torch.arange(0, 8, 2).double() / 8)
    sine, cosine = angles.sin(), angles.cos()
    turns = [torch.tensor([[c, s], [-s, c]]) for s, c in zip(sine, cosine, strict=True)]
    close(found[:-3] @ torch.block_diag(*turns).T, found[3:], 1e-5)
    products = found @ found.T
    for distance in range(5):
        diagonal = products.diagonal(distance)
        close(diagonal, diagonal[:1].expand_as(diagonal), 1e-5)


@pytest.mark.parametrize("width", [2, 6, 64])
def test_rotary_positions_multiply_by_a_complex_number(width: int) -> None:
    x, positions = numbers(2, 3, 7, width), torch.tensor([0, 1, 2, 3, 50, 51, 900])
    half = width // 2
    frequencies = 10_000.0 ** (-torch.arange(half) / half).double()
    turn = torch.polar(torch.ones(7, half).double(), positions[:, None] * frequencies)
    expected = torch.complex(x[..., :half], x[..., half:]) * turn
    found = rotate(x, positions)
    assert found.dtype == x.dtype and rotate(x.bfloat16(), positions).dtype == torch.bfloat16
    close(found, torch.cat([expected.real, expected.imag], dim=-1), 3e-4)  # angles are float32
    close(found[..., :4, :], torch.cat([expected.real, expected.imag], dim=-1)[..., :4, :])
    close(found.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(found[..., 0, :], x[..., 0, :]), "the place 0 turns nothing"


def test_products_of_turned_features_depend_on_the_distance_alone() -> None:
    query, key = numbers(1, 8).expand(20, 8), numbers(1, 8, seed=1).expand(20, 8)
    scores = rotate(query, torch.arange(20)) @ rotate(key, torch.arange(20)).T
    for distance in range(-10, 11):
        diagonal = scores.diagonal(distance)
        close(diagonal, diagonal[:1].expand_as(diagonal), 1e-5)
    assert scores[0].std() > 0.1, "and on the distance they do depend"


def test_the_gradient_of_a_turn_is_the_turn_back() -> None:
    x, weights = numbers(7, 6).requires_grad_(), numbers(7, 6, seed=1)
    (gradient,) = torch.autograd.grad((rotate(x, torch.arange(7)) * weights).sum(), x)
    close(gradient, rotate(weights, -torch.arange(7)))


def test_components_that_have_no_partner_are_refused() -> None:
    with pytest.raises(ValueError, match=r"width must be even.*got 5"):
        sinusoidal_positions(3, 5)
    with pytest.raises(ValueError, match=r"the width of x must be even.*got 3"):
        rotate(numbers(2, 3), torch.arange(2))
    with pytest.raises(ValueError, match=r"width of a head.*must be even.*got 3"):
        MultiHeadAttention(6, 2, rotary=True)
    assert rotate(numbers(0, 4), torch.arange(0)).shape == (0, 4)


# --- The layer -----------------------------------------------------------------------------------


def layers(width: int, heads: int) -> tuple[MultiHeadAttention, nn.MultiheadAttention]:
    """Ours, and torch's with the same weights, in double precision."""
    torch.manual_seed(0)
    ours = MultiHeadAttention(width, heads).double().eval()
    torchs = nn.MultiheadAttention(width, heads, batch_first=True).double().eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    state = dict(zip(torchs.state_dict(), ours.state_dict().values(), strict=True))
    assert list(state) == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    torchs.load_state_dict(state)
    return ours, torchs


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (8, 2), (9, 3), (5, 5)])
@pytest.mark.parametrize("kind", ["self", "cross", "causal", "padding", "causal and padding"])
def test_the_layer_is_that_of_torch(width: int, heads: int, kind: str) -> None:
    ours, torchs = layers(width, heads)
    x = numbers(3, 6, width).requires_grad_()
    source = numbers(3, 4, width, seed=1) if kind == "cross" else None
    tokens = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, -1, -1], [1, -1, -1, -1, -1, -1]])
    padded = padding_mask(tokens) if "padding" in kind else None
    causal = "causal" in kind
    answers = x if source is None else source
    expected, weights = torchs(
        *(x, answers, answers),
        key_padding_mask=None if padded is None else ~padded[:, 0, 0],
        attn_mask=~causal_mask(6) if causal else None,
        average_attn_weights=False,
    )
    found = ours(x, source, mask=padded, causal=causal)
    close(found, expected)
    close(ours.weights(x, source, mask=padded, causal=causal), weights)
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
    close(*gradients, atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_the_fused_forward_pass_uses_the_weights(rotary: bool) -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 2, rotary=rotary).double(), 3 * numbers(2, 5, 8)
    values = layer.queries_keys_values(x)[..., 16:].view(2, 5, 2, 4).transpose(1, 2)
    for causal in (False, True):
        mixed = layer.weights(x, causal=causal) @ values
        close(layer.output(mixed.transpose(1, 2).flatten(2)), layer(x, causal=causal))


def test_no_token_sees_a_later_one() -> None:
    layer, x = MultiHeadAttention(8, 2, rotary=True), torch.randn(1, 6, 8, requires_grad=True)
    found = layer(x, causal=True)
    for place in range(6):
        (gradient,) = torch.autograd.grad(found[0, place].sum(), x, retain_graph=True)
        seen = gradient[0].abs().amax(dim=1)
        assert bool((seen[: place + 1] > 0).all()) and not seen[place + 1 :].any()


def test_without_positions_the_order_of_tokens_comes_out_as_it_went_in() -> None:
    x, order = torch.randn(2, 6, 8), torch.tensor([3, 1, 5, 0, 2, 4])
    layer = MultiHeadAttention(8, 2)
    close(layer(x[:, order]), layer(x)[:, order])
    turned = MultiHeadAttention(8, 2, rotary=True)
    assert (turned(x[:, order]) - turned(x)[:, order]).abs().max() > 1e-3


def test_rotary_layers_see_the_distance_alone() -> None:
    """A text that begins later in a cache has the same weights among its own tokens."""
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 2, rotary=True).double(), numbers(1, 4, 8)
    here, later = (layer._heads(x, None, start) for start in (0, 100))
    scores = [query @ keys_values[0].transpose(-2, -1) for query, keys_values in (here, later)]
    close(*scores, atol=1e-4)
    assert (here[0] - later[0]).abs().max() > 0.1


def test_dropout_is_of_the_weights_and_in_training_only() -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 2, dropout=0.5), torch.randn(1, 5, 8)
    assert not torch.equal(layer(x), layer(x))
    mean = layer(x.expand(10_000, 5, 8)).mean(dim=0, keepdim=True)
    plain = layer.eval()(x)
    assert torch.equal(plain, layer(x))
    close(mean, plain, 0.03)


@pytest.mark.parametrize("rotary", [False, True])
def test_the_cache_gives_what_the_whole_text_gives(rotary: bool) -> None:
    torch.manual_seed(0)
    layer, x, cache = MultiHeadAttention(8, 2, rotary=rotary), torch.randn(3, 7, 8), Cache(7)
    found = []
    for first, end in pairwise((0, 3, 4, 5, 6, 7)):
        found.append(layer(x[:, first:end], causal=True, cache=cache))
        cache.length = end
    close(torch.cat(found, dim=1), layer(x, causal=True))
    with pytest.raises(ValueError, match="room must be at least 8, the tokens so far; got 7"):
        layer(x[:, :1], causal=True, cache=cache)
    with pytest.raises(ValueError, match=r"new must be one token .*got 2 after 7\. Give them one"):
        layer(x[:, :2], causal=True, cache=cache)
    with pytest.raises(ValueError, match="cache must be None where there is a source"):
        layer(x[:, :1], x, cache=cache)


def test_a_cache_keeps_each_layers_tokens_in_their_order() -> None:
    cache, layers = Cache(4), [nn.Identity(), nn.Identity()]
    new = torch.randn(2, 2, 1, 4, 3, 5)  # for each layer: keys and values of three tokens
    for layer, part in zip(layers, new, strict=True):
        assert torch.equal(cache.extend(layer, part), part)
    cache.length = 3
    last = torch.randn(2, 1, 4, 1, 5)
    for layer, part in zip(layers, new, strict=True):
        assert torch.equal(cache.extend(layer, last), torch.cat([part, last], dim=3))


@pytest.mark.parametrize("rotary", [False, True])
def test_it_takes_every_precision_and_the_meta_device(rotary: bool) -> None:
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(8, 2, rotary=rotary), torch.randn(2, 5, 8, requires_grad=True)
    expected = layer(x, causal=True).detach()
    with torch.autocast("cpu", torch.bfloat16):
        for found in (layer(x, causal=True), layer(x, x, mask=causal_mask(5))):
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
            found.sum().backward()
            assert all(bool(p.grad.isfinite().all()) for p in [*layer.parameters(), x])
    layer.bfloat16()
    found = layer(x.bfloat16(), causal=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    found.sum().backward()
    with torch.device("meta"):
        layer = MultiHeadAttention(8, 2, rotary=rotary)
        layer(torch.zeros(2, 5, 8), causal=True).sum().backward()
        assert layer.weights(torch.zeros(2, 5, 8), causal=True).shape == (2, 2, 5, 5)
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in layer.parameters())


def test_the_mean_of_values_is_taken_in_single_precision_on_a_cpu(monkeypatch) -> None:
    """The fused kernel's backward pass in bf16 takes ten times as long there."""
    found, fused = [], functional.scaled_dot_product_attention

    def spy(*arguments, **settings) -> Tensor:
        found.append(fused(*arguments, **settings))
        return found[-1]

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    layer, x = MultiHeadAttention(8, 2), torch.randn(1, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.bfloat16()(x.bfloat16())
    layer.double()(x.double())
    assert [mixed.dtype for mixed in found] == [torch.float32, torch.float32, torch.float64]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 3), "width must be a multiple of heads, got 8 and 3; each head"),
        ((8, 0), "heads must be a whole number .*1 or more; got 0"),
        ((0, 1), "width must be a whole number .*1 or more; got 0"),
    ],
)
def test_shapes_that_heads_cannot_share_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(*arguments)


def test_a_causal_look_at_a_source_is_refused() -> None:
    layer, x = MultiHeadAttention(4, 2), torch.zeros(1, 3, 4)
    for call in (layer.forward, layer.weights):
        with pytest.raises(ValueError, match="causal must be False where there is a source"):
            call(x, torch.zeros(1, 5, 4), causal=True)
