"""From places where two programs part to culprits that a person can act on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lockstep.causes import repairs
from lockstep.causes.causes import cause_of
from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.hypotheses.structure import replaced
from lockstep.localise import budget, waists
from lockstep.localise.findings import Blame, Localisation, Unchanged
from lockstep.localise.forcing import updates_alone
from lockstep.program import Operation, Program
from lockstep.program.kernels import Kernels
from lockstep.results.finding import CHANGED_ALONE, NEVER_CHANGED
from lockstep.results.model import Culprit, gathered
from lockstep.results.pitfalls import Slug

_SHAPING = frozenset({"Reshape", "Transpose", "Cast", "Pack", "Unpack", "StridedSlice", "Fill", "Concat"})


_MANY = 3
"""Places from which on one mistake is looked for first that explains them all: to explain each takes longer."""
_BY_DEFINITION = frozenset({"", "missing-operation", "extra-operation", "wrong-operation"})
"""What can be said of any place: one side has something there that the other has not."""
_SAYS_LITTLE = _BY_DEFINITION | {"flatten-order", "missing-scale"}
"""What leaves open why: the same values in another order, too, may come of other indices, and a factor that is lacking
may be part of a function, as an ELU's alpha is."""
_FUNCTIONS = frozenset({"wrong-activation", "gelu-form"})
"""What is told where both sides compute a function that has a name."""


def culprits(found: Localisation, reference: Program, candidate: Program, kernels: Kernels) -> tuple[Culprit, ...]:
    """Returns one culprit for each place; several rounds of one loop are one place.

    A moving average whose pace is `1 - decay` computed in float32 on one side and in float64 on the other is none.
    """
    many = len(found.blames) > _MANY
    repair = repairs.sought(found, reference, candidate, kernels) if many else None
    blames: list[tuple[Blame, Cause]] = []
    if repair is None:
        blames = _explained(found, reference, candidate, kernels)
        if not many and _says_little(blames):
            repair = repairs.sought(found, reference, candidate, kernels)
    if repair is not None:
        left = dataclasses.replace(found, blames=list(repair.left), unions={}, wholes=[])
        blames = _explained(left, reference, candidate, kernels)
    computed = [_culprit(blame, cause, reference, candidate) for blame, cause in blames]
    told = [*_moved(computed, [blame for blame, _ in blames]), *map(_unchanged, found.unchanged)]
    if repair is not None:
        told.insert(0, _repaired(repair, len(found.blames) - len(repair.left) - 1, reference, candidate))
    return gathered(told)


def _explained(
    found: Localisation, reference: Program, candidate: Program, kernels: Kernels
) -> list[tuple[Blame, Cause]]:
    told = _Explaining(reference, candidate, kernels, updates_alone(reference)).explained(found)
    blames = [(blame, cause) for blame, cause in told if blame.updates is None or not cause.rounded]
    return _each_dropout_once(blames, candidate)


def _says_little(blames: Sequence[tuple[Blame, Cause]]) -> bool:
    """Whether there are several places, or one of which nothing is said but that it is another operation."""
    return len(blames) > 1 or any(cause.pitfall in _SAYS_LITTLE or cause.vague for _, cause in blames)


def _repaired(repair: repairs.Repair, follow: int, reference: Program, candidate: Program) -> Culprit:
    """Tells an edit that repairs all as the one culprit; everything else that was blamed follows from it."""
    sides = tuple(() if operation is None else (operation,) for operation in repair.cause.operations)
    blame = dataclasses.replace(repair.blame, reference=sides[0] or repair.blame.reference, candidate=sides[1])
    return dataclasses.replace(_culprit(blame, repair.cause, reference, candidate), consequences=follow)


@dataclasses.dataclass(frozen=True)
class _Explaining:
    """Looks for the causes of places, and for pieces of those that have none as a whole.

    A piece that is to blame lies in front of a waist behind which the candidate is right; or both pieces have a cause.
    What was found so is a piece of every place that it is in, whatever else is wrong there.

    Attributes:
        known: The ends of places that have a cause, the reference's and the candidate's.
        updates: The reference's tensors that lead to no output -> the variable that they lead to.
    """

    reference: Program
    candidate: Program
    kernels: Kernels
    updates: Mapping[int, str]
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
        for cut in () if blame.drawn else waists.cuts(self.kernels, blame.ours, blame.theirs):
            before = self._first(blame, cut)
            # What is done in half precision is as wrong as the cast in front of it.
            casts = all(operation.type == "Cast" for operation in (*before.reference, *before.candidate))
            if not before.judged.within and not casts:
                yield before, self._cause(before)

    def _in_pieces(self, blame: Blame, cause: Cause, known: int) -> list[tuple[Blame, Cause, int]]:
        if cause.pitfall or blame.drawn or known == len(self.known):
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
_COMPARING = frozenset({"GreaterEqual", "Greater", "Less", "LessEqual"})


def _each_dropout_once(pairs: Sequence[tuple[Blame, Cause]], candidate: Program) -> list[tuple[Blame, Cause]]:
    """Returns places without those that scale what a dropout keeps, where its rate is told by what decides to keep.

    A dropout says its rate twice, as a threshold and as a factor: another rate is one mistake.
    """
    deciding = [
        blame for blame, cause in pairs if cause.pitfall in _OF_RATES and _families(blame.candidate) & _COMPARING
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
