"""`tf.compat.v1.layers.experimental`: layers that make variables of their own, whatever the variable scope.

Keras style is a property of a layer, or a cell, from its construction on. Such a layer makes its variables as plain
`tf.Variable`s, named after the name scope of its first call, never finds those of another one, and takes neither a
scope nor `reuse`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lockstep.tf1.layers import keras_style

__all__ = ["keras_style_scope", "set_keras_style"]


@contextlib.contextmanager
def keras_style_scope() -> Iterator[None]:
    """Makes the layers and cells that are constructed inside manage their variables as Keras does.

    Example:
        >>> import tensorflow as tf
        >>> from lockstep.tf1 import layers
        >>> with keras_style_scope():
        ...     first, second = layers.Dense(2, name="d"), layers.Dense(2, name="d")
        >>> _ = first(tf.ones((1, 3))), second(tf.ones((1, 3)))
        >>> first.kernel is second.kernel
        False
    """
    before = keras_style.STYLE.on
    keras_style.STYLE.on = True
    try:
        yield
    finally:
        keras_style.STYLE.on = before


def set_keras_style() -> None:
    """Does for the rest of the program, in all threads, what `keras_style_scope` does; it cannot be unset."""
    keras_style.STYLE.on = True
