"""Step 1: variables are created at the first call only."""

from __future__ import annotations

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace


def judge(candidate: Trace) -> Finding:
    """Judges by the variables that further calls of the candidate made."""
    count, created = len(candidate.variables), candidate.created
    figures: dict[str, object] = {"variables": count, "created_by_further_calls": len(created)}
    phrase = f"{count:,} variables, {len(created):,} new in {candidate.calls} calls"
    if created:
        return Finding(Verdict.DIVERGED, phrase, tuple(_lines(created)), figures)
    return Finding(Verdict.EQUIVALENT, phrase, (), figures)


def _lines(created: tuple[str, ...]) -> list[str]:
    """Each description once, however often a call made the variable anew."""
    return [line for description in dict.fromkeys(created) for line in description.splitlines()]
