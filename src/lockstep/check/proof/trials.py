"""The values that both sides are run from in inference mode: chosen until they prove something, or said not to."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field

import numpy as np

from lockstep.check.forced_runs import ForcedRuns
from lockstep.check.judging import Judge, Traces
from lockstep.check.proof import inputs as second
from lockstep.check.proof import kinks, reach, repeated, roles
from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, KernelError, ProgramError, SubjectError
from lockstep.compare import filling
from lockstep.compare.align import Alignment
from lockstep.frameworks import runtimes
from lockstep.ground import fill
from lockstep.ground.structure import same_bits
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import Ask, Instance, Setting
from lockstep.subjects.built import Built
from lockstep.traces.trace import Trace

LABELS = {"distinct": "distinct values", "constant": "constant values"}
"""What every check runs. The constant comes last: its figures are the guide's, and stay in the report."""

_MOST_S = 5.0
"""How long wider values are tried for: they find what hides at a kink, which small models show within a second."""

_TIMES = 4.0
"""Or as many times as long as the first run of both sides took, if that is more."""

_LARGEST = 6_000
"""Operations of the largest program whose kinks are counted; the guide's network has 1,300 in inference."""

_LARGEST_IN_TRAINING = 2_000
"""The same in training mode, where a program holds the updates too."""


@dataclass
class Trials:
    """What `inference-fixed` runs.

    Attributes:
        built: Both sides.
        alignment: Reference's variables -> candidate's.
        forced: Forced lockstep on them.
        judge: What judges.
        inputs: What both sides were built for.
        initial: What the reference did from its initial values.
        also_generic: Whether a second, generic input is run too.
        positive: Keys of the reference's variables that turned out to have to be positive.
    """

    built: Built
    alignment: Alignment
    forced: ForcedRuns
    judge: Judge
    inputs: Arrays
    initial: Trace
    also_generic: bool = True
    positive: frozenset[str] = frozenset()
    _coverage: dict[str, kinks.Coverage] = field(
        default_factory=lambda: {"reference": kinks.Coverage(), "candidate": kinks.Coverage()}
    )
    _reach: reach.Reach = field(default_factory=reach.Reach)
    _outputs: list[Trace] = field(default_factory=list)
    _observed: int = 0
    _rows: dict[str, int] = field(default_factory=dict)
    _limit: str = ""

    def findings(self) -> list[Finding]:
        """Runs all of it."""
        start = time.perf_counter()
        found = self.asked("distinct")
        took = time.perf_counter() - start
        found += repeated.judge(self.built, self._settings("distinct"), self.judge, self.initial.drawn)
        found += self.asked("constant")
        if any(finding.verdict in (Verdict.DIVERGED, Verdict.UNDECIDED) for finding in found):
            return found  # more runs would say the same again
        self._observe(None)
        found += self._second_input()
        found += self._wider(time.perf_counter() + max(_MOST_S, _TIMES * took))
        found += self._tiny()
        return [*found, *self._proved()]

    def of_training(self) -> list[Finding]:
        """Runs both sides in training mode from wider values, where one side alone has a kink that was not met there.

        In inference what lies beyond a bound may be lost behind a ReLU; in training it moves the averages of a batch.
        """
        self._observe(None, most=_LARGEST_IN_TRAINING)
        found: list[Finding] = []
        for number in range(len(fill.WIDE) - 1):
            original = self.built.original
            if not kinks.of_one_side(self._coverage) or found or original is None or not self.built.candidate.free:
                break
            self.judge.say(f"training mode, wider values, {number + 1}")
            settings = self._settings(f"wide/{number}")
            reference = original.run(settings[0])
            if not _finite(reference):
                continue
            candidate = self.built.candidate.run(settings[1], Ask(draws=self.initial.forward_draws))
            judged = self._results(Traces(reference, candidate))
            found += [labelled(_without_figures(f), "wider values") for f in judged if f.verdict is Verdict.DIVERGED]
            self._observe(settings, most=_LARGEST_IN_TRAINING)
        alone = kinks.of_one_side(self._coverage)
        if alone and not found:
            phrase = f"{alone}; what it does beyond is not shown"
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
        return found

    def _settings(self, kind: str, inputs: Arrays | None = None) -> tuple[Setting, Setting]:
        return filling.filled(kind, self.alignment, self.positive, inputs)

    def asked(self, kind: str) -> list[Finding]:
        """Runs both sides from distinct or constant values, or from others where these give no finite number."""
        self.judge.say(f"inference, every variable set to {kind} values")
        both = self._run(self._settings(kind))
        label, chosen = LABELS[kind], kind
        if not _finite(both.reference) and _finite(self.initial) and self.built.original is not None:
            again, chosen = self._chosen_again(kind)
            if again is not None:
                both = again
                label = f"{label} give no finite number in the reference; {_CHOSEN[chosen]}"
        self._outputs.append(both.reference)
        return [labelled(finding, label) for finding in self._results(both)]

    def _chosen_again(self, kind: str) -> tuple[Traces | None, str]:
        """Runs both sides from other values of which the reference gives finite numbers; None where none were found."""
        for other in (kind, "even") if kind == "constant" else (kind,):
            self.positive |= self._has_to_be_positive(self._settings(kind))
            self.forced.positive(self.positive)
            self.judge.say(f"inference, {kind} values give no finite number: trying others")
            both = self._run_free(self._settings(other))
            if both is not None and _finite(both.reference):
                return both, other if other != kind else "positive"
        return None, kind

    def _has_to_be_positive(self, settings: tuple[Setting, Setting]) -> frozenset[str]:
        try:
            programs = self.forced.programs_from(*settings)
        except (ProgramError, SubjectError):
            return frozenset()  # of code that runs in a function alone, say
        return frozenset() if programs is None else roles.positive(programs[0])

    def _run(self, settings: tuple[Setting, Setting]) -> Traces:
        if self.positive:
            found = self._run_free(settings)
            if found is not None:
                return found
        ours, theirs = settings
        reference, here = self.built.reference.run(ours), self.built.here.run(ours)
        drawn = (here or reference).forward_draws
        return Traces(reference, self.built.candidate.run(theirs, Ask(draws=drawn)), here)

    def _run_free(self, settings: tuple[Setting, Setting]) -> Traces | None:
        """Runs the candidate against the reference itself, or against its own graph here where it was recorded."""
        if self.built.original is None:
            return None
        reference = self.built.original.run(settings[0])
        return Traces(reference, self.built.candidate.run(settings[1], Ask(draws=reference.forward_draws)))

    def _results(self, both: Traces) -> list[Finding]:
        return self.judge.results(both, self.alignment, self.built.perturbed, self.forced)

    def _second_input(self) -> list[Finding]:
        """Runs both sides on a generic input; says what the given one cannot show where that is not possible."""
        blind = second.blind_spots(self.inputs)
        note = f"not shown by these inputs: {', '.join(blind)}" if blind else ""
        if not self.also_generic or self.built.original is None or not self.built.candidate.free:
            return [Finding(Verdict.NOT_ASKED, note)]
        if second.only_text(self.inputs):
            told = "all inputs are text, of which no second, generic one is made: check on several batches"
            return [Finding(Verdict.NOT_ASKED, told)]
        self.judge.say("inference, a second, generic input")
        ran = self._on_generic_input(self.built.original)
        if ran is None:
            return [Finding(Verdict.NOT_ASKED, f"the reference refuses a generic input; {note}".rstrip("; "))]
        other, settings, reference = ran
        if not _finite(reference):
            return [Finding(Verdict.NOT_ASKED, note)]
        try:
            candidate = self.built.candidate.run(settings[1], Ask(draws=reference.forward_draws))
        except SubjectError as error:
            phrase = f"the reference runs on a generic input of the same shapes, and the candidate fails: {error}"
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,))]
        self._outputs.append(reference)
        if self._unmet or self._reach.unmoved:
            self._observe(settings)
        by = dataclasses.replace(self.judge, inputs=other)
        both = Traces(reference, candidate)
        found = by.results(both, self.alignment, self.built.perturbed, self.forced.on(other))
        return [labelled(_without_figures(one), "a second, generic input") for one in found]

    def _on_generic_input(self, original: Instance) -> tuple[Arrays, tuple[Setting, Setting], Trace] | None:
        """Runs the reference on a generic input: one that reaches the ends of tables, if it takes it."""
        choices = [second.generic(self.inputs)]
        if self._rows:
            choices.insert(0, second.generic(self.inputs, self._rows))
        for other in choices:
            settings = self._settings("distinct", other)
            try:
                return other, settings, original.run(settings[0])
            except (SubjectError, InputError):
                continue  # an index beyond a table that is cut shorter, a length of zero
        return None

    def _wider(self, until: float) -> list[Finding]:
        """Runs both sides from wider values until every kink and every variable was met."""
        found: list[Finding] = []
        for number in range(len(fill.WIDE)):
            last = number == len(fill.WIDE) - 1
            dead = bool(self._reach.dead or self._blocked())
            if not self._observed or not (self._unmet or dead) or (last and not dead) or time.perf_counter() > until:
                break
            self.judge.say(f"inference, wider values, {number + 1}: {self._unmet} sides of kinks are not met yet")
            settings = self._settings(f"wide/{number}")
            both = self._run_free(settings)
            if both is None or not _finite(both.reference):
                continue
            self._outputs.append(both.reference)
            self._observe(settings)
            judged = [labelled(_without_figures(one), "wider values") for one in self._results(both)]
            # What rounding hides there is no answer, and none is owed: the values of the guide have one.
            found += [one for one in judged if one.verdict is Verdict.DIVERGED]
        return found

    def _other_numbers(self) -> dict[str, str]:
        """Returns the candidate's operations that read another number than their partner, and did not show it."""
        located = self.forced.distinct
        return {} if located is None or located.culprits else dict(located.other_numbers)

    def _tiny(self) -> list[Finding]:
        """Runs both sides from tiny variances, and on faint inputs, where a number is another one and did not show."""
        if not self._other_numbers():
            return []
        self.positive |= self._has_to_be_positive(self._settings("distinct"))
        faint = _faint(self.inputs)
        found: list[Finding] = []
        for label, settings in (
            ("tiny variances", self._settings("tiny")),
            ("faint inputs and biases", self._settings("faint", faint)),
        ):
            self.judge.say(f"inference, {label}: a number of the candidate is another one")
            both = self._run_free(settings)
            if both is None or not _finite(both.reference):
                continue
            self._observe(settings)
            inputs = self.inputs if settings[0].inputs is None else faint
            by = dataclasses.replace(self.judge, inputs=inputs)
            judged = by.results(both, self.alignment, self.built.perturbed, self.forced.on(inputs))
            shown = [one for one in judged if one.verdict is Verdict.DIVERGED]
            found += [labelled(_without_figures(one), label) for one in shown]
        return found

    def _unshown(self) -> str:
        """Returns a sentence of a bound that is another number, and that nothing reached; empty where there is none."""
        unmet = self._coverage["candidate"].unmet_kinks
        return next((told for name, told in self._other_numbers().items() if name in unmet), "")

    @property
    def _unmet(self) -> int:
        return sum(len(coverage.unmet) for coverage in self._coverage.values())

    def _observe(self, settings: tuple[Setting, Setting] | None, most: int = 0) -> None:
        """Counts what both programs met at some values; None: the distinct ones.

        With `most`, a bound on a program's operations, the kinks alone.
        """
        if self._limit:
            return
        try:
            programs = self.forced.programs_from(*settings) if settings else self.forced.programs_at_distinct()
            if programs is None:
                return

            bound = most or _LARGEST
            if max(len(program.operations) for program in programs) > bound:
                self._limit = f"kinks were not counted: one side has more than {bound:,} operations"
                return
            self.judge.say("counting which kinks were met and which variables reach an output")
            kernels = runtimes.kernels()
            self._rows = second.rows_looked_up(programs[0])
            for side, program in zip(self._coverage, programs, strict=True):
                self._coverage[side].observe(program, kernels)
            if not most and (self._reach.unmoved or self._reach.dead or not self._observed):
                self._reach.observe(programs[0], kernels, kernels.derivatives)
        except (ProgramError, KernelError, SubjectError) as error:
            self._limit = f"kinks were not counted: {error}"
            return
        self._observed += 1

    def _blocked(self) -> list[str]:
        """Returns the variables that move no output because a kink is in the way that was met on one side only."""
        if not self._reach.unmoved or not self._observed:
            return []
        programs = self.forced.programs_at_distinct()
        if programs is None:
            return []

        try:
            ends = reach.stopped_by(programs[0], runtimes.kernels(), self._reach.unmoved)
        except KernelError:
            return []
        return self._reach.unmoved if ends & set(self._coverage["reference"].unmet_kinks) else []

    def _proved(self) -> list[Finding]:
        """Says what the values that were tried cannot have shown."""
        figures: dict[str, object] = {}
        if self._observed:
            figures = {"kinks": sum(len(c.sides) for c in self._coverage.values()), "kink_sides_not_met": self._unmet}
        dead = self._dead()
        if dead:
            some = ", ".join(path or "the output" for path in dead[:3])
            phrase = f"{some}: the same whatever the variables are, at all values tried, so it proves nothing"
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,), figures)]
        blocked = self._blocked()
        if blocked:
            phrase = f"{reach.told(self._reach)}; a kink that was met on one side only is in the way"
            return [Finding(Verdict.UNDECIDED, phrase, (phrase, kinks.told(self._coverage)), figures)]
        alone = kinks.of_one_side(self._coverage)
        if alone:
            phrase = f"{alone}; what it does beyond is not shown"
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,), figures)]
        if phrase := self._unshown():
            return [Finding(Verdict.UNDECIDED, phrase, (phrase,), figures)]
        notes = [reach.told(self._reach), kinks.told(self._coverage), self._limit]
        return [Finding(Verdict.NOT_ASKED, note, (), figures) for note in notes if note] or [
            Finding(Verdict.NOT_ASKED, "", (), figures)
        ]

    def _dead(self) -> list[str]:
        """Returns the floating outputs that were the same in every run though they depend on variables."""
        if len(self._outputs) < 2:
            return []
        first = self._outputs[0].outputs
        same = [
            path
            for path, value in first.items()
            if value.dtype.kind in "fcV"
            and all(path in o.outputs and same_bits(value, o.outputs[path]) for o in self._outputs[1:])
        ]
        if self._observed:
            return [
                path for path in first if path in self._reach.dead or (path in self._reach.outputs and path in same)
            ]
        return same if len(same) == len(first) and self._settings("distinct")[0].values else []


_CHOSEN = {
    "positive": "what is read as a variance is positive instead",
    "even": "compared at values scaled to each layer instead",
}


def _faint(inputs: Arrays) -> Arrays:
    def faint(array: np.ndarray) -> np.ndarray:
        return np.asarray(array * array.dtype.type(fill.FAINT)) if array.dtype.kind == "f" else array

    return faint(inputs) if isinstance(inputs, np.ndarray) else {name: faint(array) for name, array in inputs.items()}


def labelled(finding: Finding, label: str) -> Finding:
    """Says of a finding which run it is about."""
    if finding.pending is not None:
        return dataclasses.replace(finding, pending=labelled(finding.pending, label))
    if not finding.phrase:
        return finding
    details = tuple(f"{label}: {line}" for line in finding.details)
    return dataclasses.replace(finding, phrase=f"{label}: {finding.phrase}", details=details)


def _without_figures(finding: Finding) -> Finding:
    """The figures of a step are the guide's values'; of a difference they are told in words."""
    kept = {key: value for key, value in finding.figures.items() if key.endswith("_explained_by_noise")}
    phrase = finding.phrase if finding.verdict is not Verdict.EQUIVALENT or "output" in finding.phrase else ""
    return dataclasses.replace(finding, figures=kept, phrase=phrase)


def _finite(trace: Trace) -> bool:
    """Whether all numbers of a run are finite."""
    return all(
        bool(np.isfinite(value.astype(np.float64) if value.dtype.kind == "V" else value).all())
        for value in map(np.asarray, trace.outputs.values())
        if value.dtype.kind in "fcV"
    )
