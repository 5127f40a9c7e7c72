"""From places where two programs part to culprits that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lockstep.localise.causes import Cause, cause_of
from lockstep.localise.forcing import Blame, Localisation
from lockstep.localise.kernels import Kernels
from lockstep.program import Operation, Program
from lockstep.report.model import Culprit, gathered

_SHAPING = frozenset({"Reshape", "Transpose", "Cast", "Pack", "Unpack", "StridedSlice", "Fill", "Concat"})


def culprits(found: Localisation, reference: Program, candidate: Program, kernels: Kernels) -> tuple[Culprit, ...]:
    """Returns one culprit for each place; several rounds of one loop are one place."""
    return gathered(
        _culprit(blame, cause_of(blame, reference, candidate, kernels), reference, candidate) for blame in found.blames
    )


def _culprit(blame: Blame, cause: Cause, reference: Program, candidate: Program) -> Culprit:
    ours, theirs = main_operation(blame.reference), main_operation(blame.candidate)
    if ours is None and theirs is None and blame.reads is not None:
        # Nothing is computed wrongly: what reads it reads another tensor.
        theirs = blame.reads[0]
        ours = blame.partner
    judged = blame.judged
    scale = judged.scale or 1.0
    return Culprit(
        reference=_name(ours),
        candidate=_name(theirs),
        kind="draw" if blame.drawn else "operation",
        cause=cause.sentence,
        error=judged.error / scale,
        noise_budget=judged.budget / scale if judged.budget else None,
        source=_source(theirs) or (_source(blame.reads[0]) if blame.reads is not None else None),
        reference_source=_source(ours),
        pitfall=cause.pitfall,
        fix=cause.fix,
        operations=(_types(blame.reference), _types(blame.candidate)),
        attributes=cause.attributes,
        variables=_variables(reference, blame.reference) or _variables(candidate, blame.candidate),
        scopes=(_scope(ours), _scope(theirs or (blame.reads[0] if blame.reads else None))),
        largest_ratio=judged.ratio,
    )


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
