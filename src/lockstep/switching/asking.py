"""Finds out which of TensorFlow's switches a difference comes from, in each mode that is asked for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lockstep.check.partly import paired, settle_names
from lockstep.check.reporting import Progress
from lockstep.check.sides import Rules, subject_of
from lockstep.common.arrays import Arrays, checked_inputs
from lockstep.common.errors import InputError, nearest
from lockstep.compare.align import Rename, TransformRule, checked_ignore
from lockstep.compare.tolerance import FixedTolerance
from lockstep.report.switches import SettingReport, SwitchReport
from lockstep.results.model import overall
from lockstep.subjects import INFERENCE, TRAINING, Subject
from lockstep.subjects.variable_parts import PartRule, in_parts
from lockstep.switching.question import Asked, Question
from lockstep.switching.runs import PARTS
from lockstep.switching.ways import WaysQuestion


def switches(  # noqa: PLR0913 - as of `verify`
    reference: Subject | Mapping[str, Any],
    candidate: Subject | Mapping[str, Any],
    inputs: Arrays,
    *,
    rename: Sequence[Rename] = (),
    transforms: Sequence[TransformRule | Sequence[str]] = (),
    parts: Sequence[PartRule | Sequence[Any]] = (),
    ignore: Sequence[str] = (),
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

    A PyTorch module runs eagerly, in `torch.compile` (traced alone; decomposed; by Inductor, where there is a C++
    compiler), without oneDNN, on one thread and in bfloat16 autocast, each held against the float64 result too.

    Args:
        reference: The original, as for `lockstep.verify`.
        candidate: The migrated model: `lockstep.keras(build)`, `lockstep.torch(build)`, or a table of the
            configuration as a dict. Only what a table names can be run in another process.
        inputs: As for `lockstep.verify`.
        rename: Likewise.
        transforms: Likewise.
        parts: Likewise.
        ignore: Likewise.
        tolerance: Likewise; what is beyond it is held against a noise budget.
        training: Whether training mode is asked too, besides inference.
        without: What is left out: `"passes"`, `"xla"`, `"onednn"`, `"threads"`, `"determinism"`, `"reference"`; of
            PyTorch `"compile"`, `"inductor"`, `"autocast"`, `"onednn"`, `"threads"`.
        progress: Called with an `Event` whenever something begins.

    Returns:
        The report; only its `raise_if_diverged()` raises.

    Raises:
        InputError: The inputs, a table or a name in `without` cannot be used, or the candidate is no model of
            Keras or PyTorch.
        SubjectError: The code of one side failed when it was run as written; its cause is the original exception.
    """
    start = time.perf_counter()
    _check_parts(without)
    cut = in_parts(subject_of(candidate, "candidate"), tuple(map(PartRule.of, parts)))
    sides = {"reference": subject_of(reference, "reference"), "candidate": cut}
    ways = sides["candidate"].ways()
    if ways is None and not sides["candidate"].offers.execution:
        raise InputError(
            f"the candidate {sides['candidate'].label} is neither a Keras model nor a PyTorch module that can be run "
            "now; switches needs one that lockstep.keras(build) or lockstep.torch(build) makes, or a table with "
            'runtime = "keras" or "torch".'
        )
    asked = Asked(
        sides,
        checked_inputs(inputs),
        frozenset(without),
        progress or (lambda _: None),
    )
    rules = Rules(tuple(rename), tuple(map(TransformRule.of, transforms)), ignore=checked_ignore(ignore))
    if ways is not None:
        rules = _with_names(asked, rules, tolerance or FixedTolerance())
    rows: list[SettingReport] = []
    findings: list[str] = []
    for kind in ("inference", "training") if training else ("inference",):
        mode = TRAINING if kind == "training" else INFERENCE
        with paired(
            sides["reference"],
            sides["candidate"],
            asked.inputs,
            mode,
            rules=rules,
            tolerance=tolerance or FixedTolerance(),
            progress=asked.progress,
        ) as pair:
            question: Question | WaysQuestion
            question = Question(asked, pair, mode) if ways is None else WaysQuestion(asked, pair, mode, ways)
            question.answer()
        rows.extend(question.rows)
        findings.extend(f"{kind}: {sentence}" for sentence in question.findings)
    return SwitchReport(
        verdict=overall([row.verdict for row in rows if row.side == "candidate"]),
        settings=tuple(rows),
        findings=tuple(findings),
        environments={side: dict(subject.environment()) for side, subject in sides.items()},
        duration_s=time.perf_counter() - start,
    )


def _with_names(asked: Asked, rules: Rules, tolerance: FixedTolerance) -> Rules:
    """Finds out which variable is which, as `verify` does, and cuts the candidate's where that takes it.

    Raises:
        InputError: That is for the user to say, or a variable has no partner: no value could be carried over.
    """
    sides = asked.sides
    settled, alignment = settle_names(
        sides["reference"], sides["candidate"], asked.inputs, rules=rules, tolerance=tolerance, progress=asked.progress
    )
    lacking = [one.name for one, _ in (*alignment.missing, *alignment.extra)]
    if (settled is not None and settled.question) or lacking:
        named = ", ".join(lacking[:5]) or "several"
        raise InputError(
            f"which variable is which is not known ({named}), so that both sides cannot start from the same values; "
            "`lockstep map` says what is known, and [variables] rename and transform say the rest."
        )
    if settled is None:
        return rules
    sides["candidate"] = in_parts(sides["candidate"], settled.rules.parts)
    return dataclasses.replace(
        rules,
        rename=(*settled.rules.rename, *rules.rename),
        transforms=(*settled.rules.transforms, *rules.transforms),
    )


def _check_parts(without: Collection[str]) -> None:
    for name in without:
        if name not in PARTS:
            known = ", ".join(PARTS)
            raise InputError(f"without: there is no part {name!r}{nearest(name, PARTS)} (there are {known}).")
