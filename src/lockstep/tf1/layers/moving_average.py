"""Moving averages as TF 1.15 updates them: `average -= (average - value) * decay`, in that order of rounding."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

_v1 = tf.compat.v1


def decay_of(momentum: Any, dtype: tf.DType) -> Any:
    """Returns 1 - `momentum` as TF 1.15 has it where batch normalisation is not fused: rounded to float32 once."""
    if isinstance(momentum, int | float):
        return constant(float(np.float32(1.0 - momentum)), (), dtype)
    return tf.cast(1.0 - tf.convert_to_tensor(momentum), dtype)


def decay_in_float32(momentum: Any, dtype: tf.DType) -> Any:
    """Returns 1 - `momentum` as TF 1.15 has it where batch normalisation is fused: `momentum` is rounded first.

    >>> import tensorflow as tf
    >>> float(decay_in_float32(0.9997, tf.float32)), float(decay_of(0.9997, tf.float32))
    (0.000299990177154541, 0.0003000000142492354)
    """
    if isinstance(momentum, int | float):
        return constant(float(np.float32(1.0) - np.float32(momentum)), (), dtype)
    return tf.cast(1.0 - tf.convert_to_tensor(momentum), dtype)


def constant(value: float, shape: tuple[int, ...], dtype: tf.DType) -> Any:
    """Returns a constant tensor; in eager execution each is made once, as every call of a layer needs it."""
    if tf.executing_eagerly():
        return _kept_constant(value, shape, dtype)
    return tf.constant(value, dtype, shape)


@functools.lru_cache(maxsize=1024)
def _kept_constant(value: float, shape: tuple[int, ...], dtype: tf.DType) -> Any:
    return tf.constant(value, dtype, shape)


def assign_moving_average(average: Any, value: Any, decay: Any) -> Any:
    """Moves `average` towards `value` by the share `decay`; returns an operation, a variable or a tensor.

    Args:
        average: the variable.
        value: tensor of its shape.
        decay: scalar tensor of its dtype.
    """
    if tf.executing_eagerly():
        return average.assign_sub((average - tf.cast(value, average.dtype)) * decay)
    with _v1.name_scope("AssignMovingAvg") as scope:
        delta = (average - tf.cast(value, average.dtype.base_dtype)) * decay
        return _v1.assign_sub(average, delta, name=scope)


def assign_value(variable: Any, value: Any) -> Any:
    """Gives `variable` a new value; returns an operation, a variable or a tensor."""
    if tf.executing_eagerly():
        return variable.assign(value)
    with _v1.name_scope("AssignNewValue") as scope:
        return _v1.assign(variable, value, name=scope)
