"""The numbers that random operations draw in loops and branches: round after round, each from its own stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.recorder.graph import session_config


class Streams:
    """Draws as a session does, in which every random operation goes on from where it was.

    Executed eagerly, all operations with the same seeds would share one stream, and go on from the process's last use
    of it. So each has a graph and a session of its own here.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[Any, list[Any], list[Any]]] = {}

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        for session, _, _ in self._sessions.values():
            session.close()

    def draw(self, key: str, op: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the next outputs of a random operation.

        Args:
            key: What tells it from all others of the run.
            op: The operation.
            inputs: What it reads.
        """
        if key not in self._sessions:
            self._sessions[key] = _alone(op)
        session, placeholders, outputs = self._sessions[key]
        return [np.asarray(v) for v in session.run(outputs, dict(zip(placeholders, inputs, strict=True)))]


def _alone(op: Any) -> tuple[Any, list[Any], list[Any]]:
    """Returns a session for a graph that holds one operation, its inputs as placeholders, and its outputs."""
    v1 = tf.compat.v1
    node = v1.NodeDef()
    node.CopyFrom(op.node_def)
    node.name, node.device = "draw", ""
    for attribute in [name for name in node.attr if name.startswith("_")]:
        del node.attr[attribute]
    inputs = tf.Graph()
    with inputs.as_default():
        names = [v1.placeholder(t.dtype.base_dtype, name=f"input_{n}").op.name for n, t in enumerate(op.inputs)]
    del node.input[:]
    node.input.extend(names)
    content = inputs.as_graph_def()
    content.node.append(node)
    graph = tf.Graph()
    with graph.as_default():
        v1.import_graph_def(content, name="")
    placeholders = [graph.get_tensor_by_name(f"{name}:0") for name in names]
    return v1.Session(graph=graph, config=session_config(0)), placeholders, graph.get_operation_by_name("draw").outputs
