"""What other commands take of a check: the names alone, one mode alone, the step `checkpoint` alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from lockstep.check.judging import Judge, Traces
from lockstep.check.proof import dependence
from lockstep.check.proof.trials import Trials
from lockstep.check.reporting import Progress
from lockstep.check.settling import Settled
from lockstep.check.sides import Rules
from lockstep.check.steps import checkpoint as from_checkpoint
from lockstep.check.verification import Check
from lockstep.common.arrays import Arrays, checked_inputs
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.compare.tolerance import FixedTolerance
from lockstep.recorder.modules import LOCK
from lockstep.results.model import Report
from lockstep.subjects import INFERENCE, Instance, Mode, Perturbed, Setting, Subject, Switched
from lockstep.traces.trace import Trace

Reload = Callable[[Instance, Traces, Callable[[str], None]], Trace]
"""Runs a candidate anew, from what was written of it, say; given what both sides did, and told what is being done."""


def judge_reloaded(  # noqa: PLR0913 - as of `verify`
    reference: Subject,
    candidate: Subject,
    inputs: Arrays,
    *,
    rules: Rules,
    tolerance: FixedTolerance,
    reload: Reload,
    progress: Progress,
) -> Report:
    """Takes the step `checkpoint` alone, with a candidate that was written and loaded again in its place.

    Raises:
        InputError: The checkpoint cannot be read, or leaves a variable of either side without a value.
        SubjectError: The code of one side failed.
    """
    check = Check((reference, candidate), checked_inputs(inputs), rules, tolerance, progress)
    with LOCK:
        check.reporting.asks("checkpoint")
        check.open_checkpoint()
        with ExitStack() as stack:
            _ask_reloaded(check, stack, reload)
        check.reporting.answered("checkpoint", check.checkpoint.findings, check.rule)
        return check.report()


def _ask_reloaded(check: Check, stack: ExitStack, reload: Reload) -> None:
    built = check.sides.build(stack, INFERENCE)
    first = check.sides.initial(built)
    situation = check.situation(INFERENCE, built, first)
    alignment, forced = situation.alignment, situation.forced
    plan = check.checkpoint.plan(first, alignment, free=built.reference.free)
    plan = from_checkpoint.refuse_gaps(plan, check.checkpoint.findings, alignment)
    reference = built.reference.run(plan.reference)
    candidate = built.candidate.run(plan.candidate)
    again = reload(built.candidate.unwrapped, Traces(reference, candidate), check.reporting.say)
    again = dataclasses.replace(candidate, outputs=again.outputs)
    here = built.here.run(Setting("given", reference.before))
    found = check.judge.results(Traces(reference, again, here), alignment, built.perturbed, forced)
    found += dependence.judge(forced, (plan.reference, plan.candidate))
    # The values of a checkpoint may hide which is which: the pairs are proved at distinct values too.
    trials = Trials(built, alignment, forced, check.judge, check.sides.inputs, first.reference)
    check.checkpoint.judged([*found, *trials.asked("distinct")])


def settle_names(
    reference: Subject,
    candidate: Subject,
    inputs: Arrays,
    *,
    rules: Rules,
    tolerance: FixedTolerance,
    progress: Progress,
) -> tuple[Settled | None, Alignment]:
    """Finds out which variable is which, and judges nothing else.

    Returns:
        What was found, None where nothing had to be or could be proposed; and the alignment that comes of it.

    Raises:
        SubjectError: The code of one side failed.
    """
    check = Check((reference, candidate), checked_inputs(inputs), rules, tolerance, progress)
    with LOCK, ExitStack() as stack:
        built = check.sides.build(stack, INFERENCE)
        first = check.sides.initial(built)
        settled = check.settle_names(stack, built, first)
        if settled is not None and settled.rules.parts:
            _, first = check.sides.cut(built, first, settled.rules.parts)
        return settled, check.sides.align(first)


@dataclass(frozen=True)
class Pair:
    """Both sides in one mode, from the same initial values: what other runs of the candidate are held against.

    Attributes:
        traces: What the reference does, and the candidate from initial values and with draws of its own.
        alignment: The reference's variables -> the candidate's.
        candidate: The candidate, built.
        perturbed: The reference's graph, to be run again with other numbers; None if there is none here.
        switched: The same, to be run under other switches.
        judge: What all questions are judged by.
        note: Why the reference's graph does not run here, though it ran elsewhere; empty otherwise.
    """

    traces: Traces
    alignment: Alignment
    candidate: Instance
    perturbed: Perturbed | None
    switched: Switched | None
    judge: Judge
    note: str


@contextlib.contextmanager
def paired(  # noqa: PLR0913 - as of `verify`
    reference: Subject,
    candidate: Subject,
    inputs: Arrays,
    mode: Mode,
    *,
    rules: Rules,
    tolerance: FixedTolerance,
    progress: Progress,
) -> Iterator[Pair]:
    """Builds both sides in a mode and runs them, as `verify` does, and keeps them for further runs.

    Raises:
        SubjectError: The code of one side failed.
    """
    check = Check((reference, candidate), checked_inputs(inputs), rules, tolerance, progress)
    with LOCK, ExitStack() as stack:
        built = check.sides.build(stack, mode)
        both = check.sides.initial(built)
        alignment = check.sides.align(both)
        if both.reference.forward_draws is None:  # a model that drew while it made its variables
            both = dataclasses.replace(
                both, reference=built.reference.run(filling.copied(both.reference, alignment)[0])
            )
        instance = built.candidate.unwrapped
        yield Pair(both, alignment, instance, built.perturbed, built.switched, check.judge, built.here.note)
