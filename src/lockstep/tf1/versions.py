"""Tells in a sentence, before anything else is imported, that the shim cannot run on this TensorFlow or Keras."""

from __future__ import annotations

import importlib.metadata
import os
import re

from lockstep.errors import UnsupportedVersionError

OLDEST_TENSORFLOW = (2, 16)
OLDEST_KERAS = (3, 3)
_TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly")
_ADVICE = "Supported are TensorFlow 2.16 to 2.21 with Keras 3.3 to 3.15: pip install 'lockstep[tensorflow]'"


def check() -> None:
    """Looks at what is installed, without importing it.

    Raises:
        UnsupportedVersionError: (an ImportError) TensorFlow or Keras is missing or too old, or Keras runs on another
            backend than TensorFlow.
    """
    tensorflow = _first_version(_TENSORFLOWS)
    # A build under another name (a vendor's, say) is left to the private names' own checks.
    if tensorflow is not None and _numbers(tensorflow) < OLDEST_TENSORFLOW:
        raise UnsupportedVersionError(
            f"lockstep.tf1 needs TensorFlow 2.16 or later, and found {tensorflow}. {_ADVICE}. "
            "(Older TensorFlow has the tools of the guide itself, with its own Keras.)"
        )
    keras_version = _first_version(("keras", "keras-nightly"))
    if keras_version is None:
        raise UnsupportedVersionError(f"lockstep.tf1 needs Keras 3.3 or later, and found none. {_ADVICE}.")
    if _numbers(keras_version) < OLDEST_KERAS:
        raise UnsupportedVersionError(
            f"lockstep.tf1 needs Keras 3.3 or later, and found {keras_version}. {_ADVICE}. "
            "(tf_keras, which is Keras 2, may be installed beside it.)"
        )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UnsupportedVersionError(
            f"TF1-style code needs Keras on TensorFlow, and KERAS_BACKEND is {backend!r}. "
            "Set KERAS_BACKEND=tensorflow, or unset it, before Keras is imported."
        )


def _first_version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the first two numbers of a version.

    >>> _numbers("2.16.2"), _numbers("3.4.0rc1"), _numbers("2.21.0-dev20260101")
    ((2, 16), (3, 4), (2, 21))
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
