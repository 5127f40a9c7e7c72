"""A regularization loss as TF1-style code finds it in a collection: computed when it is used, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class CollectedLoss:
    """Stands in `GraphKeys.REGULARIZATION_LOSSES` for a loss; most code never asks, so it costs nothing until then.

    TensorFlow takes it wherever it takes a tensor, through its `__tf_tensor__` protocol.

    Example:
        >>> loss = CollectedLoss("w/Regularizer", lambda: tf.constant(2.0))
        >>> float(tf.add_n([loss, loss])), float(1.0 + loss), float(sum([loss, loss]))
        (4.0, 3.0, 4.0)
    """

    # Before NumPy arrays and tensors: their own operators would not know what to do with it.
    __array_priority__ = 1000

    def __init__(self, name: str, compute: Callable[[], tf.Tensor]) -> None:
        self.name = name  # collections are asked for by scope: by the beginning of their members' names
        self._compute = compute

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self._compute(), dtype=dtype, name=name)

    def __getattr__(self, name: str) -> Any:
        # What a tensor has (`dtype`, `shape`, `numpy`, ...), of its present value.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(tf.convert_to_tensor(self), name)

    def __float__(self) -> float:
        return float(tf.convert_to_tensor(self))

    def __add__(self, other: Any) -> tf.Tensor:
        return tf.convert_to_tensor(self) + other

    def __radd__(self, other: Any) -> tf.Tensor:
        return other + tf.convert_to_tensor(self)

    def __mul__(self, other: Any) -> tf.Tensor:
        return tf.convert_to_tensor(self) * other

    def __rmul__(self, other: Any) -> tf.Tensor:
        return other * tf.convert_to_tensor(self)
