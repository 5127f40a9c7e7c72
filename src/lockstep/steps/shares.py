"""Whose difference it is: the runtime's or the code's; and whether rounding explains it.

Three results give two differences: the reference where it was recorded, its own graph on the candidate's runtime, and
the candidate. The first pair differs by the runtime, the second by the code. Where only one runtime is involved, all of
a difference is the code's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from lockstep.report.model import Verdict
from lockstep.steps.finding import Finding


@dataclass(frozen=True)
class Differences:
    """The findings about one kind of tensor (outputs, say) under a rule.

    Attributes:
        total: Reference against candidate.
        code: The reference's graph on the candidate's runtime against the candidate.
        runtime: The reference against its graph on the candidate's runtime; None where one runtime is involved.
    """

    total: Finding
    code: Finding
    runtime: Finding | None


def told(fixed: Differences, kind: str, runtimes: str) -> Finding:
    """Returns the total finding with the shares in its phrase and figures.

    Args:
        fixed: The differences under the fixed tolerance.
        kind: `"output"` or `"state"`, as in the figures' names.
        runtimes: As in `"TensorFlow 1.15.5 against 2.21.0"`.
    """
    if fixed.runtime is None or not fixed.total.phrase:
        return fixed.total
    shares = {"runtime": _share(fixed.runtime, kind), "code": _share(fixed.code, kind)}
    if None in shares.values():
        return fixed.total
    sentence = f"{_said(fixed.runtime, kind)} is {runtimes}, {_said(fixed.code, kind)} is your code"
    figures = {**fixed.total.figures, **{f"{kind}_error_of_{who}": share for who, share in shares.items()}}
    return dataclasses.replace(fixed.total, phrase=f"{fixed.total.phrase}: {sentence}", figures=figures)


def explained(total: Finding, kind: str) -> Finding:
    """Judges a difference beyond the fixed tolerance of which every operation is within its noise budget."""
    phrase = f"{total.phrase}; no operation is beyond its noise budget"
    return Finding(Verdict.EQUIVALENT, phrase, (), {**total.figures, f"{kind}_explained_by_noise": True})


def judged(
    fixed: Differences, budgeted: Differences, hides: Mapping[str, float], kind: str, *, explained: bool = False
) -> Finding:
    """Judges a difference beyond the fixed tolerance by noise budgets.

    Args:
        fixed: The differences under the fixed tolerance; the total has diverged.
        budgeted: The same under the noise budgets.
        hides: What rounding moves so far that no answer can be had: name -> budget over the tensor's magnitude.
        kind: `"output"` or `"state"`.
        explained: Whether forced lockstep found every operation of the candidate right.
    """
    total = fixed.total
    if budgeted.code.verdict is Verdict.DIVERGED and not explained:
        # What is beyond the budget is the code's; the lines of the diff are those of the code's share.
        return dataclasses.replace(budgeted.code, phrase=total.phrase, figures=total.figures)
    if budgeted.runtime is not None and budgeted.runtime.verdict is Verdict.DIVERGED:
        phrase = f"{total.phrase}; the runtimes differ by more than rounding explains"
        return dataclasses.replace(budgeted.runtime, phrase=phrase, figures=total.figures)
    if Verdict.UNDECIDED in (budgeted.code.verdict, total.verdict):
        return dataclasses.replace(total, verdict=Verdict.UNDECIDED)
    own = explained or fixed.code.verdict is Verdict.EQUIVALENT
    if hides and not own:
        worst = max(hides.values())
        phrase = f"{total.phrase}; rounding alone may move it by {worst:.0%} of its size, which hides any answer"
        return Finding(Verdict.UNDECIDED, phrase, total.details, {**total.figures, f"{kind}_hidden_by_noise": True})
    phrase = f"{total.phrase}; no more than rounding alone moves the reference"
    return Finding(Verdict.EQUIVALENT, phrase, (), {**total.figures, f"{kind}_explained_by_noise": True})


def _share(finding: Finding, kind: str) -> object:
    return finding.figures.get(f"largest_{kind}_error")


def _said(finding: Finding, kind: str) -> str:
    if finding.figures.get(f"{kind}_bit_equal"):
        return "0 (bit for bit)"
    return f"{_share(finding, kind):.2g}"
