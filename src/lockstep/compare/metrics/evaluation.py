"""A block of any dtype, evaluated in full: every element as `Figures` documents it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lockstep.common.errors import InputError
from lockstep.compare.metrics.blocks import cut_pieces
from lockstep.compare.metrics.dtypes import Array, DType
from lockstep.compare.metrics.plan import Plan
from lockstep.compare.metrics.tally import Partial, Tally
from lockstep.compare.metrics.ulp import ulp_of_parts


def evaluate(start: int, reference: Array, candidate: Array, plan: Plan, tally: Tally) -> None:
    """Takes the block that begins at flat index `start` into the tally."""
    if plan.same_dtype:
        tally.check_bits(reference, candidate)
    measure = {"float": _floats, "complex": _complexes, "integer": _integers, "text": _texts}[plan.kind]
    for piece in cut_pieces(reference.size):
        _add_pairs(start + piece.start, measure(reference[piece], candidate[piece], plan), plan, tally)


class _Pairs(NamedTuple):
    """A piece of both arrays, measured element by element; all arrays have its length.

    `error` and `signed` are 0 where a value is not finite, `scale` is 0 where the reference is not.
    """

    error: Array  # float64, uint64, or Python integers
    signed: Array  # float64 or complex128
    scale: Array  # |reference|, as error
    finite: Array  # bool
    nan_mismatch: Array  # bool
    mismatch: Array  # bool: beyond every tolerance
    ulp: Array | None  # unsigned integers


def _add_pairs(start: int, pairs: _Pairs, plan: Plan, tally: Tally) -> None:
    error = pairs.error.astype(np.float64)
    scale = pairs.scale.astype(np.float64)
    measured = scale != 0
    relative = np.divide(error, scale, out=np.zeros_like(error), where=measured)
    for largest, values in ((tally.absolute, pairs.error), (tally.relative, relative)):
        index = int(values.argmax())
        largest.offer(values[index].item() if isinstance(values[index], np.generic) else values[index], start + index)
    unequal = pairs.error != 0
    tally.finite += int(np.count_nonzero(pairs.finite))
    tally.nonzero_at_zero += int(np.count_nonzero(unequal & pairs.finite & ~measured))
    top = pairs.scale.max()
    tally.scale = max(tally.scale, top.item() if isinstance(top, np.generic) else top)
    tally.partials.append(Partial(float(error.sum()), pairs.signed.sum().item(), float(np.square(error).sum())))
    if pairs.ulp is not None:
        tally.ulp = max(tally.ulp, int(np.where(pairs.finite, pairs.ulp, 0).max()))
    nan_mismatches = int(np.count_nonzero(pairs.nan_mismatch))
    tally.nan_mismatches += nan_mismatches
    if plan.kind == "text":
        tally.bit_equal &= not pairs.mismatch.any()
    else:
        tally.inf_mismatches += int(np.count_nonzero(pairs.mismatch)) - nan_mismatches
    limit = plan.atol + plan.rtol * scale
    tally.count_beyond(pairs.mismatch | _exceeds(pairs.error, limit), start)


def _exceeds(error: Array, limit: Array) -> Array:
    """`error > limit` without rounding an integer error to float64."""
    if error.dtype.kind == "f":
        return error > limit
    if error.dtype.kind == "O":
        return (error > limit.astype(object)).astype(bool)
    whole = np.floor(limit)
    representable = whole < 2.0**64
    return representable & (error > np.where(representable, whole, 0.0).astype(np.uint64))


def _floats(reference: Array, candidate: Array, plan: Plan) -> _Pairs:
    return _continuous(reference, candidate, plan, np.dtype(np.float64))


def _complexes(reference: Array, candidate: Array, plan: Plan) -> _Pairs:
    return _continuous(reference, candidate, plan, np.dtype(np.complex128))


def _continuous(reference: Array, candidate: Array, plan: Plan, wide: DType) -> _Pairs:
    ours, theirs = reference.astype(wide), candidate.astype(wide)
    ours_finite = np.isfinite(ours)
    finite = ours_finite & np.isfinite(theirs)
    signed = np.where(finite, theirs - ours, 0)
    nan_mismatch = np.isnan(ours) != np.isnan(theirs)
    # Neither NaN, not both finite, not the same: here infinity meets something else.
    inf_mismatch = ~(finite | np.isnan(ours) | np.isnan(theirs)) & (ours != theirs)
    ulp = None if plan.ulp is None else ulp_of_parts(reference, candidate, plan.ulp)
    scale = np.where(ours_finite, np.abs(ours), 0)
    return _Pairs(np.abs(signed), signed, scale, finite, nan_mismatch, nan_mismatch | inf_mismatch, ulp)


def _integers(reference: Array, candidate: Array, plan: Plan) -> _Pairs:
    ours, theirs = reference.astype(plan.common), candidate.astype(plan.common)
    if plan.common.kind == "O":
        error, scale = np.abs(theirs - ours), np.abs(ours)
    else:
        # Modulo 2**64 the differences come out right although int64 itself overflows.
        wide, other = ours.astype(np.uint64), theirs.astype(np.uint64)
        error = np.where(theirs >= ours, other - wide, wide - other)
        scale = np.where(ours < 0, np.uint64(0) - wide, wide)
    size = error.astype(np.float64)
    no = np.zeros(error.shape, dtype=bool)
    return _Pairs(error, np.where(theirs >= ours, size, -size), scale, ~no, no, no, None)


def _texts(reference: Array, candidate: Array, plan: Plan) -> _Pairs:
    del plan
    ours, theirs = _encoded(reference, "reference"), _encoded(candidate, "candidate")
    unequal = np.fromiter((one != other for one, other in zip(ours, theirs, strict=True)), bool, len(ours))
    error, no = unequal.astype(np.uint64), np.zeros_like(unequal)
    return _Pairs(error, np.zeros(len(ours)), np.ones_like(error), ~no, no, unequal, None)


def _encoded(texts: Array, side: str) -> list[bytes]:
    encoded = []
    for text in texts.tolist():
        if not isinstance(text, str | bytes):
            raise InputError(f"{side} is an object array that holds a {type(text).__name__}; only str and bytes work")
        encoded.append(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return encoded
