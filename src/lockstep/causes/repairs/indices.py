"""Other whole numbers: buckets that were hashed otherwise, and the class that stands for a blank."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program

_HASHING = ("SparseCross", "SparseFeatureCross", "StringToHashBucket")
"""Beginnings of the types that put values into buckets by a hash."""
_MOST = 6
"""Tensors that are tried for each side."""


def other_buckets(region: Region) -> Iterator[Edit]:
    """Values are put into buckets by another hash: with the reference's buckets all is well."""
    hashed = [o for o in region.ours if o.type.startswith(_HASHING)]
    here = [o for o in region.theirs if o.type.startswith(_HASHING)]
    if not hashed and not here:
        return
    ours = _whole(region.reference, hashed or region.ours)
    theirs = _whole(region.candidate, here or region.theirs)
    for (by, wanted), (made_by, tensor) in itertools.product(ours[:_MOST], theirs[:_MOST]):
        value = region.runs.value_of_reference(wanted)
        shape = region.candidate.specs[tensor].shape
        if value is None or value.size != np.prod(shape, dtype=int):
            continue
        cause = Cause(
            f"values are hashed into other buckets: {made_by.type} in the candidate, {by.type} in the reference; with "
            "the reference's buckets the difference vanishes",
            "wrong-operation",
            f"hash as {by.type} does, or give the candidate the buckets",
            operations=(by, made_by),
        )
        yield edit.changed(region.candidate, tensor, value, functools.partial(_instead, value.reshape(shape)), cause)


def _instead(value: np.ndarray, given: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(value, given[0].dtype)


def _whole(program: Program, operations: Sequence[Operation]) -> list[tuple[Operation, int]]:
    """Returns the whole numbers that operations make, with what makes them."""
    made = [(operation, tensor) for operation in operations for tensor in operation.outputs]
    return [(o, t) for o, t in made if program.specs[t].dtype.startswith(("int", "uint")) and program.specs[t].shape]


def other_blank(region: Region) -> Iterator[Edit]:
    """Connectionist temporal classification: the blank is the first class on one side and the last on the other."""
    losses = [o for o in (*region.ours, *region.theirs) if o.type.startswith("CTCLoss")]
    if not losses:
        return
    sides = (region.reference, region.ours), (region.candidate, region.theirs)
    classes = {p.specs[o.inputs[0]].shape[-1] for p, operations in sides for o in operations if o in losses}
    program, ends = region.candidate, {*region.candidate.outputs.values()}
    scores = [t for o in region.theirs for t in o.outputs if t not in ends and _is_scores(program, t, classes)]
    read = dict.fromkeys(t for o in region.theirs for t in o.inputs if _is_labels(program, t))
    for scored, labels in itertools.product(scores[:_MOST], list(read)[:_MOST]):
        for step, first, last in ((1, "first", "last"), (-1, "last", "first")):
            cause = Cause(
                f"the blank is the {first} class; with the {last} one the difference vanishes",
                "attribute",
                f"blank_index={'-1' if step == 1 else '0'}",
                (f"blank: the {last} class against the {first}",),
                (losses[0] if losses[0] in region.ours else None, program.producers[scored]),
            )
            rolled = edit.changed(program, scored, np.zeros(0), functools.partial(_rolled, step), cause)
            counted = edit.changed(program, labels, region.runs.value(labels), functools.partial(_counted, step), cause)
            yield edit.both(rolled, counted)


def _is_scores(program: Program, tensor: int, classes: set[int]) -> bool:
    spec = program.specs[tensor]
    return spec.floating and len(spec.shape) == 3 and spec.shape[-1] in classes


def _is_labels(program: Program, tensor: int) -> bool:
    spec = program.specs[tensor]
    return spec.dtype.startswith("int") and len(spec.shape) == 2 and not program.is_constant(tensor)


def _rolled(step: int, given: Sequence[np.ndarray]) -> np.ndarray:
    return np.roll(given[0], step, axis=-1)


def _counted(step: int, given: Sequence[np.ndarray]) -> np.ndarray:
    return np.where(given[0] >= 0, given[0] + step, given[0])
