"""Proposes how a checkpoint is mapped to a rewritten model, and tries the proposal where the original can be run."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lockstep.check.judging import Traces
from lockstep.check.partly import Reload, judge_reloaded
from lockstep.check.reporting import Progress
from lockstep.check.sides import Rules
from lockstep.check.steps import numbers
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.compare.tolerance import FixedTolerance
from lockstep.files.checkpoints.entries import Checkpoint, Kind
from lockstep.files.checkpoints.mapping import Proposal, exact_rules, propose
from lockstep.results.model import Report
from lockstep.subjects import INFERENCE, INITIAL, Instance, Setting, Subject
from lockstep.subjects.variable_parts import in_parts
from lockstep.traces.trace import Trace, VariableRecord

TRIALS = 200
"""How many other orders are tried: a run of the candidate each."""


def proposal_for(checkpoint: Checkpoint, records: tuple[VariableRecord, ...]) -> Proposal:
    """Proposes a mapping of the checkpoint's own variables.

    Counters take part only where the candidate has integers for them; slots and moving averages never do.
    """
    integers = any(record.dtype.startswith(("int", "uint")) for record in records)
    wanted = {Kind.VARIABLE, Kind.COUNTER} if integers else {Kind.VARIABLE}
    entries = [entry for entry in checkpoint.entries.values() if entry.kind in wanted]
    return propose(entries, records, ordered=checkpoint.ordered)


def inventory(candidate: Subject, inputs: Arrays) -> tuple[VariableRecord, ...]:
    """Builds the candidate and lists its variables.

    Raises:
        SubjectError: Its code failed.
    """
    instance = candidate.build(INFERENCE, inputs)
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
    instance = candidate.build(INFERENCE, {})
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
    rename, transforms = exact_rules(proposal)
    return dataclasses.replace(given, rename=rename, transforms=transforms)


@dataclass(frozen=True)
class Trial:
    """What running both sides from the checkpoint by the proposed rules showed.

    Attributes:
        proposal: The proposal; what could not be told from names may have been put into another order.
        agrees: Whether the outputs agree, which confirms all of it.
        seen: What was seen, in words.
    """

    proposal: Proposal
    agrees: bool
    seen: str


def tried(
    proposal: Proposal,
    subjects: Mapping[str, Subject],
    inputs: Arrays,
    given: Rules,
    tolerance: FixedTolerance,
    progress: Progress,
) -> Trial:
    """Runs both sides from the checkpoint by the proposed rules.

    Where the outputs do not agree, other orders of the pairs that are not sure are tried, `TRIALS` at most. One that
    agrees is tried as a proposal of its own: at distinct values its pairs have to agree too.
    """
    found: list[Proposal] = [proposal]

    def run_again(instance: Instance, both: Traces, say: Callable[[str], None]) -> Trace:
        if agree(both.reference, both.candidate, tolerance):
            return both.candidate
        for number, order in enumerate(itertools.islice(_orders(proposal), TRIALS), 1):
            say(f"trying another order of what is not sure, {number}")
            values = {**both.candidate.before, **{key: both.candidate.before[other] for key, other in order.items()}}
            again = instance.run(Setting("given", values))
            if agree(both.reference, again, tolerance):
                found[:] = [_reordered(proposal, order)]
                return again
        return both.candidate

    def judged(tried: Proposal, reload: Reload) -> Report:
        return judge_reloaded(
            subjects["reference"],
            in_parts(subjects["candidate"], tried.parts),
            inputs,
            rules=rules_of(tried, given),
            tolerance=tolerance,
            reload=reload,
            progress=progress,
        )

    try:
        report = judged(proposal, run_again)
        if found[0] is not proposal:
            report = judged(found[0], _as_it_ran)
    except InputError as error:
        return Trial(
            proposal, agrees=False, seen=str(error).replace("nothing was converted", "the proposal was not tried")
        )
    return Trial(found[0], agrees=report.verdict == "equivalent", seen=report.steps[0].summary)


def _as_it_ran(_: Instance, both: Traces, __: Callable[[str], None]) -> Trace:
    """Runs nothing again."""
    return both.candidate


def agree(reference: Trace, candidate: Trace, tolerance: FixedTolerance) -> bool:
    """Tells whether all outputs agree within the fixed tolerance."""
    return numbers.outputs(reference, candidate, tolerance).verdict == "equivalent"


def _orders(proposal: Proposal) -> Iterator[dict[str, str]]:
    """Yields variable key -> key of the variable whose value it gets instead, for each other order, simple ones first.

    Only values of one shape, made by one transform, change places.
    """
    groups: dict[object, list[str]] = {}
    for pair in proposal.unsure:
        groups.setdefault((pair.entry.shape, pair.entry.dtype, pair.transform), []).append(pair.record.key)
    alike = [keys for keys in groups.values() if len(keys) > 1]
    permutations = [list(itertools.islice(itertools.permutations(keys), TRIALS)) for keys in alike]
    # Layers that change places do so with all of their variables: equal numbers of permutations go together first.
    for place in range(1, max(map(len, permutations), default=0)):
        together = [orders[place] if place < len(orders) else orders[0] for orders in permutations]
        yield _moves(alike, together)
    for chosen in itertools.islice(itertools.product(*permutations), 1, None):
        yield _moves(alike, chosen)


def _moves(groups: Sequence[Sequence[str]], orders: Sequence[Sequence[str]]) -> dict[str, str]:
    return {
        key: other
        for keys, order in zip(groups, orders, strict=True)
        for key, other in zip(keys, order, strict=True)
        if key != other
    }


def _reordered(proposal: Proposal, order: Mapping[str, str]) -> Proposal:
    entries = {pair.record.key: pair.entry for pair in proposal.pairs}
    pairs = tuple(
        dataclasses.replace(pair, entry=entries[order[pair.record.key]], reason=f"{pair.reason}; reordered by values")
        if pair.record.key in order
        else pair
        for pair in proposal.pairs
    )
    return dataclasses.replace(proposal, pairs=pairs)
