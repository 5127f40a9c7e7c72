"""`lockstep switches`: which of TensorFlow's or PyTorch's switches makes a difference, and which makes it vanish."""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session

if TYPE_CHECKING:
    from lockstep.report.switches import SwitchReport

# Of `lockstep.switching.runs.PARTS`, which is not imported for `--help`; a test holds them equal.
PARTS = ("passes", "xla", "onednn", "threads", "determinism", "reference", "compile", "inductor", "autocast")


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path), default=Path("lockstep.toml"))
@click.option("--training", is_flag=True, help="In training mode too.")
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(PARTS),
    help="What to leave out; may be given several times.",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write the whole report to FILE; - prints it instead.")
@click.option("--html", "html_file", metavar="FILE", help="Also write the report to FILE, as a page to look at.")
def switches(
    configuration: Path, json_file: str | None, html_file: str | None, *, training: bool, without: tuple[str, ...]
) -> None:
    """Run the candidate of CONFIGURATION with its framework's switches on and off.

    Eagerly, in tf.function, without each of Grappler's passes, compiled by XLA, without oneDNN's kernels, on one
    thread, with deterministic kernels: what differs, and which switch makes the difference vanish. A PyTorch module:
    eagerly, in torch.compile, in bfloat16 autocast, without oneDNN, on one thread, all against float64.

    Exit status: 0 equivalent, 1 a setting of the candidate diverged, 2 could not judge.
    """
    session.check_destination(json_file, html_file)
    report = _report(configuration, training=training, without=without)
    _deliver(report, json_file, html_file)
    session.leave(report.verdict)


def _report(path: Path, *, training: bool, without: tuple[str, ...]) -> SwitchReport:
    from lockstep import config
    from lockstep import switches as find
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow

    configuration = config.read(path)
    sides = {"reference": configuration.reference, "candidate": configuration.candidate}
    for side, table in sides.items():
        config.entry_file(table, configuration.folder, side)  # told at once, not after TensorFlow's import
    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        progress.say("importing TensorFlow")
        import_tensorflow()
        subjects = {
            side: config.subject_from_configuration(
                configuration, side, say=functools.partial(session.say, progress, side)
            )
            for side in sides
        }
        return find(
            subjects["reference"],
            subjects["candidate"],
            config.make_inputs(configuration),
            rename=configuration.rename,
            transforms=configuration.transforms,
            ignore=configuration.ignore,
            tolerance=configuration.tolerance,
            training=training,
            without=without,
            progress=progress,
        )


def _deliver(report: SwitchReport, json_file: str | None, html_file: str | None) -> None:
    from lockstep.report import switches as rendering

    if html_file is not None:
        session.write_whole(Path(html_file), report.to_html())
    if json_file == "-":
        saying.say(rendering.to_json(report), nl=False)
        return
    if json_file is not None:
        session.write_whole(Path(json_file), rendering.to_json(report))
    rendering.show(report, session.console(), written_to=session.written(json_file, html_file))
    sys.stdout.flush()
