"""Reshapes and transpositions: how heads are split and merged."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit, InNumpy
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program

_MOST = 8
"""Ways to arrange values that are tried for one another."""


@dataclass(frozen=True)
class Arrangement:
    """Some reshapes and transpositions, one behind the other.

    Attributes:
        start: Where they start from.
        before: Its shape.
        steps: `("reshape", shape)` or `("transpose", order)`.
        last: The last operation.
    """

    start: int
    before: tuple[int, ...]
    steps: tuple[tuple[str, tuple[int, ...]], ...]
    last: Operation

    def applied(self, value: np.ndarray) -> np.ndarray:
        """Arranges an array, which is given the shape that the first step starts from."""
        value = value.reshape(self.before)
        for kind, how in self.steps:
            value = value.reshape(how) if kind == "reshape" else value.transpose(how)
        return value

    def __str__(self) -> str:
        return ", ".join(f"{kind} to {how}" if kind == "reshape" else f"{kind} {how}" for kind, how in self.steps)


def arrangements(program: Program, operations: Sequence[Operation]) -> Iterator[Arrangement]:
    """Yields what only arranges values, each as long as it goes back."""
    for operation in operations:
        steps: list[tuple[str, tuple[int, ...]]] = []
        tensor, made_by = operation.outputs[0], operation
        while made_by is not None and made_by.family in ("Reshape", "Transpose") and len(steps) < 4:
            if made_by.family == "Reshape":
                steps.append(("reshape", program.specs[tensor].shape))
            elif program.is_constant(made_by.inputs[1]):
                steps.append(("transpose", tuple(int(axis) for axis in program.constant(made_by.inputs[1]))))
            else:
                break
            tensor = made_by.inputs[0]
            made_by = program.producers.get(tensor)  # type: ignore[assignment]
        if steps and program.specs[tensor].floating:
            yield Arrangement(tensor, program.specs[tensor].shape, tuple(steps[::-1]), operation)


def otherwise_arranged(region: Region) -> Iterator[Edit]:
    """Values are arranged as in the reference: heads are split and merged in its order."""
    ours = {(one.before, one.steps): one for one in arrangements(region.reference, region.ours)}
    for theirs in arrangements(region.candidate, region.theirs):
        shape = region.candidate.specs[theirs.last.outputs[0]].shape
        fitting = [
            one
            for one in ours.values()
            if _ends(one) == shape and math.prod(one.before) == math.prod(theirs.before) and not _same(one, theirs)
        ]
        for one in fitting[:_MOST]:
            flattened = len(shape) == 2 and shape[0] == theirs.before[0]
            heads = (len(shape) > 3 or len(theirs.before) > 3) and not flattened
            cause = Cause(
                f"the candidate arranges values by {theirs}, the reference by {one}; so arranged, the difference "
                "vanishes",
                "head-order" if heads else "flatten-order",
                f"arrange them by {one}",
                operations=(one.last, theirs.last),
            )
            operations = {}
            for operation in edit.alike(region.candidate, theirs.last):
                for found in arrangements(region.candidate, [operation]):
                    call = InNumpy(functools.partial(_arranged, one))
                    operations[operation.index] = replace(operation, inputs=(found.start,), call=call)
            yield Edit(cause, operations)


def _arranged(one: Arrangement, inputs: Sequence[np.ndarray]) -> np.ndarray:
    return one.applied(inputs[0])


def _ends(one: Arrangement) -> tuple[int, ...]:
    return one.applied(np.empty(one.before, np.int8)).shape


def _same(one: Arrangement, other: Arrangement) -> bool:
    """Whether two arrangements put every value in the same place."""
    numbers = np.arange(math.prod(one.before))
    return np.array_equal(one.applied(numbers), other.applied(numbers))
