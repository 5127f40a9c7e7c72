"""A TF1 subject that runs in an environment of its own: a child process records it, this process reads the trace."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lockstep.common import workspace
from lockstep.common.arrays import Arrays, named, numpy_dtype
from lockstep.common.errors import InputError, SubjectError, refused
from lockstep.common.hints import hint
from lockstep.elsewhere import trace_cache
from lockstep.elsewhere.recorded import RecordedInstance, RecordedOptimizer, RecordedSubject
from lockstep.environments import Environment, EnvironmentSpec, inherited_variables, provide
from lockstep.environments.recorder_process import GROUND, RECORDER, RecorderError, run_recorder
from lockstep.ground import claims
from lockstep.ground.checksum import checksum
from lockstep.ground.claims import Claim
from lockstep.ground.failures import RecordingError
from lockstep.ground.folder import VERSION, TraceReader, TraceWriter
from lockstep.ground.records import FLAGS
from lockstep.ground.streaming import Course, Seen, packed, unpacked_seen
from lockstep.ground.structure import same_bits
from lockstep.ground.tensors import stored
from lockstep.subjects import MODES, NOTHING_WANTED, Mode, Offers, Original, Recording, Subject, Wanted
from lockstep.subjects.streaming import Roles, Streamed

if TYPE_CHECKING:
    from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance

TIMEOUT_S = 3600.0
"""How long a recording may take, unless the configuration says otherwise."""
DEFAULT_TAP_BYTES = 2 << 30


@dataclass(frozen=True)
class Taps:
    """Which tensors of the forward pass are recorded: those whose operation's name a pattern is found in."""

    patterns: tuple[str, ...]
    max_bytes: int = DEFAULT_TAP_BYTES


@dataclass
class IsolatedSubject(Subject):
    """A function `forward(inputs, training)` in a file, recorded in an environment of its own when it is first asked.

    Attributes:
        folder: The configuration's folder; what is imported from it is part of the subject.
        entry: `file.py:function`, relative to the folder.
        environment_spec: The environment.
        timeout_s: How long the recording may take.
        environment_variables: Names of environment variables that matter to the result.
        data_files: What it reads besides its code, as paths and patterns relative to the folder.
        fresh: Whether a kept trace is left alone and replaced.
        say: Told what is being done.
        loss: `file.py:function` of the training loss, likewise; empty for the outputs weighted with a fixed vector.
        optimizer: `file.py:function` of the optimizer; empty where there is none.
        metrics: `file.py:function` of its streaming metrics; empty where there is none.
        runtime: What the entry is: `"tf1"`, a function `forward`, or `"keras2"`, a function `build`.
        original: What else the configuration says of the program.
    """

    folder: Path
    entry: str
    environment_spec: EnvironmentSpec
    timeout_s: float = TIMEOUT_S
    environment_variables: tuple[str, ...] = ()
    data_files: tuple[str, ...] = ()
    fresh: bool = False
    say: Callable[[str], None] = field(default=lambda _: None)
    loss: str = ""
    optimizer: str = ""
    metrics: str = ""
    runtime: str = "tf1"
    original: Original = field(default_factory=Original)
    _recorded: RecordedSubject | None = None
    _from_cache: bool = False
    _second: Claim | None = None

    def __post_init__(self) -> None:
        """Is called as its entry."""
        self.label = self.entry

    @property
    def offers(self) -> Offers:
        """What it can do."""
        own = self.original
        return Offers(
            rules=False,
            optimizer=True,
            compiled=self.runtime == "keras2",
            masks_by_rounds=self.runtime == "keras2",
            own_loss=own.own_loss,
            own_optimizer=own.own_optimizer,
            labels=tuple((own.description or {}).get("labels", ())),
            metrics=bool(self.metrics),
            own_metrics=(own.description or {}).get("kind") == "estimator",
        )

    def environment(self) -> Mapping[str, str]:
        """What it was recorded on, and whether that was now."""
        if self._recorded is None:
            return {"subject": self.label}
        trace = "from the cache" if self._from_cache else "recorded now"
        return {**self._recorded.environment(), "trace": trace}

    def settings(self) -> Mapping[str, str]:
        """What it was recorded with."""
        return {} if self._recorded is None else self._recorded.settings()

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of what its recorder imported; nothing before it is recorded."""
        return {} if self._recorded is None else self._recorded.code()

    @property
    def recording(self) -> Recording:
        """What its recorder imports itself."""
        return Recording(self.loss, self.optimizer)

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> RecordedInstance:
        """Answers for one mode; the first call records all of them, or finds them recorded."""
        if self._recorded is None:
            self._recorded = self._find_or_record(inputs, wanted)
        return self._recorded.build(mode, inputs)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> RecordedInstance:
        """Answers from a second recording, to see whether the code is the same twice.

        Where two builds of the first one start from the same values, no second is needed.
        """
        first = self.build(mode, inputs, wanted)
        if self._recorded is None or _start_alike(self._recorded):
            return first
        self._second = self._second or workspace.temporary()
        target = Path(self._second.path("trace"))
        if not target.exists():
            self.record(inputs, target, wanted)
        return RecordedSubject(target, trusted=True).build(mode, inputs)

    def on_this_runtime(self, mode: Mode, inputs: Arrays) -> GraphInstance | None:
        """Returns its graph on the TensorFlow of this process; see `RecordedSubject.on_this_runtime`."""
        return None if self._recorded is None else self._recorded.on_this_runtime(mode, inputs)

    def make_optimizer(
        self, make: Callable[[], Any] | None, shapes: Mapping[str, Any], names: Mapping[str, str]
    ) -> RecordedOptimizer | None:
        """Returns what its optimizer did; see `RecordedSubject.make_optimizer`."""
        return None if self._recorded is None else self._recorded.make_optimizer(make, shapes, names)

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        """Returns its `metrics(outputs, batch)`, or an Estimator's `eval_metric_ops`, in its environment."""
        del make, roles  # its recorder imports the function, which says the rest
        estimator = (self.original.description or {}).get("kind") == "estimator"
        if not self.metrics and not estimator:
            return None
        return self._streamed

    def _streamed(self, courses: Sequence[Course]) -> list[Seen] | None:
        environment = provide(self.environment_spec, say=self.say)
        first = courses[0].batches[0]
        told, arrays = packed(list(courses))
        with workspace.temporary() as place:
            work = Path(place.name)

            def write(name: str, values: Mapping[str, np.ndarray]) -> None:
                with TraceWriter(str(work / name)) as writer:
                    writer.finish({name: writer.add(values)})

            refused(lambda: write("inputs", first.inputs))
            refused(lambda: write("given", arrays))
            request = {
                "entry": self.entry,
                "metrics": self.metrics,
                **self._stated(),
                "folder": str(self.folder),
                "inputs": str(work / "inputs"),
                "given": str(work / "given"),
                "courses": told,
                "target": str(work / "seen"),
            }
            file = work / "request.json"
            file.write_text(json.dumps(request), encoding="utf-8")
            variables = inherited_variables({"TF_CPP_MIN_LOG_LEVEL": log_level()}, say=self.say)
            try:
                run_recorder(environment.python, file, variables, self.timeout_s, self.say)
            except RecorderError as failure:
                self._raise(failure)
            found = TraceReader(str(work / "seen"), numpy_dtype)
            if found.body["seen"] is None:
                return None
            values = {key: found.tensor(entry) for key, entry in found.body["arrays"].items()}
            return unpacked_seen(found.body["seen"], {key: np.array(value) for key, value in values.items()})

    def record(
        self,
        inputs: Arrays,
        target: Path,
        wanted: Wanted = NOTHING_WANTED,
        *,
        taps: Taps | None = None,
        replace: bool = False,
    ) -> None:
        """Records every mode into a trace folder.

        Raises:
            InputError: The environment cannot be had, or the trace not be written.
            SubjectError: The user's code failed; its traceback is in `traceback_text`.
        """
        environment = provide(self.environment_spec, say=self.say)
        self._record(environment, (inputs, wanted), target, taps=taps, replace=replace, key=None)

    def _find_or_record(self, inputs: Arrays, wanted: Wanted) -> RecordedSubject:
        environment = provide(self.environment_spec, say=self.say)
        key = trace_cache.key_of(self._facts(environment, inputs, wanted))
        found = None if self.fresh else trace_cache.find(key, self.folder)
        if found is not None:
            self._from_cache = True
            return found
        shelf = trace_cache.shelf()
        if shelf is None:
            return self._recorded_unkept(environment, (inputs, wanted))
        try:
            with workspace.beside(shelf / key) as place:
                self._record(environment, (inputs, wanted), place / "trace", taps=None, replace=False, key=key)
                recorded = trace_cache.keep(place / "trace", key)
        except OSError as error:
            raise InputError(f"no trace can be kept in {shelf}: {error.strerror or error}.") from error
        trace_cache.make_room()
        return recorded

    def _recorded_unkept(self, environment: Environment, asked: tuple[Arrays, Wanted]) -> RecordedSubject:
        work = workspace.temporary()
        target = Path(work.path("trace"))
        self._record(environment, asked, target, taps=None, replace=False, key=None)
        recorded = RecordedSubject(target, trusted=True)
        recorded.hold(work)
        return recorded

    def _record(
        self,
        environment: Environment,
        asked: tuple[Arrays, Wanted],
        target: Path,
        *,
        taps: Taps | None,
        replace: bool,
        key: str | None,
    ) -> None:
        with workspace.temporary() as work:
            request = self._request(asked, Path(work.name), target, taps, replace=replace, key=key)
            file = Path(work.path("request.json"))
            file.write_text(json.dumps(request), encoding="utf-8")
            variables = inherited_variables({"TF_CPP_MIN_LOG_LEVEL": log_level()}, say=self.say)
            try:
                run_recorder(environment.python, file, variables, self.timeout_s, self.say)
            except RecorderError as error:
                self._raise(error)
            finally:  # a recorder that was ended has cleared up nothing
                claims.reclaim(str(target.parent), claims.PARTIAL)
            self._refuse_other_trace(target, request["nonce"])

    def _refuse_other_trace(self, target: Path, nonce: str) -> None:
        """Refuses a trace that is not of the request: the code may end the process before one is written."""
        try:
            written = TraceReader(str(target), numpy_dtype).body.get("nonce")
        except RecordingError:
            written = None
        if written != nonce:
            raise InputError(
                f"the process that was to record {self.label} ended with status 0, but wrote no trace; does the code "
                "end the process by itself?"
            )

    def _request(
        self,
        asked: tuple[Arrays, Wanted],
        work: Path,
        target: Path,
        taps: Taps | None,
        *,
        replace: bool,
        key: str | None,
    ) -> dict[str, Any]:
        inputs, wanted = asked
        single = not isinstance(inputs, Mapping)
        given = named(inputs)

        def write(name: str, arrays: Mapping[str, np.ndarray]) -> None:
            with TraceWriter(str(work / name)) as writer:
                writer.finish({name: writer.add(arrays)})

        refused(lambda: write("inputs", given))
        if wanted.given is not None:
            values = wanted.given.values
            self.say("handing over the checkpoint")
            refused(lambda: write("values", values))
        builds = _builds(wanted)
        tapped = [dict(build, tapped=["initial"]) if "operations" in build else build for build in builds]
        return {
            "label": self.label,
            "runtime": self.runtime,
            "entry": self.entry,
            "loss": self.loss,
            "optimizer": self.optimizer,
            **self._stated(),
            "folder": str(self.folder),
            "inputs": str(work / "inputs"),
            "single_input": single,
            "target": str(target),
            "replace": replace,
            "key": key,
            "nonce": uuid.uuid4().hex,
            "fill_names": dict(wanted.fill_names),
            "ignore": list(wanted.ignore),
            "given": None if wanted.given is None else str(work / "values"),
            "builds": builds if taps is None else tapped,
            "taps": None if taps is None else {"patterns": list(taps.patterns), "max_bytes": taps.max_bytes},
        }

    def _facts(self, environment: Environment, inputs: Arrays, wanted: Wanted) -> dict[str, object]:
        """What the trace depends on and is known before; the files that are imported are checked afterwards."""
        return {
            "format": VERSION,
            "recorder": _recorder_digest(),
            "folder": str(self.folder),
            "runtime": self.runtime,
            "entry": self.entry,
            "loss": self.loss,
            "optimizer": self.optimizer,
            **self._stated(),
            "python": environment.python_version,
            "packages": list(environment.packages),
            "machine": [platform.system(), platform.machine(), os.cpu_count()],
            "inputs": _digests(inputs),
            "ignore": list(wanted.ignore),
            "fill_names": dict(wanted.fill_names),
            "builds": _builds(wanted),
            "given": None if wanted.given is None else wanted.given.digest,
            "variables": {name: os.environ.get(name) for name in (*self.environment_variables, *FLAGS)},
            "data_files": self._data(),
        }

    def _stated(self) -> dict[str, Any]:
        """What the recorder is told of the program."""
        own = self.original
        return {
            "original": own.description,
            "script": own.script,
            "own_loss": own.own_loss and not self.loss,
            "own_optimizer": own.own_optimizer and not self.optimizer,
        }

    def _data(self) -> dict[str, str]:
        found = {path for pattern in self.data_files for path in self.folder.glob(pattern) if path.is_file()}
        return {path.relative_to(self.folder).as_posix(): trace_cache.sha256(path) for path in sorted(found)}

    def _raise(self, failure: RecorderError) -> None:
        if not failure.traceback_text:
            raise InputError(str(failure)) from None
        said = str(failure)
        kind, _, message = said.partition(": ")
        error = SubjectError(
            f"{self.label} failed while {failure.doing}: {said.splitlines()[0]}{hint(message, kind)}",
            side=self.label,
            doing=failure.doing,
        )
        error.traceback_text = failure.traceback_text
        raise error from None


@dataclass
class IsolatedKerasFile(IsolatedSubject):
    """A file of Keras 2 that is loaded and recorded in an environment of its own; it was judged in this process.

    Attributes:
        file: The file.
    """

    file: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        """Is called as the file, and is a Keras 2 model from then on."""
        super().__post_init__()
        self.runtime = "keras2"
        self.original = Original({"kind": "keras_file", "path": str(self.file.absolute())})

    @property
    def offers(self) -> Offers:
        """What it can do; its values are the file's, and it is not compiled."""
        return dataclasses.replace(super().offers, initializers=False, compiled=False)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256, of the file and of what its recorder imported."""
        return {**super().code(), **self._data()}

    def _data(self) -> dict[str, str]:
        return {**super()._data(), self.label: trace_cache.sha256(self.file)}


def _builds(wanted: Wanted) -> list[dict[str, Any]]:
    """What is recorded in each mode: its settings, and what else the steps of a check ask of it."""
    return [_build(mode, wanted) for mode in MODES]


def _build(mode: Mode, wanted: Wanted) -> dict[str, Any]:
    build: dict[str, Any] = {"training": mode.training, "randomness": mode.randomness, "settings": ["initial"]}
    if mode.functional:
        return build  # to the recorder another mode of randomness, and nothing else
    build["operations"] = True  # listed for whoever localises
    if not mode.training:
        build["settings"] += ["distinct", "constant", *([] if wanted.given is None else ["given"])]
    elif wanted.gradients:
        build["settings"] += ["distinct"]
        build.update(differentiated=True, trajectory=wanted.steps)
    return build


def log_level() -> str:
    """How much TensorFlow may say in a child process."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")


def _start_alike(recorded: RecordedSubject) -> bool:
    """Tells whether inference and training have the same initial values, though each was drawn for itself."""
    modes = [mode for mode in recorded.builds if mode.randomness == "num_random_ops"]
    starts = [recorded.builds[mode].trace("initial").before for mode in modes]
    return all(
        start.keys() == starts[0].keys() and all(same_bits(start[key], starts[0][key]) for key in start)
        for start in starts[1:]
    )


def _digests(inputs: Arrays) -> list[object]:
    plain = [(name, stored(array)) for name, array in named(inputs).items()]
    return [[name, s.dtype, list(s.shape), checksum(s.array.reshape(-1).view(np.uint8))] for name, s in plain]


def _recorder_digest() -> str:
    digest = hashlib.sha256()
    for file in sorted((*RECORDER.glob("*.py"), *GROUND.glob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()
