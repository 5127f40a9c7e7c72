"""Tensors out of nothing but their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.values import array_of, dtype_name
from lockstep.frameworks.torch.lowering.writing import Value, Writer


def _filled(w: Writer, size: Sequence[int], value: Any, dtype: torch.dtype) -> Value:
    # PyTorch makes it, so that what does not fit (300 in uint8) comes out, or is refused, as there.
    made = array_of(torch.full(tuple(size), value, dtype=dtype))
    return w.constant(made, dtype_name(dtype))


def _dtype_of(value: Any) -> torch.dtype:
    """Returns the dtype of a tensor that is filled with a number and not told one."""
    return torch.full((), value).dtype


@rule("full")
def full(w: Writer, size: Sequence[int], fill_value: Any, dtype: Any = None) -> Value:
    """Filled with a number."""
    return _filled(w, size, fill_value, dtype or _dtype_of(fill_value))


@rule("full_like")
def full_like(w: Writer, x: Value, fill_value: Any, dtype: Any = None) -> Value:
    """Filled with a number, in the shape of another tensor."""
    return _filled(w, x.shape, fill_value, dtype or getattr(torch, x.dtype))


@rule("zeros")
def zeros(w: Writer, size: Sequence[int], dtype: Any = None) -> Value:
    """Filled with zeros."""
    return _filled(w, size, 0, dtype or torch.get_default_dtype())


@rule("ones")
def ones(w: Writer, size: Sequence[int], dtype: Any = None) -> Value:
    """Filled with ones."""
    return _filled(w, size, 1, dtype or torch.get_default_dtype())


@rule("zeros_like")
def zeros_like(w: Writer, x: Value, dtype: Any = None) -> Value:
    """Filled with zeros, in the shape of another tensor."""
    return full_like(w, x, 0, dtype)


@rule("ones_like")
def ones_like(w: Writer, x: Value, dtype: Any = None) -> Value:
    """Filled with ones, in the shape of another tensor."""
    return full_like(w, x, 1, dtype)


@rule("fill.Scalar")
def fill(w: Writer, x: Value, value: Any) -> Value:
    """Filled with a number, in the shape and the dtype of another tensor."""
    return _filled(w, x.shape, value, getattr(torch, x.dtype))


@rule("fill.Tensor")
def fill_tensor(w: Writer, x: Value, value: Value) -> Value:
    """Filled with what a tensor holds, in the shape and the dtype of another tensor."""
    return w.broadcast(w.cast(value, x.dtype), x.shape)


@rule("scalar_tensor")
def scalar_tensor(w: Writer, s: Any, dtype: Any = None) -> Value:
    """A number."""
    return _filled(w, (), s, dtype or torch.get_default_dtype())


@rule("arange.start_step")
def arange(w: Writer, start: Any, end: Any, step: Any = 1, dtype: Any = None) -> Value:
    """Numbers with a step between them."""
    made = torch.arange(start, end, step, dtype=dtype)
    return w.constant(array_of(made), dtype_name(made.dtype))


@rule("linspace")
def linspace(w: Writer, start: Any, end: Any, steps: int, dtype: Any = None) -> Value:
    """So many numbers from one to another."""
    made = torch.linspace(start, end, steps, dtype=dtype)
    return w.constant(array_of(made), dtype_name(made.dtype))


@rule("eye", "eye.m")
def eye(w: Writer, n: int, m: int | None = None, dtype: Any = None) -> Value:
    """Ones on the diagonal."""
    made = np.eye(n, m)
    return w.constant(made, dtype_name(dtype or torch.get_default_dtype()))


@rule("tril")
def tril(w: Writer, x: Value, diagonal: int = 0) -> Value:
    """Zero above a diagonal."""
    return _where(w, np.tri(x.shape[-2], x.shape[-1], diagonal, dtype=bool), x)


@rule("triu")
def triu(w: Writer, x: Value, diagonal: int = 0) -> Value:
    """Zero below a diagonal."""
    return _where(w, ~np.tri(x.shape[-2], x.shape[-1], diagonal - 1, dtype=bool), x)


def _where(w: Writer, kept: np.ndarray, x: Value) -> Value:
    return w.op("SelectV2", w.constant(kept, "bool"), x, w.constant(0, x.dtype))
