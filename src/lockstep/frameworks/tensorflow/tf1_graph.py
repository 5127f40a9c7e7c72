"""TF1-style code, built once per mode in a `tf.Graph` and run in a fresh `Session` per question."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lockstep.common.arrays import Arrays, named
from lockstep.common.errors import InputError, ProgramError
from lockstep.frameworks.tensorflow import grappler, running
from lockstep.frameworks.tensorflow.draws import RecordedDraws
from lockstep.frameworks.tensorflow.graph_races import races
from lockstep.ground import trials
from lockstep.ground.failures import RecordingError
from lockstep.ground.training import TrainingStep
from lockstep.program import Program
from lockstep.recorder import graph, operations, originals
from lockstep.recorder.modules import Sources
from lockstep.subjects import (
    NOTHING_MORE,
    NOTHING_WANTED,
    Ask,
    Execution,
    Instance,
    Mode,
    Objective,
    Offers,
    Setting,
    Subject,
    Wanted,
    other_kernels,
)
from lockstep.subjects.streaming import Roles, Streamed
from lockstep.subjects.users_functions import NOTHING, Used, code_of, for_a_build, sources_of
from lockstep.traces.trace import ForwardDraw, Trace, VariableRecord


class TF1Graph(Subject):
    """A function `forward(inputs, training)`, a `model_fn` or a script as a subject.

    Args:
        forward: What builds it.
        label: What reports call it.
        original: What it is where it is no plain `forward`, as of `recorder.originals.adapted`.
        own: Whether its program states its loss, and makes its training step, itself.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        label: str,
        original: Mapping[str, Any] | None = None,
        own: tuple[bool, bool] = (False, False),
    ) -> None:
        self._forward = forward
        self.label = label
        self._original, self._own = original, own
        self._built_for: Arrays | None = None

    @property
    def offers(self) -> Offers:
        """What it can do."""
        labels = tuple((self._original or {}).get("labels", ()))
        own_loss, own_optimizer = self._own
        return Offers(
            optimizer=True,
            training=True,
            own_loss=own_loss,
            own_optimizer=own_optimizer,
            labels=labels,
            own_metrics=(self._original or {}).get("kind") == "estimator",
        )

    @property
    def sources(self) -> Sources | None:
        """Where the function is imported from, where Lockstep imports it."""
        return sources_of(self._forward)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the function's code."""
        return code_of(self._forward)

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return running.environment(self.label)

    def settings(self) -> Mapping[str, str]:
        """Those of this process."""
        return running.settings()

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Builds the graph; `mode.functional` means nothing here."""
        del wanted  # it runs as it is asked
        from lockstep import tf1
        from lockstep.tf1.graph_likeness import tf1_code

        tf1.enable()
        tool = RecordedDraws(mode.randomness)
        used = for_a_build(self._forward)
        try:
            with used.active(), running.users_code(self.label, f"building ({running.describe(mode)})"), tf1_code():
                original = originals.adapted(used.function, self._original)
                model = graph.build(original, inputs, mode.training, tool)
        except RecordingError as error:
            raise InputError(str(error)) from error
        self._built_for = inputs
        return GraphInstance(self.label, model, mode, inputs, tool.taken, used=used)

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Builds it as if for the first time, to see whether it is the same twice."""
        return self.build(mode, inputs, wanted)

    def make_optimizer(self, make: Callable[[], Any] | None, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        """Makes what the user's function returns: an optimizer in a graph of its own."""
        del names  # its variables are called as their keys
        from lockstep.frameworks.tensorflow.optimizing import make_optimizer

        if make is not None:
            return make_optimizer(make, shapes, self.label, eagerly=False)
        if not self._own[1] or self._built_for is None:
            return None
        from lockstep.recorder import train_op

        inputs, used = self._built_for, for_a_build(self._forward)
        original = originals.adapted(used.function, self._original)
        with used.active(), contextlib.suppress(train_op.NotAloneError):
            make = train_op.optimizer_of(lambda: original.anew(inputs))
            return make_optimizer(make, shapes, self.label, eagerly=False)
        return None

    def streaming(self, make: Callable[..., Any] | None, roles: Roles) -> Streamed | None:
        """Returns the user's `metrics(outputs, batch)` in a graph of its own, or an Estimator's `eval_metric_ops`."""
        del roles  # the function says it
        from lockstep.frameworks.tensorflow import streaming

        if make is not None:
            return streaming.in_a_graph(make, self.label)
        if (self._original or {}).get("kind") != "estimator" or self._built_for is None:
            return None
        return streaming.of_an_estimator(self._forward, self._original or {}, self._built_for, self.label)


class GraphInstance(Instance):
    """One graph."""

    def __init__(  # noqa: PLR0913
        self,
        label: str,
        model: graph.GraphModel,
        mode: Mode,
        inputs: Arrays,
        seeds_taken: Sequence[int],
        sources: Mapping[str, str] = MappingProxyType({}),
        *,
        used: Used = NOTHING,
    ) -> None:
        """Takes a graph.

        `sources` are the user's lines by operation, where the graph itself does not know them; `used` is the function
        that made it, where it may still call Python.
        """
        self._used = used
        self._label, self._model, self._mode, self._taken = label, model, mode, seeds_taken
        self._inputs, self._sources = named(inputs), sources
        self._drawn: tuple[tuple[ForwardDraw, ...], int] | None = None
        self._starting: Mapping[str, np.ndarray] = {}

    def starting_from(self, values: Mapping[str, np.ndarray]) -> GraphInstance:
        """Has it start from these values, by the keys of its variables, where it is given none: those of a file."""
        self._starting = values
        return self

    @property
    def followed(self) -> GraphInstance:
        """Itself."""
        return self

    @property
    def perturbed(self) -> GraphInstance:
        """Itself."""
        return self

    @property
    def self_training(self) -> GraphInstance | None:
        """Itself, where its program makes a training step."""
        return None if self._model.train_op is None else self

    def train(self, values: Mapping[str, np.ndarray], count: int, objective: Objective) -> list[TrainingStep]:
        """Trains by the program's own training step; see `recorder.train_op.train`."""
        from lockstep.recorder import train_op

        def run(given: Mapping[str, np.ndarray]) -> Trace:
            return self.run(Setting("given", dict(given)), Ask(objective=objective))

        with self._used.active(), self._told("training"):
            return train_op.train(self._model, self._inputs, values, count, run)

    @property
    def switched(self) -> GraphInstance:
        """Itself."""
        return self

    @functools.cached_property
    def unordered(self) -> tuple[str, ...]:
        """Keys of the variables that a training run writes several times, in no defined order."""
        return tuple(races(self._model)) if self._mode.training else ()

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory, in order of creation."""
        return self._model.variables

    def run(self, setting: Setting, ask: Ask = NOTHING_MORE) -> Trace:
        """Runs the graph once; see `GraphModel.run`."""
        # A graph cannot make variables when it runs, and its seeds are part of it: only an objective asks for more.
        inputs = _named(setting.inputs)
        trace = self.run_changed(setting.values, inputs, threads=0, objective=ask.objective)
        if not inputs:
            return trace
        drawn, unknown = self._draws(trace.before, inputs)
        return dataclasses.replace(trace, forward_draws=drawn, repeated_draws=unknown)

    def run_changed(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        threads: int,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it with other inputs than it was built for, where given, or with another number of threads.

        Raises:
            InputError: It cannot be differentiated for the objective.
        """
        if objective is not None:
            self._differentiate(objective)
        return self._traced(values, inputs, graph.session_config(threads), differentiated=objective is not None)

    def run_switched(self, values: Mapping[str, np.ndarray], execution: Execution) -> Trace:
        """Runs it in a session that rewrites the graph as `execution` says."""
        return self._traced(values, {}, grappler.session_config(execution))

    def _traced(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        config: Any,
        *,
        differentiated: bool = False,
    ) -> Trace:
        start = time.perf_counter()
        values = {**self._starting, **values}
        with self._used.active(), self._told("running"):
            got = self._model.run(values, {**self._inputs, **inputs}, config=config, differentiated=differentiated)
        duration_s = time.perf_counter() - start
        drawn, unknown = self._draws(got.before)
        return Trace(
            variables=self._model.variables,
            before=got.before,
            outputs=got.outputs,
            losses=got.losses,
            total_loss=got.total_loss,
            after=got.after,
            training_loss=got.training_loss,
            gradients=got.gradients,
            unconnected=got.unconnected,
            draws=len(self._taken),
            forward_draws=drawn,
            repeated_draws=unknown,
            drawn=self._model.drawn,
            skipped_updates=self._model.skipped_updates,
            notes=(*((self._used.note,) if self._used.note else ()), *self._model.notes),
            duration_s=duration_s,
        )

    def _told(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """Tells what fails meanwhile as a failure of this side."""
        doing = f"{doing} ({running.describe(self._mode)})"
        return running.users_code(self._label, doing, foreign=self._model.limit_s is not None)

    def _draws(
        self, before: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> tuple[tuple[ForwardDraw, ...], int]:
        """Returns what the forward pass draws, and how many operations draw nobody knows how often.

        Where there are loops, the graph is followed once, from the values of the first run; on other inputs anew.
        """
        if self._drawn is not None and not inputs:
            return self._drawn
        drawn = operations.forward_draws(self._model.draws, self._taken)
        unknown = sum(draw.repeated and draw.reaches is not False for draw in self._model.draws)
        if unknown:
            from lockstep.frameworks.tensorflow.graph_program import draws_of

            with contextlib.suppress(ProgramError):
                followed = draws_of(self._model, before, {**self._inputs, **inputs})
                drawn, unknown = tuple(draw for draw in followed if draw.seed in self._taken), 0
        if not inputs:
            self._drawn = drawn, unknown
        return drawn, unknown

    def _differentiate(self, objective: Objective) -> None:
        try:
            with (
                self._used.active(),
                self._told("taking gradients"),
            ):
                self._model.differentiate(objective.loss)
        except RecordingError as error:
            raise InputError(str(error)) from error

    def run_on_other_kernels(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        *,
        objective: Objective | None = None,
    ) -> Trace:
        """Runs it in a process whose TensorFlow has oneDNN's kernels switched the other way.

        Raises:
            InputError: The graph cannot be exported, or the process failed.
        """
        from lockstep.environments.recorder_process import rerun

        inputs = {**self._inputs, **inputs}
        values = {**self._starting, **values}
        return rerun(self._model, values, inputs, other_kernels(), differentiated=objective is not None)

    def run_elsewhere(self, values: Mapping[str, np.ndarray], variables: Mapping[str, str]) -> Trace:
        """Runs it in a process with other environment variables, in a session that rewrites nothing.

        Raises:
            InputError: The graph cannot be exported, or the process failed.
        """
        from lockstep.environments.recorder_process import rerun

        return rerun(self._model, {**self._starting, **values}, self._inputs, variables)

    def program(
        self,
        values: Mapping[str, np.ndarray],
        draws: Sequence[ForwardDraw] | None = None,
        *,
        inputs: Arrays | None = None,
        objective: Objective | None = None,
    ) -> Program:
        """Follows what the graph computes, operation by operation.

        Args:
            values: Variable key -> value before the run.
            draws: Not looked at: a graph's draws are part of it.
            inputs: Other inputs than it was built for; None: those.
            objective: As of `Followed.program`.

        Raises:
            ProgramError: It cannot be followed.
        """
        del draws
        from lockstep.frameworks.tensorflow.graph_program import program_of

        if objective is not None:
            self._differentiate(objective)
        with self._used.active(), self._told("running"):
            given = {**self._inputs, **_named(inputs)}
            starting, loss = {**self._starting, **values}, objective is not None
            return program_of(self._model, starting, given, sources=self._sources, with_loss=loss)

    def close(self) -> None:
        """Drops the graph."""
        del self._model


def _named(inputs: Arrays | None) -> Mapping[str, np.ndarray]:
    return {} if inputs is None else named(inputs)
