"""Operations that one side alone has: a mask, a product, a sum that the other left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause, data_slots, is_mask, listed, short
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Borrowed, Edit, InNumpy, Through
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, traits
from lockstep.results.pitfalls import Slug

_AS_MASK = ", which leaves out what is masked"
_MOST = 150
"""Pairs of what the reference does, and of where the candidate may lack it, that are tried."""


def missing_steps(region: Region) -> Iterator[Edit]:
    """What the reference does with something beside it, a mask say, is put in front of what reads it there."""
    yield from itertools.islice(_missing(region), _MOST)
    yield from itertools.islice(_missing_behind(region), _MOST)


def _factor(ours: Operation, beside: Sequence[np.ndarray | None]) -> str:
    """Returns the number that an operation multiplies by; empty where it is none."""
    known = [value for value in beside if value is not None and value.size == 1]
    if len(known) != 1 or ours.family not in ("Mul", "RealDiv") or not known[0].any():
        return ""
    number = float(known[0].reshape(-1)[0])
    return short(number if ours.family == "Mul" else 1.0 / number)


def _pitfall(operations: Sequence[Operation], *, masks: bool) -> Slug:
    if masks:
        return "mask"
    return "missing-scale" if {o.family for o in operations} <= {"Mul", "RealDiv"} else "missing-operation"


def _missing(region: Region) -> Iterator[Edit]:
    told = set[tuple[object, ...]]()
    for ours in region.ours:
        if Trait.COMBINES not in traits(ours.family):
            continue
        for data in data_slots(region.reference, ours):
            for reader, slot in _read_by(region.reference, ours):
                for theirs in region.theirs:
                    key = ours.place.source or ours.index, ours.type, data, theirs.place.source, theirs.type, slot
                    if theirs.family != reader.family or slot >= len(theirs.inputs) or key in told:
                        continue
                    if region.candidate.specs[theirs.inputs[slot]] == region.reference.specs[ours.outputs[0]]:
                        told.add(key)
                        yield from _put_in(region, (ours, data), theirs, slot)


def _read_by(program: Program, operation: Operation) -> Iterator[tuple[Operation, int]]:
    tensor, found = operation.outputs[0], set[tuple[str, int]]()
    for reader in program.operations[operation.index + 1 :]:
        if tensor in reader.inputs and (reader.family, reader.inputs.index(tensor)) not in found:
            found.add((reader.family, reader.inputs.index(tensor)))
            yield reader, reader.inputs.index(tensor)


def _put_in(region: Region, step: tuple[Operation, int], theirs: Operation, slot: int) -> Iterator[Edit]:
    ours, data = step
    lacking = edit.alike(region.candidate, theirs)
    doing = edit.alike(region.reference, ours)
    fresh = len(region.candidate.specs)
    beside = [tensor for place, tensor in enumerate(ours.inputs) if place != data]
    values = [region.runs.value_of_reference(tensor) for tensor in beside]
    masks = ours.family == "Select" or any(value is not None and is_mask(value) for value in values)
    factor = _factor(ours, values)
    lacking_this = f"the factor {factor}" if factor else listed([ours])
    cause = Cause(
        f"the candidate lacks {lacking_this} before {theirs.type}; with it the difference vanishes",
        _pitfall([ours], masks=masks),
        f"multiply by {factor}" if factor else f"add {ours.type}" + _AS_MASK * masks,
        operations=(ours, theirs),
    )
    pairs = list(zip(lacking, doing, strict=True)) if len(lacking) == len(doing) else []
    for some in ([pairs] if len(pairs) > 1 else []) + [[(theirs, ours)]]:
        operations: dict[int, Operation] = {}
        sources: dict[int, np.ndarray | Borrowed] = {}
        for here, there in some:
            lent = [tensor for place, tensor in enumerate(there.inputs) if place != data]
            numbers = [fresh + len(sources) + n for n in range(len(lent))]
            sources.update({number: Borrowed(tensor) for number, tensor in zip(numbers, lent, strict=True)})
            operations[here.index] = _with_step(here, slot, (there, data), numbers)
        yield Edit(cause, operations, sources)


Steps = tuple[tuple[Operation, int], ...]
"""Operations of the reference, each with the input that the one before it, or what is missed, goes into."""


def _missing_behind(region: Region) -> Iterator[Edit]:
    """One or two steps behind a tensor, in every round: a state that is kept where a sequence has ended."""
    told = set[tuple[object, ...]]()
    for last in region.ours:
        for steps in _ending_in(region.reference, last):
            key = tuple((o.type, o.place.source or o.index, data) for o, data in steps)
            if key not in told:
                told.add(key)
                yield from _put_behind(region, steps)


def _ending_in(program: Program, last: Operation) -> Iterator[Steps]:
    if Trait.COMBINES not in traits(last.family):
        return
    for data in data_slots(program, last):
        yield ((last, data),)
        before = program.producers.get(last.inputs[data])
        if before is not None and Trait.COMBINES in traits(before.family):
            for slot in data_slots(program, before):
                yield ((before, slot), (last, data))


def _put_behind(region: Region, steps: Steps) -> Iterator[Edit]:
    fresh = len(region.candidate.specs)
    operations: dict[int, Operation] = {}
    sources: dict[int, np.ndarray | Borrowed] = {}
    first: Operation | None = None
    for last in edit.alike(region.reference, steps[-1][0]):
        here = _same_steps(region.reference, last, steps)
        if here is None:
            continue
        for tensor in region.runs.standing_for((here[0][0].inputs[here[0][1]], last.outputs[0])):
            made_by = region.candidate.producers.get(tensor)
            if made_by is None or made_by.index in operations or made_by.outputs != (tensor,):
                continue
            chain = [(made_by, 0, range(1, len(made_by.inputs)), 0)]
            inputs = list(made_by.inputs)
            for step, data in here:
                lent = [t for place, t in enumerate(step.inputs) if place != data]
                numbers = [fresh + len(sources) + n for n in range(len(lent))]
                sources.update({number: Borrowed(t) for number, t in zip(numbers, lent, strict=True)})
                chain.append((step, data, range(len(inputs), len(inputs) + len(lent)), 0))
                inputs += numbers
            call = Through(_as_it_is, chain=tuple(chain))
            operations[made_by.index] = replace(made_by, inputs=tuple(inputs), call=call)
            first = first or made_by
    if operations and first is not None:
        types = listed([o for o, _ in steps])
        masks = _masks(region, steps)
        cause = Cause(
            f"the candidate lacks {types} behind {first.type}; with it the difference vanishes",
            _pitfall([step for step, _ in steps], masks=masks),
            f"add {types}" + _AS_MASK * masks,
            operations=(steps[-1][0], first),
        )
        yield Edit(cause, operations, sources)


def _same_steps(program: Program, last: Operation, steps: Steps) -> Steps | None:
    """Returns the steps that end in an operation of another round; None where they are others there."""
    if len(steps) == 1:
        return ((last, steps[0][1]),)
    before = program.producers.get(last.inputs[steps[1][1]])
    if before is None or before.type != steps[0][0].type:
        return None
    return ((before, steps[0][1]), (last, steps[1][1]))


def _masks(region: Region, steps: Steps) -> bool:
    beside = [t for o, data in steps for place, t in enumerate(o.inputs) if place != data]
    values = [region.runs.value_of_reference(tensor) for tensor in beside]
    return any(value is not None and is_mask(value) for value in values)


def _with_step(here: Operation, slot: int, step: tuple[Operation, int], lent: Sequence[int]) -> Operation:
    """Returns an operation that reads one of its inputs as a step of the reference makes it."""
    others = [tensor for place, tensor in enumerate(here.inputs) if place != slot]
    chain = (
        (step[0], step[1], range(1, 1 + len(lent)), 0),
        (here, slot, range(1 + len(lent), 1 + len(lent) + len(others)), 0),
    )
    call = Through(lambda given: given[0], chain=chain)
    return replace(here, inputs=(here.inputs[slot], *lent, *others), call=call)


def surplus_steps(region: Region) -> Iterator[Edit]:
    """What only the candidate does is left out: what it reads is handed on."""
    for group in region.alike_everywhere(o for o in region.theirs if not region.candidate.variables_read(o)):
        for slot in data_slots(region.candidate, group[0]):
            cause = Cause(
                f"only the candidate computes {group[0].type}; without it the difference vanishes",
                "extra-operation",
                f"remove {group[0].type}",
                operations=(None, group[0]),
            )
            alike = [o for o in group if len(o.inputs) > slot]
            yield Edit(cause, {o.index: replace(o, inputs=(o.inputs[slot],), call=InNumpy(_as_it_is)) for o in alike})


def _as_it_is(given: Sequence[np.ndarray]) -> np.ndarray:
    return given[0]
