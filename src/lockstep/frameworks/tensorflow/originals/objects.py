"""The objects of a SavedModel of TensorFlow 2: its variables by their paths, its functions and what these capture."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.ground.opening import shortened

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True)
class Held:
    """A variable.

    Attributes:
        name: The name that it was made with; not its own where layers share a name.
        path: The attributes that lead to it: `layers/0/w`.
        trainable: Whether it is trained.
        node: The SavedVariable.
    """

    name: str
    path: str
    trainable: bool
    node: Any

    @property
    def key(self) -> str:
        """The key that its value is stored under in the checkpoint beside it."""
        return f"{self.path}{_VALUE}"


class Objects:
    """The object graph.

    Args:
        meta: A MetaGraphDef; one of TensorFlow 1 has no objects.
    """

    def __init__(self, meta: Any) -> None:
        self._nodes = meta.object_graph_def.nodes
        self._functions = meta.object_graph_def.concrete_functions
        self.paths = self._found_paths()

    def _found_paths(self) -> dict[int, str]:
        """Returns number of an object -> its shortest path, as checkpoints name it."""
        if not self._nodes:
            return {}
        found = {0: ""}
        waiting = deque([0])
        while waiting:
            number = waiting.popleft()
            for child in self._nodes[number].children:
                if child.node_id in found:
                    continue
                if not 0 <= child.node_id < len(self._nodes):
                    raise InputError("the SavedModel is damaged: an object leads to one that does not exist.")
                # What checkpoints put in place of a slash and of a dot that would end a path.
                name = child.local_name.replace(".", "..").replace("/", ".S")
                found[child.node_id] = f"{found[number]}/{name}" if found[number] else name
                waiting.append(child.node_id)
        return found

    def variables(self) -> Iterator[tuple[int, Held]]:
        """Yields number -> variable."""
        for number, path in self.paths.items():
            node = self._nodes[number]
            if node.WhichOneof("kind") == "variable":
                saved = node.variable
                yield number, Held(saved.name.partition(":")[0], path, bool(saved.trainable), saved)

    def functions(self) -> dict[str, list[str]]:
        """Returns path of a function, and its name alone where that is its own -> its concrete functions."""
        found: dict[str, list[str]] = {}
        for number, path in self.paths.items():
            node = self._nodes[number]
            kind = node.WhichOneof("kind")
            if path.startswith("signatures/") or kind not in ("function", "bare_concrete_function"):
                continue
            if kind == "function":
                found[path] = list(node.function.concrete_functions)
            elif not _is_a_trace(path):
                found[path] = [node.bare_concrete_function.concrete_function_name]
        return {path: names for path, names in found.items() if names}

    def concrete(self, name: str) -> Any:
        """Returns a SavedConcreteFunction.

        Raises:
            InputError: There is none of that name.
        """
        if name not in self._functions:
            raise InputError(f"the SavedModel is damaged: it holds no function {shown(shortened(name))}.")
        return self._functions[name]

    def captured(self, number: int) -> Any:
        """Returns the object that a function captures.

        Raises:
            InputError: There is none of that number.
        """
        if not 0 <= number < len(self._nodes):
            raise InputError("the SavedModel is damaged: a function captures an object that does not exist.")
        return self._nodes[number]


def _is_a_trace(path: str) -> bool:
    return path.rpartition("/")[2].startswith("trace_")


def structured(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path -> leaf of a StructuredValue, in the order in which a function returns them.

    Raises:
        InputError: It is of a kind that is not known.
    """
    kind = value.WhichOneof("kind")
    inner: list[tuple[str, Any]]
    if kind in ("tensor_spec_value", "bounded_tensor_spec_value"):
        yield path, getattr(value, kind)
        return
    if kind == "dict_value":
        inner = sorted(value.dict_value.fields.items())
    elif kind in ("list_value", "tuple_value"):
        inner = [(str(number), one) for number, one in enumerate(getattr(value, kind).values)]
    elif kind == "named_tuple_value":
        inner = [(pair.key, pair.value) for pair in value.named_tuple_value.values]
    elif kind in ("none_value", "bool_value", "int64_value", "float64_value", "string_value", None):
        return
    else:
        raise InputError(f"a function of the SavedModel takes or returns a {shown(str(kind))}; tensors are expected.")
    for name, one in inner:
        yield from structured(one, f"{path}/{name}" if path else name)


def is_in_training(function: Any) -> bool:
    """Tells whether a concrete function was traced with a flag that is true among its arguments: `training=True`."""
    waiting = [function.canonicalized_input_signature]
    while waiting:
        value = waiting.pop()
        kind = value.WhichOneof("kind")
        if kind == "bool_value" and value.bool_value:
            return True
        if kind == "dict_value":
            waiting.extend(value.dict_value.fields.values())
        elif kind in ("list_value", "tuple_value"):
            waiting.extend(getattr(value, kind).values)
    return False
