"""Operations that draw random numbers: the numbers are a source of the program, what is made of them is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lockstep.frameworks.torch.lowering.rules import rule
from lockstep.frameworks.torch.lowering.writing import Value, Writer

Bound = Mapping[str, Any]
"""The arguments of a node by the names of the schema, with PyTorch's tensors."""


@dataclass(frozen=True)
class Draw:
    """How an operation draws.

    Attributes:
        kind: What the draw is called in the program; TensorFlow's type where that draws the same numbers.
        numbers: Result of the operation -> the numbers that it drew.
        result: The arguments and the numbers -> the result of the operation.
    """

    kind: str
    numbers: Callable[[Any], torch.Tensor]
    result: Callable[[Bound, torch.Tensor], Any]


UNIFORM = "RandomUniform"
"""What uniform numbers from 0 to 1 are called."""


def draws(name: str, given: Bound) -> bool:
    """Whether an overload draws, called with these arguments: dropout does not where it is switched off."""
    return name in DRAWS and not (name == "aten.native_dropout.default" and given["train"] is False)


def _dropped(given: Bound, numbers: torch.Tensor) -> Any:
    x, p = given["input"], given["p"]
    mask = numbers if numbers.dtype == torch.bool else numbers >= p
    return x * mask * (0.0 if p == 1 else 1 / (1 - p)), mask


def _itself(_: Bound, numbers: torch.Tensor) -> Any:
    return numbers


def _happened(given: Bound, numbers: torch.Tensor) -> Any:
    """Where an event of probability `p` happens; a mask of zeros and ones among the numbers stays what it is."""
    chance = given.get("p", given["self"])
    return (numbers >= 1 - chance).to(numbers.dtype)


DRAWS: Mapping[str, Draw] = {
    "aten.native_dropout.default": Draw("native_dropout", lambda result: result[1], _dropped),
    "aten.bernoulli.default": Draw(UNIFORM, lambda result: result, _happened),
    "aten.bernoulli.p": Draw(UNIFORM, lambda result: result, _happened),
    "aten.rand.default": Draw(UNIFORM, lambda result: result, _itself),
    "aten.rand_like.default": Draw(UNIFORM, lambda result: result, _itself),
    "aten.randn.default": Draw("RandomStandardNormal", lambda result: result, _itself),
    "aten.randn_like.default": Draw("RandomStandardNormal", lambda result: result, _itself),
    "aten.randint.default": Draw("randint", lambda result: result, _itself),
    "aten.randint.low": Draw("randint", lambda result: result, _itself),
    "aten.randint_like.default": Draw("randint", lambda result: result, _itself),
    "aten.randperm.default": Draw("randperm", lambda result: result, _itself),
    "aten.multinomial.default": Draw("multinomial", lambda result: result, _itself),
    "aten.normal_functional.default": Draw("normal", lambda result: result, _itself),
    "aten.uniform.default": Draw("uniform", lambda result: result, _itself),
}
"""Overload -> how it draws."""


@rule("native_dropout")
def native_dropout(w: Writer, x: Value, p: float, train: bool | None, drawn: Value | None = None) -> Any:
    """As TensorFlow's dropout: the scaled values where the mask is true, and zero."""
    if drawn is None or train is False:
        return x, w.constant(_ones(x.shape), "bool")
    mask = drawn if drawn.dtype == "bool" else w.op("GreaterEqual", drawn, w.constant(p, drawn.dtype))
    scale = 0.0 if p == 1 else 1 / (1 - p)
    scaled = w.op("Mul", x, w.constant(scale, x.dtype))
    return w.op("SelectV2", mask, scaled, w.constant(0, x.dtype)), mask


@rule("bernoulli.p")
def bernoulli_of(w: Writer, p: float, drawn: Value) -> Value:
    """One where a uniform number is not below the probability of the opposite: what dropout of channels draws."""
    return w.cast(w.op("GreaterEqual", drawn, w.constant(1 - p, drawn.dtype)), drawn.dtype)


@rule("bernoulli")
def bernoulli(w: Writer, x: Value, drawn: Value) -> Value:
    """The same with a probability for each element."""
    opposite = w.op("Sub", w.constant(1, x.dtype), x)
    return w.cast(w.op("GreaterEqual", drawn, opposite), drawn.dtype)


@rule(
    "rand",
    "rand_like",
    "randn",
    "randn_like",
    "randint",
    "randint.low",
    "randint_like",
    "randperm",
    "multinomial",
    "normal_functional",
    "uniform",
)
def numbers(w: Writer, drawn: Value) -> Value:
    """The numbers themselves: the parameters of their distribution are in them."""
    return w.reshape(drawn, drawn.shape)


def _ones(shape: tuple[int, ...]) -> Any:
    return torch.ones(shape, dtype=torch.bool).numpy()
