"""A Keras model's own training loop: `fit`, `train_on_batch`, or a function of the user's, run step by step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.frameworks.tensorflow import running
from lockstep.frameworks.tensorflow.loop_watching import Watch
from lockstep.subjects.loops import LoopStep, Ways
from lockstep.subjects.users_functions import ImportedFunction, name_of
from lockstep.traces.trace import VariableRecord

if TYPE_CHECKING:
    from lockstep.frameworks.tensorflow.keras_eager import EagerInstance

KERAS_LOOPS = ("fit", "train_on_batch")
"""The loops that Keras has for a compiled model."""


@dataclass(frozen=True)
class Loop:
    """What a subject says of its training loop.

    Attributes:
        step: `"fit"`, `"train_on_batch"`, or a function `train_step(model, batch)`, or one of the model alone that
            returns `step(batch)`.
    """

    step: str | Callable[..., Any]

    @property
    def label(self) -> str:
        """What reports call it."""
        if isinstance(self.step, str):
            return f"model.{self.step}"
        return self.step.entry if isinstance(self.step, ImportedFunction) else name_of(self.step)


class KerasLoop:
    """See `subjects.loops.OwnLoop`.

    Args:
        again: Makes the model anew, in training mode.
        loop: What the subject says of its loop.
        labels: The inputs that are labels: `y` of Keras's loops.
    """

    def __init__(self, again: Callable[[], EagerInstance], loop: Loop, labels: Sequence[str] = ()) -> None:
        self._again, self._loop, self._labels = again, loop, labels
        self.label = loop.label
        self._variables: tuple[VariableRecord, ...] = ()

    @property
    def variables(self) -> tuple[VariableRecord, ...]:
        """The variables of the model that was trained last."""
        return self._variables

    def train(self, starts: Sequence[Mapping[str, np.ndarray] | None], ways: Ways) -> list[LoopStep]:
        """Makes a new model and runs one step after the other."""
        instance = self._again()
        try:
            with instance.all_steps(traced=ways.traced):
                self._variables = instance.variables
                steps = _Steps(instance, starts, ways)
                with steps.watch.active():
                    self._run(instance, steps)
                return steps.done
        finally:
            instance.close()

    def _run(self, instance: EagerInstance, steps: _Steps) -> None:
        if self._loop.step == "fit":
            self._fit(instance, steps)
            return
        step = self._step_of(instance)
        for number in range(steps.count):
            with (
                running.users_code(self.label, f"running training step {number + 1}"),
                steps.surrounding(number) as told,
            ):
                told(step(instance.batch))

    def _step_of(self, instance: EagerInstance) -> Callable[[Any], Any]:
        """Returns what does one step with a batch."""
        if self._loop.step == "train_on_batch":
            model, (x, y) = _compiled(instance, self.label), self._data(instance)
            return lambda _: model.train_on_batch(x, y, return_dict=True)
        assert callable(self._loop.step)
        function = self._loop.step
        taken = _positions(function.in_use if isinstance(function, ImportedFunction) else function)
        if taken == 2:
            return lambda batch: function(instance.layer, batch)
        if taken != 1:
            raise InputError(
                f"{self.label} takes {taken} arguments; it must be train_step(model, batch), which does one training "
                "step, or make(model), which returns step(batch)."
            )
        with running.users_code(self.label, "making its training step"):
            made = function(instance.layer)
        if not callable(made):
            raise InputError(
                f"{self.label} takes the model alone and returned {_kind(made)}; it must return a function step(batch)."
            )
        step: Callable[[Any], Any] = made
        return step

    def _fit(self, instance: EagerInstance, steps: _Steps) -> None:
        model = _compiled(instance, self.label)
        data = tf.data.Dataset.from_tensors(self._data(instance)).repeat(steps.count)
        with running.users_code(self.label, "training"):
            model.fit(data, epochs=1, shuffle=False, verbose=0, callbacks=[_StepByStep(steps)])

    def _data(self, instance: EagerInstance) -> tuple[Any, Any]:
        """Returns `x` and `y` as Keras's loops take them."""
        positional, named = instance.arguments()
        if named or len(positional) != 1:
            raise InputError(
                f"the model is called with {instance.called}, which {self.label} cannot do; name a function "
                "train_step(model, batch) that trains it."
            )
        labels = [instance.batch[name] for name in self._labels]
        if not labels:
            raise InputError(
                f'train_step is "{self._loop.step}", and nothing says which inputs are labels; add labels = ["y"] to '
                "the candidate's table (labels=... in Python)."
            )
        return positional[0], labels[0] if len(labels) == 1 else dict(zip(self._labels, labels, strict=True))


class _Steps:
    """What is done around each step of a loop, and what it was seen to do.

    Attributes:
        count: How many steps there are.
        done: The steps so far.
        watch: What notes what the loop does.
    """

    def __init__(self, instance: EagerInstance, starts: Sequence[Mapping[str, np.ndarray] | None], ways: Ways) -> None:
        self._instance, self._starts, self._draws = instance, starts, ways.draws
        self.count = len(starts)
        self.done: list[LoopStep] = []
        self.watch = Watch(instance.layer, instance.keyed(), ways.edit)

    @contextmanager
    def surrounding(self, number: int) -> Iterator[Callable[[Any], None]]:
        """Surrounds one step; gives a function that is told what it returned."""
        returned: list[float | None] = [None]

        def told(value: Any) -> None:
            returned[0] = _loss_in(value)

        instance, start = self._instance, self._starts[number]
        if start is not None:
            instance.assign(start)
        before = instance.values()
        with instance.one_step(self._draws) as (tool, expected), self.watch.step() as seen:
            yield told
        self.done.append(
            LoopStep(
                before,
                instance.values(),
                returned[0],
                tuple(seen.taken),
                tuple(one.told() for one in seen.applied),
                tuple(seen.calls),
                len(tool.taken),
                expected,
            )
        )


class _StepByStep(keras.callbacks.Callback):  # type: ignore[misc]
    """Surrounds each step that `fit` makes."""

    def __init__(self, steps: _Steps) -> None:
        super().__init__()
        self._steps = steps
        self._stack = ExitStack()
        self._told: Callable[[Any], None] = lambda _: None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins a step."""
        del logs
        self._told = self._stack.enter_context(self._steps.surrounding(batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends it."""
        del batch, logs  # Keras's loss is the mean of the epoch so far
        self._stack.close()


def _compiled(instance: EagerInstance, label: str) -> Any:
    model = instance.layer
    if not isinstance(model, keras.Model) or not getattr(model, "compiled", False):
        raise InputError(
            f"{label} needs a compiled keras.Model, and build() returned {_kind(model)}"
            f"{' that is not compiled' if isinstance(model, keras.Model) else ''}; compile it in build()."
        )
    return model


def _positions(function: Callable[..., Any]) -> int:
    """Returns how many arguments a function has to be given."""
    parameters = inspect.signature(function).parameters.values()
    by_place = (p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return sum(1 for p in by_place if p.default is p.empty)


def _loss_in(returned: Any) -> float | None:
    """Returns the loss in what a step returned: a number, the first of several, or the entry `loss`."""
    if isinstance(returned, Mapping):
        returned = returned.get("loss")
    while isinstance(returned, (list, tuple)) and returned:
        returned = returned[0]
    if returned is None or isinstance(returned, (str, bytes)):
        return None
    try:
        array = np.asarray(returned)
    except (TypeError, ValueError):
        return None
    return float(array) if array.ndim == 0 and array.dtype.kind in "fiu" else None


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
