"""What an output depends on: an output that stays the same whatever a variable is proves nothing about that variable.

The derivative of all outputs, weighted, tells it in one run: it is exactly zero for a variable behind a dead ReLU, and
only nearly zero for one whose effect cancels (a bias in front of a normalisation). Behind whole numbers (an argmax, a
rounding) there is no derivative; there a variable is changed by half its size instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.ground.fill import hashed_uniform
from lockstep.ground.structure import same_bits
from lockstep.program import Program
from lockstep.program.dialect import Trait, traits
from lockstep.program.evaluating import Ran, evaluate
from lockstep.program.kernels import Kernels

Derivatives = Callable[[Program], Mapping[int, np.ndarray]]
"""Source -> derivative of the weighted outputs; raises `KernelError` where there is none."""

CHANGE = 0.5
"""By how much of its size a variable is changed: enough to tip an argmax, not enough to leave a dead region."""

MOST_CHANGED = 64
"""How many variables are changed one by one; more than that are changed together, and told together."""


@dataclass
class Reach:
    """Which variables were seen to move an output, in all runs so far.

    Attributes:
        asked: Variables that lead to an output by any path of operations.
        moved: Those that moved one.
        outputs: Outputs that depend on a variable, by any path.
        live: Those that a variable moved.
    """

    asked: dict[str, None] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    outputs: dict[str, None] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)

    @property
    def unmoved(self) -> list[str]:
        """The variables that moved no output."""
        return [key for key in self.asked if key not in self.moved]

    @property
    def dead(self) -> list[str]:
        """The outputs that no variable moved."""
        return [path for path in self.outputs if path not in self.live]

    def observe(self, program: Program, kernels: Kernels, derivatives: Derivatives) -> None:
        """Adds what one program shows at its values.

        Args:
            program: The program.
            kernels: Runs operations.
            derivatives: Differentiates it.

        Raises:
            KernelError: An operation cannot be run.
        """
        variables = {t: s.name for t, s in program.sources.items() if s.kind == "variable" and s.value is not None}
        leading = {path: leads(program, tensor) & set(variables) for path, tensor in program.outputs.items()}
        self.outputs.update({path: None for path, found in leading.items() if found})
        asked = set().union(*leading.values()) if leading else set()
        self.asked.update({variables[tensor]: None for tensor in variables if tensor in asked})
        try:
            found = derivatives(program)
        except KernelError:
            found = {}
        self.moved |= {variables[t] for t, value in found.items() if t in asked and bool(np.any(value))}
        smooth = {p for p, t in program.outputs.items() if program.specs[t].floating and not _in_steps(program, t)}
        alive = {p for p in smooth if any(np.any(found[t]) for t in leading[p] & set(found))}
        if found:
            self.live |= alive & set(self.outputs)
            stepped = {tensor for p, tensors in leading.items() if p not in smooth for tensor in tensors}
        else:
            stepped = asked
        waiting = {t for p, tensors in leading.items() if p in self.outputs and p not in self.live for t in tensors}
        asked_again = {t: variables[t] for t in stepped if variables[t] not in self.moved or t in waiting}
        self._change(program, kernels, asked_again)

    def _change(self, program: Program, kernels: Kernels, variables: Mapping[int, str]) -> None:
        """Changes variables one by one, and looks which outputs move."""
        if not variables:
            return
        rest = evaluate(program, kernels, double=False).ends
        groups = [[tensor] for tensor in variables] if len(variables) <= MOST_CHANGED else [list(variables)]
        for group in groups:
            sources = {t: changed(kernels.numpy(program.sources[t].value), variables[t]) for t in group}
            moved = evaluate(program, kernels, double=False, sources=sources).ends
            alive = {p for p, t in program.outputs.items() if not same_bits(rest[t], moved[t])}
            self.live |= alive & set(self.outputs)
            if alive:
                self.moved |= {variables[tensor] for tensor in group}


def _in_steps(program: Program, tensor: int) -> bool:
    """Whether whole numbers lie between what goes in and a tensor: a selection by an argmax, a rounding."""
    waiting, seen = [tensor], set[int]()
    while waiting:
        made_by = program.producers.get(waiting.pop())
        if made_by is None or made_by.index in seen:
            continue
        seen.add(made_by.index)
        if Trait.CONSTANT_IN_PIECES in traits(made_by.family):
            return True
        reads = [t for t in made_by.inputs if not program.is_constant(t)]
        whole = [t for t in reads if not program.specs[t].floating and t in program.producers]
        if any(program.sources[s].kind == "variable" for t in whole for s in leads(program, t)):
            return True
        waiting.extend(t for t in reads if program.specs[t].floating)
    return False


def leads(program: Program, tensor: int) -> set[int]:
    """Returns the sources that a tensor is computed from, by any path of operations."""
    found, waiting, seen = set(), [tensor], set[int]()
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        made_by = program.producers.get(here)
        if made_by is None:
            found.add(here)
        else:
            waiting.extend(made_by.inputs)
    return found


def changed(value: np.ndarray, name: str) -> np.ndarray:
    """Changes a floating variable, each element by up to `CHANGE` times the variable's size; others stay."""
    if value.dtype.kind not in "fc":
        return value
    size = float(np.sqrt(np.mean(np.square(np.abs(value).astype(np.float64))))) if value.size else 0.0
    unit = 2.0 * hashed_uniform(f"changed/{name}", value.size).reshape(value.shape) - 1.0
    return np.asarray(value + CHANGE * (size or 1.0) * unit, value.dtype)


def told(reach: Reach, proved: Collection[str] = ()) -> str:
    """Returns a phrase about variables that moved no output; empty where all did.

    Args:
        reach: What was seen.
        proved: Variables that were seen to move an output elsewhere.
    """
    left = [key for key in reach.unmoved if key not in proved]
    if not left:
        return ""
    some = ", ".join(left[:3]) + (f" and {len(left) - 3:,} more" if len(left) > 3 else "")
    count = len(reach.asked)
    return f"proved for {count - len(left):,} of {count:,} variables; these move no output at any values tried: {some}"


def stopped_by(program: Program, kernels: Kernels, keys: Collection[str]) -> set[str]:
    """Returns the operations at which changes of some variables end: they read a change, and give the same.

    Args:
        program: The program.
        kernels: Runs operations.
        keys: The variables that are changed, all together.

    Raises:
        KernelError: An operation cannot be run.
    """
    changes = {
        tensor: changed(kernels.numpy(source.value), source.name)
        for tensor, source in program.sources.items()
        if source.kind == "variable" and source.name in keys and source.value is not None
    }
    rest: dict[int, bytes] = {}

    def keep(ran: Ran) -> None:
        rest.update({t: _digest(kernels.numpy(v)) for t, v in zip(ran.operation.outputs, ran.gave, strict=True)})

    moved = set(changes)
    found: set[str] = set()

    def follow(ran: Ran) -> None:
        if not moved.intersection(ran.operation.inputs):
            return
        given = zip(ran.operation.outputs, ran.gave, strict=True)
        here = {t for t, value in given if _digest(kernels.numpy(value)) != rest[t]}
        moved.update(here)
        if not here:
            found.add(ran.operation.place.name)

    evaluate(program, kernels, double=False, observe=keep)
    evaluate(program, kernels, double=False, sources=changes, observe=follow)
    return found


def _digest(array: np.ndarray) -> bytes:
    content = array.tobytes() if not array.dtype.hasobject else repr(array.tolist()).encode()
    return hashlib.sha256(content).digest()
