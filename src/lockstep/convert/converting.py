"""Converts a name-based checkpoint into the candidate's own format, and proves the result before it gets its name."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lockstep.check.partly import judge_reloaded
from lockstep.check.reporting import Progress
from lockstep.check.sides import Rules
from lockstep.common import workspace
from lockstep.common.arrays import Arrays, named, numpy_dtype
from lockstep.common.errors import InputError, refused
from lockstep.environments import inherited_variables, run_child
from lockstep.files.checkpoints.formats import Format, Staging, format_of
from lockstep.ground.folder import TraceReader, TraceWriter
from lockstep.ground.structure import same_bits
from lockstep.subjects.variable_parts import whole
from lockstep.traces.trace import Trace

if TYPE_CHECKING:
    from lockstep.check.judging import Traces
    from lockstep.compare.tolerance import FixedTolerance
    from lockstep.results.model import Report
    from lockstep.subjects import Instance, Subject

TIMEOUT_S = 1800.0
"""How long the process that loads the result may take."""


@dataclass(frozen=True)
class Conversion:
    """What is converted.

    Attributes:
        reference: The original.
        candidate: What the weights are for; it runs in this process.
        candidate_table: `runtime` and `entry` of it, for the process that loads the result.
        folder: What the entry is relative to.
        inputs: What both sides run on.
        rules: Rename and transform rules, and the checkpoint.
        tolerance: What the outputs are judged by.
    """

    reference: Subject
    candidate: Subject
    candidate_table: Mapping[str, Any]
    folder: Path
    inputs: Arrays
    rules: Rules
    tolerance: FixedTolerance


def convert(
    conversion: Conversion, target: Path, *, replace: bool = False, progress: Progress = lambda _: None
) -> tuple[Report, list[Path]]:
    """Writes the checkpoint's values as the candidate's weights.

    The result is loaded in a process of its own, where every variable must have the bits that it was given, and the
    outputs of inference are compared with those of the reference run from the checkpoint. Only then it gets its name.

    Args:
        conversion: What is converted.
        target: The file to be made; its name tells the format (see `Format`).
        replace: Whether a file of that name may be replaced.
        progress: Called with an `Event` whenever something begins.

    Returns:
        The report of the step `checkpoint`, and the files that were made: none where it is not `equivalent`.

    Raises:
        InputError: The checkpoint does not fill every variable, the candidate cannot be written in that format, or
            the result could not be loaded or has other values.
        SubjectError: The code of one side failed.
    """
    kind = format_of(target)
    if conversion.candidate_table.get("runtime") != "keras":
        raise InputError('a checkpoint is converted for a candidate whose runtime is "keras"; this one has another.')
    with Staging(target, replace=replace) as staging:

        def reload(instance: Instance, both: Traces, say: Callable[[str], None]) -> Trace:
            from lockstep.frameworks.tensorflow import weight_formats
            from lockstep.frameworks.tensorflow.keras_eager import EagerInstance

            instance, written = whole(instance, both.candidate.before)
            assert isinstance(instance, EagerInstance)
            say(f"writing {target.name}")
            if kind is Format.WEIGHTS_H5:
                # HDF5 (1.14) ends the process where it cannot write: a full disk is told by the death of another one.
                _written_elsewhere(conversion, staging.file, kind, written)
            else:
                instance.assign(written)  # the run may have moved a counter
                weight_formats.save(instance, staging.file, kind)
            say("loading it in a process of its own")
            return _reloaded(conversion, staging.file, kind, written)

        report = judge_reloaded(
            conversion.reference,
            conversion.candidate,
            conversion.inputs,
            rules=conversion.rules,
            tolerance=conversion.tolerance,
            reload=reload,
            progress=progress,
        )
        return report, staging.publish() if report.verdict == "equivalent" else []


def _written_elsewhere(conversion: Conversion, file: Path, kind: Format, values: Mapping[str, np.ndarray]) -> None:
    """Has another process build the candidate, give it these values and write the file."""
    with workspace.temporary() as place:
        work = Path(place.name)
        _store(work / "values", "values", values)
        _ask(conversion, work, file, kind, {"values": str(work / "values")})


def _reloaded(conversion: Conversion, file: Path, kind: Format, written: Mapping[str, np.ndarray]) -> Trace:
    """Runs the file in another process; returns the run, with the values that it started from."""
    with workspace.temporary() as place:
        work = Path(place.name)
        _ask(conversion, work, file, kind, {"target": str(work / "result")})
        reader = refused(lambda: TraceReader(str(work / "result"), numpy_dtype))

        def group(name: str) -> dict[str, np.ndarray]:
            return refused(lambda: {key: np.array(reader.tensor(e)) for key, e in reader.body[name].items()})

        values = group("values")
        _refuse_other_values(file, written, values)
        return Trace(variables=(), before=values, outputs=group("outputs"))


def _store(folder: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    def write() -> None:
        with TraceWriter(str(folder)) as writer:
            writer.finish({name: writer.add(arrays)})

    refused(write)


def _ask(conversion: Conversion, work: Path, file: Path, kind: Format, more: Mapping[str, str]) -> None:
    """Has `lockstep.serving.reloading` carry out a request; what it refuses, and its death, are an `InputError`."""
    _store(work / "inputs", "inputs", named(conversion.inputs))
    request = work / "request.json"
    wanted = {
        "candidate": dict(conversion.candidate_table),
        "folder": str(conversion.folder),
        "inputs": str(work / "inputs"),
        "single_input": not isinstance(conversion.inputs, Mapping),
        "file": str(file),
        "format": str(kind),
        **more,
    }
    request.write_text(json.dumps(wanted), encoding="utf-8")
    done = run_child(
        [sys.executable, "-m", "lockstep.serving.reloading", request],
        environment_variables=inherited_variables(
            {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")}, say=lambda _: None
        ),
        folder=work,
        timeout_s=TIMEOUT_S,
    )
    told = request.with_name(f"{request.name}.failure")
    if told.exists():
        raise InputError(told.read_text(encoding="utf-8"))
    if not done.succeeded:
        doing = "load" if "target" in more else "write"
        free = shutil.disk_usage(file.parent).free
        raise InputError(
            f"{done.output[-4000:]}\nthe process that was to {doing} {file.name} {done.ending}; the disk has "
            f"{free:,} bytes left."
        )


def _refuse_other_values(file: Path, written: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    lost = [key for key in written if key not in found]
    if lost:
        raise InputError(
            f"{file.name} was written and loaded again, and {len(lost)} variables are not in it, the first is "
            f"{lost[0]}."
        )
    other = [key for key, value in written.items() if not same_bits(np.asarray(value), found[key])]
    if other:
        raise InputError(
            f"{file.name} was written and loaded again, and {len(other)} variables have other values, the first is "
            f"{other[0]}."
        )
