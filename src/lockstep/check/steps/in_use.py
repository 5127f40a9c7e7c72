"""Whether a side's own code really loaded its weights: the values in use, right before the call, against the file's.

Nobody can see from a model's outputs that three of forty variables were never loaded, and `load_weights(by_name=True)`
says nothing about it. So each variable is held against its entry bit for bit, and what differs is told apart by whether
the variable still holds what its initializer gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lockstep.files.checkpoints.entries import Checkpoint, Entry, Kind
from lockstep.ground.structure import same_bits
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace

_SHOWN = 3


@dataclass(frozen=True)
class Expected:
    """What a file says that a side's variables hold.

    Attributes:
        checkpoint: The file.
        values: Variable key -> value by the file, read when it is asked for.
        ruled: Keys of those whose value is not the entry's as it is, but what a rule makes of it.
        unread: The entries that no variable is given by name.
        clashes: Keys of the variables whose entry has another shape or dtype.
    """

    checkpoint: Checkpoint
    values: Mapping[str, np.ndarray]
    ruled: Collection[str] = ()
    unread: Sequence[Entry] = ()
    clashes: Collection[str] = ()


@dataclass
class InUse:
    """The variables of a side by what they hold right before the call.

    Attributes:
        equal: Bit for bit what their entry holds, or what a rule makes of it.
        moved: Key -> the entry of another name whose bits they hold.
        initial: They have an entry, and hold what their initializer gave.
        other: They have an entry, and hold something else; key -> the variable whose entry it is, or "".
        without: They have no entry.
        loaded: Of `equal` and `moved` those that did not hold these bits by their initializer: a proof of loading.
        unread: The entries whose bits no variable holds.
    """

    equal: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    initial: list[str] = field(default_factory=list)
    other: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    unread: list[Entry] = field(default_factory=list)


def seen(trace: Trace, expected: Expected) -> InUse:
    """Holds what a side starts from against a file.

    Args:
        trace: A run of the side from its own initial values.
        expected: What the file says.
    """
    found = InUse(unread=[entry for entry in expected.unread if entry.kind is Kind.VARIABLE])
    set_later = set(trace.overwritten)
    for record in trace.variables:
        key = record.key
        if key not in expected.values:
            found.without += [] if key in expected.clashes else [key]
        elif same_bits(trace.before[key], expected.values[key]):
            found.equal.append(key)
        elif key in set_later:
            found.other[key] = ""
        else:
            found.initial.append(key)
    found.loaded = [key for key in found.equal if key in set_later and _telling(trace.before[key])]
    _find_moved(found, trace, expected.checkpoint, set_later)
    if found.other:
        owners = {_digest(expected.values[key]): key for key in expected.values}
        found.other = {key: owners.get(_digest(trace.before[key]), "") for key in found.other}
    return found


def judge(side: str, trace: Trace, expected: Expected, *, asked: bool, its_own: bool = False) -> list[Finding]:
    """Tells whether a side's own code loaded the file; nothing where it does not try to.

    Args:
        side: `"reference"` or `"candidate"`.
        trace: A run of the side from its own initial values.
        expected: What the file says.
        asked: Whether it is said to load the file; otherwise it counts that it called `load_weights`, or that
            variables hold the file's values which no initializer gave them.
        its_own: Whether the file is named as this side's own. Of another one it may load a part on purpose (the weights
            that a model was made of, say), so that what is missing then is a question.
    """
    found = seen(trace, expected)
    if not (asked or trace.loads or found.loaded):
        return []
    file, count = expected.checkpoint.path.name, len(trace.variables)
    apart = _kept(trace, found)
    never = [*found.initial, *(key for key in apart if not found.loaded)]
    unsure = [key for key in apart if found.loaded]
    parts = []
    if never:
        were, hold = ("was", "it still holds what its") if len(never) == 1 else ("were", "they still hold what their")
        parts.append(
            f"{len(never):,} of {count:,} variables of the {side} {were} never loaded from {file}: {hold} initializer "
            f"gave: {_some(never)}"
        )
    if found.other:
        hold = "holds" if len(found.other) == 1 else "hold"
        parts.append(f"{len(found.other):,} {hold} other values than {file}: {_some(list(found.other))}")
    if unsure:
        parts.append(
            f"{file} has no entry of this name for {len(unsure):,} of {count:,} variables of the {side}, which "
            f"still have their initial values ({_some(unsure)}), while {_entries(found.unread)}"
        )
    verdict = Verdict.DIVERGED if never or found.other else Verdict.UNDECIDED if unsure else Verdict.EQUIVALENT
    if verdict is Verdict.DIVERGED and not (asked or its_own):
        verdict = Verdict.UNDECIDED
        parts.append(f'is it to load that file? [checkpoint] loaded = ["{side}"] says that it is, [] that it is not')
    if not parts:
        parts.append(_all_in_use(side, found, expected, count))
    lines = _lines(found, never, unsure, expected)
    return [Finding(verdict, "; ".join(parts), lines, {f"{side}_weights_in_use": _figures(found, expected)})]


def _find_moved(found: InUse, trace: Trace, checkpoint: Checkpoint, set_later: Collection[str]) -> None:
    """Pairs variables without an entry and entries without a variable by their bits.

    What is all zeros is in many variables by their initializers: it counts only where something else was loaded.
    """
    shapes = {(tuple(record.shape), record.dtype) for record in trace.variables if record.key in set(found.without)}
    waiting: dict[bytes, list[Entry]] = {}
    for entry in found.unread:
        if (entry.shape, entry.dtype) in shapes:
            waiting.setdefault(_digest(checkpoint[entry.name]), []).append(entry)
    for later in (True, False):
        for key in found.without if later or found.loaded else ():
            alike = waiting.get(_digest(trace.before[key]), [])
            if alike and (key in set_later and _telling(trace.before[key])) is later:
                entry = alike.pop(0)
                found.moved[key] = entry.name
                found.unread.remove(entry)
                found.loaded += [key] if later else []
    found.without = [key for key in found.without if key not in found.moved]


def _kept(trace: Trace, found: InUse) -> list[str]:
    """Returns the variables without an entry that hold their initial value, though an unread entry would fit."""
    shapes = [(entry.shape, entry.dtype) for entry in found.unread]
    without = set(found.without) - set(trace.overwritten)
    return [r.key for r in trace.variables if r.key in without and (tuple(r.shape), r.dtype) in shapes]


def _all_in_use(side: str, found: InUse, expected: Expected, count: int) -> str:
    held = len(found.equal) + len(found.moved)
    ruled = sum(key in expected.ruled for key in found.equal)
    text = f"{held:,} of {count:,} variables of the {side} hold the values of {expected.checkpoint.path.name}"
    text += f", {ruled:,} of them after a rule" if ruled else ""
    text += f", {len(found.moved):,} of them under other names" if found.moved else ""
    if found.without:
        text += f"; without an entry: {_some(found.without)}"
    return text + (f"; {_entries(found.unread)}" if found.unread else "")


def _lines(found: InUse, never: Sequence[str], unsure: Sequence[str], expected: Expected) -> tuple[str, ...]:
    lines = [f"- {key}: never loaded, it holds what its initializer gave" for key in never]
    for key, owner in found.other.items():
        held = f"it holds what the file has for {owner}" if owner else "it was set to another value"
        lines.append(f"~ {key}: differs from the file, {held}")
    lines += [f"? {key}: no entry of its name, it holds what its initializer gave" for key in unsure]
    lines += [f"= {key}: holds the entry {name}" for key, name in found.moved.items()]
    told = {*never, *unsure}
    lines += [f"  {key}: no entry" for key in found.without if key not in told]
    lines += [f"  {key}: its entry has another shape or dtype" for key in expected.clashes]
    lines += [f"unread: {entry.name} {entry.shape} {entry.dtype}" for entry in found.unread]
    return tuple(lines)


def _figures(found: InUse, expected: Expected) -> dict[str, object]:
    return {
        "bit_equal": len(found.equal),
        "after_a_rule": sum(key in expected.ruled for key in found.equal),
        "under_other_names": dict(found.moved),
        "never_loaded": list(found.initial),
        "other_values": list(found.other),
        "without_an_entry": list(found.without),
        "unread": [entry.name for entry in found.unread],
    }


def _entries(unread: Sequence[Entry]) -> str:
    names = [entry.name for entry in unread]
    ending = "y of the file is" if len(names) == 1 else "ies of the file are"
    return f"{len(names):,} entr{ending} in no variable ({_some(names)})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _telling(array: np.ndarray) -> bool:
    """Tells whether a value is no constant: zeros and ones are in many variables, whatever was loaded."""
    return array.size > 1 and not bool((array == array.reshape(-1)[0]).all())


def _digest(array: np.ndarray) -> bytes:
    described = f"{array.dtype.name}{array.shape}".encode()
    if array.dtype.hasobject:
        return described + repr(array.tolist()).encode()
    return described + hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()
