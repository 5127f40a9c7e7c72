"""Writes converted weights, or loads and runs them, in a process of its own: `python -m lockstep.serving.reloading`.

Its argument is a request in JSON: the candidate's table, the file and its format, where inputs lie; to write the file,
where the values lie; to load it, where the result is to go. A failure is written beside it; then the exit status is 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import LockstepError
from lockstep.files.checkpoints.formats import Format
from lockstep.ground.folder import TraceReader, TraceWriter
from lockstep.subjects import INFERENCE, INITIAL


def main(request_file: Path) -> int:
    """Carries out a request; returns the exit status."""
    request = json.loads(request_file.read_text(encoding="utf-8"))
    try:
        _run(request)
    except LockstepError as error:
        request_file.with_name(f"{request_file.name}.failure").write_text(str(error), encoding="utf-8")
        return 1
    return 0


def _run(request: dict[str, Any]) -> None:
    from lockstep.config import subject_from_table
    from lockstep.frameworks.tensorflow import weight_formats
    from lockstep.frameworks.tensorflow.keras_eager import EagerInstance

    reader = TraceReader(request["inputs"], numpy_dtype)
    arrays: Any = {name: reader.tensor(entry) for name, entry in reader.body["inputs"].items()}
    inputs = next(iter(arrays.values())) if request["single_input"] else arrays
    subject = subject_from_table(request["candidate"], Path(request["folder"]), "candidate")
    kind, path = Format(request["format"]), Path(request["file"])
    instance = subject.build(INFERENCE, inputs)
    assert isinstance(instance, EagerInstance)
    if "values" in request:
        instance.run(INITIAL)
        given = TraceReader(request["values"], numpy_dtype)
        instance.assign({key: np.array(given.tensor(entry)) for key, entry in given.body["values"].items()})
        weight_formats.save(instance, path, kind)
        return
    if kind is Format.KERAS:
        with instance.in_place():  # the archive names the candidate's classes
            outputs, values = weight_formats.run_archive(path, inputs)
    else:
        instance.run(INITIAL)
        weight_formats.load(instance, path, kind)
        trace = instance.run_as_it_is()
        outputs, values = dict(trace.outputs), dict(trace.before)
    with TraceWriter(request["target"]) as writer:
        writer.finish(writer.add_groups({"outputs": outputs, "values": values}))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
