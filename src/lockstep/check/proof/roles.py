"""Which variables have to be positive: seen from the operations that read them, not from their names."""

from __future__ import annotations

from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, known, traits

_STEPS = 6
"""How many operations lie between a variable and its square root: a slice, a reshape, an epsilon, a cast and such."""


def positive(program: Program) -> frozenset[str]:
    """Returns the variables whose square root, logarithm or power a program takes.

    Args:
        program: The program.
    """
    found: set[str] = set()
    for operation in program.operations:
        place = known(operation.family).positive
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
        here = {t for operation in made if Trait.KEEPS_SIGN in traits(operation.family) for t in operation.inputs}
    return found
