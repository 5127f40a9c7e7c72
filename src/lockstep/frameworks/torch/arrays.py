"""NumPy arrays as tensors of PyTorch, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lockstep.common.errors import InputError
from lockstep.ground.structure import flatten

_TEXT = "OSU"


def tensor(array: np.ndarray, name: str) -> torch.Tensor:
    """Returns an array as a tensor with memory of its own.

    Args:
        array: Of any dtype that PyTorch has, bfloat16 of `ml_dtypes` included.
        name: What it is, for messages.

    Raises:
        InputError: PyTorch has no such dtype.
    """
    # A copy that keeps the rank: `ascontiguousarray` makes an array of one of a scalar.
    copied = np.array(array, order="C", copy=True)
    if copied.dtype.name == "bfloat16":
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    if copied.dtype.kind in _TEXT:
        raise InputError(f"{name} holds text ({copied.dtype.name}), which PyTorch has no dtype for; give numbers.")
    try:
        return torch.from_numpy(copied)
    except TypeError as error:
        raise InputError(f"{name} is {copied.dtype.name}, which PyTorch has no dtype for.") from error


def array(value: torch.Tensor) -> np.ndarray:
    """Returns a tensor as an array with memory of its own."""
    plain = value.detach().to("cpu")
    if plain.dtype is torch.bfloat16:
        import ml_dtypes

        return np.array(plain.contiguous().view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.array(plain.resolve_conj().resolve_neg().numpy())


def dtype_name(value: torch.Tensor) -> str:
    """Returns what NumPy calls a tensor's dtype, `"float32"`."""
    return str(value.dtype).removeprefix("torch.")


def leaves(returned: Any) -> dict[str, Any]:
    """Returns what a module returned by paths, as the other frameworks' outputs have them; a None is left out.

    Dicts (`transformers`' outputs are such), tuples, lists and data classes are taken apart.

    >>> leaves({"a": 1, "b": (2, None)})
    {'a': 1, 'b/0': 2}
    """
    return dict(flatten(_plain(returned)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_plain(item) for item in value))
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
