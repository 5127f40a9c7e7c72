"""Every private TensorFlow and Keras name that Lockstep uses.

`NAMES` lists them, with what each is for and on which versions it was found. All of them are looked for when
this module is imported, so that a version that lacks one is refused there, by name. To use one more: a line in `NAMES`
and a function below it. `tests/integration/test_tf1_private_names.py` finds a private name that is used but not
listed, listed but not used, or used in another module.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from lockstep.common.errors import UnsupportedVersionError
from lockstep.tf1.compatibility import PrivateName, check, missing_sentence, resolve

_Name = PrivateName
_SCOPES = "tensorflow.python.ops.variable_scope._VariableScopeStore"
_TRACKABLE = "tensorflow.__internal__.tracking.Trackable"
_VARIABLE = "keras.Variable"
_RESOURCE = "tensorflow.python.ops.resource_variable_ops.BaseResourceVariable"
_OWNERSHIP = "tf1/ownership.py"
NAMES = (
    _Name("tensorflow.python.ops.variable_scope", "_get_default_variable_store", "finds the graph's own store"),
    _Name("tensorflow.python.framework.random_seed", "get_seed", "gives random operations their seeds"),
    _Name("tensorflow.__internal__.tracking", "Trackable", "makes objects that a checkpoint follows"),
    _Name("tensorflow.__internal__.decorator", "make_decorator", "wraps methods and keeps their signatures"),
    _Name("tensorflow.Variable", "_get_save_slice_info", "knows which slice of a partitioned variable this is"),
    _Name(_SCOPES, "current_scope", "enters and leaves variable scopes"),
    _Name(_SCOPES, "variable_scopes_count", "lets default names start anew"),
    _Name("keras.src.backend", "Variable", "tells a weight of Keras"),
    _Name("keras.src.utils.naming", "reset_uids", "lets Keras's automatic names start anew"),
    _Name("keras.Layer", "_tracker", "reaches what a layer tracks"),
    _Name("keras.Layer", "_lock_state", "locks a built layer again"),
    _Name("keras.Layer", "_track_variable", "makes a variable one of the layer's weights"),
    _Name("keras.Layer", "_track_trackable", "lets checkpoints find a variable"),
    _Name("keras.Layer", "_handle_deferred_dependencies", "gives a variable its value from a checkpoint read before"),
    _Name("keras.Layer", "_trainable_variables", "lists the layer's own variables"),
    _Name("keras.Layer", "_non_trainable_variables", "lists the layer's own variables"),
    _Name("keras.src.utils.tracking.Tracker", "locked", "learns whether a layer is locked"),
    _Name("keras.src.utils.tracking.Tracker", "unlock", "unlocks a built layer"),
    _Name("keras.src.utils.tracking.Tracker", "add_to_store", "adds a sublayer"),
    _Name(_VARIABLE, "_value", "finds the tf.Variable behind a weight"),
    # Keras up to 3.6 has `name` and `path` as plain attributes instead.
    _Name(_VARIABLE, "_name", "renames a weight", optional=True),
    _Name(_VARIABLE, "_path", "renames a weight", optional=True),
    _Name(_VARIABLE, "_initializer", "has no value made", overridden_in=_OWNERSHIP),
    _Name(_VARIABLE, "_initialize", "shares storage", overridden_in=_OWNERSHIP),
    _Name(_VARIABLE, "_deferred_initialize", "shares storage", overridden_in=_OWNERSHIP),
    # From Keras 3.4 on.
    _Name(_VARIABLE, "_initialize_with_initializer", "shares storage", overridden_in=_OWNERSHIP, optional=True),
    _Name("keras.src.backend.tensorflow.random", "dropout", "draws what all of Keras 3 draws"),
    _Name("keras.src.backend.tensorflow.core", "Variable", "makes variables outside of traces"),
    _Name("tensorflow.python.ops.control_flow_util", "GraphOrParentsInXlaContext", "tells what XLA compiles"),
    _Name("tensorflow.python.eager.lift_to_graph", "lift_to_graph", "computes a symbolic initial value outside"),
    _Name("tensorflow.python.ops.op_selector", "UnliftableError", "tells that such a value depends on an input"),
    _Name(_RESOURCE, "_handle_name", "names a variable made without a kernel of its own"),
    _Name(_RESOURCE, "_unique_id", "names a variable made without a kernel of its own"),
    _Name(_RESOURCE, "_handle", "names a variable made without a kernel of its own"),
    _Name("tensorflow.Graph", "_variable_creator_stack", "tells whether somebody watches variables being made"),
    _Name("keras.src.backend", "compute_output_spec", "runs a layer's code on shapes alone"),
    _Name("keras.src.backend.common.stateless_scope", "get_stateless_scope", "tells that a stateless_call is running"),
    _Name("keras.Layer", "_get_own_losses", "adds the losses of frozen variables", overridden_in="tf1/tracking.py"),
    _Name("keras.Layer", "_clear_losses", "forgets the losses of the last call", overridden_in="tf1/tracking.py"),
    _Name("keras.src.backend.common.global_state", "get_global_attribute", "tells that Keras is calling a layer"),
    _Name("tensorflow.__internal__.nest", "map_structure_up_to", "maps a structure down to another one's depth"),
    _Name("tensorflow.__internal__.nest", "get_traverse_shallow_structure", "tells where a structure ends"),
    _Name("tensorflow.python.framework.op_def_registry", "get", "tells which operations have a state"),
    _Name("tensorflow.python.eager.execute", "execute", "runs one operation by its type"),
    _Name("tensorflow.python.eager.execute", "record_gradient", "differentiates what ran by its type"),
    _Name("tensorflow.python.framework.op_callbacks", "add_op_callback", "sees every operation that runs eagerly"),
    _Name("tensorflow.python.framework.op_callbacks", "remove_op_callback", "ends that"),
    _Name("tensorflow.python.eager.context", "context", "tells the scope that runs eagerly"),
    _Name("tensorflow.python.eager.context", "eager_mode", "runs eagerly where TensorFlow 2's behaviour is off"),
    _Name("tensorflow.python.framework.function_def_to_graph", "function_def_to_graph", "opens a graph's function"),
    _Name("tensorflow.python.framework.ops", "EagerTensor", "answers TF1 code that asks for a tensor's name"),
    _Name("tensorflow.python.ops.resource_variable_ops", "BaseResourceVariable", "does that of a variable's operation"),
    _Name("tensorflow.python.framework.ops.EagerTensor", "_id", "tells one eager tensor from another"),
    _Name(_TRACKABLE, "_trackable_children", "names a layer's weights", overridden_in="tf1/layers/weights.py"),
)


def _private(module: str, name: str) -> Any:
    try:
        return getattr(resolve(module), name)
    except (ImportError, AttributeError) as error:
        missing = [entry for entry in NAMES if (entry.holder, entry.name) == (module, name)]
        raise UnsupportedVersionError(missing_sentence(missing)) from error


def default_variable_store() -> Any:
    """Returns the current graph's own `_VariableStore`, making it where there is none."""
    return _private("tensorflow.python.ops.variable_scope", "_get_default_variable_store")()


def random_seed_module() -> Any:
    """Returns the module whose `get_seed` every stateful random operation asks for its seeds."""
    _private("tensorflow.python.framework.random_seed", "get_seed")
    return resolve("tensorflow.python.framework.random_seed")


@contextlib.contextmanager
def unlocked(layer: Any) -> Iterator[None]:
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
    with unlocked(layer):
        layer._track_variable(variable)


def track_for_checkpoints(layer: Any, name: str, trackable: Any) -> None:
    """Lets `tf.train.Checkpoint` find it under `name`, and gives it the value of a checkpoint restored before."""
    with unlocked(layer):
        layer._track_trackable(trackable, name=name, overwrite=True)
        layer._handle_deferred_dependencies(name=name, trackable=trackable)


def track_layer(layer: Any, name: str, sublayer: Any) -> None:
    """Adds a sublayer to a built or unbuilt layer."""
    track_for_checkpoints(layer, name, sublayer)
    with unlocked(layer):
        layer._tracker.add_to_store("layers", sublayer)


def reset_automatic_names() -> None:
    """Lets Keras's automatic names (`dense`, `dense_1`, ...) start anew."""
    _private("keras.src.utils.naming", "reset_uids")()


def own_variables(layer: Any, newest: int = 0) -> list[Any]:
    """Returns the `keras.Variable`s that the layer itself tracks, its sublayers' not included.

    `newest` takes so many of the trainable and of the others that were tracked last; 0 takes all.
    """
    return [*layer._trainable_variables[-newest:], *layer._non_trainable_variables[-newest:]]


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
    return _private("tensorflow.__internal__.tracking", "Trackable")


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


def op_def(kind: str) -> Any:
    """Returns TensorFlow's definition of a kind of operation; None for one that it does not know."""
    return _private("tensorflow.python.framework.op_def_registry", "get")(kind)


def with_signature_of(method: Any, wrapper: Any) -> Any:
    """Returns `wrapper` with the signature of `method`, which Keras inspects, and the name that AutoGraph prints."""
    return _private("tensorflow.__internal__.decorator", "make_decorator")(method, wrapper)


def slice_info(variable: Any) -> Any:
    """Returns which part of a partitioned variable a `tf.Variable` is (`var_offset`, `var_shape`), or None."""
    return variable._get_save_slice_info()


# --- block of tensorflow.randomness: checked on TensorFlow 2.16.2 with Keras 3.3.3 and 2.21.0 with Keras 3.15.1


def keras_random_module() -> Any:
    """Returns the module of random functions of Keras's TensorFlow backend, from which all of Keras 3 draws.

    None where Keras is not installed, is older than 3, or computes on another backend.
    """
    try:
        import keras
    except ImportError:
        return None
    if keras.__version__.startswith("2.") or keras.backend.backend() != "tensorflow":
        return None
    _private("keras.src.backend.tensorflow.random", "dropout")
    return resolve("keras.src.backend.tensorflow.random")


def keras_variable_class() -> Any:
    """Returns the class of all variables of Keras's TensorFlow backend; `keras.Variable` is it, or derives from it."""
    return _private("keras.src.backend.tensorflow.core", "Variable")


def in_xla_compilation() -> bool:
    """Tells whether a `tf.function(jit_compile=True)` is being traced."""
    import tensorflow as tf

    if tf.executing_eagerly():  # also inside `tf.init_scope`: what initializes variables is not compiled
        return False
    graph = tf.compat.v1.get_default_graph()
    return bool(_private("tensorflow.python.ops.control_flow_util", "GraphOrParentsInXlaContext")(graph))


# --- end of the block of tensorflow.randomness


def value_of_symbolic(tensor: Any) -> Any:
    """Computes a tensor of a function graph that is being traced, outside of it, as TensorFlow does for `tf.Variable`.

    Raises:
        ValueError: it depends on an input of the function. Checked on TensorFlow 2.16.2 and 2.21.0.
    """
    import tensorflow as tf

    lift_to_graph = _private("tensorflow.python.eager.lift_to_graph", "lift_to_graph")
    unliftable = _private("tensorflow.python.ops.op_selector", "UnliftableError")

    @tf.function(autograph=False)
    def lifted() -> Any:
        return lift_to_graph([tensor], tf.compat.v1.get_default_graph())[tensor]

    try:
        with tf.init_scope():
            return lifted()
    except unliftable as error:
        raise ValueError(str(error)) from None


# --- block of speed: checked on TensorFlow 2.21.0


def make_variable(name: str, initial_value: Any, **options: Any) -> Any:
    """Makes a `tf.Variable`, as its constructor does, without a kernel of its own where that is possible.

    TensorFlow keeps one kernel per name of an eager variable, for ever; to make it takes 0.4 ms, three times as long as
    the rest of a variable. So here TensorFlow is told the last part of the name, which many variables share, and the
    whole name is put in afterwards; only the C++ name in `variable.handle`, which some of its errors quote, is shorter.
    Graphs, strategies and whoever watches the making of variables (`tf.variable_creator_scope`) get the whole name.
    """
    import tensorflow as tf

    short = name.rpartition("/")[2]
    watched = getattr(tf.compat.v1.get_default_graph(), "_variable_creator_stack", True)
    if watched or short in ("", name) or not tf.executing_eagerly() or tf.distribute.has_strategy():
        return tf.Variable(initial_value, name=name, **options)
    variable = tf.Variable(initial_value, name=short, **options)
    scope = variable._handle_name.removesuffix(f"{short}:0")
    full_name = f"{scope}{name}"
    unique_id = full_name + variable._unique_id.removeprefix(f"{scope}{short}")
    handle = variable._handle
    variable._handle_name = handle._name = f"{full_name}:0"
    variable._unique_id = handle._unique_id = unique_id
    return variable


# --- end of the block of speed


# --- block of Keras 3 citizenship: checked on Keras 3.3.3 and 3.15.1

OWN_LOSSES = "_get_own_losses"
"""The method of a Keras layer whose answer its `losses`, and those of all that hold it, begin with."""

CLEAR_LOSSES = "_clear_losses"
"""The method by which Keras has a layer forget the losses of its last call, before the next one."""


def in_keras_call() -> bool:
    """Tells whether a Keras layer or model is being called, which clears the losses of its layers first."""
    state = _private("keras.src.backend.common.global_state", "get_global_attribute")
    return state("current_call_ctx") is not None


def is_kerass_own(function: Any) -> bool:
    """Tells whether a method is Keras's own, not overridden by a user."""
    return str(getattr(function, "__module__", "")).startswith("keras.")


def has_default_build(layer: Any) -> bool:
    """Tells whether nobody overrode `build` of the layer's class: neither a user nor one of Keras's own layers."""
    import keras

    return type(layer).build in {keras.layers.Layer.build, keras.Model.build}


def call_symbolically(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs `function` in a scratch graph on Keras tensors, as a functional model does."""
    return _private("keras.src.backend", "compute_output_spec")(function, *args, **kwargs)


@contextlib.contextmanager
def symbolic_calls_within(surrounding: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Has Keras call layers within a context of its own where it only learns the shapes of their outputs."""
    module = resolve("keras.src.backend")
    original = _private("keras.src.backend", "compute_output_spec")

    @functools.wraps(original)
    def surrounded(*args: Any, **kwargs: Any) -> Any:
        with surrounding():
            return original(*args, **kwargs)

    module.compute_output_spec = surrounded
    try:
        yield
    finally:
        module.compute_output_spec = original


def replaced_by_a_stateless_scope(variables: list[Any]) -> bool:
    """Tells whether a `stateless_call` is running that hands other values for one of `variables`."""
    scope = _private("keras.src.backend.common.stateless_scope", "get_stateless_scope")()
    mapping = getattr(scope, "state_mapping", None)
    return bool(mapping) and any(id(variable) in mapping for variable in variables)


@contextlib.contextmanager
def variables_hidden(layer: Any, hidden: list[Any]) -> Iterator[None]:
    """Lets Keras's own code see the layer without some of its variables."""
    ids = {id(variable) for variable in hidden}
    lists = [layer._trainable_variables, layer._non_trainable_variables]
    before = [list(variables) for variables in lists]
    for variables in lists:
        variables[:] = [v for v in variables if id(v) not in ids]
    try:
        yield
    finally:
        for variables, whole in zip(lists, before, strict=True):
            variables[:] = whole


def order_variables(layer: Any, names: list[str]) -> None:
    """Puts the layer's own variables into the order of `names`; those not named keep theirs, behind."""
    place = {name: index for index, name in enumerate(names)}
    for variables in (layer._trainable_variables, layer._non_trainable_variables):
        variables.sort(key=lambda v: place.get(v.name, len(place)))


# --- end of the block of Keras 3 citizenship


# --- block of lockstep.tf1.rnn_cell: checked on TensorFlow 2.16.2 and 2.21.0


def nested() -> Any:
    """Returns the module that maps a structure down to the depth of another one.

    `map_structure_up_to` and `get_traverse_shallow_structure` of it are used: the public `tf.nest` wants
    structures of equal depth.
    """
    return resolve("tensorflow.__internal__.nest")


# --- end of the block of lockstep.tf1.rnn_cell


# --- block of the programs of lockstep.frameworks.tensorflow: checked on TensorFlow 2.16.2 and 2.21.0


def execute(kind: str, outputs: int, inputs: list[Any], attributes: tuple[Any, ...]) -> list[Any]:
    """Runs one operation eagerly: its type, how many tensors it gives, its inputs, names and values of attributes."""
    run, context = _execution()
    if context.executing_eagerly():
        return list(run(kind.encode(), outputs, inputs, attributes, context))
    import tensorflow as tf

    with tf.init_scope():
        return list(run(kind.encode(), outputs, inputs, attributes, context))


@functools.cache
def _execution() -> tuple[Any, Any]:
    """Returns what runs an operation, and where: looking both up takes as long as a small operation itself."""
    run = _private("tensorflow.python.eager.execute", "execute")
    return run, _private("tensorflow.python.eager.context", "context")()


def record_gradient(kind: str, inputs: list[Any], attributes: tuple[Any, ...], outputs: list[Any]) -> None:
    """Shows an operation that `execute` ran to the open gradient tapes."""
    _private("tensorflow.python.eager.execute", "record_gradient")(kind, inputs, attributes, outputs)


@contextlib.contextmanager
def watched_operations(callback: Any) -> Iterator[None]:
    """Calls `callback(type, inputs, attributes, outputs, name, graph)` after each operation of this thread."""
    _private("tensorflow.python.framework.op_callbacks", "add_op_callback")(callback)
    try:
        yield
    finally:
        _private("tensorflow.python.framework.op_callbacks", "remove_op_callback")(callback)


def eager_scope() -> str:
    """Returns the scope that eager operations run in, with its trailing slash; Keras's layers are part of it."""
    return str(_private("tensorflow.python.eager.context", "context")().scope_name or "")


def tensor_id(tensor: Any) -> int:
    """Returns a number that no other eager tensor of this process has or will have."""
    return int(tensor._id)


def eager_tensor_class() -> Any:
    """Returns the class that says of an eager tensor that it has no name, no operation and no graph."""
    eager = _private("tensorflow.python.framework.ops", "EagerTensor")
    return next(base for base in eager.__mro__ if "op" in vars(base))


def resource_variable_class() -> Any:
    """Returns the class of variables outside of graphs, which have no operation."""
    return _private("tensorflow.python.ops.resource_variable_ops", "BaseResourceVariable")


def graph_of_function(definition: Any) -> Any:
    """Returns the graph of a function in a graph's library, with its `inputs` and `outputs`."""
    return _private("tensorflow.python.framework.function_def_to_graph", "function_def_to_graph")(definition)


def eager_mode() -> Any:
    """Returns a context that executes eagerly, also within a graph and where `disable_eager_execution` was called."""
    return _private("tensorflow.python.eager.context", "eager_mode")()


# --- end of the block of the programs of lockstep.frameworks.tensorflow


def wrapped_v1_module() -> Any:
    """Returns what `tf.compat.v1` is until somebody imports `tensorflow.compat.v1` by name; None where it is gone.

    The import puts another object in its place, and who took it before keeps it. Checked on TensorFlow 2.16.2 and
    2.21.0.
    """
    return sys.modules.get("tensorflow._api.v2.compat.v1")


check(NAMES)
