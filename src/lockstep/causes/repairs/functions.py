"""Another function of one tensor, recognised by what it computes, however many operations it is spelled with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.localise import activations
from lockstep.localise.budget import Part, shaped
from lockstep.localise.waists import waists
from lockstep.program import Operation, Program
from lockstep.results.pitfalls import Slug

FORMULAS = activations.FORMULAS
_ELEMENTWISE = frozenset(
    {
        *activations.NAMES,
        "Abs", "Add", "AddN", "ClipByValue", "Cube", "Erfc", "Exp", "Expm1", "Log", "Log1p", "LogicalAnd",
        "Maximum", "Minimum", "Mul", "Neg", "Pow", "RealDiv", "Reciprocal", "Rsqrt", "Select", "Sign", "Sqrt", "Square",
        "SquaredDifference", "Sub", "Greater", "GreaterEqual", "Less", "LessEqual", "Cast",
    }
    - {"Softmax", "LogSoftmax"}
)  # fmt: skip
"""Families that compute each element from the elements in its place."""
_MOST = 20
"""Operations that one function may be spelled with."""
_SAME = 1e-6
"""Relative to the largest magnitude: float32's constants within a formula that is evaluated in float64."""
_SAMPLE = 4096

Value = Callable[[int], np.ndarray | None]


@dataclass(frozen=True)
class Occurrence:
    """A function of one tensor.

    Attributes:
        name: Its name among `FORMULAS`.
        start: What it is a function of.
        last: The operation that gives its value.
        within: The operations that it is spelled with.
    """

    name: str
    start: int
    last: Operation
    within: frozenset[int]


def occurrences(program: Program, operations: Sequence[Operation], value: Value) -> list[Occurrence]:
    """Returns the functions that some operations compute, each as a whole: GELU's factor is none beside GELU.

    Args:
        program: The program.
        operations: Those whose results are looked at.
        value: Tensor -> its value in float64; None where it is not known.
    """
    found = [one for operation in operations for one in _ending_in(program, operation, value)]
    return [one for one in found if not any(one.within < other.within for other in found)]


def _ending_in(program: Program, last: Operation, value: Value) -> Iterator[Occurrence]:
    if last.family not in _ELEMENTWISE or len(last.outputs) != 1 or not program.specs[last.outputs[0]].floating:
        return
    made = value(last.outputs[0])
    cone = _cone(program, last)
    inside = {tensor for operation in cone for tensor in operation.outputs}
    start = {t: None for o in cone for t in o.inputs if t not in inside}
    for tensor in waists(Part(program, cone, start, last.outputs[0], {})):
        given = value(tensor)
        name = None if given is None or made is None else _named(given, made)
        if name is not None:
            within = frozenset(o.index for o in cone if o.index > _index(program, tensor))
            yield Occurrence(name, tensor, last, within)


def _index(program: Program, tensor: int) -> int:
    made_by = program.producers.get(tensor)
    return -1 if made_by is None else made_by.index


def _cone(program: Program, last: Operation) -> list[Operation]:
    """Returns the elementwise operations that lead to one, the nearest first taken, in the order of the run."""
    found, waiting = {last.index: last}, list(last.inputs)
    while waiting and len(found) < _MOST:
        made_by = program.producers.get(waiting.pop(0))
        if made_by is None or made_by.index in found or made_by.family not in _ELEMENTWISE:
            continue
        if program.variables_read(made_by):  # a bias is added in front of a function, not within it
            continue
        found[made_by.index] = made_by
        waiting.extend(made_by.inputs)
    return [found[index] for index in sorted(found)]


def _named(x: np.ndarray, y: np.ndarray) -> str | None:
    """Returns the function that turns `x` into `y`; None where none does, or where more than one might."""
    given = shaped(x, y.shape)
    if given is None or given.dtype.kind != "f" or y.dtype.kind != "f":
        return None
    start, end = (np.asarray(array, np.float64).reshape(-1)[:_SAMPLE] for array in (given, y))
    if start.size < 2 or not np.isfinite((start, end)).all() or not np.ptp(start):
        return None
    told = [name for name in FORMULAS if name != "linear" and _gives(name, start, end)]
    return told[0] if len(told) == 1 else None


def _gives(name: str, x: np.ndarray, y: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        made = FORMULAS[name](x)
    return bool(np.allclose(made, y, rtol=0.0, atol=_SAME * float(np.abs(y).max(initial=0.0))))


def other_functions(region: Region) -> Iterator[Edit]:
    """A function of one tensor, however it is spelled, is replaced by one that the reference computes there."""
    ours = occurrences(region.reference, region.ours, region.runs.value_of_reference)
    theirs = occurrences(region.candidate, region.candidate.operations, region.runs.value)
    near = {operation.index for operation in region.theirs}
    named = {one.name for one in theirs if one.last.index in near}
    for found in sorted(named):
        here = {one.last.index: one for one in theirs if one.name == found}
        for wanted in {one.name: one for one in reversed(ours) if one.name != found}.values():
            cause = Cause(
                f"{found} in the candidate, {wanted.name} in the reference",
                _pitfall_of_functions(wanted.name, found),
                f"use {wanted.name}",
            )
            for group in region.alike(one.last for one in here.values()):
                told = replace(cause, operations=(wanted.last, group[0]))
                changed = {
                    last.index: edit.recomputed(last, here[last.index].start, FORMULAS[wanted.name]) for last in group
                }
                yield Edit(told, changed)


def _pitfall_of_functions(wanted: str, found: str) -> Slug:
    if wanted.startswith("gelu") and found.startswith("gelu"):
        return "gelu-form"
    return "leaky-slope" if wanted.startswith("leaky") and found.startswith("leaky") else "wrong-activation"
