"""A graph that came with a trace from elsewhere: it may do nothing but compute.

Whoever compares two traces runs the graphs in them. So a graph is read before TensorFlow sees it: each operation, in
the graph itself and in its functions, has to be on the list of `computing`, and whatever an attribute leads to has to
be the graph's own. How a graph wants to be run (devices, sessions' settings, kernels' labels) is not followed at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow.computing import COMPUTING
from lockstep.ground.machine import memory_bytes
from lockstep.ground.opening import shortened
from lockstep.ground.tensors import count
from lockstep.recorder.graph import session_config
from lockstep.tf1.private import op_def

_HANDLES = frozenset({tf.resource.as_datatype_enum, tf.variant.as_datatype_enum})
_FIRST_REFERENCE = 100
"""Data types from here on are references to variables, which no constant is."""
_LONGEST_RANK = 254  # of TensorFlow's shapes
_SHOWN = 8

# What else than its definition's attributes a node may bear: colocation and shapes, how control flow is lowered, and
# that XLA compiles a function. The rest are labels for kernels, optimizers and other runtimes.
_HINTS = frozenset(
    {
        "_class",
        "_output_shapes",
        "_input_shapes",
        "_XlaMustCompile",
        "_lower_using_switch_merge",
        "_num_original_outputs",
        "_read_only_resource_inputs",
        "_stateful_parallelism",
        "_noinline",
    }
)
_SETTINGS = frozenset({"config", "config_proto", "executor_type"})
"""Attributes of calls that say how the function is to be run."""
_PROTOCOLS = frozenset(
    {
        "variables",
        "local_variables",
        "trainable_variables",
        "model_variables",
        "moving_average_variables",
        "metric_variables",
        "cond_context",
        "while_context",
    }
)
"""The collections that hold more than names of the graph's own tensors and operations, and are asked for."""


SHORTEST_S, LONGEST_S = 60.0, 3600.0
_SLOWER = 20.0
"""How many times as long as where it was recorded a run may take here."""


def limit_s(recorded_s: float) -> float:
    """Returns how many seconds a run of a graph from elsewhere gets, by how long it says that it took there.

    A loop that never ends cannot be told from one that takes long; a run that takes longer is ended, and said to be.

    >>> limit_s(0.1), limit_s(10), limit_s(1e9)
    (60.0, 200.0, 3600.0)
    """
    return min(max(_SLOWER * recorded_s, SHORTEST_S), LONGEST_S)


IN_A_TRACE = "the graph in this trace"
_OF_A_TRACE = " A trace that `lockstep check` records itself is trusted."


def admitted(exported: Any, called: str = IN_A_TRACE) -> Any:
    """Returns an exported graph from elsewhere as it may be run.

    Args:
        exported: A MetaGraphDef; it is changed.
        called: What sentences call it.

    Raises:
        InputError: It reaches beyond itself, or is not one that Lockstep's recorder writes.
    """
    graph = exported.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    reaching = sorted({shortened(found) for found in _reaching(graph, functions)})
    if reaching:
        more = f" and {len(reaching) - _SHOWN} more" if len(reaching) > _SHOWN else ""
        raise InputError(
            f"{called} reaches beyond itself ({', '.join(reaching[:_SHOWN])}{more}); it is not run here."
            + (_OF_A_TRACE if called == IN_A_TRACE else "")
        )
    _refuse_beyond_memory(graph, called)
    for node in _nodes(graph):
        _as_run_here(node)
    for function in graph.library.function:
        _keep_hints(function.attr)
        for argument in function.arg_attr.values():
            _keep_hints(argument.attr)
    for key in [key for key, held in exported.collection_def.items() if not _is_kept(key, held)]:
        del exported.collection_def[key]
    exported.ClearField("saver_def")
    del graph.library.gradient[:]
    if hasattr(graph.library, "registered_gradients"):
        del graph.library.registered_gradients[:]
    return exported


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _reaching(graph: Any, functions: Mapping[str, Any]) -> Iterator[str]:
    """Names what a graph reaches for outside of itself."""
    for name in functions:
        if op_def(name) is not None:
            yield f"a function that calls itself {name}"
    for node in _nodes(graph):
        if node.op not in functions and not (node.op in COMPUTING and op_def(node.op) is not None):
            yield node.op or "an operation without a type"
        for value in node.attr.values():
            yield from _beyond(value, functions, node.op)
    for function in graph.library.function:
        arguments = (value for argument in function.arg_attr.values() for value in argument.attr.values())
        defaults = (attribute.default_value for attribute in function.signature.attr)
        for value in (*function.attr.values(), *arguments, *defaults):
            yield from _beyond(value, functions, f"function {function.signature.name}")


def _beyond(value: Any, functions: Mapping[str, Any], owner: str) -> Iterator[str]:
    """Names what an attribute leads to that is not the graph's own: a function, or a handle in a constant."""
    for called in ([value.func] if value.HasField("func") else []) + list(value.list.func):
        if called.name not in functions:
            yield f"{owner} calls {called.name or 'a function without a name'}, which the graph does not hold"
        for inner in called.attr.values():
            yield from _beyond(inner, functions, owner)
    for tensor in _constants(value):
        dtypes = {tensor.dtype % _FIRST_REFERENCE}
        if dtypes & _HANDLES or tensor.dtype > _FIRST_REFERENCE or tensor.resource_handle_val or tensor.variant_val:
            yield f"{owner} holds a handle as a constant"


def _constants(value: Any) -> Iterable[Any]:
    return ([value.tensor] if value.HasField("tensor") else []) + list(value.list.tensor)


def _refuse_beyond_memory(graph: Any, called: str) -> None:
    """Refuses constants that say with few bytes that they are many, more than this machine could hold."""
    total = 0
    for node in _nodes(graph):
        for value in node.attr.values():
            for tensor in _constants(value):
                sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
                if len(sizes) > _LONGEST_RANK or any(size < 0 for size in sizes):
                    raise InputError(f"{called} is damaged: constant {shortened(node.name)} has the shape {sizes[:8]}.")
                total += count(sizes) * _item_bytes(tensor.dtype)
    limit = memory_bytes()
    if total > limit:
        raise InputError(f"{called} has constants of {total:,} bytes, and this machine has a memory of {limit:,}.")


def _item_bytes(dtype: int) -> int:
    try:
        return max(int(tf.as_dtype(dtype).size or 0), 1)
    except (TypeError, ValueError):  # no such dtype, or one of strings
        return 1


def _as_run_here(node: Any) -> None:
    """Takes from a node what it says about how it is to be run."""
    node.device = ""
    definition = op_def(node.op)
    declared = frozenset() if definition is None else frozenset(attribute.name for attribute in definition.attr)
    _keep_hints(node.attr, declared)
    for name in _SETTINGS & declared:
        settings = session_config(0).SerializeToString() if name == "config_proto" else b""
        node.attr[name].CopyFrom(tf.compat.v1.AttrValue(s=settings))


def _is_kept(key: str, collection: Any) -> bool:
    return collection.WhichOneof("kind") in {"node_list", "int64_list", "float_list"} or key in _PROTOCOLS


def _keep_hints(attributes: Any, declared: frozenset[str] = frozenset()) -> None:
    for name in [name for name in attributes if name.startswith("_") and name not in _HINTS and name not in declared]:
        del attributes[name]
