"""Another number: an epsilon, a factor, a bound, the pace of a moving average."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from lockstep.causes.hypotheses import arguments
from lockstep.causes.hypotheses.case import Cause, close, short
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program
from lockstep.results.pitfalls import Slug

_Number = tuple[Operation, int, float]
"""An operation, the input at which it reads a number, and that."""
_MOST_PACES = 8
"""Numbers between 0 and 1 of one layer among which a pace and what is left of 1 are looked for."""


def other_numbers(region: Region) -> Iterator[Edit]:
    """A number that the candidate computes with is set to one that the reference computes with there."""
    wanted = _numbers(region.reference, region.ours)
    near = {(operation.type, slot, value) for operation, slot, value in _numbers(region.candidate, region.theirs)}
    everywhere: dict[tuple[str, int, float], list[Operation]] = defaultdict(list)
    for operation, slot, value in _numbers(region.candidate, region.candidate.operations):
        if (operation.type, slot, value) in near:
            everywhere[operation.type, slot, value].append(operation)
    proposed: list[tuple[int, Edit]] = []
    for (_, slot, value), operations in everywhere.items():
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


def _of_one_kind(numbers: Sequence[_Number], theirs: Operation, value: float) -> Iterator[tuple[Operation, float]]:
    """Yields the reference's numbers that may stand there: what an operation of the same family computes with."""
    told = set[float]()
    for ours, _, number in numbers:
        if ours.family == theirs.family and number != value and math.isfinite(number) and number not in told:
            told.add(number)
            yield ours, number


def _told_of_number(
    region: Region, group: Sequence[Operation], slot: int, wanted: tuple[Operation, float], found: float
) -> tuple[int, Edit]:
    """Returns an edit, and how far-fetched it is: another number of what is read alike comes first."""
    ours, number = wanted
    theirs = group[0]
    read_by = {o.family for o in region.readers(theirs.outputs[0])}
    read_there = {o.family for o in region.reference.operations if not set(ours.outputs).isdisjoint(o.inputs)}
    updates = theirs.outputs[0] in region.updating
    pitfall: Slug = "momentum" if updates else _pitfall_of_number(theirs, read_by, number)
    what = pitfall if pitfall in ("epsilon", "momentum") else f"the constant of {theirs.type}"
    sentence = f"{what} is {short(found)}; with {short(number)} the difference vanishes"
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
    if theirs.family == "Add" and (read_by & {"Rsqrt", "Sqrt", "RealDiv", "Log"} or 0.0 < number < arguments.SMALL):
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
