"""What is asked of a candidate in one mode: it is run in each way that TensorFlow has of carrying it out.

As written (eagerly), in `tf.function` with Grappler's passes, without each of them, compiled by XLA; in processes of
their own with oneDNN's kernels switched the other way, on one thread, with deterministic kernels. All from the same
values of all variables, and with the same draws. How the data goes: docs/design/switches.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockstep.check.partly import Pair
from lockstep.check.reporting import Event, Progress
from lockstep.common.arrays import Arrays
from lockstep.common.errors import LockstepError
from lockstep.compare import filling
from lockstep.report.switches import Distance, SettingReport
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict, overall
from lockstep.subjects import AS_WRITTEN, Execution, Mode, Setting, Subject
from lockstep.subjects.built import on_side
from lockstep.switching import attribution
from lockstep.switching.attribution import Attribution, Seen
from lockstep.switching.bench import Bench, distance, misaligned, reason, settled, why
from lockstep.switching.runs import (
    FUNCTION,
    PARTS,
    WHOLE_OFF,
    XLA,
    Runs,
    process_settings,
)
from lockstep.traces.trace import ForwardDraw, Trace


@dataclass(frozen=True)
class Asked:
    """What is the same in all modes."""

    sides: dict[str, Subject]
    inputs: Arrays
    without: frozenset[str]
    progress: Progress


@dataclass(frozen=True)
class _Elsewhere:
    """What was seen in a process with another setting.

    Attributes:
        name: The setting.
        function: How far `tf.function` is there from the run as written there; None where it did not run.
        unrewritten: The same without Grappler.
        repeated: How far two calls of the run as written are apart.
        reference: How far the run as written is from the reference's graph there; None where nobody asked.
    """

    name: str
    function: Distance | None
    unrewritten: Distance | None
    repeated: Distance
    reference: Distance | None


@dataclass(frozen=True)
class _Judged:
    """What came of one run.

    Attributes:
        as_written: Held against the same side run as written; None where it is that run.
        from_reference: Held against the reference; None where it is the reference's.
        budget: The noise budget, where it was measured.
    """

    as_written: Sequence[Finding] | None
    from_reference: Sequence[Finding] | None
    budget: float | None

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [*(self.as_written or ()), *(self.from_reference or ())]


def started(pair: Pair) -> tuple[Setting, tuple[ForwardDraw, ...]]:
    """Returns what all runs of a candidate start from, the reference's values, and what they draw."""
    first = pair.traces
    carried = filling.carried(first.reference.before, pair.alignment)
    return Setting("given", {**first.candidate.before, **carried}), tuple(first.base.forward_draws or ())


class Question:
    """What is asked in one mode.

    Attributes:
        rows: What was run.
        findings: What it comes to.
    """

    def __init__(self, asked: Asked, pair: Pair, mode: Mode) -> None:
        self._asked, self._pair, self._mode = asked, pair, mode
        self._kind = "training" if mode.training else "inference"
        self._bench = Bench(pair)
        self._setting, self._draws = started(pair)
        self.rows: list[SettingReport] = []
        self.findings: list[str] = []

    def answer(self) -> None:
        """Runs everything, and fills `rows` and `findings`."""
        runs = self._runs(self._asked.sides["candidate"])
        try:
            self._say("the candidate eagerly")
            eager, again = (on_side("candidate", lambda: runs.run(AS_WRITTEN)) for _ in range(2))
            found = self._bench.against_reference(eager, eager)
            verdict = self._row("eager", _Judged(None, found, self._bench.budget((self._pair.traces.reference, eager))))
            others = self._in_other_processes(eager)
            own, told, self.rows, self.findings = self.rows[1:], self.findings, self.rows[:1], []
            self._as_written(eager, again, others, verdict)
            verdict = self._function(runs, eager, again, others)
            if self._wanted("xla"):
                self._xla(runs, eager, verdict)
            self.rows.extend(own)
            self.findings.extend(told)
        finally:
            runs.close()
        if self._wanted("reference"):
            self._session()

    # ---- the candidate in this process

    def _as_written(self, eager: Trace, again: Trace, others: Sequence[_Elsewhere], verdict: Verdict) -> None:
        """Says how the candidate run eagerly stands to the reference, and to itself."""
        traces = self._pair.traces
        apart = self._bench.from_reference(traces.base, eager)
        asked = [(each.name, each.reference) for each in others if each.reference is not None]
        seen = Seen(
            apart,
            verdict,
            self._bench.budget((traces.base, eager)),
            tuple(name for name, there in asked if there.bit_equal),
            tuple(name for name, there in asked if not there.bit_equal),
        )
        versions = self._pair.judge.runtimes() if traces.here is not None else ""
        self.findings.append(attribution.of_reference(seen, versions))
        if self._pair.note:
            self.findings.append(f"{self._pair.note}.")
        repeated = self._bench.apart(eager, again)
        if not repeated.bit_equal:
            steady = [each.name for each in others if each.repeated.bit_equal]
            self.findings.append(attribution.of_repeated_calls(repeated, steady))

    def _function(self, runs: Runs, eager: Trace, again: Trace, others: Sequence[_Elsewhere]) -> Verdict:
        """The candidate in `tf.function`, with all passes and without each; returns how it stands to the eager run."""
        self._say("the candidate in tf.function")
        try:
            first, second = runs.run(FUNCTION), runs.run(FUNCTION)
        except LockstepError as error:
            return self._could_not("tf.function", error)
        found = self._bench.of_candidate(eager, first)
        cause = Attribution()
        tried: list[tuple[str, _Judged]] = []
        if not distance(found).bit_equal and self._wanted("passes"):
            cause, tried = self._passes(runs, eager)
        seen = self._seen(eager, first, found, [] if cause.found else others, others)
        exact = cause.found or bool(seen.elsewhere)
        draws = misaligned(eager, first)
        self._row("tf.function", self._judged(eager, first), known=exact, undecided=bool(draws), note=draws)
        later = not draws and self._second_call_diverged(eager, again, second, seen)
        if draws:
            self.findings.append(f"tf.function cannot be judged: {draws}.")
        elif not later and (seen.distance.bit_equal or self._wanted("passes")):
            self.findings.append(attribution.of_grappler(attribution.CANDIDATE, seen, cause))
        for label, judged in tried:
            self._row(label, judged, known=exact, undecided=bool(draws), note=draws)
        return Verdict.DIVERGED if later else seen.verdict

    def _seen(
        self,
        eager: Trace,
        trace: Trace,
        found: Sequence[Finding],
        without_grappler: Sequence[_Elsewhere],
        others: Sequence[_Elsewhere],
    ) -> Seen:
        """Puts together what was seen of `tf.function`, here and in other processes, there without Grappler too."""
        equal = [each.name for each in others if _equal(each.function)]
        still = [each for each in without_grappler if not _equal(each.function)]
        equal += [f"{each.name} and Grappler off" for each in still if _equal(each.unrewritten)]
        return Seen(
            distance(found),
            overall([finding.verdict for finding in found]),
            self._bench.budget((eager, trace)),
            tuple(equal),
            tuple(each.name for each in still if not _equal(each.unrewritten)),
        )

    def _passes(self, runs: Runs, eager: Trace) -> tuple[Attribution, list[tuple[str, _Judged]]]:
        """Switches passes off; returns which ones matter, and what each run with a single one off came to."""
        tried: list[tuple[str, _Judged]] = []

        def run(execution: Execution, off: str) -> Distance | None:
            label = f"tf.function, {off} off"
            self._say(f"the candidate in {label}")
            try:
                trace = runs.run(execution)
            except LockstepError as error:
                self._could_not(label, error, counts=False)
                return None
            if len(execution.off) < 2:
                tried.append((label, self._judged(eager, trace)))
            return self._bench.apart(eager, trace)

        passes = self._asked.sides["candidate"].passes()
        cause = attribution.attribute(
            passes,
            lambda off: run(Execution("grappler", off), " and ".join(off)),
            lambda: run(WHOLE_OFF, "all of Grappler"),
        )
        return cause, tried

    def _second_call_diverged(self, eager: Trace, again: Trace, second: Trace, seen: Seen) -> bool:
        """Tells whether only the first call is that of the code as written, and says so."""
        if not seen.distance.bit_equal and seen.verdict is not Verdict.EQUIVALENT:
            return False
        found = self._bench.of_candidate(again, second)
        if overall([finding.verdict for finding in found]) is not Verdict.DIVERGED:
            return False
        apart = distance(found)
        self.rows[-1] = dataclasses.replace(
            self.rows[-1], verdict=Verdict.DIVERGED, note=f"the second call differs by {apart}"
        )
        self.findings.append(attribution.of_second_call(apart, self._bench.apart(eager, again)))
        return True

    def _xla(self, runs: Runs, eager: Trace, function: Verdict) -> None:
        self._say("the candidate in tf.function(jit_compile=True)")
        try:
            trace = runs.run(XLA)
        except LockstepError as error:
            self._could_not("tf.function(jit_compile=True)", error, part="xla")
            return
        draws = misaligned(eager, trace)
        judged = self._judged(eager, trace)
        self._row("tf.function(jit_compile=True)", judged, undecided=bool(draws), note=draws)
        if draws:
            self.findings.append(f"tf.function(jit_compile=True) cannot be judged: {draws}.")
            return
        apart = self._bench.apart(eager, trace)
        verdict = overall([finding.verdict for finding in judged.as_written or ()])
        self.findings.append(attribution.of_xla(Seen(apart, verdict, self._bench.budget((eager, trace))), function))

    # ---- in processes of their own

    def _in_other_processes(self, eager: Trace) -> list[_Elsewhere]:
        wanted = process_settings(self._asked.without)
        if wanted and self._asked.sides["candidate"].elsewhere({}) is None:
            self.findings.append(
                f"not run: {', '.join(wanted)}. The candidate is a function of this process; give it as a table, "
                '{"runtime": "keras", "entry": "model.py:build"}, to have it run in another one.'
            )
            return []
        seen = (self._in_another(name, variables, eager) for name, variables in wanted.items())
        return [each for each in seen if each is not None]

    def _in_another(self, name: str, variables: Mapping[str, str], eager: Trace) -> _Elsewhere | None:
        self._say(f"the candidate with {name}, in a process of its own")
        subject = self._asked.sides["candidate"].elsewhere(variables)
        assert subject is not None  # as was asked before
        runs = self._runs(subject)
        try:
            written, again = runs.run(AS_WRITTEN), runs.run(AS_WRITTEN)
            there, unrewritten, note = self._function_there(runs, written)
        except LockstepError as error:
            part = next(part for part in PARTS if name not in process_settings(frozenset({part})))
            self._could_not(name, error, part=part)
            return None
        finally:
            runs.close()
            subject.end()  # at once: a large model takes gigabytes there
        judged, reference = self._judged(eager, written), None
        moved = settled(judged.findings, None)
        # Where rounding hides the answer, or both sides differ without the setting, they are compared with it.
        if moved is Verdict.UNDECIDED or not self._bench.from_reference(self._pair.traces.base, eager).bit_equal:
            reference = self._of_reference_there(name, variables, written)
        if reference is not None:
            note += f"; the reference there: {reference}"
            if moved is Verdict.UNDECIDED:
                self.findings.append(attribution.of_moved_process(name, self._bench.apart(eager, written), reference))
        self._row(name, judged, known=reference is not None and reference.bit_equal, note=note)
        return _Elsewhere(
            name,
            there,
            unrewritten,
            self._bench.apart(written, again),
            reference,
        )

    def _function_there(self, runs: Runs, written: Trace) -> tuple[Distance | None, Distance | None, str]:
        """How far `tf.function` is from the run as written there, with Grappler and without, and what to note of it."""
        try:
            there, unrewritten = (self._bench.apart(written, runs.run(how)) for how in (FUNCTION, WHOLE_OFF))
        except LockstepError:
            return None, None, "tf.function there: did not run"
        return there, unrewritten, f"tf.function there: {there}"

    def _of_reference_there(self, name: str, variables: Mapping[str, str], written: Trace) -> Distance | None:
        """How far both sides are apart where both have the setting; None where the reference cannot be run so."""
        graph, base = self._pair.switched, self._pair.traces.base
        if graph is None:
            return None
        self._say(f"the reference with {name}, in a process of its own")
        try:
            return self._bench.from_reference(graph.run_elsewhere(dict(base.before), variables), written)
        except LockstepError:
            return None  # a graph that calls Python, say

    # ---- the reference

    def _session(self) -> None:
        """The reference's graph in a session that rewrites it, as sessions come."""
        graph = self._pair.switched
        if graph is None:
            return
        from lockstep.frameworks.tensorflow import grappler

        base, name = self._pair.traces.base, "session, rewriting"

        def run(execution: Execution, label: str) -> Distance | None:
            self._say(f"the reference: {label}")
            try:
                trace = graph.run_switched(dict(base.before), execution)
            except LockstepError as error:
                self._could_not(label, error, counts=False, side="reference")
                return None
            found = self._bench.of_reference(base, trace)
            if len(execution.off) < 2:
                self._row(label, _Judged(found, None, self._bench.budget((base, trace))), side="reference")
            return distance(found)

        apart = run(FUNCTION, name)
        if apart is None:
            return
        row, cause = self.rows[-1], Attribution()
        if not apart.bit_equal and self._wanted("passes"):
            cause = attribution.attribute(
                grappler.passes_of_sessions(),
                lambda off: run(Execution("grappler", off), f"{name}, {' and '.join(off)} off"),
                lambda: Distance(0.0, None, bit_equal=True),  # a session without is what it is held against
            )
        if apart.bit_equal or self._wanted("passes"):
            seen = Seen(apart, row.verdict, row.noise_budget)
            self.findings.append(attribution.of_grappler(attribution.REFERENCE, seen, cause))

    # ---- rows

    def _judged(self, eager: Trace, trace: Trace) -> _Judged:
        """Judges a run of the candidate both ways; the run itself, a large one maybe, need not be kept."""
        return _Judged(
            self._bench.of_candidate(eager, trace),
            self._bench.against_reference(trace, eager),
            self._bench.budget((eager, trace), (self._pair.traces.reference, trace)),
        )

    def _row(
        self,
        setting: str,
        judged: _Judged,
        *,
        known: bool = False,
        undecided: bool = False,
        note: str = "",
        side: str = "candidate",
    ) -> Verdict:
        """Adds a row.

        Args:
            setting: What it is called.
            judged: What came of it.
            known: Whether some switch makes its difference from the eager run vanish, bit for bit.
            undecided: Whether draws that cannot be aligned make a difference mean nothing.
            note: What else is said of it; by default what decides the verdict.
            side: Whose it is.
        """
        eager = next((row.verdict for row in self.rows if row.setting == "eager"), None)
        parts = (judged.as_written, Verdict.EQUIVALENT), (judged.from_reference, eager)
        verdict = overall([settled(found, other if known else None) for found, other in parts if found is not None])
        if undecided and verdict is Verdict.DIVERGED:
            verdict = Verdict.UNDECIDED
        if not note:
            note = why(judged.findings)
        self.rows.append(
            SettingReport(
                mode=self._kind,
                side=side,
                setting=setting,
                as_written=None if judged.as_written is None else distance(judged.as_written),
                from_reference=None if judged.from_reference is None else distance(judged.from_reference),
                noise_budget=judged.budget,
                verdict=verdict,
                note=note,
            )
        )
        return verdict

    def _could_not(
        self, setting: str, error: LockstepError, *, side: str = "candidate", counts: bool = True, part: str = ""
    ) -> Verdict:
        """Adds a row for what did not run; `part` is what it is left out by."""
        verdict = Verdict.UNDECIDED if counts else Verdict.NOT_ASKED
        note = f"did not run: {reason(error)}"
        self.rows.append(SettingReport(self._kind, side, setting, None, None, None, verdict, note))
        if counts:
            left_out = f' "{part}" in `without` (--without {part}) leaves it out.' if part else ""
            self.findings.append(f"{setting} did not run: {reason(error)}.{left_out}")
        return verdict

    # ---- running

    def _runs(self, subject: Subject) -> Runs:
        build = functools.partial(subject.build, self._mode, self._asked.inputs)
        return Runs(lambda: on_side("candidate", build), self._setting, self._draws)

    def _wanted(self, part: str) -> bool:
        return part not in self._asked.without

    def _say(self, text: str) -> None:
        self._asked.progress(Event(f"{self._kind}: {text}"))


def _equal(distance: Distance | None) -> bool:
    return distance is not None and distance.bit_equal
