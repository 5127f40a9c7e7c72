"""Losses: a sum for a mean, another divisor, smoothed labels. Moving averages: of which variance they are."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause, short
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Borrowed, Edit, InNumpy
from lockstep.causes.repairs.norms import Statistic, statistics
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program

_MOST_DIVISORS = 6
_SQUARES = frozenset({"Square", "SquaredDifference", "Mul"})
_ARRANGING = frozenset({"Reshape", "Squeeze", "Cast", "Identity"})


def sums_for_means(region: Region) -> Iterator[Edit]:
    """One side takes the mean of what the other sums up."""
    wanted = {one.operation.family: one.operation for one in statistics(region.reference, region.ours)}
    for one in statistics(region.candidate, region.theirs):
        theirs = one.operation
        other = {"Mean": "Sum", "Sum": "Mean"}.get(theirs.family)
        if other not in wanted or one.count < 2:
            continue
        cause = Cause(
            f"the candidate takes the {theirs.family.lower()} of {one.count} elements, the reference their "
            f"{other.lower()}",
            "wrong-operation",
            f"reduce by {other.lower()}",
            (f"reduction: {other.lower()} against {theirs.family.lower()}",),
            (wanted[other], theirs),
        )
        factor = float(one.count) if other == "Sum" else 1.0 / one.count
        yield edit.changed_all(edit.alike(region.candidate, theirs), functools.partial(_times, factor), cause)


def sums_within_means(region: Region) -> Iterator[Edit]:
    """One side takes the mean of all at once, the other sums up along some axes first: over labels, over positions."""
    ours, theirs = statistics(region.reference, region.ours), statistics(region.candidate, region.theirs)
    for (summing, whole), sums_here in ((([*ours], [*theirs]), False), (([*theirs], [*ours]), True)):
        sums = [one for one in summing if one.operation.family == "Sum" and one.count > 1]
        means = [one for one in summing if one.operation.family == "Mean"]
        at_once = [one for one in whole if one.operation.family == "Mean"]
        for summed, mean, one in itertools.product(sums, means, at_once):
            if one.count != summed.count * mean.count:
                continue
            count, made_by = summed.count, (mean if sums_here else one).operation
            steps = f"the mean of sums of {count} elements", f"the mean of all {one.count}"
            has, should = steps if sums_here else steps[::-1]
            cause = Cause(
                f"the candidate takes {has}, the reference {should}; the results differ by the factor {count}",
                "wrong-operation",
                f"take {should}",
                (f"reduction: {should} against {has}",),
                (one.operation, made_by) if sums_here else (mean.operation, made_by),
            )
            factor = 1.0 / count if sums_here else float(count)
            yield edit.changed_all(edit.alike(region.candidate, made_by), functools.partial(_times, factor), cause)


def _times(factor: float, given: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(given[0] * factor)


def averaged_variances(region: Region) -> Iterator[Edit]:
    """A moving average takes in the variance of one side times n / (n - 1); the batch is normalised alike.

    Of all layers first, then of each.
    """
    found = [
        (one, reader, slot)
        for one in statistics(region.candidate, region.candidate.operations)
        if one.operation.family == "Mean" and one.count > 1 and _of_squares(region.candidate, one.operation)
        for reader, slot in _only_updating(region, one.operation.outputs[0])
    ]
    for inverse in (False, True):
        sides = ("the candidate", "the reference") if inverse else ("the reference", "the candidate")
        for group in ([found] if len(found) > 1 else []) + [[each] for each in found]:
            count = group[0][0].count
            factors = [_unbiased(one.count, inverse=inverse) for one, _, _ in group]
            cause = Cause(
                f"{sides[0]} divides the variance by n - 1, {sides[1]} by n, n = {count}",
                "unbiased-variance",
                f"multiply the variance by {short(factors[0])} where the moving average takes it in",
                operations=(None, group[0][0].operation),
            )
            yield Edit(
                cause,
                {
                    reader.index: edit.reading_once(reader, slot, functools.partial(np.multiply, factor))
                    for (_, reader, slot), factor in zip(group, factors, strict=True)
                },
            )


def _unbiased(count: int, *, inverse: bool) -> float:
    return (count - 1) / count if inverse else count / (count - 1)


def _of_squares(program: Program, operation: Operation) -> bool:
    made_by = program.producers.get(operation.inputs[0])
    return made_by is not None and made_by.family in _SQUARES


def _only_updating(region: Region, tensor: int) -> Iterator[tuple[Operation, int]]:
    """Yields where a tensor is read, as it is or in another shape, by what leads to nothing but an update."""
    for reader in region.readers(tensor):
        if reader.outputs[0] in region.updating:
            yield reader, reader.inputs.index(tensor)
        elif reader.family in _ARRANGING:
            yield from _only_updating(region, reader.outputs[0])


def other_divisors(region: Region) -> Iterator[Edit]:
    """A sum is divided by something else: by the number of all elements, not by the sum of their weights."""
    divided = [
        o for o in region.ours
        if o.family == "RealDiv" and not region.reference.is_constant(o.inputs[1])
        and math.prod(region.reference.specs[o.inputs[1]].shape) == 1
    ]  # fmt: skip
    fresh = len(region.candidate.specs)
    for ours in divided[-_MOST_DIVISORS:]:
        name = _name(region.reference, ours.inputs[1])
        lent = {fresh: Borrowed(ours.inputs[1])}
        for one in statistics(region.candidate, region.theirs):
            if one.operation.family in ("Mean", "Sum") and one.count > 1:
                how = "divides it by the number of elements" if one.operation.family == "Mean" else "does not divide it"
                cause = _told_of_divisor(
                    f"the reference divides the sum by {name}, the candidate {how}", name, ours, one
                )
                yield Edit(cause, {one.operation.index: _divided(one, fresh)}, lent)
        for theirs in region.theirs:
            if theirs.family == "RealDiv" and math.prod(region.candidate.specs[theirs.inputs[1]].shape) == 1:
                cause = Cause(
                    f"the reference divides by {name}, the candidate by {_name(region.candidate, theirs.inputs[1])}",
                    "wrong-operation",
                    f"divide by what {name} is",
                    operations=(ours, theirs),
                )
                yield Edit(cause, {theirs.index: replace(theirs, inputs=(theirs.inputs[0], fresh))}, lent)


def _told_of_divisor(sentence: str, name: str, ours: Operation, one: Statistic) -> Cause:
    return Cause(
        f"{sentence} (the loss's reduction)",
        "wrong-operation",
        f"divide the sum by what {name} is",
        operations=(ours, one.operation),
    )


def _divided(one: Statistic, divisor: int) -> Operation:
    def compute(inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(inputs[0].sum(axis=one.axes) / inputs[2].reshape(()))

    return replace(one.operation, inputs=(*one.operation.inputs[:2], divisor), call=InNumpy(compute))


def smoothed_labels(region: Region) -> Iterator[Edit]:
    """Labels are smoothed on one side alone, or by another share: 0.9 for the right class, a little for each."""
    ours = dict.fromkeys(label_levels(region))
    program = region.candidate
    for theirs in region.theirs:
        for tensor in theirs.outputs:
            found = two_levels(region.runs.value(tensor)) if program.specs[tensor].floating else None
            for wanted in ours if found is not None else ():
                if found is None or np.allclose(wanted, found):
                    continue
                smooth = [f"{short(1.0 - (high - low))}" for low, high in (wanted, found)]
                cause = Cause(
                    f"labels are smoothed by {smooth[1]} in the candidate, by {smooth[0]} in the reference",
                    "wrong-operation",
                    f"label_smoothing={smooth[0]}",
                    (f"label smoothing: {smooth[0]} against {smooth[1]}",),
                    (None, theirs),
                )
                yield edit.changed(program, tensor, np.zeros(0), functools.partial(_levelled, found, wanted), cause)


def label_levels(region: Region) -> Iterator[tuple[float, float]]:
    """Yields the low and the high number of what the reference reads as labels; see `two_levels`."""
    yield from _levels(region.reference, region.ours, region.runs.value_of_reference)


def _levels(program: Program, operations: Sequence[Operation], value: object) -> Iterator[tuple[float, float]]:
    for operation in operations:
        for tensor in operation.inputs:
            if program.specs[tensor].floating and callable(value):
                given = value(tensor)
                found = two_levels(given) if given is not None else None
                if found is not None:
                    yield found


def two_levels(value: np.ndarray) -> tuple[float, float] | None:
    """Returns the levels of labels: one high number in each row, the same low one elsewhere; None for anything else.

    >>> two_levels(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    (0.0, 1.0)
    """
    if value.ndim < 2 or value.shape[-1] < 3 or value.size > 1_000_000:
        return None
    low, high = float(value.min()), float(value.max())
    if not np.isfinite((low, high)).all():
        return None
    is_high = np.isclose(value, high)
    if low >= high or low < 0.0 or high > 1.0 or not (is_high | np.isclose(value, low)).all():
        return None
    return (low, high) if (is_high.sum(axis=-1) == 1).all() else None


def _levelled(found: tuple[float, float], wanted: tuple[float, float], given: Sequence[np.ndarray]) -> np.ndarray:
    share = (given[0] - found[0]) / (found[1] - found[0])
    return np.asarray(wanted[0] + share * (wanted[1] - wanted[0]))


def _name(program: Program, tensor: int) -> str:
    made_by = program.producers.get(tensor)
    return made_by.place.name if made_by is not None else program.sources[tensor].name or "a constant"
