"""Orders of values."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.values import floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("sort", "sort.stable")
def sort(
    w: Writer,
    x: Value,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,  # noqa: ARG001 # TensorFlow's is
) -> tuple[Value, Value]:
    """Sorted along a dimension, and where each was; equal ones stay in their order."""
    if x.rank == 0:
        return x, w.constant(0, "int64")
    return _sorted(w, x, dim % x.rank, x.shape[dim], descending=descending)


@rule("topk")
def topk(
    w: Writer,
    x: Value,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted_: bool = True,  # noqa: ARG001 # in order also where that is not asked for
) -> tuple[Value, Value]:
    """The first so many along a dimension, and where each was."""
    if x.rank == 0:
        return x, w.constant(0, "int64")
    return _sorted(w, x, dim % x.rank, k, descending=largest)


def _sorted(w: Writer, x: Value, axis: int, count: int, *, descending: bool) -> tuple[Value, Value]:
    """Writes TopKV2, which gives the earlier of equal ones first; upwards it sorts what is turned round."""
    if floating(x.dtype) and np.isnan(x.numpy()).any():
        raise RefusedError("sorting NaN is not covered")
    if x.dtype == "bool":
        made = _sorted(w, w.cast(x, "uint8"), axis, count, descending=descending)
        return w.cast(made[0], "bool"), made[1]
    order = [*(each for each in range(x.rank) if each != axis), axis]
    last = w.transpose(x, order)
    taken = w.constant(count, "int32")
    if descending:
        values, where = w.ops("TopKV2", 2, last, taken)
    else:
        values, where = w.ops("TopKV2", 2, _turned_round(w, last), taken)
        values = w.op("GatherV2", last, where, w.ints(last.rank - 1), batch_dims=last.rank - 1)
    back = [order.index(each) for each in range(x.rank)]
    return w.transpose(values, back), w.transpose(w.cast(where, "int64"), back)


def _turned_round(w: Writer, x: Value) -> Value:
    """Returns what is small where `x` is large, of its dtype; of whole numbers without overflow."""
    return w.op("Neg", x) if floating(x.dtype) else w.op("Invert", x)


@rule("searchsorted.Tensor")
def searchsorted(
    w: Writer, sorted_sequence: Value, x: Value, out_int32: bool = False, right: bool = False, side: str | None = None
) -> Value:
    """Where each value would be put into a row that is sorted, so that it stays so."""
    rows = math.prod(sorted_sequence.shape[:-1])
    shared = w.reshape(sorted_sequence, (rows, sorted_sequence.shape[-1]))
    values = w.reshape(x, (1, math.prod(x.shape))) if rows == 1 else w.reshape(x, (rows, x.shape[-1]))
    kind = "UpperBound" if right or side == "right" else "LowerBound"
    found = w.op(kind, shared, values, out_type=tf.int32 if out_int32 else tf.int64)
    return w.reshape(found, x.shape)
