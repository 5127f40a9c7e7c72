"""`lockstep check`: the check that a configuration describes, or two entries and some options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import session
from lockstep.cli.sizes import Bytes
from lockstep.cli.step_names import Steps
from lockstep.common.errors import InputError
from lockstep.common.search_time import MOST_S

if TYPE_CHECKING:
    from lockstep.config import Configuration


@click.command()
@click.argument("what", metavar="[CONFIGURATION | REFERENCE CANDIDATE]", nargs=-1)
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole report to FILE; - prints it instead.")
@click.option("--html", "html_file", metavar="FILE", help="Also write the report to FILE, as a page to look at.")
@click.option(
    "--model-explorer",
    "graphs",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write both programs and their errors into FOLDER, for Google's Model Explorer.",
)
@click.option("--fresh", is_flag=True, help="Run a side in an environment of its own again, though its trace is kept.")
@click.option(
    "--max-memory",
    type=Bytes(),
    default="2GB",
    show_default=True,
    help="What the reference's values may take in memory.",
)
@click.option(
    "--search-time",
    type=click.FloatRange(0, MOST_S),
    metavar="SECONDS",
    help="How long causes are looked for in each mode; 0 for not at all. No verdict depends on it.  [default: 120]",
)
@click.option(
    "--steps",
    type=Steps(),
    metavar="NAME,...",
    help="Take these steps alone, such as variables-match,inference-fixed.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print the verdict and the reason alone, and no progress.")
@click.option("--write-rules", is_flag=True, help="Put the rules that running confirmed into the configuration.")
@click.option(
    "--input",
    "inputs",
    metavar="NAME=SHAPE",
    multiple=True,
    help="An input of two entries: image=1,299,299,3, tokens=2,16:int32:1000 or image=batch.npy. Can be repeated.",
)
@click.option("--python", metavar="VERSION", help="The Python of REFERENCE's own environment; with --requirement.")
@click.option("--requirement", "requirements", multiple=True, help="What that environment holds. Can be repeated.")
@click.option("--save", type=click.Path(path_type=Path), help="Write two entries and their options as a configuration.")
def check(  # noqa: PLR0913 - a command's options
    what: tuple[str, ...],
    json_file: str | None,
    html_file: str | None,
    graphs: Path | None,
    *,
    fresh: bool,
    max_memory: int,
    search_time: float | None,
    steps: tuple[str, ...] | None,
    quiet: bool,
    write_rules: bool,
    inputs: tuple[str, ...],
    python: str | None,
    requirements: tuple[str, ...],
    save: Path | None,
) -> None:
    """Check a migration.

    CONFIGURATION is a lockstep.toml, or a folder that holds one; by default that of the current folder.

    REFERENCE and CANDIDATE are entries instead, as in legacy.py:forward migrated.py:build: a function of TF1 code that
    takes (inputs, training), a function without arguments that makes a Keras model, its class, or the model; or models
    without code: the folder of a SavedModel, a frozen graph (model.pb), the checkpoint beside a MetaGraph, a file of
    Keras (.h5, .keras). Their inputs are said by --input, or asked of the model where it knows them.

    Exit status: 0 equivalent, 1 diverged, 2 could not judge.
    """
    session.check_destination(json_file, html_file)
    if len(what) > 2:
        raise click.UsageError(f"Got unexpected extra argument ({what[2]})")
    described: Path | Configuration
    if len(what) == 2:
        from lockstep.cli import without_file

        path = save
        if write_rules and save is None:
            raise InputError("--write-rules writes into a configuration; name it with --save.")
        described = without_file.configuration(
            (what[0], what[1]), inputs, save=save, python=python, requirements=requirements
        )
    else:
        _refuse_options_of_entries(what, inputs=inputs, python=python, requirements=requirements, save=save)
        described = path = Path(what[0]) if what else Path("lockstep.toml")
    report = session.run(
        described,
        fresh=fresh,
        max_memory=max_memory,
        search_time=search_time,
        steps=steps or (),
        quiet=quiet,
        evidence=html_file is not None or graphs is not None,
    )
    session.deliver(report, json_file, html_file, title="lockstep check", quiet=quiet)
    if graphs is not None:
        session.write_graphs(report, graphs)
    if write_rules:
        assert path is not None
        session.write_rules(report, path)
    session.leave(report.verdict)


def _refuse_options_of_entries(what: tuple[str, ...], **options: object) -> None:
    """Refuses what goes with two entries alone."""
    from lockstep.config.describing import is_entry

    if what and is_entry(what[0]):
        raise InputError(f"{what[0]} is one side; a check needs two, the reference and the candidate.")
    names = {"inputs": "input", "requirements": "requirement"}
    if given := [names.get(name, name) for name, value in options.items() if value]:
        raise InputError(
            f"--{given[0]} goes with two entries, as in legacy.py:forward migrated.py:build; a configuration says it "
            "itself."
        )
