"""Streaming metrics of a side: what is asked of them, and objects and functions of an eager framework as such."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lockstep.ground.failures import RecordingError
from lockstep.ground.streaming import Batch, Course, Seen, leaves, rebuilt

Streamed = Callable[[Sequence[Course]], "list[Seen] | None"]
"""Has the metrics of a side go through courses; None where it turns out to have none."""

_RESETS = ("reset_state", "reset_states", "reset")
_READS = ("result", "compute")


@dataclass(frozen=True)
class Roles:
    """Which output and which inputs a metric object is updated with.

    Attributes:
        predictions: The path of the output; None where there are several and nobody said which.
        labels: The name of the input that holds the labels; None where nobody said it.
        weights: That of sample weights; None without.
    """

    predictions: str | None = None
    labels: str | None = None
    weights: str | None = None

    def predictions_of(self, batch: Batch) -> np.ndarray:
        """Returns a batch's predictions.

        Raises:
            RecordingError: There are several outputs, and nobody said which they are.
        """
        if self.predictions is None:
            known = ", ".join(batch.outputs)
            raise RecordingError(
                f"which of the outputs {known} the metrics are computed from is not known; say it, as in "
                f'[metrics] predictions = "{next(iter(batch.outputs))}".'
            )
        return batch.outputs[self.predictions]

    def labels_of(self, batch: Batch) -> np.ndarray:
        """Returns a batch's labels.

        Raises:
            RecordingError: Nobody said which input they are.
        """
        if self.labels is None:
            raise RecordingError(
                'which input holds the labels is not known; say it, as in [metrics] labels = "label", or give a '
                "function metrics(outputs, batch)."
            )
        return batch.inputs[self.labels]


@dataclass(frozen=True)
class Eager:
    """Functions and objects of an eager framework.

    Attributes:
        roles: What objects are updated with.
        tensor: Array -> the framework's tensor.
        array: The framework's tensor, or a number -> array.
    """

    roles: Roles
    tensor: Callable[[np.ndarray], Any]
    array: Callable[[Any], np.ndarray]

    def run(self, function: Callable[..., Any], courses: Sequence[Course]) -> list[Seen]:
        """Has what a user's function makes, or computes, go through courses.

        A function without arguments makes metric objects; `function(outputs, batch)` returns numbers, and is given all
        batches since the reset as one.

        Raises:
            RecordingError: It is neither, or what it returns is no metric.
        """
        if _arguments(function) == 0:
            return self._objects(function, courses)
        return [
            Seen(
                [self._computed(function, course.batches[: count + 1]) for count in range(len(course.batches))],
                [{} for _ in course.batches],
                [self._computed(function, [batch]) for batch in course.batches],
            )
            for course in courses
        ]

    def _computed(self, function: Callable[..., Any], batches: Sequence[Batch]) -> dict[str, np.ndarray]:
        outputs, batch = self.given(joined(batches))
        return self._values("metric", function(outputs, batch))

    def given(self, batch: Batch) -> tuple[Any, Any]:
        """Returns outputs and inputs as a user's function is given them."""
        outputs = rebuilt({path: self.tensor(value) for path, value in batch.outputs.items()})
        inputs = {name: self.tensor(value) for name, value in batch.inputs.items()}
        return outputs, inputs[""] if list(inputs) == [""] else inputs

    def _values(self, name: str, returned: Any) -> dict[str, np.ndarray]:
        named = returned.items() if isinstance(returned, Mapping) else [(name, returned)]
        found = {key: self.array(leaf) for top, value in named for key, leaf in leaves(str(top), value)}
        wrong = [key for key, value in found.items() if value.dtype.kind not in "biuf"]
        if wrong or not found:
            what = f"{found[wrong[0]].dtype} for {wrong[0]}" if wrong else "nothing"
            raise RecordingError(f"the metrics function returned {what}; it must return numbers.")
        return found

    def _objects(self, make: Callable[[], Any], courses: Sequence[Course]) -> list[Seen]:
        made = self._made(make())
        seen = []
        for course in courses:
            made = self._reset(made, make)
            after, states, alone = [], [], []
            for batch in course.batches:
                self._update(made, batch)
                after.append(self._read(made))
                states.append(self._states(made))
            for batch in course.batches:
                made = self._reset(made, make)
                self._update(made, batch)
                alone.append(self._read(made))
            seen.append(Seen(after, states, alone))
        return seen

    def _made(self, returned: Any) -> dict[str, Any]:
        if isinstance(returned, Mapping):
            made = {str(name): metric for name, metric in returned.items()}
        elif isinstance(returned, (list, tuple)):
            made = {_name(metric): metric for metric in returned}
        else:
            made = {_name(returned): returned}
        for name, metric in made.items():
            updates = hasattr(metric, "update_state") or hasattr(metric, "update")
            if not updates or not any(hasattr(metric, key) for key in _READS):
                raise RecordingError(
                    f"the metrics function returned a {type(metric).__name__} for {name}; it must return "
                    "metric objects, with update_state and result as Keras's have, or with update and compute."
                )
        if not made:
            raise RecordingError("the metrics function returned no metric.")
        return made

    def _reset(self, made: dict[str, Any], make: Callable[[], Any]) -> dict[str, Any]:
        """Resets metrics by their own method; those without one are made anew."""
        resets = {name: next((key for key in _RESETS if hasattr(one, key)), None) for name, one in made.items()}
        if None in resets.values():
            made = self._made(make())
        for name, key in resets.items():
            if key is not None:
                getattr(made[name], key)()
        return made

    def _update(self, made: Mapping[str, Any], batch: Batch) -> None:
        for metric in made.values():
            update = metric.update_state if hasattr(metric, "update_state") else metric.update
            names = list(inspect.signature(update).parameters)[:2]
            if names == ["outputs", "batch"]:
                update(*self.given(batch))
                continue
            predictions = self.tensor(self.roles.predictions_of(batch))
            labels = self.tensor(self.roles.labels_of(batch))
            if not hasattr(metric, "update_state"):
                update(predictions, labels)  # the order of torchmetrics
            elif self.roles.weights is None:
                update(labels, predictions)
            else:
                update(labels, predictions, sample_weight=self.tensor(batch.inputs[self.roles.weights]))

    def _read(self, made: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name, metric in made.items():
            value = getattr(metric, next(key for key in _READS if hasattr(metric, key)))()
            found.update({key: self.array(leaf) for key, leaf in leaves(name, value)})
        return found

    def _states(self, made: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the variables of Keras's metrics."""
        return {
            f"{name}: {str(variable.name).rpartition('/')[2].partition(':')[0]}": self.array(variable)
            for name, metric in made.items()
            for variable in getattr(metric, "variables", None) or ()
            if hasattr(variable, "name")
        }


def joined(batches: Sequence[Batch]) -> Batch:
    """Returns batches as one; what has no rows is that of the first."""

    def together(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(values) if values[0].ndim else values[0]

    first = batches[0]
    return Batch(
        {path: together([batch.outputs[path] for batch in batches]) for path in first.outputs},
        {name: together([batch.inputs[name] for batch in batches]) for name in first.inputs},
    )


def _name(metric: Any) -> str:
    return str(getattr(metric, "name", type(metric).__name__))


def _arguments(function: Callable[..., Any]) -> int:
    """Returns how many arguments a function has to be given."""
    from lockstep.subjects.users_functions import ImportedFunction

    target = function.in_use if isinstance(function, ImportedFunction) else function
    taken = inspect.signature(target).parameters.values()
    return sum(
        one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in taken
    )
