"""Recurrent cells: the order of gates, where a reset gate is applied, the direction of a sequence."""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit, InNumpy, Through
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, traits

_MOST_PIECES = 6
_ON_THE_WAY = frozenset({"Add", "StridedSlice", "Slice", "Split", "Reshape"})
"""What a state goes through between its product and the reset gate: a bias, a piece of it."""


def pieces_in_another_order(region: Region) -> Iterator[Edit]:
    """What is cut into pieces, in every round, is read in another order: gates, query and key and value."""
    program = region.candidate
    near = [o for o in region.theirs if Trait.SPLITS in traits(o.family) and 2 <= len(o.outputs) <= _MOST_PIECES]
    for group in region.alike_everywhere(near):
        count = len(group[0].outputs)
        orders: list[dict[int, int]] = [{i: j, j: i} for i, j in itertools.combinations(range(count), 2)]
        for i, j, k in itertools.combinations(range(count), 3):
            orders += [{i: j, j: k, k: i}, {i: k, k: j, j: i}]
        for order in orders if program.specs[group[0].outputs[0]].floating else ():
            told = f"pieces {', '.join(map(str, sorted(order)))} of {group[0].place.name}"
            wanted = [order.get(place, place) for place in range(count)]
            cause = Cause(
                f"{told} are exchanged; in the order {tuple(wanted)} the difference vanishes",
                "gate-order",
                f"read the pieces in the order {tuple(wanted)}",
                operations=(None, group[0]),
            )
            instead = {o.outputs[i]: o.outputs[j] for o in group for i, j in order.items()}
            found = edit.rewired(program, instead, cause)
            if found is not None:
                yield found


def resets(region: Region) -> Iterator[Edit]:
    """A GRU's reset gate multiplies the state before its product with the kernel, or what that product gives."""
    program = region.candidate
    after = [made for o in region.theirs if (made := _before_the_product(program, o)) is not None]
    yield from _told_of_resets(region, after, "after", "before", "reset_after=False")
    before = [made for o in region.theirs for made in _after_the_product(program, o)]
    yield from _told_of_resets(region, before, "before", "after", "reset_after=True")


def _told_of_resets(
    region: Region, found: Sequence[tuple[Operation, Operation]], now: str, wanted: str, fix: str
) -> Iterator[Edit]:
    instead = {old.index: new for old, new in found}
    for group in region.alike(old for old, _ in found):
        cause = Cause(
            f"the reset gate is applied {now} the product with the recurrent kernel; applied {wanted} it, the "
            "difference vanishes",
            "operation-order",
            f"apply the reset gate {wanted} the product (a Keras GRU: {fix})",
            operations=(None, group[0]),
        )
        alike = dict(_same_lines(region, group, now))
        yield Edit(cause, {**alike, **{o.index: instead[o.index] for o in group}})


def _same_lines(region: Region, group: Sequence[Operation], now: str) -> Iterator[tuple[int, Operation]]:
    """Yields the same in rounds that are not near to what is blamed."""
    for operation in (o for one in group[:1] for o in edit.alike(region.candidate, one)):
        if now == "after":
            made = _before_the_product(region.candidate, operation)
            if made is not None:
                yield operation.index, made[1]
        else:
            for _, new in itertools.islice(_after_the_product(region.candidate, operation), 1):
                yield operation.index, new


def _before_the_product(program: Program, product: Operation) -> tuple[Operation, Operation] | None:
    """Makes `(r * h) U + b` of `r * (h U + b)`; None where an operation is nothing like that."""
    if product.family != "Mul":
        return None
    for slot in (0, 1):
        gate, tensor = product.inputs[1 - slot], product.inputs[slot]
        chain: list[tuple[Operation, int, int]] = []  # operation, the slot that goes on, the output
        made_by = program.producers.get(tensor)
        while made_by is not None and made_by.family in _ON_THE_WAY and len(chain) < 4:
            data = 1 if made_by.type == "Split" else 0
            chain.append((made_by, data, made_by.outputs.index(tensor)))
            tensor = made_by.inputs[data]
            made_by = program.producers.get(tensor)
        if made_by is None or made_by.family != "MatMul" or tensor not in made_by.outputs:
            continue
        state = made_by.inputs[0]
        if program.specs[state] != program.specs[gate]:
            continue
        chain.append((made_by, 0, 0))
        return product, _through(product, gate, state, chain[::-1])
    return None


def _through(product: Operation, gate: int, state: int, chain: Sequence[tuple[Operation, int, int]]) -> Operation:
    inputs, steps = [gate, state], []
    for operation, data, output in chain:
        others = [tensor for slot, tensor in enumerate(operation.inputs) if slot != data]
        steps.append((operation, data, range(len(inputs), len(inputs) + len(others)), output))
        inputs += others
    call = Through(lambda given: np.asarray(given[0] * given[1]), chain=tuple(steps))
    return replace(product, inputs=tuple(inputs), call=call)


def _after_the_product(program: Program, matmul: Operation) -> Iterator[tuple[Operation, Operation]]:
    """Makes `r * (h U)` of `(r * h) U`, for each of the two factors that may be the gate."""
    made_by = program.producers.get(matmul.inputs[0]) if matmul.family == "MatMul" else None
    if made_by is None or made_by.family != "Mul" or any(matmul.attributes.get(f"transpose_{x}") for x in "ab"):
        return
    made = program.specs[matmul.outputs[0]]
    for gate, state in (made_by.inputs, made_by.inputs[::-1]):
        given = program.producers.get(gate)
        if program.specs[gate] == made and given is not None and given.family not in ("Mul", "Add", "Tanh", "Select"):
            call = InNumpy(lambda inputs: np.asarray(inputs[0] * (inputs[1] @ inputs[2])))
            yield matmul, replace(matmul, inputs=(gate, state, matmul.inputs[1]), call=call)


def unpacked_backwards(region: Region) -> Iterator[Edit]:
    """The steps that a sequence is unpacked into are read from the last to the first."""
    for group in region.alike_everywhere(o for o in region.theirs if o.family == "Unpack" and len(o.outputs) > 1):
        cause = Cause(
            f"the {len(group[0].outputs)} steps that {group[0].place.name} gives are read from the other end; read the "
            "other way round, the difference vanishes",
            "wrong-input",
            "read the steps in the other order",
            operations=(None, group[0]),
        )
        instead = {one: other for o in group for one, other in zip(o.outputs, o.outputs[::-1], strict=True)}
        found = edit.rewired(region.candidate, instead, cause)
        if found is not None:
            yield found


def turned_round(region: Region) -> Iterator[Edit]:
    """A sequence is read from its end: what is cut into its steps is turned round, and what is made of them as well."""
    program = region.candidate
    lengths: dict[int, dict[int, list[tuple[Operation, int, int]]]] = defaultdict(lambda: defaultdict(list))
    for operation in program.operations:
        if operation.family in ("StridedSlice", "GatherV2"):
            read = operation.inputs[0]
            for axis, size in enumerate(program.specs[read].shape[:2]):
                lengths[size][axis].append((operation, 0, read))
    joined = [o for o in program.operations if o.family == "Pack"]
    for size, axes in lengths.items():
        for axis, readers in axes.items():
            counts: dict[int, int] = defaultdict(int)
            for _, _, read in readers:
                counts[read] += 1
            cut = [(o, slot) for o, slot, read in readers if counts[read] == size and size > 1]
            if not cut:
                continue
            packs = [o for o in joined if program.specs[o.outputs[0]].shape[axis : axis + 1] == (size,)]
            how = functools.partial(np.flip, axis=axis)
            for made in ([], packs) if packs else ([],):
                cause = Cause(
                    f"the sequence (axis {axis}, {size} steps) is read from the other end; read the other way round, "
                    "the difference vanishes",
                    "wrong-input",
                    "read the steps in the other order",
                    operations=(None, cut[0][0]),
                )
                operations = {o.index: edit.reading_once(o, slot, how) for o, slot in cut}
                operations |= {o.index: replace(o, call=InNumpy(_flipped(how), o)) for o in made}
                yield Edit(cause, operations)


def _flipped(how: functools.partial[np.ndarray]) -> edit.Computed:
    return lambda given: how(given[0])
