"""A Keras 2 model of this process, built once per mode in a `tf.Graph` and run in a fresh `Session` per question."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import running
from lockstep.frameworks.tensorflow.draws import RecordedDraws
from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance, TF1Graph
from lockstep.ground import trials
from lockstep.ground.failures import RecordingError
from lockstep.recorder import keras2, keras2_optimizing
from lockstep.recorder.generators import Generators
from lockstep.subjects import NOTHING_WANTED, Mode, Offers, Wanted
from lockstep.subjects.users_functions import for_a_build


class Keras2Graph(TF1Graph):
    """A function `build()` that makes a Keras 2 model, as a subject."""

    def __init__(self, build: Callable[[], Any], label: str) -> None:
        super().__init__(build, label)
        self._built: tuple[Arrays, keras2.Builder] | None = None

    @property
    def offers(self) -> Offers:
        """What it can do."""
        return Offers(optimizer=True, training=True, compiled=True, masks_by_rounds=True)

    def environment(self) -> Mapping[str, str]:
        """The versions of this process; of Keras that of tf_keras, where it is there."""
        told = dict(running.environment(self.label))
        try:
            told["keras"] = importlib.import_module("tf_keras").__version__
        except ImportError:
            del told["keras"]  # it is another Keras 2, whose version nobody knows
        return told

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Builds the graph of the model; `mode.functional` means nothing here.

        Raises:
            InputError: `build()` made no Keras 2 model, or one that wants other inputs.
            SubjectError: It failed.
        """
        del wanted  # it runs as it is asked
        used = for_a_build(self._forward)
        try:
            with used.active(), running.users_code(self.label, f"building ({running.describe(mode)})"):
                build = self._builder(inputs).build
                model, tool = build(used.function, mode.training, lambda: RecordedDraws(mode.randomness))
        except RecordingError as error:
            raise InputError(str(error)) from error
        return GraphInstance(self.label, model, mode, inputs, tool.taken, used=used)

    def _builder(self, inputs: Arrays) -> keras2.Builder:
        """Returns what has found out how the model is built for these inputs, or will."""
        if self._built is None or self._built[0] is not inputs:
            self._built = inputs, keras2.Builder(inputs, lambda: RecordedDraws("num_random_ops"))
        return self._built[1]

    def make_optimizer(self, make: Callable[[], Any] | None, shapes: trials.Shapes, names: Mapping[str, str]) -> Any:
        """Makes what the user's function returns; without one, what the model is compiled with, and None without that.

        Raises:
            InputError: It is no optimizer.
            SubjectError: The function failed.
        """
        del names  # its variables are called as their keys
        used = for_a_build(self._forward)
        try:
            with used.active(), Generators().active(), running.users_code(self.label, "making its optimizer"):
                if make is not None:
                    return keras2_optimizing.make(make, shapes)
                compiled = keras2.optimizer_of(used.function)
                return None if compiled is None else keras2_optimizing.make(lambda: compiled, shapes)
        except RecordingError as error:
            raise InputError(f"{self.label}: {error}") from error
