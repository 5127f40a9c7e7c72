"""Both programs -> a number for each tensor; what is the same has the same number.

The reference's tensors are numbered first: what it computes twice has one number. The candidate's get theirs where they
are computed alike from the same, by construction, and where a comparison found them to be, or said what they should be.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lockstep.localise import matching
from lockstep.program import Operation, Program


class Numbering:
    """The numbers of both programs' tensors.

    Args:
        reference: The reference's program.
        candidate: The candidate's.
        variables: Candidate's variable key -> the reference's.

    Attributes:
        ours: Reference's tensor -> number, itself a tensor of the reference.
        theirs: Candidate's tensor -> number; what has none is not known yet.
        given: Candidate's source -> number, where both have the same; no constants.
        reached: Numbers that tensors of the candidate have gone through.
        forced: Candidate's operation and slot -> the number that it reads there, whatever its tensor's is.
    """

    def __init__(self, reference: Program, candidate: Program, variables: Mapping[str, str]) -> None:
        self._r, self._c = reference, candidate
        self._table: dict[object, tuple[int, ...]] = {}
        self._readers: dict[tuple[str, int], list[Operation]] = defaultdict(list)
        self.ours: dict[int, int] = {}
        self.theirs: dict[int, int] = {}
        self.given: dict[int, int] = {}
        self.reached: set[int] = set()
        self.forced: dict[tuple[int, int], int] = {}
        self._number_reference()
        self._number_sources(dict(variables) or {"": ""})

    @contextlib.contextmanager
    def without(self, tensors: Iterable[int], reads: Iterable[tuple[int, int]]) -> Iterator[None]:
        """Forgets what tensors of the candidate should be, and what some reads are forced to, inside a block."""
        left_out = set(tensors), set(reads)
        theirs = {tensor: number for tensor, number in self.theirs.items() if tensor not in left_out[0]}
        forced = {read: number for read, number in self.forced.items() if read not in left_out[1]}
        with self._instead(theirs, forced):
            yield

    @contextlib.contextmanager
    def supposing(self, numbers: Mapping[int, int]) -> Iterator[None]:
        """Takes tensors of the candidate for what they should be, inside a block."""
        with self._instead({**self.theirs, **numbers}, self.forced):
            yield

    @contextlib.contextmanager
    def _instead(self, theirs: dict[int, int], forced: dict[tuple[int, int], int]) -> Iterator[None]:
        before = self.theirs, self.forced
        self.theirs, self.forced = theirs, forced
        try:
            yield
        finally:
            self.theirs, self.forced = before

    def _number_reference(self) -> None:
        places = matching.places_of_draws(self._r)
        for tensor in self._r.sources:
            key = matching.source_key(self._r, tensor, {}, places)
            self.ours[tensor] = tensor if key is None else self._table.setdefault(("source", key), (tensor,))[0]
        for operation in self._r.operations:
            key = matching.key_of(operation, self._r, [self.ours[t] for t in operation.inputs])
            numbers = self._table.setdefault(key, operation.outputs)
            self.ours.update(zip(operation.outputs, numbers, strict=True))
            for tensor in operation.inputs:
                self._readers[operation.family, self.ours[tensor]].append(operation)

    def _number_sources(self, partners: dict[str, str]) -> None:
        places = matching.places_of_draws(self._c)
        for tensor in self._c.sources:
            key = matching.source_key(self._c, tensor, partners, places)
            found = self._table.get(("source", key))
            constant = self._c.is_constant(tensor)
            if key is not None and found is not None and (constant or self._r.specs[found[0]] == self._c.specs[tensor]):
                self.sync(tensor, found[0])
                if not constant:
                    self.given[tensor] = found[0]

    def sync(self, tensor: int, number: int) -> None:
        """Gives a tensor of the candidate its number."""
        self.theirs[tensor] = number
        self.reached.add(number)

    def read(self, operation: Operation, slot: int) -> int | None:
        """Returns the number that an operation of the candidate reads; None if it is not known."""
        forced = self.forced.get((operation.index, slot))
        return self.theirs.get(operation.inputs[slot]) if forced is None else forced

    def readers(self, family: str, number: int) -> Sequence[Operation]:
        """Returns the reference's operations of a family that read a number."""
        return self._readers[family, number]

    def is_reached(self, operation: Operation) -> bool:
        """Tells whether the candidate has computed what an operation of the reference computes."""
        return any(self.ours[tensor] in self.reached for tensor in operation.outputs)

    def same_in_reference(self, operation: Operation) -> tuple[int, ...] | None:
        """Returns the reference's tensors that an operation computes by construction; None where there are none."""
        numbers = [self.read(operation, slot) for slot in range(len(operation.inputs))]
        if any(number is None for number in numbers):
            return None
        key = matching.key_of(operation, self._c, [number for number in numbers if number is not None])
        found = self._table.get(key)
        return None if found is None or len(found) != len(operation.outputs) else found

    def identify(self, operation: Operation) -> bool:
        """Numbers what an operation computes, if that is by construction what the reference computes."""
        found = self.same_in_reference(operation)
        if found is None:
            return False
        for tensor, number in zip(operation.outputs, found, strict=True):
            self.sync(tensor, self.ours[number])
        return True
