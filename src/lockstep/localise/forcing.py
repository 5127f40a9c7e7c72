"""Forced lockstep: each of the candidate's operations computes on the reference's values, and is held against them.

What both programs compute alike needs no run at all: it has the same number. Where they part, the candidate's
operations between two tensors that are known to correspond run on the reference's values, and what they give is judged
by the noise budget of just these operations. Whatever comes of it, what follows goes on from the reference's value, so
that no error travels and every wrong place is found in one pass.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.common.errors import KernelError
from lockstep.localise import budget, matching
from lockstep.localise.budget import Judged, Part
from lockstep.localise.cutting import Cutting
from lockstep.localise.effects import Place
from lockstep.localise.findings import Blame, Localisation, Unchanged
from lockstep.localise.numbering import Numbering
from lockstep.localise.values import MAX_MEMORY, Values
from lockstep.localise.written_otherwise import Walked, unions, wider, with_effect
from lockstep.program import Operation, Program, dialect
from lockstep.program.dialect import Trait
from lockstep.program.kernels import Kernels

_FURTHER, _FURTHEST_PART = 6, 60
"""Steps that are looked at behind a wrong place for where both sides meet again, and what they may take."""
_BETWEEN = 24
"""Operations that one operation may be in front of another."""
_SAME = 1e-6
"""Relative to the largest magnitude: what float32's constants may differ by when all else is float64."""


Observe = Callable[[Localisation, Values], None]


def localise(
    reference: Program,
    candidate: Program,
    variables: Mapping[str, str],
    kernels: Kernels,
    *,
    max_memory: int = MAX_MEMORY,
    observe: Observe | None = None,
) -> Localisation:
    """Finds every place where the candidate's program computes something else than the reference's.

    Args:
        reference: The reference's program, its sources with values.
        candidate: The candidate's; its own values are not used, but for variables without a partner.
        variables: Candidate's variable key -> the reference's.
        kernels: Runs operations.
        max_memory: Bytes of the reference's values to hold in memory.
        observe: Is shown what was found while the reference's values are still there.
    """
    with Values(reference, kernels, max_memory) as values:
        found = _Pass(reference, candidate, variables, kernels, values).run()
        if observe is not None:
            observe(found, values)
        return found


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
        self._numbers = Numbering(reference, candidate, variables)
        self._cutting = Cutting(reference, candidate, self._numbers, values, kernels)
        self._roles = matching.roles(reference, candidate, variables)
        self._used = _read(reference), _read(candidate)
        self._readers = matching.consumers(reference), matching.consumers(candidate)
        self._ordered_again = _ordered_again(candidate)
        self._together = _put_together(reference), _put_together(candidate)
        self._leads_to = updates_alone(reference)
        self._blamed: set[tuple[int, int]] = set()
        self._places: dict[tuple[int, int], list[Place]] = defaultdict(list)
        self._ended: dict[int, int] = {}  # candidate's tensor -> number that it should have at an end

    def run(self) -> Localisation:
        ends = self._ends()
        pairs = [(tensor, wanted) for tensor, all_wanted in ends.items() for wanted in all_wanted]
        self._ended = {tensor: self._numbers.ours[all_wanted[0]] for tensor, all_wanted in ends.items()}
        for operation in self._c.operations:
            self._visit(operation)
            for tensor in operation.outputs:
                for wanted in ends.pop(tensor, ()):
                    self._end(tensor, wanted)
        for tensor, all_wanted in ends.items():  # handed on from a source, or made by nothing
            for wanted in all_wanted:
                self._end(tensor, wanted)
        self._without_the_harmless(pairs)
        self._found.known = {**self._ended, **self._numbers.theirs}
        self._found.ends = pairs
        self._found.numbers = self._numbers.ours
        return self._found

    def _without_the_harmless(self, ends: Sequence[tuple[int, int]]) -> None:
        found = self._found
        walked = Walked(self._r, self._c, self._numbers, self._values, self._kernels, found.blames, self._places, ends)
        if found.blames and not found.unmatched:
            found.blames, note = with_effect(walked)
            found.notes += [note] if note else []
        found.unions = unions(walked, found.blames, self._cutting)
        found.wholes += wider(walked, found.blames, found.wholes, self._cutting)

    # --- the walk

    def _visit(self, operation: Operation) -> None:
        partner = self._roles.partners.get(operation.index)
        if operation.family == "BatchToSpaceND" and operation.outputs[0] in self._numbers.theirs:
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
        found = self._numbers.same_in_reference(operation)
        same = None if found is None else self._r.producers.get(found[0])
        if (
            same is None
            or self._numbers.is_reached(same)
            or self._same_numbers(same, partner)
            or self._is_before(same, partner)
        ):
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
        return [self._numbers.ours[tensor] for tensor in a.outputs] == [
            self._numbers.ours[tensor] for tensor in b.outputs
        ]

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
        whole = [self._judge(*pair) for pair in pairs] if wrong else []
        if whole and all(found.judged.within for found in whole):
            # Written otherwise, and right: an explicit padding in front of a convolution without one, say.
            for found in whole:
                self._right(found)
            return
        if wrong and (self._gives_what_its_partner_reads(operation, partner) or self._meets(operation, partner)):
            return
        first = len(self._found.blames)
        self._force(wrong, operation)
        self._blame_pieces(operation, pairs, wrong, whole)
        if len(wrong) > 1 and len(whole) == 1 and len(self._found.blames) > first + 1:
            as_it_is = self._as_blame(whole[0])
            sides = tuple(as_it_is.ours.operations), tuple(as_it_is.theirs.operations)
            together = replace(as_it_is, reference=sides[0], candidate=sides[1])
            self._found.wholes.append((tuple(self._found.blames[first:]), together))

    def _blame_pieces(
        self,
        operation: Operation,
        pairs: Sequence[tuple[int, int]],
        wrong: Sequence[_Checked],
        whole: Sequence[_Checked],
    ) -> None:
        """Blames what an operation reads, and what it makes of what it should have read."""
        if self._is_identical(operation):
            self._blame(*wrong)
            return
        structural = [found for found in wrong if not (found.ours.operations and found.theirs.operations)]
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
        return (
            sizes[0] != sizes[1]
            and self._numbers.theirs.get(sides[0].inputs[0]) == self._numbers.ours[sides[1].inputs[0]]
        )

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
        theirs = self._following(self._c, self._readers[1], operation)
        ours = self._following(self._r, self._readers[0], partner)
        for tensor in theirs:
            if tensor in self._numbers.theirs:
                continue
            part = self._cutting.theirs(tensor)
            if len(part.operations) > _FURTHEST_PART:
                continue
            value = self._cutting.computed(part)
            for wanted in ours if value is not None else ():
                alike = _agree(self._kernels.numpy(self._values[wanted]), value)
                if alike and (tensor, wanted) != (theirs[0], ours[0]):
                    found = self._judge_as_it_is(tensor, wanted, None)
                    if found.judged.within:
                        self._roles.part(operation)
                        self._right(found)
                        return True
        return False

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
        if together == (tensor, wanted):
            return False
        if self._c.specs[together[0]].shape != self._r.specs[together[1]].shape:
            # The candidate's own sizes may be others because of a mistake in front of it.
            value = self._cutting.computed(self._cutting.theirs(together[0]))
            if value is None or value.shape != self._r.specs[together[1]].shape:
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
            self._numbers.sync(one.tensor, self._numbers.ours[one.wanted])
        return [one for one in found if not one.judged.within]

    def _key(self, found: _Checked) -> tuple[int, int]:
        return found.tensor, self._numbers.ours[found.wanted]

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
        read = {self._numbers.ours[tensor] for tensor in partner.inputs if not self._r.is_constant(tensor)}
        return {self._numbers.read(operation, slot) for slot, known in enumerate(constants) if not known} == read

    def _inputs(self, operation: Operation, partner: Operation) -> list[_Checked]:
        """Compares what an operation reads with what its partner reads; what is right has its number from then on."""
        found = []
        for slot, wanted in self._roles.slots(partner, operation):
            number, tensor = self._numbers.ours[wanted], operation.inputs[slot]
            if self._numbers.theirs.get(tensor) == number or self._is_another_mask(tensor, wanted):
                continue
            if tensor in self._ordered_again and Trait.LAYOUT in dialect.traits(operation.family):
                continue
            if tensor not in self._numbers.theirs and self._is_given_another_size(tensor, wanted):
                self._numbers.sync(tensor, number)
                made_by = self._c.producers[tensor], self._r.producers[wanted]
                key = made_by[0].inputs[0], self._numbers.ours[made_by[1].inputs[0]]
                self._places[key].append(Place(wanted, tensor))
                continue
            if (tensor, number) in self._blamed:
                self._numbers.forced[operation.index, slot] = number
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
            number = self._numbers.ours[found.wanted]
            self._numbers.reached.add(number)  # gone through, even if the tensor is another one
            if found.tensor in self._numbers.theirs:
                self._numbers.forced[operation.index, found.reads[1]] = number
                place = Place(found.wanted, None, frozenset({(operation.index, found.reads[1])}))
            else:
                self._numbers.sync(found.tensor, number)
                place = Place(found.wanted, found.tensor)
            if not found.judged.within:
                self._places[self._key(found)].append(place)

    def _right(self, found: _Checked) -> None:
        self._found.ratios.append(found.judged.ratio)
        self._found.judged[found.tensor] = found.judged
        self._numbers.reached.add(self._numbers.ours[found.wanted])
        if found.tensor not in self._numbers.theirs:
            self._numbers.sync(found.tensor, self._numbers.ours[found.wanted])

    def _is_identical(self, operation: Operation) -> bool:
        """Whether it computes what the reference computes, by construction; then that is known of what it gives."""
        same = self._numbers.identify(operation)
        self._found.identical += same
        if same:
            self._found.same.add(operation.index)
        return same

    def _by_what_it_reads(self, operation: Operation) -> Operation | None:
        """Finds the reference's operation of the same family that reads the most of the same tensors."""
        best: tuple[tuple[int, ...], Operation] | None = None
        for slot, tensor in enumerate(operation.inputs):
            number = self._numbers.read(operation, slot)
            if number is None or self._c.is_constant(tensor):
                continue
            for ours in self._numbers.readers(operation.family, number):
                if (
                    ours.index in self._roles.taken
                    or self._numbers.is_reached(ours)
                    or not self._roles.alike(ours, operation)
                ):
                    continue
                score = self._score(ours, operation)
                if best is None or score > best[0]:
                    best = (score, ours)
        if best is None or self._roles.is_awaited(best[1], operation) or not self._roles.pair(best[1], operation):
            return None
        return best[1]

    def _score(self, ours: Operation, theirs: Operation) -> tuple[int, ...]:
        read = [self._numbers.ours[tensor] for tensor in ours.inputs]
        shared = sum(self._numbers.read(theirs, slot) in read for slot in range(len(theirs.inputs)))
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
            elif sides == (False, True) and self._numbers.theirs.get(self._c.writes[key]) is None:
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
        number = self._numbers.ours[wanted]
        if self._numbers.theirs.get(tensor) == number:
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
        with self._numbers.supposing(wrong):
            again = self._judge_as_it_is(found.tensor, found.wanted, found.reads)
        if not again.judged.within:
            return found
        self._numbers.theirs.update(wrong)
        for tensor, number in wrong.items():
            self._places[tensor, number].append(Place(number, tensor))
        return again

    def _by_pieces(self, found: _Checked) -> bool:
        """Judges what is joined piece by piece, where both sides join the like, at once or one after another."""
        reads = matching.joined(self._c, found.tensor), matching.joined(self._r, found.wanted)
        theirs, ours = ([operation.inputs[slot] for operation, slot in side] for side in reads)
        shapes = [self._c.specs[t].shape for t in theirs], [self._r.specs[t].shape for t in ours]
        if shapes[0] != shapes[1] or len(theirs) < 2:
            return False
        pairs = [
            n
            for n, (t, w) in enumerate(zip(theirs, ours, strict=True))
            if self._numbers.theirs.get(t) != self._numbers.ours[w]
        ]
        values = [self._cutting.computed(self._cutting.theirs(theirs[n])) for n in pairs]
        wanted = [self._kernels.numpy(self._values[w]) for w in ours]
        moved = any(v is not None and _agree(w, v) for v in values for w in wanted)
        if moved or any(theirs[n] in self._numbers.theirs for n in pairs):
            return False  # in another order, or read from elsewhere
        for n in pairs:
            key = theirs[n], self._numbers.ours[ours[n]]
            if key in self._blamed:
                self._numbers.sync(*key)
                self._places[key].append(Place(ours[n], theirs[n]))
                continue
            judged = self._judge(theirs[n], ours[n], reads[0][n])
            self._blame(*self._go_on([replace(judged, partner=reads[1][n][0] if judged.elsewhere else None)]))
        return True

    def _judge_as_it_is(self, tensor: int, wanted: int, reads: tuple[Operation, int] | None) -> _Checked:
        self._found.compared += 1
        theirs = self._cutting.theirs(tensor)
        ours = self._cutting.ours(wanted, self._cutting.starts(theirs))
        judged = budget.judged(self._kernels, ours, theirs, self._values[wanted])
        self._found.bit_equal &= judged.bit_equal
        lacking = () if judged.within else tuple(self._cutting.ours(wanted, self._numbers.reached).operations)
        elsewhere = reads is not None and self._is_elsewhere(tensor, lacking)
        return _Checked(tensor, wanted, judged, ours, theirs, lacking, reads, elsewhere)

    def _is_elsewhere(self, tensor: int, lacking: Sequence[Operation]) -> bool:
        """Whether a tensor, or what it is a piece of, is known, and is nothing that the lacking operations start from.

        What the candidate lacks on the way to the right tensor, it lacks because nobody asks for it.
        """
        whole: int | None = tensor
        while whole is not None and whole not in self._numbers.theirs:
            whole = matching.picked(self._c, whole)
        if whole is None or not lacking or (whole in self._c.sources and self._c.sources[whole].kind != "input"):
            return False  # a variable or a constant may stand for what is lacking, as moving averages do
        made = {output for operation in lacking for output in operation.outputs}
        given = {self._numbers.ours[read] for operation in lacking for read in operation.inputs if read not in made}
        return self._numbers.theirs[whole] not in given

    def _narrow(self, found: _Checked) -> bool:
        """Looks for tensors on the way that agree, so that only what lies behind them is to blame."""
        ends = found.tensor, found.wanted
        # The ends are among them: a side may be right as a whole where the other goes on.
        theirs = {t: a for t, a in _all(found.theirs, self._kernels).items() if t not in self._numbers.theirs}
        ours = _all(found.ours, self._kernels)
        narrowed = False
        for theirs_tensor, theirs_value in theirs.items():
            for ours_tensor, ours_value in ours.items():
                if (theirs_tensor, ours_tensor) != ends and _agree(ours_value, theirs_value):
                    self._numbers.sync(theirs_tensor, self._numbers.ours[ours_tensor])
                    narrowed = True
                    break
        return narrowed

    def _blame(self, *wrong: _Checked) -> None:
        for found in wrong:
            self._blamed.add(self._key(found))
            self._found.judged[found.tensor] = found.judged
            # Such a draw takes its seed as an input, which the random tool does not hand out.
            past = next((name for name in self._own_draws(found.theirs) if name.startswith("Stateless")), None)
            if past is not None:
                self._found.limits.append(f"random numbers of {past} cannot be aligned with the reference's")
                continue
            self._found.blames.append(self._as_blame(found))

    def _as_blame(self, found: _Checked) -> Blame:
        return Blame(
            () if found.elsewhere else found.lacking,
            () if found.elsewhere else tuple(found.theirs.operations),
            found.judged,
            found.ours,
            found.theirs,
            found.wanted,
            found.reads,
            found.partner or (None if found.reads is None else self._roles.partners.get(found.reads[0].index)),
            bool(self._own_draws(found.theirs)),
            self._leads_to.get(found.wanted),
        )

    def _own_draws(self, theirs: Part) -> list[str]:
        """Names the draws that go into a part and that the reference does not make."""
        sources = (self._c.sources.get(tensor) for tensor in theirs.start if tensor not in self._numbers.given)
        return [source.name for source in sources if source is not None and source.kind == "draw"]


def _read(program: Program) -> set[int]:
    """Returns the tensors that anybody reads: batch norm gives more than is used."""
    inputs = {tensor for operation in program.operations for tensor in operation.inputs}
    return inputs | {*program.outputs.values(), *program.writes.values()}


def _ordered_again(program: Program) -> set[int]:
    """Returns what an operation has put into another order and all that read it do so again."""
    kept = {*program.outputs.values(), *program.writes.values()}
    found = {t for o in program.operations if Trait.LAYOUT in dialect.traits(o.family) for t in o.outputs} - kept
    for operation in program.operations:
        if Trait.LAYOUT not in dialect.traits(operation.family):
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
        except KernelError:  # no float64 kernel
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
