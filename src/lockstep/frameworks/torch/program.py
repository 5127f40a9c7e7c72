"""A PyTorch module as a program of the dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from lockstep.common.errors import InputError, nearest
from lockstep.frameworks.torch.exporting import Exported, export
from lockstep.frameworks.torch.lowering.interpreting import Interpreter, Numbers, Pair
from lockstep.frameworks.torch.lowering.proving import Fault
from lockstep.frameworks.torch.lowering.values import array_of, dtype_name, torch_of
from lockstep.program import Program, ProgramBuilder


def lowered(
    module: torch.nn.Module, inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor], *, training: bool
) -> Lowered:
    """Exports a module, so that what it computes can be written as a program.

    Args:
        module: The module; it ends as it was.
        inputs: What it is called with: positional arguments, or keyword arguments by name. Other inputs that are given
            later have these shapes and dtypes.
        training: Whether in training mode.

    Raises:
        SubjectError: The module cannot be exported, as its Python depends on values of tensors.

    Example:
        >>> linear = torch.nn.Linear(3, 2)
        >>> low = lowered(linear, [torch.ones(4, 3)], training=False)
        >>> low.names, low.faults
        (('weight', 'bias'), ())
        >>> values = {name: tensor.detach().numpy() for name, tensor in linear.state_dict().items()}
        >>> program = low.program(values, {"input": np.ones((4, 3), np.float32)})
        >>> [operation.type for operation in program.operations]
        ['Transpose', 'MatMul', 'BiasAdd']
    """
    return Lowered(export(module, inputs, training=training))


class Lowered:
    """A module whose operations are known."""

    def __init__(self, exported: Exported) -> None:
        self._exported = exported

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters and buffers by their names in the state_dict; tied ones are there once, by their first name."""
        return self._exported.names

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names by which `program` wants the inputs: those of `forward`, or the keywords."""
        return self._exported.inputs

    @property
    def operations(self) -> tuple[str, ...]:
        """The ATen operations of the exported graph in order, `"aten.addmm.default"`."""
        return tuple(str(node.target) for node in self._exported.graph.graph.nodes if node.op == "call_function")

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """What is not lowered, or off, with the values and the inputs that the module was exported with."""
        with torch.random.fork_rng(devices=[]):
            _, interpreter = self._interpreted(self._exported.initial, self._exported.example, None)
        return tuple(interpreter.faults)

    def program(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        draws: Sequence[np.ndarray] = (),
    ) -> Program:
        """Runs the exported graph on PyTorch, and returns it as a program; each lowered operation proves itself.

        Args:
            values: Values of all `names` before the run, in the shapes and dtypes of the module.
            inputs: Values of all `inputs`, likewise.
            draws: What each random operation draws, in order. Of dropout: its mask as truth values, or uniform numbers,
                of which those that are at least `p` are kept.

        Returns:
            The program; what could not be lowered is a source of kind `"opaque"`, and told in its limits.

        Raises:
            InputError: A value, an input or a draw is missing, is one too many, or has another shape or dtype.
        """
        own_values = _given("variable", values, self._exported.initial)
        own_inputs = _given("input", inputs, self._exported.example)
        program, _ = self._interpreted(own_values, own_inputs, draws)
        return program

    def _interpreted(
        self, values: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor], draws: Sequence[np.ndarray] | None
    ) -> tuple[Program, Interpreter]:
        exported, builder = self._exported, ProgramBuilder()
        numbers = Numbers(draws)
        interpreter = Interpreter(builder, numbers)
        known: Mapping[str, Mapping[str, Any]] = {
            "variable": values,
            "input": inputs,
            "constant": exported.constants,
        }
        with torch.no_grad():
            pairs = {name: interpreter.pair(inputs[name], "input", name) for name in exported.inputs}
            given = []
            for kind, name in exported.slots:
                value = known[kind][name]
                if kind == "input":
                    given.append(pairs[name])
                else:
                    given.append(interpreter.pair(value, kind, name) if isinstance(value, torch.Tensor) else value)
            results = interpreter.run(exported.graph, given)
        if draws is not None and len(numbers.used) < len(draws):
            raise InputError(
                f"the numbers of {len(draws)} random operations are given, and the module has {len(numbers.used)}."
            )
        return _ended(builder, exported, results, values), interpreter


def _ended(
    builder: ProgramBuilder, exported: Exported, results: Sequence[Any], values: Mapping[str, torch.Tensor]
) -> Program:
    """Notes what a program returns and leaves behind."""
    program = builder.program
    for (kind, name), result in zip(exported.results, results, strict=True):
        if not isinstance(result, Pair):
            continue
        if kind == "output":
            program.outputs[name] = result.value.number
        elif kind == "variable" and not torch.equal(result.own, values[name]):
            builder.write(name, result.value.number)
        elif kind == "dropped":
            program.limits.append(f"a result of the module is left out: {name}")
    return program.without_the_unused()


def _given(what: str, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns arrays as tensors, if they are all that is wanted.

    Raises:
        InputError: They are not.
    """
    lacking = [name for name in wanted if name not in arrays]
    if lacking:
        raise InputError(f"no value for the {what} {lacking[0]!r} is given{nearest(lacking[0], arrays)}.")
    unknown = [name for name in arrays if name not in wanted]
    if unknown:
        raise InputError(f"the module has no {what} {unknown[0]!r}{nearest(unknown[0], wanted)}.")
    found = {}
    for name, tensor in wanted.items():
        made = torch_of(np.asarray(arrays[name]))
        if (made.shape, made.dtype) != (tensor.shape, tensor.dtype):
            raise InputError(
                f"the {what} {name!r} is {dtype_name(tensor.dtype)}{list(tensor.shape)} in the module; the value given "
                f"is {dtype_name(made.dtype)}{list(made.shape)}."
            )
        found[name] = made
    return found


def arrays_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Returns tensors as arrays."""
    return {name: array_of(tensor) for name, tensor in tensors.items()}
