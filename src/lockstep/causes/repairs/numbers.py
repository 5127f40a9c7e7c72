"""Another number: an epsilon, a factor, a bound, the pace of a moving average."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from lockstep.causes.hypotheses import arguments
from lockstep.causes.hypotheses.case import Cause, close, short, why_epsilon
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.common.errors import KernelError
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, having, traits
from lockstep.results.pitfalls import Slug

_Number = tuple[Operation, int, float]
"""An operation, the input at which it reads a number, and that."""
_Read = tuple[str, int, float]
"""The same of all operations of one type."""
_EPSILON = 0.5
"""What keeps a root, a quotient or a logarithm from zero is smaller than this; 1 is part of a function."""
_MULTIPLIED = having(Trait.MULTIPLIES) | {"GatherV2"}
"""Families whose result is scaled: an attention's scores, an embedding."""
_MOST_FITTED, _MOST_GROUPS, _MOST_SOLVED = 12, 2, 10
"""Numbers that are solved for, places of one number that are, and steps on the way to it."""
_STEP = 1e-3
"""Relative: how far a number is moved to see what it does."""
_ALONG = 0.3
"""The cosine between what is wrong and what a number does, below which the number is not what is wrong."""
_SHARES = (1.0, 0.5, 0.25)
"""Of a step, where the whole of it makes matters worse."""
_SOLVED = 0.01
"""What may be left of a difference."""
_UNTOLD = Cause("")
_MOST_PACES = 8
"""Numbers between 0 and 1 of one layer among which a pace and what is left of 1 are looked for."""


def other_numbers(region: Region) -> Iterator[Edit]:
    """A number that the candidate computes with is set to one that the reference computes with there."""
    wanted = _numbers(region.reference, region.ours)
    proposed: list[tuple[int, Edit]] = []
    for (_, slot, value), operations in _read_near(region).items():
        for group in region.alike(operations):
            for ours, number in _of_one_kind(wanted, group[0], value):
                proposed.append(_told_of_number(region, group, slot, (ours, number), value))
    yield from (found for _, found in sorted(proposed, key=lambda pair: pair[0]))


def _numbers(program: Program, operations: Sequence[Operation]) -> list[_Number]:
    return [
        (operation, slot, float(program.constant(tensor).reshape(-1)[0]))
        for operation in operations
        for slot, tensor in enumerate(operation.inputs)
        if program.is_constant(tensor)
        and program.constant(tensor).dtype.kind == "f"
        and program.constant(tensor).size == 1
    ]


def _read_near(region: Region) -> dict[_Read, list[Operation]]:
    """Returns the numbers that the region reads -> the candidate's operations that read them, wherever they are."""
    near = set(_reads(_numbers(region.candidate, region.theirs)))
    found: dict[_Read, list[Operation]] = defaultdict(list)
    for operation, slot, value in _numbers(region.candidate, region.candidate.operations):
        if (operation.type, slot, value) in near:
            found[operation.type, slot, value].append(operation)
    return found


def _reads(numbers: Sequence[_Number]) -> list[_Read]:
    """Returns what numbers are known by, in order, each once."""
    return list(dict.fromkeys((operation.type, slot, value) for operation, slot, value in numbers))


def _of_one_kind(numbers: Sequence[_Number], theirs: Operation, value: float) -> Iterator[tuple[Operation, float]]:
    """Yields the reference's numbers that may stand there: what an operation of the same family computes with."""
    told = set[float]()
    for ours, slot, number in numbers:
        if ours.family == theirs.family:
            fits = number
        elif {ours.family, theirs.family} == {"Mul", "RealDiv"} and number and slot:
            fits = 1.0 / number
        else:
            continue
        if fits != value and math.isfinite(fits) and fits not in told:
            told.add(fits)
            yield ours, fits


def fitted_numbers(region: Region) -> Iterator[Edit]:
    """A number that the reference folded into others: what is left of an error tells it."""
    try:
        wrong = region.runs.residual()
    except KernelError:  # without finite numbers there is nothing to solve from
        return
    everywhere = _read_near(region)
    for read in _reads(_numbers(region.candidate, region.theirs))[: -_MOST_FITTED - 1 : -1]:
        (_, slot, value), operations = read, everywhere[read]
        alone = [(o,) for o in operations] if 1 < len(operations) <= _MOST_GROUPS else []
        for group in (*itertools.islice(region.alike(operations), _MOST_GROUPS), *alone):
            with contextlib.suppress(KernelError):  # with a number on the way, what follows is not finite
                number = _solved(region, group, slot, value, wrong)
                if number is not None:
                    yield _told_of_number(region, group, slot, (None, number), value)[1]


def _solved(region: Region, group: Sequence[Operation], slot: int, value: float, wrong: np.ndarray) -> float | None:
    """Returns the number with which least of what is `wrong` is left (Gauss-Newton); None where too much is."""

    def left(number: float) -> np.ndarray:
        reads = [(operation, slot) for operation in group]
        return region.runs.residual(edit.with_constants(region.candidate, reads, number, _UNTOLD))

    number, now = value, wrong
    start = off = float(np.linalg.norm(now))
    for _ in range(_MOST_SOLVED):
        step = _STEP * (abs(number) or 1.0)
        slope = (left(number + step) - now) / step
        steep = float(np.linalg.norm(slope))
        if not steep or abs(float(slope @ now)) < _ALONG * off * steep:
            break
        move = -float(slope @ now) / steep**2
        for share in _SHARES:
            then = left(number + share * move)
            if float(np.linalg.norm(then)) < off:
                break
        else:
            break
        number, now, off = number + share * move, then, float(np.linalg.norm(then))
        if off < _SOLVED**2 * start:
            break
    return number if off < _SOLVED * start else None


def other_rates(region: Region) -> Iterator[Edit]:
    """Dropout drops another share: what is drawn is compared with another number, what is kept scaled by its own."""
    wanted = {
        (rate, scale): (compares, scales) for compares, rate, scales, scale in _dropped(region.reference, region.ours)
    }
    for compares, found, scales, scale in _dropped(region.candidate, region.theirs):
        for (rate, factor), ours in wanted.items():
            if close(rate[1], found[1]):
                continue
            swapped = close(rate[1] + found[1], 1.0)
            cause = Cause(
                f"the constant of {compares.type} is {short(found[1])}; with {short(rate[1])} the difference vanishes"
                + (" (a probability to keep taken for a rate to drop, or the other way round)" if swapped else ""),
                "keep-prob-as-rate" if swapped else "dropout-rate",
                "rate = 1 - keep_prob" if swapped else f"rate={short(rate[1])}",
                (f"constant of {compares.type}: {short(rate[1])} against {short(found[1])}",),
                (ours[0], compares),
            )
            reads = [(o, found[0]) for o in edit.alike(region.candidate, compares)]
            also = [(o, scale[0]) for o in edit.alike(region.candidate, scales)]
            yield edit.both(
                edit.with_constants(region.candidate, reads, rate[1], cause),
                edit.with_constants(region.candidate, also, factor[1], cause),
            )


_Place = tuple[int, float]
"""An input, and the number that is read there."""


def _dropped(
    program: Program, operations: Sequence[Operation]
) -> Iterator[tuple[Operation, _Place, Operation, _Place]]:
    """Yields a comparison with a rate, and the product of its scope that scales what is kept by 1 / (1 - rate).

    What is compared need not be the draw itself: TensorFlow 1.15 scales and shifts it first.
    """
    numbers = _numbers(program, operations)
    for compares, slot, rate in numbers:
        if Trait.COMPARES not in traits(compares.family) or not 0.0 < rate < 1.0:
            continue
        for scales, place, factor in numbers:
            by = factor if scales.family == "Mul" else 1.0 / factor if scales.family == "RealDiv" and factor else 0.0
            if scales.place.scope == compares.place.scope and close(by * (1.0 - rate), 1.0):
                yield compares, (slot, rate), scales, (place, factor)


def missing_factors(region: Region) -> Iterator[Edit]:
    """The reference multiplies by a number what a product, or a look-up, of the candidate gives as it is."""
    wanted: dict[float, Operation] = {}
    for operation, slot, number in _numbers(region.reference, region.ours):
        if operation.family == "Mul" or (operation.family == "RealDiv" and slot == 1 and number):
            wanted.setdefault(number if operation.family == "Mul" else 1.0 / number, operation)
    for theirs in region.theirs:
        if theirs.family not in _MULTIPLIED or not region.candidate.specs[theirs.outputs[0]].floating:
            continue
        for number, ours in wanted.items():
            if number in (0.0, 1.0):
                continue
            cause = Cause(
                f"the candidate lacks the factor {short(number)}; with it the difference vanishes",
                "missing-scale",
                f"multiply by {short(number)}",
                (f"factor: {short(number)} against 1",),
                (ours, theirs),
            )
            yield edit.changed_all(edit.alike(region.candidate, theirs), functools.partial(_times, number), cause)


def missing_offsets(region: Region) -> Iterator[Edit]:
    """The reference adds a number to what a function is given: a gate that forgets little has 1 added to it."""
    wanted: dict[tuple[str, float], Operation] = {}
    for operation, _, number in _numbers(region.reference, region.ours):
        read_by = [o for o in region.ours if not set(operation.outputs).isdisjoint(o.inputs)]
        for reader in read_by if operation.family == "Add" and number else ():
            wanted.setdefault((reader.family, number), operation)
    told = set[int]()
    for theirs in region.theirs:
        fitting = [(number, ours) for (family, number), ours in wanted.items() if family == theirs.family]
        if not fitting or theirs.index in told or not region.candidate.specs[theirs.inputs[0]].floating:
            continue
        piece = _piece(region.candidate, theirs)
        group = [o for o in edit.alike(region.candidate, theirs) if _piece(region.candidate, o) == piece]
        told.update(o.index for o in group)
        for number, ours in fitting:
            forget = theirs.family == "Sigmoid"
            what = "forget bias" if forget else "offset"
            cause = Cause(
                f"the {what} is 0; with {short(number)} the difference vanishes",
                "forget-bias" if forget else "offset",
                f"add {short(number)} before {theirs.type}",
                (f"{what}: {short(number)} against 0",),
                (ours, theirs),
            )
            how = functools.partial(np.add, number)
            yield Edit(cause, {o.index: edit.reading_once(o, 0, how) for o in group})


def _piece(program: Program, operation: Operation) -> int:
    """Which of the pieces an operation reads that one tensor was cut into."""
    made_by = program.producers.get(operation.inputs[0])
    return -1 if made_by is None else made_by.outputs.index(operation.inputs[0])


def _times(number: float, given: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(given[0] * number)


def _told_of_number(
    region: Region, group: Sequence[Operation], slot: int, wanted: tuple[Operation | None, float], found: float
) -> tuple[int, Edit]:
    """Returns an edit, and how far-fetched it is: another number of what is read alike comes first."""
    ours, number = wanted
    theirs = group[0]
    read_by = {o.family for o in region.readers(theirs.outputs[0])}
    given = () if ours is None else ours.outputs
    read_there = {o.family for o in region.reference.operations if not set(given).isdisjoint(o.inputs)}
    updates = theirs.outputs[0] in region.updating
    pitfall: Slug = "momentum" if updates else _pitfall_of_number(theirs, read_by, number)
    what = pitfall if pitfall in ("epsilon", "momentum") else f"the constant of {theirs.type}"
    sentence = f"{what} is {short(found)}; with {short(number)} the difference vanishes"
    sentence += why_epsilon(found, number) if pitfall == "epsilon" else ""
    fix = f"{'epsilon=' if pitfall == 'epsilon' else 'use '}{short(number)}"
    told = (f"{what.removeprefix('the ')}: {short(number)} against {short(found)}",)
    if updates:
        keeps = bool(region.candidate.variables_read(theirs))  # else it is what is taken in of what is new
        told_as = [short(value if keeps else 1.0 - value) for value in (found, number)]
        sentence, fix = f"momentum is {told_as[0]}; with {told_as[1]} the difference vanishes", f"momentum={told_as[1]}"
        told = (f"momentum: {told_as[1]} against {told_as[0]}",)
    cause = Cause(sentence, pitfall, fix, told, (ours, theirs))
    reads = [(operation, slot) for operation in group]
    return 0 if read_by & read_there else 1, edit.with_constants(region.candidate, reads, number, cause)


def _pitfall_of_number(theirs: Operation, read_by: set[str], number: float) -> Slug:
    divides = bool(read_by & {"Rsqrt", "Sqrt", "RealDiv", "Log"}) and abs(number) < _EPSILON
    if theirs.family == "Add" and (divides or 0.0 < number < arguments.SMALL):
        return "epsilon"
    if theirs.family in ("Add", "Sub"):
        return "forget-bias" if "Sigmoid" in read_by else "offset"
    if theirs.family in ("Maximum", "Minimum", "ClipByValue"):
        return "clip-value"
    return "constant-factor" if theirs.family in ("Mul", "RealDiv") else "constant"


def other_paces(region: Region) -> Iterator[Edit]:
    """What a moving average keeps, and what it takes in, add up to 1: both change together, for all of a layer's."""
    paces = sorted({number for _, _, number in _numbers(region.reference, region.ours) if 0 < number < 1})
    layers: dict[str, list[_Number]] = defaultdict(list)
    for found in _numbers(region.candidate, region.theirs):
        if 0 < found[2] < 1:
            layers[found[0].place.scope].append(found)
    for numbers in layers.values():
        told = sorted({number for _, _, number in numbers})[:_MOST_PACES]
        for taken, kept in itertools.product(told, told):
            keeps = [found for found in numbers if found[2] == kept and region.candidate.variables_read(found[0])]
            takes = [found for found in numbers if found[2] == taken and found not in keeps]
            if not (close(taken + kept, 1.0) and keeps and takes):
                continue
            for value in {*paces, *(1.0 - pace for pace in paces)} - {kept}:
                yield _paced(region, keeps, takes, value)


def _paced(region: Region, keeps: Sequence[_Number], takes: Sequence[_Number], value: float) -> Edit:
    now = keeps[0][2]
    cause = Cause(
        f"momentum is {short(now)}; with {short(value)} the difference vanishes",
        "momentum",
        f"momentum={short(value)}",
        (f"momentum: {short(value)} against {short(now)}",),
        (None, keeps[0][0]),
    )
    kept = edit.with_constants(region.candidate, [found[:2] for found in keeps], value, cause)
    taken = edit.with_constants(region.candidate, [found[:2] for found in takes], 1.0 - value, cause)
    return edit.both(kept, taken)
