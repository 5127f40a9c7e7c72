"""Judging a model that Keras builds: its random draws may be right, and yet in another order than a TF1 program's.

A TF1 program draws in program order: the first kernel, the dropout behind it, the second kernel. Keras builds all
variables first, so in mode `num_random_ops` the same program draws first kernel, second kernel, dropout. That is no
mistake. Such a candidate runs again with the reference's initial values, and its forward pass draws with the seeds of
the reference's forward pass, in order. In mode `constant` all draws have the same seeds, whatever their order, so
there initial values that differ come from another initializer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.report.model import Culprit, Verdict
from lockstep.steps.finding import Finding
from lockstep.trace import Trace

_COPIED = "initial values taken from the reference (Keras draws its own in another order)"
_OF_DRAWS = frozenset({"", "wrong-input", "dropout-place", "operation-order"})
_CAUSE = "its initial values differ though every draw has the same seeds: another initializer"


def may_differ(candidate: Trace) -> bool:
    """Tells whether the candidate's draws may rightly have another order than the reference's."""
    return candidate.native_initializers or candidate.native_draws


def initial_values(finding: Finding, randomness: str) -> list[Finding]:
    """Judges initial values as they were drawn: a difference counts only where the order of draws cannot matter."""
    if finding.verdict is not Verdict.DIVERGED:
        return [finding]
    if randomness != "constant":
        return [Finding(Verdict.NOT_ASKED, _COPIED)]
    return [
        dataclasses.replace(finding, culprits=tuple(dataclasses.replace(c, cause=_CAUSE) for c in finding.culprits))
    ]


def excused(reference: Trace, candidate: Trace, results: Sequence[Finding]) -> list[Finding]:
    """Returns the findings of the second run, with what the draws of both forward passes say about them."""
    if not any(finding.verdict is Verdict.DIVERGED for finding in results):
        return list(results)
    counts = len(reference.forward_draws or ()), len(candidate.forward_draws or ())
    if candidate.unaligned_draws and counts[0] > counts[1]:
        return [
            Finding(
                Verdict.UNDECIDED,
                "the reference draws random numbers in its forward pass, and the candidate calls next() of a Keras "
                "SeedGenerator itself, whose numbers cannot be aligned; hand the generator to keras.random instead",
            )
        ]
    if counts[0] == counts[1]:
        return list(results)
    return [*results, Finding(Verdict.DIVERGED, f"{counts[0]} random draws in the forward pass against {counts[1]}")]


def is_explained_by(culprit: Culprit) -> bool:
    """Tells whether an operation is to blame for something that has nothing to do with who draws what, and when."""
    return culprit.kind == "operation" and culprit.pitfall not in _OF_DRAWS


def told_by_both_modes(num_random_ops: Verdict, constant: Verdict) -> list[Finding]:
    """Says what it means that only the mode in which the order of draws matters found a difference."""
    if num_random_ops is not Verdict.DIVERGED or constant is not Verdict.EQUIVALENT:
        return []
    return [
        Finding(
            Verdict.DIVERGED,
            "nothing differs in mode constant, where all draws are alike: look for another order of draws, or one draw "
            "that serves several places",
        )
    ]
