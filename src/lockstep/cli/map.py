"""`lockstep map`: rules that map a checkpoint to a rewritten model, for review."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockstep.cli import saying, session
from lockstep.common.errors import InputError

_ENTRY = re.compile(r"\.py:[^/]*$")

if TYPE_CHECKING:
    from lockstep.cli.progress import Progress
    from lockstep.files.checkpoints.mapping import Proposal


@click.command("map")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("candidate", metavar="CANDIDATE", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), help="Write the rules to a file; default: print them.")
@click.option("--replace", is_flag=True, help="Replace a file of that name.")
@click.option("--untried", is_flag=True, help="Do not run the reference from the checkpoint to try the proposal.")
def map_(checkpoint: Path, candidate: Path, target: Path | None, *, replace: bool, untried: bool) -> None:
    """Propose how CHECKPOINT is mapped to CANDIDATE.

    CANDIDATE is a configuration, whose candidate it is for and whose reference the proposal is tried with; or an entry,
    as in model.py:build, of a model that has its variables without being called.

    The rules go to [variables] of a configuration; what came into question otherwise is marked REVIEW.

    Exit status: 0 every variable has a partner and, where it was tried, the outputs agree; 1 tried, and they do not;
    2 something has no partner, or nothing could be proposed.
    """
    from lockstep.files.checkpoints.locating import located
    from lockstep.files.checkpoints.mapping import as_toml

    located(checkpoint)
    if target is not None and target.exists() and not replace:
        raise InputError(f"{target} exists already, and nothing is overwritten; name another, or say --replace.")
    from lockstep.cli.progress import Progress

    with Progress() as progress, contextlib.redirect_stdout(sys.stderr):
        if _ENTRY.search(candidate.name):
            proposal, confirmed, seen = _for_entry(checkpoint, candidate, progress), False, ""
        else:
            proposal, confirmed, seen = _proposed(checkpoint, candidate, progress, untried=untried)
    text = as_toml(proposal, checkpoint.name)
    if seen:
        text += f"# {'confirmed' if confirmed else 'NOT confirmed'} by running it: {' '.join(seen.split())}\n"
    if target is None:
        saying.say(text, nl=False)
    else:
        session.write_whole(target, text)
        saying.say(f"wrote  {target}")
    whole = not proposal.entries and not proposal.records
    saying.say(
        f"{len(proposal.pairs):,} variables mapped, {len(proposal.unsure):,} to be reviewed, "
        f"{len(proposal.entries):,} entries and {len(proposal.records):,} variables without a partner",
        err=True,
    )
    raise click.exceptions.Exit(2 if not whole else 0 if confirmed or not seen else 1)


def _for_entry(checkpoint: Path, entry: Path, progress: Progress) -> Proposal:
    from lockstep import config
    from lockstep.cli.startup import import_tensorflow
    from lockstep.convert import proposing

    table = {"runtime": "keras", "entry": entry.name}
    config.entry_file(table, entry.absolute().parent, "candidate")
    progress.say("importing TensorFlow")
    import_tensorflow()
    from lockstep.frameworks.runtimes import open_checkpoint

    opened = open_checkpoint(checkpoint)
    subject = config.subject_from_table(table, entry.absolute().parent, "candidate")
    return proposing.proposal_for(opened, proposing.built_inventory(subject))


def _proposed(
    checkpoint: Path, configuration: Path, progress: Progress, *, untried: bool
) -> tuple[Proposal, bool, str]:
    from lockstep import config
    from lockstep.check.verification import Rules
    from lockstep.cli.startup import import_tensorflow
    from lockstep.convert import proposing
    from lockstep.files.checkpoints.settings import CheckpointSettings

    settings = config.read(configuration)
    inputs = config.make_inputs(settings)
    sides = ("candidate",) if untried else ("reference", "candidate")
    for side in sides:
        config.entry_file(getattr(settings, side), settings.folder, side)
    progress.say("importing TensorFlow")
    import_tensorflow()
    from lockstep.frameworks.runtimes import open_checkpoint

    opened = open_checkpoint(checkpoint)
    subjects = {
        side: config.subject_from_configuration(settings, side, say=functools.partial(session.say, progress, side))
        for side in sides
    }
    progress.say("candidate: listing its variables")
    proposal = proposing.proposal_for(opened, proposing.inventory(subjects["candidate"], inputs))
    if untried or proposal.records:
        return proposal, False, ""
    given = settings.checkpoint or CheckpointSettings(checkpoint)
    rules = Rules(checkpoint=dataclasses.replace(given, path=checkpoint))
    trial = proposing.tried(proposal, subjects, inputs, rules, settings.tolerance, progress)
    return trial.proposal, trial.agrees, trial.seen
