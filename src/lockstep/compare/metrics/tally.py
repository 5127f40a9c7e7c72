"""What the pass has gathered so far: maxima, counts and sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lockstep.compare.metrics.dtypes import Array


class Partial(NamedTuple):
    """Sums over one block, float64."""

    absolute: float
    signed: float | complex
    squared: float


@dataclass
class _Largest:
    """A running maximum and the first flat index that attains it, whatever the order of the offers."""

    value: float | int = 0
    index: int | None = None

    def offer(self, value: float | int, index: int | None) -> None:
        if index is None or value < self.value or value == 0:
            return
        if self.index is None or value > self.value or index < self.index:
            self.value, self.index = value, index


@dataclass
class Tally:
    """What one thread has gathered so far."""

    absolute: _Largest = field(default_factory=_Largest)
    relative: _Largest = field(default_factory=_Largest)
    partials: list[Partial] = field(default_factory=list)
    bit_equal: bool = True
    finite: int = 0
    nonzero_at_zero: int = 0
    ulp: int = 0
    beyond: int = 0
    first_beyond: int | None = None
    nan_mismatches: int = 0
    inf_mismatches: int = 0
    scale: float | int = 0

    def check_bits(self, reference: Array, candidate: Array) -> None:
        """Takes in whether two contiguous blocks of one dtype have the same bits."""
        if self.bit_equal:
            self.bit_equal = bool(np.array_equal(reference.view(np.uint8), candidate.view(np.uint8)))

    def count_beyond(self, mask: Array, start: int) -> None:
        """Takes in which elements of the run that begins at flat index `start` are beyond tolerance."""
        count = int(np.count_nonzero(mask))
        if count:
            self.beyond += count
            self._first(start + int(mask.argmax()))

    def _first(self, index: int | None) -> None:
        if index is not None and (self.first_beyond is None or index < self.first_beyond):
            self.first_beyond = index

    def merge(self, other: Tally) -> None:
        """Takes in what another thread has gathered."""
        self.absolute.offer(other.absolute.value, other.absolute.index)
        self.relative.offer(other.relative.value, other.relative.index)
        self.partials += other.partials
        self.bit_equal &= other.bit_equal
        self.finite += other.finite
        self.nonzero_at_zero += other.nonzero_at_zero
        self.ulp = max(self.ulp, other.ulp)
        self.beyond += other.beyond
        self._first(other.first_beyond)
        self.nan_mismatches += other.nan_mismatches
        self.inf_mismatches += other.inf_mismatches
        self.scale = max(self.scale, other.scale)
