"""Weights that a model's maker loads or sets: noticed while the model is made."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lockstep.ground.structure import same_bits


class Loads:
    """The files that were loaded while `noting`, each with how many weights it changed."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str, int, int]] = []

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Watches `load_weights` of every Keras model in the meantime."""
        before = keras.Model.load_weights

        @functools.wraps(before)
        def noted(model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
            held = [np.array(weight) for weight in model.weights]
            done = before(model, filepath, *args, **kwargs)
            now = [np.array(weight) for weight in model.weights]
            moved = sum(not same_bits(one, other) for one, other in zip(held, now, strict=False))
            how = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
            self._seen.append((Path(str(filepath)).name, how, moved, len(now)))
            return done

        keras.Model.load_weights = noted
        try:
            yield
        finally:
            keras.Model.load_weights = before

    def told(self) -> tuple[str, ...]:
        """Returns a sentence for each file that changed nothing."""
        return tuple(
            f"build() calls load_weights({name!r}{', ' + how if how else ''}), which changed none of {count:,} "
            "variables: nothing was loaded, and what the model starts from is not what is in the file"
            for name, how, moved, count in self._seen
            if count and not moved
        )
