"""The report for a person: a table of steps, what differs, who is to blame, and the verdict as the last line."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lockstep.common.shown import shown
from lockstep.report.headline import headline
from lockstep.report.rules import proposed
from lockstep.results import pitfalls
from lockstep.results.model import Culprit, Report, StepReport, Verdict

_STYLES = {
    Verdict.EQUIVALENT: "green",
    Verdict.DIVERGED: "bold red",
    Verdict.UNDECIDED: "yellow",
    Verdict.NOT_ASKED: "dim",
}
_PRODUCTS = {"tensorflow": "TensorFlow", "torch": "PyTorch", "keras": "Keras", "python": "Python"}
_STEP_COLUMNS = 24
NO_METRICS = ("no metrics were given", "no labels were given for compiled metrics")
"""Where one of these is all that was not asked for, nothing is said of it: few models have streaming metrics."""
NOTHING_GIVEN = (
    *NO_METRICS,
    "no checkpoint was given",
    "no optimizers were given",
    "training steps need a loss and the optimizers of both sides",
    "not chosen",
)
"""Why a step is not asked for where nobody expects it to be."""
_DETAIL_LINES = 20
_FEW_LINES = 3
"""Of a step's details where operations are to blame, which say more."""
_CULPRITS = 10
_NAMES = 4
_MEASURED = frozenset({"missing-regularizer", "extra-regularizer", "unbiased-variance"})
"""Pitfalls whose sentences hold a figure of their place, a loss or a number of examples, and mean the same without."""
WIDE = 110  # columns from which the rule that judged gets a column of its own


def as_text(report: Report, *, title: str = "lockstep check", width: int = 120) -> str:
    """Returns the report as plain text without colour codes, `width` columns wide."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=width, color_system=None), title=title)
    return stream.getvalue()


def show(report: Report, console: Console, *, title: str = "lockstep check", written_to: str | None = None) -> None:
    """Prints the report.

    Args:
        report: What to print.
        console: Where to; its width and colours decide how.
        title: The command that it answers.
        written_to: Where the whole report was written, named in the last line.
    """
    show_stripped(console, _blocks(report, console.width, title, written_to))


def show_stripped(console: Console, blocks: Iterable[RenderableType]) -> None:
    """Prints blocks one below the other; without colours also without the blanks that fill lines up on the right."""
    if console.color_system is not None:
        for block in blocks:
            _print(console, block)
        return
    with console.capture() as captured:
        for block in blocks:
            _print(console, block)
    console.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _print(console: Console, block: RenderableType) -> None:
    whole = isinstance(block, Text) and block.no_wrap is True
    console.print(_Shown(block), crop=not whole)


@dataclass(frozen=True)
class _Shown:
    """A block whose text is shown as it is: the colours are ours, and no other control character is sent."""

    block: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Renders the block, and then its text."""
        for segment in console.render(self.block, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


def _blocks(report: Report, width: int, title: str, written_to: str | None) -> Iterator[RenderableType]:
    wide = width >= WIDE
    yield Text(_shortened(headline(report)), style=_STYLES[report.verdict])
    yield header(report.environments, title, wide=wide)
    asked = [step for step in report.steps if step.verdict is not Verdict.NOT_ASKED]
    yield _table(asked) if wide else _stacked(asked, width)
    yield from _left_out([step for step in report.steps if step.verdict is Verdict.NOT_ASKED])
    lines = _FEW_LINES if any(culprit.operations != ((), ()) for culprit in report.culprits) else _DETAIL_LINES
    for step in report.steps:
        if step.verdict in (Verdict.DIVERGED, Verdict.UNDECIDED) and step.details:
            yield from _details(step, lines)
    yield from _culprits(report.culprits)
    for block in proposed(report):
        yield Text(block.heading, style="bold")
        # A line of TOML must stay one, or it could not be pasted.
        yield from (Text(f"  {line}", no_wrap=True, overflow="ignore") for line in block.lines)
    last = Text.assemble(
        "verdict  ", (str(report.verdict), _STYLES[report.verdict]), f"   {_seconds(report.duration_s)}"
    )
    if written_to is not None:
        last.append(f"   report: {written_to}")
    yield last


def verdict_text(verdict: Verdict) -> Text:
    """A verdict in its colour."""
    return Text(str(verdict), style=_STYLES[verdict])


def header(environments: Mapping[str, Mapping[str, str]], title: str, *, wide: bool) -> RenderableType:
    """What was run, and on what: side -> `"subject"`, `"tensorflow"` and the like -> name or version."""
    grid = Table.grid(padding=(0, 2))
    for _ in range(3 if wide else 2):
        grid.add_column(overflow="fold")
    for number, (side, environment) in enumerate(environments.items()):
        subject, versions = environment.get("subject", "?"), _environment(environment)
        if wide:
            first = Text(title, style="bold") if number == 0 else Text()
            grid.add_row(first, Text.assemble((f"{side} ", "dim"), subject), Text(versions))
        else:
            grid.add_row(Text(side, style="dim"), Text(f"{subject}\n{versions}"))
    return grid if wide else Group(Text(title, style="bold"), grid)


def _environment(environment: Mapping[str, str]) -> str:
    order = [
        *(key for key in _PRODUCTS if key in environment),
        *sorted(environment.keys() - _PRODUCTS.keys() - {"subject"}),
    ]
    return ", ".join(f"{_PRODUCTS.get(key, key)} {environment[key]}" for key in order)


def _table(steps: Sequence[StepReport]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("step", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what was seen", overflow="fold", ratio=3)
    longest = max((len(word) for step in steps for word in step.judged_by.split()), default=0)
    table.add_column("judged by", overflow="fold", max_width=min(max(longest, 16), 30))
    table.add_column("time", justify="right", no_wrap=True)
    for step in steps:
        judged = Text(step.judged_by, style="dim")
        seen, taken = Text(_one_line_each(step.summary)), Text(_seconds(step.duration_s))
        table.add_row(Text(step.name), verdict_text(step.verdict), seen, judged, taken)
    return table


def _stacked(steps: Sequence[StepReport], width: int) -> Group:
    """The steps where there is no room for columns: a line for each, and below it what was seen."""
    blocks: list[RenderableType] = []
    for step in steps:
        line = Text.assemble(f"{step.name:<{_STEP_COLUMNS}} ", verdict_text(step.verdict))
        taken = _seconds(step.duration_s)
        line.append(f"{taken:>{max(width - line.cell_len, len(taken) + 1)}}")
        blocks.append(line)
        blocks += [_indented(Text(seen), 2) for seen in _one_line_each(step.summary).split("\n") if seen]
        if step.judged_by:
            blocks.append(_indented(Text(f"by: {step.judged_by}", style="dim"), 2))
    return Group(*blocks)


def _left_out(steps: Sequence[StepReport]) -> Iterator[RenderableType]:
    """The steps without subject matter, in one line; with a reason where it is not that nothing was given."""
    if steps and [step.summary for step in steps] not in [[why] for why in NO_METRICS]:
        told = (f"{step.name} ({step.summary})" if _surprising(step) else step.name for step in steps)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(str(Verdict.NOT_ASKED), style="dim"), Text(", ".join(told), style="dim"))
        yield grid


def _surprising(step: StepReport) -> bool:
    return bool(step.summary) and step.summary not in NOTHING_GIVEN


def _one_line_each(summary: str) -> str:
    """Gives each phrase of a summary its own line; phrases about the same run share one, which names it once."""
    lines: list[str] = []
    label = None
    for phrase in summary.split("; "):
        found, colon, rest = phrase.partition(": ")
        if colon and found == label:
            lines[-1] += f"; {rest}"
        else:
            lines.append(phrase)
            label = found if colon else None
    return "\n".join(lines)


def _details(step: StepReport, lines: int) -> Iterator[RenderableType]:
    yield Text(step.name, style="bold")
    for line in step.details[:lines]:
        # A line that is too long goes on where it began.
        content = line.lstrip(" ")
        yield _indented(Text(_shortened(content)), 2 + len(line) - len(content))
    more = len(step.details) - lines
    if more > 0:
        yield _indented(Text(f"... and {more:,} more (--json has all)", style="dim"), 2)


def _culprits(culprits: Sequence[Culprit]) -> Iterator[RenderableType]:
    """Shows each; of many with one cause the first, and the names of the others."""
    groups: dict[object, list[tuple[int, Culprit]]] = {}
    for number, culprit in enumerate(culprits, start=1):
        cause = culprit.pitfall if culprit.pitfall in _MEASURED else culprit.cause
        alike = culprit.kind, cause, culprit.operations
        groups.setdefault(alike if culprit.pitfall else number, []).append((number, culprit))
    for group in list(groups.values())[:_CULPRITS]:
        number, first = group[0]
        yield from _culprit(first, f"culprit {number} of {len(culprits):,}")
        if len(group) > 1:
            names = [c.reference or c.candidate or "" for _, c in group[1:]]
            more = f", and {len(names) - _NAMES:,} more (--json has all)" if len(names) > _NAMES else ""
            told = f"the same of {len(names):,} more: {', '.join(names[:_NAMES])}{more}"
            yield _indented(Text(told, style="dim"), 2)
    left = sum(len(group) for group in list(groups.values())[_CULPRITS:])
    if left:
        yield Text(f"... and {left:,} more culprits (--json has all)", style="dim")


def _culprit(culprit: Culprit, heading: str) -> Iterator[RenderableType]:
    yield Text.assemble((heading, "bold"), f"   {culprit.kind}")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    types = tuple(_shortlist(side) for side in culprit.operations)
    ours, theirs = (_shortened(line or "") for line in (culprit.reference_source, culprit.source))
    rows = {
        "reference": _joined(culprit.reference or "(none)", types[0], ours),
        "candidate": _joined(culprit.candidate or "(none)", types[1], theirs),
        "error": _culprit_figures(culprit),
        "variables": ", ".join(culprit.variables[:3]) + (" ..." if len(culprit.variables) > 3 else ""),
        "differs": "; ".join(culprit.attributes),
        "cause": _shortened(culprit.cause),
        "follow": _consequences(culprit),
        "fix": culprit.fix,
        "read": pitfalls.told(culprit.pitfall),
    }
    for name, value in rows.items():
        if value:
            grid.add_row(Text(name, style="dim"), Text(value))
    yield _indented(grid, 2)


def _consequences(culprit: Culprit) -> str:
    count = culprit.consequences
    return (
        f"{count:,} other place{'s' if count != 1 else ''} differ{'' if count != 1 else 's'} only because of this"
        if count
        else ""
    )


def _joined(*parts: str) -> str:
    return "   ".join(part for part in parts if part)


def _shortlist(types: Sequence[str]) -> str:
    return ", ".join(types[:4]) + (f" and {len(types) - 4} more" if len(types) > 4 else "")


def _culprit_figures(culprit: Culprit) -> str:
    if culprit.error is None:
        return ""
    parts = [f"{culprit.error:.2g}"]
    if culprit.noise_budget is not None:
        parts.append(f"allowed {culprit.noise_budget:.2g}")
    if culprit.ratio is not None and math.isfinite(culprit.ratio):  # what may not differ at all has no ratio to tell
        parts.append(f"ratio {culprit.ratio:,.0f}" if culprit.ratio >= 10 else f"ratio {culprit.ratio:.1f}")
    return ", ".join(parts)


def _indented(block: RenderableType, columns: int) -> Padding:
    if isinstance(block, Text):
        block.overflow = "fold"
    return Padding(block, (0, 0, 0, columns), expand=False)


def _shortened(text: str) -> str:
    """Source files below the current folder are named as one would type them."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.1f} s"
