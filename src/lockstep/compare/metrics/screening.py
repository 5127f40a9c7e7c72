"""A finite block of one real floating dtype, screened: only what can still change a figure is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from lockstep.compare.metrics.blocks import cut_pieces
from lockstep.compare.metrics.dtypes import Array, precision
from lockstep.compare.metrics.plan import Plan
from lockstep.compare.metrics.scratch import scratch
from lockstep.compare.metrics.tally import Partial, Tally
from lockstep.compare.metrics.ulp import ulp_distance
from lockstep.ground.tensors import dtype_name

# float32 screening decides only beyond this relative margin; its own rounding is below 3 * 2**-24.
_FLOAT32_MARGIN = 2.0**-20
_ROW = 256  # elements summed in the blocks' own precision before float64 takes over
_ROWS = 16  # _ROW * _ROWS stays below OpenBLAS's threshold for starting threads of its own (9,216 elements)
_DOT = 1024


class Screen:
    """Takes finite blocks of one floating dtype into a tally at a few passes over cached memory.

    Everything is computed in `work` precision (float64 for float64, else float32), whose maxima lie within the margin
    of the float64 ones; then only the elements within that margin are evaluated in float64. Three facts carry it:

    - Rounding is monotone: the largest float64 difference is among those whose rounded difference is the largest.
    - Two different float32 numbers differ by at least 2**-25 of either, so no quotient underflows.
    - Between two numbers of one sign, floating numbers of p bits are at least `smaller * 2**-p` apart. With
      `q = error / |reference| < 1` the distance is therefore at most `2**p * q / (1 - q)` ULPs, so that t ULPs need
      `q >= t / (2**p + t)`.
    """

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self.plan = plan
        self.tally = tally
        self.work = np.dtype(np.float64 if dtype_name(plan.common) == "float64" else np.float32)
        self.exact = dtype_name(plan.common) == "float64"
        self.margin = 0.0 if self.exact else _FLOAT32_MARGIN
        self.steps = 2.0 ** precision(plan.common)
        widened = ("reference", "candidate") if plan.common.itemsize == 2 else ()
        self.widened = [scratch(name, plan.block, self.work) for name in widened]
        self.error = scratch("error", plan.block, self.work)
        self.quotient = scratch("quotient", plan.block, self.work)
        self.mask = scratch("mask", plan.block, np.dtype(bool))
        self.ones = np.ones(_ROW, self.work)

    def add(self, start: int, reference: Array, candidate: Array) -> bool:
        """Takes in a block; returns False, having done nothing, if it holds NaN or infinity."""
        tally, count = self.tally, reference.size
        raw = reference, candidate
        reference, candidate = self._widen(reference, 0), self._widen(candidate, 1)
        error, quotient = self.error[:count], self.quotient[:count]
        np.subtract(candidate, reference, out=error)
        signed = self._sum(error)
        if not math.isfinite(signed):  # NaN and infinity survive a sum; so does a difference too large for `work`
            return False
        np.absolute(reference, out=quotient)
        np.absolute(error, out=error)
        largest = float(error.max())
        tally.scale = max(tally.scale, float(quotient.max()))
        tally.finite += count
        if largest == 0:
            tally.check_bits(*raw)
            return True
        tally.bit_equal = False
        tally.partials.append(self._partial(signed, error, largest))
        np.divide(error, quotient, out=quotient)
        ratio = float(np.fmax.reduce(quotient))  # fmax passes over the NaN of 0/0
        at_zero = ratio == math.inf and self._set_zeros_apart(raw, reference, error, quotient)
        if at_zero:
            ratio = float(quotient.max())
        self._locate(start, reference, candidate, largest)
        self._look_at_largest_quotients(start, raw, (reference, candidate), ratio)
        self._judge(start, reference, candidate, largest, math.inf if at_zero else ratio)
        return True

    def _widen(self, block: Array, side: int) -> Array:
        if block.dtype == self.work:
            return block
        wide = self.widened[side][: block.size]
        if dtype_name(block.dtype) == "bfloat16":  # a float32's upper half; ten times as fast as the registered cast
            bits = wide.view(np.uint32)
            np.copyto(bits, block.view(np.uint16))
            np.left_shift(bits, 16, out=bits)
        else:
            np.copyto(wide, block)
        return wide

    def _sum(self, values: Array) -> float:
        # Rows by matrix product: the same figure as numpy.sum to 1e-9, in half its time.
        whole = values.size - values.size % (_ROW * _ROWS)
        rows = np.matmul(values[:whole].reshape(-1, _ROWS, _ROW), self.ones)
        return _sum64(rows) + _sum64(values[whole:])

    def _partial(self, signed: float, error: Array, largest: float) -> Partial:
        if not self.exact and not 1e-15 < largest < 1e17:  # float32 sums or squares would leave float32's range
            wide = error.astype(np.float64)
            return Partial(_sum64(wide), signed, _sum64(np.square(wide)))
        whole = error.size - error.size % _DOT
        rows = np.matmul(error[:whole].reshape(-1, 1, _DOT), error[:whole].reshape(-1, _DOT, 1))
        squared = _sum64(rows) + _sum64(np.square(error[whole:], dtype=np.float64))
        return Partial(self._sum(error), signed, squared)

    def _set_zeros_apart(self, raw: tuple[Array, Array], reference: Array, error: Array, quotient: Array) -> bool:
        """Counts the nonzero candidates at zero references and takes their infinite quotients out."""
        zero = reference == 0
        nonzero = _where(zero & (error > 0))
        if nonzero.size == 0:
            return False  # the quotient of two finite numbers overflowed
        self.tally.nonzero_at_zero += nonzero.size
        self.tally.ulp = max(self.tally.ulp, int(ulp_distance(raw[0][nonzero], raw[1][nonzero]).max()))
        np.copyto(quotient, 0, where=zero)
        return True

    def _locate(self, start: int, reference: Array, candidate: Array, largest: float) -> None:
        """Finds the block's largest error in float64, if it can be the largest so far."""
        if largest >= float(self.work.type(self.tally.absolute.value)):
            error, mask = self.error[: reference.size], self.mask[: reference.size]
            np.equal(error, self.work.type(largest), out=mask)
            for places in _pieces(_where(mask)):
                error = np.abs(candidate[places].astype(np.float64) - reference[places].astype(np.float64))
                index = int(error.argmax())
                self.tally.absolute.offer(float(error[index]), start + int(places[index]))

    def _look_at_largest_quotients(
        self, start: int, raw: tuple[Array, Array], wide: tuple[Array, Array], ratio: float
    ) -> None:
        """Finds the block's largest relative error and largest distance in ULPs, if they can be the largest so far."""
        relative = ratio > 0 and ratio * (1 + self.margin) >= self.tally.relative.value
        if not (relative or ratio > self._ulp_threshold()):
            return
        quotient, mask = self.quotient[: raw[0].size], self.mask[: raw[0].size]
        np.greater_equal(quotient, self.work.type(ratio * (1 - self.margin)), out=mask)
        for places in _pieces(_where(mask)):
            if relative:
                self._offer_relative(start, places, *wide)
            self._offer_ulps(places, *raw)
        # The largest quotients are close to the largest distance: taken first, they leave few others to look at.
        if ratio > self._ulp_threshold():
            np.greater(quotient, self._ulp_threshold(), out=mask)
            for places in _pieces(_where(mask)):
                self._offer_ulps(places, *raw)

    def _offer_relative(self, start: int, places: Array, reference: Array, candidate: Array) -> None:
        scale = reference[places].astype(np.float64)
        relative = np.abs(candidate[places].astype(np.float64) - scale) / np.abs(scale)
        index = int(relative.argmax())
        self.tally.relative.offer(float(relative[index]), start + int(places[index]))

    def _offer_ulps(self, places: Array, reference: Array, candidate: Array) -> None:
        self.tally.ulp = max(self.tally.ulp, int(ulp_distance(reference[places], candidate[places]).max()))

    def _ulp_threshold(self) -> np.floating[Any]:
        """What a quotient must exceed for a distance larger than the largest so far."""
        more = self.tally.ulp + 1
        return cast("np.floating[Any]", self.work.type(more / (self.steps + more) * (1 - _FLOAT32_MARGIN)))

    def _judge(self, start: int, reference: Array, candidate: Array, largest: float, ratio: float) -> None:
        """Counts what is beyond tolerance. Overwrites the quotients."""
        rtol, atol = self.plan.rtol, self.plan.atol
        error, limit = self.error[: reference.size], self.quotient[: reference.size]
        if rtol == 0 and atol == 0:
            self.tally.count_beyond(np.greater(error, 0, out=self.mask[: reference.size]), start)
            return
        if largest < atol * (1 - self.margin) or ratio < rtol * (1 - self.margin):
            return
        if self.exact:
            np.multiply(np.absolute(reference, out=limit), rtol, out=limit)
            self.tally.count_beyond(error > np.add(limit, atol, out=limit), start)
            return
        if rtol > 1e30:  # float32 may hold the product but not the factor
            places = np.arange(reference.size)
            beyond = np.zeros(reference.size, dtype=bool)
        else:
            may, beyond = (self._exceeds(reference, error, limit, side) for side in (-1, 1))
            places = _where(may & ~beyond)
        for some in _pieces(places):
            scale = reference[some].astype(np.float64)
            beyond[some] = np.abs(candidate[some].astype(np.float64) - scale) > atol + rtol * np.abs(scale)
        self.tally.count_beyond(beyond, start)

    def _exceeds(self, reference: Array, error: Array, limit: Array, side: int) -> Array:
        """`error > limit` with the limit moved to one side by more than float32 can round it."""
        factor = 1 + side * self.margin
        subnormal = side * 2.0**-147  # what a product may lose in float32's subnormal range
        np.multiply(np.absolute(reference, out=limit), np.float32(self.plan.rtol * factor), out=limit)
        np.add(limit, np.float32(self.plan.atol * factor + subnormal), out=limit)
        return error > limit


def _where(mask: Array) -> Array:
    return mask.nonzero()[0]


def _pieces(places: Array) -> Iterator[Array]:
    return (places[piece] for piece in cut_pieces(places.size))


def _sum64(values: Array) -> float:
    return float(np.add.reduce(values, axis=None, dtype=np.float64)) if values.size else 0.0
