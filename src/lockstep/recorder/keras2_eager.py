"""A Keras 2 model that is made eagerly, as TensorFlow 2 runs it, and traced into a graph of its own.

The way for models that cannot be put together in a graph (`.numpy()`, `adapt`), or lose something there: an assignment
in `call` that nothing returned depends on. The model is made and traced once; the traced function becomes a graph whose
variables start from what the model's own variables hold. What is written in a call runs with the outputs in training
mode, in its order. Checked on TensorFlow 2.4.4, 2.10.1 and 2.15.1, and with tf_keras 2.21.0.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from ..ground.failures import RecordingError
from ..ground.records import ONLY_INPUT
from ..ground.structure import flatten
from . import graph, keras2_inputs, keras_layers, operations, placeholders
from .generators import Generators
from .randomness import loops_in_order

v1 = tf.compat.v1

_Traced = NamedTuple(
    "_Traced",
    [("function", Any), ("model", Any), ("specs", Dict[str, Any]), ("returned", Any), ("losses", List[Any])],
)
"""A traced call: its graph, the model, input name -> placeholder in it, what the model returned, and its losses."""


_Called = NamedTuple("_Called", [("graph", Any), ("inputs", List[Any]), ("outputs", List[Any])])
"""What TensorFlow's inlining asks of a function."""


def build(make: Callable[[], Any], form: int, inputs: Any, training: bool, seeds: Any) -> graph.GraphModel:
    """Builds the graph of a model that is made eagerly.

    Args:
        make: Makes the model: `keras2.load` of the user's function.
        form: Which of the ways in which the model may want its inputs is taken.
        inputs: As of `graph.build`.
        training: Whether it is called in training mode.
        seeds: As of `graph.build`.

    Raises:
        RecordingError: The model rests on something that is no variable: a table, say.
        IndexError: There is no such way.
    """
    generators = Generators()
    made = v1.variable_creator_scope(generators.create_variable)
    aligned = keras_layers.drawing_by_seeds()
    with _eagerly(), seeds.scope(), loops_in_order(), generators.active(), aligned, made:
        tf.random.set_seed(0)  # random kernels start anew: those of an earlier build have the same seeds
        traced = _traced(make, form, inputs, training)
        starts = _starts(traced)
    return _as_graph(traced, starts, inputs, training, generators)


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    from tensorflow.python.eager import context

    with context.eager_mode():
        yield


def _traced(make: Callable[[], Any], form: int, inputs: Any, training: bool) -> _Traced:
    from tensorflow.python.framework import func_graph

    with keras_layers.constructing():
        keras_layers.reset_names()
        model = make()
    single = not isinstance(inputs, Mapping)
    arrays = {ONLY_INPUT: inputs} if single else inputs
    found: Dict[str, Any] = {}

    def call(*tensors: Any) -> Any:
        specs = dict(zip(arrays, tensors))
        given = specs[ONLY_INPUT] if single else specs
        chosen = keras2_inputs.forms(model, given)[form]
        positional, named = chosen.arguments(given)
        returned = model(*positional, training=training, **named)
        losses = [tf.convert_to_tensor(loss) for loss in model.losses]
        found.update(specs=specs, returned=returned, losses=losses)
        return [leaf for _, leaf in flatten(returned)] + losses

    specs = [tf.TensorSpec(array.shape, _dtype(array), name="input_%d" % n) for n, array in enumerate(arrays.values())]
    with keras_layers.phase(training):
        function = func_graph.func_graph_from_py_func("model", call, specs, {})
    return _Traced(function, model, found["specs"], found["returned"], found["losses"])


def _dtype(array: np.ndarray) -> Any:
    return tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)


def _starts(traced: _Traced) -> List[Tuple[Any, np.ndarray]]:
    """Returns the model's variables, and others that its call reads or writes, with what they start from."""
    found = list(traced.model.weights)
    found += [v for v in traced.function.variables if not any(v is other for other in found)]
    return [(variable, np.array(variable.numpy())) for variable in found]


def _as_graph(
    traced: _Traced, starts: Sequence[Tuple[Any, np.ndarray]], inputs: Any, training: bool, generators: Generators
) -> graph.GraphModel:
    trained = {id(variable) for variable in traced.model.trainable_weights}
    single = not isinstance(inputs, Mapping)
    within = tf.Graph()
    with within.as_default():
        fed = {
            name: placeholders.placeholder(
                np.asarray(inputs if single else inputs[name]), placeholders.scope_safe(name or "input")
            )
            for name in traced.specs
        }
        given: Dict[str, Any] = {traced.specs[name].name: tensor for name, tensor in fed.items()}
        handles = {}
        for variable, value in starts:
            mine = tf.Variable(value, trainable=id(variable) in trained, name=variable.name.partition(":")[0])
            handles[id(variable.handle)] = mine.handle
        for outside, inside in _captures(traced.function):
            given[inside.name] = handles[id(outside)] if id(outside) in handles else _constant(outside)
        leaves = [tf.convert_to_tensor(leaf) for leaf in _in(traced, [leaf for _, leaf in flatten(traced.returned)])]
        wanted = [tensor.name for tensor in leaves + traced.losses]
        inlined = _inlined(traced.function)
        there = {node.name for node in inlined.node}
        acting = {op.name for op in traced.function.control_outputs if _acts(op)}
        controls = [node.name for node in inlined.node if node.name in acting or graph.WRITING.match(node.op)]
        given = {name: tensor for name, tensor in given.items() if name.partition(":")[0] in there}
        found = tf.graph_util.import_graph_def(inlined, given, return_elements=wanted + controls, name="")
        outputs, losses = found[: len(leaves)], found[len(leaves) : len(wanted)]
        v1.get_collection_ref(v1.GraphKeys.REGULARIZATION_LOSSES).extend(losses)
        v1.get_collection_ref(v1.GraphKeys.UPDATE_OPS).extend(found[len(wanted) :])
        paths = [path for path, _ in flatten(traced.returned)]
        model = graph.GraphModel(within, fed, dict(zip(paths, outputs)), training)
        model.returned = tf.nest.pack_sequence_as(traced.returned, outputs)
        model.generators = generators
        model.given = fed[ONLY_INPUT] if single else fed
        model.compiled = getattr(traced.model, "optimizer", None) is not None
        return model


def _in(traced: _Traced, leaves: Sequence[Any]) -> List[Any]:
    """Returns what a model returned as tensors of its function."""
    with traced.function.as_default():
        return [tf.convert_to_tensor(leaf) for leaf in leaves]


def _inlined(function: Any) -> Any:
    """Returns the definition of a function's graph with the functions that it calls inlined.

    TensorFlow has no gradient of a call in a graph that was imported.
    """
    from tensorflow.python.framework import convert_to_constants

    called = _Called(function, list(function.inputs), list(function.outputs))
    return convert_to_constants._run_inline_graph_optimization(called, False, True)


def _acts(op: Any) -> bool:
    """Tells whether an operation does anything that is seen later: TensorFlow has draws and reads run along, too."""
    return op.type != "ReadVariableOp" and operations.seeds_of(op.node_def) is None


def _captures(function: Any) -> List[Tuple[Any, Any]]:
    return [(outside, inside) for outside, inside in function.captures]


def _constant(tensor: Any) -> Any:
    """Returns the constant that a tensor from outside of the call is.

    Raises:
        RecordingError: It has no value.
    """
    if tensor.dtype == tf.resource or not hasattr(tensor, "numpy"):
        raise RecordingError(
            "the model's call rests on something (%s) that is neither a variable nor a number: a lookup table, say. "
            "Give it what comes out of that as an input." % tensor.dtype.name
        )
    return tf.constant(tensor.numpy())
