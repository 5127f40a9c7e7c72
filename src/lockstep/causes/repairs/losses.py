"""Losses of classes as PyTorch spells them: by log probabilities of which the label's is taken, and a label ignored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from lockstep.causes.hypotheses.case import Cause, close, short
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.reductions import label_levels
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation

_NO_LABEL = -100
"""A number that no label is: PyTorch's default for the label that is ignored."""
_COMPARING = frozenset({"Equal", "NotEqual"})


def other_smoothing(region: Region) -> Iterator[Edit]:
    """Labels are smoothed by another share, where a loss is written with log probabilities.

    With a share e of n classes the loss is -((1 - e) l[label] + e / n sum(l)) for log probabilities l. So one by a
    share d becomes one by e where l is replaced by a l + b sum(l), with a = (1 - e) / (1 - d) and b = (e - d a) / n.
    """
    wanted = dict.fromkeys(1.0 - (high - low) for low, high in label_levels(region))
    for theirs in region.theirs:
        if theirs.family != "LogSoftmax":
            continue
        classes = region.candidate.specs[theirs.outputs[0]].shape[-1]
        for found in _shares(region, classes):
            for share in wanted:
                if close(share, found) or not 0.0 <= share < 1.0:
                    continue
                cause = Cause(
                    f"labels are smoothed by {short(found)} in the candidate, by {short(share)} in the reference",
                    "wrong-operation",
                    f"label_smoothing={short(share)}",
                    (f"label smoothing: {short(share)} against {short(found)}",),
                    (None, theirs),
                )
                kept = (1.0 - share) / (1.0 - found)
                spread = (share - found * kept) / classes
                yield edit.changed_all([theirs], functools.partial(_smoothed, kept, spread), cause)


def _shares(region: Region, classes: int) -> list[float]:
    """Returns the shares by which the candidate may smooth: none, and those of which both factors are there."""
    program = region.candidate
    numbers = {
        float(program.constant(tensor).reshape(-1)[0])
        for operation in program.operations
        if operation.family == "Mul"
        for tensor in operation.inputs
        if program.is_constant(tensor) and program.constant(tensor).size == 1
    }
    rest = {number * classes for number in numbers}
    return [0.0, *(1.0 - kept for kept in sorted(numbers) if any(close(1.0 - kept, share) for share in rest))]


def _smoothed(kept: float, spread: float, made: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(kept * made[0] + spread * made[0].sum(axis=-1, keepdims=True))


def ignored_labels(region: Region) -> Iterator[Edit]:
    """The candidate leaves out what has a certain label, the reference nothing."""
    for group in region.alike_everywhere(o for o in region.theirs if o.family in _COMPARING):
        for slot, tensor in enumerate(group[0].inputs):
            found = _label(region, group[0], tensor)
            if found is None or found == _NO_LABEL:
                continue
            cause = Cause(
                f"the candidate leaves out what is labelled {found}; the reference does not",
                "mask",
                "leave out nothing (ignore_index=-100)",
                (f"label left out: none against {found}",),
                (None, group[0]),
            )
            reads = [(o, slot) for o in region.candidate.operations if _label(region, o, o.inputs[-1]) == found]
            yield edit.with_constants(region.candidate, reads, _NO_LABEL, cause)


def _label(region: Region, operation: Operation, tensor: int) -> int | None:
    program = region.candidate
    if operation.family not in _COMPARING or not program.is_constant(tensor):
        return None
    value = program.constant(tensor)
    return int(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind == "i" else None
