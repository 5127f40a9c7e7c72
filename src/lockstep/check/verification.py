"""The guide's steps, in its order: record both sides, align, compare, report."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lockstep.check import settling, training_questions
from lockstep.check.collecting import Collector
from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.judging import GRADIENT_RULE, NOISE_RULE, Judge, Traces
from lockstep.check.proof import dependence, start
from lockstep.check.proof.trials import Trials, labelled
from lockstep.check.provenance import provenance_of
from lockstep.check.settling import Settled
from lockstep.check.steps import checkpoint as from_checkpoint
from lockstep.check.steps import (
    consequences,
    created_once,
    native_order,
    numbers,
    own_values,
    repeated_draws,
    same_twice,
    unordered,
    variables_match,
)
from lockstep.check.steps.forced import judge as judge_forced
from lockstep.check.training_questions import Losses, Makers, TrainingQuestions, TrainingWishes
from lockstep.common.arrays import Arrays, checked_inputs
from lockstep.common.errors import DamagedError, InputError, SubjectError
from lockstep.compare import filling
from lockstep.compare.align import Alignment, Rename, TransformRule, align, checked_ignore, renamer
from lockstep.compare.outputs import OutputRules, again, by_paths, matched
from lockstep.compare.tolerance import FixedTolerance
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.files.checkpoints.settings import CheckpointSettings
from lockstep.localise.values import MAX_MEMORY
from lockstep.recorder.modules import LOCK
from lockstep.results import step_names
from lockstep.results.evidence import Evidence
from lockstep.results.finding import Finding, step_report
from lockstep.results.model import Culprit, Report, StepReport, Verdict, gathered, overall
from lockstep.subjects import (
    INFERENCE,
    INITIAL,
    MODES,
    TRAINING,
    Instance,
    Mode,
    Perturbed,
    Setting,
    Subject,
    Switched,
    Wanted,
)
from lockstep.subjects.built import Built, Here, Sided, on_side
from lockstep.subjects.variable_parts import PartRule, cut_again, in_parts
from lockstep.traces.trace import Trace

_FURTHER_CALLS = 2
_AFTER_NAMES = step_names.NAMES[step_names.NAMES.index("variables-match") + 1 :]
_NAMES_FIRST = Finding(Verdict.NOT_ASKED, "which variable is which comes first")


@dataclass(frozen=True)
class Event:
    """What a check is doing now, and the step that it has just finished, if any."""

    text: str
    step: StepReport | None = None


Progress = Callable[[Event], None]
_Result = TypeVar("_Result")


def verify(  # noqa: PLR0913 - the one entry that everything is given to
    reference: Subject | Mapping[str, Any],
    candidate: Subject | Mapping[str, Any],
    inputs: Arrays,
    *,
    rename: Sequence[Rename] = (),
    transforms: Sequence[TransformRule | Sequence[str]] = (),
    parts: Sequence[PartRule | Sequence[Any]] = (),
    ignore: Sequence[str] = (),
    checkpoint: CheckpointSettings | str | os.PathLike[str] | None = None,
    tolerance: FixedTolerance | None = None,
    progress: Progress | None = None,
    loss: Losses | None = None,
    gradients: bool | None = None,
    optimizers: Makers | None = None,
    trajectory: int | None = None,
    max_memory: int | None = None,
    also_generic: bool = True,
    evidence: bool | Sequence[Path] = False,
    steps: Sequence[str] = (),
    outputs: OutputRules | None = None,
) -> Report:
    """Checks that the candidate computes what the reference computes, by the four steps of the guide.

    Args:
        reference: The original: `lockstep.tf1_graph(forward)`, `lockstep.keras(build)`, or a table of the
            configuration as a dict.
        candidate: The migrated model, likewise.
        inputs: Input name -> array, handed to both sides as a dict of tensors; or one array, handed over as one tensor.
        rename: `(pattern, replacement)` pairs, applied to the reference's variable names to get the candidate's.
        transforms: `(pattern, transform)` or `(pattern, transform, reference's name)`: how variables of the candidate
            whose name the pattern is found in are made, as in `("/kernel$", "transpose(1,0)")`.
        parts: `(pattern, axis, sizes)`: how variables of the candidate that hold several of the reference's are cut,
            as in `("^gru/kernel$", 1, [16, 8])`; rules speak of `gru/kernel[0]` and `gru/kernel[1]` then.
        ignore: Regular expressions: a variable in whose name one is found is neither compared nor filled, on either
            side. The report says how many there are.
        checkpoint: A name-based checkpoint of the reference, which both sides are run from too.
        tolerance: The tolerance for floating tensors; the guide's, scaled to each tensor, by default. What is beyond
            it may still be explained by how far rounding alone moves the reference, unless it is to judge `alone`.
        progress: Called with an `Event` whenever something begins and when a step is done.
        loss: `loss(outputs, batch)`, which returns the training loss without regularization, as a scalar: for both
            sides, or one for each as `(reference's, candidate's)`. `outputs` is what the model returned, `batch` what
            it was given.
        gradients: Whether gradients are compared: of the loss, or, where there is none, of the outputs weighted with
            a fixed random vector; regularization is added. By default they are, where both sides can be differentiated.
        optimizers: The reference's and the candidate's `optimizer()`, each of which returns a new optimizer of
            `tf.compat.v1.train` or Keras, or a function that is given (gradient, variable) pairs and applies them.
        trajectory: How many training steps are compared; 20 by default where there are a loss and optimizers.
        max_memory: Bytes of the reference's values that forced lockstep may hold in memory, the rest being in a
            temporary file; 2 GiB by default.
        also_generic: Whether both sides are run on a second, generic input too, of the same shapes and range: the
            given one may hide something (ones, a constant along an axis).
        evidence: Whether the report also holds both programs operation by operation, all variables, the settings and
            the lines of code that it names, for `report.to_html()`; it takes two more runs of the models. Folders in
            place of `True` are where source files are looked for too.
        steps: The names of the steps that are taken, as in `("variables-match", "inference-fixed")`; all by default.
        outputs: Which output of the candidate is which of the reference, and which are not compared.

    Returns:
        The report. A difference is data in it; only `report.raise_if_diverged()` raises.

    Raises:
        InputError: The inputs, a table or the checkpoint cannot be used.
        SubjectError: The code of one side failed; its cause is the original exception.
    """
    check = _Check(
        subject_of(reference, "reference"),
        in_parts(subject_of(candidate, "candidate"), tuple(map(PartRule.of, parts))),
        checked_inputs(inputs),
        Rules(
            tuple(rename),
            tuple(map(TransformRule.of, transforms)),
            _settings(checkpoint),
            ignore=checked_ignore(ignore),
        ),
        tolerance or FixedTolerance(),
        progress or (lambda _: None),
    )
    check.max_memory = max_memory or MAX_MEMORY
    check.also_generic = also_generic
    if evidence is not False:
        check.collect(() if evidence is True else evidence)
    check.choose(steps)
    check.heed(outputs or OutputRules())
    check.ask_about_training(TrainingWishes(loss, gradients, optimizers, trajectory))
    with LOCK:  # seeds, Keras's names and the user's modules belong to the process: a second thread's check waits
        return check.run()


@dataclass(frozen=True)
class Rules:
    """What is known of both sides' variables: how they are called, how they are made, where their values lie."""

    rename: tuple[Rename, ...] = ()
    transforms: tuple[TransformRule, ...] = ()
    checkpoint: CheckpointSettings | None = None
    ignore: tuple[str, ...] = ()


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
    check = _Check(reference, candidate, checked_inputs(inputs), rules, tolerance, progress)
    with LOCK:
        return check.reloaded(reload)


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
    check = _Check(reference, candidate, checked_inputs(inputs), rules, tolerance, progress)
    with LOCK, ExitStack() as stack:
        return check.names(stack)


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
    check = _Check(reference, candidate, checked_inputs(inputs), rules, tolerance, progress)
    with LOCK, ExitStack() as stack:
        yield check.pair(stack, mode)


class _Check:
    """One check: three modes are built in turn, each answers its questions, and is dropped."""

    def __init__(
        self,
        reference: Subject,
        candidate: Subject,
        inputs: Arrays,
        rules: Rules,
        tolerance: FixedTolerance,
        progress: Progress,
    ) -> None:
        self._subjects = {"reference": reference, "candidate": candidate}
        self._inputs, self._rules, self._tolerance, self._progress = inputs, rules.rename, tolerance, progress
        self._transforms, self._ignore = rules.transforms, rules.ignore
        self._wanted = dict.fromkeys(self._subjects, Wanted(ignore=rules.ignore))
        self._checkpoint = from_checkpoint.Source(rules.checkpoint)
        self._steps: list[StepReport] = []
        self._culprits: list[Culprit] = []
        self._clock = time.perf_counter()
        self._judge = Judge(tolerance, rules.rename, inputs, self._say, self._runtimes)
        self._collector: Collector | None = None
        self._beyond: TrainingQuestions | None = None
        self._later: dict[str, tuple[list[Finding], float]] = {}
        self.max_memory = MAX_MEMORY
        self.also_generic = True
        self._positive: frozenset[str] = frozenset()
        self._chosen: tuple[str, ...] = step_names.NAMES
        self._opened: Checkpoint | None = None
        self._output_rules = OutputRules()
        self._outputs_told = ""

    def choose(self, steps: Sequence[str]) -> None:
        """Has the check take some steps alone, and not do what the others need; none chooses all."""
        self._chosen = step_names.checked(steps) or step_names.NAMES
        if "checkpoint" not in self._chosen:
            self._checkpoint = from_checkpoint.Source(None)

    def collect(self, folders: Sequence[Path]) -> None:
        """Has what is seen besides verdicts put into the report; asked before anything else is."""
        self._collector = Collector(folders)
        self._judge = dataclasses.replace(self._judge, watch=self._collector.outputs)

    def _asking(self, step: str) -> None:
        if self._collector is not None:
            self._collector.step = step

    def heed(self, outputs: OutputRules) -> None:
        """Says which outputs are which; see `verify`."""
        self._output_rules = outputs
        self._judge = dataclasses.replace(self._judge, heeded=outputs.heeded)

    def ask_about_training(self, wishes: TrainingWishes) -> None:
        """Says what is asked beyond the forward pass; see `verify`."""
        if not any(name in self._chosen for name in step_names.BEYOND):
            wishes = TrainingWishes(None, gradients=False, optimizers=None, trajectory=None)
        self._beyond = training_questions.chosen(self._subjects, wishes, self._judge)
        for side, wanted in self._wanted.items():
            gradients = self._beyond.objectives is not None
            self._wanted[side] = dataclasses.replace(wanted, gradients=gradients, steps=self._beyond.steps)

    def run(self) -> Report:
        """Runs all steps."""
        start = self._clock
        self._open_checkpoint()
        if not self._inference():
            return self._whole(start)
        if any(name in self._chosen for name in step_names.TRAINING):
            self._training()
        self._clock -= self._checkpoint.duration_s
        self._report("checkpoint", self._checkpoint.findings, self._rule if self._checkpoint.settings else "")
        forward = any(culprit.kind != "initializer" for culprit in self._culprits)
        for name, (found, duration_s) in self._later.items():
            findings = consequences.told(found) if forward and name in consequences.STEPS else found
            self._clock -= duration_s
            self._report(name, findings, training_questions.rule(name, findings, self._rule))
        return self._whole(start)

    def reloaded(self, reload: Reload) -> Report:
        """Runs the step `checkpoint` alone, the candidate as `reload` gives it back."""
        start = self._clock
        self._open_checkpoint()
        with ExitStack() as stack:
            built = self._build(stack, INFERENCE)
            first = self._initial(built)
            alignment = self._align(first)
            plan = self._checkpoint.plan(first.reference, alignment)
            plan = from_checkpoint.refuse_gaps(plan, self._checkpoint.findings, alignment)
            reference = built.reference.run(plan.reference)
            candidate = built.candidate.run(plan.candidate)
            again = reload(built.candidate.unwrapped, Traces(reference, candidate), self._say)
            again = dataclasses.replace(candidate, outputs=again.outputs)
            here = built.here.run(Setting("given", reference.before))
            forced = self._forced(built, alignment, first)
            found = self._judge.results(Traces(reference, again, here), alignment, built.perturbed, forced)
            found += dependence.judge(forced, (plan.reference, plan.candidate))
            # The values of a checkpoint may hide which is which: the pairs are proved at distinct values too.
            trials = Trials(built, alignment, forced, self._judge, self._inputs, first.reference)
            self._checkpoint.judged([*found, *trials.asked("distinct")])
        self._report("checkpoint", self._checkpoint.findings, self._rule)
        return self._whole(start)

    def names(self, stack: ExitStack) -> tuple[Settled | None, Alignment]:
        """Settles the names alone."""
        built = self._build(stack, INFERENCE)
        first = self._initial(built)
        settled = self._settle_names(stack, built, first)
        if settled is not None and settled.rules.parts:
            _, first = self._cut(built, first, settled.rules.parts)
        return settled, self._align(first)

    def pair(self, stack: ExitStack, mode: Mode) -> Pair:
        """Builds and runs both sides in a mode; they last as long as the stack."""
        built = self._build(stack, mode)
        both = self._initial(built)
        alignment = self._align(both)
        if both.reference.forward_draws is None:  # a model that drew while it made its variables
            reference = built.reference.run(filling.copied(both.reference, alignment)[0])
            both = dataclasses.replace(both, reference=reference)
        instance = built.candidate.unwrapped
        return Pair(both, alignment, instance, built.perturbed, built.switched, self._judge, built.here.note)

    def _whole(self, start: float) -> Report:
        steps = self._in_order()
        return Report(
            verdict=overall([step.verdict for step in steps]),
            steps=steps,
            culprits=gathered(self._culprits),
            environments={side: dict(subject.environment()) for side, subject in self._subjects.items()},
            duration_s=time.perf_counter() - start,
            evidence=self._evidence(),
            provenance=provenance_of(self._subjects, self._inputs, self._tolerance),
        )

    def _evidence(self) -> Evidence | None:
        if self._collector is None:
            return None
        return self._collector.finished(gathered(self._culprits), self._subjects, self._inputs)

    def _in_order(self) -> tuple[StepReport, ...]:
        """Returns the reports of all steps that were taken, and between them those that were not chosen."""
        if self._chosen == step_names.NAMES:
            return tuple(self._steps)
        taken = {step.name: step for step in self._steps}
        left_out = {name: StepReport(name, Verdict.NOT_ASKED, "not chosen", judged_by="") for name in step_names.NAMES}
        return tuple({**left_out, **taken}.values())

    def _inference(self) -> bool:
        """Takes the steps of inference mode; tells whether it is known which variable is which."""
        mode = INFERENCE
        with ExitStack() as stack:
            built = self._build(stack, mode)
            first = self._initial(built, repeats=_FURTHER_CALLS)
            built, first = self._with_outputs_matched(built, first)
            self._report("variables-created-once", [created_once.judge(first.candidate)], "exact")
            settled = self._settle_names(stack, built, first)
            if settled is not None and settled.question:
                self._report("variables-match", [settled.finding], "exact")
                for name in _AFTER_NAMES:
                    self._report(name, [_NAMES_FIRST], "")
                return False
            if settled is not None and settled.rules.parts:
                built, first = self._cut(built, first, settled.rules.parts)
            alignment = self._align(first)
            if self._collector is not None:
                self._collector.variables(first, alignment, self._rules)
            match = [variables_match.judge(first.reference, first.candidate, alignment)]
            match += [settled.finding] if settled is not None else []
            self._report(
                "variables-match",
                self._steady(mode, built, first, match),
                "exact; initial distributions: Kolmogorov-Smirnov",
            )
            forced = self._forced(built, alignment, first)
            # What is read as a variance is seen there, and the training steps need it too.
            if any(name in self._chosen for name in ("inference-fixed", *step_names.TRAINING)):
                self._fixed(built, alignment, forced, first)
            if "inference-random" in self._chosen:
                found = self._random(mode, first, built, alignment, forced)
                self._report("inference-random", self._steady(mode, built, first, found), self._rule)
            self._from_checkpoint(first.reference, built, alignment, forced)
        return True

    def _with_outputs_matched(self, built: Built, first: Traces) -> tuple[Built, Traces]:
        """Has the candidate's outputs seen under the reference's paths, in this mode and in those that follow."""
        paths = matched(first.base.outputs, first.candidate.outputs, self._output_rules)
        if paths.changes_nothing:
            return built, first
        self._outputs_told = paths.note
        subject = self._subjects["candidate"]
        self._subjects["candidate"] = by_paths(subject, paths)
        instance, trace = again(built.candidate.unwrapped, first.candidate, paths, here=subject.offers.rules)
        built = dataclasses.replace(built, candidate=Sided("candidate", instance))
        return built, dataclasses.replace(first, candidate=trace)

    def _settle_names(self, stack: ExitStack, built: Built, first: Traces) -> Settled | None:
        """Finds rules for variables without a partner, and goes on with them."""
        settled = settling.settle(
            built,
            first,
            self._align(first),
            settling.Given(self._rules, self._transforms, self._ignore),
            self._judge,
            rules_offered=self._subjects["candidate"].offers.rules,
            in_training=lambda: self._build(stack, TRAINING),
        )
        if settled is not None:
            self._rules = (*settled.rules.rename, *self._rules)
            self._transforms = (*settled.rules.transforms, *self._transforms)
            self._judge = dataclasses.replace(self._judge, rules=self._rules)
            if self._beyond is not None:
                self._beyond = dataclasses.replace(self._beyond, judge=self._judge)
            self._give_checkpoint()
        return settled

    def _cut(self, built: Built, first: Traces, parts: Sequence[PartRule]) -> tuple[Built, Traces]:
        """Cuts the candidate's variables by rules that were found since it was built."""
        self._subjects["candidate"] = in_parts(self._subjects["candidate"], parts)
        instance, trace = cut_again(built.candidate.unwrapped, first.candidate, parts)
        built = dataclasses.replace(built, candidate=Sided("candidate", instance))
        return built, dataclasses.replace(first, candidate=trace)

    def _forced(self, built: Built, alignment: Alignment, both: Traces, *, training: bool = False) -> ForcedRuns:
        ours, theirs = built.program_of_reference(), built.candidate.followed
        before = both.reference.before
        forced = ForcedRuns(ours, theirs, alignment, before, self._say, self.max_memory, training=training)
        forced.positive(self._positive)
        forced.draws = both.base.forward_draws
        if self._collector is not None and not self._collector.has_found("training" if training else "inference"):
            forced.watch = self._collector.programs
        return forced

    def _fixed(self, built: Built, alignment: Alignment, forced: ForcedRuns, initial: Traces) -> None:
        self._asking("inference-fixed")
        trials = Trials(built, alignment, forced, self._judge, self._inputs, initial.reference, self.also_generic)
        findings = trials.findings()
        self._positive = trials.positive
        findings.extend(self._located(forced))
        findings += [Finding(Verdict.NOT_ASKED, self._outputs_told)] if self._outputs_told else []
        findings = self._steady(INFERENCE, built, initial, findings, filling.filled("distinct", alignment))
        self._report("inference-fixed", findings, self._rule)

    def _steady(
        self,
        mode: Mode,
        built: Built,
        both: Traces,
        found: list[Finding],
        values: tuple[Setting, Setting] = (INITIAL, INITIAL),
    ) -> list[Finding]:
        """Returns findings; where they diverged and a side is not the same in two builds, that in their place."""

        def twice(side: str, instance: Instance, first: Trace, setting: Setting) -> tuple[Trace, Trace] | None:
            if setting is not INITIAL and not instance.free:
                return None
            try:
                self._say(f"{side}: building it again")
                second = self._subjects[side].build_again(mode, self._inputs, self._wanted[side])
                if second is None:
                    return None
                return first if setting is INITIAL else instance.run(setting), second.run(setting)
            except (InputError, SubjectError):
                return None  # the build that counts says so itself

        return same_twice.judge(
            found,
            [
                ("reference", functools.partial(twice, "reference", built.reference, both.reference, values[0])),
                ("candidate", functools.partial(twice, "candidate", built.candidate, both.candidate, values[1])),
            ],
        )

    def _wider_in_training(
        self, found: Sequence[Finding], built: Built, alignment: Alignment, forced: ForcedRuns, reference: Trace
    ) -> list[Finding]:
        if self._tolerance.alone or overall([finding.verdict for finding in found]) is not Verdict.EQUIVALENT:
            return []
        trials = Trials(built, alignment, forced, self._judge, self._inputs, reference, positive=self._positive)
        return trials.of_training()

    def _located(self, forced: ForcedRuns) -> list[Finding]:
        located = None if self._tolerance.alone else forced.distinct
        return [] if located is None else [judge_forced(located)]

    def _open_checkpoint(self) -> None:
        if self._transforms and not self._subjects["candidate"].offers.rules:
            raise InputError(
                "transform rules go with a candidate that runs in this process; take python, requirements and "
                "interpreter out of its table, or rename rules alone."
            )
        if (settings := self._checkpoint.settings) is not None:
            from lockstep.frameworks.runtimes import open_checkpoint

            self._say("opening the checkpoint")
            opened = open_checkpoint(settings.path, moving_averages=settings.moving_averages)
            self._checkpoint.open(opened)
            self._opened = opened
            self._give_checkpoint()

    def _give_checkpoint(self) -> None:
        """Says what a side in an environment of its own finds in the checkpoint under its names."""
        if self._opened is not None:
            for side, wanted in self._wanted.items():
                values = from_checkpoint.values_for(self._opened, self._rules if side == "candidate" else ())
                self._wanted[side] = dataclasses.replace(wanted, given=values)

    def _from_checkpoint(self, initial: Trace, built: Built, alignment: Alignment, forced: ForcedRuns) -> None:
        """Runs both sides from the checkpoint; what was found is reported after the training steps."""
        if (plan := self._checkpoint.plan(initial, alignment)) is not None:
            self._say("inference, every variable from the checkpoint")
            self._asking("checkpoint")
            reference = built.reference.run(plan.reference)
            here = built.here.run(Setting("given", reference.before))
            candidate = built.candidate.run(plan.candidate, draws=(here or reference).forward_draws)
            both = Traces(reference, candidate, here)
            found = self._judge.results(both, alignment, built.perturbed, forced)
            self._checkpoint.judged([*found, *dependence.judge(forced, (plan.reference, plan.candidate))])
        self._clock = self._checkpoint.stopped(self._clock)

    def _align(self, both: Traces) -> Alignment:
        return align(both.reference.variables, both.candidate.variables, self._rules, self._transforms, self._ignore)

    def _training(self) -> None:
        findings: list[Finding] = []
        verdicts: list[Verdict] = []
        first = TRAINING.randomness
        for mode in (mode for mode in MODES if mode.training):
            with ExitStack() as stack:
                built = self._build(stack, mode)
                both = self._initial(built)
                alignment = self._align(both)
                forced = self._forced(built, alignment, both, training=True)
                found = self._random(mode, both, built, alignment, forced)
                if not mode.functional:
                    found.extend(self._located(forced))
                    found.extend(self._wider_in_training(found, built, alignment, forced, both.reference))
                found = self._steady(mode, built, both, found)
                if not mode.functional and self._beyond is not None:
                    beyond = dataclasses.replace(self._beyond, positive=self._positive)
                    for name, answer in beyond.answers(both, built, alignment):
                        self._answer_later(name, answer, functools.partial(self._steady, mode, built, both))
            label = mode.randomness + (", functional model" if mode.functional and not both.candidate.notes else "")
            if mode.functional:
                found = [dataclasses.replace(f, figures=_prefixed("constant_", f.figures)) for f in found]
            told = {finding.phrase for finding in findings}
            findings.extend(labelled(f, label) for f in found if f"{first}: {f.phrase}" not in told or not f.details)
            verdicts.append(overall([finding.verdict for finding in found]))
        culprits = [culprit for finding in findings for culprit in finding.culprits]
        if not any(native_order.is_explained_by(culprit) for culprit in culprits):
            findings.extend(native_order.told_by_both_modes(*verdicts))
        self._report("training-random", findings, self._rule)

    def _answer_later(
        self, name: str, answer: Callable[[], list[Finding]], steady: Callable[[list[Finding]], list[Finding]]
    ) -> None:
        """Answers a step's question now, while the models of a mode are there; it is reported in its turn."""
        start = time.perf_counter()
        found = steady(answer())
        duration_s = time.perf_counter() - start
        self._clock += duration_s
        self._later[name] = found, duration_s

    def _random(
        self, mode: Mode, both: Traces, built: Built, alignment: Alignment, forced: ForcedRuns
    ) -> list[Finding]:
        """Judges runs from initial values; where both sides did not start or draw alike, from the reference's too."""
        self._asking("training-random" if mode.training else "inference-random")
        initial = numbers.initial_values(both.reference, both.candidate, alignment, self._tolerance)
        own = own_values.judge(both.reference, both.candidate, initial)
        apart = bool(start.apart(both.reference, both.candidate, alignment))
        results: list[Finding] = []
        drawing = native_order.draws(both.base, both.candidate)
        # Other initial values, or other draws, tell nothing by their results, whose noise takes seconds to measure.
        if not apart and (self._agree(both) or not drawing or not built.candidate.free):
            results = self._judge.results(both, alignment, built.perturbed, forced)
            if not drawing or not _in_doubt(results) or not built.candidate.free:
                return [*own, initial, *self._unordered(built, results), *_notes(both, built.here, results)]
        self._say("candidate, with the initial values and the draws of the reference")
        values = filling.copied(both.reference, alignment)
        # A graph's draws are known from its first run, and it would only give the same again.
        known = both.base.forward_draws is not None
        reference = both.reference if known else built.reference.run(values[0])
        drawn = (both if known else Traces(reference, both.candidate)).base.forward_draws
        again = Traces(reference, built.candidate.run(values[1], draws=drawn), both.here)
        results = self._judge.results(again, alignment, built.perturbed, forced)
        results = native_order.excused(again.base, again.candidate, results)
        results = repeated_draws.undecided(results, again.base, again.candidate)
        traces = both.reference, both.candidate
        told = own or (
            [initial] if not drawing else native_order.initial_values(initial, traces, alignment, mode.randomness)
        )
        return [*told, *self._unordered(built, results), *_notes(both, built.here, results)]

    def _agree(self, both: Traces) -> bool:
        """Tells whether outputs are equal as they were drawn: else the draws have to be aligned, not noise measured."""
        return self._judge.outputs_agree(both.base, both.candidate)

    def _unordered(self, built: Built, results: Sequence[Finding]) -> list[Finding]:
        """Returns findings, undecided where the reference's own result depends on an order that nothing defines."""
        names = built.original.unordered if built.original is not None else ()
        return unordered.judge(names, results)

    def _build(self, stack: ExitStack, mode: Mode) -> Built:
        built: dict[str, Sided] = {}
        for side, subject in self._subjects.items():
            self._say(f"{side}: building {'training' if mode.training else 'inference'} mode, {mode.randomness}")
            if side == "candidate":
                renamed = renamer(self._rules)
                names = {renamed(r.key): r.key for r in built["reference"].variables}
                self._wanted[side] = dataclasses.replace(self._wanted[side], fill_names=names)
            instance = on_side(side, functools.partial(subject.build, mode, self._inputs, self._wanted[side]))
            stack.callback(instance.close)
            built[side] = Sided(side, instance)
        here = self._here(mode)
        stack.callback(here.close)
        recorded = self._recorded(mode, here, built["reference"])
        if recorded is not None:
            stack.callback(recorded.close)
        return Built(built["reference"], built["candidate"], here, recorded)

    def _recorded(self, mode: Mode, here: Here, reference: Sided) -> Instance | None:
        """Returns the graph of a reference that was recorded on this process's TensorFlow; None of any other."""
        if reference.free or here.instance is not None or here.note:
            return None
        try:
            return self._subjects["reference"].graph_here(mode, self._inputs)
        except DamagedError:
            raise
        except (InputError, SubjectError) as error:
            here.note = f"whose difference it is cannot be told: {error}"
            return None

    def _here(self, mode: Mode) -> Here:
        """Builds the reference's graph on the candidate's runtime."""
        if elsewhere := self._elsewhere():
            return Here(None, note=elsewhere)
        if self._subjects["reference"].recording is not None:
            self._say("the reference's graph: importing it into this TensorFlow")
        try:
            return Here(self._subjects["reference"].on_this_runtime(mode, self._inputs))
        except DamagedError:
            raise
        except (InputError, SubjectError) as error:
            return Here(None, note=f"whose difference it is cannot be told: {error}")

    def _elsewhere(self) -> str:
        """Tells why no graph can be run on the candidate's TensorFlow: it is another one than this process's."""
        reference, candidate = (subject.environment().get("tensorflow") for subject in self._subjects.values())
        ours = sys.modules.get("tensorflow")
        if candidate in (None, reference) or ours is None or candidate == ours.__version__:
            return ""
        return (
            f"whose difference it is cannot be told: the candidate ran on TensorFlow {candidate}, and Lockstep could "
            f"run the reference's graph on its own {ours.__version__} alone"
        )

    def _runtimes(self) -> str:
        versions = [subject.environment().get("tensorflow", "?") for subject in self._subjects.values()]
        return f"TensorFlow {' against '.join(versions)}"

    def _initial(self, built: Built, *, repeats: int = 0) -> Traces:
        self._say("reference: running from its initial values")
        reference = built.reference.run(INITIAL)
        if reference.repeated_draws and built.recorded is not None:
            try:
                followed = built.recorded.run(Setting("given", reference.before))
            except SubjectError as error:
                built.here.note = f"whose difference it is cannot be told: {error}"
            else:
                drawn, unknown = followed.forward_draws, followed.repeated_draws
                reference = dataclasses.replace(reference, forward_draws=drawn, repeated_draws=unknown)
        here = built.here.run(Setting("given", reference.before))
        self._say("candidate: running from its initial values")
        return Traces(reference, built.candidate.run(INITIAL, repeats=repeats), here)

    @property
    def _rule(self) -> str:
        return str(self._tolerance)

    def _report(self, name: str, findings: Sequence[Finding], judged_by: str) -> None:
        if name not in self._chosen:
            return
        if any(figure.endswith("_explained_by_noise") for finding in findings for figure in finding.figures):
            judged_by = GRADIENT_RULE if name in ("gradients", "trajectory") else NOISE_RULE
        now = time.perf_counter()
        step = step_report(name, findings, judged_by, now - self._clock)
        self._clock = now
        self._steps.append(step)
        self._culprits.extend(culprit for finding in findings for culprit in finding.culprits)
        self._progress(Event(f"{name}: {step.verdict}", step))

    def _say(self, text: str) -> None:
        self._progress(Event(text))


def _settings(given: CheckpointSettings | str | os.PathLike[str] | None) -> CheckpointSettings | None:
    return given if given is None or isinstance(given, CheckpointSettings) else CheckpointSettings(Path(given))


def subject_of(given: Subject | Mapping[str, Any], side: str) -> Subject:
    """Returns a subject as it is, and that of a table of the configuration.

    Raises:
        InputError: It is neither.
    """
    if isinstance(given, Mapping):
        from lockstep.config import subject_from_table

        return subject_from_table(dict(given), folder=Path.cwd(), side=side)
    if not isinstance(given, Subject):
        raise InputError(
            f"the {side} is a {type(given).__name__}; wrap it first: lockstep.tf1_graph(forward) for TF1-style code, "
            "lockstep.keras(build) for a function that makes a Keras layer or model."
        )
    return given


def _in_doubt(findings: Sequence[Finding]) -> bool:
    return overall([finding.verdict for finding in findings]) in (Verdict.DIVERGED, Verdict.UNDECIDED)


def _prefixed(prefix: str, figures: Mapping[str, object]) -> dict[str, object]:
    return {prefix + name: value for name, value in figures.items()}


def _notes(both: Traces, here: Here, results: Sequence[Finding]) -> list[Finding]:
    notes = dict.fromkeys(note for note in (*both.reference.notes, *both.candidate.notes, here.note) if note)
    # A step that diverged shows its details alone; there it matters most that nobody can tell whose difference it is.
    diverged = any(finding.verdict is Verdict.DIVERGED for finding in results)
    return [Finding(Verdict.NOT_ASKED, note, (note,) if diverged and note == here.note else ()) for note in notes]
