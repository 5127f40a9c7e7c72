"""Initial states of cells: structures of zeros that fit a `state_size`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError


def zeros(state_size: Any, batch_size: Any, dtype: Any) -> Any:
    """Returns tensors of zeros in the structure of `state_size`.

    Args:
        state_size: an int, a `tf.TensorShape`, a vector tensor, or a nested structure of these.
        batch_size: an int, or a scalar or unit integer tensor.
        dtype: dtype of all tensors.

    Returns:
        Tensors of shape (batch_size, *size).

    >>> [tuple(state.shape) for state in zeros((3, tf.TensorShape([2, 2])), 4, tf.float32)]
    [(4, 3), (4, 2, 2)]
    """
    return tf.nest.map_structure(lambda size: _zeros(size, batch_size, dtype), state_size)


def _zeros(size: Any, batch_size: Any, dtype: Any) -> Any:
    static = _static(batch_size).concatenate(_static(size))
    if static.is_fully_defined():
        return tf.zeros(static, dtype)
    result = tf.zeros(tf.concat([_dynamic(batch_size), _dynamic(size)], 0), dtype)
    if not tf.executing_eagerly():
        result.set_shape(static)
    return result


def _static(size: Any) -> tf.TensorShape:
    """Returns what is known of a size: (size,) of a number, the shape of a vector."""
    if not tf.is_tensor(size):
        return tf.TensorShape(size)
    if size.shape.rank == 0:
        return tf.TensorShape([tf.get_static_value(size)])
    if size.shape.rank != 1:
        raise InputError(f"A batch or state size must be a number or a vector, but this tensor was given: {size}")
    value = tf.get_static_value(size, partial=True)
    return tf.TensorShape([None] * (size.shape[0] or 0) if value is None else list(value))


def _dynamic(size: Any) -> Any:
    """Returns a size as an int32 vector."""
    if tf.is_tensor(size):
        return tf.reshape(tf.cast(size, tf.int32), [-1])
    shape = tf.TensorShape(size)
    if not shape.is_fully_defined():
        raise InputError(
            f"A state of zeros needs a known size, but found {size}. Give the batch size as a number or as a tensor, "
            "such as tf.shape(inputs)[0]."
        )
    return tf.constant(shape.as_list(), tf.int32)
