"""The guide's decorator and its companions, for Keras 3 layers and models and for `tf.Module`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import tensorflow as tf

from lockstep.common.errors import LockstepError
from lockstep.tf1 import call_records, citizenship, enabling, graph_likeness, hand_losses, precision, private
from lockstep.tf1.owners import NoOwnerError, store_of
from lockstep.tf1.store import active_store

__all__ = [
    "NoOwnerError",
    "TF1GraphError",
    "VariableScopeLayer",
    "build",
    "get_or_create_layer",
    "store_of",
    "track_tf1_style_variables",
    "variable_scope_layer",
]

_Method = TypeVar("_Method", bound=Callable[..., Any])


class TF1GraphError(LockstepError, RuntimeError):
    """A decorated method was called while a TF1 graph was being built, to which its variables would belong."""


def track_tf1_style_variables(method: _Method) -> _Method:
    """Decorates a method so that the TF1-style variables it makes belong to its object and are reused.

    The object is a `keras.layers.Layer`, a `keras.Model`, a `tf.Module`, or a layer or model of tf_keras. All
    decorated methods of one object share its variables. In a Keras layer each variable is one of
    `layer.variables` under its TF1 name, and each regularized one gives exactly one entry of `layer.losses`,
    computed when it is read. A module has its losses in `store_of(module).regularizers`. A loss that the code
    collects by itself (`tf.losses.*`, or added to `REGULARIZATION_LOSSES`) is one of `layer.losses` until the next
    call, as if it had been given to `add_loss`; a module has these in `store_of(module).hand_losses`.

    As the method runs again at every call, `get_variable` finds what it made before, whatever `reuse` says. Of
    the scopes around the call it keeps the name; automatic names start anew.

    What Keras does with such a layer (weight files keyed by name, dtype policies, frozen layers, optimizers)
    is in `docs/tf1_layers_in_keras.md`. In short: as in TF1, a frozen layer (`layer.trainable = False`) keeps
    its regularization losses, and its batch normalization goes by the `training` argument alone.

    Raises:
        TypeError: `method` is no function.
        NoOwnerError: (a TypeError and ValueError) at the call: it belongs to no layer, model or module.
        TF1GraphError: at the call: a TF1 graph is being built, or eager execution is disabled.
        StatelessCallError: at the call: Keras's `stateless_call` is calling, whose values TF1-style code would ignore.

    Example:
        >>> class Scale(keras.layers.Layer):
        ...     @track_tf1_style_variables
        ...     def call(self, x):
        ...         return x * tf.compat.v1.get_variable("factor", [], initializer=tf.compat.v1.ones_initializer())
        >>> layer = Scale()
        >>> float(layer(tf.constant(3.0))), [v.name for v in layer.trainable_variables]
        (3.0, ['factor:0'])
    """
    if not inspect.isfunction(method):
        raise TypeError(
            f"track_tf1_style_variables decorates a method of a Keras layer, Keras model or tf.Module; it was given "
            f"{method!r}, a {type(method).__name__}. {_advice(method)}"
        )

    def tracked(*args: Any, **kwargs: Any) -> Any:
        if not args:
            raise NoOwnerError(
                f"{method.__qualname__}, decorated with track_tf1_style_variables, was called without a first "
                "positional argument, so nothing would own its variables. Make it a method of a Keras layer, Keras "
                "model or tf.Module."
            )
        if not tf.executing_eagerly() and not tf.compat.v1.executing_eagerly_outside_functions():
            raise TF1GraphError(
                f"{method.__qualname__}, decorated with track_tf1_style_variables, was called while a TF1 graph is "
                "being built (in tf.Graph().as_default(), or with eager execution disabled): its variables would "
                "belong to that graph and not to the object. There, call the code without the decorator, in which "
                "get_variable works as it always did; or call this method eagerly or in a tf.function."
            )
        enabling.enable()
        owner, store = args[0], store_of(args[0])
        if active_store() is store:  # called by another decorated method of the same object
            with store.scope():
                return method(*args, **kwargs)
        known = len(store)
        citizenship.check_call(owner)
        with (
            graph_likeness.tf1_code(),
            store.scope(),
            store.owner.open(),
            precision.policy_scope(owner),
            hand_losses.gathered() as losses,
        ):
            result = method(*args, **kwargs)
            store.owner.take_losses(method.__name__, losses())
        store.owner.settle(known)
        if len(store) != known and isinstance(owner, keras.layers.Layer):
            call_records.record(owner, method.__name__, args[1:], kwargs)
        return result

    return citizenship.TrackedMethod(private.with_signature_of(method, tracked))  # type: ignore[return-value]


def _advice(thing: Any) -> str:
    if isinstance(thing, staticmethod | classmethod):
        return "It has no object that could own variables: make it a plain method."
    if isinstance(thing, property):
        return "Put the decorator below @property, on the function itself."
    if inspect.isclass(thing):
        return "Decorate the method that runs TF1-style code, `call` for instance, and not the class."
    if inspect.ismethod(thing):
        return "Decorate the function in its class, and not the method of one object."
    if isinstance(thing, tf.types.experimental.PolymorphicFunction):
        return "Put @tf.function above track_tf1_style_variables, not below."
    return "Put the decorator on the method that runs TF1-style code, `call` for instance."


def get_or_create_layer(name: str, create_layer: Callable[[], Any]) -> Any:
    """Returns the Keras layer or model `name` of the decorated method that is running, made at the first call.

    The layer belongs to the decorated object: its weights and losses are the object's. The name is
    relative to the current variable scope.

    In a TF1 graph it is `create_layer()`, as it was in TF1: the graph's collections track the layer's variables.

    Raises:
        ValueError: No decorated method is running, so nobody would own the layer.

    Example:
        >>> class Block(keras.layers.Layer):
        ...     @track_tf1_style_variables
        ...     def call(self, x):
        ...         return get_or_create_layer("dense", lambda: keras.layers.Dense(2))(x)
        >>> block = Block()
        >>> _ = block(tf.ones([1, 3])), block(tf.ones([1, 3]))
        >>> len(block.variables)
        2
    """
    store = active_store()
    if store is None:
        if not tf.compat.v1.executing_eagerly_outside_functions():
            return create_layer()
        raise ValueError(
            f"get_or_create_layer({name!r}) was called outside a method decorated with track_tf1_style_variables, "
            "so nothing would own the layer."
        )
    scope = tf.compat.v1.get_variable_scope().name
    full_name = f"{scope}/{name}" if scope else name
    if full_name not in store.layers:
        layer = create_layer()
        store.layers[full_name] = layer
        if store.on_layer is not None:
            store.on_layer(full_name, layer)
    return store.layers[full_name]


class VariableScopeLayer(keras.layers.Layer):
    """A Keras layer whose `forward_pass`, to be overridden, may be TF1-style code.

    `build(input_shape)` runs `forward_pass` symbolically once, so that weights can be loaded before the first call.

    Example:
        >>> class Scale(VariableScopeLayer):
        ...     def forward_pass(self, x):
        ...         return x * tf.compat.v1.get_variable("factor", [])
        >>> layer = Scale()
        >>> layer.build((None, 3))
        >>> [v.name for v in layer.weights]
        ['factor:0']
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Gives `call` the signature of `forward_pass`, of which Keras reads whether to hand it `training`."""
        super().__init_subclass__(**kwargs)
        _call_forward_pass(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer; its first call makes the variables."""
        # Keras builds a layer at its first call. That is about to run anyway, with the random numbers of a first run.
        self._building_by_call = True
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self._building_by_call = False

    def build(self, input_shape: Any) -> None:
        """Makes the variables for inputs of `input_shape`, a shape or a structure of shapes."""
        if not getattr(self, "_building_by_call", False) and input_shape is not None:
            private.call_symbolically(self.call, _symbolic(input_shape))
        self.built = True

    _builds_symbolically = True  # so a loaded layer is built from the calls that were saved, not from shapes alone

    @track_tf1_style_variables
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Runs `forward_pass`."""
        return self.forward_pass(*args, **kwargs)

    def forward_pass(self, *args: Any, **kwargs: Any) -> Any:
        """The TF1-style forward pass; a subclass overrides it.

        Raises:
            NotImplementedError: The subclass did not.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward_pass(self, ...).")


@functools.cache
def variable_scope_layer() -> type:
    """Returns the `VariableScopeLayer` of the Keras that `tf.keras` is: tf_keras's with `TF_USE_LEGACY_KERAS=1`."""
    if tf.keras.layers.Layer is keras.layers.Layer:
        return VariableScopeLayer

    class LegacyVariableScopeLayer(tf.keras.layers.Layer):  # type: ignore[misc]
        """A tf_keras layer whose `forward_pass`, to be overridden, may be TF1-style code."""

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            _call_forward_pass(cls)

        def forward_pass(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError(f"{type(self).__name__} must define forward_pass(self, ...).")

    return LegacyVariableScopeLayer


def _call_forward_pass(layer_class: type) -> None:
    if "forward_pass" not in vars(layer_class) or "call" in vars(layer_class):
        return

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.forward_pass(*args, **kwargs)

    call.__signature__ = inspect.signature(vars(layer_class)["forward_pass"])  # type: ignore[attr-defined]
    call.__qualname__ = f"{layer_class.__qualname__}.call"
    layer_class.call = track_tf1_style_variables(call)  # type: ignore[attr-defined]


def build(layer: keras.layers.Layer, *inputs: Any, **arguments: Any) -> None:
    """Makes the variables of a Keras layer whose decorated `call` has not run yet, by running it symbolically once.

    After it weights can be loaded. (`layer.build(shape)` would call it built without any variable.)

    Args:
        layer: a layer or model that has not been built.
        *inputs: what `call` takes: shapes (tuples, of float32), `tf.TensorSpec`s, or structures of these.
        **arguments: other arguments of `call`, as they are.

    Raises:
        TypeError: `layer` is no Keras 3 layer.

    Example:
        >>> class Scale(keras.layers.Layer):
        ...     @track_tf1_style_variables
        ...     def call(self, x):
        ...         return x * tf.compat.v1.get_variable("factor", x.shape[1:])
        >>> layer = Scale()
        >>> build(layer, (None, 3))
        >>> [tuple(v.shape) for v in layer.weights]
        [(3,)]
    """
    if not isinstance(layer, keras.layers.Layer):
        raise TypeError(f"build takes a Keras 3 layer or model, and not a {type(layer).__name__}.")
    layer(*map(_symbolic, inputs), **arguments)


def _symbolic(shapes: Any) -> Any:
    if isinstance(shapes, tf.TensorSpec):
        return keras.KerasTensor(tuple(shapes.shape), dtype=shapes.dtype.name)
    if isinstance(shapes, tf.TensorShape) or _is_shape(shapes):
        return keras.KerasTensor(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: _symbolic(value) for key, value in shapes.items()}
    if isinstance(shapes, list | tuple):
        return type(shapes)([_symbolic(value) for value in shapes])
    raise TypeError(f"expected a shape, a tf.TensorSpec, or a structure of these, and got {shapes!r}.")


def _is_shape(shape: Any) -> bool:
    # Not empty: `()` is a scalar's shape, `[]` may be a structure without inputs.
    return isinstance(shape, list | tuple) and all(size is None or isinstance(size, int) for size in shape)
