"""Every private TensorFlow and Keras name that the shim uses, with the versions it was checked on.

Checked on TensorFlow 2.16.2 with Keras 3.3.3 and on TensorFlow 2.21.0 with Keras 3.15.1. A name that a
later version lacks raises `UnsupportedVersionError` with its name at the first use.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from lockstep.errors import UnsupportedVersionError


def _private(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        import tensorflow as tf

        raise UnsupportedVersionError(
            f"TensorFlow {tf.__version__} has no {module}.{name}, on which lockstep.tf1 rests; "
            "it was checked on TensorFlow 2.16.2 to 2.21.0 with Keras 3.3.3 to 3.15.1."
        ) from error


def default_variable_store() -> Any:
    """Returns the current graph's own `_VariableStore`, making it where there is none."""
    return _private("tensorflow.python.ops.variable_scope", "_get_default_variable_store")()


def random_seed_module() -> Any:
    """Returns the module whose `get_seed` every stateful random operation asks for its seeds."""
    _private("tensorflow.python.framework.random_seed", "get_seed")
    return importlib.import_module("tensorflow.python.framework.random_seed")


@contextlib.contextmanager
def _unlocked(layer: Any) -> Iterator[None]:
    """Lets a built Keras layer take new state inside, which it otherwise refuses."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if locked:
            layer._lock_state()


def is_keras_variable(variable: Any) -> bool:
    """Tells a weight of Keras; in 3.3 the public `keras.Variable` is a subclass of what its own layers make."""
    return isinstance(variable, _private("keras.src.backend", "Variable"))


def raw_variable(variable: Any) -> Any:
    """Returns the `tf.Variable` behind a weight of Keras; a `tf.Variable` is its own."""
    return variable._value if is_keras_variable(variable) else variable


def rename_variable(variable: Any, name: str, path: str) -> None:
    """Gives a `keras.Variable` a name that its constructor refuses (with slashes); 3.3 keeps it in plain attributes."""
    plain = "name" in vars(variable)
    for attribute, value in (("name", name), ("path", path)):
        setattr(variable, attribute if plain else f"_{attribute}", value)


def track_variable(layer: Any, variable: Any) -> None:
    """Adds a `keras.Variable` to the weights of a built or unbuilt layer."""
    with _unlocked(layer):
        layer._track_variable(variable)


def track_for_checkpoints(layer: Any, name: str, trackable: Any) -> None:
    """Lets `tf.train.Checkpoint` find it under `name`, and gives it the value of a checkpoint restored before."""
    with _unlocked(layer):
        layer._track_trackable(trackable, name=name, overwrite=True)
        layer._handle_deferred_dependencies(name=name, trackable=trackable)


def track_layer(layer: Any, name: str, sublayer: Any) -> None:
    """Adds a sublayer to a built or unbuilt layer."""
    track_for_checkpoints(layer, name, sublayer)
    with _unlocked(layer):
        layer._tracker.add_to_store("layers", sublayer)


def reset_automatic_names() -> None:
    """Lets Keras's automatic names (`dense`, `dense_1`, ...) start anew."""
    _private("keras.src.utils.naming", "reset_uids")()


def own_variables(layer: Any) -> list[Any]:
    """Returns the `keras.Variable`s that the layer itself tracks, its sublayers' not included."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def in_symbolic_build() -> bool:
    """Tells whether Keras is calling a layer only to learn the shapes of its outputs.

    Keras 3 does this in a function graph named `scratch_graph`, `scratch_graph_1`, ... (3.3 to 3.15).
    """
    import tensorflow as tf

    if tf.executing_eagerly():  # also inside `tf.init_scope`, where the default graph still is the scratch graph
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if str(getattr(graph, "name", "")).startswith("scratch_graph"):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False


# --- block of lockstep.tf1.layers: checked on TensorFlow 2.16.2 and 2.21.0


def trackable_class() -> Any:
    """Returns the base class of all that `tf.train.Checkpoint` can follow: a legacy layer is one in TF 1.15.

    `tf.Module`, the public alternative, would use up the layer's name scope.
    """
    import tensorflow as tf

    return tf.__internal__.tracking.Trackable


def variable_scope_store() -> Any:
    """Returns the object that holds this thread's current variable scope and its scope counters.

    `current_scope` and `variable_scopes_count` of it are read and set: entering a scope through
    `tf.compat.v1.variable_scope` takes three times as long.
    """
    import tensorflow as tf

    stores = tf.compat.v1.get_collection_ref(("__varscope",))
    if not stores:
        tf.compat.v1.get_variable_scope()  # puts it there
    return stores[0]


# --- end of the block of lockstep.tf1.layers

# --- block of lockstep.tf1.rnn_cell: checked on TensorFlow 2.16.2 and 2.21.0


def nested() -> Any:
    """Returns the module that maps a structure down to the depth of another one.

    `map_structure_up_to` and `get_traverse_shallow_structure` of it are used: the public `tf.nest` wants
    structures of equal depth.
    """
    import tensorflow as tf

    return tf.__internal__.nest


# --- end of the block of lockstep.tf1.rnn_cell
