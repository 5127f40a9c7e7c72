"""Hypotheses about normalisation: moving averages against the batch's own statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lockstep.causes.hypotheses.case import Case, Cause, alike, tried
from lockstep.program import Operation, Program

_CALL_IN_INFERENCE = "pass training on to the layer, or call it with training=False"


def frozen_variable(case: Case, ours: list[Operation]) -> Cause | None:
    """A variable in the place of a mean over the batch."""
    name = _for_mean(case.candidate, case.theirs.end, ours)
    if name is None:
        return None
    return Cause(
        f"the candidate normalises with {name}, the reference with the batch's own statistics",
        "frozen-statistics",
        "call the layer with training=True",
    )


def batch_for_variable(case: Case, theirs: Sequence[Operation]) -> Cause | None:
    """A mean over the batch in the place of a variable."""
    name = _for_mean(case.reference, case.blame.wanted, theirs)
    if name is None:
        return None
    return Cause(
        f"the candidate normalises with the batch's own statistics, the reference with {name}",
        "batch-statistics",
        _CALL_IN_INFERENCE,
    )


def _for_mean(program: Program, tensor: int, others: Sequence[Operation]) -> str | None:
    """The variable that one side reads where the other averages over the batch; None where it is not so."""
    source = program.sources.get(tensor)
    averaging = any(operation.family in ("Mean", "FusedBatchNorm") for operation in others)
    return source.name if source is not None and source.kind == "variable" and averaging else None


def batch(case: Case) -> Iterator[Cause]:
    """The batch's own statistics in the place of moving averages."""
    ours = [
        o for o in case.ours.operations if o.family == "FusedBatchNorm" and o.attributes.get("is_training") is False
    ]
    theirs = case.both[1]
    if len(ours) != 1 or theirs is None:
        return
    changed = case.kernels.changed(ours[0], {"is_training": True})
    part = replace(case.ours, operations=[changed if o is ours[0] else o for o in case.ours.operations])
    value = tried(lambda: case.kernels.numpy(part.run(case.kernels, double=True)))
    if value is not None and value.shape == theirs.shape and alike(value, theirs):
        yield Cause(
            "the candidate normalises with the batch's own statistics, the reference with its moving averages",
            "batch-statistics",
            _CALL_IN_INFERENCE,
        )


def frozen(case: Case) -> Iterator[Cause]:
    """Moving averages in the place of the batch's own statistics."""
    ours = [o for o in case.ours.operations if o.family == "FusedBatchNorm" and o.attributes.get("is_training")]
    averages = _averages(case)
    theirs = case.both[1]
    if len(ours) != 1 or averages is None or theirs is None:
        return
    changed = case.kernels.changed(ours[0], {"is_training": False})
    forced = {(ours[0].index, slot): (value, "average") for slot, value in zip((3, 4), averages, strict=True)}
    operations = [changed if o is ours[0] else o for o in case.ours.operations]
    part = replace(case.ours, operations=operations, forced={**case.ours.forced, **forced})
    value = tried(lambda: case.kernels.numpy(part.run(case.kernels, double=True)))
    if value is not None and value.shape == theirs.shape and alike(value, theirs):
        yield Cause(
            "the candidate normalises with its moving averages, the reference with the batch's own statistics",
            "frozen-statistics",
            "call the layer with training=True",
        )


def _averages(case: Case) -> tuple[Any, Any] | None:
    found: dict[str, Any] = {}
    for operation in case.theirs.operations:
        for tensor in operation.inputs:
            source = case.candidate.sources.get(tensor)
            if source is not None and source.kind == "variable" and tensor in case.theirs.start:
                kind = "variance" if "var" in source.name.rpartition("/")[2] else "mean"
                if "mean" in source.name or "var" in source.name:
                    found[kind] = case.theirs.start[tensor]
    return (found["mean"], found["variance"]) if len(found) == 2 else None
