"""Judging a model whose random draws may be right, and yet come in another order than the reference's.

A TF1 program draws in program order: the first kernel, the dropout behind it, the second kernel. Keras builds all
variables first, so in mode `num_random_ops` the same program draws first kernel, second kernel, dropout. Today's
`tf.nn.dropout` takes a seed for a rate of 0, TensorFlow 1.15's does not; eager code draws an initial value anew in
each call. None of that is a mistake. Such a candidate runs again with the reference's initial values, and its forward
pass draws what the reference's forward pass draws, place by place (`draws` of the framework). In mode `constant` all
draws have the same seeds, whatever their order, so there initial values that differ come from another initializer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lockstep.compare.align import Alignment
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.traces.trace import Trace

_COPIED = "initial values taken from the reference (%s draws its own in another order)"
_OWN_GENERATOR = "initial values taken from the reference (%s draws its own from a generator that no other side has)"
_OF_DRAWS = frozenset({"", "wrong-input", "dropout-place", "operation-order"})
_CAUSE = "its initial values differ though every draw has the same seeds: another initializer"


def may_differ(candidate: Trace) -> bool:
    """Tells whether the candidate's draws may rightly have another order than the reference's."""
    return candidate.native_initializers or candidate.native_draws


def draws(*traces: Trace) -> bool:
    """Tells whether any of some runs draws random numbers."""
    return any(trace.draws or trace.forward_draws or trace.native_draws or trace.own_generator for trace in traces)


def initial_values(finding: Finding, both: tuple[Trace, Trace], alignment: Alignment, randomness: str) -> list[Finding]:
    """Judges initial values as they were drawn: a difference counts only where the order of draws cannot matter.

    Args:
        finding: What their comparison found.
        both: The reference's and the candidate's run from them.
        alignment: Reference's variables -> candidate's.
        randomness: The mode in which they were drawn.
    """
    if finding.verdict is not Verdict.DIVERGED:
        return [finding]
    own = both[0].own_generator or both[1].own_generator
    if own:
        return [Finding(Verdict.NOT_ASKED, _OWN_GENERATOR % own)]
    if randomness != "constant":
        shared = _drawn_together(both[0], both[1], alignment)
        if shared:
            return [dataclasses.replace(finding, phrase=f"{finding.phrase}: {shared}", culprits=())]
        return [Finding(Verdict.NOT_ASKED, _COPIED % ("Keras" if may_differ(both[1]) else "the candidate"))]
    return [
        dataclasses.replace(finding, culprits=tuple(dataclasses.replace(c, cause=_CAUSE) for c in finding.culprits))
    ]


def _drawn_together(reference: Trace, candidate: Trace, alignment: Alignment) -> str:
    """Tells which variables start from one draw on one side, and from a draw each on the other.

    In mode `constant`, where all draws are alike, that does not show.
    """
    first: list[dict[bytes, str]] = [{}, {}]
    for r, c in alignment.pairs:
        if c.key in alignment.transforms:
            continue
        values = np.asarray(reference.before[r.key]), np.asarray(candidate.before[c.key])
        if any(value.dtype.hasobject or value.size < 2 or (value == value.flat[0]).all() for value in values):
            continue
        ours, theirs = (known.setdefault(v.tobytes(), r.key) for known, v in zip(first, values, strict=True))
        if ours != theirs:
            alike, who = (ours, "reference") if ours != r.key else (theirs, "candidate")
            return f"{alike} and {r.key} start from the same numbers in the {who} alone"
    return ""


def excused(reference: Trace, candidate: Trace, results: Sequence[Finding]) -> list[Finding]:
    """Returns the findings of the second run, with what the draws of both forward passes say about them."""
    if not any(finding.verdict is Verdict.DIVERGED for finding in results):
        return list(results)
    counts = [sum(draw.used for draw in trace.forward_draws or ()) for trace in (reference, candidate)]
    foreign = [trace.own_generator for trace in (reference, candidate) if trace.unaligned_draws and trace.own_generator]
    if foreign:
        phrase = f"random numbers come from {foreign[0]}'s own generator, which the other side cannot draw from"
        return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
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
