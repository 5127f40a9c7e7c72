"""Holds a lowered operation's result against PyTorch's own, on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

ULPS = 4
"""Elements that differ by no more of their own last places are equal: two ways to round one function (libm, SLEEF and
Eigen promise 1 to 4 ULP each)."""

SAME = 1e-10
"""Relative to the largest element: what two float64 results of one function differ by at most. Float64's last place is
2e-16; sums of a million terms lose six digits at worst."""

AS_GOOD = 16
"""How many times further from float64 than PyTorch's own result the lowered one may be (RMSE twice as far is what
PyTorch's compiler checks allow on average; this is the largest single element)."""

_LAST_PLACE = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Fault:
    """A lowered operation that does not give what PyTorch gives on the same inputs, or that could not be lowered.

    Attributes:
        node: The node's name in the exported graph.
        operation: The overload, `"aten.gelu.default"`.
        scope: The submodule.
        source: The user's line.
        told: What differs by how much, or what is not covered.
    """

    node: str
    operation: str
    scope: str
    source: str
    told: str

    def __str__(self) -> str:
        where = f" of {self.scope}" if self.scope else ""
        line = f" ({self.source})" if self.source else ""
        return f"{self.operation}{where}{line} is taken from PyTorch as it is: {self.told}"


Doubles = Callable[[], tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]
"""Computes PyTorch's and the lowered results in float64; asked for only where it is in doubt."""


def difference(own: Sequence[np.ndarray], lowered: Sequence[np.ndarray], doubles: Doubles) -> str:
    """Says by how much a lowered operation's results are off; empty where they are PyTorch's.

    Args:
        own: PyTorch's results.
        lowered: The lowered operation's.
        doubles: Both in float64.
    """
    if len(own) != len(lowered):
        return f"PyTorch gives {len(own)} tensors, the lowered operation {len(lowered)}"
    for ours, theirs in zip(own, lowered, strict=True):
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            return (
                f"PyTorch gives {ours.dtype.name}{list(ours.shape)}, the lowered operation "
                f"{theirs.dtype.name}{list(theirs.shape)}"
            )
    doubtful = [place for place, pair in enumerate(zip(own, lowered, strict=True)) if not _plainly_equal(*pair)]
    if not doubtful:
        return ""
    exact = [place for place in doubtful if not _rounded(own[place])]
    if exact:
        wrong = int(np.sum(own[exact[0]] != lowered[exact[0]]))
        return f"{wrong} of {own[exact[0]].size} elements differ"
    wide = doubles()
    for place in doubtful:
        told = _judged(own[place], lowered[place], wide[0][place], wide[1][place])
        if told:
            return told
    return ""


def _rounded(array: np.ndarray) -> bool:
    return array.dtype.kind in "fcV" or array.dtype.name == "bfloat16"


def _plainly_equal(own: np.ndarray, lowered: np.ndarray) -> bool:
    """Whether two arrays hold the same, but for a few last places of each element."""
    if not _rounded(own):
        return bool(np.array_equal(own, lowered))
    last = ULPS * _LAST_PLACE.get(own.real.dtype.name, 2.0**-52)
    a, b = _wide(own), _wide(lowered)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(a - b) <= last * np.abs(a)
    return bool(np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))))


def _judged(own: np.ndarray, lowered: np.ndarray, wide_own: np.ndarray, wide_lowered: np.ndarray) -> str:
    """Says how two results differ in float64, or how much worse the lowered one is than PyTorch's."""
    a, b, ours, theirs = (_wide(each) for each in (wide_own, wide_lowered, own, lowered))
    if not (np.array_equal(np.isfinite(a), np.isfinite(b)) and np.array_equal(np.isfinite(ours), np.isfinite(theirs))):
        return "infinities or NaN are not in the same places"
    finite = np.isfinite(a) & np.isfinite(ours)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return "infinities differ"
    a, b, ours, theirs = (each[finite] for each in (a, b, ours, theirs))
    largest = float(np.max(np.abs(a), initial=0.0))
    apart = float(np.max(np.abs(a - b), initial=0.0))
    if apart > SAME * largest:
        return f"in float64 the results differ by {apart:.2g}, where the largest element is {largest:.2g}"
    last = _LAST_PLACE.get(own.real.dtype.name, 2.0**-52)
    allowed = AS_GOOD * (float(np.max(np.abs(ours - a), initial=0.0)) + last * largest)
    off = float(np.max(np.abs(theirs - a), initial=0.0))
    if off > allowed:
        return f"it is {off:.2g} off the float64 result, PyTorch's own kernel {allowed / AS_GOOD:.2g}"
    return ""


def _wide(array: np.ndarray) -> Any:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
