"""What a Keras dtype policy means to TF1-style code.

Keras casts a layer's inputs to its compute dtype before `call`. TF1-style code must then get variables that it
can compute with, while an optimizer must get variables that it can train:

- where the code names no dtype, `get_variable` hands out the compute dtype;
- a trainable variable of the compute dtype is kept in the variable dtype, and handed out cast, under the mixed
  policies. This is the getter that TF1 code for mixed precision brought itself (`float32_variable_storage_getter`);
- what is asked for in another dtype (batch normalization asks for float32 when it computes in float16), and what
  nobody trains, is as asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

_v1 = tf.compat.v1


@contextlib.contextmanager
def policy_scope(owner: Any) -> Iterator[None]:
    """A variable scope in which `get_variable` follows the dtype policy of a Keras layer."""
    if not isinstance(owner, keras.layers.Layer):
        yield
        return
    kept = owner.variable_dtype
    # Keras leaves the inputs of a layer without autocast alone, and reads its variables as they are.
    used = owner.compute_dtype if owner.autocast else kept
    if (used == kept and used == "float32") or "float" not in used:
        yield
        return
    getter = None if used == kept else _stored_as(tf.as_dtype(kept), tf.as_dtype(used))
    with _v1.variable_scope(
        _v1.get_variable_scope(), dtype=tf.as_dtype(used), custom_getter=getter, auxiliary_name_scope=False
    ):
        yield


def _stored_as(kept: tf.DType, used: tf.DType) -> Callable[..., Any]:
    def getter(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        dtype = kwargs.get("dtype")
        if kwargs.get("trainable") is False or dtype is None or tf.as_dtype(dtype).base_dtype != used:
            return getter(name, *args, **kwargs)
        kwargs["dtype"] = kept
        return tf.cast(getter(name, *args, **kwargs), used, name="cast")

    return getter
