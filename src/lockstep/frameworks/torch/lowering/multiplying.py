"""Products of matrices."""

from __future__ import annotations

from typing import Any

from lockstep.frameworks.torch.lowering.elementwise import binary
from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.values import floating
from lockstep.frameworks.torch.lowering.writing import Value, Writer


@rule("mm")
def mm(w: Writer, x: Value, mat2: Value) -> Value:
    """Of two matrices."""
    return w.op("MatMul", x, mat2)


@rule("bmm")
def bmm(w: Writer, x: Value, mat2: Value) -> Value:
    """Of two batches of matrices."""
    return w.op("BatchMatMulV2", x, mat2)


@rule("addmm")
def addmm(w: Writer, x: Value, mat1: Value, mat2: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    """`beta * x + alpha * mat1 @ mat2`; a bias of one row is added as TensorFlow's dense layers do."""
    product = _scaled(w, w.op("MatMul", mat1, mat2), alpha)
    return _plus(w, product, x, beta)


@rule("baddbmm")
def baddbmm(w: Writer, x: Value, batch1: Value, batch2: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    """`beta * x + alpha * batch1 @ batch2`."""
    return _plus(w, _scaled(w, w.op("BatchMatMulV2", batch1, batch2), alpha), x, beta)


@rule("addmv")
def addmv(w: Writer, x: Value, mat: Value, vec: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    """`beta * x + alpha * mat @ vec`."""
    return _plus(w, _scaled(w, mv(w, mat, vec), alpha), x, beta)


@rule("mv")
def mv(w: Writer, x: Value, vec: Value) -> Value:
    """Of a matrix and a vector."""
    column = w.op("MatMul", x, w.op("ExpandDims", vec, w.ints(1)))
    return w.op("Squeeze", column, squeeze_dims=[1])


@rule("dot")
def dot(w: Writer, x: Value, tensor: Value) -> Value:
    """Of two vectors."""
    return w.op("Sum", binary(w, "Mul", x, tensor), w.ints([0]))


def _scaled(w: Writer, product: Value, alpha: Any) -> Value:
    return product if alpha == 1 else w.op("Mul", product, w.constant(alpha, product.dtype))


def _plus(w: Writer, product: Value, x: Value, beta: Any) -> Value:
    if beta == 0:  # PyTorch does not look at it then: NaN in it is none in the sum
        return product
    addend = x if beta == 1 else w.op("Mul", x, w.constant(beta, x.dtype))
    if addend.shape == product.shape[-1:] and product.rank > 1 and floating(product.dtype):
        return w.op("BiasAdd", product, addend)
    return w.op("AddV2", product, addend)
