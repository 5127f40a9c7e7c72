"""TF1 code as a candidate: a Keras layer whose call is the code, through the shim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def migrated(forward: Callable[[Any, bool], Any]) -> Any:
    """Returns the candidate whose every build is a new Keras layer around the same code."""
    import keras

    import lockstep
    from lockstep import tf1

    class Migrated(keras.layers.Layer):
        """TF1 code that has been given variables of its own, and nothing else."""

        def __init__(self) -> None:
            # Keras would cast inputs to its own float32 otherwise, and TF1 code decides for itself.
            super().__init__(name="migrated", autocast=False)

        @tf1.track_tf1_style_variables
        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return forward(inputs, bool(training))

    return lockstep.keras(Migrated)
