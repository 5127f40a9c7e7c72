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
@click.argument("candidate", metavar="[CANDIDATE]", type=click.Path(path_type=Path), required=False)
@click.option("--to", "target", type=click.Path(path_type=Path), help="Write the rules to a file; default: print them.")
@click.option("--replace", is_flag=True, help="Replace a file of that name.")
@click.option("--untried", is_flag=True, help="Do not run the reference from the checkpoint to try the proposal.")
def map_(checkpoint: Path, candidate: Path | None, target: Path | None, *, replace: bool, untried: bool) -> None:
    """Propose how CHECKPOINT is mapped to CANDIDATE; or, with one configuration alone, its reference to its candidate.

    CHECKPOINT is a checkpoint of TensorFlow, or a file of weights: Keras (.h5, .weights.h5, .keras), .safetensors,
    .npz, PyTorch (.pt, .pth, .bin).

    CANDIDATE is a configuration, whose candidate it is for and whose reference the proposal is tried with; or an entry,
    as in model.py:build, of a model that has its variables without being called. Entries that a file numbers instead of
    naming are mapped, and not tried.

    The rules go to [variables] of a configuration; what came into question otherwise is marked REVIEW.

    Exit status: 0 every variable has a partner and, where it was tried, the outputs agree; 1 tried, and they do not;
    2 something has no partner, or nothing could be proposed.
    """
    from lockstep.files.checkpoints.mapping import as_toml
    from lockstep.files.checkpoints.weight_files import stored_as

    if candidate is not None:
        stored_as(checkpoint)
    if target is not None and target.exists() and not replace:
        raise InputError(f"{target} exists already, and nothing is overwritten; name another, or say --replace.")
    from lockstep.cli.progress import Progress

    if candidate is None:
        _between_sides(checkpoint, target)
        return
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


def _between_sides(configuration: Path, target: Path | None) -> None:
    """Finds the rules between both sides of a configuration by running them."""
    from lockstep import config
    from lockstep.check.partly import settle_names
    from lockstep.check.sides import Rules
    from lockstep.cli.progress import Progress
    from lockstep.cli.startup import import_tensorflow
    from lockstep.report.rules import as_lines

    settings = config.read(configuration)
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
        settled, alignment = settle_names(
            **subjects,
            inputs=inputs,
            rules=Rules(settings.rename, settings.transforms, ignore=settings.ignore),
            tolerance=settings.tolerance,
            progress=progress,
        )
    lines: list[str] = []
    if settled is not None and settled.question:
        for number, answer in enumerate(settled.answers, 1):
            lines += [f"# answer {number}, {answer['why']}", *as_lines(answer["rules"]), ""]
    elif settled is not None:
        lines = as_lines(settled.rules.table())
    text = "".join(f"{line}\n" for line in lines)
    if target is not None and text:
        session.write_whole(target, text)
        saying.say(f"wrote  {target}")
    elif text:
        saying.say(text, nl=False)
    if settled is not None:
        saying.say(settled.finding.phrase, err=True)
    saying.say(
        f"{len(alignment.pairs):,} pairs, {len(alignment.missing):,} variables of the reference and "
        f"{len(alignment.extra):,} of the candidate without a partner",
        err=True,
    )
    left = alignment.missing or alignment.extra or (settled is not None and settled.question)
    raise click.exceptions.Exit(2 if left else 0 if settled is None or settled.finding.verdict == "equivalent" else 1)


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
    from lockstep.check.sides import Rules
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
    if untried or proposal.records or opened.numbered:
        return proposal, False, ""
    given = settings.checkpoint or CheckpointSettings(checkpoint)
    rules = Rules(checkpoint=dataclasses.replace(given, path=checkpoint, candidate=None, loaded=()))
    trial = proposing.tried(proposal, subjects, inputs, rules, settings.tolerance, progress)
    return trial.proposal, trial.agrees, trial.seen
