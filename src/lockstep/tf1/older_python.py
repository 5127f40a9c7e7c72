"""Names that Python 3.10 and 3.11 and NumPy 1.24 and 2 took away, and that packages of TensorFlow 1's years use."""

from __future__ import annotations

import collections
import collections.abc
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")


def _getargspec(function: Callable[..., Any]) -> ArgSpec:
    return ArgSpec(*inspect.getfullargspec(function)[:4])


ADDED: dict[str, dict[str, Any]] = {
    "collections": {name: getattr(collections.abc, name) for name in collections.abc.__all__},
    "inspect": {"getargspec": _getargspec},
    "numpy": {
        **{kind.__name__: kind for kind in (bool, int, float, complex, object, str)},
        "Inf": np.inf,
        "NaN": np.nan,
        "complex_": np.complex128,
        "float_": np.float64,
        "product": np.prod,
        "string_": np.bytes_,
        "unicode_": np.str_,
    },
}
"""Module -> name -> what it was."""


def added(module: Any) -> dict[str, Callable[[], Any]]:
    """Returns those of a module's names that the running version does not have."""
    missing = {name: value for name, value in ADDED[module.__name__].items() if name not in vars(module)}
    return {name: lambda value=value: value for name, value in missing.items()}  # type: ignore[misc]
