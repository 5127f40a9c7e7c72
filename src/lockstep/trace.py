"""What one run of a subject did, as frozen values in NumPy terms: the seam between the two sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class VariableRecord:
    """One variable of a subject.

    Attributes:
        name: Its full name without output number, `scope/weights`.
        key: The name, made unique with `#2`, `#3`, ... where several variables bear it.
        shape: Its static shape.
        dtype: Its dtype's name, `"float32"`.
        trainable: Whether optimizers change it.
        regularized: Whether a regularization loss rests on it; None where that cannot be told.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    regularized: bool | None = None

    def describe(self) -> str:
        """`scope/weights (3, 3, 3, 32) float32 trainable`."""
        return f"{self.key} {self.shape} {self.dtype} {'trainable' if self.trainable else 'not trainable'}"


@dataclass(frozen=True)
class LossRecord:
    """One regularization loss: the variable it rests on (None where that cannot be told) and its value (0-d)."""

    variable: str | None
    value: np.ndarray


@dataclass(frozen=True)
class Trace:
    """What one run of a subject did.

    Attributes:
        variables: The inventory, in order of creation.
        before: Variable key -> value before the run.
        outputs: Path in the returned structure (`0`, `1/logits`; empty for a single tensor) -> value.
        losses: The regularization losses.
        total_loss: Their sum as the framework computes it (0-d); None where there is none.
        after: Variable key -> value after the run, for the variables that the run changed.
        created: Descriptions of the variables that further calls made anew.
        calls: How often the subject was called.
        draws: How many seeds its random operations asked for, variable initializers included.
        forward_draws: The operation seeds with which the forward pass alone drew, in order; None where they cannot be
            told from those of the initializers (a model that made its variables in this run).
        native_initializers: Whether Keras's own initializers gave some initial values: Keras may build all variables
            before the forward pass draws, so their draws may have another order than a TF1 program's.
        native_draws: Whether the model holds Keras's own seed generators (its dropout, say).
        unaligned_draws: Whether the run drew from such a generator past the random tool.
        notes: What a reader of the report has to know about this run.
        duration_s: Seconds that the run took.
    """

    variables: tuple[VariableRecord, ...]
    before: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    losses: tuple[LossRecord, ...] = ()
    total_loss: np.ndarray | None = None
    after: Mapping[str, np.ndarray] = field(default_factory=dict)
    created: tuple[str, ...] = ()
    calls: int = 1
    draws: int = 0
    forward_draws: tuple[int, ...] | None = None
    native_initializers: bool = False
    native_draws: bool = False
    unaligned_draws: bool = False
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0


def unique_keys(names: Iterable[str]) -> list[str]:
    """Returns the names with `#2`, `#3`, ... behind those that occurred before, so that none is lost in a dict.

    >>> unique_keys(["a", "b", "a"])
    ['a', 'b', 'a#2']
    """
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return keys


def flatten(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `(path, leaf)` for a nested structure of dicts, lists, tuples and named tuples; a None is no leaf.

    >>> list(flatten(({"b": 1, "a": 2}, [3])))
    [('0/b', 1), ('0/a', 2), ('1/0', 3)]
    """
    if structure is None:
        return
    prefix = f"{path}/" if path else ""
    if isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from flatten(value, f"{prefix}{key}")
    elif isinstance(structure, tuple) and hasattr(structure, "_fields"):
        for key, value in zip(structure._fields, structure, strict=True):
            yield from flatten(value, f"{prefix}{key}")
    elif isinstance(structure, (list, tuple)):
        for index, value in enumerate(structure):
            yield from flatten(value, f"{prefix}{index}")
    else:
        yield path, structure


def changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the entries of `after` whose bits are not those of `before`."""
    return {key: value for key, value in after.items() if not _same_bits(before[key], value)}


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.hasobject:
        return bool(np.array_equal(a, b))
    return bool(np.array_equal(np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)))
