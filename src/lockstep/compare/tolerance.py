"""The rules that say how far two values may be apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.common.arrays import largest_magnitude
from lockstep.ground.tensors import dtype_name

LOSS_RTOL = 1e-5
"""For one regularization loss: a float32 sum of squares over up to five million elements was measured 3.9e-6
away from exact arithmetic (Inception-ResNet-v2, every variable 0.001), and the order of summation is free."""

UPDATE_RTOL = 1e-4
"""For what an optimizer adds to a variable: `1 - 0.999^t`, by which Adam corrects its second moment, has a relative
error of 6e-5 in float32 at the first updates, whichever way the power is computed."""

CHANGE_RTOL = 2e-4
"""For what a run adds to a variable, relative to the largest change in it: `1 - decay` of a moving average has a
relative error of 1e-4 in float32 at a decay of 0.9997 (2**-25 / 3e-4)."""

# Spacing of 1.0 in the narrow formats, as IEEE 754 (float16) and bfloat16's seven stored bits of fraction give it.
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class FixedTolerance:
    """The guide's tolerance, `|reference - candidate| <= atol + rtol * |reference|`, scaled to the tensor.

    The guide's `atol` of 1e-5 alone would pass any error in a tensor whose values are that small. So `atol` is
    multiplied by the largest magnitude in the reference where that is below 1. In float16 and bfloat16 both
    constants are at least four times the format's spacing at 1.

    Attributes:
        rtol: Relative to the reference (the guide: 1e-6).
        atol: Absolute, for a tensor whose largest magnitude is 1 or more (the guide: 1e-5).
        alone: Whether it judges alone; otherwise a noise budget may explain what is beyond it.
    """

    rtol: float = 1e-6
    atol: float = 1e-5
    alone: bool = False

    def for_tensor(self, reference: np.ndarray) -> tuple[float, float]:
        """Returns `(rtol, atol)` for comparing with this reference; zero for what is not floating."""
        dtype = reference.dtype
        if dtype.kind not in "fc" and dtype.name not in _EPSILON:
            return 0.0, 0.0
        return self.at(dtype, largest_magnitude(reference))

    def at(self, dtype: np.dtype[Any], scale: float) -> tuple[float, float]:
        """Returns `(rtol, atol)` for a floating or complex reference whose largest magnitude is `scale`."""
        floor = 4.0 * _EPSILON.get(dtype_name(dtype), 0.0)
        return max(self.rtol, floor), max(self.atol, floor) * min(scale or 1.0, 1.0)

    def __str__(self) -> str:
        return f"rtol {self.rtol:g}, atol {self.atol:g} x scale"


def change_atol(before: np.ndarray, after: np.ndarray) -> float:
    """Returns how far a variable may be off after a run because of what the run added to it.

    A moving variance with a decay of 0.999 hides a missing factor n / (n - 1) in its value, but not in its step. What
    it is added to has a rounding of its own, which the relative tolerance of the value allows for.

    Args:
        before: The variable before the run, of the reference.
        after: The same after it.

    Returns:
        An absolute tolerance; infinite where the dtype is not float32 or float64, or nothing finite changed.

    >>> round(change_atol(np.array([1.0, 2.0]), np.array([1.001, 2.0])), 10)
    2e-07
    """
    if after.dtype not in (np.float32, np.float64) or before.shape != after.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        change = np.abs(after.astype(np.float64) - before.astype(np.float64))
    largest = float(np.max(np.where(np.isfinite(change), change, 0.0), initial=0.0))
    return CHANGE_RTOL * largest if largest else float("inf")


def update_tolerance(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Returns how far each element of a variable may be off after an optimizer's update.

    That is `UPDATE_RTOL` of what the update added, eight spacings of float32 (or of a narrower format) of the value
    that it was added to, and two of the tensor's largest value: Ftrl computes a variable anew from sums over all
    updates, whose rounding does not shrink with the result.

    Args:
        before: The variable before the update, of the reference.
        after: The same after it.
    """
    spacing = max(_EPSILON.get(after.dtype.name, 0.0), 2.0**-23)
    start, end = np.asarray(before, np.float64), np.asarray(after, np.float64)
    allowed: np.ndarray = UPDATE_RTOL * np.abs(end - start) + 8.0 * spacing * np.maximum(np.abs(start), np.abs(end))
    allowed += 2.0 * spacing * max(float(np.max(np.abs(each), initial=0.0)) for each in (start, end))
    return allowed
