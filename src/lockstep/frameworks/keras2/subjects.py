"""What a user hands to a check: a function that makes a Keras 2 model, wrapped as a subject.

Importing this imports no TensorFlow; making a subject does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockstep.common.errors import InputError
from lockstep.subjects import Described, Subject
from lockstep.subjects.users_functions import name_of


def keras2(build: Callable[[], Any], *, label: str | None = None) -> Subject:
    """Wraps a function that makes a Keras 2 model or layer as a subject that is built in a `tf.Graph`.

    Args:
        build: `build() -> model` of tf_keras; it must make a new one each time.
        label: What reports call it; its module and name by default.
    """
    if not callable(build):
        raise InputError(
            f"lockstep.keras2 expects a function build() that returns a Keras 2 model; it was given a "
            f"{type(build).__name__}."
        )
    from lockstep.frameworks.keras2.graph import Keras2Graph

    return Keras2Graph(build, label or name_of(build))


def prepare(runtime: str) -> None:
    """Has nothing to do before a side's code is imported."""
    del runtime


def of(described: Described) -> Subject:
    """Makes the subject that a configuration describes."""
    return keras2(described.function, label=described.label)
