"""Writes what a subject of this process does into a trace folder: how a Keras candidate is recorded on its own day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from lockstep.align import Rename, TransformRule, align
from lockstep.arrays import Arrays, named
from lockstep.recorded import RecordedSubject, refused
from lockstep.recorder.folder import TraceWriter
from lockstep.steps import filling
from lockstep.subjects import INITIAL, Instance, Mode, Setting, Subject
from lockstep.trace import Trace, VariableRecord

MODES = (
    Mode(training=False, randomness="num_random_ops"),
    Mode(training=True, randomness="num_random_ops"),
    Mode(training=True, randomness="constant", functional=True),
)
_FURTHER_CALLS = 2


def record(  # noqa: PLR0913 - what to record, from what, to where
    subject: Subject,
    inputs: Arrays,
    target: Path,
    *,
    reference: RecordedSubject | None = None,
    rules: tuple[Rename, ...] = (),
    transforms: tuple[TransformRule, ...] = (),
    replace: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Runs a subject in every mode and setting of the guide's steps, and writes what it did.

    Args:
        subject: The subject.
        inputs: What it runs on.
        target: The folder to be made.
        reference: The reference's trace: its names are what distinct values are a hash of, and its initial values and
            draws are run too, so that a model which draws in another order can be judged.
        rules: Rename rules, from the reference's names to this subject's.
        transforms: How variables of this subject are made from the reference's.
        replace: Whether a trace of that name may be replaced.
        say: Told what is being done.

    Raises:
        InputError: The trace cannot be written, or the inputs cannot be used.
        SubjectError: The user's code failed.
    """
    given = named(inputs)

    def write() -> None:
        with TraceWriter(str(target), replace=replace) as writer:
            builds = []
            for mode in MODES:
                say(f"building {'training' if mode.training else 'inference'} mode, {mode.randomness}")
                instance = subject.build(mode, inputs)
                try:
                    known = None if reference is None else reference.build(mode, inputs).run(INITIAL)
                    builds.append(_build(writer, instance, mode, known, (rules, transforms)))
                finally:
                    instance.close()
            environment = dict(subject.environment())
            environment.pop("subject", None)
            writer.finish(
                {
                    "subject": {"label": subject.label, "runtime": "keras"},
                    "single_input": not isinstance(inputs, Mapping),
                    "inputs": writer.add(given),
                    "environment": environment,
                    "builds": builds,
                    "files": {},
                }
            )

    refused(write)


def _build(
    writer: TraceWriter,
    instance: Instance,
    mode: Mode,
    known: Trace | None,
    rules: tuple[tuple[Rename, ...], tuple[TransformRule, ...]],
) -> dict[str, Any]:
    first = instance.run(INITIAL, repeats=0 if mode.training else _FURTHER_CALLS)
    alignment = align(first.variables, first.variables)
    if known is not None:
        alignment = align(known.variables, first.variables, *rules)
    runs = [(INITIAL, first)]
    if not mode.training:
        runs += [
            (s, instance.run(s)) for s in (filling.filled(kind, alignment)[1] for kind in ("distinct", "constant"))
        ]
    if known is not None:
        copied = filling.copied(known, alignment)[1]
        runs.append((copied, instance.run(copied, draws=known.forward_draws)))
    return described(writer, mode, first.variables, runs, transformed=alignment.transforms)


def described(
    writer: TraceWriter,
    mode: Mode,
    variables: tuple[VariableRecord, ...],
    runs: list[tuple[Setting, Trace]],
    *,
    transformed: Collection[str] = (),
) -> dict[str, Any]:
    """Writes what runs in one mode did, and returns what the manifest has to say of the mode.

    Variables in `transformed` are written out: their values are no longer a hash of a name.
    """
    return {
        "training": mode.training,
        "randomness": mode.randomness,
        "variables": [list(record) for record in variables],
        "draws": [],
        "seeds_taken": [],
        "inputs": {},
        "outputs": {},
        "graph": None,
        "graph_note": "a Keras model is no graph",
        "runs": [_run(writer, setting, trace, transformed) for setting, trace in runs],
    }


def _run(writer: TraceWriter, setting: Setting, trace: Trace, transformed: Collection[str]) -> dict[str, Any]:
    filled = [key for key in setting.values if key not in transformed]
    filled = filled if setting.kind in ("distinct", "constant") else []
    return {
        **writer.add_run(setting.kind, {key: setting.names.get(key, key) for key in filled}, trace),
        "duration_s": trace.duration_s,
        "live": {
            "created": list(trace.created),
            "calls": trace.calls,
            "draws": trace.draws,
            "forward_draws": None if trace.forward_draws is None else list(trace.forward_draws),
            "native_initializers": trace.native_initializers,
            "native_draws": trace.native_draws,
            "unaligned_draws": trace.unaligned_draws,
            "notes": list(trace.notes),
        },
    }
