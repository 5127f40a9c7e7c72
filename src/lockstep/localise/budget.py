"""How far two correct computations of one tensor may differ by rounding alone, element by element.

Both sides' operations are evaluated in float64 on the same inputs: what then is left of a difference is no rounding
but another computation. It is held against what rounding can do there: the reference's own distance from its float64
value, and how far both sides move when the last place of every rounded number that goes in changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.ground.fill import jittered
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels

_MASKING = 1e3
"""How many times larger than all others a value is that is added to leave something out."""

JITTERS = 2
"""Evaluations with other last places. Each element takes the largest movement of them and of its neighbours' mean, so
few are enough: docs/design/localisation.md has the measured distribution."""

FACTOR = 8.0
"""How many times the estimated rounding a difference may have; docs/design/localisation.md has the distribution of
error / budget over correct pairs that it comes from."""


@dataclass(frozen=True)
class Part:
    """Some operations of a program and where they start from.

    Attributes:
        program: The program.
        operations: The operations, in their order.
        start: Tensor -> its value.
        end: The tensor that is asked for.
        forced: Operation's index and slot -> value that it reads there, and the value's name, whatever else its
            input is.
        scaled: Tensor -> a factor that it is multiplied by, to try what a missing factor would do.
    """

    program: Program
    operations: Sequence[Operation]
    start: Mapping[int, Any]
    end: int
    forced: Mapping[tuple[int, int], Any]
    scaled: Mapping[int, float] = field(default_factory=dict)

    def run(
        self,
        kernels: Kernels,
        *,
        double: bool = False,
        moved: Callable[[np.ndarray, str], np.ndarray] | None = None,
        every: dict[int, Any] | None = None,
    ) -> Any:
        """Evaluates the part.

        Args:
            kernels: Runs operations.
            double: Whether in float64.
            moved: Changes what goes in: an array and its name -> an array.
            every: Filled with the value of every tensor.

        Raises:
            KernelError: An operation cannot be run, or reads what is not there.
        """
        values: dict[int, Any] = {} if every is None else every
        run = kernels.run_double if double else kernels.run

        def given(tensor: int, slot: tuple[int, int] | None = None) -> Any:
            if slot is not None and slot in self.forced:
                value, name = self.forced[slot]
            elif tensor in values:
                return values[tensor]
            elif tensor in self.start:
                value, name = self.start[tensor], f"{tensor}"
            elif tensor in self.program.sources:
                value, name = self.program.sources[tensor].value, f"{tensor}"
            else:  # a trial has an operation read what is computed after it
                raise KernelError(f"tensor {tensor} is not computed before it is read")
            if tensor in self.scaled:
                value = kernels.numpy(value) * np.asarray(self.scaled[tensor], kernels.numpy(value).dtype)
            return value if moved is None else moved(kernels.numpy(value), name)

        for operation in self.operations:
            inputs = [given(tensor, (operation.index, slot)) for slot, tensor in enumerate(operation.inputs)]
            for tensor, value in zip(operation.outputs, run(operation, inputs), strict=True):
                values[tensor] = value * self.scaled[tensor] if tensor in self.scaled else value
        return given(self.end)


@dataclass(frozen=True)
class Judged:
    """What came of a comparison.

    Attributes:
        error: The largest difference, in float64 where both sides could be evaluated in it.
        budget: What was allowed there.
        ratio: The largest error in units of its budget.
        scale: The reference's largest magnitude.
        bit_equal: Whether both sides are equal bit for bit, as they are.
        double: Whether float64 decided.
    """

    error: float
    budget: float
    ratio: float
    scale: float
    bit_equal: bool = False
    double: bool = True

    @property
    def within(self) -> bool:
        """Whether rounding alone explains the difference."""
        return not self.ratio > 1.0


EQUAL = Judged(0.0, 0.0, 0.0, 0.0, bit_equal=True)
OTHER_SHAPE = Judged(float("inf"), 0.0, float("inf"), 0.0)
"""Tensors of another size, or of none at all."""


def judged(kernels: Kernels, reference: Part, candidate: Part, here: Any) -> Judged:
    """Compares what two parts give.

    Args:
        kernels: Runs operations.
        reference: The reference's part.
        candidate: The candidate's, which starts from the reference's values.
        here: The reference's value, as it was computed.
    """
    ours = kernels.numpy(here)
    try:
        theirs = shaped(kernels.numpy(candidate.run(kernels)), ours.shape)
    except KernelError:  # what the candidate does cannot be done to the reference's tensors
        return OTHER_SHAPE
    if theirs is None:
        return OTHER_SHAPE
    if same_bits(ours, theirs):
        return EQUAL
    if ours.dtype.kind not in "fc" or theirs.dtype.kind not in "fc":
        different = float(np.mean(ours != theirs))
        return Judged(different, 0.0, float("inf") if different else 0.0, 1.0, double=False)
    return _judged_by_budget(kernels, reference, candidate, ours)


def _judged_by_budget(kernels: Kernels, reference: Part, candidate: Part, ours: np.ndarray) -> Judged:
    exact, double = _in_double(kernels, reference, candidate, ours)
    if exact[1] is None:
        return OTHER_SHAPE
    found = _told(exact[0], exact[1], _budget(ours, reference, _own_noise(ours, exact, double=double)), double=double)
    if found.within:  # the budget without any movement is the smaller one, and needs no further evaluations
        return found
    noise = _noise(kernels, reference, candidate, ours, exact, double=double)
    return _told(exact[0], exact[1], _budget(ours, reference, noise), double=double)


@dataclass(frozen=True)
class Standard:
    """What the reference's part gives, and how far another computation may be from it.

    Attributes:
        exact: In float64, where it can be had.
        budget: Element by element.
        double: Whether it can be had for both sides.
    """

    exact: np.ndarray
    budget: np.ndarray
    double: bool

    @classmethod
    def of(cls, kernels: Kernels, reference: Part, candidate: Part, ours: np.ndarray) -> Standard:
        """Evaluates both parts, undisturbed and with other last places; a part of another shape tells no noise."""
        if is_text(ours):
            return cls(ours, np.zeros(ours.shape), double=False)
        exact, double = _in_double(kernels, reference, candidate, ours)
        noise = _noise(kernels, reference, candidate, ours, exact, double=double)
        return cls(exact[0], _budget(ours, reference, noise), double)

    def judged(self, kernels: Kernels, candidate: Part) -> Judged:
        """Holds a part of the candidate, or a hypothesis of it, against the reference."""
        found = kernels.numpy(candidate.run(kernels, double=self.double))
        if is_text(self.exact) or is_text(found):
            return EQUAL if np.array_equal(self.exact, found) else _OTHER_TEXT
        value = shaped(_wide(found), self.exact.shape)
        return OTHER_SHAPE if value is None else _told(self.exact, value, self.budget, double=self.double)


def is_text(array: np.ndarray) -> bool:
    """Tells whether an array holds strings, which have no rounding."""
    return array.dtype.kind in "OSU"


def shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns an array in another shape, if that only adds or drops dimensions of one; None if it cannot be."""
    if array.shape == shape:
        return array
    if [n for n in array.shape if n != 1] == [n for n in shape if n != 1]:
        return array.reshape(shape)
    return None


def fitting(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns an array as it can stand for a tensor of a shape; None where its dimensions are others.

    Where only the sizes differ, which is blamed already, what follows has to do with what it gets.
    """
    found = shaped(array, shape)
    return found if found is not None or array.ndim != len(shape) else array


def largest_ordinary(array: np.ndarray) -> float:
    """Returns the largest magnitude that is not far beyond all others, as the -1e9 is that attention adds to scores.

    >>> largest_ordinary(np.array([0.5, -2.0, -1e9])), largest_ordinary(np.array([1e3, 2e5]))
    (2.0, 200000.0)
    """
    if array.dtype.kind not in "fc" or not array.size:
        return 0.0
    magnitudes = np.abs(np.where(np.isfinite(array), array, 0.0)).reshape(-1)
    largest = float(magnitudes.max())
    if largest < _MASKING:
        return largest
    ordered = np.sort(magnitudes[magnitudes > 0.0])
    gaps = np.flatnonzero(ordered[1:] > _MASKING * ordered[:-1])
    return float(ordered[gaps[-1]]) if gaps.size else largest


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal; NaN equals NaN."""
    if a.dtype != b.dtype:
        return False
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))


_Exact = tuple[np.ndarray, np.ndarray | None]


def _own_noise(ours: np.ndarray, exact: _Exact, *, double: bool) -> np.ndarray:
    """How far the reference is from its own float64 value."""
    return np.asarray(np.abs(_wide(ours) - exact[0]) if double else np.zeros(ours.shape))


def _noise(
    kernels: Kernels, reference: Part, candidate: Part, ours: np.ndarray, exact: _Exact, *, double: bool
) -> np.ndarray:
    """That, or how far either part moves with other last places, whichever is more."""
    noise = _own_noise(ours, exact, double=double)
    parts = [(reference, exact[0])] + ([] if exact[1] is None else [(candidate, exact[1])])
    for number, (part, at_rest) in itertools.product(range(JITTERS), parts):
        noise = np.maximum(noise, _movement(kernels, part, at_rest, ours.shape, number, double=double))
    return noise


def _budget(ours: np.ndarray, reference: Part, noise: np.ndarray) -> np.ndarray:
    noise = np.where(np.isfinite(noise), noise, 0.0)
    return np.asarray(FACTOR * (_smoothed(noise, ours) + _rounding(ours, reference.program, reference)))


def _in_double(kernels: Kernels, reference: Part, candidate: Part, ours: np.ndarray) -> tuple[_Exact, bool]:
    for double in (True, False):
        try:
            found = [_wide(kernels.numpy(part.run(kernels, double=double))) for part in (reference, candidate)]
        except KernelError:  # an operation without a float64 kernel is judged as it is
            if not double:
                raise
            continue
        exact = shaped(found[0], ours.shape)
        if exact is not None:
            return (exact, shaped(found[1], ours.shape)), double
    raise AssertionError("the reference's part has another shape when it runs again")


def _movement(
    kernels: Kernels, part: Part, at_rest: np.ndarray, shape: tuple[int, ...], number: int, *, double: bool
) -> np.ndarray:
    """How far a part moves when every number that goes in is rounded otherwise."""

    def moved(array: np.ndarray, name: str) -> np.ndarray:
        if array.size <= 1 and array.dtype.kind == "f" and is_exact(array):
            return array
        return jittered(array, f"{number}/{name}")

    if not part.operations and part.end in part.program.sources:
        return np.zeros(shape)
    value = shaped(_wide(kernels.numpy(part.run(kernels, double=double, moved=moved))), shape)
    if value is None:
        return np.zeros(shape)
    with np.errstate(invalid="ignore"):
        movement = np.abs(value - at_rest)
    return np.asarray(np.where(np.isfinite(movement), movement, 0.0))


def is_exact(array: np.ndarray) -> bool:
    """Whether a constant is what was written down: 0.5 is, 0.1 is not, as no binary number is 0.1.

    >>> is_exact(np.float32(0.5)), is_exact(np.float32(0.1))
    (True, False)
    """
    return all(float(str(value)) == float(value) for value in array.reshape(-1))


def _smoothed(noise: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Gives each element at least the mean of its channel: its own movement may be small by chance.

    What is masked has no part in that: the last place of 1e9 would excuse any score beside it.
    """
    ordinary = largest_ordinary(ours)
    kept = np.abs(_wide(ours)) <= ordinary if ordinary else np.ones(ours.shape, bool)
    counted = np.where(kept, noise, 0.0)
    if noise.ndim < 2:
        return np.asarray(np.maximum(noise, counted.sum() / max(kept.sum(), 1)))
    axes = tuple(range(noise.ndim - 1))
    count = np.maximum(kept.sum(axis=axes, keepdims=True), 1)
    return np.asarray(np.maximum(noise, counted.sum(axis=axes, keepdims=True) / count))


def _rounding(ours: np.ndarray, program: Program, part: Part) -> np.ndarray:
    """Half a unit in the last place of the coarsest floating dtype in the part, for each element."""
    names = {program.specs[tensor].dtype for operation in part.operations for tensor in operation.outputs}
    coarsest = max((_EPSILONS.get(name, 0.0) for name in names), default=0.0)
    epsilon = max(coarsest, _EPSILONS.get(ours.dtype.name, float(np.finfo(np.float32).eps)))
    rounding: np.ndarray = 0.5 * epsilon * np.abs(np.where(np.isfinite(_wide(ours)), _wide(ours), 0.0))
    return rounding


_EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def _wide(array: np.ndarray) -> np.ndarray:
    wide: np.ndarray = np.asarray(array, np.complex128 if array.dtype.kind == "c" else np.float64)
    return wide


_OTHER_TEXT = Judged(float("inf"), 0.0, float("inf"), 0.0, double=False)


def _told(ours: np.ndarray, theirs: np.ndarray, budget: np.ndarray, *, double: bool) -> Judged:
    odd = ~(np.isfinite(ours) & np.isfinite(theirs))
    if (odd & ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))).any():
        return Judged(float("inf"), 0.0, float("inf"), 0.0, double=double)
    if not ours.size:
        return EQUAL
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(odd, 0.0, np.abs(theirs - ours))
        ratios = np.where(error > 0, error / budget, 0.0)
    worst = int(np.argmax(ratios))
    scale = float(np.max(np.abs(np.where(odd, 0.0, ours))))
    return Judged(
        float(error.max()), float(budget.reshape(-1)[worst]), float(ratios.reshape(-1)[worst]), scale, double=double
    )
