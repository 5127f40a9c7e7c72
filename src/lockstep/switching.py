"""Runs a candidate in each way that TensorFlow has of carrying it out, and names the switch that makes a difference.

As written (eagerly), in `tf.function` with Grappler's passes, without each of them, compiled by XLA; and in processes of
their own with oneDNN's kernels switched the other way, on one thread, with deterministic kernels. All from the same
values of all variables, and with the same draws. How the data goes: docs/design/switches.md.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from lockstep import attribution
from lockstep.align import Rename, TransformRule
from lockstep.arrays import Arrays, checked_inputs
from lockstep.attribution import Attribution, Seen
from lockstep.errors import InputError, LockstepError, SubjectError, nearest
from lockstep.judging import Judge, Traces
from lockstep.report.model import Verdict, overall
from lockstep.report.switches import Distance, SettingReport, SwitchReport
from lockstep.sensitivity import FACTOR, Noise
from lockstep.steps import filling, native_order, numbers, repeated_draws
from lockstep.steps.finding import Finding
from lockstep.subjects import AS_WRITTEN, ONEDNN, Execution, Mode, Setting, Subject, other_kernels
from lockstep.tolerance import FixedTolerance
from lockstep.trace import Trace
from lockstep.verification import Event, Pair, Progress, Rules, on_side, paired, subject_of

PARTS = ("passes", "xla", "onednn", "threads", "determinism", "reference")
"""What can be left out."""
_FUNCTION, _WHOLE_OFF, _XLA = Execution("grappler"), Execution("graph"), Execution("xla")


def switches(  # noqa: PLR0913 - as of `verify`
    reference: Subject | Mapping[str, Any],
    candidate: Subject | Mapping[str, Any],
    inputs: Arrays,
    *,
    rename: Sequence[Rename] = (),
    transforms: Sequence[TransformRule | Sequence[str]] = (),
    tolerance: FixedTolerance | None = None,
    training: bool = False,
    without: Collection[str] = (),
    progress: Progress | None = None,
) -> SwitchReport:
    """Finds out which of TensorFlow's switches a difference comes from.

    The candidate runs eagerly, in `tf.function` (where that differs, with each of Grappler's passes off in turn), and
    with `jit_compile=True`; in further processes with oneDNN's kernels switched the other way, on one thread, and with
    deterministic kernels. Each run is held against the eager one and against the reference. Where the reference's graph
    runs here, its session is switched likewise.

    Args:
        reference: The original, as for `lockstep.verify`.
        candidate: The migrated model: `lockstep.keras(build)`, or a table of the configuration as a dict. Only what a
            table names can be run in another process.
        inputs: As for `lockstep.verify`.
        rename: Likewise.
        transforms: Likewise.
        tolerance: Likewise; what is beyond it is held against a noise budget.
        training: Whether training mode is asked too, besides inference.
        without: What is left out: `"passes"`, `"xla"`, `"onednn"`, `"threads"`, `"determinism"`, `"reference"`.
        progress: Called with an `Event` whenever something begins.

    Returns:
        The report; only its `raise_if_diverged()` raises.

    Raises:
        InputError: The inputs, a table or a name in `without` cannot be used, or the candidate is no Keras model.
        SubjectError: The code of one side failed when it was run as written; its cause is the original exception.
    """
    unknown = [name for name in without if name not in PARTS]
    if unknown:
        raise InputError(
            f"without: {unknown[0]!r} is no part that can be left out{nearest(unknown[0], PARTS)} (there are "
            f"{', '.join(PARTS)})."
        )
    start = time.perf_counter()
    sides = {"reference": subject_of(reference, "reference"), "candidate": subject_of(candidate, "candidate")}
    if not any(hasattr(sides["candidate"], name) for name in ("origin", "again")):
        raise InputError(
            f"the candidate {sides['candidate'].label} is no Keras model that runs now; switches needs one that "
            'lockstep.keras(build) or a table with runtime = "keras" makes.'
        )
    rules = Rules(tuple(rename), tuple(map(TransformRule.of, transforms)))
    told = progress or (lambda _: None)
    rows: list[SettingReport] = []
    findings: list[str] = []
    for kind in ("inference", "training") if training else ("inference",):
        mode = Mode(training=kind == "training", randomness="num_random_ops")
        with paired(
            sides["reference"],
            sides["candidate"],
            checked_inputs(inputs),
            mode,
            rules=rules,
            tolerance=tolerance or FixedTolerance(),
            progress=told,
        ) as pair:
            question = _Question(pair, sides, mode, inputs, kind, frozenset(without), told)
            question.answer()
        rows.extend(question.rows)
        findings.extend(question.findings)
    return SwitchReport(
        verdict=overall([row.verdict for row in rows if row.side == "candidate"]),
        settings=tuple(rows),
        findings=tuple(findings),
        environments={side: dict(subject.environment()) for side, subject in sides.items()},
        duration_s=time.perf_counter() - start,
    )


class _Switchable(Protocol):
    """A built candidate that can be run in `tf.function`."""

    def run(
        self, setting: Setting, *, draws: Sequence[int] | None = None, execution: Execution = AS_WRITTEN
    ) -> Trace: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Elsewhere:
    """What was seen in a process with other settings: the candidate as written, in `tf.function`, and the reference."""

    name: str
    written: Trace
    function: Distance
    unrewritten: Distance
    repeated: Distance
    reference: Distance | None


class _Runs:
    """Runs of the candidate in one process: a model of its own for each compiler, all from the same values."""

    def __init__(self, build: Callable[[], Any], setting: Setting, draws: Sequence[int]) -> None:
        self._build, self._setting, self._draws = build, setting, draws
        self._built: dict[str, _Switchable] = {}

    def run(self, execution: Execution) -> Trace:
        # What the Python code of a model keeps from call to call must be the same for each compiler.
        kind = "function" if execution.compiler in ("graph", "grappler") else execution.compiler
        if kind not in self._built:
            self._built[kind] = cast(_Switchable, self._build())
        return self._built[kind].run(self._setting, draws=self._draws, execution=execution)

    def close(self) -> None:
        for instance in self._built.values():
            instance.close()
        self._built.clear()


class _Question:
    """What is asked in one mode."""

    def __init__(  # noqa: PLR0913 - what is asked, of whom
        self,
        pair: Pair,
        sides: Mapping[str, Subject],
        mode: Mode,
        inputs: Arrays,
        kind: str,
        without: frozenset[str],
        progress: Progress,
    ) -> None:
        self._pair, self._sides, self._mode, self._inputs = pair, sides, mode, inputs
        self._kind, self._without, self._progress = kind, without, progress
        self._judge: Judge = pair.judge
        first = pair.traces
        carried = filling.carried(first.reference.before, pair.alignment)
        self._setting = Setting("given", {**first.candidate.before, **carried})
        self._draws = tuple(first.reference.forward_draws or ())
        self._names = {r.key: c.key for r, c in pair.alignment.pairs}
        self.rows: list[SettingReport] = []
        self.findings: list[str] = []

    def answer(self) -> None:
        """Runs everything, and fills `rows` and `findings`."""
        candidate: Any = self._sides["candidate"]
        runs = _Runs(functools.partial(self._built, candidate), self._setting, self._draws)
        try:
            self._say("candidate: eagerly")
            eager = self._candidates(lambda: runs.run(AS_WRITTEN))
            again = self._candidates(lambda: runs.run(AS_WRITTEN))
            repeated = self._apart(eager, again)
            self._eager_row(eager)
            elsewhere = list(self._elsewhere(candidate, eager))
            self._about_the_reference(eager, elsewhere)
            if not repeated.bit_equal:
                steady = [each.name for each in elsewhere if each.repeated.bit_equal]
                self.findings.append(attribution.of_repeated_calls(self._told("run eagerly, it"), repeated, steady))
            verdict = self._function(runs, eager, again, elsewhere)
            if "xla" not in self._without:
                self._xla(runs, eager, verdict)
        finally:
            runs.close()
        if "reference" not in self._without:
            self._session()
        self.rows.sort(key=lambda row: row.side == "reference")  # stable: the candidate's come first

    # ---- the candidate in this process

    def _eager_row(self, eager: Trace) -> None:
        found = self._against_reference(eager, eager)
        self._row("eager", None, found, eager, "as written")

    def _function(self, runs: _Runs, eager: Trace, again: Trace, elsewhere: Sequence[_Elsewhere]) -> Verdict:
        """The candidate in `tf.function`, with all passes and without each."""
        name = "tf.function"
        self._say(f"candidate: {name}")
        try:
            first = runs.run(_FUNCTION)
            second = runs.run(_FUNCTION)
        except LockstepError as error:
            self._could_not(name, error)
            return Verdict.UNDECIDED
        found = self._of_candidate(eager, first)
        distance = _distance(found)
        tried: list[tuple[str, Trace]] = []

        def probe(off: tuple[str, ...], execution: Execution | None = None) -> Distance | None:
            label = "all of Grappler off" if execution else f"{' and '.join(off)} off"
            self._say(f"candidate: {name}, {label}")
            try:
                trace = runs.run(execution or Execution("grappler", off))
            except LockstepError as error:
                self._could_not(f"{name}, {label}", error, counts=False)
                return None
            if execution or len(off) == 1:
                tried.append((label, trace))
            return self._apart(eager, trace)

        cause = Attribution()
        if not distance.bit_equal and "passes" not in self._without:
            passes = getattr(self._sides["candidate"], "passes", _passes)()
            cause = attribution.attribute(passes, probe, lambda: probe((), _WHOLE_OFF))
        seen = self._seen(distance, found, eager, first, elsewhere)
        misaligned = _misaligned(eager, first)
        later = self._of_candidate(again, second)
        changes = not misaligned and overall(_verdicts(later)) is Verdict.DIVERGED and distance.bit_equal
        note = misaligned
        if changes:
            note = f"from the second call on it differs by {_distance(later)}"
        excused = cause.found or bool(seen.elsewhere)
        verdict = self._row(
            name, found, self._against_reference(first, eager), first, note, excused=excused, misaligned=misaligned
        )
        if changes:
            verdict = self._worsened(Verdict.DIVERGED)
            self.findings.append(
                attribution.of_second_call(self._told(name), _distance(later), self._apart(eager, again))
            )
        elif misaligned:
            self.findings.append(f"{self._told(name)} cannot be judged: {misaligned}.")
        elif distance.bit_equal or "passes" not in self._without:
            self.findings.append(attribution.of_grappler(self._told(name), seen, cause, "your code"))
        for label, trace in tried:
            self._row(
                f"{name}, {label}",
                self._of_candidate(eager, trace),
                self._against_reference(trace, eager),
                trace,
                "",
                excused=excused,
                misaligned=misaligned,
            )
        return verdict

    def _xla(self, runs: _Runs, eager: Trace, function: Verdict) -> None:
        name = "tf.function, jit_compile"
        self._say(f"candidate: {name}")
        try:
            trace = runs.run(_XLA)
        except LockstepError as error:
            self._could_not(name, error)
            return
        misaligned = _misaligned(eager, trace)
        found = self._of_candidate(eager, trace)
        verdict = self._row(
            name, found, self._against_reference(trace, eager), trace, misaligned, misaligned=misaligned
        )
        seen = Seen(_distance(found), verdict, self._budget(eager, trace))
        self.findings.append(
            f"{self._told(name)} cannot be judged: {misaligned}."
            if misaligned
            else attribution.of_xla(self._told(name), seen, function)
        )

    # ---- in processes of their own

    def _elsewhere(self, candidate: Any, eager: Trace) -> Iterator[_Elsewhere]:
        wanted = {name: variables for name, (part, variables) in _processes().items() if part not in self._without}
        if not wanted:
            return
        if not hasattr(candidate, "again") and candidate.origin is None:
            self.findings.append(
                f"{self._told('')}{', '.join(wanted)}: not run, as the candidate is a function of this process; name it "
                'as a table, {"runtime": "keras", "entry": "model.py:build"}, to have it run in another one.'
            )
            return
        for name, variables in wanted.items():
            self._say(f"candidate: {name}, in a process of its own")
            other = _in_another_process(candidate, variables)
            runs = _Runs(functools.partial(self._built, other), self._setting, self._draws)
            try:
                written, again = runs.run(AS_WRITTEN), runs.run(AS_WRITTEN)
                function, unrewritten = runs.run(_FUNCTION), runs.run(_WHOLE_OFF)
            except LockstepError as error:
                self._could_not(name, error)
                continue
            finally:
                other.end()
            of_function = self._of_candidate(written, function)
            found = [*self._of_candidate(eager, written), *self._against_reference(written, eager)]
            note = f"tf.function there: {_distance(of_function)}"
            self._row(name, found[:2], found[2:], written, note)
            self._worsened(self._excused(_verdicts(of_function), excused=_distance(of_function).bit_equal))
            yield _Elsewhere(
                name,
                written,
                _distance(of_function),
                self._apart(written, unrewritten),
                self._apart(written, again),
                self._of_reference_there(name, variables, eager, written),
            )

    def _of_reference_there(
        self, name: str, variables: Mapping[str, str], eager: Trace, written: Trace
    ) -> Distance | None:
        """How far both sides are apart where both have the setting; None where they are equal without it."""
        graph: Any = self._pair.movable
        if graph is None or not hasattr(graph, "run_elsewhere") or self._from(self._pair.traces.base, eager).bit_equal:
            return None
        self._say(f"reference: {name}, in a process of its own")
        try:
            return self._from(graph.run_elsewhere(dict(self._pair.traces.base.before), variables), written)
        except LockstepError:
            return None  # a graph that calls Python, say; the budget says so

    # ---- the reference

    def _about_the_reference(self, eager: Trace, elsewhere: Sequence[_Elsewhere]) -> None:
        traces = self._pair.traces
        found = self._compared_with(traces.base, eager)
        budget = self._budget(traces.base, eager)
        equal = tuple(each.name for each in elsewhere if each.reference is not None and each.reference.bit_equal)
        unequal = tuple(each.name for each in elsewhere if each.reference is not None and not each.reference.bit_equal)
        verdict = overall(_verdicts(self._against_reference(eager, eager)))
        seen = Seen(_distance(found), verdict, budget, equal, unequal)
        versions = self._judge.runtimes() if traces.here is not None else ""
        self.findings.append(attribution.of_reference(self._told("the candidate run eagerly"), seen, versions))
        if self._pair.note:
            self.findings.append(self._told(self._pair.note))

    def _session(self) -> None:
        """The reference's graph in a session that rewrites it, as sessions come."""
        graph: Any = self._pair.movable
        if graph is None or not hasattr(graph, "run_switched"):
            return
        from lockstep.adapters import grappler

        base = self._pair.traces.base
        name = "its session, rewriting"

        def run(execution: Execution, label: str) -> Distance | None:
            self._say(f"reference: {label}")
            try:
                trace = graph.run_switched(dict(base.before), execution)
            except LockstepError as error:
                self._could_not(label, error, side="reference")
                return None
            found = self._judge.of_one_side(base, trace, self._noise)
            if len(execution.off) < 2:
                self._row(label, found, None, trace, "", side="reference")
            return _distance(found)

        distance = run(_FUNCTION, name)
        if distance is None:
            return
        verdict = self.rows[-1].verdict
        cause = Attribution()
        if not distance.bit_equal and "passes" not in self._without:
            cause = attribution.attribute(
                grappler.passes_of_sessions(),
                lambda off: run(Execution("grappler", off), f"{name}, {' and '.join(off)} off"),
                lambda: Distance(0.0, None, bit_equal=True),  # that is how `lockstep check` runs it
            )
        if distance.bit_equal or "passes" not in self._without:
            seen = Seen(distance, verdict, self.rows[-1].noise_budget)
            what = self._told("the reference in a session of its own, which Grappler rewrites")
            self.findings.append(attribution.of_grappler(what, seen, cause, "its code"))

    # ---- comparing and judging

    def _of_candidate(self, first: Trace, second: Trace) -> list[Finding]:
        return self._judge.of_one_side(first, second, self._noise, self._names)

    def _apart(self, first: Trace, second: Trace) -> Distance:
        """The distance alone, which asks for no noise budget."""
        judge = dataclasses.replace(self._judge, tolerance=dataclasses.replace(self._judge.tolerance, alone=True))
        return _distance(judge.of_one_side(first, second, lambda: None))

    def _against_reference(self, trace: Trace, eager: Trace) -> list[Finding]:
        """Judges a run as `lockstep check` judges the candidate's."""
        traces, alignment = self._pair.traces, self._pair.alignment
        both = Traces(traces.reference, trace, traces.here)
        results = self._judge.results(both, alignment, self._pair.movable)
        if repeated_draws.cannot_be_aligned(traces.reference, eager):
            results = repeated_draws.undecided(results, traces.reference)
        # A function's second run draws with the seeds of its trace; what they were is known of the eager run.
        return native_order.excused(traces.reference, eager, results)

    def _compared_with(self, base: Trace, trace: Trace) -> list[Finding]:
        tolerance = self._judge.tolerance
        return [
            numbers.outputs(base, trace, tolerance),
            numbers.state(base, trace, self._pair.alignment, tolerance),
        ]

    def _from(self, base: Trace, trace: Trace) -> Distance:
        return _distance(self._compared_with(base, trace))

    def _noise(self) -> Noise | None:
        movable = self._pair.movable
        if movable is None or self._judge.tolerance.alone:
            return None
        return self._judge.noise(movable, self._pair.traces.base)

    def _budget(self, first: Trace, second: Trace) -> float | None:
        """The noise budget of the output that is furthest off; None where none is, or it cannot be measured."""
        worst, error = "", 0.0
        for path, value in first.outputs.items():
            other = second.outputs.get(path)
            if other is None or other.shape != value.shape or value.dtype.kind not in "fc" or not value.size:
                continue
            with np.errstate(invalid="ignore"):
                apart = float(np.nanmax(np.abs(value - other), initial=0.0))
            if apart > error:
                worst, error = path, apart
        noise = self._noise() if error else None
        return None if noise is None or worst not in noise.outputs else FACTOR * noise.outputs[worst]

    def _seen(
        self,
        distance: Distance,
        found: Sequence[Finding],
        eager: Trace,
        trace: Trace,
        elsewhere: Sequence[_Elsewhere],
    ) -> Seen:
        equal = [each.name for each in elsewhere if each.function.bit_equal]
        equal += [
            f"{each.name} (and Grappler off)"
            for each in elsewhere
            if each.unrewritten.bit_equal and not each.function.bit_equal
        ]
        unequal = tuple(each.name for each in elsewhere if not each.unrewritten.bit_equal)
        return Seen(distance, overall(_verdicts(found)), self._budget(eager, trace), tuple(equal), unequal)

    def _row(  # noqa: PLR0913 - what a row of the table holds
        self,
        setting: str,
        as_written: Sequence[Finding] | None,
        from_reference: Sequence[Finding] | None,
        trace: Trace,
        note: str,
        *,
        excused: bool = False,
        misaligned: str = "",
        side: str = "candidate",
    ) -> Verdict:
        verdicts = [*_verdicts(as_written or ()), *_verdicts(from_reference or ())]
        verdict = self._excused(verdicts, excused=excused)
        if misaligned and verdict is Verdict.DIVERGED:
            verdict = Verdict.UNDECIDED
        if verdict is not Verdict.EQUIVALENT and not note:
            note = _why([*(as_written or ()), *(from_reference or ())])
        base = self._pair.traces.base
        self.rows.append(
            SettingReport(
                mode=self._kind,
                side=side,
                setting=setting,
                as_written=None if as_written is None else _distance(as_written),
                from_reference=None if from_reference is None else _distance(from_reference),
                noise_budget=self._budget(base, trace),
                verdict=verdict,
                note=note,
            )
        )
        return verdict

    @staticmethod
    def _excused(verdicts: Sequence[Verdict], *, excused: bool) -> Verdict:
        """Where a switch makes a difference vanish bit for bit, noise that would hide the answer hides nothing."""
        verdict = overall(verdicts)
        return Verdict.EQUIVALENT if excused and verdict is Verdict.UNDECIDED else verdict

    def _worsened(self, verdict: Verdict) -> Verdict:
        """Lets a row that has just been made count what else was seen of it."""
        row = self.rows[-1]
        self.rows[-1] = dataclasses.replace(row, verdict=overall([row.verdict, verdict]))
        return self.rows[-1].verdict

    def _could_not(self, setting: str, error: LockstepError, *, side: str = "candidate", counts: bool = True) -> None:
        reason = _reason(error)
        verdict = Verdict.UNDECIDED if counts else Verdict.NOT_ASKED
        self.rows.append(SettingReport(self._kind, side, setting, None, None, None, verdict, f"did not run: {reason}"))
        if counts:
            self.findings.append(f"{self._told(setting)} cannot be run: {reason}")

    def _built(self, subject: Any) -> Any:
        return on_side("candidate", lambda: subject.build(self._mode, self._inputs))

    def _candidates(self, run: Callable[[], Trace]) -> Trace:
        return on_side("candidate", run)

    def _told(self, what: str) -> str:
        return f"{self._kind}: {what}"

    def _say(self, text: str) -> None:
        self._progress(Event(f"{self._kind}: {text}"))


def _passes() -> tuple[str, ...]:
    from lockstep.adapters import grappler

    return grappler.passes()


def _processes() -> dict[str, tuple[str, dict[str, str]]]:
    """What holds for a whole process: name -> the part it belongs to, and the environment variables that set it."""
    kernels = other_kernels()
    return {
        f"oneDNN {'off' if kernels[ONEDNN] == '0' else 'on'}": ("onednn", kernels),
        "one thread": ("threads", {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}),
        # What tf.config.experimental.enable_op_determinism() sets, for a process that nobody can call it in.
        "determinism on": ("determinism", {"TF_DETERMINISTIC_OPS": "1"}),
    }


def _in_another_process(candidate: Any, variables: Mapping[str, str]) -> Any:
    if hasattr(candidate, "again"):
        return candidate.again(variables)
    from lockstep.environments import EnvironmentSpec
    from lockstep.isolated_keras import IsolatedKeras

    folder, entry = candidate.origin
    # The same Python as this one's: what leads it to its packages is no leak, as it would be in another.
    own = {name: os.environ.get(name, "") for name in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    spec = EnvironmentSpec(interpreter=Path(sys.executable))
    return IsolatedKeras(folder, entry, spec, variables={**own, **variables})


def _verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def _distance(findings: Sequence[Finding]) -> Distance:
    figures: dict[str, Any] = {}
    for finding in findings:
        figures.update(finding.figures)
    state = figures.get("largest_state_error")
    bit_equal = bool(figures.get("output_bit_equal")) and bool(figures.get("state_bit_equal", True))
    structure = any(f.verdict is Verdict.UNDECIDED and "structure" in f.phrase for f in findings)
    return Distance(float(figures.get("largest_output_error", np.inf)), state, bit_equal and not structure)


def _misaligned(eager: Trace, other: Trace) -> str:
    """Tells why draws of a function cannot be those of the eager run; empty where they are."""
    if eager.unaligned_draws or other.unaligned_draws:
        return "it calls next() of a Keras SeedGenerator itself, whose numbers cannot be aligned"
    ours, theirs = eager.forward_draws or (), other.forward_draws or ()
    if ours == theirs:
        return ""
    return f"eagerly it draws {len(ours)} times, traced {len(theirs)} times, so that the draws cannot be aligned"


def _why(findings: Sequence[Finding]) -> str:
    decisive = [f for f in findings if f.verdict is overall(_verdicts(findings)) and f.phrase]
    return decisive[0].phrase if decisive else ""


def _reason(error: LockstepError) -> str:
    text = str(error)
    if isinstance(error, SubjectError) and f"{error.doing}: " in text:
        text = text.partition(f"{error.doing}: ")[2]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
