"""What a test gives as inputs, as arrays: arrays themselves, shapes, or tables as in `lockstep.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.config.arrays import InputSpec, make_inputs, read_input
from lockstep.config.reading import Configuration
from lockstep.config.tables import Table
from lockstep.ground.records import ONLY_INPUT

__tracebackhide__ = True  # pytest shows the test's line, and not these

Given = Mapping[str, Any] | np.ndarray | Sequence[int]
"""Input name -> array, shape, or table; or one array or shape, for a model that takes one tensor."""


def arrays_of(inputs: Given) -> Arrays:
    """Returns the arrays that inputs stand for.

    A shape is filled with uniform values between 0 and 1 that depend on the input's name alone, the same on every
    machine; it includes the batch size. A table says more, as `[inputs.NAME]` does.

    Args:
        inputs: Input name -> array, shape or table; or one array or shape.

    Returns:
        Input name -> array; or one array.

    Raises:
        InputError: Something is neither an array nor a shape nor a table, or its table is wrong.

    Example:
        >>> arrays = arrays_of({"image": (2, 3), "label": {"shape": [2], "dtype": "int32", "high": 10}})
        >>> arrays["image"].shape, arrays["image"].dtype.name, arrays["label"].dtype.name
        ((2, 3), 'float32', 'int32')
        >>> arrays_of((1, 4)).shape
        (1, 4)
    """
    if not isinstance(inputs, Mapping):
        return _array(ONLY_INPUT, inputs)
    if not inputs:
        raise InputError("no inputs were given; pass a dict of input name -> array or shape.")
    return {str(name): _array(str(name), given) for name, given in inputs.items()}


def _array(name: str, given: Any) -> np.ndarray:
    place = f"inputs[{name!r}]"
    if isinstance(given, Mapping):
        return _filled(name, read_input(Table(place, given), Path.cwd()))
    if isinstance(given, (tuple, list)):
        if not all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) for size in given):
            hint = "; a shape includes the batch size" if None in given else ""
            raise InputError(
                f"{place} is {given!r}; it must be a shape such as (1, 28, 28), an array, or a table such as "
                f'{{"shape": [1, 28], "fill": "normal"}}{hint}.'
            )
        return _filled(name, read_input(Table(place, {"shape": [int(size) for size in given]}), Path.cwd()))
    return np.asarray(given)


def _filled(name: str, spec: InputSpec) -> np.ndarray:
    return make_inputs(Configuration(Path.cwd(), {}, {}, {name: spec}))[name]
