"""Hypotheses about one operation among several: it is lacking, too many, or comes too early or too late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lockstep.causes.hypotheses import structure
from lockstep.causes.hypotheses.case import REARRANGING, Case, Cause, data_slot, data_slots, rewired
from lockstep.localise.budget import Part
from lockstep.program import Operation

_MOST_TRIED = 24
"""Operations of a side that are tried, each by one evaluation of the place."""


def left_out(case: Case) -> Iterator[Cause]:
    """One operation that one side alone has: without it, both give the same."""
    for operation in _tried(case.theirs):
        for slot in data_slots(case.candidate, operation):
            part = case.without(case.theirs, operation, slot)
            if part is not None and case.vanishes(part):
                yield structure.extra(case, [operation])
    for operation in _tried(case.ours):
        for slot in data_slots(case.reference, operation):
            part = case.without(case.ours, operation, slot)
            if part is not None and case.gives_theirs(part):
                yield replace(structure.missing(case, [operation]), operations=(operation, None))


def moved(case: Case) -> Iterator[Cause]:
    """One operation of the candidate that comes too early or too late: an activation in front of a normalisation."""
    for operation in _tried(case.theirs):
        for part, where in (
            (_moved_to_the_end(case, operation), "last"),
            (_moved_to_the_start(case, operation), "first"),
        ):
            if part is not None and case.vanishes(part):
                yield Cause(
                    f"{operation.type} comes elsewhere in the candidate; with it {where} the difference vanishes",
                    "operation-order",
                    f"apply {operation.type} {where}",
                )
                return


def _tried(part: Part) -> list[Operation]:
    """The operations that are worth a trial where there are several."""
    computing = [operation for operation in part.operations if operation.family not in REARRANGING]
    return computing[:_MOST_TRIED] if len(part.operations) > 1 else []


def _moved_to_the_end(case: Case, operation: Operation) -> Part | None:
    part, slot = case.without(case.theirs, operation), data_slot(case.candidate, operation)
    specs, made = case.candidate.specs, operation.outputs[0]
    if part is None or slot is None or case.theirs.end == made or specs[part.end] != specs[made]:
        return None
    forced = {place: value for place, value in part.forced.items() if place != (operation.index, slot)}
    last = rewired(operation, {operation.inputs[slot]: part.end})
    return replace(part, operations=[*part.operations, last], end=made, forced=forced)


def _moved_to_the_start(case: Case, operation: Operation) -> Part | None:
    part, slot, made = case.theirs, data_slot(case.candidate, operation), operation.outputs[0]
    if slot is None or (operation.index, slot) in part.forced:
        return None
    read, specs, sources = operation.inputs[slot], case.candidate.specs, case.candidate.sources
    starts = (t for t in part.start if specs[t] == specs[made] and (t not in sources or sources[t].kind == "input"))
    start = next(starts, None)
    if start is None or start == read or read in part.start:
        return None
    first = rewired(operation, {read: start})
    others = [rewired(o, {made: read, start: made}) for o in part.operations if o is not operation]
    return replace(part, operations=[first, *others], end=read if part.end == made else part.end)
