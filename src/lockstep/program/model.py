"""What one run computed, operation by operation, whatever made it: a graph, or eager calls of Keras layers.

Loops are unrolled, branches are taken, variables are what they were read as, and what only hands a tensor on
(`Identity`, a reshape to the same shape) is left out, so that two programs that compute the same look the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.program import dialect
from lockstep.program.dialect import Trait


@dataclass(frozen=True)
class Spec:
    """Dtype and shape of a tensor: `Spec("float32", (2, 8))`."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        """Whether its values are rounded."""
        return self.dtype.startswith(("float", "bfloat", "complex"))


@dataclass(frozen=True)
class Source:
    """A tensor that no operation of the program computed.

    Attributes:
        kind: `"input"`, `"variable"`, `"constant"`, `"draw"`, or `"opaque"` (an operation that cannot be run again).
        name: The input's or variable's name; what drew; empty for a constant.
        value: The value, as the framework holds it, or a NumPy array.
    """

    kind: str
    name: str
    value: Any


@dataclass(frozen=True)
class Place:
    """Where an operation is from: its name, its scope (of variables or layers), and the user's line that made it."""

    name: str
    scope: str
    source: str = ""


@dataclass(frozen=True)
class Operation:
    """One operation that ran.

    Attributes:
        index: Its position in the order of the run.
        type: What it computes, `"Conv2D"`.
        attributes: What it is parametrised by, plain values by name, without what its inputs imply (dtypes, counts).
        inputs: Numbers of the tensors that it read.
        outputs: Numbers of the tensors that it gave.
        place: Where it is from.
        call: What the framework needs to run it again.
    """

    index: int
    type: str
    attributes: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: Place
    call: Any = None

    @property
    def family(self) -> str:
        """The name that types which compute the same have in common."""
        return dialect.family(self.type)


@dataclass
class Program:
    """All that one run computed.

    Attributes:
        operations: In the order in which they ran; inputs come before what reads them.
        specs: Of each tensor, by number.
        sources: Tensors that no operation computed.
        outputs: Path in the returned structure -> tensor.
        writes: Variable's key -> the tensor that the run left in it.
        draws: The draws among the sources, in their order.
        limits: What could not be followed, sentence by sentence.
    """

    operations: list[Operation] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)
    sources: dict[int, Source] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    draws: list[int] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    producers: dict[int, Operation] = field(default_factory=dict)

    def without_the_unused(self) -> Program:
        """Returns the program without operations and draws that lead to nothing that it returns or leaves behind."""
        needed = self.needed_tensors()
        kept = [operation for operation in self.operations if not needed.isdisjoint(operation.outputs)]
        numbered = [replace(operation, index=index) for index, operation in enumerate(kept)]
        producers = {tensor: operation for operation in numbered for tensor in operation.outputs}
        draws = [tensor for tensor in self.draws if tensor in needed]
        return replace(self, operations=numbered, producers=producers, draws=draws)

    def leave_unchanged(self, keys: Iterable[str]) -> None:
        """Forgets writes that left in a variable what was in it: an average of momentum 1, `assign(x, x)`."""
        for key in keys:
            del self.writes[key]

    def needed_tensors(self) -> set[int]:
        """Returns the tensors that what it returns or leaves behind is computed from, with these themselves."""
        needed: set[int] = set()
        waiting = [*self.outputs.values(), *self.writes.values()]
        while waiting:
            tensor = waiting.pop()
            if tensor not in needed:
                needed.add(tensor)
                made_by = self.producers.get(tensor)
                waiting.extend(made_by.inputs if made_by is not None else ())
        return needed

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor depends on no input, variable or draw."""
        source = self.sources.get(tensor)
        return source is not None and source.kind == "constant"

    def constant(self, tensor: int) -> np.ndarray:
        """The value of a constant."""
        return np.asarray(self.sources[tensor].value)

    def variables_read(self, operation: Operation) -> tuple[str, ...]:
        """Keys of the variables among an operation's inputs."""
        found = (self.sources.get(tensor) for tensor in operation.inputs)
        return tuple(source.name for source in found if source is not None and source.kind == "variable")


class ProgramBuilder:
    """Puts a program together while it runs."""

    def __init__(self) -> None:
        self.program = Program()
        self._current: dict[str, int] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def source(self, kind: str, name: str, value: Any, spec: Spec) -> int:
        """Adds a tensor that no operation computed."""
        tensor = self._tensor(spec)
        self.program.sources[tensor] = Source(kind, name, value)
        if kind == "draw":
            self.program.draws.append(tensor)
        return tensor

    def constant(self, value: np.ndarray, spec: Spec) -> int:
        """Adds a constant; equal ones are one tensor."""
        content = value.tobytes() if value.dtype.kind not in "OSU" else repr(value.tolist()).encode()
        key = (spec.dtype, spec.shape, hashlib.sha256(content).digest())
        if key not in self._constants:
            self._constants[key] = self.source("constant", "", value, spec)
        return self._constants[key]

    def variable(self, key: str, value: Any, spec: Spec) -> int:
        """Reads a variable: as the run has left it so far."""
        if key not in self._current:
            self._current[key] = self.source("variable", key, value, spec)
        return self._current[key]

    def write(self, key: str, tensor: int) -> None:
        """Leaves a tensor in a variable."""
        self._current[key] = self.program.writes[key] = tensor

    def operation(
        self,
        kind: str,
        attributes: Mapping[str, Any],
        inputs: Sequence[int],
        outputs: Sequence[tuple[Spec, Any]],
        place: Place,
        call: Any = None,
    ) -> list[int]:
        """Adds an operation that ran; returns its output tensors, which may be its inputs where it changes nothing.

        Args:
            kind: Its type.
            attributes: Its plain attributes.
            inputs: The tensors that it read.
            outputs: Spec and value of each output; a value is read only where it turns out to be a constant.
            place: Where it is from.
            call: What the framework needs to run it again.
        """
        program = self.program
        if inputs and self._hands_on(kind, inputs, outputs):
            return [inputs[0]] * len(outputs)
        traits = dialect.traits(kind)
        if Trait.SHAPE_ONLY in traits or all(program.is_constant(tensor) for tensor in inputs):
            return [self.constant(np.asarray(value), spec) for spec, value in outputs]
        if Trait.VIEW in traits or self._is_view(kind, inputs, outputs):
            made_by = program.producers.get(inputs[0])
            whence = made_by.inputs[0] if made_by is not None and made_by.type == "Reshape" else inputs[0]
            if program.specs[whence] == outputs[0][0]:
                return [whence]
            kind, attributes, inputs, call = "Reshape", {"shape": outputs[0][0].shape}, (whence,), None
        inputs = self._normalized(kind, inputs)
        made = tuple(self._tensor(spec) for spec, _ in outputs)
        operation = Operation(len(program.operations), kind, dict(attributes), tuple(inputs), made, place, call)
        program.operations.append(operation)
        program.producers.update(dict.fromkeys(made, operation))
        return list(made)

    def _normalized(self, kind: str, inputs: Sequence[int]) -> Sequence[int]:
        """Counts axes from the front, in ascending order where the order is nothing: the same axes look the same."""
        place = dialect.known(kind).axes
        if place is None or not self.program.is_constant(inputs[place]):
            return inputs
        of = inputs[1] if kind == "Split" else inputs[0]
        axes, rank = self.program.constant(inputs[place]), len(self.program.specs[of].shape)
        counted = np.where(axes < 0, axes + rank, axes).astype(axes.dtype).reshape(axes.shape)
        counted = np.sort(counted.reshape(-1)).reshape(axes.shape)
        normal = list(inputs)
        normal[place] = self.constant(counted, self.program.specs[inputs[place]])
        return normal

    def _hands_on(self, kind: str, inputs: Sequence[int], outputs: Sequence[tuple[Spec, Any]]) -> bool:
        traits = dialect.traits(kind)
        if Trait.HANDS_ON in traits:
            return True
        same = len(outputs) == 1 and outputs[0][0] == self.program.specs[inputs[0]]
        if kind == "Cast" or not traits.isdisjoint({Trait.VIEW, Trait.SAME_IF_SAME_SHAPE}):
            return same and (kind not in {"StridedSlice", "Slice", "MirrorPad"} or self._takes_all(kind, inputs))
        if kind == "Transpose" and self.program.is_constant(inputs[1]):
            order = self.program.constant(inputs[1]).tolist()
            return list(order) == list(range(len(order)))
        return False

    def _is_view(self, kind: str, inputs: Sequence[int], outputs: Sequence[tuple[Spec, Any]]) -> bool:
        """Whether a slice takes all there is in its order, and only adds or drops dimensions of one: `x[:, None]`."""
        if kind != "StridedSlice":
            return False
        sizes = [math.prod(shape) for shape in (self.program.specs[inputs[0]].shape, outputs[0][0].shape)]
        return sizes[0] == sizes[1] and self._takes_all(kind, inputs)

    def _takes_all(self, kind: str, inputs: Sequence[int]) -> bool:
        # A strided slice of the same shape may still turn it around.
        if kind != "StridedSlice":
            return True
        return self.program.is_constant(inputs[3]) and bool((self.program.constant(inputs[3]) == 1).all())

    def _tensor(self, spec: Spec) -> int:
        self.program.specs.append(spec)
        return len(self.program.specs) - 1
