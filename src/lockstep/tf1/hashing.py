"""Variables and tensors as keys and in sets, as TF1 code keeps them, where today's TensorFlow refuses.

While TF1-style code runs in a decorated method they hash by identity, as in TensorFlow 1. Dictionaries and sets ask for
identity first and compare by `==` only where two hashes are equal, so another tensor of equal value is never found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.tf1 import private
from lockstep.tf1.store import active_store


def _by_identity(original: Callable[[Any], int]) -> Callable[[Any], int]:
    def hash_of(self: Any) -> int:
        return original(self) if active_store() is None else id(self)

    return hash_of


REPLACEMENTS = [
    (kind, "__hash__", _by_identity(kind.__hash__)) for kind in (tf.Variable, tf.Tensor, private.eager_tensor_class())
]
"""(class, method, stand-in), which `lockstep.tf1.enable` puts in place and `disable` takes back."""
