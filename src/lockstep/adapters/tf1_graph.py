"""TF1-style code, built once per mode in a `tf.Graph` and run in a fresh `Session` per question."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lockstep.adapters import running
from lockstep.arrays import Arrays
from lockstep.errors import InputError
from lockstep.randomness import DeterministicRandomTestTool
from lockstep.recorder import graph
from lockstep.recorder.failures import RecordingError
from lockstep.subjects import Mode
from lockstep.trace import Trace, VariableRecord


class TF1Graph:
    """A function `forward(inputs, training)` as a subject."""

    def __init__(self, forward: Callable[..., Any], label: str) -> None:
        self._forward = forward
        self.label = label

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return running.environment(self.label)

    def build(self, mode: Mode, inputs: Arrays) -> GraphInstance:
        """Builds the graph; `mode.functional` means nothing here."""
        from lockstep import tf1

        tf1.enable()
        tool = DeterministicRandomTestTool(mode=mode.randomness)
        try:
            with running.users_code(self.label, f"building ({running.describe(mode)})"):
                model = graph.build(self._forward, inputs, mode.training, tool)
        except RecordingError as error:
            raise InputError(str(error)) from error
        return GraphInstance(self.label, model, mode, inputs, tool.draws)


class GraphInstance:
    """One graph."""

    def __init__(self, label: str, model: graph.GraphModel, mode: Mode, inputs: Arrays, draws: int) -> None:
        self._label, self._model, self._mode, self._draws = label, model, mode, draws
        self._inputs = inputs if isinstance(inputs, Mapping) else {graph.ONLY_INPUT: inputs}

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The inventory, in order of creation."""
        return self._model.variables

    def run(self, values: Mapping[str, np.ndarray] | None, *, repeats: int = 0) -> Trace:
        """Runs the graph once; see `GraphModel.run`."""
        del repeats  # a graph cannot make variables when it runs
        start = time.perf_counter()
        with running.users_code(self._label, f"running ({running.describe(self._mode)})"):
            got = self._model.run(values or {}, self._inputs)
        return Trace(
            variables=self._model.variables,
            before=got.before,
            outputs=got.outputs,
            losses=got.losses,
            total_loss=got.total_loss,
            after=got.after,
            draws=self._draws,
            duration_s=time.perf_counter() - start,
        )

    def close(self) -> None:
        """Drops the graph."""
        del self._model
