"""Names that TF1's layers accept in place of functions: `activation="relu"`, `kernel_initializer="he_normal"`, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError, nearest

_v1 = tf.compat.v1

_ACTIVATIONS: Mapping[str, Callable[..., Any]] = {
    "elu": tf.nn.elu,
    "exponential": tf.exp,
    "hard_sigmoid": lambda x: tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0),
    "linear": lambda x: x,
    "relu": tf.nn.relu,
    "selu": tf.nn.selu,
    "sigmoid": tf.sigmoid,
    "softmax": tf.nn.softmax,
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
    "tanh": tf.tanh,
}


def _scaling(scale: float, mode: str, distribution: str) -> Callable[[], Any]:
    return lambda: _v1.variance_scaling_initializer(scale=scale, mode=mode, distribution=distribution)


# The defaults of the names are those of TF 1.15's tf.keras.initializers (0.05 for the plain distributions).
_INITIALIZERS: Mapping[str, Callable[[], Any]] = {
    "constant": _v1.constant_initializer,
    "glorot_normal": _v1.glorot_normal_initializer,
    "glorot_uniform": _v1.glorot_uniform_initializer,
    "he_normal": _scaling(2.0, "fan_in", "truncated_normal"),
    "he_uniform": _scaling(2.0, "fan_in", "uniform"),
    "identity": _v1.initializers.identity,
    "lecun_normal": _scaling(1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": _scaling(1.0, "fan_in", "uniform"),
    "ones": _v1.ones_initializer,
    "orthogonal": _v1.orthogonal_initializer,
    "random_normal": lambda: _v1.random_normal_initializer(0.0, 0.05),
    "random_uniform": lambda: _v1.random_uniform_initializer(-0.05, 0.05),
    "truncated_normal": lambda: _v1.truncated_normal_initializer(0.0, 0.05),
    "variance_scaling": _v1.variance_scaling_initializer,
    "zeros": _v1.zeros_initializer,
}

_REGULARIZERS: Mapping[str, Callable[[], Any]] = {
    "l1": lambda: lambda x: 0.01 * tf.reduce_sum(tf.abs(x)),
    "l2": lambda: lambda x: 0.01 * tf.reduce_sum(tf.square(x)),
    "l1_l2": lambda: lambda x: 0.01 * tf.reduce_sum(tf.abs(x)) + 0.01 * tf.reduce_sum(tf.square(x)),
}


def activation_function(identifier: Any) -> Any:
    """Returns the activation function that `identifier` names or is; None stays None."""
    if identifier is None or callable(identifier):
        return identifier
    return _named(_ACTIVATIONS, identifier, "activation")


def initializer(identifier: Any) -> Any:
    """Returns the initializer that `identifier` names or is; None stays None."""
    if identifier is None or callable(identifier):
        return identifier
    return _named(_INITIALIZERS, identifier, "initializer")()


def regularizer(identifier: Any) -> Any:
    """Returns the regularizer that `identifier` names or is; None stays None."""
    if identifier is None or callable(identifier):
        return identifier
    return _named(_REGULARIZERS, identifier, "regularizer")()


def constraint(identifier: Any) -> Any:
    """Returns the constraint; TF 1.15 resolves Keras's names here, Lockstep takes functions only."""
    if identifier is None or callable(identifier):
        return identifier
    raise InputError(f"Could not interpret constraint identifier: {identifier!r}. Pass a function of the variable.")


def _named(known: Mapping[str, Any], identifier: Any, kind: str) -> Any:
    if isinstance(identifier, str):
        if identifier in known:
            return known[identifier]
        hint = nearest(identifier, known)
    else:
        hint = ""
    raise InputError(
        f"Could not interpret {kind} identifier: {identifier!r}{hint}. Pass a function or one of {sorted(known)}."
    )
