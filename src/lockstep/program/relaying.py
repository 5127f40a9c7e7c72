"""A program whose variables lie otherwise, as one that reads the other side's variables and turns them itself.

A kernel that PyTorch keeps as `(out, in)` is read transposed; TensorFlow's is `(in, out)`. Seen as what is made of
TensorFlow's, it is turned twice, which is not at all: both sides read the same variable then, and what reads it is
alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lockstep.program.model import Operation, Place, Program, Source, Spec

Move = tuple[str, tuple[int, ...]]
"""`("Transpose", order of axes)` or `("Reshape", shape)`."""


def relaid(program: Program, moves: Mapping[str, Sequence[Move]], values: Mapping[str, np.ndarray]) -> Program:
    """Returns a program that reads variables as they lie on the other side.

    Args:
        program: The program.
        moves: Variable's key -> what makes it of what lies on the other side.
        values: Variable's key -> what lies there.
    """
    wanted = {
        source.name: tensor
        for tensor, source in program.sources.items()
        if source.kind == "variable" and source.name in moves and source.name not in program.writes
    }
    return _Relaying(program).with_variables(wanted, moves, values) if wanted else program


class _Relaying:
    """One program that is written anew."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._specs, self._sources = list(program.specs), dict(program.sources)
        self._operations: list[Operation] = []
        self._made: dict[int, Operation] = {}
        self._same: dict[int, int] = {}

    def with_variables(
        self, wanted: Mapping[str, int], moves: Mapping[str, Sequence[Move]], values: Mapping[str, np.ndarray]
    ) -> Program:
        """Returns it with these variables as what is made of others."""
        for key, tensor in wanted.items():
            source = self._sources.pop(tensor)
            value = np.asarray(values[key])
            now = self._tensor(Spec(self._specs[tensor].dtype, value.shape))
            self._sources[now] = replace(source, value=value)
            reader = next((o.place for o in self._program.operations if tensor in o.inputs), Place("", ""))
            for number, (kind, told) in enumerate(moves[key], 1):
                now = self._add(kind, told, now, reader, tensor if number == len(moves[key]) else None)
        for operation in self._program.operations:
            self._take(operation)
        return self._finished()

    def _take(self, operation: Operation) -> None:
        """Takes an operation over; one that only undoes what was put in is left out."""
        inputs = tuple(self._same.get(tensor, tensor) for tensor in operation.inputs)
        operation = replace(operation, inputs=inputs)
        before = self._made.get(inputs[0]) if inputs else None
        if before is not None and operation.type == before.type == "Reshape":
            shape = self._specs[operation.outputs[0]].shape
            if self._specs[before.inputs[0]].shape == shape:
                self._same[operation.outputs[0]] = before.inputs[0]
                return
            self._add("Reshape", shape, before.inputs[0], operation.place, operation.outputs[0])
            return
        if before is not None and operation.type == before.type == "Transpose" and (order := self._order(inputs[1])):
            first = self._order(before.inputs[1]) or ()
            both = tuple(first[axis] for axis in order)
            if both == tuple(range(len(both))):
                self._same[operation.outputs[0]] = before.inputs[0]
                return
            self._add("Transpose", both, before.inputs[0], operation.place, operation.outputs[0])
            return
        self._operations.append(operation)

    def _order(self, tensor: int) -> tuple[int, ...] | None:
        source = self._sources.get(tensor)
        if source is None or source.kind != "constant":
            return None
        return tuple(int(axis) for axis in np.asarray(source.value).reshape(-1))

    def _add(self, kind: str, told: tuple[int, ...], of: int, place: Place, gives: int | None) -> int:
        shape = tuple(self._specs[of].shape[axis] for axis in told) if kind == "Transpose" else told
        gives = self._tensor(Spec(self._specs[of].dtype, shape)) if gives is None else gives
        inputs: tuple[int, ...] = (of,)
        if kind == "Transpose":
            order = np.array(told, np.int32)
            inputs = (of, self._tensor(Spec("int32", order.shape)))
            self._sources[inputs[1]] = Source("constant", "", order)
        attributes = {"shape": shape} if kind == "Reshape" else {}
        operation = Operation(0, kind, attributes, inputs, (gives,), place)
        self._made[gives] = operation
        self._operations.append(operation)
        return gives

    def _tensor(self, spec: Spec) -> int:
        self._specs.append(spec)
        return len(self._specs) - 1

    def _finished(self) -> Program:
        operations = [replace(operation, index=index) for index, operation in enumerate(self._operations)]
        program = replace(
            self._program,
            operations=operations,
            specs=self._specs,
            sources=self._sources,
            outputs={path: self._same.get(tensor, tensor) for path, tensor in self._program.outputs.items()},
            writes={key: self._same.get(tensor, tensor) for key, tensor in self._program.writes.items()},
            producers={tensor: operation for operation in operations for tensor in operation.outputs},
        )
        return program.without_the_unused()
