"""Whether what is to blame has any effect: a computation that is only written otherwise has none.

`(x * s) W` and `(x W) * s` are the same; looked at operation by operation the first has a factor too many in one place
and lacks one in another. So the whole candidate runs in float64, everywhere else on the reference's values, with some
blamed places left as they are: if all that it returns and leaves behind is the reference's, these places are right.
An operation without a float64 kernel is run as it is, and then float32's rounding is allowed for.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.ground.fill import jittered
from lockstep.localise.budget import Part, fitting, is_exact, is_text, largest_ordinary, shaped
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels

FLOOR = 1e-9
"""Of the largest magnitude: what float64's rounding may come to in a deep network, ten million times its last place."""

FLOOR_IN_SINGLE = 1e-6
"""As of `forcing`: the same where some of the values are the reference's own, in float32."""

FACTOR = 8.0
"""As of `budget`: how many times the movement by the rounding of written-down constants a difference may have."""


@dataclass(frozen=True)
class Place:
    """Where the candidate is made to go on from the reference's value.

    Attributes:
        wanted: The reference's tensor.
        tensor: The candidate's tensor that is replaced by it; None where only some reads of it are.
        reads: Operation's index and slot of these reads.
        end: The candidate's tensor where what is returned or left behind is replaced, and no read of it.
    """

    wanted: int
    tensor: int | None
    reads: frozenset[tuple[int, int]] = frozenset()
    end: int | None = None


class Whole:
    """Both programs, evaluated in float64 from start to end.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        sources: Candidate's source -> its value on the reference's side; without one it keeps its own.
        kernels: Runs operations.
        places: What is to blame, each with all places where the walk went on from the reference's value.
        ends: `(candidate's tensor, reference's tensor)` of what both return and leave behind.

    Attributes:
        parts: Candidate's tensor that is to blame -> what makes it, on the reference's values.
    """

    def __init__(
        self,
        reference: Program,
        candidate: Program,
        sources: Mapping[int, Any],
        kernels: Kernels,
        places: Sequence[Collection[Place]],
        ends: Sequence[tuple[int, int]],
    ) -> None:
        self._c, self._kernels, self._places, self._ends = candidate, kernels, places, ends
        self._sources = sources
        self.parts: Mapping[int, Part] = {}
        self._reference, self._single, self._sizes_matter = reference, False, False
        self._replaced = _Replaced({}, {})
        self._at_rest: Mapping[object, np.ndarray] = {}
        self._ends_at_rest: Mapping[tuple[int, int], np.ndarray] = {}
        wanted = {place.wanted for blamed in places for place in blamed} | {tensor for _, tensor in ends}
        self._ours = self._run(reference, {}, wanted, None)
        self._reference_single, self._single_at_rest = self._single, False
        moved = self._run(reference, {}, {tensor for _, tensor in ends}, other_constants)
        self._allowed = {tensor: self._allowance(tensor, moved[tensor]) for _, tensor in ends}

    @functools.cached_property
    def _allowed_in_single(self) -> dict[int, float]:
        """What is allowed where an operation has no float64 kernel: what all last places of float32 may come to."""
        tensors = {tensor for _, tensor in self._ends}
        moved = self._run(self._reference, {}, tensors, jittered)
        return {tensor: max(self._allowance(tensor, moved[tensor]), self._allowed[tensor]) for tensor in tensors}

    def harmless(self, free: Collection[int]) -> bool:
        """Tells whether the candidate is right with some blamed places as they are, all others being mended.

        Args:
            free: Indices of the blamed places that are left as they are. What they do must not be seen in another
                blamed place either, whose mending would hide it.
        """
        try:
            left = {*free, *self.unmendable}
            before, ends = self._with(left)
            others = len(left) < len(self._places)
            floor = FLOOR_IN_SINGLE if self.unmendable or self._single or self._single_at_rest else FLOOR
            # What ran only as something in front of it was left as it was, cannot be compared: it may be seen there.
            unseen = not others or all(
                place in self._mended and _near(value, self._mended[place], floor) for place, value in before.items()
            )
        except KernelError:  # what is mended does not fit what is not
            return False
        return unseen and all(self._same(ends[end], end[1]) or self._is_at_rest(end, ends[end]) for end in self._ends)

    def _is_at_rest(self, end: tuple[int, int], value: np.ndarray) -> bool:
        """Whether an end is what it is with everything mended: the order of equal numbers is nobody's mistake."""
        return not self.unmendable and _near(value, self._ends_at_rest[end], FLOOR)

    @functools.cached_property
    def unmendable(self) -> frozenset[int]:
        """Indices of the blamed places where nothing of the reference's fits in: they are as they are in every trial.

        A factor that the reference has for each pixel, and the candidate for each channel, is one.
        """
        found = self._without_fit()
        try:
            self._at_rest, self._ends_at_rest = self._with(found)
        except KernelError:  # a matrix product, say, minds sizes that a sum along an axis does not
            self._sizes_matter = True
            found = self._without_fit()
            self._at_rest, self._ends_at_rest = self._with(found)
        self._single_at_rest = self._single
        return found

    def _without_fit(self) -> frozenset[int]:
        return frozenset(n for n, blamed in enumerate(self._places) if not any(map(self._fits, blamed)))

    def _fits(self, place: Place) -> bool:
        value = self._ours[place.wanted]
        operations = self._c.operations
        tensors = {operations[index].inputs[slot] for index, slot in place.reads}
        tensors |= set() if place.tensor is None else {place.tensor}
        fit = shaped if self._sizes_matter else fitting
        return all(fit(value, self._c.specs[tensor].shape) is not None for tensor in tensors)

    @functools.cached_property
    def _mended(self) -> dict[object, np.ndarray]:
        """What the candidate computes in each blamed place before it is mended, all others being mended.

        Where some cannot be, it is what was computed there on the reference's values in the forced pass.
        """
        unmendable = self.unmendable
        found = dict(self._at_rest)
        for place in found if unmendable else ():
            part = self.parts.get(self._tensor_of(place))
            with contextlib.suppress(KernelError):  # what does not fit cannot be computed on
                if part is not None:
                    found[place] = _wide(self._kernels.numpy(part.run(self._kernels, double=True)))
        return found

    def _tensor_of(self, place: Any) -> int:
        """The candidate's tensor that is replaced in a place: by itself, in one read, or as an end."""
        if isinstance(place, int):
            return place
        first, second = place
        return int(second[0] if first == "end" else self._c.operations[first].inputs[second])

    def _with(self, free: Collection[int]) -> tuple[dict[object, np.ndarray], dict[tuple[int, int], np.ndarray]]:
        """Runs the candidate with some places unmended; returns what it had computed in the others, and the ends."""
        mended = [place for number, blamed in enumerate(self._places) if number not in free for place in blamed
                  if self._fits(place)]  # fmt: skip
        self._replaced = _Replaced.of(mended, self._ours, self._c)
        self._single = self._reference_single  # what an earlier trial ran in float32 says nothing of this one
        self._before: dict[object, np.ndarray] = {}
        made = self._run(self._c, self._sources, {tensor for tensor, _ in self._ends}, None)
        ends = {end: made[end[0]] for end in self._ends}
        replaced = {(place.end, place.wanted) for place in mended}
        for end in (end for end in self._ends if end in replaced):
            self._before["end", end], ends[end] = ends[end], self._ours[end[1]]
        return self._before, ends

    def _allowance(self, tensor: int, moved: np.ndarray) -> float:
        value = self._ours[tensor]
        if value.dtype.kind not in "fc" or not value.size:
            return 0.0
        with np.errstate(invalid="ignore"):
            movement = np.abs(moved - value)
        finite = np.where(np.isfinite(movement), movement, 0.0)
        return float(FACTOR * finite.max() + FLOOR * largest_ordinary(value))

    def _same(self, theirs: np.ndarray, tensor: int) -> bool:
        ours = self._ours[tensor]
        value = shaped(theirs, ours.shape)
        if value is None:
            return False
        if ours.dtype.kind not in "fc" or value.dtype.kind not in "fc":
            return bool(np.array_equal(ours, value))
        with np.errstate(invalid="ignore"):
            off = np.abs(value - ours)
        odd = ~np.isfinite(off)
        if odd.any() and not np.array_equal(ours[odd], value[odd], equal_nan=True):
            return False
        allowed = self._allowed_in_single if self._single else self._allowed
        return not bool((np.where(odd, 0.0, off) > allowed[tensor]).any())

    def _run(
        self,
        program: Program,
        sources: Mapping[int, Any],
        kept: Iterable[int],
        moved: Callable[[np.ndarray, str], np.ndarray] | None,
    ) -> dict[int, np.ndarray]:
        """Evaluates a program; a tensor that nobody reads any more goes."""
        readers = Counter(tensor for operation in program.operations for tensor in operation.inputs)
        readers.update(dict.fromkeys(kept, 1))
        values: dict[int, Any] = {}

        def source(tensor: int) -> Any:
            value = sources.get(tensor, program.sources[tensor].value)
            if moved is None or (moved is other_constants and program.sources[tensor].kind != "constant"):
                return value
            return moved(self._kernels.numpy(value), str(tensor))

        replaced = self._replaced if program is self._c else _Replaced({}, {})

        def read(tensor: int) -> Any:
            if tensor in replaced.tensors and tensor in program.sources:
                self._before[tensor] = _wide(self._kernels.numpy(source(tensor)))
                return replaced.tensors[tensor]
            return values[tensor] if tensor in values else source(tensor)

        for operation in program.operations:
            self._compute(program, operation, read, values, replaced)
            for tensor in operation.inputs:
                readers[tensor] -= 1
                if not readers[tensor]:
                    values.pop(tensor, None)
        return {tensor: _wide(self._kernels.numpy(read(tensor))) for tensor in kept}

    def _compute(
        self,
        program: Program,
        operation: Operation,
        read: Callable[[int], Any],
        values: dict[int, Any],
        replaced: _Replaced,
    ) -> None:
        def mended(place: object, value: Any, by: Mapping[Any, Any]) -> Any:
            if place not in by:
                return value
            self._before[place] = _wide(self._kernels.numpy(value))
            return by[place]

        reads = enumerate(operation.inputs)
        inputs = [mended((operation.index, slot), read(tensor), replaced.reads) for slot, tensor in reads]
        try:
            outputs = self._kernels.run_double(operation, inputs)
        except KernelError:  # no float64 kernel, or nothing that can be computed
            if replaced.tensors.keys() >= set(operation.outputs):
                values.update({tensor: replaced.tensors[tensor] for tensor in operation.outputs})
                return
            dtypes = [program.specs[tensor].dtype for tensor in operation.inputs]
            outputs = self._kernels.run(operation, [self._narrow(*pair) for pair in zip(inputs, dtypes, strict=True)])
            self._single = True
        made = zip(operation.outputs, outputs, strict=True)
        values.update({tensor: mended(tensor, value, replaced.tensors) for tensor, value in made})

    def _narrow(self, value: Any, dtype: str) -> Any:
        array = self._kernels.numpy(value)
        return array.astype(np.float32) if array.dtype == np.float64 and dtype == "float32" else value


@dataclass(frozen=True)
class _Replaced:
    """Values that the candidate goes on from, by tensor and by read."""

    tensors: Mapping[int, Any]
    reads: Mapping[tuple[int, int], Any]

    @classmethod
    def of(cls, places: Iterable[Place], values: Mapping[int, np.ndarray], candidate: Program) -> _Replaced:
        tensors, reads = {}, {}
        for place in places:
            value = values[place.wanted]
            if place.tensor is not None:
                tensors[place.tensor] = fitting(value, candidate.specs[place.tensor].shape)
            for index, slot in place.reads:
                shape = candidate.specs[candidate.operations[index].inputs[slot]].shape
                reads[index, slot] = fitting(value, shape)
        return cls(tensors, reads)


def _near(a: np.ndarray, b: np.ndarray, floor: float) -> bool:
    if is_text(a) or is_text(b):  # text is near nothing but itself
        return a.shape == b.shape and bool(np.array_equal(a, b))
    scale = largest_ordinary(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=floor, atol=floor * scale, equal_nan=True))


def _wide(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64) if array.dtype.kind == "f" else array


def other_constants(array: np.ndarray, name: str) -> np.ndarray:
    """Rounds a constant that is no binary number the other way."""
    if array.dtype.kind != "f" or array.size > 1 or is_exact(array):
        return array
    return jittered(array, name)
