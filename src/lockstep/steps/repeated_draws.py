"""Random operations within a loop: a graph has one for all rounds, eager code draws anew with the next seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.report.model import Verdict
from lockstep.steps.finding import Finding
from lockstep.trace import Trace


def cannot_be_aligned(reference: Trace, candidate: Trace) -> bool:
    """Tells whether the reference draws within loops and the candidate asked for another number of seeds.

    TensorFlow promises no order of the rounds either, unless `parallel_iterations` is 1.
    """
    return reference.repeated_draws > 0 and reference.draws != candidate.draws


def undecided(findings: Sequence[Finding], reference: Trace) -> list[Finding]:
    """Returns the findings, with those that diverged undecided and the reason told."""
    why = (
        f"the reference has {reference.repeated_draws} random operations within loops or branches (dropout in a "
        "recurrent cell, say), whose draws cannot be aligned with eager ones"
    )
    return [
        dataclasses.replace(finding, verdict=Verdict.UNDECIDED, phrase=f"{finding.phrase}; {why}", culprits=())
        if finding.verdict is Verdict.DIVERGED
        else finding
        for finding in findings
    ]
