"""Asks a candidate's own training loop for each of the reference's steps, and tries what would make it right."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lockstep.check.judging import Judge, Traces
from lockstep.check.steps import gradients, own_loop, trajectory
from lockstep.check.steps.own_loop import Expected, Rounding
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.ground.training import GLOBAL_STEP, TrainingStep
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.subjects import Ask, Objective, Setting
from lockstep.subjects.built import Built, on_side
from lockstep.subjects.loops import Edit, LoopStep, OwnLoop, Taken, Ways
from lockstep.traces.trace import ForwardDraw, Trace, changed

_FAR = 1e-2
"""From this share of a variable's largest update on a difference between traced and eager is no compiler's rounding."""


@dataclass(frozen=True)
class LoopQuestions:
    """What is asked of a loop.

    Attributes:
        loop: The loop.
        alignment: Reference's variables -> candidate's.
        built: Both sides in training mode.
        judge: What judges.
        objective: What the reference's gradients are taken of.
        draws: What the reference's forward pass draws.
        exact: Whether the reference is known to apply just these gradients: no `train_op` of its own does something
            to them.
    """

    loop: OwnLoop
    alignment: Alignment
    built: Built
    judge: Judge
    objective: Objective
    draws: Sequence[ForwardDraw] | None
    exact: bool

    def forced(self, steps: Sequence[TrainingStep]) -> list[Finding]:
        """Runs the loop from each of the reference's states; the first step that differs is told, with its cause."""
        starts = [self._carried(step.run.before) for step in steps]
        done = self._run(starts, Ways(self.draws))
        found: list[list[Finding]] = []
        judged: list[_Judged] = []
        rounding, scale = Rounding(), 0.0
        for number, (step, one) in enumerate(zip(steps, done, strict=True), 1):
            self.judge.say(f"training step {number} of {len(steps)} of {self.loop.label}, from the reference's state")
            scale = max(scale, gradients.largest(step.run))
            last = self._judged(step, one, rounding, scale)
            judged.append(last)
            found.append(list(last.findings))
            if overall([finding.verdict for finding in last.findings]) is not Verdict.EQUIVALENT:
                found[-1] = self._explained(steps[:number], starts[:number], last, scale)
                return trajectory.forced(found, len(steps))
        if not any(one.draws for one in done) and (differs := self._traced(starts, judged)) is not None:
            return [differs]
        within = {"elements_within_rounding": max(_within(one.findings) for one in judged)}
        return [
            dataclasses.replace(f, phrase=f"{self.loop.label}: {f.phrase}", figures={**f.figures, **within})
            for f in trajectory.forced(found, len(steps))
        ]

    def free(self, steps: Sequence[TrainingStep], start: Mapping[str, np.ndarray]) -> list[TrainingStep]:
        """Runs the loop on its own from the reference's first state."""
        starts: list[Mapping[str, np.ndarray] | None] = [self._carried(start), *[None] * (len(steps) - 1)]
        done = self._run(starts, Ways(self.draws))
        return [TrainingStep(self._trace(one, _seen(one)), None, dict(one.after)) for one in done]

    def _run(self, starts: Sequence[Mapping[str, np.ndarray] | None], ways: Ways) -> list[LoopStep]:
        return on_side("candidate", functools.partial(self.loop.train, starts, ways))

    def _carried(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return filling.carried({key: values[key] for key in values}, self.alignment)

    def _judged(self, step: TrainingStep, done: LoopStep, rounding: Rounding, scale: float) -> _Judged:
        expected = self._expected(step)
        of_gradients, taken = self._gradients(step, done, expected, scale)
        wrong = of_gradients is not None and of_gradients.verdict is not Verdict.EQUIVALENT
        rounding.add(expected, None if wrong else taken)
        weights = own_loop.weights(done, expected, rounding)
        state = self._state(step, done, expected)
        told = [] if of_gradients is None else [of_gradients]
        if wrong and of_gradients is not None and weights.verdict is Verdict.EQUIVALENT and not self.exact:
            phrase = (
                f"the weights agree, and the gradients that {self.loop.label} takes are not those of the loss that the "
                f"reference names ({of_gradients.phrase}): name the loss that its train_op minimizes"
            )
            told = [Finding(Verdict.UNDECIDED, phrase, of_gradients.details)]
        shares = {key: np.array(share) for key, share in rounding.shares.items()}
        return _Judged(done, expected, taken, (*told, weights, state), Rounding(shares))

    def _expected(self, step: TrainingStep) -> Expected:
        pairs = [
            (r, c)
            for r, c in filling.alike(self.alignment)
            if r.trainable and np.asarray(step.run.before[r.key]).dtype.kind == "f"
        ]
        return Expected(
            {c.key: np.asarray(self.alignment.carried(c, step.run.before[r.key])) for r, c in pairs},
            {c.key: np.asarray(self.alignment.carried(c, step.values[r.key])) for r, c in pairs},
            {
                c.key: np.asarray(self.alignment.carried_gradient(c, np.asarray(step.run.gradients[r.key])))
                for r, c in pairs
                if r.key in step.run.gradients
            },
            {c.key: r.key for r, c in pairs},
        )

    def _gradients(
        self, step: TrainingStep, done: LoopStep, expected: Expected, scale: float
    ) -> tuple[Finding | None, Taken | None]:
        """Judges the gradients that the loop took; None where it was seen to take none."""
        loss = float(step.run.training_loss)
        taken = own_loop.taken_together(done.taken, expected, loss)
        if taken is None:
            return None, None
        start = step.run.before
        here = self.built.here.run(Setting("given", {key: start[key] for key in start}), Ask(objective=self.objective))
        first: tuple[Finding, Taken] | None = None
        for one in (taken, own_loop.unscaled(taken, done.applied)):
            if one is None:
                continue
            traces = Traces(step.run, self._trace(done, one), here)
            found = self.judge.gradients(traces, self.alignment, self.built.perturbed, self.objective, scale)
            first = first or (found, one)
            if found.verdict is Verdict.EQUIVALENT:
                return found, one
        assert first is not None
        return first

    def _state(self, step: TrainingStep, done: LoopStep, expected: Expected) -> Finding:
        """Judges what a step leaves in the variables that are not trained: moving averages."""
        trained = set(expected.names.values())
        base = step.run
        left = {
            key: value
            for key, value in changed(base.before, {key: step.values[key] for key in step.values}).items()
            if key not in trained and key != GLOBAL_STEP
        }
        after = {key: v for key, v in changed(done.before, done.after).items() if key not in expected.names}
        candidate = dataclasses.replace(self._trace(done, None), after=after)
        traces = Traces(dataclasses.replace(base, after=left), candidate)
        return self.judge.state(traces, self.alignment, self.built.perturbed)

    def _trace(self, done: LoopStep, taken: Taken | None) -> Trace:
        return Trace(
            variables=self.loop.variables,
            before=done.before,
            outputs={},
            training_loss=None if taken is None else np.asarray(taken.loss, np.float32),
            gradients={} if taken is None else taken.gradients,
            unconnected=() if taken is None else taken.unconnected,
        )

    def _explained(
        self, steps: Sequence[TrainingStep], starts: Sequence[Mapping[str, np.ndarray]], last: _Judged, scale: float
    ) -> list[Finding]:
        """Names the cause of a step that differs: a change with which it agrees, or what the loop was seen to do."""
        findings = [
            f for f in last.findings if f.verdict is not Verdict.EQUIVALENT and f.verdict is not Verdict.NOT_ASKED
        ]
        diverged = [finding for finding in findings if finding.verdict is Verdict.DIVERGED and finding.culprits]
        if not diverged:
            return findings
        for edit, cause in self._edits(last):
            self.judge.say(f"trying whether it agrees if not: {cause}")
            if self._right_with(edit, steps, starts, scale):
                return [own_loop.blamed(diverged[0], cause, self.loop.label)]
        done = last.done
        if done.draws != done.expected and done.expected:
            why = (
                f"the loop draws {done.draws} random numbers in a step where one call of the model draws "
                f"{done.expected}, so that its masks are not the reference's"
            )
            return [
                dataclasses.replace(f, verdict=Verdict.UNDECIDED, phrase=f"{f.phrase}; {why}", culprits=())
                for f in findings
            ]
        of_gradients = [f for f in diverged if any(c.kind in ("gradient", "loss") for c in f.culprits)]
        if of_gradients:  # other weights are their consequence
            return of_gradients
        return [self._as_seen(finding, last) for finding in diverged]

    def _as_seen(self, finding: Finding, last: _Judged) -> Finding:
        worst = finding.culprits[0]
        if worst.kind == "state":
            calls = sum(1 for said in last.done.calls if said)
            cause = f"the loop calls the model {calls} times in training mode in one step, each of which moves it"
            return own_loop.blamed(finding, cause, self.loop.label) if calls > 1 else finding
        cause = own_loop.what_was_seen(last.done, last.expected, last.taken, last.rounding, worst.candidate or "")
        return own_loop.blamed(finding, cause or worst.cause, self.loop.label)

    def _edits(self, last: _Judged) -> Iterator[tuple[Edit, str]]:
        """Yields changes that may make the step right, each with the mistake that it stands for."""
        without = "the loop calls the model without training=True"
        penalties = "the loop leaves the model's penalties of weights (model.losses) out of its loss"
        if any(not said for said in last.done.calls):
            yield Edit(training=True), without
            yield Edit(training=True, penalties=True), f"{without}, and {penalties[len('the loop ') :]}"
        if last.findings[0].verdict is Verdict.EQUIVALENT and last.taken is not None:
            return  # the gradients are right: what is wrong comes after them
        yield Edit(penalties=True), penalties
        seen = own_loop.taken_together(last.done.taken, last.expected, 0.0)
        factor = None if seen is None else own_loop.common_factor(last.expected.gradients, seen.gradients)
        if factor is not None:
            scaled = (
                f"the gradients that the loop takes are {factor:.6g} times the reference's: its loss is scaled or "
                "reduced in another way, or scaled once too often"
            )
            yield Edit(divisor=factor), scaled

    def _right_with(
        self, edit: Edit, steps: Sequence[TrainingStep], starts: Sequence[Mapping[str, np.ndarray]], scale: float
    ) -> bool:
        """Tells whether all steps agree with a change of the loop."""
        rounding = Rounding()
        for step, done in zip(steps, self._run(starts, Ways(self.draws, edit)), strict=True):
            findings = self._judged(step, done, rounding, scale).findings
            if edit.divisor != 1.0:  # the loss itself stays as it was
                findings = tuple(_without_loss(finding) for finding in findings)
            if overall([finding.verdict for finding in findings]) is not Verdict.EQUIVALENT:
                return False
        return True

    def _traced(self, starts: Sequence[Mapping[str, np.ndarray]], judged: Sequence[_Judged]) -> Finding | None:
        """Runs the loop once more with its `tf.function`s traced as they are; None where that agrees."""
        self.judge.say(f"{self.loop.label} once more, with its tf.functions traced")
        for number, (known, done) in enumerate(
            zip(judged, self._run(starts, Ways(self.draws, traced=True)), strict=True), 1
        ):
            found = own_loop.weights(done, known.expected, known.rounding)
            far = found.verdict is Verdict.DIVERGED and (found.culprits[0].error or 0.0) > _FAR
            moved = [
                key
                for key in done.after
                if key not in known.expected.names
                and _far(known.done.before[key], known.done.after[key], done.after[key])
            ]
            if far or moved:
                cause = (
                    f"at step {number}, where its tf.functions are traced it leaves other values than where they run "
                    "eagerly, which agrees: Python code within a tf.function runs once, when it is traced"
                )
                phrase = f"step {number}: with its tf.functions traced the loop differs"
                blamed = Finding(Verdict.DIVERGED, phrase, (cause,), {"first_step_that_differs": number})
                if far:
                    blamed = dataclasses.replace(
                        own_loop.blamed(found, cause, self.loop.label), phrase=phrase, figures=blamed.figures
                    )
                return blamed
        return None


@dataclass(frozen=True)
class _Judged:
    done: LoopStep
    expected: Expected
    taken: Taken | None
    findings: tuple[Finding, ...]
    rounding: Rounding


def _within(findings: Sequence[Finding]) -> int:
    """How many elements of a step nothing can be said about."""
    return max((int(str(f.figures.get("elements_within_rounding", 0))) for f in findings), default=0)


def _seen(done: LoopStep) -> Taken:
    """The loss that a step had: what it returned, or what it differentiated."""
    loss = done.returned
    if loss is None:
        loss = done.taken[0].loss if len(done.taken) == 1 else float("nan")
    return Taken(loss, {})


def _without_loss(finding: Finding) -> Finding:
    of_loss = finding.culprits and all(culprit.kind == "loss" for culprit in finding.culprits)
    return dataclasses.replace(finding, verdict=Verdict.EQUIVALENT, culprits=()) if of_loss else finding


def _far(before: np.ndarray, eager: np.ndarray, traced: np.ndarray) -> bool:
    """Whether a variable that is not trained was left elsewhere, by more than a compiler's rounding."""
    if np.asarray(eager).dtype.kind != "f":
        return not np.array_equal(eager, traced)
    move = float(np.max(np.abs(np.asarray(eager, np.float64) - before), initial=0.0))
    off = float(np.max(np.abs(np.asarray(eager, np.float64) - traced), initial=0.0))
    return off > _FAR * max(move, 1e-5 * float(np.max(np.abs(eager), initial=0.0)))
