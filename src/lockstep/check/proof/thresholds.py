"""Comparisons with another number on each side: `x > 0.5` for `x > 0.6` gives the same until a value lies between.

Forced lockstep judges what operations give, and truth values have no noise: two comparisons that gave the same pass as
right. So the numbers that they compare with are looked at too. Where what is compared is drawn (dropout's mask), both
programs run once more with draws between the two numbers; elsewhere nothing is proved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.check.proof.whole import distance
from lockstep.common.errors import KernelError
from lockstep.localise.budget import largest_ordinary
from lockstep.localise.findings import Localisation
from lockstep.localise.matching import alike_draws
from lockstep.program import Operation, Program
from lockstep.program.dialect import LEAST_FUSED_EPSILON, Trait, traits
from lockstep.program.evaluating import Evaluated, ends_of, evaluate
from lockstep.program.kernels import Kernels
from lockstep.results.model import Culprit

_ROUNDING = 4 * 2.0**-23
"""Numbers that are nearer, relative to the larger one, are one number, rounded to float32 on one side."""
_OF_FLOAT32 = 1e-6
"""A number that was written down and kept in float32 is that number within this."""
_VISIBLE = 1e-6
"""Of an end's largest magnitude: in float64 what is the same differs by some 1e-15."""


@dataclass(frozen=True)
class Threshold:
    """A comparison of the candidate with another number than its partner's.

    Attributes:
        reference: The reference's comparison.
        candidate: The candidate's.
        numbers: The reference's number, and the candidate's.
        compared: The reference's tensor that is compared, and the candidate's.
        error: How far an output moves, relative to its largest magnitude, where what is compared lies between the
            numbers; None where that was not tried.
    """

    reference: Operation
    candidate: Operation
    numbers: tuple[float, float]
    compared: tuple[int, int]
    error: float | None = None

    @property
    def told(self) -> str:
        """What is said of one that no value was between."""
        ours, theirs = _written(self.numbers)
        return (
            f"{self.candidate.place.name} ({self.candidate.type}) compares with {theirs}, the reference with {ours}; "
            "no value that was tried lies between"
        )

    def culprit(self) -> Culprit:
        """What is said of one that moves an output."""
        ours, theirs = _written(self.numbers)
        places = self.reference.place, self.candidate.place
        return Culprit(
            places[0].name,
            places[1].name,
            "operation",
            f"it compares what is drawn with {theirs}, the reference with {ours}; with draws between them they differ",
            self.error,
            source=places[1].source or None,
            reference_source=places[0].source or None,
            pitfall="dropout-rate",
            fix=f"compare with {ours}",
            operations=((self.reference.type,), (self.candidate.type,)),
            attributes=(f"compares with: {ours} against {theirs}",),
            scopes=(places[0].scope, places[1].scope),
        )


def other_numbers(reference: Program, candidate: Program, found: Localisation) -> dict[str, str]:
    """Returns the candidate's operations that read another number than their partner, and were right all the same.

    What makes no difference here may make one at other values: an epsilon where the variance is tiny, the bound of a
    maximum where something is below it.

    Returns:
        The operation's name -> a sentence that names both numbers.
    """
    others: dict[str, str] = {}
    for ours, theirs in _partners(reference, candidate, found):
        if Trait.COMPARES in traits(theirs.family):
            continue
        pairs = zip(ours.inputs, theirs.inputs, strict=True)
        read = [_numbers(reference, mine, candidate, yours) for mine, yours in pairs]
        for numbers in filter(None, [*read, *_parameters(ours, theirs)]):
            a, b = _written(numbers)
            name = theirs.place.name
            others[name] = (
                f"{name} ({theirs.type}) has the number {b}, and its partner in the reference {a}; no value that was "
                "tried shows the difference"
            )
    return others


def _partners(reference: Program, candidate: Program, found: Localisation) -> Iterator[tuple[Operation, Operation]]:
    """Yields operations of one family that correspond and are not the same by construction: the reference's first."""
    for theirs in candidate.operations:
        if theirs.index in found.same or theirs.outputs[0] not in found.known:
            continue
        ours = reference.producers.get(found.known[theirs.outputs[0]])
        if ours is not None and ours.family == theirs.family and len(ours.inputs) == len(theirs.inputs):
            yield ours, theirs


def _parameters(ours: Operation, theirs: Operation) -> list[tuple[float, float]]:
    """Returns the parameters in which two operations differ by more than rounding: the slope of a leaky ReLU."""
    names = [name for name, value in ours.attributes.items() if isinstance(value, float) and name in theirs.attributes]
    pairs = [(float(ours.attributes[name]), float(theirs.attributes[name])) for name in names]
    return [(a, b) for a, b in pairs if not _close(a, b) and not _is_least_epsilon(ours, (a, b))]


def _close(a: float, b: float, relative: float = _ROUNDING) -> bool:
    return abs(a - b) <= relative * max(abs(a), abs(b))


def _is_least_epsilon(operation: Operation, numbers: tuple[float, float]) -> bool:
    """Whether a batch normalization's epsilon is 1e-5 on one side, and what TensorFlow takes for it on the other.

    Whoever carries such a layer over writes what the original's code says: the difference is TensorFlow's own.
    """
    least, written = max(numbers), min(numbers)
    fused = operation.family == "FusedBatchNorm"
    return fused and _close(least, LEAST_FUSED_EPSILON, _OF_FLOAT32) and _close(written, 1e-5, _OF_FLOAT32)


def least_epsilons(reference: Program, candidate: Program, found: Localisation) -> tuple[str, ...]:
    """Returns a sentence about the batch normalizations of which TensorFlow takes another epsilon than is written.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        found: What forced lockstep found of them.
    """
    count = sum(
        _is_least_epsilon(ours, (float(ours.attributes["epsilon"]), float(theirs.attributes["epsilon"])))
        for ours, theirs in _partners(reference, candidate, found)
        if ours.family == "FusedBatchNorm"
    )
    told = (
        f"in {count:,} batch normalization{'s' if count > 1 else ''} epsilon is 1e-05 on one side and 1.001e-05 on the "
        "other, which is what TensorFlow's fused kernel takes for 1e-05"
    )
    return (told,) if count else ()


def thresholds(reference: Program, candidate: Program, found: Localisation, kernels: Kernels) -> tuple[Threshold, ...]:
    """Returns the comparisons with another number, each tried where that is possible.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        found: What forced lockstep found of them.
        kernels: Runs operations.
    """
    drawn = alike_draws(reference, candidate)
    return tuple(
        _tried(one, reference, candidate, drawn, kernels) if drawn is not None else one
        for one in _different(reference, candidate, found)
    )


def _different(reference: Program, candidate: Program, found: Localisation) -> list[Threshold]:
    different = []
    for ours, theirs in _partners(reference, candidate, found):
        if Trait.COMPARES not in traits(theirs.family):
            continue
        for place in (0, 1):
            numbers = _numbers(reference, ours.inputs[1 - place], candidate, theirs.inputs[1 - place])
            compared = ours.inputs[place], theirs.inputs[place]
            known = found.known.get(compared[1])
            if numbers is not None and known is not None and _same(found, known, compared[0]):
                different.append(Threshold(ours, theirs, numbers, compared))
    return different


def _written(numbers: tuple[float, float]) -> tuple[str, str]:
    """Writes two numbers with as few digits as tell them apart."""
    for digits in range(6, 17):
        ours, theirs = (f"{number:.{digits}g}" for number in numbers)
        if ours != theirs:
            break
    return ours, theirs


def _same(found: Localisation, one: int, other: int) -> bool:
    return found.numbers.get(one, one) == found.numbers.get(other, other)


def _numbers(reference: Program, ours: int, candidate: Program, theirs: int) -> tuple[float, float] | None:
    """Returns the first two numbers that differ by more than rounding; None where there are none."""
    if not (reference.is_constant(ours) and candidate.is_constant(theirs)):
        return None
    arrays = reference.constant(ours), candidate.constant(theirs)
    if any(array.dtype.kind != "f" for array in arrays) or arrays[0].size != arrays[1].size:
        return None
    a, b = (array.astype(np.float64).reshape(-1) for array in arrays)
    apart = np.flatnonzero(np.abs(a - b) > _ROUNDING * np.maximum(np.abs(a), np.abs(b)))
    return (float(a[apart[0]]), float(b[apart[0]])) if apart.size else None


def _tried(
    one: Threshold, reference: Program, candidate: Program, drawn: Mapping[int, int], kernels: Kernels
) -> Threshold:
    """Runs both programs with draws between both numbers, where what is compared is drawn."""
    ours, theirs = one.compared
    if drawn.get(theirs) != ours:
        return one
    between = np.array(kernels.numpy(reference.sources[ours].value))
    if between.dtype.kind != "f" or not between.size:
        return one
    between.reshape(-1)[::3] = sum(one.numbers) / 2
    sources: dict[int, Any] = {source: reference.sources[its].value for source, its in drawn.items()}
    try:
        mine = evaluate(reference, kernels, double=True, sources={ours: between})
        yours = evaluate(candidate, kernels, double=True, sources={**sources, theirs: between})
    except KernelError:
        return one
    error = _apart(reference, mine, candidate, yours)
    return one if error <= _VISIBLE else Threshold(one.reference, one.candidate, one.numbers, one.compared, error)


def _apart(reference: Program, mine: Evaluated, candidate: Program, yours: Evaluated) -> float:
    """How far the outputs are apart at most, relative to the largest magnitude of each."""
    ends = ends_of(candidate)
    found = [0.0]
    for end, tensor in ends_of(reference).items():
        if end[0] == "output" and end in ends:
            size = largest_ordinary(mine.ends[tensor]) if mine.ends[tensor].dtype.kind in "fc" else 1.0
            found.append(distance(mine.ends[tensor], yours.ends[ends[end]]) / (size or 1.0))
    return max(found)


def culprits(found: Sequence[Threshold]) -> tuple[Culprit, ...]:
    """What is to blame of them."""
    return tuple(one.culprit() for one in found if one.error is not None)


def unproved(found: Sequence[Threshold]) -> list[str]:
    """What is not proved."""
    return [one.told for one in found if one.error is None]
