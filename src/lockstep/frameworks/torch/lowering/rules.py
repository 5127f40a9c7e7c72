"""The table of rules: which function writes which ATen operation, and what of its arguments the function reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Lowering = Callable[..., Any]
"""Writes one ATen operation: `(writer, **arguments) -> Value`, or a tuple of them where it has several outputs."""

_WITHOUT_EFFECT = frozenset(
    {
        "layout",
        "device",
        "pin_memory",
        "memory_format",
        "non_blocking",
        "generator",
        "implicit",
        "requires_grad",
        "copy",
    }
)
"""Arguments that say where and how numbers are held, not which."""

_RENAMED = {"self": "x", "input": "x", "a": "x"}
"""Argument of a schema -> what Python calls it in a rule; a rule may put `_` behind a name that Python has taken."""


class RefusedError(Exception):
    """A rule does not cover what an operation is asked for; the text says what."""


@dataclass(frozen=True)
class Rule:
    """How one overload of an ATen operation is written in the dialect.

    Attributes:
        name: The overload, `"aten.add.Tensor"`.
        write: Writes it.
        reads: The arguments that the function reads, by the names of its parameters.
    """

    name: str
    write: Lowering
    reads: frozenset[str]


RULES: dict[str, Rule] = {}
"""Overload -> its rule; the modules of this package fill it when they are imported."""


def rule(*names: str) -> Callable[[Lowering], Lowering]:
    """Puts a function into the table, for overloads like `"add.Tensor"`.

    Where a function reads `drawn`, the numbers that an operation drew, they tell the parameters of their distribution.
    """

    def put(write: Lowering) -> Lowering:
        parameters = frozenset(list(inspect.signature(write).parameters)[1:])
        for name in names:
            full = name if name.startswith("prims.") else f"aten.{name}"
            full = full if full.count(".") == 2 else f"{full}.default"
            if full in RULES and _where(RULES[full].write) != _where(write):
                raise ValueError(f"{full} has a rule already.")
            RULES[full] = Rule(full, write, parameters)
        return write

    return put


def bound(rule: Rule, arguments: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a rule's function is called with.

    Args:
        rule: The rule.
        arguments: The arguments of the overload's schema.
        args: The node's arguments.
        kwargs: Its keywords.

    Raises:
        RefusedError: The node says something that the rule does not read.
    """
    given: dict[str, Any] = {}
    for place, argument in enumerate(arguments):
        default = argument.default_value if argument.has_default_value() else None
        value = args[place] if place < len(args) else kwargs.get(argument.name, default)
        name = parameter_of(rule, argument.name)
        if name is not None:
            given[name] = value
        elif argument.name not in _WITHOUT_EFFECT and "drawn" not in rule.reads and not _same(value, default):
            raise RefusedError(f"{rule.name} with {argument.name} = {value!r} is not covered")
    return given


def parameter_of(rule: Rule, argument: str) -> str | None:
    """Returns the parameter by which a rule's function reads an argument of the schema; None where it does not."""
    candidates = (_RENAMED.get(argument, argument), f"{argument}_", argument)
    return next((name for name in candidates if name in rule.reads), None)


def _where(write: Lowering) -> tuple[str, int]:
    """Returns where a function is written: a module that is loaded once more puts the same ones into the table."""
    code = inspect.unwrap(write).__code__
    return code.co_filename, code.co_firstlineno


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
