"""A graph that may be run, imported into a graph of this TensorFlow with its weights as variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from lockstep.common.arrays import Arrays, named
from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow.originals.opening import Opened, Variable
from lockstep.frameworks.tensorflow.originals.wiring import place
from lockstep.recorder import graph

v1 = tf.compat.v1
IMPORTING = frozenset({(__file__, "imported"), (str(Path(__file__).with_name("keras_file.py")), "_forward")})
"""The files and the functions in which a model from a file is built in this process: no line of it is the user's."""
_SAFE = re.compile(r"[^A-Za-z0-9_.\\/>-]")


def model_of(found: Opened, inputs: Arrays, seeds: Any) -> graph.GraphModel:
    """Imports a graph.

    Args:
        found: The graph.
        inputs: Input name -> array, or one array.
        seeds: A `GraphSeeds`, or a `DeterministicRandomTestTool`.

    Raises:
        InputError: TensorFlow refuses it.
    """

    def imported(given: Any, training: bool) -> dict[str, Any]:  # noqa: ARG001 - as every `forward`
        tensors = given if isinstance(given, Mapping) else dict.fromkeys(named(inputs), given)
        mapped = {_key(found.inputs[name]): tensor for name, tensor in tensors.items() if name in found.inputs}
        mapped.update({_key(name): _fed(found, value, name) for name, value in found.feeds.items()})
        mapped.update({f"{variable.node}:0": _made(variable) for variable in found.variables})
        wanted = list(dict.fromkeys(tensor for tensor in found.outputs.values() if _key(tensor) not in mapped))
        try:
            got = v1.import_graph_def(found.graph, _used(found, mapped), wanted, name="")
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"TensorFlow {tf.__version__} cannot import {found.called}: {first}") from error
        returned = {**mapped, **dict(zip(wanted, got, strict=True))}
        return {path: returned[_key(tensor)] for path, tensor in found.outputs.items()}

    return graph.build(imported, inputs, training=False, seeds=seeds)


def _key(tensor: str) -> str:
    name, number = place(tensor)
    return f"{name}:{number}"


def _fed(found: Opened, value: Any, name: str) -> Any:
    dtype = found.dtypes.get(name)
    try:
        return tf.constant(value, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"inference_feeds gives {value!r} to {name}, whose dtype is {dtype}.") from error


def _made(variable: Variable) -> Any:
    """Makes a variable, and returns what the graph reads in its place: a handle, a reference, or its value.

    Its initializer is no constant, which a large graph could not hold; whoever runs it gives it the file's value.
    """
    shape, dtype = variable.value.shape, tf.as_dtype(variable.value.dtype)
    made = v1.Variable(
        lambda: tf.zeros(shape, dtype),
        trainable=variable.trainable,
        name=_scope_safe(variable.name),
        use_resource=variable.kind != "reference",
        dtype=dtype,
        shape=shape,
    )
    if variable.kind == "resource":
        return made.handle
    return made.graph.get_tensor_by_name(f"{made.op.name}:0") if variable.kind == "reference" else made.read_value()


def _scope_safe(name: str) -> str:
    safe = _SAFE.sub("_", name)
    return safe if re.match("[A-Za-z0-9.]", safe) else f"v{safe}"


def _used(found: Opened, mapped: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what something reads: TensorFlow refuses a mapping of the rest."""
    read = {_key(reference) for node in found.graph.node for reference in node.input if not reference.startswith("^")}
    return {name: tensor for name, tensor in mapped.items() if name in read}
