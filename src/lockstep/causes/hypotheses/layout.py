"""Hypotheses about the order of axes, of blocks and of pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from lockstep.causes.hypotheses.case import Case, Cause, alike, computing, rearranges, short
from lockstep.results.pitfalls import Slug

_LARGEST_PERMUTED = 4
_KERNEL_DIMENSIONS = 3


def dilation(case: Case) -> Iterator[Cause]:
    """TF1 dilates by spreading the input out in space; the candidate's convolution, dilated, has to do the same."""
    yield from _other_rates(case)
    spread = [o for o in case.ours.operations if o.family == "SpaceToBatchND"]
    if not spread or any(o.family == "SpaceToBatchND" for o in case.theirs.operations):
        return
    rates = tuple(case.reference.constant(spread[0].inputs[1]).reshape(-1).tolist())
    for theirs in case.theirs.operations:
        if "dilations" in theirs.attributes and len(rates) == 2:
            dilated = case.with_operation(theirs, {"dilations": (1, *rates, 1), "padding": "SAME"})
            plain = case.with_operation(theirs, {"dilations": (1, *rates, 1)})
            if case.vanishes(plain) or case.vanishes(dilated):
                told = (f"dilations: {rates} against {theirs.attributes['dilations'][1:-1]}",)
                yield Cause(f"{told[0]}; with {rates} the difference vanishes", "dilation", f"rate={rates}", told)


def _other_rates(case: Case) -> Iterator[Cause]:
    """Both sides spread the input out, by other rates."""
    values: dict[tuple[int, int], np.ndarray] = {}
    rates = ["", ""]
    for theirs, ours in itertools.product(case.theirs.operations, case.ours.operations):
        if theirs.family == ours.family and theirs.family in ("SpaceToBatchND", "BatchToSpaceND"):
            for slot in (1, 2):
                if case.reference.is_constant(ours.inputs[slot]) and case.candidate.is_constant(theirs.inputs[slot]):
                    values[theirs.index, slot] = case.reference.constant(ours.inputs[slot])
            rates = [short(case.reference.constant(ours.inputs[1])), short(case.candidate.constant(theirs.inputs[1]))]
    if values and rates[0] != rates[1] and case.vanishes(case.with_inputs(values)):
        told = (f"dilations: {rates[0]} against {rates[1]}",)
        yield Cause(f"{told[0]}; with {rates[0]} the difference vanishes", "dilation", f"rate={rates[0]}", told)


def other_axis(case: Case) -> Iterator[Cause]:
    """The reference's operation along another axis."""
    ours, theirs = case.both
    operations = computing(case.ours.operations)
    starts = [a for a in case.start_values() if ours is not None and a.shape == ours.shape and a.ndim > 1]
    if ours is None or theirs is None or ours.shape != theirs.shape or len(operations) != 1 or not starts:
        return
    for axis in range(ours.ndim - 1):
        turned = np.ascontiguousarray(np.swapaxes(starts[0], axis, -1))
        value = case.result_on(operations[0], turned)
        if value is not None and value.shape == turned.shape and alike(np.swapaxes(value, axis, -1), theirs):
            yield Cause(
                f"{operations[0].type} along axis {axis} instead of {ours.ndim - 1}",
                "wrong-axis",
                f"axis={ours.ndim - 1}",
            )


def transposed_variable(case: Case) -> Iterator[Cause]:
    """A square kernel taken the other way round."""
    for operation in case.theirs.operations:
        for slot, tensor in enumerate(operation.inputs):
            value = case.given(case.theirs, operation, slot, tensor)
            if value is None or value.ndim < 2 or value.shape[-1] != value.shape[-2] or value.dtype.kind != "f":
                continue
            turned = np.ascontiguousarray(np.swapaxes(value, -1, -2))
            if case.vanishes(case.with_inputs({(operation.index, slot): turned})):
                yield Cause(
                    f"an input of {operation.type} is transposed; the other way round the difference vanishes",
                    "transposed-kernel",
                    "transpose the kernel",
                )


def upside_down(case: Case) -> Iterator[Cause]:
    """A kernel whose taps run backwards: a transposed convolution taken for a convolution, say."""
    for operation in case.theirs.operations:
        for slot, tensor in enumerate(operation.inputs):
            value = case.given(case.theirs, operation, slot, tensor)
            source = case.candidate.sources.get(tensor)
            if value is None or value.ndim < _KERNEL_DIMENSIONS or source is None or source.kind != "variable":
                continue
            turned = np.ascontiguousarray(np.flip(value, tuple(range(value.ndim - 2))))
            if case.vanishes(case.with_inputs({(operation.index, slot): turned})):
                yield Cause(
                    f"the taps of {source.name} run backwards in {operation.type}; turned, the difference vanishes",
                    "transposed-kernel",
                    "flip the kernel in space, or use the transposed convolution",
                )


def rearranged(case: Case) -> Iterator[Cause]:
    """Both sides only rearrange, each in its own way."""
    ours, theirs = case.both
    rearranging = rearranges(case.ours.operations) and rearranges(case.theirs.operations)
    if rearranging and ours is not None and theirs is not None and ours.shape == theirs.shape:
        yield from relation_by_order(ours, theirs)


def relation_by_order(ours: np.ndarray, theirs: np.ndarray) -> Iterator[Cause]:
    """The reference's values in another order."""
    for axis in range(ours.ndim - 1, -1, -1):
        if ours.shape[axis] > 1 and alike(np.flip(theirs, axis), ours):
            yield Cause(f"axis {axis} runs backwards in the candidate", "wrong-axis", f"reverse axis {axis}")
            return
    last = ours.shape[-1] if ours.ndim else 1
    for blocks in range(2, _LARGEST_PERMUTED + 1):
        if last % blocks or last == blocks:
            continue
        pieces = np.split(theirs, blocks, axis=-1)
        for order in itertools.permutations(range(blocks)):
            if list(order) != list(range(blocks)) and alike(np.concatenate([pieces[i] for i in order], -1), ours):
                pitfall: Slug = "gate-order" if blocks == 4 else "concat-order"
                yield Cause(f"the {blocks} blocks of the last axis come in another order", pitfall, f"order {order}")
                return
    if ours.ndim >= 2 and ours.shape[-1] == ours.shape[-2] and alike(np.swapaxes(theirs, -1, -2), ours):
        yield Cause("the last two axes are swapped", "transposed-kernel", "transpose")
    yield from _interleaved(ours, theirs)
    if alike(np.sort(theirs, axis=None), np.sort(ours, axis=None)):
        yield Cause("the same values in another order", "flatten-order", "order the axes as the reference does")


def _interleaved(ours: np.ndarray, theirs: np.ndarray) -> Iterator[Cause]:
    """What was one axis was split into two of other sizes first: (size, heads) for (heads, size)."""
    for axis in range(ours.ndim - 1):
        pair = np.moveaxis(ours, axis, -2)
        heads, size = pair.shape[-2:]
        other = pair.reshape(*pair.shape[:-2], size, heads).swapaxes(-1, -2)
        if min(heads, size) > 1 and alike(np.moveaxis(other, -2, axis), theirs):
            told = f"({heads}, {size})"
            yield Cause(
                f"axes {axis} and {ours.ndim - 1} were split as ({size}, {heads}), in the reference as {told}",
                "head-order",
                f"split the axis as {told}",
            )
            return
    last = ours.shape[-1] if ours.ndim >= _KERNEL_DIMENSIONS else 1  # a matrix may hold all that was flattened
    for blocks in (n for n in range(2, last // 2 + 1) if last % n == 0):
        other = ours.reshape(*ours.shape[:-1], blocks, last // blocks).swapaxes(-1, -2).reshape(ours.shape)
        if alike(other, theirs):
            yield Cause(
                f"the {last} channels come as {last // blocks} times {blocks}, in the reference as {blocks} times "
                f"{last // blocks}",
                "channel-order",
                "interleave the channels as the reference does",
            )
            return
