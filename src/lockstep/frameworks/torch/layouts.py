"""What TensorFlow calls the variables of PyTorch's layers, and how it lays out the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from lockstep.frameworks.torch.private import BATCH_NORMALIZATIONS, CONVOLUTIONS
from lockstep.subjects import Convention

_Found = Iterator[tuple[str, Convention]]

_OF_CONVOLUTION = {1: (2, 1, 0), 2: (3, 2, 0, 1), 3: (4, 3, 0, 1, 2)}
"""Rank of the image -> (height, width, in, out) to (out, in, height, width). For a transposed convolution TensorFlow
has (height, width, out, in) and PyTorch (in, out, height, width): the same exchange."""

_DEPTHWISE = {1: (1, 2, 0), 2: (2, 3, 0, 1), 3: (3, 4, 0, 1, 2)}
"""The same for (height, width, in, multiplier) to (in, multiplier, height, width)."""


def conventions_of(module: nn.Module) -> dict[str, Convention]:
    """Returns name of a parameter or buffer -> what TensorFlow calls it and how it lies there."""
    found: dict[str, Convention] = {}
    for name, layer in module.named_modules():
        for kinds, rule in _RULES:
            if isinstance(layer, kinds):
                found.update({f"{name}.{own}".removeprefix("."): told for own, told in rule(layer)})
                break
    return found


def _turned(shape: Sequence[int], axes: Sequence[int], before: str = "") -> tuple[tuple[int, ...], str]:
    """Returns TensorFlow's shape for one of PyTorch's, and the exchange of axes that makes PyTorch's of it."""
    theirs = [0] * len(axes)
    for place, axis in enumerate(axes):
        theirs[axis] = int(shape[place])
    return tuple(theirs), f"{before}transpose({','.join(map(str, axes))})"


def _linear(layer: Any) -> _Found:
    yield "weight", Convention("kernel", (_turned(layer.weight.shape, (1, 0)),))
    yield "bias", Convention("bias")


def _convolution(layer: Any) -> _Found:
    rank, shape = len(layer.kernel_size), tuple(layer.weight.shape)
    laid = [_turned(shape, _OF_CONVOLUTION[rank])]
    if layer.groups > 1 and layer.groups == layer.in_channels and not layer.transposed:
        # A depthwise kernel is (height, width, in, multiplier); one of a convolution with groups lies as any other.
        apart = (layer.in_channels, layer.out_channels // layer.in_channels, *shape[2:])
        theirs, text = _turned(apart, _DEPTHWISE[rank])
        laid.insert(0, (theirs, f"{text} | reshape({','.join(map(str, shape))})"))
    yield "weight", Convention("kernel", tuple(laid))
    yield "bias", Convention("bias")


def _normalization(layer: Any) -> _Found:
    del layer
    yield "weight", Convention("gamma")
    yield "bias", Convention("beta")
    yield "running_mean", Convention("moving_mean")
    yield "running_var", Convention("moving_variance")


def _embedding(layer: Any) -> _Found:
    del layer
    yield "weight", Convention("embeddings", alone=True)


def _recurrent(layer: Any) -> _Found:
    for number in range(layer.num_layers):
        for backward in range(2 if layer.bidirectional else 1):
            suffix = f"_l{number}{'_reverse' if backward else ''}"
            way = ("backward_" if backward else "forward_") if layer.bidirectional else ""
            scope = f"{way}cell_{number}" if layer.num_layers > 1 else f"{way}cell"
            yield from _cell(layer.mode, suffix, f"{scope}/", layer)


def _single_cell(layer: Any) -> _Found:
    yield from _cell(type(layer).__name__.removesuffix("Cell"), "", "", layer)


def _cell(mode: str, suffix: str, scope: str, layer: Any) -> _Found:
    # PyTorch's gates are i, f, g, o, as Keras's; those of a GRU are r, z, n where Keras has z, r, h.
    gates = "gates(zrh->rzh) | " if mode == "GRU" else ""
    for name, role in (("weight_ih", "kernel"), ("weight_hh", "recurrent_kernel")):
        shape = getattr(layer, name + suffix).shape
        yield name + suffix, Convention(f"{scope}{role}", (_turned(shape, (1, 0), gates),))
    size = int(getattr(layer, f"weight_hh{suffix}").shape[0])
    for place, name in enumerate((f"bias_ih{suffix}", f"bias_hh{suffix}")):
        # Keras keeps both biases of a GRU as the rows of one; for the others it has one, which the two add up to.
        rows = f"split(0, {place}, [1, 1]) | squeeze(0) | gates(zrh->rzh)"
        made = ((2, size), rows) if mode == "GRU" else ((size,), "share(2)")
        yield name, Convention(f"{scope}bias", (made,), shared=True)


def _attention(layer: Any) -> _Found:
    size, roles = int(layer.embed_dim), ("query", "key", "value")
    fused = ((size, 3 * size), "transpose(1,0)")
    yield "in_proj_weight", Convention("kernel", (fused,), parts=tuple(f"{role}/kernel" for role in roles))
    yield "in_proj_bias", Convention("bias", parts=tuple(f"{role}/bias" for role in roles))
    for letter, part in zip("qkv", roles, strict=True):
        weight = getattr(layer, f"{letter}_proj_weight")
        if weight is not None:
            yield f"{letter}_proj_weight", Convention(f"{part}/kernel", (_turned(weight.shape, (1, 0)),))


_RULES: tuple[tuple[tuple[type, ...], Callable[[Any], _Found]], ...] = (
    ((nn.Linear,), _linear),
    (CONVOLUTIONS, _convolution),
    (
        (*BATCH_NORMALIZATIONS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
        _normalization,
    ),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.RNNBase,), _recurrent),
    ((nn.RNNCellBase,), _single_cell),
    ((nn.MultiheadAttention,), _attention),
)
