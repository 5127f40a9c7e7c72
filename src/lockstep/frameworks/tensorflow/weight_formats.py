"""Writes the weights of a built candidate as Keras, TensorFlow or safetensors have them, and reads them again."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.arrays import MAX_DIMENSIONS, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import brief, said
from lockstep.files.checkpoints import npz
from lockstep.files.checkpoints.formats import Format, write_npz, write_safetensors
from lockstep.frameworks.tensorflow.keras_eager import EagerInstance
from lockstep.ground.failures import RecordingError
from lockstep.ground.restoring import Held
from lockstep.ground.tensors import TensorFile
from lockstep.traces.trace import flatten

_WRITERS = {Format.SAFETENSORS: write_safetensors, Format.NPZ: write_npz}
_SYSTEMS = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def save(instance: EagerInstance, path: Path, kind: Format) -> None:
    """Writes the weights that a model has now.

    Args:
        instance: The model; it has been run.
        path: The file, or for `Format.TF_CHECKPOINT` the prefix.
        kind: The format.

    Raises:
        InputError: The model cannot be written in that format.
    """
    with instance.in_place(), _told(f"the candidate cannot be written as {kind}"):
        if kind in _WRITERS:
            values = instance.values()
            held = {key: Held(tuple(value.shape), value.dtype.name) for key, value in values.items()}
            _WRITERS[kind](path, held, values.__getitem__)
        elif kind is Format.TF_CHECKPOINT:
            tf.train.Checkpoint(model=instance.layer).write(str(path))
        elif kind is Format.WEIGHTS_H5:
            instance.as_model().save_weights(str(path))
        else:
            instance.as_model().save(str(path))


def load(instance: EagerInstance, path: Path, kind: Format) -> None:
    """Gives a model that has been run the weights in a file; each of its variables must get one.

    Raises:
        InputError: The file does not fit the model.
    """
    with instance.in_place(), _told(f"what was written as {kind} cannot be loaded into the candidate"):
        if kind is Format.SAFETENSORS:
            instance.assign(read_safetensors(path, [record.key for record in instance.variables]))
        elif kind is Format.NPZ:
            instance.assign(read_arrays(path, [record.key for record in instance.variables]))
        elif kind is Format.TF_CHECKPOINT:
            restored = tf.train.Checkpoint(model=instance.layer).read(str(path))
            restored.assert_existing_objects_matched().assert_consumed()
        elif kind is Format.WEIGHTS_H5:
            instance.as_model().load_weights(str(path))
        else:
            raise InputError("an archive is loaded by itself; see run_archive.")


def run_archive(path: Path, inputs: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Loads a `.keras` archive and runs it in inference mode.

    The classes are those of all modules that have been imported, as the archive names them without their registration.

    Returns:
        Its outputs and its variables by name.

    Raises:
        InputError: It cannot be loaded.
    """
    classes = {
        name: value
        for module in list(sys.modules.values())
        for name, value in list(getattr(module, "__dict__", {}).items())
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
        if not value.__module__.startswith("keras.")
    }
    with _told("the archive that was written cannot be loaded (keras.saving.register_keras_serializable, get_config)"):
        model = keras.models.load_model(str(path), custom_objects=classes, compile=False)
        tensors = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        outputs = {place: np.asarray(leaf) for place, leaf in flatten(model(tensors, training=False))}
    return outputs, EagerInstance.values_of(model)


def read_arrays(path: Path, wanted: list[str]) -> Mapping[str, np.ndarray]:
    """Returns the arrays of these names, out of a `.npz` file.

    Raises:
        InputError: The file is no such file, is damaged, or lacks one.
    """
    held = npz.read_file(path)
    missing = [key for key in wanted if key not in held]
    if missing:
        raise InputError(f"{path.name} lacks {len(missing)} variables, the first is {missing[0]}.")
    return {key: held[key] for key in wanted}


def read_safetensors(path: Path, wanted: list[str]) -> Mapping[str, np.ndarray]:
    """Returns the tensors of these names.

    Raises:
        InputError: The file is no such file, is damaged, or lacks one.
    """
    try:
        file = TensorFile(str(path), numpy_dtype)
        missing = [key for key in wanted if key not in file.places]
        if missing:
            raise InputError(f"{path.name} lacks {len(missing)} variables, the first is {missing[0]}.")
        deep = [key for key in wanted if len(file.places[key].shape) > MAX_DIMENSIONS]
        if deep:
            raise InputError(f"{path.name} is damaged: {deep[0]} has more than {MAX_DIMENSIONS} dimensions.")
        return {key: file.tensor(key) for key in wanted}
    except RecordingError as error:
        raise InputError(str(error)) from error


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What Keras and TensorFlow raise where a model has no config, or a file does not fit, is not documented."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        # What the system refused stands anywhere in such a message, if not in the error's number.
        reason = next((os.strerror(number) for number in _SYSTEMS if os.strerror(number) in said(error)), None)
        raise InputError(f"{what}: {reason or f'{type(error).__name__}: {brief(error)}'}.") from error
