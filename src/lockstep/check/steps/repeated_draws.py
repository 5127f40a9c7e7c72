"""Random operations within a loop: a graph has one for all rounds, eager code asks for a seed in every round."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Subject
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


def by_rounds(findings: Sequence[Finding], reference: Subject, base: Trace, candidate: Trace) -> list[Finding]:
    """Returns the findings; in place of differences, that one side draws in each round what the other draws once.

    Args:
        findings: What was found.
        reference: The reference.
        base: What the reference did.
        candidate: What the candidate did, with the reference's draws.
    """
    once = drawn_once(reference, base, candidate)
    return told(once) if once and any(finding.verdict is Verdict.DIVERGED for finding in findings) else list(findings)


def told(once: str) -> list[Finding]:
    """Returns what is said in place of differences that come from draws of which one side makes fewer."""
    return [Finding(Verdict.UNDECIDED, once, (), {DRAWN_ONCE: True})]


DRAWN_ONCE = "drawn_once"
"""The figure of a finding that is there in place of differences."""


def drawn_once(reference: Subject, base: Trace, candidate: Trace) -> str:
    """Says that the candidate draws once what the reference's framework draws in each round; empty where it does not.

    The candidate then draws as often as the reference draws beside its loops and in their first round, numbers of the
    same kinds.
    """
    ours = [draw for draw in base.forward_draws or () if draw.used]
    later = [draw for draw in ours if draw.earlier]
    if not reference.offers.masks_by_rounds or not later:
        return ""
    kinds = [
        Counter((draw.type, draw.dtype, draw.size) for draw in draws if draw.used and not draw.earlier)
        for draws in (ours, candidate.forward_draws or ())
    ]
    if kinds[0] != kinds[1]:
        return ""
    return (
        "the reference draws the masks of its recurrent dropout anew in each round of a loop, as Keras 2 does in a "
        f"graph and in fit ({len(ours)} draws), and the candidate once for all rounds, as Keras 3 does "
        f"({kinds[1].total()}): these draws cannot be aligned; with recurrent_dropout=0, or unroll=True, on both "
        "sides all else can be judged"
    )
