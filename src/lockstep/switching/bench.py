"""How far apart runs are, and what that is judged to be: by the rules of `lockstep check`, and no others."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.check.judging import Traces
from lockstep.check.partly import Pair
from lockstep.check.steps import native_order, numbers, repeated_draws
from lockstep.common.errors import LockstepError, SubjectError
from lockstep.compare.sensitivity import FACTOR, Noise
from lockstep.report.switches import Distance
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.traces.trace import Trace


class Bench:
    """Compares runs of a pair's sides with each other.

    Args:
        pair: Both sides in one mode.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair, self._judge = pair, pair.judge
        self._names = {r.key: c.key for r, c in pair.alignment.pairs}

    def of_candidate(self, first: Trace, second: Trace, coarseness: float = 1.0) -> list[Finding]:
        """Judges two runs of the candidate, of which one may round more coarsely by a factor."""

        def noise() -> Noise | None:
            found = self._noise()
            return None if found is None else _coarser(found, coarseness)

        return self._judge.of_one_side(first, second, noise, self._names)

    def of_reference(self, first: Trace, second: Trace) -> list[Finding]:
        """Judges two runs of the reference's graph."""
        return self._judge.of_one_side(first, second, self._noise)

    def apart(self, first: Trace, second: Trace) -> Distance:
        """Returns how far two runs of one side are apart, which asks for no noise budget."""
        alone = dataclasses.replace(self._judge.tolerance, alone=True)
        return distance(dataclasses.replace(self._judge, tolerance=alone).of_one_side(first, second, lambda: None))

    def against_reference(self, trace: Trace, eager: Trace) -> list[Finding]:
        """Judges a run of the candidate as `lockstep check` does.

        Args:
            trace: The run.
            eager: The run as written, which tells of its draws what a traced function's second run no longer tells.
        """
        traces = self._pair.traces
        both = Traces(traces.reference, trace, traces.here)
        results = self._judge.results(both, self._pair.alignment, self._pair.perturbed)
        results = repeated_draws.undecided(results, traces.base, eager)
        return native_order.excused(traces.base, eager, results)

    def from_reference(self, reference: Trace, trace: Trace) -> Distance:
        """Returns how far a run of the candidate is from one of the reference."""
        tolerance, alignment = self._judge.tolerance, self._pair.alignment
        return distance(
            [numbers.outputs(reference, trace, tolerance), numbers.state(reference, trace, alignment, tolerance)]
        )

    def budget(self, *pairs: tuple[Trace, Trace]) -> float | None:
        """Returns the noise budget of the output that is furthest off in any pair of runs.

        None where none is off, or where the reference cannot be run again.
        """
        error, path = max(furthest(first, second) for first, second in pairs)
        noise = self._noise() if error else None
        return None if noise is None or path not in noise.outputs else FACTOR * noise.outputs[path]

    def _noise(self) -> Noise | None:
        perturbed = self._pair.perturbed
        if perturbed is None or self._judge.tolerance.alone:
            return None
        return self._judge.noise(perturbed, self._pair.traces.base)


def _coarser(noise: Noise, factor: float) -> Noise:
    """What rounding moves where each operation rounds more coarsely: in the first order, so much more."""
    outputs, state = ({name: factor * moved for name, moved in one.items()} for one in (noise.outputs, noise.state))
    return dataclasses.replace(noise, outputs=outputs, state=state)


def furthest(first: Trace, second: Trace) -> tuple[float, str]:
    """Returns the largest difference of an output, and its path."""
    found = (0.0, "")
    for path, value in first.outputs.items():
        other = second.outputs.get(path)
        if other is None or other.shape != value.shape or value.dtype.kind not in "fc":
            continue
        with np.errstate(invalid="ignore"):
            difference = np.abs(value - other)
        finite = difference[np.isfinite(difference)]
        found = max(found, (float(np.max(finite, initial=0.0)), path))
    return found


def distance(findings: Sequence[Finding]) -> Distance:
    """Returns the distance that findings about outputs and state tell of."""
    figures: dict[str, Any] = {}
    for finding in findings:
        figures.update(finding.figures)
    bit_equal = bool(figures.get("output_bit_equal")) and bool(figures.get("state_bit_equal", True))
    # Outputs that one side alone returns have no figure.
    whole = not any(f.verdict is Verdict.UNDECIDED and "structure" in f.phrase for f in findings)
    outputs = float(figures.get("largest_output_error", np.inf))
    return Distance(outputs, figures.get("largest_state_error"), bit_equal and whole)


def settled(findings: Sequence[Finding], otherwise: Verdict | None) -> Verdict:
    """Puts findings together.

    Args:
        findings: About one run.
        otherwise: What they are where noise hides the answer, because it is known from elsewhere: with some switch the
            run has the bits of another one. None where nothing is known.
    """
    return overall([finding.verdict if otherwise is None or not hidden(finding) else otherwise for finding in findings])


def hidden(finding: Finding) -> bool:
    """Whether a finding is about a difference that rounding alone may make, and that is too large to say more of."""
    return any(name.endswith("_hidden_by_noise") for name in finding.figures)


def misaligned(eager: Trace, other: Trace) -> str:
    """Tells why draws of a function cannot be those of the eager run; empty where they are."""
    if eager.unaligned_draws or other.unaligned_draws:
        return "it calls next() of a Keras SeedGenerator itself, whose numbers cannot be aligned"
    ours, theirs = eager.forward_draws or (), other.forward_draws or ()
    if ours == theirs:
        return ""
    return f"eagerly it draws {_times(len(ours))}, traced {_times(len(theirs))}, so that the draws cannot be aligned"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def why(findings: Sequence[Finding]) -> str:
    """Returns the phrase of the finding that decides; empty where it is the distance of outputs, and nothing more."""
    worst = overall([finding.verdict for finding in findings])
    phrases = [finding.phrase for finding in findings if finding.verdict is worst and finding.phrase]
    if worst is Verdict.DIVERGED:
        phrases = [phrase for phrase in phrases if "outputs differ, up to" not in phrase]
    return "" if worst is Verdict.EQUIVALENT or not phrases else phrases[0]


_REST = re.compile(r"; |(?<=[a-z)])\. (?=[A-Z])")


def reason(error: LockstepError) -> str:
    """Returns what an error says, in one sentence, without what to do about it."""
    text = str(error)
    if isinstance(error, SubjectError) and f"{error.doing}: " in text:
        text = text.partition(f"{error.doing}: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _REST.split(lines[0])[0].rstrip(".") if lines else type(error).__name__
