"""Who owns the variables of TF1-style code: what a Keras 3 layer, a tf_keras layer and a `tf.Module` each need."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf

from lockstep.common.errors import LockstepError
from lockstep.tf1 import citizenship, hand_losses, ownership, private, raw_variables
from lockstep.tf1.raw_variables import STORE
from lockstep.tf1.store import VariableStore, active_stores

_VARIABLES = "_tf1_style_variables"
_LAYERS = "_tf1_style_layers"


class NoOwnerError(LockstepError, TypeError, ValueError):
    """A method decorated with `track_tf1_style_variables` has no object that could own its variables.

    It is a ValueError too, because that is what tf_keras's decorator raises.
    """


def store_of(owner: Any) -> VariableStore:
    """Returns the store of a layer, model or module, making it at the first request.

    Raises:
        NoOwnerError: (a TypeError) `owner` is none of these, so nobody would own the variables.
    """
    store = vars(owner).get(STORE) if hasattr(owner, "__dict__") else None
    if store is None:
        store = _kind(owner).store
        # Past Keras's and TensorFlow's own __setattr__, which would look into it for things to track.
        object.__setattr__(owner, STORE, store)
    return store  # type: ignore[no-any-return]


def _kind(owner: Any) -> _Owner:
    if isinstance(owner, keras.layers.Layer):
        citizenship.make_citizen(type(owner))  # where the decorator was not outermost in the class's body
        return _KerasLayer(owner)
    if is_legacy_keras(owner):
        return _LegacyKerasLayer(owner)
    if isinstance(owner, tf.Module):
        return _Module(owner)
    raise NoOwnerError(
        f"A function decorated with track_tf1_style_variables was called with a {type(owner).__name__} as its first "
        "argument, which does not extend a Keras layer, a Keras model or a tf.Module, so nothing would own its "
        "variables. Make it a method of a class that is derived from one of them, with `self` first; a static or class "
        "method has no object of its own."
    )


def is_legacy_keras(thing: Any) -> bool:
    """Tells a layer of tf_keras (Keras 2), which is not imported to find out."""
    tf_keras = sys.modules.get("tf_keras")
    return tf_keras is not None and isinstance(thing, tf_keras.layers.Layer)


class _Owner:
    """What each kind of owner does about the variables and layers of its store."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.store = VariableStore(on_create=self.adopt, on_layer=self.add_layer)
        self.store.owner = self

    def adopt(self, variable: tf.Variable, loss: Callable[[], tf.Tensor] | None) -> None:
        """Takes a new variable of the store."""

    def add_layer(self, name: str, layer: Any) -> None:
        """Takes a new layer of the store."""

    def open(self) -> AbstractContextManager[None]:
        """Lets the owner take what a decorated method sets as its attributes."""
        return contextlib.nullcontext()

    def take_losses(self, method: str, losses: list[tf.Tensor]) -> None:
        """Takes the losses that a decorated method collected by itself."""
        hand_losses.mark_owned(losses)
        self.store.hand_losses.take(method, losses, in_keras_call=False)

    def settle(self, known: int) -> None:
        """Is called when a decorated method has returned; `known` is how many variables there were before."""


class _KerasLayer(_Owner):
    """Keras 3 tracks `keras.Variable`s and its own layers alone."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._foreign: list[Any] = []
        self._included: dict[int, tuple[Any, int]] = {}

    def adopt(self, variable: tf.Variable, loss: Callable[[], tf.Tensor] | None) -> None:
        ownership.adopt_into_layer(self.owner, variable, loss)

    def add_layer(self, name: str, layer: Any) -> None:
        if isinstance(layer, keras.layers.Layer):
            ownership.adopt_sublayer(self.owner, name, layer)
        else:
            private.track_for_checkpoints(self.owner, name, layer)
            self._foreign.append(layer)

    def open(self) -> AbstractContextManager[None]:
        self.store.collect(variable for variable, _ in raw_variables.held(self.owner))
        # TF1-style code makes its layers when it runs, which is after Keras has closed the layer for new state.
        return private.unlocked(self.owner)

    def take_losses(self, method: str, losses: list[tf.Tensor]) -> None:
        hand_losses.mark_owned(losses)
        if not private.in_symbolic_build():  # nothing of which is ever computed
            self.store.hand_losses.take(method, losses, in_keras_call=private.in_keras_call())

    def settle(self, known: int) -> None:
        ownership.adopt_attributes(self.owner)
        for layer in self._foreign:
            self._include(layer, layer.variables, functools.partial(_summed_losses, layer))
        if len(self.store) != known:
            ownership.check_owned(self.owner, self.store.variables[known:])

    def include(self, store: VariableStore) -> None:
        """Takes the variables of a module that was called inside, as Keras 3 looks into no `tf.Module`."""
        if self._included.get(id(store), (None, 0))[1] == len(store):
            return
        known = self._known()
        for variable in store.variables:
            if id(variable) not in known:
                self.adopt(variable, store.regularizers.get(variable.name.removesuffix(":0")))
        self._included[id(store)] = store, len(store)

    def _include(self, thing: Any, variables: Any, losses: Callable[[], Any]) -> None:
        if self._included.get(id(thing), (None, 0))[1] == len(variables):
            return
        known = self._known()
        new = [v for v in map(private.raw_variable, variables) if id(v) not in known]
        has_losses = losses() is not None
        for place, variable in enumerate(sorted(new, key=lambda v: not v.trainable)):
            # Which of its variables a loss of a foreign layer comes from it does not tell; one takes them all.
            self.adopt(variable, losses if has_losses and place == 0 else None)
        self._included[id(thing)] = thing, len(variables)

    def _known(self) -> set[int]:
        return {id(private.raw_variable(v)) for v in self.owner.variables}


class _LegacyKerasLayer(_Owner):
    """tf_keras tracks `tf.Variable`s and its own layers in attributes, and losses that it is given as functions."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._layers: dict[str, Any] = {}
        self._foreign: dict[str, Any] = {}
        self._losses: list[Callable[[], tf.Tensor]] = []
        self._tracked = 0, 0

    def adopt(self, variable: tf.Variable, loss: Callable[[], tf.Tensor] | None) -> None:
        del variable  # settle takes them all from the store
        if loss is not None:
            self._losses.append(loss)

    def add_layer(self, name: str, layer: Any) -> None:
        if isinstance(layer, keras.layers.Layer):
            self._foreign[name] = layer
            self._losses.append(functools.partial(_summed_losses, layer))
        else:
            self._layers[name] = layer

    def take_losses(self, method: str, losses: list[tf.Tensor]) -> None:
        del method  # tf_keras clears its layers' losses itself
        hand_losses.mark_owned(losses)
        for loss in losses:
            self.owner.add_loss(loss)

    def settle(self, known: int) -> None:
        del known
        variables = _by_name(self.store)
        for name, layer in self._foreign.items():
            variables.update(_weights_of(name, layer))
        sizes = len(variables), len(self._layers)
        if sizes != self._tracked:
            setattr(self.owner, _VARIABLES, variables)
            setattr(self.owner, _LAYERS, dict(self._layers))
            self._tracked = sizes
        while self._losses:
            self.owner.add_loss(self._losses.pop(0))


class _Module(_Owner):
    """A `tf.Module` walks through its attributes for `tf.Variable`s and modules; it has no losses but the store's."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._regularized: set[int] = set()

    def open(self) -> AbstractContextManager[None]:
        self.store.collect(variable for variable, _ in raw_variables.held(self.owner))
        return super().open()

    def take_losses(self, method: str, losses: list[tf.Tensor]) -> None:
        # Within a layer they are the layer's, which looks into no module for losses.
        if not any(isinstance(store.owner, (_KerasLayer, _LegacyKerasLayer)) for store in active_stores()):
            super().take_losses(method, losses)

    def settle(self, known: int) -> None:
        for name, layer in self.store.layers.items():
            self._add_regularizers(name, layer)
        # A Keras 3 layer is no tf.Module, so a module does not look into it for variables.
        attributes = {key: value for key, value in vars(self.owner).items() if key not in (STORE, _VARIABLES)}
        layers = {**dict(_keras_layers(attributes)), **self.store.layers}
        if len(self.store) != known or layers:
            variables = _by_name(self.store)
            for name, layer in layers.items():
                variables.update(_weights_of(name, layer))
            if len(variables) != len(getattr(self.owner, _VARIABLES, ())):
                # A plain attribute is what tf.Module's `variables` and tf.train.Checkpoint walk through.
                setattr(self.owner, _VARIABLES, variables)
        for store in reversed(active_stores()):
            if isinstance(store.owner, _KerasLayer):
                store.owner.include(self.store)
                break

    def _add_regularizers(self, name: str, layer: Any) -> None:
        if not isinstance(layer, keras.layers.Layer):
            if getattr(layer, "losses", ()):
                self.store.regularizers.setdefault(name, functools.partial(_summed_losses, layer))
            return
        for variable in layer.trainable_weights:
            raw = private.raw_variable(variable)
            if variable.regularizer is None or id(raw) in self._regularized:
                continue
            self._regularized.add(id(raw))
            key = raw.name.removesuffix(":0")
            if key in self.store.regularizers:  # Keras gives its layers' weights no unique names
                key = f"{name}/{key}"
            self.store.regularizers[key] = functools.partial(variable.regularizer, raw)


def _by_name(store: VariableStore) -> dict[str, tf.Variable]:
    return {v.name.removesuffix(":0"): v for v in store.variables}


def _weights_of(name: str, layer: Any) -> dict[str, tf.Variable]:
    weights = enumerate(getattr(layer, "weights", None) or layer.variables)
    return {f"{name}/{place}/{w.name}": private.raw_variable(w) for place, w in weights}


def _keras_layers(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in attributes.items():
        if isinstance(value, keras.layers.Layer):
            yield key, value
        elif isinstance(value, list | tuple):
            yield from ((f"{key}/{n}", v) for n, v in enumerate(value) if isinstance(v, keras.layers.Layer))
        elif isinstance(value, dict):
            yield from ((f"{key}/{k}", v) for k, v in value.items() if isinstance(v, keras.layers.Layer))


def _summed_losses(layer: Any) -> tf.Tensor | None:
    losses = getattr(layer, "losses", ())
    return tf.add_n([tf.convert_to_tensor(loss) for loss in losses]) if losses else None
