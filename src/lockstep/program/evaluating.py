"""Runs a whole program from start to end, as it is or in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels


class Ran(NamedTuple):
    """An operation that ran, what it read and what it gave."""

    operation: Operation
    read: Sequence[Any]
    gave: Sequence[Any]


Observe = Callable[[Ran], None]
"""Is shown an operation that ran."""

Moved = Callable[[np.ndarray, str], np.ndarray]
"""Changes a source: its value and its name -> another value."""


@dataclass(frozen=True)
class Evaluated:
    """What a run gave.

    Attributes:
        ends: Tensor -> value, of the tensors that were asked for.
        narrow: Whether an operation without a float64 kernel ran in its own precision.
    """

    ends: Mapping[int, np.ndarray]
    narrow: bool


def ends_of(program: Program) -> dict[tuple[str, str], int]:
    """Returns what a program returns and leaves behind: `("output", path)` or `("state", key)` -> tensor."""
    outputs = {("output", path): tensor for path, tensor in program.outputs.items()}
    return {**outputs, **{("state", key): tensor for key, tensor in program.writes.items()}}


def evaluate(
    program: Program,
    kernels: Kernels,
    *,
    double: bool,
    sources: Mapping[int, Any] | None = None,
    moved: Moved | None = None,
    observe: Observe | None = None,
) -> Evaluated:
    """Runs a program; a tensor that nobody reads any more is let go.

    Args:
        program: The program.
        kernels: Runs operations.
        double: Whether in float64, half precision included.
        sources: Source -> the value that it has in this run; the others have their own.
        moved: Changes every source that has a value.
        observe: Is shown every operation.

    Raises:
        KernelError: An operation cannot be run.
    """
    given = sources or {}
    ends = set(ends_of(program).values())
    readers = Counter(tensor for operation in program.operations for tensor in operation.inputs)
    readers.update(dict.fromkeys(ends, 1))
    values: dict[int, Any] = {}
    narrow = False

    def read(tensor: int) -> Any:
        if tensor in values:
            return values[tensor]
        value = given.get(tensor, program.sources[tensor].value)
        if value is None:
            raise KernelError(f"the value of {program.sources[tensor].name or 'a tensor'} is not known")
        return value if moved is None else moved(kernels.numpy(value), source_name(program, tensor))

    for operation in program.operations:
        inputs = [read(tensor) for tensor in operation.inputs]
        try:
            outputs = kernels.run_double(operation, inputs, halves=True) if double else kernels.run(operation, inputs)
        except KernelError:
            if not double:
                raise
            outputs = kernels.run(
                operation, [as_it_was(program, kernels, *pair) for pair in zip(operation.inputs, inputs, strict=True)]
            )
            narrow = True
        if observe is not None:
            observe(Ran(operation, inputs, outputs))
        values.update(zip(operation.outputs, outputs, strict=True))
        for tensor in operation.inputs:
            readers[tensor] -= 1
            if not readers[tensor]:
                values.pop(tensor, None)
    return Evaluated({tensor: kernels.numpy(read(tensor)) for tensor in ends}, narrow)


def source_name(program: Program, tensor: int) -> str:
    """Returns what a source is called: the same for a variable or an input of both sides' programs."""
    source = program.sources[tensor]
    return f"{source.kind}/{source.name or tensor}"


def as_it_was(program: Program, kernels: Kernels, tensor: int, value: Any) -> Any:
    """Returns a value in the dtype that it has in the program."""
    array, dtype = kernels.numpy(value), program.specs[tensor].dtype
    return array.astype(np.dtype(dtype)) if array.dtype == np.float64 and dtype in ("float32", "float16") else value
