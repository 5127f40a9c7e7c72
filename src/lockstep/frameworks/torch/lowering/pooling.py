"""Pooling: channels go last for TensorFlow's kernels and come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.convolutions import channels_last, channels_second, same_padding
from lockstep.frameworks.torch.lowering.reducing import reduced
from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.values import floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@dataclass(frozen=True)
class Pool:
    """How a window moves, for each spatial dimension.

    Attributes:
        sides: The window's sizes.
        steps: Strides.
        around: How far it reaches over both edges, the last window's part included.
        pads: The padding that is told, on each side.
    """

    sides: tuple[int, ...]
    steps: tuple[int, ...]
    around: tuple[tuple[int, int], ...]
    pads: tuple[int, ...]


def _pool(sizes: Sequence[int], kernel: Any, stride: Any, padding: Any, *, ceil_mode: bool) -> Pool:
    rank = len(sizes)
    sides, pads = _each(kernel, rank), _each(padding, rank)
    steps = _each(stride, rank) if stride else sides
    around = []
    for size, side, step, pad in zip(sizes, sides, steps, pads, strict=True):
        reach = size + 2 * pad - side
        count = (-(-reach // step) if ceil_mode else reach // step) + 1
        # A window that would begin in the padding behind is left out.
        if ceil_mode and (count - 1) * step >= size + pad:
            count -= 1
        around.append((pad, (count - 1) * step + side - size - pad))
    return Pool(sides, steps, tuple(around), pads)


@rule("max_pool2d_with_indices", "max_pool3d_with_indices")
def max_pool(
    w: Writer,
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Value, None]:
    """The largest of each window; where it is, is not written."""
    rank = len(kernel_size) if len(kernel_size) > 1 else x.rank - 2
    if set(_each(dilation, rank)) != {1} or _without_kernel(x, rank):
        return _dilated(w, x, kernel_size, stride, padding, dilation, ceil_mode), None
    spatial = x.shape[-rank:]
    pool = _pool(spatial, kernel_size, stride, padding, ceil_mode=ceil_mode)
    return _windows(w, x, rank, lambda last: _largest(w, last, pool)), None


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    w: Writer,
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """The mean of each window; what counts as part of it are the padding, or not, and never what is beyond that."""
    rank = len(kernel_size)
    sizes = x.shape[-rank:]
    pool = _pool(sizes, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if _without_kernel(x, rank):
        return _summed(w, x, pool, include=count_include_pad, divisor=divisor_override)
    return _windows(
        w, x, rank, lambda last: _average(w, last, pool, sizes, include=count_include_pad, divisor=divisor_override)
    )


@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d")
def adaptive_avg_pool(w: Writer, x: Value, output_size: Sequence[int]) -> Value:
    """Means of so many parts along each dimension; parts of unequal size overlap."""
    rank = len(output_size)
    sizes = x.shape[-rank:]
    if set(output_size) == {1}:
        return reduced(w, "Mean", x, list(range(x.rank - rank, x.rank)), keepdim=True)
    if all(size % wanted == 0 for size, wanted in zip(sizes, output_size, strict=True)):
        sides = [size // wanted for size, wanted in zip(sizes, output_size, strict=True)]
        return avg_pool(w, x, sides, sides)
    return _parts(w, x, output_size)


def _parts(w: Writer, x: Value, output_size: Sequence[int]) -> Value:
    """Writes means along one dimension after the other, each as a product with a matrix of shares."""
    for place, wanted in enumerate(output_size):
        axis = x.rank - len(output_size) + place
        size = x.shape[axis]
        shares = np.zeros((size, wanted))
        for part in range(wanted):
            first, end = part * size // wanted, -(-(part + 1) * size // wanted)
            shares[first:end, part] = 1 / (end - first)
        x = along(w, x, axis, w.constant(shares, x.dtype))
    return x


def along(w: Writer, x: Value, axis: int, matrix: Value) -> Value:
    """Writes the product of all rows along an axis and a matrix."""
    order = [*(each for each in range(x.rank) if each != axis), axis]
    last = w.transpose(x, order)
    flat = w.reshape(last, (math.prod(last.shape[:-1]), last.shape[-1]))
    made = w.reshape(w.op("MatMul", flat, matrix), (*last.shape[:-1], matrix.shape[1]))
    return w.transpose(made, [order.index(each) for each in range(x.rank)])


def _windows(w: Writer, x: Value, rank: int, write: Callable[[Value], Value]) -> Value:
    """Writes pooling of images with the channels last; along one dimension they are of height 1."""
    batched = x.rank == rank + 2
    last = channels_last(w, x if batched else w.op("ExpandDims", x, w.ints(0)))
    y = channels_second(w, write(last))
    return y if batched else w.op("Squeeze", y, squeeze_dims=[0])


def _largest(w: Writer, x: Value, pool: Pool) -> Value:
    padding, x = _filled(w, x, pool, -math.inf)
    return _pooled(w, "MaxPool", x, pool, padding)


def _average(w: Writer, x: Value, pool: Pool, sizes: Sequence[int], *, include: bool, divisor: int | None) -> Value:
    if not floating(x.dtype):
        raise RefusedError(f"the average of {x.dtype} is not covered")
    plain = all(around == (0, 0) for around in pool.around)
    counts = _counts(sizes, pool, include=include and divisor is None)
    volume = math.prod(pool.sides)
    if divisor is None and _word(x, pool) and (plain or not include or not any(pool.pads)):
        # TensorFlow's SAME leaves the padding out of the divisor.
        return _pooled(w, "AvgPool", x, pool, "VALID" if plain else "SAME")
    filled = _filled(w, x, pool, 0.0, words=False)[1]
    mean = _pooled(w, "AvgPool", filled, pool, "VALID")
    factor = np.full(counts.shape, volume / divisor) if divisor else volume / counts
    if (factor == 1).all():
        return mean
    return w.op("Mul", mean, w.constant(factor[None, ..., None], x.dtype))


def _without_kernel(x: Value, rank: int) -> bool:
    """Whether TensorFlow has no kernel that pools it: volumes in float64."""
    return rank == 3 and x.dtype == "float64"


def _summed(w: Writer, x: Value, pool: Pool, *, include: bool, divisor: int | None) -> Value:
    """Writes averages as sums along one dimension after the other, each a product with a matrix of ones and zeros."""
    rank = len(pool.sides)
    sizes = x.shape[-rank:]
    counts = _counts(sizes, pool, include=include and divisor is None)
    for place, (size, side, step, pad) in enumerate(zip(sizes, pool.sides, pool.steps, pool.pads, strict=True)):
        starts = np.arange(counts.shape[place]) * step - pad
        at = np.arange(size)[:, None]
        x = along(w, x, x.rank - rank + place, w.constant((at >= starts) & (at < starts + side), x.dtype))
    return w.op("RealDiv", x, w.constant(np.full(counts.shape, divisor) if divisor else counts, x.dtype))


def _counts(sizes: Sequence[int], pool: Pool, *, include: bool) -> np.ndarray:
    """Returns how many places each window counts, `(heights, widths, ...)`."""
    counts = np.ones(())
    for size, side, step, around, pad in zip(sizes, pool.sides, pool.steps, pool.around, pool.pads, strict=True):
        starts = np.arange((size + sum(around) - side) // step + 1) * step - pad
        low, high = (-pad, size + pad) if include else (0, size)
        counts = counts[..., None] * (np.minimum(starts + side, high) - np.maximum(starts, low))
    return counts


def _filled(w: Writer, x: Value, pool: Pool, value: float, *, words: bool = True) -> tuple[str, Value]:
    """Returns the padding in TensorFlow's words, and the values with a number around them where it has no word."""
    if all(around == (0, 0) for around in pool.around):
        return "VALID", x
    if words and _word(x, pool):
        return "SAME", x
    # A window may end before the last places.
    sizes = [size + min(after, 0) for size, (_, after) in zip(x.shape[1:-1], pool.around, strict=True)]
    if any(after < 0 for _, after in pool.around):
        x = w.slice(x, [0] * x.rank, [x.shape[0], *sizes, x.shape[-1]])
    around = [(0, 0), *((before, max(after, 0)) for before, after in pool.around), (0, 0)]
    if not any(low or high for low, high in around):
        return "VALID", x
    if value == 0:
        return "VALID", w.op("Pad", x, w.constant(around, "int32"))
    lowest = value if floating(x.dtype) else np.iinfo(x.dtype).min
    return "VALID", w.op("PadV2", x, w.constant(around, "int32"), w.constant(lowest, x.dtype))


def _word(x: Value, pool: Pool) -> bool:
    """Whether the padding is what TensorFlow's SAME, or VALID, comes to."""
    sizes = list(zip(x.shape[1:-1], pool.sides, pool.steps, strict=True))
    if all(before == 0 and after <= 0 for before, after in pool.around):
        return all(before == 0 and after == 0 for before, after in pool.around)
    return all(
        same_padding(*size, 1) == around and -(-size[0] // size[2]) == (size[0] + sum(around) - size[1]) // size[2] + 1
        for size, around in zip(sizes, pool.around, strict=True)
    )


def _pooled(w: Writer, kind: str, x: Value, pool: Pool, padding: str) -> Value:
    sides, steps = pool.sides, pool.steps
    one = len(sides) == 1
    if one:
        x, sides, steps = w.op("ExpandDims", x, w.ints(1)), (1, *sides), (1, *steps)
    kind = f"{kind}3D" if len(sides) == 3 else kind
    y = w.op(kind, x, ksize=[1, *sides, 1], strides=[1, *steps, 1], padding=padding)
    return w.op("Squeeze", y, squeeze_dims=[1]) if one else y


def _dilated(w: Writer, x: Value, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Value:
    """Writes the largest of windows with gaps as that of slices, one for each place in the window."""
    rank = len(kernel) if len(kernel) > 1 else x.rank - 2
    sides, gaps = _each(kernel, rank), _each(dilation, rank)
    spread = [(side - 1) * gap + 1 for side, gap in zip(sides, gaps, strict=True)]
    pool = _pool(x.shape[-rank:], spread, stride or sides, padding, ceil_mode=ceil_mode)

    def write(last: Value) -> Value:
        filled = _filled(w, last, pool, -math.inf, words=False)[1]
        counts = [
            (size - side) // step + 1 for size, side, step in zip(filled.shape[1:-1], spread, pool.steps, strict=True)
        ]
        found: Value | None = None
        for place in np.ndindex(*sides):
            first = [0, *(at * gap for at, gap in zip(place, gaps, strict=True)), 0]
            ends = [
                begin + (count - 1) * step + 1
                for begin, count, step in zip(first[1:-1], counts, pool.steps, strict=True)
            ]
            piece = w.op(
                "StridedSlice",
                filled,
                w.ints(first),
                w.ints([filled.shape[0], *ends, filled.shape[-1]]),
                w.ints([1, *pool.steps, 1]),
            )
            found = piece if found is None else w.op("Maximum", found, piece)
        if found is None:
            raise RefusedError("a window without places is not covered")
        return found

    return _windows(w, x, rank, write)


def _each(sizes: Any, rank: int) -> tuple[int, ...]:
    if isinstance(sizes, int):
        return (sizes,) * rank
    return tuple(sizes) * rank if len(sizes) == 1 else tuple(sizes)
