"""Whether two programs are the same function: both from start to end in float64, on the same values.

Rounding is some 1e9 times smaller there, so that what is left of a difference is another computation, unless the last
places of the float32 numbers that go in (written-down constants, variables, inputs) come to as much. By the triangle
inequality what two results differ by in float32 is at most this difference and what rounding moved either side by,
which is measured on the very run that is judged.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.ground.fill import jittered
from lockstep.localise.budget import is_exact, largest_ordinary
from lockstep.program import Program
from lockstep.program.evaluating import Evaluated, ends_of, evaluate
from lockstep.program.kernels import Kernels

JITTERS = 2
"""Runs with other last places, of either side."""

FACTOR = 8.0
"""How many times that movement a difference may have: as `localise.budget.FACTOR`, of the same measurement."""

FLOOR = 1e-9
"""Of the largest magnitude: as `localise.effects.FLOOR`, float64's own rounding in a deep network."""


@dataclass(frozen=True)
class EndInDouble:
    """One output, or one variable that the run left changed, in float64.

    Attributes:
        difference: The largest absolute difference of both sides; infinite where one side alone has a finite number.
        allowed: What the last places of the numbers that go in may come to.
        rounding: How far float32 moved the reference, and how far the candidate: their distance from float64.
        size: The reference's largest magnitude.
    """

    difference: float
    allowed: float
    rounding: tuple[float, float]
    size: float

    @property
    def bound(self) -> float:
        """How far the float32 results of both sides may be apart: by the triangle inequality."""
        return self.difference + sum(self.rounding)

    @property
    def same(self) -> bool:
        """Whether both sides compute the same there."""
        return self.difference <= self.allowed


@dataclass(frozen=True)
class Whole:
    """What both programs give in float64.

    Attributes:
        ends: `("output", path)` or `("state", the reference's variable)` -> what was found.
    """

    ends: Mapping[tuple[str, str], EndInDouble]

    def of(self, kind: str) -> dict[str, EndInDouble]:
        """Returns the ends of a kind by name."""
        return {name: end for (its, name), end in self.ends.items() if its == kind}


def compare(
    reference: Program,
    candidate: Program,
    kernels: Kernels,
    *,
    sources: Mapping[int, Any],
    names: Mapping[str, str],
) -> Whole | None:
    """Runs both programs in float64, undisturbed and with other last places.

    Args:
        reference: The reference's program.
        candidate: The candidate's, from the same values.
        kernels: Runs operations.
        sources: The candidate's draws -> the reference's values of them.
        names: The candidate's variable -> the reference's, for what the run leaves behind; others are left out.

    Returns:
        What was found; None where an operation has no float64 kernel, so that nothing is told.

    Raises:
        KernelError: An operation cannot be run at all.
    """
    ours = evaluate(reference, kernels, double=True)
    theirs = evaluate(candidate, kernels, double=True, sources=sources)
    if ours.narrow or theirs.narrow:
        return None
    singles = evaluate(reference, kernels, double=False), evaluate(candidate, kernels, double=False, sources=sources)
    shaken = [
        (
            evaluate(reference, kernels, double=True, moved=functools.partial(_shaken, number)),
            evaluate(candidate, kernels, double=True, sources=sources, moved=functools.partial(_shaken, number)),
        )
        for number in range(JITTERS)
    ]
    mine = ends_of(reference)
    renamed = {
        (kind, names.get(name, "") if kind == "state" else name): t for (kind, name), t in ends_of(candidate).items()
    }
    found: dict[tuple[str, str], EndInDouble] = {}
    for end, tensor in mine.items():
        if end not in renamed:
            continue
        place = renamed[end]
        moved = [_movement(ours, pair[0], tensor) for pair in shaken] + [
            _movement(theirs, pair[1], place) for pair in shaken
        ]
        size = largest_ordinary(ours.ends[tensor]) if ours.ends[tensor].dtype.kind in "fc" else 0.0
        rounding = _movement(ours, singles[0], tensor), _movement(theirs, singles[1], place)
        found[end] = EndInDouble(
            distance(ours.ends[tensor], theirs.ends[place]), FACTOR * max(moved) + FLOOR * size, rounding, size
        )
    return Whole(found)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest absolute difference; infinite for other shapes, and where one side alone is not finite."""
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else float("inf")
    wide = np.complex128 if "c" in a.dtype.kind + b.dtype.kind else np.float64
    with np.errstate(invalid="ignore"):
        off = np.abs(a.astype(wide) - b.astype(wide))
    odd = ~np.isfinite(off)
    if odd.any() and not np.array_equal(a[odd], b[odd], equal_nan=True):
        return float("inf")
    return float(np.max(np.where(odd, 0.0, off), initial=0.0))


def _movement(rest: Evaluated, moved: Evaluated, tensor: int) -> float:
    """How far a tensor moved; what became no number, or another whole number, tells nothing."""
    found = distance(rest.ends[tensor], moved.ends[tensor])
    return found if np.isfinite(found) else 0.0


def _shaken(number: int, array: np.ndarray, name: str) -> np.ndarray:
    """Moves the last place of what somebody rounded: 0.5 and other exact constants stay."""
    if array.dtype.kind == "f" and array.size <= 1 and name.startswith("constant/") and is_exact(array):
        return array
    return jittered(array, f"{number}/{name}")
