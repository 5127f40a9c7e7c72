"""What `switches` found: frozen values, as text and as strict JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lockstep.common.errors import DivergedError, UndecidedError
from lockstep.common.shown import shown_in_json
from lockstep.results.model import Verdict

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


INDENTED = re.compile(r"^(tf\.function|session, rewriting), ")
"""What the row above says of a setting already."""


@dataclass(frozen=True)
class Distance:
    """How far two runs are apart.

    Attributes:
        outputs: The largest absolute difference of an output; infinite where they cannot be compared.
        state: The same of the variables that the runs updated; None where they updated none.
        bit_equal: Whether outputs and updated variables have the same bits.
    """

    outputs: float
    state: float | None
    bit_equal: bool

    def __str__(self) -> str:
        if self.bit_equal:
            return "bit for bit"
        if self.outputs == 0.0 and self.state:
            return f"{self.state:.2g} in state"
        return f"{self.outputs:.2g}"


@dataclass(frozen=True)
class SettingReport:
    """One side, run with one setting.

    Attributes:
        mode: `"inference"` or `"training"`.
        side: `"candidate"` or `"reference"`.
        setting: What was set: `"tf.function, remapping off"`.
        as_written: How far it is from the same side run operation by operation (the candidate: eagerly); None where it
            did not run, or is that run.
        from_reference: How far it is from the reference as `lockstep check` runs it; None on the reference's side.
        noise_budget: How far rounding alone may move the output that is furthest off; None where it was not measured.
        verdict: Its verdict; `NOT_ASKED` where it was not run.
        note: What else is to be said of it; why it did not run.
        from_float64: How far an output is, at most, from the same computed in float64; None where nothing was.
    """

    mode: str
    side: str
    setting: str
    as_written: Distance | None
    from_reference: Distance | None
    noise_budget: float | None
    verdict: Verdict
    note: str = ""
    from_float64: float | None = None


@dataclass(frozen=True)
class SwitchReport:
    """Which setting of TensorFlow makes a difference, and which makes it vanish.

    Attributes:
        verdict: `diverged` if any setting of the candidate is; then `undecided`; what the reference's own session does
            is no part of it.
        settings: One entry for each run.
        findings: What it comes to, in sentences.
        environments: Side -> what it ran on.
        duration_s: Seconds that all of it took.
    """

    verdict: Verdict
    settings: tuple[SettingReport, ...]
    findings: tuple[str, ...]
    environments: Mapping[str, Mapping[str, str]]
    duration_s: float

    def to_html(self) -> str:
        """Returns the report as one self-contained HTML page."""
        from lockstep.report import html

        return html.switches_as_html(self)

    def raise_if_diverged(self) -> None:
        """Raises what the verdict is, with the findings as text.

        Raises:
            DivergedError: A setting of the candidate diverged.
            UndecidedError: One could not be judged, which is no pass.
        """
        error = {Verdict.DIVERGED: DivergedError, Verdict.UNDECIDED: UndecidedError}.get(self.verdict)
        if error is not None:
            lines = [f"{row.mode}, {row.setting}: {row.verdict}" for row in self.settings if _counts(row)]
            raise error("\n".join([*lines, *self.findings]))


def _counts(row: SettingReport) -> bool:
    return row.side == "candidate" and row.verdict in (Verdict.DIVERGED, Verdict.UNDECIDED)


def to_json(report: SwitchReport) -> str:
    """Returns the report as strict JSON; what is not finite becomes `"NaN"` or `"Infinity"`."""
    tree = {
        "verdict": str(report.verdict),
        "settings": [
            {
                "mode": row.mode,
                "side": row.side,
                "setting": row.setting,
                "as_written": _distance(row.as_written),
                "from_reference": _distance(row.from_reference),
                "noise_budget": _number(row.noise_budget),
                "verdict": str(row.verdict),
                "note": row.note,
                "from_float64": _number(row.from_float64),
            }
            for row in report.settings
        ],
        "findings": list(report.findings),
        "environments": {side: dict(versions) for side, versions in report.environments.items()},
        "duration_s": _number(report.duration_s),
    }
    return shown_in_json(json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def _distance(distance: Distance | None) -> dict[str, Any] | None:
    if distance is None:
        return None
    return {
        "largest_output_error": _number(distance.outputs),
        "largest_state_error": _number(distance.state),
        "bit_equal": distance.bit_equal,
    }


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity"


def show(report: SwitchReport, console: Console, *, written_to: str | None = None) -> None:
    """Prints the report: a table for each mode, what it comes to, and the verdict as the last line."""
    from lockstep.report.text import show_stripped

    show_stripped(console, _blocks(report, console.width, written_to))


def _blocks(report: SwitchReport, width: int, written_to: str | None) -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from lockstep.report.text import WIDE, header, verdict_text

    yield header(report.environments, "lockstep switches", wide=width >= WIDE)
    for mode, side in dict.fromkeys((row.mode, row.side) for row in report.settings):
        yield _table(mode, side, [row for row in report.settings if (row.mode, row.side) == (mode, side)])
    for sentence in report.findings:
        grid = Table.grid(padding=(0, 1))
        grid.add_row("-", Text(sentence))
        yield grid
    last = Text.assemble("verdict  ", verdict_text(report.verdict), f"   {report.duration_s:.1f} s")
    if written_to is not None:
        last.append(f"   report: {written_to}")
    yield last


def _table(mode: str, side: str, rows: list[SettingReport]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from lockstep.report.text import verdict_text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column(f"{side}, {mode} mode", overflow="fold", min_width=29)
    figures = ("from eager", "from reference") if side == "candidate" else ("from unrewritten",)
    exact = any(row.from_float64 is not None for row in rows)
    for name in (*figures, *(("from float64",) if exact else ()), "noise budget"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("note", overflow="fold")
    for row in rows:
        table.add_row(
            Text(INDENTED.sub("  ", row.setting), overflow="fold"),
            *("-" if each is None else str(each) for each in (row.as_written, row.from_reference)[: len(figures)]),
            *(["-" if row.from_float64 is None else f"{row.from_float64:.2g}"] if exact else []),
            "-" if row.noise_budget is None else f"{row.noise_budget:.2g}",
            verdict_text(row.verdict),
            Text(row.note, style="dim"),
        )
    return table
