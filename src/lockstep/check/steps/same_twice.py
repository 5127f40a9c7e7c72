"""Asks, where the sides differ, whether a side differs from itself: then the difference is nobody's mistake.

A module that counts what it has built, `np.random.default_rng()` without a seed or the time of day make two builds of
one program two programs. What then differs from the other side says nothing about either code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace

_OF_NAMES = frozenset({"", "wrong-variable", "wrong-input", "missing-variable", "extra-variable"})
"""Pitfalls that a side may seem to have which is another one at each build. All others were tested by computing the
place anew, so that neither side has to be built once more, which takes minutes for a large network."""

CLEAR = 1e-3
"""How far two builds of one program must be apart, relative to a tensor's largest magnitude, to be two programs."""


def judge(
    found: Sequence[Finding], builds: Sequence[tuple[str, Callable[[], tuple[Trace, Trace] | None]]]
) -> list[Finding]:
    """Returns the findings, or, where they diverged and a side differs from itself, that alone.

    What no rounding can be the reason of stays: a candidate that changes from call to call, an output of another shape.

    Args:
        found: What was found.
        builds: Each side's name, and what gives the traces of two of its builds from the same values; None where it
            cannot be built again.
    """
    diverged = [finding for finding in found if finding.verdict is Verdict.DIVERGED]
    known = any(c.pitfall not in _OF_NAMES for finding in diverged for c in finding.culprits if c.kind == "operation")
    if diverged and not known and not any(finding.exact for finding in diverged):
        for side, twice in builds:
            traces = twice()
            differs = "" if traces is None else difference(*traces)
            if differs:
                return [_told(side, differs)]
    return list(found)


def difference(first: Trace, second: Trace) -> str:
    """Says what clearly differs between two builds of one side; nothing where nothing does."""
    names = [[record.key for record in trace.variables] for trace in (first, second)]
    if names[0] != names[1]:
        only = [key for key in names[0] if key not in names[1]] or [key for key in names[1] if key not in names[0]]
        partner = next((key for key in names[1] if key not in names[0]), "")
        if only and partner and only[0] != partner:
            return f"variable {only[0]} of one build is {partner} in the next"
        return f"only one of two builds has variable {only[0]}" if only else "its variables come in another order"
    for what, ours, theirs in (
        ("the initial value of", first.before, second.before),
        ("output", first.outputs, second.outputs),
    ):
        for key in ours:
            apart = distance(np.asarray(ours[key]), np.asarray(theirs[key])) if key in theirs else np.inf
            if apart > CLEAR:
                return f"{what} {key or '(the only one)'} differs by {apart:.2g} of its magnitude from build to build"
    return ""


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference relative to the largest magnitude; infinity where they cannot be compared."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return np.inf
    if ours.dtype.kind not in "fcV" and ours.dtype.name != "bfloat16":
        return 0.0 if np.array_equal(ours, theirs) else np.inf
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    ours, theirs = ours.astype(wide), theirs.astype(wide)
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)):
        return np.inf
    ours, theirs = ours[finite], theirs[finite]
    largest = max(float(np.max(np.abs(ours), initial=0.0)), float(np.max(np.abs(theirs), initial=0.0)))
    return float(np.max(np.abs(ours - theirs), initial=0.0)) / largest if largest else 0.0


def _told(side: str, differs: str) -> Finding:
    return Finding(
        Verdict.UNDECIDED,
        f"the {side} is not the same twice: {differs}; look for state that outlives a build (a counter, a cache), or "
        "numbers that no seed reaches (np.random.default_rng(), the time of day)",
    )
