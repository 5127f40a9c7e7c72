"""Random operations within a loop: a graph has one for all rounds, eager code asks for a seed in every round."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace


def undecided(findings: Sequence[Finding], base: Trace, candidate: Trace) -> list[Finding]:
    """Returns the findings; where draws in loops are not known on both sides, differences are undecided for that.

    Where the reference's graph can be followed, each round's draw is known, and is drawn again in its place.
    """
    if base.repeated_draws:
        why = (
            f"the reference has {base.repeated_draws} random operations within loops or branches (dropout in a "
            "recurrent cell, say), and its graph cannot be followed: which round draws what is not known"
        )
    elif candidate.repeated_draws:
        why = (
            "the reference draws within loops numbers of a kind of which the candidate cannot draw a later round's "
            "alone (uniform, normal and truncated normal ones it can)"
        )
    else:
        return list(findings)
    return [
        dataclasses.replace(finding, verdict=Verdict.UNDECIDED, phrase=f"{finding.phrase}; {why}", culprits=())
        if finding.verdict in (Verdict.DIVERGED, Verdict.UNDECIDED)
        else finding
        for finding in findings
    ]
