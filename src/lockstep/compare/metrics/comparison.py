"""Two arrays -> their `Figures`: checks the arguments, runs the pass, turns its tally into figures."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from lockstep.common.errors import InputError
from lockstep.compare.metrics.dtypes import Array, kind_of
from lockstep.compare.metrics.figures import Figures, Scalar
from lockstep.compare.metrics.plan import Plan, make_plan
from lockstep.compare.metrics.tally import Tally
from lockstep.compare.metrics.traversal import traverse
from lockstep.ground.tensors import dtype_name


def compare_arrays(
    reference: npt.ArrayLike, candidate: npt.ArrayLike, *, rtol: float = 0.0, atol: float = 0.0
) -> Figures:
    """Compares two arrays of equal shape and returns all figures of `Figures` from one pass.

    An element is beyond tolerance if `|reference - candidate| > atol + rtol * |reference|`: NumPy's rule, with the
    *reference* on the scaling side (in `np.allclose(a, b)` that is `b`). NaN equals NaN, an infinity equals itself;
    any other meeting of NaN or infinity is beyond every tolerance. An empty array gives zeros and no index.

    Memory-mapped, non-contiguous, big-endian and 0-d arrays are fine; nothing as large as the arrays is allocated.

    Args:
        reference: Array of any shape: floating (float16 to float64, bfloat16 and the smaller ones of `ml_dtypes`),
            integer, bool, complex64, complex128, strings, bytes, or objects that are all `str` or `bytes`.
        candidate: Array of the same shape. Two floating dtypes are compared in the wider one, integer against
            floating in float64 (integers beyond 2**53 are rounded).
        rtol: Relative tolerance, finite and not negative.
        atol: Absolute tolerance, finite and not negative, in the arrays' own unit.

    Raises:
        InputError: The shapes differ, a dtype is not one of the above, or a tolerance is negative or not finite.

    >>> import numpy as np
    >>> figures = compare_arrays(np.float32([0, 2, 4, np.nan]), np.float32([0, 2, 5, np.nan]), rtol=0.1, atol=0.5)
    >>> figures.max_abs_error, figures.max_abs_index, figures.max_abs_values
    (1.0, (2,), (4.0, 5.0))
    >>> figures.max_rel_error, figures.max_ulp, figures.beyond_tolerance, figures.first_beyond_index
    (0.25, 2097152, 1, (2,))
    >>> compare_arrays(np.zeros(2), np.zeros(3))
    Traceback (most recent call last):
    lockstep.InputError: reference has shape (2,), candidate has shape (3,); only equal shapes can be compared
    """
    ours, theirs = np.asarray(reference), np.asarray(candidate)
    if ours.shape != theirs.shape:
        raise InputError(
            f"reference has shape {ours.shape}, candidate has shape {theirs.shape}; only equal shapes can be compared"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value!r}; give a finite number that is not negative")
    plan = make_plan(ours.dtype, theirs.dtype, float(rtol), float(atol))
    return _figures(ours, theirs, plan, traverse(ours, theirs, plan))


def _figures(reference: Array, candidate: Array, plan: Plan, tally: Tally) -> Figures:
    def place(flat: int | None) -> tuple[int, ...] | None:
        return None if flat is None else tuple(int(i) for i in np.unravel_index(flat, reference.shape))

    number = float if plan.kind in ("float", "complex") else int
    worst = place(tally.absolute.index)
    count = max(tally.finite, 1)
    signed = _exact_sum([complex(part.signed).real for part in tally.partials]) / count
    imaginary = _exact_sum([complex(part.signed).imag for part in tally.partials]) / count
    return Figures(
        elements=reference.size,
        finite_pairs=tally.finite,
        bit_equal=tally.bit_equal and (plan.same_dtype or plan.kind == "text"),
        max_abs_error=number(tally.absolute.value),
        max_abs_index=worst,
        max_abs_values=None if worst is None else (_scalar(reference, worst), _scalar(candidate, worst)),
        max_rel_error=float(tally.relative.value),
        max_rel_index=place(tally.relative.index),
        nonzero_at_zero_reference=tally.nonzero_at_zero,
        max_ulp=None if plan.ulp is None else tally.ulp,
        beyond_tolerance=tally.beyond,
        first_beyond_index=place(tally.first_beyond),
        nan_mismatches=tally.nan_mismatches,
        inf_mismatches=tally.inf_mismatches,
        mean_abs_error=_exact_sum([part.absolute for part in tally.partials]) / count,
        mean_signed_error=complex(signed, imaginary) if plan.kind == "complex" else signed,
        rms_error=math.sqrt(_exact_sum([part.squared for part in tally.partials]) / count),
        max_abs_reference=number(tally.scale),
        reference_dtype=dtype_name(reference.dtype),
        candidate_dtype=dtype_name(candidate.dtype),
        common_dtype=dtype_name(plan.common),
        ulp_dtype=None if plan.ulp is None else dtype_name(plan.ulp),
        rtol=plan.rtol,
        atol=plan.atol,
    )


def _exact_sum(parts: list[float]) -> float:
    """The sum, the same for every order of `parts`, so that threads cannot change a figure."""
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # parts beyond float64's range, or infinities of both signs
        return math.inf if all(part >= 0 for part in parts) else math.nan


def _scalar(array: Array, index: tuple[int, ...]) -> Scalar:
    value: Any = array[index]
    if array.dtype.kind in "biucSU":
        value = value.item()
        return cast(Scalar, value)
    if kind_of(array.dtype) == "integer":
        return int(value)
    return cast(Scalar, value) if isinstance(value, str | bytes) else float(value)
