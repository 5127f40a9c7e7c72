"""The figures of a run, as text and as the README's table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.soundness.oracle_limits import BELOW_FLOAT32
from benchmarks.soundness.outcome import FAILURES, FALSE_EQUIVALENT, HARMLESS, INVALID, PARTS, Outcome, of_part

_HEADS = (
    "mutants", "harmless", "false equivalent", "undecided", "detected", "first culprit right", "invalid", "failed",
    "s per check",
)  # fmt: skip


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yields what is printed at the end of a run."""
    if mutants := of_part(outcomes, "mutants"):
        yield from _of_mutants(mutants)
    for part in PARTS[1:]:
        if found := of_part(outcomes, part):
            yield from _of_cases(part, found)
    for outcome in outcomes:
        if outcome.wrong:
            yield from _wrong(outcome)


def readme(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yields the README's table."""
    yield "| what was checked | right | wrong | undecided |"
    yield "| --- | --- | --- | --- |"
    mutants = [one for one in of_part(outcomes, "mutants") if one.outcome not in (HARMLESS, INVALID, *FAILURES)]
    if mutants:
        found = _figures(mutants)
        yield (
            f"| {len(mutants)} harmful mutants of {len({one.group for one in mutants})} right pairs | "
            f"{found['detected']} `diverged`, first culprit right in {_first_right(mutants)} | "
            f"{found['false equivalent']} `equivalent` | {found['undecided']} |"
        )
    for part, told in (("identity", "TF1 programs, unchanged"), ("rewrites", "faithful rewrites")):
        if cases := of_part(outcomes, part):
            counts = {v: sum(one.outcome == v for one in cases) for v in ("equivalent", "diverged", "undecided")}
            yield (
                f"| {len(cases)} {told} | {counts['equivalent']} `equivalent` | {counts['diverged']} `diverged` | "
                f"{counts['undecided']} |"
            )


def _of_mutants(mutants: Sequence[Outcome]) -> Iterator[str]:
    groups = list(dict.fromkeys(one.group for one in mutants))
    width = max(map(len, (*groups, "all pairs")))
    yield " ".join([f"{'pair':{width}}", *_HEADS])
    for group in (*groups, "all pairs"):
        chosen = [one for one in mutants if group in (one.group, "all pairs")]
        found = _figures(chosen)
        cells = [f"{found[head]!s:>{len(head)}}" for head in _HEADS]
        yield " ".join([f"{group:{width}}", *cells])
    small = [one for one in mutants if one.outcome == FALSE_EQUIVALENT and (one.effect or 0) < BELOW_FLOAT32]
    yield f"false equivalent with an effect below {BELOW_FLOAT32:g}, which float32 cannot show there: {len(small)}"
    alarms = sum(one.outcome == HARMLESS and one.verdict == "diverged" for one in mutants)
    yield f"harmless mutants that were called diverged: {alarms}"


def _figures(chosen: Sequence[Outcome]) -> dict[str, object]:
    def count(*outcomes: str) -> int:
        return sum(one.outcome in outcomes for one in chosen)

    times = [one.duration_s for one in chosen if one.verdict]
    return {
        "mutants": len(chosen) - count(INVALID),
        "harmless": count(HARMLESS),
        "false equivalent": count(FALSE_EQUIVALENT),
        "undecided": count("undecided"),
        "detected": count("detected"),
        "first culprit right": _first_right(chosen),
        "invalid": count(INVALID),
        "failed": count(*FAILURES),
        "s per check": f"{statistics.median(times):.1f}" if times else "",
    }


def _first_right(chosen: Sequence[Outcome]) -> str:
    named = [one.first_right for one in chosen if one.outcome == "detected" and one.first_right is not None]
    return f"{sum(named)} of {len(named)}"


def _of_cases(part: str, cases: Sequence[Outcome]) -> Iterator[str]:
    yield f"{part}: {len(cases)} cases"
    for kind in dict.fromkeys(one.group for one in cases):
        chosen = [one for one in cases if one.group == kind]
        counts = {v: sum(one.outcome == v for one in chosen) for v in dict.fromkeys(one.outcome for one in chosen)}
        yield f"  {kind or '(no kind)'}: " + ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    for one in cases:
        if one.outcome == "undecided" and one.reason:
            yield f"  undecided, rightly: {one.name}: {one.reason}"


def _wrong(outcome: Outcome) -> Iterator[str]:
    effect = "" if outcome.effect is None else f", effect {outcome.effect:.2g} ({outcome.where})"
    yield f"{outcome.outcome}: {outcome.name}{effect}"
    if outcome.note:
        yield f"  {outcome.note[:200]}"
    yield f"  {outcome.command}"
