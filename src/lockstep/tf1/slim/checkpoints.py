"""tf_slim's `assign_from_checkpoint` with a slice that today's NumPy accepts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tf_slim.ops import variables as slim_variables

from lockstep.tf1 import private

_v1 = tf.compat.v1
_logger = logging.getLogger("tensorflow")


def assign_from_checkpoint(
    model_path: str,
    var_list: Sequence[Any] | Mapping[str, Any],
    ignore_missing_vars: bool = False,
) -> tuple[Any, dict[Any, np.ndarray]]:
    """Makes an operation that gives variables their values from a checkpoint.

    tf_slim cuts the part that belongs to a slice of a partitioned variable with a list of slices, which NumPy takes
    for a list of positions since 1.23.

    Args:
        model_path: the path of the checkpoint.
        var_list: the variables, or a dict: name in the checkpoint -> variable or list of variables. The name of a
            partitioned variable is that of the whole.
        ignore_missing_vars: whether a variable that the checkpoint lacks is a warning, not an error.

    Returns:
        The operation, and the `feed_dict` to run it with.

    Raises:
        ValueError: the checkpoint lacks a variable, or has it in another shape.
    """
    reader = _v1.train.NewCheckpointReader(model_path)
    assign_ops, feed_dict = [], {}
    for name, variables in _by_checkpoint_name(var_list).items():
        if not reader.has_tensor(name):
            message = f"Checkpoint is missing variable [{name}]"
            if not ignore_missing_vars:
                raise ValueError(message)
            _logger.warning(message)
            continue
        value = reader.get_tensor(name)
        for variable in variables:
            part = _part_of(value, variable, name)
            placeholder = _v1.placeholder(
                variable.dtype.base_dtype, variable.get_shape(), name="placeholder/" + variable.op.name
            )
            assign_ops.append(variable.assign(placeholder))
            feed_dict[placeholder] = part
    return tf.group(*assign_ops), feed_dict


def _by_checkpoint_name(var_list: Sequence[Any] | Mapping[str, Any]) -> dict[str, list[Any]]:
    if isinstance(var_list, Mapping):
        return {name: list(v) if isinstance(v, list | tuple) else [v] for name, v in var_list.items()}
    grouped: dict[str, list[Any]] = {}
    for variable in var_list:
        grouped.setdefault(slim_variables.get_variable_full_name(variable), []).append(variable)
    return grouped


def _part_of(value: np.ndarray, variable: Any, name: str) -> Any:
    """Returns what of the whole variable's value belongs to `variable`, which may be a slice of it."""
    slice_info = private.slice_info(variable)
    if slice_info:
        whole = tuple(
            slice(start, start + size) for start, size in zip(slice_info.var_offset, slice_info.var_shape, strict=True)
        )
        return value[whole].reshape(slice_info.var_shape)
    if variable.get_shape() != value.shape:
        raise ValueError(
            f"Total size of new array must be unchanged for {name} "
            f"lh_shape: [{value.shape}], rh_shape: [{variable.get_shape()}]"
        )
    return value
