"""A program as text and arrays, so that what was followed in one process can be looked at in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lockstep.common.errors import ProgramError
from lockstep.frameworks.tensorflow.kernels import Call, TypeNumber
from lockstep.program import Operation, Place, Program, Source, Spec


def packed(program: Program) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns what JSON can hold of a program, and its arrays by the numbers of their tensors.

    Raises:
        ProgramError: An attribute of an operation is a function or something else that has no text.
    """
    sources, arrays = [], {}
    for number, source in program.sources.items():
        sources.append([number, source.kind, source.name])
        if source.value is not None:
            arrays[str(number)] = np.array(source.value)
    text = {
        "operations": [_packed_operation(operation) for operation in program.operations],
        "specs": [[spec.dtype, list(spec.shape)] for spec in program.specs],
        "sources": sources,
        "outputs": dict(program.outputs),
        "writes": dict(program.writes),
        "draws": list(program.draws),
        "limits": list(program.limits),
    }
    return text, arrays


def unpacked(text: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Program:
    """Returns the program that `packed` took apart, for the kernels of this process."""
    operations = [_unpacked_operation(index, told) for index, told in enumerate(text["operations"])]
    return Program(
        operations=operations,
        specs=[Spec(dtype, tuple(shape)) for dtype, shape in text["specs"]],
        sources={number: Source(kind, name, arrays.get(str(number))) for number, kind, name in text["sources"]},
        outputs=dict(text["outputs"]),
        writes=dict(text["writes"]),
        draws=list(text["draws"]),
        limits=list(text["limits"]),
        producers={tensor: operation for operation in operations for tensor in operation.outputs},
    )


def _packed_operation(operation: Operation) -> dict[str, Any]:
    call = operation.call
    attributes = [_packed(value, operation) for value in operation.attributes.values()]
    return {
        "type": operation.type,
        "attributes": dict(zip(operation.attributes, attributes, strict=True)),
        "inputs": list(operation.inputs),
        "outputs": list(operation.outputs),
        "place": [operation.place.name, operation.place.scope, operation.place.source],
        "call": None
        if call is None
        else [call.type, [_packed(value, operation) for value in call.attributes], call.outputs],
    }


def _unpacked_operation(index: int, told: Mapping[str, Any]) -> Operation:
    call = told["call"]
    return Operation(
        index,
        told["type"],
        {name: _unpacked(value) for name, value in told["attributes"].items()},
        tuple(told["inputs"]),
        tuple(told["outputs"]),
        Place(*told["place"]),
        None if call is None else Call(call[0], tuple(map(_unpacked, call[1])), call[2]),
    )


def _packed(value: Any, operation: Operation) -> Any:
    """Returns an attribute's value with its kind: what the eager runtime wants of it is no matter of taste."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [_packed(item, operation) for item in value]]
    if isinstance(value, TypeNumber):
        return ["type", int(value)]
    if isinstance(value, bytes):
        return ["bytes", value.decode("latin-1")]
    if value is None or type(value) in (bool, int, float, str):
        return ["plain", value]
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return ["plain", value.item()]
    raise ProgramError(
        f"{operation.type} ({operation.place.scope}) has an attribute that is a {type(value).__name__}, which cannot "
        "be handed to another process.",
        operation=operation.place.name,
    )


def _unpacked(told: Any) -> Any:
    kind, value = told
    if kind == "list":
        return [_unpacked(item) for item in value]
    if kind == "tuple":
        return tuple(_unpacked(item) for item in value)
    if kind == "type":
        return TypeNumber(value)
    return value.encode("latin-1") if kind == "bytes" else value
