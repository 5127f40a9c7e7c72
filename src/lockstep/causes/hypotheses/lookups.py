"""Hypotheses about tables: other rows of the same table are looked up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lockstep.causes.hypotheses.case import Case, Cause
from lockstep.program import Operation

_TABLE = 2
"""Dimensions of a table of rows."""


def other_rows(case: Case) -> Iterator[Cause]:
    """A table is read in other rows: positions or words counted from 1, token types that are not handed on.

    Which rows the reference has is seen in what it gives: each of its rows is a row of the table, and of one alone.
    """
    lookups = [operation for operation in case.blame.candidate if operation.family == "GatherV2"]
    if len(lookups) != 1:
        return
    (lookup,) = lookups
    table, read = (case.given(case.theirs, lookup, slot, lookup.inputs[slot]) for slot in (0, 1))
    wanted = case.both[0]
    if table is None or wanted is None or table.ndim != _TABLE or wanted.ndim < 1 or table.shape[1] != wanted.shape[-1]:
        return
    read = read if read is not None else _indices(case, lookup)
    rows = _rows(table, wanted.reshape(-1, table.shape[1]))
    if read is None or rows is None or rows.size != read.size:
        return
    should = rows.reshape(read.shape).astype(read.dtype)
    if np.array_equal(read, should) or not case.vanishes(case.with_inputs({(lookup.index, 1): should})):
        return
    yield _told(case, read, should)


def _told(case: Case, read: np.ndarray, should: np.ndarray) -> Cause:
    apart = np.unique(read.astype(np.int64) - should)
    if apart.size == 1:
        step = int(apart[0])
        return Cause(
            f"every row that is looked up is {abs(step)} {'after' if step > 0 else 'before'} the reference's; "
            f"{abs(step)} {'less' if step > 0 else 'more'}, and the difference vanishes",
            "slicing",
            f"{'subtract' if step > 0 else 'add'} {abs(step)} {'from' if step > 0 else 'to'} the indices",
        )
    name = _input_of(case, should)
    kept = f"row {int(read.flat[0])} alone" if np.unique(read).size == 1 else "other rows"
    whose = f"what the input {name} says" if name else "other rows than those"
    return Cause(
        f"{kept} of the table {'is' if kept.endswith('alone') else 'are'} looked up, where the reference looks up "
        f"{whose}; with the reference's rows the difference vanishes",
        "wrong-input",
        f"look up {name}" if name else "look up the rows that the reference does",
    )


def _indices(case: Case, lookup: Operation) -> np.ndarray | None:
    """What a lookup reads where its own part computes that."""
    return case.computed(case.theirs, lookup.inputs[1])


def _rows(table: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """Returns which row of a table each row is; None where one is none of them, or could be several."""
    if not wanted.size or len(np.unique(table, axis=0)) != len(table):
        return None
    found = np.empty(len(wanted), np.int64)
    exact = table.astype(wanted.dtype)
    for place, row in enumerate(wanted):
        same = np.flatnonzero((exact == row).all(axis=1))
        if same.size != 1:
            return None
        found[place] = same[0]
    return found


def _input_of(case: Case, values: np.ndarray) -> str:
    """The input of the model that holds these values; empty where none does."""
    for source in case.reference.sources.values():
        held = case.kernels.numpy(source.value) if source.kind == "input" else None
        if held is not None and held.size == values.size and np.array_equal(held.reshape(-1), values.reshape(-1)):
            return source.name
    return ""
