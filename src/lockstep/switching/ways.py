"""What is asked of a candidate that says itself how else it can be carried out: a PyTorch module.

Each way runs a module of its own, from the same values and with the same draws, and is held against the run as written
and against the same in float64, which tells rounding from anything else. How the data goes: docs/design/switches.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lockstep.check.partly import Pair
from lockstep.check.reporting import Event
from lockstep.common.errors import LockstepError
from lockstep.report.switches import Distance, SettingReport
from lockstep.results.model import Verdict, overall
from lockstep.subjects import AS_WRITTEN, Execution, Mode, Way, Ways
from lockstep.subjects.built import on_side
from lockstep.switching import attribution
from lockstep.switching.attribution import Seen
from lockstep.switching.bench import Bench, distance, furthest, misaligned, reason, settled, why
from lockstep.switching.question import Asked, started
from lockstep.switching.runs import Runs
from lockstep.traces.trace import Trace


@dataclass(frozen=True)
class _Known:
    """What each way is held against.

    Attributes:
        eager: The run as written.
        again: Its second call.
        exact: The same in float64; None where that did not run.
    """

    eager: Trace
    again: Trace
    exact: Trace | None

    def from_exact(self, trace: Trace) -> float | None:
        """How far a run is from float64; None where nothing is known of that."""
        return None if self.exact is None else furthest(self.exact, trace)[0]


class WaysQuestion:
    """What is asked in one mode.

    Attributes:
        rows: What was run.
        findings: What it comes to.
    """

    def __init__(self, asked: Asked, pair: Pair, mode: Mode, ways: Ways) -> None:
        self._asked, self._pair, self._mode, self._ways = asked, pair, mode, ways
        self._kind = "training" if mode.training else "inference"
        self._bench = Bench(pair)
        self._setting, self._draws = started(pair)
        self.rows: list[SettingReport] = []
        self.findings: list[str] = []

    def answer(self) -> None:
        """Runs everything, and fills `rows` and `findings`."""
        known = self._written()
        found: dict[str, Verdict] = {}
        for way in self._ways.each:
            if way.part not in self._asked.without:
                found[way.name] = self._way(way, known, found)

    def _written(self) -> _Known:
        """Runs it as written, and in float64, and says how both stand to the reference."""
        self._say("the candidate eagerly")
        runs = self._runs()
        try:
            eager, again = (on_side("candidate", lambda: runs.run(AS_WRITTEN)) for _ in range(2))
        finally:
            runs.close()
        known = _Known(eager, again, self._exact())
        reference = self._pair.traces.reference
        judged = self._bench.against_reference(eager, eager)
        verdict, budget = overall([finding.verdict for finding in judged]), self._bench.budget((reference, eager))
        self._row("eager", verdict, (None, distance(judged)), budget, known.from_exact(eager), why(judged))
        self.findings.append(attribution.of_reference(Seen(distance(judged), verdict, budget), ""))
        repeated = self._bench.apart(eager, again)
        if not repeated.bit_equal:
            self.findings.append(attribution.of_repeated_calls(repeated, ()))
        if known.exact is not None and not distance(judged).bit_equal:
            self.findings.append(
                attribution.of_float64(known.from_exact(eager) or 0.0, furthest(known.exact, reference)[0], budget)
            )
        return known

    def _exact(self) -> Trace | None:
        self._say("the candidate in float64")
        try:
            return self._once(self._ways.exact)
        except LockstepError as error:
            self.findings.append(f"float64 did not run: {reason(error)}; nothing is held against it.")
            return None

    def _once(self, execution: Execution) -> Trace:
        runs = self._runs()
        try:
            return runs.run(execution)
        finally:
            runs.close()

    def _way(self, way: Way, known: _Known, before: Mapping[str, Verdict]) -> Verdict:
        if way.missing:
            self._row(way.name, Verdict.NOT_ASKED, (None, None), None, None, f"not run: {way.missing}")
            self.findings.append(f"{way.name} was not run: {way.missing}.")
            return Verdict.NOT_ASKED
        self._say(f"the candidate with {way.name}")
        runs = self._runs()
        try:
            trace = runs.run(way.execution)
            second = runs.run(way.execution)
        except LockstepError as error:
            note = f"did not run: {reason(error)}"
            self._row(way.name, Verdict.UNDECIDED, (None, None), None, None, note)
            self.findings.append(
                f'{way.name} did not run: {reason(error)}. "{way.part}" in `without` (--without {way.part}) leaves it '
                "out."
            )
            return Verdict.UNDECIDED
        finally:
            runs.close()
        return self._judged(way, known, (trace, second), before)

    def _judged(self, way: Way, known: _Known, both: tuple[Trace, Trace], before: Mapping[str, Verdict]) -> Verdict:
        trace, second = both
        found = self._bench.of_candidate(known.eager, trace, way.coarseness)
        apart, budget = distance(found), self._bench.budget((known.eager, trace))
        budget = None if budget is None else budget * way.coarseness
        # Rounding that coarse is large beside any tensor; what is asked is only whether it explains the difference.
        large = max(
            (float(np.abs(one).max(initial=0.0)) for one in known.eager.outputs.values() if one.size), default=0
        )
        known_small = way.coarseness > 1 and budget is not None and budget < large
        verdict = settled(found, Verdict.EQUIVALENT if known_small else None)
        note = why(found) if verdict is not Verdict.EQUIVALENT else ""
        if way.coarseness > 1 and budget is None and not apart.bit_equal:
            verdict, note = Verdict.UNDECIDED, "without a noise budget nothing tells what rounding may do"
        draws = misaligned(known.eager, trace)
        if draws and not apart.bit_equal:
            verdict, note = Verdict.UNDECIDED, draws
        # The code as written is run twice too: what it keeps from call to call is no matter of the way.
        later = self._bench.of_candidate(known.again, second, way.coarseness)
        second_diverged = not draws and overall([one.verdict for one in later]) is Verdict.DIVERGED
        if second_diverged and verdict is Verdict.EQUIVALENT:
            verdict, note = Verdict.DIVERGED, f"the second call differs by {distance(later)}"
        against = self._bench.against_reference(trace, known.eager)
        notes = [one for one in trace.notes if one not in known.eager.notes]
        self._row(
            way.name,
            verdict,
            (apart, distance(against)),
            budget,
            known.from_exact(trace),
            "; ".join(part for part in (note, *notes) if part),
        )
        seen = attribution.SeenWay(
            Seen(apart, verdict, budget), known.from_exact(trace), known.from_exact(known.eager), note
        )
        self.findings.append(attribution.of_way(way, seen, before.get(way.behind)))
        return verdict

    def _row(
        self,
        setting: str,
        verdict: Verdict,
        distances: tuple[Distance | None, Distance | None],
        budget: float | None,
        from_float64: float | None,
        note: str,
    ) -> None:
        self.rows.append(
            SettingReport(
                self._kind, "candidate", setting, *distances, budget, verdict, note, from_float64=from_float64
            )
        )

    def _runs(self) -> Runs:
        build = functools.partial(self._asked.sides["candidate"].build, self._mode, self._asked.inputs)
        return Runs(lambda: on_side("candidate", build), self._setting, self._draws)

    def _say(self, text: str) -> None:
        self._asked.progress(Event(f"{self._kind}: {text}"))
