"""Opens TensorFlow's checkpoints, those of `Saver` (V1, V2) and of objects, through TensorFlow's public reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.common.values import shown_path
from lockstep.files.checkpoints import object_graph
from lockstep.files.checkpoints.entries import Checkpoint
from lockstep.files.checkpoints.judging import judged
from lockstep.files.checkpoints.locating import located
from lockstep.files.checkpoints.wire import DamagedError
from lockstep.ground.restoring import Held


def open_checkpoint(path: Path, *, moving_averages: bool = False) -> Checkpoint:
    """Opens a checkpoint: the names, shapes and dtypes are read at once, each value when it is asked for.

    What it says of itself is judged before TensorFlow sees it; TensorFlow's reader tests the checksum of the index, and
    of each tensor of the V2 format as it is read.

    Args:
        path: See `lockstep.files.checkpoints.locating.located`.
        moving_averages: Whether a variable's value is that of its moving average, where there is one.

    Raises:
        InputError: There is none, or it is damaged.
    """
    prefix, held, read = read_tensors(path)
    if object_graph.GRAPH in held:
        return _of_objects(prefix, held, read, moving_averages)
    return Checkpoint(prefix, held, read, moving_averages=moving_averages)


def read_tensors(path: Path) -> tuple[Path, dict[str, Held], Callable[[str], np.ndarray]]:
    """Opens what lies in a checkpoint, by the keys that it is stored under, whoever wrote it.

    Returns:
        The checkpoint as TensorFlow's readers take it, key -> shape and dtype, and what reads the value of a key.

    Raises:
        InputError: There is none, or it is damaged.
    """
    prefix = located(path)
    held = judged(prefix)
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        dtypes = reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, *_RAISED) as error:
        raise InputError(
            f"checkpoint {prefix} is no TensorFlow checkpoint, or is damaged or cut short ({_said(error)})."
        ) from error
    if held != {str(n): Held(tuple(int(size) for size in shape), dtypes[n].name) for n, shape in shapes.items()}:
        raise InputError(f"checkpoint {prefix} is damaged: its index can be read in two ways.")

    def read(name: str) -> np.ndarray:
        return _tensor(reader, prefix, name, dtypes[name])

    return prefix, held, read


def _of_objects(
    prefix: Path, held: Mapping[str, Held], read: Callable[[str], np.ndarray], moving_averages: bool
) -> Checkpoint:
    if held[object_graph.GRAPH] != Held((), "string"):
        raise InputError(f"checkpoint {shown_path(prefix)} is damaged: its object graph is no text.")
    try:
        named = object_graph.named(held, read(object_graph.GRAPH).item())
    except DamagedError as error:
        raise InputError(f"checkpoint {shown_path(prefix)} is damaged: {error}.") from error
    keys = {name: key for key, (name, _) in named.items()}
    entries = dict(named.values())
    return Checkpoint(prefix, entries, lambda name: read(keys[name]), moving_averages=moving_averages)


# What the reader's own error translation makes of some statuses; IndexError is "Read less bytes than requested".
_RAISED = (IndexError, ValueError, RuntimeError)


def _tensor(reader: Any, prefix: Path, name: str, dtype: tf.DType) -> np.ndarray:
    try:
        try:
            value = reader.get_tensor(name)
            # NumPy's own texts of bytes lose the zeros that they end in.
            return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)
        except tf.errors.UnimplementedError:
            # Of the V1 format the reader takes neither partitioned variables nor every dtype (TensorFlow 2.16 to 2.21);
            # the operation that a Saver restores with does.
            with tf.init_scope(), tf.device("CPU"):
                return np.asarray(tf.raw_ops.Restore(file_pattern=str(prefix), tensor_name=name, dt=dtype))
    except (tf.errors.OpError, *_RAISED) as error:
        raise InputError(
            f"checkpoint {prefix} is damaged or cut short: {name!r} cannot be read ({_said(error)})."
        ) from error


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(": perhaps your file")[0].rstrip(".")
