"""Fourier transforms, distances, sampled and folded images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.convolutions import channels_last, channels_second
from lockstep.frameworks.torch.lowering.elementwise import truncated
from lockstep.frameworks.torch.lowering.reducing import reduced
from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("_fft_r2c")
def fft_of_real(w: Writer, x: Value, dim: Sequence[int], normalization: int, onesided: bool) -> Value:
    """The transform of real numbers along some dimensions; one-sided is the half of the last that tells the other."""
    complex_ = "complex128" if x.dtype == "float64" else "complex64"
    axes = [each % x.rank for each in dim]
    y = w.op("Cast", x, DstT=complex_)
    for axis in axes:
        y = _transformed(w, "FFT", y, axis)
    if onesided:
        half = list(y.shape)
        half[axes[-1]] = half[axes[-1]] // 2 + 1
        y = w.slice(y, [0] * y.rank, half)
    return _normalized(w, y, normalization, [x.shape[axis] for axis in axes])


@rule("_fft_c2r")
def fft_to_real(w: Writer, x: Value, dim: Sequence[int], normalization: int, last_dim_size: int) -> Value:
    """The inverse transform of one half, along the last of some dimensions, to real numbers."""
    axes = [each % x.rank for each in dim]
    y = x
    for axis in axes[:-1]:
        y = _inverse(w, y, axis)
    order = [*(each for each in range(x.rank) if each != axes[-1]), axes[-1]]
    real = "float64" if x.dtype == "complex128" else "float32"
    made = w.op("IRFFT", w.transpose(y, order), w.ints([last_dim_size]), Treal=real)
    # TensorFlow divides by the number of places, PyTorch by what it is told.
    made = w.op("Mul", made, w.constant(last_dim_size, made.dtype))
    back = w.transpose(made, [order.index(each) for each in range(x.rank)])
    return _normalized(w, back, normalization, [back.shape[axis] for axis in axes])


@rule("_fft_c2c")
def fft_of_complex(w: Writer, x: Value, dim: Sequence[int], normalization: int, forward: bool) -> Value:
    """The transform along some dimensions, or its inverse."""
    axes = [each % x.rank for each in dim]
    for axis in axes:
        x = _transformed(w, "FFT", x, axis) if forward else _inverse(w, x, axis)
    return _normalized(w, x, normalization, [x.shape[axis] for axis in axes])


def _inverse(w: Writer, x: Value, axis: int) -> Value:
    """Writes an inverse transform that is not divided."""
    return w.op("Mul", _transformed(w, "IFFT", x, axis), w.constant(x.shape[axis], x.dtype))


def _transformed(w: Writer, kind: str, x: Value, axis: int) -> Value:
    order = [*(each for each in range(x.rank) if each != axis), axis]
    made = w.op(kind, w.transpose(x, order))
    return w.transpose(made, [order.index(each) for each in range(x.rank)])


def _normalized(w: Writer, x: Value, normalization: int, sizes: Sequence[int]) -> Value:
    """Divides by nothing (0), the root of the number of places (1) or their number (2)."""
    count = math.prod(sizes)
    factor = {0: 1.0, 1: 1 / math.sqrt(count), 2: 1 / count}[normalization]
    return x if factor == 1 else w.op("Mul", x, w.constant(factor, x.dtype))


@rule("view_as_real")
def view_as_real(w: Writer, x: Value) -> Value:
    """Real and imaginary parts along a new last dimension."""
    real = "float64" if x.dtype == "complex128" else "float32"
    return w.op("Pack", w.op("Real", x, Tout=real), w.op("Imag", x, Tout=real), axis=x.rank)


@rule("view_as_complex")
def view_as_complex(w: Writer, x: Value) -> Value:
    """Complex numbers of what lies along the last dimension."""
    real, imaginary = w.ops("Unpack", 2, x, num=2, axis=x.rank - 1)
    return w.op("Complex", real, imaginary, Tout="complex128" if x.dtype == "float64" else "complex64")


@rule("_cdist_forward")
def cdist(
    w: Writer,
    x1: Value,
    x2: Value,
    p: float,
    compute_mode: int | None,  # noqa: ARG001 # by products or by differences: the same distances
) -> Value:
    """Distances between the rows of two batches."""
    one, other = w.op("ExpandDims", x1, w.ints(x1.rank - 1)), w.op("ExpandDims", x2, w.ints(x2.rank - 2))
    return _norm(w, w.op("Abs", w.op("Sub", one, other)), p)


@rule("_pdist_forward")
def pdist(w: Writer, x: Value, p: float = 2.0) -> Value:
    """Distances between each two rows."""
    first, second = np.triu_indices(x.shape[0], 1)
    one, other = (w.op("GatherV2", x, w.ints(rows.tolist()), w.ints(0)) for rows in (first, second))
    return _norm(w, w.op("Abs", w.op("Sub", one, other)), p)


def _norm(w: Writer, distances: Value, p: float) -> Value:
    last = distances.rank - 1
    if p == 0:
        return reduced(w, "Sum", w.cast(w.op("NotEqual", distances, 0), distances.dtype), last, keepdim=False)
    if p == 1:
        return reduced(w, "Sum", distances, last, keepdim=False)
    if p == 2:
        return w.op("Sqrt", reduced(w, "Sum", w.op("Square", distances), last, keepdim=False))
    if math.isinf(p):
        return reduced(w, "Max", distances, last, keepdim=False)
    powers = w.op("Pow", distances, w.constant(p, distances.dtype))
    return w.op("Pow", reduced(w, "Sum", powers, last, keepdim=False), w.constant(1 / p, distances.dtype))


@rule("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(
    w: Writer,
    weight: Value,
    indices: Value,
    offsets: Value,
    scale_grad_by_freq: bool = False,  # noqa: ARG001 # of gradients alone
    mode: int = 0,
    sparse: bool = False,  # noqa: ARG001 # of gradients alone
    per_sample_weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Value, None, None, None]:
    """Rows of a table summed up (0), averaged (1) or their largest (2), bag by bag."""
    starts = offsets.numpy().astype(np.int64)
    bags = len(starts) - 1 if include_last_offset else len(starts)
    ends = [*starts[1:], indices.shape[0]][:bags]
    segments = np.repeat(np.arange(bags), np.asarray(ends, np.int64) - starts[:bags])
    counted = np.ones(len(segments), bool) if padding_idx < 0 else indices.numpy() != padding_idx
    sizes = np.bincount(segments[counted], minlength=bags)
    rows = w.op("GatherV2", weight, indices, w.ints(0))
    if per_sample_weights is not None:
        rows = w.op("Mul", rows, w.op("ExpandDims", per_sample_weights, w.ints(1)))
    if not counted.all():
        kept = np.flatnonzero(counted)
        rows, segments = w.op("GatherV2", rows, w.ints(kept.tolist()), w.ints(0)), segments[kept]
    kind = "UnsortedSegmentMax" if mode == 2 else "UnsortedSegmentSum"
    made = w.op(kind, rows, w.constant(segments, "int64"), w.ints(bags))
    if mode == 1:
        made = w.op("RealDiv", made, w.constant(np.maximum(sizes, 1)[:, None], made.dtype))
    if mode == 2 and (sizes == 0).any():
        made = w.op("SelectV2", w.constant((sizes == 0)[:, None], "bool"), w.constant(0, made.dtype), made)
    return made, None, None, None


@rule("im2col")
def im2col(
    w: Writer,
    x: Value,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Value:
    """The windows of images as columns."""
    batched = x.rank == 4
    x = x if batched else w.op("ExpandDims", x, w.ints(0))
    around = [(0, 0), (0, 0), *((pad, pad) for pad in padding)]
    filled = w.op("Pad", x, w.constant(around, "int32")) if any(padding) else x
    where = _window_places(filled.shape[2:], kernel_size, dilation, stride)
    flat = w.reshape(filled, (*x.shape[:2], math.prod(filled.shape[2:])))
    columns = w.op("GatherV2", flat, w.constant(where, "int64"), w.ints(2))
    made = w.reshape(columns, (x.shape[0], x.shape[1] * where.shape[0], where.shape[1]))
    return made if batched else w.op("Squeeze", made, squeeze_dims=[0])


@rule("col2im")
def col2im(
    w: Writer,
    x: Value,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Value:
    """Columns put back as windows of images; where windows overlap they are added."""
    batched = x.rank == 3
    x = x if batched else w.op("ExpandDims", x, w.ints(0))
    sizes = [size + 2 * pad for size, pad in zip(output_size, padding, strict=True)]
    where = _window_places(sizes, kernel_size, dilation, stride)
    channels = x.shape[1] // where.shape[0]
    values = w.transpose(w.reshape(x, (x.shape[0], channels, where.size)), [2, 0, 1])
    zeros = w.constant(np.zeros((math.prod(sizes), x.shape[0], channels)), x.dtype)
    made = w.op("TensorScatterAdd", zeros, w.constant(where.reshape(-1, 1), "int64"), values)
    images = w.reshape(w.transpose(made, [1, 2, 0]), (x.shape[0], channels, *sizes))
    begin = [0, 0, *padding]
    images = w.slice(images, begin, [x.shape[0], channels, *output_size]) if any(padding) else images
    return images if batched else w.op("Squeeze", images, squeeze_dims=[0])


def _window_places(
    sizes: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]
) -> np.ndarray:
    """Returns where each place of each window is in an image, `(places, windows)`."""
    rows, columns = (
        np.arange(side)[:, None] * gap + np.arange((size - (side - 1) * gap - 1) // step + 1) * step
        for size, side, gap, step in zip(sizes, kernel, dilation, stride, strict=True)
    )
    found = rows[:, None, :, None] * sizes[1] + columns[None, :, None, :]
    return found.reshape(rows.shape[0] * columns.shape[0], -1)


@rule("grid_sampler_2d")
def grid_sampler(
    w: Writer, x: Value, grid: Value, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Value:
    """Images sampled at given places: between neighbours (0) or the nearest (1); outside zero (0) or the edge (1)."""
    if interpolation_mode not in (0, 1) or padding_mode not in (0, 1):
        raise RefusedError(
            f"grid_sampler_2d with interpolation_mode = {interpolation_mode} and padding_mode = {padding_mode} is not "
            "covered"
        )
    last = channels_last(w, x)
    height, width = x.shape[2:]
    columns, rows = w.ops("Unpack", 2, grid, num=2, axis=grid.rank - 1)
    at = [_unnormalized(w, *each, align_corners) for each in ((rows, height), (columns, width))]
    if padding_mode == 1:
        at = [_between(w, each, size - 1) for each, size in zip(at, (height, width), strict=True)]
    if interpolation_mode == 1:
        nearest = [w.op("Round", each) for each in at]
        return channels_second(w, _sampled(w, last, *nearest))
    low = [w.op("Floor", each) for each in at]
    share = [w.op("Sub", each, first) for each, first in zip(at, low, strict=True)]
    made: Value | None = None
    for down in (0, 1):
        for right in (0, 1):
            corner = [
                w.op("AddV2", first, w.constant(step, first.dtype))
                for first, step in zip(low, (down, right), strict=True)
            ]
            parts = [
                each if step else w.op("Sub", w.constant(1, each.dtype), each)
                for each, step in zip(share, (down, right), strict=True)
            ]
            weight = w.op("ExpandDims", w.op("Mul", *parts), w.ints(3))
            part = w.op("Mul", _sampled(w, last, *corner), weight)
            made = part if made is None else w.op("AddV2", made, part)
    return channels_second(w, made) if made is not None else x


def _unnormalized(w: Writer, at: Value, size: int, align_corners: bool) -> Value:
    """Turns places from -1 to 1 into places in an image."""
    from_zero = w.op("AddV2", at, w.constant(1, at.dtype))
    if align_corners:
        return w.op("Mul", from_zero, w.constant((size - 1) / 2, at.dtype))
    scaled = w.op("Sub", w.op("Mul", from_zero, w.constant(size, at.dtype)), w.constant(1, at.dtype))
    return w.op("Mul", scaled, w.constant(0.5, at.dtype))


def _between(w: Writer, at: Value, most: int) -> Value:
    return w.op("Minimum", w.op("Maximum", at, w.constant(0, at.dtype)), w.constant(most, at.dtype))


def _sampled(w: Writer, x: Value, rows: Value, columns: Value) -> Value:
    """Reads places of images with the channels last; what is outside is zero."""
    height, width = x.shape[1:3]
    inside: Value | None = None
    for each, size in ((rows, height), (columns, width)):
        fits = w.op(
            "LogicalAnd",
            w.op("GreaterEqual", each, w.constant(0, each.dtype)),
            w.op("LessEqual", each, w.constant(size - 1, each.dtype)),
        )
        inside = fits if inside is None else w.op("LogicalAnd", inside, fits)
    places = [
        w.op("Cast", truncated(w, _between(w, each, size - 1)), DstT="int64")
        for each, size in ((rows, height), (columns, width))
    ]
    read = _batched(w, x, places)
    mask: Any = w.op("ExpandDims", inside, w.ints(3))
    return w.op("SelectV2", mask, read, w.constant(0, x.dtype))


def _batched(w: Writer, x: Value, places: Sequence[Value]) -> Value:
    batch = np.broadcast_to(np.arange(x.shape[0])[:, None, None], places[0].shape)
    return w.op("GatherNd", x, w.op("Pack", w.constant(batch, "int64"), *places, axis=3))
