"""Weights in the safetensors format, through the reader that traces are read with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lockstep.common.arrays import MAX_DIMENSIONS, numpy_dtype
from lockstep.common.errors import InputError
from lockstep.common.values import brief, shown, shown_path
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.ground.failures import RecordingError
from lockstep.ground.restoring import Held
from lockstep.ground.tensors import TensorFile


def read_file(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a file of tensors: its header is read at once, each value when it is asked for, as a view of the file.

    Raises:
        InputError: It is no such file, is damaged, or has a dtype that NumPy and ml_dtypes lack.
    """
    try:
        # Model hubs keep files as links to where the content lies; here the path is the user's own.
        file = TensorFile(str(path.resolve()), numpy_dtype)
    except RecordingError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{shown_path(path)} cannot be read: {error.strerror or brief(error)}.") from error
    deep = [name for name, place in file.places.items() if len(place.shape) > MAX_DIMENSIONS]
    if deep:
        raise InputError(f"{path.name} is damaged: {shown(deep[0])} has more than {MAX_DIMENSIONS} dimensions.")

    def read(name: str) -> np.ndarray:
        try:
            array = file.tensor(name)
        except RecordingError as error:
            raise InputError(str(error)) from error
        if array.dtype == np.bool_ and array.size and (array.view(np.uint8) > 1).any():
            raise InputError(f"{path.name} is damaged: {shown(name)} holds bytes that are no bool.")
        return array

    held = {name: Held(place.shape, place.dtype) for name, place in file.places.items()}
    return Checkpoint(path, held, read, moving_averages=moving_averages)
