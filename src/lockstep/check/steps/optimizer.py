"""Step `optimizer`: consecutive updates and their slots, from equal variables and equal gradients; learning rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lockstep.causes.optimizer_hypotheses import Course as Explained
from lockstep.causes.optimizer_hypotheses import explain
from lockstep.compare.tolerance import UPDATE_RTOL, update_tolerance
from lockstep.ground import trials
from lockstep.ground.trials import Trial
from lockstep.optimizers import Description
from lockstep.optimizers.description import from_plain
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.results.pitfalls import Pitfall

Arrays = Mapping[str, np.ndarray]

RATE_RTOL = 1e-5
"""For a learning rate: powers and cosines of step numbers in float32 agree to 2e-6 between TF1 and Keras."""

_SLOT_RTOL = 1e-4
RULE = f"rtol {UPDATE_RTOL:g} of an update, equal variables and gradients"


class Update(Protocol):
    """What one update left."""

    @property
    def variables(self) -> Arrays:
        """Variable key -> value."""
        ...

    @property
    def slots(self) -> Arrays:
        """`"<variable key>: <role>"` -> value."""
        ...

    @property
    def step(self) -> int:
        """The step counter."""
        ...


@dataclass(frozen=True)
class Course:
    """What an optimizer did in a trial.

    Attributes:
        description: What it is; None where it cannot be told.
        rates: Step -> learning rate; empty where it cannot be told.
        updates: What each update left.
    """

    description: Description | None
    rates: Mapping[int, float]
    updates: Sequence[Update]


def course(optimizer: Any, given: Trial, steps: Sequence[int], forced: Course | None = None) -> Course:
    """Makes an optimizer go through a trial.

    Args:
        optimizer: A fresh optimizer, as `adapters.optimizing` and `recorder.optimizing` make them.
        given: The trial.
        steps: Where its learning rate is asked for.
        forced: What the other side did: each update starts from the variables that it had then.
    """
    rates = optimizer.learning_rates(steps)
    values = None if forced is None else [update.variables for update in forced.updates]
    return Course(from_plain(optimizer.description), rates, trials.updates(optimizer, given, values))


def judge(reference: Course, candidate: Course, given: Trial, names: Mapping[str, str]) -> list[Finding]:
    """Judges learning rates, updates and slots.

    Args:
        reference: What the reference's optimizer did in the trial.
        candidate: What the candidate's did, forced to the reference's variables, under the reference's keys.
        given: The trial.
        names: Variable key of the reference -> that of the candidate.
    """
    rates = _rates(reference, candidate)
    updates = _updates(reference, candidate, given, names)
    slots = _slots(reference, candidate, names)
    if updates.verdict is not Verdict.DIVERGED:
        # Where updates agree, what differs is a slot that they do not depend on: a moving average.
        return [rates, updates, slots]
    explanation = explain(
        _explained(reference), _explained(candidate), _before(reference, given), list(given.gradients)
    )
    if explanation is None:
        return [rates, updates, slots]
    mine, theirs = _class(reference), _class(candidate)
    if list(explanation.changes) == ["rates"] and rates.verdict is Verdict.DIVERGED:
        return [rates, _without_culprits(updates), _without_culprits(slots)]
    argument = " and ".join(
        candidate.description.called(name) if candidate.description else name for name in explanation.changes
    )
    worst = max((c.error or 0.0 for f in (updates, slots) for c in f.culprits), default=None)
    blamed = Culprit(mine, f"{theirs}: {argument}", "optimizer", explanation.cause, worst, UPDATE_RTOL)
    told = dataclasses.replace(updates, culprits=(blamed,), details=(explanation.cause, *updates.details))
    return [rates, told, _without_culprits(slots)]


def _rates(reference: Course, candidate: Course) -> Finding:
    steps = sorted(set(reference.rates) & set(candidate.rates))
    if not steps:
        return Finding(Verdict.NOT_ASKED, "")
    mine, theirs = (np.array([side.rates[step] for step in steps]) for side in (reference, candidate))
    allowed = RATE_RTOL * np.abs(mine) + 1e-7 * np.max(np.abs(mine))
    wrong = [place for place in range(len(steps)) if not abs(mine[place] - theirs[place]) <= allowed[place]]
    figures: dict[str, object] = {"rates": len(steps), "rates_that_differ": len(wrong)}
    if not wrong:
        constant = bool(np.all(mine == mine[0]))
        phrase = f"learning rate {mine[0]:.6g}" if constant else f"learning rates equal at {len(steps)} steps"
        return Finding(Verdict.EQUIVALENT, phrase, (), figures)
    first = wrong[0]
    error = float(np.max(np.abs(mine - theirs)) / np.max(np.abs(mine)))
    phrase = (
        f"the learning rate differs at {len(wrong)} of {len(steps)} steps, first at step {steps[first]} "
        f"({mine[first]:.6g} against {theirs[first]:.6g})"
    )
    ours, other = (dict(zip(steps, side, strict=True)) for side in (mine, theirs))
    known = candidate.description.schedule if candidate.description is not None else {}
    told, fix = _counted_otherwise(ours, other, int(known.get("every", 1)))
    if told and candidate.description is not None and candidate.description.framework == "torch":
        fix = _OF_PYTORCH
    pitfall: Pitfall = "schedule-step" if told else ""
    told = told or _schedule(ours, other)
    cause, name = f"{phrase}{told}", f"{_class(candidate)}: learning_rate"
    culprit = Culprit(
        f"{_class(reference)}: learning_rate",
        name,
        "optimizer",
        cause,
        error,
        RATE_RTOL,
        pitfall=pitfall,
        fix=fix,
    )
    return Finding(Verdict.DIVERGED, phrase, (cause,), figures, (culprit,))


_OF_PYTORCH = "call scheduler.step() after optimizer.step(), and as often as the original's schedule counts"
_TIMES = (2, 3, 4, 5, 8, 10, 20, 50, 100, 200, 500, 1000)
"""How many times as fast one schedule may run as the other, beside what the candidate says of its epochs."""


def _same(pairs: Iterable[tuple[float, float]]) -> bool:
    found = list(pairs)
    # A rate that has all but vanished has other last places, or none, in float32.
    least = _LEAST * max((abs(a) for a, _ in found), default=0.0)
    return bool(found) and all(abs(a - b) <= 1e-4 * abs(a) + least for a, b in found)


def _counted_otherwise(reference: Mapping[int, float], candidate: Mapping[int, float], every: int) -> tuple[str, str]:
    """Says by which steps two schedules are apart, or how much faster one runs, and what to do.

    Args:
        reference: Step -> learning rate.
        candidate: Likewise.
        every: For how many updates the candidate's scheduler is stepped once.
    """
    epoch = [(every, f"one epoch of {every} updates")] if every > 1 else []
    for size, what in ((1, "one step"), *epoch):
        for shift, how, fix in ((size, "late", "earlier"), (-size, "early", "later")):
            # Where neighbours are known of every step that differs, they must be what the reference has there.
            known = [(reference[s], candidate[s + shift]) for s in reference if s + shift in candidate]
            if _same(known) and len(known) > len(reference) // 3:
                return f": the candidate's schedule is {what} {how}", f"count {what} {fix}"
    for times in sorted({*_TIMES, every} - {1}):
        for slow, fast, how in ((reference, candidate, "fast"), (candidate, reference, "slowly")):
            known = [(slow[s * times], fast[s]) for s in fast if s * times in slow]
            if _same(known) and _levels(a for a, _ in known) >= _FEWEST_LEVELS:
                fix = f"step it once in {times} updates" if how == "fast" else f"step it {times} times as often"
                return f": the candidate's schedule runs {times} times as {how} (updates against epochs, say)", fix
    return "", ""


def _levels(rates: Iterable[float]) -> int:
    """Counts the different rates among some, but for what has all but vanished."""
    known = list(rates)
    return len({round(float(np.log(rate)), 3) for rate in known if rate > 10 * _LEAST * max(known)})


_FEWEST_LEVELS = 3
"""Rates in which schedules agree before one is said to be the other at another pace."""
_LEAST = 1e-7
"""Of the largest rate: what is smaller changes no variable that is trained with the others."""


def _schedule(reference: Mapping[int, float], candidate: Mapping[int, float]) -> str:
    """Says how one schedule becomes the other, where that is so at every step that was asked for."""
    factors = [(1.0, candidate[s] / reference[s]) for s in reference if reference[s]]
    ratio = factors[0][1] if factors else 1.0
    if _same((ratio, factor) for _, factor in factors):
        return f": the candidate's is {ratio:.6g} times the reference's at every step"
    mine, theirs = ([round(side[s], 12) for s in sorted(side) if s < 10_000] for side in (reference, candidate))
    fewer = len(set(mine)), len(set(theirs))
    shared = [s for s in reference if abs(reference[s] - candidate[s]) <= 1e-4 * abs(reference[s])]
    if len(shared) > 1 and min(fewer) * 2 < max(fewer):
        return (
            ": the reference's changes in steps where the candidate's changes smoothly (staircase=True is missing)"
            if fewer[0] < fewer[1]
            else ": the candidate's changes in steps where the reference's changes smoothly (staircase=True too many)"
        )
    return ""


def _updates(reference: Course, candidate: Course, given: Trial, names: Mapping[str, str]) -> Finding:
    figures: dict[str, object] = {"updates": len(reference.updates), "updated_variables": len(names)}
    worst: dict[str, tuple[float, int, float]] = {}
    moved = False
    for number, start in enumerate(_before(reference, given)):
        for key in names:
            mine = np.asarray(reference.updates[number].variables[key])
            theirs = np.asarray(candidate.updates[number].variables[key])
            moved = moved or bool(np.any(mine != start[key]))
            wrong = ~(np.abs(mine.astype(np.float64) - theirs) <= update_tolerance(start[key], mine))
            if np.any(wrong) and key not in worst:
                size = np.max(np.abs(mine.astype(np.float64) - start[key]))
                difference = float(np.max(np.abs(mine.astype(np.float64) - theirs)[wrong]))
                worst[key] = (difference / float(size) if size else np.inf, number + 1, difference)
    if not moved:
        return Finding(Verdict.UNDECIDED, "the reference's optimizer changes no variable", (), figures)
    steps = reference.updates[-1].step, candidate.updates[-1].step
    counted = steps[0] == steps[1] or 0 in steps
    if not worst and counted:
        phrase = f"{len(reference.updates)} updates of {_count(len(names), 'variable')} agree"
        return Finding(Verdict.EQUIVALENT, phrase, (), {**figures, "step": steps[0]})
    culprits = [
        Culprit(
            key,
            names[key],
            "update",
            f"update {number} from equal variables, with equal gradients, gives other values (by {difference:.3g})",
            error,
            UPDATE_RTOL,
        )
        for key, (error, number, difference) in sorted(worst.items(), key=lambda item: (item[1][1], -item[1][0]))
    ]
    if not counted:
        cause = f"after {len(reference.updates)} updates the step counter is {steps[0]} against {steps[1]}"
        culprits.append(Culprit("global_step", "iterations", "optimizer", cause))
    first = min((number for _, number, _ in worst.values()), default=0)
    phrase = (
        f"{len(worst)} of {_count(len(names), 'variable')} differ from update {first} on"
        if worst
        else culprits[-1].cause
    )
    details = tuple(f"{c.reference}: {c.cause}" for c in culprits)
    return Finding(Verdict.DIVERGED, phrase, details, figures, tuple(culprits))


def _slots(reference: Course, candidate: Course, names: Mapping[str, str]) -> Finding:
    culprits: dict[str, Culprit] = {}
    compared = 0
    for number, (mine, theirs) in enumerate(zip(reference.updates, candidate.updates, strict=True), 1):
        for name, slot in mine.slots.items():
            key, _, role = name.partition(": ")
            other = _converted(theirs.slots.get(name), role, reference, candidate, number)
            if other is None or key not in names:
                continue
            compared += 1
            wide = np.asarray(slot, np.float64)
            size = float(np.max(np.abs(wide), initial=0.0))
            differs = np.abs(wide - other) > _SLOT_RTOL * np.abs(wide) + 1e-6 * size
            if np.any(differs) and name not in culprits:
                error = float(np.max(np.abs(wide - other))) / (size or 1.0)
                cause = f"its {role} differs after update {number}{_why(role, candidate)}"
                culprits[name] = Culprit(name, f"{names[key]}: {role}", "slot", cause, error, _SLOT_RTOL)
    culprits.update({c.reference or c.candidate or "": c for c in _one_sided(reference, candidate, names)})
    figures: dict[str, object] = {
        "slots": compared // max(len(reference.updates), 1),
        "slots_that_differ": len(culprits),
    }
    if culprits:
        details = tuple(f"{name}: {culprit.cause}" for name, culprit in culprits.items())
        phrase = f"{_count(len(culprits), 'slot')} differ" if len(culprits) > 1 else details[0]
        return Finding(Verdict.DIVERGED, phrase, details, figures, tuple(culprits.values()))
    phrase = f"{_count(compared // len(reference.updates), 'slot')} agree" if compared else ""
    return Finding(Verdict.EQUIVALENT, phrase, (), figures)


def _one_sided(reference: Course, candidate: Course, names: Mapping[str, str]) -> Iterator[Culprit]:
    """Finds moving averages that one side keeps alone; other slots may rightly be absent (a momentum of zero)."""
    sides = reference.updates[-1].slots, candidate.updates[-1].slots
    if not all(
        course.description is not None or slots for course, slots in zip((reference, candidate), sides, strict=True)
    ):
        return
    for key, theirs in names.items():
        name = f"{key}: moving average"
        if name in sides[0] and name not in sides[1]:
            yield Culprit(name, None, "slot", f"the candidate keeps no moving average of {theirs}")
        elif name in sides[1] and name not in sides[0]:
            yield Culprit(None, f"{theirs}: moving average", "slot", f"the reference keeps no moving average of {key}")


def _converted(
    slot: np.ndarray | None, role: str, reference: Course, candidate: Course, number: int
) -> np.ndarray | None:
    """Returns a slot in the reference's terms; None where it has no counterpart there."""
    if slot is None or candidate.description is None:
        return None if slot is None else np.asarray(slot, np.float64)
    inside = [
        bool(side.description is not None and side.description.arguments.get("rate_inside"))
        for side in (reference, candidate)
    ]
    wide: np.ndarray = np.asarray(slot, np.float64)
    if role != "momentum" or inside[0] == inside[1]:
        return wide
    rates = [candidate.rates.get(step, 0.0) for step in range(number)]
    if len(set(rates)) != 1 or not rates[0]:
        return None  # sums of other things
    return -wide / rates[0] if inside[1] else -wide * rates[0]


def _why(role: str, candidate: Course) -> str:
    arguments = {} if candidate.description is None else candidate.description.arguments
    if role == "moving average" and arguments.get("average_from_first_update"):
        return (
            " (Keras's starts as the variable after the first update, that of tf.train.ExponentialMovingAverage as "
            "the variable before it)"
        )
    return ""


def _explained(side: Course) -> Explained:
    rates = [side.rates[step] for step in range(len(side.updates))] if side.rates else []
    return Explained(side.description, rates, [update.variables for update in side.updates])


def _before(reference: Course, given: Trial) -> list[Arrays]:
    return [given.variables, *(update.variables for update in reference.updates[:-1])]


def _without_culprits(finding: Finding) -> Finding:
    return dataclasses.replace(finding, culprits=())


def _class(side: Course) -> str:
    return side.description.name if side.description is not None else "optimizer"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
