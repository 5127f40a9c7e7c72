"""The report: frozen values that the renderings, the command line and tests read."""

from __future__ import annotations

import enum
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lockstep.common.errors import DivergedError, UndecidedError
from lockstep.results.evidence import Evidence
from lockstep.results.pitfalls import Pitfall

_IN_A_TEST = 112  # columns of 120: pytest puts eight in front of each line of an error


class Verdict(str, enum.Enum):
    """What a step, or the whole check, came to."""

    EQUIVALENT = "equivalent"
    DIVERGED = "diverged"
    UNDECIDED = "undecided"
    NOT_ASKED = "not asked for"

    def __str__(self) -> str:
        return self.value


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Combines the verdicts of steps: one `diverged` decides, then one `undecided`; nothing judged is `undecided`.

    >>> str(overall([Verdict.EQUIVALENT, Verdict.NOT_ASKED])), str(overall([Verdict.NOT_ASKED]))
    ('equivalent', 'undecided')
    """
    judged = [verdict for verdict in verdicts if verdict is not Verdict.NOT_ASKED]
    for decisive in (Verdict.DIVERGED, Verdict.UNDECIDED):
        if decisive in judged:
            return decisive
    return Verdict.EQUIVALENT if judged else Verdict.UNDECIDED


@dataclass(frozen=True)
class StepReport:
    """One question of the guide and its answer.

    Attributes:
        name: The step's name, as in `"inference-fixed"`.
        verdict: Its verdict.
        summary: What was seen, in one line.
        figures: The numbers behind it, by name (JSON types only).
        judged_by: The rule that judged: `"exact"`, or a tolerance with its constants.
        details: The readable diff, or the reasons, line by line; empty where all is well.
        duration_s: Seconds that the step took, recording included.
    """

    name: str
    verdict: Verdict
    summary: str
    figures: Mapping[str, object] = field(default_factory=dict)
    judged_by: str = "exact"
    details: tuple[str, ...] = ()
    duration_s: float = 0.0


@dataclass(frozen=True)
class Culprit:
    """One thing to blame.

    Attributes:
        reference: Its name on the reference side, or None where it has no partner there.
        candidate: Its name on the candidate side, or None.
        kind: `"operation"`, `"draw"`, `"variable"`, `"initializer"`, `"regularizer"`, `"loss"` or
            `"state"`.
        cause: What is wrong with it, in one sentence.
        error: How far it is off, relative to its scale; None where there is no number to it.
        noise_budget: What was allowed, in the same unit; None where the rule is exact.
        source: The candidate's source line, where known.
        reference_source: The reference's.
        pitfall: The page in `docs/pitfalls/` that its cause has; empty where the cause is not known.
        fix: What to write instead; empty where that is not known.
        operations: Types of the reference's operations there, and of the candidate's.
        attributes: What these are parametrised by otherwise.
        variables: The variables that they read.
        scopes: The scope or layer that it belongs to, in the reference and in the candidate.
        largest_ratio: The largest error of one element in units of that element's own budget.
        consequences: How many other places differ only because of it.
    """

    reference: str | None
    candidate: str | None
    kind: str
    cause: str
    error: float | None = None
    noise_budget: float | None = None
    source: str | None = None
    reference_source: str | None = None
    pitfall: Pitfall = ""
    fix: str = ""
    operations: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    attributes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    scopes: tuple[str | None, str | None] = (None, None)
    largest_ratio: float | None = None
    consequences: int = 0

    @property
    def ratio(self) -> float | None:
        """The error in units of the noise budget; None where either is missing or the budget is zero."""
        if self.largest_ratio is not None:
            return self.largest_ratio
        if self.error is None or not self.noise_budget:
            return None
        return self.error / self.noise_budget


def gathered(culprits: Iterable[Culprit]) -> tuple[Culprit, ...]:
    """Puts the culprits of all steps together: what several steps blame is one culprit, as the worst of them saw it.

    Where that one does not know the cause, it is told as by one that does. What one line gets wrong in one way is one
    mistake, however many operations it comes to: a log-sum-exp's axis is read by its maximum and by its sum.
    """
    found: dict[tuple[object, ...], Culprit] = {}
    for culprit in culprits:
        key = culprit.reference, culprit.candidate, culprit.kind, culprit.source
        before = found.get(key)
        worst = before is None or (culprit.ratio or 0.0) > (before.ratio or 0.0)
        kept, other = (culprit, before) if worst else (before, culprit)
        assert kept is not None
        found[key] = kept if kept.pitfall or other is None or not other.pitfall else _as_told_by(kept, other)
    return _of_one_line(found.values())


def _of_one_line(culprits: Iterable[Culprit]) -> tuple[Culprit, ...]:
    """Tells what has one line of the candidate and one pitfall as the one that explains most; the others follow."""
    found: dict[tuple[object, ...], Culprit] = {}
    for number, culprit in enumerate(culprits):
        known = culprit.source is not None and culprit.pitfall
        key = (culprit.kind, culprit.source, culprit.pitfall) if known else (number,)
        before = found.get(key)
        if before is None:
            found[key] = culprit
            continue
        kept, other = (before, culprit) if before.consequences >= culprit.consequences else (culprit, before)
        found[key] = replace(kept, consequences=max(kept.consequences, other.consequences + 1))
    return tuple(found.values())


def untold(culprits: Iterable[Culprit], before: Sequence[Culprit]) -> list[Culprit]:
    """Returns the culprits of one finding that earlier ones have not told already.

    A line that a model runs for several layers is one mistake. Each run shows it in the layers where it has an effect,
    so that two runs may name two of them: one line of the candidate, one kind of mistake, and either the same fix or
    the same operations of one line of the reference.

    Args:
        culprits: Of one finding: what it tells apart stays apart.
        before: Of the findings before it.
    """
    places = {(culprit.reference, culprit.candidate): culprit for culprit in before}

    def is_new(culprit: Culprit) -> bool:
        there = places.get((culprit.reference, culprit.candidate))
        if there is None:
            return not any(_of_a_line(culprit, one) for one in before)
        # "at step 1, ..." of a training step that shows the same again.
        return there.kind != culprit.kind or there.cause == culprit.cause or not culprit.cause.endswith(there.cause)

    return [culprit for culprit in culprits if is_new(culprit)]


def _of_a_line(one: Culprit, other: Culprit) -> bool:
    alike = (
        one.pitfall and one.source and (one.kind, one.source, one.pitfall) == (other.kind, other.source, other.pitfall)
    )
    written = (one.reference_source, one.operations) == (other.reference_source, other.operations)
    return bool(alike) and (written or bool(one.fix and one.fix == other.fix))


def _as_told_by(culprit: Culprit, other: Culprit) -> Culprit:
    """Returns a culprit with the cause that another step found for it."""
    return replace(culprit, cause=other.cause, pitfall=other.pitfall, fix=other.fix, attributes=other.attributes)


def _rendering(name: str) -> Any:
    """A rendering, which stands above this package: found by its name when somebody asks for it."""
    return importlib.import_module(f"lockstep.report.{name}")


def merged(reports: Sequence[Report]) -> Report:
    """Puts the reports of several batches together: a step is as its worst batch, and says which batch said what.

    Args:
        reports: At least one; all of the same steps.
    """
    if len(reports) == 1:
        return reports[0]
    worst_first = sorted(reports, key=lambda report: report.verdict is not Verdict.DIVERGED)
    steps = tuple(_over_batches(steps) for steps in zip(*(report.steps for report in reports), strict=True))
    return Report(
        verdict=overall([report.verdict for report in reports]),
        steps=steps,
        culprits=gathered(culprit for report in reports for culprit in report.culprits),
        environments=reports[0].environments,
        duration_s=sum(report.duration_s for report in reports),
        evidence=next((report.evidence for report in worst_first if report.evidence is not None), None),
        provenance=_of_all_batches([report.provenance for report in reports]),
    )


def _of_all_batches(batches: Sequence[Provenance | None]) -> Provenance | None:
    first = batches[0]
    if first is None:
        return None
    numbered = [(f"#{number}" if number > 1 else "", batch) for number, batch in enumerate(batches, 1)]
    inputs = {f"{name}{mark}": told for mark, batch in numbered if batch for name, told in batch.inputs.items()}
    return replace(first, inputs=inputs)


def _over_batches(steps: Sequence[StepReport]) -> StepReport:
    first = steps[0]
    same = all(
        (step.verdict, step.summary, step.details) == (first.verdict, first.summary, first.details) for step in steps
    )
    numbered = list(enumerate(steps, 1))
    return StepReport(
        name=first.name,
        verdict=overall([step.verdict for step in steps])
        if any(step.verdict is not Verdict.NOT_ASKED for step in steps)
        else Verdict.NOT_ASKED,
        summary=first.summary if same else "; ".join(f"batch {n}: {step.summary}" for n, step in numbered),
        figures={**first.figures, "batches": [dict(step.figures) for step in steps]},
        judged_by=next((step.judged_by for step in steps if step.judged_by != first.judged_by), first.judged_by),
        details=first.details if same else tuple(f"batch {n}: {line}" for n, step in numbered for line in step.details),
        duration_s=sum(step.duration_s for step in steps),
    )


@dataclass(frozen=True)
class Provenance:
    """What a report is about, so that another can be told to be about the same.

    Attributes:
        tolerance: `"rtol"`, `"atol"`, and as `"rule"` what judged: `"fixed"` or `"noise budget"`.
        inputs: Input name -> `"shape"`, `"dtype"` and `"sha256"`, of dtype, shape and values; of further batches as
            `"name#2"`.
        code: Side -> file -> SHA-256 of what was imported; empty where it is not known.
    """

    tolerance: Mapping[str, object]
    inputs: Mapping[str, Mapping[str, object]]
    code: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        verdict: The verdict of the whole.
        steps: The guide's steps, in its order.
        culprits: What is to blame, gravest first.
        environments: `"reference"` and `"candidate"` -> what they ran on (`"subject"`, `"python"`, `"tensorflow"`,
            `"keras"`), as strings.
        duration_s: Seconds from start to end.
        evidence: What was seen besides, for a reader to look at; None where nobody asked. It is no part of the JSON.
        provenance: The tolerance, and digests of the inputs and of both sides' code; None where they are not known.
    """

    verdict: Verdict
    steps: tuple[StepReport, ...]
    culprits: tuple[Culprit, ...]
    environments: Mapping[str, Mapping[str, str]]
    duration_s: float
    provenance: Provenance | None = None
    evidence: Evidence | None = field(default=None, repr=False)

    def to_html(self, *, title: str = "lockstep check") -> str:
        """Returns the report as one self-contained HTML page; `docs/html_report.md` says what is on it.

        Args:
            title: The command that it answers.
        """
        return str(_rendering("html").as_html(self, title=title))

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the steps and the culprits."""
        return str(_rendering("html").as_fragment(self))

    def raise_if_diverged(self) -> None:
        """Does nothing if the verdict is `equivalent`.

        Raises:
            DivergedError: The verdict is `diverged`; its text is the report's, `str(report)`.
            UndecidedError: Nothing could be judged, which must never look like a pass.
        """
        __tracebackhide__ = True  # pytest shows the caller's line
        if self.verdict is Verdict.EQUIVALENT:
            return
        error = DivergedError if self.verdict is Verdict.DIVERGED else UndecidedError
        raise error(str(self), report=self)

    def __str__(self) -> str:
        """Returns the report as text, as `lockstep check` prints it: the verdict and the reason first."""
        return str(_rendering("text").as_text(self, title="lockstep", width=_IN_A_TEST)).rstrip("\n")
