"""A trace on disk as a subject: what was recorded is answered, nothing is run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lockstep.common.arrays import Arrays, numpy_dtype
from lockstep.common.errors import DamagedError, InputError, refused
from lockstep.common.forms import MisstatedError
from lockstep.common.shown import shown_in_a_line
from lockstep.ground import fill
from lockstep.ground.failures import RecordingError
from lockstep.ground.folder import TraceReader
from lockstep.ground.records import DrawRecord, LossRecord, OperationRecord, VariableRecord
from lockstep.ground.training import TrainingStep, after_update, state_after
from lockstep.optimizers.description import from_plain
from lockstep.recorder import operations
from lockstep.subjects import (
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Instance,
    Mode,
    Offers,
    Recording,
    Setting,
    Subject,
    Wanted,
)
from lockstep.traces import manifest
from lockstep.traces.trace import ForwardDraw, Trace

if TYPE_CHECKING:
    from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Update:
    """What one update of an optimizer left: variables, slots (`"<key>: <role>"`), and the step counter."""

    variables: Tensors
    slots: Tensors
    step: int


@dataclass(frozen=True)
class Verified:
    """What was read and is what was written: how many tensors the manifest speaks of, in how many files."""

    tensors: int
    files: int


class Tensors(Mapping[str, np.ndarray]):
    """Recorded tensors by name; each is read, and every byte of it checked, when it is asked for."""

    def __init__(self, reader: TraceReader, entries: Mapping[str, Any], filled: Mapping[str, Filling]) -> None:
        self._reader, self._entries, self._filled = reader, entries, filled

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._filled:
            return self._filled[name].array()
        entry = self._entries[name]
        return refused(lambda: self._reader.tensor(entry))

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of one, which is not read for it."""
        return self._filled[name].shape if name in self._filled else tuple(self._entries[name]["shape"])

    def renamed(self, rename: Callable[[str], str]) -> Tensors:
        """Returns the same tensors by other names; those that are filled keep theirs."""
        return Tensors(self._reader, {rename(name): entry for name, entry in self._entries.items()}, self._filled)

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._filled

    def __len__(self) -> int:
        return len(self._entries) + len(self._filled)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._filled


@dataclass(frozen=True)
class Filling:
    """Values that need no file, because they are a function of a name and a shape."""

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str

    def array(self) -> np.ndarray:
        """Returns the values."""
        return fill.values(self.kind, self.name, self.shape, numpy_dtype(self.dtype))


class RecordedBuild:
    """What was recorded of a subject in one mode.

    Attributes:
        variables: The inventory, in order of creation.
        draws: The random operations in the order of the program.
        seeds_taken: The operation seeds that were handed out while it was built.
        operations: The forward pass, where it was recorded.
        graph_note: Why there is no graph to run elsewhere; empty where there is one.
        inputs: Input name -> name of the graph's tensor.
        outputs: Path in the returned structure -> name of the graph's tensor.
        objective: Names of the tensors of the training loss and its gradients; None where none were taken.
        objective_note: Why none were taken; empty where they were, or where nobody asked for them.
    """

    def __init__(self, reader: TraceReader, body: Mapping[str, Any]) -> None:
        self._reader, self._body = reader, body
        self.variables = tuple(VariableRecord(n, k, tuple(s), d, t, r) for n, k, s, d, t, r in body["variables"])
        self.draws = tuple(DrawRecord(o, t, (s[0], s[1]), *more) for o, t, s, *more in body["draws"])
        self.seeds_taken = tuple(int(seed) for seed in body["seeds_taken"])
        self.operations = tuple(_operation(fields) for fields in body.get("operations", ()))
        self.graph_note = str(body.get("graph_note", ""))
        self.inputs = {str(name): str(tensor) for name, tensor in body["inputs"].items()}
        self.outputs = {str(path): str(tensor) for path, tensor in body["outputs"].items()}
        objective = body.get("objective")
        self.objective: dict[str, Any] | None = None if objective is None else dict(objective)
        self.objective_note = str(body.get("objective_note", ""))
        self._runs = {str(run["setting"]): run for run in body["runs"]}

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that it was run in."""
        return tuple(self._runs)

    @property
    def longest_run_s(self) -> float:
        """Seconds that the longest run took where it was recorded."""
        return max((float(run["duration_s"]) for run in self._runs.values()), default=0.0)

    def trajectory(self) -> tuple[list[TrainingStep], list[float]]:
        """Returns the training steps that were recorded, and the reference's own drift; none where none were."""
        body = self._body.get("trajectory")
        if body is None:
            return [], []
        steps = []
        for entry in body["steps"]:
            done = self._trace(entry["run"], "trajectory")
            none = Tensors(self._reader, {}, {})
            update = Update(Tensors(self._reader, entry["update"], {}), none, int(entry["step"]))
            steps.append(TrainingStep(done, update, after_update(state_after(done), update)))
        return steps, [float(distance) for distance in body["own_drift"]]

    def fill_names(self, setting: str) -> Mapping[str, str]:
        """Variable key -> the name that its distinct values are a hash of."""
        run = self._runs[setting]
        return {key: run["fill_names"].get(key, key) for key in run["filled"]}

    def graph(self) -> bytes | None:
        """The exported graph, a serialized MetaGraphDef.

        Raises:
            DamagedError: The file is not what was written.
        """
        entry = self._body.get("graph")
        try:
            return None if entry is None else self._reader.file(entry)
        except RecordingError as error:
            raise DamagedError(str(error)) from error

    def trace(self, setting: str) -> Trace:
        """What the run in a setting did."""
        return self._trace(self._runs[setting], setting)

    def _trace(self, run: Mapping[str, Any], setting: str) -> Trace:
        records = {record.key: record for record in self.variables}
        names = {key: run["fill_names"].get(key, key) for key in run["filled"]}
        filled = {key: Filling(setting, name, records[key].shape, records[key].dtype) for key, name in names.items()}
        return Trace(
            variables=self.variables,
            before=Tensors(self._reader, run["before"], filled),
            outputs=Tensors(self._reader, run["outputs"], {}),
            losses=tuple(LossRecord(variable, self._read(entry)) for variable, entry in run["losses"]),
            total_loss=None if run["total_loss"] is None else self._read(run["total_loss"]),
            after=Tensors(self._reader, run["after"], {}),
            training_loss=None if run.get("training_loss") is None else self._read(run["training_loss"]),
            gradients=Tensors(self._reader, run.get("gradients", {}), {}),
            unconnected=tuple(str(key) for key in run.get("unconnected", ())),
            duration_s=float(run["duration_s"]),
            **self._conduct(run),
        )

    def _conduct(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a run besides its numbers."""
        live = run.get("live")
        if live is None:
            drawn = operations.forward_draws(self.draws, self.seeds_taken)
            repeated = sum(draw.repeated and draw.reaches is not False for draw in self.draws)
            return {
                "draws": len(self.seeds_taken),
                "forward_draws": drawn,
                "repeated_draws": repeated,
                "drawn": _drawn(self._body.get("drawn")),
                "skipped_updates": tuple(self._body.get("skipped_updates", ())),
                "notes": (
                    *_notes(run),
                    *self._body.get("notes", ()),
                    *([note] if (note := str(self._reader.body.get("code_note") or "")) else []),
                ),
            }
        drawn = live["forward_draws"]
        return {
            "created": tuple(str(line) for line in live["created"]),
            "calls": int(live["calls"]),
            "draws": int(live["draws"]),
            "forward_draws": None if drawn is None else tuple(map(ForwardDraw.of, drawn)),
            "repeated_draws": int(live.get("repeated_draws", 0)),
            "native_initializers": bool(live["native_initializers"]),
            "native_draws": bool(live["native_draws"]),
            "unaligned_draws": bool(live["unaligned_draws"]),
            "drawn": _drawn(live.get("drawn")),
            "drew": tuple(bool(moved) for moved in live.get("drew", (False, False))),
            "overwritten": tuple(str(key) for key in live.get("overwritten", ())),
            "loads": tuple(str(line) for line in live.get("loads", ())),
            "notes": tuple(str(note) for note in live["notes"]),
        }

    def _read(self, entry: Mapping[str, Any]) -> np.ndarray:
        return refused(lambda: self._reader.tensor(entry))

    def taps(self, setting: str) -> Tensors:
        """The tapped tensors of the run in a setting, by the names that the graph gives them."""
        run = self._runs[setting]
        aliases = {alias: run["taps"][name] for alias, name in run["tap_aliases"].items()}
        return Tensors(self._reader, {**run["taps"], **aliases}, {})


class RecordedSubject(Subject):
    """A trace folder as a subject.

    Raises:
        InputError: The folder holds no trace, a damaged one, or one of a newer version.
    """

    def __init__(self, folder: Path, *, trusted: bool = False) -> None:
        """Opens a trace; `trusted` tells that it was recorded from the user's own code, on this machine."""
        self.folder = folder
        self._trusted = trusted
        self._reader = refused(lambda: TraceReader(str(folder), numpy_dtype))
        body = self._reader.body
        _refuse_misstated(folder, body)
        self.label = shown_in_a_line(str(body["subject"]["label"]))
        self.subject = {str(key): str(value) for key, value in body["subject"].items()}
        self.recorded_environment: Mapping[str, Any] = dict(body["environment"])
        self.files: Mapping[str, str] = dict(body["files"])
        self.inputs = Tensors(self._reader, dict(body["inputs"]), {})
        self.single_input = bool(body["single_input"])
        self.builds = {
            Mode(bool(build["training"]), str(build["randomness"])): RecordedBuild(self._reader, build)
            for build in body["builds"]
        }

    def hold(self, what: object) -> None:
        """Keeps something alive as long as anything reads the trace: a lock, the folder that the trace lies in."""
        self._reader.held = what

    @property
    def offers(self) -> Offers:
        """What it can do."""
        own, compiled = self._reader.body.get("own", {}), self.subject.get("runtime") == "keras2"
        return Offers(
            optimizer=True,
            compiled=compiled,
            masks_by_rounds=compiled,
            own_loss=own.get("loss", False),
            own_optimizer=own.get("optimizer", False),
        )

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of what was imported when it was recorded."""
        return self.files

    @property
    def recording(self) -> Recording:
        """What was recorded of its training."""
        return Recording(self.subject.get("loss", ""), self.subject.get("optimizer", ""), complete=True)

    def environment(self) -> Mapping[str, str]:
        """What it was recorded on."""
        known = ("python", "tensorflow", "keras")
        versions = {name: str(self.recorded_environment[name]) for name in known if name in self.recorded_environment}
        return {"subject": self.label, **versions}

    def settings(self) -> Mapping[str, str]:
        """What it was recorded with."""
        facts = self.recorded_environment
        told = {key: str(facts[key]) for key in ("system", "machine", "cpus", "numpy") if facts.get(key) is not None}
        if facts.get("cpu_features"):
            told["cpu_features"] = ", ".join(facts["cpu_features"])
        return {**told, **facts.get("flags", {})}

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> RecordedInstance:
        """Answers for one mode.

        Raises:
            InputError: It was recorded on other inputs, or not in this mode.
        """
        del wanted  # what was not recorded then is not there
        self._refuse_other_inputs(inputs)
        found = self.builds.get(Mode(mode.training, mode.randomness))
        if found is None:
            kind = "training" if mode.training else "inference"
            raise InputError(
                f"the trace {self.folder} was not recorded in {kind} mode, {mode.randomness}; record it anew with "
                "`lockstep record`."
            )
        return RecordedInstance(self.folder, found)

    def make_optimizer(
        self, make: Callable[[], Any] | None, shapes: Mapping[str, Any], names: Mapping[str, str]
    ) -> RecordedOptimizer | None:
        """Returns what the optimizer did when this was recorded; None where it was recorded without one."""
        del make, shapes
        body = self._reader.body.get("optimizer")
        if body is None:
            return None
        return RecordedOptimizer(self.folder, self._reader, body, names)

    def on_this_runtime(self, mode: Mode, inputs: Arrays) -> GraphInstance | None:
        """Returns the graph of a mode on the TensorFlow of this process; None where that would tell nothing new.

        It would not if it was recorded on the same TensorFlow, or if there is no graph.

        Args:
            mode: The mode.
            inputs: What it runs on.

        Raises:
            InputError: The graph is damaged, or it is from elsewhere and reaches beyond itself.
            SubjectError: This TensorFlow cannot import it.
        """
        import tensorflow as tf

        if tf.__version__ == self.recorded_environment.get("tensorflow"):
            return None
        return self.graph_here(mode, inputs)

    def graph_here(self, mode: Mode, inputs: Arrays) -> GraphInstance | None:
        """Returns the graph of a mode on this process's TensorFlow, whichever it was recorded on; None without one.

        Args:
            mode: The mode.
            inputs: What it runs on.

        Raises:
            InputError: The graph is damaged, or it is from elsewhere and reaches beyond itself.
            SubjectError: This TensorFlow cannot import it.
        """
        build = self.builds.get(Mode(mode.training, mode.randomness))
        if build is None or build.graph_note:
            return None
        from lockstep.elsewhere.exported_graph import run_here

        return run_here(build, mode, inputs, self.label, trusted=self._trusted, sources=self._sources(mode.training))

    def _sources(self, training: bool) -> Mapping[str, str]:
        """The user's lines by operation, whose names do not depend on seeds: one record of them serves all."""
        alike = [build for mode, build in self.builds.items() if mode.training == training]
        return {operation.name: operation.source for build in alike for operation in build.operations}

    def verify(self) -> Verified:
        """Reads whatever the manifest speaks of, each file once and every byte of it, and checks it.

        Raises:
            InputError: Something is damaged, missing, or there though the manifest does not speak of it.
        """
        found = list(manifest.entries(self._reader.body))
        refused(lambda: self._reader.check_files(entry for _, entry in found))
        distinct = {(kind, entry["file"], str(entry.get("key")), str(entry)): entry for kind, entry in found}
        for (kind, *_), entry in distinct.items():
            refused(functools.partial(self._reader.tensor if kind == "tensor" else self._reader.file, entry))
        kinds = [kind for kind, _ in found]
        return Verified(kinds.count("tensor"), len({entry["file"] for _, entry in found}))

    def _refuse_other_inputs(self, inputs: Arrays) -> None:
        given = inputs if isinstance(inputs, Mapping) else {next(iter(self.inputs), ""): inputs}
        if set(given) != set(self.inputs) or isinstance(inputs, Mapping) == self.single_input:
            raise InputError(
                f"the trace {self.folder} was recorded on the inputs {', '.join(self.inputs)}; the inputs given are "
                f"{', '.join(given)}."
            )
        for name, array in given.items():
            recorded = self.inputs[name]
            same = recorded.dtype == array.dtype or {recorded.dtype.kind, array.dtype.kind} <= set("OSU")
            if not same or recorded.shape != array.shape or not np.array_equal(recorded, array):
                raise InputError(
                    f"the trace {self.folder} was recorded on another input {name!r} ({recorded.dtype.name} "
                    f"{recorded.shape}; now {array.dtype.name} {array.shape}); record it anew."
                )


class RecordedOptimizer:
    """What the optimizer of a recording did in the trial."""

    def __init__(self, folder: Path, reader: TraceReader, body: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._folder, self._names = folder, names
        self.description: Mapping[str, Any] | None = body["description"]
        self._rates = {int(step): float(rate) for step, rate in body["rates"]}
        self._updates = [
            Update(Tensors(reader, update["variables"], {}), Tensors(reader, update["slots"], {}), int(update["step"]))
            for update in body["updates"]
        ]
        from_plain(self.description)  # so that a wrong one is refused here
        self._done = 0

    def apply(self, variables: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Update:
        """Returns what the next update of the trial left.

        Raises:
            InputError: It was recorded for other variables than those of the trial.
        """
        del gradients  # those of the trial, here as there
        update = self._updates[self._done]
        own = {key: key if key in update.variables else self._names.get(key, key) for key in variables}
        for key, value in variables.items():
            if own[key] not in update.variables or update.variables.shape(own[key]) != value.shape:
                raise InputError(
                    f"the trace {self._folder} holds no update of variable {key!r} of shape {value.shape} by its "
                    "optimizer; record it anew."
                )
        self._done += 1
        named = {name: key for key, name in own.items() if name != key}
        return dataclasses.replace(
            update,
            variables=update.variables.renamed(lambda name: named.get(name, name)),
            slots=update.slots.renamed(lambda slot: _slot_renamed(slot, named)),
        )

    def learning_rates(self, steps: Sequence[int]) -> Mapping[int, float]:
        """Returns step -> learning rate, as far as it was recorded."""
        return {step: self._rates[step] for step in steps if step in self._rates}

    def turning_points(self) -> Sequence[int]:
        """Returns the steps that it was recorded at."""
        return sorted(self._rates)

    def close(self) -> None:
        """Holds nothing that has to be let go."""


class RecordedInstance(Instance):
    """What was recorded in one mode, as an instance.

    Attributes:
        build: The record itself.
    """

    def __init__(self, folder: Path, build: RecordedBuild) -> None:
        self._folder, self.build = folder, build

    @property
    def free(self) -> bool:
        """It answers what it was asked then."""
        return False

    @property
    def trained(self) -> RecordedInstance:
        """Itself."""
        return self

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory, in order of creation."""
        return self.build.variables

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Returns what the run in that setting did; its gradients are there where the recording took them.

        Raises:
            InputError: It was not recorded in that setting.
        """
        del ask  # the recording has its own
        if setting.kind not in self.build.settings:
            raise InputError(
                f"the trace {self._folder} holds no run with {setting.kind} values (it holds "
                f"{', '.join(self.build.settings)}); record it with --reference REFERENCE_TRACE, or let "
                "`lockstep check` run this side."
            )
        recorded = self.build.fill_names(setting.kind)
        other = [key for key, name in setting.names.items() if recorded.get(key, name) != name]
        if setting.kind == "distinct" and other:
            raise InputError(
                f"the trace {self._folder} was recorded without the reference's variable names ({other[0]!r} is filled "
                f"by its own name instead of {setting.names[other[0]]!r}); record it with --reference REFERENCE_TRACE."
            )
        trace = self.build.trace(setting.kind)
        if setting.kind == "given":
            self._refuse_other_values(trace, setting)
        return trace

    def trajectory(self) -> tuple[list[TrainingStep], list[float]]:
        """Returns the training steps that were recorded; see `RecordedBuild.trajectory`."""
        return self.build.trajectory()

    def _refuse_other_values(self, trace: Trace, setting: Setting) -> None:
        for key, value in setting.values.items():
            if key not in trace.before or not np.array_equal(trace.before[key], value):
                raise InputError(
                    f"the trace {self._folder} was recorded with another reference's initial values ({key!r} differs); "
                    "record it anew, with --reference REFERENCE_TRACE."
                )


def _refuse_misstated(folder: Path, body: Mapping[str, Any]) -> None:
    """A manifest that is signed rightly may still be a forger's: what it lacks is said, not stumbled over."""
    try:
        manifest.check(body)
    except MisstatedError as error:
        raise InputError(f"the trace {folder} cannot be understood: in its manifest {error}.") from error


def _slot_renamed(slot: str, named: Mapping[str, str]) -> str:
    key, colon, role = slot.rpartition(": ")
    return f"{named.get(key, key)}{colon}{role}"


def _operation(fields: Sequence[Any]) -> OperationRecord:
    name, kind, inputs, outputs, attributes, source = fields
    shaped = tuple((str(dtype), None if shape is None else tuple(shape)) for dtype, shape in outputs)
    return OperationRecord(str(name), str(kind), tuple(inputs), shaped, dict(attributes), str(source))


def _drawn(recorded: Any) -> tuple[str, str]:
    numpy, python = recorded or ("", "")
    return str(numpy), str(python)


def _notes(run: Mapping[str, Any]) -> Iterator[str]:
    if run["untapped"]:
        yield f"{len(run['untapped'])} operations within loops or branches could not be tapped"
    if run["differing_between_blocks"]:
        outputs = ", ".join(path or "the output" for path in run["differing_between_blocks"])
        yield f"the reference gives other outputs when it runs again: {outputs}"
