"""The guide's decorator and its companions, for Keras 3 layers and models and for `tf.Module`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import tensorflow as tf

from lockstep.tf1 import call_records, citizenship, enabling, ownership, precision, private
from lockstep.tf1.store import VariableStore, active_store

_STORE = "_tf1_style_variable_store"
_MODULE_VARIABLES = "_tf1_style_variables"
_Method = TypeVar("_Method", bound=Callable[..., Any])


def track_tf1_style_variables(method: _Method) -> _Method:
    """Decorates a method so that the TF1-style variables it makes belong to its object and are reused.

    The object is a `keras.layers.Layer`, a `keras.Model` or a `tf.Module`. All decorated methods of one
    object share its variables. In a Keras layer each variable is one of `layer.variables` under its TF1
    name, and each regularized one gives exactly one entry of `layer.losses`, computed when it is read.
    What Keras does with such a layer (weight files keyed by name, dtype policies, frozen layers, optimizers)
    is in `docs/tf1_layers_in_keras.md`. In short: as in TF1, a frozen layer (`layer.trainable = False`) keeps
    its regularization losses, and its batch normalization goes by the `training` argument alone.

    Raises:
        TypeError: `method` is no function, or, at the call, belongs to no layer, model or module.
        StatelessCallError: Keras's `stateless_call` is calling, whose values TF1-style code would ignore.

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
            f"{method!r}, a {type(method).__name__}."
        )

    def tracked(self: Any, *args: Any, **kwargs: Any) -> Any:
        enabling.enable()
        store = store_of(self)
        if active_store() is store:  # called by another decorated method of the same object
            with store.scope():
                return method(self, *args, **kwargs)
        known = len(store)
        citizenship.check_call(self)
        with store.scope(), precision.policy_scope(self):
            result = method(self, *args, **kwargs)
        _settle(self, store, known)
        if len(store) != known and isinstance(self, keras.layers.Layer):
            call_records.record(self, method.__name__, args, kwargs)
        return result

    # tf_decorator keeps the signature that Keras inspects and the name that AutoGraph prints.
    tracked_method = tf.__internal__.decorator.make_decorator(method, tracked)
    return citizenship.TrackedMethod(tracked_method)  # type: ignore[return-value]


def store_of(owner: Any) -> VariableStore:
    """Returns the store of a layer, model or module, making it at the first request.

    Raises:
        TypeError: `owner` is none of these, so nobody would own the variables.
    """
    store = vars(owner).get(_STORE) if hasattr(owner, "__dict__") else None
    if store is None:
        if isinstance(owner, keras.layers.Layer):
            citizenship.make_citizen(type(owner))  # where the decorator was not outermost in the class's body
            store = VariableStore(
                on_create=lambda variable, loss: ownership.adopt_into_layer(owner, variable, loss),
                on_layer=lambda name, layer: ownership.adopt_sublayer(owner, name, layer),
            )
        elif isinstance(owner, tf.Module):
            store = VariableStore()
        else:
            raise TypeError(
                f"A method decorated with track_tf1_style_variables was called on a {type(owner).__name__}, which is "
                "neither a Keras layer, a Keras model nor a tf.Module, so nothing would own its variables. "
                "Derive the class from one of them."
            )
        # Past Keras's and TensorFlow's own __setattr__, which would look into it for things to track.
        object.__setattr__(owner, _STORE, store)
    return store  # type: ignore[no-any-return]


def _settle(owner: Any, store: VariableStore, known: int) -> None:
    if isinstance(owner, keras.layers.Layer):
        ownership.adopt_attributes(owner)
        if len(store) != known:
            ownership.check_owned(owner, store.variables)
    elif len(store) != known or store.layers:
        variables = {v.name.removesuffix(":0"): v for v in store.variables}
        # A Keras 3 layer is no tf.Module, so a module does not look into it for variables.
        for name, layer in store.layers.items():
            weights = enumerate(layer.weights)
            variables.update({f"{name}/{place}/{w.name}": private.raw_variable(w) for place, w in weights})
        if len(variables) != len(getattr(owner, _MODULE_VARIABLES, ())):
            # A plain attribute is what tf.Module's `variables` and tf.train.Checkpoint walk through.
            setattr(owner, _MODULE_VARIABLES, variables)


def get_or_create_layer(name: str, create_layer: Callable[[], Any]) -> Any:
    """Returns the Keras layer or model `name` of the decorated method that is running, made at the first call.

    The layer belongs to the decorated object: its weights and losses are the object's. The name is
    relative to the current variable scope.

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
    """A Keras layer whose `forward_pass`, to be overridden, may be TF1-style code."""

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
