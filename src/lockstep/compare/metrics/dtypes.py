"""What NumPy's and ml_dtypes' dtypes hold, and how finely."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lockstep.common.errors import InputError

Array = npt.NDArray[Any]
DType = np.dtype[Any]

PRECISION = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
_TINY_FLOATS = ("float8_", "float6_", "float4_")
_TINY_INTEGERS = ("int1", "int2", "int4", "uint1", "uint2", "uint4")


@functools.cache
def kind_of(dtype: DType) -> str:
    """What a dtype holds: "float", "complex", "integer" (bool too) or "text"; `InputError` for anything else."""
    # ml_dtypes registers its dtypes with NumPy, mostly as kind "V"; their names tell them apart without importing it.
    if dtype.name == "bfloat16" or dtype.name.startswith(_TINY_FLOATS) or dtype.name in PRECISION:
        return "float"
    if dtype.kind in "biu" or dtype.name in _TINY_INTEGERS:
        return "integer"
    if dtype.name in ("complex64", "complex128"):
        return "complex"
    if dtype.kind in "SUOT":
        return "text"
    advice = "; view it as the dtype it stands for, such as ml_dtypes.bfloat16" if dtype.kind == "V" else ""
    raise InputError(f"arrays of dtype {dtype} cannot be compared{advice}")


@functools.cache
def common_dtype(kind: str, reference: DType, candidate: DType) -> DType:
    """The dtype that holds the values of both native dtypes; object for text."""
    if kind == "text":
        return np.dtype(object)
    if reference == candidate and kind != "integer":
        return reference
    joint = np.result_type(_numpy_only(reference), _numpy_only(candidate))
    # NumPy's answer for int64 and uint64 is float64, which holds neither; Python integers hold both.
    return np.dtype(object) if kind == "integer" and joint.kind == "f" else joint


def _numpy_only(dtype: DType) -> DType:
    """A dtype of NumPy itself that holds every value of `dtype`; bool as a number."""
    if dtype.kind == "b" or (dtype.name in _TINY_INTEGERS and dtype.name.startswith("u")):
        return np.dtype(np.uint8)
    if dtype.name in _TINY_INTEGERS:
        return np.dtype(np.int8)
    if dtype.name == "bfloat16" or dtype.name.startswith(_TINY_FLOATS):
        return np.dtype(np.float32)
    return dtype


@functools.cache
def part_dtype(dtype: DType) -> DType:
    """The dtype of a complex dtype's real part; any other dtype itself."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


@functools.cache
def precision(dtype: DType) -> int:
    """Significant bits, the hidden one included."""
    if dtype.name in PRECISION:
        return PRECISION[dtype.name]
    grid = value_grid(dtype)
    return int(math.log2(np.count_nonzero((grid >= 1) & (grid < 2)))) + 1


@functools.cache
def value_grid(dtype: DType) -> Array:
    """All values of a one-byte floating dtype, ascending, without NaN, the two zeros as one; float32."""
    with np.errstate(invalid="ignore"):
        values = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    return np.unique(values[~np.isnan(values)])
