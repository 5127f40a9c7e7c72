"""Distances in units in the last place."""

from __future__ import annotations

from typing import cast

import numpy as np

from lockstep.compare.metrics.dtypes import Array, DType, value_grid


def ulp_of_parts(reference: Array, candidate: Array, dtype: DType) -> Array:
    """`ulp_distance` after rounding to `dtype`; for complex values the larger one of both parts."""
    if "c" not in (reference.dtype.kind, candidate.dtype.kind):
        return ulp_distance(reference.astype(dtype, copy=False), candidate.astype(dtype, copy=False))
    wide = reference.astype(np.complex128), candidate.astype(np.complex128)
    real = ulp_distance(wide[0].real.astype(dtype), wide[1].real.astype(dtype))
    imaginary = ulp_distance(wide[0].imag.astype(dtype), wide[1].imag.astype(dtype))
    return np.maximum(real, imaginary)


def ulp_distance(reference: Array, candidate: Array) -> Array:
    """Steps between representable neighbours, for arrays of one floating dtype; unsigned integers.

    IEEE formats are sign and magnitude: the bits below the sign, read as an integer, count the steps from zero. On one
    side of zero the distance is the difference of those counts, across zero their sum. It fits the unsigned integer of
    the same width.

    >>> ulp_distance(np.float32([1.0, -0.0]), np.float32([1.0000001, 1e-45])).tolist()
    [1, 1]
    """
    if reference.dtype.itemsize == 1:  # these have several layouts, some without a sign; ranks hold for all of them
        grid = value_grid(reference.dtype)
        ranks = [np.searchsorted(grid, side.astype(np.float32)) for side in (reference, candidate)]
        return np.asarray(np.abs(ranks[0] - ranks[1]), dtype=np.uint64)
    unsigned = np.dtype(f"u{reference.dtype.itemsize}")
    magnitude = unsigned.type((1 << (8 * unsigned.itemsize - 1)) - 1)
    ours, theirs = reference.view(unsigned), candidate.view(unsigned)
    across = (ours ^ theirs) > magnitude
    ours, theirs = ours & magnitude, theirs & magnitude
    within = np.maximum(ours, theirs) - np.minimum(ours, theirs)
    return cast(Array, np.where(across, ours + theirs, within))
