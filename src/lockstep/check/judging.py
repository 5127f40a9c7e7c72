"""Judges the traces of one question: by the fixed tolerance first, then by what rounding alone explains."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lockstep.check.proof import start
from lockstep.check.proof.whole import Whole, distance
from lockstep.check.steps import added_losses, gradients, numbers, penalties, shares
from lockstep.check.steps.forced import Located
from lockstep.common.arrays import Arrays, largest_magnitude
from lockstep.compare import sensitivity
from lockstep.compare.align import Alignment, Rename
from lockstep.compare.pairs import Budgets
from lockstep.compare.sensitivity import Noise
from lockstep.compare.tolerance import FixedTolerance
from lockstep.ground.structure import same_bits
from lockstep.results.finding import Finding
from lockstep.results.model import Culprit, Verdict
from lockstep.subjects import Objective, Perturbed
from lockstep.traces.trace import Trace


class Evidence(Protocol):
    """What is known of both sides besides their traces."""

    def explain(self, base: Trace, /) -> Located | None:
        """Returns what forced lockstep finds at the values of a trace; None where it cannot be had."""
        ...

    def in_double(self, base: Trace, /) -> Whole | None:
        """Returns both sides from start to end in float64; None where that cannot be had."""
        ...


class NoEvidence:
    """Where nothing is known besides the traces."""

    def explain(self, _: Trace) -> Located | None:
        """Returns nothing."""
        return None

    def in_double(self, _: Trace) -> Whole | None:
        """Returns nothing."""
        return None


NO_EVIDENCE = NoEvidence()
NOISE_RULE = f"noise budget ({sensitivity.FACTOR:g} x the reference's own movement)"
"""How the report names the rule where the budget decided."""

GRADIENT_RULE = f"noise budget ({gradients.FACTOR:g} x the reference's own movement)"
"""The same about gradients."""


@dataclass(frozen=True)
class Traces:
    """The traces of one question.

    Attributes:
        reference: Of the reference.
        candidate: Of the candidate.
        here: Of the reference's own graph on the candidate's runtime, where that is another one.
    """

    reference: Trace
    candidate: Trace
    here: Trace | None = None

    @property
    def base(self) -> Trace:
        """The trace that the candidate's code is held against: on the same runtime, where there is one."""
        return self.reference if self.here is None else self.here


@dataclass(frozen=True)
class Judge:
    """What all questions are judged by.

    Attributes:
        tolerance: The fixed tolerance.
        rules: Rename rules.
        inputs: What both sides ran on.
        say: Told what is being done.
        runtimes: How the two runtimes are told apart: `"TensorFlow 1.15.5 against 2.21.0"`.
        watch: Is shown the traces of each question; None: nobody looks.
        heeded: Which outputs are compared.
        sums_compared: Whether both sides state a training loss, which `gradients` compares with all that is added.
    """

    tolerance: FixedTolerance
    rules: Sequence[Rename]
    inputs: Arrays
    say: Callable[[str], None]
    runtimes: Callable[[], str]
    watch: Callable[[Traces], None] | None = None
    heeded: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = dict
    sums_compared: bool = False
    _measured: list[tuple[Trace, Noise]] = field(default_factory=list)

    def results(
        self, traces: Traces, alignment: Alignment, perturbed: Perturbed | None, evidence: Evidence = NO_EVIDENCE
    ) -> list[Finding]:
        """Compares losses, outputs and the state left behind.

        Args:
            traces: The traces.
            alignment: Reference's variables -> candidate's.
            perturbed: What `traces.base` is of, to be run again where a difference has to be explained; None if it
                cannot be.
            evidence: What else is known of both sides.
        """
        if self.watch is not None:
            self.watch(traces)
        both = added_losses.split(traces.reference, traces.candidate, alignment, self.rules)

        def noise() -> Noise | None:
            if perturbed is None or self.tolerance.alone:
                return None
            return self.noise(perturbed, traces.base)

        def movement() -> float | None:
            found = noise()
            return None if found is None else found.loss

        factor = sensitivity.FACTOR
        of_losses = [
            numbers.losses(traces.reference, traces.candidate, alignment, self.rules, both),
            added_losses.judge(traces.reference, traces.candidate, both, traces.base, movement, factor),
        ]
        return [
            *(map(penalties.deferred, of_losses) if self.sums_compared else of_losses),
            self._judged("output", _Case(traces, alignment, noise, evidence), self._outputs, self._outputs),
            self.state(traces, alignment, perturbed, evidence),
        ]

    def state(
        self, traces: Traces, alignment: Alignment, perturbed: Perturbed | None, evidence: Evidence = NO_EVIDENCE
    ) -> Finding:
        """Compares the state that runs left behind."""

        def noise() -> Noise | None:
            return None if perturbed is None or self.tolerance.alone else self.noise(perturbed, traces.base)

        of_pairs = functools.partial(self._state, alignment)
        of_itself = functools.partial(self._state, _identity(traces.reference))
        return self._judged("state", _Case(traces, alignment, noise, evidence), of_pairs, of_itself)

    def gradients(
        self,
        traces: Traces,
        alignment: Alignment,
        perturbed: Perturbed | None,
        objective: Objective,
        scale: float = 0.0,
    ) -> Finding:
        """Compares training losses and gradients.

        Args:
            traces: Differentiated runs.
            alignment: Reference's variables -> candidate's.
            perturbed: What `traces.base` is of; None if it cannot be run again.
            objective: What the gradients were taken of.
            scale: How large gradients of this model are known to be elsewhere.
        """

        def judged(*, other_kernels: bool) -> Finding:
            def noise() -> Noise | None:
                if perturbed is None or self.tolerance.alone:
                    return None
                return sensitivity.measure(
                    perturbed, traces.base, self.inputs, self.say, objective=objective, other_kernels=other_kernels
                )

            of_pairs = functools.partial(self._gradients, alignment, scale)
            of_itself = functools.partial(self._gradients, _identity(traces.reference), scale)
            return self._judged("gradient", _Case(traces, alignment, noise), of_pairs, of_itself)

        # Other kernels take a process of their own, which nothing but a close case is worth.
        found = judged(other_kernels=False)
        close = found.verdict is not Verdict.EQUIVALENT and not gradients.beyond_doubt(found)
        if close and perturbed is not None and not self.tolerance.alone:
            found = judged(other_kernels=True)
        return gradients.with_cause_of_all(found, traces.base, traces.candidate, alignment)

    def of_one_side(
        self, first: Trace, second: Trace, noise: Callable[[], Noise | None], names: Mapping[str, str] | None = None
    ) -> list[Finding]:
        """Compares outputs and the state left behind of two runs of the same side.

        Args:
            first: One run.
            second: The other.
            noise: How far rounding alone moves the reference; called where the fixed tolerance was exceeded.
            names: The reference's variable keys -> this side's, where it is the candidate.
        """

        def known() -> Noise | None:
            found = None if self.tolerance.alone else noise()
            if found is None:
                return None
            outputs = {path: movement for path, movement in found.outputs.items() if path in first.outputs}
            keyed = ((key if names is None else names.get(key, ""), m) for key, m in found.state.items())
            return dataclasses.replace(found, outputs=outputs, state={k: m for k, m in keyed if k in first.after})

        identity = _identity(first)
        case = _Case(Traces(first, second), identity, known)
        of_itself = functools.partial(self._state, identity)
        return [
            self._judged("output", case, self._outputs, self._outputs),
            self._judged("state", case, of_itself, of_itself),
        ]

    def _gradients(
        self, alignment: Alignment, scale: float, reference: Trace, candidate: Trace, budgets: Budgets | None = None
    ) -> Finding:
        return gradients.compare(reference, candidate, alignment, self.tolerance, budgets, scale)

    def noise(self, perturbed: Perturbed, base: Trace) -> Noise:
        """Measures once for one trace: outputs, state, and a candidate's second run are held against the same."""
        if not any(measured is base for measured, _ in self._measured):
            self._measured[:] = [(base, sensitivity.measure(perturbed, base, self.inputs, self.say))]
        return self._measured[0][1]

    def outputs_agree(self, reference: Trace, candidate: Trace, budgets: Budgets | None = None) -> bool:
        """Tells whether the outputs agree within the fixed tolerance, or budgets."""
        return self._outputs(reference, candidate, budgets).verdict is Verdict.EQUIVALENT

    def _outputs(self, reference: Trace, candidate: Trace, budgets: Budgets | None = None) -> Finding:
        ours, theirs = (dataclasses.replace(one, outputs=self.heeded(one.outputs)) for one in (reference, candidate))
        return numbers.outputs(ours, theirs, self.tolerance, budgets)

    def _state(
        self, alignment: Alignment, reference: Trace, candidate: Trace, budgets: Budgets | None = None
    ) -> Finding:
        return numbers.state(reference, candidate, alignment, self.tolerance, budgets)

    def _judged(
        self, kind: str, case: _Case, compared: Callable[..., Finding], with_itself: Callable[..., Finding]
    ) -> Finding:
        """Judges one kind of tensor; the table in docs/design/noise.md has its verdicts row by row."""
        traces = case.traces

        def of_code(budgets: Budgets | None = None) -> Finding:
            return compared(traces.base, traces.candidate, budgets=budgets)

        def differences(budgets: Budgets | None = None, of_runtimes: Budgets | None = None) -> shares.Differences:
            if traces.here is None:
                total = of_code(budgets)
                return shares.Differences(total, code=total, runtime=None)
            return shares.Differences(
                compared(traces.reference, traces.candidate, budgets=budgets),
                code=of_code(budgets),
                runtime=with_itself(traces.reference, traces.here, budgets=of_runtimes),
            )

        fixed = differences()
        total = shares.told(fixed, kind, self.runtimes())
        if total.verdict is not Verdict.DIVERGED or self.tolerance.alone or total.exact:
            return total
        located = case.evidence.explain(traces.base)
        if located is not None and located.culprits:
            return dataclasses.replace(total, culprits=(*_moved_alone(total.culprits), *located.culprits))
        elsewhere = start.told(start.apart(traces.base, traces.candidate, case.alignment), len(case.alignment.pairs))
        if elsewhere:
            return shares.started_apart(total, elsewhere)
        same = self._same_function(kind, fixed.code, case)
        runtime_within = fixed.runtime is None or fixed.runtime.verdict is Verdict.EQUIVALENT
        if same and runtime_within:
            return shares.rounding_alone(total, kind)
        found = case.noise()
        if found is None:
            return total
        moved = {"output": found.outputs, "state": found.state, "gradient": found.gradients}[kind]
        factor = gradients.FACTOR if kind == "gradient" else sensitivity.FACTOR
        budgets = {name: factor * movement for name, movement in moved.items()}
        tensors = {"output": traces.base.outputs, "state": traces.base.after, "gradient": traces.base.gradients}[kind]
        hidden = gradients.hidden(budgets, traces.base) if kind == "gradient" else _hidden(budgets, tensors)
        fixed = shares.Differences(total, fixed.code, fixed.runtime)
        budgeted = differences(budgets, _of_runtimes(kind, budgets, tensors, case))
        if hidden and same is None:
            clear = of_code(sensitivity.sharpened(budgets, hidden, tensors))
            hidden = {} if clear.verdict is Verdict.EQUIVALENT else hidden
        known = shares.Known(same_function=same, operations_right=located is not None and located.explains)
        judged = shares.judged(fixed, budgeted, hidden, kind, known)
        return dataclasses.replace(judged, details=(*judged.details, *found.failed))

    def _same_function(self, kind: str, code: Finding, case: _Case) -> bool | None:
        """Tells whether the code computes the same but for rounding, as float64 shows; None: it cannot be told."""
        if code.verdict is Verdict.EQUIVALENT:
            return True
        whole = None if kind == "gradient" else case.evidence.in_double(case.traces.base)
        if whole is None:
            return None
        ends = whole.of(kind)
        differing = case.differing(kind)
        if not set(differing) <= set(ends):
            return None
        if not all(ends[name].same for name in differing):
            return False
        # What the traces differ by has to be what rounding was measured to make of these programs: else they are
        # programs of something else (of a call that the candidate answers otherwise, say).
        measured = all(
            off <= ends[name].bound + self.tolerance.at(np.dtype(np.float32), ends[name].size)[1]
            for name, off in differing.items()
        )
        return True if measured else None


@dataclass(frozen=True)
class _Case:
    """What one kind of tensor is judged by.

    Attributes:
        traces: The traces.
        alignment: Reference's variables -> candidate's.
        noise: Measures how far rounding alone moves the reference; gives None where it cannot be.
        evidence: What else is known.
    """

    traces: Traces
    alignment: Alignment
    noise: Callable[[], Noise | None]
    evidence: Evidence = NO_EVIDENCE

    def differing(self, kind: str) -> dict[str, float]:
        """Returns what has other bits in the candidate, and by how much: outputs, or the reference's variables."""
        base, candidate = self.traces.base, self.traces.candidate
        if kind == "output":
            both = ((n, v, candidate.outputs[n]) for n, v in base.outputs.items() if n in candidate.outputs)
        else:
            both = (
                (r.key, _left(base, r.key), _left(candidate, c.key))
                for r, c in self.alignment.pairs
                if r.key in base.after or c.key in candidate.after
            )
        arrays = ((name, np.asarray(ours), np.asarray(theirs)) for name, ours, theirs in both)
        return {name: distance(ours, theirs) for name, ours, theirs in arrays if not same_bits(ours, theirs)}


def _of_runtimes(kind: str, budgets: Budgets, tensors: Mapping[str, np.ndarray], case: _Case) -> dict[str, float]:
    """Returns how far two runtimes may differ: as any tensor of the kind moves, or as rounding moved this run."""
    found = {**budgets, **sensitivity.of_peers(budgets, tensors)}
    whole = None if kind == "gradient" or case.traces.here is None else case.evidence.in_double(case.traces.base)
    for name, end in (whole.of(kind) if whole is not None else {}).items():
        found[name] = max(found.get(name, 0.0), sensitivity.FACTOR * end.rounding[0])
    return found


def _left(trace: Trace, key: str) -> np.ndarray:
    """The value of a variable after a run."""
    return trace.after[key] if key in trace.after else trace.before[key]


def _moved_alone(culprits: Sequence[Culprit]) -> list[Culprit]:
    """Of updated variables those that one side alone updates: a value that differs is the fault of an operation."""
    return [culprit for culprit in culprits if culprit.cause != numbers.VALUE_DIFFERS]


def _identity(trace: Trace) -> Alignment:
    return Alignment(pairs=tuple((record, record) for record in trace.variables), missing=(), extra=())


def _hidden(budgets: Budgets, tensors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the tensors whose budget is so large that it hides any answer, with its share of their size."""
    hidden = {}
    for name, budget in budgets.items():
        size = largest_magnitude(tensors[name])
        if size and budget > sensitivity.HIDING * size:
            hidden[name] = budget / size
    return hidden
