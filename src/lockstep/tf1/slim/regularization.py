"""tf_slim's regularization losses where no graph collects them."""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf

from lockstep.tf1.store import active_store

_v1 = tf.compat.v1


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """Lists the regularization losses: scalar tensors.

    In a graph they are in its collection. Eagerly, and in a `tf.function`, nothing puts them there: they are those
    of the active variable store, computed now. `slim.losses.get_total_loss` would leave them out without a word.

    Args:
        scope: a regular expression that the losses' names begin with; None is all.
    """
    collected = list(_v1.get_collection(_v1.GraphKeys.REGULARIZATION_LOSSES, scope))
    store = active_store()
    if store is None or not _v1.executing_eagerly_outside_functions():
        return collected
    matches = re.compile(scope or "").match
    return collected + [loss() for name, loss in store.regularizers.items() if matches(f"{name}/Regularizer/")]
