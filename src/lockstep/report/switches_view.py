"""What the HTML page of `lockstep switches` shows, made from its report alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.report import view
from lockstep.report.switches import INDENTED, Distance, SettingReport, SwitchReport
from lockstep.results.model import Verdict

_FLOOR = 1e-9
"""Bars begin here: of a size that no float32 output shows."""


@dataclass(frozen=True)
class Bar:
    """A distance: what it says, and its width in per cent of a logarithmic axis."""

    text: str
    width: float


@dataclass(frozen=True)
class Row:
    """One setting that was run."""

    setting: str
    indented: bool
    as_written: Bar | None
    from_reference: Bar | None
    budget: str
    verdict: view.Judged
    note: str
    from_float64: str = ""


@dataclass(frozen=True)
class Group:
    """The settings of one side in one mode."""

    side: str
    mode: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SwitchesView:
    """All that the page shows."""

    title: str
    verdict: view.Judged
    sentence: str
    subjects: tuple[tuple[str, str, str], ...]
    settings: tuple[view.Setting, ...]
    findings: tuple[str, ...]
    groups: tuple[Group, ...]
    duration: str


def view_of(report: SwitchReport) -> SwitchesView:
    """Makes the view of a report."""
    keys = dict.fromkeys((row.side, row.mode) for row in report.settings)
    largest = max(
        (d.outputs for row in report.settings for d in _distances(row) if math.isfinite(d.outputs)), default=0
    )
    groups = (
        (side, mode, [row for row in report.settings if (row.side, row.mode) == (side, mode)]) for side, mode in keys
    )
    return SwitchesView(
        title="lockstep switches",
        verdict=view.Judged.of(report.verdict),
        sentence=_sentence(report),
        subjects=tuple(view.subject_of(side, told) for side, told in report.environments.items()),
        settings=view.settings_of(report.environments),
        findings=tuple(report.findings),
        groups=tuple(Group(side, mode, _rows(rows, largest)) for side, mode, rows in groups),
        duration=view.seconds(report.duration_s),
    )


def _sentence(report: SwitchReport) -> str:
    counted = [row for row in report.settings if row.side == "candidate" and row.verdict is not Verdict.NOT_ASKED]
    if report.verdict is Verdict.EQUIVALENT:
        return f"None of the {len(counted)} ways of running the candidate makes more than rounding of a difference."
    decisive = [row.setting for row in counted if row.verdict is report.verdict]
    named = ", ".join(decisive[:3]) + (f" and {len(decisive) - 3} more" if len(decisive) > 3 else "")
    diverge = "diverges" if len(decisive) == 1 else "diverge"
    verb = diverge if report.verdict is Verdict.DIVERGED else "cannot be judged"
    if not decisive:
        return "No way of running the candidate could be judged."
    return f"{len(decisive)} of {len(counted)} ways of running the candidate {verb}: {named}."


def _rows(rows: Sequence[SettingReport], largest: float) -> tuple[Row, ...]:
    return tuple(
        Row(
            setting=INDENTED.sub("", row.setting),
            indented=INDENTED.match(row.setting) is not None,
            as_written=_bar(row.as_written, largest),
            from_reference=_bar(row.from_reference, largest),
            budget=view.figure(row.noise_budget),
            verdict=view.Judged.of(row.verdict),
            note=row.note,
            from_float64=view.figure(row.from_float64),
        )
        for row in rows
    )


def _distances(row: SettingReport) -> list[Distance]:
    return [each for each in (row.as_written, row.from_reference) if each is not None]


def _bar(distance: Distance | None, largest: float) -> Bar | None:
    if distance is None:
        return None
    if distance.outputs == math.inf:
        return Bar("cannot be compared", 100.0)
    if not distance.outputs > _FLOOR:
        return Bar(str(distance), 0.0)
    decades = math.log10(max(largest, 10 * _FLOOR) / _FLOOR)
    return Bar(str(distance), round(100.0 * math.log10(distance.outputs / _FLOOR) / decades, 1))
