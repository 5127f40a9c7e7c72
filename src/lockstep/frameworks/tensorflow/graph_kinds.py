"""Which types of operations are followed in a way of their own, which draw, and which only a session can run."""

from __future__ import annotations

from functools import cache
from typing import Any

import tensorflow as tf

from lockstep.frameworks.tensorflow import graph_arrays, graph_variables
from lockstep.frameworks.tensorflow.graph_values import Handler
from lockstep.program.dialect import Trait, having
from lockstep.tf1 import private

VARIABLES = frozenset({"VarHandleOp", "Variable", "VariableV2"})
CONDITIONALS = frozenset({"If", "StatelessIf"})
LOOPS = frozenset({"While", "StatelessWhile"})
CASES = frozenset({"Case", "StatelessCase"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_FUNCTIONAL = CONDITIONALS | LOOPS | CASES | CALLS
_CONTROL_FLOW = frozenset(
    f"{prefix}{name}" for prefix in ("", "Ref") for name in ("Switch", "Merge", "Enter", "Exit", "NextIteration")
) | {"LoopCond"}
PASSING_ON = having(Trait.HANDS_ON) | {"Print", "IdentityN"}
HANDLERS: dict[str, Handler] = {
    **graph_variables.HANDLERS,
    **graph_arrays.HANDLERS,
    **dict.fromkeys(("NoOp", "ControlTrigger", "Assert", "PrintV2"), lambda *_: []),  # they give nothing
}
_FOLLOWED = VARIABLES | _FUNCTIONAL | _CONTROL_FLOW | PASSING_ON | HANDLERS.keys() | {"Const", "Placeholder"}
_HANDLES = frozenset({tf.resource, tf.variant})


def fetchable(tensor: Any) -> bool:
    """Tells whether a session can hand a tensor out."""
    return not is_handle(tensor) and tensor.dtype == tensor.dtype.base_dtype


def is_handle(tensor: Any) -> bool:
    """Tells a handle, or a list of tensors, from a tensor."""
    return tensor.dtype.base_dtype in _HANDLES


@cache
def draws(kind: str) -> bool:
    """Tells whether a type of operation draws random numbers from a stream of its own."""
    definition = private.op_def(kind)
    return definition is not None and {"seed", "seed2"} <= {attribute.name for attribute in definition.attr}


def follows(kind: str) -> bool:
    """Tells whether a type of operation is followed in a way of its own; one without a definition is a function."""
    return kind in _FOLLOWED or private.op_def(kind) is None


@cache
def needs_session(kind: str) -> bool:
    """Tells whether a type of operation has a state that lives in a session alone."""
    return not follows(kind) and not draws(kind) and bool(private.op_def(kind).is_stateful)
