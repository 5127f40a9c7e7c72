"""Proposes which variable is which where a framework calls and lays out its variables by conventions of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from lockstep.files.checkpoints.entries import Entry
from lockstep.files.checkpoints.mapping import Pair, Proposal, propose
from lockstep.naming.conventions import Known, Seen, as_tensorflow, transform_of
from lockstep.naming.likeness import role
from lockstep.subjects import Convention
from lockstep.traces.trace import VariableRecord

_Conventions = Mapping[str, Convention]


def proposed(
    missing: Sequence[VariableRecord], extra: Sequence[VariableRecord], conventions: tuple[_Conventions, _Conventions]
) -> Proposal:
    """Proposes pairs: both sides' variables are seen as TensorFlow would have them, and named as they are again.

    Args:
        missing: The reference's variables without a partner, in an order that means something.
        extra: The candidate's.
        conventions: The reference's and the candidate's; empty for TensorFlow and Keras.
    """
    ours, theirs = conventions
    both = bool(ours) and bool(theirs)
    heads = [any(told.parts for told in side.values()) for side in conventions]
    seen = as_tensorflow(missing, ours, extra, cut=False, whole=both, flat=heads[1] and not ours)
    others = as_tensorflow(extra, theirs, seen.records, cut=True, whole=both, flat=heads[0] and not theirs)
    entries = [_entry(record) for record in seen.records]
    found = propose(entries, others.records, ordered=True)
    if not ours and not theirs:
        return found
    pairs = tuple(pair for one in found.pairs for pair in _really(one, seen, others))
    paired = {pair.record.key for pair in pairs}
    cut = tuple(rule for rule in others.parts if any(key.startswith(f"{_name(rule.pattern)}[") for key in paired))
    left = tuple(others.known[record.name].real for record in found.records if record.name in others.known)
    entries_left = tuple(_entry(seen.known[entry.name].whole) for entry in found.entries)
    return Proposal(pairs, entries_left, left, (*found.parts, *cut))


def _really(pair: Pair, ours: Seen, theirs: Seen) -> Iterator[Pair]:
    """Yields a pair as both sides have it, and what else is made of the same variable."""
    reference = ours.known[pair.entry.name]
    roles = role(reference.seen.name), role(pair.record.name)
    plain = Known(pair.record, pair.record, "", "", pair.record)  # a part that was cut for the pair
    for candidate in (theirs.known.get(pair.record.name, plain), *theirs.siblings.get(pair.record.name, ())):
        text = transform_of(reference, candidate, pair.transform)
        if text is not None:
            entry = _entry(reference.whole)
            yield dataclasses.replace(pair, entry=entry, record=candidate.real, transform=text, roles=roles)


def _entry(record: VariableRecord) -> Entry:
    return Entry(record.name, tuple(record.shape), record.dtype)


def _name(pattern: str) -> str:
    """Returns the name that the pattern of a rule for one variable stands for."""
    return pattern[1:-1].replace("\\", "")
