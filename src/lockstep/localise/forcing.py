"""Forced lockstep: each of the candidate's operations computes on the reference's values, and is held against them.

What both programs compute alike needs no run at all: it has the same number. Where they part, the candidate's
operations between two tensors that are known to correspond run on the reference's values, and what they give is judged
by the noise budget of just these operations. Whatever comes of it, what follows goes on from the reference's value, so
that no error travels and every wrong place is found in one pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lockstep.localise import budget, matching
from lockstep.localise.budget import Judged, Part
from lockstep.localise.kernels import Kernels
from lockstep.localise.values import MAX_MEMORY, Values
from lockstep.program import Operation, Program

_LARGEST_PART = 200


@dataclass(frozen=True)
class Blame:
    """One place where the candidate computes something else.

    Attributes:
        reference: The reference's operations there; empty where the candidate has one too many.
        candidate: The candidate's; empty where it lacks what the reference does.
        judged: Error and budget.
        ours: The reference's part, for causes to be tested on.
        theirs: The candidate's part, on the reference's values.
        wanted: The reference's tensor.
        reads: The candidate's operation, and its input, that should have got it; None for an output.
        partner: The reference's operation that reads it.
        drawn: Whether random numbers go in that the other side does not draw.
    """

    reference: tuple[Operation, ...]
    candidate: tuple[Operation, ...]
    judged: Judged
    ours: Part
    theirs: Part
    wanted: int
    reads: tuple[Operation, int] | None = None
    partner: Operation | None = None
    drawn: bool = False


@dataclass
class Localisation:
    """What forced lockstep found.

    Attributes:
        blames: In the order of the candidate's run.
        identical: Operations of the candidate that compute what the reference computes, by construction.
        compared: Places that were compared by value.
        ratios: Error over budget of those that are right.
        unmatched: What was asked of one side and has no counterpart.
        limits: What could not be followed.
    """

    blames: list[Blame] = field(default_factory=list)
    identical: int = 0
    compared: int = 0
    ratios: list[float] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    bit_equal: bool = True

    @property
    def complete(self) -> bool:
        """Whether all that both programs return and leave behind was judged."""
        return not self.unmatched and not self.limits


def localise(
    reference: Program,
    candidate: Program,
    variables: Mapping[str, str],
    kernels: Kernels,
    *,
    max_memory: int = MAX_MEMORY,
) -> Localisation:
    """Finds every place where the candidate's program computes something else than the reference's.

    Args:
        reference: The reference's program, its sources with values.
        candidate: The candidate's; its own values are not used, but for variables without a partner.
        variables: Candidate's variable key -> the reference's.
        kernels: Runs operations.
        max_memory: Bytes of the reference's values to hold in memory.
    """
    with Values(reference, kernels, max_memory) as values:
        return _Pass(reference, candidate, variables, kernels, values).run()


class _Pass:
    """One walk through the candidate's program."""

    def __init__(
        self,
        reference: Program,
        candidate: Program,
        variables: Mapping[str, str],
        kernels: Kernels,
        values: Values,
    ) -> None:
        self._r, self._c, self._variables = reference, candidate, variables
        self._kernels, self._values = kernels, values
        self._found = Localisation(limits=[*reference.limits, *candidate.limits])
        self._table: dict[object, tuple[int, ...]] = {}
        self._ours: dict[int, int] = {}  # reference's tensor -> number, itself a tensor of the reference
        self._number: dict[int, int] = {}  # candidate's tensor -> number; what has none is not known yet
        self._synced: set[int] = set()
        self._blamed: set[tuple[int, int]] = set()
        self._forced: dict[tuple[int, int], int] = {}
        self._roles = matching.roles(reference, candidate, variables)
        self._readers: dict[tuple[str, int], list[Operation]] = defaultdict(list)
        self._used = _read(reference), _read(candidate)

    def run(self) -> Localisation:
        self._number_reference()
        self._number_sources()
        ends = self._ends()
        for operation in self._c.operations:
            self._visit(operation)
            for tensor in operation.outputs:
                for wanted in ends.pop(tensor, ()):
                    self._end(tensor, wanted)
        for tensor, all_wanted in ends.items():  # handed on from a source, or made by nothing
            for wanted in all_wanted:
                self._end(tensor, wanted)
        return self._found

    # --- numbers

    def _number_reference(self) -> None:
        places = matching.places_of_draws(self._r)
        for tensor in self._r.sources:
            key = matching.source_key(self._r, tensor, {}, places)
            self._ours[tensor] = tensor if key is None else self._table.setdefault(("source", key), (tensor,))[0]
        for operation in self._r.operations:
            key = matching.key_of(operation, self._r, [self._ours[t] for t in operation.inputs])
            numbers = self._table.setdefault(key, operation.outputs)
            self._ours.update(zip(operation.outputs, numbers, strict=True))
            for tensor in operation.inputs:
                self._readers[operation.family, self._ours[tensor]].append(operation)

    def _number_sources(self) -> None:
        places = matching.places_of_draws(self._c)
        partners = dict(self._variables) or {"": ""}
        for tensor in self._c.sources:
            key = matching.source_key(self._c, tensor, partners, places)
            found = self._table.get(("source", key))
            if key is not None and found is not None and self._same_spec(found[0], tensor):
                self._sync(tensor, found[0])

    def _same_spec(self, ours: int, theirs: int) -> bool:
        return self._r.specs[ours] == self._c.specs[theirs]

    def _sync(self, theirs: int, number: int) -> None:
        self._number[theirs] = number
        self._synced.add(number)

    # --- the walk

    def _visit(self, operation: Operation) -> None:
        partner = self._roles.partners.get(operation.index)
        if partner is None:
            if self._is_identical(operation):
                return
            partner = self._by_what_it_reads(operation)
            if partner is None:
                return
        self._force_inputs(operation, partner)
        if self._is_identical(operation):
            return
        for wanted, tensor in zip(partner.outputs, operation.outputs, strict=False):
            if wanted in self._used[0] and tensor in self._used[1]:
                self._compare(tensor, wanted, None)
                self._sync(tensor, self._ours[wanted])

    def _is_identical(self, operation: Operation) -> bool:
        numbers = [self._input(operation, slot) for slot in range(len(operation.inputs))]
        if any(number is None for number in numbers):
            return False
        key = matching.key_of(operation, self._c, [number for number in numbers if number is not None])
        found = self._table.get(key)
        if found is None or len(found) != len(operation.outputs):
            return False
        for theirs, number in zip(operation.outputs, found, strict=True):
            self._sync(theirs, self._ours[number])
        self._found.identical += 1
        return True

    def _input(self, operation: Operation, slot: int) -> int | None:
        forced = self._forced.get((operation.index, slot))
        return self._number.get(operation.inputs[slot]) if forced is None else forced

    def _force_inputs(self, operation: Operation, partner: Operation) -> None:
        for slot, wanted in self._roles.slots(partner, operation):
            number = self._ours[wanted]
            tensor = operation.inputs[slot]
            if self._number.get(tensor) == number:
                continue
            if (tensor, number) not in self._blamed:
                self._compare(tensor, wanted, (operation, slot))
            if tensor in self._number:
                self._forced[operation.index, slot] = number
            else:
                self._sync(tensor, number)

    def _by_what_it_reads(self, operation: Operation) -> Operation | None:
        """Finds the reference's operation of the same family that reads the most of the same tensors."""
        best: tuple[tuple[int, ...], Operation] | None = None
        for slot, tensor in enumerate(operation.inputs):
            number = self._input(operation, slot)
            if number is None or self._c.is_constant(tensor):
                continue
            for ours in self._readers[operation.family, number]:
                if ours.index in self._roles.taken or self._known(ours) or not self._roles.alike(ours, operation):
                    continue
                score = self._score(ours, operation)
                if best is None or score > best[0]:
                    best = (score, ours)
        if best is None or not self._roles.pair(best[1], operation):
            return None
        return best[1]

    def _known(self, ours: Operation) -> bool:
        return any(self._ours[tensor] in self._synced for tensor in ours.outputs)

    def _score(self, ours: Operation, theirs: Operation) -> tuple[int, ...]:
        read = [self._ours[tensor] for tensor in ours.inputs]
        shared = sum(self._input(theirs, slot) in read for slot in range(len(theirs.inputs)))
        return (
            shared,
            int(ours.attributes == theirs.attributes),
            int(ours.place.scope == theirs.place.scope),
            -ours.index,
        )

    # --- what both sides are made for

    def _ends(self) -> dict[int, list[int]]:
        ends: dict[int, list[int]] = defaultdict(list)
        for path, wanted in self._r.outputs.items():
            if path in self._c.outputs:
                ends[self._c.outputs[path]].append(wanted)
            else:
                self._found.unmatched.append(f"output {path} of the reference")
        for key, theirs in self._c.writes.items():
            ours = self._variables.get(key)
            if ours in self._r.writes:
                ends[theirs].append(self._r.writes[ours])
        return ends

    def _end(self, tensor: int, wanted: int) -> None:
        number = self._ours[wanted]
        if self._number.get(tensor) != number and (tensor, number) not in self._blamed:
            self._compare(tensor, wanted, None)

    # --- comparing

    def _compare(self, tensor: int, wanted: int, reads: tuple[Operation, int] | None) -> None:
        theirs = self._their_part(tensor)
        if theirs is None:
            self._found.limits.append("a part of the candidate is too large to be compared as one")
            return
        start = {self._number[t] for t in theirs.start if t in self._number}
        start |= {self._forced[slot] for slot in theirs.forced}
        ours = self._our_part(wanted, start)
        self._found.compared += 1
        judged = budget.judged(self._kernels, ours, theirs, self._values[wanted])
        self._found.bit_equal &= judged.bit_equal
        if judged.within:
            self._found.ratios.append(judged.ratio)
            return
        self._blamed.add((tensor, self._ours[wanted]))
        blamed = self._our_part(wanted, self._synced)
        self._found.blames.append(
            Blame(
                tuple(blamed.operations),
                tuple(theirs.operations),
                judged,
                ours,
                theirs,
                wanted,
                reads,
                None if reads is None else self._roles.partners.get(reads[0].index),
                self._draws_alone(theirs),
            )
        )

    def _draws_alone(self, theirs: Part) -> bool:
        sources = (self._c.sources.get(tensor) for tensor in theirs.start if tensor not in self._number)
        return any(source is not None and source.kind == "draw" for source in sources)

    def _their_part(self, tensor: int) -> Part | None:
        start: dict[int, object] = {}
        forced: dict[tuple[int, int], tuple[object, str]] = {}
        operations: dict[int, Operation] = {}
        waiting = [tensor]
        while waiting:
            current = waiting.pop()
            made_by = self._c.producers.get(current)
            if current in self._number:
                start[current] = self._values[self._number[current]]
            elif made_by is None:
                start[current] = self._c.sources[current].value
            elif made_by.index not in operations:
                if len(operations) > _LARGEST_PART:
                    return None
                operations[made_by.index] = made_by
                for slot, read in enumerate(made_by.inputs):
                    if (made_by.index, slot) in self._forced:
                        number = self._forced[made_by.index, slot]
                        forced[made_by.index, slot] = self._values[number], f"forced {number}"
                    else:
                        waiting.append(read)
        ordered = [operations[index] for index in sorted(operations)]
        return Part(self._c, ordered, start, tensor, forced)

    def _our_part(self, wanted: int, stop: set[int]) -> Part:
        """The reference's operations between tensors that are known to both and a wanted one."""
        part = self._walk(wanted, stop)
        if part is None and stop is not self._synced:
            part = self._walk(wanted, stop | self._synced)
        return part or Part(self._r, (), {wanted: self._values[wanted]}, wanted, {})

    def _walk(self, wanted: int, stop: set[int]) -> Part | None:
        start: dict[int, object] = {}
        operations: dict[int, Operation] = {}
        waiting = [wanted]
        while waiting:
            current = waiting.pop()
            made_by = self._r.producers.get(current)
            if self._ours[current] in stop or made_by is None:
                start[current] = self._values[current]
            elif made_by.index not in operations:
                if len(operations) > _LARGEST_PART:
                    return None
                operations[made_by.index] = made_by
                waiting.extend(made_by.inputs)
        ordered: Sequence[Operation] = [operations[index] for index in sorted(operations)]
        return Part(self._r, ordered, start, wanted, {})


def _read(program: Program) -> set[int]:
    """Returns the tensors that anybody reads: batch norm gives more than is used."""
    inputs = {tensor for operation in program.operations for tensor in operation.inputs}
    return inputs | {*program.outputs.values(), *program.writes.values()}
