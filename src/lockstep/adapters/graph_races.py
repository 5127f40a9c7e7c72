"""Variables whose value after a run of a graph depends on chance: nothing orders the operations that write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lockstep.recorder.graph import GraphModel

_PLAIN = frozenset({"Assign", "AssignVariableOp"})
_STEPS = frozenset({"AssignAdd", "AssignSub", "AssignAddVariableOp", "AssignSubVariableOp"})
_SCATTERED = frozenset({"ScatterUpdate", "ResourceScatterUpdate"})
_READS = frozenset({"ReadVariableOp", "Identity"})


def races(model: GraphModel) -> list[str]:
    """Returns the keys of the variables that a training run writes several times, in an order that nothing defines.

    Two sums that are added to one variable commute. Where what is written was computed from the variable itself (a
    moving average), or replaces it, the result depends on which comes first.
    """
    fetched = [tensor.op for tensor in model.outputs.values()]
    fetched += [update.op if hasattr(update, "op") else update for update in model.updates]
    needed = _ancestors(fetched)
    names = {
        variable.op.name: record.key for variable, record in zip(model.raw_variables, model.variables, strict=True)
    }
    writes: dict[str, list[Any]] = {}
    for operation in needed:
        if operation.type in _PLAIN | _STEPS | _SCATTERED:
            handle = operation.inputs[0].op
            if handle.name in names:
                writes.setdefault(names[handle.name], []).append(operation)
    found = []
    for key, operations in writes.items():
        before = {operation: _ancestors([operation]) for operation in operations}
        unordered = [
            (a, b)
            for place, a in enumerate(operations)
            for b in operations[place + 1 :]
            if a not in before[b] and b not in before[a]
        ]
        if any(not (_commutes(a) and _commutes(b)) for a, b in unordered):
            found.append(key)
    return found


def _commutes(operation: Any) -> bool:
    """Whether a write adds something that was not computed from the variable itself."""
    if operation.type not in _STEPS:
        return False
    handle = operation.inputs[0].op
    return not any(
        reader.type in _READS and any(tensor.op is handle for tensor in reader.inputs)
        for reader in _ancestors([operation.inputs[1].op])
    )


def _ancestors(operations: Iterable[Any]) -> set[Any]:
    found: set[Any] = set()
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting.extend(tensor.op for tensor in operation.inputs)
            waiting.extend(operation.control_inputs)
    return found
