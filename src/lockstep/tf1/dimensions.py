"""`tensor.shape[1].value`, as TF1 code says it, where today's TensorFlow gives a plain integer.

While TF1-style code runs (in a decorated method, or while a TF1 graph is built) the known sizes of a shape are integers
that have a `value` as well. Everywhere else shapes stay as they are. An unknown size is `None`, as in TensorFlow 2.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from lockstep.tf1.store import active_store


class Dimension(int):
    """A known size of a shape: an integer that also has TensorFlow 1's `value`.

    Example:
        >>> size = Dimension(3) * 2
        >>> size, size.value
        (6, 6)
    """

    @property
    def value(self) -> int:
        """The size as a plain integer."""
        return int(self)


def _kept(operation: Callable[[int, int], int], *, reflected: bool) -> Callable[[Dimension, Any], Any]:
    def calculated(self: Dimension, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        mine, others = int(self), int(other)
        return Dimension(operation(others, mine) if reflected else operation(mine, others))

    return calculated


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(Dimension, f"__{_name}__", _kept(getattr(operator, _name), reflected=False))
    setattr(Dimension, f"__r{_name}__", _kept(getattr(operator, _name), reflected=True))

_get, _iterate = tf.TensorShape.__getitem__, tf.TensorShape.__iter__


def _in_tf1_code() -> bool:
    return active_store() is not None or not tf.compat.v1.executing_eagerly_outside_functions()


def _sized(found: Any) -> Any:
    return Dimension(found) if type(found) is int and _in_tf1_code() else found


def _get_sized(self: tf.TensorShape, key: Any) -> Any:
    return _sized(_get(self, key))


def _iterate_sized(self: tf.TensorShape) -> Iterator[Any]:
    return map(_sized, _iterate(self))


REPLACEMENTS = [(tf.TensorShape, "__getitem__", _get_sized), (tf.TensorShape, "__iter__", _iterate_sized)]
"""(class, method, stand-in), which `lockstep.tf1.enable` puts in place and `disable` takes back."""
