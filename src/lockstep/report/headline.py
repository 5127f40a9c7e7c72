"""The first sentence of a report: the verdict, and the reason for it."""

from __future__ import annotations

from lockstep.results.model import Culprit, Report, Verdict

_KINDS = {"draw": "random draw", "state": "state of"}


def headline(report: Report) -> str:
    """Returns the verdict and its reason in one sentence, without line breaks.

    Args:
        report: The report.

    Example:
        >>> from lockstep.results.model import StepReport
        >>> step = StepReport("inference-fixed", Verdict.UNDECIDED, "no output at all")
        >>> headline(Report(Verdict.UNDECIDED, (step,), (), {}, 0.0))
        'undecided: it could not be judged whether both compute the same: inference-fixed: no output at all'
    """
    return " ".join(f"{report.verdict}: {reason(report)}".split())


def culprit_sentence(culprit: Culprit) -> str:
    """Returns what is wrong with one culprit and what to write instead, in one sentence.

    >>> culprit_sentence(Culprit("net/mul", "net/mul", "operation", "the factor is 0.11", fix="use 0.1"))
    'operation net/mul: the factor is 0.11; fix: use 0.1'
    """
    kind = _KINDS.get(culprit.kind, culprit.kind)
    fix = f"; fix: {culprit.fix}" if culprit.fix else ""
    return f"{kind} {culprit.candidate or culprit.reference or '(unnamed)'}: {culprit.cause}{fix}"


def reason(report: Report) -> str:
    """Returns why the verdict is what it is, as a clause."""
    asked = [step for step in report.steps if step.verdict is not Verdict.NOT_ASKED]
    if report.verdict is Verdict.EQUIVALENT:
        steps = "the one step that was" if len(asked) == 1 else f"all {len(asked)} steps that were"
        return f"the candidate computes what the reference computes, in {steps} asked for"
    if report.verdict is Verdict.DIVERGED:
        told = "the candidate does not compute what the reference computes"
        if report.culprits:
            others = len(report.culprits) - 1
            more = f", and {others:,} other culprit{'s' if others > 1 else ''}" if others else ""
            return f"{told}: {culprit_sentence(report.culprits[0])}{more}"
    else:
        told = "it could not be judged whether both compute the same"
    decisive = next((step for step in asked if step.verdict is report.verdict), None)
    if decisive is None:
        return f"{told}: nothing was compared" if not asked else told
    return f"{told}: {decisive.name}: {decisive.summary}"
