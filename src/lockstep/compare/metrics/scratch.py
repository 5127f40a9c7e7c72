"""Arrays that are written over by each tensor, one set for each thread.

New ones for every tensor would cost more than all arithmetic on a small one: the system fills each page with zeros
when it is first written to.
"""

from __future__ import annotations

import threading

import numpy as np

from lockstep.compare.metrics.dtypes import Array, DType


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[tuple[str, int, DType], Array] = {}


_SCRATCH = _Scratch()


def scratch(name: str, elements: int, dtype: DType) -> Array:
    """Returns this thread's array of a name, size and dtype; it holds whatever was written to it last."""
    key = name, elements, dtype
    if key not in _SCRATCH.arrays:
        _SCRATCH.arrays[key] = np.empty(elements, dtype)
    return _SCRATCH.arrays[key]
