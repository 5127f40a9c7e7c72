"""Originals and their faithful rewrites: TF1 functions through the shim, or native Keras models.

All of them take the dtype that Keras works in, so that one test can run every pair in float64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from benchmarks.soundness.lazily import keras, lockstep, tf
from benchmarks.soundness.migrated import migrated

Arrays = Mapping[str, npt.NDArray[Any]]
Body = Callable[..., Any]


@dataclass(frozen=True)
class Original:
    """What is rewritten: `body(x, y, ..., training)`, the parameters called as the inputs.

    Attributes:
        body: The function.
        inputs: Name -> array.
        precision: What its rewrites can be proved in: `"float32"` where TensorFlow has no kernel for more.
    """

    body: Body
    inputs: Arrays
    precision: str = "float64"

    def subject(self) -> Any:
        """The reference."""
        return lockstep.tf1_graph(_forward(self.body), label=self.body.__name__)


@dataclass(frozen=True)
class Pair:
    """An original and one rewrite of it.

    Attributes:
        name: The original's name and the rewrite's.
        original: The original.
        rewrite: A TF1 function with the same parameters, or one that puts a Keras model together from its inputs.
        native: Whether it is a Keras model.
        options: Keyword arguments of `lockstep.verify`: `rename`, `transforms`, `parts`.
        reason: Why `undecided` is the right answer; empty where `equivalent` is.
    """

    name: str
    original: Original
    rewrite: Body
    native: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def candidate(self) -> Any:
        """The candidate's subject."""
        return lockstep.keras(self._model) if self.native else migrated(_forward(self.rewrite))

    def _model(self) -> Any:
        symbolic = {
            name: keras.Input(batch_shape=array.shape, dtype=_symbolic_dtype(array), name=name)
            for name, array in self.original.inputs.items()
        }
        return keras.Model(symbolic, self.rewrite(**symbolic), name="net")


class Topic:
    """Pairs of one topic."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._originals: dict[str, Original] = {}
        self._pairs: dict[str, Pair] = {}

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def original(self, *, precision: str = "float64", **inputs: npt.NDArray[Any]) -> Callable[[Body], Body]:
        """Registers an original for these inputs."""

        def register(body: Body) -> Body:
            self._originals[body.__name__] = Original(body, inputs, precision)
            return body

        return register

    def rewrite(self, of: Body, *, native: bool = False, reason: str = "", **options: Any) -> Callable[[Body], Body]:
        """Registers a TF1 function that computes what an original computes."""

        def register(body: Body) -> Body:
            name = f"{of.__name__}/{body.__name__}"
            if name in self._pairs:
                raise ValueError(f"{self.title} has two pairs called {name}")
            self._pairs[name] = Pair(name, self._originals[of.__name__], body, native, options, reason)
            return body

        return register

    def native(self, of: Body, *, reason: str = "", **options: Any) -> Callable[[Body], Body]:
        """Registers a function that puts together the Keras model which computes what an original computes."""
        return self.rewrite(of, native=True, reason=reason, **options)


def variable(name: str, *shape: int, initializer: Any = None, trainable: bool = True) -> Any:
    """Makes a TF1 variable of the dtype that Keras works in."""
    return tf.get_variable(name, list(shape), keras.config.floatx(), initializer, trainable=trainable)


def zeros(*shape: int) -> Any:
    """Zeros of the dtype that Keras works in."""
    return tf.zeros(list(shape), keras.config.floatx())


def number(value: Any) -> Any:
    """A constant of the dtype that Keras works in."""
    return tf.constant(np.asarray(value), keras.config.floatx())


def as_number(value: Any) -> Any:
    """A tensor cast to the dtype that Keras works in."""
    return tf.cast(value, keras.config.floatx())


def later(update: Any) -> None:
    """Has an assignment done with the training step, as TF1 does."""
    if not tf.executing_eagerly():
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def _symbolic_dtype(array: npt.NDArray[Any]) -> str | None:
    return None if array.dtype.kind == "f" else array.dtype.name


def _forward(body: Body) -> Callable[[Mapping[str, Any], bool], Any]:
    wants_training = "training" in inspect.signature(body).parameters

    def forward(inputs: Mapping[str, Any], training: bool) -> Any:
        return body(**inputs, **({"training": training} if wants_training else {}))

    return forward
