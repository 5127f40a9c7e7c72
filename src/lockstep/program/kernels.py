"""What forced lockstep asks of a framework: to run single operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lockstep.program import Operation, Program


class Kernels(Protocol):
    """Runs operations of both programs. Tensors are what the framework holds; the core only hands them on."""

    def run(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        """Runs an operation as it is.

        Raises:
            KernelError: The framework cannot run it on these inputs.
        """
        ...

    def run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool = False) -> list[Any]:
        """Runs an operation in float64, with `halves` what is in half precision too.

        Raises:
            KernelError: The framework has no such kernel, or cannot run it on these inputs.
        """
        ...

    def numpy(self, value: Any) -> np.ndarray:
        """Returns a tensor as an array."""
        ...

    def changed(self, operation: Operation, attributes: Mapping[str, Any]) -> Operation:
        """Returns the operation with other attributes."""
        ...


class Runtime(Kernels, Protocol):
    """What a check asks of the framework in whose operations programs are written."""

    def derivatives(self, program: Program) -> dict[int, np.ndarray]:
        """Differentiates all floating outputs, weighted with numbers that are a hash of their paths.

        Returns:
            Source (variable or input, floating) -> derivative in its shape, float64; zeros where no path leads from it
            to an output.

        Raises:
            KernelError: An operation cannot be run, or has no derivative.
        """
        ...
