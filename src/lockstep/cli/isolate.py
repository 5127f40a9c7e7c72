"""`lockstep isolate`: one part of both sides, on the inputs that the reference recorded for it."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session
from lockstep.cli.sizes import Bytes
from lockstep.frameworks import runtimes
from lockstep.results.model import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lockstep.cli.progress import Progress
    from lockstep.config import Configuration
    from lockstep.slicing.slice_scope import Isolated, Row
    from lockstep.subjects import Subject

_LIMIT = 1_000_000
_SHOWN = 20


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path))
@click.argument("scope")
@click.option("--training", is_flag=True, help="In training mode; by default in inference.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for a script that shows the difference without Lockstep, and its data.",
)
@click.option(
    "--max-memory",
    type=Bytes(),
    default="2GB",
    show_default=True,
    help="What the reference's values may take in memory.",
)
def isolate(configuration: Path, scope: str, *, training: bool, out: Path | None, max_memory: int) -> None:
    """Run one part of both sides of CONFIGURATION on the reference's inputs.

    SCOPE is how the names of its operations begin, in the reference or in the candidate: a layer, a variable scope, or
    one operation, as a report names it.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
    from lockstep import config
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.common.errors import InputError

    if out is not None and out.exists():
        raise InputError(f"--out {out}: it exists; name a folder that does not.")
    if out is not None and not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.absolute().parent}.")
    settings = config.read(configuration)
    for side in ("reference", "candidate"):
        config.entry_file(getattr(settings, side), settings.folder, side)
    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        progress.say("importing TensorFlow")
        import_tensorflow()
        found = _found(settings, scope, progress, training=training, max_memory=max_memory)
        written = None if out is None else _write(found, out)
    from lockstep.report.text import show_stripped

    show_stripped(session.console(), list(_blocks(found)))
    if written is not None:
        saying.say(f"{written}: run it with any Python that has TensorFlow", err=True)
    session.leave(Verdict.EQUIVALENT if found.within else Verdict.DIVERGED)


def _found(settings: Configuration, scope: str, progress: Progress, *, training: bool, max_memory: int) -> Isolated:
    from lockstep import config
    from lockstep.slicing import slice_scope as isolating

    def subject(side: str) -> Subject:
        return config.subject_from_configuration(settings, side, say=functools.partial(session.say, progress, side))

    kernels = runtimes.kernels()
    sides = isolating.take_down(
        (subject("reference"), subject("candidate")),
        config.make_inputs(settings),
        progress.say,
        training=training,
        rules=settings.rename,
        transforms=settings.transforms,
    )
    return isolating.isolate(sides, scope, kernels, max_memory=max_memory)


def _write(found: Isolated, out: Path) -> Path:
    """Writes the script and its data; the folder gets its name when both are whole."""
    from lockstep import __version__
    from lockstep.common import workspace
    from lockstep.common.errors import InputError
    from lockstep.slicing.reproduction import written
    from lockstep.slicing.slice_scope import sliced

    case = sliced(found.case, runtimes.kernels(), _LIMIT)
    title = f"{found.case.row.name} of the candidate against {found.case.row.partner} of the reference."
    script, data = written(case, title, __version__)
    try:
        with workspace.beside(out.absolute()) as partial:
            (partial / "repro.py").write_text(script, encoding="utf-8")
            (partial / "inputs.npz").write_bytes(data)
            partial.rename(out)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}.") from error
    return out / "repro.py"


def _blocks(found: Isolated) -> Iterator[RenderableType]:
    from rich.text import Text

    outside = [row for row in found.operations if row.judged is not None and not row.judged.within]
    differing = f", {len(outside):,} beyond their noise budget" if outside else ""
    yield Text(f"{found.scope}   {len(found.operations):,} operations{differing}")
    # Those that differ come first where not all can be shown.
    rest = [row for row in found.operations if row not in outside]
    shown = found.operations if len(found.operations) <= _SHOWN else [*outside, *rest][:_SHOWN]
    yield _table("each operation alone", shown)
    if len(found.operations) > len(shown):
        yield Text(f"... and {len(found.operations) - len(shown):,} more", style="dim")
    yield _table("the part as a whole: its outputs", found.outputs[:_SHOWN])


def _table(heading: str, rows: Sequence[Row]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(heading, "reference", box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("error", "budget"):
        table.add_column(name, justify="right")
    table.add_column("within", no_wrap=True)
    for row in rows:
        judged = row.judged
        if judged is None:
            cells = ["-", "-", "no counterpart"]
        else:
            cells = [f"{judged.error:.2g}", f"{judged.budget:.2g}", "yes" if judged.within else "no"]
            cells[2] = "bit-equal" if judged.bit_equal else cells[2]
        table.add_row(Text(row.name, overflow="fold"), Text(row.partner or "-", overflow="fold"), *cells)
    return table
