"""What travels along the edges of a graph that is followed: tensors, variables, tensor arrays and tensor lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lockstep.common.errors import ProgramError
from lockstep.frameworks.tensorflow import kernels
from lockstep.program import Place, ProgramBuilder


class Known(NamedTuple):
    """A tensor: its number in the program, and its value."""

    tensor: int
    value: Any


@dataclass(frozen=True)
class Variable:
    """A variable's handle, or a reference to it."""

    key: str


@dataclass(frozen=True)
class Closed:
    """What cannot leave the session: the handle of a table, a queue, ..."""

    operation: str


@dataclass
class Array:
    """A `TensorArray`: what was written so far, None where nothing was.

    `alike` are, for one of gradients, the items of the array that they are the gradients of.
    """

    dtype: Any
    shape: Any
    items: list[Known | None]
    gradient: bool = False
    alike: list[Known | None] = field(default_factory=list)
    gradients: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Items:
    """A `TensorList`, which no operation changes; None where nothing was set."""

    dtype: Any
    items: tuple[Known | None, ...]
    shape: Any = None


@dataclass
class Stack:
    """A `StackV2`, with which the gradients of loops remember."""

    items: list[Any]


Held = Known | Variable | Closed | Array | Items | Stack


class Recorder:
    """Runs operations and reports each to a `ProgramBuilder`; holds the values of variables.

    Args:
        variables: Key -> value before the run.
    """

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self.builder = ProgramBuilder()
        self._before, self._now = variables, dict[str, Any]()

    def constant(self, value: Any) -> Known:
        """Adds a constant."""
        tensor = value if tf.is_tensor(value) else tf.constant(value)
        return Known(self.builder.constant(np.asarray(tensor), kernels.spec_of(tensor)), tensor)

    def source(self, kind: str, name: str, value: Any, *, kept: bool = True) -> Known:
        """Adds a tensor that nothing here computes; `kept` is whether the program holds its value."""
        tensor = tf.constant(value)
        return Known(self.builder.source(kind, name, tensor if kept else None, kernels.spec_of(tensor)), tensor)

    def run(self, kind: str, given: Mapping[str, Any], inputs: Sequence[Known], place: Place) -> Known:
        """Runs an operation with one output."""
        return self.run_call(kernels.call(kind, given, [known.value for known in inputs], 1), inputs, place)[0]

    def run_call(self, call: kernels.Call, inputs: Sequence[Known], place: Place) -> list[Known]:
        """Runs an operation."""
        values = kernels.execute(call, [known.value for known in inputs])
        outputs = [(kernels.spec_of(value), value) for value in values]
        attributes = kernels.plain_attributes(call.type, call)
        tensors = self.builder.operation(
            call.type, attributes, [known.tensor for known in inputs], outputs, place, call
        )
        return [Known(tensor, value) for tensor, value in zip(tensors, values, strict=True)]

    def read(self, variable: Variable, place: Place) -> Known:
        """Reads a variable as the run has left it so far.

        Raises:
            ProgramError: It has no value.
        """
        key = variable.key
        if key not in self._now:
            if key not in self._before:
                raise ProgramError(
                    f"{place.name} reads the variable {key}, which is in no collection of the graph and has no value.",
                    operation=place.name,
                )
            self._now[key] = tf.constant(self._before[key])
        value = self._now[key]
        return Known(self.builder.variable(key, value, kernels.spec_of(value)), value)

    def write(self, variable: Variable, known: Known) -> None:
        """Leaves a tensor in a variable."""
        self.builder.write(variable.key, known.tensor)
        self._now[variable.key] = known.value

    def before(self, key: str) -> np.ndarray:
        """Returns the value of a variable before the run; an empty array where it had none."""
        return np.asarray(self._before.get(key, np.zeros(0)))

    @property
    def written(self) -> dict[str, Any]:
        """Key -> value, of the variables that the run changed."""
        return {key: self._now[key] for key in self.builder.program.writes}


@dataclass(frozen=True)
class Site:
    """An operation of a graph that runs, and where."""

    recorder: Recorder
    op: Any
    place: Place

    def attribute(self, name: str) -> Any:
        """Returns an attribute."""
        return self.op.get_attr(name)

    def run(self, kind: str, inputs: Sequence[Known], **attributes: Any) -> Known:
        """Runs another operation in place of this one."""
        return self.recorder.run(kind, attributes, inputs, self.place)

    def refused(self, reason: str) -> ProgramError:
        """Returns the error for an operation that cannot be followed."""
        return ProgramError(
            f"{self.op.type} {self.place.name} cannot be followed: {reason}.", operation=self.place.name
        )


Handler = Callable[[Site, list[Any]], Sequence[Held]]
"""Does what one type of operation does; references to variables among the inputs are read before, but for the first."""
