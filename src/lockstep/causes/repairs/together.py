"""Several mistakes at once: edits one after the other, each of which is needed.

No edit alone repairs a candidate with two mistakes; but what lies between the first and the second is right once the
first is repaired. So the first place that is wrong is repaired first, by the edit that puts right most of what follows
it. Where there is none, the place is told as it is, and what follows goes on from the reference's value. In the end
each edit is left out again, to see that it is needed, as llvm-reduce does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lockstep.causes.hypotheses.case import Cause
from lockstep.causes.repairs.counterfactual import Agreement, Counterfactual, Outcome
from lockstep.causes.repairs.edit import Borrowed, Edit, meet
from lockstep.common.errors import KernelError
from lockstep.localise.findings import Blame, Localisation

Again = Callable[[], Counterfactual]
"""Gives runs of both sides from other values."""
_MOST = 12
"""Mistakes that are told together; each costs as many trials as there are edits."""


@dataclass(frozen=True)
class Repair:
    """An edit that was found.

    Attributes:
        cause: What it says.
        blame: What was blamed nearest to it.
        follow: How many other places were blamed because of it.
    """

    cause: Cause
    blame: Blame
    follow: int


@dataclass(frozen=True)
class Repairs:
    """The edits that were found.

    Attributes:
        found: Each told once.
        left: What is blamed beside them; all other places are consequences.
    """

    found: tuple[Repair, ...]
    left: tuple[Blame, ...] = ()


@dataclass(frozen=True)
class _Step:
    """An edit that was made, with what was blamed in front of it.

    Attributes:
        edit: The edit.
        blames: The places that it puts right.
        known: Whether it is a repair; if not, the places are told as they are.
    """

    edit: Edit
    blames: tuple[Blame, ...]
    known: bool


def sought(
    found: Localisation,
    runs: Counterfactual,
    before: Outcome,
    steps: Sequence[tuple[Edit, Outcome]],
    edits: Callable[[], Iterator[Edit]],
    again: Again,
) -> Repairs | None:
    """Looks for edits that together repair the candidate, each of which puts right what follows it.

    Args:
        found: What forced lockstep blames.
        runs: Both sides.
        before: What they come to without an edit.
        steps: Edits that put right some of what is off, with what the runs then come to.
        edits: Yields all edits that are worth a trial.
        again: Both sides from other values.

    Returns:
        The edits, and the places that none of them explains; None where no edit is one of them.
    """
    made: list[_Step] = []
    waiting, current = list(found.blames), runs
    while waiting and not before.whole and len(made) < _MOST:
        waiting = [blame for blame in waiting if _is_off(blame, before)]
        if not waiting:
            break
        place = waiting[0]
        repairing = _repairing(place, before, steps, made)
        known = repairing is not None
        step = repairing or forced([blame for blame in waiting if _code(blame) == _code(place)])
        if any(meet(step, one.edit) for one in made):
            return None
        try:
            current = current.settled(step)
        except KernelError:
            return None
        before = current.untouched()
        told = [blame for blame in waiting if blame.theirs.end in step.sources]
        right = told if not known else [blame for blame in waiting if not _is_off(blame, before)]
        made.append(_Step(step, tuple(right or [place]), known))
        waiting = [blame for blame in waiting if _is_off(blame, before) and all(blame is not one for one in right)]
        steps = [] if before.whole else list(_progressing(current, before, edits, made))
    if not before.whole or not any(step.known for step in made):
        return None
    needed = _needed(made, runs)
    edits_made = [step.edit for step in needed if step.known]
    if not edits_made or not holds_again([step.edit for step in needed], again, before.wrong):
        return None
    return _told(needed)


def _progressing(
    runs: Counterfactual, before: Outcome, edits: Callable[[], Iterator[Edit]], made: Sequence[_Step]
) -> Iterator[tuple[Edit, Outcome]]:
    for edit in edits():
        if any(meet(edit, step.edit) for step in made):
            continue
        after = runs.outcome(edit, before=before)
        if len(after.off) < len(before.off):
            yield edit, after
            if after.whole:
                return


def _repairing(
    place: Blame, before: Outcome, steps: Iterable[tuple[Edit, Outcome]], made: Sequence[_Step]
) -> Edit | None:
    """Returns the edit that puts right a place, and most of what follows; the first of those that do so."""
    fitting = [
        (edit, after)
        for edit, after in steps
        if not _is_off(place, after) and after.wrong <= before.wrong and not any(meet(edit, one.edit) for one in made)
    ]
    return min(fitting, key=lambda pair: (not pair[1].whole, len(pair[1].off)), default=(None, before))[0]


def forced(blames: Sequence[Blame]) -> Edit:
    """Has what follows some places go on from the reference's values."""
    return Edit(Cause(""), {}, {blame.theirs.end: Borrowed(blame.wanted) for blame in blames})


def _is_off(blame: Blame, outcome: Outcome) -> bool:
    return blame.theirs.end in outcome.off


def _code(blame: Blame) -> Hashable:
    """What is alike in all rounds of a loop."""
    sides = (blame.reference, blame.candidate)
    return tuple(tuple((o.type, o.place.scope, o.place.source) for o in operations) for operations in sides)


def _needed(made: Sequence[_Step], runs: Counterfactual) -> list[_Step]:
    """Leaves out each step without which all agrees as well."""
    kept = list(made)
    for step in made:
        without = [one for one in kept if one is not step]
        after = outcome_of([one.edit for one in without], runs)
        # What follows a later step's value from the reference may agree, whatever is wrong in front of it.
        if after is not None and after.whole and not any(_is_off(blame, after) for blame in step.blames):
            kept = without
    return kept


def outcome_of(edits: Sequence[Edit], runs: Counterfactual) -> Outcome | None:
    """Makes edits one after the other; None where one does not fit."""
    with contextlib.suppress(KernelError):
        for edit in edits:
            runs = runs.settled(edit)
        return runs.untouched()
    return None


def holds_again(
    edits: Sequence[Edit], again: Again, wrong: frozenset[int], least: Agreement = Agreement.ROUNDED
) -> bool:
    """Whether edits repair the candidate at other values, too.

    Args:
        edits: The edits.
        again: Both sides from other values; where they cannot be run from these, nothing is asked.
        wrong: What may be left wrong in variables.
        least: How far what is returned has to agree.
    """
    try:
        runs = again()
    except KernelError:
        return True
    after = outcome_of(edits, runs)
    return after is not None and after.outputs >= least and after.wrong <= wrong


def _told(needed: Sequence[_Step]) -> Repairs:
    """Tells each cause once, with the count of what follows."""
    repairs: dict[Hashable, Repair] = {}
    for step in needed:
        if not step.known:
            continue
        cause = step.edit.cause
        key = cause.sentence, cause.fix, cause.operations[1].place.source if cause.operations[1] else ""
        here = Repair(cause, nearest(step.blames, cause), len(step.blames) - 1)
        before = repairs.get(key)
        repairs[key] = here if before is None else replace(before, follow=before.follow + len(step.blames))
    left = [blame for step in needed if not step.known for blame in step.blames]
    return Repairs(tuple(repairs.values()), tuple(left))


def nearest(blames: Sequence[Blame], cause: Cause) -> Blame:
    """Returns what was blamed behind an edit, or else what is off by most."""
    theirs = cause.operations[1]
    within = [blame for blame in blames if any(operation is theirs for operation in blame.theirs.operations)]
    return max(within or blames, key=lambda blame: blame.judged.ratio)
