"""Steps 3b and 4b of the guide: both sides run from a checkpoint or file of weights that exists already."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np

from lockstep.check.judging import Traces
from lockstep.check.steps import in_use, own_file
from lockstep.check.steps.in_use import Expected
from lockstep.common import patterns
from lockstep.common.errors import InputError
from lockstep.compare.align import Alignment, Rename, renamer
from lockstep.compare.filling import alike
from lockstep.files.checkpoints.entries import Checkpoint, Entry, Kind, counted
from lockstep.files.checkpoints.settings import CheckpointSettings
from lockstep.ground.restoring import Matched
from lockstep.results.finding import Finding
from lockstep.results.model import Verdict
from lockstep.subjects import GivenValues, Setting
from lockstep.traces.trace import Trace, VariableRecord

NOT_GIVEN = Finding(Verdict.NOT_ASKED, "no checkpoint was given")
_SHOWN = 3


@dataclass(frozen=True)
class Plan:
    """What both sides start from.

    Attributes:
        reference: Values for the reference.
        candidate: Values for the candidate.
        findings: What is to be told besides the results.
        runs: Whether running both sides tells something: every variable of the reference has its value.
    """

    reference: Setting
    candidate: Setting
    findings: tuple[Finding, ...]
    runs: bool = True


def plan(checkpoint: Checkpoint, reference: Trace, alignment: Alignment, allow_missing: Sequence[str] = ()) -> Plan:
    """Decides which variable starts from what.

    A variable of the reference that the checkpoint lacks, or has in another shape or dtype, leaves the step undecided:
    what it would start from is nobody's checkpoint.

    Args:
        checkpoint: The checkpoint.
        reference: The reference's run from its initial values.
        alignment: Reference's variables -> candidate's.
        allow_missing: Regular expressions; variables that may be missing, and keep the reference's initial values.
    """
    checkpoint = checkpoint.seen_by(reference.variables)
    matched = checkpoint.match(reference.variables)
    allowed = {key for key in matched.missing if any(patterns.search(pattern, key) for pattern in allow_missing)}
    refused = _refused(checkpoint, matched, allowed, reference.variables)
    # Read here and now: what is damaged must be told as such, not as a failure of the user's code that is run with it.
    ours = {} if refused else {**checkpoint.restored(matched), **{key: reference.before[key] for key in allowed}}
    theirs = _Carried(ours, alignment)
    unfilled = [record.key for record, _ in alignment.extra]
    findings = [refused] if refused else [_told(checkpoint, matched, allowed)]
    if unfilled and not refused:
        lines = tuple(f"+ {key}: nothing in the checkpoint is for it; it keeps its initial value" for key in unfilled)
        phrase = f"nothing in the checkpoint is for {_variables(unfilled)} of the candidate: {_some(unfilled)}"
        findings.append(Finding(Verdict.UNDECIDED, phrase, lines))
    return Plan(Setting("given", ours), Setting("given", theirs), tuple(findings), runs=refused is None)


def values_for(checkpoint: Checkpoint, rules: Sequence[Rename]) -> GivenValues:
    """Returns a checkpoint's values for a side that runs in an environment of its own.

    Args:
        checkpoint: The checkpoint.
        rules: Rename rules, for the candidate's names; none for the reference's.
    """
    renamed = renamer(rules)
    return GivenValues(_Renamed(checkpoint, {renamed(name): name for name in checkpoint}), checkpoint.digest())


class Source:
    """The checkpoint of one check: opened before anything is built, run from in between, reported at the end.

    Args:
        settings: Which one; None where the step is not asked for.

    Attributes:
        settings: Which one.
        findings: What has been found so far.
    """

    def __init__(self, settings: CheckpointSettings | None) -> None:
        self.settings = settings
        self._checkpoint: Checkpoint | None = None
        self._own: Checkpoint | None = None
        self.findings: list[Finding] = [] if settings else [NOT_GIVEN]

    def open(self, checkpoint: Checkpoint | None, own: Checkpoint | None = None) -> None:
        """Takes the opened files: the original's, and the candidate's own."""
        self._checkpoint, self._own = checkpoint, own

    def plan(self, both: Traces, alignment: Alignment, *, free: bool = True) -> Plan | None:
        """Returns what both sides start from; None where there is nothing to run.

        Args:
            both: What both sides do from their own initial values.
            alignment: Reference's variables -> candidate's.
            free: Whether the reference can be given any values.
        """
        if self.settings is None or (self._checkpoint is None and self._own is None):
            return None
        own = None if self._own is None else own_file.expected_of(self._own, both.candidate.variables)
        self.findings.extend(self._in_use(both, alignment, own))
        made = self._planned(both, alignment, own, free=free)
        self.findings.extend(made.findings)
        return made if made.runs else None

    def _planned(self, both: Traces, alignment: Alignment, own: Expected | None, *, free: bool) -> Plan:
        assert self.settings is not None
        missing = self.settings.allow_missing
        if self._checkpoint is None:
            assert own is not None
            if not free:
                return _not_run(
                    f"both sides were not run from {own.checkpoint.path.name}: the reference was recorded elsewhere, "
                    "and takes no values of the candidate's; name the original's file as path"
                )
            ours, theirs, told = own_file.values_from(own, both.reference, both.candidate, alignment, missing)
            return Plan(Setting("given", ours), Setting("given", theirs), tuple(told), runs=bool(ours))
        if not free and self._checkpoint.seen_by(both.reference.variables) is not self._checkpoint:
            return _not_run(
                f"both sides were not run from {self._checkpoint.path.name}, which numbers its entries: the reference "
                "was recorded elsewhere, before it was known which variable each is; name a file that has their names"
            )
        made = plan(self._checkpoint, both.reference, alignment, missing)
        if own is None or not made.runs:
            return made
        found = own_file.compared(own, made.candidate.values, self._checkpoint.path.name)
        runs = found.verdict is Verdict.EQUIVALENT
        return dataclasses.replace(made, findings=(*made.findings, found), runs=runs)

    def _in_use(self, both: Traces, alignment: Alignment, own: Expected | None) -> list[Finding]:
        """Asks of each side that loads its file itself whether it really did."""
        assert self.settings is not None
        expected: dict[str, Expected] = {} if own is None else {"candidate": own}
        if self._checkpoint is not None:
            expected["reference"] = own_file.expected_of(self._checkpoint, both.reference.variables)
            values = _Carried(expected["reference"].values, alignment)
            unread = expected["reference"].unread
            carried = Expected(expected["reference"].checkpoint, values, alignment.transforms, unread)
            expected.setdefault("candidate", carried)
        found: list[Finding] = []
        for side, trace in (("reference", both.reference), ("candidate", both.candidate)):
            if side not in expected or (self.settings.loaded is not None and side not in self.settings.loaded):
                continue
            if self.settings.loaded is not None or trace.loads or trace.overwritten:
                its_own = expected[side] is own
                asked = self.settings.loaded is not None
                found += in_use.judge(side, trace, expected[side], asked=asked, its_own=its_own)
        return found

    def judged(self, results: Sequence[Finding]) -> None:
        """Takes what the comparison of the results gave."""
        self.findings[:0] = results


def refuse_gaps(planned: Plan | None, findings: Sequence[Finding], alignment: Alignment) -> Plan:
    """Refuses to go on where a variable of either side would not get its value from the checkpoint.

    Raises:
        InputError: There is such a variable.
    """
    if planned is None:
        refused = findings[-1]
        raise InputError(f"nothing was converted: {refused.phrase}.\n" + "\n".join(refused.details))
    if alignment.extra or alignment.missing:
        extra, missing = ([record.key for record, _ in alone] for alone in (alignment.extra, alignment.missing))
        parts = [f"nothing is for the candidate's {_some(extra)}"] if extra else []
        parts += [f"the candidate has no place for {_some(missing)}"] if missing else []
        raise InputError(
            f"nothing was converted: {'; '.join(parts)}; give rename or transform rules (`lockstep map` proposes them)."
        )
    fitting = {c.key for _, c in alike(alignment)}
    misfits = [
        f"{r.key} {tuple(r.shape)} {r.dtype} for {c.key} {tuple(c.shape)} {c.dtype}"
        for r, c in alignment.pairs
        if c.key not in fitting
    ]
    if misfits:
        raise InputError(f"nothing was converted: shapes or dtypes differ: {_some(misfits)}.")
    return planned


def _not_run(phrase: str) -> Plan:
    nothing = Setting("given")
    return Plan(nothing, nothing, (Finding(Verdict.UNDECIDED, phrase, (phrase,)),), runs=False)


class _Renamed(Mapping[str, np.ndarray]):
    """The values of a checkpoint under other names."""

    def __init__(self, checkpoint: Checkpoint, names: Mapping[str, str]) -> None:
        self._checkpoint, self._names = checkpoint, names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._checkpoint[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Carried(Mapping[str, np.ndarray]):
    """The same for the candidate: its partners' values, transformed."""

    def __init__(self, ours: Mapping[str, np.ndarray], alignment: Alignment) -> None:
        self._ours, self._alignment = ours, alignment
        self._partners = {c.key: (r, c) for r, c in alike(alignment) if r.key in ours}

    def __getitem__(self, key: str) -> np.ndarray:
        r, c = self._partners[key]
        return self._alignment.carried(c, self._ours[r.key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._partners)

    def __len__(self) -> int:
        return len(self._partners)

    def __contains__(self, key: object) -> bool:
        return key in self._partners


def _refused(
    checkpoint: Checkpoint, matched: Matched, allowed: set[str], variables: Sequence[VariableRecord]
) -> Finding | None:
    lacking = [key for key in matched.missing if key not in allowed]
    if not lacking and not matched.clashes:
        return None
    names = {record.key: record.name for record in variables}
    unused = [entry.name for entry in checkpoint.unused(matched) if entry.kind in (Kind.VARIABLE, Kind.COUNTER)]
    lines = [f"- {key}: the checkpoint has none{_guess(names[key], key, unused)}" for key in lacking]
    lines += [
        f"~ {key}: {tuple(record.shape)} {record.dtype} in the reference, {tuple(held.shape)} {held.dtype} in the "
        "checkpoint"
        for key, (record, held) in matched.clashes.items()
    ]
    parts = [f"the checkpoint lacks {_variables(lacking)} of the reference: {_some(lacking)}"] if lacking else []
    if matched.clashes:
        parts.append(
            f"{_variables(matched.clashes)} of another shape or dtype in the checkpoint: {_some(list(matched.clashes))}"
        )
    return Finding(Verdict.UNDECIDED, "; ".join(parts), tuple(lines), _figures(checkpoint, matched))


def _told(checkpoint: Checkpoint, matched: Matched, allowed: set[str]) -> Finding:
    unused = checkpoint.unused(matched)
    phrase = f"{_variables(matched.sources)} from {checkpoint.path.name}"
    if checkpoint.moving_averages:
        phrase += " (moving averages)"
    if allowed:
        phrase += f", {len(allowed):,} missing as allowed"
    phrase += f"; unused: {_unused(unused)}" if unused else "; nothing unused"
    lines = tuple(f"unused: {entry.name} {entry.shape} {entry.dtype}, {entry.kind}" for entry in unused)
    return Finding(Verdict.NOT_ASKED, phrase, lines, _figures(checkpoint, matched))


def _figures(checkpoint: Checkpoint, matched: Matched) -> dict[str, object]:
    return {
        "checkpoint_entries": len(checkpoint.entries),
        "checkpoint_variables": len(matched.sources),
        "checkpoint_missing": list(matched.missing),
        "checkpoint_clashes": list(matched.clashes),
        "checkpoint_unused": [entry.name for entry in checkpoint.unused(matched)],
    }


def _unused(entries: list[Entry]) -> str:
    """Counts what is unused by kind; what is a model's own variable is named, as it may be a mistake."""
    variables = [entry.name for entry in entries if entry.kind is Kind.VARIABLE]
    return counted(entries) + (f" ({_some(variables)})" if variables else "")


def _variables(listed: Sized) -> str:
    return f"{len(listed):,} variable{'' if len(listed) == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _guess(name: str, key: str, unused: Sequence[str]) -> str:
    if name != key:
        return f" (several variables of the reference bear the name {name}; a checkpoint has one value for a name)"
    close = difflib.get_close_matches(name, unused, n=1, cutoff=0.6)
    return f"; unused is {close[0]!r}" if close else ""
