"""Writes operations of the dialect into a program and runs each at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow import kernels
from lockstep.frameworks.torch.lowering.values import WIDE, numpy_dtype
from lockstep.program import Place, ProgramBuilder
from lockstep.program.dialect import Trait, having

_ELEMENTWISE = having(Trait.ELEMENTWISE) | {"AddV2", "SelectV2"}
"""Types in front of which, or behind, a transposition may stand; `BiasAdd` is none: it adds along the last axis."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the program that is being written.

    Attributes:
        number: Its number in the program.
        tensor: What it is, as TensorFlow holds it.
    """

    number: int
    tensor: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.tensor.shape)

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """The name of its dtype."""
        return str(self.tensor.dtype.name)

    def numpy(self) -> np.ndarray:
        """Returns its values."""
        return np.asarray(self.tensor)


class Writer:
    """What rules write operations with.

    Attributes:
        place: Where the operations that are written now are from.
        wide: Whether all that is rounded is float64.

    Args:
        builder: Puts the program together.
        wide: See above.
    """

    def __init__(self, builder: ProgramBuilder, *, wide: bool = False) -> None:
        self._builder, self.wide = builder, wide
        self.place = Place("", "")
        self._turned: dict[int, tuple[int, tuple[int, ...]]] = {}

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Value:
        """Writes an operation with one output.

        Args:
            kind: Its type, as of TensorFlow.
            inputs: Values, or arrays and numbers, which become constants: numbers in the dtype of the first value.
            attributes: What it is parametrised by besides what its inputs imply; the others have their defaults.
        """
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: Any, **attributes: Any) -> list[Value]:
        """Writes an operation with several outputs; see `op`."""
        first = next((each for each in inputs if isinstance(each, Value)), None)
        given = [self._value(each, first) for each in inputs]
        order = self._common_order(given) if kind in _ELEMENTWISE else None
        if order is None:
            return self._written(kind, outputs, given, attributes)
        back = _inverse(order)
        given = [value if not value.rank else self.transpose(value, back) for value in given]
        return [self.transpose(made, order) for made in self._written(kind, outputs, given, attributes)]

    def _written(self, kind: str, outputs: int, given: list[Value], attributes: dict[str, Any]) -> list[Value]:
        tensors = [value.tensor for value in given]
        call = kernels.call(kind, attributes, tensors, outputs)
        results = kernels.execute(call, tensors)
        numbers = self._builder.operation(
            kind,
            kernels.plain_attributes(kind, call),
            [value.number for value in given],
            [(kernels.spec_of(result), result) for result in results],
            Place(f"{self.place.scope}/{kind}" if self.place.scope else kind, self.place.scope, self.place.source),
            call,
        )
        return [Value(number, result) for number, result in zip(numbers, results, strict=True)]

    def dtype(self, name: str) -> str:
        """Returns the dtype that stands for another one in this run."""
        return WIDE.get(name, name) if self.wide else name

    def constant(self, value: Any, dtype: str) -> Value:
        """Returns a constant.

        Args:
            value: A number, a sequence or an array.
            dtype: Its dtype's name; in a wide run float64 stands for what is narrower.
        """
        array = np.asarray(value).astype(numpy_dtype(self.dtype(dtype)))
        tensor = tf.convert_to_tensor(array)
        return Value(self._builder.constant(array, kernels.spec_of(tensor)), tensor)

    def ints(self, values: Sequence[int] | int, dtype: str = "int32") -> Value:
        """Returns a constant of whole numbers: axes, sizes, paddings."""
        return self.constant(np.asarray(values, np.int64), dtype)

    def cast(self, value: Value | bool | int | float | complex, dtype: str) -> Value:
        """Returns a value, or a number, in a dtype; to truth values as PyTorch does it: what is not zero is true."""
        if not isinstance(value, Value):
            return self.constant(value, dtype)
        wanted = self.dtype(dtype)
        if value.dtype == wanted:
            return value
        if wanted == "bool":
            return self.op("NotEqual", value, self.constant(0, value.dtype))
        return self.op("Cast", value, DstT=tf.as_dtype(wanted))

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """Returns the values in another shape."""
        if tuple(shape) == value.shape:
            return value
        whence = self.turned(value)
        merged = None if whence is None else _merged(value.shape, whence[1], tuple(shape))
        if whence is not None and merged is not None:
            return self.transpose(self.reshape(whence[0], merged[0]), merged[1])
        return self.op("Reshape", value, self.ints(list(shape)))

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """Returns the values with their dimensions in another order; two transpositions become one, or none."""
        wanted = tuple(order)
        whence = self.turned(value)
        if whence is not None:
            value, wanted = whence[0], tuple(whence[1][axis] for axis in wanted)
        if wanted == tuple(range(value.rank)):
            return value
        made = self.op("Transpose", value, self.ints(list(wanted)))
        self._turned.setdefault(made.number, (value.number, wanted))
        return made

    def turned(self, value: Value) -> tuple[Value, tuple[int, ...]] | None:
        """Returns what a value is a transposition of, and in which order; None where it is none.

        PyTorch's images have their channels second, TensorFlow's kernels want them last. So that the program need not
        turn them to and fro, and looks as TensorFlow code does, rules may compute on what was turned and turn that.
        """
        found = self._turned.get(value.number)
        if found is None:
            return None
        number, order = found
        return Value(number, tf.transpose(value.tensor, _inverse(order))), order

    def _common_order(self, given: Sequence[Value]) -> tuple[int, ...] | None:
        """Returns the order in which the largest of some operands are turned, if the others can be turned back."""
        orders = {self._turned[value.number][1] for value in given if value.number in self._turned}
        if len(orders) != 1:
            return None
        order = orders.pop()
        largest = max(math.prod(value.shape) for value in given if value.number in self._turned)
        fits = all(
            value.number in self._turned
            or not value.rank
            or (value.rank == len(order) and math.prod(value.shape) <= largest)
            for value in given
        )
        return order if fits else None

    def broadcast(self, value: Value, shape: Sequence[int]) -> Value:
        """Returns the values repeated along dimensions of size 1, or that it lacks in front."""
        return value if tuple(shape) == value.shape else self.op("BroadcastTo", value, self.ints(list(shape)))

    def slice(self, value: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
        """Returns a block of the values."""
        return self.op("Slice", value, self.ints(list(begin)), self.ints(list(size)))

    def _value(self, given: Any, first: Value | None) -> Value:
        if isinstance(given, Value):
            return given
        if isinstance(given, np.ndarray):
            return self.constant(given, str(given.dtype))
        if first is None:
            raise TypeError(f"a number alone ({given!r}) has no dtype; give a constant.")
        return self.constant(given, first.dtype)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(axis) for axis in range(len(order))]


def _merged(
    shape: tuple[int, ...], order: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[list[int], list[int]] | None:
    """Returns a reshape that may stand in front of a transposition instead of another one behind it.

    That is so where dimensions that become one are neighbours in the same order before the transposition too.

    Args:
        shape: The shape behind the transposition.
        order: Of the transposition.
        wanted: The shape that is given to what is behind it.

    Returns:
        The shape to give in front, and the order of the transposition then; None where it is not so.

    >>> _merged((2, 8, 4, 4), (0, 3, 1, 2), (2, 8, 16))
    ([2, 16, 8], [0, 2, 1])
    """
    groups = _groups(shape, wanted)
    if groups is None or 0 in shape:
        return None
    firsts = []
    for place, group in enumerate(groups):
        axes = [order[axis] for axis in group]
        between = [axis for axis in range(min(axes, default=0), max(axes, default=0)) if shape[order.index(axis)] > 1]
        if axes != sorted(axes) or not set(between) <= set(axes):
            return None
        firsts.append((axes[0] if axes else len(shape) + place, place))
    placed = [place for _, place in sorted(firsts)]
    return [wanted[place] for place in placed], [placed.index(place) for place in range(len(wanted))]


def _groups(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[list[int]] | None:
    """Returns which dimensions larger than 1 each dimension of another shape is made of; None where one is cut."""
    left = [axis for axis, size in enumerate(shape) if size > 1]
    groups = []
    for size in wanted:
        group: list[int] = []
        while math.prod(shape[axis] for axis in group) < size:
            if not left:
                return None
            group.append(left.pop(0))
        if math.prod(shape[axis] for axis in group) != size:
            return None
        groups.append(group)
    return groups
