"""A side that starts from values of its own: weights that its maker loads or sets after the initializers ran."""

from __future__ import annotations

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.traces.trace import Trace


def judge(reference: Trace, candidate: Trace, initial: Finding) -> list[Finding]:
    """Returns what is to be said in place of a comparison of initial values; nothing where all come from initializers.

    Args:
        reference: A run of the reference from its initial values.
        candidate: One of the candidate.
        initial: What the comparison of initial values found: equal values are equal, wherever they come from.
    """
    found = [Finding(Verdict.UNDECIDED, line, (line,)) for line in candidate.loads + reference.loads]
    if initial.verdict is not Verdict.DIVERGED:
        return found
    for side, trace in (("reference", reference), ("candidate", candidate)):
        if trace.overwritten:
            count, of = len(trace.overwritten), len(trace.variables)
            phrase = (
                f"the {side} starts from values of its own: {count:,} of {of:,} variables were set after their "
                "initializers ran, and the other side starts from other values"
            )
            key = "path" if side == "reference" else "candidate"
            hint = (
                f"which of them are right cannot be told here; name the file that they come from as [checkpoint] {key}"
                ", or leave the loading out of what is checked. What follows was run from the reference's values"
            )
            found.append(Finding(Verdict.UNDECIDED, phrase, (phrase, hint, *trace.notes)))
    return found
