"""Two arrays -> how far apart they are at most: all that a verdict asks where they agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lockstep.compare.metrics.dtypes import Array
from lockstep.compare.metrics.scratch import scratch

# A difference and the two largest magnitudes stay in the second-level cache of 1 MB or more, beside what is read.
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class Extent:
    """The largest error and the largest reference of two arrays that hold finite numbers of one dtype only.

    Attributes:
        elements: Number of elements.
        bit_equal: Same bits everywhere.
        max_abs_error: Largest `|candidate - reference|`, computed in the arrays' own precision: the one in
            `Figures` is within a relative 2**-22 (float32) or equal (float64).
        max_abs_reference: Largest `|reference|`.
        nan_mismatches: 0, as there is no NaN.
        inf_mismatches: 0, as there is no infinity.
    """

    elements: int
    bit_equal: bool
    max_abs_error: float
    max_abs_reference: float
    nan_mismatches: ClassVar[int] = 0
    inf_mismatches: ClassVar[int] = 0

    @property
    def finite_pairs(self) -> int:
        """Number of pairs in which both values are finite: all."""
        return self.elements


def measure_extent(reference: Array, candidate: Array) -> Extent | None:
    """Returns how far two arrays of equal shape are apart at most, a third of the work of `compare_arrays`.

    Args:
        reference: Array of any shape.
        candidate: Array of the same shape.

    Returns:
        None where `compare_arrays` has to look: other dtypes than twice float32 or twice float64 in native byte order,
        memory that is not contiguous, an empty array, NaN or infinity, differences beyond the dtype's range.

    >>> measure_extent(np.float32([1, -4]), np.float32([1, -3.5]))
    Extent(elements=2, bit_equal=False, max_abs_error=0.5, max_abs_reference=4.0)
    >>> measure_extent(np.float32([1]), np.float32([np.nan])) is None
    True
    """
    dtype = reference.dtype
    if dtype not in (np.float32, np.float64) or candidate.dtype != dtype or not reference.size:
        return None
    if not (reference.flags.c_contiguous and candidate.flags.c_contiguous and dtype.isnative):
        return None
    ours, theirs = reference.reshape(-1), candidate.reshape(-1)
    block = _BLOCK_BYTES // dtype.itemsize
    room = scratch("difference", block, dtype)
    error = scale = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, ours.size, block):
            a, b = ours[start : start + block], theirs[start : start + block]
            difference = np.subtract(b, a, out=room[: a.size])
            # Maximum and minimum instead of magnitudes: reading is cheaper than writing. NaN passes through both.
            largest = max(float(difference.max()), -float(difference.min()))
            # Finite differences do not prove finite values only where an infinity meets itself: that gives NaN.
            if not math.isfinite(largest):
                return None
            error = max(error, largest)
            scale = max(scale, float(a.max()), -float(a.min()))
    same = error == 0 and np.array_equal(ours.view(np.uint8), theirs.view(np.uint8))
    return Extent(reference.size, bool(same), error, scale)
