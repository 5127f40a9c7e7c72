"""What the steps of a forward pass ask of both sides in one mode, and what they make of the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.judging import Judge, Traces
from lockstep.check.proof import dependence, start
from lockstep.check.proof.trials import Trials
from lockstep.check.reporting import Reporting
from lockstep.check.sides import Sides
from lockstep.check.steps import checkpoint as from_checkpoint
from lockstep.check.steps import native_order, numbers, own_values, repeated_draws, same_twice, unordered
from lockstep.check.steps.forced import judge as judge_forced
from lockstep.common.errors import InputError, SubjectError
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.compare.tolerance import FixedTolerance
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.subjects import INITIAL, Ask, Instance, Mode, Setting
from lockstep.subjects.built import Built, Here
from lockstep.traces.trace import Trace


@dataclass(frozen=True)
class Situation:
    """Both sides in one mode.

    Attributes:
        mode: The mode.
        built: Both, built in it.
        both: What they did from their initial values.
        alignment: The reference's variables -> the candidate's.
        forced: Forced lockstep on them.
        positive: Keys of the reference's variables that have to be positive, as far as it is known.
    """

    mode: Mode
    built: Built
    both: Traces
    alignment: Alignment
    forced: ForcedRuns
    positive: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Questions:
    """Asks.

    Attributes:
        sides: Both sides, to be built again.
        reporting: Told what is being done.
        judge: What judges.
        tolerance: The tolerance, which may be to judge alone.
    """

    sides: Sides
    reporting: Reporting
    judge: Judge
    tolerance: FixedTolerance

    def fixed(
        self, situation: Situation, outputs_told: str, *, also_generic: bool
    ) -> tuple[list[Finding], frozenset[str]]:
        """Runs both sides from values that are given, in inference mode.

        Args:
            situation: Both sides in that mode.
            outputs_told: What is to be told of how outputs were matched.
            also_generic: Whether a second, generic input is run too.

        Returns:
            What was found, and the keys of the reference's variables that turned out to have to be positive.
        """
        built, alignment, forced = situation.built, situation.alignment, situation.forced
        initial = situation.both.reference
        trials = Trials(built, alignment, forced, self.judge, self.sides.inputs, initial, also_generic)
        findings = [*trials.findings(), *self._located(forced)]
        findings += [Finding(Verdict.NOT_ASKED, outputs_told)] if outputs_told else []
        return self.steady(situation, findings, filling.filled("distinct", alignment)), trials.positive

    def random(self, situation: Situation) -> list[Finding]:
        """Judges runs from initial values; where both sides did not start or draw alike, from the reference's too."""
        if self.sides.given:
            return self._from_given(situation)
        mode, both, built, alignment = situation.mode, situation.both, situation.built, situation.alignment
        initial = numbers.initial_values(both.reference, both.candidate, alignment, self.tolerance)
        own = own_values.judge(both.reference, both.candidate, initial)
        apart = bool(start.apart(both.reference, both.candidate, alignment))
        results: list[Finding] = []
        drawing = native_order.draws(both.base, both.candidate)
        # Other initial values, or other draws, tell nothing by their results, whose noise takes seconds to measure.
        if not apart and (self._agree(both) or not drawing or not built.candidate.free):
            results = self.judge.results(both, alignment, built.perturbed, situation.forced)
            if not drawing or not _in_doubt(results) or not built.candidate.free:
                return [*own, initial, *_unordered(built, results), *_notes(both, built.here, results)]
        again = self._drawing_alike(both, built, alignment)
        once = repeated_draws.drawn_once(self.sides.subjects["reference"], again.base, again.candidate)
        if once and not self._agree(again):
            results = repeated_draws.told(once)  # a search would find an operation for each mask, and takes minutes
        else:
            results = self.judge.results(again, alignment, built.perturbed, situation.forced)
        results = native_order.excused(again.base, again.candidate, results)
        results = repeated_draws.undecided(results, again.base, again.candidate)
        traces = both.reference, both.candidate
        told = own or (
            [initial] if not drawing else native_order.initial_values(initial, traces, alignment, mode.randomness)
        )
        return [*told, *_unordered(built, results), *_notes(both, built.here, results)]

    def in_training(self, situation: Situation) -> list[Finding]:
        """Judges runs in training mode: from initial values, by forced lockstep, and at kinks that were not met."""
        found = self.random(situation)
        if situation.mode.functional or any(repeated_draws.DRAWN_ONCE in finding.figures for finding in found):
            return found
        found.extend(self._located(situation.forced))
        if self.tolerance.alone or overall([finding.verdict for finding in found]) is not Verdict.EQUIVALENT:
            return found
        trials = Trials(
            situation.built,
            situation.alignment,
            situation.forced,
            self.judge,
            self.sides.inputs,
            situation.both.reference,
            positive=situation.positive,
        )
        return [*found, *trials.of_training()]

    def from_checkpoint(self, situation: Situation, source: from_checkpoint.Source) -> None:
        """Runs both sides from a checkpoint, which takes what was found: it is reported after the training steps."""
        built, alignment, forced = situation.built, situation.alignment, situation.forced
        plan = source.plan(situation.both, alignment, free=built.reference.free)
        if plan is None:
            return
        self.reporting.say("inference, every variable from the checkpoint")
        reference = built.reference.run(plan.reference)
        here = built.here.run(Setting("given", reference.before))
        candidate = built.candidate.run(plan.candidate, Ask(draws=(here or reference).forward_draws))
        found = self.judge.results(Traces(reference, candidate, here), alignment, built.perturbed, forced)
        source.judged([*found, *dependence.judge(forced, (plan.reference, plan.candidate))])

    def steady(
        self,
        situation: Situation,
        found: list[Finding],
        values: tuple[Setting, Setting] = (INITIAL, INITIAL),
    ) -> list[Finding]:
        """Returns findings; where they diverged and a side is not the same in two builds, that in their place.

        Args:
            situation: Both sides in a mode.
            found: The findings.
            values: What both started from.
        """
        built, both = situation.built, situation.both

        def twice(side: str, instance: Instance, first: Trace, setting: Setting) -> tuple[Trace, Trace] | None:
            if setting is not INITIAL and not instance.free:
                return None
            try:
                second = self.sides.build_again(side, situation.mode)
                if second is None:
                    return None
                return first if setting is INITIAL else instance.run(setting), second.run(setting)
            except (InputError, SubjectError):
                return None  # the build that counts says so itself

        return same_twice.judge(
            found,
            [
                ("reference", lambda: twice("reference", built.reference, both.reference, values[0])),
                ("candidate", lambda: twice("candidate", built.candidate, both.candidate, values[1])),
            ],
        )

    def _from_given(self, situation: Situation) -> list[Finding]:
        """Judges runs of both sides from the values of a file: initializers are no question then.

        Values that the other side holds without an initializer are: two files, or weights that its code loads.
        """
        both, built, alignment, files = situation.both, situation.built, situation.alignment, self.sides.given
        initial = numbers.initial_values(both.reference, both.candidate, alignment, self.tolerance)
        ours, theirs = (
            dataclasses.replace(trace, overwritten=()) if side in files else trace
            for side, trace in (("reference", both.reference), ("candidate", both.candidate))
        )
        own = own_values.judge(ours, theirs, initial)
        self.reporting.say("candidate, with the values of the reference")
        values = filling.copied(both.reference, alignment)
        # What was recorded ran from these values, its own.
        reference = built.reference.run(values[0]) if built.reference.free else both.reference
        here = built.here.run(Setting("given", reference.before))
        again = Traces(reference, built.candidate.run(values[1], Ask(draws=(here or reference).forward_draws)), here)
        results = self.judge.results(again, alignment, built.perturbed, situation.forced)
        results = repeated_draws.undecided(results, again.base, again.candidate)
        told = initial
        if len(files) == 1:
            said = f"the {files[0]} is a file: both sides run from the reference's values, no initializers are compared"
            told = Finding(Verdict.NOT_ASKED, said)
        return [*own, told, *_unordered(built, results), *_notes(both, built.here, results)]

    def _drawing_alike(self, both: Traces, built: Built, alignment: Alignment) -> Traces:
        """Runs the candidate with the initial values and the draws of the reference."""
        self.reporting.say("candidate, with the initial values and the draws of the reference")
        values = filling.copied(both.reference, alignment)
        # A graph's draws are known from its first run, and it would only give the same again.
        known = both.base.forward_draws is not None
        reference = both.reference if known else built.reference.run(values[0])
        drawn = (both if known else Traces(reference, both.candidate)).base.forward_draws
        return Traces(reference, built.candidate.run(values[1], Ask(draws=drawn)), both.here)

    def _agree(self, both: Traces) -> bool:
        """Tells whether outputs are equal as they were drawn: else the draws have to be aligned, not noise measured."""
        return self.judge.outputs_agree(both.base, both.candidate)

    def _located(self, forced: ForcedRuns) -> list[Finding]:
        located = None if self.tolerance.alone else forced.distinct
        return [] if located is None else [judge_forced(located)]


def _unordered(built: Built, results: Sequence[Finding]) -> list[Finding]:
    """Returns findings, undecided where the reference's own result depends on an order that nothing defines."""
    names = built.original.unordered if built.original is not None else ()
    return unordered.judge(names, results)


def _in_doubt(findings: Sequence[Finding]) -> bool:
    return overall([finding.verdict for finding in findings]) in (Verdict.DIVERGED, Verdict.UNDECIDED)


def _notes(both: Traces, here: Here, results: Sequence[Finding]) -> list[Finding]:
    notes = dict.fromkeys(note for note in (*both.reference.notes, *both.candidate.notes, here.note) if note)
    # A step that diverged shows its details alone; there it matters most that nobody can tell whose difference it is.
    diverged = any(finding.verdict is Verdict.DIVERGED for finding in results)
    return [Finding(Verdict.NOT_ASKED, note, (note,) if diverged and note == here.note else ()) for note in notes]
