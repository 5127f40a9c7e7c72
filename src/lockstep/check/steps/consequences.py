"""What follows from a mistake in the forward pass: other gradients, and other training steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict

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
