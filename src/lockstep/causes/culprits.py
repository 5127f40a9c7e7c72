"""From places where two programs part to culprits that a person can act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from lockstep.causes import repairs
from lockstep.causes.causes import cause_of, untested
from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.hypotheses.structure import replaced
from lockstep.common.search_time import SearchTime, Watch
from lockstep.localise import budget, waists
from lockstep.localise.findings import Blame, Localisation, Unchanged
from lockstep.localise.forcing import updates_alone
from lockstep.program import Operation, Program
from lockstep.program.dialect import Trait, having
from lockstep.program.kernels import Kernels
from lockstep.results.finding import CHANGED_ALONE, NEVER_CHANGED
from lockstep.results.model import Culprit, gathered
from lockstep.results.pitfalls import Slug

_SHAPING = frozenset({"Reshape", "Transpose", "Cast", "Pack", "Unpack", "StridedSlice", "Fill"})


_MANY = 3
"""Places from which on one mistake is looked for first that explains them all: to explain each takes longer."""
_BY_DEFINITION = frozenset({"", "missing-operation", "extra-operation", "wrong-operation"})
"""What can be said of any place: one side has something there that the other has not."""
_SAYS_LITTLE = _BY_DEFINITION | {"flatten-order", "missing-scale"}
"""What leaves open why: the same values in another order, too, may come of other indices, and a factor that is lacking
may be part of a function, as an ELU's alpha is."""
_FUNCTIONS = frozenset({"wrong-activation", "gelu-form"})
"""What is told where both sides compute a function that has a name."""


def culprits(
    found: Localisation,
    reference: Program,
    candidate: Program,
    kernels: Kernels,
    allowed: SearchTime | None = None,
) -> tuple[Culprit, ...]:
    """Returns one culprit for each place; several rounds of one loop are one place.

    A moving average whose pace is `1 - decay` computed in float32 on one side and in float64 on the other is none.

    Args:
        found: What forced lockstep blames; a note is added to it where the time was over before all was tried.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.
        allowed: How long causes are looked for. It decides what is said of places, and never whether there are any.
    """
    watch = Watch(allowed or SearchTime())
    many = len(found.blames) > _MANY
    repair = repairs.sought(found, reference, candidate, kernels, watch) if many else None
    blames: list[tuple[Blame, Cause]] = []
    if repair is None:
        blames = _explained(found, reference, candidate, kernels, watch)
        if not many and _says_little(blames):
            repair = repairs.sought(found, reference, candidate, kernels, watch, alone=True)
            repair = repair if repair is not None and _says_more(repair, blames) else None
    if repair is not None:
        left = dataclasses.replace(found, blames=list(repair.left), unions={}, wholes=[])
        blames = _explained(left, reference, candidate, kernels, watch)
    if (note := watch.note()) is not None and (repair is None or watch.unexplained):
        found.notes.append(note)
    computed = [_culprit(blame, cause, reference, candidate) for blame, cause in blames]
    moved = _moved(computed, [blame for blame, _ in blames])
    told = [*_each_line_once(moved, blames), *map(_unchanged, found.unchanged)]
    if repair is not None:
        told = [*(_repaired(each, reference, candidate) for each in repair.found), *told]
    return gathered(told)


def _each_line_once(culprits: Sequence[Culprit], blames: Sequence[tuple[Blame, Cause]]) -> list[Culprit]:
    """Tells what one line of the candidate does wrong once, with the count: in all rounds of a loop, in all layers."""
    told: dict[Hashable, Culprit] = {}
    for culprit, (blame, cause) in zip(culprits, blames, strict=True):
        named = bool(cause.pitfall) and not cause.vague and bool(culprit.source) and blame.updates is None
        key = (culprit.source, culprit.kind, culprit.cause, culprit.fix, culprit.operations) if named else id(culprit)
        first = told.get(key)
        told[key] = culprit if first is None else dataclasses.replace(first, consequences=first.consequences + 1)
    return list(told.values())


def _says_more(repair: repairs.Repairs, blames: Sequence[tuple[Blame, Cause]]) -> bool:
    """Whether edits are fewer than places, or tell a cause where a place had none.

    What is left in a variable may be off by less than a run that is partly in float32 can tell: an update that has a
    cause of its own is not dropped for it.
    """
    causes = {each.cause.pitfall for each in repair.found}
    left = {blame.updates for blame in repair.left}
    for blame, cause in blames:
        own = not cause.vague and cause.pitfall not in causes | _SAYS_LITTLE
        if own and blame.updates is not None and blame.updates not in left:
            return False
    told = len(repair.found) + len(repair.left)
    without = sum(cause.pitfall in _SAYS_LITTLE or cause.vague for _, cause in blames)
    return told == 1 or told < len(blames) or (told == len(blames) and without > len(repair.left))


def _explained(
    found: Localisation, reference: Program, candidate: Program, kernels: Kernels, watch: Watch
) -> list[tuple[Blame, Cause]]:
    told = _Explaining(reference, candidate, kernels, updates_alone(reference), watch).explained(found)
    blames = [(blame, cause) for blame, cause in told if blame.updates is None or not cause.rounded]
    return _each_dropout_once(blames, candidate)


def _says_little(blames: Sequence[tuple[Blame, Cause]]) -> bool:
    """Whether there are several places, or one of which nothing is said but that it is another operation."""
    return len(blames) > 1 or any(cause.pitfall in _SAYS_LITTLE or cause.vague for _, cause in blames)


def _repaired(repair: repairs.Repair, reference: Program, candidate: Program) -> Culprit:
    """Tells an edit of a repair as one culprit; what was blamed because of it follows from it."""
    sides = tuple(() if operation is None else (operation,) for operation in repair.cause.operations)
    blame = dataclasses.replace(repair.blame, reference=sides[0] or repair.blame.reference, candidate=sides[1])
    return dataclasses.replace(_culprit(blame, repair.cause, reference, candidate), consequences=repair.follow)


@dataclasses.dataclass(frozen=True)
class _Explaining:
    """Looks for the causes of places, and for pieces of those that have none as a whole.

    A piece that is to blame lies in front of a waist behind which the candidate is right; or both pieces have a cause.
    What was found so is a piece of every place that it is in, whatever else is wrong there.

    Attributes:
        known: The ends of places that have a cause, the reference's and the candidate's.
        updates: The reference's tensors that lead to no output -> the variable that they lead to.
        watch: Tells when to stop.
    """

    reference: Program
    candidate: Program
    kernels: Kernels
    updates: Mapping[int, str]
    watch: Watch
    known: set[tuple[int, int]] = dataclasses.field(default_factory=set)

    def explained(self, found: Localisation) -> list[tuple[Blame, Cause]]:
        """Returns places or their pieces, each with its cause; places that have one cause together are one."""
        ones, within = self._ones(found)
        pairs = {
            n: ones.get(n) or self._narrowed(blame, self._cause(blame))
            for n, blame in enumerate(found.blames)
            if n in ones or n not in within
        }
        apart = {n: union for n, union in found.unions.items() if within.isdisjoint((n - 1, n))}
        whole = self._together(pairs, apart)
        self.known.update((blame.ours.end, blame.theirs.end) for blame, cause in whole if cause.pitfall)
        looked_at = [(*pair, -1) for pair in whole]  # with how much was known when it was last looked at, in vain
        for _ in range(2):  # what one place told of a piece may be needed to tell another that came before
            looked_at = [piece for each in looked_at for piece in self._in_pieces(*each)]
        return [(blame, cause if cause.pitfall else replaced(blame) or cause) for blame, cause, _ in looked_at]

    def _ones(self, found: Localisation) -> tuple[dict[int, tuple[Blame, Cause]], set[int]]:
        """Returns what explains all that one operation reads, by the first of these places, and all such places.

        That is a function in place of another: it cannot be chance that both are known ones. Any other cause might hide
        mistakes that only meet there.
        """
        ones, within = {}, set[int]()
        for members, whole in sorted(found.wholes, key=lambda each: -len(each[0])):
            places = [n for n, blame in enumerate(found.blames) if any(blame is one for one in members)]
            if len(places) != len(members) or not within.isdisjoint(places):
                continue
            cause = self._cause(whole)
            if cause.pitfall in _FUNCTIONS and not cause.vague:
                ones[places[0]] = self._narrowed(whole, cause)
                within.update(places)
        return ones, within

    def _together(
        self, pairs: Mapping[int, tuple[Blame, Cause]], unions: Mapping[int, Blame]
    ) -> list[tuple[Blame, Cause]]:
        """Puts neighbours together that each only have or lack something, if together they have another cause."""
        found: list[tuple[Blame, Cause]] = []
        for n, pair in pairs.items():
            union = unions.get(n) if found and found[-1] is pairs.get(n - 1) else None
            if union is not None and all(c.pitfall in _BY_DEFINITION or c.vague for c in (found[-1][1], pair[1])):
                cause = self._cause(union)
                if cause.pitfall not in _BY_DEFINITION and not cause.vague:
                    wanted = union.ours.run(self.kernels)
                    judged = budget.judged(self.kernels, union.ours, union.theirs, wanted)
                    found[-1] = self._narrowed(dataclasses.replace(union, judged=judged), cause)
                    continue
            found.append(pair)
        return found

    def _cause(self, blame: Blame) -> Cause:
        # An update may turn out to be none, as its pace is only rounded otherwise: on that a verdict depends.
        if blame.updates is None and self.watch.over():
            self.watch.unexplained += 1
            return untested(blame, self.reference, self.candidate, self.kernels)
        self.watch.explained += 1
        self.watch.says()
        return cause_of(blame, self.reference, self.candidate, self.kernels)

    def _narrowed(self, blame: Blame, cause: Cause) -> tuple[Blame, Cause]:
        """Returns the smallest piece that has the same cause and is right behind it in the place of the whole.

        Where all that is known of the whole is how the results are related, any cause of a piece is better.
        """
        if not cause.pitfall:
            return blame, cause
        pieces = list(self._before(blame))
        better = [pair for pair in pieces if pair[1].pitfall and not pair[1].vague] if cause.vague else []
        told = better or [pair for pair in pieces if pair[1].pitfall == cause.pitfall]
        return min(told, key=lambda pair: _size(pair[0]), default=(blame, cause))

    def _before(self, blame: Blame) -> Iterator[tuple[Blame, Cause]]:
        """Yields what alone may be to blame, as behind it the candidate is right."""
        stop = blame.drawn or self.watch.over()
        for cut in () if stop else waists.cuts(self.kernels, blame.ours, blame.theirs):
            before = self._first(blame, cut)
            # What is done in half precision is as wrong as the cast in front of it.
            casts = all(operation.type == "Cast" for operation in (*before.reference, *before.candidate))
            if not before.judged.within and not casts:
                yield before, self._cause(before)

    def _in_pieces(self, blame: Blame, cause: Cause, known: int) -> list[tuple[Blame, Cause, int]]:
        if cause.pitfall or blame.drawn or known == len(self.known) or self.watch.over():
            return [(blame, cause, known)]
        pieces = self._pieces(blame, cause)
        return [(*pair, len(self.known) if pair[0] is blame else -1) for pair in pieces]

    def _pieces(self, blame: Blame, cause: Cause) -> list[tuple[Blame, Cause]]:
        alone = list(self._before(blame))
        if alone:
            blame, cause = next((pair for pair in alone if pair[1].pitfall), alone[0])
            if cause.pitfall:
                self.known.add((blame.ours.end, blame.theirs.end))
                return [(blame, cause)]
        likely = None
        for cut in waists.pieces(self.kernels, blame.ours, blame.theirs):
            both = self._first(blame, cut), self._second(blame, cut)
            if any(piece.judged.within for piece in both):
                continue
            pairs = [(piece, self._cause(piece)) for piece in both]
            ends = cut.ours.end, cut.theirs.end
            if all(cause.pitfall for _, cause in pairs):
                self.known.add(ends)
                return pairs
            likely = likely or (pairs if ends in self.known else None)
        return likely or [(blame, cause)]

    def _first(self, blame: Blame, cut: waists.Cut) -> Blame:
        """The piece in front of a waist."""
        reader = next(o for o in cut.theirs_after.operations if cut.theirs.end in o.inputs)
        ours = {operation.index for operation in cut.ours.operations}
        return dataclasses.replace(
            blame,
            reference=tuple(operation for operation in blame.reference if operation.index in ours),
            candidate=tuple(cut.theirs.operations),
            judged=budget.judged(self.kernels, cut.ours, cut.theirs, cut.value),
            ours=cut.ours,
            theirs=cut.theirs,
            wanted=cut.ours.end,
            reads=None if cut.theirs.operations else (reader, reader.inputs.index(cut.theirs.end)),
            partner=None,
            updates=self.updates.get(cut.ours.end),
        )

    def _second(self, blame: Blame, cut: waists.Cut) -> Blame:
        """The piece behind it."""
        ours, theirs = ({operation.index for operation in part.operations} for part in (cut.ours, cut.theirs))
        return dataclasses.replace(
            blame,
            reference=tuple(operation for operation in blame.reference if operation.index not in ours),
            candidate=tuple(operation for operation in blame.candidate if operation.index not in theirs),
            judged=budget.judged(self.kernels, cut.ours_after, cut.theirs_after, cut.wanted),
            ours=cut.ours_after,
            theirs=cut.theirs_after,
        )


_OF_RATES = frozenset({"keep-prob-as-rate", "dropout-rate"})


def _each_dropout_once(pairs: Sequence[tuple[Blame, Cause]], candidate: Program) -> list[tuple[Blame, Cause]]:
    """Returns places without those that scale what a dropout keeps, where its rate is told by what decides to keep.

    A dropout says its rate twice, as a threshold and as a factor: another rate is one mistake.
    """
    deciding = [
        blame
        for blame, cause in pairs
        if cause.pitfall in _OF_RATES and _families(blame.candidate) & having(Trait.COMPARES)
    ]

    def repeats(blame: Blame, cause: Cause) -> bool:
        if cause.pitfall not in _OF_RATES or any(blame is one for one in deciding):
            return False
        return any(_meet(candidate, mask.theirs.end, blame.theirs.end) for mask in deciding)

    return [(blame, cause) for blame, cause in pairs if not repeats(blame, cause)]


def _meet(program: Program, mask: int, scaled: int) -> bool:
    """Tells whether what is scaled is chosen by a mask, which may be cast: before it is scaled, or after that."""
    return scaled in _near(program, mask, 3) or not _near(program, mask, 2).isdisjoint(_near(program, scaled, 1))


def _near(program: Program, tensor: int, steps: int) -> set[int]:
    """Returns a tensor and what is made of it within some steps."""
    found = {tensor}
    for _ in range(steps):
        found |= {made for o in program.operations if not found.isdisjoint(o.inputs) for made in o.outputs}
    return found


def _families(operations: Iterable[Operation]) -> set[str]:
    return {operation.family for operation in operations}


def _size(blame: Blame) -> int:
    return len(blame.ours.operations) + len(blame.theirs.operations)


def _moved(culprits: Sequence[Culprit], blames: Sequence[Blame]) -> list[Culprit]:
    """What one place lacks and another has too many is one operation in another place, past what reads it there."""
    lacking = [c.operations[0] for c in culprits if c.operations[0] and not c.operations[1]]
    surplus = [c.operations[1] for c in culprits if c.operations[1] and not c.operations[0]]
    both = {types for types in lacking if types in surplus}

    def told(culprit: Culprit, blame: Blame) -> Culprit:
        types = culprit.operations[0] or culprit.operations[1]
        if all(culprit.operations) or types not in both:
            return culprit
        fix = "apply it in the same place"
        pitfall: Slug = "dropout-place" if culprit.pitfall == "dropout-place" else "operation-order"
        if culprit.operations[0]:
            cause = f"{culprit.cause}, and has it in another place"
            return dataclasses.replace(culprit, cause=cause, pitfall=pitfall, fix=fix)
        past = blame.partner
        return dataclasses.replace(
            culprit,
            reference=_name(past) or culprit.reference,
            reference_source=_source(past) or culprit.reference_source,
            cause=f"{culprit.cause}, in the wrong place",
            pitfall=pitfall,
            fix=fix,
            scopes=(_scope(past) or culprit.scopes[0], culprit.scopes[1]),
        )

    return [told(*both_of) for both_of in zip(culprits, blames, strict=True)]


def _culprit(blame: Blame, cause: Cause, reference: Program, candidate: Program) -> Culprit:
    ours = cause.operations[0] or main_operation(blame.reference)
    theirs = cause.operations[1] or main_operation(blame.candidate)
    if ours is not None and theirs is not None and ours.type in _SHAPING and theirs.type not in _SHAPING:
        ours = None  # what both do to the order of values is not what only the candidate computes
    reads = blame.reads[0] if blame.reads is not None else None
    beside = _beside(blame, theirs, reference)
    judged, kind = blame.judged, _kind(blame)
    scale = judged.scale or 1.0
    variables = _variables(reference, blame.reference) or _variables(candidate, blame.candidate)
    return Culprit(
        reference=blame.updates if kind == "state" else _name(ours or beside),
        candidate=_name(theirs or (reads if ours is None else None)),
        kind=kind,
        cause=cause.sentence,
        error=judged.error / scale,
        noise_budget=judged.budget / scale if judged.budget else None,
        source=_source(theirs or reads),
        reference_source=_source(ours or beside),
        pitfall=cause.pitfall,
        fix=cause.fix,
        operations=(_types(blame.reference), _types(blame.candidate)),
        attributes=cause.attributes,
        variables=variables,
        scopes=(_scope(ours or beside), _scope(theirs or reads)),
        largest_ratio=judged.ratio,
    )


def _beside(blame: Blame, theirs: Operation | None, reference: Program) -> Operation | None:
    """Returns what goes with what only the candidate has: what reads it, if of one scope, or what it is applied to."""
    reads = blame.reads[0] if blame.reads is not None else None
    applied_to = reference.producers.get(blame.wanted)
    while applied_to is not None and applied_to.type in _SHAPING and not reference.variables_read(applied_to):
        before = reference.producers.get(applied_to.inputs[0])
        if before is None:
            break
        applied_to = before
    # Another order of values is none by itself: it is what reads them that takes them for something else.
    if theirs is None or reads is None or theirs.type in _SHAPING or reads.place.scope == theirs.place.scope:
        return blame.partner or applied_to
    return applied_to or blame.partner


def _kind(blame: Blame) -> str:
    if blame.updates is not None:
        return "state"
    return "draw" if blame.drawn else "operation"


def _unchanged(variable: Unchanged) -> Culprit:
    if variable.by == "reference":
        cause, fix = NEVER_CHANGED, "update it in training, as the reference does"
    else:
        cause, fix = CHANGED_ALONE, "leave it alone"
    pitfall: Slug = "missing-update" if variable.by == "reference" else "extra-update"
    return Culprit(variable.reference, variable.candidate, "state", cause, pitfall=pitfall, fix=fix)


def main_operation(operations: Sequence[Operation]) -> Operation | None:
    """Returns the operation that a part is named after: the last one that computes, not only rearranges."""
    computing = [operation for operation in operations if operation.type not in _SHAPING]
    return (computing or list(operations) or [None])[-1]  # type: ignore[list-item]


def _name(operation: Operation | None) -> str | None:
    return None if operation is None else operation.place.name


def _scope(operation: Operation | None) -> str | None:
    return None if operation is None else operation.place.scope


def _source(operation: Operation | None) -> str | None:
    return operation.place.source or None if operation is not None else None


def _types(operations: Iterable[Operation]) -> tuple[str, ...]:
    return tuple(operation.type for operation in operations)


def _variables(program: Program, operations: Iterable[Operation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for operation in operations for key in program.variables_read(operation)))
