"""Streaming metrics of this process: `tf.metrics` in a graph, Keras's objects, and what a model is compiled with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import running
from lockstep.ground.failures import RecordingError
from lockstep.ground.streaming import Batch, Course, Seen
from lockstep.recorder import originals
from lockstep.recorder import streaming as in_graphs
from lockstep.subjects.streaming import Eager, Roles, Streamed
from lockstep.subjects.users_functions import for_a_build

_DOING = "computing its metrics"
_LOSS = "loss"
"""What Keras's models call the mean of their loss beside their metrics."""


@contextlib.contextmanager
def _refused(label: str) -> Iterator[None]:
    """Says whose metrics are none."""
    try:
        yield
    except RecordingError as error:
        raise InputError(f"{label}: {error}") from error


def in_a_graph(make: Callable[..., Any], label: str) -> Streamed:
    """Returns a user's `metrics(outputs, batch)` of TF1 code.

    Args:
        make: The function, which returns pairs of a value and its update operation.
        label: What messages call the side.
    """

    def run(courses: Sequence[Course]) -> list[Seen]:
        from lockstep import tf1
        from lockstep.tf1.graph_likeness import tf1_code

        tf1.enable()
        with _refused(label), running.users_code(label, _DOING), tf1_code():
            return in_graphs.of_function(make, list(courses))

    return run


def of_an_estimator(
    function: Callable[..., Any], description: Mapping[str, Any], inputs: Arrays, label: str
) -> Streamed:
    """Returns the `eval_metric_ops` of a `model_fn`.

    Args:
        function: The `model_fn`.
        description: What `recorder.originals.adapted` is given.
        inputs: What the side was built for.
        label: What messages call it.
    """

    def run(courses: Sequence[Course]) -> list[Seen] | None:
        from lockstep import tf1
        from lockstep.tf1.graph_likeness import tf1_code

        tf1.enable()
        used = for_a_build(function)
        with _refused(label), used.active(), running.users_code(label, _DOING), tf1_code():
            original: Any = originals.adapted(used.function, description)
            found: list[Seen] | None = original.evaluated(inputs, list(courses))
            return found

    return run


def eager(make: Callable[..., Any], roles: Roles, label: str) -> Streamed:
    """Returns a user's metrics: Keras's objects, or a function of outputs and batch."""
    side = Eager(roles, tf.convert_to_tensor, np.asarray)

    def run(courses: Sequence[Course]) -> list[Seen]:
        with _refused(label), running.users_code(label, _DOING):
            return side.run(make, courses)

    return run


def compiled(model: Any, roles: Roles, label: str) -> Streamed | None:
    """Returns the metrics that a Keras model is compiled with; None of a model without any."""
    if not getattr(model, "compiled", False) or len(getattr(model, "metrics", ())) < 2:
        return None
    side = Eager(roles, tf.convert_to_tensor, np.asarray)

    def updated(batch: Batch) -> dict[str, np.ndarray]:
        outputs, _ = side.given(batch)
        labels = tf.convert_to_tensor(roles.labels_of(batch))
        given: Any = dict.fromkeys(outputs, labels) if isinstance(outputs, Mapping) else labels
        weights = None if roles.weights is None else tf.convert_to_tensor(batch.inputs[roles.weights])
        found = model.compute_metrics(None, given, outputs, weights)
        return {name: np.asarray(value) for name, value in found.items() if name != _LOSS}

    def states() -> dict[str, np.ndarray]:
        held = [(metric, variable) for metric in model.metrics for variable in metric.variables]
        paths = [str(variable.path) for _, variable in held]
        return {
            f"{path.partition('/')[0]}: {path.rpartition('/')[2]}": np.asarray(variable)
            for path, (_, variable) in zip(paths, held, strict=True)
            if path.partition("/")[0] != _LOSS
        }

    def run(courses: Sequence[Course]) -> list[Seen]:
        seen = []
        with _refused(label), running.users_code(label, _DOING):
            for course in courses:
                model.reset_metrics()
                after, held, alone = [], [], []
                for batch in course.batches:
                    after.append(updated(batch))
                    held.append(states())
                for batch in course.batches:
                    model.reset_metrics()
                    alone.append(updated(batch))
                seen.append(Seen(after, held, alone))
        return seen

    return run
