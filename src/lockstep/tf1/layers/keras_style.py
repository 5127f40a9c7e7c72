"""What is different in a layer of Keras style: see `lockstep.tf1.layers.experimental`."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.store import VariableStore, active_store

_v1 = tf.compat.v1


class _Style:
    """Whether layers constructed now are of Keras style; of all threads, as in TF 1.15."""

    on = False


STYLE = _Style()

_prefixes: weakref.WeakKeyDictionary[VariableStore, dict[str, Any]] = weakref.WeakKeyDictionary()


def refuse(argument: str, value: Any) -> None:
    """Raises `InputError` if an argument was given that belongs to the other style."""
    if value is not None:
        raise InputError(
            f"{argument} argument not allowed when keras style layers are enabled, but saw: {value}. "
            "Leave it out, or construct the layer outside keras_style_scope."
        )


@contextlib.contextmanager
def scope_of_call(layer: Any) -> Iterator[None]:
    """Enters the name scope of one call of `layer`.

    A graph makes the scope's name unique. A `VariableStore` has one name for each variable, so that the same is
    done here for each of its layers.
    """
    store = active_store()
    if store is None:
        with name_scope(layer.name):
            yield
        return
    taken = _prefixes.setdefault(store, {})
    for count in itertools.count():
        candidate = name_scope(f"{layer.name}_{count}" if count else layer.name)
        with candidate as prefix:
            if taken.get(prefix, layer) is layer:
                taken[prefix] = layer
                yield
                return


def make_variable(  # noqa: PLR0913
    name: str, shape: Any, dtype: tf.DType, *, initializer: Any, trainable: bool, constraint: Any, use_resource: Any
) -> Any:
    """Makes a variable that no variable scope knows.

    Args:
        name: its name in the present name scope.
        shape: its shape.
        dtype: its dtype.
        initializer: a function of shape and dtype, or a value.
        trainable: whether optimizers see it.
        constraint: projection for optimizers, or None.
        use_resource: as in `tf.compat.v1.Variable`; None is True.

    Returns:
        The variable.
    """
    if inspect.isclass(initializer):
        initializer = initializer()
    initial = (lambda: initializer(shape, dtype=dtype)) if callable(initializer) else initializer
    lifted = tf.init_scope() if _v1.executing_eagerly_outside_functions() else contextlib.nullcontext()
    with lifted:
        return _v1.Variable(
            initial,
            trainable=trainable,
            name=name,
            dtype=dtype.base_dtype if callable(initializer) else None,
            constraint=constraint,
            use_resource=True if use_resource is None else use_resource,
        )
