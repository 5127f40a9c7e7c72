"""Which variable of the reference is which of the candidate: an alignment in which nothing is dropped."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lockstep.common import patterns
from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown
from lockstep.compare.transforms import Transform
from lockstep.traces.trace import VariableRecord

Rename = tuple[str, str]

_LOOKED_AT = 40
_COMPARED = 300  # characters of a name: comparing takes the product of the lengths


@dataclass(frozen=True)
class TransformRule:
    """Says how variables of the candidate are made from those of the reference.

    Attributes:
        pattern: What is looked for in the candidate's names; the first rule that is found applies.
        transform: How the value is made.
        source: The name of the reference's variable, as a replacement for what the pattern found; None: the one that
            the rename rules lead to the candidate's name. It is needed where one variable becomes several.
    """

    pattern: str
    transform: Transform
    source: str | None = None

    @classmethod
    def of(cls, given: TransformRule | Sequence[str]) -> TransformRule:
        """Returns a rule as it is, or the one that two or three strings are: pattern, transform, source.

        Raises:
            InputError: They are none.
        """
        if isinstance(given, TransformRule):
            return given
        if isinstance(given, str) or len(given) not in {2, 3} or not all(isinstance(part, str) for part in given):
            raise InputError(
                f"transform rule {shown(given)} is none; it is (pattern, transform), as in ('/kernel$', "
                "'transpose(1,0)'), or has the name of the reference's variable as its third."
            )
        pattern, text, *source = given
        patterns.check(
            pattern, source[0] if source else None, what=f"transform rule {shown(list(given))} has a pattern"
        )
        return cls(pattern, Transform.parse(text), source[0] if source else None)

    def source_of(self, name: str) -> str | None:
        """Returns the name of the reference's variable that a variable of the candidate is made from."""
        found = patterns.search(self.pattern, name)
        return None if found is None or self.source is None else found.expand(self.source)


@dataclass(frozen=True)
class Partner:
    """A guess at the partner of an unmatched variable, with the reason: `"same shape, closest name"`."""

    record: VariableRecord
    reason: str


@dataclass(frozen=True)
class Alignment:
    """Pairs of variables, and what has no partner.

    Attributes:
        pairs: `(reference, candidate)`, in the reference's order; one of the reference's may be in several, each
            of the candidate's being a part of it.
        missing: Of the reference alone, each with its likely partner, if there is one.
        extra: Of the candidate alone, likewise.
        transforms: Key of a variable of the candidate -> how its value is made; without one it is the same.
        ignored: How many variables of the reference and of the candidate were left out, as the user wished.
    """

    pairs: tuple[tuple[VariableRecord, VariableRecord], ...]
    missing: tuple[tuple[VariableRecord, Partner | None], ...]
    extra: tuple[tuple[VariableRecord, Partner | None], ...]
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    ignored: tuple[int, int] = (0, 0)

    def shape(self, reference: VariableRecord, candidate: VariableRecord) -> tuple[int, ...]:
        """Returns the shape that the candidate's partner of a variable must have."""
        transform = self.transforms.get(candidate.key)
        return tuple(reference.shape) if transform is None else transform.shape(tuple(reference.shape))

    def carried(self, candidate: VariableRecord, value: np.ndarray) -> np.ndarray:
        """Returns the candidate's value for the reference's."""
        transform = self.transforms.get(candidate.key)
        return value if transform is None else transform.apply(value)

    def carried_gradient(self, candidate: VariableRecord, gradient: np.ndarray) -> np.ndarray:
        """Returns the candidate's gradient for the reference's: what a transform adds to a value is no part of it."""
        transform = self.transforms.get(candidate.key)
        return gradient if transform is None else transform.apply_to_gradient(gradient)


def rename(name: str, rules: Sequence[Rename]) -> str:
    r"""Applies the first rule whose pattern is found in the reference's name.

    >>> rename("net/a/weights", [("^net/(.*)/weights$", r"model/\1/kernel")])
    'model/a/kernel'
    """
    for pattern, replacement in rules:
        renamed, count = patterns.substituted(pattern, replacement, name)
        if count:
            return renamed
    return name


def renamer(rules: Sequence[Rename]) -> Callable[[str], str]:
    r"""Returns `rename` for these rules as a function of the name, made for many names and many rules.

    Rules that stand for one name alone, as `lockstep map` writes them, are looked up instead of tried one by one.

    >>> renamer([("^a/w$", "b/kernel"), ("^a/(.*)$", r"c/\1")])("a/w")
    'b/kernel'
    """
    exact: dict[str, int] = {}
    others: list[int] = []
    for place, (pattern, replacement) in enumerate(rules):
        name = re.sub(r"\\(.)", r"\1", pattern[1:-1])
        if pattern == f"^{re.escape(name)}$" and "\\" not in replacement:
            exact.setdefault(name, place)
        else:
            others.append(place)

    def renamed(name: str) -> str:
        known = exact.get(name, len(rules))
        before = [rules[place] for place in others if place < known]
        return rename(name, [*before, *rules[known : known + 1]])

    return renamed


def align(
    reference: Sequence[VariableRecord],
    candidate: Sequence[VariableRecord],
    rules: Sequence[Rename] = (),
    transforms: Sequence[TransformRule] = (),
    ignore: Sequence[str] = (),
) -> Alignment:
    """Pairs the variables of both sides by name, after the rename rules.

    A variable in whose name one of the patterns in `ignore` is found is left out, on either side.

    Several variables of one name are paired in their order, unless rules tell them apart: the second `w` is `w#2` to
    them, on either side. Nothing is paired by guess: a likely partner (same shape, closest name, same position) is only
    told.

    Raises:
        InputError: A rule cannot be applied, or names a variable that the reference does not have.
    """
    counts = len(reference), len(candidate)
    reference, candidate = _heeded(reference, ignore), _heeded(candidate, ignore)
    ruled = {record.key: rule for record in candidate if (rule := _rule(record, transforms)) is not None}
    made = _made_from(reference, candidate, ruled)
    waiting = _Waiting(
        [record for record in candidate if ruled.get(record.key) is None or ruled[record.key].source is None]
    )
    pairs: list[tuple[VariableRecord, VariableRecord]] = []
    missing: list[VariableRecord] = []
    renamed = renamer(rules)
    for record in reference:
        partner = waiting.taken(renamed(record.key)) or waiting.taken(renamed(record.name))
        if partner is not None:
            pairs.append((record, partner))
        elif record.key not in made:
            missing.append(record)
        pairs.extend((record, part) for part in made.get(record.key, ()))
    extra = waiting.left
    return Alignment(
        tuple(pairs),
        tuple((r, _likely(r, index, extra, rules)) for index, r in enumerate(missing)),
        tuple((c, _likely(c, index, missing, ())) for index, c in enumerate(extra)),
        dict(_checked(pairs, ruled)),
        (counts[0] - len(reference), counts[1] - len(candidate)),
    )


class _Waiting:
    """Variables of the candidate that have no partner yet."""

    def __init__(self, records: Sequence[VariableRecord]) -> None:
        self._by_key = {record.key: record for record in records}
        self._by_name: dict[str, list[VariableRecord]] = {}
        for record in records:
            self._by_name.setdefault(record.name, []).append(record)

    def taken(self, name: str) -> VariableRecord | None:
        """Takes out the variable that is called so, the first of several; None where there is none any more."""
        record = self._by_key.get(name) or next(iter(self._by_name.get(name, ())), None)
        if record is not None:
            del self._by_key[record.key]
            self._by_name[record.name].remove(record)
        return record

    @property
    def left(self) -> list[VariableRecord]:
        """What has not been taken, in order."""
        return list(self._by_key.values())


def checked_ignore(given: Sequence[str]) -> tuple[str, ...]:
    """Returns patterns of names to be ignored, as they are.

    Raises:
        InputError: They are one string, or one of them is no regular expression.
    """
    if isinstance(given, str):
        raise InputError(f"ignore is {shown(given)}; it must be a list of regular expressions, as in ['/Adam(_1)?$'].")
    for pattern in given:
        if not isinstance(pattern, str):
            raise InputError(f"ignore holds {shown(pattern)}; it must be a list of regular expressions.")
        patterns.check(pattern, what=f"ignore holds {shown(pattern)}")
    return tuple(given)


def _heeded(variables: Sequence[VariableRecord], ignore: Sequence[str]) -> Sequence[VariableRecord]:
    return [record for record in variables if not any(_found(pattern, record) for pattern in ignore)]


def _rule(record: VariableRecord, transforms: Sequence[TransformRule]) -> TransformRule | None:
    return next((rule for rule in transforms if _found(rule.pattern, record)), None)


def _found(pattern: str, record: VariableRecord) -> bool:
    """Tells whether a pattern is found in what a variable is called, alone or among others of its name."""
    names = (record.name,) if record.key == record.name else (record.key, record.name)
    return any(patterns.search(pattern, name) for name in names)


def _made_from(
    reference: Sequence[VariableRecord], candidate: Sequence[VariableRecord], ruled: Mapping[str, TransformRule]
) -> dict[str, list[VariableRecord]]:
    """Returns key of a variable of the reference -> what rules with a source make from it."""
    made: dict[str, list[VariableRecord]] = {}
    keys = {record.key for record in reference}
    for record in candidate:
        rule = ruled.get(record.key)
        source = None if rule is None else rule.source_of(record.key) or rule.source_of(record.name)
        if source is None:
            continue
        if source not in keys:
            raise InputError(
                f"transform rule {rule.pattern if rule else ''!r} makes {record.name} from {source!r}, and the "
                f"reference has no such variable{nearest(source, keys) or '.'}"
            )
        made.setdefault(source, []).append(record)
    return made


def _checked(
    pairs: Sequence[tuple[VariableRecord, VariableRecord]], ruled: Mapping[str, TransformRule]
) -> Iterator[tuple[str, Transform]]:
    for r, c in pairs:
        if c.key in ruled:
            try:
                ruled[c.key].transform.shape(tuple(r.shape))
            except InputError as error:
                raise InputError(f"{c.name}, made from {r.name}: {error}") from None
            yield c.key, ruled[c.key].transform


def _likely(
    record: VariableRecord, position: int, others: Sequence[VariableRecord], rules: Sequence[Rename]
) -> Partner | None:
    """Ranks the unmatched variables of the other side by shape, then name, then position among the unmatched."""
    if not others:
        return None
    wanted = rename(record.name, rules)[:_COMPARED]

    def score(entry: tuple[int, VariableRecord]) -> tuple[bool, bool, float, bool]:
        index, other = entry
        likeness = difflib.SequenceMatcher(None, wanted, other.name[:_COMPARED]).ratio()
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
