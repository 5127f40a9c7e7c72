"""Which random draws of a TF1 graph belong to its forward pass, and which initialize variables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf


def forward_draws(graph: tf.Graph, variables: Sequence[Any], taken: Sequence[int]) -> tuple[int, ...]:
    """Returns the operation seeds with which the forward pass draws, in the order of the program.

    What a variable's initializer is computed from are draws of initializers, wherever they were made
    (`tf.Variable(tf.random.normal(...))` draws before there is a variable); all other draws are the forward pass's.
    A seed that no operation bears was asked for in vain (`tf.nn.dropout` with a rate of 0 does so since TensorFlow
    2.4) and is no draw.

    Args:
        graph: A graph built under the random tool.
        variables: Its variables.
        taken: The operation seeds that the tool handed out, in order.
    """
    if not taken:
        return ()
    drawn = Counter(_seeds(graph.get_operations()))
    if drawn.total() < len(taken):
        drawn += _seeds_in_functions(graph)
    forward = drawn - Counter(_seeds(_ancestors([v.initializer for v in variables])))
    draws = []
    for seed in taken:
        if forward[seed] > 0:
            forward[seed] -= 1
            draws.append(seed)
    return tuple(draws)


def _seeds(operations: Iterable[tf.Operation]) -> Iterable[int]:
    return [int(op.get_attr("seed2")) for op in operations if any(a.name == "seed2" for a in op.op_def.attr)]


def _seeds_in_functions(graph: tf.Graph) -> Counter[int]:
    """Loops and branches keep their operations in functions of the graph."""
    functions = graph.as_graph_def().library.function
    return Counter(int(node.attr["seed2"].i) for f in functions for node in f.node_def if "seed2" in node.attr)


def _ancestors(operations: Iterable[tf.Operation]) -> list[tf.Operation]:
    waiting = list(operations)
    found = {op.name: op for op in waiting}
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op.name not in found:
                found[tensor.op.name] = tensor.op
                waiting.append(tensor.op)
    return list(found.values())
