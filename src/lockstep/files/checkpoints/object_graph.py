"""Object-based checkpoints (`tf.train.Checkpoint`): which variable of which object each tensor of them is.

Such a checkpoint names its tensors by paths of Python attributes, and holds the graph of the objects as one more tensor
(tensorflow/core/protobuf/trackable_object_graph.proto), which also tells each variable's full name. The path that a
tensor is stored under may lead through an optimizer that merely knows the variable, so that what an entry is follows
from the graph: what the root reaches without an optimizer is the model's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from lockstep.common.values import shown
from lockstep.files.checkpoints import wire
from lockstep.files.checkpoints.entries import Entry, Kind
from lockstep.files.checkpoints.wire import LENGTH, VARINT, Bytes, DamagedError
from lockstep.ground.restoring import Held

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The name of the tensor that holds the graph of objects."""

_KEY = "/.ATTRIBUTES/"
_VALUE = "VARIABLE_VALUE"
_COUNTER = "save_counter"
_MOST_BYTES = 1 << 28
# What an optimizer of `tf.compat.v1.train`, Keras 2 and Keras 3 calls its counter or its decay, and what holds one.
_OPTIMIZERS_OWN = {"iter", "iterations", "_iterations", "beta1_power"}
_OPTIMIZERS = {"optimizer", "_optimizer", "base_optimizer", "inner_optimizer"}
_SEED = "seed_generator_state"
_METRICS = "/keras_api/metrics/"  # of a SavedModel that Keras 2 wrote


@dataclass(frozen=True)
class _Node:
    """An object: its children by attribute, its tensors as (attribute, full name, key), nodes of slots."""

    children: tuple[tuple[str, int], ...]
    tensors: tuple[tuple[str, str, str], ...]
    slots: tuple[int, ...]


def named(held: Mapping[str, Held], graph: bytes) -> dict[str, tuple[str, Entry]]:
    """Tells what each tensor of an object-based checkpoint is.

    Args:
        held: What the checkpoint's index says, by its own keys.
        graph: The value of `GRAPH`.

    Returns:
        Key in the index -> that variable's entry: its name is the full one where no other variable of the model has
        it, else the path of attributes; what is no variable's value (a table, a configuration) is left out.

    Raises:
        DamagedError: The graph is malformed, or speaks of tensors that are not there.
    """
    nodes = _nodes(graph)
    paths = _paths(nodes)
    found = [
        (key, full, paths.get(number, key.partition(_KEY)[0]), _kind(number, key, paths))
        for number, node in enumerate(nodes)
        for attribute, full, key in node.tensors
        if attribute == _VALUE and key in held
    ]
    lost = [key for node in nodes for attribute, _, key in node.tensors if attribute == _VALUE and key not in held]
    if lost:
        raise DamagedError(f"its object graph speaks of {shown(lost[0])}, which it does not hold")
    counts = Counter(full for _, full, _, kind in found if kind is Kind.VARIABLE)
    entries: dict[str, tuple[str, Entry]] = {}
    taken: set[str] = set()
    for key, full, path, kind in found:
        plain = full.removesuffix(":0")
        name = plain if kind is Kind.VARIABLE and plain and counts[full] == 1 else path
        name = next((one for one in (name, path, key) if one and one not in taken), "")
        if key in entries or not name:
            raise DamagedError(f"its object graph gives {shown(key)} to two objects")
        taken.add(name)
        entries[key] = name, Entry(name, held[key].shape, held[key].dtype, kind, place=path)
    return entries


def _kind(number: int, key: str, paths: Mapping[int, str]) -> Kind:
    if paths.get(number) is None:
        return Kind.SLOT
    if paths[number] == _COUNTER:
        return Kind.COUNTER
    if _METRICS in f"/{paths[number]}/":
        return Kind.METRIC
    return Kind.SEED if _SEED in key else Kind.VARIABLE


def _paths(nodes: list[_Node]) -> dict[int, str]:
    """Returns for each object that the root reaches without an optimizer the shortest path of attributes to it."""
    slots = {slot for node in nodes for slot in node.slots}
    paths = {0: ""}
    waiting = deque([0])
    while waiting:
        above = waiting.popleft()
        for attribute, number in nodes[above].children:
            if number in paths or number in slots or attribute in _OPTIMIZERS or _is_optimizer(nodes[number]):
                continue
            name = attribute.replace(".", "..").replace("/", ".S")  # as keys have it
            paths[number] = f"{paths[above]}/{name}" if above else name
            waiting.append(number)
    return paths


def _is_optimizer(node: _Node) -> bool:
    return bool(node.slots) or any(attribute in _OPTIMIZERS_OWN for attribute, _ in node.children)


def _nodes(graph: bytes) -> list[_Node]:
    if len(graph) > _MOST_BYTES:
        raise DamagedError(f"its object graph has {len(graph):,} bytes")
    messages = wire.messages(wire.fields(memoryview(graph), {1: LENGTH}, repeated=(1,))[1])
    if not messages:
        raise DamagedError("its object graph is empty")
    return [_node(message, len(messages)) for message in messages]


def _node(message: Bytes, count: int) -> _Node:
    found = wire.fields(message, {1: LENGTH, 2: LENGTH, 3: LENGTH}, repeated=(1, 2, 3))
    children = []
    for child in wire.messages(found[1]):
        parts = wire.fields(child, {1: VARINT, 2: LENGTH})
        children.append((_text(parts[2]), _number(parts[1], count)))
    tensors = []
    for tensor in wire.messages(found[2]):
        parts = wire.fields(tensor, {1: LENGTH, 2: LENGTH, 3: LENGTH})
        tensors.append((_text(parts[1]), _text(parts[2]), _text(parts[3])))
    slots = []
    for slot in wire.messages(found[3]):
        parts = wire.fields(slot, {1: VARINT, 2: LENGTH, 3: VARINT})
        _number(parts[1], count)
        slots.append(_number(parts[3], count))
    return _Node(tuple(children), tuple(tensors), tuple(slots))


def _number(values: list[wire.Field], count: int) -> int:
    number = wire.number(values, bits=32)
    if not 0 <= number < count:
        raise DamagedError(f"its object graph speaks of object {number} of {count}")
    return number


def _text(values: list[wire.Field]) -> str:
    try:
        return b"".join(bytes(value) for value in wire.messages(values)).decode()
    except UnicodeDecodeError:
        raise DamagedError("a name in its object graph is no UTF-8") from None
