"""Another tensor: two that have changed places, a mask that is turned over, or one that nothing is masked with."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import edit
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.program import Operation, Program, Spec
from lockstep.program.dialect import Trait, having
from lockstep.results.pitfalls import Slug

_MOST_EXCHANGED = 60
"""Pairs of tensors that are tried for one another."""
_BROADCASTING = having(Trait.COMBINES) | {"LogicalAnd"}
_NEAR = 40
"""Operations among which the layers are looked for that a tensor comes of."""


def masks_turned_over(region: Region) -> Iterator[Edit]:
    """What tells which elements count is turned over."""
    for tensor, name, value in _masks(region):
        reader = next(iter(region.readers(tensor)), None)
        told, fix = f"{name} is inverted; with 1 - {name}", name
        if region.candidate.is_constant(tensor) and reader is not None:
            told, fix = f"that {reader.place.name} reads is inverted; with its opposite", "it"
        cause = Cause(
            f"the mask {told} the difference vanishes",
            "mask",
            f"invert {fix}",
            operations=(None, region.candidate.producers.get(tensor) or reader),
        )
        yield edit.changed(region.candidate, tensor, value, lambda given: turned_over(given[0]), cause)


def zeros_where_masked(region: Region) -> Iterator[Edit]:
    """What is left out by a mask is zero in the reference; a layer of the candidate keeps what was there before."""
    program = region.candidate
    ends = [*program.outputs.values(), *(t for o in region.theirs for t in o.outputs)]
    for tensor in dict.fromkeys(ends):
        shape = program.specs[tensor].shape
        made_by = program.producers.get(tensor)
        for _, name, mask in _masks(region) if made_by is not None and program.specs[tensor].floating else ():
            if not (2 <= mask.ndim < len(shape) and mask.shape == shape[: mask.ndim]):
                continue
            wide = mask.astype(bool).reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
            for kept, where in ((wide, "does not hold"), (~wide, "holds")):
                cause = Cause(
                    f"where {name} {where} (past a sequence's length, say) the reference gives zeros, the candidate "
                    "does not",
                    "mask",
                    "give zeros there (a Keras RNN: zero_output_for_mask=True)",
                    operations=(None, made_by),
                )
                yield edit.changed(program, tensor, mask, _zeros_elsewhere(kept), cause)


def _zeros_elsewhere(kept: np.ndarray) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    return lambda given: np.where(kept, given[0], np.zeros((), given[0].dtype))


def turned_over(value: np.ndarray) -> np.ndarray:
    """Returns a mask that shows what the other hides, in its dtype."""
    return ~value if value.dtype == bool else np.asarray(1 - value, value.dtype)


def _masks(region: Region) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yields the truth values, and what is zeros and ones, that operations of the region read, with their names."""
    told = set[int]()
    for operation in region.theirs:
        for tensor in operation.inputs:
            spec = region.candidate.specs[tensor]
            # Of constants, the masks of attention: a short list of numbers says axes or sizes.
            other = region.candidate.is_constant(tensor) and len(spec.shape) < 2
            if tensor in told or other or math.prod(spec.shape) < 2:
                continue
            told.add(tensor)
            value = region.runs.value(tensor)
            if value.dtype == bool or (value.dtype.kind in "fiu" and np.isin(value, (0, 1)).all() and np.ptp(value)):
                yield tensor, _name(region.candidate, tensor), value


def _name(program: Program, tensor: int) -> str:
    made_by = program.producers.get(tensor)
    return made_by.place.name if made_by is not None else program.sources[tensor].name or "a constant"


def exchanged_tensors(region: Region) -> Iterator[Edit]:
    """Two tensors of one shape have changed places: query and key, two gates, two states, two inputs."""
    program = region.candidate
    alike: dict[tuple[str, Spec], list[int]] = defaultdict(list)
    shaped: dict[Spec, list[int]] = defaultdict(list)
    for tensor in _read_there(region):
        made_by = program.producers.get(tensor)
        alike[made_by.family if made_by is not None else "", program.specs[tensor]].append(tensor)
        shaped[program.specs[tensor]].append(tensor)
    pairs = dict.fromkeys(
        pair for tensors in (*alike.values(), *shaped.values()) for pair in itertools.combinations(tensors, 2)
    )
    for one, other in itertools.islice(pairs, _MOST_EXCHANGED):
        told = " and ".join(sorted(_told_apart(program, (one, other))))
        pitfall: Slug = "wrong-input"
        made_by = program.producers.get(one)
        if made_by is not None and made_by is program.producers.get(other):
            first, second = sorted(made_by.outputs.index(tensor) for tensor in (one, other))
            told, pitfall = f"pieces {first} and {second} of {made_by.place.name}", "gate-order"
        cause = Cause(
            f"{told} are exchanged; read the other way round, the difference vanishes",
            pitfall,
            f"exchange {told}",
            operations=(None, next(iter(region.readers(one)), None)),
        )
        everywhere = _in_each_scope(program, one, other)
        for instead in (everywhere, {one: other, other: one}) if len(everywhere) > 2 else ({one: other, other: one},):
            found = edit.rewired(program, instead, cause)
            if found is not None:
                yield found


def _in_each_scope(program: Program, one: int, other: int) -> dict[int, int]:
    """Returns what has changed places if two tensors have, and those that stand for them in other layers."""
    makers = [program.producers.get(tensor) for tensor in (one, other)]
    if makers[0] is None or makers[1] is None or makers[0].place.scope != makers[1].place.scope:
        return {one: other, other: one}
    lists: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for operation in program.operations:
        for side, (tensor, made_by) in enumerate(zip((one, other), makers, strict=True)):
            output = made_by.outputs.index(tensor)  # type: ignore[union-attr]
            same = made_by is not None and (operation.type, operation.place.source, len(operation.outputs)) == (
                made_by.type, made_by.place.source, len(made_by.outputs)
            )  # fmt: skip
            if same and program.specs[operation.outputs[output]] == program.specs[tensor]:
                lists[operation.place.scope][side].append(operation.outputs[output])
    own = lists[makers[0].place.scope]
    first, second = own[0].index(one), own[1].index(other)
    pairs = [
        (found[0][first], found[1][second])
        for found in lists.values()
        if (len(found[0]), len(found[1])) == (len(own[0]), len(own[1]))
    ]
    return {**dict(pairs), **{later: earlier for earlier, later in pairs}}


def _read_there(region: Region) -> list[int]:
    """Returns the floating tensors that are made in the region, the last first, and the inputs that it reads."""
    program = region.candidate
    made = [tensor for operation in reversed(region.theirs) for tensor in operation.outputs]
    inputs = [t for o in region.theirs for t in o.inputs if t in program.sources and program.sources[t].kind == "input"]
    found = dict.fromkeys([*made, *inputs])
    return [tensor for tensor in found if program.specs[tensor].floating and region.readers(tensor)]


def complements(region: Region) -> Iterator[Edit]:
    """A gate and 1 minus it have changed places in what they weight, in every round: `z * old + (1 - z) * new`."""
    program = region.candidate
    taken = [
        operation
        for operation in program.operations
        if operation.family == "Sub" and program.is_constant(operation.inputs[0])
        and np.all(program.constant(operation.inputs[0]) == 1)
    ]  # fmt: skip
    near = {operation.place for operation in region.theirs}
    for group in region.alike(operation for operation in taken if operation.place in near):
        cause = Cause(
            "a gate and 1 minus it are exchanged; with each in the other's place the difference vanishes",
            "gate-order",
            "exchange the gate and 1 minus it",
            operations=(None, group[0]),
        )
        weighted = {
            product.index: edit.reading_once(product, slot, turned_over)
            for complement in group
            for product, slot in _weighted_by(region, complement)
        }
        if weighted:
            yield Edit(cause, weighted)


def _weighted_by(region: Region, complement: Operation) -> Iterator[tuple[Operation, int]]:
    """Yields the products of a gate, and of 1 minus it, that are then added, with the input that the gate is."""
    gate, rest = complement.inputs[1], complement.outputs[0]
    sides = [[o for o in region.readers(tensor) if o.family == "Mul"] for tensor in (gate, rest)]
    for one, other in itertools.product(*sides):
        if any(o.family == "Add" and other.outputs[0] in o.inputs for o in region.readers(one.outputs[0])):
            yield one, one.inputs.index(gate)
            yield other, other.inputs.index(rest)


def masks_along_another_axis(region: Region) -> Iterator[Edit]:
    """What is broadcast lies along another axis of the same size: keys are masked where queries should be."""
    program = region.candidate
    for operation in region.theirs:
        if operation.family not in _BROADCASTING:
            continue
        for slot, tensor in enumerate(operation.inputs):
            shape, made = program.specs[tensor].shape, program.specs[operation.outputs[0]].shape
            if len(shape) != len(made) or 1 not in shape or math.prod(shape) < 2:
                continue
            for axis, other in itertools.permutations(range(len(shape)), 2):
                if shape[axis] != 1 and shape[other] == 1 and made[other] == shape[axis]:
                    cause = Cause(
                        f"{_name(program, tensor)} is broadcast along axis {axis}; along axis {other} the difference "
                        "vanishes",
                        "wrong-axis",
                        f"lay it along axis {other}",
                        operations=(None, operation),
                    )
                    yield edit.reading(program, operation, slot, _moved(axis, other), cause)


def _moved(axis: int, other: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: np.swapaxes(value, axis, other)


def softmaxes_along_another_axis(region: Region) -> Iterator[Edit]:
    """A softmax sums to 1 along another axis."""
    for operation in region.theirs:
        if operation.family not in ("Softmax", "LogSoftmax"):
            continue
        *others, found = _axes_as_written(region.candidate, operation)
        for axis, written in enumerate(others):
            cause = Cause(
                f"the softmax is along axis {found}; along axis {written} the difference vanishes",
                "wrong-axis",
                f"axis={written}",
                operations=(None, operation),
            )
            alike = edit.alike(region.candidate, operation)
            yield Edit(cause, {o.index: edit.along(o, axis) for o in alike})


def _axes_as_written(program: Program, operation: Operation) -> Sequence[int]:
    """Returns an operation's axes as the code counts them: `softmax(axis=1)` is transposed for it, and back again."""
    axes = range(len(program.specs[operation.outputs[0]].shape))
    before = program.producers.get(operation.inputs[0])
    readers = [o for o in program.operations if operation.outputs[0] in o.inputs]
    orders = [_order(program, o) for o in (before, *readers)]
    if any(order is None for order in orders):
        return axes
    there, *back = orders
    return there if there and all(order == list(np.argsort(there)) for order in back) else axes


def _order(program: Program, operation: Operation | None) -> list[int] | None:
    """Returns the order of axes of a transposition; None of anything else."""
    if operation is None or operation.family != "Transpose" or not program.is_constant(operation.inputs[1]):
        return None
    return [int(axis) for axis in program.constant(operation.inputs[1])]


def _told_apart(program: Program, tensors: Sequence[int]) -> Sequence[str]:
    """Names tensors by what made them; where that is one name, by the layers of the variables that they come from."""
    names = [_name(program, tensor) for tensor in tensors]
    if len(set(names)) == len(names):
        return names
    read = [
        {scope for o in _behind(program, tensor) if program.variables_read(o) for scope in (o.place.scope,)}
        for tensor in tensors
    ]
    shared = set.intersection(*read)
    own = [sorted(scopes - shared) for scopes in read]
    return [scopes[0] if scopes else name for scopes, name in zip(own, names, strict=True)]


def _behind(program: Program, tensor: int) -> Iterator[Operation]:
    """Yields the operations that a tensor comes of, the nearest first."""
    waiting, seen = [tensor], set[int]()
    while waiting and len(seen) < _NEAR:
        made_by = program.producers.get(waiting.pop(0))
        if made_by is not None and made_by.index not in seen:
            seen.add(made_by.index)
            waiting.extend(made_by.inputs)
            yield made_by
