"""An edit of a program, as data: what an operation becomes, and what a source holds instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.common.errors import KernelError
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels

Computed = Callable[[Sequence[np.ndarray]], np.ndarray]
"""What an operation's one output is made of: its inputs, or the output that it had."""


@dataclass(frozen=True)
class InNumpy:
    """Takes the place of an operation's call.

    Attributes:
        compute: Makes the output: of the inputs, or of the output of `of`.
        of: The operation that runs first; None where the inputs are enough.
        before: One of its inputs, and what is made of it before it is read.
    """

    compute: Computed
    of: Operation | None = None
    before: tuple[int, Callable[[np.ndarray], np.ndarray]] | None = None

    def run(self, kernels: Kernels, inputs: Sequence[Any], run: Callable[[Operation, Sequence[Any]], list[Any]]) -> Any:
        """Computes the output; what does not fit is a `KernelError`, as it is of any other kernel."""
        try:
            if self.before is not None:
                slot, how = self.before
                inputs = [how(kernels.numpy(v)) if place == slot else v for place, v in enumerate(inputs)]
            given = inputs if self.of is None else run(self.of, inputs)[:1]
            return self.compute([kernels.numpy(value) for value in given])
        except (ValueError, IndexError, TypeError) as error:  # NumPy's own: shapes or dtypes that do not fit
            raise KernelError(str(error)) from error


@dataclass(frozen=True)
class Through(InNumpy):
    """Takes the place of an operation's call: what is made of its inputs goes through other operations first.

    Attributes:
        chain: Operations that each read what the one before them made, at a slot, and other inputs: `(operation, slot,
            where its other inputs are among those of the operation whose place this takes, which output goes on)`.
    """

    chain: Sequence[tuple[Operation, int, Sequence[int], int]] = ()

    def run(self, kernels: Kernels, inputs: Sequence[Any], run: Callable[[Operation, Sequence[Any]], list[Any]]) -> Any:
        """Computes the output; what does not fit is a `KernelError`."""
        value = InNumpy(self.compute).run(kernels, inputs, run)
        for operation, slot, others, output in self.chain:
            given = [inputs[place] for place in others]
            value = run(operation, [*given[:slot], value, *given[slot:]])[output]
        return value


@dataclass(frozen=True)
class Borrowed:
    """The value of one of the reference's tensors, whatever values both sides start from."""

    tensor: int


@dataclass(frozen=True)
class Edit:
    """What is changed in a program.

    Attributes:
        cause: What it says if it repairs the candidate.
        operations: Index -> what the operation becomes.
        sources: Tensor -> the value that it holds instead; a tensor that the program has not is a new constant.
    """

    cause: Cause
    operations: Mapping[int, Operation] = field(default_factory=dict)
    sources: Mapping[int, np.ndarray | Borrowed] = field(default_factory=dict)


def with_constants(program: Program, reads: Iterable[tuple[Operation, int]], value: float, cause: Cause) -> Edit:
    """Has some operations read another number, each in the dtype and shape that it reads now."""
    operations: dict[int, Operation] = {}
    sources: dict[int, np.ndarray] = {}
    fresh = len(program.specs)
    for operation, slot in reads:
        before = program.constant(operation.inputs[slot])
        now = operations.get(operation.index, operation)
        inputs = (*now.inputs[:slot], fresh + len(sources), *now.inputs[slot + 1 :])
        sources[fresh + len(sources)] = np.full_like(before, value)
        operations[operation.index] = replace(now, inputs=inputs)
    return Edit(cause, operations, sources)


def exchanged(program: Program, one: int, other: int, cause: Cause) -> Edit | None:
    """Has what reads either of two tensors read the other; None where one would be read before it is computed."""
    return rewired(program, {one: other, other: one}, cause)


def rewired(program: Program, instead: Mapping[int, int], cause: Cause) -> Edit | None:
    """Has what reads some tensors read others; None where one would be read before it is computed."""
    readers = [o for o in program.operations if not instead.keys().isdisjoint(o.inputs)]
    for reader in readers:
        makers = (program.producers.get(instead[tensor]) for tensor in reader.inputs if tensor in instead)
        if any(made_by is not None and made_by.index >= reader.index for made_by in makers):
            return None
    return Edit(
        cause,
        {o.index: replace(o, inputs=tuple(instead.get(tensor, tensor) for tensor in o.inputs)) for o in readers},
    )


def alike(program: Program, operation: Operation) -> list[Operation]:
    """Returns the operations that one line of the code makes: in every round of a loop, for every layer."""
    return [o for o in program.operations if _line(program, o) == _line(program, operation)]


def _line(program: Program, o: Operation) -> tuple[object, ...]:
    written = o.place.source or o.place
    return o.type, written, tuple(program.specs[tensor] for tensor in (*o.inputs, *o.outputs))


def recomputed(made_by: Operation, start: int, compute: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """Returns an operation that makes its output of one tensor, by another function."""
    return replace(made_by, inputs=(start,), call=InNumpy(lambda inputs: compute(inputs[0])))


def changed(program: Program, tensor: int, value: np.ndarray, how: Computed, cause: Cause) -> Edit:
    """Changes a tensor where it comes to be: what an operation makes, or what a source holds."""
    made_by = program.producers.get(tensor)
    if made_by is None:
        return Edit(cause, {}, {tensor: how([value])})
    return Edit(cause, {made_by.index: replace(made_by, call=InNumpy(how, made_by))})


def meet(one: Edit, other: Edit) -> bool:
    """Whether two edits change the same operation, so that one would undo the other."""
    return not one.operations.keys().isdisjoint(other.operations)


def renumbered(one: Edit, instead: Mapping[int, int]) -> Edit:
    """Gives an edit's own constants other numbers."""
    operations = {
        index: replace(o, inputs=tuple(instead.get(tensor, tensor) for tensor in o.inputs))
        for index, o in one.operations.items()
    }
    return replace(one, operations=operations, sources={instead.get(t, t): v for t, v in one.sources.items()})


def changed_all(operations: Iterable[Operation], how: Computed, cause: Cause) -> Edit:
    """Changes what some operations make."""
    return Edit(cause, {o.index: replace(o, call=InNumpy(how, o)) for o in operations})


def both(one: Edit, other: Edit) -> Edit:
    """Puts two edits together that change different operations, and new constants of one operation each."""
    shared = set(one.sources) & set(other.sources)
    moved = renumbered(other, {t: max((*one.sources, *other.sources)) + 1 + n for n, t in enumerate(sorted(shared))})
    return Edit(one.cause, {**one.operations, **moved.operations}, {**one.sources, **moved.sources})


def reading(
    program: Program, operation: Operation, slot: int, how: Callable[[np.ndarray], np.ndarray], cause: Cause
) -> Edit:
    """Has one operation, wherever its line runs again, read one of its inputs otherwise: turned, say."""
    return Edit(cause, {o.index: reading_once(o, slot, how) for o in alike(program, operation)})


def reading_once(operation: Operation, slot: int, how: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """Returns an operation that reads one of its inputs otherwise."""
    return replace(operation, call=InNumpy(_first, operation, (slot, how)))


def along(softmax: Operation, axis: int) -> Operation:
    """Returns a softmax, or its logarithm, along another axis than the last."""

    def turned(value: np.ndarray) -> np.ndarray:
        return np.swapaxes(value, axis, -1)

    return replace(softmax, call=InNumpy(lambda made: turned(made[0]), softmax, (0, turned)))


def handing_on(operation: Operation) -> Operation:
    """Returns an operation that hands on its first input."""
    return replace(operation, call=InNumpy(_first))


def _first(made: Sequence[np.ndarray]) -> np.ndarray:
    return made[0]
