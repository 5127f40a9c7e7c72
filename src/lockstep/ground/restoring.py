"""Which tensor of a name-based checkpoint belongs to which variable of a graph, partitioned ones included.

A `Saver` stores the slices of a partitioned variable under the name of the whole, while a graph that was built with a
partitioner calls its variables `weights/part_0`, `weights/part_1`, ... Code that saved the parts under their own names
leaves it the other way about. Both ways are put together here.
"""

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

_PART = re.compile(r"^(?P<before>.*)/part_(?P<number>[0-9]+)(?P<after>(/.*)?)$")

Held = NamedTuple("Held", [("shape", Tuple[int, ...]), ("dtype", str)])
"""What a checkpoint says of one tensor: its shape and the name of its dtype."""

Source = NamedTuple("Source", [("entries", Tuple[str, ...]), ("axis", int), ("start", int), ("size", int)])
"""Where a variable's value comes from: entries, joined along `axis`; with `size` at least 0, that slice of the one."""

Matched = NamedTuple(
    "Matched",
    [("sources", Dict[str, Source]), ("missing", Tuple[str, ...]), ("clashes", Dict[str, Tuple[Any, Held]])],
)
"""Variable key -> source; keys that the checkpoint lacks; key -> (variable, what the checkpoint holds instead)."""


def whole(entry: str) -> Source:
    """Returns the source that is one entry as it is."""
    return Source((entry,), 0, 0, -1)


def match(variables: Iterable[Any], held: Mapping[str, Held]) -> Matched:
    """Finds the source of each variable.

    Args:
        variables: Records with `key`, `shape` and `dtype`.
        held: Entry name -> what the checkpoint says of it.
    """
    records = list(variables)
    joined = _joined(held)
    offsets = _offsets(records)
    sources: Dict[str, Source] = {}
    missing: List[str] = []
    clashes: Dict[str, Tuple[Any, Held]] = {}
    for record in records:
        found = _source(record, held, joined, offsets)
        if found is None:
            missing.append(record.key)
            continue
        source, gives = found
        if tuple(gives.shape) == tuple(record.shape) and gives.dtype == record.dtype:
            sources[record.key] = source
        else:
            clashes[record.key] = (record, gives)
    return Matched(sources, tuple(missing), clashes)


def value(source: Source, read: Callable[[str], np.ndarray]) -> np.ndarray:
    """Returns the value that a source describes."""
    parts = [read(entry) for entry in source.entries]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=source.axis)
    if source.size < 0:
        return array
    place = (slice(None),) * source.axis + (slice(source.start, source.start + source.size),)
    return np.ascontiguousarray(array[place])


def part_of(name: str) -> Optional[Tuple[str, int]]:
    """Returns the whole's name and the number of the part that a name is of; None if it is of none.

    >>> part_of("net/w/part_1/Adam"), part_of("net/w")
    (('net/w/Adam', 1), None)
    """
    found = _PART.match(name)
    return (found.group("before") + found.group("after"), int(found.group("number"))) if found else None


def _source(
    record: Any, held: Mapping[str, Held], joined: Mapping[str, Any], offsets: Mapping[str, Any]
) -> Optional[Tuple[Source, Held]]:
    if record.key in held:
        return whole(record.key), held[record.key]
    if record.key in joined:
        return joined[record.key](tuple(record.shape))  # type: ignore[no-any-return]
    part = part_of(record.key)
    if part is None or part[0] not in held:
        return None
    return _slice(part[0], held[part[0]], record, offsets[part[0]])


def _slice(name: str, has: Held, record: Any, parts: Mapping[int, Any]) -> Tuple[Source, Held]:
    """Cuts a part out of the whole, along the axis in which the parts add up to it."""
    number = part_of(record.key)[1]  # type: ignore[index]
    before = [parts[other].shape for other in sorted(parts) if other < number]
    shapes = [part.shape for part in parts.values()]
    for axis in range(len(has.shape)):
        if all(len(shape) == len(has.shape) for shape in shapes) and _adds_up(shapes, axis, has.shape):
            start = sum(shape[axis] for shape in before)
            return Source((name,), axis, start, record.shape[axis]), Held(tuple(record.shape), has.dtype)
    return whole(name), has


def _adds_up(shapes: Iterable[Tuple[int, ...]], axis: int, full: Tuple[int, ...]) -> bool:
    shapes = list(shapes)
    others = all(s[:axis] + s[axis + 1 :] == full[:axis] + full[axis + 1 :] for s in map(tuple, shapes))
    return others and sum(shape[axis] for shape in shapes) == full[axis]


def _offsets(records: Iterable[Any]) -> Dict[str, Dict[int, Any]]:
    parts: Dict[str, Dict[int, Any]] = {}
    for record in records:
        part = part_of(record.key)
        if part is not None:
            parts.setdefault(part[0], {})[part[1]] = record
    return parts


def _joined(held: Mapping[str, Held]) -> Dict[str, Callable[[Tuple[int, ...]], Tuple[Source, Held]]]:
    """Finds wholes of which the checkpoint has all parts, numbered from 0 without a gap."""
    parts: Dict[str, Dict[int, str]] = {}
    for entry in held:
        part = part_of(entry)
        if part is not None:
            parts.setdefault(part[0], {})[part[1]] = entry
    found: Dict[str, Callable[[Tuple[int, ...]], Tuple[Source, Held]]] = {}
    for name, numbered in parts.items():
        if name not in held and sorted(numbered) == list(range(len(numbered))):
            found[name] = _joiner(tuple(numbered[number] for number in range(len(numbered))), held)
    return found


def _joiner(
    entries: Tuple[str, ...], held: Mapping[str, Held]
) -> Callable[[Tuple[int, ...]], Tuple[Source, Held]]:  # fmt: skip
    def join(wanted: Tuple[int, ...]) -> Tuple[Source, Held]:
        shapes = [tuple(held[entry].shape) for entry in entries]
        dtype = held[entries[0]].dtype
        for axis in range(len(wanted)):
            if all(len(shape) == len(wanted) for shape in shapes) and _adds_up(shapes, axis, wanted):
                return Source(entries, axis, 0, -1), Held(wanted, dtype)
        first = shapes[0]
        if first and _adds_up(shapes, 0, (sum(s[0] for s in shapes if s),) + first[1:]):
            return Source(entries, 0, 0, -1), Held((sum(s[0] for s in shapes),) + first[1:], dtype)
        return Source(entries, 0, 0, -1), held[entries[0]]

    return join
