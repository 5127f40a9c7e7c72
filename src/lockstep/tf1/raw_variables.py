"""Raw `tf.Variable`s that an object holds: in attributes, in containers of any depth, in objects of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

STORE = "_tf1_style_variable_store"
"""Attribute of an owner: its `VariableStore`."""

Held = tuple[tf.Variable, Callable[[], tf.Tensor] | None]
"""A variable and its regularization loss."""

# Keras's own lists of weights, which hold `keras.Variable`s alone; looking through them at every call costs time.
_KERAS_LISTS = frozenset({"_trainable_variables", "_non_trainable_variables"})
_FRAMEWORKS = frozenset({"tensorflow", "keras", "tf_keras", "numpy", "lockstep"})
_PLAIN = (str, bytes, int, float, bool, type(None))


def held(owner: Any) -> list[Held]:
    """Returns the raw variables that the attributes of an object lead to, each once, in their order.

    Lists, tuples and dicts are looked through, objects of the user's classes, and modules. Layers and models of Keras
    within it are not: what they hold is theirs.
    """
    found: dict[int, Held] = {}
    seen = {id(owner)}
    values = [value for key, value in vars(owner).items() if key not in _KERAS_LISTS and key != STORE]
    for variable, loss in _of_all(values, seen):
        found.setdefault(id(variable), (variable, loss))
    return list(found.values())


def _of_all(values: Iterable[Any], seen: set[int]) -> Iterator[Held]:
    for value in values:
        if not isinstance(value, _PLAIN):
            yield from _of(value, seen)


def _of(value: Any, seen: set[int]) -> Iterator[Held]:
    if isinstance(value, tf.Variable):
        yield value, None
        return
    if id(value) in seen or isinstance(value, type):
        return
    seen.add(id(value))
    if isinstance(value, dict):
        yield from _of_all(list(value.values()), seen)
    elif isinstance(value, list | tuple):
        yield from _of_all(value, seen)
    elif isinstance(value, tf.Module) and not _is_layer(value):
        yield from _of_module(value)
    elif not isinstance(value, tf.Module) and not _is_layer(value) and _is_users(value):
        yield from _of_all(list(vars(value).values()), seen)


def _of_module(module: tf.Module) -> Iterator[Held]:
    store = vars(module).get(STORE)
    losses = {} if store is None else store.regularizers
    for variable in module.variables:
        if isinstance(variable, tf.Variable):
            yield variable, losses.get(variable.name.removesuffix(":0"))


def _is_layer(value: Any) -> bool:
    tf_keras = sys.modules.get("tf_keras")
    return isinstance(value, keras.layers.Layer) or (tf_keras is not None and isinstance(value, tf_keras.layers.Layer))


def _is_users(value: Any) -> bool:
    """Tells an object that has attributes, and whose class is neither Python's nor a framework's."""
    package = type(value).__module__.partition(".")[0]
    return hasattr(value, "__dict__") and package not in _FRAMEWORKS and package not in sys.stdlib_module_names
