"""`lockstep compare`: two recordings, made wherever and whenever."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import session

if TYPE_CHECKING:
    from lockstep.config import Configuration


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("candidate", type=click.Path(path_type=Path))
@click.option(
    "--config",
    "configuration",
    type=click.Path(path_type=Path),
    help="A lockstep.toml whose rename rules, transforms and tolerance hold.",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole report to FILE; - prints it instead.")
@click.option("--html", "html_file", metavar="FILE", help="Also write the report to FILE, as a page to look at.")
def compare(
    reference: Path, candidate: Path, configuration: Path | None, json_file: str | None, html_file: str | None
) -> None:
    """Compare the traces REFERENCE and CANDIDATE that `lockstep record` wrote.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
    from lockstep import config
    from lockstep.check import comparing
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow

    session.check_destination(json_file, html_file)
    settings = config.read(configuration) if configuration is not None else None
    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        report = comparing.compare(
            reference,
            candidate,
            import_tensorflow=import_tensorflow,
            rename=settings.rename if settings else (),
            transforms=settings.transforms if settings else (),
            ignore=settings.ignore if settings else (),
            tolerance=settings.tolerance if settings else None,
            progress=progress,
            gradients=settings.gradients if settings else None,
            search_time=settings.search_time_s if settings else None,
            also_generic=settings.also_generic if settings else True,
            evidence=_folders(settings) if html_file is not None else False,
        )
    session.deliver(report, json_file, html_file, title="lockstep compare")
    session.leave(report.verdict)


def _folders(settings: Configuration | None) -> list[Path]:
    """Where source files are looked for that a recording names."""
    return [] if settings is None else [settings.folder]
