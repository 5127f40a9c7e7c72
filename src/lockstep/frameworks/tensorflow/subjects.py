"""What a user hands to a check: a function of TF1-style code, or one that makes a Keras model, wrapped as a subject.

Importing this imports no TensorFlow; making a subject does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.subjects import Described, Subject
from lockstep.subjects.users_functions import name_of

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

    return TF1Graph(forward, label or name_of(forward))


def keras(
    build: Callable[[], Any],
    *,
    label: str | None = None,
    inputs_as: Mapping[str, str] | None = None,
    train_step: str | Callable[..., Any] | None = None,
    labels: Sequence[str] = (),
) -> Subject:
    """Wraps a function that makes a Keras layer or model (or a callable `tf.Module`) as a subject, run eagerly.

    Args:
        build: `build() -> layer or model`, called as `model(inputs, training=...)`; it must make a new one each time.
        label: What reports call it; its module and name by default.
        inputs_as: Input -> how the model is given it: `"0"`, `"1"` for a position, or the name of a keyword or of an
            input of the model; by default that is found out.
        train_step: The training loop that it has: `train_step(model, batch)`, which does one training step; a function
            of the model alone that returns `step(batch)`; `"fit"` or `"train_on_batch"` of a compiled model.
        labels: The inputs that are labels, which the model is not given: `y` of Keras's loops.
    """
    _require_callable(build, "keras", "a function build() that returns a layer or model")
    return _keras(build, label or name_of(build), inputs_as or {}, None, (train_step, tuple(labels)))


def _keras(
    build: Callable[[], Any],
    label: str,
    inputs_as: Mapping[str, str],
    apart: Apart | None,
    trained: tuple[str | Callable[..., Any] | None, tuple[str, ...]],
) -> Subject:
    from lockstep.frameworks.tensorflow.keras_eager import KerasEager, Said
    from lockstep.frameworks.tensorflow.own_loop import KERAS_LOOPS, Loop

    step, labels = trained
    if step is not None and not callable(step) and step not in KERAS_LOOPS:
        raise InputError(
            f'train_step is {shown(step)}; it must be a function train_step(model, batch), "fit" or "train_on_batch".'
        )
    return KerasEager(build, label, Said(inputs_as, labels, None if step is None else Loop(step)), apart)


def prepare(runtime: str) -> None:
    """Does what has to be done before a side's code is imported: `tf.estimator`, where TensorFlow has none."""
    if runtime == "estimator":
        from lockstep.recorder import estimator_stand_in

        estimator_stand_in.install()


def of(described: Described) -> Subject:
    """Makes the subject that a configuration describes: of TF1 code, or a model of Keras 3."""
    if described.runtime != "keras":
        from lockstep.frameworks.tensorflow.tf1_graph import TF1Graph

        told = described.original
        own = told.own_loss, told.own_optimizer
        return TF1Graph(described.function, described.label, told.description, own)
    trained = described.train_step, described.labels
    return _keras(described.function, described.label, described.inputs_as, described.apart, trained)


def _require_callable(value: object, wrapper: str, expected: str) -> None:
    if not callable(value):
        raise InputError(f"lockstep.{wrapper} expects {expected}; it was given a {type(value).__name__}.")
