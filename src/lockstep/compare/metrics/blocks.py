"""Arrays of any layout -> runs of elements that stay in the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lockstep.compare.metrics.dtypes import Array, DType

# Elements per block, half of it for 8-byte floats. 2 MB arrays lie beyond the second-level cache and still are the
# fastest: with smaller blocks two threads wait for the interpreter's lock too often. Median of 50 million float32 pairs
# on two cores: 95 ms with 2**16 elements, 53 with 2**17, 38 with 2**18, 34 with 2**19; on one core 63, 55, 52, 54.
_BLOCK = 1 << 19
# What needs many float64 temporaries goes through a block in pieces of this many elements.
_PIECE = 16_384


def block_size(dtype: DType) -> int:
    """Elements per block of values held in `dtype`."""
    return _BLOCK // 2 if dtype.itemsize == 8 else _BLOCK


def cut_blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Cuts a shape into runs of at most `size` elements that follow each other in C order.

    Yields:
        The flat index of the run's first element, and the NumPy index that selects the run.

    >>> list(cut_blocks((2, 3), 2))
    [(0, (0, slice(0, 2, None))), (2, (0, slice(2, 4, None))), (3, (1, slice(0, 2, None))), (5, (1, slice(2, 4, None)))]
    """
    if math.prod(shape) == 0:
        return
    axis = next(axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= size)
    inner = math.prod(shape[axis + 1 :])
    rows = size // inner
    for number, outer in enumerate(np.ndindex(shape[:axis])):
        for first in range(0, shape[axis], rows):
            yield (number * shape[axis] + first) * inner, (*outer, slice(first, first + rows))


def take_block(array: Array, where: tuple[Any, ...]) -> Array:
    """A run of elements, 1-d, contiguous and in native byte order; a view where the array allows it."""
    run = np.ascontiguousarray(array[where]).reshape(-1)
    return run if run.dtype.isnative else run.astype(run.dtype.newbyteorder("="))


def cut_pieces(elements: int) -> Iterator[slice]:
    """Cuts a block, or a selection from it, into slices small enough for float64 temporaries."""
    return (slice(first, first + _PIECE) for first in range(0, elements, _PIECE))
