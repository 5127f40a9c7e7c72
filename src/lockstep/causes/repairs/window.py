"""Cuts two large programs down to what lies around the places that are blamed, so that edits can be tried there.

Forced lockstep has judged each part of the candidate on the reference's values. So an edit after which what was wrong
is the reference's, and all else that leaves the window still is, puts right all that follows: nothing further on needs
to run. What goes into the window is the reference's on both sides.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockstep.causes.repairs import region
from lockstep.causes.repairs.together import Repairs
from lockstep.localise.budget import fitting
from lockstep.localise.findings import Blame, Localisation
from lockstep.program import Operation, Program, Source
from lockstep.program.evaluating import Ran, evaluate
from lockstep.program.kernels import Kernels

_FURTHER = 4
"""Steps behind what is right again: of two products that are added up, each may be the other one's."""


@dataclass(frozen=True)
class Window:
    """Both programs around some places.

    Attributes:
        found: What is blamed there, as of these programs.
        reference: The reference's operations there.
        candidate: The candidate's.
        outside: What is blamed elsewhere.
        whole: The places in the window, as of the whole programs, in the order of `found`.
    """

    found: Localisation
    reference: Program
    candidate: Program
    outside: tuple[Blame, ...]
    whole: tuple[Blame, ...]

    def told(self, repairs: Repairs) -> Repairs:
        """Returns repairs with the places that the whole programs have; what is blamed elsewhere is left to explain."""

        def before(blame: Blame) -> Blame:
            return next(ours for here, ours in zip(self.found.blames, self.whole, strict=True) if here is blame)

        left = {id(before(blame)) for blame in repairs.left} | {id(blame) for blame in self.outside}
        in_order = tuple(blame for blame in (*self.whole, *self.outside) if id(blame) in left)
        return Repairs(tuple(replace(each, blame=before(each.blame)) for each in repairs.found), in_order)


def elements(program: Program) -> int:
    """Returns how many elements a program's operations give."""
    return sum(
        math.prod(program.specs[tensor].shape) for operation in program.operations for tensor in operation.outputs
    )


def around(found: Localisation, reference: Program, candidate: Program, kernels: Kernels, most: int) -> Window | None:
    """Cuts out what lies around as many of the blamed places as can be held, from the first one.

    Args:
        found: What forced lockstep blames in the whole programs.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.
        most: Elements that the window may have.

    Returns:
        The window; None where even that of one place is too large.

    Raises:
        KernelError: The reference cannot be run.
    """
    count = len(found.blames)
    while count:
        cut = _Cut.of(found, found.blames[:count], reference, candidate)
        if sum(map(elements, cut.programs)) <= most:
            return cut.window(found, count, kernels)
        count //= 2
    return None


@dataclass(frozen=True)
class _Cut:
    """Which operations and which ends a window has.

    Attributes:
        programs: Both sides with the window's operations alone, sources without values not added yet.
        begins: Candidate's tensor that goes into the window -> the reference's that it is.
        ends: `(candidate's tensor, reference's)` of what leaves it.
        whole: The whole programs.
    """

    programs: tuple[Program, Program]
    begins: Mapping[int, int]
    ends: Sequence[tuple[int, int]]
    whole: tuple[Program, Program]

    @classmethod
    def of(cls, found: Localisation, blames: Sequence[Blame], reference: Program, candidate: Program) -> _Cut:
        near = [*region.near_in_candidate(candidate, blames), *_on_to_right(candidate, found, blames)]
        theirs, begins = _back_to_known(candidate, near, found.known)
        made = {tensor for operation in theirs for tensor in operation.outputs}
        # The program's own ends are known in pairs, of which one tensor may have several.
        own = [pair for pair in found.ends if pair[0] in made]
        leaving = [(t, found.known[t]) for t in sorted(_leaving(candidate, made)) if t in found.known]
        ends = dict.fromkeys((*own, *leaving))
        inside = {operation.index for operation in region.near_in_reference(reference, blames)}
        elsewhere = {known: t for t, known in found.known.items() if t not in made and t in candidate.producers}
        ours, further = _between(reference, [wanted for _, wanted in ends], set(begins.values()), inside, elsewhere)
        begins.update({elsewhere[tensor]: tensor for tensor in further})
        return cls((_with(reference, ours), _with(candidate, theirs)), begins, list(ends), (reference, candidate))

    def window(self, found: Localisation, count: int, kernels: Kernels) -> Window:
        """Puts the reference's values to where the window begins."""
        ours, theirs = self.programs
        missing = _read(ours, [wanted for _, wanted in self.ends]) | set(self.begins.values())
        values = _values(self.whole[0], missing - ours.sources.keys(), kernels)
        sources = {t: Source("input", f"between/{t}", value) for t, value in values.items()}
        given = {t: sources.get(known) or self.whole[0].sources[known] for t, known in self.begins.items()}
        shapes = self.whole[1].specs
        held = {t: replace(s, value=fitting(kernels.numpy(s.value), shapes[t].shape)) for t, s in given.items()}
        ours = replace(ours, sources={**ours.sources, **sources})
        theirs = replace(theirs, sources={**theirs.sources, **held})
        kept = set(ours.writes.values())
        wanted = dict.fromkeys(wanted for _, wanted in self.ends if wanted not in kept)
        ours = replace(ours, outputs={f"end {number}": tensor for number, tensor in enumerate(wanted)})
        blames = [self._renumbered(blame, ours, theirs) for blame in found.blames[:count]]
        here = replace(found, blames=blames, ends=list(self.ends), unions={}, wholes=[])
        return Window(here, ours, theirs, tuple(found.blames[count:]), tuple(found.blames[:count]))

    def _renumbered(self, blame: Blame, ours: Program, theirs: Program) -> Blame:
        """Returns a place with the operations of the window."""

        def there(program: Program, operations: Iterable[Operation]) -> tuple[Operation, ...]:
            return tuple(program.producers.get(o.outputs[0], o) if o.outputs else o for o in operations)

        reads, partner = blame.reads, blame.partner
        return replace(
            blame,
            reference=there(ours, blame.reference),
            candidate=there(theirs, blame.candidate),
            theirs=replace(blame.theirs, operations=there(theirs, blame.theirs.operations)),
            reads=None if reads is None else (there(theirs, [reads[0]])[0], reads[1]),
            partner=None if partner is None else there(ours, [partner])[0],
        )


def _on_to_right(program: Program, found: Localisation, blames: Sequence[Blame]) -> list[Operation]:
    """Returns the candidate's operations behind some places, on to the first that are right, and further.

    Where an operation reads a wrong tensor, an edit has it read another, and puts right only what it makes.
    """
    wrong = {blame.theirs.end for blame in found.blames}
    readers: dict[int, list[Operation]] = defaultdict(list)
    for operation in program.operations:
        for tensor in operation.inputs:
            readers[tensor].append(operation)
    inside: dict[int, Operation] = {}
    waiting = [reader for blame in blames for reader in readers[blame.theirs.end]]
    waiting += [blame.reads[0] for blame in blames if blame.reads is not None]
    while waiting:
        operation = waiting.pop()
        if operation.index in inside:
            continue
        inside[operation.index] = operation
        further = (t for t in operation.outputs if t not in found.known or t in wrong)
        waiting.extend(reader for tensor in further for reader in readers[tensor])
    last = list(inside.values())
    for _ in range(_FURTHER):
        behind = (reader for operation in last for tensor in operation.outputs for reader in readers[tensor])
        last = list({reader.index: reader for reader in behind if reader.index not in inside}.values())
        inside.update((operation.index, operation) for operation in last)
    return list(inside.values())


def _back_to_known(
    program: Program, operations: Iterable[Operation], known: Mapping[int, int]
) -> tuple[list[Operation], dict[int, int]]:
    """Returns operations with those in front of them, back to tensors that are known, and these."""
    found = {operation.index: operation for operation in operations}
    begins: dict[int, int] = {}
    waiting = list(found.values())
    made = {tensor for operation in waiting for tensor in operation.outputs}
    while waiting:
        for tensor in waiting.pop().inputs:
            made_by = program.producers.get(tensor)
            if tensor in made or made_by is None:
                continue
            if tensor in known:
                begins[tensor] = known[tensor]
            else:
                found[made_by.index] = made_by
                made.update(made_by.outputs)
                waiting.append(made_by)
    begins = {tensor: ours for tensor, ours in begins.items() if tensor not in made}
    return [found[index] for index in sorted(found)], begins


def _between(
    program: Program, ends: Iterable[int], begins: set[int], inside: set[int], elsewhere: Mapping[int, int]
) -> tuple[list[Operation], set[int]]:
    """Returns the operations that lead from where a window begins to where it ends, and where else it begins.

    Args:
        program: The reference's.
        ends: Where it ends.
        begins: What the candidate's operations there begin with.
        inside: Indices of the operations that have to be in it, if they lead from the one to the other.
        elsewhere: What the candidate has somewhere else: the window begins there, too, if it is outside.
    """
    found: dict[int, Operation] = {}
    further = set[int]()
    waiting = list(ends)
    while waiting:
        tensor = waiting.pop()
        made_by = program.producers.get(tensor)
        if tensor in begins or made_by is None or made_by.index in found:
            continue
        if made_by.index not in inside and tensor in elsewhere:
            further.add(tensor)
            continue
        found[made_by.index] = made_by
        waiting.extend(made_by.inputs)
    return [found[index] for index in sorted(found)], further


def _leaving(program: Program, made: set[int]) -> set[int]:
    """Returns the tensors that are read outside of what makes them, or that the program ends in."""
    outside = (operation for operation in program.operations if made.isdisjoint(operation.outputs))
    read = set(itertools.chain.from_iterable(operation.inputs for operation in outside))
    return made & (read | {*program.outputs.values(), *program.writes.values()})


def _with(program: Program, operations: Sequence[Operation]) -> Program:
    """Returns a program of some operations alone, and of the sources that they read."""
    numbered = [replace(operation, index=index) for index, operation in enumerate(operations)]
    producers = {tensor: operation for operation in numbered for tensor in operation.outputs}
    read = {tensor for operation in numbered for tensor in operation.inputs}
    return replace(
        program,
        operations=numbered,
        producers=producers,
        sources={tensor: source for tensor, source in program.sources.items() if tensor in read},
        outputs={},
        writes={key: tensor for key, tensor in program.writes.items() if tensor in producers},
        draws=[tensor for tensor in program.draws if tensor in read],
    )


def _read(program: Program, ends: Iterable[int]) -> set[int]:
    """Returns what is read, or asked for, and not made."""
    read = {tensor for operation in program.operations for tensor in operation.inputs}
    return (read | set(ends)) - program.producers.keys()


def _values(program: Program, tensors: set[int], kernels: Kernels) -> dict[int, np.ndarray]:
    """Returns tensors of a whole program, in float64; a run holds no more of it than it needs."""
    found = {t: kernels.numpy(program.sources[t].value) for t in tensors if t in program.sources}
    if tensors <= found.keys():
        return found

    def keep(kept: dict[int, np.ndarray], ran: Ran) -> None:
        for tensor, value in zip(ran.operation.outputs, ran.gave, strict=True):
            if tensor in tensors:
                kept[tensor] = kernels.numpy(value)

    evaluate(program, kernels, double=True, observe=functools.partial(keep, found))
    return found
