"""A graph that calls functions -> the same graph with their operations in place of the calls.

What a SavedModel of TensorFlow 2 computes lies in functions that call each other several deep, the layers' own names in
the innermost. Inlined, the operations bear these names, and a variable is read where a layer reads it. Loops and
branches keep their functions: they run as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.frameworks.tensorflow.originals.wiring import by_name, needed, place, tensor
from lockstep.ground.opening import shortened
from lockstep.tf1.private import op_def

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_WRAPPING = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")
_DEEPEST = 200
_MOST_NODES = 2_000_000


def inlined(nodes: Iterable[Any], library: Any, targets: Iterable[str]) -> list[Any]:
    """Returns what targets need, calls of functions replaced by their operations.

    Args:
        nodes: NodeDefs of a graph.
        library: Its FunctionDefLibrary.
        targets: Names of tensors or operations; they stay, as an `Identity` or a `NoOp` where they were calls.

    Raises:
        InputError: A function calls itself, or the graph is damaged, or it would be too large.
    """
    functions = {function.signature.name: function for function in library.function}
    wanted = [place(target)[0] for target in targets]
    current = needed(by_name(nodes), wanted)
    for _ in range(_DEEPEST):
        called = [node for node in current if _function_of(node, functions) is not None]
        if not called:
            return current
        one = _Pass(current, functions, set(wanted))
        for node in called:
            one.expand(node)
        current = needed(by_name(one.finished()), wanted)
    raise InputError(f"the graph's functions call each other more than {_DEEPEST} deep, or without an end.")


def _function_of(node: Any, functions: Mapping[str, Any]) -> Any | None:
    if node.op in functions and op_def(node.op) is None:
        return functions[node.op]
    if node.op not in _CALLS:
        return None
    name = node.attr["f"].func.name
    if name not in functions:
        raise InputError(f"the graph calls the function {shown(shortened(name))}, which it does not hold.")
    return functions[name]


class _Pass:
    """One level of calls replaced."""

    def __init__(self, nodes: list[Any], functions: Mapping[str, Any], kept: set[str]) -> None:
        self._functions, self._kept = functions, kept
        self._nodes = nodes
        self._taken = {node.name for node in nodes}
        self._added: list[Any] = []
        self._replaced: dict[str, list[str]] = {}
        """Name of a call -> what it returned, as references."""

    def expand(self, call: Any) -> None:
        """Puts a function's operations in place of a call."""
        function = _function_of(call, self._functions)
        assert function is not None
        given = [reference for reference in call.input if not reference.startswith("^")]
        before = [reference for reference in call.input if reference.startswith("^")]
        arguments = [argument.name for argument in function.signature.input_arg]
        if len(given) != len(arguments):
            raise _damaged(function, "is called with another number of arguments than it has")
        if call.name not in self._kept:
            self._taken.discard(call.name)
        scope = _scope(call.name, function.signature.name)
        names = {node.name: self._free(f"{scope}{node.name}") for node in function.node_def}
        if len(names) != len(function.node_def) or names.keys() & set(arguments):
            raise _damaged(function, "has two operations of one name")
        if len(self._added) + len(self._nodes) > _MOST_NODES:
            raise InputError(f"the graph has more than {_MOST_NODES:,} operations when its functions are inlined.")
        body = _Body(function, self._functions, names, dict(zip(arguments, given, strict=True)))
        for node in function.node_def:
            made = tf.compat.v1.NodeDef()
            made.CopyFrom(node)
            made.name = names[node.name]
            del made.input[:]
            made.input.extend([*(body.reference(reference) for reference in node.input), *before])
            _fill_in(made, call, function)
            self._added.append(made)
        returned = [body.reference(_returned(function, argument.name)) for argument in function.signature.output_arg]
        done = [f"^{names[node]}" for node in function.control_ret.values() if node in names]
        self._replaced[call.name] = returned
        last = [*done, *(f"^{place(reference)[0]}" for reference in returned), *before]
        self._added.append(_node("NoOp", self._done(call.name), list(dict.fromkeys(last))))
        if call.name in self._kept:
            self._keep(call, function)

    def _done(self, call: str) -> str:
        return f"{call}/done_inlined"

    def _keep(self, call: Any, function: Any) -> None:
        """Leaves a call that is a target as what hands on its outputs."""
        counts = len(function.signature.output_arg)
        made = _node("IdentityN" if counts else "NoOp", call.name, [f"^{self._done(call.name)}"])
        if counts:
            del made.input[:]
            made.input.extend([*self._replaced[call.name], f"^{self._done(call.name)}"])
            made.attr["T"].list.type.extend(call.attr["Tout"].list.type)
        self._added.append(made)

    def _free(self, name: str) -> str:
        free, number = name, 0
        while free in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free

    def finished(self) -> list[Any]:
        """Returns the nodes, none of which refers to a replaced call."""
        nodes = [node for node in self._nodes if node.name not in self._replaced] + self._added
        for node in nodes:
            if any(place(reference)[0] in self._replaced for reference in node.input):
                references = [self._resolved(reference) for reference in node.input]
                del node.input[:]
                ordered = sorted(dict.fromkeys(references), key=lambda one: one.startswith("^"))
                plain = [one for one in references if not one.startswith("^")]
                node.input.extend([*plain, *(one for one in ordered if one.startswith("^"))])
        return nodes

    def _resolved(self, reference: str) -> str:
        for _ in range(len(self._replaced) + 1):
            name, number = place(reference)
            returned = self._replaced.get(name)
            if returned is None:
                return reference
            if number < 0:
                return f"^{self._done(name)}"
            if number >= len(returned):
                break
            reference = returned[number]
        raise InputError(f"the graph is damaged: nothing gives {shown(shortened(reference))}.")


class _Body:
    """How the operations of a function's body refer to each other, and to what it was given."""

    def __init__(
        self, function: Any, functions: Mapping[str, Any], names: Mapping[str, str], given: Mapping[str, str]
    ) -> None:
        self._function, self._functions, self._names, self._given = function, functions, names, given
        self._nodes = {node.name: node for node in function.node_def}

    def reference(self, written: str) -> str:
        """Returns the graph's reference for one as functions write it: `argument`, `node:output:0`, `^node`."""
        if written.startswith("^"):
            name = written[1:]
            if name in self._names:
                return f"^{self._names[name]}"
            if name in self._given:
                return f"^{place(self._given[name])[0]}"
            raise _damaged(self._function, f"waits for {shown(shortened(name))}, which it does not have")
        if written in self._given:
            return self._given[written]
        parts = written.split(":")
        node = self._nodes.get(parts[0])
        if node is None or len(parts) > 3 or (len(parts) == 3 and not parts[2].isdecimal()):
            raise _damaged(self._function, f"reads {shown(shortened(written))}, which it does not have")
        offset = self._offset(node, parts[1]) if len(parts) > 1 else 0
        return tensor(self._names[node.name], offset + (int(parts[2]) if len(parts) == 3 else 0))

    def _offset(self, node: Any, output: str) -> int:
        offset = 0
        for name, count in self._outputs(node):
            if name == output:
                return offset
            offset += count
        raise _damaged(self._function, f"reads an output of {node.op} that it does not have")

    def _outputs(self, node: Any) -> list[tuple[str, int]]:
        definition = op_def(node.op)
        if definition is None:
            if node.op not in self._functions:
                raise InputError(
                    f"the graph has an operation that this TensorFlow {tf.__version__} does not know: "
                    f"{shortened(node.op)}; it is of a newer TensorFlow, or of a library of its own."
                )
            return [(argument.name, 1) for argument in self._functions[node.op].signature.output_arg]
        return [(argument.name, _count(argument, node)) for argument in definition.output_arg]


def _count(argument: Any, node: Any) -> int:
    if argument.number_attr:
        return max(int(node.attr[argument.number_attr].i), 0)
    if argument.type_list_attr:
        return len(node.attr[argument.type_list_attr].list.type)
    return 1


def _returned(function: Any, argument: str) -> str:
    if argument not in function.ret:
        raise _damaged(function, "does not say what it returns")
    return str(function.ret[argument])


def _scope(call: str, function: str) -> str:
    """Returns the scope of a call's operations: none of its own where nobody gave the call a name.

    >>> _scope("net/StatefulPartitionedCall_1", "f"), _scope("net/lstm", "f")
    ('net/', 'net/lstm/')
    """
    outer, _, last = call.rpartition("/")
    if _WRAPPING.fullmatch(last) or last == function:
        return f"{outer}/" if outer else ""
    return f"{call}/"


def _fill_in(node: Any, call: Any, function: Any) -> None:
    for name, value in node.attr.items():
        if value.placeholder:
            if value.placeholder not in call.attr:
                raise _damaged(function, f"takes its {shortened(name)} from a call that does not say it")
            node.attr[name].CopyFrom(call.attr[value.placeholder])


def _node(kind: str, name: str, inputs: list[str]) -> Any:
    made = tf.compat.v1.NodeDef()
    made.op, made.name = kind, name
    made.input.extend(inputs)
    return made


def _damaged(function: Any, why: str) -> InputError:
    return InputError(f"the graph is damaged: its function {shown(shortened(function.signature.name))} {why}.")
