"""Named tensors of both sides against each other: data first, a verdict only at the edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lockstep.compare.metrics import Extent, Figures, compare_arrays, measure_extent
from lockstep.compare.tolerance import FixedTolerance

# An extent's error is rounded to float32 once, by 2**-24 of it, and its inputs are exact.
_CERTAIN = 1.0 - 2.0**-20


@dataclass(frozen=True)
class TensorComparison:
    """One tensor of the reference against its partner.

    Attributes:
        name: What the report calls it.
        figures: The figures, or the extent alone where that proves every element within `atol`; None where the shapes
            or kinds of dtype differ, so that nothing could be compared.
        problem: Why nothing could be compared; empty where it could.
        budget: The largest absolute error that rounding alone explains; it passes where the tolerance does not.
    """

    name: str
    figures: Figures | Extent | None
    problem: str = ""
    budget: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every element is within tolerance, or within the budget."""
        if self.figures is None:
            return False
        if isinstance(self.figures, Extent) or self.figures.beyond_tolerance == 0:
            return True
        one_sided = self.figures.nan_mismatches or self.figures.inf_mismatches
        return not one_sided and float(self.figures.max_abs_error) <= self.budget

    @property
    def vacuous(self) -> bool:
        """Whether there is no element with a finite number on both sides, so that passing would mean nothing."""
        return self.figures is not None and self.figures.finite_pairs == 0

    @property
    def scaled_error(self) -> float:
        """The largest absolute error relative to the reference's largest magnitude."""
        if self.figures is None or self.figures.nan_mismatches or self.figures.inf_mismatches:
            return float("inf")
        scale = float(self.figures.max_abs_reference) or 1.0
        return float(self.figures.max_abs_error) / scale

    def describe(self) -> str:
        """One line for the diff."""
        name = self.name or "the output"
        if self.figures is None:
            return f"{name}: {self.problem}"
        f = self.figures
        if isinstance(f, Extent):
            return f"{name}: all {f.elements:,} within tolerance, largest difference {f.max_abs_error:.3g}"
        line = f"{name}: {f.beyond_tolerance:,} of {f.elements:,} beyond tolerance"
        if f.max_abs_values is not None:
            at = f" at {list(f.max_abs_index)}" if f.max_abs_index else ""
            line += f", largest difference {float(f.max_abs_error):.3g}{at}"
            line += f" ({_short(f.max_abs_values[0])} against {_short(f.max_abs_values[1])})"
        if f.nan_mismatches or f.inf_mismatches:
            line += f", NaN on one side only: {f.nan_mismatches:,}, infinity: {f.inf_mismatches:,}"
        return line


def compare_tensor(
    name: str,
    reference: np.ndarray,
    candidate: np.ndarray,
    tolerance: FixedTolerance,
    budget: float = 0.0,
    most: float = float("inf"),
) -> TensorComparison:
    """Compares two arrays by the tolerance that fits the reference, or by a budget in absolute terms.

    Args:
        name: What the report calls it.
        reference: The reference's.
        candidate: The candidate's.
        tolerance: The tolerance.
        budget: The largest absolute error that rounding explains.
        most: What the absolute part of the tolerance may be at most.
    """
    if reference.shape != candidate.shape:
        return TensorComparison(name, None, f"shape {reference.shape} against {candidate.shape}")
    if reference.dtype != candidate.dtype:
        return TensorComparison(name, None, f"dtype {reference.dtype.name} against {candidate.dtype.name}")
    extent = measure_extent(reference, candidate)
    if extent is None:
        rtol, atol = tolerance.for_tensor(reference)
        atol = min(atol, most)
    else:
        rtol, atol = tolerance.at(reference.dtype, extent.max_abs_reference)
        atol = min(atol, most)
        if extent.max_abs_error <= _CERTAIN * atol:
            return TensorComparison(name, extent, budget=budget)
    return TensorComparison(name, compare_arrays(reference, candidate, rtol=rtol, atol=atol), budget=budget)


@dataclass(frozen=True)
class Comparison:
    """All tensors of one kind; what has no partner is an entry too."""

    pairs: tuple[TensorComparison, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[TensorComparison, ...]:
        """The pairs that differ, the gravest first."""
        return tuple(sorted((p for p in self.pairs if not p.passed), key=lambda p: -p.scaled_error))

    @property
    def largest_error(self) -> float:
        """The largest absolute error over all pairs that could be compared; 0.0 if there are none."""
        return max((float(p.figures.max_abs_error) for p in self.pairs if p.figures is not None), default=0.0)

    @property
    def bit_equal(self) -> bool:
        """Whether there are pairs, and all of them hold the same bits."""
        return bool(self.pairs) and all(p.figures is not None and p.figures.bit_equal for p in self.pairs)


Budgets = Mapping[str, float]
"""Tensor's name -> the largest absolute error that rounding explains."""


def compare_named(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    tolerance: FixedTolerance,
    budgets: Budgets | None = None,
) -> Comparison:
    """Compares tensors that bear the same name on both sides.

    One after the other: each is asked for where it is compared, so that recorded ones are in memory for that time
    alone. Threads that share the tensors out, or one that reads ahead, gain nothing (878 of half a megabyte on two
    cores): NumPy works on one for some 20 microseconds at a time, and the interpreter's lock changes hands at each.
    """
    allowed = budgets or {}

    def compared(name: str) -> TensorComparison:
        return compare_tensor(name, reference[name], candidate[name], tolerance, allowed.get(name, 0.0))

    return Comparison(
        tuple(compared(name) for name in reference if name in candidate),
        missing=_difference(reference, candidate),
        extra=_difference(candidate, reference),
    )


def compare_pairs(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    tolerance: FixedTolerance,
    budgets: Budgets | None = None,
    most: Mapping[str, float] | None = None,
) -> Comparison:
    """Compares tensors given as `(name, reference, candidate)`; `most` is as of `compare_tensor`, by name."""
    allowed, bounds = budgets or {}, most or {}
    return Comparison(
        tuple(
            compare_tensor(name, r, c, tolerance, allowed.get(name, 0.0), bounds.get(name, float("inf")))
            for name, r, c in pairs
        )
    )


def _difference(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    return tuple(name for name in a if name not in b)


def _short(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, (float, np.floating)) else str(value)
