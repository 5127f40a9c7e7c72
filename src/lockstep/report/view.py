"""What the HTML page shows, as strings and coordinates, made from the report alone."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockstep.common.shown import shown
from lockstep.localise.budget import FACTOR
from lockstep.report import charts
from lockstep.report.charts import Histogram, LineChart, Series
from lockstep.report.headline import reason
from lockstep.results import pitfalls
from lockstep.results.evidence import Evidence, ProgramPair, Row, VariablePair
from lockstep.results.model import Culprit, Report, StepReport, Verdict

_AROUND = 4
_KINDS = {"output": "outputs", "state": "updated variables", "gradient": "gradients"}
_SYMBOLS = {Verdict.EQUIVALENT: "✓", Verdict.DIVERGED: "✕", Verdict.UNDECIDED: "?", Verdict.NOT_ASKED: "–"}
_CLASSES = {
    Verdict.EQUIVALENT: "equivalent",
    Verdict.DIVERGED: "diverged",
    Verdict.UNDECIDED: "undecided",
    Verdict.NOT_ASKED: "not-asked",
}
_NAMES = {"tensorflow": "TensorFlow", "torch": "PyTorch", "keras": "Keras", "python": "Python", "numpy": "NumPy",
          "cpus": "CPUs", "cpu_features": "CPU features"}  # fmt: skip
_SOURCE = re.compile(r"^(?P<file>.+):(?P<line>[0-9]+)$", re.DOTALL)


@dataclass(frozen=True)
class Judged:
    """A verdict as it is shown: its word, its symbol and its class in the style sheet."""

    word: str
    symbol: str
    kind: str

    @classmethod
    def of(cls, verdict: Verdict) -> Judged:
        """Returns what is shown of a verdict."""
        return cls(str(verdict), _SYMBOLS[verdict], _CLASSES[verdict])


@dataclass(frozen=True)
class Step:
    """One step of the table."""

    name: str
    verdict: Judged
    seen: tuple[str, ...]
    judged_by: str
    details: tuple[str, ...]
    duration: str


@dataclass(frozen=True)
class CodeLine:
    """One line of an excerpt."""

    number: int
    text: str
    named: bool


@dataclass(frozen=True)
class Side:
    """One side of a culprit: its name, its operations, its source line and the code around that."""

    title: str
    name: str
    operations: str
    source: str
    code: tuple[CodeLine, ...]


@dataclass(frozen=True)
class CulpritCard:
    """One culprit as it is shown; `operation` leads to it in the map, empty where it is not there."""

    number: int
    kind: str
    name: str
    cause: str
    fix: str
    sides: tuple[Side, Side]
    error: str
    budget: str
    ratio: str
    facts: tuple[tuple[str, str], ...]
    pitfall: str
    pitfall_summary: str
    operation: str


@dataclass(frozen=True)
class Setting:
    """One setting of both sides."""

    name: str
    reference: str
    candidate: str
    differs: bool


@dataclass(frozen=True)
class Depth:
    """Error against depth in one mode: how many operations were compared, and which rows of the map are drawn."""

    mode: str
    chart: LineChart
    compared: str
    identical: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class Share:
    """Whose a difference is: the runtime's and the code's part of one step, each with its width in per cent."""

    step: str
    what: str
    runtime: str
    code: str
    runtime_width: float
    code_width: float


@dataclass(frozen=True)
class Variable:
    """One row of the table of variables."""

    reference: str
    candidate: str
    shape: str
    trainable: str
    rule: str
    initial: str
    notable: bool


@dataclass(frozen=True)
class CheckView:
    """All that the page of a check shows.

    Attributes:
        title: The command that it answers.
        verdict: The verdict of the whole.
        sentence: Why.
        subjects: Both sides, `(side, label, versions)`.
        steps: The steps that were asked.
        not_asked: The others, `(name, why)`.
        culprits: What is to blame.
        settings: Those that differ come first.
        depths: Error against depth, one for each mode.
        histograms: Distances in ULP, one for each question.
        shares: The runtime's and the code's.
        drift: Of the trajectory; None where nothing was trained.
        variables: Those first that a reader should see.
        rules: Rule -> how many pairs it gave.
        notes: What could not be followed.
        inputs: What went in.
        map: What the map is drawn from, as plain values for JSON; None where no program was followed.
        duration: How long the check took.
    """

    title: str
    verdict: Judged
    sentence: str
    subjects: tuple[tuple[str, str, str], ...]
    steps: tuple[Step, ...]
    not_asked: tuple[tuple[str, str], ...]
    culprits: tuple[CulpritCard, ...]
    settings: tuple[Setting, ...]
    depths: tuple[Depth, ...]
    histograms: tuple[Histogram, ...]
    shares: tuple[Share, ...]
    drift: LineChart | None
    variables: tuple[Variable, ...]
    rules: tuple[tuple[str, int], ...]
    notes: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    map: dict[str, Any] | None
    duration: str


def view_of(report: Report, *, title: str) -> CheckView:
    """Makes the view of a report; what nobody collected is left out of it."""
    evidence = report.evidence or Evidence()
    numbers = _numbered(report.culprits, evidence.programs)
    return CheckView(
        title=title,
        verdict=Judged.of(report.verdict),
        sentence=sentence(report),
        subjects=tuple(subject_of(side, told) for side, told in report.environments.items()),
        steps=tuple(_step(step) for step in report.steps if step.verdict is not Verdict.NOT_ASKED),
        not_asked=tuple((step.name, step.summary) for step in report.steps if step.verdict is Verdict.NOT_ASKED),
        culprits=tuple(_card(n, culprit, evidence) for n, culprit in enumerate(report.culprits, 1)),
        settings=settings_of(evidence.settings or report.environments),
        depths=tuple(_depth(pair, numbers[pair.mode], report.culprits) for pair in evidence.programs if pair.rows),
        histograms=tuple(charts.histogram(each.step, each.counts, each.others) for each in evidence.ulps),
        shares=tuple(share for step in report.steps for share in _shares(step)),
        drift=_drift(report.steps),
        variables=_variables(evidence.variables),
        rules=_rules(evidence.variables),
        notes=tuple((pair.mode, note) for pair in evidence.programs for note in pair.notes),
        inputs=tuple(evidence.inputs.items()),
        map=_map(evidence, numbers),
        duration=seconds(report.duration_s),
    )


def sentence(report: Report) -> str:
    """Says why the verdict is what it is, and how far both sides agree where nothing diverged."""
    why = " ".join(_short(reason(report)).split())
    if report.verdict is Verdict.EQUIVALENT:
        why += f"; {_agreement(report, [step for step in report.steps if step.verdict is not Verdict.NOT_ASKED])}"
    return f"{why[0].upper()}{why[1:]}."


def _agreement(report: Report, steps: Sequence[StepReport]) -> str:
    """Says how far both sides agree where nothing diverged."""
    figures = [(key, value) for step in steps for key, value in step.figures.items()]
    of_code = [value for key, value in figures if key.endswith("_error_of_code")]
    versions = [told.get("tensorflow", "?") for told in report.environments.values()]
    if of_code and not any(of_code) and len(versions) == 2:
        return f"what differs is TensorFlow {versions[0]} against {versions[1]}, and your code is bit for bit the same"
    if any(key.endswith("_explained_by_noise") for key, _ in figures):
        return "what differs is within what rounding explains"
    equal = [value for key, value in figures if key.endswith("_bit_equal")]
    return "all that was compared is bit-equal" if equal and all(equal) else "what differs is within tolerance"


def settings_of(sides: Mapping[str, Mapping[str, str]]) -> tuple[Setting, ...]:
    """Puts the settings of both sides side by side, those that differ first.

    An environment variable that one side has is one that the other has not set; of anything else that one side alone
    tells nobody knows whether it differs.
    """
    reference, candidate = sides.get("reference", {}), sides.get("candidate", {})
    rows = []
    for key in dict.fromkeys((*reference, *candidate)):
        if key == "subject":
            continue
        flag = key.isupper()
        ours, theirs = (side.get(key, "not set" if flag else "not told") for side in (reference, candidate))
        rows.append(Setting(_NAMES.get(key, key), ours, theirs, ours != theirs and "not told" not in (ours, theirs)))
    return tuple(sorted(rows, key=lambda row: not row.differs))


def figure(value: float | None) -> str:
    """Writes an error.

    >>> figure(2.345e-7), figure(0.0), figure(None), figure(float("inf"))
    ('2.3e-07', '0', '', 'not finite')
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return "not finite"
    return "0" if value == 0 else f"{value:.2g}"


def ratio(value: float | None) -> str:
    """Writes an error in units of its budget.

    >>> ratio(64528.2), ratio(0.034), ratio(float("inf"))
    ('64,528 ×', '0.034 ×', 'unbounded')
    """
    if value is None:
        return ""
    if not math.isfinite(value):
        return "unbounded"
    return f"{value:,.0f} ×" if value >= 10 else f"{value:.2g} ×"


def seconds(duration_s: float) -> str:
    """Writes a duration.

    >>> seconds(2.31), seconds(185.0)
    ('2.3 s', '3 min 5 s')
    """
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    return f"{int(duration_s) // 60} min {int(duration_s) % 60} s"


def _short(text: str) -> str:
    """Source files below the current folder are named as one would type them."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")


def subject_of(side: str, told: Mapping[str, str]) -> tuple[str, str, str]:
    """Says what a side is and what it ran on: `(side, label, versions)`."""
    order = [key for key in ("tensorflow", "torch", "keras", "python") if key in told]
    others = sorted(told.keys() - {*order, "subject"})
    return side, told.get("subject", "?"), ", ".join(f"{_NAMES.get(key, key)} {told[key]}" for key in (*order, *others))


def _step(step: StepReport) -> Step:
    return Step(
        step.name,
        Judged.of(step.verdict),
        tuple(step.summary.split("; ")),
        step.judged_by,
        tuple(_short(line) for line in step.details) if step.verdict is not Verdict.EQUIVALENT else (),
        seconds(step.duration_s),
    )


# --- culprits


def _card(number: int, culprit: Culprit, evidence: Evidence) -> CulpritCard:
    sides = [
        Side(title, name or "nothing", _types(types), _short(source or ""), _code(source, evidence))
        for title, name, types, source in (
            ("reference", culprit.reference, culprit.operations[0], culprit.reference_source),
            ("candidate", culprit.candidate, culprit.operations[1], culprit.source),
        )
    ]
    facts = {
        "differs": "; ".join(culprit.attributes),
        "variables": ", ".join(culprit.variables[:6]) + (" ..." if len(culprit.variables) > 6 else ""),
    }
    place = next((pair.mode for pair in evidence.programs if any(_is(row, culprit) for row in pair.rows)), None)
    return CulpritCard(
        number=number,
        kind=culprit.kind,
        name=culprit.candidate or culprit.reference or "?",
        cause=_short(culprit.cause),
        fix=culprit.fix,
        sides=(sides[0], sides[1]),
        error=figure(culprit.error),
        budget=figure(culprit.noise_budget),
        ratio=ratio(culprit.ratio),
        facts=tuple((name, value) for name, value in facts.items() if value),
        pitfall=culprit.pitfall,
        pitfall_summary=next((text for slug, text in pitfalls.SUMMARIES.items() if slug == culprit.pitfall), ""),
        operation="" if place is None else f"{place}/{culprit.reference or culprit.candidate}",
    )


def _types(types: Sequence[str]) -> str:
    return ", ".join(types[:6]) + (f" and {len(types) - 6} more" if len(types) > 6 else "")


def _code(source: str | None, evidence: Evidence) -> tuple[CodeLine, ...]:
    named = _SOURCE.match(source or "")
    excerpt = evidence.excerpts.get(named["file"]) if named is not None else None
    if named is None or excerpt is None:
        return ()
    line = int(named["line"])
    around = range(line - _AROUND, line + _AROUND + 1)
    return tuple(CodeLine(n, excerpt.lines[n], n == line) for n in around if n in excerpt.lines)


def _is(row: Row, culprit: Culprit) -> bool:
    names = (row.reference.name if row.reference else None), (row.candidate.name if row.candidate else None)
    return (culprit.reference is not None and culprit.reference == names[0]) or (
        culprit.candidate is not None and culprit.candidate == names[1]
    )


def _numbered(culprits: Sequence[Culprit], programs: Iterable[ProgramPair]) -> dict[str, dict[int, int]]:
    """Returns, for each mode, the rows that are culprits -> which one."""
    found: dict[str, dict[int, int]] = {}
    for pair in programs:
        found[pair.mode] = {}
        for number, culprit in enumerate(culprits, 1):
            if culprit.kind not in ("operation", "draw", "state"):
                continue
            place = next((n for n, row in enumerate(pair.rows) if _is(row, culprit)), None)
            if place is not None:
                found[pair.mode].setdefault(place, number)
    return found


# --- figures


def _depth(pair: ProgramPair, numbers: Mapping[int, int], culprits: Sequence[Culprit]) -> Depth:
    # What only updates a variable (a moving average, say) is on another scale than what flows to the outputs.
    places = [place for place, row in enumerate(pair.rows) if row.forward]
    rows = [pair.rows[place] for place in places]
    free = [row.free for row in rows]
    compared = [row if row.state in ("within", "beyond") else None for row in rows]
    forced = [None if row is None else row.error for row in compared]
    rounding = [None if row.rounding is None else FACTOR * row.rounding for row in rows]
    marks = []
    for place, row in enumerate(rows):
        number = numbers.get(places[place])
        if number is None:
            continue
        culprit = culprits[number - 1]
        error = row.error
        error = error if error is not None else culprit.error or 0.0
        marks.append((place, error, str(number), f"#culprit-{number}"))
    budgets = [None if row is None else row.budget for row in compared]
    band = f"what rounding may do: {FACTOR:g} × the reference's distance from float64"
    series = [
        Series("band", band, rounding, "band"),
        Series("free", "free run: errors travel", free),
        Series("budget", "noise budget of one operation", budgets, "dots"),
        Series("forced", "forced run: each operation on the reference's values", forced, "dots"),
    ]
    known = [each for each in series if any(value is not None for value in each.values)]
    chart = charts.line_chart(known, marks, "operation, in the reference's order")
    running, identical = sum(value is not None for value in free), sum(row.state == "identical" for row in rows)
    return Depth(pair.mode, chart, f"{running:,}", f"{identical:,} of {len(rows):,}", tuple(places))


def _shares(step: StepReport) -> Iterable[Share]:
    for kind, what in _KINDS.items():
        parts = [step.figures.get(f"{kind}_error_of_{who}") for who in ("runtime", "code")]
        if not all(isinstance(part, (int, float)) for part in parts):
            continue
        runtime, code = (float(part) for part in parts if isinstance(part, (int, float)))
        largest = max(runtime, code)
        widths = [0.0 if not largest else 100.0 if part == math.inf else round(100.0 * part / largest, 1)
                  for part in (runtime, code)]  # fmt: skip
        yield Share(step.name, what, _of_share(runtime), _of_share(code), *widths)


def _of_share(value: float) -> str:
    return "0, bit for bit" if value == 0.0 else figure(value)


def _drift(steps: Sequence[StepReport]) -> LineChart | None:
    figures = next((step.figures for step in steps if step.name == "trajectory"), {})
    candidate, own = figures.get("drift"), figures.get("own_drift")
    if not isinstance(candidate, Sequence) or not candidate:
        return None
    series = [Series("free", "candidate from the reference, each on its own", list(candidate))]
    if isinstance(own, Sequence) and own:
        label = "reference from itself, every number moved by one unit in the last place"
        series.insert(0, Series("own", label, list(own)))
    return charts.line_chart(series, (), "training step", first=1)


# --- variables and the map


def _variables(pairs: Iterable[VariablePair]) -> tuple[Variable, ...]:
    rows = [
        Variable(
            reference=pair.reference or "",
            candidate=pair.candidate or "",
            shape=_shapes(pair),
            trainable="trainable" if pair.trainable else "not trainable",
            rule=" · ".join(part for part in (pair.rule, pair.transform) if part),
            initial=pair.note or ("bit-equal" if pair.initial == 0.0 else figure(pair.initial)),
            notable=pair.reference is None or pair.candidate is None or pair.initial not in (0.0, None),
        )
        for pair in pairs
    ]
    return tuple(sorted(rows, key=lambda row: not row.notable))


def _shapes(pair: VariablePair) -> str:
    ours, theirs = pair.shapes
    told = f"{ours}" if theirs is None or ours == theirs else f"{theirs}" if ours is None else f"{ours} / {theirs}"
    return f"{told} {pair.dtype}"


def _rules(pairs: Iterable[VariablePair]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for pair in pairs:
        for rule in filter(None, (pair.rule, pair.transform)):
            counts[rule] = counts.get(rule, 0) + 1
    return tuple(counts.items())


def _map(evidence: Evidence, numbers: Mapping[str, Mapping[int, int]]) -> dict[str, Any] | None:
    """Packs both programs: strings once, in one list, and the rows as lists of places in it and numbers."""
    strings: dict[str, int] = {}

    def told(text: str) -> int:
        return strings.setdefault(shown(text), len(strings))

    modes = []
    for pair in evidence.programs:
        rows = [_packed(row, numbers[pair.mode].get(place, 0), told) for place, row in enumerate(pair.rows)]
        if rows:
            modes.append({"mode": pair.mode, "rows": rows})
    if not modes:
        return None
    files = {
        _short(file): {str(n): shown(text) for n, text in excerpt.lines.items()}
        for file, excerpt in evidence.excerpts.items()
    }
    return {"strings": list(strings), "modes": modes, "files": files}


def _packed(row: Row, culprit: int, told: Any) -> list[Any]:
    sides = [
        0
        if side is None
        else [told(side.name), told(side.scope), told(side.type), told(_short(side.source)),
              told(f"{list(side.shape)} {side.dtype}")]
        for side in (row.reference, row.candidate)
    ]  # fmt: skip
    numbers = [_rounded(row.ratio, 6)] + [_rounded(value) for value in (row.error, row.budget, row.free, row.rounding)]
    return [row.state, culprit, *sides, *numbers]


def _rounded(value: float | None, digits: int = 3) -> float | str | None:
    if value is None:
        return None
    return float(f"{value:.{digits}g}") if math.isfinite(value) else "inf"
