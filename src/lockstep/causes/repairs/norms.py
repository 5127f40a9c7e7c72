"""Statistics: over which elements a mean or a sum is taken, and whether what is normalised is centred first."""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit, InNumpy
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, traits

_SPREAD = frozenset({"Square", "SquaredDifference", "Mul"})
"""What a variance, or a mean square, is the mean of."""


@dataclass(frozen=True)
class Statistic:
    """What a reduction goes over.

    Attributes:
        operation: The reduction.
        shape: Of what it reads.
        axes: That it goes over.
        channels: Elements of the last axis before groups were made of it.
    """

    operation: Operation
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    channels: int

    @property
    def size(self) -> int:
        """Elements that it reads."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Elements that one of its values is made of."""
        return math.prod(self.shape[axis] for axis in self.axes)

    def __str__(self) -> str:
        axes = f"axis {self.axes[0]}" if len(self.axes) == 1 else f"axes {self.axes}"
        last = len(self.shape) - 1
        if self.shape[-1] != self.channels and last in self.axes and last - 1 not in self.axes:
            return f"each of {self.shape[-2]} groups of channels ({axes} of shape {self.shape})"
        return f"{axes} of shape {self.shape}"


def statistics(program: Program, operations: Sequence[Operation]) -> list[Statistic]:
    """Returns the reductions of floating tensors among some operations."""
    found = []
    for operation in operations:
        if Trait.REDUCES not in traits(operation.family) or not program.is_constant(operation.inputs[1]):
            continue
        spec = program.specs[operation.inputs[0]]
        axes = tuple(int(axis) for axis in program.constant(operation.inputs[1]).reshape(-1))
        if spec.floating and axes:
            found.append(Statistic(operation, spec.shape, axes, _channels(program, operation.inputs[0])))
    return found


def _channels(program: Program, tensor: int) -> int:
    """The last axis of a tensor before it was reshaped, through what is computed element by element."""
    shape = program.specs[tensor].shape
    for _ in range(4):
        made_by = program.producers.get(tensor)
        if made_by is None or program.specs[made_by.inputs[0]].shape in ((), (1,)):
            break
        before = program.specs[made_by.inputs[0]].shape
        if made_by.family == "Reshape":
            return before[-1] if before else 1
        if before != shape:
            break
        tensor = made_by.inputs[0]
    return shape[-1] if shape else 1


def over_other_elements(region: Region) -> Iterator[Edit]:
    """A norm's statistics go over other elements: other axes, other groups, each layer's mean and variance together."""
    wanted: dict[Hashable, Statistic] = {}
    for ours in statistics(region.reference, region.ours):
        wanted.setdefault((ours.shape, ours.axes, ours.operation.family), ours)
    here = statistics(region.candidate, region.theirs)
    kinds = {(one.shape, one.axes) for one in here}
    everywhere: dict[Hashable, list[Statistic]] = defaultdict(list)
    for one in statistics(region.candidate, region.candidate.operations):
        if (one.shape, one.axes) in kinds:
            everywhere[one.shape, one.axes].append(one)
    for group in everywhere.values():
        scopes: dict[str, list[Statistic]] = defaultdict(list)
        for one in group:
            scopes[one.operation.place.scope].append(one)
        tried = [group, *scopes.values()] if len(scopes) > 1 else [group]
        tried += [[one] for one in group if len(group) > 1]
        for some, ours in itertools.product(tried, wanted.values()):
            if ours.size == some[0].size and (ours.shape, ours.axes) != (some[0].shape, some[0].axes):
                yield _told_of_elements(region, some, ours)


def _told_of_elements(region: Region, group: Sequence[Statistic], ours: Statistic) -> Edit:
    theirs = group[0]
    fix = f"axis={ours.axes}" if ours.shape == theirs.shape else f"take statistics over {ours}"
    cause = Cause(
        f"statistics go over {theirs} in the candidate, over {ours} in the reference; over these the difference "
        "vanishes",
        "wrong-axis",
        fix,
        (f"over {ours} against {theirs}",),
        (ours.operation, theirs.operation),
    )
    operations: dict[int, Operation] = {}
    for one in group:
        operations[one.operation.index] = _spread_out(one, ours)
        if len(region.candidate.specs[one.operation.outputs[0]].shape) < len(one.shape):
            readers = region.readers(one.operation.outputs[0])
            operations.update((o.index, edit.handing_on(o)) for o in readers if o.family == "Reshape")
    return Edit(cause, operations)


def _spread_out(theirs: Statistic, ours: Statistic) -> Operation:
    """Returns a reduction over the reference's elements, that gives a value for each element it reads."""
    family = theirs.operation.family
    mean_for_sum = family == "Sum" and ours.operation.family == "Mean"

    def compute(inputs: Sequence[np.ndarray]) -> np.ndarray:
        value = inputs[0].reshape(ours.shape)
        reduce = {"Mean": np.mean, "Sum": np.mean if mean_for_sum else np.sum, "Max": np.max, "Min": np.min}[family]
        made = reduce(value, axis=ours.axes, keepdims=True) * (theirs.count if mean_for_sum else 1)
        return np.broadcast_to(made, ours.shape).reshape(theirs.shape)

    return replace(theirs.operation, call=InNumpy(compute))


def centred_or_not(region: Region) -> Iterator[Edit]:
    """What is normalised is centred on one side alone: a layer norm, and a norm by the root of the mean square."""
    here = statistics(region.candidate, region.theirs)
    centres = [one for one in here if one.operation.family == "Mean" and _is_centre(region, one)]
    for group in region.alike(one.operation for one in centres):
        cause = Cause(
            "the candidate subtracts the mean before it normalises, the reference does not (RMS norm)",
            "wrong-operation",
            "do not subtract the mean: divide by the root of the mean square",
            operations=(None, group[0]),
        )
        yield edit.changed_all(group, lambda given: np.zeros_like(given[0]), cause)
    squares = [one for one in here if one.operation.family in ("Mean", "Sum") and _squared(region.candidate, one)]
    for group in region.alike(one.operation for one in squares):
        cause = Cause(
            "the reference subtracts the mean before it normalises (layer norm), the candidate does not (RMS norm)",
            "wrong-operation",
            "subtract the mean first",
            operations=(None, group[0]),
        )
        operations: dict[int, Operation] = {}
        for one in (each for each in squares if any(each.operation is o for o in group)):
            operations.update(_centred(region, one))
        if operations:
            yield Edit(cause, operations)


def _is_centre(region: Region, one: Statistic) -> bool:
    """Whether a mean is subtracted from what it is the mean of."""
    read = [one.operation.outputs[0]]
    read += [o.outputs[0] for o in region.readers(read[0]) if o.family in ("Reshape", "Mul")]
    return any(o.family in ("Sub", "SquaredDifference") for tensor in read for o in region.readers(tensor))


def _squared(program: Program, one: Statistic) -> int | None:
    """Returns the tensor that a mean of squares is of; None where it is no such mean."""
    made_by = program.producers.get(one.operation.inputs[0])
    if made_by is None or made_by.family not in ("Square", "Mul") or len({*made_by.inputs}) != 1:
        return None
    return made_by.inputs[0]


def _centred(region: Region, one: Statistic) -> Iterator[tuple[int, Operation]]:
    tensor = _squared(region.candidate, one)
    how = functools.partial(_less_mean, one.axes)
    for reader in region.readers(tensor) if tensor is not None else ():
        slots = [slot for slot, read in enumerate(reader.inputs) if read == tensor]
        if len(slots) == 2:
            yield reader.index, replace(reader, call=InNumpy(lambda given: np.square(how(given[0]))))
        elif reader.family in ("Square", "Mul", "RealDiv"):
            yield reader.index, edit.reading_once(reader, slots[0], how)


def _less_mean(axes: tuple[int, ...], value: np.ndarray) -> np.ndarray:
    return np.asarray(value - value.mean(axis=axes, keepdims=True))
