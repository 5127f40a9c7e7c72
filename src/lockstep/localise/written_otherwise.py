"""Places to blame -> those that are more than written otherwise, and what neighbours are together.

Looked at operation by operation, `(x * s) W` against `(x W) * s` has a factor too many in one place and lacks one in
another. Which places are harmless together is searched here; `effects` says of some whether they are.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lockstep.common.errors import KernelError
from lockstep.localise import effects
from lockstep.localise.cutting import Cutting
from lockstep.localise.effects import Place
from lockstep.localise.findings import Blame, Together
from lockstep.localise.numbering import Numbering
from lockstep.localise.values import Values
from lockstep.program import Program
from lockstep.program.kernels import Kernels

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
_MOST_UNIONS = 24
"""Places of which neighbours are looked at together."""


@dataclass(frozen=True)
class Walked:
    """What a walk through the candidate's program leaves behind.

    Attributes:
        reference: The reference's program.
        candidate: The candidate's.
        numbers: Of their tensors, at the end of the walk.
        values: The reference's.
        kernels: Run operations.
        blames: Places that are beyond their budget, in the order of the run.
        places: Candidate's tensor and number -> where the candidate was made to go on from the reference's value.
        ends: Tensors of the candidate and of the reference that both programs are made for.
    """

    reference: Program
    candidate: Program
    numbers: Numbering
    values: Values
    kernels: Kernels
    blames: Sequence[Blame]
    places: Mapping[tuple[int, int], Sequence[Place]]
    ends: Sequence[tuple[int, int]]

    def mended(self, blame: Blame) -> Sequence[Place]:
        """Where the candidate was made to go on behind a place to blame."""
        return self.places.get((blame.theirs.end, self.numbers.ours[blame.wanted]), ())


def with_effect(walked: Walked) -> tuple[list[Blame], str]:
    """Leaves out what is only written otherwise: all of it together, or some neighbouring places.

    Returns:
        What is left, and why nothing was looked into; empty where it was.
    """
    blames = list(walked.blames)
    rounds = _rounds(blames)
    places = [[place for n in numbers for place in walked.mended(blames[n])] for numbers in rounds]
    # A source that was only forced to what should have been read keeps its own value: another draw is one.
    sources = {tensor: walked.values[number] for tensor, number in walked.numbers.given.items()}
    elements = _elements(walked.candidate)
    most = max(_MOST_COMPUTED // elements - _FIRST_RUNS, 0)
    runs = list(itertools.islice(_runs(len(rounds), most), most))
    if not runs:
        computes = f"the candidate computes {elements:,} numbers a run, and the search may compute {_MOST_COMPUTED:,}"
        return blames, f"{_UNSEARCHED}: {computes}"
    harmless: set[int] = set()
    try:
        whole = effects.Whole(walked.reference, walked.candidate, sources, walked.kernels, places, walked.ends)
        whole.parts = {blame.theirs.end: blame.theirs for blame in blames}
        as_they_are = whole.unmendable
        for free in dict.fromkeys(runs):
            if free != runs[0] and len(harmless) == len(rounds) - 1:
                break  # as all together are not harmless
            if not harmless.issuperset(free) and whole.harmless(free):
                harmless.update(free, as_they_are)
    except KernelError as error:  # without a float64 kernel nothing is left out
        said = (str(error).strip().splitlines() or ["(no message)"])[0]
        return blames, f"{_UNSEARCHED}: it cannot run in float64 ({type(error).__name__}: {said})"
    left = {number for place, numbers in enumerate(rounds) if place not in harmless for number in numbers}
    return [blame for number, blame in enumerate(blames) if number in left], ""


def _runs(count: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yields the places that may be right together: all, all but one, some neighbours, what lies around a mistake.

    >>> list(_runs(3, 12))
    [(0, 1, 2), (1, 2), (0, 2), (0, 1), (0,), (1,), (2,), (0, 1), (1, 2), (0, 2)]
    >>> list(_runs(3, 11))
    [(0, 1, 2), (0,), (1,), (2,), (0, 1), (1, 2), (0, 2)]

    Args:
        count: How many places there are.
        most: How many of these will be tried. All but one are as many as there are places, and left out where they
            would leave less than three quarters to the others: there may be two mistakes.
    """
    yield tuple(range(count))
    if 1 < count <= most // 4:
        yield from (tuple(m for m in range(count) if m != n) for n in range(count))
    for together in (n for n in _NEIGHBOURS if n < count):
        yield from (tuple(range(n, n + together)) for n in range(count - together + 1))
    for steps in _AROUND:
        yield from (tuple(n + step for step in steps) for n in range(count - steps[-1]))


def unions(walked: Walked, blames: Sequence[Blame], cutting: Cutting) -> dict[int, Blame]:
    """Puts each place together with the one before it, if that leads to it; see `Localisation.unions`."""
    found: dict[int, Blame] = {}
    if len(blames) > _MOST_UNIONS:
        return found
    for n, (before, blame) in enumerate(itertools.pairwise(blames), 1):
        union = _union(walked, (before,), blame, cutting)
        if union is not None:
            found[n] = union
    return found


def wider(walked: Walked, blames: Sequence[Blame], wholes: Sequence[Together], cutting: Cutting) -> list[Together]:
    """Puts what one operation reads together with the place before it, if that leads to it, too."""
    found: list[Together] = []
    if len(blames) > _MOST_UNIONS:
        return found
    for members, whole in wholes:
        n = next((n for n, blame in enumerate(blames) if blame is members[0]), 0)
        if n:
            all_of_it = (blames[n - 1], *members)
            union = _union(walked, all_of_it, whole, cutting)
            if union is not None:
                found.append((all_of_it, union))
    return found


def _union(walked: Walked, befores: Sequence[Blame], blame: Blame, cutting: Cutting) -> Blame | None:
    """Returns a place as it is where nothing is mended in some before it; None where that cannot be told."""
    if any(one.drawn for one in (*befores, blame)):
        return None
    numbers, places = walked.numbers, [place for before in befores for place in walked.mended(before)]
    reads = [read for place in places for read in place.reads]
    seeds = [place.tensor for place in places if place.tensor is not None]
    seeds += [tensor for index, _ in reads for tensor in walked.candidate.operations[index].outputs]
    behind = _behind(walked.candidate, seeds, blame.theirs.end)
    if blame.theirs.end not in behind:
        return None
    with numbers.without(behind, reads):
        theirs = cutting.theirs(blame.theirs.end)
        ours = cutting.between(cutting.starts(theirs), blame.wanted)
    if ours is None:
        return None
    sides = tuple(ours.operations), tuple(theirs.operations)
    for before in befores:
        for part, side in zip((before.reference, before.candidate), sides, strict=True):
            if not {operation.index for operation in part} <= {operation.index for operation in side}:
                return None  # what was known besides keeps the two apart
    return replace(blame, reference=sides[0], candidate=sides[1], ours=ours, theirs=theirs)


def _behind(program: Program, seeds: Iterable[int], end: int) -> set[int]:
    """The tensors that come of some, those among them, up to one."""
    made_by = program.producers.get(end)
    found, last = set(seeds), -1 if made_by is None else made_by.index
    for operation in program.operations[: last + 1]:
        if not found.isdisjoint(operation.inputs):
            found.update(operation.outputs)
    return found


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
