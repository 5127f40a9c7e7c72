"""Forced lockstep: each of the candidate's operations computes on the reference's values, and is held against them.

What both programs compute alike needs no run at all: it has the same number. Where they part, the candidate's
operations between two tensors that are known to correspond run on the reference's values, and what they give is judged
by the noise budget of just these operations. Whatever comes of it, what follows goes on from the reference's value, so
that no error travels and every wrong place is found in one pass.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lockstep.localise import budget, matching
from lockstep.localise.budget import Judged, Part
from lockstep.localise.effects import Place, Whole
from lockstep.localise.kernels import Kernels
from lockstep.localise.values import MAX_MEMORY, Values
from lockstep.program import Operation, Program

_LARGEST_PART = 200
_MOST_COMPUTED = 300_000_000
"""Elements to be computed in search of what is only written otherwise: some ten seconds. A network whose tensors are
larger than that in a few runs is not searched."""
_UNSEARCHED = "some of the operations to blame may only be written otherwise, which was not looked into"
_FIRST_RUNS = 3
"""Runs that every search takes: the reference twice, the candidate with everything mended."""
_NEIGHBOURS = (1, 2, 3, 4, 6, 8)
"""How many neighbouring places may be right together; a factor that changes places makes two, a backward recurrence
that masks its outputs behind itself six."""
_AROUND = ((0, 2), (0, 1, 3), (0, 2, 3), (0, 3))
"""Neighbouring places of which one, or two, are wrong."""
_FURTHER, _FURTHEST_PART = 6, 60
"""Steps that are looked at behind a wrong place for where both sides meet again, and what they may take."""
_MOST_UNIONS = 24
"""Places of which neighbours are looked at together."""
_BETWEEN = 24
"""Operations that one operation may be in front of another."""
_ORDERING = frozenset({"Reshape", "Transpose"})
_SAME = 1e-6
"""Relative to the largest magnitude: what float32's constants may differ by when all else is float64."""


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
        updates: The reference's variable that all this leads to, where it leads to no output.
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
    updates: str | None = None


@dataclass(frozen=True)
class Unchanged:
    """A variable that one side alone updates.

    Attributes:
        reference: Its key in the reference.
        candidate: Its key in the candidate.
        by: The side that updates it: `"reference"` or `"candidate"`.
    """

    reference: str
    candidate: str
    by: str


@dataclass
class Localisation:
    """What forced lockstep found.

    Attributes:
        blames: In the order of the candidate's run.
        unchanged: Variables that one side alone updates.
        identical: Operations of the candidate that compute what the reference computes, by construction.
        compared: Places that were compared by value.
        ratios: Error over budget of those that are right.
        unmatched: What was asked of one side and has no counterpart.
        limits: What could not be followed.
        notes: What was not done for those that are to blame.
        known: Candidate's tensor -> the reference's tensor that it is, or should be.
        unions: Index of one that is to blame -> what it is together with the one before it, nothing being mended
            between them, for when the same is written otherwise there and something is wrong in it. It is not judged:
            few are asked for.
    """

    blames: list[Blame] = field(default_factory=list)
    unchanged: list[Unchanged] = field(default_factory=list)
    identical: int = 0
    compared: int = 0
    ratios: list[float] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bit_equal: bool = True
    known: dict[int, int] = field(default_factory=dict)
    unions: dict[int, Blame] = field(default_factory=dict)

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


@dataclass(frozen=True)
class _Checked:
    """A tensor of the candidate, the reference's that it should be, and what came of the comparison.

    `lacking` are the reference's operations that no tensor of the candidate has gone through yet; `elsewhere` tells
    that the candidate reads something that has nothing to do with them; `partner` is the reference's operation that
    reads it, where that is known otherwise than by the roles.
    """

    tensor: int
    wanted: int
    judged: Judged
    ours: Part
    theirs: Part
    lacking: tuple[Operation, ...]
    reads: tuple[Operation, int] | None = None
    elsewhere: bool = False
    partner: Operation | None = None


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
        self._given: dict[int, int] = {}  # candidate's source -> number, where both have the same
        self._synced: set[int] = set()
        self._blamed: set[tuple[int, int]] = set()
        self._forced: dict[tuple[int, int], int] = {}
        self._roles = matching.roles(reference, candidate, variables)
        self._readers: dict[tuple[str, int], list[Operation]] = defaultdict(list)
        self._used = _read(reference), _read(candidate)
        self._readers_of = matching.consumers(reference), matching.consumers(candidate)
        self._ordered_again = _ordered_again(candidate)
        self._together = _put_together(reference), _put_together(candidate)
        self._leads_to = updates_alone(reference)
        self._blame_keys: list[tuple[int, int]] = []
        self._places: dict[tuple[int, int], list[Place]] = defaultdict(list)
        self._ends_seen: list[tuple[int, list[int]]] = []

    def run(self) -> Localisation:
        self._number_reference()
        self._number_sources()
        ends = self._ends()
        self._ends_seen = list(ends.items())
        self._ended = {tensor: self._ours[all_wanted[0]] for tensor, all_wanted in self._ends_seen}
        for operation in self._c.operations:
            self._visit(operation)
            for tensor in operation.outputs:
                for wanted in ends.pop(tensor, ()):
                    self._end(tensor, wanted)
        for tensor, all_wanted in ends.items():  # handed on from a source, or made by nothing
            for wanted in all_wanted:
                self._end(tensor, wanted)
        self._found.blames = self._with_effect()
        self._found.unions = self._unions()
        self._found.known = {**self._ended, **self._number}
        return self._found

    def _unions(self) -> dict[int, Blame]:
        """Puts each place together with the one before it, if that leads to it."""
        blames, found = self._found.blames, {}
        for n, (before, blame) in enumerate(itertools.pairwise(blames), 1):
            if not before.drawn and not blame.drawn and len(blames) <= _MOST_UNIONS:
                union = self._union(before, blame)
                if union is not None:
                    found[n] = union
        return found

    def _union(self, before: Blame, blame: Blame) -> Blame | None:
        places = self._places[before.theirs.end, self._ours[before.wanted]]
        reads = [read for place in places for read in place.reads]
        seeds = [place.tensor for place in places if place.tensor is not None]
        seeds += [tensor for index, _ in reads for tensor in self._c.operations[index].outputs]
        behind = self._behind(seeds, blame.theirs.end)
        if blame.theirs.end not in behind:
            return None
        kept = {tensor: self._number.pop(tensor) for tensor in behind if tensor in self._number}
        forced = {read: self._forced.pop(read) for read in reads if read in self._forced}
        theirs = self._their_part(blame.theirs.end)
        start = {self._number[t] for t in theirs.start if t in self._number}
        start |= {self._forced[slot] for slot in theirs.forced}
        ours = self._walk(blame.wanted, start)
        self._number.update(kept)
        self._forced.update(forced)
        if ours is None:
            return None
        sides = tuple(ours.operations), tuple(theirs.operations)
        return replace(blame, reference=sides[0], candidate=sides[1], ours=ours, theirs=theirs)

    def _behind(self, seeds: Iterable[int], end: int) -> set[int]:
        """The candidate's tensors that come of some, those among them, up to one."""
        made_by = self._c.producers.get(end)
        found, last = set(seeds), -1 if made_by is None else made_by.index
        for operation in self._c.operations[: last + 1]:
            if not found.isdisjoint(operation.inputs):
                found.update(operation.outputs)
        return found

    def _with_effect(self) -> list[Blame]:
        """Leaves out what is only written otherwise: all of it together, or some neighbouring places."""
        blames = self._found.blames
        if not blames or self._found.unmatched:
            return blames
        rounds = _rounds(blames)
        places = [[place for n in numbers for place in self._places[self._blame_keys[n]]] for numbers in rounds]
        ends = [(tensor, wanted) for tensor, all_wanted in self._ends_seen for wanted in all_wanted]
        # A source that was only forced to what should have been read keeps its own value: another draw is one.
        sources = {tensor: self._values[number] for tensor, number in self._given.items()}
        count = len(rounds)
        # Often all is right but one.
        runs = [tuple(range(count)), *(tuple(m for m in range(count) if m != n) for n in range(count) if count > 1)]
        for together in (n for n in _NEIGHBOURS if n < count):
            runs += [tuple(range(n, n + together)) for n in range(count - together + 1)]
        # What is written otherwise may lie around a mistake.
        runs += [tuple(n + step for step in steps) for steps in _AROUND for n in range(count - steps[-1])]
        runs = runs[: max(_MOST_COMPUTED // _elements(self._c) - _FIRST_RUNS, 0)]
        if not runs:
            self._found.notes.append(
                f"{_UNSEARCHED}: the candidate computes {_elements(self._c):,} numbers a run, and the search may "
                f"compute {_MOST_COMPUTED:,}"
            )
            return blames
        harmless: set[int] = set()
        try:
            whole = Whole(self._r, self._c, sources, self._kernels, places, ends)
            whole.parts = {blame.theirs.end: blame.theirs for blame in blames}
            as_they_are = whole.unmendable
            for free in dict.fromkeys(runs):
                if free != runs[0] and len(harmless) == count - 1:
                    break  # as all together are not harmless
                if not harmless.issuperset(free) and whole.harmless(free):
                    harmless.update(free, as_they_are)
        except Exception as error:  # the framework's own: without a float64 kernel nothing is left out
            said = (str(error).strip().splitlines() or ["(no message)"])[0]
            self._found.notes.append(f"{_UNSEARCHED}: it cannot run in float64 ({type(error).__name__}: {said})")
            return blames
        left = {number for place, numbers in enumerate(rounds) if place not in harmless for number in numbers}
        return [blame for number, blame in enumerate(blames) if number in left]

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
            constant = self._c.is_constant(tensor)
            if key is not None and found is not None and (constant or self._same_spec(found[0], tensor)):
                self._sync(tensor, found[0])
                if not constant:
                    self._given[tensor] = found[0]

    def _same_spec(self, ours: int, theirs: int) -> bool:
        return self._r.specs[ours] == self._c.specs[theirs]

    def _sync(self, theirs: int, number: int) -> None:
        self._number[theirs] = number
        self._synced.add(number)

    # --- the walk

    def _visit(self, operation: Operation) -> None:
        partner = self._roles.partners.get(operation.index)
        if operation.family == "BatchToSpaceND" and operation.outputs[0] in self._number:
            return  # judged with the convolution in front of it
        if partner is None:
            if self._is_identical(operation):
                return
            partner = self._by_what_it_reads(operation)
            if partner is None:
                return
            if not self._differ_in_numbers(partner, operation):
                self._try(partner, operation)
                return
        elif self._is_another(operation, partner) or self._is_on_the_way(operation):
            return
        self._walk_through(operation, partner)

    def _is_on_the_way(self, operation: Operation) -> bool:
        """Whether it only puts into another order what others then put into another again, which decides.

        Between them no order is right or wrong: heads may be split off before or after their axis is moved.
        """
        if operation.outputs[0] not in self._ordered_again:
            return False
        self._is_identical(operation)
        return True

    def _is_another(self, operation: Operation, partner: Operation) -> bool:
        """Whether an operation computes what another of the reference does, which nobody has computed yet.

        Then it has the role of that one, and what reads it should not: a cell's other state, say.
        """
        found = self._same_in_reference(operation)
        same = None if found is None else self._r.producers.get(found[0])
        if same is None or self._known(same) or self._same_numbers(same, partner) or self._is_before(same, partner):
            return False
        self._roles.move(operation, same)
        return self._is_identical(operation)

    def _is_before(self, one: Operation, other: Operation) -> bool:
        """Whether one operation of the reference leads to another soon: what lies between them may be lacking."""
        waiting, seen = list(other.inputs), set[int]()
        while waiting and len(seen) <= _BETWEEN:
            made_by = self._r.producers.get(waiting.pop(0))
            if made_by is one:
                return True
            if made_by is not None and made_by.index not in seen and made_by.index > one.index:
                seen.add(made_by.index)
                waiting.extend(made_by.inputs)
        return False

    def _same_numbers(self, a: Operation, b: Operation) -> bool:
        return [self._ours[tensor] for tensor in a.outputs] == [self._ours[tensor] for tensor in b.outputs]

    def _walk_through(self, operation: Operation, partner: Operation) -> None:
        """Compares an operation with its partner: what it reads, then what it makes of what it should have read."""
        if self._is_spread_otherwise(operation, partner):
            return
        wrong = [found for found in self._inputs(operation, partner) if not found.judged.within]
        pairs = [
            (tensor, wanted)
            for wanted, tensor in zip(partner.outputs, operation.outputs, strict=False)
            if wanted in self._used[0] and tensor in self._used[1]
        ]
        structural = [found for found in wrong if not (found.ours.operations and found.theirs.operations)]
        whole = [self._judge(*pair) for pair in pairs] if wrong else []
        if whole and all(found.judged.within for found in whole):
            # Written otherwise, and right: an explicit padding in front of a convolution without one, say.
            for found in whole:
                self._right(found)
            return
        if wrong and (self._gives_what_its_partner_reads(operation, partner) or self._meets(operation, partner)):
            return
        self._force(wrong, operation)
        if self._is_identical(operation):
            self._blame(*wrong)
            return
        bad = self._go_on([self._judge(*pair) for pair in pairs])
        if bad and structural:
            self._blame(*(found for found in wrong if found not in structural))
            self._blame(*(found for found in whole if not found.judged.within))
            for key in (self._key(one) for one in whole):  # what is left as it is there, is left so here
                self._places[key] += [place for found in structural for place in self._places[self._key(found)]]
        else:
            self._blame(*wrong, *bad)

    def _is_given_another_size(self, tensor: int, wanted: int) -> bool:
        """Whether only a shape is given to what has another size already, which is blamed by itself."""
        sides = self._c.producers.get(tensor), self._r.producers.get(wanted)
        if sides[0] is None or sides[1] is None or not sides[0].type == sides[1].type == "Reshape":
            return False
        sizes = [math.prod(program.specs[side.inputs[0]].shape)
                 for program, side in ((self._c, sides[0]), (self._r, sides[1]))]  # fmt: skip
        return sizes[0] != sizes[1] and self._number.get(sides[0].inputs[0]) == self._ours[sides[1].inputs[0]]

    def _gives_what_its_partner_reads(self, operation: Operation, partner: Operation) -> bool:
        """Whether an operation is the one before its partner, which the candidate then lacks.

        The last addition of a normalisation that is spelled out is no shortcut's, though both lead to one activation.
        """
        if len(operation.outputs) != 1:
            return False
        for wanted in partner.inputs:
            if wanted in self._r.producers and not self._r.is_constant(wanted):
                found = self._judge_as_it_is(operation.outputs[0], wanted, None)
                if found.judged.within:
                    self._roles.part(operation)
                    self._right(found)
                    return True
        return False

    def _meets(self, operation: Operation, partner: Operation) -> bool:
        """Whether what follows an operation is soon what follows its partner, with nothing mended.

        Then the two are no partners: the same factors, say, are multiplied in another order. Where they are of other
        sizes, it is chance: what a border adds may be less than a maximum.
        """
        if not self._roles.alike(partner, operation):
            return False
        theirs = self._following(self._c, self._readers_of[1], operation)
        ours = self._following(self._r, self._readers_of[0], partner)
        for tensor in theirs:
            if tensor in self._number:
                continue
            part = self._their_part(tensor)
            if len(part.operations) > _FURTHEST_PART:
                continue
            value = self._computed(part)
            for wanted in ours if value is not None else ():
                alike = _agree(self._kernels.numpy(self._values[wanted]), value)
                if alike and (tensor, wanted) != (theirs[0], ours[0]):
                    found = self._judge_as_it_is(tensor, wanted, None)
                    if found.judged.within:
                        self._roles.part(operation)
                        self._right(found)
                        return True
        return False

    def _computed(self, part: Part) -> Any:
        """What a part gives, as an array; None where it cannot be computed on the reference's tensors."""
        try:
            return self._kernels.numpy(part.run(self._kernels))
        except Exception:  # the framework's own: sizes that do not fit, say, which are blamed elsewhere
            return None

    @staticmethod
    def _following(program: Program, readers: Mapping[int, Sequence[Operation]], operation: Operation) -> list[int]:
        """Returns what an operation makes, and what is made of that by some steps."""
        found = [operation.outputs[0]]
        for tensor in found:
            for reader in readers.get(tensor, ()):
                made = reader.outputs[0]
                if made not in found and len(found) <= _FURTHER and program.specs[made].floating:
                    found.append(made)
        return found

    def _is_spread_otherwise(self, operation: Operation, partner: Operation) -> bool:
        """Judges a convolution that one side dilates more than the other, together with what is done for that.

        TF1 spreads the input out in space, convolves, and puts it together again; only then are both comparable.
        """
        tensor, wanted = operation.outputs[0], partner.outputs[0]
        if self._c.specs[tensor].shape == self._r.specs[wanted].shape:
            return False
        together = self._together[1].get(tensor, tensor), self._together[0].get(wanted, wanted)
        if together == (tensor, wanted) or self._c.specs[together[0]].shape != self._r.specs[together[1]].shape:
            return False
        self._blame(*self._go_on([self._judge(*together)]))
        return True

    def _go_on(self, found: Sequence[_Checked]) -> list[_Checked]:
        """Goes on from the reference's outputs; returns those that the candidate gets wrong."""
        for one in found:
            if one.judged.within:
                self._right(one)
            else:
                self._places[self._key(one)].append(Place(one.wanted, one.tensor))
            self._sync(one.tensor, self._ours[one.wanted])
        return [one for one in found if not one.judged.within]

    def _key(self, found: _Checked) -> tuple[int, int]:
        return found.tensor, self._ours[found.wanted]

    def _try(self, partner: Operation, operation: Operation) -> None:
        """Takes a partner that only reads some of the same tensors if it gives the same, and otherwise none."""
        for wanted, tensor in zip(partner.outputs, operation.outputs, strict=False):
            if wanted in self._used[0] and tensor in self._used[1]:
                found = self._judge_as_it_is(tensor, wanted, None)
                if found.judged.within:
                    self._right(found)
                    continue
            self._roles.part(operation)
            return

    def _differ_in_numbers(self, partner: Operation, operation: Operation) -> bool:
        """Whether two operations read the same tensors, and differ in constants or attributes alone."""
        constants = [self._c.is_constant(tensor) for tensor in operation.inputs]
        if constants.count(True) != sum(self._r.is_constant(tensor) for tensor in partner.inputs):
            return False
        read = {self._ours[tensor] for tensor in partner.inputs if not self._r.is_constant(tensor)}
        return {self._input(operation, slot) for slot, known in enumerate(constants) if not known} == read

    def _inputs(self, operation: Operation, partner: Operation) -> list[_Checked]:
        """Compares what an operation reads with what its partner reads; what is right has its number from then on."""
        found = []
        for slot, wanted in self._roles.slots(partner, operation):
            number, tensor = self._ours[wanted], operation.inputs[slot]
            if self._number.get(tensor) == number or self._is_another_mask(tensor, wanted):
                continue
            if tensor in self._ordered_again and operation.family in _ORDERING:
                continue
            if tensor not in self._number and self._is_given_another_size(tensor, wanted):
                self._sync(tensor, number)
                made_by = self._c.producers[tensor], self._r.producers[wanted]
                key = made_by[0].inputs[0], self._ours[made_by[1].inputs[0]]
                self._places[key].append(Place(wanted, tensor))
                continue
            if (tensor, number) in self._blamed:
                self._forced[operation.index, slot] = number
                self._places[tensor, number].append(Place(wanted, None, frozenset({(operation.index, slot)})))
                continue
            checked = self._judge(tensor, wanted, (operation, slot))
            if checked.judged.within:
                self._right(checked)
                self._force([checked], operation)
            found.append(checked)
        return found

    def _is_another_mask(self, tensor: int, wanted: int) -> bool:
        """Whether two conditions or indices cannot stand for each other, as they differ in their dimensions."""
        sides = self._c.specs[tensor], self._r.specs[wanted]
        sizes = [[size for size in side.shape if size != 1] for side in sides]
        return not sides[1].floating and sizes[0] != sizes[1]

    def _force(self, wrong: Sequence[_Checked], operation: Operation) -> None:
        """Goes on from the reference's values."""
        for found in wrong:
            assert found.reads is not None
            number = self._ours[found.wanted]
            self._synced.add(number)  # gone through, even if the tensor is another one
            if found.tensor in self._number:
                self._forced[operation.index, found.reads[1]] = number
                place = Place(found.wanted, None, frozenset({(operation.index, found.reads[1])}))
            else:
                self._sync(found.tensor, number)
                place = Place(found.wanted, found.tensor)
            if not found.judged.within:
                self._places[self._key(found)].append(place)

    def _right(self, found: _Checked) -> None:
        self._found.ratios.append(found.judged.ratio)
        self._synced.add(self._ours[found.wanted])
        if found.tensor not in self._number:
            self._sync(found.tensor, self._ours[found.wanted])

    def _same_in_reference(self, operation: Operation) -> tuple[int, ...] | None:
        """Returns the reference's tensors that an operation computes by construction; None where there are none."""
        numbers = [self._input(operation, slot) for slot in range(len(operation.inputs))]
        if any(number is None for number in numbers):
            return None
        key = matching.key_of(operation, self._c, [number for number in numbers if number is not None])
        found = self._table.get(key)
        return None if found is None or len(found) != len(operation.outputs) else found

    def _is_identical(self, operation: Operation) -> bool:
        found = self._same_in_reference(operation)
        if found is None:
            return False
        for theirs, number in zip(operation.outputs, found, strict=True):
            self._sync(theirs, self._ours[number])
        self._found.identical += 1
        return True

    def _input(self, operation: Operation, slot: int) -> int | None:
        forced = self._forced.get((operation.index, slot))
        return self._number.get(operation.inputs[slot]) if forced is None else forced

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
        if best is None or self._roles.is_awaited(best[1], operation) or not self._roles.pair(best[1], operation):
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
        found = self._found
        found.unmatched += [
            f"output {path} of the reference" for path in self._r.outputs if path not in self._c.outputs
        ]
        ends: dict[int, list[int]] = defaultdict(list)
        for theirs, wanted in matching.ends(self._r, self._c, self._variables):
            ends[theirs].append(wanted)
        for key, ours in self._variables.items():
            sides = ours in self._r.writes, key in self._c.writes
            if sides == (True, False) and self._changes(ours):
                found.unchanged.append(Unchanged(ours, key, "reference"))
            elif sides == (False, True) and self._number.get(self._c.writes[key]) is None:
                found.unchanged.append(Unchanged(ours, key, "candidate"))
        return ends

    def _changes(self, key: str) -> bool:
        """Whether the reference leaves another value in a variable than it found."""
        before = [t for t, source in self._r.sources.items() if (source.kind, source.name) == ("variable", key)]
        if not before:
            return True
        values = [self._kernels.numpy(self._values[tensor]) for tensor in (before[0], self._r.writes[key])]
        return not budget.same_bits(values[0], values[1])

    def _end(self, tensor: int, wanted: int) -> None:
        number = self._ours[wanted]
        if self._number.get(tensor) == number:
            return
        known = (tensor, number) in self._blamed
        found = None if known else self._judge(tensor, wanted)
        if found is not None and found.judged.within:
            self._right(found)
            return
        self._places[tensor, number].append(Place(wanted, None, end=tensor))
        if found is not None:
            self._blame(found)

    # --- comparing

    def _judge(self, tensor: int, wanted: int, reads: tuple[Operation, int] | None = None) -> _Checked:
        """Compares a tensor of the candidate, computed on the reference's values, with the reference's."""
        found = self._judge_as_it_is(tensor, wanted, reads)
        if not found.judged.within and self._narrow(found):
            found = self._judge_as_it_is(tensor, wanted, reads)
        if not found.judged.within and self._by_pieces(found):
            found = self._judge_as_it_is(tensor, wanted, reads)
        return found if found.judged.within else self._past_ends(found)

    def _past_ends(self, found: _Checked) -> _Checked:
        """Goes on from outputs of the reference that the candidate gets wrong, if what follows is right then."""
        wrong = {t: self._ended[t] for o in found.theirs.operations for t in o.outputs
                 if t in self._ended and (t, self._ended[t]) in self._blamed and t != found.tensor}  # fmt: skip
        if not wrong:
            return found
        self._number.update(wrong)
        again = self._judge_as_it_is(found.tensor, found.wanted, found.reads)
        if again.judged.within:
            for tensor, number in wrong.items():
                self._places[tensor, number].append(Place(number, tensor))
            return again
        for tensor in wrong:
            del self._number[tensor]
        return found

    def _by_pieces(self, found: _Checked) -> bool:
        """Judges what is joined piece by piece, where both sides join the like, at once or one after another."""
        reads = matching.joined(self._c, found.tensor), matching.joined(self._r, found.wanted)
        theirs, ours = ([operation.inputs[slot] for operation, slot in side] for side in reads)
        shapes = [self._c.specs[t].shape for t in theirs], [self._r.specs[t].shape for t in ours]
        if shapes[0] != shapes[1] or len(theirs) < 2:
            return False
        pairs = [n for n, (t, w) in enumerate(zip(theirs, ours, strict=True)) if self._number.get(t) != self._ours[w]]
        values = [self._computed(self._their_part(theirs[n])) for n in pairs]
        wanted = [self._kernels.numpy(self._values[w]) for w in ours]
        moved = any(v is not None and _agree(w, v) for v in values for w in wanted)
        if moved or any(theirs[n] in self._number for n in pairs):
            return False  # in another order, or read from elsewhere
        for n in pairs:
            key = theirs[n], self._ours[ours[n]]
            if key in self._blamed:
                self._sync(*key)
                self._places[key].append(Place(ours[n], theirs[n]))
                continue
            judged = self._judge(theirs[n], ours[n], reads[0][n])
            self._blame(*self._go_on([replace(judged, partner=reads[1][n][0] if judged.elsewhere else None)]))
        return True

    def _judge_as_it_is(self, tensor: int, wanted: int, reads: tuple[Operation, int] | None) -> _Checked:
        self._found.compared += 1
        theirs = self._their_part(tensor)
        start = {self._number[t] for t in theirs.start if t in self._number}
        start |= {self._forced[slot] for slot in theirs.forced}
        ours = self._our_part(wanted, start)
        judged = budget.judged(self._kernels, ours, theirs, self._values[wanted])
        self._found.bit_equal &= judged.bit_equal
        lacking = () if judged.within else tuple(self._our_part(wanted, self._synced).operations)
        elsewhere = reads is not None and self._is_elsewhere(tensor, lacking)
        return _Checked(tensor, wanted, judged, ours, theirs, lacking, reads, elsewhere)

    def _is_elsewhere(self, tensor: int, lacking: Sequence[Operation]) -> bool:
        """Whether a tensor, or what it is a piece of, is known, and is nothing that the lacking operations start from.

        What the candidate lacks on the way to the right tensor, it lacks because nobody asks for it.
        """
        whole: int | None = tensor
        while whole is not None and whole not in self._number:
            whole = matching.picked(self._c, whole)
        if whole is None or not lacking or (whole in self._c.sources and self._c.sources[whole].kind != "input"):
            return False  # a variable or a constant may stand for what is lacking, as moving averages do
        made = {output for operation in lacking for output in operation.outputs}
        given = {self._ours[read] for operation in lacking for read in operation.inputs if read not in made}
        return self._number[whole] not in given

    def _narrow(self, found: _Checked) -> bool:
        """Looks for tensors on the way that agree, so that only what lies behind them is to blame."""
        ends = found.tensor, found.wanted
        # The ends are among them: a side may be right as a whole where the other goes on.
        theirs = {t: a for t, a in _all(found.theirs, self._kernels).items() if t not in self._number}
        ours = _all(found.ours, self._kernels)
        narrowed = False
        for theirs_tensor, theirs_value in theirs.items():
            for ours_tensor, ours_value in ours.items():
                if (theirs_tensor, ours_tensor) != ends and _agree(ours_value, theirs_value):
                    self._sync(theirs_tensor, self._ours[ours_tensor])
                    narrowed = True
                    break
        return narrowed

    def _blame(self, *wrong: _Checked) -> None:
        for found in wrong:
            self._blamed.add(self._key(found))
            drawn = self._own_draws(found.theirs)
            # Such a draw takes its seed as an input, which the random tool does not hand out.
            past = next((name for name in drawn if name.startswith("Stateless")), None)
            if past is not None:
                self._found.limits.append(f"random numbers of {past} cannot be aligned with the reference's")
                continue
            self._blame_keys.append(self._key(found))
            self._found.blames.append(
                Blame(
                    () if found.elsewhere else found.lacking,
                    () if found.elsewhere else tuple(found.theirs.operations),
                    found.judged,
                    found.ours,
                    found.theirs,
                    found.wanted,
                    found.reads,
                    found.partner or (None if found.reads is None else self._roles.partners.get(found.reads[0].index)),
                    bool(drawn),
                    self._leads_to.get(found.wanted),
                )
            )

    def _value_for(self, number: int | None, tensor: int) -> Any:
        """Returns the reference's value in the shape of the candidate's tensor; None where there is none that fits.

        A condition of one value an example in the reference may be one an element in the candidate.
        """
        if number is None:
            return None
        value, shape = self._values[number], self._c.specs[tensor].shape
        if self._r.specs[number].shape == shape:
            return value
        # With other dimensions nothing could follow: a condition for each example is one for each element here.
        return budget.fitting(self._kernels.numpy(value), shape)

    def _own_draws(self, theirs: Part) -> list[str]:
        """Names the draws that go into a part and that the reference does not make."""
        sources = (self._c.sources.get(tensor) for tensor in theirs.start if tensor not in self._given)
        return [source.name for source in sources if source is not None and source.kind == "draw"]

    def _their_part(self, tensor: int) -> Part:
        start: dict[int, object] = {}
        forced: dict[tuple[int, int], tuple[object, str]] = {}
        operations: dict[int, Operation] = {}
        waiting = [tensor]
        while waiting:
            current = waiting.pop()
            made_by = self._c.producers.get(current)
            known = None if self._c.is_constant(current) else self._value_for(self._number.get(current), current)
            if known is not None:
                start[current] = known
            elif made_by is None:
                start[current] = self._c.sources[current].value
            elif made_by.index not in operations:
                operations[made_by.index] = made_by
                for slot, read in enumerate(made_by.inputs):
                    number = self._forced.get((made_by.index, slot))
                    value = self._value_for(number, read)
                    if value is not None:
                        forced[made_by.index, slot] = value, f"forced {number}"
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


def _rounds(blames: Sequence[Blame]) -> list[list[int]]:
    """Puts together what is written once and ran several times, the rounds of a loop, as one culprit tells them."""
    found: dict[object, list[int]] = defaultdict(list)
    for number, blame in enumerate(blames):
        read_by = () if blame.reads is None else (blame.reads[0],)
        sides = blame.reference, blame.candidate, read_by, () if blame.partner is None else (blame.partner,)
        found[tuple(tuple(dict.fromkeys((o.type, o.place) for o in side)) for side in sides)].append(number)
    return list(found.values())


def _elements(program: Program) -> int:
    """How many numbers a program computes."""
    tensors = (tensor for operation in program.operations for tensor in operation.outputs)
    return max(sum(math.prod(program.specs[tensor].shape) for tensor in tensors), 1)


def _read(program: Program) -> set[int]:
    """Returns the tensors that anybody reads: batch norm gives more than is used."""
    inputs = {tensor for operation in program.operations for tensor in operation.inputs}
    return inputs | {*program.outputs.values(), *program.writes.values()}


def _ordered_again(program: Program) -> set[int]:
    """Returns what an operation has put into another order and all that read it do so again."""
    kept = {*program.outputs.values(), *program.writes.values()}
    found = {t for o in program.operations if o.family in _ORDERING for t in o.outputs} - kept
    for operation in program.operations:
        if operation.family not in _ORDERING:
            found.difference_update(operation.inputs)
    return found


def _put_together(program: Program) -> dict[int, int]:
    """Returns what was computed on an input that is spread out in space -> the same, put together again."""
    return {o.inputs[0]: o.outputs[0] for o in program.operations if o.family == "BatchToSpaceND"}


def updates_alone(program: Program) -> dict[int, str]:
    """Returns the tensors that lead to no output, with the variable whose update they lead to."""
    to_outputs = _ancestors(program, program.outputs.values(), set())
    found: dict[int, str] = {}
    for key, tensor in program.writes.items():
        for ancestor in _ancestors(program, [tensor], to_outputs):
            found.setdefault(ancestor, key)
    return found


def _ancestors(program: Program, tensors: Iterable[int], stop: set[int]) -> set[int]:
    found: set[int] = set()
    waiting = [tensor for tensor in tensors if tensor not in stop]
    while waiting:
        tensor = waiting.pop()
        if tensor in found or tensor in stop:
            continue
        found.add(tensor)
        made_by = program.producers.get(tensor)
        waiting.extend(made_by.inputs if made_by is not None else ())
    return found


def _all(part: Part, kernels: Kernels) -> dict[int, np.ndarray]:
    """Returns its end and every tensor that a part computes, in float64 where it can be had."""
    for double in (True, False):
        values: dict[int, Any] = {part.end: part.start[part.end]} if part.end in part.start else {}
        try:
            part.run(kernels, double=double, every=values)
        except Exception:  # the framework's own: no float64 kernel
            continue
        return {tensor: kernels.numpy(value) for tensor, value in values.items()}
    return {}


def _agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two tensors on the way are the same but for rounding; what is constant all over tells nothing."""
    theirs_shaped = budget.shaped(theirs, ours.shape)
    if theirs_shaped is None or ours.size < 2 or ours.dtype.kind != "f" or theirs.dtype.kind != "f":
        return False
    scale = min(budget.largest_ordinary(ours), budget.largest_ordinary(theirs))  # beside a mask all else is small
    if not np.isfinite(ours).all() or float(np.ptp(ours)) <= _SAME * scale:
        return False
    return bool((np.abs(theirs_shaped - ours) <= _SAME * np.maximum(np.abs(ours), scale)).all())
