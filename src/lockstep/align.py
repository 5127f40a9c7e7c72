"""Which variable of the reference is which of the candidate: an alignment in which nothing is dropped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.errors import InputError
from lockstep.trace import VariableRecord

Rename = tuple[str, str]

_LOOKED_AT = 40


@dataclass(frozen=True)
class Partner:
    """A guess at the partner of an unmatched variable, with the reason: `"same shape, closest name"`."""

    record: VariableRecord
    reason: str


@dataclass(frozen=True)
class Alignment:
    """Pairs of variables, and what has no partner.

    Attributes:
        pairs: `(reference, candidate)`, in the reference's order.
        missing: Of the reference alone, each with its likely partner, if there is one.
        extra: Of the candidate alone, likewise.
    """

    pairs: tuple[tuple[VariableRecord, VariableRecord], ...]
    missing: tuple[tuple[VariableRecord, Partner | None], ...]
    extra: tuple[tuple[VariableRecord, Partner | None], ...]


def rename(name: str, rules: Sequence[Rename]) -> str:
    r"""Applies the first rule whose pattern is found in the reference's name.

    >>> rename("net/a/weights", [("^net/(.*)/weights$", r"model/\1/kernel")])
    'model/a/kernel'
    """
    for pattern, replacement in rules:
        try:
            renamed, count = re.subn(pattern, replacement, name)
        except (re.error, IndexError) as error:
            raise InputError(f"rename rule {pattern!r} -> {replacement!r} cannot be applied: {error}") from error
        if count:
            return renamed
    return name


def align(
    reference: Sequence[VariableRecord], candidate: Sequence[VariableRecord], rules: Sequence[Rename] = ()
) -> Alignment:
    """Pairs the variables of both sides by name, after the rename rules.

    Several variables of one name are paired in their order. Nothing is paired by guess: a likely partner
    (same shape, closest name, same position) is only told.
    """
    waiting: dict[str, list[VariableRecord]] = {}
    for record in candidate:
        waiting.setdefault(record.name, []).append(record)
    pairs: list[tuple[VariableRecord, VariableRecord]] = []
    missing: list[VariableRecord] = []
    for record in reference:
        partners = waiting.get(rename(record.name, rules))
        if partners:
            pairs.append((record, partners.pop(0)))
        else:
            missing.append(record)
    extra = [record for record in candidate if any(record is left for left in waiting[record.name])]
    return Alignment(
        tuple(pairs),
        tuple((r, _likely(r, index, extra, rules)) for index, r in enumerate(missing)),
        tuple((c, _likely(c, index, missing, ())) for index, c in enumerate(extra)),
    )


def _likely(
    record: VariableRecord, position: int, others: Sequence[VariableRecord], rules: Sequence[Rename]
) -> Partner | None:
    """Ranks the unmatched variables of the other side by shape, then name, then position among the unmatched."""
    if not others:
        return None
    wanted = rename(record.name, rules)

    def score(entry: tuple[int, VariableRecord]) -> tuple[bool, bool, float, bool]:
        index, other = entry
        likeness = difflib.SequenceMatcher(None, wanted, other.name).ratio()
        same_elements = sorted(other.shape) == sorted(record.shape)
        return other.shape == record.shape, same_elements, round(likeness, 3), index == position

    # Comparing names costs 50 us a pair: of many equals in shape only the nearest in position are looked at.
    alike = [entry for entry in enumerate(others) if sorted(entry[1].shape) == sorted(record.shape)]
    pool = sorted(alike or enumerate(others), key=lambda entry: abs(entry[0] - position))[:_LOOKED_AT]
    index, best = max(pool, key=score)
    same_shape, same_elements, likeness, same_position = score((index, best))
    if not same_elements and likeness < 0.75:
        return None
    reasons = ["same shape" if same_shape else "same shape transposed" if same_elements else "other shape"]
    if likeness == max(score(entry)[2] for entry in pool):
        reasons.append("closest name")
    if same_position:
        reasons.append("same position")
    return Partner(best, ", ".join(reasons))
