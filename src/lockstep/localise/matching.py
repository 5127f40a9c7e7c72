"""Which operation of the reference an operation of the candidate is, before anything runs.

Two ideas. *Numbering*: operations of the same family with the same attributes on the same tensors give the same
tensor, bit for bit, so such tensors get one number on both sides and need not be looked at again (global value
numbering, as compilers do it: Alpern, Wegman, Zadeck, "Detecting equality of variables in programs", 1988).
*Roles*: operations that read the same variable, or that make the same output, or whose partners read what they make,
have the same role in both programs, whatever they compute it from.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.localise.budget import same_bits
from lockstep.program import Operation, Place, Program, dialect
from lockstep.program.dialect import Trait

_MODE_OF_VIEW = "Reshape"


def key_of(operation: Operation, program: Program, numbers: Sequence[int]) -> tuple[object, ...]:
    """Returns what decides an operation's result: operations of equal keys give equal bits.

    Args:
        operation: The operation.
        program: What it is part of.
        numbers: The numbers of its inputs.
    """
    shapes = (program.specs[tensor].shape for tensor in operation.inputs)
    given: tuple[object, ...] = tuple(zip(numbers, shapes, strict=True))
    if Trait.COMMUTATIVE in dialect.traits(operation.family):
        given = tuple(sorted(given, key=repr))
    attributes = {n: v for n, v in operation.attributes.items() if (n, v) not in _WITHOUT_EFFECT}
    dtypes = tuple(program.specs[tensor].dtype for tensor in operation.outputs)
    return operation.family, tuple(sorted(attributes.items(), key=lambda item: item[0])), given, dtypes


_WITHOUT_EFFECT = {("data_format", "NHWC"), ("explicit_paddings", ()), ("incompatible_shape_error", True)}


def source_key(program: Program, tensor: int, partner_of: Mapping[str, str], places: Mapping[int, int]) -> object:
    """Returns what decides a source's value, or None where nothing but itself does.

    Args:
        program: What it is part of.
        tensor: The source.
        partner_of: Candidate's variable key -> the reference's; empty for the reference itself.
        places: Draw -> its place among the draws like it; what draws for nothing has none.
    """
    source, spec = program.sources[tensor], program.specs[tensor]
    if source.kind == "constant":
        array = np.asarray(source.value)
        if array.dtype.kind in "iuOSU":  # an axis is the same in 32 and in 64 bits
            return "constant", array.dtype.kind, spec.shape, repr(array.tolist())
        return "constant", spec, array.tobytes()
    if source.kind == "variable":
        return "variable", partner_of.get(source.name, source.name if not partner_of else f"candidate's {source.name}")
    if source.kind == "input":
        return "input", source.name, spec.dtype
    if source.kind == "draw" and tensor in places:
        return "draw", source.name, spec, places[tensor]
    return None


def places_of_draws(program: Program) -> dict[int, int]:
    """Counts the draws of each type and number of values."""
    seen: Counter[object] = Counter()
    places = {}
    for tensor in program.draws:
        like = _kind_of_draw(program, tensor)
        places[tensor] = seen[like]
        seen[like] += 1
    return places


def _kind_of_draw(program: Program, tensor: int) -> object:
    spec = program.specs[tensor]
    return program.sources[tensor].name, spec.dtype, math.prod(spec.shape)


def with_draws_shaped_alike(program: Program, reference: Program) -> Program:
    """Returns a program whose draws have the shape that the reference's have, and are given their own behind them.

    The same numbers are drawn for `[batch, length, features]` and for `[batch * length, features]`.

    Args:
        program: The program.
        reference: The one that it is compared with.
    """
    shapes = {
        (_kind_of_draw(reference, tensor), place): reference.specs[tensor]
        for tensor, place in places_of_draws(reference).items()
    }
    made: list[Operation] = []
    specs, sources, drawn = list(program.specs), dict(program.sources), list(program.draws)
    for tensor, place in places_of_draws(program).items():
        spec, wanted = specs[tensor], shapes.get((_kind_of_draw(program, tensor), place))
        if wanted is None or wanted == spec:
            continue
        source = sources.pop(tensor)
        value = None if source.value is None else np.asarray(source.value).reshape(wanted.shape)
        specs.append(wanted)
        shaped = len(specs) - 1
        sources[shaped] = replace(source, value=value)
        drawn[drawn.index(tensor)] = shaped
        reader = next((o.place for o in program.operations if tensor in o.inputs), Place(source.name, ""))
        made.append(Operation(len(made), "Reshape", {"shape": spec.shape}, (shaped,), (tensor,), reader))
    if not made:
        return program
    operations = [*made, *(replace(o, index=o.index + len(made)) for o in program.operations)]
    producers = {tensor: operation for operation in operations for tensor in operation.outputs}
    return replace(program, operations=operations, specs=specs, sources=sources, draws=drawn, producers=producers)


def alike_draws(reference: Program, candidate: Program) -> dict[int, int] | None:
    """Returns the candidate's draws -> the reference's; None where one holds numbers that the reference's does not.

    Draws of one type may have other parameters (the shape of a gamma distribution, a largest number), which are no part
    of a program: only equal numbers show that both sides draw the same.
    """
    ours = {(_kind_of_draw(reference, t), n): t for t, n in places_of_draws(reference).items()}
    found: dict[int, int] = {}
    for tensor, place in places_of_draws(candidate).items():
        like = ours.get((_kind_of_draw(candidate, tensor), place))
        if like is None or not _same_numbers(reference.sources[like].value, candidate.sources[tensor].value):
            return None
        found[tensor] = like
    return found


def _same_numbers(ours: Any, theirs: Any) -> bool:
    return ours is not None and theirs is not None and same_bits(np.asarray(ours), np.asarray(theirs))


def without_duplicates(program: Program, reference: Program) -> Program:
    """Returns a program in which no layer computes anything twice, as one does that is called again on the same.

    Two layers that compute the same stay two. So does what the reference has as many of: one of them is meant for
    something else, and reads the same by mistake.

    Args:
        program: The program.
        reference: The one that it is compared with.
    """
    first: dict[object, tuple[int, ...]] = {}
    same: dict[int, int] = {}
    kept = []
    surplus = Counter(operation.family for operation in program.operations)
    surplus.subtract(operation.family for operation in reference.operations)
    for operation in program.operations:
        inputs = tuple(same.get(tensor, tensor) for tensor in operation.inputs)
        known = first.setdefault((key_of(operation, program, inputs), operation.place.scope), operation.outputs)
        if known is not operation.outputs and surplus[operation.family] <= 0:
            known = operation.outputs
        surplus[operation.family] -= known is not operation.outputs
        if known is operation.outputs:
            kept.append(replace(operation, inputs=inputs))
        else:
            same.update(zip(operation.outputs, known, strict=True))
    return replace(
        program,
        operations=kept,
        outputs={path: same.get(tensor, tensor) for path, tensor in program.outputs.items()},
        writes={key: same.get(tensor, tensor) for key, tensor in program.writes.items()},
        producers={tensor: operation for operation in kept for tensor in operation.outputs},
    ).without_the_unused()


def reads_all(reference: Program, candidate: Program, variables: Mapping[str, str]) -> bool:
    """Whether the candidate reads all variables that the reference reads, as far as they have a partner.

    Where it does not, what it computes twice may be one of them by mistake.
    """
    read = [{key for o in side.operations for key in side.variables_read(o)} for side in (reference, candidate)]
    return all(theirs in read[1] for theirs, ours in variables.items() if ours in read[0])


@dataclass
class Roles:
    """Operations that have the same role on both sides.

    Attributes:
        reference: The reference's program.
        candidate: The candidate's.
        variables: Candidate's variable key -> the reference's.
        partners: Index of the candidate's operation -> the reference's operation.
        taken: Indices of the reference's operations among them.
    """

    reference: Program
    candidate: Program
    variables: Mapping[str, str]
    partners: dict[int, Operation] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def pair(self, ours: Operation, theirs: Operation, *, sure: bool = False) -> bool:
        """Notes that two operations have the same role; tells whether that is new and possible.

        Args:
            ours: The reference's.
            theirs: The candidate's.
            sure: Whether they have it even if their tensors differ in size, as they read the same variable.
        """
        fit = (
            ours.family == theirs.family and len(ours.inputs) == len(theirs.inputs)
            if sure
            else self.alike(ours, theirs)
        )
        if theirs.index in self.partners or ours.index in self.taken or not fit:
            return False
        self.partners[theirs.index] = ours
        self.taken.add(ours.index)
        return True

    def part(self, theirs: Operation) -> None:
        """Takes a pair back."""
        self.taken.discard(self.partners.pop(theirs.index).index)

    def move(self, theirs: Operation, ours: Operation) -> None:
        """Gives an operation of the candidate another role; whoever had it gets the one that becomes free.

        Args:
            theirs: The candidate's operation, which has a role.
            ours: The reference's operation that it shall stand for.
        """
        before = self.partners[theirs.index]
        other = next((index for index, partner in self.partners.items() if partner is ours), None)
        self.partners[theirs.index] = ours
        if other is None:
            self.taken.discard(before.index)
        else:
            self.partners[other] = before
        self.taken.add(ours.index)

    def is_awaited(self, ours: Operation, theirs: Operation) -> bool:
        """Whether the numbers of two operations differ, and a later one of the candidate's has the right ones.

        Args:
            ours: The reference's.
            theirs: The candidate's, which may be another step that reads the same.
        """
        numbers = _numbers(self.reference, ours)
        if not numbers or numbers == _numbers(self.candidate, theirs):
            return False
        later = _next(self._by_numbers[ours.family, numbers], theirs)
        return any(other.index not in self.partners and self.alike(ours, other) for other in later)

    def is_doubtful(self, ours: Operation, theirs: Operation) -> bool:
        """Whether two operations that read the same may be two steps of which either side lacks one.

        One has a number where the other has none; or the candidate's has that of a later one of the reference's.
        """
        constants = [
            sum(map(program.is_constant, operation.inputs))
            for program, operation in ((self.reference, ours), (self.candidate, theirs))
        ]
        if constants[0] != constants[1]:
            return True
        numbers = _numbers(self.candidate, theirs)
        if not numbers or numbers == _numbers(self.reference, ours):
            return False
        later = _next(self._by_numbers_in_reference[theirs.family, numbers], ours)
        return any(other.index not in self.taken and self.alike(other, theirs) for other in later)

    def is_contradicted(self, ours: Operation, theirs: Operation) -> bool:
        """Whether what two operations read comes of other variables: one of them joins something else."""
        if ours.family not in _OF_EQUALS or len(ours.inputs) != len(theirs.inputs):
            return False
        for slot, tensor in self.slots(ours, theirs):
            near = _variables_near(self.reference, tensor)
            others = {self.variables.get(key, key) for key in _variables_near(self.candidate, theirs.inputs[slot])}
            if near and others and near.isdisjoint(others):
                return True
        return False

    @functools.cached_property
    def _by_numbers(self) -> dict[object, list[Operation]]:
        return _with_numbers(self.candidate)

    @functools.cached_property
    def _by_numbers_in_reference(self) -> dict[object, list[Operation]]:
        return _with_numbers(self.reference)

    def alike(self, ours: Operation, theirs: Operation) -> bool:
        """Whether two operations are of one family and give tensors of the same sizes."""
        if ours.family != theirs.family or len(ours.inputs) != len(theirs.inputs):
            return False
        pairs = zip(ours.outputs, theirs.outputs, strict=False)
        return all(self.reference.specs[r].shape == self.candidate.specs[c].shape for r, c in pairs)

    def slots(self, ours: Operation, theirs: Operation) -> Iterator[tuple[int, int]]:
        """Yields which input of the candidate's operation is which of the reference's: `(candidate's slot, tensor)`.

        Constants belong to the operation itself. Where inputs may change places, each is the one that it fits best.
        """
        order = list(range(len(theirs.inputs)))
        if ours.family in _OF_EQUALS and 2 <= len(order) <= _MOST_ORDERED:
            order = self._best_order(ours, theirs)
        for slot, place in enumerate(order):
            tensor = ours.inputs[place]
            if not self.reference.is_constant(tensor) and not self.candidate.is_constant(theirs.inputs[slot]):
                yield slot, tensor

    def _best_order(self, ours: Operation, theirs: Operation) -> list[int]:
        """Gives each input the place of the one that it is likest to, the surest first."""
        fits = sorted(
            (
                (
                    self._likeness(tensor, wanted, _DEPTH) + self._shared_variables(tensor, wanted),
                    slot == place,
                    -slot,
                    -place,
                )
                for slot, tensor in enumerate(theirs.inputs)
                for place, wanted in enumerate(ours.inputs)
            ),
            reverse=True,
        )
        order: dict[int, int] = {}
        for _, _, slot, place in fits:
            if -slot not in order and -place not in order.values():
                order[-slot] = -place
        return [order[slot] for slot in range(len(theirs.inputs))]

    def _shared_variables(self, theirs: int, ours: int) -> float:
        """How many of the variables that are read on the way to two tensors are the same, 10 for all."""
        sides = (
            {self.variables.get(key, key) for key in _variables_near(self.candidate, theirs)},
            _variables_near(self.reference, ours),
        )
        union = sides[0] | sides[1]
        return 10.0 * len(sides[0] & sides[1]) / len(union) if union else 0.0

    def _likeness(self, theirs: int, ours: int, depth: int) -> int:
        """How much two tensors have in common: that both are constants, their producers' roles, families and shapes."""
        constants = self.reference.is_constant(ours), self.candidate.is_constant(theirs)
        if any(constants):
            return 8 if all(constants) else 0
        shapes = int(self.reference.specs[ours].shape == self.candidate.specs[theirs].shape)
        a, b = self.reference.producers.get(ours), self.candidate.producers.get(theirs)
        if a is None or b is None:
            sources = self.reference.sources.get(ours), self.candidate.sources.get(theirs)
            alike = sources[0] is not None and sources[1] is not None and sources[0].kind == sources[1].kind
            return 2 * alike + shapes
        if b.index in self.partners:
            return 20 + shapes if self.partners[b.index] is a else 0
        if a.index in self.taken or a.family != b.family or not depth or len(a.inputs) != len(b.inputs) or not a.inputs:
            return shapes
        return shapes + 2 + self._likeness(b.inputs[0], a.inputs[0], depth - 1)


_OF_EQUALS = dialect.having(Trait.COMMUTATIVE, Trait.JOINS)
_MOST_ORDERED = 12
_DEPTH = 6
_NEAR = 16
_AHEAD = 8
"""How many of the operations further on that have the same numbers are looked at, to keep the walk linear."""


def _numbers(program: Program, operation: Operation) -> tuple[float, ...]:
    """Returns the floating numbers that are written down with an operation."""
    constants = (program.constant(tensor) for tensor in operation.inputs if program.is_constant(tensor))
    return tuple(float(c.reshape(-1)[0]) for c in constants if c.size == 1 and c.dtype.kind == "f")


def _with_numbers(program: Program) -> dict[object, list[Operation]]:
    """Returns the operations that numbers are written down with, by family and numbers."""
    found: dict[object, list[Operation]] = defaultdict(list)
    for operation in program.operations:
        if numbers := _numbers(program, operation):
            found[operation.family, numbers].append(operation)
    return found


def _next(like: Sequence[Operation], operation: Operation) -> Sequence[Operation]:
    """Returns the first of some operations of a program, in their order, that follow one of it."""
    after = bisect.bisect(like, operation.index, key=lambda other: other.index)
    return like[after : after + _AHEAD]


def _variables_near(program: Program, tensor: int) -> set[str]:
    """Keys of the variables that are read by the last operations on the way to a tensor."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [tensor]
    while waiting and len(seen) < _NEAR:
        current = waiting.pop(0)
        source, made_by = program.sources.get(current), program.producers.get(current)
        if source is not None and source.kind == "variable":
            found.add(source.name)
        elif made_by is not None and made_by.index not in seen:
            seen.add(made_by.index)
            waiting.extend(made_by.inputs)
    return found


def roles(reference: Program, candidate: Program, variables: Mapping[str, str]) -> Roles:
    """Finds the roles that the variables, the outputs and the updates tell, and what follows from these.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        variables: Candidate's variable key -> the reference's.
    """
    search = _Search(Roles(reference, candidate, variables))
    for ours, theirs in _readers(reference, candidate, variables):
        search.pair(ours, theirs, sure=True)
    search.follow()
    for theirs_tensor, tensor in ends(reference, candidate, variables):
        search.pair(reference.producers.get(tensor), candidate.producers.get(theirs_tensor))
    search.follow()
    search.follow_doubtful()
    search.follow_pieces()
    return search.found


class _Search:
    """Goes from pairs of operations on to those around them."""

    def __init__(self, found: Roles) -> None:
        self.found = found
        self._consumers = consumers(found.reference), consumers(found.candidate)
        self._waiting: deque[tuple[Operation, Operation]] = deque()
        self._read: deque[tuple[int, int]] = deque()
        self._doubtful: deque[tuple[Operation, Operation]] = deque()

    def pair(self, ours: Operation | None, theirs: Operation | None, *, sure: bool = False) -> None:
        """Notes a pair, if it is one, to go on from."""
        if ours is not None and theirs is not None and self.found.pair(ours, theirs, sure=sure):
            self._waiting.append((ours, theirs))

    def follow(self) -> None:
        """Goes on to what pairs read, and to what alone reads them."""
        reference, candidate = self.found.reference.producers, self.found.candidate.producers
        while self._waiting:
            ours, theirs = self._waiting.popleft()
            for slot, tensor in self.found.slots(ours, theirs):
                self.pair(reference.get(tensor), candidate.get(theirs.inputs[slot]))
                self._read.append((tensor, theirs.inputs[slot]))
            for wanted, tensor in zip(ours.outputs, theirs.outputs, strict=False):
                for both in _only_consumers(self._consumers[0][wanted], self._consumers[1][tensor], self.found):
                    if self.found.is_doubtful(*both):
                        self._doubtful.append(both)
                    else:
                        self.pair(*both)

    def follow_doubtful(self) -> None:
        """Goes on to what alone reads a tensor and does something else with it, if nothing else told their roles."""
        while self._doubtful:
            ours, theirs = self._doubtful.popleft()
            readers = [
                {reader.family for tensor in operation.outputs for reader in side[tensor]}
                for side, operation in zip(self._consumers, (ours, theirs), strict=True)
            ]
            if readers[0] & readers[1] or readers == [set(), set()]:
                self.pair(ours, theirs)
                self.follow()

    def follow_pieces(self) -> None:
        """Goes on past pieces: where one side slices what the other unpacks, both took it from the same."""
        while self._read:
            ours, theirs = self._read.popleft()
            wholes = picked(self.found.reference, ours), picked(self.found.candidate, theirs)
            if wholes[0] is not None and wholes[1] is not None:
                made_by = self.found.reference.producers, self.found.candidate.producers
                self.pair(made_by[0].get(wholes[0]), made_by[1].get(wholes[1]))
                self.follow()


def picked(program: Program, tensor: int) -> int | None:
    """Returns the tensor that one is a piece of; None where it is none."""
    made_by = program.producers.get(tensor)
    whole = None if made_by is None else dialect.known(made_by.family).whole
    return None if made_by is None or whole is None else made_by.inputs[whole]


def joined(program: Program, tensor: int) -> list[tuple[Operation, int]]:
    """Returns the reads of what one tensor is joined from along one axis, at once or one after another.

    Each is an operation that joins, and the place of its input.
    """
    made_by = program.producers.get(tensor)
    if made_by is None or made_by.family != "ConcatV2" or not program.is_constant(made_by.inputs[-1]):
        return []
    axis, found = program.constant(made_by.inputs[-1]), []
    for slot, piece in enumerate(made_by.inputs[:-1]):
        inner = program.producers.get(piece)
        along = inner is not None and inner.family == "ConcatV2" and program.is_constant(inner.inputs[-1])
        same = along and inner is not None and np.array_equal(program.constant(inner.inputs[-1]), axis)
        found += joined(program, piece) if same else [(made_by, slot)]
    return found


def consumers(program: Program) -> dict[int, list[Operation]]:
    """Returns the operations that read each tensor."""
    found: dict[int, list[Operation]] = defaultdict(list)
    for operation in program.operations:
        for tensor in dict.fromkeys(operation.inputs):
            found[tensor].append(operation)
    return found


def _only_consumers(
    ours: Sequence[Operation], theirs: Sequence[Operation], found: Roles
) -> list[tuple[Operation, Operation]]:
    """Returns the operations that read a tensor where each side has one of a family, without a role yet."""
    left = (
        [operation for operation in ours if operation.index not in found.taken],
        [operation for operation in theirs if operation.index not in found.partners],
    )
    pairs = []
    for operation in left[0]:
        alike = [[other for other in side if other.family == operation.family] for side in left]
        if [len(side) for side in alike] != [1, 1] or found.is_awaited(operation, alike[1][0]):
            continue
        if not found.is_contradicted(operation, alike[1][0]):
            pairs.append((operation, alike[1][0]))
    return pairs


def ends(reference: Program, candidate: Program, variables: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Yields what both programs are made for: `(candidate's tensor, reference's)` of outputs and of updates."""
    for path, tensor in reference.outputs.items():
        if path in candidate.outputs:
            yield candidate.outputs[path], tensor
    for key, theirs in candidate.writes.items():
        ours = variables.get(key)
        if ours in reference.writes:
            yield theirs, reference.writes[ours]


def _readers(
    reference: Program, candidate: Program, variables: Mapping[str, str]
) -> Iterator[tuple[Operation, Operation]]:
    """Yields operations of one family that read the same variable, in their order."""
    by_variable = _by_variable(reference), _by_variable(candidate)
    for key, ours_key in variables.items():
        sides = by_variable[0].get(ours_key, {}), by_variable[1].get(key, {})
        for family, theirs in sides[1].items():
            ours = sides[0].get(family, [])
            # A loop may go on for some rounds on one side, to no effect; it begins on both with the first.
            if len(ours) == len(theirs) or min(len(ours), len(theirs)) > 1:
                yield from zip(ours, theirs, strict=False)


def _by_variable(program: Program) -> dict[str, dict[str, list[Operation]]]:
    found: dict[str, dict[str, list[Operation]]] = defaultdict(lambda: defaultdict(list))
    names = {tensor: source.name for tensor, source in program.sources.items() if source.kind == "variable"}
    for operation in program.operations:
        read = list(dict.fromkeys(names[tensor] for tensor in operation.inputs if tensor in names))
        if operation.type == _MODE_OF_VIEW and read:
            names.update(dict.fromkeys(operation.outputs, read[0]))  # a bias that is reshaped before it is added
            continue
        for name in read:
            found[name][operation.family].append(operation)
    return found
