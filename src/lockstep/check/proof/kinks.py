"""Coverage of a proof: which sides of which kinks the values that were tried have met.

A comparison in which no value reaches six cannot tell ReLU6 from ReLU. As a test counts the branches that it ran, so
the sides are counted here on which some element was: below and above of a ReLU, within and beyond the bounds of a clip,
true and false of a selection, the first and the last row of a table.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lockstep.program import Operation, Program
from lockstep.program.evaluating import Evaluated, Ran, evaluate
from lockstep.program.kernels import Kernels

_UNSATURATED = 8.0
"""Up to which magnitude a sigmoid or a tanh moves its result visibly: sigmoid(8) is 3e-4 from 1, float32's last place
there is 6e-8."""

_Met = Mapping[str, bool]


class _Seen(NamedTuple):
    """What an operation read and gave, as arrays."""

    read: Sequence[np.ndarray]
    gave: Sequence[np.ndarray]


def _truths(values: np.ndarray) -> _Met:
    return {"true": bool(values.any()), "false": not bool(values.all())}


def _around(*bounds: float) -> Callable[[_Seen], _Met]:
    """Sides of what has a kink at each of these numbers."""

    def met(seen: _Seen) -> _Met:
        x = seen.read[0]
        found = {f"below {bounds[0]:g}": bool((x < bounds[0]).any())}
        for low, high in itertools.pairwise(bounds):
            found[f"between {low:g} and {high:g}"] = bool(((x > low) & (x < high)).any())
        found[f"above {bounds[-1]:g}"] = bool((x > bounds[-1]).any())
        return found

    return met


def _larger(seen: _Seen) -> _Met:
    a, b = seen.read[:2]
    return {"the first is larger": bool((a > b).any()), "the second is larger": bool((a < b).any())}


def _condition(seen: _Seen) -> _Met:
    return _truths(seen.read[0])


def _outcome(seen: _Seen) -> _Met:
    return _truths(seen.gave[0])


def _several(seen: _Seen) -> _Met:
    results = seen.gave[0].reshape(-1)
    return {"more than one result": bool((results != results[:1]).any())}


def _unsaturated(seen: _Seen) -> _Met:
    return {f"within {_UNSATURATED:g} of zero": bool((np.abs(seen.read[0]) < _UNSATURATED).any())}


def _rows(seen: _Seen) -> _Met:
    table, places = seen.read[:2]
    axis = int(seen.read[2].reshape(-1)[0]) if len(seen.read) > 2 and seen.read[2].size else 0
    last = table.shape[axis] - 1 if table.ndim else 0
    return {"the first row": bool((places == 0).any()), "the last row": bool((places == last).any())}


_SIDES: dict[str, Callable[[_Seen], _Met]] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "Elu", "Selu", "Abs", "Sign"), _around(0.0)),
    "Relu6": _around(0.0, 6.0),
    **dict.fromkeys(("Maximum", "Minimum"), _larger),
    "Select": _condition,
    **dict.fromkeys(("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual"), _outcome),
    **dict.fromkeys(("Round", "Rint", "Floor", "Ceil", "ArgMax", "ArgMin", "FloorDiv"), _several),
    **dict.fromkeys(("Sigmoid", "Tanh"), _unsaturated),
    "GatherV2": _rows,
}
"""Family of operations -> which of its sides some element was on."""


Kink = tuple[str, str, int]
"""Name, type, and how many of that name and type came before it: a loop's rounds are kinks of their own."""


@dataclass
class Coverage:
    """What all runs of one side have met so far.

    Attributes:
        sides: Kink -> side -> whether it was met.
        fixed: Kinks that read nothing but constants and draws: they may have no other side.
    """

    sides: dict[Kink, dict[str, bool]] = field(default_factory=dict)
    fixed: set[Kink] = field(default_factory=set)

    def observe(self, program: Program, kernels: Kernels) -> Evaluated:
        """Runs a program as it is and adds what it met; returns what it gave.

        Raises:
            KernelError: An operation cannot be run.
        """
        seen: Counter[tuple[str, str]] = Counter()
        fixed = set[int]()

        def is_fixed(tensors: Sequence[int]) -> bool:
            made = (program.sources.get(tensor) for tensor in tensors)
            known = [source is not None and source.kind in ("constant", "draw") for source in made]
            return all(tensor in fixed or kept for tensor, kept in zip(tensors, known, strict=True))

        def note(ran: Ran) -> None:
            operation = ran.operation
            if operation.inputs and is_fixed(operation.inputs):
                fixed.update(operation.outputs)
            told = _SIDES.get(operation.family)
            if told is None or (operation.family == "GatherV2" and not _is_table(program, operation)):
                return
            name = operation.place.name, operation.type
            kink = (*name, seen[name])
            seen[name] += 1
            if is_fixed(operation.inputs):
                self.fixed.add(kink)
            met = told(_Seen([kernels.numpy(v) for v in ran.read], [kernels.numpy(v) for v in ran.gave]))
            before = self.sides.setdefault(kink, {})
            before.update({side: found or before.get(side, False) for side, found in met.items()})

        return evaluate(program, kernels, double=False, observe=note)

    @property
    def unmet(self) -> list[tuple[Kink, str]]:
        """The sides that no value was on."""
        return [(kink, side) for kink, sides in self.sides.items() for side, met in sides.items() if not met]

    @property
    def unmet_kinks(self) -> dict[str, list[str]]:
        """Name of a kink's operation -> its sides that no value was on; the rounds of a loop are one."""
        found: dict[str, list[str]] = {}
        for (name, _, _), side in self.unmet:
            if side not in found.setdefault(name, []):
                found[name].append(side)
        return found


_OF_VALUES = frozenset({"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Abs", "Sign", "Maximum", "Minimum"})
"""Types whose kink is in the values themselves: a bound, a rectifier."""
_OF_EQUALITY = frozenset({"Equal", "NotEqual"})
"""Types that tell one value from all others: padding, an ignored label, what is missing. Other comparisons may be of
places, lengths or draws, and have no other side to reach."""


def of_one_side(coverages: Mapping[str, Coverage]) -> str:
    """Returns a phrase about kinks that one side alone has, and that no value was beyond; empty where there are none.

    A bound that only the candidate has, and that nothing reaches, leaves every output as it is; so does a value that
    only the candidate treats otherwise, and that no input is. Where both sides have such a kink, they are the same
    operation of the same numbers, which forced lockstep sees.

    Args:
        coverages: `"reference"` and `"candidate"` -> what was met.
    """
    unmet = {
        side: {(kink[1], met): kink[0] for kink, met in c.unmet if kink[1] in _OF_VALUES or kink not in c.fixed}
        for side, c in coverages.items()
    }
    for side, found in unmet.items():
        others = [key for other, keys in unmet.items() if other != side for key in keys]
        for (kind, met), name in found.items():
            if kind in _OF_VALUES | _OF_EQUALITY and (kind, met) not in others:
                return f"only the {side} has {name} ({kind}), and no value that was tried met this side of it: {met}"
    return ""


def _is_table(program: Program, operation: Operation) -> bool:
    source = program.sources.get(operation.inputs[0])
    return source is not None and source.kind == "variable"


def told(coverages: Mapping[str, Coverage]) -> str:
    """Returns a phrase about what was not met, by side; empty where everything was.

    Args:
        coverages: `"reference"` and `"candidate"` -> what was met.
    """
    names = {name: sides for coverage in coverages.values() for name, sides in coverage.unmet_kinks.items()}
    if not names:
        return ""
    count = len({name for coverage in coverages.values() for name, _, _ in coverage.sides})
    name, sides = next(iter(names.items()))
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{len(names):,} of {count:,} kinks were met on one side only ({name}: never {' nor '.join(sides)}{more})"
