"""Hypotheses about numbers that all values have to do with: factors, offsets, precision, known formulas."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.causes.hypotheses import layout
from lockstep.causes.hypotheses.case import Case, Cause, alike, close, short, tried
from lockstep.localise import activations
from lockstep.localise.budget import Part, largest_ordinary, shaped
from lockstep.program import Operation
from lockstep.program.dialect import Trait, traits
from lockstep.program.kernels import Kernels
from lockstep.results.pitfalls import Slug

_MOST_SCALARS = 24
_MOST_TENSORS = 8
_MOST_TOLD = 4
_IMAGE = 4
_FEW = 4
_SUMMING = frozenset({"Mean", "Sum", "L2Loss", "MatMul", "BatchMatMul", "Conv2D", "Einsum", "SquaredDifference"})
_BENDING = frozenset({"Maximum", "Minimum", "Select", "ClipByValue", "Abs"})
_HALF = frozenset({"float16", "bfloat16"})


def precision(case: Case) -> Iterator[Cause]:
    """The candidate computes in half precision on the way."""
    narrow = {case.candidate.specs[t].dtype for o in case.theirs.operations for t in o.outputs} & _HALF
    standard = case.standard
    if not narrow or standard is None:
        return
    found = tried(lambda: standard.judged(_Wide(case.kernels), case.theirs))
    if found is not None and found.within:
        told = " and ".join(sorted(narrow))
        yield Cause(f"it is computed in {told}; without that the difference vanishes", "dtype", "compute in float32")


def known_activation(case: Case) -> Iterator[Cause]:
    """Both parts are activations that are known by their formulas, on the same tensor."""
    ours, theirs = case.both
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return
    for value in case.start_values():
        start = shaped(value, ours.shape)
        if start is None:
            continue
        names = (
            activations.named(start, ours, bends=_bends(case.ours)),
            activations.named(start, theirs, bends=_bends(case.theirs)),
        )
        if None not in names and names[0] != names[1]:
            gelu = all(str(name).startswith("gelu") for name in names)
            slopes = all(str(name).startswith("leaky") for name in names)
            pitfall: Slug = "gelu-form" if gelu else "leaky-slope" if slopes else "wrong-activation"
            missing: Slug = "missing-activation" if names[1] == "linear" else pitfall
            yield Cause(f"{names[1]} in the candidate, {names[0]} in the reference", missing, f"use {names[0]}")
            return


def _bends(part: Part) -> bool:
    return any(o.family in _BENDING or Trait.ACTIVATION in traits(o.family) for o in part.operations)


def input_range(case: Case) -> Iterator[Cause]:
    """What goes into the model is scaled and shifted, by other numbers on either side."""
    ours, theirs = case.both
    inputs = [t for t in case.theirs.start if t in case.candidate.sources and case.candidate.sources[t].kind == "input"]
    if ours is None or theirs is None or len(inputs) != 1 or len(case.candidate.specs[inputs[0]].shape) < _IMAGE:
        return
    x = np.asarray(case.kernels.numpy(case.theirs.start[inputs[0]]), np.float64)
    if not x.shape == ours.shape == theirs.shape or not np.ptp(x):
        return
    told = []
    for y in (theirs, ours):
        slope, shift = np.polyfit(x.reshape(-1), y.reshape(-1), 1)
        if not alike(slope * x + shift, y):
            return
        moved = f" {'+' if shift > 0 else '-'} {short(abs(shift))}" if abs(shift) > 1e-9 * np.abs(y).max() else ""
        told.append(f"x * {short(slope)}{moved}")
    yield Cause(
        f"the candidate takes an image x as {told[0]}, the reference as {told[1]}", "image-range", f"use {told[1]}"
    )


def complement(case: Case) -> Iterator[Cause]:
    """One minus what should be there: a gate and its complement have changed places."""
    ours, theirs = case.both
    if ours is None or theirs is None or ours.shape != theirs.shape or ours.size < 2 or ours.dtype.kind != "f":
        return
    if ours.min() >= 0.0 and ours.max() <= 1.0 and np.ptp(ours) > 0.0 and alike(1.0 - theirs, ours):
        if np.isin(ours, (0.0, 1.0)).all():
            yield Cause("the mask is inverted: it is 1 - the reference's", "mask", "invert the mask")
        yield Cause("the candidate's values are 1 minus the reference's", "gate-order", "use a gate, not 1 minus it")


def scaled_inside(case: Case) -> Iterator[Cause]:
    """One tensor on the way, times a number that people leave out."""
    factors = _usual_factors(case)
    tensors = [o.outputs[0] for o in case.theirs.operations if o.family in _SUMMING]
    tensors += [t for t in case.theirs.start if len(case.candidate.specs[t].shape) <= 1]
    tensors = [t for t in tensors if case.candidate.specs[t].floating and not case.candidate.is_constant(t)]
    for tensor in tensors[:_MOST_TENSORS]:
        for factor, (pitfall, why) in factors.items():
            part = replace(case.theirs, scaled={**case.theirs.scaled, tensor: factor})
            if case.vanishes(part):
                made_by = case.candidate.producers.get(tensor)
                where = made_by.type if made_by is not None else "what goes in"
                yield Cause(
                    f"{where} lacks the factor {short(factor)} ({why}); with it the difference vanishes",
                    pitfall,
                    f"multiply by {short(factor)}",
                    vague=pitfall == "missing-scale",
                )


def _usual_factors(case: Case) -> dict[float, tuple[Slug, str]]:
    factors: dict[float, tuple[Slug, str]] = {
        0.5: ("l2-half", "one half"),
        2.0: ("l2-half", "two"),
    }
    averaged = set(case.averaged())
    for value in case.start_values():
        channels = value.shape[-1] if value.ndim else 1
        for count in {value.size // max(channels, 1), value.size, channels}:
            if count > _FEW or count in averaged - {0, 1}:
                factors.setdefault(count / (count - 1), ("unbiased-variance", f"n / (n - 1), n = {count}"))
                factors.setdefault((count - 1) / count, ("unbiased-variance", f"(n - 1) / n, n = {count}"))
            if count > 1:
                factors.setdefault(1 / count, ("missing-scale", f"1 / n, n = {count}"))
                factors.setdefault(float(count), ("missing-scale", f"n = {count}"))
        factors.setdefault(channels**-0.5, ("missing-scale", f"1 / sqrt({channels})"))
        factors.setdefault(channels**0.5, ("missing-scale", f"sqrt({channels})"))
    factors.pop(1.0, None)
    chosen = list(factors.items())[:_MOST_SCALARS]
    return dict(chosen)


def relation(case: Case) -> Iterator[Cause]:
    """What both results have to do with each other."""
    ours, theirs = case.both
    if ours is None or theirs is None or ours.shape != theirs.shape or ours.size < 2:
        return
    yield from layout.relation_by_order(ours, theirs)
    if not all(array.dtype.kind in "iufc" and np.isfinite(array).all() for array in (ours, theirs)):
        return
    rows = ours, theirs
    ours, theirs = _without_masked(ours, theirs)
    large = np.abs(ours) > 0.01 * np.abs(ours).max(initial=0.0)
    if large.sum() > 1:
        factor = float(np.median(theirs[large] / ours[large]))
        if factor and not close(factor, 1.0) and alike(factor * ours, theirs):
            yield from unbiased(case, factor)
            yield Cause(
                f"the candidate's values are {short(factor)} times the reference's",
                "constant-factor",
                f"multiply by {short(1.0 / factor)}",
            )
    yield from _by_row(*rows)
    offset = theirs - ours
    spread = float(np.ptp(offset)) if offset.size else np.inf
    if spread <= 1e-6 * float(np.abs(offset).max()):
        yield Cause(f"the candidate's values are the reference's plus {short(offset.reshape(-1)[0])}", "offset")


def _without_masked(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what both hold but where both have the same large number, which leaves something out of a softmax."""
    masked = (np.abs(ours) > largest_ordinary(ours)) & (ours == theirs)
    return ours[~masked], theirs[~masked]


def _by_row(ours: np.ndarray, theirs: np.ndarray) -> Iterator[Cause]:
    """Another factor for each row: divided by a constant, say, where each example has a number of its own."""
    if ours.ndim < 2 or ours.shape[0] < 2 or ours[0].size < 2:
        return
    rows = [array.reshape(ours.shape[0], -1) for array in (ours, theirs)]
    norms = (rows[0] ** 2).sum(1)
    if not norms.all():
        return
    factors = (rows[0] * rows[1]).sum(1) / norms
    if factors.all() and alike(factors[:, None] * rows[0], rows[1]):
        told = ", ".join(short(factor) for factor in factors[:_MOST_TOLD]) + (
            ", ..." if len(factors) > _MOST_TOLD else ""
        )
        yield Cause(
            f"the candidate's values are the reference's times a factor for each row ({told})",
            "constant-factor",
            "scale each row as the reference does",
            vague=True,
        )


def unbiased(case: Case, factor: float) -> Iterator[Cause]:
    """A factor of n / (n - 1), or its root, where n elements were averaged."""
    counts = {
        int(np.prod(value.shape[first:last]))
        for value in case.start_values()
        for first in range(value.ndim)
        for last in range(first + 1, value.ndim + 1)
    }
    # Two, three or four of something are soon found, where a factor is 2 or 4 / 3 for another reason.
    counts = {count for count in counts if count > _FEW} | set(case.averaged())
    for count, root in itertools.product(sorted(counts - {0, 1}), (1.0, 0.5)):
        expected = (count / (count - 1)) ** root
        if close(factor, expected) or close(factor, 1.0 / expected):
            who = ("the candidate", "the reference") if close(factor, expected) else ("the reference", "the candidate")
            sentence = f"{who[0]} divides the variance by n - 1, {who[1]} by n, n = {count}"
            yield Cause(sentence, "unbiased-variance", f"multiply the variance by {short(factor ** (-1.0 / root))}")


class _Wide:
    """Kernels under which nothing is narrowed to half precision."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def run(self, operation: Operation, inputs: Sequence[Any]) -> list[Any]:
        """Runs an operation as it is."""
        return self._kernels.run(operation, inputs)

    def run_double(self, operation: Operation, inputs: Sequence[Any], *, halves: bool = True) -> list[Any]:
        """Runs an operation in float64, and its half-precision numbers too."""
        del halves
        return self._kernels.run_double(operation, inputs, halves=True)

    def numpy(self, value: Any) -> np.ndarray:
        """Returns a tensor as an array."""
        return self._kernels.numpy(value)

    def changed(self, operation: Operation, attributes: Mapping[str, Any]) -> Operation:
        """Returns the operation with other attributes."""
        return self._kernels.changed(operation, attributes)
