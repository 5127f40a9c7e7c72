"""`lockstep show`: what a trace holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lockstep.elsewhere.recorded import RecordedBuild, RecordedSubject


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--variables", "part", flag_value="variables", help="List the variables.")
@click.option("--operations", "part", flag_value="operations", help="List the operations of the forward pass.")
@click.option("--draws", "part", flag_value="draws", help="List the random operations with their seeds.")
@click.option("--taps", "part", flag_value="taps", help="List the tapped tensors.")
@click.option("--html", "html_file", metavar="FILE", help="Write all of it to FILE, as a page to look at.")
@click.option("--verify", is_flag=True, help="Read every file, and check every byte of it.")
def show(trace: Path, part: str | None, html_file: str | None, verify: bool) -> None:
    """Show what the trace folder TRACE holds."""
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.report.text import show_stripped

    session.check_destination(None, html_file)
    subject = RecordedSubject(trace)
    if html_file is not None:
        from lockstep.report import html

        session.write_whole(Path(html_file), html.trace_as_html(subject))
    blocks = _summary(subject) if part is None else _listing(subject, part)
    show_stripped(session.console(), list(blocks))
    if html_file is not None:
        saying.say(f"all of it is in {html_file}", err=True)
    if verify:
        found = subject.verify()
        saying.say(f"{found.tensors:,} tensors in {found.files:,} files are what was written")


def _summary(subject: RecordedSubject) -> Iterator[RenderableType]:
    from rich.text import Text

    facts = subject.recorded_environment
    told = {"TensorFlow": facts.get("tensorflow"), "Python": facts.get("python"), "NumPy": facts.get("numpy"),
            "on": f"{facts.get('system', '?')} {facts.get('machine', '?')}"}  # fmt: skip
    yield Text(f"{subject.label}   {', '.join(f'{name} {value}' for name, value in told.items() if value)}")
    if facts.get("cpu_features"):
        yield Text(f"CPU features {', '.join(facts['cpu_features'])}; {facts.get('cpus')} CPUs")
    for name, array in subject.inputs.items():
        yield Text(f"input {name}   {array.shape} {array.dtype.name}")
    for file, digest in subject.files.items():
        yield Text(f"file {file}   sha256 {digest[:12]}")
    yield _runs(subject)


def _runs(subject: RecordedSubject) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("mode", "values", "variables", "draws", "outputs", "changed", "taps", "time", box=SIMPLE_HEAD)
    for mode, build in subject.builds.items():
        name = f"{'training' if mode.training else 'inference'}, {mode.randomness}"
        for setting in build.settings:
            trace = build.trace(setting)
            counts = len(trace.variables), len(build.draws), len(trace.outputs), len(trace.after)
            taps = len(build.taps(setting))
            numbers = [f"{count:,}" for count in (*counts, taps)]
            table.add_row(name, setting, *numbers, f"{trace.duration_s:.1f} s")
    return table


def _listing(subject: RecordedSubject, part: str) -> Iterator[RenderableType]:
    from rich.text import Text

    for mode, build in subject.builds.items():
        yield Text(f"{'training' if mode.training else 'inference'} mode, {mode.randomness}")
        lines = list(_lines(build, part))
        for line in lines or [f"no {part} were recorded"]:
            yield Text(f"  {line}", overflow="fold")


def _lines(build: RecordedBuild, part: str) -> Iterator[str]:
    if part == "variables":
        yield from (record.describe() for record in build.variables)
    elif part == "draws":
        for draw in build.draws:
            place = "forward pass" if draw.forward else "initializer"
            yield f"{draw.operation}   {draw.type}   seeds {draw.seeds[0]}, {draw.seeds[1]}   {place}"
    elif part == "operations":
        yield from (f"{op.name}   {op.type}   {op.source}" for op in build.operations)
    else:
        for setting in build.settings:
            yield from (f"{setting}   {name}" for name in build.taps(setting))
