"""Nodes of a graph as they refer to each other, before TensorFlow sees any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lockstep.common.errors import InputError, nearest
from lockstep.common.values import shown
from lockstep.ground.opening import shortened

Nodes = Mapping[str, Any]
"""Name -> NodeDef."""


def place(reference: str) -> tuple[str, int]:
    """Returns the node that a reference leads to, and which of its outputs; -1 for a control input.

    >>> place("a/b:1"), place("a"), place("^a")
    (('a/b', 1), ('a', 0), ('a', -1))
    """
    if reference.startswith("^"):
        return reference[1:], -1
    name, colon, number = reference.rpartition(":")
    return (name, int(number)) if colon and number.isdecimal() else (reference, 0)


def tensor(name: str, number: int) -> str:
    """Returns how a node refers to a tensor.

    >>> tensor("a", 0), tensor("a", 1), tensor("a", -1)
    ('a', 'a:1', '^a')
    """
    return f"^{name}" if number < 0 else f"{name}:{number}" if number else name


def by_name(nodes: Iterable[Any]) -> dict[str, Any]:
    """Returns the nodes by their names.

    Raises:
        InputError: Two bear the same name.
    """
    found: dict[str, Any] = {}
    for node in nodes:
        if node.name in found:
            raise InputError(f"the graph is damaged: two operations are called {shown(shortened(node.name))}.")
        found[node.name] = node
    return found


def needed(nodes: Nodes, targets: Iterable[str], known: Iterable[str] = ()) -> list[Any]:
    """Returns the nodes that tensors or operations need, in the order of the graph.

    Args:
        nodes: All of them.
        targets: Names of nodes.
        known: Names of nodes that are fed: what leads to them is not needed.

    Raises:
        InputError: A node reads one that does not exist.
    """
    found: set[str] = set()
    fed = set(known)
    waiting = list(targets)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in nodes:
            raise InputError(f"the graph is damaged: something reads {shown(shortened(name))}, which is not in it.")
        found.add(name)
        if name not in fed:
            waiting.extend(place(reference)[0] for reference in nodes[name].input)
    return [node for name, node in nodes.items() if name in found]


def tensor_named(name: str, nodes: Nodes, what: str) -> str:
    """Returns the name of a tensor as `node:output`, where the graph has its operation.

    Raises:
        InputError: It has none; the nearest name is told.
    """
    node, number = place(name)
    if node not in nodes or number < 0:
        hint = nearest(node, _tellable(nodes)) or "."
        raise InputError(f"{what}: the graph has no tensor {shown(shortened(name))}{hint}")
    return f"{node}:{number}"


def _tellable(nodes: Nodes) -> Sequence[str]:
    return [name for name, node in nodes.items() if node.op not in ("Const", "NoOp")][:10_000]
