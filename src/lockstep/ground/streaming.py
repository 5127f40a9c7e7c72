"""What streaming metrics are asked and what they answer, as plain values that the recorder and today's side share."""

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import numpy as np

from .structure import flatten

Batch = NamedTuple("Batch", [("outputs", Dict[str, np.ndarray]), ("inputs", Dict[str, np.ndarray])])
"""One batch: path of an output -> what the model returned; name of an input -> what it was given."""

Course = NamedTuple("Course", [("name", str), ("batches", List[Batch])])
"""Batches that metrics are updated with, one after the other, from a reset on."""

Seen = NamedTuple(
    "Seen",
    [
        ("after", List[Dict[str, np.ndarray]]),
        ("states", List[Dict[str, np.ndarray]]),
        ("alone", List[Dict[str, np.ndarray]]),
    ],
)
"""What a course came to, batch by batch: metric -> value after it; `metric: state` -> value after it; metric -> value
of the batch alone, after a reset."""


def rebuilt(flat: Mapping[str, Any]) -> Any:
    """Returns what `flatten` was given, tuples and lists as tuples.

    >>> rebuilt({"0/b": 1, "0/a": 2, "1/0": 3})
    ({'b': 1, 'a': 2}, (3,))
    >>> rebuilt({"": 5})
    5
    """
    if list(flat) == [""]:
        return flat[""]
    parts: Dict[str, Dict[str, Any]] = {}
    for path, value in flat.items():
        first, _, rest = path.partition("/")
        parts.setdefault(first, {})[rest] = value
    values = {key: rebuilt(inner) for key, inner in parts.items()}
    if all(key.isdigit() for key in values) and sorted(map(int, values)) == list(range(len(values))):
        return tuple(values[str(number)] for number in range(len(values)))
    return values


def _kept(values: Mapping[str, np.ndarray], arrays: Dict[str, np.ndarray]) -> Dict[str, str]:
    """Puts arrays among others under new names, and returns these."""
    names = {}
    for key, value in values.items():
        names[key] = "a%d" % len(arrays)
        arrays[names[key]] = np.asarray(value)
    return names


def packed(courses: List[Course]) -> Tuple[List[Any], Dict[str, np.ndarray]]:
    """Returns courses as what JSON holds, and their arrays by names."""
    arrays: Dict[str, np.ndarray] = {}
    told = [
        {"name": course.name, "batches": [[_kept(b.outputs, arrays), _kept(b.inputs, arrays)] for b in course.batches]}
        for course in courses
    ]
    return told, arrays


def unpacked(told: List[Any], arrays: Mapping[str, np.ndarray]) -> List[Course]:
    """Returns what was `packed`."""

    def found(names: Mapping[str, str]) -> Dict[str, np.ndarray]:
        return {key: arrays[name] for key, name in names.items()}

    return [
        Course(one["name"], [Batch(found(outputs), found(inputs)) for outputs, inputs in one["batches"]])
        for one in told
    ]


def packed_seen(seen: List[Seen]) -> Tuple[List[Any], Dict[str, np.ndarray]]:
    """Returns what courses came to as what JSON holds, and its arrays by names."""
    arrays: Dict[str, np.ndarray] = {}
    return [[[_kept(values, arrays) for values in steps] for steps in one] for one in seen], arrays


def unpacked_seen(told: List[Any], arrays: Mapping[str, np.ndarray]) -> List[Seen]:
    """Returns what was `packed_seen`."""
    return [
        Seen(*[[{key: arrays[name] for key, name in values.items()} for values in steps] for steps in one])
        for one in told
    ]


def leaves(name: str, values: Any) -> Iterator[Tuple[str, Any]]:
    """Yields the values of a metric by name: those of a nested result behind its own."""
    for path, value in flatten(values):
        yield ("%s/%s" % (name, path) if path else name), value
