"""Whether a side differs from itself: it is called several times from the same values."""

from __future__ import annotations

import time

from lockstep.check.judging import Judge
from lockstep.check.steps import numbers
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.subjects import Instance, Setting
from lockstep.subjects.built import Built
from lockstep.traces.trace import Trace

CALLS = 3
"""How many further calls are made of all but large models, and one of these: a counter that changes something at every
second or third call is found, as the other runs of a check are calls too."""

MOST_CALLS = 12
"""How many are made of a candidate while they take no time: what happens by chance in three calls of ten is missed by
all in one of seventy."""

_SHORT_S = 0.25
_LONG_S = 3.0


def judge(
    built: Built, settings: tuple[Setting, Setting], by: Judge, drawn: tuple[str, str] = ("", "")
) -> list[Finding]:
    """Calls each side several times, and says which gives other outputs than before.

    Args:
        built: Both sides.
        settings: The values, of the reference and of the candidate.
        by: What judges.
        drawn: How far the reference moved NumPy's and Python's generators. A candidate that moved them as far has drawn
            the same; one that did not is called with other numbers each time, as it may draw lots.
    """
    found = []
    sides = {"reference": (built.original, settings[0]), "candidate": (built.candidate, settings[1])}
    for side, (instance, setting) in sides.items():
        if instance is None or not instance.free:
            continue
        by.say(f"{side}: calling it again from the same values")
        other, lots = _other(instance, setting, by, drawn if side == "candidate" else None)
        if other is None and lots:
            phrase = (
                f"the candidate draws numbers of {lots} in its forward pass that the reference does not draw; "
                f"{MOST_CALLS} calls were alike, which proves nothing of a rare one"
            )
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
        if other is not None:
            phrase = f"the {side} differs from itself: {other}"
            found.append((side, phrase))
    if not found:
        return []
    if any(side == "reference" for side, _ in found):
        return [Finding(Verdict.UNDECIDED, phrase, (phrase,)) for _, phrase in found]
    culprit = Culprit(None, "the outputs", "output", "they change from call to call though nothing else does")
    return [Finding(Verdict.DIVERGED, phrase, (phrase,), {}, (culprit,), exact=True) for _, phrase in found]


def _other(instance: Instance, setting: Setting, by: Judge, drawn: tuple[str, str] | None) -> tuple[str | None, str]:
    """Returns which call differs from the first, and whose numbers each call draws that the reference does not."""
    first: Trace = instance.run(setting)
    stirred = instance.stirred
    if stirred is None or drawn is None:
        return _calls(first, instance, setting, by, most=CALLS if drawn is None else MOST_CALLS), ""
    compared = zip(("numpy", "python"), first.drew, first.drawn, drawn, strict=True)
    lots = [kind for kind, drew, ours, theirs in compared if drew and ours != theirs]
    stirred.stir(lots)
    try:
        named = " and ".join("NumPy" if kind == "numpy" else "Python's random" for kind in lots)
        return _calls(first, instance, setting, by, in_any_case=bool(lots)), named
    finally:
        stirred.stir(())


def _calls(
    first: Trace,
    instance: Instance,
    setting: Setting,
    by: Judge,
    *,
    in_any_case: bool = False,
    most: int = MOST_CALLS,
) -> str | None:
    start = time.perf_counter()
    for call in range(2, most + 2):
        took = time.perf_counter() - start
        hurried = (call > CALLS + 1 and took > _SHORT_S) or (call > 2 and took > _LONG_S)
        if hurried and not in_any_case:
            return None
        again = numbers.outputs(first, instance.run(setting), by.tolerance)
        if again.verdict is Verdict.DIVERGED:
            return f"call {call} from the same values gives other outputs ({again.phrase})"
    return None
