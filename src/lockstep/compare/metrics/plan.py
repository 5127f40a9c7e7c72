"""Two dtypes -> how their arrays are compared."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lockstep.common.errors import InputError
from lockstep.compare.metrics.blocks import block_size
from lockstep.compare.metrics.dtypes import PRECISION, DType, common_dtype, kind_of, part_dtype, precision
from lockstep.ground.tensors import dtype_name


@dataclass(frozen=True)
class Plan:
    """How a pair of dtypes is compared.

    Attributes:
        kind: "float", "complex", "integer" or "text".
        common: The dtype for the values of both sides.
        ulp: The dtype whose steps are counted, or None; for complex values that of a part.
        screened: Whether finite blocks take the fast way.
        same_dtype: Whether bit equality is possible at all.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    kind: str
    common: DType
    ulp: DType | None
    screened: bool
    same_dtype: bool
    rtol: float
    atol: float

    @property
    def block(self) -> int:
        """Elements per block."""
        return block_size(self.common)


@functools.lru_cache(maxsize=64)
def make_plan(reference: DType, candidate: DType, rtol: float, atol: float) -> Plan:
    """Decides how two dtypes are compared; `InputError` if they cannot be."""
    kinds = {kind_of(reference), kind_of(candidate)}
    if "text" in kinds and len(kinds) > 1:
        raise InputError(f"reference has dtype {reference}, candidate has dtype {candidate}: numbers against text")
    kind = next(kind for kind in ("text", "complex", "float", "integer") if kind in kinds)
    native = reference.newbyteorder("="), candidate.newbyteorder("=")
    same = native[0] == native[1] and kind != "text"
    parts = [part_dtype(dtype) for dtype in native if kind in ("float", "complex") and kind_of(dtype) != "integer"]
    return Plan(
        kind=kind,
        common=common_dtype(kind, *native),
        ulp=min(parts, key=precision) if parts else None,
        screened=same and kind == "float" and dtype_name(native[0]) in PRECISION,
        same_dtype=same,
        rtol=rtol,
        atol=atol,
    )
