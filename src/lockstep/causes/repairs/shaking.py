"""Other values for both sides: what holds at one set of values alone is no repair."""

from __future__ import annotations

import numpy as np

from lockstep.ground.fill import hashed_uniform

_MOST = 0.3
"""How far a value is moved, relative to itself: signs stay, so that a variance stays positive."""


def shaken(array: np.ndarray, source: int) -> np.ndarray:
    """Moves every floating element that is no part of a mask, by up to 30 %, as a hash of the source says.

    >>> shaken(np.array([1.0, 0.0]), 1).tolist()
    [1.0, 0.0]
    >>> bool((shaken(np.array([1.5, -2.0]), 1) != [1.5, -2.0]).all())
    True
    """
    if array.dtype.kind != "f" or (array == np.round(array)).all():
        return array
    factors = 1.0 + _MOST * (2.0 * hashed_uniform(f"shaken/{source}", array.size) - 1.0)
    return np.asarray(array * factors.reshape(array.shape), array.dtype)
