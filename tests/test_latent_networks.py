"""The networks of autoencoders and VAEs: shapes, sizes by formula, labels, precision, bad input."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.latent_networks import (
    ACTIVATIONS,
    NETWORKS,
    LatentDecoder,
    LatentEncoder,
    _join,
    build_decoder,
    build_encoder,
)

SMALL = {"perceptron": {"hidden": (6, 5)}, "convolutional": {"hidden": (4, 6, 5)}}
SHAPE = (1, 8, 12)  # not square: height and width must not be mixed up


def both(network: str, shape=SHAPE, outputs=6, inputs=3, classes=0, **changes):
    settings = {"network": network, **SMALL[network], "classes": classes, **changes}
    torch.manual_seed(0)
    return build_encoder(shape, outputs, **settings), build_decoder(inputs, shape, **settings)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def one_hot(classes: int, n: int, label: int = 0) -> torch.Tensor:
    return nn.functional.one_hot(torch.full((n,), label), classes).float()


# --- Shapes and sizes ----------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    network=st.sampled_from(NETWORKS),
    shape=st.tuples(st.integers(1, 3), *[st.sampled_from((4, 8, 28))] * 2),
    n=st.integers(1, 3),
    classes=st.sampled_from((0, 1, 4)),
)
def test_shapes(network, shape, n, classes) -> None:
    encoder, decoder = both(network, shape, classes=classes)
    labels = [one_hot(classes, n)] if classes else []
    assert encoder(torch.randn(n, *shape), *labels).shape == (n, 6)
    assert decoder(torch.randn(n, 3), *labels).shape == (n, *shape)
    assert (decoder.latent_dim, decoder.sample_shape) == (3, shape)


def test_perceptrons_have_the_layers_that_hidden_names() -> None:
    widths = (784, 200, 200, 100)
    encoder = build_encoder((1, 28, 28), 100, hidden=(200, 200))
    assert count(encoder) == sum((a + 1) * b for a, b in pairwise(widths)) == 217_300
    decoder = build_decoder(50, (1, 28, 28), hidden=(200, 100))  # the encoder's order
    assert count(decoder) == sum((a + 1) * b for a, b in pairwise((50, 100, 200, 784))) == 182_884
    linear = [part for part in decoder.modules() if isinstance(part, nn.Linear)]
    assert [part.out_features for part in linear] == [100, 200, 784]


def test_convolutional_networks_have_the_layers_that_hidden_names() -> None:
    def convolution(before: int, after: int, kernel: int) -> int:
        return kernel**2 * before * after + after

    block = {channels: 2 * convolution(channels, channels, 3) for channels in (16, 32)}
    halves = convolution(1, 16, 4) + convolution(16, 32, 4) + block[16] + block[32]
    settings = {"network": "convolutional", "hidden": (16, 32, 256)}
    encoder = build_encoder((1, 28, 28), 64, **settings)
    assert count(encoder) == halves + (49 * 32 + 1) * 256 + 257 * 64
    decoder = build_decoder(20, (1, 28, 28), **settings)
    doubles = convolution(32, 16, 4) + convolution(16, 1, 4) + block[16] + block[32]
    assert count(decoder) == doubles + 21 * 256 + 257 * 49 * 32
    without = build_encoder((1, 28, 28), 64, **settings | {"hidden": (16, 32)})
    assert count(without) == halves + (49 * 32 + 1) * 64


def test_without_hidden_layers_a_perceptron_is_one_linear_map() -> None:
    encoder, decoder = both("perceptron", hidden=())
    x, z = torch.randn(2, *SHAPE), torch.randn(2, 3)
    for network, value in ((encoder, x), (decoder, z)):
        (layer,) = (part for part in network.modules() if isinstance(part, nn.Linear))
        expected = value.flatten(1) @ layer.weight.T + layer.bias
        torch.testing.assert_close(network(value).flatten(1), expected)


def test_perceptron_is_the_composition_of_its_layers() -> None:
    _, decoder = both("perceptron", activation="tanh")
    first, second, third = (part for part in decoder.modules() if isinstance(part, nn.Linear))
    z = torch.randn(2, 3)
    expected = third(torch.tanh(second(torch.tanh(first(z)))))  # no activation after the last
    torch.testing.assert_close(decoder(z).flatten(1), expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_outputs_know_no_bounds(network) -> None:
    # Log-variances, means and logits take either sign: nothing squashes or clips the output.
    encoder, decoder = both(network, activation="relu")
    for outputs in (encoder(30 * torch.randn(64, *SHAPE)), decoder(30 * torch.randn(64, 3))):
        assert outputs.min() < -1 and outputs.max() > 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_is_the_one_asked_for(network, activation) -> None:
    for model in both(network, activation=activation):
        used = {type(part) for part in model.modules()} & set(ACTIVATIONS.values())
        assert used == {ACTIVATIONS[activation]}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_input_and_every_weight_matters(network) -> None:
    encoder, decoder = both(network, activation="tanh")
    for model, value in ((encoder, torch.randn(4, *SHAPE)), (decoder, torch.randn(4, 3))):
        value.requires_grad_()
        model(value).square().sum().backward()
        assert (value.grad.abs().sum(0) > 0).all()
        assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_an_example_does_not_depend_on_its_batch(network) -> None:
    encoder, decoder = both(network)
    for model, value in ((encoder, torch.randn(4, *SHAPE)), (decoder, torch.randn(4, 3))):
        alone = torch.cat([model(example[None]) for example in value])
        torch.testing.assert_close(model(value), alone)


def test_convolutional_decoder_sees_neighbours_together() -> None:
    # Nearby pixels come from the same features: changing one unit of the code's image changes a
    # patch, whereas a perceptron's layer changes all pixels.
    _, decoder = both("convolutional", (1, 28, 28))
    parts = list(decoder.layers)
    start = next(i for i, part in enumerate(parts) if isinstance(part, nn.Unflatten)) + 1
    convolutions = nn.Sequential(*parts[start:])
    features = torch.zeros(2, 6, 7, 7)
    features[1, 0, 0, 0] = 1
    image, changed = convolutions(features)[:, 0]
    moved = (image - changed).abs() > 1e-6
    assert moved[:4, :4].any() and not moved[24:, 24:].any()


# --- Labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_labels_change_the_output(network) -> None:
    encoder, decoder = both(network, classes=3)
    for model, value in ((encoder, torch.randn(2, *SHAPE)), (decoder, torch.randn(2, 3))):
        outputs = [model(value, one_hot(3, 2, label)) for label in range(3)]
        for one, other in pairwise(outputs):
            assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_labels_that_do_not_fit(network) -> None:
    for model in both(network, classes=3):
        value = torch.randn(2, 3) if isinstance(model, LatentDecoder) else torch.randn(2, *SHAPE)
        with pytest.raises(ValueError, match=r"labels must be one-hot \(2, 3\), got None"):
            model(value)
        with pytest.raises(ValueError, match=r"labels .* got shape \(2, 4\)"):
            model(value, one_hot(4, 2))
    for model in both(network):
        value = torch.randn(2, 3) if isinstance(model, LatentDecoder) else torch.randn(2, *SHAPE)
        with pytest.raises(ValueError, match="labels must be None"):
            model(value, one_hot(3, 2))


def test_one_label_does_not_serve_for_two_examples() -> None:
    with pytest.raises(ValueError, match=r"labels must be one-hot \(2, 3\), got shape \(1, 3\)"):
        _join(torch.randn(2, 4), one_hot(3, 1), 3)


# --- Precision and devices -----------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("classes", [0, 3])
def test_bf16_autocast_is_close(network, classes) -> None:
    encoder, decoder = both(network, classes=classes)
    labels = [one_hot(classes, 4)] if classes else []
    for model, value in ((encoder, torch.randn(4, *SHAPE)), (decoder, torch.randn(4, 3))):
        exact = model(value, *labels)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(value, *labels)
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("network", NETWORKS)
def test_meta_device_and_channels_last(network) -> None:
    with torch.device("meta"):
        encoder = build_encoder(SHAPE, 6, network=network, **SMALL[network])
        decoder = build_decoder(3, SHAPE, network=network, **SMALL[network])
        assert encoder(torch.empty(2, *SHAPE)).shape == (2, 6)
        assert decoder(torch.empty(2, 3)).shape == (2, *SHAPE)
    for model, value in zip(
        both(network), (torch.randn(2, *SHAPE), torch.randn(2, 3)), strict=True
    ):
        expected = model(value)
        value = value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        again = model.to(memory_format=torch.channels_last)(value)
        torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_same_seed_same_weights(network) -> None:
    for one, other in zip(both(network), both(network), strict=True):
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "transformer"}, r"network must be one of .*'convolutional'.*'transformer'"),
        ({"activation": "sine"}, "activation must be one of"),
        ({"hidden": (0,)}, r"hidden must be .* got \(0,\)"),
        ({"classes": -1}, "classes must be .* got -1"),
        ({"network": "convolutional"}, r"hidden must be .* got \(400,\)"),
        ({"network": "convolutional", "hidden": (4,), "shape": (4, 4)}, "sample_shape"),
    ],
)
def test_bad_settings(changes, message) -> None:
    changes = dict(changes)
    shape = changes.pop("shape", (1, 28, 28))
    for build in (
        lambda: build_encoder(shape, 4, **changes),
        lambda: build_decoder(4, shape, **changes),
    ):
        with pytest.raises(ValueError, match=message):
            build()


@pytest.mark.parametrize("shape", [(1, 30, 28), (1, 28, 26), (1, 2, 2), (784,), (28, 28)])
def test_images_that_do_not_fit_the_convolutions(shape) -> None:
    settings = {"network": "convolutional", **SMALL["convolutional"]}
    for build in (
        lambda: build_encoder(shape, 4, **settings),
        lambda: build_decoder(4, shape, **settings),
    ):
        with pytest.raises(ValueError, match=r"sample_shape must be .* multiples of 4"):
            build()


def test_bad_numbers_of_outputs_and_inputs() -> None:
    with pytest.raises(ValueError, match=r"outputs must be .* got 0"):
        build_encoder((2,), 0)
    with pytest.raises(ValueError, match=r"inputs must be .* got 0"):
        build_decoder(0, (2,))


def test_types() -> None:
    encoder, decoder = both("perceptron")
    assert isinstance(encoder, LatentEncoder) and isinstance(decoder, LatentDecoder)
    assert math.prod(decoder.sample_shape) == 96
