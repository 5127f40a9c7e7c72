"""Operations that move values: shapes, orders, blocks, padding."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.values import axes, dtype_name, torch_dtype
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("view", "reshape", "_unsafe_view")
def view(w: Writer, x: Value, size: Sequence[int] = (), shape: Sequence[int] = ()) -> Value:
    """The values in another shape, one size of which may be -1."""
    wanted = list(size or shape)
    if -1 in wanted:
        known = math.prod(each for each in wanted if each != -1)
        wanted[wanted.index(-1)] = math.prod(x.shape) // known if known else 0
    return w.reshape(x, wanted)


@rule("alias", "clone", "detach", "lift_fresh_copy", "contiguous")
def alias(w: Writer, x: Value) -> Value:
    """The same values."""
    return w.reshape(x, x.shape)


@rule("permute")
def permute(w: Writer, x: Value, dims: Sequence[int]) -> Value:
    """The dimensions in another order."""
    return w.transpose(x, [dim % x.rank for dim in dims])


@rule("t")
def transposed_matrix(w: Writer, x: Value) -> Value:
    """A matrix transposed; a vector as it is."""
    return w.transpose(x, list(range(x.rank))[::-1])


@rule("transpose.int")
def transpose(w: Writer, x: Value, dim0: int, dim1: int) -> Value:
    """Two dimensions swapped."""
    order = list(range(x.rank))
    if order:
        order[dim0], order[dim1] = order[dim1], order[dim0]
    return w.transpose(x, order)


@rule("unsqueeze")
def unsqueeze(w: Writer, x: Value, dim: int) -> Value:
    """One more dimension of size 1."""
    return w.op("ExpandDims", x, w.ints(dim % (x.rank + 1)))


@rule("squeeze.dims", "squeeze.dim", "squeeze")
def squeeze(w: Writer, x: Value, dim: Sequence[int] | int | None = None) -> Value:
    """Fewer dimensions of size 1: those that are named and are of size 1."""
    named = range(x.rank) if dim is None else axes(dim, x.rank) if not isinstance(dim, Sequence) or dim else ()
    gone = [axis for axis in named if x.shape[axis] == 1]
    return w.op("Squeeze", x, squeeze_dims=gone) if gone else x


@rule("expand")
def expand(w: Writer, x: Value, size: Sequence[int]) -> Value:
    """Repeated along dimensions of size 1; -1 keeps a size."""
    own = (1,) * (len(size) - x.rank) + x.shape
    return w.broadcast(x, [own[place] if each == -1 else each for place, each in enumerate(size)])


@rule("repeat")
def repeat(w: Writer, x: Value, repeats: Sequence[int]) -> Value:
    """Laid side by side so and so often, with new dimensions in front."""
    shaped = w.reshape(x, (1,) * (len(repeats) - x.rank) + x.shape)
    return w.op("Tile", shaped, w.ints(list(repeats))) if any(each != 1 for each in repeats) else shaped


@rule("cat")
def cat(w: Writer, tensors: Sequence[Value], dim: int = 0) -> Value:
    """One behind the other; tensors of shape (0,) are let go, as PyTorch does."""
    kept = [each for each in tensors if each.shape != (0,)] or list(tensors[:1])
    dtype = promoted_all(tensors)
    if len(kept) == 1:
        return w.cast(kept[0], dtype)
    casts, axis = [w.cast(each, dtype) for each in kept], dim % kept[0].rank
    turned = [w.turned(each) for each in casts]
    orders = {each and each[1] for each in turned}
    order = orders.pop() if len(orders) == 1 else None
    if order is None:
        return w.op("ConcatV2", *casts, w.ints(axis))
    joined = w.op("ConcatV2", *(each[0] for each in turned if each), w.ints(order[axis]))
    return w.transpose(joined, order)


@rule("stack")
def stack(w: Writer, tensors: Sequence[Value], dim: int = 0) -> Value:
    """Along a new dimension."""
    dtype = promoted_all(tensors)
    return w.op("Pack", *(w.cast(each, dtype) for each in tensors), axis=dim % (tensors[0].rank + 1))


@rule("select.int")
def select(w: Writer, x: Value, dim: int, index: int) -> Value:
    """One place along a dimension, which is gone then: `x[:, 0]`."""
    axis = dim % x.rank
    return _strided(w, x, axis, index % x.shape[axis], None, 1)


@rule("slice.Tensor")
def slice_(w: Writer, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    """`x[start:end:step]` along a dimension."""
    axis = dim % x.rank
    first, last, _ = slice(start, end).indices(x.shape[axis])
    whence = w.turned(x)
    if whence is not None:
        return w.transpose(slice_(w, whence[0], whence[1][axis], start, end, step), whence[1])
    if (first, last, step) == (0, x.shape[axis], 1):
        return x
    return _strided(w, x, axis, first, max(first, last), step)


@rule("split_with_sizes")
def split_with_sizes(w: Writer, x: Value, split_sizes: Sequence[int], dim: int = 0) -> tuple[Value, ...]:
    """Cut into pieces of given sizes."""
    sizes, axis = list(split_sizes), dim % x.rank
    if len(sizes) == 1:
        return (x,)
    if len(set(sizes)) == 1:
        return tuple(w.ops("Split", len(sizes), w.ints(axis), x, num_split=len(sizes)))
    return tuple(w.ops("SplitV", len(sizes), x, w.ints(sizes), w.ints(axis), num_split=len(sizes)))


@rule("split.Tensor")
def split(w: Writer, x: Value, split_size: int, dim: int = 0) -> tuple[Value, ...]:
    """Cut into pieces of one size, the last of which may be smaller."""
    whole = x.shape[dim]
    return split_with_sizes(w, x, [min(split_size, whole - first) for first in range(0, whole, split_size)], dim)


@rule("unbind.int")
def unbind(w: Writer, x: Value, dim: int = 0) -> tuple[Value, ...]:
    """All places along a dimension."""
    axis = dim % x.rank
    return tuple(w.ops("Unpack", x.shape[axis], x, num=x.shape[axis], axis=axis))


@rule("flip")
def flip(w: Writer, x: Value, dims: Sequence[int]) -> Value:
    """Backwards along some dimensions."""
    return w.op("ReverseV2", x, w.ints([dim % x.rank for dim in dims])) if dims else x


@rule("roll")
def roll(w: Writer, x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    """Rolled round; without dimensions as if it had but one."""
    if not dims:
        flat = w.reshape(x, (math.prod(x.shape),))
        return w.reshape(w.op("Roll", flat, w.ints(list(shifts)), w.ints([0])), x.shape)
    return w.op("Roll", x, w.ints(list(shifts)), w.ints([dim % x.rank for dim in dims]))


@rule("constant_pad_nd")
def constant_pad(w: Writer, x: Value, pad: Sequence[int], value: Any = 0) -> Value:
    """A number around the values; where it is negative, values are cut off."""
    sides = _sides(pad, x.rank)
    cut = [(max(-low, 0), max(-high, 0)) for low, high in sides]
    if any(low or high for low, high in cut):
        begin = [low for low, _ in cut]
        x = w.slice(x, begin, [size - low - high for size, (low, high) in zip(x.shape, cut, strict=True)])
    around = [(max(low, 0), max(high, 0)) for low, high in sides]
    whence = w.turned(x)
    if whence is not None:
        return w.transpose(
            _surrounded(w, whence[0], [around[whence[1].index(a)] for a in range(x.rank)], value), whence[1]
        )
    return _surrounded(w, x, around, value)


def _surrounded(w: Writer, x: Value, around: Sequence[tuple[int, int]], value: Any) -> Value:
    if not any(low or high for low, high in around):
        return x
    if value == 0:
        return w.op("Pad", x, w.constant(around, "int32"))
    return w.op("PadV2", x, w.constant(around, "int32"), w.constant(value, x.dtype))


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(w: Writer, x: Value, padding: Sequence[int]) -> Value:
    """The values mirrored around, without those at the edge."""
    return w.op("MirrorPad", x, w.constant(_sides(padding, x.rank), "int32"), mode="REFLECT")


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d")
def replication_pad(w: Writer, x: Value, padding: Sequence[int]) -> Value:
    """The values at the edge around."""
    for axis, (low, high) in enumerate(_sides(padding, x.rank)):
        if low or high:
            places = np.clip(np.arange(-low, x.shape[axis] + high), 0, x.shape[axis] - 1)
            x = w.op("GatherV2", x, w.ints(places.tolist()), w.ints(axis))
    return x


@rule("select_scatter")
def select_scatter(w: Writer, x: Value, src: Value, dim: int, index: int) -> Value:
    """One place along a dimension replaced."""
    axis = dim % x.rank
    first = index % x.shape[axis]
    return _replaced(w, x, w.op("ExpandDims", src, w.ints(axis)), axis, range(first, first + 1))


@rule("slice_scatter")
def slice_scatter(
    w: Writer, x: Value, src: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """`x[start:end:step]` replaced along a dimension."""
    axis = dim % x.rank
    return _replaced(w, x, src, axis, range(*slice(start, end, step).indices(x.shape[axis])))


@rule("diagonal")
def diagonal(w: Writer, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """The diagonal of two dimensions as the last one."""
    one, two = dim1 % x.rank, dim2 % x.rank
    others = [axis for axis in range(x.rank) if axis not in (one, two)]
    rows, columns = x.shape[one], x.shape[two]
    length = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    places = (np.arange(length) - min(offset, 0)) * columns + np.arange(length) + max(offset, 0)
    matrix = w.transpose(x, [*others, one, two])
    flat = w.reshape(matrix, (*(x.shape[axis] for axis in others), rows * columns))
    return w.op("GatherV2", flat, w.ints(places.tolist()), w.ints(len(others)))


@rule("as_strided")
def as_strided(
    w: Writer, x: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Value:
    """What lies at places of the memory that are counted by strides, of a tensor that fills its memory in order."""
    places = np.full((), storage_offset or 0, np.int64)
    for each, step in zip(size, stride, strict=True):
        places = places[..., None] + np.arange(each) * step
    flat = w.reshape(x, (math.prod(x.shape),))
    return w.op("GatherV2", flat, w.constant(places.reshape(tuple(size)), "int64"), w.ints(0))


@rule("copy")
def copy(w: Writer, x: Value, src: Value) -> Value:
    """Other values in the shape and the dtype of a tensor."""
    return w.broadcast(w.cast(src, x.dtype), x.shape)


def promoted_all(tensors: Sequence[Value]) -> str:
    """Returns the dtype that tensors have in common; their sizes have no say."""
    return dtype_name(functools.reduce(torch.promote_types, (torch_dtype(each.dtype) for each in tensors)))


def _strided(w: Writer, x: Value, axis: int, first: int, end: int | None, step: int) -> Value:
    """Writes a slice along one axis as TensorFlow's indexing does; without an end the axis is dropped."""
    begin, ends, steps = [0] * (axis + 1), [0] * (axis + 1), [1] * (axis + 1)
    begin[axis], ends[axis], steps[axis] = first, first + 1 if end is None else end, step
    others = sum(1 << place for place in range(axis))
    return w.op(
        "StridedSlice",
        x,
        w.ints(begin),
        w.ints(ends),
        w.ints(steps),
        begin_mask=others,
        end_mask=others,
        shrink_axis_mask=(1 << axis) if end is None else 0,
    )


def _sides(pad: Sequence[int], rank: int) -> list[tuple[int, int]]:
    """Returns the padding before and behind for each dimension; PyTorch tells it from the last one backwards."""
    pairs = [(pad[place], pad[place + 1]) for place in range(0, len(pad), 2)][::-1]
    return [(0, 0)] * (rank - len(pairs)) + pairs


def _replaced(w: Writer, x: Value, src: Value, axis: int, places: range) -> Value:
    """Writes some places along an axis anew: what is in front, the new ones and what is behind, joined."""
    new = w.broadcast(w.cast(src, x.dtype), (*x.shape[:axis], len(places), *x.shape[axis + 1 :]))
    if not places:
        return x
    if places.step == 1:
        front, behind = [0] * x.rank, [0] * x.rank
        behind[axis] = places.stop
        sizes = list(x.shape)
        pieces = []
        if places.start:
            pieces.append(w.slice(x, front, [*sizes[:axis], places.start, *sizes[axis + 1 :]]))
        pieces.append(new)
        if places.stop < x.shape[axis]:
            pieces.append(w.slice(x, behind, [*sizes[:axis], sizes[axis] - places.stop, *sizes[axis + 1 :]]))
        return pieces[0] if len(pieces) == 1 else w.op("ConcatV2", *pieces, w.ints(axis))
    order = np.arange(x.shape[axis])
    order[list(places)] = x.shape[axis] + np.arange(len(places))
    joined = w.op("ConcatV2", x, new, w.ints(axis))
    return w.op("GatherV2", joined, w.ints(order.tolist()), w.ints(axis))
