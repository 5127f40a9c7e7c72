"""Which pairs of variables stay pairs where the outputs differ by them, as they do when a mistake is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.check.forced_runs import ForcedRuns
from lockstep.common.errors import KernelError, ProgramError, SubjectError
from lockstep.compare.align import Alignment
from lockstep.files.checkpoints.mapping import Pair, Proposal
from lockstep.frameworks import runtimes
from lockstep.localise.forcing import localise
from lockstep.subjects.built import Built
from lockstep.traces.trace import VariableRecord

Orders = tuple[Mapping[str, int], Mapping[str, int]]
"""The reference's and the candidate's variables that their programs read -> their place in that order."""


@dataclass(frozen=True)
class PairsInDoubt:
    """Both sides, and what has no partner by name.

    Attributes:
        built: Both sides, in inference mode.
        before: What the reference's variables were before its first run.
        missing: The reference's variables without a partner by name.
        extra: The candidate's.
        say: Told what is being done.
    """

    built: Built
    before: Mapping[str, np.ndarray]
    missing: Sequence[VariableRecord]
    extra: Sequence[VariableRecord]
    say: Callable[[str], None]

    def kept(self, proposal: Proposal, alignment: Alignment, read: Callable[[], Orders | None]) -> tuple[Pair, ...]:
        """Returns the pairs of one role, those that operations speak for, and those that no other could be.

        Args:
            proposal: All pairs.
            alignment: The same, aligned.
            read: Says in which order the programs read their variables; None where it is unknown.
        """
        doubtful = [pair for pair in proposal.pairs if not pair.of_one_role]
        if not doubtful:
            return proposal.pairs
        sure = {pair.record.key for pair in proposal.pairs if pair.of_one_role}
        spoken_for = sure | self.spoken_for(alignment)
        left = [pair for pair in doubtful if pair.record.key not in spoken_for]
        orders = read() if left else None
        if orders is not None:
            left = [pair for pair in left if pair.entry.name in orders[0] and pair.record.key in orders[1]]
            for alone in (self._only_of_their_shape, self._only_in_their_layer):
                spoken_for |= alone([pair for pair in left if pair.record.key not in spoken_for], proposal, spoken_for)
        return tuple(pair for pair in proposal.pairs if pair.record.key in spoken_for)

    def spoken_for(self, alignment: Alignment) -> frozenset[str]:
        """Returns the candidate's variables that are read where it computes what the reference computes from its own.

        A mistake elsewhere says nothing of a pair: every operation gets the reference's values, and what reads a
        variable is right with its partner's value, or it is not. All variables hold other values, so that no other
        would do. None where a side cannot be followed.
        """
        ours, theirs = self.built.program_of_reference(), self.built.candidate.followed
        forced = ForcedRuns(ours, theirs, alignment, self.before, self.say, training=False)
        try:
            programs = forced.programs()
            if programs is None:
                return frozenset()
            reference, candidate, partners = programs
            self.say("names without a partner: which operations agree by the proposed pairs")
            found = localise(reference, candidate, partners, runtimes.kernels())
        except (ProgramError, KernelError, SubjectError):
            return frozenset()
        if not found.same:
            return frozenset()
        # A part of the reference reaches back to what both have in common, which may be far: the candidate's says more.
        wrong = {operation.index for blame in found.blames for operation in blame.theirs.operations}
        read = [(operation.index in wrong, candidate.variables_read(operation)) for operation in candidate.operations]
        doubtful = {key for is_wrong, keys in read if is_wrong for key in keys}
        rightly = {key for is_wrong, keys in read if not is_wrong for key in keys} - doubtful
        known = {key for operation in reference.operations for key in reference.variables_read(operation)}
        return frozenset(c.key for r, c in alignment.pairs if r.key in known and c.key in rightly)

    def _only_of_their_shape(self, pairs: Sequence[Pair], proposal: Proposal, sure: Collection[str]) -> set[str]:
        if proposal.entries or proposal.records:
            return set()  # what is left over may be the partner
        settled = [pair for pair in proposal.pairs if pair.record.key in sure and not pair.of_one_role]
        taken = {pair.entry.name for pair in settled}, {pair.record.name for pair in settled}

        def alike(pair: Pair, side: int) -> int:
            form = pair.entry.shape, pair.entry.dtype
            records = (record for record in (self.missing, self.extra)[side] if record.name not in taken[side])
            return sum((tuple(record.shape), record.dtype) == form for record in records)

        alone = (pair for pair in pairs if not pair.transform and all(alike(pair, side) == 1 for side in (0, 1)))
        return {pair.record.key for pair in alone}

    def _only_in_their_layer(self, pairs: Sequence[Pair], proposal: Proposal, sure: Collection[str]) -> set[str]:
        """Returns those whose layers are pairs by all that is sure of them, and that are alone of their shape there."""
        layers = {_layers(pair) for pair in proposal.pairs if pair.record.key in sure}
        found = set()
        for pair in pairs:
            mine = _layers(pair)
            related = [layer for layer in layers if layer[0] == mine[0] or layer[1] == mine[1]]
            beside = [other.entry.shape for other in pairs if _layers(other) == mine]
            if all(mine) and related == [mine] and beside.count(pair.entry.shape) == 1:
                found.add(pair.record.key)
        return found


def _layers(pair: Pair) -> tuple[str, str]:
    """Returns what stands before the last part of both names, of TensorFlow or of PyTorch."""
    ours, theirs = (name[: max(name.rfind("/"), name.rfind("."), 0)] for name in (pair.entry.name, pair.record.name))
    return ours, theirs
