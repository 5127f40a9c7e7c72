"""Runs an exported graph on PyTorch and writes it into a program meanwhile, each operation on PyTorch's own values.

A lowered operation reads what PyTorch had, not what the lowered operations in front of it gave, so that what one is off
is its own fault. The program knows nothing of that: its operations read each other's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from lockstep.common.errors import InputError, KernelError
from lockstep.frameworks.tensorflow import kernels
from lockstep.frameworks.torch.exporting import place_of
from lockstep.frameworks.torch.lowering.private import HigherOrderOperator, OpOverload, arguments_of, pytree
from lockstep.frameworks.torch.lowering.proving import Fault, difference
from lockstep.frameworks.torch.lowering.random import DRAWS, UNIFORM, draws
from lockstep.frameworks.torch.lowering.rules import RULES, RefusedError, bound
from lockstep.frameworks.torch.lowering.values import WIDE, array_of, dtype_name, tensorflow_of, torch_dtype, torch_of
from lockstep.frameworks.torch.lowering.writing import Value, Writer
from lockstep.program import ProgramBuilder

_REFUSALS = (tf.errors.OpError, KernelError, TypeError, ValueError)
"""What is raised where TensorFlow has no kernel, or no attribute, for what an operation is asked for."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A tensor of PyTorch and the tensor of the program that stands for it; their values are the same."""

    own: torch.Tensor
    value: Value


@dataclass
class Numbers:
    """Random numbers that are given to a run, or that it draws itself.

    Attributes:
        given: The numbers of each random operation in order; None: each draws.
        used: Those that were used.
    """

    given: Sequence[np.ndarray] | None
    used: list[np.ndarray] = field(default_factory=list)

    def next(self, node: torch.fx.Node) -> torch.Tensor | None:
        """Returns the numbers for a node; None where it draws.

        Raises:
            InputError: There are no more.
        """
        if self.given is None:
            return None
        if len(self.used) >= len(self.given):
            raise InputError(
                f"the numbers of {len(self.given)} random operations are given, and {node.target} ({node.name}) is one "
                "more; give the numbers of all, in the order in which they are drawn."
            )
        return torch_of(np.asarray(self.given[len(self.used)]))


class Interpreter:
    """Interprets graphs of ATen operations.

    Attributes:
        faults: Operations that could not be lowered, or that were off.

    Args:
        builder: Puts the program together.
        numbers: What random operations draw.
    """

    def __init__(self, builder: ProgramBuilder, numbers: Numbers) -> None:
        self.faults: list[Fault] = []
        self._builder, self._numbers = builder, numbers
        self._writer = Writer(builder)

    def run(self, graph: torch.fx.GraphModule, given: Sequence[Any]) -> Any:
        """Runs a graph.

        Args:
            graph: A graph module of ATen operations.
            given: What its placeholders are: `Pair`s, or what is no tensor.

        Returns:
            What it returns, with `Pair`s for tensors.
        """
        held: dict[torch.fx.Node, Any] = {}
        placeholders = iter(given)
        last = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
        ends: dict[torch.fx.Node, list[torch.fx.Node]] = {}
        for source, node in last.items():
            ends.setdefault(node, []).append(source)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                held[node] = next(placeholders)
            elif node.op == "get_attr":
                held[node] = self._attribute(graph, str(node.target))
            elif node.op == "output":
                return torch.fx.map_arg(node.args[0], held.__getitem__)
            else:
                args, kwargs = torch.fx.map_arg((node.args, node.kwargs), held.__getitem__)
                held[node] = self._called(node, args, kwargs)
            for source in ends.get(node, ()):
                del held[source]
        return None

    def pair(self, own: torch.Tensor, kind: str, name: str) -> Pair:
        """Returns a tensor that no operation of the program gives: an input, a variable, a constant."""
        tensor = tensorflow_of(own)
        spec = kernels.spec_of(tensor)
        if kind == "constant":
            return Pair(own, Value(self._builder.constant(array_of(own), spec), tensor))
        if kind == "variable":
            return Pair(own, Value(self._builder.variable(name, tensor, spec), tensor))
        return Pair(own, Value(self._builder.source(kind, name, tensor, spec), tensor))

    def _attribute(self, graph: torch.fx.GraphModule, path: str) -> Any:
        found: Any = graph
        for part in path.split("."):
            found = getattr(found, part)
        return self.pair(found.detach(), "constant", path) if isinstance(found, torch.Tensor) else found

    def _called(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        if isinstance(target, OpOverload):
            return self._operation(node, target, args, kwargs)
        if isinstance(target, HigherOrderOperator):
            return self._of_graphs(node, target, args)
        return target(*args, **kwargs)  # getitem, and arithmetic on sizes

    def _of_graphs(self, node: torch.fx.Node, target: Any, args: Sequence[Any]) -> Any:
        """Runs what an operation that is given graphs runs: the branch that was taken, what stands in a context."""
        name = target.name()
        if name == "cond":
            condition, *branches, operands = args
            taken = bool(condition.own if isinstance(condition, Pair) else condition)
            return self.run(branches[0] if taken else branches[1], operands)
        if name in ("wrap_with_set_grad_enabled", "wrap_with_autocast"):
            graph = next(place for place, each in enumerate(args) if isinstance(each, torch.fx.GraphModule))
            if name == "wrap_with_autocast" and args[3] is not False:
                raise InputError(f"{node.name}: autocast within a module is not followed; move it out of the module.")
            return self.run(args[graph], args[graph + 1 :])
        own = target(*_own(args))
        return self._taken(node, own, "no rule covers an operation that is given graphs")

    def _operation(self, node: torch.fx.Node, target: Any, args: Any, kwargs: Any) -> Any:
        name = str(target)
        named = {argument.name: _own(value) for argument, value in _by_name(target, args, kwargs)}
        drawn = None
        if draws(name, named):
            own, drawn = self._drawn(node, name, target, named)
        else:
            own = target(*_own(args), **_own(kwargs))
        if not any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(own)):
            self._note_number(node, own)
            return own
        rule = RULES.get(name)
        if rule is None:
            return self._taken(node, own, "no rule covers it")
        self._writer.place = place_of(node)
        extra = {} if drawn is None else {"drawn": drawn.value}
        try:
            lowered = rule.write(
                self._writer, **bound(rule, arguments_of(target), _values(args), _values(kwargs)), **extra
            )
        except RefusedError as error:
            return self._taken(node, own, str(error))
        except _REFUSALS as error:
            return self._taken(node, own, f"TensorFlow refuses: {str(error).splitlines()[0]}")
        return self._proved(node, own, lowered, lambda: _in_float64(target, args, kwargs, drawn))

    def _drawn(self, node: torch.fx.Node, name: str, target: Any, named: Mapping[str, Any]) -> tuple[Any, Pair]:
        how = DRAWS[name]
        numbers = self._numbers.next(node)
        if numbers is None:
            own = target(**named)
            numbers = how.numbers(own)
        else:
            numbers = self._of_shape(node, numbers)
            own = how.result(named, numbers)
        self._numbers.used.append(array_of(numbers))
        uniform = name == "aten.native_dropout.default" and numbers.dtype != torch.bool
        return own, self.pair(numbers, "draw", UNIFORM if uniform else how.kind)

    def _of_shape(self, node: torch.fx.Node, numbers: torch.Tensor) -> torch.Tensor:
        told = node.meta["val"]
        wanted = told[1] if isinstance(told, (tuple, list)) else told
        if numbers.numel() != wanted.numel():
            raise InputError(
                f"{node.target} ({node.name}) draws {dtype_name(wanted.dtype)}{list(wanted.shape)}; the numbers given "
                f"for it are {dtype_name(numbers.dtype)}{list(numbers.shape)}."
            )
        numbers = numbers.reshape(tuple(wanted.shape))
        return numbers if wanted.dtype == torch.bool else numbers.to(wanted.dtype)

    def _proved(self, node: torch.fx.Node, own: Any, lowered: Any, doubles: Callable[[], Any]) -> Any:
        """Pairs PyTorch's results with the lowered ones that are equal; the others are sources of their own."""
        ours = list(own) if isinstance(own, (tuple, list)) else [own]
        theirs = list(lowered) if isinstance(lowered, (tuple, list)) else [lowered]
        theirs += [None] * (len(ours) - len(theirs))
        asked = [place for place, value in enumerate(theirs) if value is not None]

        def both() -> tuple[list[np.ndarray], list[np.ndarray]]:
            wide_own, wide_lowered = doubles()
            return [array_of(wide_own[p]) for p in asked], [wide_lowered[p].numpy() for p in asked]

        results = [array_of(ours[p]) for p in asked], [theirs[p].numpy() for p in asked]
        try:
            told = difference(*results, both)
        except (*_REFUSALS, RefusedError, RuntimeError) as error:  # one of the two has no kernel for float64
            told = f"it is off, and cannot be judged in float64: {str(error).splitlines()[0]}"
        if told:
            return self._taken(node, own, told)
        pairs: list[Any] = []
        for place, tensor in enumerate(ours):
            if theirs[place] is not None:
                pairs.append(Pair(tensor, replace(theirs[place], tensor=tensorflow_of(tensor))))
            elif _is_read(node, place):
                pairs.append(self._taken(node, tensor, f"its output {place} is not covered"))
            else:
                pairs.append(None)
        return tuple(pairs) if isinstance(own, (tuple, list)) else pairs[0]

    def _note_number(self, node: torch.fx.Node, own: Any) -> None:
        """Tells that a number was read from a tensor: what is computed with it does not lead back to that."""
        if str(node.target) == "aten._local_scalar_dense.default":
            place = place_of(node)
            where = f" of {place.scope}" if place.scope else ""
            line = f" ({place.source})" if place.source else ""
            self._builder.program.limits.append(
                f"the number {own!r} that {node.name}{where}{line} reads from a tensor is a constant of the program"
            )

    def _taken(self, node: torch.fx.Node, own: Any, told: str) -> Any:
        """Takes PyTorch's results as they are, and notes why."""
        place = place_of(node)
        fault = Fault(node.name, str(node.target), place.scope, place.source, told)
        self.faults.append(fault)
        self._builder.program.limits.append(str(fault))
        return pytree.tree_map_only(torch.Tensor, lambda each: self.pair(each, "opaque", str(node.target)), own)


def _is_read(node: torch.fx.Node, output: int) -> bool:
    return any(user.args[1] == output for user in node.users if len(user.args) == 2)


def _own(structure: Any) -> Any:
    return _mapped(structure, lambda pair: pair.own)


def _values(structure: Any) -> Any:
    return _mapped(structure, lambda pair: pair.value)


def _mapped(structure: Any, function: Callable[[Pair], Any]) -> Any:
    if isinstance(structure, Pair):
        return function(structure)
    if isinstance(structure, (list, tuple)):
        return type(structure)(_mapped(each, function) for each in structure)
    if isinstance(structure, dict):
        return {key: _mapped(each, function) for key, each in structure.items()}
    return structure


def _by_name(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for place, argument in enumerate(arguments_of(target)):
        if place < len(args):
            yield argument, args[place]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


def _in_float64(target: Any, args: Any, kwargs: Any, drawn: Pair | None) -> tuple[list[Any], list[Any]]:
    """Runs an operation in float64 on PyTorch, and as it is lowered."""
    builder = ProgramBuilder()
    writer = Writer(builder, wide=True)

    def wide(pair: Pair) -> Pair:
        dtype = dtype_name(pair.own.dtype)
        own = pair.own.to(torch_dtype(WIDE.get(dtype, dtype)))
        tensor = tensorflow_of(own)
        return Pair(own, Value(builder.source("input", "", tensor, kernels.spec_of(tensor)), tensor))

    args, kwargs = _mapped(args, wide), _mapped(_wide_dtypes(kwargs), wide)
    rule = RULES[str(target)]
    if drawn is None:
        own, extra = target(*_own(args), **_own(kwargs)), {}
    else:
        named = {argument.name: _own(value) for argument, value in _by_name(target, args, kwargs)}
        own, extra = DRAWS[str(target)].result(named, drawn.own), {"drawn": wide(drawn).value}
    lowered = rule.write(writer, **bound(rule, arguments_of(target), _values(args), _values(kwargs)), **extra)
    return (
        list(own) if isinstance(own, (tuple, list)) else [own],
        list(lowered) if isinstance(lowered, (tuple, list)) else [lowered],
    )


def _wide_dtypes(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    wide = {torch_dtype(narrow): torch_dtype(name) for narrow, name in WIDE.items()}
    return {key: wide.get(value, value) if isinstance(value, torch.dtype) else value for key, value in kwargs.items()}
