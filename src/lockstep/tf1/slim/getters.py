"""The variable getter of tf_slim's layers, shorter in eager execution.

A layer of tf_slim takes each of its variables through `model_variable` and `variable`, once for every layer around it
that has a getter of its own: a fifth of the Python time of an eager call of Inception-ResNet-v2. All that they do is
to rename the variable and to name two collections, unless an argument scope says something about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tf_slim.layers import layers
from tf_slim.ops import arg_scope
from tf_slim.ops import variables as slim_variables

_v1 = tf.compat.v1
_COLLECTIONS = (_v1.GraphKeys.GLOBAL_VARIABLES, _v1.GraphKeys.MODEL_VARIABLES)
_MODEL_VARIABLE = arg_scope.arg_scope_func_key(slim_variables.model_variable)
_VARIABLE = arg_scope.arg_scope_func_key(slim_variables.variable)


def build_variable_getter(rename: Mapping[str, str] | None = None) -> Callable[..., Any]:
    """Makes the getter of a layer's variables.

    Args:
        rename: the last part of a variable's name -> what it becomes.
    """

    def layer_variable_getter(getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        scope = arg_scope.current_arg_scope()
        if not tf.executing_eagerly() or _MODEL_VARIABLE in scope or _VARIABLE in scope:
            return layers._model_variable_getter(getter, *args, rename=rename, **kwargs)
        return _get(getter, rename, *args, **kwargs)

    return layer_variable_getter


def _get(  # noqa: PLR0913, PLR0917 - the signature is that of a custom getter
    getter: Callable[..., Any],
    rename: Mapping[str, str] | None,
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = True,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    use_resource: bool | None = None,
    synchronization: Any = tf.VariableSynchronization.AUTO,
    aggregation: Any = tf.VariableAggregation.NONE,
    **_: Any,
) -> Any:
    # What else there is (`constraint`, `validate_shape`) tf_slim drops, too.
    if rename:
        scope, slash, short_name = name.rpartition("/")
        name = scope + slash + rename.get(short_name, short_name)
    return getter(
        name,
        reuse=_v1.get_variable_scope().reuse,
        shape=shape,
        dtype=dtype,
        initializer=initializer,
        regularizer=regularizer,
        trainable=trainable,
        collections=list(dict.fromkeys((*(collections or ()), *_COLLECTIONS))),
        caching_device=caching_device,
        partitioner=partitioner,
        use_resource=use_resource,
        synchronization=synchronization,
        aggregation=aggregation,
    )
