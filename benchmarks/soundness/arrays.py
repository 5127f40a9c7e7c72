"""Inputs of the cases: NumPy arrays, the same at every call."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SEED = 12


def floats(
    *shape: int, low: float = -1.0, high: float = 1.0, dtype: str = "float32", seed: int = _SEED
) -> npt.NDArray[Any]:
    """Returns uniform numbers in [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def integers(*shape: int, high: int, dtype: str = "int32", seed: int = _SEED) -> npt.NDArray[Any]:
    """Returns integers in [0, high), each of them at least once where there is room."""
    numbers = np.random.default_rng(seed).integers(0, high, shape)
    flat = numbers.reshape(-1)
    if flat.size >= high:
        flat[:high] = np.random.default_rng(seed).permutation(high)
    return numbers.astype(dtype)
