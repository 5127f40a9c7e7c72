"""The zoo's results as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.zoo.scoring import Outcome, Score, false_alarms

_HEAD = (
    f"{'family':<22} {'migration':<9} {'bugs':>4} {'detected':>9} {'top-1':>9} {'recall':>9} {'precision':>9} "
    f"{'pairs':>7} {'cause right/wrong/none':>22} {'per mistake':>11} {'s/check':>8}"
)


def lines(outcomes: Sequence[Outcome], *, misses: bool = True) -> Iterator[str]:
    """Writes the tables: right migrations by setting, planted bugs by family, and what was missed."""
    yield from _right(outcomes)
    planted = [outcome for outcome in outcomes if outcome.bug is not None]
    if planted:
        yield ""
        yield "planted bugs: detected; first culprit right; places named; culprits that are some; pairs with both named"
        yield _HEAD
        for family, migration in dict.fromkeys((o.family, o.migration) for o in planted):
            chosen = [o for o in planted if (o.family, o.migration) == (family, migration)]
            yield _row(family, migration, Score.over(chosen))
        yield _row("all", "", Score.over(planted))
        unseen = [outcome for outcome in planted if outcome.bug is not None and outcome.bug.unseen]
        if 0 < len(unseen) < len(planted):
            yield _row("seen", "", Score.over(outcome for outcome in planted if outcome not in unseen))
            yield _row("unseen", "", Score.over(unseen))
    if misses:
        yield from _missed(planted)


def _right(outcomes: Sequence[Outcome]) -> Iterator[str]:
    right = [outcome for outcome in outcomes if outcome.bug is None]
    if not right:
        return
    alarms = false_alarms(right)
    yield f"right migrations: {len(right)} checks, {len(alarms)} not found equivalent"
    for setting in dict.fromkeys(outcome.setting for outcome in right):
        chosen = [outcome for outcome in right if outcome.setting == setting]
        equivalent = sum(outcome.verdict == "equivalent" for outcome in chosen)
        seconds = sum(outcome.duration_s for outcome in chosen) / len(chosen)
        yield f"  {setting:<12} {equivalent} of {len(chosen)} equivalent, {seconds:.1f} s per check"
    for outcome in alarms:
        yield f"  {outcome.verdict}: {outcome.family}/{outcome.migration}, {outcome.setting}: {outcome.note}"


def _row(family: str, migration: str, score: Score) -> str:
    causes = "/".join(str(score.causes[kind]) for kind in ("right", "wrong", "none"))
    return (
        f"{family:<22} {migration:<9} {score.bugs:>4} {_of(score.detected, score.bugs):>9} "
        f"{_of(score.first_right, score.bugs):>9} {_of(score.places_named, score.places):>9} "
        f"{_of(score.named_rightly, score.named):>9} {score.pairs_named:>3}/{score.pairs:<3} {causes:>22} "
        f"{score.per_mistake:>5.2g} {score.most_per_mistake:>5.2g} {score.seconds:>8.1f}"
    )


def _of(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _missed(planted: Sequence[Outcome]) -> Iterator[str]:
    missed = [outcome for outcome in planted if not (outcome.detected and outcome.first_right)]
    if not missed:
        return
    yield ""
    yield "not detected, or another culprit first:"
    for outcome in missed:
        expected = " | ".join(dict.fromkeys(f"{'/'.join(p.kinds)} {p.pattern}" for p in outcome.places))
        told = str(outcome.named[0]) if outcome.named else "no culprit"
        yield f"  {outcome.bug}: {outcome.verdict}; first {told}; expected {expected}"
        if outcome.verdict != "diverged" and outcome.note:
            yield f"    {outcome.note}"


def as_json(outcomes: Sequence[Outcome], reference: str) -> dict[str, object]:
    """Returns the whole run in JSON types: the score, and every check with what it named."""
    right = [outcome for outcome in outcomes if outcome.bug is None]
    return {
        "reference": reference,
        "score": Score.over(outcomes).as_json(),
        "right_checks": len(right),
        "false_alarms": sum(outcome.verdict in {"diverged", "error"} for outcome in right),
        "right_undecided": sum(outcome.verdict == "undecided" for outcome in right),
        "checks": [_record(outcome) for outcome in outcomes],
    }


def _record(outcome: Outcome) -> dict[str, object]:
    record: dict[str, object] = {
        "family": outcome.family,
        "migration": outcome.migration,
        "setting": outcome.setting,
        "bug": outcome.bug.name if outcome.bug else None,
        "verdict": outcome.verdict,
        "duration_s": round(outcome.duration_s, 3),
        "note": outcome.note,
        "named": [{"kind": n.kind, "name": n.name, "pitfall": n.pitfall} for n in outcome.named],
    }
    if outcome.bug is not None:
        record |= {
            "faults": [
                {
                    "name": fault.name,
                    "pitfall": fault.pitfall,
                    "mode": fault.mode,
                    "places": [{"pattern": place.pattern, "kinds": list(place.kinds)} for place in fault.places],
                }
                for fault in outcome.faults
            ],
            "first_right": outcome.first_right,
            "places_named": outcome.places_named,
            "named_rightly": outcome.named_rightly,
            "causes": outcome.causes(),
        }
    return record
