"""Where a repair is looked for: the operations that are blamed, and those that lead to them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

from lockstep.causes.repairs import edit
from lockstep.causes.repairs.counterfactual import Counterfactual
from lockstep.localise.findings import Blame
from lockstep.localise.forcing import updates_alone
from lockstep.program import Operation, Program

_STEPS = 16
"""How far in front of what is blamed a mistake is looked for: an attention's scores, a cell's gates."""


class Region:
    """The operations of both sides among which a mistake is looked for.

    Args:
        runs: Both programs, evaluated.
        reference: The reference's program.
        candidate: The candidate's.
        blames: What is blamed.

    Attributes:
        ours: The reference's operations, in the order of the run.
        theirs: The candidate's.
        updating: The candidate's tensors that lead to nothing but the update of a variable.
    """

    def __init__(self, runs: Counterfactual, reference: Program, candidate: Program, blames: Sequence[Blame]) -> None:
        self.runs, self.reference, self.candidate = runs, reference, candidate
        self.ours = near_in_reference(reference, blames)
        self.theirs = near_in_candidate(candidate, blames)
        self.updating = updates_alone(candidate)
        self._readers: dict[int, list[Operation]] = defaultdict(list)
        for operation in candidate.operations:
            for tensor in operation.inputs:
                self._readers[tensor].append(operation)

    def alike_everywhere(self, operations: Iterable[Operation]) -> Iterator[list[Operation]]:
        """Yields what one line of the code makes, once for each line that some operations are from."""
        seen = set[int]()
        for operation in operations:
            if operation.index not in seen:
                group = edit.alike(self.candidate, operation)
                seen.update(o.index for o in group)
                yield group

    def readers(self, tensor: int) -> Sequence[Operation]:
        """The candidate's operations that read a tensor."""
        return self._readers.get(tensor, ())

    def alike(self, operations: Iterable[Operation]) -> Iterator[tuple[Operation, ...]]:
        """Yields, for operations that do one thing, those that one edit of the code changes together.

        First what is written in one place, however often it ran and for however many layers; then all of them.

        Args:
            operations: Of the candidate, that do the same; the rounds of a loop and other layers are among them.
        """
        groups: dict[Hashable, list[Operation]] = defaultdict(list)
        for operation in operations:
            groups[operation.type, operation.place.scope, operation.place.source].append(operation)
        yield from (tuple(group) for group in groups.values())
        if len(groups) > 1:
            yield tuple(operation for group in groups.values() for operation in group)


def near_in_reference(program: Program, blames: Iterable[Blame]) -> list[Operation]:
    """Returns the reference's operations at some places, and those that lead to them."""
    return _near(program, itertools.chain.from_iterable(_of_reference(program, blame) for blame in blames))


def near_in_candidate(program: Program, blames: Iterable[Blame]) -> list[Operation]:
    """Returns the candidate's."""
    return _near(program, itertools.chain.from_iterable(_of_candidate(program, blame) for blame in blames))


def _of_reference(program: Program, blame: Blame) -> list[Operation]:
    named = [*blame.reference, *([blame.partner] if blame.partner is not None else [])]
    made_by = program.producers.get(blame.wanted)
    return named + ([made_by] if made_by is not None else [])


def _of_candidate(program: Program, blame: Blame) -> list[Operation]:
    named = [*blame.candidate, *([blame.reads[0]] if blame.reads is not None else [])]
    made_by = program.producers.get(blame.theirs.end)
    return named + ([made_by] if made_by is not None else [])


def _near(program: Program, operations: Iterable[Operation]) -> list[Operation]:
    found = {operation.index: operation for operation in operations}
    current = list(found.values())
    for _ in range(_STEPS):
        made_by = (program.producers.get(tensor) for operation in current for tensor in operation.inputs)
        current = list({o.index: o for o in made_by if o is not None and o.index not in found}.values())
        found.update((operation.index, operation) for operation in current)
    return [found[index] for index in sorted(found)]
