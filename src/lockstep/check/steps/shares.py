"""Whose difference it is: the runtime's or the code's; and whether rounding explains it.

Three results give two differences: the reference where it was recorded, its own graph on the candidate's runtime, and
the candidate. The first pair differs by the runtime, the second by the code. Where only one runtime is involved, all of
a difference is the code's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict


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


@dataclass(frozen=True)
class Known:
    """What is known of the code besides how far its results differ.

    Attributes:
        same_function: Whether it computes the same in float64; None where that cannot be told.
        operations_right: Whether forced lockstep judged every operation, and found all of them right.
    """

    same_function: bool | None = None
    operations_right: bool = False


def rounding_alone(total: Finding, kind: str) -> Finding:
    """Judges a difference beyond the fixed tolerance between two computations of one function."""
    phrase = f"{total.phrase}; in float64 both compute the same, so this is rounding"
    return Finding(Verdict.EQUIVALENT, phrase, (), {**total.figures, f"{kind}_explained_by_noise": True})


def started_apart(total: Finding, sentence: str) -> Finding:
    """Judges a difference between runs that did not start alike: it tells nothing of what they compute."""
    return dataclasses.replace(
        total, verdict=Verdict.UNDECIDED, phrase=f"{total.phrase}; {sentence}, so nothing can be concluded", culprits=()
    )


def judged(fixed: Differences, budgeted: Differences, hides: Mapping[str, float], kind: str, known: Known) -> Finding:
    """Judges a difference beyond the fixed tolerance by noise budgets; both sides started alike.

    Args:
        fixed: The differences under the fixed tolerance; the total has diverged.
        budgeted: The same under the noise budgets.
        hides: What rounding moves so far that no answer can be had: name -> budget over the tensor's magnitude.
        kind: `"output"` or `"state"`.
        known: What else is known of the code.
    """
    total = fixed.total
    if budgeted.code.verdict is Verdict.DIVERGED and not known.same_function:
        # What is beyond the budget is the code's; the lines of the diff are those of the code's share.
        beyond = dataclasses.replace(budgeted.code, phrase=total.phrase, figures=total.figures)
        if not known.operations_right:
            return beyond
        phrase = (
            f"{total.phrase}; no operation is wrong by itself, yet this is more than rounding was measured to become"
        )
        return dataclasses.replace(beyond, verdict=Verdict.UNDECIDED, phrase=phrase, culprits=())
    if budgeted.runtime is not None and budgeted.runtime.verdict is Verdict.DIVERGED:
        phrase = f"{total.phrase}; the runtimes differ by more than rounding explains"
        beyond = dataclasses.replace(budgeted.runtime, phrase=phrase, figures=total.figures)
        # The code is proved, and no fault of it is left; whether the two runtimes may differ so far is not.
        return dataclasses.replace(beyond, verdict=Verdict.UNDECIDED, culprits=()) if known.same_function else beyond
    if Verdict.UNDECIDED in (budgeted.code.verdict, total.verdict):
        return dataclasses.replace(total, verdict=Verdict.UNDECIDED)
    if known.same_function is False or (hides and not known.same_function):
        by = f"by {max(hides.values()):.0%} of its size" if hides else "as far"
        phrase = f"{total.phrase}; rounding alone may move it {by}, which hides any answer"
        if known.same_function is False:
            phrase += "; in float64 the two compute different things"
        figures = {**total.figures, f"{kind}_hidden_by_noise": True}
        return Finding(Verdict.UNDECIDED, phrase, total.details, figures)
    phrase = f"{total.phrase}; no more than rounding alone moves the reference"
    return Finding(Verdict.EQUIVALENT, phrase, (), {**total.figures, f"{kind}_explained_by_noise": True})


def _share(finding: Finding, kind: str) -> object:
    return finding.figures.get(f"largest_{kind}_error")


def _said(finding: Finding, kind: str) -> str:
    if finding.figures.get(f"{kind}_bit_equal"):
        return "0 (bit for bit)"
    return f"{_share(finding, kind):.2g}"
