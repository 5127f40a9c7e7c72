"""The part of a graph that outputs need, and where its operations are from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lockstep.common.source_lines import is_users_file
from lockstep.frameworks.tensorflow import graph_kinds, kernels
from lockstep.frameworks.tensorflow.dataflow import Dataflow, Node
from lockstep.frameworks.tensorflow.graph_values import Known
from lockstep.frameworks.tensorflow.originals.importing import IMPORTING
from lockstep.recorder import graph as recorder_graph

_IMPORTING = IMPORTING | {(recorder_graph.__file__, recorder_graph.imported.__name__)}
"""The functions that put a graph from elsewhere into one of this process."""


class GraphPart:
    """The part of a graph that is needed, and what was found out about its operations.

    Attributes:
        operations: Number -> operation, in the order of the program.
        flow: How tensors travel between them.
        placeholders: Number of an operation -> name of the model's input that feeds it.
        conditional: Numbers of the operations that may run never or more than once.
        calls: What it takes to run an operation, where that is known by now.
        constants: The constants, where they were asked for by now.
    """

    def __init__(self, graph: Any, targets: Iterable[Any], placeholders: Mapping[str, str]) -> None:
        self.graph = graph
        self._numbers = {op.name: number for number, op in enumerate(graph.get_operations())}
        self.operations: dict[int, Any] = {}
        nodes: dict[int, Node] = {}
        waiting = list(targets)
        while waiting:
            op = waiting.pop()
            number = self._numbers[op.name]
            if number in nodes:
                continue
            self.operations[number] = op
            before = [] if op.name in placeholders else [*(tensor.op for tensor in op.inputs), *op.control_inputs]
            waiting.extend(before)
            nodes[number] = self._node(op, fed=op.name in placeholders)
        self.flow = Dataflow(dict(sorted(nodes.items())))
        self.placeholders = {n: placeholders[op.name] for n, op in self.operations.items() if op.name in placeholders}
        self.conditional = self.flow.conditional()
        self.calls: dict[int, kernels.Call] = {}
        self.constants: dict[int, Known] = {}

    def _node(self, op: Any, *, fed: bool) -> Node:
        enters = op.type in {"Enter", "RefEnter"}
        return Node(
            op.type,
            () if fed else tuple(self.place_of(tensor) for tensor in op.inputs),
            () if fed else tuple({self._numbers[control.name]: None for control in op.control_inputs}),
            len(op.outputs),
            op.get_attr("frame_name").decode() if enters else "",
            bool(op.get_attr("is_constant")) if enters else False,
        )

    def place_of(self, tensor: Any) -> tuple[int, int]:
        """Returns the number of the operation that gives a tensor, and which of its outputs it is."""
        return self._numbers[tensor.op.name], tensor.value_index

    def needs(self, tensor: Any) -> bool:
        """Tells whether a tensor is needed."""
        return self._numbers[tensor.op.name] in self.operations

    def draws(self) -> list[int]:
        """Returns the random operations that run exactly once."""
        return [n for n, op in self.operations.items() if graph_kinds.draws(op.type) and n not in self.conditional]

    def closed(self) -> list[int]:
        """Returns the operations that can be run in a session alone, or read what such a one keeps to itself."""
        found: dict[int, None] = {}
        for number, node in self.flow.nodes.items():
            closed = any(
                producer in found and graph_kinds.is_handle(self.operations[producer].outputs[output])
                for producer, output in node.inputs
            )
            if number not in self.placeholders and (closed or graph_kinds.needs_session(node.type)):
                found[number] = None
        return [number for number in found if number not in self.conditional]


def users_line(op: Any) -> str:
    """Returns the user's innermost line that took part in making an operation: `"model.py:22"`.

    Empty for an operation of a graph that came from elsewhere, whose lines it does not hold.
    """
    for frame in reversed(list(op.traceback or ())):
        if (frame.filename, frame.name) in _IMPORTING:
            return ""
        if _is_users(frame.filename):
            return f"{_short(frame.filename)}:{frame.lineno}"
    return ""


@cache
def _is_users(file: str) -> bool:
    return is_users_file(file)


@cache
def _short(file: str) -> str:
    """A path as seen from where it is imported from."""
    path = Path(file)
    folders = [Path(folder or ".").resolve() for folder in (*sys.path, ".")]
    shortened = [path.relative_to(folder).as_posix() for folder in folders if path.is_relative_to(folder)]
    return min(shortened, key=len, default=file)
