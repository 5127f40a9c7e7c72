"""Moving averages that start from zero and are corrected for it, where variables are a store's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.tf1.store import active_store

_v1 = tf.compat.v1


def within_stores(assign: Callable[..., Any]) -> Callable[..., Any]:
    """Returns TensorFlow's `assign_moving_average` so that a trace can make or find the average's shadow variables.

    To give a shadow variable a name that no other has, TensorFlow asks all variables for their operations, which those
    that a trace has lifted out of itself do not have. A store's variables are found by their names; where reuse is on,
    nobody is asked (TensorFlow 2.16.2 and 2.21.0).
    """

    def assign_moving_average(variable: Any, value: Any, decay: Any, zero_debias: bool = True, name: Any = None) -> Any:
        if not zero_debias or active_store() is None or tf.executing_eagerly():
            return assign(variable, value, decay, zero_debias=zero_debias, name=name)
        with _v1.variable_scope(_v1.get_variable_scope(), reuse=_v1.AUTO_REUSE, auxiliary_name_scope=False):
            return assign(variable, value, decay, zero_debias=True, name=name)

    return assign_moving_average
