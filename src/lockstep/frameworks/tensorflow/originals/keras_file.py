"""A file of Keras as a subject: of Keras 3 as a model that is called eagerly, of Keras 2 in a graph, by tf_keras."""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.arrays import Arrays, named
from lockstep.common.errors import InputError
from lockstep.files.originals import OriginalFile, files_of
from lockstep.files.originals.keras_files import KerasFile, read
from lockstep.frameworks.tensorflow.calling import declared_inputs as declared_of
from lockstep.frameworks.tensorflow.keras_eager import KerasEager
from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance, TF1Graph
from lockstep.ground.opening import shortened
from lockstep.subjects import NOTHING_WANTED, Mode, Offers, Subject, Wanted


def subject(original: OriginalFile) -> Subject:
    """Makes the subject of a file of Keras.

    Raises:
        InputError: It cannot be loaded, or tf_keras is missing.
    """
    found = read(original)
    if not found.is_keras_2:
        return Keras3File(original, found)
    return Keras2File(original, found)


def declared_inputs(original: OriginalFile) -> dict[str, tuple[tuple[int | None, ...], str]]:
    """Returns what the model says that it takes."""
    found = read(original)
    if not found.is_keras_2:
        return declared_of(_loaded(original, found, keras.saving.load_model))
    model = _of_keras_2(original, found)
    return {tensor.name: (tuple(tensor.shape), tensor.dtype.name) for tensor in getattr(model, "inputs", None) or ()}


class Keras3File(KerasEager):
    """A `.keras` or `.h5` file that Keras 3 wrote."""

    def __init__(self, original: OriginalFile, found: KerasFile) -> None:
        super().__init__(lambda: _loaded(original, found, keras.saving.load_model), original.label)
        self._file = original

    @property
    def offers(self) -> Offers:
        """What a model offers; its values are the file's."""
        return dataclasses.replace(super().offers, initializers=False)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the file."""
        return files_of(self._file.kind, self._file.path)


class Keras2File(TF1Graph):
    """A file that Keras 2 wrote: loaded by tf_keras, and built anew from its description in a graph."""

    def __init__(self, original: OriginalFile, found: KerasFile) -> None:
        super().__init__(self._forward, original.label)
        self._file, self._found = original, found
        self._values: dict[str, np.ndarray] = {}
        self._file_values: list[np.ndarray] = []
        self._model: Any = None

    @property
    def offers(self) -> Offers:
        """What a graph offers; its values are the file's."""
        return dataclasses.replace(super().offers, initializers=False)

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the file."""
        return files_of(self._file.kind, self._file.path)

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Builds the graph, with the file's values as its own."""
        if self._model is None:
            self._model = _of_keras_2(self._file, self._found)
            self._file_values = self._model.get_weights()  # read here: within a graph Keras 2 has no values
        built = super().build(mode, inputs, wanted)
        return built.starting_from({r.key: self._values[r.name] for r in built.variables if r.name in self._values})

    def _forward(self, inputs: Any, training: bool) -> Any:
        backend = importlib.import_module("tf_keras").backend
        if not training:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tf_keras advises `training=`, which a functional build does not take
                backend.set_learning_phase(0)  # else a functional model draws what it does not need
        model = type(self._model).from_config(self._model.get_config())
        given = self._given(named(inputs) if isinstance(inputs, Mapping) else inputs)
        returned = model(given, training=training)
        for variable, value in zip(model.weights, self._file_values, strict=True):
            self._values[variable.op.name] = value
        names = getattr(self._model, "output_names", None)
        if isinstance(returned, (list, tuple)) and names and len(names) == len(returned):
            return dict(zip(names, returned, strict=True))
        return returned

    def _given(self, inputs: Any) -> Any:
        if not isinstance(inputs, Mapping):
            return inputs
        names = list(getattr(self._model, "input_names", None) or ())
        if len(inputs) == 1:
            return next(iter(inputs.values()))
        if set(names) != set(inputs):
            raise InputError(f"{self.label} takes {', '.join(names)}, and the inputs are {', '.join(inputs)}.")
        return [inputs[name] for name in names]


def _of_keras_2(original: OriginalFile, found: KerasFile) -> Any:
    try:
        tf_keras = importlib.import_module("tf_keras")
    except ImportError as error:
        raise InputError(
            f"{original.label} was written by Keras {found.version or 2}, which needs tf_keras beside Keras 3: "
            "pip install 'lockstep-verify[keras2]'."
        ) from error
    with tf.init_scope():
        return _loaded(original, found, tf_keras.models.load_model)


def _loaded(original: OriginalFile, found: KerasFile, load: Callable[..., Any]) -> Any:
    """Loads a file that was judged; nothing is compiled, and no Lambda can be in it."""
    try:
        return load(str(original.path), compile=False, safe_mode=True)
    except (TypeError, ValueError, KeyError, OSError, AttributeError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{original.label} cannot be loaded (Keras {found.version or '2'} wrote it): {shortened(first, 300)}"
        ) from error
