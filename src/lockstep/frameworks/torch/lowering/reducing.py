"""Sums, means, extremes along dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.elementwise import as_floating
from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.values import axes, dtype_name, floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer

Dims = Sequence[int] | int | None


def reduced(w: Writer, kind: str, x: Value, dim: Dims, *, keepdim: bool) -> Value:
    """Writes a reduction along some dimensions; none or no list means all."""
    taken = axes(dim, x.rank)
    whence = w.turned(x)
    if whence is None:
        return w.op(kind, x, w.ints(list(taken)), keep_dims=keepdim)
    source, order = whence
    made = w.op(kind, source, w.ints(sorted(order[axis] for axis in taken)), keep_dims=keepdim)
    if keepdim:
        return w.transpose(made, order)
    left = [order[axis] for axis in range(x.rank) if axis not in taken]
    return w.transpose(made, [sorted(left).index(axis) for axis in left])


def _summed(w: Writer, x: Value, dtype: Any) -> Value:
    """Returns what is summed up: whole numbers in int64 unless a dtype is told."""
    if dtype is not None:
        return w.cast(x, dtype_name(dtype))
    return x if floating(x.dtype) else w.cast(x, "int64")


@rule("sum.dim_IntList", "sum")
def total(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The sum."""
    return reduced(w, "Sum", _summed(w, x, dtype), dim, keepdim=keepdim)


@rule("mean.dim", "mean")
def mean(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The mean."""
    return reduced(w, "Mean", x if dtype is None else w.cast(x, dtype_name(dtype)), dim, keepdim=keepdim)


@rule("prod", "prod.dim_int")
def prod(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Value:
    """The product."""
    return reduced(w, "Prod", _summed(w, x, dtype), dim, keepdim=keepdim)


@rule("amax")
def amax(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    """The largest."""
    return _extreme(w, "Max", x, dim, keepdim=keepdim)


@rule("amin")
def amin(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    """The smallest."""
    return _extreme(w, "Min", x, dim, keepdim=keepdim)


@rule("max")
def largest(w: Writer, x: Value) -> Value:
    """The largest of all."""
    return _extreme(w, "Max", x, None, keepdim=False)


@rule("min")
def smallest(w: Writer, x: Value) -> Value:
    """The smallest of all."""
    return _extreme(w, "Min", x, None, keepdim=False)


@rule("max.dim")
def max_dim(w: Writer, x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
    """The largest along a dimension, and where it is."""
    return _extreme(w, "Max", x, dim, keepdim=keepdim), argmax(w, x, dim, keepdim)


@rule("min.dim")
def min_dim(w: Writer, x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
    """The smallest along a dimension, and where it is."""
    return _extreme(w, "Min", x, dim, keepdim=keepdim), argmin(w, x, dim, keepdim)


@rule("argmax")
def argmax(w: Writer, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Where the largest is; counted through all without a dimension."""
    return _place(w, "ArgMax", x, dim, keepdim=keepdim)


@rule("argmin")
def argmin(w: Writer, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Where the smallest is; counted through all without a dimension."""
    return _place(w, "ArgMin", x, dim, keepdim=keepdim)


@rule("any", "any.dim", "any.dims")
def any_(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    """Whether one is not zero."""
    return _logical(w, "Any", x, dim, keepdim=keepdim)


@rule("all", "all.dim", "all.dims")
def all_(w: Writer, x: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    """Whether none is zero."""
    return _logical(w, "All", x, dim, keepdim=keepdim)


@rule("var.correction", "var.dim", "var")
def var(
    w: Writer, x: Value, dim: Dims = None, correction: Any = None, keepdim: bool = False, unbiased: bool = True
) -> Value:
    """The mean square around the mean, with as many elements fewer in the divisor as the correction says."""
    return variance(w, x, dim, _correction(correction, unbiased=unbiased), keepdim=keepdim)


@rule("var_mean.correction")
def var_mean(
    w: Writer, x: Value, dim: Dims = None, correction: Any = None, keepdim: bool = False
) -> tuple[Value, Value]:
    """The variance and the mean."""
    return (
        variance(w, x, dim, _correction(correction, unbiased=True), keepdim=keepdim),
        reduced(w, "Mean", x, dim, keepdim=keepdim),
    )


@rule("std.correction", "std.dim", "std")
def std(
    w: Writer, x: Value, dim: Dims = None, correction: Any = None, keepdim: bool = False, unbiased: bool = True
) -> Value:
    """The square root of the variance."""
    return w.op("Sqrt", variance(w, x, dim, _correction(correction, unbiased=unbiased), keepdim=keepdim))


@rule("cumsum")
def cumsum(w: Writer, x: Value, dim: int, dtype: Any = None) -> Value:
    """Sums of all up to each."""
    summed = _summed(w, x, dtype)
    return w.op("Cumsum", summed, w.ints(dim % x.rank)) if x.rank else w.reshape(summed, ())


@rule("cumprod")
def cumprod(w: Writer, x: Value, dim: int, dtype: Any = None) -> Value:
    """Products of all up to each."""
    multiplied = _summed(w, x, dtype)
    return w.op("Cumprod", multiplied, w.ints(dim % x.rank)) if x.rank else w.reshape(multiplied, ())


@rule("logsumexp")
def logsumexp(w: Writer, x: Value, dim: Dims, keepdim: bool = False) -> Value:
    """The logarithm of the sum of exponentials, with the largest taken out."""
    wide = as_floating(w, x)
    largest_kept = reduced(w, "Max", wide, dim, keepdim=True)
    shift = w.op("SelectV2", w.op("IsFinite", largest_kept), largest_kept, w.constant(0, wide.dtype))
    summed = reduced(w, "Sum", w.op("Exp", w.op("Sub", wide, shift)), dim, keepdim=keepdim)
    logarithm = w.op("Log", summed)
    return w.op("AddV2", logarithm, w.reshape(shift, logarithm.shape))


def variance(w: Writer, x: Value, dim: Dims, correction: float, *, keepdim: bool) -> Value:
    """Writes the variance as tf.nn.moments does, and the correction as a factor."""
    taken = axes(dim, x.rank)
    center = reduced(w, "Mean", x, dim, keepdim=True)
    squares = w.op("SquaredDifference", x, center)
    biased = reduced(w, "Mean", squares, dim, keepdim=keepdim)
    if correction == 0:
        return biased
    count = math.prod(x.shape[axis] for axis in taken)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = float(np.float64(count) / np.float64(max(count - correction, 0)))
    return w.op("Mul", biased, w.constant(factor, x.dtype))


def _correction(correction: Any, *, unbiased: bool) -> float:
    if correction is not None:
        return float(correction)
    return 1.0 if unbiased else 0.0


def _extreme(w: Writer, kind: str, x: Value, dim: Dims, *, keepdim: bool) -> Value:
    if x.dtype == "bool":
        return _logical(w, {"Max": "Any", "Min": "All"}[kind], x, dim, keepdim=keepdim)
    found = reduced(w, kind, x, dim, keepdim=keepdim)
    if floating(x.dtype) and np.isnan(x.numpy()).any():  # TensorFlow may pass over it, PyTorch gives it
        missing = reduced(w, "Any", w.op("IsNan", x), dim, keepdim=keepdim)
        return w.op("SelectV2", missing, w.constant(np.nan, x.dtype), found)
    return found


def _logical(w: Writer, kind: str, x: Value, dim: Dims, *, keepdim: bool) -> Value:
    found = reduced(w, kind, w.cast(x, "bool"), dim, keepdim=keepdim)
    return w.cast(found, "uint8") if x.dtype == "uint8" else found


def _place(w: Writer, kind: str, x: Value, dim: int | None, *, keepdim: bool) -> Value:
    x = w.cast(x, "uint8") if x.dtype == "bool" else x
    if dim is None or x.rank == 0:
        found = w.op(kind, w.reshape(x, (math.prod(x.shape),)), w.ints(0))
        return w.reshape(found, (1,) * x.rank if keepdim else ())
    axis = dim % x.rank
    found = w.op(kind, x, w.ints(axis))
    return w.op("ExpandDims", found, w.ints(axis)) if keepdim else found
