"""tf_slim's functions that look for a variable among variables, for a TensorFlow where `==` compares values.

With TensorFlow 2's behaviour `variable in variables` compares the variables' values element by element and fails for
all but scalars, and a variable cannot be an element of a set. TensorFlow 1 compared the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
from tf_slim.layers import layers, utils
from tf_slim.ops import variables as slim_variables

MODEL_VARIABLES = tf.compat.v1.GraphKeys.MODEL_VARIABLES


def is_among(variable: Any, variables: Iterable[Any]) -> bool:
    """Returns whether `variable` is one of the objects in `variables`."""
    return any(variable is other for other in variables)


def add_variable_to_collections(variable: Any, collections_set: Any, collections_name: str) -> None:
    """Adds a variable, or the parts of a partitioned one, to the collections given for `collections_name`.

    Args:
        variable: the variable.
        collections_set: names of collections, or a dict of them with names such as `weights` as its keys.
        collections_name: which names count if `collections_set` is a dict.
    """
    collections = utils.get_variable_collections(collections_set, collections_name)
    if not collections:
        return
    parts = list(variable) if isinstance(variable, layers.tf_variables.PartitionedVariable) else [variable]
    for collection in collections:
        for part in parts:
            _add_once(collection, part)


def add_model_variable(var: Any) -> None:
    """Adds a variable to the collection of model variables unless it is there."""
    _add_once(MODEL_VARIABLES, var)


def get_variables_to_restore(include: Sequence[str] | None = None, exclude: Sequence[str] | None = None) -> list[Any]:
    """Lists the variables in the scopes `include` (None: all) that are in none of the scopes `exclude`.

    Raises:
        TypeError: `include` or `exclude` is neither None nor a list nor a tuple.
    """
    for name, scopes in (("include", include), ("exclude", exclude)):
        if scopes is not None and not isinstance(scopes, list | tuple):
            raise TypeError(f"{name} is provided but is not a list or a tuple.")
    included = _variables_in([None] if include is None else include)
    excluded = {id(variable) for variable in _variables_in(exclude or [])}
    return [variable for variable in included if id(variable) not in excluded]


def _variables_in(scopes: Iterable[str | None]) -> list[Any]:
    return [variable for scope in scopes for variable in slim_variables.get_variables(scope)]


def _add_once(collection: str, variable: Any) -> None:
    if not is_among(variable, tf.compat.v1.get_collection(collection)):
        tf.compat.v1.add_to_collection(collection, variable)
