"""Collects what a report shows besides verdicts, while a check goes on; nothing is collected where nobody asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lockstep.check.judging import Traces
from lockstep.check.proof.whole import distance
from lockstep.common import patterns
from lockstep.common.arrays import Arrays
from lockstep.compare.align import Alignment, Partner, Rename
from lockstep.compare.metrics.plan import make_plan
from lockstep.compare.metrics.ulp import ulp_of_parts
from lockstep.ground.structure import same_bits
from lockstep.results.evidence import Evidence, Excerpt, ProgramPair, UlpHistogram, VariablePair
from lockstep.results.model import Culprit
from lockstep.subjects import Subject
from lockstep.traces.trace import VariableRecord

_AROUND = 4
"""Lines that are shown on either side of one that is named."""
_LARGEST = 1 << 20
"""Bytes of a source file that is still looked into."""
_LINE = re.compile(r"^(?P<file>.+):(?P<line>[0-9]+)$", re.DOTALL)


class Collector:
    """What was seen so far.

    Args:
        folders: Where source files are looked for that are named relative to a folder.

    Attributes:
        step: The question that is being answered now.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        self.step = ""
        self._folders = (*folders, Path.cwd())
        self._programs: dict[str, ProgramPair] = {}
        self._ulps: dict[str, UlpHistogram] = {}
        self._variables: tuple[VariablePair, ...] = ()
        self._ignored = (0, 0)

    def programs(self, pair: ProgramPair) -> None:
        """Takes both programs of a mode; those in which something is wrong are kept before others."""
        known = self._programs.get(pair.mode)
        if known is None or (_wrong(pair) and not _wrong(known)):
            self._programs[pair.mode] = pair

    def has_found(self, mode: str) -> bool:
        """Whether the programs of a mode are known, with something wrong in them: nothing better is to come."""
        return mode in self._programs and _wrong(self._programs[mode])

    def outputs(self, traces: Traces) -> None:
        """Counts how far the elements of both sides' outputs are apart; several runs of a question add up."""
        for name, ours in traces.base.outputs.items():
            if name not in traces.candidate.outputs:
                continue
            found = _histogram(self.step, np.asarray(ours), np.asarray(traces.candidate.outputs[name]))
            if found is not None:
                known = self._ulps.get(self.step)
                self._ulps[self.step] = found if known is None else _added(known, found)

    def variables(self, both: Traces, alignment: Alignment, rules: Sequence[Rename]) -> None:
        """Takes both inventories, the pairs and the rules that gave them."""
        paired = [self._pair(both, alignment, rules, ours, theirs) for ours, theirs in alignment.pairs]
        missing = [_alone(record, partner, reference=True) for record, partner in alignment.missing]
        extra = [_alone(record, partner, reference=False) for record, partner in alignment.extra]
        self._variables = (*paired, *missing, *extra)
        self._ignored = alignment.ignored

    def finished(
        self, culprits: Sequence[Culprit], subjects: Mapping[str, Subject], inputs: Arrays | None = None
    ) -> Evidence:
        """Puts together what was seen."""
        given = inputs if isinstance(inputs, Mapping) else {} if inputs is None else {"input": inputs}
        programs = tuple(self._programs.values())
        return Evidence(
            programs=programs,
            ulps=tuple(self._ulps.values()),
            variables=self._variables,
            ignored=self._ignored,
            settings={side: {**subject.environment(), **subject.settings()} for side, subject in subjects.items()},
            inputs={name: f"{np.shape(array)} {np.asarray(array).dtype.name}" for name, array in given.items()},
            excerpts=self._excerpts(_named(culprits, programs, subjects)),
        )

    def _pair(
        self,
        both: Traces,
        alignment: Alignment,
        rules: Sequence[Rename],
        ours: VariableRecord,
        theirs: VariableRecord,
    ) -> VariablePair:
        transform = alignment.transforms.get(theirs.key)
        initial = None
        if ours.key in both.reference.before and theirs.key in both.candidate.before:
            carried = alignment.carried(theirs, np.asarray(both.reference.before[ours.key]))
            made = np.asarray(both.candidate.before[theirs.key])
            initial = 0.0 if same_bits(carried, made) else distance(carried, made)
        return VariablePair(
            reference=ours.key,
            candidate=theirs.key,
            shapes=(tuple(ours.shape), tuple(theirs.shape)),
            dtype=ours.dtype,
            trainable=ours.trainable,
            rule=_rule(ours.key, rules),
            transform="" if transform is None else transform.text,
            initial=initial,
        )

    def _excerpts(self, sources: Iterable[str]) -> dict[str, Excerpt]:
        wanted: dict[str, set[int]] = {}
        for source in sources:
            if (named := _LINE.match(source)) is not None:
                number = int(named["line"])
                wanted.setdefault(named["file"], set()).update(range(number - _AROUND, number + _AROUND + 1))
        beside = [Path(file).parent for file in wanted if Path(file).is_absolute()]
        found = {}
        for file, numbers in wanted.items():
            lines = _read(file, (*self._folders, *beside))
            if lines:
                shown = {n: lines[n - 1] for n in sorted(numbers) if 1 <= n <= len(lines)}
                found[file] = Excerpt(shown)
        return found


def _wrong(pair: ProgramPair) -> bool:
    return any(row.state == "beyond" for row in pair.rows)


def _named(
    culprits: Iterable[Culprit], programs: Iterable[ProgramPair], subjects: Mapping[str, Subject]
) -> Iterator[str]:
    """Yields the source lines that are named, `model.py:22`.

    A recording names its lines relative to the user's folder; one that names another place of this machine was made by
    somebody who wants it read.
    """
    recorded = [side in subjects and subjects[side].recording is not None for side in ("reference", "candidate")]
    pairs = [(culprit.reference_source, culprit.source) for culprit in culprits]
    sides = ((row.reference, row.candidate) for pair in programs for row in pair.rows)
    pairs += [(ours.source if ours else None, theirs.source if theirs else None) for ours, theirs in sides]
    for pair in dict.fromkeys(pairs):
        for source, from_elsewhere in zip(pair, recorded, strict=True):
            if source and not (from_elsewhere and Path(source).is_absolute()):
                yield source


def _read(file: str, folders: Iterable[Path]) -> list[str]:
    """Returns the lines of a source file; none where it is not there, leads out of its folder, or is no Python."""
    absolute = Path(file).is_absolute()
    for folder in [Path(file).parent] if absolute else folders:
        path = folder / file
        try:
            inside = absolute or path.resolve().is_relative_to(folder.resolve())
            if inside and path.suffix == ".py" and path.is_file() and path.stat().st_size <= _LARGEST:
                return path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # a file that went, or may not be read: the report names the line without showing it
    return []


def _rule(key: str, rules: Sequence[Rename]) -> str:
    for pattern, replacement in rules:
        if patterns.substituted(pattern, replacement, key)[1]:
            return f"{pattern} → {replacement}"
    return ""


def _alone(record: VariableRecord, partner: Partner | None, *, reference: bool) -> VariablePair:
    shape = tuple(record.shape)
    return VariablePair(
        reference=record.key if reference else None,
        candidate=None if reference else record.key,
        shapes=(shape, None) if reference else (None, shape),
        dtype=record.dtype,
        trainable=record.trainable,
        note="" if partner is None else f"nearest: {partner.record.key} ({partner.reason})",
    )


def _histogram(step: str, ours: np.ndarray, theirs: np.ndarray) -> UlpHistogram | None:
    """Counts distances by powers of two; None where the arrays cannot be held against each other."""
    floating = all(side.dtype.kind in "fc" or side.dtype.name == "bfloat16" for side in (ours, theirs))
    dtype = make_plan(ours.dtype, theirs.dtype, 0.0, 0.0).ulp if floating and ours.shape == theirs.shape else None
    if dtype is None:
        return None
    finite = np.isfinite(ours) & np.isfinite(theirs)
    odd = ~finite & ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    distances = ulp_of_parts(ours[finite], theirs[finite], dtype)
    # 0 -> 0, 1 -> 1, 2 and 3 -> 2, 4 to 7 -> 3: the exponent of the distance as a float, exact below 2**53.
    places = np.frexp(distances.astype(np.float64))[1]
    return UlpHistogram(step, tuple(int(count) for count in np.bincount(places)), int(odd.sum()))


def _added(a: UlpHistogram, b: UlpHistogram) -> UlpHistogram:
    length = max(len(a.counts), len(b.counts))
    ours, theirs = ((*each.counts, *[0] * (length - len(each.counts))) for each in (a, b))
    counts = tuple(n + m for n, m in zip(ours, theirs, strict=True))
    return dataclasses.replace(a, counts=counts, others=a.others + b.others)
