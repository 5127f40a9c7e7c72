"""TF1-style code, built once per mode in a `tf.Graph` and run in a fresh `Session` per question."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.adapters import running
from lockstep.adapters.graph_draws import forward_draws
from lockstep.arrays import Arrays
from lockstep.draws import RecordedDraws
from lockstep.errors import InputError
from lockstep.subjects import Mode
from lockstep.trace import LossRecord, Trace, VariableRecord, changed, flatten, unique_keys

_v1 = tf.compat.v1


class TF1Graph:
    """A function `forward(inputs, training)` as a subject."""

    def __init__(self, forward: Callable[..., Any], label: str) -> None:
        self._forward = forward
        self.label = label

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return running.environment(self.label)

    def build(self, mode: Mode, inputs: Arrays) -> GraphInstance:
        """Builds the graph; `mode.functional` means nothing here."""
        from lockstep import tf1

        tf1.enable()
        graph = tf.Graph()
        tool = RecordedDraws(mode.randomness)
        with graph.as_default(), tool.scope(), running.users_code(self.label, f"building ({running.describe(mode)})"):
            placeholders = _placeholders(inputs)
            outputs = self._forward(placeholders, training=mode.training)
        return GraphInstance(self.label, graph, mode, _feed(placeholders, inputs), outputs, tool.taken)


class GraphInstance:
    """One graph."""

    def __init__(
        self, label: str, graph: tf.Graph, mode: Mode, feed: dict[Any, np.ndarray], outputs: Any, taken: Sequence[int]
    ) -> None:
        self._label, self._graph, self._mode, self._feed, self._draws = label, graph, mode, feed, len(taken)
        with graph.as_default():
            self._raw = [*_v1.global_variables(), *_v1.local_variables()]
            self._forward_draws = forward_draws(graph, self._raw, taken)
            losses = _v1.get_collection(_v1.GraphKeys.REGULARIZATION_LOSSES)
            self._losses = [tf.convert_to_tensor(loss) for loss in losses]
            self._fetches = {
                "outputs": _tensors(outputs),
                "losses": self._losses,
                "total": [tf.add_n(self._losses)] if self._losses else [],
                "updates": _v1.get_collection(_v1.GraphKeys.UPDATE_OPS) if mode.training else [],
            }
        self._owners = _loss_owners(self._losses, [v.op.name for v in self._raw])
        names = [v.op.name for v in self._raw]
        regularized = set(self._owners)
        self.variables = tuple(
            VariableRecord(
                name, key, tuple(v.shape.as_list()), v.dtype.base_dtype.name, bool(v.trainable), name in regularized
            )
            for v, name, key in zip(self._raw, names, unique_keys(names), strict=True)
        )

    def run(
        self, values: Mapping[str, np.ndarray] | None, *, repeats: int = 0, draws: Sequence[int] | None = None
    ) -> Trace:
        """Runs the graph once in a session of its own, so that every random operation starts anew.

        In training mode the operations in `UPDATE_OPS` run along, as every TF1 training loop has them do.
        """
        del repeats  # a graph cannot make variables when it runs
        del draws  # its seeds are part of the graph
        start = time.perf_counter()
        keys = [record.key for record in self.variables]
        doing = f"running ({running.describe(self._mode)})"
        with _v1.Session(graph=self._graph) as session, running.users_code(self._label, doing):
            self._initialize(session, values or {})
            before = self._values(session, keys)
            got = session.run(self._fetches, self._feed)
            after = changed(before, self._values(session, keys)) if self._mode.training else {}
        losses = tuple(
            LossRecord(owner, np.asarray(value)) for owner, value in zip(self._owners, got["losses"], strict=True)
        )
        return Trace(
            variables=self.variables,
            before=before,
            outputs={path: np.asarray(value) for path, value in got["outputs"].items()},
            losses=losses,
            total_loss=np.asarray(got["total"][0]) if losses else None,
            after=after,
            draws=self._draws,
            forward_draws=self._forward_draws,
            duration_s=time.perf_counter() - start,
        )

    def close(self) -> None:
        """Drops the graph."""
        self._fetches = {}

    def _initialize(self, session: Any, values: Mapping[str, np.ndarray]) -> None:
        keyed = list(zip((record.key for record in self.variables), self._raw, strict=True))
        session.run([v.initializer for key, v in keyed if key not in values], self._feed)
        with self._graph.as_default():
            session.run(_v1.tables_initializer())
        # Feeding the tensor that initializes a variable sets it without adding operations to the graph. All in one
        # run, as each set of fetches costs a pruning of the whole graph; two variables may share that tensor, and
        # then the second waits for another run.
        waiting = [(v.initializer, v.initializer.inputs[1], values[key]) for key, v in keyed if key in values]
        while waiting:
            now = {tensor.ref(): (assign, tensor, value) for assign, tensor, value in reversed(waiting)}
            session.run([assign for assign, _, _ in now.values()], {tensor: value for _, tensor, value in now.values()})
            done = {id(assign) for assign, _, _ in now.values()}
            waiting = [entry for entry in waiting if id(entry[0]) not in done]

    def _values(self, session: Any, keys: list[str]) -> dict[str, np.ndarray]:
        return dict(zip(keys, session.run(self._raw), strict=True)) if keys else {}


def _placeholders(inputs: Arrays) -> Any:
    if isinstance(inputs, np.ndarray):
        return _v1.placeholder(_dtype(inputs), inputs.shape, name="input")
    return {name: _v1.placeholder(_dtype(a), a.shape, name=_scope_safe(name)) for name, a in inputs.items()}


def _feed(placeholders: Any, inputs: Arrays) -> dict[Any, np.ndarray]:
    if isinstance(inputs, np.ndarray):
        return {placeholders: inputs}
    # `forward` may have changed the dict that it was given; the arrays it did not take away are fed.
    return {placeholder: inputs[name] for name, placeholder in placeholders.items() if name in inputs}


def _dtype(array: np.ndarray) -> tf.DType:
    return tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)


def _scope_safe(name: str) -> str:
    safe = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
    return safe if safe[:1].isalnum() else f"input{safe}"


def _tensors(outputs: Any) -> dict[str, tf.Tensor]:
    tensors = {}
    for path, leaf in flatten(outputs):
        try:
            tensors[path] = tf.convert_to_tensor(leaf)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"output {path or '(the only one)'} is a {type(leaf).__name__}; forward must return tensors, in a "
                "tuple, list or dict if there are several."
            ) from error
    return tensors


def _loss_owners(losses: list[tf.Tensor], names: list[str]) -> list[str | None]:
    """Finds each loss's variable: TF1 names a loss `<variable>/Regularizer/...`, tf_slim's likewise below its scope."""
    known = set(names)
    owners: list[str | None] = []
    for loss in losses:
        prefix = loss.op.name.partition("/Regularizer")[0]
        owners.append(prefix if prefix in known else _read_variable(loss.op, known))
    return owners


def _read_variable(op: tf.Operation, known: set[str]) -> str | None:
    """Follows the graph from a loss to the one variable that it reads; None if it reads several or none."""
    found: set[str] = set()
    seen = {op.name}
    waiting = [op]
    while waiting:
        current = waiting.pop()
        if current.name in known:
            found.add(current.name)
            continue
        for tensor in current.inputs:
            if tensor.op.name not in seen:
                seen.add(tensor.op.name)
                waiting.append(tensor.op)
    return found.pop() if len(found) == 1 else None
