"""A file of Keras as the `build()` of a Keras 2 model, by the Keras 2 that is installed where the file is recorded.

What is in the file was judged before: nothing in it but parts of Keras that compute. Checked on TensorFlow 1.15.5 and
2.10.1.
"""

import importlib
from typing import Any

import tensorflow as tf

from ..ground.failures import RecordingError


def load(path: str) -> Any:
    """Loads a model, not compiled.

    Args:
        path: The file, `.h5` or `.keras`.

    Raises:
        RecordingError: This Keras cannot load it.
    """
    try:
        keras = importlib.import_module("tf_keras")
    except ImportError:
        keras = tf.keras
    try:
        return keras.models.load_model(path, compile=False)
    except (TypeError, ValueError, KeyError, OSError, AttributeError, RuntimeError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RecordingError(
            "TensorFlow %s in the environment of its own cannot load the file; name the one that wrote it in "
            "requirements: %s" % (tf.__version__, first[:300])
        )
