"""From places where two programs part to culprits that a person can act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from lockstep.localise import budget, waists
from lockstep.localise.causes import cause_of
from lockstep.localise.forcing import Blame, Localisation, Unchanged
from lockstep.localise.hypotheses.case import Cause
from lockstep.localise.kernels import Kernels
from lockstep.localise.pitfalls import Slug
from lockstep.program import Operation, Program
from lockstep.report.model import Culprit, gathered
from lockstep.steps.numbers import CHANGED_ALONE, NEVER_CHANGED

_SHAPING = frozenset({"Reshape", "Transpose", "Cast", "Pack", "Unpack", "StridedSlice", "Fill", "Concat"})


def culprits(found: Localisation, reference: Program, candidate: Program, kernels: Kernels) -> tuple[Culprit, ...]:
    """Returns one culprit for each place; several rounds of one loop are one place."""
    blames = _explained(found.blames, reference, candidate, kernels)
    computed = [_culprit(blame, cause, reference, candidate) for blame, cause in blames]
    return gathered([*_moved(computed, [blame for blame, _ in blames]), *map(_unchanged, found.unchanged)])


def _explained(
    blames: Sequence[Blame], reference: Program, candidate: Program, kernels: Kernels
) -> list[tuple[Blame, Cause]]:
    """Returns places with their causes; where one has none as a whole, and both of two pieces have one, these.

    A piece that was found so is one of every place that it is in, whatever else is wrong there.
    """

    def with_cause(blame: Blame) -> tuple[Blame, Cause]:
        return blame, cause_of(blame, reference, candidate, kernels)

    found = [[with_cause(blame)] for blame in blames]
    known = {(blame.ours.end, blame.theirs.end) for ((blame, cause),) in found if cause.pitfall}
    cuts: dict[int, list[tuple[waists.Cut, list[tuple[Blame, Cause]]]]] = {}
    for number, ((blame, cause),) in enumerate(found):
        if not cause.pitfall and not blame.drawn:
            made = ((cut, _pieces(blame, cut, kernels)) for cut in waists.pieces(kernels, blame.ours, blame.theirs))
            cuts[number] = [
                (cut, list(map(with_cause, both))) for cut, both in made if not any(p.judged.within for p in both)
            ]
    for number, tried in cuts.items():
        for cut, both in tried:
            if all(cause.pitfall for _, cause in both):
                found[number] = both
                known.add((cut.ours.end, cut.theirs.end))
                break
    for number, tried in cuts.items():
        if len(found[number]) == 1:
            among = (both for cut, both in tried if (cut.ours.end, cut.theirs.end) in known)
            found[number] = next(among, found[number])
    return [pair for pairs in found for pair in pairs]


def _pieces(blame: Blame, cut: waists.Cut, kernels: Kernels) -> list[Blame]:
    before = budget.judged(kernels, cut.ours, cut.theirs, cut.value)
    after = budget.judged(kernels, cut.ours_after, cut.theirs_after, cut.wanted)
    first = next(o for o in cut.theirs_after.operations if cut.theirs.end in o.inputs)
    reads = None if cut.theirs.operations else (first, first.inputs.index(cut.theirs.end))
    ours, theirs = ({operation.index for operation in part.operations} for part in (cut.ours, cut.theirs))
    return [
        dataclasses.replace(
            blame,
            reference=tuple(operation for operation in blame.reference if operation.index in ours),
            candidate=tuple(cut.theirs.operations),
            judged=before,
            ours=cut.ours,
            theirs=cut.theirs,
            wanted=cut.ours.end,
            reads=reads,
            partner=None,
            updates=None,
        ),
        dataclasses.replace(
            blame,
            reference=tuple(operation for operation in blame.reference if operation.index not in ours),
            candidate=tuple(operation for operation in blame.candidate if operation.index not in theirs),
            judged=after,
            ours=cut.ours_after,
            theirs=cut.theirs_after,
        ),
    ]


def _moved(culprits: Sequence[Culprit], blames: Sequence[Blame]) -> list[Culprit]:
    """What one place lacks and another has too many is one operation in another place, past what reads it there."""
    lacking = [c.operations[0] for c in culprits if c.operations[0] and not c.operations[1]]
    surplus = [c.operations[1] for c in culprits if c.operations[1] and not c.operations[0]]
    both = {types for types in lacking if types in surplus}

    def told(culprit: Culprit, blame: Blame) -> Culprit:
        types = culprit.operations[0] or culprit.operations[1]
        if all(culprit.operations) or types not in both:
            return culprit
        fix = "apply it in the same place"
        if culprit.operations[0]:
            cause = f"{culprit.cause}, and has it in another place"
            return dataclasses.replace(culprit, cause=cause, pitfall="operation-order", fix=fix)
        past = blame.partner
        return dataclasses.replace(
            culprit,
            reference=_name(past) or culprit.reference,
            reference_source=_source(past) or culprit.reference_source,
            cause=f"{culprit.cause}, in the wrong place",
            pitfall="operation-order",
            fix=fix,
            scopes=(_scope(past) or culprit.scopes[0], culprit.scopes[1]),
        )

    return [told(*both_of) for both_of in zip(culprits, blames, strict=True)]


def _culprit(blame: Blame, cause: Cause, reference: Program, candidate: Program) -> Culprit:
    ours, theirs = main_operation(blame.reference), main_operation(blame.candidate)
    if ours is not None and theirs is not None and ours.type in _SHAPING and theirs.type not in _SHAPING:
        ours = None  # what both do to the order of values is not what only the candidate computes
    reads = blame.reads[0] if blame.reads is not None else None
    beside = _beside(blame, theirs, reference)
    judged, kind = blame.judged, _kind(blame)
    scale = judged.scale or 1.0
    variables = _variables(reference, blame.reference) or _variables(candidate, blame.candidate)
    return Culprit(
        reference=blame.updates if kind == "state" else _name(ours or beside),
        candidate=_name(theirs or (reads if ours is None else None)),
        kind=kind,
        cause=cause.sentence,
        error=judged.error / scale,
        noise_budget=judged.budget / scale if judged.budget else None,
        source=_source(theirs or reads),
        reference_source=_source(ours or beside),
        pitfall=cause.pitfall,
        fix=cause.fix,
        operations=(_types(blame.reference), _types(blame.candidate)),
        attributes=cause.attributes,
        variables=variables,
        scopes=(_scope(ours or beside), _scope(theirs or reads)),
        largest_ratio=judged.ratio,
    )


def _beside(blame: Blame, theirs: Operation | None, reference: Program) -> Operation | None:
    """Returns what goes with what only the candidate has: what reads it, if of one scope, or what it is applied to."""
    reads = blame.reads[0] if blame.reads is not None else None
    applied_to = reference.producers.get(blame.wanted)
    while applied_to is not None and applied_to.type in _SHAPING and not reference.variables_read(applied_to):
        before = reference.producers.get(applied_to.inputs[0])
        if before is None:
            break
        applied_to = before
    if theirs is None or reads is None or reads.place.scope == theirs.place.scope:
        return blame.partner or applied_to
    return applied_to or blame.partner


def _kind(blame: Blame) -> str:
    if blame.updates is not None:
        return "state"
    return "draw" if blame.drawn else "operation"


def _unchanged(variable: Unchanged) -> Culprit:
    if variable.by == "reference":
        cause, fix = NEVER_CHANGED, "update it in training, as the reference does"
    else:
        cause, fix = CHANGED_ALONE, "leave it alone"
    pitfall: Slug = "missing-update" if variable.by == "reference" else "extra-update"
    return Culprit(variable.reference, variable.candidate, "state", cause, pitfall=pitfall, fix=fix)


def main_operation(operations: Sequence[Operation]) -> Operation | None:
    """Returns the operation that a part is named after: the last one that computes, not only rearranges."""
    computing = [operation for operation in operations if operation.type not in _SHAPING]
    return (computing or list(operations) or [None])[-1]  # type: ignore[list-item]


def _name(operation: Operation | None) -> str | None:
    return None if operation is None else operation.place.name


def _scope(operation: Operation | None) -> str | None:
    return None if operation is None else operation.place.scope


def _source(operation: Operation | None) -> str | None:
    return operation.place.source or None if operation is not None else None


def _types(operations: Iterable[Operation]) -> tuple[str, ...]:
    return tuple(operation.type for operation in operations)


def _variables(program: Program, operations: Iterable[Operation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for operation in operations for key in program.variables_read(operation)))
