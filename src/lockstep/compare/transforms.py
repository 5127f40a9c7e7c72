"""Named transforms: how a variable of the candidate is made from one of the reference's that holds the same numbers.

A transform is written as in `"gates(ijfo->ifco) | transpose(1,0)"` and read from left to right:

| step | gives |
| --- | --- |
| `transpose(1,0)` | the axes in that order; without arguments reversed |
| `reshape(2,-1)` | the same elements in another shape; one size may be -1 |
| `squeeze`, `squeeze(0)` | without all axes of size 1, or without those named |
| `expand(0)` | a new axis of size 1 there |
| `flip(0)` | the axis the other way about |
| `split(axis, index, sizes)` | one part of a tensor that is cut along an axis: `split(0, 1, [24, 32])` |
| `gates(ijfo->ifco)`, `gates(ru->ur, axis)` | equal blocks along an axis (the last one) in another order |
| `share(2)` | an equal share of the numbers, where so many variables add up to one |
| `forget_bias(1.0, ijfo)` | the number added to the block of gate `f` among these, along the last axis |

`j`, `c` and `g` are one gate, TensorFlow's, Keras's and PyTorch's name of an LSTM's new input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown

Shape = tuple[int, ...]
_CALL = re.compile(r"\s*(?P<name>[a-z_]+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")
_SAME_GATE = {"j": "c", "g": "c"}


class Step(Protocol):
    """One transform; every one but a split can be undone by itself."""

    def shape(self, shape: Shape) -> Shape:
        """Returns the shape that a tensor of a shape gets; raises `ValueError` where it cannot be applied."""
        ...

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Returns the transformed tensor, a view where it can be."""
        ...

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Returns the tensor of `shape` that `apply` turns into `array`."""
        ...


@dataclass(frozen=True)
class Transform:
    """Steps that are taken one after the other.

    >>> Transform.parse("transpose(1,0)").apply(np.zeros((2, 3))).shape
    (3, 2)
    """

    text: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> Transform:
        """Reads a transform.

        Raises:
            InputError: It is not written as one.
        """
        return cls(text, tuple(_step(part, text) for part in text.split("|")))

    def shape(self, shape: Shape) -> Shape:
        """Returns the shape of the candidate's variable for that of the reference's.

        Raises:
            InputError: A tensor of that shape cannot be transformed so.
        """
        given = shape
        for step in self.steps:
            try:
                shape = step.shape(shape)
            except ValueError as error:
                raise InputError(f"transform {shown(self.text)} cannot be applied to shape {given}: {error}.") from None
        return shape

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Returns the candidate's value for the reference's.

        Raises:
            InputError: It cannot be transformed so.
        """
        self.shape(array.shape)
        for step in self.steps:
            array = step.apply(array)
        return array

    def apply_to_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """Returns the candidate's gradient for the reference's.

        What is added to a value is no part of its gradient, and each share of a sum has the gradient of the sum.
        """
        for step in self.steps:
            if not isinstance(step, _ForgetBias | _Share):
                gradient = step.apply(gradient)
        return gradient

    def moves(self, shape: Shape) -> list[tuple[str, tuple[int, ...]]] | None:
        """Returns the transform as operations of a program; None where it is more than turning and reshaping.

        Args:
            shape: The shape that it is applied to.

        >>> Transform.parse("transpose(1,0) | expand(0)").moves((2, 3))
        [('Transpose', (1, 0)), ('Reshape', (1, 3, 2))]
        """
        found: list[tuple[str, tuple[int, ...]]] = []
        for step in self.steps:
            if isinstance(step, _Transpose):
                found.append(("Transpose", tuple(axis % len(shape) for axis in step.order(len(shape)))))
            elif isinstance(step, _Reshape | _Squeeze | _Expand):
                found.append(("Reshape", step.shape(shape)))
            else:
                return None
            shape = step.shape(shape)
        return found

    @property
    def is_one_of_several(self) -> bool:
        """Whether other variables are made of the same one: of its other parts, or shares."""
        return any(isinstance(step, _Split | _Share) for step in self.steps)

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Returns the reference's value, of `shape`, for the candidate's.

        Raises:
            InputError: It is none of the reference's shape, or one of several parts: see `joined`.
        """
        shapes = [shape]
        for step in self.steps:
            if isinstance(step, _Split | _Share):
                raise InputError(f"transform {shown(self.text)} gives a part; the whole cannot be had from it alone.")
            shapes.append(Transform(self.text, (step,)).shape(shapes[-1]))
        if array.shape != shapes[-1]:
            raise InputError(
                f"transform {shown(self.text)} turns shape {shape} into {shapes[-1]}, not into {array.shape}."
            )
        for step, before in zip(reversed(self.steps), reversed(shapes[:-1]), strict=True):
            array = step.undo(array, before)
        return array


def inverse(text: str, shape: Shape) -> str | None:
    """Returns the text of the transform that undoes one; None where a part or a share is taken.

    Args:
        text: The transform; empty for none.
        shape: The shape that it is applied to.

    >>> inverse("gates(zrh->rzh) | transpose(1,0)", (4, 6))
    'transpose(1,0) | gates(rzh->zrh)'
    """
    if not text:
        return ""
    found: list[str] = []
    for step in Transform.parse(text).steps:
        if isinstance(step, _Transpose):
            axes = step.axes or tuple(reversed(range(len(shape))))
            found.append(f"transpose({','.join(str(axes.index(axis)) for axis in range(len(axes)))})")
        elif isinstance(step, _Gates):
            found.append(f"gates({step.after}->{step.before}{'' if step.axis == -1 else f', {step.axis}'})")
        elif isinstance(step, _Reshape | _Squeeze | _Expand):
            found.append(f"reshape({','.join(map(str, shape))})")
        elif isinstance(step, _Flip):
            found.append(f"flip({step.axis})")
        else:
            return None
        shape = step.shape(shape)
    return " | ".join(reversed(found))


def joined_texts(texts: Sequence[str], shape: Shape) -> str:
    """Returns transforms that follow each other as one, without what cancels out.

    Args:
        texts: The transforms; empty ones are none.
        shape: The shape that the first is applied to.

    >>> joined_texts(["transpose(1,0)", "", "transpose(1,0)"], (2, 3)), joined_texts(["transpose(1,0)"], (2, 3))
    ('', 'transpose(1,0)')
    """
    kept: list[tuple[str, Step, Shape]] = []
    for written in (part.strip() for text in texts if text for part in text.split("|")):
        (step,) = Transform.parse(written).steps
        if kept and isinstance(step, _Transpose) and isinstance(kept[-1][1], _Transpose):
            _, before, shape = kept.pop()
            assert isinstance(before, _Transpose)
            axes = tuple(before.order(len(shape))[axis] for axis in step.order(len(shape)))
            step = _Transpose(axes)
        elif kept and isinstance(step, _Reshape) and isinstance(kept[-1][1], _Reshape):
            shape = kept.pop()[2]
        elif kept and isinstance(step, _Gates) and kept[-1][1] == _Gates(step.after, step.before, step.axis):
            shape = kept.pop()[2]
            continue
        if not _leaves(step, shape):
            kept.append((_written(step) or written, step, shape))
            shape = step.shape(shape)
    return " | ".join(text for text, _, _ in kept)


def _written(step: Step) -> str:
    """Returns the text of an exchange of axes, which may have come of two; nothing of other steps."""
    return f"transpose({','.join(map(str, step.axes))})" if isinstance(step, _Transpose) and step.axes else ""


def _leaves(step: Step, shape: Shape) -> bool:
    """Whether a step leaves a tensor of a shape as it is."""
    if isinstance(step, _Transpose):
        return step.order(len(shape)) == tuple(range(len(shape)))
    return isinstance(step, _Reshape) and step.shape(shape) == shape


def joined(parts: Sequence[tuple[Transform, np.ndarray]], shape: Shape) -> np.ndarray:
    """Returns the reference's value of which several variables of the candidate are the parts.

    Args:
        parts: The transform of each part, and its value.
        shape: The shape of the whole.

    Raises:
        InputError: Some elements are in no part, or in two.
    """
    places = np.arange(math.prod(shape)).reshape(shape)
    times = np.zeros(places.size, np.int64)
    if all(any(isinstance(step, _Share) for step in transform.steps) for transform, _ in parts):
        return _sum_of_shares(parts, shape)
    whole = np.empty(places.size, parts[0][1].dtype)
    for transform, array in parts:
        # Where each element comes from is found by transforming the places themselves; only an added number is no move.
        moves = Transform(transform.text, tuple(step for step in transform.steps if not isinstance(step, _ForgetBias)))
        taken = moves.apply(places)
        added = transform.apply(np.zeros(shape, array.dtype))
        times[taken.reshape(-1)] += 1
        whole[taken.reshape(-1)] = (array - added).reshape(-1) if added.any() else array.reshape(-1)
    if (times != 1).any():
        texts = ", ".join(repr(transform.text) for transform, _ in parts)
        raise InputError(f"the parts {texts} of shape {shape} leave holes or overlap; the whole cannot be had.")
    return whole.reshape(shape)


def _sum_of_shares(parts: Sequence[tuple[Transform, np.ndarray]], shape: Shape) -> np.ndarray:
    """Returns what the shares add up to.

    Raises:
        InputError: They are not as many as they say.
    """
    total: np.ndarray = np.zeros(shape, parts[0][1].dtype)
    for transform, array in parts:
        plain = Transform(transform.text, tuple(step for step in transform.steps if not isinstance(step, _Share)))
        moves = Transform(plain.text, tuple(step for step in plain.steps if not isinstance(step, _ForgetBias)))
        total = total + moves.undo(array, shape)
    (count,) = {step.count for transform, _ in parts for step in transform.steps if isinstance(step, _Share)}
    if count != len(parts):
        raise InputError(f"transform {shown(parts[0][0].text)} is one of {count} shares, and there are {len(parts)}.")
    added = plain.apply(np.zeros(shape, total.dtype))
    whole: np.ndarray = total - moves.undo(added, shape)
    return whole


@dataclass(frozen=True)
class _Transpose:
    axes: tuple[int, ...]

    def shape(self, shape: Shape) -> Shape:
        axes = self.order(len(shape))
        if sorted(axes) != list(range(len(shape))):
            raise ValueError(f"it has {len(shape)} axes, and {list(self.axes)} is no order of them")
        return tuple(shape[axis] for axis in axes)

    def apply(self, array: np.ndarray) -> np.ndarray:
        turned: np.ndarray = np.transpose(array, self.order(array.ndim))
        return turned

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        return np.transpose(array, [int(axis) for axis in np.argsort(self.order(len(shape)))])

    def order(self, rank: int) -> tuple[int, ...]:
        return self.axes or tuple(reversed(range(rank)))


@dataclass(frozen=True)
class _Reshape:
    sizes: tuple[int, ...]

    def shape(self, shape: Shape) -> Shape:
        known = math.prod(size for size in self.sizes if size != -1)
        total = math.prod(shape)
        if -1 not in self.sizes:
            if known != total:
                raise ValueError(f"{list(self.sizes)} has {known:,} elements, not {total:,}")
            return self.sizes
        if not known or total % known:
            raise ValueError(f"{total:,} elements cannot be put into {list(self.sizes)}")
        return tuple(total // known if size == -1 else size for size in self.sizes)

    def apply(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.shape(array.shape))

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        return array.reshape(shape)


@dataclass(frozen=True)
class _Squeeze:
    axes: tuple[int, ...]

    def shape(self, shape: Shape) -> Shape:
        axes = self._axes(shape)
        wide = [axis for axis in axes if shape[axis] != 1]
        if wide:
            raise ValueError(f"axis {wide[0]} has size {shape[wide[0]]}, not 1")
        return tuple(size for axis, size in enumerate(shape) if axis not in axes)

    def apply(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.shape(array.shape))

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        return array.reshape(shape)

    def _axes(self, shape: Shape) -> set[int]:
        if not self.axes:
            return {axis for axis, size in enumerate(shape) if size == 1}
        return {_axis(axis, len(shape)) for axis in self.axes}


@dataclass(frozen=True)
class _Expand:
    axis: int

    def shape(self, shape: Shape) -> Shape:
        axis = _axis(self.axis, len(shape) + 1)
        return (*shape[:axis], 1, *shape[axis:])

    def apply(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.shape(array.shape))

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        return array.reshape(shape)


@dataclass(frozen=True)
class _Flip:
    axis: int

    def shape(self, shape: Shape) -> Shape:
        _axis(self.axis, len(shape))
        return shape

    def apply(self, array: np.ndarray) -> np.ndarray:
        flipped: np.ndarray = np.flip(array, self.axis)
        return flipped

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        del shape
        flipped: np.ndarray = np.flip(array, self.axis)
        return flipped


@dataclass(frozen=True)
class _Split:
    axis: int
    index: int
    sizes: tuple[int, ...]

    def shape(self, shape: Shape) -> Shape:
        axis = _axis(self.axis, len(shape))
        if sum(self.sizes) != shape[axis]:
            raise ValueError(f"the sizes {list(self.sizes)} add up to {sum(self.sizes)}, and axis {axis} has "
                             f"{shape[axis]}")  # fmt: skip
        return (*shape[:axis], self.sizes[self.index], *shape[axis + 1 :])

    def apply(self, array: np.ndarray) -> np.ndarray:
        axis, start = _axis(self.axis, array.ndim), sum(self.sizes[: self.index])
        return array[(slice(None),) * axis + (slice(start, start + self.sizes[self.index]),)]

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        raise NotImplementedError("a part alone does not tell the whole; `joined` does")


@dataclass(frozen=True)
class _Gates:
    before: str
    after: str
    axis: int

    def shape(self, shape: Shape) -> Shape:
        _block(shape, _axis(self.axis, len(shape)), len(self.before))
        return shape

    def apply(self, array: np.ndarray) -> np.ndarray:
        return self._ordered(array, [self.before.index(gate) for gate in self.after])

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        del shape
        return self._ordered(array, [self.after.index(gate) for gate in self.before])

    def _ordered(self, array: np.ndarray, order: list[int]) -> np.ndarray:
        axis = _axis(self.axis, array.ndim)
        size = _block(array.shape, axis, len(order))
        shape = array.shape
        blocks = array.reshape(*shape[:axis], len(order), size, *shape[axis + 1 :])
        return np.take(blocks, order, axis=axis).reshape(shape)


@dataclass(frozen=True)
class _ForgetBias:
    value: float
    gates: str

    def shape(self, shape: Shape) -> Shape:
        _block(shape, _axis(-1, len(shape)), len(self.gates))
        return shape

    def apply(self, array: np.ndarray) -> np.ndarray:
        return self._added(array, self.value)

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        del shape
        return self._added(array, -self.value)

    def _added(self, array: np.ndarray, value: float) -> np.ndarray:
        size = _block(array.shape, array.ndim - 1, len(self.gates))
        start = self.gates.index("f") * size
        result = np.array(array)
        result[..., start : start + size] += np.asarray(value, array.dtype)
        return result


@dataclass(frozen=True)
class _Share:
    count: int

    def shape(self, shape: Shape) -> Shape:
        return shape

    def apply(self, array: np.ndarray) -> np.ndarray:
        share: np.ndarray = array / np.asarray(self.count, array.dtype)
        return share

    def undo(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        raise NotImplementedError("a share alone does not tell the sum; `joined` does")


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"it has {rank} axes, and none is number {axis}")
    return axis % rank


def _block(shape: Shape, axis: int, gates: int) -> int:
    if shape[axis] % gates:
        raise ValueError(f"axis {axis} has {shape[axis]} elements, which {gates} gates cannot share")
    return shape[axis] // gates


def _transpose(arguments: list[Any]) -> Step:
    return _Transpose(_integers(arguments))


def _reshape(arguments: list[Any]) -> Step:
    sizes = _integers(arguments)
    if sizes.count(-1) > 1 or any(size < -1 for size in sizes):
        raise ValueError("sizes are positive, and one may be -1")
    return _Reshape(sizes)


def _squeeze(arguments: list[Any]) -> Step:
    return _Squeeze(_integers(arguments))


def _expand(arguments: list[Any]) -> Step:
    (axis,) = _integers(arguments)
    return _Expand(axis)


def _flip(arguments: list[Any]) -> Step:
    (axis,) = _integers(arguments)
    return _Flip(axis)


def _split(arguments: list[Any]) -> Step:
    axis, index, sizes = arguments
    if not isinstance(sizes, list) or not 0 <= index < len(sizes) or min(_integers(sizes)) < 1:
        raise ValueError("it is split(axis, index, [sizes]), and index counts the sizes from 0")
    (axis, index), checked = _integers([axis, index]), _integers(sizes)
    return _Split(axis, index, checked)


def _gates(arguments: list[Any]) -> Step:
    order, *rest = arguments
    before, arrow, after = str(order).partition("->")
    before, after = _gate_names(before), _gate_names(after)
    if not arrow or sorted(before) != sorted(after):
        raise ValueError("both orders must name the same gates, as in gates(ijfo->ifco)")
    (axis,) = _integers(rest) or (-1,)
    return _Gates(before, after, axis)


def _forget_bias(arguments: list[Any]) -> Step:
    value, gates = arguments
    named = _gate_names(str(gates))
    if "f" not in named:
        raise ValueError("one of the gates is called f, as in forget_bias(1.0, ijfo)")
    if not math.isfinite(float(value)):
        raise ValueError("the number is finite")
    return _ForgetBias(float(value), named)


def _share(arguments: list[Any]) -> Step:
    (count,) = _integers(arguments)
    if count not in (2, 4, 8):
        raise ValueError("shares that add up exactly are halves, quarters or eighths")
    return _Share(count)


_STEPS: dict[str, Callable[[list[Any]], Step]] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "expand": _expand,
    "flip": _flip,
    "split": _split,
    "gates": _gates,
    "forget_bias": _forget_bias,
    "share": _share,
}


def _step(text: str, whole: str) -> Step:
    found = _CALL.fullmatch(text)
    if not found:
        raise InputError(f"transform {shown(whole)}: {shown(text.strip())} is none; it must look like transpose(1,0).")
    name = found["name"]
    if name not in _STEPS:
        hint = nearest(name, _STEPS) or f"; known are {', '.join(_STEPS)}."
        raise InputError(f"transform {shown(whole)}: there is no {shown(name)}{hint}")
    try:
        return _STEPS[name](_arguments(found["arguments"] or ""))
    except (ValueError, TypeError, OverflowError) as error:
        said = str(error)
        # Python's own words about unpacking are no help: what the step looks like is.
        if "unpack" in said or "convert" in said or isinstance(error, (TypeError, OverflowError)):
            said = "its arguments cannot be understood"
        raise InputError(f"transform {shown(whole)}: {shown(text.strip())}: {said}.") from None


def _arguments(text: str) -> list[Any]:
    arguments: list[Any] = []
    for part in re.findall(r"\[[^\[\]]*\]|[^,\s][^,]*", text):
        bracketed = part.startswith("[")
        arguments.append([_atom(item) for item in part[1:-1].split(",") if item.strip()] if bracketed else _atom(part))
    return arguments


def _atom(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _integers(values: list[Any]) -> tuple[int, ...]:
    if any(type(value) is not int for value in values):
        raise ValueError("its arguments must be integers")
    if any(value.bit_length() > 63 for value in values):
        raise ValueError("no axis and no size is that large")
    return tuple(values)


def _gate_names(text: str) -> str:
    names = "".join(_SAME_GATE.get(gate, gate) for gate in text.strip())
    if not names.isalpha() or len(set(names)) != len(names):
        raise ValueError("gates are named by one letter each, and no two alike")
    return names
