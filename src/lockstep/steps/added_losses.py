"""Losses that belong to no variable: what `tf.losses` collects, what `add_loss` is given, what code collects by hand.

They depend on the inputs, so rounding moves them as it moves outputs; they are judged in one sum for each side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.align import Alignment, Rename, rename
from lockstep.report.model import Culprit, Verdict
from lockstep.steps.finding import Finding
from lockstep.tolerance import LOSS_RTOL
from lockstep.trace import LossRecord, Trace

KIND = "loss"
_NAME = "added losses"
_WAY_OUT = "give it to self.add_loss(...) in call"


@dataclass(frozen=True)
class Owned:
    """The variables whose losses are told by both sides, or by both as far as they are; all else is added.

    Attributes:
        reference: Names of the reference's variables.
        candidate: Names of the candidate's.
    """

    reference: frozenset[str]
    candidate: frozenset[str]


def owned(reference: Trace, candidate: Trace, alignment: Alignment, rules: Sequence[Rename]) -> Owned:
    """Returns whose losses are compared variable by variable.

    Where every loss has its variable these are all. Where one has none, a loss that only one side puts down to a
    variable may be the other's that has none (`tf.nn.l2_loss(w)`, collected by hand): it counts as added on both.
    """
    ours, theirs = _owners(reference.losses), _owners(candidate.losses)
    if all(loss.variable is not None for loss in (*reference.losses, *candidate.losses)):
        return Owned(frozenset(ours), frozenset(theirs))
    partners: dict[str, list[str]] = {}
    for r, c in alignment.pairs:
        partners.setdefault(r.name, []).append(c.name)
    shared = {name: set(partners.get(name, [rename(name, rules)])) & theirs for name in ours}
    return Owned(
        frozenset(name for name, found in shared.items() if found), frozenset().union(*shared.values()) if shared else frozenset()
    )


def judge(
    reference: Trace, candidate: Trace, both: Owned, base: Trace, movement: Callable[[], float | None], factor: float
) -> Finding:
    """Compares the sums of the added losses.

    Args:
        reference: The reference's trace.
        candidate: The candidate's.
        both: Whose losses are compared elsewhere.
        base: The reference's trace on the candidate's runtime; `reference` where that is one.
        movement: How far rounding alone moves the reference's losses, in absolute terms; asked beyond the fixed
            tolerance.
        factor: How many times that movement a difference may have.
    """
    ours, theirs = _added(reference, both.reference), _added(candidate, both.candidate)
    if not ours and not theirs:
        return Finding(Verdict.NOT_ASKED, "")
    totals = _total(ours), _total(theirs)
    if not _close(*totals):
        left = _not_returned(ours, reference.outputs), _not_returned(theirs, candidate.outputs)
        if [len(left[0]), len(left[1])] != [len(ours), len(theirs)] and _close(_total(left[0]), _total(left[1])):
            return Finding(Verdict.EQUIVALENT, "", (_RETURNED,))
    phrase = f"added loss {totals[0]:.9g} {'=' if _close(*totals) else 'against'} {totals[1]:.9g}"
    figures: dict[str, object] = {"reference_added_loss": totals[0], "candidate_added_loss": totals[1]}
    if _close(*totals):
        return Finding(Verdict.EQUIVALENT, phrase, (), figures)
    moved = movement() if ours and theirs else None
    if moved is not None:
        budget, own = factor * moved, _total(_added(base, both.reference))
        if max(abs(own - totals[0]), abs(own - totals[1])) <= budget <= _HIDING * abs(totals[0]):
            return Finding(
                Verdict.EQUIVALENT, f"{phrase}; no more than rounding alone moves the reference", (), figures
            )
    cause, fix = _told(ours, theirs, totals, candidate.outputs)
    error = abs(totals[1] - totals[0]) / abs(totals[0]) if totals[0] else None
    culprit = Culprit(_NAME if ours else None, _NAME if theirs else None, KIND, cause, error, LOSS_RTOL, fix=fix)
    counted = f" ({len(ours)} against {len(theirs)} losses)" if len(ours) != len(theirs) else ""
    return Finding(Verdict.DIVERGED, phrase + counted, (f"{cause}; {fix}" if fix else cause,), figures, (culprit,))


_HIDING = 0.1
"""A budget above this share of the loss hides any answer, as in `sensitivity`."""
_RETURNED = (
    "a loss that one side collects besides returning it is compared as the output that it is: a training loop that adds "
    "both layer.losses and that output would count it twice"
)


def _told(
    ours: Sequence[float], theirs: Sequence[float], totals: tuple[float, float], outputs: Mapping[str, np.ndarray]
) -> tuple[str, str]:
    if not ours:
        return f"only the candidate adds a loss ({totals[1]:.6g})", "take the add_loss out, or collect it in the reference"
    if theirs:
        return f"the losses that are added besides come to {totals[0]:.6g} against {totals[1]:.6g}", ""
    what = f"the reference adds a loss of {totals[0]:.6g} (tf.losses, or add_loss of a layer) and the candidate none"
    returned = [path for path, value in outputs.items() if value.size == 1 and _close(totals[0], float(value.item()))]
    if returned:
        place = f"output {returned[0]}" if returned[0] else "its output"
        return f"{what}; it returns the loss as {place}", f"{_WAY_OUT}, or return it from the reference's forward too"
    return what, _WAY_OUT


def _owners(losses: Sequence[LossRecord]) -> set[str]:
    return {loss.variable for loss in losses if loss.variable is not None}


def _added(trace: Trace, owned_names: frozenset[str]) -> list[float]:
    return [float(np.sum(loss.value)) for loss in trace.losses if loss.variable not in owned_names]


def _not_returned(losses: Sequence[float], outputs: Mapping[str, np.ndarray]) -> list[float]:
    returned = [float(value.item()) for value in outputs.values() if value.size == 1 and value.dtype.kind == "f"]
    return [loss for loss in losses if loss not in returned]


def _total(losses: Sequence[float]) -> float:
    return float(np.sum(np.asarray(losses, np.float64))) if losses else 0.0


def _close(reference: float, candidate: float) -> bool:
    if np.isnan(reference) or np.isnan(candidate):
        return bool(np.isnan(reference) and np.isnan(candidate))
    return bool(abs(reference - candidate) <= LOSS_RTOL * abs(reference))
