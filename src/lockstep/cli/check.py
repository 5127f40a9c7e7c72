"""`lockstep check`: the check that a configuration describes."""

from __future__ import annotations

from pathlib import Path

import click

from lockstep.cli import session
from lockstep.cli.sizes import Bytes
from lockstep.cli.step_names import Steps


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path), default=Path("lockstep.toml"))
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole report to FILE; - prints it instead.")
@click.option("--html", "html_file", metavar="FILE", help="Also write the report to FILE, as a page to look at.")
@click.option("--fresh", is_flag=True, help="Run a side in an environment of its own again, though its trace is kept.")
@click.option(
    "--max-memory",
    type=Bytes(),
    default="2GB",
    show_default=True,
    help="What the reference's values may take in memory.",
)
@click.option(
    "--steps",
    type=Steps(),
    metavar="NAME,...",
    help="Take these steps alone, such as variables-match,inference-fixed.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print the verdict and the reason alone, and no progress.")
def check(  # noqa: PLR0913 - its options
    configuration: Path,
    json_file: str | None,
    html_file: str | None,
    *,
    fresh: bool,
    max_memory: int,
    steps: tuple[str, ...] | None,
    quiet: bool,
) -> None:
    """Check the migration that CONFIGURATION describes.

    CONFIGURATION is a lockstep.toml, or a folder that holds one; by default that of the current folder.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
    session.check_destination(json_file, html_file)
    report = session.run(
        configuration,
        fresh=fresh,
        max_memory=max_memory,
        steps=steps or (),
        quiet=quiet,
        evidence=html_file is not None,
    )
    session.deliver(report, json_file, html_file, title="lockstep check", quiet=quiet)
    session.leave(report.verdict)
