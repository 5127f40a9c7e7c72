"""Which operations and tensors of a graph depend on given tensors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def reachable_from(tensors: list[Any]) -> set[int]:
    """Returns the `id` of each operation and tensor that a value can flow to from one of `tensors`, these included.

    A tensor of eager execution is connected to nothing.
    """
    found: set[int] = set()
    waiting = [tensor for tensor in tensors if tensor is not None]
    while waiting:
        node = waiting.pop()
        if id(node) in found:
            continue
        found.add(id(node))
        if isinstance(node, tf.Operation):
            waiting.extend(node.outputs)
        elif isinstance(node, tf.Tensor) and hasattr(node, "graph") and not tf.executing_eagerly():
            waiting.extend(node.consumers())
    return found
