"""Starts the recorder as a child process: in an old environment, or in this one with other settings."""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lockstep.common import workspace
from lockstep.common.arrays import numpy_dtype
from lockstep.common.errors import InputError, refused
from lockstep.environments import Completed, KeptChild, run_child
from lockstep.ground.failures import RecordingError
from lockstep.ground.folder import TraceReader, TraceWriter
from lockstep.recorder.worker import ANSWERED, PROGRESS
from lockstep.traces.trace import Trace

if TYPE_CHECKING:
    from lockstep.recorder.graph import GraphModel

RECORDER, GROUND = (Path(__file__).parents[1] / name for name in ("recorder", "ground"))
"""What an old environment is given: these two folders, and nothing else of Lockstep."""
RERUN_TIMEOUT_S = 1800.0
IDLE_S = 60.0
"""How long the process for other kernels is kept after a run: the next one of a check comes within seconds."""


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

    _raise_failure(
        request,
        run_child(
            [*_recorder(python), request],
            environment_variables=variables,
            folder=request.parent,
            timeout_s=timeout_s,
            say=heard,
        ),
    )


def _recorder(python: Path) -> list[str | Path]:
    return [python, "-u", RECORDER / "bootstrap.py"]


def _raise_failure(request: Path, done: Completed | None) -> None:
    """Raises what the recorder says beside a request, or what its end says; None is a process that goes on."""
    told = request.with_name(request.name + ".failure")
    if told.exists():
        failure = json.loads(told.read_text(encoding="utf-8"))
        raise RecorderError(failure["message"], failure.get("doing", ""), failure.get("traceback", ""))
    if done is not None and not done.succeeded:
        raise RecorderError(_ended(done))


class _KeptRecorder:
    """The process of this TensorFlow with other settings, in which graphs run one after the other.

    Importing TensorFlow takes seconds, running a graph mostly tenths of one. A process is kept for further runs with
    the same environment variables, and ended when there was none for `IDLE_S`, when others are asked for, and with
    this process. A fork of this process starts its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: KeptChild | None = None
        self._variables: Mapping[str, str] = {}
        self._idle: threading.Timer | None = None
        atexit.register(self._end)  # whoever holds the lock then never lets it go
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_to_parent)

    def _leave_to_parent(self) -> None:
        self._lock, self._idle = threading.Lock(), None
        if self._child is not None:
            self._child.leave_to_parent()
            self._child = None

    def carry_out(self, request: Path, variables: Mapping[str, str]) -> None:
        """Has it carry out a request.

        Raises:
            RecorderError: It failed.
        """
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            child = self._child
            if child is None or not child.lives or dict(variables) != self._variables:
                self._end()
                child = self._child = KeptChild(
                    _recorder(Path(sys.executable)), environment_variables=variables, folder=Path(tempfile.gettempdir())
                )
                self._variables = dict(variables)
            answer = request.with_name(request.name + ANSWERED)
            ended = child.ask(json.dumps(str(request)), answered=answer.exists, timeout_s=RERUN_TIMEOUT_S)
            self._idle = threading.Timer(IDLE_S, self.end)
            self._idle.daemon = True
            self._idle.start()
        _raise_failure(request, ended)

    def end(self) -> None:
        """Ends the process, if there is one; but not one that has been asked since a timer went off."""
        with self._lock:
            timer = threading.current_thread()
            if not isinstance(timer, threading.Timer) or timer is self._idle:
                self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


_KEPT = _KeptRecorder()


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

    with workspace.temporary() as work:
        given, target, file = (Path(work.path(name)) for name in ("graph", "result", "request.json"))

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
        _KEPT.carry_out(request, variables)
    except RecorderError as error:
        raise InputError(f"running the graph on other kernels: {error}") from error


def _ended(done: Completed) -> str:
    tail = "\n".join(line for line in done.output.splitlines() if not line.startswith(PROGRESS))[-4000:]
    shown = f"\n{tail}\n" if tail.strip() else ""
    return f"{shown}the recorder's process {done.ending}."
