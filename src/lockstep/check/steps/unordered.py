"""A reference that differs from itself: a run writes a variable twice, and nothing says in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lockstep.results.finding import Finding
from lockstep.results.model import Verdict


def judge(names: Sequence[str], results: Sequence[Finding]) -> list[Finding]:
    """Returns findings about a run, undecided where they hang on such a variable.

    Args:
        names: The reference's variables that are written in no defined order.
        results: What was found about losses, outputs and the state left behind.
    """
    if not names:
        return list(results)
    some = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    phrase = (
        f"the reference differs from itself: one run updates {some} more than once, nothing orders these updates, and "
        "the result depends on which comes first"
    )
    hint = "order them in the reference (tf.control_dependencies), or give the second call updates of its own"
    kept = [
        dataclasses.replace(
            finding,
            verdict=Verdict.UNDECIDED,
            culprits=tuple(c for c in finding.culprits if c.kind != "state" or c.reference not in names),
        )
        if finding.verdict is Verdict.DIVERGED
        and all(c.kind == "state" and c.reference in names for c in finding.culprits)
        else finding
        for finding in results
    ]
    return [Finding(Verdict.UNDECIDED, phrase, (phrase, hint)), *kept]
