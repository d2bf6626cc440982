"""How much memory training needs, counted before it starts and without using any.

The networks stand on PyTorch's ``meta`` device, where tensors have shapes and no values, and one
loss is built there as in training. What its graph keeps for the backward pass is counted tensor by
tensor, so that no formula has to know what the layers are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

ADAM_MOMENTS = 2  # Adam keeps two running means for each parameter (Kingma and Ba, 1412.6980)


@dataclass(frozen=True)
class Memory:
    """What one training step holds at once, in bytes.

    The workspace of the kernels, what the device's own library takes (several hundred MB on a
    GPU) and the data set come on top. The workspace is large for an LSTM only: on a CPU oneDNN
    keeps as much again as the activations that are counted here.
    """

    parameters: int  # with the buffers
    gradients: int
    optimiser: int
    average: int  # the moving average of the weights, where one is kept
    activations: int  # kept for the backward pass, the batch among them

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = [f"{name} {readable(size)}" for name, size in asdict(self).items() if size]
        return f"about {readable(self.total)}: {', '.join(parts)}"


def readable(size: int) -> str:
    """A number of bytes for people, in powers of 1,000: 512 bytes, 3.1 kB, 14 MB, 1.3 GB."""
    if size < 1000:
        return f"{size} bytes"
    power = min(len(f"{size}") - 1, 11) // 3  # of 1,000
    value = size / 1000**power
    return f"{value:.{'1f' if value < 10 else '0f'}} {('', 'kB', 'MB', 'GB')[power]}"


def state_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of ``model``; what is tied or shared counts once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum({_storage(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def kept_for_backward(loss: Callable[[], Tensor], models: Sequence[nn.Module]) -> int:
    """Bytes that the graph of ``loss()`` keeps for its backward pass; works on ``meta``.

    Views of one memory count once. Parameters and buffers of ``models``, which the graph refers to
    as well, do not count.
    """
    own = {_storage(t) for model in models for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}  # the tensors themselves, so that no address is used again

    def pack(tensor: Tensor) -> Tensor:
        kept.setdefault(_storage(tensor), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), _FusedAttention():
        loss()
    return sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)


def training_memory(
    losses: Sequence[Callable[[], Tensor]],
    models: Sequence[nn.Module],
    average: nn.Module | None = None,
) -> Memory:
    """The memory of training ``models`` with Adam in fp32.

    Args:
        losses: each builds the graph of one gradient step on a batch of the size of training. A
            GAN has two, one a player; they follow each other, so the larger graph decides.
        models: what the optimisers update.
        average: the model of which a moving average is kept, if there is one.
    """
    trained = sum(
        parameter.nbytes for model in models for parameter in model.parameters()
        if parameter.requires_grad
    )  # fmt: skip
    return Memory(
        parameters=sum(map(state_bytes, models)),
        gradients=trained,
        optimiser=ADAM_MOMENTS * trained,
        average=0 if average is None else state_bytes(average),
        activations=max(kept_for_backward(loss, models) for loss in losses),
    )


_KNOWN_OPTIONS = {"dropout_p", "is_causal"}  # a mask is left to torch


class _FusedAttention(TorchFunctionMode):
    """Attention as a CPU or a GPU computes it: without a table of all pairs of tokens.

    On the meta device torch writes that table out, which would count too much by far.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        unmasked = options.keys() <= _KNOWN_OPTIONS and all(mask is None for mask in args[3:])
        if function is scaled_dot_product_attention and unmasked:
            fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            # The fused kernels draw what they drop anew, so dropout keeps nothing either.
            return fused(*args[:3], 0.0, options.get("is_causal", False))[0]
        return function(*args, **options)


def _storage(tensor: Tensor) -> int:
    # Not data_ptr(), which is 0 for every tensor on the meta device.
    return tensor.untyped_storage()._cdata
