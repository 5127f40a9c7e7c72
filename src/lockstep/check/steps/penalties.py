"""Penalties that one side keeps with its variables, and the other has in its training loss.

TF1 code adds `tf.nn.l2_loss(w)` to its loss by hand; its rewrite gives the layer a `kernel_regularizer`. Neither is
wrong: what is trained on is the sum. So where both sides state a training loss, losses that one side alone keeps are
not judged by themselves but by `gradients`, which compares the sums and all their gradients at distinct values. A
penalty that is too small there to be seen decides nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lockstep.check.steps import added_losses
from lockstep.check.steps.gradients import MODEL_FLOOR, largest
from lockstep.common.arrays import largest_magnitude
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.traces.trace import Trace

_KINDS = ("regularizer", added_losses.KIND)
_COUNTS = ("reference_losses", "candidate_losses")
_ADDED = ("reference_added_loss", "candidate_added_loss")


def deferred(finding: Finding) -> Finding:
    """Returns a finding that says nothing yet where the losses are those of one side alone.

    Args:
        finding: What was found of the losses of both sides, of one run.
    """
    if finding.verdict is not Verdict.DIVERGED or not finding.culprits or not _one_sided(finding):
        return finding
    return Finding(Verdict.NOT_ASKED, "", (), finding.figures, pending=finding)


def _one_sided(finding: Finding) -> bool:
    if any(culprit.kind not in _KINDS for culprit in finding.culprits):
        return False
    if all(name in finding.figures for name in _ADDED):
        return any(culprit.reference is None or culprit.candidate is None for culprit in finding.culprits)
    return any(finding.figures.get(name) == 0 for name in _COUNTS)


def settled(finding: Finding, gradients: Sequence[Finding], culprits: Sequence[Culprit]) -> Finding:
    """Returns what becomes of a finding now that gradients are known.

    Args:
        finding: Any finding.
        gradients: What that step found.
        culprits: What else is to blame in the forward pass.
    """
    pending = finding.pending
    if pending is None:
        return finding
    if _agree(gradients):
        hidden = [name for one in gradients for name in _names(one.figures.get(UNSEEN))]
        if hidden:
            phrase = f"{pending.phrase}; {_HIDDEN} {hidden[0]}"
            return Finding(Verdict.UNDECIDED, phrase, (phrase,), pending.figures)
        return Finding(Verdict.NOT_ASKED, f"{pending.phrase}: {_IN_THE_SUM}", (), pending.figures)
    if any(culprit.kind != "initializer" for culprit in culprits) or _differ_otherwise(gradients):
        return Finding(Verdict.NOT_ASKED, f"{pending.phrase}: {_ANEW}", (), pending.figures)
    return dataclasses.replace(pending, pending=None)


def _agree(gradients: Sequence[Finding]) -> bool:
    asked = [finding for finding in gradients if finding.verdict is not Verdict.NOT_ASKED]
    return bool(asked) and all(finding.verdict is Verdict.EQUIVALENT for finding in asked)


def _names(figure: object) -> list[str]:
    return [str(name) for name in figure] if isinstance(figure, list) else []


def _differ_otherwise(gradients: Sequence[Finding]) -> bool:
    """Tells whether training losses differ by something else than what one side's layers keep."""
    for finding in gradients:
        ours, theirs = (finding.figures.get(f"{side}_training_loss") for side in ("reference", "candidate"))
        kept = finding.figures.get(KEPT)
        if finding.verdict is Verdict.DIVERGED and isinstance(ours, float) and isinstance(theirs, float):
            return isinstance(kept, float) and abs(ours - theirs - kept) > _ALIKE * abs(kept)
    return False


def figures(reference: Trace, candidate: Trace) -> dict[str, object]:
    """Returns what `settled` has to know of the run from which gradients were compared.

    Args:
        reference: A differentiated run of the reference.
        candidate: One of the candidate.
    """
    totals = [sum(float(np.sum(loss.value, dtype=np.float64)) for loss in one.losses) for one in (reference, candidate)]
    return {UNSEEN: unseen(reference, candidate), KEPT: totals[0] - totals[1]}


def unseen(reference: Trace, candidate: Trace) -> list[str]:
    """Returns the penalties that could be lacking in the other side's sum without being seen there.

    One is seen in the sum, or in the gradient of its variable: that of a squared norm s w^2 / 2 is s w, whose largest
    element is 2 max|w| / sum(w^2) times the penalty.

    Args:
        reference: A differentiated run of the reference.
        candidate: One of the candidate.
    """
    found = []
    for trace in (reference, candidate):
        total = abs(float(trace.training_loss)) if trace.training_loss is not None else 0.0
        for loss in trace.losses:
            value = abs(float(np.sum(loss.value, dtype=np.float64)))
            if value < _SEEN * _OF_A_LOSS * max(total, 1.0) and not _moves_its_gradient(loss.variable, value, trace):
                found.append(loss.variable or "a loss of no variable")
    return found


def _moves_its_gradient(variable: str | None, penalty: float, trace: Trace) -> bool:
    gradient, weights = trace.gradients.get(variable or ""), trace.before.get(variable or "")
    if gradient is None or weights is None:
        return False
    squares = float(np.sum(np.square(weights, dtype=np.float64)))
    share = 2 * penalty * largest_magnitude(weights) / squares if squares else 0.0
    allowed = _OF_A_GRADIENT * min(1.0, largest_magnitude(gradient)) + MODEL_FLOOR * largest(trace)
    return share >= _SEEN * allowed


_SEEN = 10.0
_OF_A_LOSS = 1.1e-5
"""What training losses of 1 may differ by: the fixed tolerance."""
_OF_A_GRADIENT = 1e-5

UNSEEN = "unseen_penalties"
"""The figure of gradients that names the penalties which would not be seen."""

KEPT = "losses_kept_by_layers"
"""The figure of gradients that says by how much the losses which the reference's layers keep are larger."""
_ALIKE = 0.01

_IN_THE_SUM = "the other side has it in its training loss, and the sums and all gradients agree"
_HIDDEN = "whether the other side has it in its training loss cannot be seen of"
_ANEW = "one side alone keeps it; what is trained on is judged anew once the rest is mended"
