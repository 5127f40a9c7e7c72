"""Why two places differ: hypotheses, each tested by computing the place anew under it.

A hypothesis is a change of the candidate's part that would make it the reference's: the reference's value of an
attribute or of a constant, a factor, a missing operation, another order of blocks. It is told as the cause only if with
it the difference vanishes within the noise budget. Each cause has a page in `docs/pitfalls/`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.localise import activations
from lockstep.localise.budget import Part, Standard
from lockstep.localise.forcing import Blame
from lockstep.localise.kernels import Kernels
from lockstep.localise.pitfalls import Pitfall, Slug
from lockstep.program import Operation, Program

_MOST_SCALARS = 24
_SMALL = 0.02
"""What is added to a variance is smaller than this; what is added to an activation rarely is."""
_MOST_TENSORS = 8
_LARGEST_PERMUTED = 4
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

_SUMMING = frozenset({"Mean", "Sum", "L2Loss", "MatMul", "BatchMatMul", "Conv2D", "Einsum", "SquaredDifference"})
_OF_DROPOUT = frozenset(
    {
        "Mul",
        "RealDiv",
        "Select",
        "Cast",
        "GreaterEqual",
        "Less",
        "Add",
        "Sub",
        "Floor",
        "Reshape",
        "Greater",
        "LessEqual",
    }
)
_DROPOUT_DEPTH = 5
_HALF = frozenset({"float16", "bfloat16"})
_REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min", "Prod", "ArgMax", "Cumsum", "ReverseV2", "All", "Any"})
_POOLS = frozenset({"MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "Mean", "Max", "Sum"})
_OF_FAMILIES: dict[str, Slug] = {
    "Cast": "dtype",
    "SpaceToBatchND": "dilation",
    "BatchToSpaceND": "dilation",
    "Pad": "padding",
    "PadV2": "padding",
    "MirrorPad": "padding",
    "Transpose": "flatten-order",
    "ReverseV2": "wrong-axis",
    "ReverseSequence": "wrong-axis",
    "MatrixBandPart": "mask",
    "Select": "mask",
    "Maximum": "clip-value",
    "Minimum": "clip-value",
    "ClipByValue": "clip-value",
}
"""Family of an operation that one side alone has -> the pitfall that it is about."""

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


@dataclass(frozen=True)
class Cause:
    """A cause that was tested, or, without a pitfall, what can be said without one.

    Attributes:
        sentence: What is wrong.
        pitfall: Its page in `docs/pitfalls/`; empty where none fits.
        fix: What to write instead; empty where that is not known.
        attributes: What the two operations are parametrised by otherwise: `"epsilon: 0.001 against 0.002"`.
    """

    sentence: str
    pitfall: Pitfall = ""
    fix: str = ""
    attributes: tuple[str, ...] = ()


def cause_of(blame: Blame, reference: Program, candidate: Program, kernels: Kernels) -> Cause:
    """Tests the hypotheses that fit a place, the simplest first.

    Args:
        blame: The place.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.
    """
    case = _Case(blame, reference, candidate, kernels)
    found = next(case.causes(), None) or Cause(said(blame))
    return replace(found, attributes=found.attributes or case.differing())


def said(blame: Blame) -> str:
    """Tells what differs, without a cause."""
    ours, theirs = _listed(blame.reference), _listed(blame.candidate)
    if not blame.reference and not blame.candidate:
        return "it reads another tensor than in the reference"
    if not blame.candidate:
        return f"the candidate lacks {ours}"
    if not blame.reference:
        return f"only the candidate computes {theirs}"
    if ours == theirs:
        return f"{ours} gives other values on the same inputs"
    return f"{ours} in the reference, {theirs} in the candidate: other values on the same inputs"


@dataclass(frozen=True)
class _Scalar:
    """A number that a part is parametrised by: a constant that an operation reads, or an attribute."""

    operation: Operation
    slot: int | str
    value: float


class _Case:
    """One place, and what can be tried on it."""

    def __init__(self, blame: Blame, reference: Program, candidate: Program, kernels: Kernels) -> None:
        self._blame, self._reference, self._candidate, self._kernels = blame, reference, candidate, kernels
        self._ours, self._theirs = blame.ours, blame.theirs

    def causes(self) -> Iterator[Cause]:
        """Yields the causes that hold."""
        yield from self._one_side_only()
        yield from self._order_of_inputs()
        yield from self._attributes()
        yield from self._constants()
        yield from self._precision()
        yield from self._known_activation()
        yield from self._other_kind()
        yield from self._dilation()
        yield from self._other_axis()
        yield from self._scalars()
        yield from self._momentum()
        yield from self._transposed_variable()
        yield from self._frozen()
        yield from self._scaled_inside()
        yield from self._surplus()
        yield from self._relation()

    def differing(self) -> tuple[str, ...]:
        """Lists the attributes in which two single operations of one family differ."""
        pair = self._single()
        if pair is None:
            return ()
        ours, theirs = pair
        names = [n for n in ours.attributes if n in theirs.attributes and ours.attributes[n] != theirs.attributes[n]]
        return tuple(f"{n}: {_short(ours.attributes[n])} against {_short(theirs.attributes[n])}" for n in names)

    # --- hypotheses

    def _one_side_only(self) -> Iterator[Cause]:
        ours, theirs = _computing(self._blame.reference), _computing(self._blame.candidate)
        if not ours and not theirs:
            yield from self._wrong_input()
        elif not theirs and ours:
            yield self._frozen_variable(ours) or self._missing(ours)
        elif not ours and theirs:
            yield self._extra(theirs)

    def _frozen_variable(self, ours: list[Operation]) -> Cause | None:
        """A variable in the place of a mean over the batch."""
        source = self._candidate.sources.get(self._theirs.end)
        averaging = any(operation.family in ("Mean", "FusedBatchNorm") for operation in ours)
        if source is None or source.kind != "variable" or not averaging:
            return None
        return Cause(
            f"the candidate normalises with {source.name}, the reference with the batch's own statistics",
            "frozen-statistics",
            "call the layer with training=True",
        )

    def _missing(self, ours: list[Operation]) -> Cause:
        """The reference's operations that the candidate has not: by definition the difference vanishes with them."""
        last, names = ours[-1], _listed(ours)
        families = {operation.family for operation in ours}
        found: Cause | None = self._missing_number(last) if len(ours) == 1 else None
        if found is not None:
            return found
        if len(ours) == 1 and last.family in activations.NAMES:
            return Cause(
                f"the candidate lacks the activation {last.family}", "missing-activation", f"apply {last.family}"
            )
        if any(self._draws(operation) for operation in ours):
            return Cause(
                f"the candidate drops nothing here ({names})", "dropout-place", "apply dropout here in training"
            )
        told = (pitfall for family, pitfall in _OF_FAMILIES.items() if family in families and pitfall != "clip-value")
        pitfall: Slug = "mask" if self._reads_mask(ours) else next(told, "missing-operation")
        return Cause(f"the candidate lacks {names}", pitfall, f"add {names}")

    def _reads_mask(self, ours: Sequence[Operation]) -> bool:
        read = (tensor for operation in ours for tensor in operation.inputs if self._reference.is_constant(tensor))
        return any(_is_mask(self._reference.constant(tensor)) for tensor in read)

    def _missing_number(self, ours: Operation) -> Cause | None:
        number, biases = self._constant_of(ours, self._reference), self._reference.variables_read(ours)
        if ours.family == "Add" and biases:
            return Cause(f"the candidate does not add {biases[0]}", "missing-bias", "add the bias (use_bias=True)")
        if number is None:
            scales = [v for v in biases if ours.family in ("Mul", "RealDiv")]
            sentence = f"the candidate is not scaled by {scales[0]}" if scales else ""
            return Cause(sentence, "missing-scale", f"scale by {scales[0]}") if scales else None
        told = _short(number)
        if ours.family in ("Mul", "RealDiv"):
            how, do = ("multiplied", "multiply") if ours.family == "Mul" else ("divided", "divide")
            sentence = f"the reference's value is {how} by {told}, the candidate's is not"
            return Cause(sentence, "missing-scale", f"{do} by {told}")
        if ours.family in ("Add", "Sub"):
            pitfall: Slug = "forget-bias" if number == 1.0 and self._feeds(ours, "Sigmoid") else "offset"
            return Cause(f"the candidate lacks the constant {told} that is added", pitfall, f"add {told}")
        return None

    def _extra(self, theirs: list[Operation]) -> Cause:
        """The candidate's operations that the reference has not: by definition the difference vanishes without them."""
        names, families = _listed(theirs), {operation.family for operation in theirs}
        before = f" in front of {self._blame.partner.type}" if self._blame.partner is not None else ""
        number = self._constant_of(theirs[-1], self._candidate)
        if len(theirs) == 1 and theirs[0].family in activations.NAMES:
            return Cause(f"only the candidate applies {names}{before}", "wrong-activation", f"remove {names}")
        if self._blame.drawn:
            return Cause(
                f"only the candidate draws random numbers{before} ({names})", "dropout-place", "drop nothing here"
            )
        if len(theirs) == 1 and theirs[0].family in ("Mul", "RealDiv") and number is not None:
            return Cause(
                f"only the candidate scales by {_short(number)}{before}", "constant-factor", "remove the factor"
            )
        fitting = (pitfall for family, pitfall in _OF_FAMILIES.items() if family in families)
        pitfall: Slug = next(fitting, "extra-operation")
        return Cause(f"only the candidate computes {names}{before}", pitfall, f"remove {names}")

    def _wrong_input(self) -> Iterator[Cause]:
        read = self._blame.theirs.end
        source = self._candidate.sources.get(read)
        wanted = self._reference.sources.get(self._blame.wanted)
        if source is not None and source.kind == "variable":
            should = wanted.name if wanted is not None else "another tensor"
            yield Cause(
                f"it reads the variable {source.name}, where the reference reads {should}",
                "wrong-variable",
                f"read {should}",
            )
            return
        drawn = _draws_before(self._reference, self._blame.wanted), _draws_before(self._candidate, read)
        if drawn[0] != drawn[1]:
            who = "the reference alone" if drawn[0] else "the candidate alone"
            yield Cause(f"{who} drops values of what this reads", "dropout-place", "apply dropout in the same place")
            return
        made_by = self._candidate.producers.get(read)
        should_be = self._reference.producers.get(self._blame.wanted)
        if made_by is not None and should_be is not None and made_by.family == should_be.family == "Split":
            places = should_be.outputs.index(self._blame.wanted), made_by.outputs.index(read)
            if places[0] != places[1] and len(should_be.outputs) == len(made_by.outputs):
                # Recurrent cells split what one matrix gives into their gates.
                yield Cause(
                    f"it reads piece {places[1]} of {made_by.place.name}, where the reference reads piece {places[0]}",
                    "gate-order",
                    f"read piece {places[0]}",
                )
                return
        what = made_by.place.name if made_by is not None else source.name if source is not None else "another tensor"
        if should_be is not None:
            should = should_be.place.name
        else:
            should = wanted.name if wanted is not None else "another tensor"
        yield Cause(f"it reads {what}, where the reference reads {should}", "wrong-input", f"read what {should} gives")

    def _order_of_inputs(self) -> Iterator[Cause]:
        """The same tensors, joined in another order."""
        pair = self._single()
        if pair is None or pair[1].family not in ("ConcatV2", "Pack", "Sub", "RealDiv"):
            return
        theirs = pair[1]
        count = len(theirs.inputs) - (theirs.family == "ConcatV2")
        values = [self._given(self._theirs, theirs, slot, theirs.inputs[slot]) for slot in range(count)]
        if any(value is None for value in values) or count > _LARGEST_PERMUTED:
            return
        for order in itertools.permutations(range(count)):
            changed = self._with_inputs({(theirs.index, slot): values[place] for slot, place in enumerate(order)})
            if list(order) != list(range(count)) and self._vanishes(changed):
                yield Cause(
                    f"the inputs of {theirs.type} come in another order; in the order {order} the difference vanishes",
                    "concat-order",
                    f"order the inputs {order}",
                )
                return

    def _attributes(self) -> Iterator[Cause]:
        """One operation of the candidate with the attributes of the reference's of the same family."""
        for theirs in self._theirs.operations:
            for ours in self._ours.operations:
                if ours.family != theirs.family or ours.attributes == theirs.attributes:
                    continue
                names = [
                    n
                    for n in ours.attributes
                    if n in theirs.attributes and ours.attributes[n] != theirs.attributes[n] and n != "shape"
                ]
                for chosen in [(n,) for n in names] + ([tuple(names)] if len(names) > 1 else []):
                    if self._vanishes(self._with_operation(theirs, {n: ours.attributes[n] for n in chosen})):
                        yield _told_of_attributes(ours, theirs, chosen)

    def _constants(self) -> Iterator[Cause]:
        """One operation of the candidate with a constant of the reference's of the same family."""
        for theirs in self._theirs.operations:
            for ours in self._ours.operations:
                if ours.family != theirs.family or len(ours.inputs) != len(theirs.inputs):
                    continue
                yield from self._constants_together(ours, theirs)
                for slot, other in itertools.product(range(len(theirs.inputs)), range(len(ours.inputs))):
                    a, b = ours.inputs[other], theirs.inputs[slot]
                    if not (self._reference.is_constant(a) and self._candidate.is_constant(b)):
                        continue
                    wanted, found = self._reference.constant(a), self._candidate.constant(b)
                    if np.array_equal(wanted, found) and wanted.shape == found.shape:
                        continue
                    # An axis or a size may be of another integer type: the operation's own stays.
                    changed = self._with_inputs({(theirs.index, slot): wanted.astype(found.dtype)})
                    if self._vanishes(changed):
                        yield self._told_of_constant(theirs, wanted, found)

    def _constants_together(self, ours: Operation, theirs: Operation) -> Iterator[Cause]:
        """Several constants at once: where a slice begins and where it ends."""
        slots = {}
        for slot, (a, b) in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
            if self._reference.is_constant(a) and self._candidate.is_constant(b):
                wanted, found = self._reference.constant(a), self._candidate.constant(b)
                if not np.array_equal(wanted, found):
                    slots[slot] = wanted.astype(found.dtype), found
        changed = self._with_inputs({(theirs.index, slot): wanted for slot, (wanted, _) in slots.items()})
        if len(slots) < 2 or not self._vanishes(changed):
            return
        sides = [", ".join(_short(pair[side]) for pair in slots.values()) for side in (0, 1)]
        yield Cause(
            f"the constants of {theirs.type} are {sides[1]}; with {sides[0]} the difference vanishes",
            self._pitfall_of_constant(theirs, *next(iter(slots.values()))),
            f"use {sides[0]}",
            (f"constants: {sides[0]} against {sides[1]}",),
        )

    def _told_of_constant(self, theirs: Operation, wanted: np.ndarray, found: np.ndarray) -> Cause:
        told = f"{_short(wanted)} against {_short(found)}"
        pitfall = self._pitfall_of_constant(theirs, wanted, found)
        what = {"epsilon": "epsilon", "constant-factor": "the constant factor"}.get(
            pitfall, f"the constant of {theirs.type}"
        )
        sentence = f"{what} is {_short(found)}; with {_short(wanted)} the difference vanishes"
        fix = f"{'epsilon=' if pitfall == 'epsilon' else 'use '}{_short(wanted)}"
        if wanted.size > _MOST_PRINTED:
            sentence = f"{what} has other values; with the reference's the difference vanishes"
            fix = "use the reference's array"
        if pitfall == "keep-prob-as-rate":
            sentence += " (a probability to keep taken for a rate to drop, or the other way round)"
            fix = "rate = 1 - keep_prob"
        return Cause(sentence, pitfall, fix, (f"{what.removeprefix('the ')}: {told}",))

    def _pitfall_of_constant(self, theirs: Operation, wanted: np.ndarray, found: np.ndarray) -> Slug:
        if theirs.family in _REDUCTIONS:
            return "wrong-axis"
        if _is_mask(wanted) and _is_mask(found):
            return "mask"
        if wanted.size == 1 and found.size == 1 and wanted.dtype.kind == "f":
            return self._pitfall_of_number(theirs, float(wanted.reshape(-1)[0]), float(found.reshape(-1)[0]))
        return _OF_CONSTANTS.get(theirs.family, "constant")

    def _pitfall_of_number(self, theirs: Operation, ours: float, other: float) -> Slug:
        family = theirs.family
        if self._draws(theirs) or family in ("GreaterEqual", "Less", "Greater", "LessEqual"):
            return "keep-prob-as-rate" if _close(ours + other, 1.0) else "dropout-rate"
        if family in ("Mul", "RealDiv") and self._beside_dropout(theirs):
            kept = sum(1 / n if family == "Mul" else n for n in (ours, other) if n)
            return "keep-prob-as-rate" if _close(kept, 1.0) else "dropout-rate"
        if family == "Add" and (self._feeds_in_candidate(theirs, "Rsqrt", "Sqrt") or 0 < ours < _SMALL):
            return "epsilon"
        if family in ("Add", "Sub") and not self._updates(theirs):
            return "forget-bias" if self._feeds_in_candidate(theirs, "Sigmoid") else "offset"
        if self._updates(theirs):
            return "momentum"
        return "constant-factor" if family in ("Mul", "RealDiv") else _OF_CONSTANTS.get(family, "constant")

    def _other_kind(self) -> Iterator[Cause]:
        """Another operation in the same place, on the same inputs."""
        pair = self._single()
        if pair is None:
            return
        ours, theirs = pair
        if ours.family == theirs.family:
            return
        fix = f"use {ours.type} instead of {theirs.type}"
        sentence = f"{theirs.type} in the candidate, {ours.type} in the reference"
        kinds = {ours.family, theirs.family}
        if kinds <= _POOLS:
            yield Cause(sentence, "pooling-kind", fix)
        elif ours.family in activations.NAMES and theirs.family in activations.NAMES:
            yield Cause(sentence, "wrong-activation", fix)
        else:
            yield from self._scalars()
            yield Cause(sentence, "wrong-operation", fix)

    def _known_activation(self) -> Iterator[Cause]:
        """Both parts are activations that are known by their formulas, on the same tensor."""
        ours, theirs = self._both
        if ours is None or theirs is None or ours.shape != theirs.shape:
            return
        for start in self._start_values():
            if start.shape != ours.shape:
                continue
            names = activations.named(start, ours), activations.named(start, theirs)
            if None not in names and names[0] != names[1]:
                gelu = all(str(name).startswith("gelu") for name in names)
                slopes = all(str(name).startswith("leaky") for name in names)
                pitfall: Slug = "gelu-form" if gelu else "leaky-slope" if slopes else "wrong-activation"
                missing: Slug = "missing-activation" if names[1] == "linear" else pitfall
                yield Cause(f"{names[1]} in the candidate, {names[0]} in the reference", missing, f"use {names[0]}")
                return

    def _precision(self) -> Iterator[Cause]:
        """The candidate computes in half precision on the way."""
        narrow = {self._candidate.specs[t].dtype for o in self._theirs.operations for t in o.outputs} & _HALF
        standard = self._standard
        if not narrow or standard is None:
            return
        found = _tried(lambda: standard.judged(_Wide(self._kernels), self._theirs))
        if found is not None and found.within:
            told = " and ".join(sorted(narrow))
            yield Cause(
                f"it is computed in {told}; without that the difference vanishes", "dtype", "compute in float32"
            )

    def _surplus(self) -> Iterator[Cause]:
        """Kinds of operations that one side alone has in a place that both compute; the rest is the same."""
        ours, theirs = ({o.family for o in side} for side in (self._blame.reference, self._blame.candidate))
        alone = (ours - theirs, theirs - ours)
        for who, families in zip(("the reference", "the candidate"), alone, strict=True):
            for family in sorted(families & _OF_FAMILIES.keys()):
                if not alone[who == "the reference"]:
                    yield Cause(f"only {who} computes {family} here", _OF_FAMILIES[family])

    def _dilation(self) -> Iterator[Cause]:
        """TF1 dilates by spreading the input out in space; the candidate's convolution, dilated, has to do the same."""
        spread = [o for o in self._ours.operations if o.family == "SpaceToBatchND"]
        if not spread or any(o.family == "SpaceToBatchND" for o in self._theirs.operations):
            return
        rates = tuple(self._reference.constant(spread[0].inputs[1]).reshape(-1).tolist())
        for theirs in self._theirs.operations:
            if "dilations" in theirs.attributes and len(rates) == 2:
                dilated = self._with_operation(theirs, {"dilations": (1, *rates, 1), "padding": "SAME"})
                plain = self._with_operation(theirs, {"dilations": (1, *rates, 1)})
                if self._vanishes(plain) or self._vanishes(dilated):
                    told = (f"dilations: {rates} against {theirs.attributes['dilations'][1:-1]}",)
                    yield Cause(f"{told[0]}; with {rates} the difference vanishes", "dilation", f"rate={rates}", told)

    def _other_axis(self) -> Iterator[Cause]:
        """The reference's operation along another axis."""
        ours, theirs = self._both
        operations = _computing(self._ours.operations)
        starts = [a for a in self._start_values() if ours is not None and a.shape == ours.shape and a.ndim > 1]
        if ours is None or theirs is None or ours.shape != theirs.shape or len(operations) != 1 or not starts:
            return
        for axis in range(ours.ndim - 1):
            turned = np.ascontiguousarray(np.swapaxes(starts[0], axis, -1))
            value = self._result_on(operations[0], turned)
            if value is not None and value.shape == turned.shape and _alike(np.swapaxes(value, axis, -1), theirs):
                yield Cause(
                    f"{operations[0].type} along axis {axis} instead of {ours.ndim - 1}",
                    "wrong-axis",
                    f"axis={ours.ndim - 1}",
                )

    def _result_on(self, operation: Operation, value: np.ndarray) -> np.ndarray | None:
        found: np.ndarray | None = _tried(lambda: self._kernels.numpy(self._kernels.run_double(operation, [value])[0]))
        return found

    def _scalars(self) -> Iterator[Cause]:
        """A number of the candidate's part set to a number of the reference's: `epsilon`, say, in a part of many."""
        ours, theirs = self._numbers(self._ours), self._numbers(self._theirs)
        if len(self._ours.operations) == 1 and self._ours.operations[0].family in activations.NAMES:
            for found in theirs[:_MOST_SCALARS]:
                if found.value != 1.0 and self._vanishes(self._with_number(found, 1.0)):
                    told = f"a slope is {_short(found.value)}; with 1 the difference vanishes"
                    yield Cause(told, "activation-slope", "use a slope of 1")
        for found in theirs[:_MOST_SCALARS]:
            for wanted in ours[:_MOST_SCALARS]:
                for value in (wanted.value, 1.0 - wanted.value):
                    if value == found.value or not math.isfinite(value):
                        continue
                    if self._vanishes(self._with_number(found, value)):
                        pitfall = self._pitfall_of_numbers(wanted, found)
                        what = pitfall if pitfall in ("epsilon", "momentum") else "a constant"
                        yield Cause(
                            f"{what} is {_short(found.value)}; with {_short(value)} the difference vanishes",
                            pitfall,
                            f"{what + '=' if what != 'a constant' else 'use '}{_short(value)}",
                            (f"{what}: {_short(value)} against {_short(found.value)}",),
                        )

    def _pitfall_of_numbers(self, wanted: _Scalar, found: _Scalar) -> Slug:
        if isinstance(wanted.slot, str):
            return OF_ATTRIBUTES.get(wanted.slot, "attribute")
        if isinstance(found.slot, str):
            return OF_ATTRIBUTES.get(found.slot, "attribute")
        return self._pitfall_of_constant(found.operation, np.float32(wanted.value), np.float32(found.value))

    def _momentum(self) -> Iterator[Cause]:
        """Two numbers that add up to 1, both changed: what a moving average keeps, and what it takes in."""
        theirs = [s for s in self._numbers(self._theirs) if 0 < s.value < 1]
        for a, b in itertools.combinations(theirs[:_MOST_SCALARS], 2):
            if not _close(a.value + b.value, 1.0):
                continue
            for wanted in self._numbers(self._ours):
                for value in (wanted.value, 1.0 - wanted.value):
                    if 0 < value < 1 and self._vanishes(self._with_number(b, 1.0 - value, self._with_number(a, value))):
                        keeps, kept = max(a.value, b.value), max(value, 1.0 - value)
                        yield Cause(
                            f"momentum is {_short(keeps)}; with {_short(kept)} the difference vanishes",
                            "momentum",
                            f"momentum={_short(kept)}",
                            (f"momentum: {_short(kept)} against {_short(keeps)}",),
                        )

    def _transposed_variable(self) -> Iterator[Cause]:
        """A square kernel taken the other way round."""
        for operation in self._theirs.operations:
            for slot, tensor in enumerate(operation.inputs):
                value = self._given(self._theirs, operation, slot, tensor)
                if value is None or value.ndim < 2 or value.shape[-1] != value.shape[-2] or value.dtype.kind != "f":
                    continue
                turned = np.ascontiguousarray(np.swapaxes(value, -1, -2))
                if self._vanishes(self._with_inputs({(operation.index, slot): turned})):
                    yield Cause(
                        f"an input of {operation.type} is transposed; the other way round the difference vanishes",
                        "transposed-kernel",
                        "transpose the kernel",
                    )

    def _frozen(self) -> Iterator[Cause]:
        """Moving averages in the place of the batch's own statistics."""
        ours = [o for o in self._ours.operations if o.family == "FusedBatchNorm" and o.attributes.get("is_training")]
        averages = self._averages()
        theirs = self._both[1]
        if len(ours) != 1 or averages is None or theirs is None:
            return
        changed = self._kernels.changed(ours[0], {"is_training": False})
        forced = {(ours[0].index, slot): (value, "average") for slot, value in zip((3, 4), averages, strict=True)}
        operations = [changed if o is ours[0] else o for o in self._ours.operations]
        part = replace(self._ours, operations=operations, forced={**self._ours.forced, **forced})
        value = _tried(lambda: self._kernels.numpy(part.run(self._kernels, double=True)))
        if value is not None and value.shape == theirs.shape and _alike(value, theirs):
            yield Cause(
                "the candidate normalises with its moving averages, the reference with the batch's own statistics",
                "frozen-statistics",
                "call the layer with training=True",
            )

    def _averages(self) -> tuple[Any, Any] | None:
        found: dict[str, Any] = {}
        for operation in self._theirs.operations:
            for tensor in operation.inputs:
                source = self._candidate.sources.get(tensor)
                if source is not None and source.kind == "variable" and tensor in self._theirs.start:
                    kind = "variance" if "var" in source.name.rpartition("/")[2] else "mean"
                    if "mean" in source.name or "var" in source.name:
                        found[kind] = self._theirs.start[tensor]
        return (found["mean"], found["variance"]) if len(found) == 2 else None

    def _scaled_inside(self) -> Iterator[Cause]:
        """One tensor on the way, times a number that people leave out."""
        factors = self._usual_factors()
        tensors = [o.outputs[0] for o in self._theirs.operations if o.family in _SUMMING]
        tensors += [t for t in self._theirs.start if len(self._candidate.specs[t].shape) <= 1]
        tensors = [t for t in tensors if self._candidate.specs[t].floating and not self._candidate.is_constant(t)]
        for tensor in tensors[:_MOST_TENSORS]:
            for factor, (pitfall, why) in factors.items():
                part = replace(self._theirs, scaled={**self._theirs.scaled, tensor: factor})
                if self._vanishes(part):
                    made_by = self._candidate.producers.get(tensor)
                    where = made_by.type if made_by is not None else "what goes in"
                    yield Cause(
                        f"{where} lacks the factor {_short(factor)} ({why}); with it the difference vanishes",
                        pitfall,
                        f"multiply by {_short(factor)}",
                    )

    def _usual_factors(self) -> dict[float, tuple[Slug, str]]:
        factors: dict[float, tuple[Slug, str]] = {
            0.5: ("l2-half", "one half"),
            2.0: ("l2-half", "two"),
        }
        for value in self._start_values():
            channels = value.shape[-1] if value.ndim else 1
            for count in {value.size // max(channels, 1), value.size, channels}:
                if count > 1:
                    factors.setdefault(count / (count - 1), ("unbiased-variance", f"n / (n - 1), n = {count}"))
                    factors.setdefault((count - 1) / count, ("unbiased-variance", f"(n - 1) / n, n = {count}"))
                    factors.setdefault(1 / count, ("missing-scale", f"1 / n, n = {count}"))
                    factors.setdefault(float(count), ("missing-scale", f"n = {count}"))
            factors.setdefault(channels**-0.5, ("missing-scale", f"1 / sqrt({channels})"))
            factors.setdefault(channels**0.5, ("missing-scale", f"sqrt({channels})"))
        factors.pop(1.0, None)
        chosen = list(factors.items())[:_MOST_SCALARS]
        return dict(chosen)

    def _relation(self) -> Iterator[Cause]:
        """What both results have to do with each other."""
        ours, theirs = self._both
        if ours is None or theirs is None or ours.shape != theirs.shape or ours.size < 2:
            return
        yield from self._relation_by_order(ours, theirs)
        if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
            return
        large = np.abs(ours) > 0.01 * np.abs(ours).max(initial=0.0)
        if large.sum() > 1:
            factor = float(np.median(theirs[large] / ours[large]))
            if factor and np.allclose(theirs, factor * ours, rtol=1e-6, atol=1e-7 * float(np.abs(theirs).max())):
                yield from self._unbiased(factor)
                yield Cause(
                    f"the candidate's values are {_short(factor)} times the reference's",
                    "constant-factor",
                    f"multiply by {_short(1.0 / factor)}",
                )
        offset = theirs - ours
        spread = float(np.ptp(offset))
        if spread <= 1e-6 * float(np.abs(offset).max()):
            yield Cause(f"the candidate's values are the reference's plus {_short(offset.reshape(-1)[0])}", "offset")

    def _unbiased(self, factor: float) -> Iterator[Cause]:
        """A factor of n / (n - 1), or its root, where n elements were averaged."""
        counts = {
            int(np.prod(value.shape[first:last]))
            for value in self._start_values()
            for first in range(value.ndim)
            for last in range(first + 1, value.ndim + 1)
        }
        for count, root in itertools.product(sorted(counts - {0, 1}), (1.0, 0.5)):
            expected = (count / (count - 1)) ** root
            if _close(factor, expected) or _close(factor, 1.0 / expected):
                who = (
                    ("the candidate", "the reference")
                    if _close(factor, expected)
                    else ("the reference", "the candidate")
                )
                sentence = f"{who[0]} divides the variance by n - 1, {who[1]} by n, n = {count}"
                yield Cause(
                    sentence, "unbiased-variance", f"multiply the variance by {_short(factor ** (-1.0 / root))}"
                )

    def _relation_by_order(self, ours: np.ndarray, theirs: np.ndarray) -> Iterator[Cause]:
        for axis in range(ours.ndim - 1, -1, -1):
            if ours.shape[axis] > 1 and _alike(np.flip(theirs, axis), ours):
                yield Cause(f"axis {axis} runs backwards in the candidate", "wrong-axis", f"reverse axis {axis}")
                return
        last = ours.shape[-1] if ours.ndim else 1
        for blocks in range(2, _LARGEST_PERMUTED + 1):
            if last % blocks:
                continue
            pieces = np.split(theirs, blocks, axis=-1)
            for order in itertools.permutations(range(blocks)):
                if list(order) != list(range(blocks)) and _alike(np.concatenate([pieces[i] for i in order], -1), ours):
                    pitfall: Slug = "gate-order" if blocks == 4 else "concat-order"
                    yield Cause(
                        f"the {blocks} blocks of the last axis come in another order", pitfall, f"order {order}"
                    )
                    return
        if ours.ndim >= 2 and ours.shape[-1] == ours.shape[-2] and _alike(np.swapaxes(theirs, -1, -2), ours):
            yield Cause("the last two axes are swapped", "transposed-kernel", "transpose")
        elif _alike(np.sort(theirs, axis=None), np.sort(ours, axis=None)):
            yield Cause("the same values in another order", "flatten-order", "order the axes as the reference does")

    # --- what is looked at

    def _single(self) -> tuple[Operation, Operation] | None:
        ours, theirs = _computing(self._blame.reference), _computing(self._blame.candidate)
        return (ours[0], theirs[0]) if len(ours) == len(theirs) == 1 else None

    def _constant_of(self, operation: Operation, program: Program) -> float | None:
        values = [program.constant(t) for t in operation.inputs if program.is_constant(t)]
        return float(values[0].reshape(-1)[0]) if len(values) == 1 and values[0].size == 1 else None

    def _feeds(self, operation: Operation, *families: str) -> bool:
        return _feeds(self._reference, operation, families)

    def _feeds_in_candidate(self, operation: Operation, *families: str) -> bool:
        return _feeds(self._candidate, operation, families)

    def _draws(self, operation: Operation) -> bool:
        for program in (self._reference, self._candidate):
            if operation.index < len(program.operations) and program.operations[operation.index] is operation:
                return any(t in program.draws for t in operation.inputs)
        return False

    def _beside_dropout(self, theirs: Operation) -> bool:
        """Whether it scales what a mask then selects, or what was selected."""
        return (
            any(
                "dropout" in operation.place.scope.lower() or operation.family == "Select"
                for operation in _consumers(self._candidate, theirs)
            )
            or "dropout" in theirs.place.scope.lower()
        )

    def _updates(self, theirs: Operation) -> bool:
        """Whether it leads to nothing but an update of a variable."""
        written = set(self._candidate.writes.values())
        following, seen = [theirs], 0
        while following and seen < 8:
            current = following.pop()
            seen += 1
            if any(t in written for t in current.outputs):
                return True
            following.extend(_consumers(self._candidate, current))
        return False

    def _numbers(self, part: Part) -> list[_Scalar]:
        found = []
        for operation in part.operations:
            for slot, tensor in enumerate(operation.inputs):
                if part.program.is_constant(tensor):
                    value = part.program.constant(tensor)
                    if value.size == 1 and value.dtype.kind == "f":
                        found.append(_Scalar(operation, slot, float(value.reshape(-1)[0])))
            found += [
                _Scalar(operation, name, float(value))
                for name, value in operation.attributes.items()
                if isinstance(value, float)
            ]
        return found

    def _start_values(self) -> list[np.ndarray]:
        values = [*self._theirs.start.values(), *(value for value, _ in self._theirs.forced.values())]
        arrays = [self._kernels.numpy(value) for value in values if value is not None]
        return [array for array in arrays if array.dtype.kind == "f" and array.size > 1]

    def _given(self, part: Part, operation: Operation, slot: int, tensor: int) -> np.ndarray | None:
        if (operation.index, slot) in part.forced:
            return self._kernels.numpy(part.forced[operation.index, slot][0])
        if tensor in part.start and part.start[tensor] is not None:
            return self._kernels.numpy(part.start[tensor])
        return None

    # --- trying

    def _with_operation(self, theirs: Operation, attributes: Mapping[str, Any]) -> Part:
        changed = self._kernels.changed(theirs, attributes)
        return replace(self._theirs, operations=[changed if o is theirs else o for o in self._theirs.operations])

    def _with_inputs(self, values: Mapping[tuple[int, int], Any], part: Part | None = None) -> Part:
        part = part or self._theirs
        return replace(part, forced={**part.forced, **{slot: (v, f"hypothesis {slot}") for slot, v in values.items()}})

    def _with_number(self, scalar: _Scalar, value: float, part: Part | None = None) -> Part:
        if isinstance(scalar.slot, str):
            base = part or self._theirs
            changed = self._kernels.changed(scalar.operation, {scalar.slot: value})
            return replace(base, operations=[changed if o is scalar.operation else o for o in base.operations])
        before = self._candidate.constant(scalar.operation.inputs[scalar.slot])
        return self._with_inputs({(scalar.operation.index, scalar.slot): np.full_like(before, value)}, part)

    def _vanishes(self, changed: Part) -> bool:
        """Whether with a change of the candidate nothing is left of the difference, by the budget as it stood."""
        standard = self._standard
        if standard is None:
            return False
        found = _tried(lambda: standard.judged(self._kernels, changed))
        return found is not None and found.within

    @functools.cached_property
    def _standard(self) -> Standard | None:
        found: Standard | None = _tried(
            lambda: Standard.of(
                self._kernels, self._ours, self._theirs, self._kernels.numpy(self._ours.run(self._kernels))
            )
        )
        return found

    @functools.cached_property
    def _both(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What both parts give in float64; None where it cannot be had."""
        return self._double(self._ours), self._double(self._theirs)

    def _double(self, part: Part) -> np.ndarray | None:
        found: np.ndarray | None = _tried(lambda: self._kernels.numpy(part.run(self._kernels, double=True)))
        return found


def _told_of_attributes(ours: Operation, theirs: Operation, names: Sequence[str]) -> Cause:
    told = tuple(f"{n}: {_short(ours.attributes[n])} against {_short(theirs.attributes[n])}" for n in names)
    with_it = " and ".join(f"{n} {_short(ours.attributes[n])}" for n in names)
    return Cause(
        f"{'; '.join(told)}; with {with_it} the difference vanishes",
        OF_ATTRIBUTES.get(names[0], "attribute"),
        ", ".join(f"{n}={_short(ours.attributes[n])}" for n in names),
        told,
    )


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


def _tried(action: Callable[[], Any]) -> Any:
    """Runs a trial. A hypothesis may ask for what no kernel can do, which refutes it."""
    try:
        return action()
    except Exception:  # the framework's own, of many classes
        return None


def _feeds(program: Program, operation: Operation, families: Sequence[str]) -> bool:
    return any(other.family in families for other in _consumers(program, operation))


def _consumers(program: Program, operation: Operation) -> list[Operation]:
    made = set(operation.outputs)
    return [o for o in program.operations[operation.index + 1 :] if made.intersection(o.inputs)]


def _draws_before(program: Program, tensor: int) -> bool:
    """Whether a tensor comes straight out of dropout."""
    waiting, seen = [(tensor, 0)], set()
    while waiting:
        current, depth = waiting.pop()
        if current in program.draws:
            return True
        made_by = program.producers.get(current)
        if made_by is None or depth == _DROPOUT_DEPTH or current in seen or made_by.family not in _OF_DROPOUT:
            continue
        seen.add(current)
        waiting.extend((read, depth + 1) for read in made_by.inputs)
    return False


def _is_mask(array: np.ndarray) -> bool:
    """Whether an array holds two values: what to keep, and what to leave out."""
    return array.size > 1 and np.unique(array).size == 2


def _computing(operations: Sequence[Operation]) -> list[Operation]:
    shaping = ("Reshape", "Cast", "Fill", "Pack", "Unpack")
    return [o for o in operations if o.type not in shaping] or list(operations)


def _listed(operations: Sequence[Operation]) -> str:
    types = [operation.type for operation in operations]
    return ", ".join(types[:4]) + (f" and {len(types) - 4} more" if len(types) > 4 else "")


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-7 * float(np.abs(b).max(initial=0.0)), equal_nan=True))


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5)


def _short(value: Any) -> str:
    """Prints a number as one would write it; 0.10000000149 is 0.1.

    >>> _short(np.float32(0.1)), _short((1, 2, 2, 1)), _short("SAME")
    ('0.1', '(1, 2, 2, 1)', 'SAME')
    """
    if isinstance(value, np.ndarray):
        if value.size > _MOST_PRINTED:
            return f"an array of shape {value.shape}"
        return _short(value.reshape(-1)[0]) if value.size == 1 else str(value.tolist())
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    if isinstance(value, np.generic):
        return str(value.item())
    return str(value)
