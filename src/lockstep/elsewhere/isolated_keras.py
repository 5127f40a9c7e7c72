"""A Keras subject that runs in an environment of its own: a child process builds and runs it, question by question."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lockstep.common import workspace
from lockstep.common.arrays import Arrays, named, numpy_dtype
from lockstep.common.errors import InputError, ProgramError, SubjectError, refused
from lockstep.elsewhere.isolated import TIMEOUT_S, log_level
from lockstep.elsewhere.recorded import RecordedBuild
from lockstep.environments import EnvironmentSpec, KeptChild, inherited_variables, provide
from lockstep.environments.constraints import KERAS_3_SINCE, TENSORFLOW, highest
from lockstep.environments.requirements import parse
from lockstep.ground.folder import TraceReader, TraceWriter
from lockstep.ground.records import ForwardDraw
from lockstep.program import Program
from lockstep.recorder.worker import PROGRESS
from lockstep.subjects import (
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Instance,
    Mode,
    Objective,
    Offers,
    Setting,
    Subject,
    Wanted,
    other_kernels,
)
from lockstep.subjects.users_functions import ImportedFunction
from lockstep.traces.trace import Trace, VariableRecord

OLDEST_PYTHON = (3, 10)
"""Lockstep itself runs there, with what it needs to hold a Keras model: TensorFlow 2.16, Keras 3.3."""
_BOOTSTRAP = Path(__file__).parents[1] / "serving" / "bootstrap.py"
ANSWER = ".answer"
"""What is added to the name of a request's file for that of its answer."""
_SHOWN_BYTES = 4000
_NO_LOSS = "a training loss is a function of this process, and the model runs in another."


@dataclass(eq=False)
class IsolatedKeras(Subject):
    """A function `build()` in a file, run in an environment of its own.

    The process starts with the first `build`, serves all further ones, and ends with this object.

    Attributes:
        folder: The configuration's folder, which comes first on the import path.
        entry: `file.py:function`, relative to the folder.
        environment_spec: The environment; it needs no Lockstep, but Python 3.10, TensorFlow 2.16 and Keras 3.3.
        side: `"reference"` or `"candidate"`.
        timeout_s: How long a build or a run may take.
        say: Told what is being done.
        variables: Environment variables that the process is given besides those that it inherits.
        operations: Whether its operations are told too, for the kernels of this process: they say which operation of
            the code computes something else, and nothing of the kernels over there, so no verdict may rest on them.
    """

    folder: Path
    entry: str
    environment_spec: EnvironmentSpec
    side: str = "candidate"
    timeout_s: float = TIMEOUT_S
    say: Callable[[str], None] = field(default=lambda _: None)
    variables: Mapping[str, str] = field(default_factory=dict)
    operations: bool = False
    _process: _Process | None = None
    _others: dict[tuple[tuple[str, str], ...], IsolatedKeras] = field(default_factory=dict)
    _environment: Mapping[str, str] = field(default_factory=dict)
    _passes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Is called as its entry."""
        self.label = self.entry

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return Offers(execution=True)

    def environment(self) -> Mapping[str, str]:
        """The versions that it runs on, once it has been built."""
        return {**self._environment, "subject": self.label}

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> RemoteInstance:
        """Builds it for these inputs.

        Raises:
            InputError: The environment cannot be had or is too old, or the process ended.
            SubjectError: The user's code failed; its traceback is in `traceback_text`.
        """
        del wanted  # it runs as it is asked
        process = self._process or self._start()
        return RemoteInstance(process, mode, inputs, operations=self.operations, apart=self._apart)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> RemoteInstance:
        """Builds it as if for the first time, to see whether it is the same twice."""
        return self.build(mode, inputs, wanted)

    def _apart(self, variables: Mapping[str, str]) -> IsolatedKeras:
        """Returns the same side for a process with other environment variables, which is started but once."""
        key = tuple(sorted(variables.items()))
        if key not in self._others:
            self._others[key] = self.elsewhere(variables)
        return self._others[key]

    def _start(self) -> _Process:
        self._refuse_keras_2()
        environment = provide(self.environment_spec, say=self.say)
        if tuple(int(part) for part in environment.python_version.split(".")[:2]) < OLDEST_PYTHON:
            raise InputError(
                f"{self.entry} is a Keras side in an environment with Python {environment.python_version}; that needs "
                "Python 3.10 or later, with TensorFlow 2.16 and Keras 3.3 or later. What is older is recorded as a "
                'graph: runtime = "keras2" (a model of Keras 2) or "tf1" (a function forward).'
            )
        process = _Process(self.label, environment.python, self.timeout_s, self.say, self.variables)
        weakref.finalize(self, process.end)
        done = process.ask({"do": "import", "entry": self.entry, "folder": str(self.folder), "side": self.side})
        self._process, self._environment = process, done["environment"]
        self._passes = tuple(done["passes"])
        return process

    def _refuse_keras_2(self) -> None:
        """Refuses a TensorFlow that has Keras 2 before an environment is made for it."""
        for text in self.environment_spec.requirements:
            requirement = parse(text)
            bound = highest(requirement) if requirement.name in TENSORFLOW else None
            if bound is not None and bound < KERAS_3_SINCE:
                raise InputError(
                    f'[{self.side}]: runtime is "keras", which is Keras 3, and {text} has Keras 2; take runtime = '
                    '"keras2" for a model of Keras 2, or "tf1" for a function forward.'
                )

    def passes(self) -> tuple[str, ...]:
        """Returns Grappler's passes over its functions, once it has been built."""
        return self._passes

    def elsewhere(self, variables: Mapping[str, str]) -> IsolatedKeras:
        """Returns the same side for a process of its own, with other environment variables."""
        return IsolatedKeras(
            self.folder,
            self.entry,
            self.environment_spec,
            side=self.side,
            timeout_s=self.timeout_s,
            say=self.say,
            variables={**self.variables, **variables},
            operations=self.operations,
        )

    def end(self) -> None:
        """Ends its processes, if there are any; the next `build` starts another."""
        for other in self._others.values():
            other.end()
        if self._process is not None:
            self._process.end()
            self._process = None


def by_operations(subject: Subject) -> Subject:
    """Returns a Keras side with an environment of its own as one whose operations are told; any other as it is."""
    if not isinstance(subject, IsolatedKeras):
        return subject
    told = subject.elsewhere({})
    told.operations = True
    return told


def in_another_process(function: ImportedFunction, variables: Mapping[str, str]) -> IsolatedKeras:
    """Returns the Keras side of a function that Lockstep imports, for a process of this same Python.

    Args:
        function: `build()`.
        variables: Environment variables that the process has besides those of this one.
    """
    # What leads this Python to its packages is no leak, as it would be in another.
    own = {name: os.environ.get(name, "") for name in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    spec = EnvironmentSpec(interpreter=Path(sys.executable))
    return IsolatedKeras(function.folder, function.entry, spec, variables={**own, **variables})


class RemoteInstance(Instance):
    """One model, in the other process."""

    def __init__(
        self,
        process: _Process,
        mode: Mode,
        inputs: Arrays,
        *,
        operations: bool = False,
        apart: Callable[[Mapping[str, str]], IsolatedKeras] | None = None,
    ) -> None:
        self._process, self._mode, self._operations, self._apart = process, mode, operations, apart
        self._single = not isinstance(inputs, Mapping)
        self._variables: tuple[VariableRecord, ...] = ()
        self._number = next(process.numbers)
        self._stirred: tuple[str, ...] = ()
        with process.folder() as place:
            given = {"inputs": process.write(place / "inputs", "inputs", named(inputs))}
            asked = {"do": "build", "mode": dataclasses.asdict(mode), "single_input": not isinstance(inputs, Mapping)}
            process.ask({**asked, **given, "number": self._number})

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory, in order of creation; a Keras model has it from its first run on."""
        return self._variables

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Runs it; see `Instance.run`. No gradients come from the other process, so that step is not asked for."""
        with self._process.folder() as place:
            values = self._process.write(place / "values", "values", setting.values)
            other = setting.inputs
            inputs = None if other is None else self._process.write(place / "inputs", "inputs", named(other))
            self._process.ask(
                {
                    "do": "run",
                    "number": self._number,
                    "kind": setting.kind,
                    "names": dict(setting.names),
                    "values": values,
                    "inputs": inputs,
                    "repeats": ask.repeats,
                    "stir": list(self._stirred),
                    "compiler": ask.execution.compiler,
                    "off": list(ask.execution.off),
                    "draws": None if ask.draws is None else [list(draw) for draw in ask.draws],
                    "target": str(place / "trace"),
                }
            )
            reader = refused(lambda: TraceReader(str(place / "trace"), numpy_dtype))
            trace = RecordedBuild(reader, reader.body["builds"][0]).trace(setting.kind)
            # The folder goes: what is in it is taken into memory, as a model of this process has it.
            trace = dataclasses.replace(
                trace,
                before=_copied(trace.before),
                outputs=_copied(trace.outputs),
                after=_copied(trace.after),
                losses=tuple(loss._replace(value=np.array(loss.value)) for loss in trace.losses),
                total_loss=None if trace.total_loss is None else np.array(trace.total_loss),
            )
        self._variables = trace.variables
        return trace

    @property
    def followed(self) -> RemoteInstance | None:
        """Itself, where its operations were asked for."""
        return self if self._operations else None

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Returns what it computes over there; see `Followed.program`."""
        from lockstep.frameworks.tensorflow import carrying

        if objective is not None:
            raise ProgramError(_NO_LOSS, operation="")
        with self._process.folder() as place:
            self._process.ask(
                {
                    "do": "program",
                    "number": self._number,
                    "values": self._process.write(place / "values", "values", values),
                    "inputs": None
                    if inputs is None
                    else self._process.write(place / "inputs", "inputs", named(inputs)),
                    "draws": None if draws is None else [list(draw) for draw in draws],
                    "target": str(place / "program"),
                }
            )
            reader = refused(lambda: TraceReader(str(place / "program"), numpy_dtype))
            body = reader.body
            arrays = refused(lambda: {name: np.array(reader.tensor(e)) for name, e in body["arrays"].items()})
        return carrying.unpacked(body["program"], arrays)

    @property
    def perturbed(self) -> RemoteInstance | None:
        """Itself, where there can be a process with other kernels."""
        return None if self._apart is None else self

    def run_changed(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        threads: int,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it from other values and inputs; with a number of threads in a process of its own."""
        if threads:
            number = str(threads)
            variables = {"TF_NUM_INTRAOP_THREADS": number, "TF_NUM_INTEROP_THREADS": number}
            return self._run_apart(values, inputs, variables, objective)
        _refuse_objective(objective)
        return self.run(Setting("given", values, inputs=self._given(inputs)))

    def run_on_other_kernels(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it without oneDNN's kernels, or with them where they are off, in a process of its own."""
        return self._run_apart(values, inputs, other_kernels(), objective)

    def _run_apart(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        variables: Mapping[str, str],
        objective: Objective | None,
    ) -> Trace:
        assert self._apart is not None
        _refuse_objective(objective)
        instance = self._apart(variables).build(self._mode, self._given(inputs))
        try:
            return instance.run(Setting("given", values))
        finally:
            instance.close()

    def _given(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """The inputs as it was built for: one array, or named ones."""
        return next(iter(inputs.values())) if self._single else inputs

    @property
    def stirred(self) -> RemoteInstance:
        """Itself."""
        return self

    def stir(self, kinds: Sequence[str]) -> None:
        """Has each further run draw other numbers of `"numpy"`, `"python"`; see `EagerInstance.stir`."""
        self._stirred = tuple(kinds)

    def close(self) -> None:
        """Lets go of the model."""
        if self._process.lives:
            self._process.ask({"do": "close", "number": self._number})


class _Process:
    """The child process and the folder that requests, answers and tensors go through."""

    def __init__(
        self,
        label: str,
        python: Path,
        timeout_s: float,
        say: Callable[[str], None],
        variables: Mapping[str, str],
    ) -> None:
        self._label, self._timeout_s, self._say = label, timeout_s, say
        self._work = workspace.temporary()
        self.numbers = itertools.count()
        self._child = KeptChild(
            [python, "-u", _BOOTSTRAP],
            environment_variables=inherited_variables({"TF_CPP_MIN_LOG_LEVEL": log_level(), **variables}, say=say),
            folder=Path(self._work.name),
        )

    @property
    def lives(self) -> bool:
        return self._child.lives

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for one request's tensors."""
        with tempfile.TemporaryDirectory(dir=self._work.name) as place:
            yield Path(place)

    def write(self, place: Path, group: str, arrays: Mapping[str, np.ndarray]) -> str:
        def write() -> None:
            with TraceWriter(str(place)) as writer:
                writer.finish({group: writer.add(arrays)})

        refused(write)
        return str(place)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Has a request carried out.

        Raises:
            InputError: It was refused, or the process ended.
            ProgramError: The model cannot be followed.
            SubjectError: The user's code failed.
        """
        file = Path(self._work.name) / f"request-{next(self.numbers)}.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        answer = file.with_name(file.name + ANSWER)
        ended = self._child.ask(
            json.dumps(str(file)), answered=answer.exists, timeout_s=self._timeout_s, say=self._heard
        )
        if ended is not None:
            tail = "\n".join(line for line in ended.output.splitlines() if not line.startswith(PROGRESS))
            shown = f"\n{tail[-_SHOWN_BYTES:]}\n" if tail.strip() else ""
            raise InputError(f"{shown}the process of {self._label} {ended.ending}.")
        told = json.loads(answer.read_text(encoding="utf-8"))
        if "refused" in told:
            raise InputError(told["refused"])
        if "unfollowed" in told:
            raise ProgramError(told["unfollowed"], operation=told["operation"])
        if "subject" in told:
            error = SubjectError(told["subject"], side=self._label, doing=told["doing"])
            error.traceback_text = told["traceback"]
            raise error
        done: dict[str, Any] = told["done"]
        return done

    def _heard(self, line: str) -> None:
        if line.startswith(PROGRESS) and not line.endswith("answered"):
            self._say(line[len(PROGRESS) :])

    def end(self) -> None:
        self._child.end()
        self._work.remove()


def _refuse_objective(objective: Objective | None) -> None:
    if objective is not None:
        raise InputError(_NO_LOSS)


def _copied(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.array(tensors[name]) for name in tensors}
