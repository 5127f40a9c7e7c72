"""Runs a graph, or a function that it calls: what each of its operations does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import ProgramError
from lockstep.frameworks.tensorflow import graph_arrays, graph_kinds, graph_variables, kernels
from lockstep.frameworks.tensorflow.graph_part import GraphPart, users_line
from lockstep.frameworks.tensorflow.graph_values import Closed, Held, Items, Known, Site, Variable
from lockstep.program import Place

if TYPE_CHECKING:
    from lockstep.frameworks.tensorflow.graph_program import Following


class GraphRun:
    """One graph that is run: the model's, or a function's that it calls."""

    def __init__(
        self,
        following: Following,
        graph: GraphPart,
        prefix: str,
        alone: frozenset[int],
        given: Mapping[int, Held] = MappingProxyType({}),
        source: str = "",
    ) -> None:
        self._following, self.graph, self.prefix = following, graph, prefix
        self._alone, self._given, self._source = alone, given, source
        self._places: dict[int, Place] = {}

    @property
    def is_root(self) -> bool:
        """Whether it is the model's own graph."""
        return not self.prefix

    def truth(self, value: Any) -> bool:
        """Tells which side of a `Switch` is taken."""
        return _truth(self.known(value, "Switch").value)

    def count(self, number: int) -> Held:
        """Returns the value of a number."""
        return self._following.recorder.constant(np.asarray(number, np.int32))

    def known(self, held: Held, reader: str) -> Known:
        """Returns a tensor; a reference to a variable is read."""
        if isinstance(held, Known):
            return held
        if isinstance(held, Variable):
            return self._following.recorder.read(held, Place(reader, ""))
        raise ProgramError(
            f"{reader} reads a {type(held).__name__.lower()} as if it were a tensor, which cannot be followed.",
            operation=reader,
        )

    def place(self, number: int) -> Place:
        """Returns where an operation is from."""
        found = self._places.get(number)
        if found is None:
            op = self.graph.operations[number]
            name = f"{self.prefix}{op.name}"
            source = self._following.sources.get(name, "")
            source = source or (users_line(op) if self.is_root else self._source)
            found = self._places[number] = Place(name, name.rpartition("/")[0], source)
        return found

    def compute(self, number: int, inputs: Sequence[Any]) -> Sequence[Held]:
        """Does what an operation does."""
        self._following.refuse_too_long()
        op = self.graph.operations[number]
        if number in self._given:
            return [self._given[number]]
        if number in self.graph.placeholders:
            return [self._following.input(self.graph.placeholders[number], op)]
        if graph_kinds.draws(op.type):
            return self._following.draw(self, number, inputs)
        reads_closed = any(isinstance(held, Closed) for held in inputs)
        if number in self._alone or reads_closed or graph_kinds.needs_session(op.type):
            return self._following.opaque(self, number)
        if graph_kinds.follows(op.type) or any(isinstance(held, Items) for held in inputs):
            return self._follow(number, inputs)
        return self._run(number, [self.known(held, op.name) for held in inputs])

    def _follow(self, number: int, inputs: Sequence[Any]) -> Sequence[Held]:
        op = self.graph.operations[number]
        kind = op.type
        if kind == "Const":
            return [self._constant(number)]
        if kind in graph_kinds.VARIABLES:
            return [Variable(self._following.variables.get(op.name, op.name))]
        if kind in graph_kinds.PASSING_ON:
            return [self._passed_on(held, tensor) for held, tensor in zip(inputs, op.outputs, strict=False)]
        site = Site(self._following.recorder, op, self.place(number))
        # What an operation on a variable works on is its first input, which is not to be read for it.
        first = 1 if kind in graph_variables.HANDLERS else 0
        read = [*inputs[:first], *(self._passed_on(held) for held in inputs[first:])]
        handler = graph_kinds.HANDLERS.get(kind, graph_arrays.OF_LISTS.get(kind))
        return self._call(site, list(inputs)) if handler is None else handler(site, read)

    def _passed_on(self, held: Held, output: Any = None) -> Held:
        """A reference to a variable is read where a tensor comes of it."""
        reads = isinstance(held, Variable) and (output is None or not graph_kinds.is_handle(output))
        return self.known(held, held.key) if reads else held

    def _constant(self, number: int) -> Known:
        found = self.graph.constants.get(number)
        if found is None:
            op = self.graph.operations[number]
            value = tf.constant(tf.make_ndarray(op.get_attr("value")), op.outputs[0].dtype.base_dtype)
            found = self.graph.constants[number] = self._following.recorder.constant(value)
        return found

    def _run(self, number: int, inputs: Sequence[Known]) -> Sequence[Held]:
        op = self.graph.operations[number]
        call = self.graph.calls.get(number)
        if call is None:
            given = {attribute.name: op.get_attr(attribute.name) for attribute in op.op_def.attr}
            values = [known.value for known in inputs]
            call = self.graph.calls[number] = kernels.call(op.type, given, values, len(op.outputs))
        try:
            return self._following.recorder.run_call(call, inputs, self.place(number))
        except (tf.errors.OpError, RuntimeError, TypeError, ValueError) as error:
            # The session could run it, as it has given all outputs before.
            if not self.is_root or number in self.graph.conditional:
                raise ProgramError(
                    f"{op.type} {self.place(number).name} does not run by itself: {_first_line(error)}",
                    operation=self.place(number).name,
                ) from error
        return self._following.opaque(self, number)

    def _call(self, site: Site, inputs: list[Held]) -> Sequence[Held]:
        op, kind = site.op, site.op.type
        if kind in graph_kinds.CONDITIONALS:
            taken = "then_branch" if _truth(self.known(inputs[0], op.name).value) else "else_branch"
            return self._function(site, op.get_attr(taken).name, inputs[1:])
        if kind in graph_kinds.CASES:
            branches = op.get_attr("branches")
            index = int(self.known(inputs[0], op.name).value)
            index = index if 0 <= index < len(branches) else len(branches) - 1
            return self._function(site, branches[index].name, inputs[1:])
        if kind in graph_kinds.LOOPS:
            condition, body = op.get_attr("cond").name, op.get_attr("body").name
            while _truth(self.known(self._function(site, condition, inputs)[0], op.name).value):
                inputs = list(self._function(site, body, inputs))
            return inputs
        return self._function(site, op.get_attr("f").name if kind in graph_kinds.CALLS else kind, inputs)

    def _function(self, site: Site, name: str, inputs: Sequence[Held]) -> Sequence[Held]:
        graph = self._following.function(name)
        arguments = [graph.place_of(tensor)[0] for tensor in graph.graph.inputs if graph.needs(tensor)]
        needed = [held for tensor, held in zip(graph.graph.inputs, inputs, strict=True) if graph.needs(tensor)]
        given = dict(zip(arguments, needed, strict=True))
        run = GraphRun(self._following, graph, f"{site.place.name}/", frozenset(), given, site.place.source)
        wanted = [graph.place_of(tensor) for tensor in graph.graph.outputs]
        found = graph.flow.run(run, wanted)
        return [found[place] for place in wanted]


def _truth(value: Any) -> bool:
    """Tells whether a value counts as true: a number other than 0, or an array that is not empty."""
    array = np.asarray(value)
    return bool(array) if array.ndim == 0 else array.size > 0


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
