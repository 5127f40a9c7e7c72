"""A module as a program: what it is lowered to, from given values, with the numbers that one run of it drew."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lockstep.common.errors import LockstepError, ProgramError
from lockstep.frameworks.torch import arrays
from lockstep.frameworks.torch.calling import Call
from lockstep.frameworks.torch.drawing import Drawn
from lockstep.frameworks.torch.program import Lowered, lowered
from lockstep.program import Operation, Place, Program, Spec
from lockstep.subjects import TRAINING_LOSS

_INNER = "called"
Loss = Callable[[Any, Any], torch.Tensor]


class Following:
    """Follows a module; it is exported once for each set of shapes.

    Args:
        module: The module.
        call: How it is called.
        loss: The user's `loss(outputs, batch)`, which is followed in place of the outputs; None where they are.
        training: Whether in training mode.
    """

    def __init__(self, module: torch.nn.Module, call: Call, loss: Loss | None = None, *, training: bool) -> None:
        self._module, self._call, self._loss, self._training = module, call, loss, training
        self._wrapped = call.whole or loss is not None
        self._lowered: dict[object, Lowered] = {}

    def program(
        self, values: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], drawn: Sequence[Drawn]
    ) -> Program:
        """Returns what the module computes.

        Args:
            values: Name of a parameter or buffer -> value before the run.
            inputs: Input name -> array.
            drawn: What its random operations draw.

        Raises:
            ProgramError: It cannot be exported, or draws otherwise when it is.
        """
        try:
            known = self._for(inputs)
            prefix = f"{_INNER}." if self._wrapped else ""
            present = {
                name: arrays.array(value) for name, value in self._module.state_dict().items() if value is not None
            }
            given = {name: {**present, **values}[name.removeprefix(prefix)] for name in known.names}
            handed = self._handed(known, inputs)
            program = known.program(given, handed, [one.values for one in drawn])
        except ProgramError:
            raise
        except LockstepError as error:
            raise ProgramError(str(error), operation="") from error
        return _turned(self._under_own_names(program), drawn)

    def _for(self, inputs: Mapping[str, np.ndarray]) -> Lowered:
        key = tuple((name, array.shape, array.dtype.str) for name, array in inputs.items())
        if key not in self._lowered:
            tensors = {name: arrays.tensor(array, f"input {name}") for name, array in inputs.items()}
            module: torch.nn.Module = self._module
            given: Any
            if self._wrapped:
                module, given = _Called(self._module, self._call, self._loss), tensors
            else:
                positional, named = self._call.arguments(tensors)
                if positional and named:
                    raise ProgramError(
                        "inputs given by position and by name at once are not followed; say as of each by name.",
                        operation="",
                    )
                given = named or (list(tensors.values()) if not self._call.positional else list(positional))
            self._lowered[key] = lowered(module, given, training=self._training)
        return self._lowered[key]

    def _handed(self, known: Lowered, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the inputs by the names of `forward`'s parameters."""
        names = self._parameters(inputs)
        return dict(zip(known.inputs, (inputs[name] for name in names), strict=True))

    def _parameters(self, inputs: Mapping[str, np.ndarray]) -> list[str]:
        if self._wrapped:
            return list(inputs)
        if self._call.positional:
            return list(self._call.positional)
        if self._call.named:
            return [name for _, name in self._call.named]
        return list(inputs)

    def _under_own_names(self, program: Program) -> Program:
        """Returns a program whose inputs are called as the check calls them, and its variables as the module does."""
        told = dict(self._call.named) if self._call.named and not self._wrapped else {}
        positional = () if self._wrapped else self._call.positional
        inputs = iter(positional)
        for tensor, source in program.sources.items():
            if source.kind == "input":
                name = told.get(source.name) or (next(inputs, source.name) if positional else source.name)
                program.sources[tensor] = dataclasses.replace(source, name=name)
            elif source.kind == "variable" and self._wrapped:
                name = source.name.removeprefix(f"{_INNER}.")
                program.sources[tensor] = dataclasses.replace(source, name=name)
        if not self._wrapped:
            return program
        writes = {key.removeprefix(f"{_INNER}."): tensor for key, tensor in program.writes.items()}
        operations = [
            dataclasses.replace(operation, place=_without_inner(operation.place)) for operation in program.operations
        ]
        producers = {tensor: operation for operation in operations for tensor in operation.outputs}
        return dataclasses.replace(program, writes=writes, operations=operations, producers=producers)


class _Called(torch.nn.Module):
    """Takes all inputs by their names, calls a module as it wants them, and a loss behind it."""

    def __init__(self, module: torch.nn.Module, call: Call, loss: Loss | None) -> None:
        super().__init__()
        self.called = module
        self._call, self._loss = call, loss

    def forward(self, **inputs: torch.Tensor) -> Any:
        """Calls it."""
        batch: Any = inputs
        if not (self._call.whole or self._call.positional or self._call.named):
            (batch,) = inputs.values()  # the one input that has no name
        positional, named = self._call.arguments(batch)
        returned = self.called(*positional, **named)
        return returned if self._loss is None else {TRAINING_LOSS: self._loss(returned, batch).reshape(())}


def _without_inner(place: Place) -> Place:
    name, scope = (text.removeprefix(_INNER).removeprefix("/") for text in (place.name, place.scope))
    return dataclasses.replace(place, name=name, scope=scope)


def _turned(program: Program, drawn: Sequence[Drawn]) -> Program:
    """Returns a program whose masks for images are drawn in TensorFlow's order, and turned behind that."""
    waiting = list(drawn)
    made: list[Operation] = []
    specs, sources, draws = list(program.specs), dict(program.sources), list(program.draws)
    for tensor in program.draws:
        value = np.asarray(sources[tensor].value)
        while waiting and not (waiting[0].values.shape == value.shape and np.array_equal(waiting[0].values, value)):
            waiting.pop(0)
        if not waiting:
            break
        one = waiting.pop(0)
        if not one.turned:
            continue
        plain = np.ascontiguousarray(np.moveaxis(one.values, 1, -1))
        specs.append(Spec(specs[tensor].dtype, plain.shape))
        whence = len(specs) - 1
        sources[whence] = dataclasses.replace(sources.pop(tensor), value=plain)
        draws[draws.index(tensor)] = whence
        rank = plain.ndim
        order = np.array([0, rank - 1, *range(1, rank - 1)], np.int32)
        specs.append(Spec("int32", (rank,)))
        sources[len(specs) - 1] = dataclasses.replace(sources[whence], kind="constant", name="", value=order)
        reader = next((o.place for o in program.operations if tensor in o.inputs), Place("", ""))
        made.append(Operation(len(made), "Transpose", {}, (whence, len(specs) - 1), (tensor,), reader))
    if not made:
        return program
    operations = [*made, *(dataclasses.replace(o, index=o.index + len(made)) for o in program.operations)]
    producers = {tensor: operation for operation in operations for tensor in operation.outputs}
    return dataclasses.replace(
        program, operations=operations, specs=specs, sources=sources, draws=draws, producers=producers
    )
