"""Hypotheses about what operations are parametrised by: attributes, constants, numbers within a part."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lockstep.causes.hypotheses import arithmetic
from lockstep.causes.hypotheses.case import Case, Cause, Scalar, close, is_mask, short, tried, why_epsilon
from lockstep.program import Operation
from lockstep.program.dialect import Trait, known, traits
from lockstep.results.pitfalls import Slug

_MOST_SCALARS = 24
SMALL = 0.02
"""What is added to a variance is smaller than this; what is added to an activation rarely is."""

_OF_ONE_MINUS = 2.0**-24
"""What `1 - decay` is off by in float32, or less: half a unit in the last place of the decay, on either side."""
_MOST_PRINTED = 16
OF_ATTRIBUTES: dict[str, Slug] = {
    "epsilon": "epsilon",
    "exponential_avg_factor": "momentum",
    "padding": "padding",
    "explicit_paddings": "padding",
    "strides": "strides",
    "ksize": "window",
    "dilations": "dilation",
    "rates": "dilation",
    "align_corners": "align-corners",
    "half_pixel_centers": "half-pixel-centers",
    "alpha": "leaky-slope",
    "transpose_a": "transposed-kernel",
    "transpose_b": "transposed-kernel",
    "adj_x": "transposed-kernel",
    "adj_y": "transposed-kernel",
    "is_training": "frozen-statistics",
    "data_format": "data-format",
    "exclusive": "mask",
    "reverse": "wrong-axis",
    "batch_dims": "wrong-axis",
    "shape": "flatten-order",
}
"""Attribute of an operation -> the pitfall that it is about."""

_OF_CONSTANTS: dict[str, Slug] = {
    "Transpose": "flatten-order",
    "Pad": "padding",
    "PadV2": "padding",
    "MirrorPad": "padding",
    "ConcatV2": "wrong-axis",
    "GatherV2": "wrong-axis",
    "Split": "wrong-axis",
    "Maximum": "clip-value",
    "Minimum": "clip-value",
    "ClipByValue": "clip-value",
    "SpaceToBatchND": "dilation",
    "BatchToSpaceND": "dilation",
    "Conv2DBackpropInput": "padding",
    "ResizeBilinear": "resize-size",
    "ResizeNearestNeighbor": "resize-size",
    "StridedSlice": "slicing",
    "Slice": "slicing",
    "Select": "mask",
    "MatrixBandPart": "mask",
    "Pow": "exponent",
}


def attributes(case: Case) -> Iterator[Cause]:
    """One operation of the candidate with the attributes of the reference's of the same family."""
    for theirs in case.theirs.operations:
        for ours in case.ours.operations:
            if ours.family != theirs.family or ours.attributes == theirs.attributes:
                continue
            names = [
                n
                for n in ours.attributes
                if n in theirs.attributes and ours.attributes[n] != theirs.attributes[n] and n != "shape"
            ]
            for chosen in [(n,) for n in names] + ([tuple(names)] if len(names) > 1 else []):
                if case.vanishes(case.with_operation(theirs, {n: ours.attributes[n] for n in chosen})):
                    yield _told_of_attributes(ours, theirs, chosen)


_INVERSES: Mapping[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("Sub", "Add"): np.negative,
    ("Add", "Sub"): np.negative,
    ("RealDiv", "Mul"): np.reciprocal,
    ("Mul", "RealDiv"): np.reciprocal,
}
"""Families of the reference and of the candidate -> the candidate's constant for the reference's."""


def constants(case: Case) -> Iterator[Cause]:
    """One operation of the candidate with a constant of the reference's of the same family."""
    for theirs in case.theirs.operations:
        for ours in case.ours.operations:
            if ours.family != theirs.family or len(ours.inputs) != len(theirs.inputs):
                continue
            yield from _constants_together(case, ours, theirs)
            for slot, other in itertools.product(range(len(theirs.inputs)), range(len(ours.inputs))):
                a, b = ours.inputs[other], theirs.inputs[slot]
                if not (case.reference.is_constant(a) and case.candidate.is_constant(b)):
                    continue
                wanted, found = case.reference.constant(a), case.candidate.constant(b)
                if np.array_equal(wanted, found) and wanted.shape == found.shape:
                    continue
                # An axis or a size may be of another integer type: the operation's own stays.
                changed = case.with_inputs({(theirs.index, slot): wanted.astype(found.dtype)})
                if case.vanishes(changed):
                    yield replace(_told_of_constant(case, theirs, wanted, found), operations=(ours, theirs))


def inverse_constants(case: Case) -> Iterator[Cause]:
    """One operation of the candidate with the constant that makes it the reference's: minus 1 is plus -1."""
    for theirs in case.theirs.operations:
        for ours in case.ours.operations:
            invert = _INVERSES.get((ours.family, theirs.family))
            if invert is None:
                continue
            a, b = ours.inputs[-1], theirs.inputs[-1]
            if not (case.reference.is_constant(a) and case.candidate.is_constant(b)):
                continue
            wanted, found = case.reference.constant(a), case.candidate.constant(b)
            if wanted.dtype.kind == "f" and wanted.shape == found.shape and wanted.all():
                equal = invert(wanted).astype(found.dtype)
                if case.vanishes(case.with_inputs({(theirs.index, len(theirs.inputs) - 1): equal})):
                    yield _told_of_constant(case, theirs, equal, found)


def constant_for_tensor(case: Case) -> Iterator[Cause]:
    """A constant where the reference's operation reads what was computed."""
    values: dict[int, Any] = {}
    tried(functools.partial(case.ours.run, case.kernels, every=values))
    for theirs, ours in itertools.product(case.theirs.operations, case.ours.operations):
        if ours.family != theirs.family or len(ours.inputs) != len(theirs.inputs):
            continue
        for slot, (a, b) in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
            wanted = values.get(a, case.ours.start.get(a))
            if case.reference.is_constant(a) or not case.candidate.is_constant(b) or wanted is None:
                continue
            if case.vanishes(case.with_inputs({(theirs.index, slot): case.kernels.numpy(wanted)})):
                masks = is_mask(case.kernels.numpy(wanted)) and np.unique(case.candidate.constant(b)).size == 1
                yield _told_of_tensor(case, theirs, a, case.candidate.constant(b), masks=masks)


def initial_state(case: Case) -> Iterator[Cause]:
    """What was computed, where the first round of the reference's loop reads a constant."""
    for theirs, ours in itertools.product(case.theirs.operations, case.ours.operations):
        if ours.family != theirs.family or len(ours.inputs) != len(theirs.inputs):
            continue
        for slot, (a, b) in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
            if not case.reference.is_constant(a) or case.candidate.is_constant(b):
                continue
            wanted = case.reference.constant(a)
            begins = wanted.size > 1 and case.begins_rounds(ours, case.reference)
            if begins and case.vanishes(case.with_inputs({(theirs.index, slot): wanted})):
                sentence = (
                    f"the first round begins with what was computed; with {short(wanted)} the difference vanishes"
                )
                yield Cause(sentence, "initial-state", f"begin with {short(wanted)}", operations=(ours, theirs))


def _told_of_tensor(case: Case, theirs: Operation, wanted: int, found: np.ndarray, *, masks: bool) -> Cause:
    made_by, source = case.reference.producers.get(wanted), case.reference.sources.get(wanted)
    name = made_by.place.name if made_by is not None else source.name if source is not None else "another tensor"
    pitfall: Slug = "wrong-input"
    if theirs.family in ("Mul", "RealDiv"):
        pitfall = "mask" if masks else "constant-factor"
    elif theirs.family in ("Add", "Sub") and not found.any():
        pitfall = "missing-operation"
    sentence = f"{theirs.type} reads the constant {short(found)}; with {name} the difference vanishes"
    return Cause(sentence, pitfall, f"use what {name} gives")


def _constants_together(case: Case, ours: Operation, theirs: Operation) -> Iterator[Cause]:
    """Several constants at once: where a slice begins and where it ends."""
    slots = {}
    for slot, (a, b) in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
        if case.reference.is_constant(a) and case.candidate.is_constant(b):
            wanted, found = case.reference.constant(a), case.candidate.constant(b)
            if not np.array_equal(wanted, found):
                slots[slot] = wanted.astype(found.dtype), found
    changed = case.with_inputs({(theirs.index, slot): wanted for slot, (wanted, _) in slots.items()})
    if len(slots) < 2 or not case.vanishes(changed):
        return
    sides = [", ".join(short(pair[side]) for pair in slots.values()) for side in (0, 1)]
    yield Cause(
        f"the constants of {theirs.type} are {sides[1]}; with {sides[0]} the difference vanishes",
        _pitfall_of_constant(case, theirs, *next(iter(slots.values()))),
        f"use {sides[0]}",
        (f"constants: {sides[0]} against {sides[1]}",),
        (ours, theirs),
    )


def _told_of_constant(case: Case, theirs: Operation, wanted: np.ndarray, found: np.ndarray) -> Cause:
    told = f"{short(wanted)} against {short(found)}"
    pitfall = _pitfall_of_constant(case, theirs, wanted, found)
    what = {"epsilon": "epsilon", "constant-factor": "the constant factor"}.get(
        pitfall, f"the constant of {theirs.type}"
    )
    sentence = f"{what} is {short(found)}; with {short(wanted)} the difference vanishes"
    fix = f"{'epsilon=' if pitfall == 'epsilon' else 'use '}{short(wanted)}"
    if pitfall == "epsilon" and wanted.size == found.size == 1:
        sentence += why_epsilon(float(wanted.reshape(-1)[0]), float(found.reshape(-1)[0]))
    if wanted.size > _MOST_PRINTED:
        sentence = f"{what} has other values; with the reference's the difference vanishes"
        fix = "use the reference's array"
    if pitfall == "keep-prob-as-rate":
        sentence += " (a probability to keep taken for a rate to drop, or the other way round)"
        fix = "rate = 1 - keep_prob"
    if theirs.family in ("Mul", "RealDiv") and wanted.size == found.size == 1 and wanted.all() and found.all():
        factor = float(found.reshape(-1)[0] / wanted.reshape(-1)[0])
        of_variance = next(arithmetic.unbiased(case, factor if theirs.family == "Mul" else 1.0 / factor), None)
        if of_variance is not None and pitfall == "constant-factor":
            return of_variance
    rounded = pitfall == "momentum" and bool(np.all(np.abs(wanted - found) <= _OF_ONE_MINUS))
    return Cause(sentence, pitfall, fix, (f"{what.removeprefix('the ')}: {told}",), rounded=rounded)


def _pitfall_of_constant(case: Case, theirs: Operation, wanted: np.ndarray, found: np.ndarray) -> Slug:
    if known(theirs.family).axes == 1:
        return "wrong-axis"
    if theirs.family in _OF_CONSTANTS and wanted.dtype.kind in "iu":  # sizes and places, of which a mask has none
        swapped = theirs.family == "Transpose" and not case.is_flattened(theirs)
        return "transposed-axes" if swapped else _OF_CONSTANTS[theirs.family]
    if is_mask(wanted) and is_mask(found):
        return "mask"
    if min(wanted.size, found.size) > 1 and case.begins_rounds(theirs):
        return "initial-state"
    if wanted.size == 1 and found.size == 1 and wanted.dtype.kind == "f":
        return _pitfall_of_number(case, theirs, float(wanted.reshape(-1)[0]), float(found.reshape(-1)[0]))
    return _OF_CONSTANTS.get(theirs.family, "constant")


def _pitfall_of_number(case: Case, theirs: Operation, ours: float, other: float) -> Slug:
    family = theirs.family
    if case.drops(theirs) or family in ("GreaterEqual", "Less", "Greater", "LessEqual"):
        return "keep-prob-as-rate" if close(ours + other, 1.0) else "dropout-rate"
    if family in ("Mul", "RealDiv") and case.beside_dropout(theirs):
        kept = sum(1 / n if family == "Mul" else n for n in (ours, other) if n)
        return "keep-prob-as-rate" if close(kept, 1.0) else "dropout-rate"
    if family == "Add" and (case.feeds_in_candidate(theirs, "Rsqrt", "Sqrt") or 0 < ours < SMALL):
        return "epsilon"
    if family in ("Add", "Sub") and not case.updates(theirs):
        return "forget-bias" if case.feeds_in_candidate(theirs, "Sigmoid") else "offset"
    if case.updates(theirs):
        return "momentum"
    return "constant-factor" if family in ("Mul", "RealDiv") else _OF_CONSTANTS.get(family, "constant")


def slope(case: Case) -> Iterator[Cause]:
    """A number within an activation of the candidate that the reference's, which is a single operation, has not."""
    if len(case.ours.operations) == 1 and Trait.ACTIVATION in traits(case.ours.operations[0].family):
        for found in case.numbers(case.theirs)[:_MOST_SCALARS]:
            if found.value != 1.0 and case.vanishes(case.with_number(found, 1.0)):
                told = f"a slope is {short(found.value)}; with 1 the difference vanishes"
                yield Cause(told, "activation-slope", "use a slope of 1")


def scalars(case: Case) -> Iterator[Cause]:
    """A number of the candidate's part set to a number of the reference's: `epsilon`, say, in a part of many."""
    ours, theirs = case.numbers(case.ours), case.numbers(case.theirs)
    for found in theirs[:_MOST_SCALARS]:
        for wanted in ours[:_MOST_SCALARS]:
            # What is left of 1 is another number of the same meaning for a share alone.
            for value in (wanted.value, *([1.0 - wanted.value] if 0.0 < wanted.value < 1.0 else [])):
                if value == found.value or not math.isfinite(value):
                    continue
                if case.vanishes(case.with_number(found, value)):
                    pitfall = _pitfall_of_numbers(case, wanted, found)
                    what = pitfall if pitfall in ("epsilon", "momentum") else "a constant"
                    why = why_epsilon(value, found.value) if pitfall == "epsilon" else ""
                    yield Cause(
                        f"{what} is {short(found.value)}; with {short(value)} the difference vanishes{why}",
                        pitfall,
                        f"{what + '=' if what != 'a constant' else 'use '}{short(value)}",
                        (f"{what}: {short(value)} against {short(found.value)}",),
                    )


def _pitfall_of_numbers(case: Case, wanted: Scalar, found: Scalar) -> Slug:
    if isinstance(wanted.slot, str):
        return OF_ATTRIBUTES.get(wanted.slot, "attribute")
    if isinstance(found.slot, str):
        return OF_ATTRIBUTES.get(found.slot, "attribute")
    return _pitfall_of_constant(case, found.operation, np.float32(wanted.value), np.float32(found.value))


def momentum(case: Case) -> Iterator[Cause]:
    """Two numbers that add up to 1, both changed: what a moving average keeps, and what it takes in."""
    theirs = [s for s in case.numbers(case.theirs) if 0 < s.value < 1]
    for a, b in itertools.combinations(theirs[:_MOST_SCALARS], 2):
        if not close(a.value + b.value, 1.0):
            continue
        for wanted in case.numbers(case.ours):
            for value in (wanted.value, 1.0 - wanted.value):
                if 0 < value < 1 and case.vanishes(case.with_number(b, 1.0 - value, case.with_number(a, value))):
                    keeps, kept = (b.value, 1.0 - value) if _scales_what_was(case, b) else (a.value, value)
                    if not _scales_what_was(case, a) and not _scales_what_was(case, b):
                        keeps, kept = max(a.value, b.value), max(value, 1.0 - value)
                    yield Cause(
                        f"momentum is {short(keeps)}; with {short(kept)} the difference vanishes",
                        "momentum",
                        f"momentum={short(kept)}",
                        (f"momentum: {short(kept)} against {short(keeps)}",),
                    )


def _scales_what_was(case: Case, scalar: Scalar) -> bool:
    """Whether a number of the candidate's is how much of a variable's old value is kept, not of the new one taken."""
    return scalar.operation.family == "Mul" and bool(case.candidate.variables_read(scalar.operation))


def _told_of_attributes(ours: Operation, theirs: Operation, names: Sequence[str]) -> Cause:
    told = tuple(f"{n}: {short(ours.attributes[n])} against {short(theirs.attributes[n])}" for n in names)
    with_it = " and ".join(f"{n} {short(ours.attributes[n])}" for n in names)
    pitfall = OF_ATTRIBUTES.get(names[0], "attribute")
    if pitfall == "frozen-statistics" and theirs.attributes[names[0]]:
        pitfall = "batch-statistics"
    why = why_epsilon(ours.attributes["epsilon"], theirs.attributes["epsilon"]) if "epsilon" in names else ""
    return Cause(
        f"{'; '.join(told)}; with {with_it} the difference vanishes{why}",
        pitfall,
        ", ".join(f"{n}={short(ours.attributes[n])}" for n in names),
        told,
        (ours, theirs),
    )
