"""Notes what a model computes when it is called eagerly, operation by operation."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow import kernels
from lockstep.frameworks.tensorflow.eager_draws import by_name, leaves, text
from lockstep.frameworks.tensorflow.layer_lines import users_line
from lockstep.program import Place, Program, ProgramBuilder
from lockstep.tf1 import private

DRAWS = re.compile(r"(Stateless)?(Random\w+|TruncatedNormal(V2)?|ParameterizedTruncatedNormal\w*|Multinomial)")
"""Operations that draw random numbers."""

_STEPS = {"AssignAddVariableOp": "AddV2", "AssignSubVariableOp": "Sub"}
_SCATTERED = {
    f"ResourceScatter{kind}{name}": (f"TensorScatter{name}", not kind)
    for kind in ("", "Nd")
    for name in ("Add", "Sub", "Update", "Min", "Max")
}
"""Updates of some places of a variable -> the same of a tensor, and whether they count rows."""
_HANDLES = (tf.resource, tf.variant)


class EagerRecorder:
    """Puts a `Program` together from the operations that this thread runs eagerly.

    Args:
        variables: Number of a variable's handle (`private.tensor_id`) -> its key and the variable.
        inputs: Input name -> the tensor that the model is given.
        maker: Scope -> the user's line that made its layer, for operations that no line of the user called.
        around: The scope of what was put around the model, which is left out of names.
    """

    def __init__(
        self,
        variables: Mapping[int, tuple[str, Any]],
        inputs: Mapping[str, Any],
        maker: Callable[[str], str] = lambda _: "",
        around: str = "",
    ) -> None:
        self._builder = ProgramBuilder()
        self._variables, self._maker, self._around = variables, maker, around
        self._tensors: dict[int, int] = {}
        # An operation that is handed a variable reads it past every callback. What it read is told by its buffer,
        # which is the variable's own; the values read here are held, so that no other tensor can get it meanwhile.
        self._buffers: dict[int, str] = {}
        self._read: dict[str, Any] = {}
        for key, variable in self._variables.values():
            self._reads(key, variable)
        for name, value in inputs.items():
            self._tensors[private.tensor_id(value)] = self._builder.source("input", name, value, kernels.spec_of(value))

    def recorded(self, outputs: Mapping[str, Any]) -> Program:
        """Returns the program, with what it returned."""
        program = self._builder.program
        program.outputs.update({path: self._number(tf.convert_to_tensor(value)) for path, value in outputs.items()})
        return program

    def __call__(  # the signature of TensorFlow's callbacks
        self, kind: Any, inputs: Any, attributes: Any, outputs: Any, _name: Any = None, graph: Any = None
    ) -> None:
        """Takes down one operation that ran; those of graphs that are being traced are no operations that ran."""
        if graph is not None:
            return
        kind = text(kind)
        read, gave = list(leaves(inputs)), list(leaves(outputs))
        if self._is_variables(kind, read, gave) or not gave or gave[0].dtype in _HANDLES:
            return
        specs = [(kernels.spec_of(value), value) for value in gave]
        if DRAWS.fullmatch(kind):
            self._now(gave[0], self._builder.source("draw", kind, gave[0], specs[0][0]))
            return
        if kernels.has_state(kind) or any(value.dtype in _HANDLES for value in (*read, *gave)):
            for value, (spec, _) in zip(gave, specs, strict=True):
                self._now(value, self._builder.source("opaque", kind, value, spec))
            self._builder.program.limits.append(
                f"{kind} of the candidate ({self._place(kind).scope}) cannot be run again"
            )
            return
        numbers = [self._number(value) for value in read]
        call = kernels.call(kind, by_name(attributes), read, len(gave))
        plain = kernels.plain_attributes(kind, call)
        for value, made in zip(
            gave, self._builder.operation(kind, plain, numbers, specs, self._place(kind), call), strict=True
        ):
            self._now(value, made)

    def _is_variables(self, kind: str, read: list[Any], gave: list[Any]) -> bool:
        """Follows reads and writes of variables."""
        key = self._key(read[0]) if read and read[0].dtype == tf.resource else None
        if key is None:
            return False
        if kind == "ReadVariableOp":
            self._now(gave[0], self._builder.variable(key, gave[0], kernels.spec_of(gave[0])))
        elif kind == "ResourceGather":
            self._gather(key, read, gave[0])
        elif kind in _STEPS:
            self._step(kind, key, read)
        elif kind in _SCATTERED:
            self._scatter(kind, key, read)
        elif kind == "AssignVariableOp":
            self._builder.write(key, self._number(read[1]))
            self._reads(key, self._variables[private.tensor_id(read[0])][1])
        elif gave or kind.startswith("Resource"):
            self._builder.program.limits.append(f"{kind} of the candidate on the variable {key} cannot be followed")
            for value in gave:
                self._now(value, self._builder.source("opaque", kind, value, kernels.spec_of(value)))
        return True

    def _key(self, handle: Any) -> str | None:
        found = self._variables.get(private.tensor_id(handle))
        return None if found is None else found[0]

    def _step(self, kind: str, key: str, read: list[Any]) -> None:
        variable = self._variables[private.tensor_id(read[0])][1]
        spec = kernels.spec_of(variable)
        # By the time of this call the variable holds the sum; where it was never read, what it held is not known here.
        before = self._builder.variable(key, None, spec)
        given = self._number(read[1])
        plain = _STEPS[kind]
        call = kernels.call(plain, {}, [read[1], read[1]], 1)
        (made,) = self._builder.operation(plain, {}, (before, given), [(spec, None)], self._place(kind), call)
        self._builder.write(key, made)
        self._reads(key, variable)

    def _scatter(self, kind: str, key: str, read: list[Any]) -> None:
        """Follows an update of rows, or of single elements, as the same operation on the variable's value."""
        variable = self._variables[private.tensor_id(read[0])][1]
        spec, (plain, rows) = kernels.spec_of(variable), _SCATTERED[kind]
        places, updates = read[1:]
        if rows:
            wanted = [*places.shape, *variable.shape[1:]]
            if list(updates.shape) != wanted:  # one number for all
                updates = self._ran("BroadcastTo", kind, [updates, tf.constant(wanted, tf.int32)])
            places = self._ran("ExpandDims", kind, [places, tf.constant(-1)])
        before = self._builder.variable(key, None, spec)
        numbers = before, self._number(places), self._number(updates)
        call = kernels.call(plain, {}, [updates, places, updates], 1)
        (made,) = self._builder.operation(plain, {}, numbers, [(spec, None)], self._place(kind), call)
        self._builder.write(key, made)
        self._reads(key, variable)

    def _ran(self, plain: str, kind: str, given: list[Any]) -> Any:
        """Runs and takes down an operation that is part of what another one, of type `kind`, does."""
        call = kernels.call(plain, {}, given, 1)
        (value,) = kernels.execute(call, given)
        numbers = [self._number(each) for each in given]
        made = [(kernels.spec_of(value), value)]
        attributes = kernels.plain_attributes(plain, call)
        self._now(value, *self._builder.operation(plain, attributes, numbers, made, self._place(kind), call))
        return value

    def _gather(self, key: str, read: list[Any], gave: Any) -> None:
        variable = self._variables[private.tensor_id(read[0])][1]
        table = self._builder.variable(key, None, kernels.spec_of(variable))
        axis = tf.constant(0)
        call = kernels.call("GatherV2", {}, [variable, read[1], axis], 1)
        numbers = (table, self._number(read[1]), self._number(axis))
        plain = kernels.plain_attributes("GatherV2", call)
        place = self._place("ResourceGather")
        (made,) = self._builder.operation("GatherV2", plain, numbers, [(kernels.spec_of(gave), gave)], place, call)
        self._now(gave, made)

    def _number(self, value: Any) -> int:
        """The tensor of the program that a value is; one that no operation gave is a constant."""
        number = self._tensors.get(private.tensor_id(value))
        if number is None:
            array, spec = np.asarray(value), kernels.spec_of(value)
            key = self._buffers.get(_buffer(array)) if array.size else None
            number = self._builder.constant(array, spec) if key is None else self._builder.variable(key, value, spec)
            self._now(value, number)
        return number

    def _reads(self, key: str, variable: Any) -> None:
        """Notes which buffer a variable's value is in now."""
        before = self._read.get(key)
        if before is not None:
            self._buffers.pop(_buffer(before), None)
        self._read[key] = value = np.asarray(variable.read_value())
        if value.size:
            self._buffers[_buffer(value)] = key

    def _now(self, value: Any, number: int) -> None:
        self._tensors[private.tensor_id(value)] = number

    def _place(self, kind: str) -> Place:
        scope = private.eager_scope().rstrip("/").removeprefix(self._around)
        return Place(f"{scope}/{kind}" if scope else kind, scope, self._line(scope))

    def _line(self, scope: str) -> str:
        return users_line(sys._getframe(1)) or self._maker(scope)


def variables_by_handle(keyed: Iterable[tuple[str, Any]]) -> dict[int, tuple[str, Any]]:
    """Returns what `EagerRecorder` wants to know of variables."""
    raw = [(key, private.raw_variable(variable)) for key, variable in keyed]
    return {private.tensor_id(variable.handle): (key, variable) for key, variable in raw}


def with_values(program: Program, values: Mapping[str, np.ndarray]) -> Program:
    """Gives the variables among a program's sources the values that they had before the run."""
    for number, source in list(program.sources.items()):
        if source.kind == "variable":
            program.sources[number] = type(source)(source.kind, source.name, tf.convert_to_tensor(values[source.name]))
    return program


def _buffer(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
