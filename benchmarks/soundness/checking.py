"""Checks single mutants and cases in this process."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.soundness.case import Case
from benchmarks.soundness.interception import Mutation
from benchmarks.soundness.mutators import Mutant, mutants
from benchmarks.soundness.oracle import Judgement, Oracle
from benchmarks.soundness.outcome import FALSE_EQUIVALENT, HARMLESS, INVALID, Outcome
from benchmarks.soundness.sites import mutated, survey
from benchmarks.soundness.specimens import Pair, pairs

import lockstep

Verify = Callable[..., Any]


def listed(part: str) -> list[Case]:
    """Returns the cases of `identity` or `rewrites`."""
    found: list[Case] = importlib.import_module(f"benchmarks.soundness.{part}").cases()
    return found


class Mutants:
    """All mutants of one pair.

    Args:
        pair: The pair.
        verify: What judges: `lockstep.verify`, or another one that is to be measured.
    """

    def __init__(self, pair: Pair, verify: Verify = lockstep.verify) -> None:
        self.pair, self._verify = pair, verify
        self._build, self._inputs = pair.build(), pair.inputs()
        with _functions_run_eagerly():
            self._mutants = {one.name: one for one in mutants(survey(self._build, self._inputs))}
        self._oracle: Oracle | None = None

    @property
    def families(self) -> dict[str, str]:
        """Name -> family."""
        return {name: mutant.family for name, mutant in self._mutants.items()}

    def check(self, name: str) -> Outcome:
        """Checks one."""
        mutant = self._mutants[name]
        start = time.perf_counter()
        with _functions_run_eagerly():
            if self._oracle is None:
                self._oracle = Oracle(self._build, self._inputs)
                start = time.perf_counter()
            try:
                judged, applied = self._oracle.judge(mutant.make)
            except Exception as error:  # whatever TensorFlow and Keras raise where shapes do not fit
                return self._outcome(mutant, INVALID, note=_first_line(error))
        if not applied:
            return self._outcome(mutant, INVALID, note="the operation does not run")
        oracle_s = time.perf_counter() - start
        mutation = mutant.make()
        start = time.perf_counter()
        try:
            report = self._report(mutation)
        except lockstep.SubjectError as error:
            return self._outcome(mutant, INVALID, judged, note=_first_line(error), oracle_s=oracle_s)
        except Exception as error:
            return self._outcome(mutant, "error", judged, note=_first_line(error), oracle_s=oracle_s)
        if not mutation.applied:
            return self._outcome(mutant, "error", judged, note="Lockstep never ran what is mutated", oracle_s=oracle_s)
        verdict = str(report.verdict)
        kinds = {"equivalent": FALSE_EQUIVALENT, "diverged": "detected", "undecided": "undecided"}
        first = report.culprits[0] if report.culprits else None
        return self._outcome(
            mutant,
            HARMLESS if judged.harmless else kinds[verdict],
            judged,
            verdict=verdict,
            duration_s=time.perf_counter() - start,
            first_right=None if first is None or mutant.scope is None else names(mutant, first),
            culprit="" if first is None else f"{first.kind} {first.candidate or first.reference}: {first.cause}",
            note=told(report),
            oracle_s=oracle_s,
        )

    def _report(self, mutation: Mutation) -> Any:
        candidate = lockstep.keras(mutated(self._build, mutation), label=self.pair.name)
        reference = lockstep.tf1_graph(self.pair.forward(), label=self.pair.name)
        return self._verify(reference, candidate, self._inputs, **self.pair.options)

    def _outcome(self, mutant: Mutant, outcome: str, judged: Judgement | None = None, **more: Any) -> Outcome:
        known = {} if judged is None else {"effect": judged.effect, "where": judged.where, "noise": judged.noise}
        return Outcome("mutants", f"{self.pair.name}|{mutant.name}", self.pair.name, outcome, **known, **more)


def check_case(part: str, case: Case) -> Outcome:
    """Checks one case of `identity` or `rewrites`."""
    start = time.perf_counter()
    try:
        report = lockstep.verify(case.reference(), case.candidate(), case.inputs(), **case.arguments())
    except Exception as error:
        return Outcome(part, case.name, case.kind, "error", note=_first_line(error), reason=case.reason)
    first = report.culprits[0] if report.culprits else None
    return Outcome(
        part,
        case.name,
        case.kind,
        str(report.verdict),
        duration_s=time.perf_counter() - start,
        verdict=str(report.verdict),
        culprit="" if first is None else f"{first.kind} {first.candidate or first.reference}: {first.cause}",
        note=told(report),
        reason=case.reason,
    )


def names(mutant: Mutant, culprit: Any) -> bool:
    """Tells whether a culprit is the mutated operation, or its scope or layer, by either side's name."""
    if mutant.place.startswith(("initial:", "loss:")):
        wanted = mutant.place.split(":", 2)[2]
        return any(_within(wanted, name) for name in (culprit.candidate, culprit.reference) if name)
    scope = mutant.scope or ""
    texts = [culprit.candidate, culprit.reference, *culprit.scopes, *culprit.variables]
    places = [str(text) for text in texts if text]
    types = {kind for side in culprit.operations for kind in side}
    if mutant.whole:
        # The scope says nothing: the type of the operation has to be the same.
        last = str(culprit.candidate or culprit.reference or "").rpartition("/")[2]
        return mutant.kind in types or last.startswith(mutant.kind) or culprit.kind in ("state", "draw")
    return any(f"/{scope}/" in f"/{place}/" for place in places)


def _within(wanted: str, name: str) -> bool:
    return f"/{name}".endswith(f"/{wanted}") or f"/{wanted}".endswith(f"/{name}")


def told(report: Any) -> str:
    """Returns what the first step says that was not equivalent; of a pass, what all judged steps say."""
    verdict = str(report.verdict)
    steps = [step for step in report.steps if str(step.verdict) == verdict]
    return "; ".join(f"{step.name}: {step.summary}" for step in (steps if verdict == "equivalent" else steps[:1]))[:600]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:400]


def _functions_run_eagerly() -> Any:
    import contextlib

    import tensorflow as tf

    @contextlib.contextmanager
    def eagerly() -> Any:
        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(before)

    return eagerly()


def all_pairs() -> dict[str, Pair]:
    """Returns the pairs, with TF1 code's names where it looks for them."""
    lockstep.tf1.enable()
    return pairs()


def chosen(wanted: Sequence[str]) -> list[Pair]:
    """Returns the pairs of these names."""
    known = all_pairs()
    return [known[name] for name in wanted]
