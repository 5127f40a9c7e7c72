"""Calls of ATen operations: for every rule of the lowering, shapes, dtypes, broadcasting and odd arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

Call = tuple[tuple[Any, ...], dict[str, Any]]
_NUMBERS = torch.Generator()


def t(*shape: int, low: float = -2.0, high: float = 2.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Uniform numbers."""
    return (torch.rand(shape, generator=_NUMBERS) * (high - low) + low).to(dtype)


def i(*shape: int, low: int = -5, high: int = 6, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Whole numbers."""
    return torch.randint(low, high, shape, generator=_NUMBERS).to(dtype)


def b(*shape: int) -> torch.Tensor:
    """Truth values."""
    return torch.rand(shape, generator=_NUMBERS) > 0.5


def call(*args: Any, **kwargs: Any) -> Call:
    return args, kwargs


ODD = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-30, -1e30, math.inf, -math.inf, math.nan])
_UNARY = [lambda: call(t(2, 3)), lambda: call(t()), lambda: call(t(0, 3))]
_UNARY_INT = [*_UNARY, lambda: call(i(2, 3)), lambda: call(b(3)), lambda: call(i(3, dtype=torch.int32))]
_POSITIVE = [lambda: call(t(2, 3, low=0.1, high=4)), lambda: call(t(low=0.5, high=1)), lambda: call(i(4, low=1))]
_BINARY = [
    lambda: call(t(2, 3), t(2, 3)),
    lambda: call(t(2, 1, 3), t(4, 1)),
    lambda: call(t(2, 3), t()),
    lambda: call(i(2, 3), t(3)),
    lambda: call(i(2, 3), i(3, dtype=torch.int32)),
    lambda: call(i(4, dtype=torch.int32), torch.tensor(3)),
    lambda: call(t(3), torch.tensor(2.5, dtype=torch.float64)),
]
_WITH_NUMBER = [lambda: call(t(2, 3), 2), lambda: call(t(3), 0.1), lambda: call(i(3), 2), lambda: call(i(3), 1.5)]
_COMPARED = [
    *_BINARY,
    lambda: call(b(4), b(4)),
    lambda: call(ODD, ODD.flip(0)),
    lambda: call(b(4), i(4)),
]
_COMPARED_NUMBER = [*_WITH_NUMBER, lambda: call(ODD, 0), lambda: call(b(4), True), lambda: call(b(4), 1)]
_REDUCED = [
    lambda: call(t(2, 3, 4), [1]),
    lambda: call(t(2, 3, 4), [-1, 0], True),
    lambda: call(t(2, 3), [0, 1]),
    lambda: call(t(3), [-1], True),
]
_BITS = [
    lambda: call(i(3), i(3)),
    lambda: call(b(3), b(3)),
    lambda: call(i(3, dtype=torch.int32), i(3)),
    lambda: call(i(3, low=0, dtype=torch.uint8), i(2, 3, low=0, dtype=torch.uint8)),
]
_NUMBER_BITS = [lambda: call(i(3), 6), lambda: call(b(3), True), lambda: call(i(3, dtype=torch.int32), 5)]
_POWERS = [
    lambda: call(t(3, low=0.1), t(3)),
    lambda: call(i(3, low=0), i(3, low=0)),
    lambda: call(t(2, 3, low=0.1), i(3)),
]


def _conv(x: Any, weight: Any, bias: Any = None, **given: Any) -> Callable[[], Call]:
    def made() -> Call:
        rank = len(weight) - 2
        options = {
            "stride": [1],
            "padding": [0],
            "dilation": [1],
            "transposed": False,
            "output_padding": [0],
            "groups": 1,
            **given,
        }
        options = {name: value * rank if value in ([0], [1], [2], [3]) else value for name, value in options.items()}
        offset = None if bias is None else t(bias)
        return (t(*x), t(*weight), offset, *options.values()), {}

    return made


SAMPLES: dict[str, list[Callable[[], Call]]] = {
    **dict.fromkeys(
        [
            "asinh",
            "atan",
            "cos",
            "cosh",
            "erf",
            "erfc",
            "exp",
            "expm1",
            "sigmoid",
            "sin",
            "sinh",
            "tan",
            "tanh",
            "neg",
            "square",
            "abs",
            "sign",
            "sgn",
            "ceil",
            "floor",
            "round",
            "trunc",
            "exp2",
            "isnan",
            "isinf",
            "isfinite",
            "logical_not",
        ],
        _UNARY,
    ),
    **dict.fromkeys(["log", "log1p", "log2", "log10", "rsqrt", "sqrt", "reciprocal", "digamma", "lgamma"], _POSITIVE),
    **{
        key: [lambda: call(t(3, 4, low=-0.9, high=0.9)), lambda: call(b(1) & False)]
        for key in ("acos", "asin", "atanh")
    },
    "acosh": [lambda: call(t(3, 4, low=1.1, high=5)), lambda: call(i(3, low=1))],
    "relu": [*_UNARY, lambda: call(ODD), lambda: call(i(5))],
    "gelu": [*_UNARY, lambda: call(t(3, 4), approximate="tanh"), lambda: call(t(100, low=-9, high=9))],
    "silu": _UNARY,
    "leaky_relu": [*_UNARY, lambda: call(t(5), 0.3)],
    "elu": [
        *_UNARY,
        lambda: call(t(9), 0.7),
        lambda: call(t(9), 1.6732632423543772848170429916717, 1.0507009873554804934193349852946),
        lambda: call(t(9), 0.7, 1.3),
    ],
    "hardtanh": [lambda: call(t(9)), lambda: call(t(9, high=9), 0, 6), lambda: call(t(9), -0.5, 0.7)],
    "hardsigmoid": [lambda: call(t(30, low=-7, high=7))],
    "hardswish": [lambda: call(t(30, low=-7, high=7))],
    "softplus": [lambda: call(t(30, low=-7, high=7)), lambda: call(t(30, low=-30, high=30), 2, 10)],
    "threshold": [lambda: call(t(9), 0.2, -3.5)],
    "clamp.default": [
        lambda: call(t(9), -1, 1),
        lambda: call(t(9), None, 0.5),
        lambda: call(t(9), 0.5),
        lambda: call(t(9), 1, -1),
        lambda: call(i(9), -1.5, 2),
        lambda: call(ODD, -1, 1),
    ],
    "clamp.Tensor": [lambda: call(t(2, 3), t(3), t(2, 1)), lambda: call(t(2, 3), None, t(3))],
    "add.Tensor": [
        *_BINARY,
        lambda: call(t(3), t(3), alpha=2.5),
        lambda: call(b(3), b(3)),
        lambda: call(i(3), i(3), alpha=3),
    ],
    "add.Scalar": [*_WITH_NUMBER, lambda: call(t(3), 2, 3)],
    "sub.Tensor": [*_BINARY, lambda: call(t(3), t(3), alpha=2.5)],
    "sub.Scalar": [*_WITH_NUMBER, lambda: call(t(3), 2, 3)],
    "rsub.Scalar": [*_WITH_NUMBER, lambda: call(t(3), 2, 3)],
    "mul.Tensor": [*_BINARY, lambda: call(b(3), b(3))],
    "mul.Scalar": _WITH_NUMBER,
    "div.Tensor": [*_BINARY, lambda: call(i(3), i(3, low=1))],
    "div.Scalar": _WITH_NUMBER,
    "div.Tensor_mode": [
        *(lambda m=m: call(t(4, 5), t(5, low=0.1), rounding_mode=m) for m in ("trunc", "floor", None)),
        *(lambda m=m: call(i(4, 5), i(5, low=1), rounding_mode=m) for m in ("trunc", "floor", None)),
        *(lambda m=m: call(i(9), -2 * torch.ones(9, dtype=torch.int64), rounding_mode=m) for m in ("trunc", "floor")),
        lambda: call(torch.tensor([1.0, -1.0, 0.0, 6.0]), torch.tensor([0.0, 0.0, 0.0, 0.1]), rounding_mode="floor"),
    ],
    "div.Scalar_mode": [lambda: call(t(9), 0.3, rounding_mode="floor"), lambda: call(i(9), 3, rounding_mode="trunc")],
    "floor_divide": [lambda: call(t(9), t(9, low=0.2)), lambda: call(i(9), i(9, low=1))],
    "remainder.Tensor": [
        lambda: call(t(9), t(9, low=0.2)),
        lambda: call(i(9), i(9, low=1)),
        lambda: call(t(9), -t(9, low=0.2)),
    ],
    "remainder.Scalar": [lambda: call(t(9), 0.3), lambda: call(i(9), 3), lambda: call(i(9), -3)],
    "fmod.Tensor": [
        lambda: call(t(9), t(9, low=0.2)),
        lambda: call(i(9), i(9, low=1)),
        lambda: call(t(9), -t(9, low=0.2)),
    ],
    "fmod.Scalar": [lambda: call(t(9), 0.3), lambda: call(i(9), 3), lambda: call(i(9), -3)],
    "maximum": [*_BINARY, lambda: call(ODD, ODD.flip(0)), lambda: call(b(3), b(3))],
    "minimum": [*_BINARY, lambda: call(ODD, ODD.flip(0)), lambda: call(b(3), b(3))],
    "pow.Tensor_Tensor": _POWERS,
    "pow.Tensor_Scalar": [
        *(lambda e=e: call(t(9, low=0.1), e) for e in (2, 3, 0.5, -0.5, -1, 1.7, 0, 1, 4)),
        lambda: call(i(9), 2),
        lambda: call(i(9, low=1), 0.5),
        lambda: call(t(9), 3),
    ],
    "pow.Scalar": [lambda: call(2, t(4)), lambda: call(1.5, t(3)), lambda: call(2, i(3, low=0))],
    "atan2": [lambda: call(t(9), t(9)), lambda: call(t(2, 3), t(3)), lambda: call(i(9), i(9, low=1))],
    "addcmul": [lambda: call(t(2, 3), t(3), t(2, 1)), lambda: call(t(3), t(3), t(3), value=0.3)],
    "addcdiv": [lambda: call(t(2, 3), t(3), t(2, 1, low=0.2)), lambda: call(t(3), t(3), t(3, low=0.5), value=0.3)],
    "lerp.Scalar": [lambda: call(t(3), t(3), 0.3)],
    "lerp.Tensor": [lambda: call(t(3), t(3), t(3, low=0, high=0.5))],
    **{f"{n}.Tensor": _COMPARED for n in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"{n}.Scalar": _COMPARED_NUMBER for n in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{f"bitwise_{n}.Tensor": _BITS for n in ("and", "or", "xor")},
    **{f"bitwise_{n}.Scalar": _NUMBER_BITS for n in ("and", "or", "xor")},
    "bitwise_not": [lambda: call(i(3)), lambda: call(b(3)), lambda: call(i(3, low=0, dtype=torch.uint8))],
    **{
        f"logical_{n}": [
            lambda: call(b(4), b(4)),
            lambda: call(i(4, low=-1, high=2), t(4)),
            lambda: call(b(2, 1), b(3)),
        ]
        for n in ("and", "or", "xor")
    },
    "where.self": [
        lambda: call(b(2, 3), t(3), t(2, 1)),
        lambda: call(b(3), i(3), t(3)),
        lambda: call(b(3), t(3), torch.tensor(1.0, dtype=torch.float64)),
    ],
    "masked_fill.Scalar": [lambda: call(t(2, 3), b(3), -math.inf), lambda: call(i(2, 3), b(2, 1), 2)],
    "_to_copy": [
        lambda: call(t(9, low=-5, high=5), dtype=torch.int32),
        lambda: call(i(4), dtype=torch.float32),
        lambda: call(ODD, dtype=torch.bool),
        lambda: call(i(4, low=-1, high=2), dtype=torch.bool),
        lambda: call(b(4), dtype=torch.float64),
        lambda: call(t(4), dtype=torch.float16),
        lambda: call(t(4), dtype=torch.bfloat16),
        lambda: call(t(4)),
    ],
    "prims.convert_element_type": [lambda: call(t(4), torch.float16), lambda: call(i(4), torch.float32)],
    "mm": [lambda: call(t(3, 4), t(4, 5)), lambda: call(t(3, 0), t(0, 5)), lambda: call(i(3, 4), i(4, 5))],
    "bmm": [lambda: call(t(2, 3, 4), t(2, 4, 5))],
    "addmm": [
        lambda: call(t(5), t(3, 4), t(4, 5)),
        lambda: call(t(3, 5), t(3, 4), t(4, 5), beta=0.5, alpha=2),
        lambda: call(t(3, 1), t(3, 4), t(4, 5), beta=0),
        lambda: call(t(), t(3, 4), t(4, 5)),
    ],
    "baddbmm": [lambda: call(t(2, 3, 5), t(2, 3, 4), t(2, 4, 5), beta=0.5, alpha=2)],
    "addmv": [lambda: call(t(3), t(3, 4), t(4)), lambda: call(t(3), t(3, 4), t(4), beta=2, alpha=0.5)],
    "mv": [lambda: call(t(3, 4), t(4))],
    "dot": [lambda: call(t(4), t(4))],
    "_softmax": [
        lambda: call(t(2, 3), -1, False),
        lambda: call(t(2, 3, 4), 1, False),
        lambda: call(t(), 0, False),
        lambda: call(t(2, 3) * 50, 0, False),
    ],
    "_log_softmax": [lambda: call(t(2, 3), -1, False), lambda: call(t(2, 3, 4), 0, False)],
    "_safe_softmax": [
        lambda: call(t(2, 3), -1),
        lambda: call(torch.cat([t(2, 3), torch.full((1, 3), -math.inf)]), -1),
    ],
    "sum.dim_IntList": [
        *_REDUCED,
        lambda: call(t(2, 3), None),
        lambda: call(t(2, 3), []),
        lambda: call(i(2, 3, dtype=torch.int32), [1]),
        lambda: call(b(2, 3), [1]),
        lambda: call(i(2, 3), [1], dtype=torch.float32),
        lambda: call(t(), []),
    ],
    "mean.dim": [*_REDUCED, lambda: call(i(2, 3), [1], dtype=torch.float32)],
    "mean.default": [lambda: call(t(2, 3))],
    "prod.default": [lambda: call(t(2, 3)), lambda: call(i(3, dtype=torch.int32))],
    "prod.dim_int": [lambda: call(t(2, 3), 1), lambda: call(i(2, 3), -1, True)],
    "amax": [
        *_REDUCED,
        lambda: call(t(2, 3)),
        lambda: call(i(2, 3), [0]),
        lambda: call(b(2, 3), [0]),
        lambda: call(ODD),
    ],
    "amin": [
        *_REDUCED,
        lambda: call(t(2, 3)),
        lambda: call(i(2, 3), [0]),
        lambda: call(b(2, 3), [0]),
        lambda: call(ODD),
    ],
    "max.default": [lambda: call(t(2, 3))],
    "min.default": [lambda: call(t(2, 3))],
    "max.dim": [lambda: call(t(2, 3), 1), lambda: call(i(3, 9, low=0, high=3), 1, True), lambda: call(b(3, 4), 0)],
    "min.dim": [lambda: call(t(2, 3), 1), lambda: call(i(3, 9, low=0, high=3), -1, True), lambda: call(b(3, 4), 0)],
    "argmax": [
        lambda: call(t(2, 3)),
        lambda: call(t(2, 3), -1),
        lambda: call(t(2, 3), 0, True),
        lambda: call(t(2, 3), None, True),
    ],
    "argmin": [lambda: call(t(2, 3)), lambda: call(i(2, 9, low=0, high=3), -1), lambda: call(t(2, 3), 0, True)],
    "any.default": [lambda: call(b(2, 3)), lambda: call(t(3)), lambda: call(i(3, low=0, high=1, dtype=torch.uint8))],
    "any.dim": [lambda: call(b(2, 3), 1), lambda: call(i(2, 3, low=0, high=2), 0, True)],
    "any.dims": [lambda: call(b(2, 3, 4), [0, -1]), lambda: call(b(2, 3), None, True)],
    "all.default": [lambda: call(b(2, 3)), lambda: call(t(3))],
    "all.dim": [lambda: call(b(2, 3), 1), lambda: call(i(2, 3, low=0, high=2), 0, True)],
    "var.correction": [
        lambda: call(t(2, 3, 4), [1]),
        lambda: call(t(2, 3, 4), [1, -1], correction=0, keepdim=True),
        lambda: call(t(2, 3, 4), correction=0.5),
        lambda: call(t(2, 5), [1], correction=2),
    ],
    "var.dim": [lambda: call(t(2, 3), [1]), lambda: call(t(2, 3), [1], False, True)],
    "var_mean.correction": [lambda: call(t(2, 3, 4), [1], correction=0)],
    "std.correction": [lambda: call(t(2, 3, 4), [1]), lambda: call(t(2, 3), correction=0)],
    "cumsum": [
        lambda: call(t(2, 3), 1),
        lambda: call(i(2, 3, dtype=torch.int32), -2),
        lambda: call(b(5), 0),
        lambda: call(t(), 0),
    ],
    "cumprod": [lambda: call(t(2, 3), 1)],
    "logsumexp": [lambda: call(t(2, 3), [1]), lambda: call(t(2, 3), [0, 1], True)],
    "view": [lambda: call(t(2, 3, 4), [6, 4]), lambda: call(t(2, 3, 4), [-1, 4]), lambda: call(t(0, 3), [0, 3, 1])],
    "reshape": [lambda: call(t(2, 6), [3, -1])],
    "alias": _UNARY,
    "clone": [*_UNARY, lambda: call(t(2, 3, 4, 5), memory_format=torch.channels_last)],
    "permute": [lambda: call(t(2, 3, 4), [2, 0, 1]), lambda: call(t(2, 3), [-1, 0]), lambda: call(t(2, 3), [0, 1])],
    "t": [lambda: call(t(2, 3)), lambda: call(t(3))],
    "transpose.int": [lambda: call(t(2, 3, 4), 0, -1)],
    "unsqueeze": [lambda: call(t(2, 3), -1), lambda: call(t(2, 3), 0), lambda: call(t(), 0)],
    "squeeze.dim": [lambda: call(t(2, 1, 3), 1), lambda: call(t(2, 1, 3), 0), lambda: call(t(2, 3, 1), -1)],
    "squeeze.dims": [lambda: call(t(1, 2, 1), [0, 1, 2]), lambda: call(t(1, 2, 1), [-1]), lambda: call(t(1, 2), [])],
    "squeeze.default": [lambda: call(t(1, 2, 1))],
    "expand": [lambda: call(t(1, 3), [2, 3]), lambda: call(t(3), [2, -1]), lambda: call(t(2, 1), [4, -1, 5])],
    "repeat": [lambda: call(t(2, 3), [2, 1]), lambda: call(t(3), [2, 2]), lambda: call(t(2), [1])],
    "cat": [
        lambda: call([t(2, 3), t(2, 1)], -1),
        lambda: call([t(2, 3), i(1, 3)], 0),
        lambda: call([t(0), t(2, 3)], 1),
        lambda: call([t(2, 3)]),
    ],
    "stack": [lambda: call([t(2, 3), t(2, 3)], -1), lambda: call([t(), t()])],
    "select.int": [lambda: call(t(2, 3, 4), 1, -1), lambda: call(t(3), 0, 1)],
    "slice.Tensor": [
        lambda: call(t(5, 3), 0, 1, 4),
        lambda: call(t(5, 7), -1, 1, 9223372036854775807, 3),
        lambda: call(t(5), 0, -3, -1),
        lambda: call(t(5), 0, 4, 2),
        lambda: call(t(5), 0),
    ],
    "split_with_sizes": [lambda: call(t(5, 3), [2, 3]), lambda: call(t(2, 6), [2, 2, 2], -1), lambda: call(t(3), [3])],
    "split.Tensor": [lambda: call(t(5, 3), 2), lambda: call(t(2, 6), 3, 1)],
    "unbind.int": [lambda: call(t(3, 2)), lambda: call(t(3, 2), -1)],
    "flip": [lambda: call(t(2, 3), [0]), lambda: call(t(2, 3), [-1, 0]), lambda: call(t(2), [])],
    "roll": [lambda: call(t(2, 5), [2], [1]), lambda: call(t(2, 5), [3]), lambda: call(t(2, 5), [1, -2], [0, -1])],
    "constant_pad_nd": [
        lambda: call(t(2, 3), [1, 2]),
        lambda: call(t(2, 3, 4), [1, 2, 0, 3], 2.5),
        lambda: call(t(2, 5), [-1, 2], 1.0),
        lambda: call(i(2, 3), [0, 1], 7),
        lambda: call(b(3), [1, 1], True),
    ],
    "reflection_pad1d": [lambda: call(t(2, 3, 5), [2, 1]), lambda: call(t(3, 5), [0, 3])],
    "reflection_pad2d": [lambda: call(t(2, 3, 5, 4), [2, 1, 1, 0])],
    "reflection_pad3d": [lambda: call(t(1, 2, 3, 5, 4), [2, 1, 1, 0, 1, 2])],
    "replication_pad2d": [lambda: call(t(2, 3, 5, 4), [2, 1, 1, 0])],
    "replication_pad3d": [lambda: call(t(1, 2, 3, 5, 4), [2, 1, 1, 0, 1, 2])],
    "select_scatter": [lambda: call(t(2, 3, 4), t(2, 4), 1, -1), lambda: call(t(3), t(), 0, 0)],
    "slice_scatter": [
        lambda: call(t(5, 3), t(2, 3), 0, 1, 3),
        lambda: call(t(2, 5), t(2, 2), -1, 1, 5, 2),
        lambda: call(t(5), t(5)),
        lambda: call(t(5), t(2), 0, -2),
    ],
    "diagonal": [
        lambda: call(t(3, 4)),
        lambda: call(t(2, 3, 4), 1, 1, 2),
        lambda: call(t(2, 3, 4), -1, 0, 2),
        lambda: call(t(3, 4), 9),
    ],
    "as_strided": [
        lambda: call(t(3, 4), [2, 2], [1, 4]),
        lambda: call(t(12), [3, 3], [2, 1], 1),
        lambda: call(t(3), [], []),
    ],
    "copy": [lambda: call(t(2, 3), i(3)), lambda: call(i(3), t(3))],
    "embedding": [
        lambda: call(t(7, 3), i(2, 4, low=0, high=7)),
        lambda: call(t(7, 3), i(2, low=0, high=7, dtype=torch.int32), 2),
    ],
    "index_select": [lambda: call(t(4, 5), 1, i(3, low=0, high=5)), lambda: call(t(4, 5), -2, i(2, low=0, high=4))],
    "gather": [
        lambda: call(t(3, 5), 1, i(3, 2, low=0, high=5)),
        lambda: call(t(3, 5), 0, i(2, 4, low=0, high=3)),
        lambda: call(t(3, 5, 2), -2, i(2, 7, 1, low=0, high=5)),
        lambda: call(t(3), 0, i(low=0, high=3)),
    ],
    "index.Tensor": [
        lambda: call(t(4, 5), [i(3, low=-4, high=4)]),
        lambda: call(t(4, 5), [None, i(2, 3, low=0, high=5)]),
        lambda: call(t(4, 5, 6), [i(3, low=0, high=4), i(3, low=-5, high=5)]),
        lambda: call(t(4, 5, 6), [i(2, 1, low=0, high=4), None, i(3, low=0, high=6)]),
        lambda: call(t(4, 5, 6), [None, i(3, low=0, high=5), i(1, low=0, high=6)]),
        lambda: call(t(4, 5), [b(4)]),
        lambda: call(t(4, 5), [b(4, 5)]),
        lambda: call(t(4, 5, 2), [None, b(5)]),
        lambda: call(t(2, 3, 4, 5), [None, i(2, low=0, high=3), i(2, low=0, high=4), None]),
    ],
    "nonzero": [lambda: call(b(3, 4)), lambda: call(i(5, low=0, high=2)), lambda: call(torch.tensor(3.0))],
    "masked_select": [lambda: call(t(3, 4), b(4))],
    "index_put": [
        lambda: call(t(4, 5), [torch.tensor([0, 3])], t(2, 5)),
        lambda: call(t(4, 5), [i(6, low=0, high=4)], t(6, 5), True),
        lambda: call(t(4, 5), [None, torch.tensor([4, -4])], t()),
        lambda: call(t(4, 5), [b(4, 5)], t()),
        lambda: call(i(4, 5), [torch.tensor([1]), torch.tensor([2])], i(1)),
    ],
    "index_add": [
        lambda: call(t(4, 5), 0, i(6, low=0, high=4), t(6, 5)),
        lambda: call(t(4, 3), 1, i(2, low=0, high=3), t(4, 2), alpha=2),
    ],
    "scatter.src": [
        lambda: call(t(3, 5), 1, torch.tensor([[0, 4], [1, 2]]), t(2, 3)),
        lambda: call(t(3, 5), 0, torch.tensor([[0, 2, 1]]), t(1, 3)),
    ],
    "scatter.value": [
        lambda: call(t(3, 5), 1, i(3, 2, low=0, high=5), 2.5),
        lambda: call(i(3), 0, torch.tensor([1]), 3),
    ],
    "scatter_add": [
        lambda: call(t(3, 5), 0, i(6, 5, low=0, high=3), t(6, 5)),
        lambda: call(i(3), 0, i(4, low=0, high=3), i(5)),
    ],
    "scatter_reduce.two": [
        *(
            lambda r=r, s=s: call(t(3, 5), 0, i(4, 5, low=0, high=3), t(4, 5), r, include_self=s)
            for r in ("sum", "amax", "amin", "mean")
            for s in (True, False)
        ),
        lambda: call(i(3, 5), 0, i(4, 5, low=0, high=3), i(4, 5), "amax", include_self=False),
    ],
    "masked_scatter": [lambda: call(t(3, 4), b(3, 4), t(12)), lambda: call(t(3, 4), b(4), t(3, 4))],
    "embedding_dense_backward": [
        lambda: call(t(2, 3, 4), i(2, 3, low=0, high=5), 5, -1, False),
        lambda: call(t(3, 4), torch.tensor([0, 1, 1]), 5, 1, False),
    ],
    "sort": [lambda: call(t(3, 5)), lambda: call(t(3, 5), 0, True), lambda: call(b(2, 3))],
    "sort.stable": [
        lambda: call(i(3, 9, low=0, high=3), stable=True, dim=-1),
        lambda: call(i(3, 9, low=0, high=3), stable=True, dim=0, descending=True),
        lambda: call(torch.tensor([5, -9223372036854775808, 3]), stable=True, dim=0),
    ],
    "topk": [
        lambda: call(t(3, 7), 3),
        lambda: call(t(3, 7), 2, 0, False),
        lambda: call(torch.randperm(40, generator=_NUMBERS), 1),
    ],
    "searchsorted.Tensor": [
        lambda: call(t(3, 7).sort().values, t(3, 4)),
        lambda: call(t(7).sort().values, t(3, 4), right=True),
        lambda: call(torch.tensor([1, 2, 2, 3]), torch.tensor([2, 0, 9]), out_int32=True, side="right"),
    ],
    "full": [
        lambda: call([2, 3], 1.5),
        lambda: call([2], 3),
        lambda: call([2], True),
        lambda: call([], 2, dtype=torch.float16),
    ],
    "full_like": [lambda: call(t(2, 3), 1.5), lambda: call(i(2), 3, dtype=torch.float32)],
    "zeros": [lambda: call([2, 3])],
    "ones": [lambda: call([2, 3], dtype=torch.int32)],
    "zeros_like": [lambda: call(t(2, 3))],
    "ones_like": [lambda: call(t(2, 3), dtype=torch.bool)],
    "fill.Scalar": [lambda: call(i(2, 3), 2), lambda: call(t(2), 0.1)],
    "fill.Tensor": [lambda: call(t(2, 3), torch.tensor(2))],
    "scalar_tensor": [lambda: call(2.5), lambda: call(3, dtype=torch.int64)],
    "arange.start_step": [
        lambda: call(0, 5),
        lambda: call(1, 9, 3),
        lambda: call(0, 1, 0.1),
        lambda: call(5, 0, -2, dtype=torch.float32),
    ],
    "linspace": [lambda: call(0, 1, 7)],
    "eye": [lambda: call(3)],
    "eye.m": [lambda: call(3, 4, dtype=torch.int64)],
    "tril": [lambda: call(t(3, 4)), lambda: call(t(2, 3, 3), -1), lambda: call(b(3, 3))],
    "triu": [lambda: call(t(3, 4), 1), lambda: call(i(3, 3))],
    "convolution": [
        _conv((2, 3, 8, 9), (4, 3, 3, 3), 4, padding=[1]),
        _conv((2, 3, 8, 9), (4, 3, 3, 2), stride=[2], padding=[1]),
        _conv((2, 3, 7, 7), (4, 3, 3, 3), 4, stride=[2], padding=[1]),
        _conv((2, 3, 9, 9), (4, 3, 3, 3), dilation=[2], padding=[2]),
        _conv((2, 4, 8, 9), (6, 2, 3, 3), 6, groups=2),
        _conv((2, 4, 8, 9), (4, 1, 3, 3), 4, groups=4, padding=[1]),
        _conv((2, 4, 8, 8), (8, 1, 3, 3), groups=4, stride=[2], padding=[1]),
        _conv((2, 4, 8, 9), (8, 1, 3, 3), groups=4, stride=[2, 1]),
        _conv((2, 3, 9), (4, 3, 3), 4, padding=[1], stride=[2]),
        _conv((2, 3, 5, 6, 7), (4, 3, 3, 3, 3), 4, padding=[1]),
        _conv((2, 3, 5, 6, 7), (4, 3, 3, 1, 2), stride=[2]),
        _conv((2, 3, 5, 6), (3, 4, 3, 3), 4, transposed=True, stride=[2]),
        _conv((2, 3, 5, 6), (3, 4, 3, 3), transposed=True, stride=[2], padding=[1], output_padding=[1]),
        _conv((2, 3, 5, 6), (3, 4, 4, 4), 4, transposed=True, stride=[2], padding=[1]),
        _conv((2, 3, 5, 6), (3, 4, 3, 3), transposed=True, stride=[1], padding=[2], dilation=[2]),
        _conv((2, 4, 5, 6), (4, 3, 2, 2), 6, transposed=True, stride=[2], groups=2),
        _conv((2, 3, 5), (3, 4, 3), 4, transposed=True, stride=[2], padding=[1]),
        _conv((2, 3, 5, 4, 3), (3, 4, 2, 2, 2), 4, transposed=True, stride=[2]),
    ],
    "max_pool2d_with_indices": [
        lambda: call(t(2, 3, 8, 8), [2, 2]),
        lambda: call(t(2, 3, 8, 9), [3, 3], [2, 2], [1, 1]),
        lambda: call(t(2, 3, 7, 7), [2, 2], [2, 2], [0, 0], [1, 1], True),
        lambda: call(t(2, 3, 9, 9), [3, 3], [1, 1], [1, 1], [2, 2]),
        lambda: call(t(3, 8, 8), [3, 2], [1, 2]),
        lambda: call(t(2, 3, 7, 7), [3, 3], [3, 3], [1, 1], [1, 1], True),
    ],
    "max_pool3d_with_indices": [
        lambda: call(t(2, 3, 6, 6, 6), [2, 2, 2]),
        lambda: call(t(2, 3, 5, 6, 7), [3, 3, 3], [2, 2, 2], [1, 1, 1]),
    ],
    "avg_pool2d": [
        lambda: call(t(2, 3, 8, 8), [2, 2]),
        *(
            lambda c=c, p=p: call(t(2, 3, 8, 7), [3, 3], [2, 2], [1, 1], c, p)
            for c in (False, True)
            for p in (False, True)
        ),
        lambda: call(t(2, 3, 7, 7), [2, 2], [2, 2], [0, 0], True),
        lambda: call(t(2, 3, 8, 8), [3, 3], [1, 1], [1, 1], False, False),
        lambda: call(t(2, 3, 8, 8), [2, 2], [], 0, False, True, 3),
        lambda: call(t(3, 8, 8), [2, 2]),
    ],
    "avg_pool1d": [lambda: call(t(2, 3, 8), [2]), lambda: call(t(2, 3, 8), [3], [2], [1])],
    "avg_pool3d": [
        lambda: call(t(2, 3, 6, 6, 6), [2, 2, 2]),
        lambda: call(t(2, 3, 5, 6, 7), [3, 3, 3], [2, 2, 2], [1, 1, 1]),
    ],
    "_adaptive_avg_pool2d": [
        lambda: call(t(2, 3, 8, 6), [1, 1]),
        lambda: call(t(2, 3, 8, 6), [4, 3]),
        lambda: call(t(2, 3, 7, 5), [3, 4]),
    ],
    "adaptive_avg_pool1d": [lambda: call(t(2, 3, 7), [3]), lambda: call(t(2, 3, 8), [1])],
    "_adaptive_avg_pool3d": [lambda: call(t(2, 3, 4, 6, 5), [2, 3, 2])],
    "native_layer_norm": [
        lambda: call(t(2, 3, 8), [8], t(8), t(8), 1e-5),
        lambda: call(t(2, 3, 8), [3, 8], t(3, 8), None, 1e-3),
        lambda: call(t(2, 3, 8), [8], None, None, 1e-12),
    ],
    "native_group_norm": [
        lambda: call(t(2, 6, 4, 5), t(6), t(6), 2, 6, 20, 3, 1e-5),
        lambda: call(t(2, 6), None, None, 2, 6, 1, 2, 1e-3),
        lambda: call(t(2, 4, 7), t(4), None, 2, 4, 7, 4, 1e-5),
    ],
    "_native_batch_norm_legit_no_training": [
        lambda: call(t(2, 3, 4, 5), t(3), t(3), t(3), t(3, low=0.1), 0.1, 1e-5),
        lambda: call(t(2, 3, 4), t(3), t(3), t(3), t(3, low=0.1), 0.1, 1e-3),
        lambda: call(t(4, 3), None, None, t(3), t(3, low=0.1), 0.1, 1e-5),
        lambda: call(t(2, 3, 4, 5, 2), t(3), t(3), t(3), t(3, low=0.1), 0.1, 1e-5),
    ],
    "_native_batch_norm_legit_functional": [
        lambda: call(t(2, 3, 4, 5), t(3), t(3), t(3), t(3, low=0.1), True, 0.1, 1e-5),
        lambda: call(t(6, 3), t(3), t(3), t(3), t(3, low=0.1), True, 0.3, 1e-3),
        lambda: call(t(6, 3, 2), None, None, t(3), t(3, low=0.1), True, 0.3, 1e-3),
        lambda: call(t(6, 3, 2), None, None, t(3), t(3, low=0.1), False, 0.3, 1e-3),
    ],
    "_native_batch_norm_legit.no_stats": [
        lambda: call(t(2, 3, 4, 5), t(3), t(3), True, 0.1, 1e-5),
        lambda: call(t(2, 3, 4), None, None, True, 0.1, 1e-5),
    ],
    "upsample_nearest2d.vec": [
        lambda: call(t(2, 3, 4, 5), None, [2.0, 2.0]),
        lambda: call(t(2, 3, 4, 5), [7, 3], None),
        lambda: call(t(2, 3, 4, 5), None, [1.7, 2.3]),
    ],
    "upsample_nearest1d.vec": [lambda: call(t(2, 3, 4), None, [2.0])],
    "upsample_bilinear2d.vec": [
        lambda: call(t(2, 3, 4, 5), None, False, [2.0, 2.0]),
        lambda: call(t(2, 3, 4, 5), [8, 10], True, None),
        lambda: call(t(2, 3, 4, 5), [7, 3], False, None),
        lambda: call(t(2, 3, 4, 5), None, False, [1.7, 2.3]),
    ],
    "upsample_linear1d.vec": [lambda: call(t(2, 3, 4), None, False, [2.0]), lambda: call(t(2, 3, 4), [9], True, None)],
    "_fft_r2c": [
        lambda: call(t(3, 8), [1], 0, True),
        lambda: call(t(3, 7), [1], 1, False),
        lambda: call(t(4, 6), [0, 1], 2, True),
    ],
    "_fft_c2r": [
        lambda: call(torch.fft.rfft(t(3, 8)), [1], 2, 8),
        lambda: call(torch.fft.rfft(t(3, 7)), [1], 1, 7),
        lambda: call(torch.fft.rfft2(t(4, 6)), [0, 1], 2, 6),
    ],
    "_fft_c2c": [
        lambda: call(torch.fft.rfft(t(3, 8)), [1], 0, True),
        lambda: call(torch.fft.rfft(t(3, 8)), [0, 1], 2, False),
    ],
    "view_as_real": [lambda: call(torch.fft.rfft(t(3, 8)))],
    "view_as_complex": [lambda: call(t(3, 2))],
    "_cdist_forward": [
        *(lambda p=p: call(t(2, 4, 3), t(2, 5, 3), p, None) for p in (0.0, 1.0, 2.0, 3.0, math.inf)),
        lambda: call(t(30, 3), t(40, 3), 2.0, 1),
    ],
    "_pdist_forward": [lambda p=p: call(t(5, 3), p) for p in (1.0, 2.0, 3.0, math.inf)],
    "_embedding_bag": [
        *(lambda m=m: call(t(7, 3), i(6, low=0, high=7), torch.tensor([0, 2, 2]), False, m) for m in (0, 1, 2)),
        lambda: call(t(7, 3), i(6, low=0, high=7), torch.tensor([0, 2, 6]), False, 0, False, t(6), True),
        lambda: call(t(7, 3), torch.tensor([0, 1, 1, 3]), torch.tensor([0, 2]), False, 1, False, None, False, 1),
    ],
    "im2col": [
        lambda: call(t(2, 3, 6, 7), [3, 2], [1, 1], [1, 0], [2, 1]),
        lambda: call(t(2, 3, 6, 7), [2, 2], [2, 1], [0, 0], [1, 1]),
    ],
    "col2im": [
        lambda: call(t(2, 12, 12), [4, 5], [2, 2], [1, 1], [0, 0], [1, 1]),
        lambda: call(t(2, 12, 9), [4, 4], [2, 2], [1, 1], [1, 1], [2, 2]),
    ],
    "grid_sampler_2d": [
        lambda a=a, m=m, p=p: call(t(2, 3, 5, 6), t(2, 4, 4, 2, low=-1.3, high=1.3), m, p, a)
        for a in (True, False)
        for m in (0, 1)
        for p in (0, 1)
    ],
    "native_dropout": [
        lambda: call(t(20, 30), 0.3, True),
        lambda: call(t(20), 0.3, False),
        lambda: call(t(20), 0.0, True),
        lambda: call(t(20), 1.0, True),
    ],
    "bernoulli": [lambda: call(t(9, low=0, high=1))],
    "bernoulli.p": [lambda: call(t(9), 0.3)],
    "rand": [lambda: call([2, 3])],
    "rand_like": [lambda: call(t(2, 3))],
    "randn": [lambda: call([2, 3])],
    "randn_like": [lambda: call(t(2, 3))],
    "randint": [lambda: call(9, [4])],
    "randint.low": [lambda: call(2, 9, [4], dtype=torch.int32)],
    "randint_like": [lambda: call(i(4), 9)],
    "randperm": [lambda: call(7)],
    "multinomial": [lambda: call(t(9, low=0.1, high=1), 4, True)],
    "normal_functional": [lambda: call(t(9), 1.0, 2.0)],
    "uniform": [lambda: call(t(9), 1.0, 2.0)],
}
"""Overload without "aten." (and without ".default" where there is but one in the table) -> calls."""


def seeded() -> None:
    """Has the samples be the same numbers again."""
    _NUMBERS.manual_seed(7)
