"""Tells a difference of training losses that is a weight decay: one factor times the squared norm of some variables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockstep.compare.align import Alignment
from lockstep.results.finding import Finding
from lockstep.results.pitfalls import Pitfall
from lockstep.traces.trace import Trace, VariableRecord

_RTOL = 1e-2
"""How well one factor has to explain the gradients and the loss: they are differences of float32 numbers."""
_SHOWN = 3


@dataclass(frozen=True)
class _Differs:
    """One variable: its value, and by how much the reference's gradient is the larger one."""

    name: str
    weights: np.ndarray
    difference: np.ndarray

    @property
    def squares(self) -> float:
        return float(np.sum(self.weights**2))

    @property
    def factor(self) -> float:
        return float(np.sum(self.difference * self.weights)) / (self.squares or np.inf)


def told(finding: Finding, reference: Trace, candidate: Trace, alignment: Alignment) -> tuple[str, Pitfall, str] | None:
    """Returns the cause, its page and the fix, where one weight decay is all that gradients and losses differ by.

    The decay s sum(w^2) / 2 of a loss is s w in the gradient of w.

    Args:
        finding: What is wrong with the gradients.
        reference: A differentiated run of the reference.
        candidate: One of the candidate, from equal values.
        alignment: Reference's variables -> candidate's.
    """
    blamed = {culprit.reference for culprit in finding.culprits if culprit.kind == "gradient"}
    found = [_difference(r.key, c, reference, candidate, alignment) for r, c in alignment.pairs if r.key in blamed]
    differing = [one for one in found if one is not None]
    if not differing or len(differing) < len(found):
        return None
    factor = float(np.median([one.factor for one in differing]))
    if not factor or not all(_explains(factor, one) for one in differing):
        return None
    penalty = factor * sum(one.squares for one in differing) / 2
    if reference.training_loss is None or candidate.training_loss is None:
        return None
    losses = float(reference.training_loss) - float(candidate.training_loss)
    # Variables whose gradients differ by too little to be told may have a share in the loss.
    if not abs(losses - penalty) <= _RTOL * abs(penalty) + 1e-6 * abs(float(reference.training_loss)):
        return None
    return _sentence(factor, [one.name for one in differing])


def _difference(
    key: str, record: VariableRecord, reference: Trace, candidate: Trace, alignment: Alignment
) -> _Differs | None:
    ours, weights = reference.gradients.get(key), reference.before.get(key)
    if weights is None:
        return None
    zeros = np.zeros_like(weights)
    mine = alignment.carried_gradient(record, np.asarray(zeros if ours is None else ours))
    value = alignment.carried_gradient(record, np.asarray(weights))
    given = candidate.gradients.get(record.key)
    other = np.zeros_like(mine) if given is None else np.asarray(given)
    if not mine.shape == value.shape == other.shape:
        return None
    return _Differs(key, value.astype(np.float64), mine.astype(np.float64) - other.astype(np.float64))


def _explains(factor: float, one: _Differs) -> bool:
    left = np.abs(one.difference - factor * one.weights)
    return bool(np.max(left, initial=0.0) <= _RTOL * np.max(np.abs(one.difference), initial=0.0))


def _sentence(factor: float, names: list[str]) -> tuple[str, Pitfall, str]:
    more = f", ... ({len(names)} variables)" if len(names) > _SHOWN else ""
    of = f"{', '.join(names[:_SHOWN])}{more}"
    decay = f"{abs(factor):.4g} x sum(w^2) / 2"
    if factor > 0:
        cause = f"the reference's training loss has a weight decay of {decay} for {of} that the candidate's has not"
        return cause, "missing-regularizer", f"add {decay}, or a regularizer L2({abs(factor) / 2:.4g}), for them"
    cause = f"the candidate's training loss has a weight decay of {decay} for {of} that the reference's has not"
    return cause, "extra-regularizer", f"take {decay}, a regularizer L2({abs(factor) / 2:.4g}), off them"
