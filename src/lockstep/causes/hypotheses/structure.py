"""Hypotheses about what is computed at all: what one side lacks, has too many, or reads from elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from lockstep.causes.hypotheses import arguments, arithmetic, layout, statistics
from lockstep.causes.hypotheses.case import (
    REARRANGING,
    Case,
    Cause,
    broadcast,
    computing,
    draws_before,
    is_mask,
    is_narrowing,
    is_of_dropout,
    listed,
    rearranges,
    short,
    tried,
)
from lockstep.localise.budget import largest_ordinary
from lockstep.localise.findings import Blame
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, having, traits
from lockstep.results.pitfalls import Slug

_LARGEST_PERMUTED = 4
_MOST_VARIABLES = 6
_NEAR = 12
_LEAVING_OUT = 1e4
"""The least of what is added to scores to leave them out, as in half precision."""
_POOLS = having(Trait.POOLS) | {"Mean", "Max", "Sum"}
_FEW = 3
"""Operations of one side alone of which one tells what all are for."""
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


def one_side_only(case: Case) -> Iterator[Cause]:
    """What one side alone computes, or a read of another tensor."""
    ours, theirs = computing(case.blame.reference), computing(case.blame.candidate)
    if _only_shape(theirs) and ours and not any(operation.family in REARRANGING for operation in ours):
        theirs = []
    if _only_shape(ours) and theirs and not any(operation.family in REARRANGING for operation in theirs):
        ours = []
    yield from _other_draw(case, theirs)
    if not ours and not theirs:
        yield from _wrong_input(case)
    elif not theirs and ours:
        yield from _rearranged(case, ours)
        yield statistics.frozen_variable(case, ours) or missing(case, ours)
    elif not ours and theirs:
        found = statistics.batch_for_variable(case, theirs)
        yield from () if found is None else (found,)
        yield from _rearranged(case, theirs)
        yield from _read_elsewhere(case)
        yield from _by_one_number(case, theirs)
        yield extra(case, theirs)


def _only_shape(operations: Sequence[Operation]) -> bool:
    return all(operation.type == "Reshape" for operation in operations)


def _other_draw(case: Case, theirs: Sequence[Operation]) -> Iterator[Cause]:
    """Numbers of another distribution, or another number of them."""
    drawn = [(part.program.sources[t].name, part.program.specs[t].shape) for part in (case.ours, case.theirs)
             for t in part.start if t in part.program.draws]  # fmt: skip
    if len(drawn) != 2:  # one on either side
        return
    (ours, shape), (other, others) = drawn
    if not theirs and ours != other and case.theirs.end in case.candidate.draws:
        yield Cause(f"{other} in the candidate, {ours} in the reference", "wrong-operation", f"use {ours}")
    elif ours == other and shape != others:
        told = f"dropout draws {others} numbers in the candidate, {shape} in the reference"
        yield Cause(told, "dropout-place", f"noise_shape={shape}")


def missing(case: Case, ours: list[Operation]) -> Cause:
    """The reference's operations that the candidate has not: by definition the difference vanishes with them."""
    last, names = ours[-1], listed(ours)
    families = {operation.family for operation in ours}
    found: Cause | None = _missing_number(case, last) if len(ours) == 1 else None
    if found is not None:
        return found
    if len(ours) == 1 and Trait.ACTIVATION in traits(last.family):
        return Cause(f"the candidate lacks the activation {last.family}", "missing-activation", f"apply {last.family}")
    if any(case.drops(operation) for operation in ours):
        return Cause(f"the candidate drops nothing here ({names})", "dropout-place", "apply dropout here in training")
    if "Cast" in families and not is_narrowing(case.reference, ours):
        families.discard("Cast")
    told = [pitfall for family, pitfall in _OF_FAMILIES.items() if family in families and pitfall != "clip-value"]
    fitting = told if len(ours) <= _FEW else []
    # A whole layer that is lacking is more than the mask within it.
    masks = not any(case.reference.variables_read(operation) for operation in ours) and _reads_mask(case, ours)
    pitfall: Slug = "mask" if masks else next(iter(fitting), "missing-operation")
    return Cause(f"the candidate lacks {names}", pitfall, f"add {names}")


def _reads_mask(case: Case, ours: Sequence[Operation]) -> bool:
    read = (tensor for operation in ours for tensor in operation.inputs if case.reference.is_constant(tensor))
    arrays = (case.reference.constant(tensor) for tensor in read)
    return any(array.dtype.kind in "fb" and is_mask(array) for array in arrays) or _leaves_out(case.reference, ours)


def _leaves_out(program: Program, operations: Sequence[Operation]) -> bool:
    """Whether a number goes into some operations, by few steps, that is as large as what is added to leave out."""
    waiting, depth = [tensor for operation in operations for tensor in operation.inputs], 0
    while waiting and depth < _NEAR:
        tensor, depth = waiting.pop(0), depth + 1
        if program.is_constant(tensor):
            value = program.constant(tensor)
            if value.dtype.kind == "f" and value.size == 1 and np.abs(value).max() >= _LEAVING_OUT:
                return True
        elif tensor in program.producers:
            waiting += program.producers[tensor].inputs
    return False


def _missing_number(case: Case, ours: Operation) -> Cause | None:
    number, biases = case.constant_of(ours, case.reference), case.reference.variables_read(ours)
    if ours.family == "Add" and biases:
        return Cause(f"the candidate does not add {biases[0]}", "missing-bias", "add the bias (use_bias=True)")
    if number is None:
        scales = [v for v in biases if ours.family in ("Mul", "RealDiv")]
        sentence = f"the candidate is not scaled by {scales[0]}" if scales else ""
        return Cause(sentence, "missing-scale", f"scale by {scales[0]}") if scales else None
    told = short(number)
    if ours.family == "Mul" and abs(number) >= _LEAVING_OUT:
        return Cause(f"the candidate does not multiply by {told}, which masks", "mask", "mask as the reference does")
    if ours.family in ("Mul", "RealDiv"):
        how, do = ("multiplied", "multiply") if ours.family == "Mul" else ("divided", "divide")
        sentence = f"the reference's value is {how} by {told}, the candidate's is not"
        found = Cause(sentence, "missing-scale", f"{do} by {told}")
        factor = (1.0 / number if ours.family == "Mul" else number) if number else 0.0
        return next(arithmetic.unbiased(case, factor), found)
    if ours.family in ("Add", "Sub"):
        pitfall: Slug = "forget-bias" if number == 1.0 and case.feeds(ours, "Sigmoid") else "offset"
        return Cause(f"the candidate lacks the constant {told} that is added", pitfall, f"add {told}")
    return None


def extra(case: Case, theirs: list[Operation]) -> Cause:
    """The candidate's operations that the reference has not: by definition the difference vanishes without them."""
    names, families = listed(theirs), {operation.family for operation in theirs}
    before = f" in front of {case.blame.partner.type}" if case.blame.partner is not None else ""
    number = case.constant_of(theirs[-1], case.candidate)
    if len(theirs) == 1 and Trait.ACTIVATION in traits(theirs[0].family):
        return Cause(f"only the candidate applies {names}{before}", "wrong-activation", f"remove {names}")
    if case.blame.drawn and any(is_of_dropout(case.candidate, tensor) for tensor in case.theirs.start):
        return Cause(f"only the candidate draws random numbers{before} ({names})", "dropout-place", "drop nothing here")
    if len(theirs) == 1 and theirs[0].family in ("Mul", "RealDiv") and number is not None:
        factor = number if theirs[0].family == "Mul" else 1.0 / number
        found = Cause(f"only the candidate scales by {short(number)}{before}", "constant-factor", "remove the factor")
        return next(arithmetic.unbiased(case, factor), found)
    if len(theirs) == 1 and theirs[0].family in ("Add", "Sub") and number is not None:
        how = "adds" if theirs[0].family == "Add" else "subtracts"
        return Cause(f"only the candidate {how} {short(number)}{before}", "offset", f"remove {names}")
    if "Cast" in families and not is_narrowing(case.candidate, theirs):
        families.discard("Cast")
    # The bounds of indices clip no values, and a divisor that is at least 1 is no clipped value.
    if not case.candidate.specs[theirs[-1].outputs[0]].floating or not families <= {"Maximum", "Minimum"}:
        families -= {"Maximum", "Minimum"}
    fitting = [pitfall for family, pitfall in _OF_FAMILIES.items() if family in families]
    pitfall: Slug = next(iter(fitting if len(theirs) <= _FEW else ()), "extra-operation")
    return Cause(f"only the candidate computes {names}{before}", pitfall, f"remove {names}")


def _rearranged(case: Case, operations: Sequence[Operation]) -> Iterator[Cause]:
    """One side alone turns something around."""
    both = case.both
    if rearranges(operations) and both[0] is not None and both[1] is not None and both[0].shape == both[1].shape:
        yield from layout.relation_by_order(both[0], both[1])


def _by_one_number(case: Case, theirs: Sequence[Operation]) -> Iterator[Cause]:
    """Several operations that do nothing but for one number: a slope that is one everywhere else."""
    made_by = case.reference.producers.get(case.blame.wanted)
    behind = made_by is not None and Trait.ACTIVATION in traits(made_by.family)
    for scalar in case.numbers(case.theirs) if len(theirs) > 1 else ():
        if scalar.value != 1.0 and case.vanishes(case.with_number(scalar, 1.0)):
            pitfall: Slug = "activation-slope" if behind else "constant-factor"
            what = "a slope" if behind else "a factor"
            yield Cause(f"{what} is {short(scalar.value)}; with 1 the difference vanishes", pitfall, f"use {what} of 1")


def masked(case: Case) -> Iterator[Cause]:
    """Both agree but where a condition holds that one of them computes with."""
    standard, (ours, theirs) = case.standard, case.both
    if standard is None or ours is None or theirs is None or not ours.shape == theirs.shape == standard.exact.shape:
        return
    different = theirs != ours
    if all(array.dtype.kind in "fc" for array in (ours, theirs)):
        with np.errstate(invalid="ignore"):
            different &= ~(np.abs(theirs - ours) <= standard.budget)
    for what, condition in case.conditions():
        for holds, word in ((condition, "holds"), (~condition, "does not hold")):
            mask = broadcast(holds, ours.shape)
            if mask is None or mask.all() or not different.any() or (different & ~mask).any():
                continue
            if 2 * int(different.sum()) >= int(mask.sum()):
                told = f"the values differ only where {what} {word}"
                if any(_left_out(array, different) for array in (ours, theirs)):
                    yield Cause(told, "mask", "mask as the reference does")
                else:  # both compute something there, each in its way
                    yield Cause(told, vague=True)
                return


def _left_out(array: np.ndarray, where: np.ndarray) -> bool:
    """Whether a side leaves out what is there: by one number for all, or by one that is far beyond all others."""
    there = array[where]
    return bool((there == there[0]).all()) or bool((np.abs(there) > largest_ordinary(array)).all())


def _read_elsewhere(case: Case) -> Iterator[Cause]:
    """What only the candidate computes changes nothing, as counting from the end does: it reads another tensor."""
    made = tried(lambda: case.kernels.numpy(case.theirs.run(case.kernels)))
    for tensor, value in case.theirs.start.items():
        source = case.candidate.sources.get(tensor)
        if made is None or value is None or (source is not None and source.kind == "constant"):
            continue
        if np.array_equal(case.kernels.numpy(value), made):
            yield from _wrong_input(case, tensor)


def missing_variable(case: Case) -> Iterator[Cause]:
    """A variable that the reference adds, or scales by, and the candidate does not read."""
    standard, theirs = case.standard, case.both[1]
    read = {tensor for operation in case.ours.operations for tensor in operation.inputs}
    sources = [(t, case.reference.sources[t].name) for t in read if t in case.reference.sources
               and case.reference.sources[t].kind == "variable" and t in case.ours.start]  # fmt: skip
    if standard is None or theirs is None or theirs.shape != standard.exact.shape or len(sources) > _MOST_VARIABLES:
        return
    for tensor, name in sorted(sources):
        value = np.asarray(case.kernels.numpy(case.ours.start[tensor]), np.float64)
        if value.ndim > theirs.ndim or value.shape != theirs.shape[theirs.ndim - value.ndim :]:
            continue
        told: tuple[tuple[Slug, str, np.ndarray], ...] = (
            ("missing-bias", "does not add", theirs + value),
            ("missing-scale", "is not scaled by", theirs * value),
        )
        for pitfall, what, changed in told:
            if (np.abs(changed - standard.exact) <= standard.budget).all():
                yield Cause(f"the candidate {what} {name}", pitfall, f"use {name}")


def _wrong_input(case: Case, instead: int | None = None) -> Iterator[Cause]:
    read = case.blame.theirs.end if instead is None else instead
    source = case.candidate.sources.get(read)
    wanted = case.reference.sources.get(case.blame.wanted)
    if source is not None and source.kind == "variable":
        should = wanted.name if wanted is not None else "another tensor"
        yield Cause(
            f"it reads the variable {source.name}, where the reference reads {should}",
            "wrong-variable",
            f"read {should}",
        )
        return
    drawn = draws_before(case.reference, case.blame.wanted), draws_before(case.candidate, read)
    if drawn[0] != drawn[1]:
        who = "the reference alone" if drawn[0] else "the candidate alone"
        yield Cause(f"{who} drops values of what this reads", "dropout-place", "apply dropout in the same place")
        return
    made_by = case.candidate.producers.get(read)
    should_be = case.reference.producers.get(case.blame.wanted)
    if made_by is not None and should_be is not None and made_by.family == should_be.family == "Split":
        places = should_be.outputs.index(case.blame.wanted), made_by.outputs.index(read)
        if places[0] != places[1] and len(should_be.outputs) == len(made_by.outputs):
            # Recurrent cells split what one matrix gives into their gates.
            yield Cause(
                f"it reads piece {places[1]} of {made_by.place.name}, where the reference reads piece {places[0]}",
                "gate-order",
                f"read piece {places[0]}",
            )
            return
    what = made_by.place.name if made_by is not None else source.name if source is not None else "another tensor"
    named = (*((should_be.place,) if should_be is not None else ()), *((wanted,) if wanted is not None else ()))
    should = named[0].name if named else "another tensor"
    yield Cause(f"it reads {what}, where the reference reads {should}", "wrong-input", f"read what {should} gives")


def order_of_inputs(case: Case) -> Iterator[Cause]:
    """The same tensors, joined in another order."""
    pair = case.single()
    if pair is None or pair[1].family not in ("ConcatV2", "Pack", "Sub", "RealDiv"):
        return
    theirs = pair[1]
    count = len(theirs.inputs) - (theirs.family == "ConcatV2")
    values = [case.given(case.theirs, theirs, slot, theirs.inputs[slot]) for slot in range(count)]
    if any(value is None for value in values) or count > _LARGEST_PERMUTED:
        return
    for order in itertools.permutations(range(count)):
        changed = case.with_inputs({(theirs.index, slot): values[place] for slot, place in enumerate(order)})
        if list(order) != list(range(count)) and case.vanishes(changed):
            yield Cause(
                f"the inputs of {theirs.type} come in another order; in the order {order} the difference vanishes",
                "concat-order",
                f"order the inputs {order}",
            )
            return


def other_kind(case: Case) -> Iterator[Cause]:
    """Another operation in the same place, on the same inputs."""
    pair = case.single()
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
    elif kinds <= having(Trait.PICKS):
        yield Cause(sentence, "slicing", "take the piece that the reference takes")
    elif Trait.ACTIVATION in traits(ours.family) and Trait.ACTIVATION in traits(theirs.family):
        yield Cause(sentence, "wrong-activation", fix)
    else:
        yield from arguments.scalars(case)
        values = case.both
        if values[0] is not None and values[1] is not None and values[0].shape == values[1].shape:
            yield from layout.relation_by_order(values[0], values[1])
        yield Cause(sentence, "wrong-operation", fix)


def surplus(case: Case) -> Iterator[Cause]:
    """Kinds of operations that one side alone has in a place that both compute; the rest is the same."""
    ours, theirs = ({o.family for o in side} for side in (case.blame.reference, case.blame.candidate))
    alone = (ours - theirs, theirs - ours)
    for who, families in zip(("the reference", "the candidate"), alone, strict=True):
        ours_alone = who == "the reference"
        side = (case.reference, case.blame.reference) if ours_alone else (case.candidate, case.blame.candidate)
        for family in sorted(families & _OF_FAMILIES.keys()):
            if family == "Cast" and not is_narrowing(*side):
                continue
            if not alone[ours_alone] and len(alone[not ours_alone]) <= _FEW:
                yield Cause(f"only {who} computes {family} here", _OF_FAMILIES[family], vague=True)


def replaced(blame: Blame) -> Cause | None:
    """What can be said where nothing else could: one operation of the reference is done by others, which differ."""
    ours, theirs = computing(blame.reference), computing(blame.candidate)
    kinds = {operation.family for operation in theirs}
    if len(ours) != 1 or not 0 < len(theirs) <= _FEW or ours[0].family in kinds:
        return None
    sentence = f"{listed(theirs)} in the candidate, {ours[0].type} in the reference"
    return Cause(sentence, "wrong-operation", f"use {ours[0].type} instead")
