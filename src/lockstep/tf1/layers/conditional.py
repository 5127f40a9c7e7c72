"""`training` as layers take it: a Python bool, a number, or a scalar tensor that only a session knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def constant_training(training: Any) -> bool | None:
    """Returns the value of `training` if it is known now, else None; None itself counts as False."""
    if training is None or isinstance(training, bool | int):
        return bool(training)
    if isinstance(training, tf.Variable) and not tf.executing_eagerly():
        return None
    value = tf.get_static_value(tf.convert_to_tensor(training))
    return None if value is None else bool(value)


def either(value: bool | None, training: Any, if_training: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """Calls one of two functions, or puts both into a conditional where only the session knows.

    Args:
        value: what `constant_training(training)` returned.
        training: the condition.
        if_training: makes the result of a training step.
        otherwise: makes the result of inference.
    """
    if value is None:
        condition = training if training.dtype.base_dtype == tf.bool else tf.cast(training, tf.bool)
        return tf.compat.v1.cond(condition, if_training, otherwise)
    return if_training() if value else otherwise()
