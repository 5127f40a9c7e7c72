"""A function that has no name: what the reference computes element by element of one tensor, run on the candidate's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause, listed
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.functions import cone_of, named
from lockstep.causes.repairs.region import Region
from lockstep.localise.budget import Part
from lockstep.localise.waists import waists
from lockstep.program import Operation, Program

_MOST = 12


@dataclass(frozen=True)
class _Cone:
    part: Part
    start: int
    last: Operation

    @property
    def spelled(self) -> tuple[str, ...]:
        return tuple(operation.type for operation in self.part.operations)


def functions_as_the_reference_has_them(region: Region) -> Iterator[Edit]:
    """What the candidate computes of one tensor, element by element, is computed as somewhere in the reference."""
    ours = {one.spelled: one for one in reversed(_cones(region.reference, region.ours))}
    for theirs in _cones(region.candidate, region.theirs):
        for one in sorted(ours.values(), key=lambda each: len(each.spelled))[:_MOST]:
            if one.spelled != theirs.spelled or len(one.spelled) > 1:
                yield _told(region, theirs, one)


def _told(region: Region, theirs: _Cone, ours: _Cone) -> Edit:
    value, kernels = region.runs.value_of_reference, region.runs.kernels
    name = named(value(ours.start), value(ours.last.outputs[0]))
    found = named(region.runs.value(theirs.start), region.runs.value(theirs.last.outputs[0]))
    name, found = name or _one_operation(ours), found or _one_operation(theirs)
    wanted = name or f"what {listed(ours.part.operations)} come to"
    cause = Cause(
        f"{found or 'another function'} in the candidate, {wanted} in the reference",
        "gelu-form" if "gelu" in (name or "") and "gelu" in (found or "") else "wrong-activation",
        f"use {wanted}",
        operations=(ours.last, theirs.last),
    )

    def compute(x: np.ndarray) -> np.ndarray:
        return kernels.numpy(replace(ours.part, start={ours.start: x}).run(kernels, double=True))

    operations = {}
    for operation in edit.alike(region.candidate, theirs.last):
        start = next((one.start for one in _cones(region.candidate, [operation])), None)
        if start is not None:
            operations[operation.index] = edit.recomputed(operation, start, compute)
    return Edit(cause, operations)


def _one_operation(cone: _Cone) -> str | None:
    """Returns the name of a function that is an operation of its own: ReLU, where no value tells it from ReLU6."""
    return cone.spelled[0].lower() if len(cone.spelled) == 1 else None


def _cones(program: Program, operations: Sequence[Operation]) -> list[_Cone]:
    """Returns what is a function of one tensor, the longest first that ends in each operation.

    A function is written in one place: what is spread over several scopes would be several mistakes told as one.
    """
    found: list[_Cone] = []
    for last in operations:
        cone = cone_of(program, last)
        if not cone:
            continue
        inside = {tensor for operation in cone for tensor in operation.outputs}
        start = {t: None for o in cone for t in o.inputs if t not in inside}
        part = Part(program, cone, start, last.outputs[0], {})
        narrow = [t for t in waists(part) if program.specs[t] == program.specs[last.outputs[0]]]
        if narrow:
            tensor = min(narrow, key=lambda t: program.producers[t].index if t in program.producers else -1)
            after = program.producers[tensor].index if tensor in program.producers else -1
            within = [o for o in cone if o.index > after and o.outputs[0] != tensor]
            if len({o.place.scope for o in within}) > 1:
                continue
            found.append(_Cone(Part(program, within, {}, last.outputs[0], {}), tensor, last))
    return [one for one in found if not any(_within(one, other) for other in found if other is not one)]


def _within(one: _Cone, other: _Cone) -> bool:
    return (
        one.start == other.start
        and len(one.part.operations) < len(other.part.operations)
        and any(operation is one.last for operation in other.part.operations)
    )
