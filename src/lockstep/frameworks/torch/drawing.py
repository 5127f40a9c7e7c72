"""What a module draws: the numbers that TensorFlow's random operations give, so that both sides can draw alike.

PyTorch draws from a generator of its own, whose numbers nothing else can give. So while a module runs, each of its
random operations takes the next seed of the random tool, as a random operation of TensorFlow does, and gets the numbers
that TensorFlow draws with it: a dropout keeps what is not below its rate, as `tf.nn.dropout` does. What PyTorch does
with the numbers stays PyTorch's.

Images lie otherwise: `(batch, channels, height, width)` where TensorFlow has `(batch, height, width, channels)`. What a
convolution, a pooling or a batch normalization gave, and what is made of that element by element, lies so; a mask for
it is drawn in TensorFlow's order, and turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lockstep.frameworks.tensorflow.draws import RecordedDraws
from lockstep.frameworks.torch.lowering.private import arguments_of
from lockstep.frameworks.torch.private import TorchDispatchMode
from lockstep.ground.records import ForwardDraw

UNIFORM, NORMAL = "RandomUniform", "RandomStandardNormal"
_DRAWN_IN = {torch.float64: "float64", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_CHANNELS_SECOND = (
    "aten::convolution",
    "aten::_convolution",
    "aten::mkldnn_convolution",
    "aten::native_batch_norm",
    "aten::_native_batch_norm_legit",
    "aten::_batch_norm_with_update",
    "aten::cudnn_batch_norm",
    "aten::native_group_norm",
    "aten::max_pool",
    "aten::avg_pool",
    "aten::adaptive_",
    "aten::_adaptive_",
    "aten::upsample_",
    "aten::pixel_shuffle",
    "aten::pixel_unshuffle",
    "aten::reflection_pad",
    "aten::replication_pad",
)
_SHAPED_LIKE = ("aten::clone", "aten::_to_copy", "aten::constant_pad_nd", "aten::cat", "aten::mean")
_MARK = "_lockstep_channels_second"


@dataclass(frozen=True)
class Drawn:
    """What one random operation drew.

    Attributes:
        draw: The seed, and what was drawn with it.
        values: The numbers, in the shape that they have in PyTorch.
        turned: Whether TensorFlow's order of them has the second axis last.
    """

    draw: ForwardDraw
    values: np.ndarray
    turned: bool


class Draws(TorchDispatchMode):
    """While it is open, random operations of PyTorch draw by the random tool's seeds.

    Args:
        tool: What hands out the seeds; its own scope is open too.
        single: Whether other dtypes are given the numbers that float32 is.

    Attributes:
        drawn: What each random operation drew, in order.
        unaligned: Names of the random operations that drew from PyTorch's own generator.
    """

    def __init__(self, tool: RecordedDraws, *, single: bool = False) -> None:
        super().__init__()
        self._tool, self._single = tool, single
        self.drawn: list[Drawn] = []
        self.unaligned: list[str] = []

    @property
    def taken(self) -> tuple[ForwardDraw, ...]:
        """The draws without their numbers."""
        return tuple(one.draw for one in self.drawn)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs one operation, or draws in its place."""
        del types
        options = kwargs or {}
        name = func.name()
        rule = _RULES.get(name)
        if rule is not None and options.get("generator") is None:
            return rule(self, *args, **{key: value for key, value in options.items() if key != "generator"})
        if torch.Tag.nondeterministic_seeded in func.tags and rule is None and _draws(func, args, options):
            self.unaligned.append(name.removeprefix("aten::"))
        result = func(*args, **options)
        _mark(name, func, args, result)
        return result

    def numbers(self, kind: str, like: torch.Tensor) -> torch.Tensor:
        """Draws as many numbers as a tensor has elements, in its shape."""
        import tensorflow as tf

        shape = tuple(like.shape)
        turned = len(shape) > 2 and getattr(like, _MARK, False)
        asked = (shape[0], *shape[2:], shape[1]) if turned else shape
        dtype = _DRAWN_IN.get(like.dtype, "float32")
        dtype = "float32" if self._single else dtype
        draw = tf.random.uniform if kind == UNIFORM else tf.random.normal
        drawn = np.asarray(draw(asked, dtype=dtype))
        if turned:
            drawn = np.moveaxis(drawn, -1, 1)
        drawn = np.array(drawn, order="C")  # TensorFlow's own memory is not to be written to
        self.drawn.append(Drawn(ForwardDraw(self._tool.taken[-1], kind, dtype, math.prod(shape)), drawn, turned))
        if drawn.dtype.name == "bfloat16":
            drawn = drawn.astype(np.float32)
        if self._single and like.dtype in _DRAWN_IN:
            return torch.from_numpy(drawn)  # rounded to fewer bits, a number may pass the rate that it is below
        return torch.from_numpy(drawn).to(like.dtype if like.is_floating_point() else torch.float32)


def _draws(func: Any, args: Sequence[Any], options: dict[str, Any]) -> bool:
    """Whether an operation that may draw does: attention and recurrent layers are tagged whatever their dropout is."""
    named = {argument.name: value for argument, value in zip(arguments_of(func), args, strict=False)} | options
    rates = [named.get(name, 0.0) for name in _RATES if any(one.name == name for one in arguments_of(func))]
    return named.get("train") is not False and (not rates or any(rates))


def _mark(name: str, func: Any, args: Sequence[Any], result: Any) -> None:
    """Marks a tensor whose second axis is that of the channels."""
    first = result[0] if isinstance(result, (tuple, list)) and result else result
    if not isinstance(first, torch.Tensor) or first.dim() < 3:
        return
    given = [a for one in args for a in (one if isinstance(one, (tuple, list)) else (one,))]
    marked = any(isinstance(a, torch.Tensor) and getattr(a, _MARK, False) and a.dim() == first.dim() for a in given)
    alike = (
        torch.Tag.pointwise in func.tags or name.startswith(_SHAPED_LIKE) or name.partition(".")[0].endswith("_like")
    )
    if name.startswith(_CHANNELS_SECOND) or (marked and alike):
        setattr(first, _MARK, True)


def _kept(draws: Draws, like: torch.Tensor, chance: float | torch.Tensor) -> torch.Tensor:
    """Returns where an event of a probability happens: where a number is not below that of its opposite."""
    below = 1.0 - chance if isinstance(chance, float) else 1.0 - chance.to(torch.float32)
    return draws.numbers(UNIFORM, like) >= below


def _bernoulli_in_place(draws: Draws, target: torch.Tensor, chance: Any = 0.5) -> torch.Tensor:
    return target.copy_(_kept(draws, target, chance if isinstance(chance, torch.Tensor) else float(chance)))


def _bernoulli(draws: Draws, chances: torch.Tensor) -> torch.Tensor:
    return _kept(draws, chances, chances).to(chances.dtype)


def _bernoulli_of(draws: Draws, like: torch.Tensor, chance: float) -> torch.Tensor:
    return _kept(draws, like, float(chance)).to(like.dtype)


def _native_dropout(
    draws: Draws, given: torch.Tensor, rate: float, train: bool | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    if train is False or rate == 0.0:
        return given.clone(), torch.ones_like(given, dtype=torch.bool)
    kept = _kept(draws, given, 1.0 - rate)
    return given * kept.to(given.dtype) * (0.0 if rate == 1.0 else 1.0 / (1.0 - rate)), kept


def _uniform_in_place(draws: Draws, target: torch.Tensor, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return target.copy_(draws.numbers(UNIFORM, target) * (high - low) + low)


def _normal_in_place(draws: Draws, target: torch.Tensor, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    return target.copy_(draws.numbers(NORMAL, target) * std + mean)


def _made(kind: str) -> Callable[..., torch.Tensor]:
    def make(draws: Draws, size: Sequence[int], **options: Any) -> torch.Tensor:
        wanted = torch.empty(list(size), **options)
        return draws.numbers(kind, wanted).to(wanted.dtype)

    return make


def _made_like(kind: str) -> Callable[..., torch.Tensor]:
    def make(draws: Draws, like: torch.Tensor, **options: Any) -> torch.Tensor:
        wanted = torch.empty_like(like, **options)
        if getattr(like, _MARK, False):
            setattr(wanted, _MARK, True)
        return draws.numbers(kind, wanted).to(wanted.dtype)

    return make


_RATES = ("dropout_p", "dropout", "p")
"""What PyTorch's operations call the share that they drop; a scale of attention is a number too, and none."""

_RULES: dict[str, Callable[..., Any]] = {
    "aten::bernoulli": _bernoulli,
    "aten::bernoulli.p": _bernoulli_of,
    "aten::bernoulli_.float": _bernoulli_in_place,
    "aten::bernoulli_.Tensor": _bernoulli_in_place,
    "aten::native_dropout": _native_dropout,
    "aten::uniform_": _uniform_in_place,
    "aten::normal_": _normal_in_place,
    "aten::rand": _made(UNIFORM),
    "aten::randn": _made(NORMAL),
    "aten::rand_like": _made_like(UNIFORM),
    "aten::randn_like": _made_like(NORMAL),
}
