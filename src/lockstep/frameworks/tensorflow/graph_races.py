"""Variables whose value after a run of a graph depends on chance: nothing orders the operations that write them."""

from __future__ import annotations

from typing import Any

from lockstep.recorder.graph import GraphModel
from lockstep.recorder.operations import leading_to

_PLAIN = frozenset({"Assign", "AssignVariableOp"})
_STEPS = frozenset({"AssignAdd", "AssignSub", "AssignAddVariableOp", "AssignSubVariableOp"})
_SCATTERED = frozenset({"ScatterUpdate", "ResourceScatterUpdate"})
_READS = frozenset({"ReadVariableOp", "Identity"})


def races(model: GraphModel) -> list[str]:
    """Returns the keys of the variables that a training run writes several times, in an order that nothing defines.

    Two sums that are added to one variable commute. Where what is written was computed from the variable itself (a
    moving average), or replaces it, the result depends on which comes first.
    """
    needed = leading_to([*model.outputs.values(), *model.updates])
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
    for key, operations in ((key, several) for key, several in writes.items() if len(several) > 1):
        before = {operation: set(leading_to([operation])) for operation in operations}
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
        for reader in leading_to([operation.inputs[1]])
    )
