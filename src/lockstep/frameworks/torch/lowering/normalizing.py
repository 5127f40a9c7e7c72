"""Normalisation by means and variances, in the spelling of TensorFlow's and Keras's layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lockstep.frameworks.torch.lowering.reducing import reduced
from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("native_layer_norm")
def native_layer_norm(
    w: Writer, x: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    """By the mean and variance of the last dimensions; these come along, the latter as its inverse root."""
    axes = list(range(x.rank - len(normalized_shape), x.rank))
    y, mean, inverse = _normalized(w, x, axes, weight, bias, eps)
    return y, mean, inverse


@rule("native_group_norm")
def native_group_norm(
    w: Writer,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    N: int,  # noqa: N803 # the schema's name
    C: int,  # noqa: N803
    HxW: int,  # noqa: N803
    group: int,
    eps: float,
) -> tuple[Value, Value, Value]:
    """By the mean and variance of groups of channels; these come along, the latter as its inverse root."""
    spatial = x.shape[2:]
    last = w.reshape(x, (N, group, C // group, HxW)) if not spatial else w.transpose(x, [0, *range(2, x.rank), 1])
    if not spatial:
        last = w.transpose(last, [0, 3, 1, 2])
    grouped = w.reshape(last, (*last.shape[:-1], group, C // group)) if spatial else last
    axes = [*range(1, grouped.rank - 2), grouped.rank - 1]
    factor, offset = (None if each is None else w.reshape(each, (group, C // group)) for each in (weight, bias))
    y, mean, inverse = _normalized(w, grouped, axes, factor, offset, eps)
    channels = w.reshape(y, (N, *(spatial or (HxW,)), C))
    back = w.transpose(channels, [0, channels.rank - 1, *range(1, channels.rank - 1)])
    return w.reshape(back, x.shape), w.reshape(mean, (N, group)), w.reshape(inverse, (N, group))


def _normalized(
    w: Writer, x: Value, axes: list[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    """Writes `(x - mean) / sqrt(variance + eps) * weight + bias` as Keras's layer normalisation does."""
    half = x.dtype in ("float16", "bfloat16")
    given = x.dtype
    x = w.cast(x, "float32") if half else x
    mean, variance = moments(w, x, axes)
    inverse = w.op("Rsqrt", w.op("AddV2", variance, w.constant(eps, x.dtype)))
    factor = inverse if weight is None else w.op("Mul", inverse, w.cast(weight, x.dtype))
    shift = w.op("Mul", w.op("Neg", mean), factor)
    if bias is not None:
        shift = w.op("AddV2", shift, w.cast(bias, x.dtype))
    y = w.op("AddV2", w.op("Mul", x, factor), shift)
    return (w.cast(y, given) if half else y), mean, inverse


def moments(w: Writer, x: Value, axes: list[int]) -> tuple[Value, Value]:
    """Writes mean and variance, with their dimensions kept, as tf.nn.moments does."""
    mean = reduced(w, "Mean", x, axes, keepdim=True)
    return mean, reduced(w, "Mean", w.op("SquaredDifference", x, mean), axes, keepdim=True)


@rule("_native_batch_norm_legit_no_training")
def batch_norm_inference(
    w: Writer,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value,
    running_var: Value,
    momentum: float,  # noqa: ARG001 # without training nothing is averaged
    eps: float,
) -> tuple[Value, Value, Value]:
    """By averages; of the two other outputs there is nothing in them."""
    y, _, _ = _batch_norm(w, x, (weight, bias), (running_mean, running_var), eps)
    return y, w.constant([], x.dtype), w.constant([], x.dtype)


@rule("_native_batch_norm_legit_functional")
def batch_norm_training(
    w: Writer,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value,
    running_var: Value,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Value, ...]:
    """By the moments of the batch, and the averages moved towards them, the variance's by the unbiased one."""
    if not training:
        y, mean, inverse = batch_norm_inference(w, x, weight, bias, running_mean, running_var, momentum, eps)
        return y, mean, inverse, running_mean, running_var
    y, mean, variance = _batch_norm(w, x, (weight, bias), None, eps)
    unbiased, inverse = _of_batch(w, x, variance, eps)
    moved = _moved(w, running_mean, mean, momentum), _moved(w, running_var, unbiased, momentum)
    return y, mean, inverse, *moved


@rule("_native_batch_norm_legit.no_stats")
def batch_norm_without_averages(
    w: Writer,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    training: bool,  # noqa: ARG001 # there are no averages to use instead
    momentum: float,  # noqa: ARG001
    eps: float,
) -> tuple[Value, ...]:
    """By the moments of the batch."""
    y, mean, variance = _batch_norm(w, x, (weight, bias), None, eps)
    return y, mean, _of_batch(w, x, variance, eps)[1]


def _fused(x: Value) -> bool:
    """Whether TensorFlow's fused kernel does it: images in float32, as TF1's layers have them."""
    return x.rank == 4 and x.dtype == "float32"


def _batch_norm(
    w: Writer,
    x: Value,
    affine: tuple[Value | None, Value | None],
    averages: tuple[Value, Value] | None,
    eps: float,
) -> tuple[Value, Value, Value]:
    """Writes the normalisation with the channels last; returns it, the mean and the variance that were used.

    The variance is the unbiased one of the batch where the fused kernel has it, as that kernel gives no other.
    """
    given = x.dtype
    x = w.cast(x, "float32") if given in ("float16", "bfloat16") else x
    channels = x.shape[1]
    last = w.transpose(x, [0, *range(2, x.rank), 1])
    weight, bias = (each and w.cast(each, x.dtype) for each in affine)
    if _fused(x):
        scale = w.constant([1.0] * channels, x.dtype) if weight is None else weight
        offset = w.constant([0.0] * channels, x.dtype) if bias is None else bias
        used = averages or (w.constant([], x.dtype), w.constant([], x.dtype))
        y, mean, variance, *_ = w.ops(
            "FusedBatchNormV3", 6, last, scale, offset, *used, epsilon=eps, is_training=averages is None
        )
    else:
        if averages is None:
            axes = list(range(last.rank - 1))
            mean, variance = (w.reshape(each, (channels,)) for each in moments(w, last, axes))
        else:
            mean, variance = (w.cast(each, x.dtype) for each in averages)
        inverse = w.op("Rsqrt", w.op("AddV2", variance, w.constant(eps, x.dtype)))
        factor = inverse if weight is None else w.op("Mul", inverse, weight)
        shift = w.op("Mul", mean, factor)
        shift = w.op("Neg", shift) if bias is None else w.op("Sub", bias, shift)
        y = w.op("AddV2", w.op("Mul", last, factor), shift)
    return w.cast(w.transpose(y, [0, x.rank - 1, *range(1, x.rank - 1)]), given), mean, variance


def _of_batch(w: Writer, x: Value, variance: Value, eps: float) -> tuple[Value, Value]:
    """Returns the unbiased variance of a batch, and the inverse root of the biased one."""
    count = math.prod(x.shape) // x.shape[1]
    if _fused(x):
        unbiased, biased = variance, w.op("Mul", variance, w.constant((count - 1) / count, variance.dtype))
    else:
        unbiased, biased = w.op("Mul", variance, w.constant(count / max(count - 1, 1), variance.dtype)), variance
    return unbiased, w.op("Rsqrt", w.op("AddV2", biased, w.constant(eps, variance.dtype)))


def _moved(w: Writer, average: Value, value: Value, momentum: float) -> Value:
    """Writes a moving average as Keras does; PyTorch's momentum is the share of the new value."""
    kept = w.op("Mul", average, w.constant(1 - momentum, average.dtype))
    return w.op("AddV2", kept, w.op("Mul", w.cast(value, average.dtype), w.constant(momentum, average.dtype)))
