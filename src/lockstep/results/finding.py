"""What one part of a step found; a step puts its findings together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lockstep.results.model import Culprit, StepReport, Verdict, overall

NEVER_CHANGED = "the candidate never changes it"
CHANGED_ALONE = "only the candidate changes it"
"""Two causes that a step and forced lockstep tell of the same variable, in the same words."""


@dataclass(frozen=True)
class Finding:
    """One part of a step: its verdict, a phrase for the summary, and the lines of the diff.

    Attributes:
        verdict: The verdict.
        phrase: What was seen, for the summary.
        details: The lines of the diff.
        figures: The numbers behind it.
        culprits: What is to blame.
        exact: Whether no rounding can be the reason: another shape or dtype, an entry on one side only.
        pending: What it becomes unless a later step shows that it is no difference; None of most.
    """

    verdict: Verdict
    phrase: str
    details: tuple[str, ...] = ()
    figures: dict[str, object] = field(default_factory=dict)
    culprits: tuple[Culprit, ...] = ()
    exact: bool = False
    pending: Finding | None = None


def step_report(name: str, findings: Sequence[Finding], judged_by: str, duration_s: float) -> StepReport:
    """Makes a step's report: where it diverged, the summary tells what did, otherwise all that was seen."""
    verdict = overall([finding.verdict for finding in findings])
    decisive = [f for f in findings if f.verdict is verdict] if verdict is not Verdict.EQUIVALENT else findings
    figures: dict[str, object] = {}
    for finding in findings:
        figures.update(finding.figures)
    return StepReport(
        name=name,
        verdict=verdict if any(f.verdict is not Verdict.NOT_ASKED for f in findings) else Verdict.NOT_ASKED,
        summary="; ".join(f.phrase for f in (decisive or findings) if f.phrase),
        figures=figures,
        judged_by=judged_by,
        details=tuple(line for f in findings for line in f.details),
        duration_s=duration_s,
    )
