"""What an input cannot show, and a second, generic input of the same shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from lockstep.check.proof.reach import leads
from lockstep.common.arrays import Arrays, named
from lockstep.ground import sparse
from lockstep.ground.fill import hashed_uniform
from lockstep.program import Program


def blind_spots(inputs: Arrays) -> list[str]:
    """Returns what inputs cannot show, as phrases.

    >>> blind_spots({"x": np.ones((1, 3), np.float32)})
    ['x is 1 everywhere', 'x is a batch of one']
    """
    arrays = named(inputs)
    free = {name: array for name, array in arrays.items() if not sparse.is_place(name, arrays)}
    return [line for name, array in free.items() for line in _blind(name, np.asarray(array))]


def _blind(name: str, array: np.ndarray) -> Iterator[str]:
    if array.dtype.kind in "OSUV" or not array.ndim:
        return
    if array.size > 1 and bool((array == array.reshape(-1)[0]).all()):
        yield f"{name} is {array.reshape(-1)[0]:g} everywhere" if array.dtype.kind in "fiu" else f"{name} is constant"
    else:
        alike = [a for a, size in enumerate(array.shape) if size > 1 and bool((array == array.take([0], a)).all())]
        if alike:
            yield f"{name} is constant along axis {alike[0]}"
    if array.shape[0] == 1:
        yield f"{name} is a batch of one"


def rows_looked_up(program: Program) -> dict[str, int]:
    """Returns input name -> how many rows the table has in which it looks up, the smallest of several."""
    found: dict[str, int] = {}
    for operation in program.operations:
        table = program.sources.get(operation.inputs[0]) if operation.family == "GatherV2" else None
        if table is None or table.kind != "variable":
            continue
        axes = program.constant(operation.inputs[2]).reshape(-1) if program.is_constant(operation.inputs[2]) else [0]
        rows = program.specs[operation.inputs[0]].shape[int(axes[0])]
        for tensor in leads(program, operation.inputs[1]):
            source = program.sources[tensor]
            if source.kind == "input" and program.specs[tensor].dtype.startswith(("int", "uint")):
                found[source.name] = min(rows, found.get(source.name, rows))
    return found


def generic(inputs: Arrays, rows: Mapping[str, int] = MappingProxyType({})) -> Arrays:
    """Returns inputs of the same names, shapes and dtypes, and of the same range, which are constant along no axis.

    Floating values lie between the smallest and the largest of those given; a constant c becomes values between 0 and
    2 c, zeros become values between -1 and 1. Whole numbers, of a floating dtype too, are whole numbers of the range.
    Text, single numbers (a rate, say), and the places of a sparse input's values stay as they are.

    Args:
        inputs: The inputs.
        rows: Input name -> how many rows the table has that it looks up in; its numbers reach all of them.
    """
    arrays = named(inputs)
    made = {
        name: array if sparse.is_place(name, arrays) else _generic(name, np.asarray(array), rows.get(name))
        for name, array in arrays.items()
    }
    return made if isinstance(inputs, Mapping) else next(iter(made.values()))


def only_text(inputs: Arrays) -> bool:
    """Tells whether all inputs are text, of which no generic one can be made.

    >>> only_text({"x": np.array(["a"])}), only_text({"x": np.array(["a"]), "n": np.array([1, 2])})
    (True, False)
    """
    return all(np.asarray(array).dtype.kind in "OSU" for array in named(inputs).values())


def _generic(name: str, array: np.ndarray, rows: int | None) -> np.ndarray:
    if array.dtype.kind not in "fiub" or array.size <= 1:
        return array
    unit = hashed_uniform(f"generic/{name}", array.size).reshape(array.shape)
    if array.dtype.kind == "b":
        return unit < 0.5
    if rows is not None and array.dtype.kind in "iu" and rows > 0:
        places = np.floor(unit * rows).reshape(-1)
        places[[0, -1]] = 0, rows - 1
        return np.asarray(places.reshape(array.shape), array.dtype)
    low, high = float(array.min()), float(array.max())
    whole = bool((array == np.floor(array)).all())
    if array.dtype.kind != "f" or (whole and low != high):
        low, high = (min(0.0, low), max(0.0, high)) if low == high else (low, high)
        return np.asarray(np.floor(low + unit * (high - low + 1)), np.float64).clip(low, high).astype(array.dtype)
    if low == high:
        low, high = (min(0.0, 2.0 * low), max(0.0, 2.0 * low)) if low else (-1.0, 1.0)
    return np.asarray(low + unit * (high - low), np.float64).astype(array.dtype)
