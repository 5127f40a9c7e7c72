"""What is asked beyond the forward pass: gradients, the optimizer, training steps; each from the models of one mode."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.judging import Judge, Traces
from lockstep.check.own_loops import LoopQuestions
from lockstep.check.steps import gradients, native_order, optimizer, penalties, repeated_draws, trajectory
from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.ground import training, trials
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.subjects import INITIAL, Ask, Instance, Objective, Recording, Setting, Subject
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
        no_gradients: Why there are no objectives, where there are none.
        by_default: Whether gradients are compared though nobody asked: what cannot be differentiated is no failure.
        positive: Keys of the reference's variables that have to be positive.
        of_reference: What the reference's gradients are taken of where the candidate is trained by a loop of its own,
            whose loss nobody else knows; None: as `objectives` says.
        with_loss: Whether both sides state a training loss.
    """

    subjects: Mapping[str, Subject]
    objectives: Mapping[str, Objective] | None
    makers: Mapping[str, Maker | None] | None
    steps: int
    judge: Judge
    by_default: bool = False
    no_gradients: str = "gradients were not asked for"
    positive: frozenset[str] = frozenset()
    of_reference: Objective | None = None
    with_loss: bool = False

    @property
    def differentiated(self) -> bool:
        """Whether gradients of the reference are looked at."""
        return self.objectives is not None or self.of_reference is not None

    def answers(
        self, both: Traces, built: Built, alignment: Alignment, forced: ForcedRuns
    ) -> Iterator[tuple[str, Callable[[], list[Finding]]]]:
        """Yields each step's name with what answers it.

        Args:
            both: The runs from initial values, in training mode.
            built: Both sides in that mode.
            alignment: Reference's variables -> candidate's.
            forced: Forced lockstep on both.
        """
        yield "gradients", functools.partial(self._gradients, both, built, alignment, forced)
        yield "optimizer", functools.partial(self._optimizer, both, alignment)
        yield "trajectory", functools.partial(self._trajectory, both, built, alignment)

    def _gradients(self, both: Traces, built: Built, alignment: Alignment, forced: ForcedRuns) -> list[Finding]:
        """Takes gradients on both sides, from distinct values or, where these give no finite ones, initial ones."""
        if self.objectives is None:
            return [_not_asked(self.no_gradients)]
        if not any(r.trainable and c.trainable for r, c in alignment.pairs):
            return [_not_asked("there is no variable that both sides train")]
        if self.by_default and _kinds(both.reference) != _kinds(both.candidate):
            return [_not_asked("the outputs of both sides have other names, shapes or dtypes, and no loss was given")]
        try:
            found = self._compared_gradients(both, built, alignment)
        except _NoGradientsError as error:
            return [error.finding]
        if not any(culprit.kind == "loss" and not culprit.pitfall for f in found for culprit in f.culprits):
            return found
        self.judge.say("the training losses differ: following both, operation by operation")
        assert self.objectives is not None
        located = forced.of_loss(self.objectives["reference"], self.objectives["candidate"])
        return found if located is None else [gradients.located(finding, located.culprits) for finding in found]

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
                "reference", functools.partial(source.run, INITIAL if initial else values[0], Ask(objective=mine))
            )
            if reference.training_loss is None:
                return [_not_asked("the recording of the reference holds no gradients")]
            if initial or gradients.finite(reference):
                break
        here = built.here.run(Setting("given", reference.before), Ask(objective=mine))
        draws = reference.forward_draws if both.base.forward_draws is None else both.base.forward_draws
        candidate = self._differentiated(
            "candidate", lambda: built.candidate.run(values[1], Ask(draws=draws, objective=theirs))
        )
        if self.by_default and not reference.gradients and not candidate.gradients:
            return [_not_asked("no output depends smoothly on a variable that is trained")]
        if candidate.training_loss is None:
            return [_not_asked("the candidate is a recording without gradients, or runs in another process")]
        found = [self.judge.gradients(Traces(reference, candidate, here), alignment, built.perturbed, mine)]
        if self.judge.sums_compared:
            known = penalties.figures(reference, candidate)
            found = [replace(one, figures={**one.figures, **known}) for one in found]
        found = repeated_draws.undecided(found, both.base, candidate)
        found = repeated_draws.by_rounds(found, self.subjects["reference"], both.base, candidate)
        return native_order.excused(here or reference, candidate, found)

    def _optimizer(self, both: Traces, alignment: Alignment) -> list[Finding]:
        """Makes the optimizers of both sides go through one trial."""
        if self.makers is None and not all(subject.offers.compiled for subject in self.subjects.values()):
            return [_not_asked("no optimizers were given")]
        self.judge.say("updates of the optimizers, from equal variables and gradients")
        shapes, names = _trial(both, alignment)
        if not shapes:
            return [_not_asked("the reference has no trainable variable")]
        with ExitStack() as stack:
            made = {side: self._make_optimizer(side, shapes, names) for side in self.subjects}
            for one in made.values():
                if one is not None:
                    stack.callback(one.close)
            without = [side for side, one in made.items() if one is None]
            if without:
                return [_not_asked(self._why_no_optimizer(without))]
            points = {point for one in made.values() for point in one.turning_points()}
            given, steps = trials.trial(shapes), trials.probes(sorted(points))
            mine = on_side("reference", lambda: optimizer.course(made["reference"], given, steps))
            theirs = on_side("candidate", lambda: optimizer.course(made["candidate"], given, steps, mine))
            return optimizer.judge(mine, theirs, given, names)

    def _trajectory(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding]:
        """Trains both sides: each step from the reference's state, then on their own."""
        if self._looped:
            return self._by_its_loop(both, built, alignment)
        if (untrained := self._untrained(both, built, alignment)) is not None:
            return untrained
        course = self._course(both, built)
        if course is None:
            return [_not_asked("the recording of the reference holds no training steps")]
        steps, own = course
        if told := self._drawn_once(both, built, alignment):
            return repeated_draws.told(told)
        forced = self._forced(steps, both, built, alignment)
        if forced is None:
            return [_not_asked("the candidate's train_op does more to its gradients than one optimizer does")]
        self.judge.say(f"training the candidate for {len(steps)} steps on its own")
        start = filling.carried(both.reference.before, alignment)
        free = self._train("candidate", built.candidate, start, both, len(steps))
        return [
            *forced,
            *self._fewer(steps),
            trajectory.free(
                trajectory.drifts(steps, free, own, functools.partial(filling.carried, alignment=alignment))
            ),
        ]

    def _drawn_once(self, both: Traces, built: Built, alignment: Alignment) -> str:
        """Says that the candidate draws once what the reference draws in each round; empty where it does not."""
        draws = both.base.forward_draws
        if not any(draw.earlier for draw in draws or ()):
            return ""
        run = built.candidate.run(filling.copied(both.reference, alignment)[1], Ask(draws=draws))
        return repeated_draws.drawn_once(self.subjects["reference"], both.base, run)

    @property
    def _looped(self) -> bool:
        return self.subjects["candidate"].offers.own_loop

    def _objective(self, side: str) -> Objective:
        found = self.of_reference if self.objectives is None else self.objectives[side]
        assert found is not None
        return found

    def _by_its_loop(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding]:
        """Trains the candidate by the training loop that it has."""
        loop = built.candidate.own_loop
        if not self.steps:
            return [_not_asked("training steps need the reference's loss, and its optimizer or its train_op")]
        if loop is None:
            return [_not_asked("a training loop of its own knows whole variables, and parts rules cut the candidate's")]
        if both.base.repeated_draws:
            unknown = Finding(Verdict.DIVERGED, "the masks of the training steps differ")
            return repeated_draws.undecided([unknown], both.base, both.candidate)
        course = self._course(both, built)
        if course is None:
            return [_not_asked("the recording of the reference holds no training steps")]
        steps, own = course
        exact = not self.subjects["reference"].offers.own_optimizer
        asked = LoopQuestions(
            loop, alignment, built, self.judge, self._objective("reference"), both.base.forward_draws, exact
        )
        forced = asked.forced(steps)
        if overall([finding.verdict for finding in forced]) is Verdict.DIVERGED:
            return forced  # how far it goes on its own says no more
        self.judge.say(f"training the candidate for {len(steps)} steps by {loop.label}, on its own")
        free = asked.free(steps, both.reference.before)
        carried = functools.partial(filling.carried, alignment=alignment)
        return [*forced, *self._fewer(steps), trajectory.free(trajectory.drifts(steps, free, own, carried))]

    def _fewer(self, steps: Sequence[Any]) -> list[Finding]:
        """Says where fewer steps were trained than were asked for."""
        if len(steps) == self.steps:
            return []
        return [Finding(Verdict.NOT_ASKED, f"{self.steps} steps were asked for, and {len(steps)} fit in memory")]

    def _forced(
        self, steps: Sequence[training.TrainingStep], both: Traces, built: Built, alignment: Alignment
    ) -> list[Finding] | None:
        """Makes each of the reference's steps with the candidate; None where its optimizer cannot be had by itself."""
        names = {r.key: c.key for r, c in alignment.pairs}
        shapes = {k: s for k, s in training.shapes_of(steps[0].run.gradients).items() if k in names}
        found: list[list[Finding]] = []
        scale = 0.0
        with ExitStack() as stack:
            candidate = self._make_optimizer("candidate", shapes, names)
            if candidate is None:
                return None
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
        run = built.candidate.run(Setting("given", values), Ask(draws=draws, objective=theirs))
        here = built.here.run(Setting("given", {key: start[key] for key in start}), Ask(objective=mine))
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
        steps = self._train_reference(built.reference, start, both, count)
        self.judge.say("training the reference from one unit in the last place away")
        moved = self._train_reference(built.reference, training.moved(start), both, count)
        return steps, [training.drift(a.values, b.values) for a, b in zip(steps, moved, strict=True)]

    def _train_reference(
        self, instance: Instance, values: Mapping[str, np.ndarray], both: Traces, count: int
    ) -> list[training.TrainingStep]:
        """Trains by the reference's own training step where its program makes one."""
        itself = instance.self_training
        if itself is None:
            return self._train("reference", instance, values, both, count)
        objective = self._objective("reference")
        return on_side("reference", lambda: itself.train(values, count, objective))

    def _train(
        self, side: str, instance: Instance, values: Mapping[str, np.ndarray], both: Traces, count: int
    ) -> list[training.TrainingStep]:
        objective, draws = self._objective(side), both.base.forward_draws

        def run(given: Mapping[str, np.ndarray]) -> Trace:
            return instance.run(Setting("given", dict(given)), Ask(draws=draws, objective=objective))

        return training.train(run, lambda shapes: self._make_optimizer(side, shapes, {}), values, count)

    def _make_optimizer(self, side: str, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        make = self.subjects[side].make_optimizer
        maker = None if self.makers is None else self.makers[side]
        return on_side(side, functools.partial(make, maker, shapes, names))

    def _untrained(self, both: Traces, built: Built, alignment: Alignment) -> list[Finding] | None:
        """Returns what is said where nothing can be trained; None where both sides can."""
        if not self.steps:
            return [_not_asked("training steps need a loss and the optimizers of both sides")]
        if self.makers is None and (without := self._without_own_optimizer(both, alignment)):
            return [_not_asked(self._why_no_optimizer(without))]
        if both.base.repeated_draws:
            unknown = Finding(Verdict.DIVERGED, "the masks of the training steps differ")
            return repeated_draws.undecided([unknown], both.base, both.candidate)
        if built.candidate.trained is not None or not self.subjects["candidate"].offers.training:
            return [_not_asked("the candidate is a recording, or runs in another process, and cannot be trained")]
        return None

    def _without_own_optimizer(self, both: Traces, alignment: Alignment) -> list[str]:
        """Returns the sides whose models are not compiled."""
        made = {side: self._make_optimizer(side, *_trial(both, alignment)) for side in self.subjects}
        for one in made.values():
            if one is not None:
                one.close()
        return [side for side, one in made.items() if one is None]

    def _why_no_optimizer(self, without: Sequence[str]) -> str:
        own = next((side for side in without if self.subjects[side].offers.own_optimizer), None)
        if own is not None:
            return (
                f"the {own}'s train_op does more to its gradients than one optimizer does, or its optimizer cannot be "
                "told, and it is not tried by itself; the trajectory runs it as it is"
            )
        if self._looped and without == ["candidate"]:
            return "the candidate's optimizer is its training loop's own, which the trajectory runs as it is"
        if self.makers is not None:
            return f"the {without[0]} is a recording without an optimizer, or runs in another process"
        if len(without) == len(self.subjects):
            return "no optimizers were given"
        compiled = next(side for side in self.subjects if side not in without)
        return (
            f"the {compiled} is compiled and the {without[0]} is not; compile both, or name the optimizer of each, to "
            "have them compared"
        )


def chosen(subjects: Mapping[str, Subject], wishes: TrainingWishes, judge: Judge) -> TrainingQuestions:
    """Returns the questions that the caller's wishes come to.

    Raises:
        InputError: A wish cannot be met.
    """
    if subjects["reference"].offers.own_loop:
        raise InputError(
            "the reference has a training loop of its own (train_step), and only a candidate is trained so; give the "
            "reference a loss and an optimizer, or a train_op."
        )
    losses, with_loss, one_sided = _losses(subjects, wishes.loss)
    looped = subjects["candidate"].offers.own_loop and with_loss
    wanted = wishes.gradients is not False and not one_sided
    objectives = {side: Objective(loss) for side, loss in losses.items()} if wanted else None
    makers = _makers(subjects, wishes.optimizers)
    compiled = all(subject.offers.compiled for subject in subjects.values())
    trained = (wanted or looped) and with_loss and (makers is not None or compiled)
    of_reference = Objective(losses["reference"]) if looped and objectives is None else None
    steps = (trajectory.STEPS if wishes.trajectory is None else wishes.trajectory) if trained else 0
    by_default = wishes.gradients is None and not with_loss
    own = [side for side, loss in losses.items() if loss is training.OWN_LOSS] if one_sided else []
    found = TrainingQuestions(subjects, objectives, makers, steps, judge, by_default, with_loss=with_loss)
    told = f"the {own[0]} states its own loss, and the other side has none" if own else found.no_gradients
    if of_reference is not None and one_sided:
        told = "the candidate's loss is its training loop's own; the trajectory compares the gradients that it takes"
    return replace(found, no_gradients=told, of_reference=of_reference)


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
    losses = {side: _loss(subjects[side], one) for side, one in zip(subjects, both, strict=True)}
    given = {side: losses[side] is not None or bool(_recording(s).loss) for side, s in subjects.items()}
    if len(set(given.values())) == 2:
        with_loss, without = sorted(given, key=lambda side: not given[side])
        if subjects[without].offers.own_loop:
            return losses, True, True
        if _recording(subjects[without]).complete or losses[with_loss] is training.OWN_LOSS:
            return losses, False, True
        raise InputError(f"the {with_loss} has a loss and the {without} has none; give both sides theirs, or neither.")
    return losses, all(given.values()), False


def _loss(subject: Subject, given: Loss | None) -> Loss | None:
    """Returns the loss of a side: the one that is given, or that which its program states itself."""
    if given is not None or _recording(subject).loss or not subject.offers.own_loss:
        return given
    return training.OWN_LOSS


def _makers(subjects: Mapping[str, Subject], makers: Makers | None) -> dict[str, Maker | None] | None:
    """Returns side -> what makes its optimizer; None where no side has one."""
    if makers is not None and (not isinstance(makers, tuple) or len(makers) != 2):
        raise InputError("optimizers must be a pair of functions: the reference's and the candidate's.")
    given = dict(zip(subjects, makers or (None, None), strict=True))
    has = {side: given[side] is not None or bool(_recording(s).optimizer) for side, s in subjects.items()}
    own = {side: s.offers.own_optimizer or s.offers.own_loop for side, s in subjects.items()}
    if not any(has.values()) and not all(own.values()):
        return None
    for side, maker in given.items():
        if not has[side] and not own[side] and _recording(subjects[side]).complete:
            return None
        if not has[side] and own[side]:
            continue
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


def _trial(both: Traces, alignment: Alignment) -> tuple[trials.Shapes, dict[str, str]]:
    """Returns what optimizers train in a trial, and what the candidate calls it."""
    shapes = trials.shapes_of(both.reference.variables, numpy_dtype)
    return shapes, {**{key: key for key in shapes}, **{r.key: c.key for r, c in alignment.pairs if r.key in shapes}}


def _not_asked(why: str) -> Finding:
    return Finding(Verdict.NOT_ASKED, why)
