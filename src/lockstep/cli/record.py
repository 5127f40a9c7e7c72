"""`lockstep record`: one side of a configuration, on this machine and day, into a trace folder."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying
from lockstep.cli.sizes import Bytes
from lockstep.common.errors import InputError
from lockstep.common.patterns import check
from lockstep.common.values import shown

if TYPE_CHECKING:
    from lockstep.cli.progress import Progress
    from lockstep.config import Configuration
    from lockstep.elsewhere.isolated import Taps


@click.command()
@click.argument("configuration", type=click.Path(path_type=Path), default=Path("lockstep.toml"))
@click.option("--side", type=click.Choice(["reference", "candidate"]), default="reference", show_default=True)
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="The trace folder to be made.")
@click.option(
    "--reference",
    "reference_trace",
    type=click.Path(path_type=Path),
    help="With --side candidate: the reference's trace, whose variable names and values it is recorded with.",
)
@click.option(
    "--taps",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Also record the floating tensors of operations whose name PATTERN is found in; .* is all. May be repeated.",
)
@click.option("--max-memory", type=Bytes(), default="2GB", show_default=True, help="What tapped tensors may take.")
@click.option("--replace", is_flag=True, help="Replace a trace of that name.")
def record(  # noqa: PLR0913, PLR0917 - one argument an option
    configuration: Path,
    side: str,
    target: Path,
    reference_trace: Path | None,
    patterns: tuple[str, ...],
    max_memory: int,
    replace: bool,
) -> None:
    """Record one side of the migration that CONFIGURATION describes.

    `lockstep compare` judges two such traces; `lockstep show` lists one.
    """
    from lockstep import config
    from lockstep.cli.progress import Progress
    from lockstep.elsewhere.isolated import Taps
    from lockstep.frameworks import runtimes

    for pattern in patterns:
        check(pattern, what=f"--taps is {shown(pattern)}")
    settings = config.read(configuration)
    taps = Taps(patterns, max_memory) if patterns else None
    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        if getattr(settings, side)["runtime"] in runtimes.RECORDED:
            _record_graph(settings, side, target, reference_trace, taps, progress, replace=replace)
        else:
            if taps is not None:
                raise InputError("--taps goes with a side whose runtime is tf1, keras2, estimator or script.")
            _record_model(settings, side, target, reference_trace, progress, replace=replace)
    saying.say(f"recorded the {side} in {target}", err=True)


def _record_graph(  # noqa: PLR0913
    settings: Configuration,
    side: str,
    target: Path,
    reference_trace: Path | None,
    taps: Taps | None,
    progress: Progress,
    *,
    replace: bool,
) -> None:
    from lockstep import config
    from lockstep.check.steps.trajectory import STEPS
    from lockstep.compare.align import rename
    from lockstep.config import originals
    from lockstep.elsewhere.isolated import TIMEOUT_S, IsolatedSubject
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.environments import EnvironmentSpec
    from lockstep.subjects import Wanted

    table, isolation = getattr(settings, side), settings.isolation[side]
    config.entry_file(table, settings.folder, side)
    if kind := config.kind_in(table):
        raise InputError(
            f"[{side}] is a file ({kind}), which runs in this process as it is; there is nothing to record."
        )
    subject = IsolatedSubject(
        settings.folder,
        table["entry"],
        isolation.environment or EnvironmentSpec(interpreter=Path(sys.executable)),
        timeout_s=isolation.timeout_s or TIMEOUT_S,
        environment_variables=isolation.environment_variables,
        data_files=isolation.files,
        say=progress.say,
        loss=table["loss"] if "loss" in config.functions_in(table) else "",
        optimizer=table.get("optimizer", ""),
        runtime=table["runtime"],
        original=originals.of_table(table, settings.folder),
    )
    own = subject.offers
    trained = bool((subject.loss or own.own_loss) and (subject.optimizer or own.own_optimizer))
    names = {}
    if reference_trace is not None:
        build = next(iter(RecordedSubject(reference_trace).builds.values()))
        names = {rename(r.key, settings.rename): r.key for r in build.variables}
    wanted = Wanted(
        fill_names=names,
        gradients=settings.gradients is not False,
        steps=(STEPS if settings.trajectory is None else settings.trajectory) if trained else 0,
    )
    subject.record(config.make_inputs(settings), target.absolute(), wanted, taps=taps, replace=replace)


def _record_model(
    settings: Configuration,
    side: str,
    target: Path,
    reference_trace: Path | None,
    progress: Progress,
    *,
    replace: bool,
) -> None:
    from lockstep import config
    from lockstep.cli.startup import import_tensorflow
    from lockstep.elsewhere import live_recording
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.subjects import Objective

    inputs = config.make_inputs(settings)
    reference = None if reference_trace is None else RecordedSubject(reference_trace)
    progress.say("importing TensorFlow")
    import_tensorflow()
    subject = config.subject_from_configuration(settings, side, say=progress.say)
    table = getattr(settings, side)
    loss, make = (
        config.training_function(table, settings.folder, side, key, isolated=False, subject=subject)
        for key in ("loss", "optimizer")
    )
    wanted = settings.gradients is not False
    live_recording.record(
        subject,
        inputs,
        target,
        reference=reference,
        rules=settings.rename,
        training=live_recording.TrainingParts(
            Objective(loss) if wanted else None, table.get("loss", ""), make, table.get("optimizer", "")
        ),
        transforms=settings.transforms,
        say=progress.say,
        replace=replace,
    )
