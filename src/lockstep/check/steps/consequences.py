"""What follows from a mistake in the forward pass, or in an optimizer: other gradients, and other training steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.check.steps import trajectory
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict

STEPS = ("gradients", "trajectory")
"""The steps that hang on the forward pass. An optimizer's trial has variables and gradients of its own."""


def told(findings: Sequence[Finding]) -> list[Finding]:
    """Returns findings about gradients or training steps of a model with a mistake elsewhere: nothing is blamed twice.

    What is wrong with gradients alone (a lost `stop_gradient`) shows once the forward pass is right.
    """
    return [
        dataclasses.replace(
            finding,
            phrase=f"{finding.phrase}; this follows from what differs before, and is judged anew once that is mended",
            culprits=(),
        )
        if finding.verdict is Verdict.DIVERGED
        else finding
        for finding in findings
    ]


def of_an_optimizer(findings: Sequence[Finding], culprits: Sequence[Culprit]) -> list[Finding]:
    """Returns findings about training steps without the updates that a wrong optimizer makes, where that is named.

    A variable that the reference's step changes beside its optimizer stays to blame.

    Args:
        findings: What `trajectory` found.
        culprits: What earlier steps blame.
    """
    if not any(culprit.kind == "optimizer" for culprit in culprits):
        return list(findings)
    return [
        dataclasses.replace(
            finding,
            phrase=f"{finding.phrase}; this follows from the optimizer",
            culprits=tuple(culprit for culprit in finding.culprits if not _of_update(culprit)),
        )
        if any(map(_of_update, finding.culprits))
        else finding
        for finding in findings
    ]


def _of_update(culprit: Culprit) -> bool:
    return culprit.kind == "update" and trajectory.OTHER_VALUES in culprit.cause
