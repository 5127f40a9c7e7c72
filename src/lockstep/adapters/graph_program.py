"""A TF1-style graph as a program: interpreted on this TensorFlow, operation by operation, as its session runs it.

Loops come out unrolled and branches taken. What an operation draws, and what cannot run outside of a session, has the
value that one run of the session gave; everything else is computed anew, eagerly, from there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.adapters import graph_arrays, graph_variables, kernels
from lockstep.adapters.dataflow import Dataflow, Node
from lockstep.adapters.graph_streams import Streams
from lockstep.adapters.graph_values import Closed, Held, Known, Recorder, Site, Variable
from lockstep.errors import ProgramError
from lockstep.program import HANDING_ON, Place, Program
from lockstep.recorder import graph as recorder_graph
from lockstep.recorder.graph import GraphModel
from lockstep.source_lines import is_users_file
from lockstep.tf1 import private

_NONE: Mapping[str, str] = MappingProxyType({})
_VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})
_SILENT = frozenset({"NoOp", "ControlTrigger", "Assert", "PrintV2"})
_CONDITIONALS = frozenset({"If", "StatelessIf"})
_LOOPS = frozenset({"While", "StatelessWhile"})
_CASES = frozenset({"Case", "StatelessCase"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_FUNCTIONAL = _CONDITIONALS | _LOOPS | _CASES | _CALLS
_CONTROL_FLOW = frozenset(
    f"{prefix}{name}" for prefix in ("", "Ref") for name in ("Switch", "Merge", "Enter", "Exit", "NextIteration")
) | {"LoopCond"}
_PASSING_ON = HANDING_ON | {"Print", "IdentityN"}
_FOLLOWED = (
    _VARIABLES
    | _SILENT
    | _FUNCTIONAL
    | _CONTROL_FLOW
    | _PASSING_ON
    | {"Const", "Placeholder", "PlaceholderV2"}
    | set(graph_variables.HANDLERS)
    | set(graph_arrays.HANDLERS)
)
_HANDLES = frozenset({tf.resource, tf.variant})


def program_of(
    model: GraphModel,
    values: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    *,
    sources: Mapping[str, str] = _NONE,
    keep_draws: bool = True,
) -> Program:
    """Follows what a graph computes for its outputs and, in training mode, for its updates.

    Args:
        model: The graph.
        values: Variable key -> value before the run; the others start from their initializers.
        inputs: Input name -> array.
        sources: Operation's name -> the user's line that made it; for others the graph itself is asked.
        keep_draws: Whether the program holds the values of draws, without which it cannot be run again.

    Returns:
        The program. Where its outputs are not those of the session, bit for bit, its `limits` say so.

    Raises:
        ProgramError: An operation in a loop or a branch can run in a session alone.
    """
    with private.eager_mode(), Streams() as streams:
        return _Following(model, values, inputs, sources, streams).program(keep_draws)


class _Following:
    """One run, and what all graphs that take part in it have in common: the model's own, and its functions'."""

    def __init__(
        self,
        model: GraphModel,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        sources: Mapping[str, str],
        streams: Streams,
    ) -> None:
        self._model, self._values, self.inputs, self.sources = model, values, inputs, sources
        self.streams = streams
        self.variables = {record.name: record.key for record in reversed(model.variables)}
        self.limits: dict[str, None] = {}
        self._functions: dict[str, _Graph] = {}
        self._definitions: dict[str, Any] | None = None

    def program(self, keep_draws: bool) -> Program:
        """Runs the session, then the graph, and compares."""
        model = self._model
        placeholders = {tensor.op.name: name for name, tensor in model.inputs.items()}
        targets = [*(tensor.op for tensor in model.outputs.values()), *(_op(update) for update in model.updates)]
        graph = _Graph(model.graph, targets, placeholders)
        alone = graph.opaque()
        taps = {t.name: t for n in (*graph.draws(), *alone) for t in graph.operations[n].outputs if _fetchable(t)}
        got = model.run(self._values, self.inputs, taps=taps.values())
        self.recorder = Recorder({**got.before, **self._values})
        self.fetched = dict(got.taps)
        self.keep_draws = keep_draws
        wanted = [graph.place_of(tensor) for tensor in model.outputs.values()]
        run = _GraphRun(self, graph, "", frozenset(alone))
        found = graph.flow.run(run, wanted)
        program = self.recorder.builder.program
        for path, place in zip(model.outputs, wanted, strict=True):
            known = run.known(found[place], model.outputs[path].op.name)
            program.outputs[path] = known.tensor
            self._compare(f"output {path}" if path else "the output", got.outputs[path], known.value)
        for key, value in self.recorder.written.items():
            self._compare(f"variable {key} after the run", got.after.get(key, got.before.get(key)), value)
        program.limits.extend(self.limits)
        return program

    def _compare(self, what: str, theirs: np.ndarray | None, value: Any) -> None:
        ours = np.asarray(value)
        if theirs is None or _same(np.asarray(theirs), ours):
            return
        self.limits[
            f"{what} is not what the session computed, followed operation by operation: {_difference(theirs, ours)}."
        ] = None

    def function(self, name: str) -> _Graph:
        """Returns the graph of a function in the model's library."""
        found = self._functions.get(name)
        if found is None:
            with self._model.graph.as_default():
                inner = private.graph_of_function(self.definitions[name])
            targets = [*(tensor.op for tensor in inner.outputs), *inner.control_outputs]
            found = self._functions[name] = _Graph(inner, targets, {})
        return found

    @property
    def definitions(self) -> dict[str, Any]:
        """The functions in the model's library."""
        if self._definitions is None:
            library = self._model.graph.as_graph_def().library
            self._definitions = {definition.signature.name: definition for definition in library.function}
        return self._definitions

    def draw(self, run: _GraphRun, number: int, given: Sequence[Any]) -> Sequence[Held]:
        """Returns what a random operation drew: in the session's run, or next in a stream of its own."""
        op, place = run.graph.operations[number], run.place(number)
        names = [tensor.name for tensor in op.outputs]
        if run.is_root and all(name in self.fetched for name in names):
            drawn = [self.fetched.pop(name) for name in names]
        else:
            if not (int(op.get_attr("seed")) or int(op.get_attr("seed2"))):
                self.limits[
                    f"{place.name} draws without a seed, in a loop or a branch: another time, other numbers."
                ] = None
            values = [run.known(value, place.name).value.numpy() for value in given]
            drawn = self.streams.draw(f"{run.prefix}{op.name}", op, values)
        kept = self.keep_draws
        return [self.recorder.source("draw", op.type, value, kept=kept) for value in drawn]

    def opaque(self, run: _GraphRun, number: int) -> Sequence[Held]:
        """Returns what an operation gave in the session's run that cannot be run again.

        Raises:
            ProgramError: It is in a loop or a branch.
        """
        op, place = run.graph.operations[number], run.place(number)
        if not run.is_root or number in run.graph.conditional:
            raise ProgramError(
                f"{op.type} {place.name} can be run in a session alone, and in a loop or a branch its values cannot be "
                "fetched; take it out of there, or compare outputs only.",
                operation=place.name,
            )
        if any(_fetchable(tensor) for tensor in op.outputs):
            self.limits[
                f"{op.type} {place.name} can be run in a session alone: what it gave there is taken as given."
            ] = None
        return [
            self.recorder.source("opaque", op.type, self.fetched.pop(tensor.name))
            if _fetchable(tensor)
            else Closed(op.name)
            for tensor in op.outputs
        ]

    def fetch(self, number: int, graph: _Graph) -> None:
        """Fetches the outputs of an operation that turned out not to run eagerly."""
        outputs = [tensor for tensor in graph.operations[number].outputs if _fetchable(tensor)]
        self.fetched.update(self._model.run(self._values, self.inputs, taps=outputs).taps)


class _Graph:
    """The part of a graph that is needed, and what was found out about its operations.

    Attributes:
        operations: Number -> operation, in the order of the program.
        flow: How tensors travel between them.
        placeholders: Number of an operation -> name of the model's input that feeds it.
    """

    def __init__(self, graph: Any, targets: Iterable[Any], placeholders: Mapping[str, str]) -> None:
        self.graph = graph
        self._numbers = {op.name: number for number, op in enumerate(graph.get_operations())}
        self.operations: dict[int, Any] = {}
        nodes: dict[int, Node] = {}
        waiting = list(targets)
        while waiting:
            op = waiting.pop()
            number = self._numbers[op.name]
            if number in nodes:
                continue
            self.operations[number] = op
            before = [] if op.name in placeholders else [*(tensor.op for tensor in op.inputs), *op.control_inputs]
            waiting.extend(before)
            nodes[number] = self._node(op, fed=op.name in placeholders)
        self.flow = Dataflow(dict(sorted(nodes.items())))
        self.placeholders = {n: placeholders[op.name] for n, op in self.operations.items() if op.name in placeholders}
        self.conditional = self.flow.conditional()
        self.calls: dict[int, kernels.Call] = {}
        self.constants: dict[int, Known] = {}

    def _node(self, op: Any, *, fed: bool) -> Node:
        enters = op.type in {"Enter", "RefEnter"}
        return Node(
            op.type,
            () if fed else tuple(self.place_of(tensor) for tensor in op.inputs),
            () if fed else tuple({self._numbers[control.name]: None for control in op.control_inputs}),
            len(op.outputs),
            op.get_attr("frame_name").decode() if enters else "",
            bool(op.get_attr("is_constant")) if enters else False,
        )

    def place_of(self, tensor: Any) -> tuple[int, int]:
        """Returns the number of the operation that gives a tensor, and which of its outputs it is."""
        return self._numbers[tensor.op.name], tensor.value_index

    def needs(self, tensor: Any) -> bool:
        """Tells whether a tensor is needed."""
        return self._numbers[tensor.op.name] in self.operations

    def draws(self) -> list[int]:
        """Returns the random operations that run exactly once."""
        return [n for n, op in self.operations.items() if _draws(op.type) and n not in self.conditional]

    def opaque(self) -> list[int]:
        """Returns the operations that can be run in a session alone, or read what such a one keeps to itself."""
        found: dict[int, None] = {}
        for number, node in self.flow.nodes.items():
            closed = any(
                producer in found and not _fetchable(self.operations[producer].outputs[output])
                for producer, output in node.inputs
            )
            if number not in self.placeholders and (closed or _is_opaque(node.type, self.graph)):
                found[number] = None
        return [number for number in found if number not in self.conditional]


class _GraphRun:
    """One graph that is run: the model's, or a function's that it calls."""

    def __init__(
        self,
        following: _Following,
        graph: _Graph,
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
        return not self.prefix

    def truth(self, value: Any) -> bool:
        return _truth(self.known(value, "Switch").value)

    def count(self, number: int) -> Held:
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
        following, op = self._following, self.graph.operations[number]
        kind = op.type
        if number in self._given:
            return [self._given[number]]
        if number in self.graph.placeholders:
            name = self.graph.placeholders[number]
            value = tf.constant(following.inputs[name], op.outputs[0].dtype.base_dtype)
            return [following.recorder.source("input", name, value)]
        if number in self._alone:
            return following.opaque(self, number)
        if _draws(kind):
            return following.draw(self, number, inputs)
        if kind in _FOLLOWED or kind in following_functions(following, kind):
            return self._follow(number, inputs)
        if any(isinstance(held, Closed) for held in inputs) or _is_opaque(kind, self.graph.graph):
            return following.opaque(self, number)
        return self._run(number, [self.known(held, op.name) for held in inputs])

    def _follow(self, number: int, inputs: Sequence[Any]) -> Sequence[Held]:
        op = self.graph.operations[number]
        kind = op.type
        if kind == "Const":
            return [self._constant(number)]
        if kind in _VARIABLES:
            return [Variable(self._following.variables.get(op.name, op.name))]
        if kind in _SILENT:
            return []
        if kind in _PASSING_ON:
            given = inputs if kind == "IdentityN" else inputs[:1]
            return [self.known(held, op.name) if isinstance(held, Variable) and _reads(op) else held for held in given]
        site = Site(self._following.recorder, op, self.place(number))
        if kind in graph_variables.HANDLERS:
            rest = [self.known(held, op.name) for held in inputs[1:]]
            return graph_variables.HANDLERS[kind](site, [*inputs[:1], *rest])
        if kind in graph_arrays.HANDLERS:
            read = [self.known(held, op.name) if isinstance(held, Variable) else held for held in inputs]
            return graph_arrays.HANDLERS[kind](site, read)
        return self._call(site, list(inputs))

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
        self._following.fetch(number, self.graph)
        return self._following.opaque(self, number)

    def _call(self, site: Site, inputs: list[Held]) -> Sequence[Held]:
        op, kind = site.op, site.op.type
        if kind in _CONDITIONALS:
            taken = "then_branch" if _truth(self.known(inputs[0], op.name).value) else "else_branch"
            return self._function(site, op.get_attr(taken).name, inputs[1:])
        if kind in _CASES:
            branches = op.get_attr("branches")
            index = int(self.known(inputs[0], op.name).value)
            index = index if 0 <= index < len(branches) else len(branches) - 1
            return self._function(site, branches[index].name, inputs[1:])
        if kind in _LOOPS:
            condition, body = op.get_attr("cond").name, op.get_attr("body").name
            while _truth(self.known(self._function(site, condition, inputs)[0], op.name).value):
                inputs = list(self._function(site, body, inputs))
            return inputs
        return self._function(site, op.get_attr("f").name if kind in _CALLS else kind, inputs)

    def _function(self, site: Site, name: str, inputs: Sequence[Held]) -> Sequence[Held]:
        graph = self._following.function(name)
        arguments = [graph.place_of(tensor)[0] for tensor in graph.graph.inputs if graph.needs(tensor)]
        needed = [held for tensor, held in zip(graph.graph.inputs, inputs, strict=True) if graph.needs(tensor)]
        given = dict(zip(arguments, needed, strict=True))
        run = _GraphRun(self._following, graph, f"{site.place.name}/", frozenset(), given, site.place.source)
        wanted = [graph.place_of(tensor) for tensor in graph.graph.outputs]
        found = graph.flow.run(run, wanted)
        return [found[place] for place in wanted]


def following_functions(following: _Following, kind: str) -> Mapping[str, Any]:
    """Returns the model's functions, where a type may be one of them."""
    return following.definitions if private.op_def(kind) is None else {}


def _op(update: Any) -> Any:
    return update.op if hasattr(update, "op") else update


def _fetchable(tensor: Any) -> bool:
    return tensor.dtype.base_dtype not in _HANDLES and tensor.dtype == tensor.dtype.base_dtype


def _reads(op: Any) -> bool:
    """Whether an operation gives a tensor, not a handle."""
    return all(tensor.dtype.base_dtype not in _HANDLES for tensor in op.outputs)


@cache
def _draws(kind: str) -> bool:
    definition = private.op_def(kind)
    return definition is not None and {"seed", "seed2"} <= {attribute.name for attribute in definition.attr}


def _is_opaque(kind: str, graph: Any) -> bool:
    if kind in _FOLLOWED or _draws(kind):
        return False
    definition = private.op_def(kind)
    if definition is None:
        return kind not in _function_names(graph)
    return bool(definition.is_stateful)


def _function_names(graph: Any) -> set[str]:
    return {function.signature.name for function in graph.as_graph_def().library.function}


def _truth(value: Any) -> bool:
    array = np.asarray(value)
    return bool(array) if array.ndim == 0 else array.size > 0


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind in "OSU":
        return bool(np.array_equal(one, other))
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
        return f"{ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}"
    if theirs.dtype.kind in "OSUbV" and theirs.dtype.name != "bfloat16":
        return f"{int(np.sum(theirs != ours))} of {ours.size} values differ"
    wide = np.complex128 if theirs.dtype.kind == "c" else np.float64
    return f"it differs by up to {float(np.max(np.abs(theirs.astype(wide) - ours.astype(wide)))):.2g}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def users_line(op: Any) -> str:
    """Returns the user's innermost line that took part in making an operation: `"model.py:22"`.

    Empty for an operation of a graph that came from elsewhere, whose lines it does not hold.
    """
    for frame in reversed(list(op.traceback or ())):
        if frame.filename == recorder_graph.__file__ and frame.name == recorder_graph.imported.__name__:
            return ""
        if _is_users(frame.filename):
            return f"{_short(frame.filename)}:{frame.lineno}"
    return ""


@cache
def _is_users(file: str) -> bool:
    return is_users_file(file)


@cache
def _short(file: str) -> str:
    """A path as seen from where it is imported from."""
    path = Path(file)
    folders = [Path(folder or ".").resolve() for folder in (*sys.path, ".")]
    shortened = [path.relative_to(folder).as_posix() for folder in folders if path.is_relative_to(folder)]
    return min(shortened, key=len, default=file)
