"""Losses that belong to no variable: what `tf.losses` collects, what `add_loss` is given, what code collects by hand.

They depend on the inputs, so rounding moves them as it moves outputs; they are judged in one sum for each side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.compare.align import Alignment, Rename, rename
from lockstep.compare.tolerance import LOSS_RTOL
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.traces.trace import LossRecord, Trace

KIND = "loss"
_NAME = "added losses"
_WAY_OUT = "give it to self.add_loss(...) in call"


_Sides = tuple[Sequence[LossRecord], Sequence[LossRecord]]
_Places = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Split:
    """The losses of both sides, by how they are compared.

    Attributes:
        owned: The reference's and the candidate's that are compared variable by variable.
        added: The places of those that are compared in one sum, among each side's losses.
    """

    owned: tuple[list[LossRecord], list[LossRecord]]
    added: tuple[list[int], list[int]]


def split(reference: Trace, candidate: Trace, alignment: Alignment, rules: Sequence[Rename]) -> Split:
    """Tells which losses are compared variable by variable.

    One side may put a loss down to its variable where the other cannot: `tf.nn.l2_loss(w)`, collected by hand, in eager
    execution. Two such losses of one value are one loss, and what is left is compared by variables. Where only all that
    is left together is the same (one side collects the sum of several), all of it is added.
    """
    sides = reference.losses, candidate.losses
    free = [[place for place, loss in enumerate(side) if loss.variable is None] for side in sides]
    if not any(free):
        return Split((list(sides[0]), list(sides[1])), ([], []))
    values = [[_value(loss) for loss in side] for side in sides]
    paired, alone = _by_value(sides, values, _names_of_reference(reference, alignment, rules))
    for mine, other in ((0, 1), (1, 0)):
        for place in list(alone[mine]):
            same = next((p for p in free[other] if _close(values[mine][place], values[other][p])), None)
            if same is not None:
                alone[mine].remove(place)
                free[other].remove(same)
    sums = [sum(values[side][place] for place in (*alone[side], *free[side])) for side in (0, 1)]
    if _close(*sums):
        return Split(_records(sides, paired), (sorted(alone[0] + free[0]), sorted(alone[1] + free[1])))
    owned = [sorted(paired[side] + alone[side]) for side in (0, 1)]
    return Split(_records(sides, owned), (free[0], free[1]))


def _names_of_reference(reference: Trace, alignment: Alignment, rules: Sequence[Rename]) -> dict[str, str]:
    """Returns the name of a candidate's variable -> that of the reference's that it stands for."""
    renamed = {rename(loss.variable, rules): loss.variable for loss in reference.losses if loss.variable is not None}
    return {**renamed, **{c.name: r.name for r, c in alignment.pairs}}


def _by_value(sides: _Sides, values: Sequence[Sequence[float]], names: Mapping[str, str]) -> tuple[_Places, _Places]:
    """Pairs losses of one variable that have one value; returns the places of those that have a pair, and of others."""
    paired: _Places = ([], [])
    alone: _Places = ([], [])
    waiting = {place: str(loss.variable) for place, loss in enumerate(sides[1]) if loss.variable is not None}
    for place, loss in enumerate(sides[0]):
        if loss.variable is None:
            continue
        of_variable = (p for p, name in waiting.items() if names.get(name, name) == loss.variable)
        same = next((p for p in of_variable if _close(values[0][place], values[1][p])), None)
        (alone if same is None else paired)[0].append(place)
        if same is not None:
            paired[1].append(same)
            del waiting[same]
    alone[1].extend(waiting)
    return paired, alone


def _records(sides: _Sides, places: Sequence[Sequence[int]]) -> tuple[list[LossRecord], list[LossRecord]]:
    return [sides[0][place] for place in places[0]], [sides[1][place] for place in places[1]]


def judge(
    reference: Trace, candidate: Trace, both: Split, base: Trace, movement: Callable[[], float | None], factor: float
) -> Finding:
    """Compares the sums of the added losses.

    Args:
        reference: The reference's trace.
        candidate: The candidate's.
        both: Which losses these are.
        base: The reference's trace on the candidate's runtime; `reference` where that is one.
        movement: How far rounding alone moves the reference's losses, in absolute terms; asked beyond the fixed
            tolerance.
        factor: How many times that movement a difference may have.
    """
    ours, theirs = _values(reference, both.added[0]), _values(candidate, both.added[1])
    if not ours and not theirs:
        return Finding(Verdict.NOT_ASKED, "")
    totals = sum(ours), sum(theirs)
    if not _close(*totals):
        left = _not_returned(ours, reference.outputs), _not_returned(theirs, candidate.outputs)
        if [len(left[0]), len(left[1])] != [len(ours), len(theirs)] and _close(sum(left[0]), sum(left[1])):
            return Finding(Verdict.EQUIVALENT, "", (_RETURNED,))
    phrase = f"added loss {totals[0]:.9g} {'=' if _close(*totals) else 'against'} {totals[1]:.9g}"
    figures: dict[str, object] = {"reference_added_loss": totals[0], "candidate_added_loss": totals[1]}
    if _close(*totals):
        return Finding(Verdict.EQUIVALENT, phrase, (), figures)
    moved = movement() if ours and theirs else None
    if moved is not None:
        budget, own = factor * moved, sum(_values(base, both.added[0]))
        if max(abs(own - totals[0]), abs(own - totals[1])) <= budget <= _HIDING * abs(totals[0]):
            explained = f"{phrase}; no more than rounding alone moves the reference"
            return Finding(Verdict.EQUIVALENT, explained, (), figures)
    cause, fix = _told(ours, theirs, totals, candidate.outputs)
    error = abs(totals[1] - totals[0]) / abs(totals[0]) if totals[0] else None
    culprit = Culprit(_NAME if ours else None, _NAME if theirs else None, KIND, cause, error, LOSS_RTOL, fix=fix)
    counted = f" ({len(ours)} against {len(theirs)} losses)" if len(ours) != len(theirs) else ""
    return Finding(Verdict.DIVERGED, phrase + counted, (f"{cause}; {fix}" if fix else cause,), figures, (culprit,))


_HIDING = 0.1
"""A budget above this share of the loss hides any answer, as in `sensitivity`."""
_RETURNED = (
    "a loss that one side collects besides returning it is compared as the output that it is: a training loop that "
    "adds both layer.losses and that output would count it twice"
)


def _told(
    ours: Sequence[float], theirs: Sequence[float], totals: tuple[float, float], outputs: Mapping[str, np.ndarray]
) -> tuple[str, str]:
    if not ours:
        return (
            f"only the candidate adds a loss ({totals[1]:.6g})",
            "take the add_loss out, or collect it in the reference",
        )
    if theirs:
        return f"the losses that are added besides come to {totals[0]:.6g} against {totals[1]:.6g}", ""
    what = f"the reference adds a loss of {totals[0]:.6g} (tf.losses, or add_loss of a layer) and the candidate none"
    returned = [path for path, value in outputs.items() if value.size == 1 and _close(totals[0], float(value.item()))]
    if returned:
        place = f"output {returned[0]}" if returned[0] else "its output"
        return f"{what}; it returns the loss as {place}", f"{_WAY_OUT}, or return it from the reference's forward too"
    return what, _WAY_OUT


def _value(loss: LossRecord) -> float:
    return float(np.sum(loss.value, dtype=np.float64))


def _values(trace: Trace, places: Sequence[int]) -> list[float]:
    return [_value(trace.losses[place]) for place in places]


def _not_returned(losses: Sequence[float], outputs: Mapping[str, np.ndarray]) -> list[float]:
    returned = [float(value.item()) for value in outputs.values() if value.size == 1 and value.dtype.kind == "f"]
    return [loss for loss in losses if loss not in returned]


def _close(reference: float, candidate: float) -> bool:
    if np.isnan(reference) or np.isnan(candidate):
        return bool(np.isnan(reference) and np.isnan(candidate))
    return bool(abs(reference - candidate) <= LOSS_RTOL * abs(reference))
