"""Where a part is narrow: tensors that everything which it computes from its data goes through.

Where a whole part is wrong, one side's operations from a waist on may well be right: given the other side's waist, they
give what is wanted. Then only what lies before is to blame. A fused batch normalisation and the operations that another
side spells it out with share no tensor within; with a wrong activation in front of them, this alone tells them apart.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from lockstep.common.errors import KernelError
from lockstep.localise import budget, matching
from lockstep.localise.budget import Part
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, having, traits
from lockstep.program.kernels import Kernels

_MOST = 24
"""Pairs of waists that are tried for one part; each costs an evaluation."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """Two parts, each cut in two at a waist.

    Attributes:
        ours: The reference's operations before its waist.
        theirs: The candidate's before its.
        value: The reference's waist.
        ours_after: The reference's operations from there on.
        theirs_after: The candidate's, given the reference's waist.
        wanted: What they should give.
    """

    ours: Part
    theirs: Part
    value: Any
    ours_after: Part
    theirs_after: Part
    wanted: Any


def cuts(kernels: Kernels, ours: Part, theirs: Part) -> Iterator[Cut]:
    """Cuts two parts at waists behind which the candidate is right, the narrowest explanation first.

    Args:
        kernels: Runs operations.
        ours: The reference's part.
        theirs: The candidate's, which gives something else.
    """
    for found in itertools.islice(_cuts(kernels, ours, theirs), _MOST):
        if budget.judged(kernels, found.ours_after, found.theirs_after, found.wanted).within:
            yield found


def pieces(kernels: Kernels, ours: Part, theirs: Part) -> Iterator[Cut]:
    """Yields cuts of which both pieces may be wrong, those first that part the variables alike on both sides.

    Args:
        kernels: Runs operations.
        ours: The reference's part.
        theirs: The candidate's, which gives something else.
    """
    found = [cut for cut in itertools.islice(_cuts(kernels, ours, theirs), _MOST) if cut.ours_after.operations]
    yield from sorted(found, key=lambda cut: len(_variables(cut.ours)) != len(_variables(cut.theirs)))


def _cuts(kernels: Kernels, ours: Part, theirs: Part) -> Iterator[Cut]:
    if len(ours.operations) + len(theirs.operations) < 3 or theirs.forced:
        return
    values: dict[int, Any] = {}
    try:
        wanted = ours.run(kernels, every=values)
    except KernelError:
        return
    for their_waist, our_waist in _pairs(ours, theirs):
        value = values.get(our_waist, ours.start.get(our_waist))
        given = budget.shaped(kernels.numpy(value), theirs.program.specs[their_waist].shape)
        after = None if given is None else _after(theirs, their_waist, given)
        if after is not None and after.operations:
            before = _before(ours, our_waist), _before(theirs, their_waist)
            yield Cut(*before, value, _after(ours, our_waist, value), after, wanted)


def _variables(part: Part) -> set[str]:
    read = {tensor for operation in part.operations for tensor in operation.inputs}
    sources = (part.program.sources.get(tensor) for tensor in read)
    return {source.name for source in sources if source is not None and source.kind == "variable"}


def _pairs(ours: Part, theirs: Part) -> Iterator[tuple[int, int]]:
    """Yields waists of both sides, the narrowest explanation first.

    One operation for another comes before one that a side lacks: what an ELU makes of a ReLU's output is right, too.
    """
    sides = list(waists(theirs)), list(waists(ours))
    within = [[tensor for tensor in side if tensor in part.program.producers and tensor not in part.start]
              for side, part in zip(sides, (theirs, ours), strict=True)]  # fmt: skip
    start = [
        [tensor for tensor in side if tensor in part.start] for side, part in zip(sides, (theirs, ours), strict=True)
    ]
    for first, second in ((within[0], within[1]), (within[0], start[1]), (start[0], within[1])):
        for their_waist in first:
            for our_waist in second:
                yield their_waist, our_waist
    narrow = [
        [tensor for tensor in waists(part, past=True) if tensor not in side]
        for part, side in zip((theirs, ours), sides, strict=True)
    ]
    for their_waist in narrow[0]:
        for our_waist in narrow[1]:
            kinds = {_computed_by(theirs.program, their_waist), _computed_by(ours.program, our_waist)}
            if len(kinds) == 1 or kinds <= having(Trait.ACTIVATION):
                yield their_waist, our_waist


def _computed_by(program: Program, tensor: int) -> str:
    """Returns the family of the operation that a tensor is a result of, or a piece of it, in whatever order."""
    made_by = program.producers.get(tensor)
    while made_by is not None:
        whole = made_by.inputs[0] if Trait.REORDERS in traits(made_by.family) else matching.picked(program, tensor)
        if whole is None or whole not in program.producers:
            break
        tensor, made_by = whole, program.producers[whole]
    return "" if made_by is None else made_by.family


def waists(part: Part, *, past: bool = False) -> Iterator[int]:
    """Yields the tensors that everything goes through, in their order; the start is one if there is no other data.

    Variables and constants are no data: what is computed from them alone goes past.

    Args:
        part: The part.
        past: Whether what the part starts from, which is right, may go past, too: votes that are weighted.
    """
    last: dict[int, int] = {}
    for place, operation in enumerate(part.operations):
        last.update(dict.fromkeys(operation.inputs, place))
    alive = {tensor for tensor in part.start if tensor in last and not _is_fixed(part.program, tensor)}
    if past:
        yield from _narrowest(part, last, alive)
        return
    if len(alive) == 1:
        yield next(iter(alive))
    for place, operation in enumerate(part.operations):
        if not alive.isdisjoint(operation.inputs):
            alive |= {tensor for tensor in operation.outputs if last.get(tensor, -1) > place or tensor == part.end}
        alive = {tensor for tensor in alive if last.get(tensor, -1) > place or tensor == part.end}
        if len(alive) == 1 and part.end not in alive:
            found = next(iter(alive))
            if found in operation.outputs:
                yield found


def _narrowest(part: Part, last: Mapping[int, int], data: set[int]) -> Iterator[int]:
    """Yields the tensors that everything goes through that was computed from the data."""
    made, alive = set(data), set[int]()
    for place, operation in enumerate(part.operations):
        if not made.isdisjoint(operation.inputs):
            made.update(operation.outputs)
            alive.update(operation.outputs)
        alive = {tensor for tensor in alive if last.get(tensor, -1) > place or tensor == part.end}
        if len(alive) == 1 and part.end not in alive and alive.issubset(operation.outputs):
            yield next(iter(alive))


def _is_fixed(program: Program, tensor: int) -> bool:
    source = program.sources.get(tensor)
    return program.is_constant(tensor) or (source is not None and source.kind == "variable")


def _before(part: Part, waist: int) -> Part:
    return dataclasses.replace(part, operations=_needed(part, waist, None), end=waist)


def _after(part: Part, waist: int, value: object) -> Part:
    return dataclasses.replace(part, operations=_needed(part, part.end, waist), start={**part.start, waist: value})


def _needed(part: Part, end: int, stop: int | None) -> list[Operation]:
    made_by = {tensor: operation for operation in part.operations for tensor in operation.outputs}
    found: dict[int, Operation] = {}
    waiting = [end]
    while waiting:
        tensor = waiting.pop()
        operation = None if tensor == stop else made_by.get(tensor)
        if operation is not None and operation.index not in found:
            found[operation.index] = operation
            waiting.extend(operation.inputs)
    return [found[index] for index in sorted(found)]
