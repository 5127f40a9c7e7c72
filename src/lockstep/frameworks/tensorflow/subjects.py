"""What a user hands to a check: a function of TF1-style code, or one that makes a Keras model, wrapped as a subject.

Importing this imports no TensorFlow; making a subject does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lockstep.common.errors import InputError
from lockstep.subjects import Subject

Apart = Callable[[Mapping[str, str]], Subject]
"""Makes the same subject for a process of its own that has these environment variables too."""


def tf1_graph(forward: Callable[..., Any], *, label: str | None = None) -> Subject:
    """Wraps a TF1-style function as a subject that is built in a `tf.Graph` and run in a `Session`.

    Args:
        forward: `forward(inputs, training) -> tensor, tuple or dict`; `inputs` is a dict of tensors by name, or one
            tensor where one array is given to `verify`.
        label: What reports call it; its module and name by default.
    """
    _require_callable(forward, "tf1_graph", "a function forward(inputs, training)")
    from lockstep.frameworks.tensorflow.tf1_graph import TF1Graph

    return TF1Graph(forward, label or _name_of(forward))


def keras(build: Callable[[], Any], *, label: str | None = None, inputs_as: Mapping[str, str] | None = None) -> Subject:
    """Wraps a function that makes a Keras layer or model (or a callable `tf.Module`) as a subject, run eagerly.

    Args:
        build: `build() -> layer or model`, called as `model(inputs, training=...)`; it must make a new one each time.
        label: What reports call it; its module and name by default.
        inputs_as: Input -> how the model is given it: `"0"`, `"1"` for a position, or the name of a keyword or of an
            input of the model; by default that is found out.
    """
    _require_callable(build, "keras", "a function build() that returns a layer or model")
    from lockstep.frameworks.tensorflow.keras_eager import KerasEager

    return KerasEager(build, label or _name_of(build), inputs_as or {})


def named(
    runtime: str, function: Callable[..., Any], label: str, apart: Apart, inputs_as: Mapping[str, str] | None = None
) -> Subject:
    """Makes the subject that a configuration describes.

    Args:
        runtime: `"tf1"` or `"keras"`.
        function: The function that its entry names.
        label: What reports call it.
        apart: Makes it for a process of its own.
        inputs_as: As of `keras`.
    """
    if runtime == "tf1":
        return tf1_graph(function, label=label)
    from lockstep.frameworks.tensorflow.keras_eager import KerasEager

    return KerasEager(function, label, inputs_as or {}, apart)


def _require_callable(value: object, wrapper: str, expected: str) -> None:
    if not callable(value):
        raise InputError(f"lockstep.{wrapper} expects {expected}; it was given a {type(value).__name__}.")


def _name_of(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{name}" if module else name
