"""Which values the variables of both sides are set to: the same for partners, keyed by the reference's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from lockstep.common.arrays import Arrays, numpy_dtype
from lockstep.compare.align import Alignment
from lockstep.ground import fill
from lockstep.subjects import Setting
from lockstep.traces.trace import Trace, VariableRecord

_Values = dict[str, np.ndarray]

RECORDED = ("constant", "distinct")
"""The kinds of values that every recording holds a run from."""


def filled(
    kind: str, alignment: Alignment, positive: Collection[str] = (), inputs: Arrays | None = None
) -> tuple[Setting, Setting]:
    """Returns values for the floating variables of the reference and of the candidate.

    Counters and indices keep what they have: a fraction would not fit them, and another index means another thing.

    Args:
        kind: As of `fill.values`.
        alignment: Reference's variables -> candidate's.
        positive: Keys of the reference's variables that have to be positive.
        inputs: Other inputs than both sides were built for; None: those.
    """
    reference: _Values = {}
    candidate: _Values = {}
    names: dict[str, str] = {}
    for r, c in alike(alignment):
        if fill.takes_values(r.dtype):
            reference[r.key] = _values(kind, r, positive)
            candidate[c.key] = alignment.carried(c, reference[r.key])
            names[c.key] = r.key
    for alone, side in ((alignment.missing, reference), (alignment.extra, candidate)):
        side.update({r.key: _values(kind, r, positive) for r, _ in alone if fill.takes_values(r.dtype)})
    # What a recording can hold as a hash of names has a kind of its own.
    told = kind if kind in RECORDED and not positive and inputs is None else "given"
    ours = Setting(told, reference, {key: key for key in reference}, inputs)
    return ours, Setting(told, candidate, names, inputs)


def copied(reference: Trace, alignment: Alignment) -> tuple[Setting, Setting]:
    """Returns the reference's own initial values, for both sides."""
    ours = {record.key: reference.before[record.key] for record in reference.variables}
    return Setting("given", ours), Setting("given", carried(reference.before, alignment))


def carried(values: Mapping[str, np.ndarray], alignment: Alignment) -> _Values:
    """Returns the candidate's values for the reference's."""
    return {c.key: alignment.carried(c, values[r.key]) for r, c in alike(alignment)}


def alike(alignment: Alignment) -> list[tuple[VariableRecord, VariableRecord]]:
    """Returns the pairs that can have the same values, where a transform is given after it."""
    return [(r, c) for r, c in alignment.pairs if alignment.shape(r, c) == tuple(c.shape) and r.dtype == c.dtype]


def _values(kind: str, record: VariableRecord, positive: Collection[str]) -> np.ndarray:
    return fill.values(kind, record.key, record.shape, numpy_dtype(record.dtype), record.key in positive)
