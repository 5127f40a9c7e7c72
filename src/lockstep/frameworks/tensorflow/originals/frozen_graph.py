"""A frozen graph: a GraphDef whose weights are constants."""

from __future__ import annotations

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.files.originals import OriginalFile, content
from lockstep.frameworks.tensorflow.originals.source import Source

_SAVED_MODEL_SCHEMA = b"\x08\x01"
"""What a saved_model.pb begins with: its schema version."""


def source(original: OriginalFile) -> Source:
    """Reads a frozen graph.

    Where the configuration names no outputs, they are what no other operation reads.

    Raises:
        InputError: It is none, damaged, cut short, or newer than this TensorFlow.
    """
    data = content(original.path, original.path.parent, "a frozen graph")
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except Exception as error:  # protobuf's own class, of which each implementation has another
        advice = _advice(data)
        raise InputError(f"{original.label} is no frozen graph (a GraphDef), or is cut short{advice}.") from error
    if not graph.node or not all(node.name and node.op for node in graph.node):
        raise InputError(f"{original.label} holds no operation, so it is no frozen graph{_advice(data)}.")
    known = {argument.name for argument in graph.node if argument.op == "Placeholder"}
    return Source(
        f"the graph in {original.label}",
        list(graph.node),
        graph.library,
        graph.versions,
        {name: f"{name}:0" for name in sorted(known)},
        {},
        thaw=True,
    )


def _advice(data: bytes) -> str:
    if data[:2] == _SAVED_MODEL_SCHEMA:
        return '; a SavedModel is given by its folder, as in saved_model = "exported"'
    return ""
