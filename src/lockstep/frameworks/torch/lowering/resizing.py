"""Images in other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.frameworks.torch.lowering.convolutions import channels_last, channels_second
from lockstep.frameworks.torch.lowering.pooling import along
from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def nearest(w: Writer, x: Value, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None) -> Value:
    """Each place the value of the one that it lies in."""
    sizes = _sizes(x, output_size, scale_factors)
    last = channels_last(w, x)
    whole = [size % own == 0 for size, own in zip(sizes, x.shape[2:], strict=True)]
    if len(sizes) == 2 and all(whole) and _plain(x, sizes, scale_factors):
        return channels_second(w, w.op("ResizeNearestNeighbor", last, w.ints(sizes)))
    for place, size in enumerate(sizes):
        own = x.shape[2 + place]
        step = _step(own, size, scale_factors[place] if scale_factors else None)
        where = np.minimum(np.floor(np.arange(size, dtype=np.float32) * np.float32(step)).astype(np.int64), own - 1)
        last = w.op("GatherV2", last, w.ints(where.tolist()), w.ints(1 + place))
    return channels_second(w, last)


@rule("upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec")
def linear(
    w: Writer,
    x: Value,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Sequence[float] | None,
) -> Value:
    """Between neighbours along each dimension, with half-pixel centres or with the corners on each other."""
    sizes = _sizes(x, output_size, scale_factors)
    if len(sizes) == 2 and x.dtype == "float32" and (align_corners or _plain(x, sizes, scale_factors)):
        last = channels_last(w, x)
        resized = w.op(
            "ResizeBilinear", last, w.ints(sizes), align_corners=align_corners, half_pixel_centers=not align_corners
        )
        return channels_second(w, resized)
    for place, size in enumerate(sizes):
        own = x.shape[2 + place]
        weights = _weights(own, size, align_corners, scale_factors[place] if scale_factors else None)
        x = along(w, x, 2 + place, w.constant(weights, x.dtype))
    return x


def _weights(own: int, size: int, align_corners: bool, scale: float | None) -> np.ndarray:
    """Returns how much of each place is in each new one, `(own, size)`."""
    if align_corners:
        at = np.arange(size) * ((own - 1) / (size - 1) if size > 1 else 0.0)
    else:
        at = np.maximum((np.arange(size) + 0.5) * _step(own, size, scale) - 0.5, 0)
    low = np.minimum(np.floor(at).astype(np.int64), own - 1)
    share = at - low
    weights = np.zeros((own, size))
    np.add.at(weights, (low, np.arange(size)), 1 - share)
    np.add.at(weights, (np.minimum(low + 1, own - 1), np.arange(size)), share)
    return weights


def _sizes(x: Value, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None) -> list[int]:
    if output_size is not None:
        return list(output_size)
    if scale_factors is None:
        raise RefusedError("resizing without a size and without a scale is not covered")
    return [int(own * factor) for own, factor in zip(x.shape[2:], scale_factors, strict=True)]


def _step(own: int, size: int, scale: float | None) -> float:
    """Returns how far apart new places are: by the scale where that is told, as PyTorch does, else by the sizes."""
    return 1 / scale if scale else own / size


def _plain(x: Value, sizes: Sequence[int], scale_factors: Any) -> bool:
    """Whether a scale that is told is the one of the sizes."""
    return not scale_factors or all(
        own * factor == size for own, size, factor in zip(x.shape[2:], sizes, scale_factors, strict=True)
    )
