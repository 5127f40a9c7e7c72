"""A TF1-style graph as a program: interpreted on this TensorFlow, operation by operation, as its session runs it.

Loops come out unrolled and branches taken. What an operation draws, and what cannot run outside of a session, has the
value that one run of the session gave; everything else is computed anew, eagerly, from there.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import ProgramError
from lockstep.frameworks.tensorflow import graph_kinds
from lockstep.frameworks.tensorflow.graph_part import GraphPart
from lockstep.frameworks.tensorflow.graph_run import GraphRun
from lockstep.frameworks.tensorflow.graph_streams import Streams
from lockstep.frameworks.tensorflow.graph_values import Closed, Held, Recorder
from lockstep.ground.records import ForwardDraw
from lockstep.program import Program
from lockstep.recorder.graph import GraphModel
from lockstep.subjects import TRAINING_LOSS
from lockstep.tf1 import private

_SLOWER = 10
"""How many times as long as a session's run of a graph from elsewhere it may take to follow it."""
_NONE: Mapping[str, str] = MappingProxyType({})


def program_of(
    model: GraphModel,
    values: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    *,
    sources: Mapping[str, str] = _NONE,
    keep_draws: bool = True,
    with_loss: bool = False,
) -> Program:
    """Follows what a graph computes for its outputs and, in training mode, for its updates.

    Args:
        model: The graph.
        values: Variable key -> value before the run; the others start from their initializers.
        inputs: Input name -> array.
        sources: Operation's name -> the user's line that made it; for others the graph itself is asked.
        keep_draws: Whether the program holds the values of draws, without which it cannot be run again.
        with_loss: Whether the training loss is one more output, `TRAINING_LOSS`, of a graph that was differentiated.

    Returns:
        The program. Where its outputs are not those of the session, bit for bit, its `limits` say so.

    Raises:
        ProgramError: An operation in a loop or a branch can run in a session alone.
    """
    with private.eager_mode(), Streams() as streams:
        return Following(model, values, inputs, sources, streams).program(keep_draws, with_loss=with_loss)


def draws_of(
    model: GraphModel, values: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
) -> tuple[ForwardDraw, ...]:
    """Returns what a graph draws in one run, in the order of the program, loops round by round.

    Args:
        model: The graph.
        values: As of `program_of`.
        inputs: Input name -> array.

    Raises:
        ProgramError: As of `program_of`.
    """
    with private.eager_mode(), Streams() as streams:
        following = Following(model, values, inputs, _NONE, streams)
        return following.draws(following.program(keep_draws=False))


@dataclass
class _Drawn:
    """What a random operation of a graph gave at one time, and which operation it was."""

    draw: ForwardDraw
    operation: str
    tensors: tuple[int, ...]


class Following:
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
        self._drawn: list[_Drawn] = []
        self._functions: dict[str, GraphPart] = {}
        self._definitions: dict[str, Any] | None = None
        self._until = math.inf

    def refuse_too_long(self) -> None:
        """Ends what follows a graph from elsewhere for longer than such a one gets.

        Raises:
            ProgramError: It takes too long.
        """
        if time.monotonic() > self._until:
            raise ProgramError(
                f"the graph in this trace was followed for {_SLOWER * (self._model.limit_s or 0):,.0f} s and had not "
                "ended; it is not followed further.",
                operation="",
            )

    def program(self, keep_draws: bool, *, with_loss: bool = False) -> Program:
        """Runs the session, then the graph, and compares."""
        model = self._model
        outputs = dict(model.outputs)
        if with_loss and model.objective is not None:
            outputs[TRAINING_LOSS] = model.objective.loss
        placeholders = {tensor.op.name: name for name, tensor in model.inputs.items()}
        targets = [*(tensor.op for tensor in outputs.values()), *(_op(update) for update in model.updates)]
        graph = GraphPart(model.graph, targets, placeholders)
        alone = graph.closed()
        taps = {
            t.name: t for n in (*graph.draws(), *alone) for t in graph.operations[n].outputs if graph_kinds.fetchable(t)
        }
        got = model.run(self._values, self.inputs, taps=taps.values(), differentiated=with_loss)
        self.recorder = Recorder({**got.before, **self._values})
        self.fetched = dict(got.taps)
        self.keep_draws = keep_draws
        wanted = [graph.place_of(tensor) for tensor in outputs.values()]
        self._until = math.inf if model.limit_s is None else time.monotonic() + _SLOWER * model.limit_s
        run = GraphRun(self, graph, "", frozenset(alone))
        found = graph.flow.run(run, wanted)
        program = self.recorder.builder.program
        computed = {**got.outputs, TRAINING_LOSS: got.training_loss}
        for path, place in zip(outputs, wanted, strict=True):
            known = run.known(found[place], outputs[path].op.name)
            program.outputs[path] = known.tensor
            self._compare(f"output {path}" if path else "the output", computed[path], known.value)
        if model.training:  # else nobody asked the session what it left in them
            for key, value in self.recorder.written.items():
                self._compare(f"variable {key} after the run", got.after.get(key, got.before.get(key)), value)
        program.leave_unchanged(
            [key for key, value in self.recorder.written.items() if _same(self.recorder.before(key), np.asarray(value))]
        )
        program.limits.extend(self.limits)
        return program

    def _compare(self, what: str, theirs: np.ndarray | None, value: Any) -> None:
        ours = np.asarray(value)
        if theirs is None or _same(np.asarray(theirs), ours):
            return
        self.limits[
            f"{what} is not what the session computed, followed operation by operation: {_difference(theirs, ours)}."
        ] = None

    def function(self, name: str) -> GraphPart:
        """Returns the graph of a function in the model's library.

        Raises:
            ProgramError: There is no such function.
        """
        found = self._functions.get(name)
        if found is None:
            if name not in self.definitions:
                raise ProgramError(f"the graph has no function {name}, which it calls.", operation=name)
            with self._model.graph.as_default():
                inner = private.graph_of_function(self.definitions[name])
            targets = [*(tensor.op for tensor in inner.outputs), *inner.control_outputs]
            found = self._functions[name] = GraphPart(inner, targets, {})
        return found

    @property
    def definitions(self) -> dict[str, Any]:
        """The functions in the model's library."""
        if self._definitions is None:
            library = self._model.graph.as_graph_def().library
            self._definitions = {definition.signature.name: definition for definition in library.function}
        return self._definitions

    def input(self, name: str, op: Any) -> Held:
        """Returns an input of the model, which feeds a placeholder."""
        value = tf.constant(self.inputs[name], op.outputs[0].dtype.base_dtype)
        return self.recorder.source("input", name, value)

    def draw(self, run: GraphRun, number: int, given: Sequence[Any]) -> Sequence[Held]:
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
        sources = [self.recorder.source("draw", op.type, value, kept=kept) for value in drawn]
        seed, dtype = int(op.get_attr("seed2")), op.outputs[0].dtype.base_dtype.name
        draw = ForwardDraw(seed, op.type, dtype, int(np.size(drawn[0])))
        self._drawn.append(_Drawn(draw, f"{run.prefix}{op.name}", tuple(source.tensor for source in sources)))
        return sources

    def draws(self, program: Program) -> tuple[ForwardDraw, ...]:
        """Returns what was drawn in the run that gave a program."""
        used = program.needed_tensors()
        earlier: dict[str, list[int]] = defaultdict(list)
        found = []
        for drawn in self._drawn:
            before = earlier[drawn.operation]
            leads_on = not used.isdisjoint(drawn.tensors)
            found.append(drawn.draw._replace(used=leads_on, earlier=tuple(before)))
            before.append(drawn.draw.size)
        return tuple(found)

    def opaque(self, run: GraphRun, number: int) -> Sequence[Held]:
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
        if any(graph_kinds.fetchable(tensor) for tensor in op.outputs):
            self.fetch(number, run.graph)
            self.limits[
                f"{op.type} {place.name} can be run in a session alone: what it gave there is taken as given."
            ] = None
        return [
            self.recorder.source("opaque", op.type, self.fetched.pop(tensor.name))
            if graph_kinds.fetchable(tensor)
            else Closed(op.name)
            for tensor in op.outputs
        ]

    def fetch(self, number: int, graph: GraphPart) -> None:
        """Fetches the outputs of an operation that turned out not to run eagerly, and of all others of its type."""
        outputs = [tensor for tensor in graph.operations[number].outputs if graph_kinds.fetchable(tensor)]
        if all(tensor.name in self.fetched for tensor in outputs):
            return
        kind = graph.operations[number].type
        alike = [n for n, op in graph.operations.items() if op.type == kind and n not in graph.conditional]
        outputs = [tensor for n in alike for tensor in graph.operations[n].outputs if graph_kinds.fetchable(tensor)]
        self.fetched.update(self._model.run(self._values, self.inputs, taps=outputs).taps)


def _op(update: Any) -> Any:
    return update.op if hasattr(update, "op") else update


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
