"""What both TensorFlow adapters need: environments, and failures of the user's code told apart from ours."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lockstep.common.errors import LockstepError, ProgramError, SubjectError
from lockstep.common.hints import hint
from lockstep.common.values import said
from lockstep.ground.failures import RecordingError, ending_nothing
from lockstep.ground.records import FLAGS
from lockstep.subjects import Mode


def environment(subject: str) -> Mapping[str, str]:
    """Returns the versions that a subject in this process runs on."""
    import keras
    import tensorflow as tf

    return {
        "subject": subject,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def settings() -> Mapping[str, str]:
    """Returns what else the numbers of a subject in this process depend on."""
    import keras
    import tensorflow as tf

    told = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
        "numpy": np.__version__,
        "float type": keras.config.floatx(),
        "data format": keras.config.image_data_format(),
        "dtype policy": keras.config.dtype_policy().name,
        "TensorFloat-32": "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off",
        "threads in an operation": str(tf.config.threading.get_intra_op_parallelism_threads() or "as many as cores"),
    }
    return {**told, **{name: os.environ[name] for name in FLAGS if name in os.environ}}


@contextlib.contextmanager
def users_code(label: str, doing: str, *, foreign: bool = False) -> Iterator[None]:
    """Turns an exception of the user's code into a `SubjectError` with the original as its cause.

    `sys.exit` and `os._exit` are among them: the user's code has no say in how Lockstep's process ends. What runs a
    `foreign` graph, one that came with a trace, has no code of the user's in its stack; the sentence is all there is.
    """
    try:
        with ending_nothing():
            yield
    except (SubjectError, RecordingError, ProgramError, KeyboardInterrupt):
        raise
    except LockstepError as error:
        # Our own sentence (a guard's, the random tool's) is the message; the stack still is the user's.
        # Keras wraps it as it wraps the user's.
        wrapped = _WRAPPED.search(str(error))
        sentence = wrapped.group(1) if wrapped else str(error)
        raise SubjectError(f"{label} failed while {doing}: {sentence}", side=label, doing=doing) from error
    except BaseException as error:
        kind = type(error).__name__
        advice = hint(said(error), kind)
        raise SubjectError(
            f"{label} failed while {doing}: {kind}: {first_line(error)}{advice}", side=label, doing=doing
        ) from (None if foreign else error)


@contextlib.contextmanager
def with_global_steps(of_model: list[Any]) -> Iterator[None]:
    """Surrounds the user's eager code: the global steps that it finds are those that the same model made before.

    TensorFlow keeps the step in the default graph, which in eager mode is one for the whole process: a model would read
    the step that somebody else's code made, where the original makes its own.
    """
    import tensorflow as tf

    found = tf.compat.v1.get_default_graph().get_collection_ref(tf.compat.v1.GraphKeys.GLOBAL_STEP)
    of_others = list(found)
    found[:] = of_model
    try:
        yield
    finally:
        of_model[:] = found
        found[:] = of_others


def describe(mode: Mode) -> str:
    """`training mode, num_random_ops`."""
    how = ", as a functional model" if mode.functional else ""
    return f"{'training' if mode.training else 'inference'} mode, {mode.randomness}{how}"


# Keras (3.3 to 3.15) wraps the message of an exception that passes through a layer: a headline, the message in bold,
# the arguments. The message alone says what went wrong; the rest is in the traceback.
_WRAPPED = re.compile(r"Exception encountered when calling .*?\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)


# An operation of a graph that fails says why in the line before the one that names it.
_FROM_A_GRAPH = re.compile(r"^(.+)\n\s*\[\[\{\{node ", re.MULTILINE)


def first_line(error: BaseException) -> str:
    """Returns the line of an exception that says what went wrong, without what Keras puts around it."""
    # A KeyError prints its message quoted, with the control characters escaped.
    text = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else said(error)
    told = _WRAPPED.search(text) or _FROM_A_GRAPH.search(text)
    lines = (told.group(1) if told else text).strip().splitlines()
    return lines[0] if lines else "(no message)"
