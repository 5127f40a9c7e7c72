"""Proposes how a checkpoint is mapped to a rewritten model, and tries the proposal where the original can be run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lockstep.align import TransformRule
from lockstep.arrays import Arrays
from lockstep.checkpoints.entries import Checkpoint, Kind
from lockstep.checkpoints.mapping import Proposal, propose
from lockstep.errors import InputError
from lockstep.subjects import INITIAL, Mode, Subject
from lockstep.tolerance import FixedTolerance
from lockstep.trace import Trace, VariableRecord
from lockstep.transforms import Transform
from lockstep.verification import Progress, Rules, judge_reloaded


def proposal_for(checkpoint: Checkpoint, records: tuple[VariableRecord, ...]) -> Proposal:
    """Proposes a mapping of the checkpoint's own variables.

    Counters take part only where the candidate has integers for them; slots and moving averages never do.
    """
    integers = any(record.dtype.startswith(("int", "uint")) for record in records)
    wanted = {Kind.VARIABLE, Kind.COUNTER} if integers else {Kind.VARIABLE}
    return propose([entry for entry in checkpoint.entries.values() if entry.kind in wanted], records)


def inventory(candidate: Subject, inputs: Arrays) -> tuple[VariableRecord, ...]:
    """Builds the candidate and lists its variables.

    Raises:
        SubjectError: Its code failed.
    """
    instance = candidate.build(Mode(training=False, randomness="num_random_ops"), inputs)
    try:
        return instance.run(INITIAL).variables
    finally:
        instance.close()


def built_inventory(candidate: Subject) -> tuple[VariableRecord, ...]:
    """Lists the variables of a model that has them without being called.

    Raises:
        InputError: It has none yet.
        SubjectError: Its code failed.
    """
    instance = candidate.build(Mode(training=False, randomness="num_random_ops"), {})
    try:
        variables = instance.variables
    finally:
        instance.close()
    if not variables:
        raise InputError(
            f"{candidate.label} has no variables before it is called; give a configuration that tells its inputs."
        )
    return variables


def rules_of(proposal: Proposal, given: Rules) -> Rules:
    """Returns a proposal as the rules that it is written as; the checkpoint is the one given."""
    shared = {pair.entry.name for pair in proposal.pairs if "split(" in pair.transform}
    rename = [
        (f"^{re.escape(pair.entry.name)}$", pair.record.name.replace("\\", "\\\\"))
        for pair in proposal.pairs
        if pair.entry.name != pair.record.name and pair.entry.name not in shared
    ]
    transforms = [
        TransformRule(
            f"^{re.escape(pair.record.name)}$",
            Transform.parse(pair.transform),
            pair.entry.name.replace("\\", "\\\\") if pair.entry.name in shared else None,
        )
        for pair in proposal.pairs
        if pair.transform
    ]
    return dataclasses.replace(given, rename=tuple(rename), transforms=tuple(transforms))


def tried(
    proposal: Proposal,
    subjects: Mapping[str, Subject],
    inputs: Arrays,
    given: Rules,
    tolerance: FixedTolerance,
    progress: Progress,
) -> tuple[bool, str]:
    """Runs both sides from the checkpoint by the proposed rules: outputs that agree confirm the whole proposal.

    Returns:
        Whether they agree, and what was seen.
    """

    def run_again(instance: Any, values: Mapping[str, np.ndarray], say: Any) -> Trace:
        del values, say
        again: Trace = instance.run_as_it_is()
        return again

    try:
        report = judge_reloaded(
            subjects["reference"],
            subjects["candidate"],
            inputs,
            rules=rules_of(proposal, given),
            tolerance=tolerance,
            reload=run_again,
            progress=progress,
        )
    except InputError as error:
        return False, str(error).replace("nothing was converted", "the proposal was not tried")
    return report.verdict == "equivalent", report.steps[0].summary
