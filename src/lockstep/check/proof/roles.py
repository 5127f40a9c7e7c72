"""Which variables have to be positive: seen from the operations that read them, not from their names."""

from __future__ import annotations

from lockstep.program import Operation, Program

_READS_POSITIVE = {"Rsqrt": 0, "Sqrt": 0, "Log": 0, "Pow": 0, "FusedBatchNorm": 4}
"""Family of operations -> which of its inputs has to be positive for a finite result."""

_KEEPS_SIGN = frozenset(
    {"Add", "Mul", "Maximum", "Reshape", "Transpose", "Cast", "GatherV2", "StridedSlice", "Split", "Squeeze"}
)
"""Families of operations behind which a positive tensor is still positive: an epsilon is added, a channel cut out."""

_STEPS = 6
"""How many operations lie between a variable and its square root: a slice, a reshape, an epsilon, a cast and such."""


def positive(program: Program) -> frozenset[str]:
    """Returns the variables whose square root, logarithm or power a program takes.

    Args:
        program: The program.
    """
    found: set[str] = set()
    for operation in program.operations:
        place = _READS_POSITIVE.get(operation.family)
        if place is not None and place < len(operation.inputs) and not _of_batch(operation):
            found |= _variables(program, operation.inputs[place])
    return frozenset(found)


def _of_batch(operation: Operation) -> bool:
    """Whether a batch normalisation takes the variance of its batch instead of the one that it reads."""
    return operation.family == "FusedBatchNorm" and bool(operation.attributes.get("is_training", True))


def _variables(program: Program, tensor: int) -> set[str]:
    found: set[str] = set()
    here = {tensor}
    for _ in range(_STEPS):
        found |= {
            program.sources[t].name for t in here if t in program.sources and program.sources[t].kind == "variable"
        }
        made = [program.producers[t] for t in here if t in program.producers]
        here = {t for operation in made if operation.family in _KEEPS_SIGN for t in operation.inputs}
    return found
