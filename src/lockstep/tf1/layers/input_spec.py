"""What a layer expects of its inputs, and the check of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError


class InputSpec:
    """Rank, shape and dtype that a layer expects of one input; what is None is not checked.

    Attributes:
        dtype: the dtype's name.
        shape: dimensions; None matches any.
        ndim: the exact rank.
        max_ndim: the largest rank.
        min_ndim: the smallest rank.
        axes: axis -> its dimension.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
    ) -> None:
        self.dtype = tf.as_dtype(dtype).name if dtype is not None else None
        self.shape = shape
        self.ndim = len(shape) if shape is not None else ndim
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        try:
            self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        except (TypeError, ValueError):
            raise TypeError(f"The keys in axes must be integers, but axes is {axes!r}.") from None
        rank = self.ndim or self.max_ndim
        if rank and self.axes and max(self.axes) >= rank:
            raise InputError(f"Axis {max(self.axes)} is greater than the maximum allowed value: {rank - 1}")

    def __repr__(self) -> str:
        fields = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return f"InputSpec({', '.join(f'{f}={getattr(self, f)}' for f in fields if getattr(self, f))})"

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputSpec:
        """Makes the specification that `get_config` described."""
        return cls(**config)


def check_input(spec: Any, inputs: Any, layer_name: str) -> None:
    """Raises `InputError` if an input is not what its `InputSpec` expects.

    Args:
        spec: an `InputSpec`, a list of them (None for an input that is free), or None.
        inputs: one tensor or a structure of tensors, one per specification.
        layer_name: for the message.
    """
    if isinstance(spec, InputSpec) and isinstance(inputs, tf.Tensor):
        _check_one(spec, inputs, 0, layer_name)
    elif spec is not None:
        specs, tensors = tf.nest.flatten(spec), tf.nest.flatten(inputs)
        if len(specs) != len(tensors):
            raise InputError(
                f"Layer {layer_name} expects {len(specs)} inputs, but it received {len(tensors)} input tensors."
            )
        for index, (one, tensor) in enumerate(zip(specs, tensors, strict=True)):
            if one is not None:
                _check_one(one, tensor, index, layer_name)


def _check_one(spec: InputSpec, tensor: Any, index: int, layer_name: str) -> None:
    shape = tensor.shape
    rank = shape.rank
    if rank is None:
        wrong = None
        if spec.ndim is not None or spec.min_ndim is not None or spec.max_ndim is not None:
            wrong = "its rank is undefined, but the layer requires a defined rank."
    else:
        wrong = _rank_mismatch(spec, rank, shape) or _dimension_mismatch(spec, rank, shape)
    if wrong is None and spec.dtype is not None and tensor.dtype.base_dtype != spec.dtype:
        wrong = f"expected dtype={spec.dtype}, found dtype={tensor.dtype.base_dtype.name}"
    if wrong is not None:
        raise InputError(f"Input {index} of layer {layer_name} is incompatible with the layer: {wrong}")


def _rank_mismatch(spec: InputSpec, rank: int, shape: tf.TensorShape) -> str | None:
    if spec.ndim is not None and rank != spec.ndim:
        return f"expected ndim={spec.ndim}, found ndim={rank}. Full shape received: {shape.as_list()}"
    if spec.max_ndim is not None and rank > spec.max_ndim:
        return f"expected max_ndim={spec.max_ndim}, found ndim={rank}. Full shape received: {shape.as_list()}"
    if spec.min_ndim is not None and rank < spec.min_ndim:
        return f"expected min_ndim={spec.min_ndim}, found ndim={rank}. Full shape received: {shape.as_list()}"
    return None


def _dimension_mismatch(spec: InputSpec, rank: int, shape: tf.TensorShape) -> str | None:
    for axis, size in spec.axes.items():
        found = shape[axis] if -rank <= axis < rank else None
        if size is not None and found is not None and found != size:
            return (
                f"expected axis {axis} of input shape to have value {size} "
                f"but received input with shape {shape.as_list()}"
            )
    if spec.shape is not None:
        for wanted, found in zip(spec.shape, shape, strict=False):
            if wanted is not None and found is not None and wanted != found:
                return f"expected shape={tuple(spec.shape)}, found shape={shape.as_list()}"
    return None
