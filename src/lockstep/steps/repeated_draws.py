"""Random operations within a loop: a graph has one for all rounds, eager code asks for a seed in every round."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.report.model import Verdict
from lockstep.steps.finding import Finding
from lockstep.trace import Trace


def cannot_be_aligned(base: Trace) -> bool:
    """Tells whether the reference draws within loops or branches, and nobody knows how often.

    Where its graph can be followed, each round's draw is known, and is drawn again in its place.
    """
    return base.repeated_draws > 0


def undecided(findings: Sequence[Finding], reference: Trace) -> list[Finding]:
    """Returns the findings, with those that diverged undecided and the reason told."""
    why = (
        f"the reference has {reference.repeated_draws} random operations within loops or branches (dropout in a "
        "recurrent cell, say), and its graph cannot be followed: which round draws what is not known"
    )
    return [
        dataclasses.replace(finding, verdict=Verdict.UNDECIDED, phrase=f"{finding.phrase}; {why}", culprits=())
        if finding.verdict is Verdict.DIVERGED
        else finding
        for finding in findings
    ]
