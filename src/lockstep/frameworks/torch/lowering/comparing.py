"""Comparisons, logic, bits, and choices by a condition."""

from __future__ import annotations

from typing import Any

from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.values import floating, promoted
from lockstep.frameworks.torch.lowering.writing import Value, Writer

_COMPARED = {
    "eq": "Equal",
    "ne": "NotEqual",
    "lt": "Less",
    "le": "LessEqual",
    "gt": "Greater",
    "ge": "GreaterEqual",
}


def _comparison(name: str, kind: str) -> None:
    @rule(f"{name}.Tensor", f"{name}.Scalar")
    def write(w: Writer, x: Value, other: Any) -> Value:
        dtype = promoted(x, other)
        if dtype == "bool" and kind not in ("Equal", "NotEqual"):
            dtype = "uint8"
        return w.op(kind, w.cast(x, dtype), w.cast(other, dtype))


for _name, _kind in _COMPARED.items():
    _comparison(_name, _kind)


@rule("logical_and", "logical_and_")
def logical_and(w: Writer, x: Value, other: Value) -> Value:
    """Both are not zero."""
    return w.op("LogicalAnd", w.cast(x, "bool"), w.cast(other, "bool"))


@rule("logical_or")
def logical_or(w: Writer, x: Value, other: Value) -> Value:
    """One of them is not zero."""
    return w.op("LogicalOr", w.cast(x, "bool"), w.cast(other, "bool"))


@rule("logical_xor")
def logical_xor(w: Writer, x: Value, other: Value) -> Value:
    """One of them alone is not zero."""
    return w.op("NotEqual", w.cast(x, "bool"), w.cast(other, "bool"))


@rule("logical_not")
def logical_not(w: Writer, x: Value) -> Value:
    """It is zero."""
    return w.op("LogicalNot", w.cast(x, "bool"))


_BITWISE = {
    "bitwise_and": ("BitwiseAnd", "LogicalAnd"),
    "bitwise_or": ("BitwiseOr", "LogicalOr"),
    "bitwise_xor": ("BitwiseXor", "NotEqual"),
}


def _bitwise(name: str, kind: str, of_truth_values: str) -> None:
    @rule(f"{name}.Tensor", f"{name}.Scalar", f"{name}.Scalar_Tensor")
    def write(w: Writer, x: Any, other: Any) -> Value:
        dtype = promoted(x, other)
        return w.op(of_truth_values if dtype == "bool" else kind, w.cast(x, dtype), w.cast(other, dtype))


for _name, (_kind, _logical) in _BITWISE.items():
    _bitwise(_name, _kind, _logical)


@rule("bitwise_not")
def bitwise_not(w: Writer, x: Value) -> Value:
    """All bits turned round."""
    return w.op("LogicalNot" if x.dtype == "bool" else "Invert", x)


@rule("isinf")
def isinf(w: Writer, x: Value) -> Value:
    """Whether it is infinite."""
    return w.op("IsInf", x) if floating(x.dtype) else w.op("NotEqual", x, x)


@rule("isnan")
def isnan(w: Writer, x: Value) -> Value:
    """Whether it is no number."""
    return w.op("IsNan", x) if floating(x.dtype) else w.op("NotEqual", x, x)


@rule("isfinite")
def isfinite(w: Writer, x: Value) -> Value:
    """Whether it is a finite number."""
    return w.op("IsFinite", x) if floating(x.dtype) else w.op("Equal", x, x)


@rule("where.self", "where.ScalarSelf", "where.ScalarOther", "where.Scalar")
def where(w: Writer, condition: Value, x: Any, other: Any) -> Value:
    """One or the other."""
    dtype = promoted(x, other)
    return w.op("SelectV2", w.cast(condition, "bool"), w.cast(x, dtype), w.cast(other, dtype))


@rule("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(w: Writer, x: Value, mask: Value, value: Any) -> Value:
    """A number where the mask is true."""
    return w.op("SelectV2", mask, w.cast(value, x.dtype), x)


@rule("threshold")
def threshold(w: Writer, x: Value, threshold: Any, value: Any) -> Value:
    """`x` above a threshold, and else a number."""
    above = w.op("Greater", x, w.constant(threshold, x.dtype))
    return w.op("SelectV2", above, x, w.constant(value, x.dtype))
