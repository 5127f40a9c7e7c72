"""What the manifest of a trace has to say: its form is checked as a whole before anything in it is believed.

A manifest that is signed rightly may still be a forger's, or a mistake's. What stands in a wrong place, has a wrong
type, names something that is not there or claims more than this machine could hold is told by where it stands
(`builds[0].runs[1].before`), once, here: who reads a trace afterwards need not ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from lockstep.arrays import numpy_dtype
from lockstep.optimizers.rules import CHOICES, NEEDED, NUMBERS
from lockstep.recorder.machine import memory_bytes
from lockstep.recorder.tensors import MOST_DIMENSIONS, count
from lockstep.recorder.trials import UPDATES

Check = Callable[[Any, str], None]
"""Raises `MisstatedError` where a value is not what it has to be; the second argument is where it stands."""

_SHOWN = 80
_UNKNOWN_SIZE = -1


class MisstatedError(ValueError):
    """A manifest says what no recorder writes; the text is what, and where it stands."""


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


def _wrong(where: str, value: Any, wanted: str) -> MisstatedError:
    text = repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return MisstatedError(f"{where or 'the whole'} is {shown}, which is not {wanted}")


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _wrong(where, value, "a text")


def _truth(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(where, value, "true or false")


def _whole(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise _wrong(where, value, "a whole number of 64 bits")


def _count(value: Any, where: str) -> None:
    _whole(value, where)
    if not 0 <= value < 1 << 63:
        raise _wrong(where, value, "a count")


def _number(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < math.inf:
        raise _wrong(where, value, "a number")


def _duration(value: Any, where: str) -> None:
    _number(value, where)
    if not 0 <= value < 1e12:
        raise _wrong(where, value, "a duration in seconds")


def _anything(value: Any, where: str) -> None:
    """JSON of any kind: nothing is concluded from it."""


def _dtype(value: Any, where: str) -> None:
    _text(value, where)
    try:
        numpy_dtype("S" if value == "string" else value)
    except (TypeError, ValueError, AttributeError) as error:
        raise _wrong(where, value, "a dtype") from error


def _size(value: Any, where: str) -> None:
    _whole(value, where)
    if not _UNKNOWN_SIZE <= value < 1 << 63:
        raise _wrong(where, value, "a size")


def _shape(value: Any, where: str) -> None:
    _list_of(_size)(value, where)
    if len(value) > MOST_DIMENSIONS:
        raise _wrong(where, value, f"a shape of at most {MOST_DIMENSIONS} dimensions")


def _seeds(value: Any, where: str) -> None:
    _list_of(_whole)(value, where)
    if len(value) != 2:
        raise _wrong(where, value, "a pair of seeds")


def _or_null(inner: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return checked


def _list_of(inner: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        for number, item in enumerate(value):
            inner(item, f"{where}[{number}]")

    return checked


def _map_of(inner: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        for key, item in value.items():
            inner(item, f"{where}.{key[:_SHOWN]}")

    return checked


def _row(needed: Sequence[Check], more: Sequence[Check] = ()) -> Check:
    """A list of certain things in a certain order; those in `more` may be left out from the end."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list) or not len(needed) <= len(value) <= len(needed) + len(more):
            raise _wrong(where, value, f"a list of {len(needed)}" + (f" to {len(needed) + len(more)}" if more else ""))
        for number, (item, inner) in enumerate(zip(value, (*needed, *more), strict=False)):
            inner(item, f"{where}[{number}]")

    return checked


def _object(needed: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> Check:
    """An object with certain keys; those in `more` may be missing, and others are not looked at."""

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        for key, inner in needed.items():
            if key not in value:
                raise MisstatedError(f"{where or 'the whole'} has no {key!r}")
            inner(value[key], f"{where}.{key}" if where else key)
        for key, inner in (more or {}).items():
            if key in value:
                inner(value[key], f"{where}.{key}" if where else key)

    return checked


def _both(first: Check, second: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        first(value, where)
        second(value, where)

    return checked


def _either(first: Check, second: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        (first if isinstance(value, list) else second)(value, where)

    return checked


def _stored_shape(value: Any, where: str) -> None:
    _shape(value, where)
    if _UNKNOWN_SIZE in value:
        raise _wrong(where, value, "a shape")


def _randomness(value: Any, where: str) -> None:
    if value not in ("constant", "num_random_ops"):
        raise _wrong(where, value, "'constant' or 'num_random_ops'")


def _earlier(value: Any, where: str) -> None:
    _list_of(_count)(value, where)
    if sum(value) > memory_bytes():
        raise _wrong(where, value, "how many numbers were drawn: this machine could not hold them")


_TENSOR = _object({"dtype": _text, "shape": _stored_shape, "checksum": _text, "file": _text, "key": _text})
_TENSORS = _map_of(_TENSOR)


def _scalar(value: Any, where: str) -> None:
    _TENSOR(value, where)
    if value["shape"] or value["dtype"] == "string" or value["dtype"].startswith("complex"):
        raise _wrong(where, [value["dtype"], value["shape"]], "one real number")


_FILE = _object({"file": _text, "sha256": _text, "bytes": _count})
_VARIABLE = _row((_text, _text, _shape, _dtype, _truth), (_or_null(_truth),))
_DRAW = _row((_text, _text, _seeds, _truth, _truth), (_or_null(_truth), _text, _size))
_FORWARD_DRAW = _either(_row((_whole, _text, _text, _size, _truth, _earlier)), _whole)
_OUTPUT = _row((_text, _or_null(_shape)))
_OPERATION = _row((_text, _text, _list_of(_text), _list_of(_OUTPUT), _map_of(_anything), _text))
_PAIR = _row((_text, _text))
_LIVE = _object(
    {
        "created": _list_of(_text),
        "calls": _count,
        "draws": _count,
        "forward_draws": _or_null(_list_of(_FORWARD_DRAW)),
        "native_initializers": _truth,
        "native_draws": _truth,
        "unaligned_draws": _truth,
        "notes": _list_of(_text),
    },
    {
        "repeated_draws": _count,
        "drawn": _or_null(_PAIR),
        "drew": _row((_truth, _truth)),
        "overwritten": _list_of(_text),
        "loads": _list_of(_text),
    },
)
_RUN = _object(
    {
        "setting": _text,
        "fill_names": _map_of(_text),
        "filled": _list_of(_text),
        "before": _TENSORS,
        "outputs": _TENSORS,
        "losses": _list_of(_row((_or_null(_text), _scalar))),
        "total_loss": _or_null(_scalar),
        "after": _TENSORS,
        "taps": _TENSORS,
        "tap_aliases": _map_of(_text),
        "untapped": _list_of(_text),
        "differing_between_blocks": _list_of(_text),
        "duration_s": _duration,
    },
    {
        "gradients": _TENSORS,
        "unconnected": _list_of(_text),
        "training_loss": _or_null(_scalar),
        "live": _or_null(_LIVE),
    },
)
_TRAJECTORY = _object(
    {
        "steps": _list_of(_object({"run": _RUN, "update": _TENSORS, "step": _whole})),
        "own_drift": _list_of(_number),
    }
)
_BUILD = _object(
    {
        "training": _truth,
        "randomness": _randomness,
        "variables": _list_of(_VARIABLE),
        "draws": _list_of(_DRAW),
        "seeds_taken": _list_of(_whole),
        "inputs": _map_of(_text),
        "outputs": _map_of(_text),
        "runs": _list_of(_RUN),
    },
    {
        "graph": _or_null(_FILE),
        "graph_note": _or_null(_text),
        "operations": _list_of(_OPERATION),
        "objective": _or_null(
            _object({"loss": _text, "cotangents": _map_of(_text), "gradients": _map_of(_or_null(_text))})
        ),
        "objective_note": _or_null(_text),
        "drawn": _or_null(_PAIR),
        "trajectory": _or_null(_TRAJECTORY),
    },
)
_DESCRIPTION = _object(
    {"framework": _text, "name": _text, "kind": _text, "arguments": _map_of(_anything)},
    {"schedule": _map_of(_anything)},
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
        place = f"{where}.arguments.{name[:_SHOWN]}"
        if name in CHOICES:
            if argument not in CHOICES[name]:
                raise _wrong(place, argument, f"one of {', '.join(map(repr, CHOICES[name]))}")
        elif name not in NUMBERS:
            raise MisstatedError(f"{place} is no argument that is known")
        elif not isinstance(argument, bool):
            _number(argument, place)
    if arguments.get("clip") and "clip_at" not in arguments:
        raise MisstatedError(f"{where}.arguments has no 'clip_at', which 'clip' needs")


_OPTIMIZER = _object(
    {
        "description": _or_null(_optimizer),
        "rates": _list_of(_row((_whole, _number))),
        "updates": _list_of(_object({"variables": _TENSORS, "slots": _TENSORS, "step": _whole})),
    }
)
_ENVIRONMENT = _object(
    {},
    {
        "python": _text,
        "tensorflow": _text,
        "keras": _text,
        "numpy": _text,
        "system": _text,
        "machine": _text,
        "cpu_features": _list_of(_text),
        "cpus": _or_null(_count),
        "flags": _map_of(_text),
    },
)
_TRACE = _object(
    {
        "subject": _both(_map_of(_text), _object({"label": _text})),
        "single_input": _truth,
        "inputs": _TENSORS,
        "environment": _ENVIRONMENT,
        "builds": _list_of(_BUILD),
        "files": _map_of(_text),
    },
    {"code_note": _or_null(_text), "optimizer": _or_null(_OPTIMIZER)},
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
        raise MisstatedError(f"{where}.filled has variable {unsized[0][:_SHOWN]!r}, whose size is not known")
    missing = variables.keys() - run["before"].keys() - set(run["filled"])
    if missing:
        raise MisstatedError(f"{where} does not say from what variable {min(missing)[:_SHOWN]!r} started")
    if run.get("gradients") and run.get("training_loss") is None:
        raise MisstatedError(f"{where} has gradients, and no 'training_loss'")
    for part in ("before", "after", "gradients"):
        for key, entry in run.get(part, {}).items():
            shape, dtype = variables[key]
            if not _fits(entry["shape"], shape) or entry["dtype"] != dtype:
                raise MisstatedError(
                    f"{where}.{part} has a {entry['dtype'][:_SHOWN]} of shape {entry['shape']} for variable "
                    f"{key[:_SHOWN]!r}, which is a {dtype} of shape {list(shape)}"
                )
    for alias, name in run["tap_aliases"].items():
        if name not in run["taps"]:
            raise MisstatedError(f"{where}.tap_aliases has {alias[:_SHOWN]!r} for a tap that is not there")


def _fits(shape: Sequence[int], static: Sequence[int]) -> bool:
    if tuple(static) == (_UNKNOWN_SIZE,):  # what a recorder writes of an unknown rank, too
        return True
    return len(shape) == len(static) and all(s in (_UNKNOWN_SIZE, n) for n, s in zip(shape, static, strict=True))


def _known(keys: Collection[str], variables: Collection[str], where: str) -> None:
    unknown = [key for key in keys if key not in variables]
    if unknown:
        raise MisstatedError(f"{where} speaks of variable {unknown[0][:_SHOWN]!r}, which is not there")


def _held(variables: Mapping[str, tuple[Sequence[int], str]], where: str) -> None:
    total, limit = 0, memory_bytes()
    for key, (shape, dtype) in variables.items():
        item = 1 if dtype == "string" else numpy_dtype(dtype).itemsize
        total += count(size for size in shape if size != _UNKNOWN_SIZE) * item
        if total > limit:
            raise MisstatedError(
                f"{where}.variables take {total:,} bytes up to {key[:_SHOWN]!r}, and this machine has a memory of "
                f"{limit:,}"
            )
