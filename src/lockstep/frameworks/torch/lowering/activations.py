"""Activations, in the spelling of TensorFlow's own functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.values import floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("relu")
def relu(w: Writer, x: Value) -> Value:
    """`max(x, 0)`."""
    return w.op("Relu", x)


@rule("gelu")
def gelu(w: Writer, x: Value, approximate: str = "none") -> Value:
    """As tf.nn.gelu writes it: by erfc, or by tanh."""
    half = w.op("Mul", w.constant(0.5, x.dtype), x)
    if approximate == "none":
        # As Keras and tf.nn.gelu since TensorFlow 2.18 have it.
        scaled = w.op("Mul", w.op("Neg", x), w.constant(math.sqrt(0.5), x.dtype))
        return w.op("Mul", half, w.op("Erfc", scaled))
    if approximate != "tanh":
        raise RefusedError(f"gelu with approximate = {approximate!r} is not covered")
    cube = w.op("Mul", w.constant(0.044715, x.dtype), w.op("Pow", x, w.constant(3, x.dtype)))
    inner = w.op("Mul", w.constant(math.sqrt(2 / math.pi), x.dtype), w.op("AddV2", x, cube))
    return w.op("Mul", half, w.op("AddV2", w.constant(1, x.dtype), w.op("Tanh", inner)))


@rule("silu")
def silu(w: Writer, x: Value) -> Value:
    """`x * sigmoid(x)`."""
    return w.op("Mul", x, w.op("Sigmoid", x))


@rule("leaky_relu")
def leaky_relu(w: Writer, x: Value, negative_slope: float = 0.01) -> Value:
    """`x`, or a part of it where it is negative."""
    if x.dtype == "float64":  # TensorFlow's attribute is a float32
        part = w.op("Mul", x, w.constant(negative_slope, x.dtype))
        return w.op("SelectV2", w.op("Greater", x, w.constant(0, x.dtype)), x, part)
    return w.op("LeakyRelu", x, alpha=negative_slope)


@rule("elu")
def elu(w: Writer, x: Value, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Value:
    """`scale * x`, or `scale * alpha * (exp(input_scale * x) - 1)` where it is negative."""
    if input_scale != 1:
        raise RefusedError(f"elu with input_scale = {input_scale!r} is not covered")
    if (alpha, scale) == _SELU:
        return w.op("Selu", x)
    unit = w.op("Elu", x)
    if alpha != 1:
        part = w.op("Mul", w.constant(alpha, x.dtype), unit)
        unit = w.op("SelectV2", w.op("Greater", x, w.constant(0, x.dtype)), unit, part)
    return unit if scale == 1 else w.op("Mul", w.constant(scale, x.dtype), unit)


_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


@rule("hardtanh")
def hardtanh(w: Writer, x: Value, min_val: Any = -1, max_val: Any = 1) -> Value:
    """Between two numbers; from 0 to 6 it is TensorFlow's Relu6."""
    if (min_val, max_val) == (0, 6):
        return w.op("Relu6", x)
    return clamp(w, x, min_val, max_val)


@rule("clamp", "clamp.Tensor")
def clamp(w: Writer, x: Value, min_: Any = None, max_: Any = None) -> Value:
    """Between two bounds, each of which may be missing; where they cross it is the upper one."""
    from lockstep.frameworks.torch.lowering.elementwise import binary

    low = x if min_ is None else binary(w, "Maximum", x, min_)
    return low if max_ is None else binary(w, "Minimum", low, max_)


@rule("hardsigmoid")
def hardsigmoid(w: Writer, x: Value) -> Value:
    """`relu6(x + 3) / 6`."""
    return w.op("RealDiv", w.op("Relu6", w.op("AddV2", x, w.constant(3, x.dtype))), w.constant(6, x.dtype))


@rule("hardswish")
def hardswish(w: Writer, x: Value) -> Value:
    """`x * relu6(x + 3) / 6`."""
    return w.op("Mul", x, hardsigmoid(w, x))


@rule("softplus")
def softplus(w: Writer, x: Value, beta: Any = 1, threshold: Any = 20) -> Value:
    """`log(1 + exp(beta * x)) / beta`, and `x` itself above the threshold."""
    scaled = x if beta == 1 else w.op("Mul", x, w.constant(beta, x.dtype))
    smooth = w.op("Softplus", scaled)
    smooth = smooth if beta == 1 else w.op("RealDiv", smooth, w.constant(beta, x.dtype))
    return w.op("SelectV2", w.op("Greater", scaled, w.constant(threshold, x.dtype)), x, smooth)


@rule("_softmax")
def softmax(w: Writer, x: Value, dim: int, half_to_float: bool) -> Value:
    """Along one dimension."""
    return _along_last(w, "Softmax", w.cast(x, "float32") if half_to_float else x, dim)


@rule("_safe_softmax")
def safe_softmax(w: Writer, x: Value, dim: int, dtype: Any = None) -> Value:
    """As softmax, and zero where all along the dimension is minus infinity."""
    if dtype is not None:
        raise RefusedError(f"_safe_softmax with dtype = {dtype} is not covered")
    axis = dim % x.rank if x.rank else 0
    masked = w.op("All", w.op("Equal", x, w.constant(-np.inf, x.dtype)), w.ints([axis]), keep_dims=True)
    if not masked.numpy().any():
        return _along_last(w, "Softmax", x, dim)
    return w.op("SelectV2", masked, w.constant(0, x.dtype), _along_last(w, "Softmax", x, dim))


@rule("_log_softmax")
def log_softmax(w: Writer, x: Value, dim: int, half_to_float: bool) -> Value:
    """Logarithm of the softmax along one dimension."""
    return _along_last(w, "LogSoftmax", w.cast(x, "float32") if half_to_float else x, dim)


def _along_last(w: Writer, kind: str, x: Value, dim: int) -> Value:
    """Writes what TensorFlow does along the last dimension alone."""
    if not floating(x.dtype):
        raise RefusedError(f"{kind} of {x.dtype} is not covered")
    if x.rank == 0:
        return w.reshape(w.op(kind, w.reshape(x, (1,))), ())
    axis, last = dim % x.rank, x.rank - 1
    if axis == last:
        return w.op(kind, x)
    order = list(range(x.rank))
    order[axis], order[last] = last, axis
    return w.transpose(w.op(kind, w.transpose(x, order)), order)
