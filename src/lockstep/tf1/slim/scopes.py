"""Name scopes that have a name in eager execution too, where tf_slim makes end points of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

_v1 = tf.compat.v1


def name_scope(
    name: str | None, default_name: str | None = None, values: Sequence[Any] | None = None, skip_on_eager: bool = True
) -> AbstractContextManager[str | None]:
    """Does what TensorFlow's `name_scope` does, but tells the name of the scope also when executing eagerly.

    TensorFlow skips name scopes there and tells None, of which tf_slim's pooling and flattening make the alias of an
    entry in `outputs_collections`: `tf_slim.nets.vgg` fails on it. A graph gives the name scope, which is the variable
    scope's with the name behind it; so does this.
    """
    if not tf.executing_eagerly() or not skip_on_eager:
        return _v1.name_scope(name, default_name, values)
    parent = _v1.get_variable_scope().name
    own = f"{name or default_name}/"
    return contextlib.nullcontext(f"{parent}/{own}" if parent else own)
