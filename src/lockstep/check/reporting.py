"""What a check says while it goes on, and what it comes to: each step's findings, and the time that went into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lockstep.check.collecting import Collector
from lockstep.check.judging import GRADIENT_RULE, NOISE_RULE
from lockstep.common import step_names
from lockstep.results.finding import Finding, step_report
from lockstep.results.model import Culprit, StepReport, Verdict, untold


@dataclass(frozen=True)
class Event:
    """What a check is doing now, and the step that it has just finished, if any."""

    text: str
    step: StepReport | None = None


Progress = Callable[[Event], None]


@dataclass(frozen=True)
class _Answer:
    """What a step found, by which rule it was judged, and how long that took."""

    findings: tuple[Finding, ...]
    judged_by: str
    spent_s: float

    def report(self, step: str) -> StepReport:
        return step_report(step, self.findings, self.judged_by, self.spent_s)


class Reporting:
    """Takes the answers of a check's steps, in their order.

    It has one clock: what is done after `asks` is done for that step, until another one is asked. So a step may be
    asked while the models of a mode are there, and be answered in its turn.

    Args:
        progress: Told what is being done, and each step that is done.
        chosen: The steps that are taken; what others find is dropped.
        collector: Told which step is being asked; None where nothing is collected.
    """

    def __init__(self, progress: Progress, chosen: Sequence[str], collector: Collector | None = None) -> None:
        self._progress, self._chosen, self._collector = progress, tuple(chosen), collector
        self._answers: dict[str, _Answer] = {}
        self._spent_s: dict[str, float] = {}
        self._step = ""
        self._since = self._began = time.perf_counter()

    def say(self, text: str) -> None:
        """Tells what is being done."""
        self._progress(Event(text))

    def asks(self, step: str) -> None:
        """Notes that what is done from now on is done for a step."""
        now = time.perf_counter()
        self._spent_s[self._step] = self._spent_s.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now
        if self._collector is not None:
            self._collector.step = step

    def answered(self, step: str, findings: Sequence[Finding], judged_by: str) -> None:
        """Takes what a step found.

        Args:
            step: Its name.
            findings: What it found.
            judged_by: The rule that judged; another one where noise budgets decided.
        """
        if step not in self._chosen:
            return
        if any(figure.endswith("_explained_by_noise") for finding in findings for figure in finding.figures):
            judged_by = GRADIENT_RULE if step in ("gradients", "trajectory") else NOISE_RULE
        self.asks(self._step)
        answer = _Answer(tuple(findings), judged_by, self._spent_s.get(step, 0.0))
        self._answers[step] = answer
        report = answer.report(step)
        self._progress(Event(f"{step}: {report.verdict}", report))

    @property
    def culprits(self) -> list[Culprit]:
        """What is to blame, as far as steps have answered."""
        found: list[Culprit] = []
        for answer in self._answers.values():
            for finding in answer.findings:
                found.extend(untold(finding.culprits, tuple(found)))
        return found

    def settled(self, how: Callable[..., Finding]) -> None:
        """Lets what is pending in answers be settled, by what is known now.

        Args:
            how: Takes a finding and `culprits`, and returns what becomes of it.
        """
        culprits = self.culprits
        for step, answer in self._answers.items():
            findings = tuple(how(finding, culprits=culprits) for finding in answer.findings)
            self._answers[step] = replace(answer, findings=findings)

    def steps(self) -> tuple[StepReport, ...]:
        """Returns all steps that were taken, and between them those that were not chosen."""
        taken = {step: answer.report(step) for step, answer in self._answers.items()}
        if self._chosen == step_names.NAMES:
            return tuple(taken.values())
        left_out = {name: StepReport(name, Verdict.NOT_ASKED, "not chosen", judged_by="") for name in step_names.NAMES}
        return tuple({**left_out, **taken}.values())

    def duration_s(self) -> float:
        """Returns the seconds since the check began."""
        return time.perf_counter() - self._began
