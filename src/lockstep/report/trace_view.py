"""What the HTML page of `lockstep show` says of a trace, as strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lockstep.report import view

if TYPE_CHECKING:
    from lockstep.elsewhere.recorded import RecordedBuild, RecordedSubject


@dataclass(frozen=True)
class Listing:
    """A table: what it lists, the names of its columns and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Build:
    """What was recorded in one mode."""

    title: str
    notes: tuple[str, ...]
    runs: Listing
    listings: tuple[Listing, ...]


@dataclass(frozen=True)
class TraceView:
    """All that the page shows.

    Attributes:
        title: The command that it answers.
        label: What was recorded.
        versions: On what.
        facts: What else the numbers depend on.
        inputs: Name -> shape and dtype.
        files: Source file -> the first digits of its digest.
        builds: One for each mode.
    """

    title: str
    label: str
    versions: str
    facts: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    builds: tuple[Build, ...]


def view_of(subject: RecordedSubject) -> TraceView:
    """Makes the view of a trace; tapped tensors and values are counted, and not read.

    Raises:
        DamagedError: What it says of itself cannot be read.
    """
    _, label, versions = view.subject_of("trace", subject.environment())
    return TraceView(
        title="lockstep show",
        label=label,
        versions=versions,
        facts=tuple(subject.settings().items()),
        inputs=tuple((name, f"{array.shape} {array.dtype.name}") for name, array in subject.inputs.items()),
        files=tuple((file, f"sha256 {digest[:12]}") for file, digest in subject.files.items()),
        builds=tuple(
            _build(f"{'Training' if mode.training else 'Inference'} mode, {mode.randomness}", build)
            for mode, build in subject.builds.items()
        ),
    )


def _build(title: str, build: RecordedBuild) -> Build:
    listings = (
        Listing(
            "variables",
            ("name", "shape", "dtype", "trainable"),
            tuple((v.key, str(tuple(v.shape)), v.dtype, "yes" if v.trainable else "no") for v in build.variables),
        ),
        Listing(
            "operations",
            ("name", "type", "source"),
            tuple((each.name, each.type, each.source) for each in build.operations),
        ),
        Listing(
            "draws",
            ("operation", "type", "seeds", "in"),
            tuple(
                (draw.operation, draw.type, f"{draw.seeds[0]}, {draw.seeds[1]}",
                 "forward pass" if draw.forward else "initializer")
                for draw in build.draws
            ),
        ),
        Listing(
            "taps",
            ("values", "tensor"),
            tuple((setting, name) for setting in build.settings for name in build.taps(setting)),
        ),
    )  # fmt: skip
    notes = tuple(note for note in (build.graph_note, build.objective_note) if note)
    return Build(title, notes, _runs(build), tuple(each for each in listings if each.rows))


def _runs(build: RecordedBuild) -> Listing:
    rows = []
    for setting in build.settings:
        trace = build.trace(setting)
        counts = len(trace.outputs), len(trace.after), len(build.taps(setting))
        rows.append((setting, *(f"{count:,}" for count in counts), view.seconds(trace.duration_s)))
    return Listing("runs", ("values", "outputs", "changed variables", "taps", "time"), tuple(rows))
