"""`lockstep convert`: a name-based checkpoint as weights of the candidate, proved before it gets its name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from pathlib import Path

import click

from lockstep.cli import saying, session


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("configuration", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--moving-averages", is_flag=True, help="Take moving averages in place of their variables.")
@click.option("--replace", is_flag=True, help="Replace a file of that name.")
def convert(checkpoint: Path, configuration: Path, target: Path, *, moving_averages: bool, replace: bool) -> None:
    """Convert CHECKPOINT, for the candidate of CONFIGURATION, to TARGET.

    CHECKPOINT is a checkpoint of TensorFlow, or a file of weights: Keras (.h5, .weights.h5, .keras), .safetensors,
    .npz, PyTorch (.pt, .pth, .bin). It has the reference's names, or those of the layers of a file of Keras 3.

    TARGET ends in .weights.h5, .keras, .safetensors, .npz or .ckpt (a tf.train.Checkpoint). It is loaded again in a
    process of its own and must compute what the reference computes from CHECKPOINT; otherwise no file is left.

    Exit status: 0 converted, 1 the result diverged, 2 nothing was converted.
    """
    from lockstep import config
    from lockstep.check.sides import Rules
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.convert.converting import Conversion
    from lockstep.convert.converting import convert as run
    from lockstep.files.checkpoints.formats import format_of
    from lockstep.files.checkpoints.settings import CheckpointSettings
    from lockstep.files.checkpoints.weight_files import stored_as

    format_of(target)
    stored_as(checkpoint)
    settings = config.read(configuration)
    given = settings.checkpoint or CheckpointSettings(checkpoint)
    averages = moving_averages or given.moving_averages
    inputs = config.make_inputs(settings)
    for side in ("reference", "candidate"):
        config.entry_file(getattr(settings, side), settings.folder, side)
    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        progress.say("importing TensorFlow")
        import_tensorflow()
        subjects = {
            side: config.subject_from_configuration(settings, side, say=functools.partial(session.say, progress, side))
            for side in ("reference", "candidate")
        }
        report, files = run(
            Conversion(
                subjects["reference"],
                subjects["candidate"],
                settings.candidate,
                settings.folder,
                inputs,
                Rules(
                    settings.rename,
                    settings.transforms,
                    dataclasses.replace(given, path=checkpoint, moving_averages=averages, candidate=None, loaded=()),
                    settings.ignore,
                ),
                settings.tolerance,
            ),
            target,
            replace=replace,
            progress=progress,
        )
    session.deliver(report, None, title="lockstep convert")
    for file in files:
        saying.say(f"wrote  {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    if not files:
        saying.say("lockstep: nothing was written.", err=True)
    session.leave(report.verdict)
