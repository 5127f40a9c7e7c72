"""Another function of one tensor, recognised by what it computes, however many operations it is spelled with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause, short
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.localise import activations
from lockstep.localise.budget import Part, shaped
from lockstep.localise.waists import waists
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, traits
from lockstep.results.pitfalls import Slug

Function = Callable[[np.ndarray], np.ndarray]
_MOST = 20
"""Operations that one function may be spelled with."""
_SAME = 1e-6
"""Relative to the largest magnitude: float32's constants within a formula that is evaluated in float64."""
_FIRST = 8
"""Elements that are looked at before all others."""
_SAMPLE = 4096

Value = Callable[[int], np.ndarray | None]


@dataclass(frozen=True)
class Occurrence:
    """A function of one tensor.

    Attributes:
        name: Its name: `"swish"`, `"elu (alpha 0.3)"`.
        compute: The function, in float64.
        start: What it is a function of.
        last: The operation that gives its value.
        within: The operations that it is spelled with.
    """

    name: str
    compute: Function
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
    if not _elementwise(last) or len(last.outputs) != 1 or not program.specs[last.outputs[0]].floating:
        return
    made = value(last.outputs[0])
    cone = _cone(program, last)
    inside = {tensor for operation in cone for tensor in operation.outputs}
    start = {t: None for o in cone for t in o.inputs if t not in inside}
    for tensor in waists(Part(program, cone, start, last.outputs[0], {})):
        given = value(tensor)
        known = None if given is None or made is None else _recognised(given, made)
        if known is not None:
            within = frozenset(o.index for o in cone if o.index > _index(program, tensor))
            yield Occurrence(*known, tensor, last, within)


def cone_of(program: Program, last: Operation) -> list[Operation]:
    """Returns the elementwise operations that lead to one and end in it; none where it is no such operation."""
    if not _elementwise(last) or len(last.outputs) != 1 or not program.specs[last.outputs[0]].floating:
        return []
    return [] if program.variables_read(last) else _cone(program, last)


def named(x: np.ndarray | None, y: np.ndarray | None) -> str | None:
    """Returns the name of the function that turns one array into another; None where it has none."""
    known = None if x is None or y is None else _recognised(x, y)
    return None if known is None else known[0]


def _elementwise(operation: Operation) -> bool:
    return Trait.ELEMENTWISE in traits(operation.family)


def _index(program: Program, tensor: int) -> int:
    made_by = program.producers.get(tensor)
    return -1 if made_by is None else made_by.index


def _cone(program: Program, last: Operation) -> list[Operation]:
    """Returns the elementwise operations that lead to one, the nearest first taken, in the order of the run."""
    found, waiting = {last.index: last}, list(last.inputs)
    while waiting and len(found) < _MOST:
        made_by = program.producers.get(waiting.pop(0))
        if made_by is None or made_by.index in found or not _elementwise(made_by):
            continue
        if program.variables_read(made_by):  # a bias is added in front of a function, not within it
            continue
        found[made_by.index] = made_by
        waiting.extend(made_by.inputs)
    return [found[index] for index in sorted(found)]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _recognised(x: np.ndarray, y: np.ndarray) -> tuple[str, Function] | None:
    """Returns the function that turns `x` into `y`, with its name; None where none does, or more than one might."""
    given = shaped(x, y.shape)
    if given is None or given.dtype.kind != "f" or y.dtype.kind != "f":
        return None
    start, end = (np.asarray(array, np.float64).reshape(-1)[:_SAMPLE] for array in (given, y))
    if start.size < 2 or not np.isfinite((start, end)).all() or not np.ptp(start):
        return None
    if np.allclose(start, end, rtol=0.0, atol=_SAME * float(np.abs(end).max(initial=0.0))):
        return None
    known: dict[str, Function] = {**activations.FORMULAS, "mish": _mish}
    del known["linear"]
    told = [(name, formula) for name, formula in known.items() if _gives(formula, start, end)]
    if not told:
        told = [found for fit in _FAMILIES if (found := fit(start, end)) is not None and _gives(found[1], start, end)]
    return told[0] if len(told) == 1 else None


def _gives(formula: Function, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a formula turns one finite array into another; the first elements rule out most formulas."""
    allowed = _SAME * float(np.abs(y).max(initial=0.0))
    with np.errstate(all="ignore"):
        return all(bool((np.abs(formula(x[:count]) - y[:count]) <= allowed).all()) for count in (_FIRST, x.size))


def _mish(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.tanh(np.logaddexp(x, 0.0)))


def _leaky(x: np.ndarray, y: np.ndarray) -> tuple[str, Function] | None:
    at = int(np.argmin(x))
    if x[at] >= 0.0:
        return None
    slope = _rounded(y[at] / x[at])
    if not 0.0 < slope < 1.0:
        return None
    return f"leaky relu (slope {short(slope)})", lambda v: np.where(v > 0, v, slope * v)


def _elu(x: np.ndarray, y: np.ndarray) -> tuple[str, Function] | None:
    at = int(np.argmin(x))
    if x[at] >= 0.0:
        return None
    alpha = _rounded(y[at] / math.expm1(x[at]))
    if alpha <= 0.0:
        return None
    return f"elu (alpha {short(alpha)})", lambda v: np.where(v > 0, v, alpha * np.expm1(np.minimum(v, 0.0)))


def _gated(x: np.ndarray, y: np.ndarray) -> tuple[str, Function] | None:
    """X times the sigmoid of a multiple of x; with 1.702 it is called quick GELU."""
    ratio = np.divide(y, x, out=np.full_like(x, 0.5), where=x != 0)
    at = int(np.argmax(np.where((ratio > 0.0) & (ratio < 1.0), np.abs(x), -1.0)))
    if not 0.0 < ratio[at] < 1.0 or not x[at]:
        return None
    factor = _rounded(math.log(ratio[at] / (1.0 - ratio[at])) / x[at])
    if factor <= 0.0:
        return None
    named = "quick gelu" if factor == _QUICK else "x * sigmoid"
    return f"{named} ({short(factor)} x)", lambda v: v / (1.0 + np.exp(-factor * v))


def _softplus(x: np.ndarray, y: np.ndarray) -> tuple[str, Function] | None:
    """softplus(beta x) / beta: at 0 it is log 2 / beta, and it grows from there; found by halving."""
    at = int(np.argmin(np.abs(x)))
    low, high = 1e-3, 1e3
    for _ in range(200):
        beta = math.sqrt(low * high)
        low, high = (beta, high) if np.logaddexp(beta * x[at], 0.0) / beta > y[at] else (low, beta)
    beta = _rounded(beta)
    return f"softplus (beta {short(beta)})", lambda v: np.logaddexp(beta * v, 0.0) / beta


_QUICK = 1.702  # Hendrycks and Gimpel, "Gaussian error linear units", 2016: the approximation by a sigmoid
_FAMILIES = (_leaky, _elu, _gated, _softplus)
"""Functions with a number, which is fitted to one element; all others then have to agree."""


def _rounded(value: float) -> float:
    """Returns a number as somebody wrote it down: with six digits, where float32 gave more."""
    return float(f"{value:.6g}")


def other_functions(region: Region) -> Iterator[Edit]:
    """A function of one tensor, however it is spelled, is replaced by one that the reference computes there."""
    ours = occurrences(region.reference, region.ours, region.runs.value_of_reference)
    near = occurrences(region.candidate, region.theirs, region.runs.value)
    kinds = {one.last.type for one in near}  # the same in other layers, and in other rounds of a loop
    alike = [operation for operation in region.candidate.operations if operation.type in kinds]
    theirs = occurrences(region.candidate, alike, region.runs.value)
    for found in sorted({one.name for one in near}):
        here = {one.last.index: one for one in theirs if one.name == found}
        for wanted in {one.name: one for one in reversed(ours) if one.name != found}.values():
            cause = Cause(
                f"{found} in the candidate, {wanted.name} in the reference",
                _pitfall_of_functions(wanted.name, found),
                f"use {wanted.name}",
            )
            for group in region.alike(one.last for one in here.values()):
                told = replace(cause, operations=(wanted.last, group[0]))
                changed = {last.index: edit.recomputed(last, here[last.index].start, wanted.compute) for last in group}
                yield Edit(told, changed)


def _pitfall_of_functions(wanted: str, found: str) -> Slug:
    if "gelu" in wanted and "gelu" in found:
        return "gelu-form"
    return "leaky-slope" if wanted.startswith("leaky") and found.startswith("leaky") else "wrong-activation"


def left_out(region: Region) -> Iterator[Edit]:
    """A function that the reference alone computes is put behind one of the tensors of the candidate.

    What is behind a logarithm of the candidate, as in a cross-entropy, may lack the function that makes probabilities.
    """
    ours = occurrences(region.reference, region.ours, region.runs.value_of_reference)
    theirs = {one.name for one in occurrences(region.candidate, region.theirs, region.runs.value)}
    wanted = {f"the candidate lacks {one.name}": one.compute for one in ours if one.name not in theirs}
    if any(operation.family in ("Log", "Log1p") for operation in region.theirs):
        told = "the candidate takes logits for probabilities; with from_logits=True"
        wanted |= {f"{told}, by a sigmoid,": activations.FORMULAS["sigmoid"], f"{told}, by a softmax,": _softmax}
    for sentence, compute in wanted.items():
        for operation in region.theirs:
            tensor = operation.outputs[0]
            if len(operation.outputs) == 1 and region.candidate.specs[tensor].floating:
                fix = "from_logits=True" if "logits" in sentence else sentence.replace("the candidate lacks", "apply")
                told = sentence if "lacks" in sentence else f"{sentence} the difference vanishes"
                cause = Cause(told, "missing-activation", fix, operations=(None, operation))
                alike = edit.alike(region.candidate, operation)
                if len(alike) > 1:
                    yield edit.changed_all(alike, _applied(compute), cause)
                yield edit.changed_all([operation], _applied(compute), cause)


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True)) if x.ndim else np.ones_like(x)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True) if x.ndim else powers)


def _applied(compute: Function) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda given: compute(np.asarray(given[0], np.float64))
