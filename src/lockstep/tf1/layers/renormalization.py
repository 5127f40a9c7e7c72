"""Batch renormalisation (Ioffe 2017, https://arxiv.org/abs/1702.03275) as TF 1.15's batch normalisation does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers.conditional import either
from lockstep.tf1.layers.moving_average import assign_moving_average, assign_value, decay_of

_KEYS = ("rmin", "rmax", "dmax")


def checked_clipping(clipping: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the bounds of the corrections; raises if there are others than `rmin`, `rmax`, `dmax`."""
    bounds = dict(clipping or {})
    if not bounds.keys() <= set(_KEYS):
        raise InputError(f"renorm_clipping {bounds} contains keys not in {list(_KEYS)}")
    return bounds


def corrections(layer: Any, mean: Any, variance: Any, known: bool | None, training: Any) -> tuple[Any, Any, Any, Any]:
    """Returns the corrections r and d, and the moments to put into the moving averages.

    The normalised value x becomes x * r + d. Both come from the averages as they were before this step, which
    then move on: in a graph whoever runs the update of the moving mean or variance runs that too.

    Args:
        layer: the batch normalisation layer.
        mean: the batch's mean.
        variance: the batch's variance.
        known: `training`, or None where only a session knows it.
        training: as given to the layer.
    """
    stddev = tf.sqrt(variance + layer.epsilon)
    renorm_stddev = tf.maximum(layer.renorm_stddev, tf.sqrt(tf.constant(layer.epsilon, stddev.dtype)))
    r = stddev / renorm_stddev
    d = (mean - layer.renorm_mean) / renorm_stddev
    with tf.control_dependencies([r, d]):
        mean, stddev = tf.identity(mean), tf.identity(stddev)
    r, d = _clipped(layer.renorm_clipping, r, d)
    if known is None:
        clipped_r, clipped_d = r, d
        r = either(None, training, lambda: clipped_r, lambda: tf.ones_like(clipped_r))
        d = either(None, training, lambda: clipped_d, lambda: tf.zeros_like(clipped_d))

    def update(average: Any, value: Any) -> Any:
        def change() -> Any:
            decay = decay_of(layer.renorm_momentum, average.dtype.base_dtype)
            return tf.identity(assign_moving_average(average, value, decay))

        return either(known, training, change, lambda: tf.identity(average))

    updates = [(layer.renorm_mean, mean), (layer.renorm_stddev, stddev)]
    if tf.compat.v1.executing_eagerly_outside_functions():
        layer.add_update([lambda pair=pair: update(*pair) for pair in updates])
        return r, d, mean, variance
    with tf.control_dependencies([update(*pair) for pair in updates]):
        return r, d, tf.identity(mean), tf.identity(variance)


def _clipped(bounds: Mapping[str, Any], r: Any, d: Any) -> tuple[Any, Any]:
    if bounds.get("rmin") is not None:
        r = tf.maximum(r, bounds["rmin"])
    if bounds.get("rmax") is not None:
        r = tf.minimum(r, bounds["rmax"])
    if bounds.get("dmax") is not None:
        d = tf.minimum(tf.maximum(d, -bounds["dmax"]), bounds["dmax"])
    return r, d


def assign_variance(layer: Any, variance: Any, update: Callable[[Any, Any], Any]) -> Any:
    """Moves the average of the standard deviation, and sets the moving variance to its square less epsilon."""
    stddev = update(layer.moving_stddev, tf.sqrt(variance + layer.epsilon))
    # Rounding could make it negative.
    return assign_value(layer.moving_variance, tf.nn.relu(stddev * stddev - layer.epsilon))
