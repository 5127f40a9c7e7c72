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
from lockstep.results.pitfalls import Slug

_MOST_EXCHANGED = 60
"""Pairs of tensors that are tried for one another."""
_NEAR = 40
"""Operations among which the layers are looked for that a tensor comes of."""


def masks_turned_over(region: Region) -> Iterator[Edit]:
    """What tells which elements count is turned over."""
    for tensor, name, value in _masks(region):
        cause = Cause(
            f"the mask {name} is inverted; with 1 - {name} the difference vanishes",
            "mask",
            f"invert {name}",
            operations=(None, region.candidate.producers.get(tensor) or next(iter(region.readers(tensor)), None)),
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
            if tensor in told or region.candidate.is_constant(tensor) or math.prod(spec.shape) < 2:
                continue
            told.add(tensor)
            value = region.runs.value(tensor)
            if value.dtype == bool or (value.dtype.kind in "fiu" and np.isin(value, (0, 1)).all() and np.ptp(value)):
                yield tensor, _name(region.candidate, tensor), value


def _name(program: Program, tensor: int) -> str:
    made_by = program.producers.get(tensor)
    return made_by.place.name if made_by is not None else program.sources[tensor].name or "a constant"


def exchanged_tensors(region: Region) -> Iterator[Edit]:
    """Two tensors of one shape, made alike, have changed places: query and key, two gates, two states."""
    program = region.candidate
    made: dict[tuple[str, Spec], list[int]] = defaultdict(list)
    for operation in reversed(region.theirs):
        for tensor in operation.outputs:
            if program.specs[tensor].floating and region.readers(tensor):
                made[operation.family, program.specs[tensor]].append(tensor)
    pairs = (pair for tensors in made.values() for pair in itertools.combinations(tensors, 2))
    for one, other in itertools.islice(pairs, _MOST_EXCHANGED):
        told = " and ".join(sorted(_told_apart(program, (one, other))))
        pitfall: Slug = "wrong-input"
        made_by = program.producers[one]
        if made_by is program.producers[other]:
            told, pitfall = f"two pieces of {made_by.place.name}", "gate-order"
        cause = Cause(
            f"{told} are exchanged; read the other way round, the difference vanishes",
            pitfall,
            f"exchange {told}",
            operations=(None, next(iter(region.readers(one)), None)),
        )
        found = edit.exchanged(program, one, other, cause)
        if found is not None:
            yield found


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
