"""What is asked beyond the forward pass: gradients, the optimizer, training steps; each from the models of one mode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.check.judging import Judge, Traces
from lockstep.check.steps import gradients, native_order, optimizer, repeated_draws, trajectory
from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.ground import training, trials
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.subjects import INITIAL, Instance, Objective, Recording, Setting, Subject
from lockstep.subjects.built import Built, on_side
from lockstep.traces.trace import Trace

Loss = Callable[[Any, Any], Any]
Losses = Loss | tuple[Loss | None, Loss | None]
Maker = Callable[[], Any]
Makers = tuple[Maker | None, Maker | None]


class _NoGradientsError(Exception):
    """There is nothing to compare; the finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.phrase)
        self.finding = finding


@dataclass(frozen=True)
class TrainingWishes:
    """What the caller of `verify` gave; see there."""

    loss: Losses | None
    gradients: bool | None
    optimizers: Makers | None
    trajectory: int | None


@dataclass(frozen=True)
class TrainingQuestions:
    """What is asked, and of whom.

    Attributes:
        subjects: Side -> subject.
        objectives: Side -> what gradients are taken of; None: nothing about gradients is asked.
        makers: Side -> what makes its optimizer (None where its recorder does); None: nothing about them is asked.
        steps: How many training steps are compared.
        judge: What judges.
        by_default: Whether gradients are compared though nobody asked: what cannot be differentiated is no failure.
        positive: Keys of the reference's variables that have to be positive.
    """

    subjects: Mapping[str, Subject]
    objectives: Mapping[str, Objective] | None
    makers: Mapping[str, Maker | None] | None
    steps: int
    judge: Judge
    by_default: bool = False
    positive: frozenset[str] = frozenset()

    def answers(
        self, both: Traces, built: Built, alignment: Alignment
    ) -> Iterator[tuple[str, Callable[[], list[Finding]]]]:
        """Yields each step's name with what answers it.

        Args:
            both: The runs from initial values, in training mode.
            built: Both sides in that mode.
            alignment: Reference's variables -> candidate's.
        """
        yield "gradients", functools.partial(self._gradients, both, built, alignment)
        yield "optimizer", functools.partial(self._optimizer, both, alignment)
        yield "trajectory", functools.partial(self._trajectory, both, built, alignment)

    def _gradients(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding]:
        """Takes gradients on both sides, from distinct values or, where these give no finite ones, initial ones."""
        if self.objectives is None:
            return [_not_asked("gradients were not asked for")]
        if not any(r.trainable and c.trainable for r, c in alignment.pairs):
            return [_not_asked("there is no variable that both sides train")]
        if self.by_default and _kinds(both.reference) != _kinds(both.candidate):
            return [_not_asked("the outputs of both sides have other names, shapes or dtypes, and no loss was given")]
        try:
            return self._compared_gradients(both, built, alignment)
        except _NoGradientsError as error:
            return [error.finding]

    def _differentiated(self, side: str, run: Callable[[], Trace]) -> Trace:
        """Takes gradients of one side; where nobody asked for them, a side that cannot be differentiated is told."""
        try:
            return run()
        except (InputError, SubjectError) as error:
            if not self.by_default:
                raise
            said = str(error).splitlines()[0]
            if side == "reference":
                raise _NoGradientsError(_not_asked(f"the reference cannot be differentiated: {said}")) from error
            phrase = f"the reference can be differentiated, and the candidate cannot: {said}"
            raise _NoGradientsError(Finding(Verdict.UNDECIDED, phrase, (phrase,))) from error

    def _compared_gradients(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding]:
        assert self.objectives is not None
        self.judge.say("gradients of the training loss")
        mine, theirs = self.objectives["reference"], self.objectives["candidate"]
        source: Instance = built.reference
        if self.positive and built.original is not None:
            source = built.original
        distinct = filling.filled("distinct", alignment, self.positive)
        for values in (distinct, filling.copied(both.reference, alignment)):
            initial = values is not distinct
            reference = self._differentiated(
                "reference", functools.partial(source.run, INITIAL if initial else values[0], objective=mine)
            )
            if reference.training_loss is None:
                return [_not_asked("the recording of the reference holds no gradients")]
            if initial or gradients.finite(reference):
                break
        here = built.here.run(Setting("given", reference.before), objective=mine)
        draws = reference.forward_draws if both.base.forward_draws is None else both.base.forward_draws
        candidate = self._differentiated(
            "candidate", lambda: built.candidate.run(values[1], draws=draws, objective=theirs)
        )
        if self.by_default and not reference.gradients and not candidate.gradients:
            return [_not_asked("no output depends smoothly on a variable that is trained")]
        if candidate.training_loss is None:
            return [_not_asked("the candidate is a recording without gradients, or runs in another process")]
        found = [self.judge.gradients(Traces(reference, candidate, here), alignment, built.perturbed, mine)]
        found = repeated_draws.undecided(found, both.base, candidate)
        return native_order.excused(here or reference, candidate, found)

    def _optimizer(self, both: Traces, alignment: Alignment) -> list[Finding]:
        """Makes the optimizers of both sides go through one trial."""
        if self.makers is None:
            return [_not_asked("no optimizers were given")]
        self.judge.say("updates of the optimizers, from equal variables and gradients")
        shapes = trials.shapes_of(both.reference.variables, numpy_dtype)
        if not shapes:
            return [_not_asked("the reference has no trainable variable")]
        names = {**{key: key for key in shapes}, **{r.key: c.key for r, c in alignment.pairs if r.key in shapes}}
        with ExitStack() as stack:
            made = {side: self._make_optimizer(side, shapes, names) for side in self.subjects}
            for side, one in made.items():
                if one is None:
                    return [_not_asked(f"the {side} is a recording without an optimizer, or runs in another process")]
                stack.callback(one.close)
            points = {point for one in made.values() for point in one.turning_points()}
            given, steps = trials.trial(shapes), trials.probes(sorted(points))
            mine = on_side("reference", lambda: optimizer.course(made["reference"], given, steps))
            theirs = on_side("candidate", lambda: optimizer.course(made["candidate"], given, steps, mine))
            return optimizer.judge(mine, theirs, given, names)

    def _trajectory(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding]:
        """Trains both sides: each step from the reference's state, then on their own."""
        if not self.steps:
            return [_not_asked("training steps need a loss and the optimizers of both sides")]
        if both.base.repeated_draws:
            unknown = Finding(Verdict.DIVERGED, "the masks of the training steps differ")
            return repeated_draws.undecided([unknown], both.base, both.candidate)
        if built.candidate.trained is not None or not self.subjects["candidate"].offers.training:
            return [_not_asked("the candidate is a recording, or runs in another process, and cannot be trained")]
        course = self._course(both, built)
        if course is None:
            return [_not_asked("the recording of the reference holds no training steps")]
        steps, own = course
        forced = self._forced(steps, both, built, alignment)
        self.judge.say(f"training the candidate for {len(steps)} steps on its own")
        start = filling.carried(both.reference.before, alignment)
        free = self._train("candidate", built.candidate, start, both, len(steps))
        if len(steps) < self.steps:
            forced.append(
                Finding(Verdict.NOT_ASKED, f"{self.steps} steps were asked for, and {len(steps)} fit in memory")
            )
        return [
            *forced,
            trajectory.free(
                trajectory.drifts(steps, free, own, functools.partial(filling.carried, alignment=alignment))
            ),
        ]

    def _forced(
        self, steps: Sequence[training.TrainingStep], both: Traces, built: Built, alignment: Alignment
    ) -> list[Finding]:
        names = {r.key: c.key for r, c in alignment.pairs}
        shapes = {k: s for k, s in training.shapes_of(steps[0].run.gradients).items() if k in names}
        found: list[list[Finding]] = []
        scale = 0.0
        with ExitStack() as stack:
            candidate = self._make_optimizer("candidate", shapes, names)
            stack.callback(candidate.close)
            for number, step in enumerate(steps, 1):
                self.judge.say(f"training step {number} of {len(steps)}, from the reference's state")
                state = training.state_after(step.run)
                given = [{key: source[key] for key in shapes} for source in (state, step.run.gradients)]
                done = on_side("candidate", functools.partial(candidate.apply, *given))
                scale = max(scale, gradients.largest(step.run))
                found.append(
                    [
                        *self._forced_run(step, both, built, alignment, scale),
                        trajectory.update(step, state, done.variables, names),
                    ]
                )
                if overall([finding.verdict for finding in found[-1]]) is not Verdict.EQUIVALENT:
                    break
        return trajectory.forced(found, len(steps))

    def _forced_run(
        self, step: training.TrainingStep, both: Traces, built: Built, alignment: Alignment, scale: float
    ) -> list[Finding]:
        assert self.objectives is not None
        mine, theirs = self.objectives["reference"], self.objectives["candidate"]
        start = step.run.before
        values = filling.carried(start, alignment)
        draws = both.base.forward_draws
        run = built.candidate.run(Setting("given", values), draws=draws, objective=theirs)
        here = built.here.run(Setting("given", {key: start[key] for key in start}), objective=mine)
        traces = Traces(step.run, run, here)
        found = [
            self.judge.gradients(traces, alignment, built.perturbed, mine, scale),
            self.judge.state(traces, alignment, built.perturbed),
        ]
        return repeated_draws.undecided(found, both.base, run)

    def _course(self, both: Traces, built: Built) -> tuple[list[training.TrainingStep], list[float]] | None:
        """Returns the reference's training steps and its drift from itself: recorded, or run now."""
        recorded = built.reference.trained
        if recorded is not None:
            known, own = recorded.trajectory()
            return (list(known[: self.steps]), list(own[: self.steps])) if known else None
        start = {key: both.reference.before[key] for key in both.reference.before}
        count = training.affordable(start, self.steps)
        self.judge.say(f"training the reference for {count} steps")
        steps = self._train("reference", built.reference, start, both, count)
        self.judge.say("training the reference from one unit in the last place away")
        moved = self._train("reference", built.reference, training.moved(start), both, count)
        return steps, [training.drift(a.values, b.values) for a, b in zip(steps, moved, strict=True)]

    def _train(
        self, side: str, instance: Instance, values: Mapping[str, np.ndarray], both: Traces, count: int
    ) -> list[training.TrainingStep]:
        assert self.objectives is not None
        objective, draws = self.objectives[side], both.base.forward_draws

        def run(given: Mapping[str, np.ndarray]) -> Trace:
            return instance.run(Setting("given", dict(given)), draws=draws, objective=objective)

        return training.train(run, lambda shapes: self._make_optimizer(side, shapes, {}), values, count)

    def _make_optimizer(self, side: str, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        assert self.makers is not None
        make = self.subjects[side].make_optimizer
        return on_side(side, functools.partial(make, self.makers[side], shapes, names))


def chosen(subjects: Mapping[str, Subject], wishes: TrainingWishes, judge: Judge) -> TrainingQuestions:
    """Returns the questions that the caller's wishes come to.

    Raises:
        InputError: A wish cannot be met.
    """
    losses, with_loss, one_sided = _losses(subjects, wishes.loss)
    wanted = wishes.gradients is not False and not one_sided
    objectives = {side: Objective(loss) for side, loss in losses.items()} if wanted else None
    makers = _makers(subjects, wishes.optimizers)
    steps = (
        (trajectory.STEPS if wishes.trajectory is None else wishes.trajectory) if wanted and with_loss and makers else 0
    )
    by_default = wishes.gradients is None and not with_loss
    return TrainingQuestions(subjects, objectives, makers, steps, judge, by_default)


def rule(step: str, findings: Sequence[Finding], tolerance: str) -> str:
    """Returns the rule that judged a step, for the report; empty where nothing was asked."""
    if all(finding.verdict is Verdict.NOT_ASKED for finding in findings):
        return ""
    return optimizer.RULE if step == "optimizer" else tolerance


def _losses(subjects: Mapping[str, Subject], loss: Losses | None) -> tuple[dict[str, Loss | None], bool, bool]:
    """Returns side -> loss, whether there are losses, and whether one side is a recording that was made without.

    The recorder of a side imports its loss itself.
    """
    both = loss if isinstance(loss, tuple) else (loss, loss)
    if len(both) != 2 or not all(one is None or callable(one) for one in both):
        raise InputError("loss must be a function loss(outputs, batch), or a pair: reference's and candidate's.")
    losses = dict(zip(subjects, both, strict=True))
    given = {side: losses[side] is not None or bool(_recording(s).loss) for side, s in subjects.items()}
    if len(set(given.values())) == 2:
        with_loss, without = sorted(given, key=lambda side: not given[side])
        if _recording(subjects[without]).complete:
            return losses, False, True
        raise InputError(f"the {with_loss} has a loss and the {without} has none; give both sides theirs, or neither.")
    return losses, all(given.values()), False


def _makers(subjects: Mapping[str, Subject], makers: Makers | None) -> dict[str, Maker | None] | None:
    """Returns side -> what makes its optimizer; None where no side has one."""
    if makers is not None and (not isinstance(makers, tuple) or len(makers) != 2):
        raise InputError("optimizers must be a pair of functions: the reference's and the candidate's.")
    given = dict(zip(subjects, makers or (None, None), strict=True))
    has = {side: given[side] is not None or bool(_recording(s).optimizer) for side, s in subjects.items()}
    if not any(has.values()):
        return None
    for side, maker in given.items():
        if not has[side] and _recording(subjects[side]).complete:
            return None
        if not has[side]:
            raise InputError(f"the {side} has no optimizer and the other side has one; give both sides theirs.")
        if maker is not None and not callable(maker):
            raise InputError(
                f"the {side}'s optimizer is a {type(maker).__name__}; give a function that returns a new one, as each "
                "check makes several."
            )
    return given


def _recording(subject: Subject) -> Recording:
    """Returns what is known of a subject that is recorded; nothing of one that is not."""
    return subject.recording or Recording()


def _kinds(trace: Trace) -> dict[str, object]:
    """What the outputs of a run are called, and their shapes and dtypes: what weighs them hangs on these."""
    return {path: (np.asarray(value).shape, np.asarray(value).dtype) for path, value in trace.outputs.items()}


def _not_asked(why: str) -> Finding:
    return Finding(Verdict.NOT_ASKED, why)
