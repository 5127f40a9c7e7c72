"""Activations by their formulas, to recognise one by what it does to a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


_erf = np.vectorize(math.erf, otypes=[np.float64])

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0.0))),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "hard sigmoid (x / 6 + 1 / 2)": lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hard sigmoid (x / 5 + 1 / 2)": lambda x: np.clip(x / 5.0 + 0.5, 0.0, 1.0),
    "swish": lambda x: x * _sigmoid(x),
    "hard swish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
    "gelu (tanh approximation)": lambda x: 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
    "gelu's erf(x / sqrt(2))": lambda x: _erf(x / math.sqrt(2.0)),
    "gelu's tanh approximation": lambda x: np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)),
    "gelu's factor": lambda x: 1.0 + _erf(x / math.sqrt(2.0)),
    "gelu's factor (tanh approximation)": lambda x: 1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)),
    "leaky relu (slope 0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "leaky relu (slope 0.3)": lambda x: np.where(x > 0, x, 0.3 * x),
    "leaky relu (slope 0.1)": lambda x: np.where(x > 0, x, 0.1 * x),
    "leaky relu (slope 0.01)": lambda x: np.where(x > 0, x, 0.01 * x),
}
"""Name -> formula in float64. GELU: Hendrycks and Gimpel, "Gaussian error linear units", 2016, has both forms.

SELU: Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017."""

_LARGEST = 4096


def named(x: np.ndarray, y: np.ndarray, *, bends: bool = False) -> str | None:
    """Returns the activation that turns `x` into `y`; None where none does.

    Some thousand elements tell as much as all.

    Args:
        x: What goes in.
        y: What comes out.
        bends: Whether an operation on the way does something else to numbers of another sign: what hands on positive
            numbers is no linear function then.

    >>> named(np.array([-1.0, 2.0]), np.array([0.0, 2.0]))
    'relu'
    >>> named(np.array([1.0, 2.0]), np.array([1.0, 2.0])), named(np.array([1.0, 2.0]), np.array([1.0, 2.0]), bends=True)
    ('linear', 'relu')
    """
    x, y = (np.asarray(array, np.float64).reshape(-1)[:_LARGEST] for array in (x, y))
    with np.errstate(over="ignore", invalid="ignore"):
        for name, formula in FORMULAS.items():
            if not (bends and name == "linear") and np.allclose(formula(x), y, rtol=1e-5, atol=1e-6):
                return name
    return None
