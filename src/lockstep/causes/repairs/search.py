"""Looks for the fewest edits of the candidate after which all that it returns and leaves behind is the reference's."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lockstep.causes.repairs import proposals, together, window
from lockstep.causes.repairs.counterfactual import Agreement, Counterfactual, Outcome
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.causes.repairs.shaking import shaken
from lockstep.causes.repairs.together import Repair, Repairs
from lockstep.common.errors import KernelError, told_as_fault
from lockstep.common.search_time import SEARCH_TIME_S, Watch
from lockstep.localise.findings import Localisation
from lockstep.program import Program
from lockstep.program.kernels import Kernels

_MOST_VALUES = 30_000_000
"""Elements of both programs held in memory, in float64: some 250 MB. A window is cut out of larger programs."""
_MOST_COMPUTED = 100_000_000
"""Elements that the trials may compute in the time that a search has by default, an operation counted as a thousand: so
that on a slow machine the same is found as on a fast one. Who gives it more time gives it more of these too."""


@dataclass
class Trials:
    """Edits that are tried, the simplest first, while time and the bound on what they compute allow it.

    Attributes:
        runs: What the trials compute with.
        proposed: Gives the edits.
        watch: Tells when to stop.
        alone: Whether nothing is looked for after them.
        edits: All that were proposed so far.
    """

    runs: Counterfactual
    proposed: Iterator[Edit]
    watch: Watch
    alone: bool = False
    edits: list[Edit] = field(default_factory=list)

    def each(self) -> Iterator[Edit]:
        """Yields the edits, from the first, while any may be tried."""
        place = 0
        while not self._over():
            if place == len(self.edits):
                following = next(self.proposed, None)
                if following is None:
                    return
                self.edits.append(following)
            self.watch.tried += 1
            self.watch.says()
            yield self.edits[place]
            place += 1
        self.watch.cut_short = True

    def _over(self) -> bool:
        bound = _MOST_COMPUTED * self.watch.allowed.seconds / SEARCH_TIME_S
        return self.runs.spent >= bound or self.watch.over_for_edits(alone=self.alone)


def sought(
    found: Localisation,
    reference: Program,
    candidate: Program,
    kernels: Kernels,
    watch: Watch | None = None,
    *,
    alone: bool = False,
) -> Repairs | None:
    """Looks for the fewest edits that repair the candidate.

    Args:
        found: What forced lockstep blames.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.
        watch: Tells when to stop; None: the time is the default.
        alone: Whether nothing is looked for afterwards, so that all of the time may be used.

    Returns:
        The simplest edits, and what is left to blame beside them; None where there is no edit, or where looking for it
        would take too long.
    """
    if not found.blames:
        return None
    try:
        if window.elements(reference) + window.elements(candidate) > _MOST_VALUES:
            cut = window.around(found, reference, candidate, kernels, _MOST_VALUES)
            if cut is None:
                return None
            repairs = sought(cut.found, cut.reference, cut.candidate, kernels, watch, alone=alone)
            return None if repairs is None else cut.told(repairs)
        runs = Counterfactual(reference, candidate, found.ends, found.known, kernels)
        region = Region(runs, reference, candidate, found.blames)
        trials = Trials(runs, proposals.all_of_them(region), watch or Watch(), alone)
        again = functools.cache(
            lambda: Counterfactual(reference, candidate, found.ends, found.known, kernels, moved=shaken)
        )
        return _sought(found, reference, runs, trials, again)
    except KernelError:
        return None
    except Exception as error:  # a bug here takes nothing from what is said of each place
        told_as_fault(error)
        return None


def _sought(
    found: Localisation, reference: Program, runs: Counterfactual, trials: Trials, again: together.Again
) -> Repairs | None:
    before = runs.untouched()
    if before.whole and (before.outputs is Agreement.EXACT or runs.narrow):
        return None  # what differs does so at single operations alone
    alone, steps = _best(runs, before, trials, again)
    if alone is None and before.whole:
        return None
    if alone is None:
        return together.sought(found, runs, before, steps, trials.each, again)
    edit, wrong = alone
    keys = {key for key, tensor in reference.writes.items() if tensor in wrong}
    left = tuple(blame for blame in found.blames if blame.updates in keys)
    repaired = [blame for blame in found.blames if blame.updates not in keys]
    if not repaired:
        return None
    return Repairs((Repair(edit.cause, together.nearest(repaired, edit.cause), len(repaired) - 1),), left)


def _best(
    runs: Counterfactual, before: Outcome, trials: Trials, again: together.Again
) -> tuple[tuple[Edit, frozenset[int]] | None, Sequence[tuple[Edit, Outcome]]]:
    """Returns the first edit with which all agrees exactly; without such a one, the first within float32's rounding.

    Where what is returned agrees within that rounding as it is, only the former is an answer: the form of a GELU, say.
    With it comes what variables are left wrong in: an edit may put right what is returned, and leave another mistake in
    an update as it was. Then come the edits that put right a part of what is wrong.
    """
    rounded: tuple[Edit, frozenset[int]] | None = None
    steps: list[tuple[Edit, Outcome]] = []
    least = Agreement.EXACT if before.whole else Agreement.ROUNDED
    for edit in trials.each():
        after = runs.outcome(edit, before=before)
        if after.off < before.off or len(after.off) < len(before.off):
            steps.append((edit, after))
        if after.outputs < least or (after.wrong if before.outputs else not after.wrong <= before.wrong):
            continue
        if rounded is not None and after.outputs is not Agreement.EXACT:
            continue
        if not together.holds_again((edit,), again, after.wrong, least):
            continue
        if after.outputs is Agreement.EXACT:
            return (edit, after.wrong), steps
        rounded = (edit, after.wrong)
    return rounded, steps
