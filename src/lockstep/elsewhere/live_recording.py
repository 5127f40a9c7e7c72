"""Writes what a subject of this process does into a trace folder: how a Keras candidate is recorded on its own day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockstep.common.arrays import Arrays, named, numpy_dtype
from lockstep.common.errors import InputError, SubjectError, refused
from lockstep.compare import filling
from lockstep.compare.align import Rename, TransformRule, align
from lockstep.elsewhere.recorded import RecordedSubject
from lockstep.ground import trials
from lockstep.ground.folder import TraceWriter
from lockstep.subjects import INITIAL, MODES, TRAINING, Ask, Instance, Mode, Objective, Setting, Subject
from lockstep.traces.trace import Trace, VariableRecord

_FURTHER_CALLS = 2


@dataclass(frozen=True)
class TrainingParts:
    """What is recorded of a subject's training besides the guide's steps.

    Attributes:
        objective: What gradients are taken of; None: none are.
        loss: What its loss is called, `"training.py:loss"`; empty without one.
        make: The user's `optimizer()`, or None.
        optimizer: What it is called.
    """

    objective: Objective | None = None
    loss: str = ""
    make: Callable[[], Any] | None = None
    optimizer: str = ""


def record(  # noqa: PLR0913 - what to record, from what, to where
    subject: Subject,
    inputs: Arrays,
    target: Path,
    *,
    reference: RecordedSubject | None = None,
    rules: tuple[Rename, ...] = (),
    training: TrainingParts | None = None,
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
        training: What of its training is recorded, from the reference's values and variables: needs its trace.
        transforms: How variables of this subject are made from the reference's.
        replace: Whether a trace of that name may be replaced.
        say: Told what is being done.

    Raises:
        InputError: The trace cannot be written, or the inputs cannot be used.
        SubjectError: The user's code failed.
    """
    given = named(inputs)
    parts = training if training is not None and reference is not None else TrainingParts()

    def write() -> None:
        with TraceWriter(str(target), replace=replace) as writer:
            builds = []
            for mode in MODES:
                say(f"building {'training' if mode.training else 'inference'} mode, {mode.randomness}")
                instance = subject.build(mode, inputs)
                try:
                    known = None if reference is None else reference.build(mode, inputs).run(INITIAL)
                    objective = parts.objective if mode == TRAINING else None
                    builds.append(_build(writer, instance, mode, known, (rules, transforms), objective))
                finally:
                    instance.close()
            extra = {}
            if reference is not None and parts.make is not None:
                say("running the optimizer")
                updates = _optimizer(writer, subject, parts.make, reference, builds[0]["variables"], rules)
                extra = {} if updates is None else {"optimizer": updates}
            environment = dict(subject.environment())
            environment.pop("subject", None)
            writer.finish(
                {
                    **extra,
                    "subject": {
                        "label": subject.label,
                        "runtime": "keras",
                        "loss": parts.loss if parts.objective is not None else "",
                        "optimizer": parts.optimizer if extra else "",
                    },
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
    objective: Objective | None,
) -> dict[str, Any]:
    first = instance.run(INITIAL, Ask(repeats=0 if mode.training else _FURTHER_CALLS))
    alignment = align(first.variables, first.variables)
    if known is not None:
        alignment = align(known.variables, first.variables, *rules)
    runs = [(INITIAL, first)]
    if not mode.training:
        runs += [
            (s, instance.run(s, Ask(draws=None if known is None else known.forward_draws)))
            for s in (filling.filled(kind, alignment)[1] for kind in ("distinct", "constant"))
        ]
    if known is not None:
        copied = filling.copied(known, alignment)[1]
        with_gradients, objective = _differentiated(instance, copied, known, objective)
        runs.append((copied, with_gradients))
        if objective is not None:
            distinct = filling.filled("distinct", alignment)[1]
            runs.append((distinct, instance.run(distinct, Ask(draws=known.forward_draws, objective=objective))))
    return described(writer, mode, first.variables, runs, transformed=alignment.transforms)


def _differentiated(
    instance: Instance, setting: Setting, known: Trace, objective: Objective | None
) -> tuple[Trace, Objective | None]:
    """Runs a model with gradients; without them, and with no objective, where it has none and nobody gave a loss."""
    try:
        return instance.run(setting, Ask(draws=known.forward_draws, objective=objective)), objective
    except (InputError, SubjectError):
        if objective is None or objective.loss is not None:
            raise
        return instance.run(setting, Ask(draws=known.forward_draws)), None


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


def _optimizer(
    writer: TraceWriter,
    subject: Subject,
    make: Callable[[], Any],
    reference: RecordedSubject,
    variables: Sequence[Sequence[Any]],
    rules: tuple[Rename, ...],
) -> dict[str, Any] | None:
    """Makes the optimizer go through the trial, forced to what the reference's did; None where that did nothing."""
    theirs = reference.make_optimizer(None, {}, {})
    if theirs is None:
        return None
    known = next(iter(reference.builds.values())).variables
    alignment = align(known, [VariableRecord(*fields) for fields in variables], rules)
    shapes = trials.shapes_of(known, numpy_dtype)
    names = {**{key: key for key in shapes}, **{r.key: c.key for r, c in alignment.pairs if r.key in shapes}}
    mine = subject.make_optimizer(make, shapes, names)
    if mine is None:
        return None
    points = {*theirs.turning_points(), *mine.turning_points()}
    given = trials.trial(shapes)
    forced = [update.variables for update in trials.updates(theirs, given)]
    rates = mine.learning_rates(trials.probes(sorted(points)))
    done = trials.updates(mine, given, forced)
    mine.close()
    return {
        "description": mine.description,
        "rates": [[step, rate] for step, rate in sorted(rates.items())],
        "updates": [
            {**writer.add_groups({"variables": one.variables, "slots": one.slots}), "step": one.step} for one in done
        ],
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
            "repeated_draws": trace.repeated_draws,
            "native_initializers": trace.native_initializers,
            "native_draws": trace.native_draws,
            "unaligned_draws": trace.unaligned_draws,
            "drawn": list(trace.drawn),
            "drew": list(trace.drew),
            "overwritten": list(trace.overwritten),
            "loads": list(trace.loads),
            "notes": list(trace.notes),
        },
    }
