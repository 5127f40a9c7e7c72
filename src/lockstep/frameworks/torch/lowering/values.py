"""Tensors of PyTorch as TensorFlow's, dtypes by name, and PyTorch's promotion of dtypes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
import torch

WIDE = {"float16": "float64", "bfloat16": "float64", "float32": "float64", "complex64": "complex128"}
"""Dtype -> what a run in float64 has instead."""


def dtype_name(dtype: torch.dtype) -> str:
    """Returns what PyTorch, NumPy and TensorFlow call a dtype in common.

    >>> dtype_name(torch.int64)
    'int64'
    """
    return str(dtype).removeprefix("torch.")


def torch_dtype(name: str) -> torch.dtype:
    """Returns the dtype of PyTorch that has a name.

    >>> torch_dtype("bool")
    torch.bool
    """
    found: torch.dtype = getattr(torch, name)
    return found


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Returns the dtype of NumPy that has a name, bfloat16 included."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """Returns a tensor's values, of the same shape and dtype (bfloat16 as that of ml_dtypes); strides are let go."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if plain.dtype == torch.bfloat16:
        return np.asarray(plain.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.asarray(plain.numpy())


def torch_of(array: np.ndarray) -> torch.Tensor:
    """Returns an array's values as a tensor with memory of its own, of the same shape and dtype."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.ascontiguousarray(array).view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C", copy=True))


def tensorflow_of(tensor: torch.Tensor) -> Any:
    """Returns a tensor's values as TensorFlow holds them."""
    return tf.convert_to_tensor(array_of(tensor))


def promoted(one: Any, other: Any) -> str:
    """Returns the dtype in which PyTorch computes with two operands: a number counts less than a tensor of its kind.

    Args:
        one: What has `dtype` (a name) and `shape`, or a Python number.
        other: The same.
    """
    return dtype_name(torch.result_type(_sample(one), _sample(other)))


def floating(dtype: str) -> bool:
    """Whether values of a dtype are rounded."""
    return dtype.startswith(("float", "bfloat", "complex"))


def axes(dims: Sequence[int] | int | None, rank: int) -> tuple[int, ...]:
    """Returns dimensions counted from the front, as PyTorch means them: none or no list means all.

    >>> axes(-1, 3), axes(None, 2), axes([0, -1], 2), axes(-1, 0)
    ((2,), (0, 1), (0, 1), ())
    """
    if isinstance(dims, int):
        dims = [dims]
    if not dims:
        return tuple(range(rank))
    return tuple(dim % rank for dim in dims) if rank else ()


def _sample(operand: Any) -> Any:
    if isinstance(operand, (bool, int, float, complex)):
        return operand
    return _sample_of(operand.dtype, bool(operand.shape))


@cache
def _sample_of(dtype: str, dimensioned: bool) -> torch.Tensor:
    return torch.empty((1,) if dimensioned else (), dtype=torch_dtype(dtype))
