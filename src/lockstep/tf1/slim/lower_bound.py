"""The lower bound of tf_slim's divisive normalisation (`slim.gdn`) with its own gradient, in graphs and eagerly.

tf_slim names a gradient that only TensorFlow 1's `tf.contrib` registered: without it a graph has no gradient at all,
and eager execution silently takes the one of `tf.maximum`, which is zero wherever the bound holds.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def lower_bound(inputs: Any, bound: Any, name: str | None = None) -> tf.Tensor:
    """Returns max(inputs, bound); what would raise an input that is below the bound passes into its gradient.

    Args:
        inputs: any shape, floating.
        bound: the bound, a scalar or of a shape that broadcasts to that of `inputs`; it gets no gradient.
        name: the name of the operation.
    """
    with tf.compat.v1.name_scope(name, "GDNLowerBound", [inputs, bound]) as scope:
        inputs = tf.convert_to_tensor(inputs, name="inputs")
        bound = tf.convert_to_tensor(bound, name="bound")

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def bounded(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                passes = tf.logical_or(values >= bound, upstream < 0)
                return tf.cast(passes, upstream.dtype) * upstream

            return tf.maximum(values, bound, name=scope), gradient

        return bounded(inputs)
