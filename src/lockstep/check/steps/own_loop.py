"""Step `trajectory` of a candidate with a training loop of its own: what one step of the loop left, judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lockstep.check.steps.gradients import MODEL_FLOOR
from lockstep.common.arrays import largest_magnitude
from lockstep.compare.tolerance import UPDATE_RTOL, update_tolerance
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.subjects.loops import Applied, LoopStep, Taken

Arrays = Mapping[str, np.ndarray]

KIND = "training loop"
"""The kind of culprits that are mistakes of a loop, as reports call it."""

MOST_ROUNDING = 1e-2
"""Where the gradients of an element differ by more than this share of themselves, and still by no more than rounding,
nothing can be said of the element's update: Adam makes a whole step of the sign of a gradient."""

_AMPLIFIED = 4.0
"""How many times the relative rounding of its gradient an update may be off, relative to the variable's largest update:
momentum and the second moment add up what differs in all steps before."""

_ALIKE = 1e-3
"""Two sets of arrays are called multiples of each other if their ratio is constant to this."""


@dataclass(frozen=True)
class Expected:
    """What the reference did in a step, under the candidate's keys; of the variables that it trains.

    Attributes:
        before: Values before the step.
        after: Values after it.
        gradients: The gradients of its loss.
        names: Candidate's key -> reference's.
    """

    before: Arrays
    after: Arrays
    gradients: Arrays
    names: Mapping[str, str]

    @property
    def largest_update(self) -> float:
        """The largest change of any element."""
        return max((_size(self.before[key], self.after[key]) for key in self.after), default=0.0)


@dataclass
class Rounding:
    """How far the gradients of each element differed by rounding alone, in the steps so far, relative to themselves.

    Attributes:
        shares: Candidate's key -> one number for each element.
    """

    shares: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, expected: Expected, taken: Taken | None) -> None:
        """Adds a step.

        Args:
            expected: What the reference did.
            taken: The gradients of the candidate, which were judged to be the reference's; None where they were not
                seen: then they may differ as any gradients may, by rounding of the model's largest.
        """
        floor = MODEL_FLOOR * max((largest_magnitude(g) for g in expected.gradients.values()), default=0.0)
        for key, gradient in expected.gradients.items():
            wide = np.abs(np.asarray(gradient, np.float64))
            off = np.full(wide.shape, floor)
            if taken is not None and key in taken.gradients:
                off = np.abs(np.asarray(gradient, np.float64) - np.asarray(taken.gradients[key], np.float64))
            share = np.divide(off, wide, out=np.where(off > 0, np.inf, 0.0), where=wide > 0)
            self.shares[key] = np.maximum(self.shares.get(key, np.zeros(())), share)


def weights(done: LoopStep, expected: Expected, rounding: Rounding) -> Finding:
    """Judges the trained variables after a step; both sides started from the same values.

    Args:
        done: What the loop did.
        expected: What the reference did.
        rounding: How far gradients differed by rounding.
    """
    wrong: dict[str, float] = {}
    compared = unjudged = 0
    largest = expected.largest_update
    for key, after in expected.after.items():
        before, size = expected.before[key], _size(expected.before[key], after)
        share = np.broadcast_to(rounding.shares.get(key, np.zeros(())), after.shape)
        known = share <= MOST_ROUNDING
        allowed = update_tolerance(before, after) + _AMPLIFIED * size * np.where(known, share, 0.0)
        off = np.abs(np.asarray(after, np.float64) - np.asarray(done.after[key], np.float64))
        compared, unjudged = compared + after.size, unjudged + int(after.size - np.count_nonzero(known))
        frozen = not known.any() and size > MOST_ROUNDING * largest and not _size(before, done.after[key])
        if np.any(~(off <= allowed) & known) or frozen:
            wrong[key] = float(np.max(np.where(known, off, 0.0) if not frozen else off)) / (size or 1.0)
    figures: dict[str, object] = {"trained_elements": compared, "elements_within_rounding": unjudged}
    if not all(np.all(np.isfinite(value)) for value in expected.after.values()):
        return Finding(Verdict.UNDECIDED, "the reference's weights are not finite after the step", (), figures)
    if not wrong:
        if compared and unjudged == compared:
            phrase = "each gradient is nothing but rounding, and so is what the step makes of it"
            return Finding(Verdict.UNDECIDED, phrase, (), figures)
        return Finding(Verdict.EQUIVALENT, "", (), figures)
    order = sorted(wrong, key=lambda key: -wrong[key])
    cause = "the training step leaves other values than the reference's, from equal values and one batch"
    culprits = tuple(Culprit(expected.names[key], key, "update", cause, wrong[key], UPDATE_RTOL) for key in order)
    phrase = f"{len(wrong)} of {len(expected.after)} trained variables differ after the loop's step"
    details = tuple(f"{c.reference}: off by {c.error:.3g} of its largest update" for c in culprits)
    return Finding(Verdict.DIVERGED, phrase, details, figures, culprits)


def taken_together(taken: Sequence[Taken], expected: Expected, loss: float) -> Taken | None:
    """Returns the gradients of a step as one; None where a loop was seen to take none.

    Of several for one variable (a batch in parts) it is their sum or their mean, whichever is nearer the reference's.

    Args:
        taken: What was taken, in order.
        expected: What the reference did.
        loss: The reference's loss: of several losses nobody knows how they are put together.
    """
    if len(taken) < 2:
        return taken[0] if taken else None
    lists: dict[str, list[np.ndarray]] = {}
    dtypes = {key: np.asarray(gradient).dtype for one in taken for key, gradient in one.gradients.items()}
    for one in taken:
        for key, gradient in one.gradients.items():
            lists.setdefault(key, []).append(np.asarray(gradient, np.float64))
    sums = {key: np.sum(each, 0) for key, each in lists.items()}
    means = {key: np.mean(each, 0) for key, each in lists.items()}
    nearer = min((sums, means), key=lambda found: _distance(expected.gradients, found))
    absent = tuple(key for one in taken for key in one.unconnected if key not in sums)
    return Taken(loss, {key: np.asarray(value, dtypes[key]) for key, value in nearer.items()}, absent)


def unscaled(taken: Taken, applied: Sequence[Applied]) -> Taken | None:
    """Returns gradients as the innermost optimizer was given them, where these are the same but for a factor.

    A loss that is scaled against underflow gives scaled gradients, which are scaled back before they are applied.
    """
    factor = common_factor(applied[-1].gradients, taken.gradients) if applied else None
    if factor is None:
        return None
    return Taken(
        taken.loss / factor, {key: np.asarray(g) / factor for key, g in taken.gradients.items()}, taken.unconnected
    )


def common_factor(ours: Arrays, theirs: Arrays) -> float | None:
    """Returns the number by which all of the second are the first; None where there is none, or it is one.

    >>> common_factor({"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 6.0])})
    3.0
    """
    keys = [key for key in ours if key in theirs and np.shape(ours[key]) == np.shape(theirs[key])]
    if not keys:
        return None
    a, b = (np.concatenate([np.ravel(side[key]).astype(np.float64) for key in keys]) for side in (ours, theirs))
    square = float(a @ a)
    if not square or not np.isfinite(square) or not np.all(np.isfinite(b)):
        return None
    factor = float(a @ b) / square
    alike = bool(np.max(np.abs(b - factor * a)) <= _ALIKE * abs(factor) * np.max(np.abs(a)))
    return factor if alike and factor and abs(factor - 1.0) > _ALIKE else None


def what_was_seen(done: LoopStep, expected: Expected, taken: Taken | None, rounding: Rounding, worst: str) -> str:
    """Says what the loop was seen to do in the step that explains its update; empty where nothing does.

    Args:
        done: What the loop did.
        expected: What the reference did.
        taken: The gradients that it took.
        rounding: How far gradients differed by rounding.
        worst: Key of the variable that is furthest off.
    """
    optimizer = done.applied[-1] if done.applied else None
    if not any(_size(done.before[key], done.after[key]) for key in expected.after):
        if optimizer is None:
            return "the loop applies no gradients in this step, and the reference does (it accumulates them, or skips)"
        return f"{optimizer.name} is given gradients and changes nothing in this step (it accumulates them)"
    if taken is not None and worst not in taken.gradients and worst not in taken.unconnected:
        return f"the loop takes no gradient for {worst}, which the reference trains"
    if optimizer is not None and (times := sum(1 for each in done.applied if each.name == optimizer.name)) > 1:
        return f"the loop applies {optimizer.name} {times} times in this step"
    left = done.after[worst] if optimizer is None else optimizer.left.get(worst, done.after[worst])
    if not np.array_equal(left, done.after[worst], equal_nan=True):
        return f"the loop changes {worst} after its optimizer's update (by an average of weights, or a constraint)"
    both = (_updates(expected, side, rounding) for side in (expected.after, done.after))
    return _of_updates(common_factor(*both), taken, optimizer)


def _of_updates(ratio: float | None, taken: Taken | None, optimizer: Applied | None) -> str:
    if ratio is not None:
        told = (
            "" if optimizer is None or optimizer.rate is None else f", whose learning rate is {optimizer.rate:.6g} then"
        )
        return f"each update is {ratio:.4g} times the reference's{told}"
    if taken is None or optimizer is None:
        return ""
    if _changed_between(taken, optimizer):
        return "the loop changes its gradients between taking and applying them (it clips or scales them)"
    return f"its gradients are the reference's, and {optimizer.name} makes other updates of them"


def blamed(finding: Finding, cause: str, label: str) -> Finding:
    """Puts one culprit, the loop, in the place of the variables that differ for one cause; the worst is named."""
    worst = finding.culprits[0]
    others = f"; {worst.reference} is furthest off, {len(finding.culprits)} differ" if len(finding.culprits) > 1 else ""
    one = Culprit(worst.reference, label, KIND, f"{cause}{others}", worst.error, worst.noise_budget)
    return dataclasses.replace(finding, culprits=(one,), details=(cause, *finding.details))


def _changed_between(taken: Taken, applied: Applied) -> bool:
    return any(
        key in applied.gradients
        and not np.allclose(applied.gradients[key], gradient, rtol=1e-5, atol=1e-6 * largest_magnitude(gradient))
        for key, gradient in taken.gradients.items()
    )


def _updates(expected: Expected, after: Arrays, rounding: Rounding) -> dict[str, np.ndarray]:
    """Returns what a step added to each variable; nothing where its gradient is no more than rounding."""
    known = {key: rounding.shares.get(key, np.zeros(())) <= MOST_ROUNDING for key in expected.after}
    return {
        key: np.where(known[key], np.asarray(after[key], np.float64) - np.asarray(before, np.float64), 0.0)
        for key, before in ((key, expected.before[key]) for key in expected.after)
    }


def _size(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64)), initial=0.0))


def _distance(expected: Arrays, found: Arrays) -> float:
    return sum(float(np.sum(np.square(np.asarray(expected[key]) - found[key]))) for key in found if key in expected)
