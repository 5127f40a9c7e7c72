"""Convolutions: channels go last for TensorFlow's kernels and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.values import floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@dataclass(frozen=True)
class Window:
    """How a kernel moves, for each spatial dimension.

    Attributes:
        steps: Strides.
        pads: Zeros on each side.
        gaps: Dilations.
    """

    steps: tuple[int, ...]
    pads: tuple[int, ...]
    gaps: tuple[int, ...]


def channels_last(w: Writer, x: Value) -> Value:
    """Moves the channels from behind the batch to the end."""
    return w.transpose(x, [0, *range(2, x.rank), 1])


def channels_second(w: Writer, x: Value) -> Value:
    """Moves the channels from the end to behind the batch."""
    return w.transpose(x, [0, x.rank - 1, *range(1, x.rank - 1)])


@rule("convolution")
def convolution(
    w: Writer,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """A convolution along one to three dimensions, or the transposed one."""
    rank = weight.rank - 2
    batched = x.rank == weight.rank
    x = x if batched else w.op("ExpandDims", x, w.ints(0))
    steps, pads, gaps, more = (_each(sizes, rank) for sizes in (stride, padding, dilation, output_padding))
    last = channels_last(w, x)
    if transposed:
        y = _transposed(w, last, weight, Window(steps, pads, gaps), more, groups)
    else:
        y = _convolved(w, last, weight, Window(steps, pads, gaps), groups)
    if bias is not None:
        y = w.op("BiasAdd", y, bias) if floating(y.dtype) else w.op("AddV2", y, bias)
    y = channels_second(w, y)
    return y if batched else w.op("Squeeze", y, squeeze_dims=[0])


def _convolved(w: Writer, x: Value, weight: Value, window: Window, groups: int) -> Value:
    rank = weight.rank - 2
    padding, x = _padded(w, x, weight.shape[2:], window)
    if groups == x.shape[-1] and groups > 1 and rank == 2 and len(set(window.steps)) == 1:
        return _depthwise(w, x, weight, window, padding)
    kernel = w.transpose(weight, [*range(2, weight.rank), 1, 0])
    if groups == 1:
        return _plain(w, x, kernel, window, padding)
    # Each group by itself: TensorFlow's kernels for groups have no derivative on CPUs.
    parts = w.ops("Split", groups, w.ints(x.rank - 1), x, num_split=groups)
    kernels = w.ops("Split", groups, w.ints(kernel.rank - 1), kernel, num_split=groups)
    made = [_plain(w, part, each, window, padding) for part, each in zip(parts, kernels, strict=True)]
    return w.op("ConcatV2", *made, w.ints(x.rank - 1))


def _plain(w: Writer, x: Value, kernel: Value, window: Window, padding: str) -> Value:
    """Writes a convolution as TensorFlow's functions do; along one dimension it is one of images of height 1."""
    rank = kernel.rank - 2
    if rank == 1:
        x, kernel = w.op("ExpandDims", x, w.ints(1)), w.op("ExpandDims", kernel, w.ints(0))
        steps, gaps = (1, *window.steps), (1, *window.gaps)
    else:
        steps, gaps = window.steps, window.gaps
    if rank == 3:
        if set(gaps) != {1}:
            raise RefusedError("a dilated convolution of volumes is not covered, as TensorFlow has none on CPUs")
        return w.op("Conv3D", x, kernel, strides=[1, *steps, 1], padding=padding)
    y = w.op("Conv2D", x, kernel, strides=[1, *steps, 1], padding=padding, dilations=[1, *gaps, 1])
    return w.op("Squeeze", y, squeeze_dims=[1]) if rank == 1 else y


def _depthwise(w: Writer, x: Value, weight: Value, window: Window, padding: str) -> Value:
    """Writes a convolution of each channel by itself; the kernel is `(channels * multiplier, 1, height, width)`."""
    channels = x.shape[-1]
    multiplier = weight.shape[0] // channels
    shaped = w.reshape(weight, (channels, multiplier, *weight.shape[2:]))
    kernel = w.transpose(shaped, [2, 3, 0, 1])
    return w.op(
        "DepthwiseConv2dNative",
        x,
        kernel,
        strides=[1, *window.steps, 1],
        padding=padding,
        dilations=[1, *window.gaps, 1],
    )


def _padded(w: Writer, x: Value, kernel: Sequence[int], window: Window) -> tuple[str, Value]:
    """Returns the padding in TensorFlow's words, and the values, with zeros around them where it has no word."""
    if not any(window.pads):
        return "VALID", x
    sizes = zip(x.shape[1:-1], kernel, window.steps, window.gaps, strict=True)
    if all(same_padding(*size) == (pad, pad) for size, pad in zip(sizes, window.pads, strict=True)):
        return "SAME", x
    around = [(0, 0), *((pad, pad) for pad in window.pads), (0, 0)]
    return "VALID", w.op("Pad", x, w.constant(around, "int32"))


def same_padding(size: int, kernel: int, step: int, gap: int) -> tuple[int, int]:
    """Returns how many zeros TensorFlow's SAME puts in front and behind."""
    whole = max((-(-size // step) - 1) * step + (kernel - 1) * gap + 1 - size, 0)
    return whole // 2, whole - whole // 2


def _transposed(w: Writer, x: Value, weight: Value, window: Window, more: tuple[int, ...], groups: int) -> Value:
    """Writes what TensorFlow calls a transposed convolution; the kernel is `(in, out / groups, height, width)`."""
    rank = weight.rank - 2
    kernel = w.transpose(weight, [*range(2, weight.rank), 1, 0])
    if groups == 1:
        return _transposed_plain(w, x, kernel, window, more)
    parts = w.ops("Split", groups, w.ints(rank + 1), x, num_split=groups)
    kernels = w.ops("Split", groups, w.ints(rank + 1), kernel, num_split=groups)
    made = [_transposed_plain(w, part, each, window, more) for part, each in zip(parts, kernels, strict=True)]
    return w.op("ConcatV2", *made, w.ints(rank + 1))


def _transposed_plain(w: Writer, x: Value, kernel: Value, window: Window, more: tuple[int, ...]) -> Value:
    rank = kernel.rank - 2
    if set(window.gaps) != {1}:
        kernel, window = _spread(w, kernel, window)
    sizes = x.shape[1:-1]
    full = [
        (size - 1) * step + side + extra
        for size, side, step, extra in zip(sizes, kernel.shape[:rank], window.steps, more, strict=True)
    ]
    wanted = [size - 2 * pad for size, pad in zip(full, window.pads, strict=True)]
    if any(extra >= step for extra, step in zip(more, window.steps, strict=True)):
        raise RefusedError("a transposed convolution whose output_padding is not below its stride is not covered")
    same = all(
        same_padding(size, side, step, 1) == (pad, pad) and -(-size // step) == own
        for size, side, step, pad, own in zip(
            wanted, kernel.shape[:rank], window.steps, window.pads, sizes, strict=True
        )
    )
    if same and any(window.pads):
        return _backprop(w, x, kernel, window, wanted, "SAME")
    y = _backprop(w, x, kernel, window, full, "VALID")
    if not any(window.pads):
        return y
    begin = [0, *window.pads, 0]
    return w.slice(y, begin, [x.shape[0], *wanted, kernel.shape[rank]])


def _backprop(w: Writer, x: Value, kernel: Value, window: Window, sizes: Sequence[int], padding: str) -> Value:
    rank, steps = kernel.rank - 2, window.steps
    if rank == 1:
        x, kernel = w.op("ExpandDims", x, w.ints(1)), w.op("ExpandDims", kernel, w.ints(0))
        sizes, steps = (1, *sizes), (1, *steps)
    shape = w.ints([x.shape[0], *sizes, kernel.shape[-2]])
    kind = "Conv3DBackpropInputV2" if rank == 3 else "Conv2DBackpropInput"
    y = w.op(kind, shape, kernel, x, strides=[1, *steps, 1], padding=padding)
    return w.op("Squeeze", y, squeeze_dims=[1]) if rank == 1 else y


def _spread(w: Writer, kernel: Value, window: Window) -> tuple[Value, Window]:
    """Puts zeros between the places of a kernel, so that it needs no dilation; TensorFlow's CPU kernels have none."""
    for axis, gap in enumerate(window.gaps):
        if gap > 1:
            shape = kernel.shape
            apart = w.op("ExpandDims", kernel, w.ints(axis + 1))
            around = [(0, 0)] * apart.rank
            around[axis + 1] = (0, gap - 1)
            apart = w.op("Pad", apart, w.constant(around, "int32"))
            joined = w.reshape(apart, (*shape[:axis], shape[axis] * gap, *shape[axis + 1 :]))
            kernel = w.slice(joined, [0] * len(shape), [*shape[:axis], (shape[axis] - 1) * gap + 1, *shape[axis + 1 :]])
    return kernel, Window(window.steps, window.pads, (1,) * len(window.gaps))


def _each(sizes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(sizes) * rank if len(sizes) == 1 else tuple(sizes)
