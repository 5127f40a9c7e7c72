"""Starts the recorder as a child process: in an old environment, or in this one with other settings."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lockstep import recorder
from lockstep.arrays import numpy_dtype
from lockstep.environments import Completed, run_child
from lockstep.errors import InputError
from lockstep.recorded import refused
from lockstep.recorder.failures import RecordingError
from lockstep.recorder.folder import TraceReader, TraceWriter
from lockstep.recorder.worker import PROGRESS
from lockstep.trace import Trace

if TYPE_CHECKING:
    from lockstep.recorder.graph import GraphModel

RECORDER = Path(recorder.__file__).parent
RERUN_TIMEOUT_S = 1800.0


class RecorderError(Exception):
    """The recorder failed.

    Attributes:
        doing: What it was doing with the user's code, or empty.
        traceback_text: The user's traceback where their code failed, or empty.
    """

    def __init__(self, message: str, doing: str = "", traceback_text: str = "") -> None:
        super().__init__(message)
        self.doing, self.traceback_text = doing, traceback_text


def run_recorder(
    python: Path, request: Path, variables: Mapping[str, str], timeout_s: float, say: Callable[[str], None]
) -> None:
    """Has the recorder carry out a request.

    Args:
        python: The interpreter.
        request: The file that the request is in; its folder is the current one of the process.
        variables: The process's environment variables.
        timeout_s: How long it may take.
        say: Told what the recorder is doing.

    Raises:
        RecorderError: It failed; the text has its last lines of output, if it did not say why.
    """

    def heard(line: str) -> None:
        if line.startswith(PROGRESS):
            say(line[len(PROGRESS) :])

    done = run_child(
        [python, "-u", RECORDER / "bootstrap.py", request],
        environment_variables=variables,
        folder=request.parent,
        timeout_s=timeout_s,
        say=heard,
    )
    told = request.with_name(request.name + ".failure")
    if told.exists():
        failure = json.loads(told.read_text(encoding="utf-8"))
        raise RecorderError(failure["message"], failure.get("doing", ""), failure.get("traceback", ""))
    if not done.succeeded:
        raise RecorderError(_ended(done))


def rerun(
    model: GraphModel,
    values: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    variables: Mapping[str, str],
    *,
    differentiated: bool = False,
) -> Trace:
    """Runs a graph of this process in another one, with other environment variables.

    Args:
        model: The graph.
        values: Variable key -> value to start from.
        inputs: Input name -> array.
        variables: The environment variables that are to differ.
        differentiated: Whether its training loss and gradients are computed along.

    Raises:
        InputError: The graph cannot be exported, or the process failed; its output is in the text.
    """
    from lockstep.recorder import graph

    with tempfile.TemporaryDirectory(prefix="lockstep-") as work:
        given, target, file = Path(work) / "graph", Path(work) / "result", Path(work) / "request.json"

        def write() -> None:
            with TraceWriter(str(given)) as writer:
                try:
                    exported = writer.add_file("graph.pb", graph.export(model))
                except Exception as error:  # what the exporter raises is not documented
                    raise RecordingError(f"the graph cannot be exported: {error}") from error
                names = {
                    "input_names": {name: tensor.name for name, tensor in model.inputs.items()},
                    "output_names": {path: tensor.name for path, tensor in model.outputs.items()},
                }
                objective = model.objective.names() if differentiated and model.objective is not None else None
                groups = writer.add_groups({"values": values, "inputs": inputs})
                writer.finish(
                    {"graph": exported, "training": model.training, "objective": objective, **names, **groups}
                )

        refused(write)
        file.write_text(json.dumps({"graph": str(given), "target": str(target)}), encoding="utf-8")
        _run_other(file, {**os.environ, **variables})
        reader = refused(lambda: TraceReader(str(target), numpy_dtype))
        read = functools.partial(_read_group, reader)
        total = read("total")
        return Trace(
            variables=model.variables,
            before=values,
            outputs=read("outputs"),
            total_loss=total.get(""),
            after=read("after"),
            training_loss=read("training_loss").get(""),
            gradients=read("gradients"),
        )


def _read_group(reader: TraceReader, group: str) -> dict[str, np.ndarray]:
    # Copied: the folder is temporary.
    return refused(lambda: {name: np.array(reader.tensor(entry)) for name, entry in reader.body[group].items()})


def _run_other(request: Path, variables: Mapping[str, str]) -> None:
    try:
        run_recorder(Path(sys.executable), request, variables, RERUN_TIMEOUT_S, lambda _: None)
    except RecorderError as error:
        raise InputError(f"running the graph on other kernels: {error}") from error


def _ended(done: Completed) -> str:
    tail = "\n".join(line for line in done.output.splitlines() if not line.startswith(PROGRESS))[-4000:]
    shown = f"\n{tail}\n" if tail.strip() else ""
    return f"{shown}the recorder's process {done.ending}."
