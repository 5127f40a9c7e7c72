"""What the manifest of a trace has to say: its form is checked as a whole before anything in it is believed.

A manifest that is signed rightly may still be a forger's, or a mistake's. What stands in a wrong place, has a wrong
type, names something that is not there or claims more than this machine could hold is told by where it stands
(`builds[0].runs[1].before`), once, here: who reads a trace afterwards need not ask.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lockstep.common.arrays import numpy_dtype
from lockstep.common.forms import (
    SHOWN,
    MisstatedError,
    a_count,
    a_number,
    a_text,
    a_truth,
    a_whole,
    an_object,
    anything,
    both,
    either,
    list_of,
    map_of,
    or_null,
    row,
    wrong,
)
from lockstep.ground.machine import memory_bytes
from lockstep.ground.tensors import MOST_DIMENSIONS, count
from lockstep.ground.trials import UPDATES
from lockstep.optimizers.rules import CHOICES, NEEDED, NUMBERS

_UNKNOWN_SIZE = -1


def check(body: Mapping[str, Any]) -> None:
    """Checks the manifest of a trace that `lockstep record` or a check wrote.

    Raises:
        MisstatedError: A value is missing, of a wrong type, out of bounds, or at odds with another one.
    """
    _TRACE(body, "")
    for number, build in enumerate(body["builds"]):
        _consistent(build, f"builds[{number}]")
    optimizer = body.get("optimizer")
    if optimizer is not None and len(optimizer["updates"]) != UPDATES:
        raise MisstatedError(f"optimizer.updates are {len(optimizer['updates'])}, and a trial has {UPDATES}")


def check_build(build: Mapping[str, Any], where: str = "builds[0]") -> None:
    """Checks what a manifest says of one mode.

    Raises:
        MisstatedError: As of `check`.
    """
    _BUILD(build, where)
    _consistent(build, where)


def entries(body: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Lists what a manifest says of files, wherever it stands: a tensor each, or a whole file.

    Returns:
        `"tensor"` or `"file"`, and the entry.
    """
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if "key" in value and "checksum" in value and "file" in value:
                yield "tensor", value
            elif "sha256" in value and "file" in value:
                yield "file", value
            else:
                waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _duration(value: Any, where: str) -> None:
    a_number(value, where)
    if not 0 <= value < 1e12:
        raise wrong(where, value, "a duration in seconds")


def _dtype(value: Any, where: str) -> None:
    a_text(value, where)
    try:
        numpy_dtype("S" if value == "string" else value)
    except (TypeError, ValueError, AttributeError) as error:
        raise wrong(where, value, "a dtype") from error


def _size(value: Any, where: str) -> None:
    a_whole(value, where)
    if not _UNKNOWN_SIZE <= value < 1 << 63:
        raise wrong(where, value, "a size")


def _shape(value: Any, where: str) -> None:
    list_of(_size)(value, where)
    if len(value) > MOST_DIMENSIONS:
        raise wrong(where, value, f"a shape of at most {MOST_DIMENSIONS} dimensions")


def _seeds(value: Any, where: str) -> None:
    list_of(a_whole)(value, where)
    if len(value) != 2:
        raise wrong(where, value, "a pair of seeds")


def _stored_shape(value: Any, where: str) -> None:
    _shape(value, where)
    if _UNKNOWN_SIZE in value:
        raise wrong(where, value, "a shape")


def _randomness(value: Any, where: str) -> None:
    if value not in ("constant", "num_random_ops"):
        raise wrong(where, value, "'constant' or 'num_random_ops'")


def _earlier(value: Any, where: str) -> None:
    list_of(a_count)(value, where)
    if sum(value) > memory_bytes():
        raise wrong(where, value, "how many numbers were drawn: this machine could not hold them")


_TENSOR = an_object({"dtype": a_text, "shape": _stored_shape, "checksum": a_text, "file": a_text, "key": a_text})
_TENSORS = map_of(_TENSOR)


def _scalar(value: Any, where: str) -> None:
    _TENSOR(value, where)
    if value["shape"] or value["dtype"] == "string" or value["dtype"].startswith("complex"):
        raise wrong(where, [value["dtype"], value["shape"]], "one real number")


_FILE = an_object({"file": a_text, "sha256": a_text, "bytes": a_count})
_VARIABLE = row((a_text, a_text, _shape, _dtype, a_truth), (or_null(a_truth),))
_DRAW = row((a_text, a_text, _seeds, a_truth, a_truth), (or_null(a_truth), a_text, _size))
_FORWARD_DRAW = either(row((a_whole, a_text, a_text, _size, a_truth, _earlier)), a_whole)
_OUTPUT = row((a_text, or_null(_shape)))
_OPERATION = row((a_text, a_text, list_of(a_text), list_of(_OUTPUT), map_of(anything), a_text))
_PAIR = row((a_text, a_text))
_LIVE = an_object(
    {
        "created": list_of(a_text),
        "calls": a_count,
        "draws": a_count,
        "forward_draws": or_null(list_of(_FORWARD_DRAW)),
        "native_initializers": a_truth,
        "native_draws": a_truth,
        "unaligned_draws": a_truth,
        "notes": list_of(a_text),
    },
    {
        "repeated_draws": a_count,
        "drawn": or_null(_PAIR),
        "drew": row((a_truth, a_truth)),
        "overwritten": list_of(a_text),
        "loads": list_of(a_text),
    },
)
_RUN = an_object(
    {
        "setting": a_text,
        "fill_names": map_of(a_text),
        "filled": list_of(a_text),
        "before": _TENSORS,
        "outputs": _TENSORS,
        "losses": list_of(row((or_null(a_text), _scalar))),
        "total_loss": or_null(_scalar),
        "after": _TENSORS,
        "taps": _TENSORS,
        "tap_aliases": map_of(a_text),
        "untapped": list_of(a_text),
        "differing_between_blocks": list_of(a_text),
        "duration_s": _duration,
    },
    {
        "gradients": _TENSORS,
        "unconnected": list_of(a_text),
        "training_loss": or_null(_scalar),
        "live": or_null(_LIVE),
    },
)
_TRAJECTORY = an_object(
    {
        "steps": list_of(an_object({"run": _RUN, "update": _TENSORS, "step": a_whole})),
        "own_drift": list_of(a_number),
    }
)
_BUILD = an_object(
    {
        "training": a_truth,
        "randomness": _randomness,
        "variables": list_of(_VARIABLE),
        "draws": list_of(_DRAW),
        "seeds_taken": list_of(a_whole),
        "inputs": map_of(a_text),
        "outputs": map_of(a_text),
        "runs": list_of(_RUN),
    },
    {
        "graph": or_null(_FILE),
        "graph_note": or_null(a_text),
        "operations": list_of(_OPERATION),
        "objective": or_null(
            an_object({"loss": a_text, "cotangents": map_of(a_text), "gradients": map_of(or_null(a_text))})
        ),
        "objective_note": or_null(a_text),
        "notes": list_of(a_text),
        "skipped_updates": list_of(a_text),
        "drawn": or_null(_PAIR),
        "trajectory": or_null(_TRAJECTORY),
    },
)
_DESCRIPTION = an_object(
    {"framework": a_text, "name": a_text, "kind": a_text, "arguments": map_of(anything)},
    {"schedule": map_of(anything)},
)


def _optimizer(value: Any, where: str) -> None:
    """A rule that is known has the arguments that it takes to replay it."""
    _DESCRIPTION(value, where)
    kind, arguments = value["kind"], value["arguments"]
    if kind not in NEEDED:
        return
    missing = NEEDED[kind] - arguments.keys()
    if missing:
        raise MisstatedError(f"{where}.arguments has no {min(missing)!r}, which {kind} needs")
    for name, argument in arguments.items():
        place = f"{where}.arguments.{name[:SHOWN]}"
        if name in CHOICES:
            if argument not in CHOICES[name]:
                raise wrong(place, argument, f"one of {', '.join(map(repr, CHOICES[name]))}")
        elif name not in NUMBERS:
            raise MisstatedError(f"{place} is no argument that is known")
        elif not isinstance(argument, bool):
            a_number(argument, place)
    if arguments.get("clip") and "clip_at" not in arguments:
        raise MisstatedError(f"{where}.arguments has no 'clip_at', which 'clip' needs")


_OPTIMIZER = an_object(
    {
        "description": or_null(_optimizer),
        "rates": list_of(row((a_whole, a_number))),
        "updates": list_of(an_object({"variables": _TENSORS, "slots": _TENSORS, "step": a_whole})),
    }
)
_ENVIRONMENT = an_object(
    {},
    {
        "python": a_text,
        "tensorflow": a_text,
        "keras": a_text,
        "numpy": a_text,
        "system": a_text,
        "machine": a_text,
        "cpu_features": list_of(a_text),
        "cpus": or_null(a_count),
        "flags": map_of(a_text),
    },
)
_TRACE = an_object(
    {
        "subject": both(map_of(a_text), an_object({"label": a_text})),
        "single_input": a_truth,
        "inputs": _TENSORS,
        "environment": _ENVIRONMENT,
        "builds": list_of(_BUILD),
        "files": map_of(a_text),
    },
    {
        "code_note": or_null(a_text),
        "optimizer": or_null(_OPTIMIZER),
        "own": an_object({"loss": a_truth, "optimizer": a_truth}),
    },
)


def _consistent(build: Mapping[str, Any], where: str) -> None:
    """Checks that what a build names is there, and that it could be held."""
    variables = {fields[1]: (tuple(fields[2]), fields[3]) for fields in build["variables"]}
    if len(variables) != len(build["variables"]):
        raise MisstatedError(f"{where}.variables has two of one key")
    _held(variables, where)
    runs = [(run, f"{where}.runs[{number}]") for number, run in enumerate(build["runs"])]
    trajectory = build.get("trajectory")
    if trajectory is not None:
        _consistent_steps(trajectory, f"{where}.trajectory")
        runs += [(s["run"], f"{where}.trajectory.steps[{n}].run") for n, s in enumerate(trajectory["steps"])]
    for run, place in runs:
        _consistent_run(run, variables, place)
    settings = [run["setting"] for run in build["runs"]]
    if len(set(settings)) != len(settings):
        raise MisstatedError(f"{where}.runs has two of one setting")
    objective = build.get("objective")
    if objective is not None:
        _known(objective["gradients"], variables, f"{where}.objective.gradients")


def _consistent_steps(trajectory: Mapping[str, Any], where: str) -> None:
    """Checks that every training step has what the first one has: its loss, its gradients, and what they update."""
    steps = trajectory["steps"]
    if not steps or len(trajectory["own_drift"]) != len(steps):
        raise MisstatedError(f"{where} has {len(steps)} steps, and the drift of {len(trajectory['own_drift'])}")
    trained = steps[0]["update"]
    for number, step in enumerate(steps):
        same = step["run"].get("gradients", {}).keys() == step["update"].keys() == trained.keys()
        if not same or any(step["update"][key]["shape"] != trained[key]["shape"] for key in trained):
            raise MisstatedError(f"{where}.steps[{number}] trains other variables than it has gradients of")
        if step["run"].get("training_loss") is None:
            raise MisstatedError(f"{where}.steps[{number}].run has no 'training_loss'")


def _consistent_run(run: Mapping[str, Any], variables: Mapping[str, Any], where: str) -> None:
    for part in ("filled", "fill_names", "before", "after", "gradients", "unconnected"):
        _known(run.get(part, ()), variables, f"{where}.{part}")
    unsized = [key for key in run["filled"] if _UNKNOWN_SIZE in variables[key][0]]
    if unsized:
        raise MisstatedError(f"{where}.filled has variable {unsized[0][:SHOWN]!r}, whose size is not known")
    missing = variables.keys() - run["before"].keys() - set(run["filled"])
    if missing:
        raise MisstatedError(f"{where} does not say from what variable {min(missing)[:SHOWN]!r} started")
    if run.get("gradients") and run.get("training_loss") is None:
        raise MisstatedError(f"{where} has gradients, and no 'training_loss'")
    for part in ("before", "after", "gradients"):
        for key, entry in run.get(part, {}).items():
            shape, dtype = variables[key]
            if not _fits(entry["shape"], shape) or entry["dtype"] != dtype:
                raise MisstatedError(
                    f"{where}.{part} has a {entry['dtype'][:SHOWN]} of shape {entry['shape']} for variable "
                    f"{key[:SHOWN]!r}, which is a {dtype} of shape {list(shape)}"
                )
    for alias, name in run["tap_aliases"].items():
        if name not in run["taps"]:
            raise MisstatedError(f"{where}.tap_aliases has {alias[:SHOWN]!r} for a tap that is not there")


def _fits(shape: Sequence[int], static: Sequence[int]) -> bool:
    if tuple(static) == (_UNKNOWN_SIZE,):  # what a recorder writes of an unknown rank, too
        return True
    return len(shape) == len(static) and all(s in (_UNKNOWN_SIZE, n) for n, s in zip(shape, static, strict=True))


def _known(keys: Collection[str], variables: Collection[str], where: str) -> None:
    unknown = [key for key in keys if key not in variables]
    if unknown:
        raise MisstatedError(f"{where} speaks of variable {unknown[0][:SHOWN]!r}, which is not there")


def _held(variables: Mapping[str, tuple[Sequence[int], str]], where: str) -> None:
    total, limit = 0, memory_bytes()
    for key, (shape, dtype) in variables.items():
        item = 1 if dtype == "string" else numpy_dtype(dtype).itemsize
        total += count(size for size in shape if size != _UNKNOWN_SIZE) * item
        if total > limit:
            raise MisstatedError(
                f"{where}.variables take {total:,} bytes up to {key[:SHOWN]!r}, and this machine has a memory of "
                f"{limit:,}"
            )
