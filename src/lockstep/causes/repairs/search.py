"""Looks for one edit of the candidate after which all that it returns and leaves behind is the reference's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs import proposals
from lockstep.causes.repairs.counterfactual import Agreement, Counterfactual
from lockstep.causes.repairs.edit import Edit
from lockstep.causes.repairs.region import Region
from lockstep.common.errors import KernelError, told_as_fault
from lockstep.localise.findings import Blame, Localisation
from lockstep.program import Program
from lockstep.program.kernels import Kernels

_MOST_VALUES = 30_000_000
"""Elements of both programs that are held in memory, in float64: some 250 MB. Nothing is looked for beyond."""
_MOST_COMPUTED = 100_000_000
"""Elements that the trials may compute, an operation counted as a thousand: some ten seconds."""


@dataclass(frozen=True)
class Repair:
    """An edit that was found.

    Attributes:
        cause: What it says.
        blame: What was blamed nearest to it.
        left: What is blamed for variables that are left as wrong as before; all other places are consequences.
    """

    cause: Cause
    blame: Blame
    left: tuple[Blame, ...] = ()


def sought(found: Localisation, reference: Program, candidate: Program, kernels: Kernels) -> Repair | None:
    """Looks for one edit that repairs the candidate.

    Args:
        found: What forced lockstep blames.
        reference: The reference's program.
        candidate: The candidate's.
        kernels: Runs operations.

    Returns:
        The simplest one; None where there is none, or where looking for it would take too long.
    """
    cost = _elements(candidate) + 1000 * len(candidate.operations)
    most = _MOST_COMPUTED // max(cost, 1)
    if not found.blames or _elements(reference) + _elements(candidate) > _MOST_VALUES or not most:
        return None
    try:
        runs = Counterfactual(reference, candidate, found.ends, found.known, kernels)
        region = Region(runs, reference, candidate, found.blames)
        repairing = _best(runs, itertools.islice(proposals.all_of_them(region), most))
    except KernelError:
        return None
    except Exception as error:  # a bug here takes nothing from what is said of each place
        told_as_fault(error)
        return None
    if repairing is None:
        return None
    edit, wrong = repairing
    keys = {key for key, tensor in reference.writes.items() if tensor in wrong}
    left = tuple(blame for blame in found.blames if blame.updates in keys)
    repaired = [blame for blame in found.blames if blame.updates not in keys]
    return Repair(edit.cause, _nearest(repaired, edit.cause), left) if repaired else None


def _best(runs: Counterfactual, edits: Iterable[Edit]) -> tuple[Edit, frozenset[int]] | None:
    """Returns the first edit with which all agrees exactly; without such a one, the first within float32's rounding.

    With it comes what variables are left wrong in: an edit may put right what is returned, and leave another mistake in
    an update as it was.
    """
    before, rounded = runs.outcome(), None
    if before.outputs and not before.wrong:  # what differs does so at single operations alone
        return None
    for edit in edits:
        after = runs.outcome(edit)
        if not after.outputs or (after.wrong if before.outputs else not after.wrong <= before.wrong):
            continue
        if after.outputs is Agreement.EXACT:
            return edit, after.wrong
        rounded = rounded or (edit, after.wrong)
    return rounded


def _nearest(blames: Sequence[Blame], cause: Cause) -> Blame:
    """Returns what was blamed behind an edit, or else what is off by most."""
    theirs = cause.operations[1]
    within = [blame for blame in blames if any(operation is theirs for operation in blame.theirs.operations)]
    return max(within or blames, key=lambda blame: blame.judged.ratio)


def _elements(program: Program) -> int:
    return sum(
        math.prod(program.specs[tensor].shape) for operation in program.operations for tensor in operation.outputs
    )
