"""Reading by places: embeddings, gathers, masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("embedding")
def embedding(
    w: Writer,
    weight: Value,
    indices: Value,
    padding_idx: int = -1,  # noqa: ARG001 # of gradients alone
    scale_grad_by_freq: bool = False,  # noqa: ARG001
    sparse: bool = False,  # noqa: ARG001
) -> Value:
    """Rows of a table."""
    return w.op("GatherV2", weight, indices, w.ints(0))


@rule("index_select")
def index_select(w: Writer, x: Value, dim: int, index: Value) -> Value:
    """Places along a dimension."""
    if x.rank == 0:
        return w.reshape(x, ())
    return w.op("GatherV2", x, index, w.ints(dim % x.rank))


@rule("gather")
def gather(
    w: Writer,
    x: Value,
    dim: int,
    index: Value,
    sparse_grad: bool = False,  # noqa: ARG001 # of gradients alone
) -> Value:
    """For each element of `index` the place along a dimension, all other places its own."""
    if x.rank == 0 or index.rank == 0:
        flat = w.op(
            "GatherV2", w.reshape(x, (math.prod(x.shape),)), w.reshape(index, (math.prod(index.shape),)), w.ints(0)
        )
        return w.reshape(flat, index.shape)
    axis = dim % x.rank
    inner = [size for place, size in enumerate(index.shape) if place != axis]
    own = [size for place, size in enumerate(x.shape) if place != axis]
    if axis == x.rank - 1 and inner == own:
        return w.op("GatherV2", x, index, w.ints(axis), batch_dims=axis)
    return w.op("GatherNd", x, places(w, index, axis))


def places(w: Writer, index: Value, axis: int) -> Value:
    """Returns the place of each element: its own, but for one axis along which it is told."""
    grids = np.indices(index.shape)
    pieces = [index if place == axis else w.constant(grids[place], index.dtype) for place in range(index.rank)]
    return w.op("Pack", *pieces, axis=index.rank)


@rule("index.Tensor", "_unsafe_index.Tensor")
def index(w: Writer, x: Value, indices: Sequence[Value | None]) -> Value:
    """`x[i, :, j]` by places or truth values; what is taken stands in front where a gap is between them."""
    indices = list(indices)
    if any(each is not None and each.dtype in ("bool", "uint8") for each in indices):
        x, indices = _masked(w, x, indices)
    taken = [axis for axis, each in enumerate(indices) if each is not None]
    found = [each for each in indices if each is not None]
    if len(taken) == 1:
        return w.op("GatherV2", x, _counted(w, found[0], x.shape[taken[0]]), w.ints(taken[0]))
    shape = np.broadcast_shapes(*(each.shape for each in found))
    joined = [
        w.broadcast(w.cast(_counted(w, each, x.shape[axis]), "int64"), shape)
        for axis, each in zip(taken, found, strict=True)
    ]
    others = [axis for axis in range(x.rank) if axis not in taken]
    together = taken == list(range(taken[0], taken[0] + len(taken)))
    front = w.transpose(x, [*taken, *others])
    gathered = w.op("GatherNd", front, w.op("Pack", *joined, axis=len(shape)))
    if not together or taken[0] == 0:
        return gathered
    rank, before = len(shape), taken[0]
    order = [*range(rank, rank + before), *range(rank), *range(rank + before, gathered.rank)]
    return w.transpose(gathered, order)


def _counted(w: Writer, index: Value, size: int) -> Value:
    """Returns places counted from the front; which are counted from behind, the values tell."""
    index = w.cast(index, "int64") if index.dtype not in ("int32", "int64") else index
    if not (index.numpy() < 0).any():
        return index
    behind = w.op("Less", index, w.constant(0, index.dtype))
    return w.op("SelectV2", behind, w.op("AddV2", index, w.constant(size, index.dtype)), index)


def _masked(w: Writer, x: Value, indices: Sequence[Value | None]) -> tuple[Value, list[Value | None]]:
    """Turns truth values into places: dimensions that a mask covers become one."""
    out: list[Value | None] = []
    for each in indices:
        if each is None or each.dtype not in ("bool", "uint8"):
            out.append(each)
            continue
        axis, rank = len(out), each.rank
        if rank == 0:
            raise RefusedError("indexing by a single truth value is not covered")
        shape = (*x.shape[:axis], math.prod(x.shape[axis : axis + rank]), *x.shape[axis + rank :])
        x = w.reshape(x, shape)
        flat = w.reshape(w.cast(each, "bool"), (math.prod(each.shape),))
        out.append(w.reshape(w.op("Where", flat), (int(np.count_nonzero(each.numpy())),)))
    return x, out


@rule("nonzero")
def nonzero(w: Writer, x: Value) -> Value:
    """The places of what is not zero, one in each row."""
    if x.rank == 0:
        return w.constant(np.zeros((int(bool(x.numpy())), 0)), "int64")
    return w.op("Where", x)


@rule("masked_select")
def masked_select(w: Writer, x: Value, mask: Value) -> Value:
    """What stands where a mask is true, in one row."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    return index(w, w.broadcast(x, shape), [w.broadcast(mask, shape)])
