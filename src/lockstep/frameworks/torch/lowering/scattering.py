"""Writing to places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.indexing import index as read
from lockstep.frameworks.torch.lowering.indexing import places
from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("scatter.src", "scatter.value")
def scatter(w: Writer, x: Value, dim: int, index: Value, src: Any = None, value: Any = None) -> Value:
    """For each element of `index`, one is written to the place that it says along a dimension."""
    updates = w.broadcast(w.constant(value, x.dtype), index.shape) if src is None else _first(w, src, index.shape)
    return _scattered(w, "TensorScatterUpdate", x, dim, index, updates)


@rule("scatter_add")
def scatter_add(w: Writer, x: Value, dim: int, index: Value, src: Value) -> Value:
    """As scatter, but added to what is there."""
    return _scattered(w, "TensorScatterAdd", x, dim, index, _first(w, src, index.shape))


@rule("scatter_reduce.two")
def scatter_reduce(
    w: Writer, x: Value, dim: int, index: Value, src: Value, reduce: str, include_self: bool = True
) -> Value:
    """As scatter, but put together with what is there: a sum, the largest, the smallest, a mean."""
    updates = _first(w, src, index.shape)
    kinds = {
        "sum": "TensorScatterAdd",
        "amax": "TensorScatterMax",
        "amin": "TensorScatterMin",
        "mean": "TensorScatterAdd",
    }
    kind = kinds.get(reduce)
    if kind is None:
        raise RefusedError(f"scatter_reduce with reduce = {reduce!r} is not covered")
    ones = w.broadcast(w.constant(1, x.dtype), updates.shape)
    counts = _scattered(w, "TensorScatterAdd", w.constant(np.zeros(x.shape), x.dtype), dim, index, ones)
    hit = w.op("Greater", counts, w.constant(0, x.dtype))
    start = x
    if not include_self:
        start = w.op("SelectV2", hit, w.constant(_neutral(kind, x.dtype), x.dtype), x)
    made = _scattered(w, kind, start, dim, index, updates)
    if reduce != "mean":
        return made
    divisor = w.op("AddV2", counts, w.constant(1, x.dtype)) if include_self else counts
    divisor = divisor if include_self else w.op("Maximum", counts, w.constant(1, x.dtype))
    return w.op("RealDiv" if x.dtype.startswith(("float", "bfloat")) else "FloorDiv", made, divisor)


@rule("index_put", "_unsafe_index_put")
def index_put(w: Writer, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False) -> Value:
    """`x[indices] = values`, or added to what is there."""
    # Where each element is, is read by the very indices.
    counted = w.constant(np.arange(math.prod(x.shape)).reshape(x.shape), "int64")
    where = read(w, counted, indices)
    updates = w.broadcast(w.cast(values, x.dtype), where.shape)
    flat, size = w.reshape(x, (math.prod(x.shape),)), math.prod(where.shape)
    kind = "TensorScatterAdd" if accumulate else "TensorScatterUpdate"
    if x.dtype == "bool" and accumulate:
        raise RefusedError("index_put of truth values that are added up is not covered")
    made = w.op(kind, flat, w.reshape(where, (size, 1)), w.reshape(updates, (size,)))
    return w.reshape(made, x.shape)


@rule("index_add")
def index_add(w: Writer, x: Value, dim: int, index: Value, source: Value, alpha: Any = 1) -> Value:
    """Rows along a dimension added to those that are named."""
    scaled = source if alpha == 1 else w.op("Mul", source, w.constant(alpha, source.dtype))
    axis = dim % x.rank
    order = [axis, *(each for each in range(x.rank) if each != axis)]
    rows = w.op("ExpandDims", index, w.ints(1))
    made = w.op("TensorScatterAdd", w.transpose(x, order), rows, w.transpose(scaled, order))
    return w.transpose(made, [order.index(each) for each in range(x.rank)])


@rule("masked_scatter")
def masked_scatter(w: Writer, x: Value, mask: Value, source: Value) -> Value:
    """Where a mask is true, the values of another tensor one after the other."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    start, taken = w.broadcast(x, shape), w.broadcast(mask, shape)
    count = int(np.count_nonzero(taken.numpy()))
    flat = w.reshape(taken, (math.prod(shape),))
    where = w.reshape(w.op("Where", flat), (count, 1))
    values = w.slice(w.reshape(source, (math.prod(source.shape),)), [0], [count])
    made = w.op("TensorScatterUpdate", w.reshape(start, (math.prod(shape),)), where, values)
    return w.reshape(made, shape)


@rule("embedding_dense_backward")
def embedding_dense_backward(
    w: Writer, grad_output: Value, indices: Value, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Value:
    """The gradient of a table whose rows were read."""
    if scale_grad_by_freq:
        raise RefusedError("embedding_dense_backward with scale_grad_by_freq is not covered")
    width, count = grad_output.shape[-1], math.prod(indices.shape)
    rows = w.reshape(grad_output, (count, width))
    flat = w.reshape(indices, (count, 1))
    if padding_idx >= 0:
        padding = w.op("Equal", flat, w.constant(padding_idx, flat.dtype))
        rows = w.op("SelectV2", padding, w.constant(0, rows.dtype), rows)
    return w.op("TensorScatterAdd", w.constant(np.zeros((num_weights, width)), rows.dtype), flat, rows)


def _first(w: Writer, src: Value, shape: Sequence[int]) -> Value:
    """Returns the block of the sources that `index` covers."""
    return src if src.shape == tuple(shape) else w.slice(src, [0] * src.rank, shape)


def _scattered(w: Writer, kind: str, x: Value, dim: int, index: Value, updates: Value) -> Value:
    if x.rank == 0:
        made = _scattered(w, kind, w.reshape(x, (1,)), 0, w.reshape(index, (1,)), w.reshape(updates, (1,)))
        return w.reshape(made, ())
    return w.op(kind, x, places(w, index, dim % x.rank), updates)


def _neutral(kind: str, dtype: str) -> Any:
    if kind == "TensorScatterAdd":
        return 0
    if dtype.startswith(("float", "bfloat")):
        return -math.inf if kind == "TensorScatterMax" else math.inf
    limits = np.iinfo(dtype)
    return limits.min if kind == "TensorScatterMax" else limits.max
