"""TF1's summaries in eager execution: operations that nobody runs there, as nobody fetches them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.tf1.store import active_store

NAMES = ("audio", "histogram", "image", "merge", "merge_all", "scalar", "tensor_summary", "text")


def left_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns one of `tf.summary`'s functions that gives an empty summary in a decorated method that runs eagerly.

    There TensorFlow's own would warn that it has no writer, or fail (`image`, `merge_all`). A TF1 graph computes a
    summary only if a session fetches it.
    """

    @functools.wraps(function)
    def summary(*args: Any, **kwargs: Any) -> Any:
        if active_store() is not None and tf.executing_eagerly():
            return tf.constant(b"")
        return function(*args, **kwargs)

    return summary
