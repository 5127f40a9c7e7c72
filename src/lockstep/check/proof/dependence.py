"""Whether the outputs at given values depend on these values: a checkpoint with a dead output proves nothing."""

from __future__ import annotations

from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.proof import reach
from lockstep.common.errors import KernelError, ProgramError, SubjectError
from lockstep.frameworks import runtimes
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Setting


def judge(forced: ForcedRuns, settings: tuple[Setting, Setting]) -> list[Finding]:
    """Says for how many variables the outputs at these values prove something.

    Args:
        forced: Both sides' programs.
        settings: The values, of the reference and of the candidate.

    Returns:
        `undecided` where an output depends on variables and none moves it; a note about single variables.
    """
    try:
        programs = forced.programs_from(*settings)
        if programs is None:
            return []
        kernels = runtimes.kernels()
        found = reach.Reach()
        found.observe(programs[0], kernels, kernels.derivatives)
    except (ProgramError, KernelError, SubjectError) as error:
        return [Finding(Verdict.NOT_ASKED, f"whether the outputs depend on these values was not seen: {error}")]
    if found.dead:
        some = ", ".join(path or "the output" for path in found.dead[:3])
        phrase = f"{some}: the same whatever the variables are, at these values, so nothing is proved"
        return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
    note = reach.told(found)
    return [Finding(Verdict.NOT_ASKED, note)] if note else []
