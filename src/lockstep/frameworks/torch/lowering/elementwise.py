"""Arithmetic, element by element, in the dtype that PyTorch promotes the operands to."""

from __future__ import annotations

import math
from typing import Any

from lockstep.frameworks.torch.lowering.rules import RefusedError, rule
from lockstep.frameworks.torch.lowering.values import dtype_name, floating, promoted
from lockstep.frameworks.torch.lowering.writing import Value, Writer

_OF_TRUTH_VALUES = {"AddV2": "LogicalOr", "Mul": "LogicalAnd", "Maximum": "LogicalOr", "Minimum": "LogicalAnd"}


def binary(w: Writer, kind: str, one: Any, other: Any) -> Value:
    """Writes an operation of two operands in the dtype that they are promoted to."""
    dtype = promoted(one, other)
    kind = _OF_TRUTH_VALUES.get(kind, kind) if dtype == "bool" else kind
    return w.op(kind, w.cast(one, dtype), w.cast(other, dtype))


def as_floating(w: Writer, x: Value) -> Value:
    """Returns whole numbers and truth values in PyTorch's default floating dtype, others as they are."""
    return x if floating(x.dtype) else w.cast(x, "float32")


@rule("add.Tensor", "add.Scalar")
def add(w: Writer, x: Any, other: Any, alpha: Any) -> Value:
    """`x + alpha * other`."""
    return binary(w, "AddV2", *_scaled(w, x, other, alpha))


@rule("sub.Tensor", "sub.Scalar")
def sub(w: Writer, x: Any, other: Any, alpha: Any) -> Value:
    """`x - alpha * other`."""
    return binary(w, "Sub", *_scaled(w, x, other, alpha))


@rule("rsub.Scalar", "rsub.Tensor")
def rsub(w: Writer, x: Any, other: Any, alpha: Any) -> Value:
    """`other - alpha * x`."""
    scaled = x if alpha == 1 else binary(w, "Mul", x, alpha)
    return binary(w, "Sub", other, scaled)


@rule("mul.Tensor", "mul.Scalar")
def mul(w: Writer, x: Any, other: Any) -> Value:
    """`x * other`."""
    return binary(w, "Mul", x, other)


@rule("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode")
def div(w: Writer, x: Any, other: Any, rounding_mode: str | None = None) -> Value:
    """`x / other`, or that rounded towards zero or down; whole numbers unrounded give floating ones."""
    dtype = promoted(x, other)
    if rounding_mode is None:
        dtype = dtype if floating(dtype) else "float32"
        return w.op("RealDiv", w.cast(x, dtype), w.cast(other, dtype))
    if not floating(dtype):
        kind = {"trunc": "TruncateDiv", "floor": "FloorDiv"}[rounding_mode]
        return w.op(kind, w.cast(x, dtype), w.cast(other, dtype))
    one, two = w.cast(x, dtype), w.cast(other, dtype)
    if rounding_mode == "trunc":
        return truncated(w, w.op("RealDiv", one, two))
    return _floor_divided(w, one, two)


@rule("floor_divide", "floor_divide.Scalar")
def floor_divide(w: Writer, x: Any, other: Any) -> Value:
    """`x / other`, rounded down."""
    return div(w, x, other, "floor")


def _floor_divided(w: Writer, one: Value, two: Value) -> Value:
    """As of c10::div_floor_floating: from the remainder, which is exact, not from the rounded quotient."""
    zero = w.constant(0, one.dtype)
    remainder = w.op("TruncateMod", one, two)
    quotient = w.op("RealDiv", w.op("Sub", one, remainder), two)
    signs = w.op("NotEqual", w.op("Less", two, zero), w.op("Less", remainder, zero))
    off = w.op("LogicalAnd", w.op("NotEqual", remainder, zero), signs)
    quotient = w.op("Sub", quotient, w.cast(off, one.dtype))
    floor = w.op("Floor", quotient)
    above = w.op("Greater", w.op("Sub", quotient, floor), w.constant(0.5, one.dtype))
    rounded = w.op("AddV2", floor, w.cast(above, one.dtype))
    return w.op("SelectV2", w.op("Equal", two, zero), w.op("RealDiv", one, two), rounded)


@rule("remainder.Tensor", "remainder.Scalar", "remainder.Scalar_Tensor")
def remainder(w: Writer, x: Any, other: Any) -> Value:
    """What is left of a division that is rounded down."""
    return binary(w, "FloorMod", x, other)


@rule("fmod.Tensor", "fmod.Scalar")
def fmod(w: Writer, x: Any, other: Any) -> Value:
    """What is left of a division that is rounded towards zero."""
    return binary(w, "TruncateMod", x, other)


@rule("maximum")
def maximum(w: Writer, x: Value, other: Value) -> Value:
    """The larger."""
    return binary(w, "Maximum", x, other)


@rule("minimum")
def minimum(w: Writer, x: Value, other: Value) -> Value:
    """The smaller."""
    return binary(w, "Minimum", x, other)


@rule("pow.Tensor_Tensor", "pow.Tensor_Scalar", "pow.Scalar")
def power(w: Writer, x: Any, exponent: Any) -> Value:
    """`x ** exponent`; squares and roots are written as such, as PyTorch computes them."""
    dtype = promoted(x, exponent)
    if isinstance(exponent, (int, float)) and floating(dtype):
        written = {2: "Square", 0.5: "Sqrt", -0.5: "Rsqrt"}.get(exponent)
        if written is not None:
            return w.op(written, w.cast(x, dtype))
    return w.op("Pow", w.cast(x, dtype), w.cast(exponent, dtype))


@rule("atan2")
def atan2(w: Writer, x: Value, other: Value) -> Value:
    """The angle of a point."""
    return w.op("Atan2", as_floating(w, x), as_floating(w, other))


@rule("addcmul")
def addcmul(w: Writer, x: Value, tensor1: Value, tensor2: Value, value: Any) -> Value:
    """`x + value * tensor1 * tensor2`."""
    product = binary(w, "Mul", tensor1, tensor2)
    return binary(w, "AddV2", x, product if value == 1 else binary(w, "Mul", product, value))


@rule("addcdiv")
def addcdiv(w: Writer, x: Value, tensor1: Value, tensor2: Value, value: Any) -> Value:
    """`x + value * tensor1 / tensor2`."""
    numerator = tensor1 if value == 1 else binary(w, "Mul", tensor1, value)
    return binary(w, "AddV2", x, div(w, numerator, tensor2))


@rule("lerp.Scalar", "lerp.Tensor")
def lerp(w: Writer, x: Value, end: Value, weight: Any) -> Value:
    """`x + weight * (end - x)`."""
    return binary(w, "AddV2", x, binary(w, "Mul", weight, binary(w, "Sub", end, x)))


def _scaled(w: Writer, x: Any, other: Any, alpha: Any) -> tuple[Any, Any]:
    if alpha == 1:
        return x, other
    dtype = promoted(x, other)
    return x, w.op("Mul", w.cast(other, dtype), w.cast(alpha, dtype))


def _unary(name: str, kind: str, *, to_floating: bool) -> None:
    @rule(name)
    def write(w: Writer, x: Value) -> Value:
        return w.op(kind, as_floating(w, x) if to_floating else x)


for _name, _kind in {
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "cos": "Cos",
    "cosh": "Cosh",
    "digamma": "Digamma",
    "erf": "Erf",
    "erfc": "Erfc",
    "exp": "Exp",
    "expm1": "Expm1",
    "lgamma": "Lgamma",
    "log": "Log",
    "log1p": "Log1p",
    "rsqrt": "Rsqrt",
    "sigmoid": "Sigmoid",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}.items():
    _unary(_name, _kind, to_floating=True)

_unary("neg", "Neg", to_floating=False)
_unary("square", "Square", to_floating=False)


@rule("abs")
def absolute(w: Writer, x: Value) -> Value:
    """The absolute value."""
    return x if x.dtype in ("bool", "uint8") else w.op("ComplexAbs" if x.dtype.startswith("complex") else "Abs", x)


@rule("sign", "sgn")
def sign(w: Writer, x: Value) -> Value:
    """-1, 0 or 1; of NaN 0."""
    if x.dtype == "bool":
        return x
    if x.dtype == "uint8":
        return w.cast(w.op("NotEqual", x, 0), "uint8")
    found = w.op("Sign", x)
    if not floating(x.dtype):
        return found
    return w.op("SelectV2", w.op("IsNan", x), w.constant(0, x.dtype), found)  # PyTorch's sign of NaN is 0


def _rounded(name: str, kind: str) -> None:
    @rule(name)
    def write(w: Writer, x: Value) -> Value:
        return w.op(kind, x) if floating(x.dtype) else x


_rounded("ceil", "Ceil")
_rounded("floor", "Floor")


@rule("round", "round.decimals")
def rounded(w: Writer, x: Value, decimals: int = 0) -> Value:
    """The nearest whole number, of two the even one."""
    if decimals:
        raise RefusedError(f"round to {decimals} decimals is not covered")
    return w.op("Round", x) if floating(x.dtype) else x


@rule("trunc")
def truncated(w: Writer, x: Value) -> Value:
    """Rounded towards zero."""
    if not floating(x.dtype):
        return x
    whole = w.op("Floor", w.op("Abs", x))
    return w.op("SelectV2", w.op("Less", x, w.constant(0, x.dtype)), w.op("Neg", whole), whole)


@rule("log2")
def log2(w: Writer, x: Value) -> Value:
    """The logarithm to base 2."""
    return _logarithm(w, x, math.log(2))


@rule("log10")
def log10(w: Writer, x: Value) -> Value:
    """The logarithm to base 10."""
    return _logarithm(w, x, math.log(10))


def _logarithm(w: Writer, x: Value, base: float) -> Value:
    wide = as_floating(w, x)
    logarithm = w.op("Log", wide)
    return w.op("RealDiv", logarithm, w.constant(base, wide.dtype))


@rule("exp2")
def exp2(w: Writer, x: Value) -> Value:
    """`2 ** x`."""
    wide = as_floating(w, x)
    return w.op("Pow", w.constant(2, wide.dtype), wide)


@rule("reciprocal")
def reciprocal(w: Writer, x: Value) -> Value:
    """`1 / x`."""
    return w.op("Reciprocal", as_floating(w, x))


@rule("_to_copy", "to.dtype")
def to_copy(w: Writer, x: Value, dtype: Any) -> Value:
    """In another dtype, where one is told."""
    return x if dtype is None else w.cast(x, dtype_name(dtype))


@rule("prims.convert_element_type")
def convert(w: Writer, x: Value, dtype: Any) -> Value:
    """In another dtype."""
    return w.cast(x, dtype_name(dtype))
