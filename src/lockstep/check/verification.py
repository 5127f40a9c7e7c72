"""The guide's steps, in its order: record both sides, align, compare, report."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockstep.check import settling, training_questions
from lockstep.check.collecting import Collector
from lockstep.check.compared_before import ComparedBefore
from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.judging import Judge, Traces
from lockstep.check.metric_questions import NO_METRICS, MetricQuestions, Metrics, MetricWishes
from lockstep.check.proof.trials import labelled
from lockstep.check.provenance import provenance_of
from lockstep.check.questions import Questions, Situation
from lockstep.check.reporting import Progress, Reporting
from lockstep.check.settling import Settled
from lockstep.check.sides import Rules, Sides, subject_of
from lockstep.check.steps import checkpoint as from_checkpoint
from lockstep.check.steps import consequences, created_once, native_order, penalties, variables_match
from lockstep.check.training_questions import Losses, Makers, TrainingQuestions, TrainingWishes
from lockstep.common import step_names
from lockstep.common.arrays import Arrays, checked_inputs
from lockstep.common.errors import InputError
from lockstep.common.search_time import SEARCH_TIME_S, checked_seconds
from lockstep.compare.align import Rename, TransformRule, checked_ignore
from lockstep.compare.outputs import OutputRules
from lockstep.compare.tolerance import FixedTolerance
from lockstep.files.checkpoints.settings import CheckpointSettings
from lockstep.frameworks import runtimes
from lockstep.localise.values import MAX_MEMORY
from lockstep.program.kernels import Runtime
from lockstep.recorder.modules import LOCK
from lockstep.results.evidence import Evidence
from lockstep.results.finding import Finding
from lockstep.results.model import Report, Verdict, gathered, overall
from lockstep.subjects import INFERENCE, MODES, TRAINING, Mode, Subject
from lockstep.subjects.built import Built
from lockstep.subjects.variable_parts import PartRule, in_parts

_FURTHER_CALLS = 2
_AFTER_NAMES = step_names.NAMES[step_names.NAMES.index("variables-match") + 1 :]
_NAMES_FIRST = Finding(Verdict.NOT_ASKED, "which variable is which comes first")


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
    search_time: float | None = None,
    also_generic: bool = True,
    evidence: bool | Sequence[Path] = False,
    steps: Sequence[str] = (),
    outputs: OutputRules | None = None,
    metrics: Mapping[str, Any] | tuple[Metrics | None, Metrics | None] | None = None,
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
        checkpoint: A checkpoint or file of weights of the reference, which both sides are run from too; or settings
            that name the candidate's too.
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
        search_time: Seconds that the causes of what differs are looked for in each mode; 120 by default, 0 for not at
            all. It decides how much is said of a difference, and no verdict.
        also_generic: Whether both sides are run on a second, generic input too, of the same shapes and range: the
            given one may hide something (ones, a constant along an axis).
        evidence: Whether the report also holds both programs operation by operation, all variables, the settings and
            the lines of code that it names, for `report.to_html()`; it takes two more runs of the models. Folders in
            place of `True` are where source files are looked for too.
        steps: The names of the steps that are taken, as in `("variables-match", "inference-fixed")`; all by default.
        outputs: Which output of the candidate is which of the reference, and which are not compared.
        metrics: The streaming metrics of both sides, as `(reference's, candidate's)`, or a dict with `reference`,
            `candidate` and the names `labels`, `predictions`, `weights`. A function `metrics(outputs, batch)` of TF1
            code returns pairs of `tf.metrics`; any other one returns numbers, of all batches as one; a function without
            arguments makes metric objects. Without it the metrics are those that a model is compiled with, and an
            Estimator's `eval_metric_ops`.

    Returns:
        The report. A difference is data in it; only `report.raise_if_diverged()` raises.

    Raises:
        InputError: The inputs, a table or the checkpoint cannot be used.
        SubjectError: The code of one side failed; its cause is the original exception.
    """
    migrated = in_parts(subject_of(candidate, "candidate"), tuple(map(PartRule.of, parts)))
    check = Check(
        (subject_of(reference, "reference"), migrated),
        checked_inputs(inputs),
        Rules(
            tuple(rename),
            tuple(map(TransformRule.of, transforms)),
            _settings(checkpoint),
            ignore=checked_ignore(ignore),
        ),
        tolerance or FixedTolerance(),
        progress or (lambda _: None),
        Wishes(
            step_names.checked(steps) or step_names.NAMES,
            outputs or OutputRules(),
            TrainingWishes(loss, gradients, optimizers, trajectory),
            also_generic=also_generic,
            max_memory=max_memory or MAX_MEMORY,
            search_time_s=checked_seconds(search_time),
            evidence=None if evidence is False else () if evidence is True else tuple(evidence),
            metrics=MetricWishes.of(metrics),
        ),
    )
    with LOCK:  # seeds, Keras's names and the user's modules belong to the process: a second thread's check waits
        return check.run()


@dataclass(frozen=True)
class Wishes:
    """What the caller of `verify` chose; see there.

    Attributes:
        steps: The names of the steps that are taken.
        outputs: Which output is which.
        training: What is asked beyond the forward pass; None: nothing.
        also_generic: Whether a second, generic input is run too.
        max_memory: Bytes of the reference's values that may be held in memory.
        search_time_s: Seconds that causes are looked for in each mode.
        evidence: Where source files are looked for, for a report that holds what was seen; None: it does not.
        metrics: The streaming metrics.
    """

    steps: tuple[str, ...] = step_names.NAMES
    outputs: OutputRules = field(default_factory=OutputRules)
    training: TrainingWishes | None = None
    also_generic: bool = True
    max_memory: int = MAX_MEMORY
    search_time_s: float = SEARCH_TIME_S
    evidence: tuple[Path, ...] | None = None
    metrics: MetricWishes = field(default_factory=MetricWishes)


class Check:
    """One check: three modes are built in turn, each answers its questions, and is dropped.

    Attributes:
        sides: Both sides.
        reporting: What is said of them.
        judge: What all questions are judged by.
        checkpoint: The checkpoint that both sides are run from.
    """

    def __init__(
        self,
        subjects: tuple[Subject, Subject],
        inputs: Arrays,
        rules: Rules,
        tolerance: FixedTolerance,
        progress: Progress,
        wishes: Wishes | None = None,
    ) -> None:
        self._wishes = wishes or Wishes()
        self._tolerance = tolerance
        self._collector = None if self._wishes.evidence is None else Collector(self._wishes.evidence)
        self.reporting = Reporting(progress, self._wishes.steps, self._collector)
        self.sides = Sides(*subjects, inputs, rules, self.reporting.say)
        self.judge = Judge(tolerance, rules.rename, inputs, self.reporting.say, self.sides.runtimes)
        self.judge = dataclasses.replace(self.judge, heeded=self._wishes.outputs.heeded)
        if self._collector is not None:
            self.judge = dataclasses.replace(self.judge, watch=self._collector.outputs)
        self._beyond: TrainingQuestions | None = None
        self._later: dict[str, list[Finding]] = {}
        self._positive: frozenset[str] = frozenset()
        self._compared = ComparedBefore()
        self._constants: tuple[str, ...] = ()
        self._metrics: list[Finding] = []
        self.checkpoint = from_checkpoint.Source(rules.checkpoint if self._takes("checkpoint") else None)

    def run(self) -> Report:
        """Takes all steps that were chosen."""
        if self._wishes.training is not None:
            self._ask_about_training(self._wishes.training)
        self.open_checkpoint()
        if self._inference():
            if why := self.sides.without_training:
                self._not_trained(why)
            elif self._takes(*step_names.TRAINING):
                self._training()
            self.reporting.answered(
                "checkpoint", self.checkpoint.findings, self.rule if self.checkpoint.settings else ""
            )
            gradients = self._later.get("gradients", [])
            self.reporting.settled(functools.partial(penalties.settled, gradients=gradients))
            forward = any(culprit.kind != "initializer" for culprit in self.reporting.culprits)
            for name, found in self._later.items():
                findings = consequences.told(found) if forward and name in consequences.STEPS else found
                if name == "trajectory":
                    findings = consequences.of_an_optimizer(findings, self.reporting.culprits)
                self.reporting.answered(name, findings, training_questions.rule(name, findings, self.rule))
            rule = "" if all(found.verdict is Verdict.NOT_ASKED for found in self._metrics) else self.rule
            self.reporting.answered("metrics", self._metrics, rule)
        return self.report()

    def report(self) -> Report:
        """Returns what the steps so far come to."""
        steps, sides = self.reporting.steps(), self.sides
        return Report(
            verdict=overall([step.verdict for step in steps]),
            steps=steps,
            culprits=gathered(self.reporting.culprits),
            environments=sides.environments(),
            duration_s=self.reporting.duration_s(),
            evidence=self._evidence(),
            provenance=provenance_of(sides.subjects, sides.inputs, self._tolerance),
        )

    @property
    def rule(self) -> str:
        """The fixed tolerance, as the report names it."""
        return str(self._tolerance)

    def open_checkpoint(self) -> None:
        """Opens the checkpoint, before anything is built.

        Raises:
            InputError: It cannot be read.
        """
        if self.sides.rules.transforms and not self.sides.subjects["candidate"].offers.rules:
            raise InputError(
                "transform rules go with a candidate that runs in this process; take python, requirements and "
                "interpreter out of its table, or rename rules alone."
            )
        if (settings := self.checkpoint.settings) is not None:
            from lockstep.frameworks.runtimes import open_checkpoint

            self.reporting.say("opening the checkpoint")
            averages = settings.moving_averages
            opened = None if settings.path is None else open_checkpoint(settings.path, moving_averages=averages)
            own = None if settings.candidate is None else open_checkpoint(settings.candidate)
            self.checkpoint.open(opened, own)
            if opened is not None:
                self.sides.want_checkpoint(opened)

    def settle_names(self, stack: ExitStack, built: Built, first: Traces) -> Settled | None:
        """Finds rules for variables without a partner, and goes on with them; constants stay as they are made."""
        self._constants = self.sides.leave_out_constants(built, first)
        rules = self.sides.rules
        settled = settling.settle(
            built,
            first,
            self.sides.align(first),
            settling.Given(rules.rename, rules.transforms, rules.ignore),
            self.judge,
            rules_offered=self.sides.subjects["candidate"].offers.rules,
            in_training=None if self.sides.without_training else lambda: self.sides.build(stack, TRAINING),
        )
        if settled is not None:
            self.sides.go_on_with(settled.rules.rename, settled.rules.transforms)
            self.judge = dataclasses.replace(self.judge, rules=self.sides.rules.rename)
            if self._beyond is not None:
                self._beyond = dataclasses.replace(self._beyond, judge=self.judge)
        return settled

    def situation(self, mode: Mode, built: Built, both: Traces) -> Situation:
        """Returns both sides in a mode as steps ask them, with forced lockstep on them."""
        alignment = self.sides.align(both)
        ours, theirs = built.program_of_reference(), built.candidate.followed
        before, say, memory = both.reference.before, self.reporting.say, self._wishes.max_memory
        forced = ForcedRuns(
            ours,
            theirs,
            alignment,
            before,
            say,
            memory,
            training=mode.training,
            kernels=lambda: self._kernels,
            search_time_s=self._wishes.search_time_s,
            compared=self._compared,
        )
        forced.positive(self._positive)
        forced.draws = both.base.forward_draws
        name = "training" if mode.training else "inference"
        if self._collector is not None and not self._collector.has_found(name):
            forced.watch = self._collector.programs
        return Situation(mode, built, both, alignment, forced, self._positive)

    @functools.cached_property
    def _kernels(self) -> Runtime:
        """What runs single operations in all modes, which compute much the same."""
        return runtimes.remembering_kernels()

    def _takes(self, *steps: str) -> bool:
        return any(step in self._wishes.steps for step in steps)

    def _questions(self) -> Questions:
        return Questions(self.sides, self.reporting, self.judge, self._tolerance)

    def _ask_about_training(self, wishes: TrainingWishes) -> None:
        if not self._takes(*step_names.BEYOND) or self.sides.without_training:
            # A recording may have a loss and an optimizer all the same, which is no reason to ask for the other side's.
            self._beyond = TrainingQuestions(self.sides.subjects, None, None, 0, self.judge)
            self.sides.want_training(gradients=False, steps=0)
            return
        self._beyond = training_questions.chosen(self.sides.subjects, wishes, self.judge)
        whole = self._beyond.with_loss and self._beyond.objectives is not None and self._takes("gradients")
        self.judge = dataclasses.replace(self.judge, sums_compared=whole)
        self.sides.want_training(gradients=self._beyond.differentiated, steps=self._beyond.steps)

    def _evidence(self) -> Evidence | None:
        if self._collector is None:
            return None
        culprits = gathered(self.reporting.culprits)
        return self._collector.finished(culprits, self.sides.subjects, self.sides.inputs)

    def _inference(self) -> bool:
        """Takes the steps of inference mode; tells whether it is known which variable is which."""
        say = self.reporting
        say.asks("variables-created-once")
        with ExitStack() as stack:
            built = self.sides.build(stack, INFERENCE)
            first = self.sides.initial(built, repeats=_FURTHER_CALLS)
            built, first, outputs_told = self.sides.match_outputs(built, first, self._wishes.outputs)
            say.answered("variables-created-once", [created_once.judge(first.candidate)], "exact")
            say.asks("variables-match")
            settled = self.settle_names(stack, built, first)
            if settled is not None and settled.question:
                say.answered("variables-match", [settled.finding], "exact")
                for name in _AFTER_NAMES:
                    unstated = name == "metrics" and self._wishes.metrics == MetricWishes()
                    say.answered(name, [Finding(Verdict.NOT_ASKED, NO_METRICS) if unstated else _NAMES_FIRST], "")
                return False
            if settled is not None and settled.rules.parts:
                built, first = self.sides.cut(built, first, settled.rules.parts)
            situation, questions = self.situation(INFERENCE, built, first), self._questions()
            self._matched(situation, questions, settled)
            # What is read as a variance is seen there, and the training steps need it too.
            if self._takes("inference-fixed", *step_names.TRAINING):
                say.asks("inference-fixed")
                found, self._positive = questions.fixed(situation, outputs_told, also_generic=self._wishes.also_generic)
                say.answered("inference-fixed", found, self.rule)
            if self._takes("inference-random"):
                say.asks("inference-random")
                found = questions.steady(situation, questions.random(situation))
                say.answered("inference-random", found, self.rule)
            say.asks("checkpoint")
            questions.from_checkpoint(situation, self.checkpoint)
            if self._takes("metrics"):
                say.asks("metrics")
                self._metrics = self._ask_about_metrics(first)
        return True

    def _ask_about_metrics(self, first: Traces) -> list[Finding]:
        """Gives both sides' metrics what the reference returned from its initial values."""
        sides = self.sides
        outputs = self._wishes.outputs.heeded(first.reference.outputs)
        asked = MetricQuestions(
            sides.subjects,
            self._wishes.metrics,
            sides.inputs,
            outputs,
            sides.output_paths,
            self._tolerance,
            self.reporting.say,
        )
        return asked.answer()

    def _not_trained(self, why: str) -> None:
        """Tells of each step of training mode that it is not offered."""
        self.reporting.answered("training-random", [Finding(Verdict.NOT_ASKED, why)], "")
        self._later.update({name: [Finding(Verdict.NOT_ASKED, why)] for name in step_names.BEYOND})

    def _matched(self, situation: Situation, questions: Questions, settled: Settled | None) -> None:
        both, alignment = situation.both, situation.alignment
        if self._collector is not None:
            self._collector.variables(both, alignment, self.sides.rules.rename)
        offers = [subject.offers for subject in self.sides.subjects.values()]
        asked = variables_match.Asked(
            distributions=not self.sides.given,
            trainable=all(offered.flags for offered in offers),
            constants=self._constants,
        )
        match = [variables_match.judge(both.reference, both.candidate, alignment, asked)]
        match += [settled.finding] if settled is not None else []
        rule = "exact" if self.sides.given else "exact; initial distributions: Kolmogorov-Smirnov"
        self.reporting.answered("variables-match", questions.steady(situation, match), rule)

    def _training(self) -> None:
        """Takes the steps of training mode; those beyond the forward pass are reported later."""
        findings: list[Finding] = []
        verdicts: list[Verdict] = []
        for mode in (mode for mode in MODES if mode.training):
            self.reporting.asks("training-random")
            with ExitStack() as stack:
                built = self.sides.build(stack, mode)
                both = self.sides.initial(built)
                situation, questions = self.situation(mode, built, both), self._questions()
                found = questions.steady(situation, questions.in_training(situation))
                if not mode.functional and self._beyond is not None:
                    self._beyond_the_forward_pass(self._beyond, situation, questions)
            label = mode.randomness + (", functional model" if mode.functional and not both.candidate.notes else "")
            if mode.functional:
                found = [dataclasses.replace(f, figures=_prefixed("constant_", f.figures)) for f in found]
            told = {finding.phrase for finding in findings}
            first = f"{TRAINING.randomness}: "
            findings.extend(labelled(f, label) for f in found if first + f.phrase not in told or not f.details)
            verdicts.append(overall([finding.verdict for finding in found]))
        culprits = [culprit for finding in findings for culprit in finding.culprits]
        if not any(native_order.is_explained_by(culprit) for culprit in culprits):
            findings.extend(native_order.told_by_both_modes(*verdicts))
        self.reporting.answered("training-random", findings, self.rule)

    def _beyond_the_forward_pass(self, beyond: TrainingQuestions, situation: Situation, questions: Questions) -> None:
        """Answers these steps' questions now, while the models of a mode are there."""
        asked = dataclasses.replace(beyond, positive=self._positive)
        for name, answer in asked.answers(situation.both, situation.built, situation.alignment, situation.forced):
            self.reporting.asks(name)
            self._later[name] = questions.steady(situation, answer())


def _settings(given: CheckpointSettings | str | os.PathLike[str] | None) -> CheckpointSettings | None:
    return given if given is None or isinstance(given, CheckpointSettings) else CheckpointSettings(Path(given))


def _prefixed(prefix: str, figures: Mapping[str, object]) -> dict[str, object]:
    return {prefix + name: value for name, value in figures.items()}
