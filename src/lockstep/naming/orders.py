"""The order in which programs read their variables: evidence where names say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockstep.program import Program
from lockstep.traces.trace import VariableRecord


def read_order(program: Program) -> dict[str, int]:
    """Returns variable key -> its place among the variables in the order in which the program first reads them."""
    places: dict[str, int] = {}
    for operation in program.operations:
        for key in program.variables_read(operation):
            places.setdefault(key, len(places))
    return places


def ordered(records: Sequence[VariableRecord], places: Mapping[str, int]) -> list[VariableRecord]:
    """Returns variables by their places; those that are read nowhere come last, in the order of their making."""
    return sorted(records, key=lambda record: places.get(record.key, len(places)))
