"""Which entry of a checkpoint each variable of a graph is restored from, read off the graph without running it.

Every SavedModel and MetaGraph has the operations that restore it: `RestoreV2` with the names of entries as constants,
and assignments of what it gives. They read files, so they are never run; what they say is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.frameworks.tensorflow.originals.inlining import inlined
from lockstep.frameworks.tensorflow.originals.wiring import by_name, place
from lockstep.ground.opening import shortened

VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_ASSIGNMENTS = frozenset({"AssignVariableOp", "Assign"})
_HANDING_ON = frozenset({"Identity", "Reshape", "Cast"})


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint, or a part of it.

    Attributes:
        key: The key that it is stored under.
        part: Which part of it, as savers write it: `"10 20 0,5:-"`; empty for all of it.
    """

    key: str
    part: str = ""


def entries(meta: Any) -> dict[str, Entry]:
    """Returns name of a variable's operation -> what it is restored from.

    Args:
        meta: A MetaGraphDef. Where it has no saver, nothing is known.

    Raises:
        InputError: Its operations that restore are damaged.
    """
    target = meta.saver_def.restore_op_name
    graph = meta.graph_def
    if not target or place(target)[0] not in {node.name for node in graph.node}:
        return {}
    nodes = by_name(inlined(graph.node, graph.library, [target]))
    found: dict[str, Entry] = {}
    for node in nodes.values():
        if node.op not in _ASSIGNMENTS or len(node.input) < 2:
            continue
        variable, source = _source(nodes, node.input[0]), _source(nodes, node.input[1])
        if variable is None or source is None or variable[0].op not in VARIABLES or source[0].op != "RestoreV2":
            continue
        found[variable[0].name] = _entry(nodes, *source)
    return found


def _source(nodes: Mapping[str, Any], reference: str) -> tuple[Any, int] | None:
    for _ in range(len(nodes)):
        name, number = place(reference)
        node = nodes.get(name)
        if node is None or node.op not in _HANDING_ON or not node.input:
            return None if node is None else (node, number)
        reference = node.input[0]
    return None


def _entry(nodes: Mapping[str, Any], restore: Any, number: int) -> Entry:
    keys, parts = (_strings(nodes, restore, at) for at in (1, 2))
    if not 0 <= number < len(keys):
        raise InputError(
            f"the graph is damaged: {shown(shortened(restore.name))} restores fewer tensors than it gives."
        )
    return Entry(keys[number], parts[number] if number < len(parts) else "")


def _strings(nodes: Mapping[str, Any], restore: Any, at: int) -> list[str]:
    found = _source(nodes, restore.input[at]) if at < len(restore.input) else None
    if found is None or found[0].op != "Const":
        return []
    return [text.decode("utf-8", "replace") for text in found[0].attr["value"].tensor.string_val]


def part_of(value: np.ndarray, part: str) -> np.ndarray:
    """Returns the part of an entry that a saver's words mean.

    >>> part_of(np.arange(6).reshape(3, 2), "3 2 1,2:-").tolist()
    [[2, 3], [4, 5]]

    Raises:
        InputError: They are none, or lead out of it.
    """
    if not part:
        return value
    places = []
    for size, word in zip(value.shape, part.rsplit(maxsplit=1)[-1].split(":"), strict=False):
        start, comma, length = word.partition(",")
        if word == "-":
            places.append(slice(None))
        elif comma and start.isdecimal() and length.isdecimal() and int(start) + int(length) <= size:
            places.append(slice(int(start), int(start) + int(length)))
    if len(places) != value.ndim:
        raise InputError(f"the graph is damaged: it restores the part {shown(shortened(part))} of {value.shape}.")
    return np.ascontiguousarray(value[tuple(places)])
