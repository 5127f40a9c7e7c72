"""What a training loop does in a step: the gradients that it takes, its calls of optimizers and of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lockstep.frameworks.tensorflow.optimizing import configuration_of
from lockstep.recorder.wrapping import wrapped
from lockstep.subjects.loops import Applied, Edit, Taken
from lockstep.tf1 import private

_BESIDES = ("clipnorm", "global_clipnorm", "clipvalue", "weight_decay", "gradient_accumulation_steps", "use_ema")
"""What a Keras optimizer may do besides its rule, by the argument that asks for it."""


@dataclass
class _Applying:
    name: str
    gradients: dict[str, np.ndarray]
    rate: float | None
    left: dict[str, np.ndarray] = field(default_factory=dict)

    def told(self) -> Applied:
        return Applied(self.name, self.gradients, self.rate, self.left)


@dataclass
class _Seen:
    taken: list[Taken] = field(default_factory=list)
    applied: list[_Applying] = field(default_factory=list)
    calls: list[bool | None] = field(default_factory=list)


class Watch:
    """Notes what happens within a step, and makes the changes of an `Edit` on the way.

    Args:
        model: The model that is trained.
        keyed: Its variables, under their keys.
        edit: What is changed.
    """

    def __init__(self, model: Any, keyed: Sequence[tuple[str, Any]], edit: Edit) -> None:
        self._model, self._edit = model, edit
        self._keys = {id(private.raw_variable(variable)): key for key, variable in keyed}
        self._variables = dict(keyed)
        self._seen: _Seen | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Watches what is done inside `step`."""
        optimizers = _owner(keras.optimizers.Optimizer, "apply")
        with ExitStack() as stack:
            stack.enter_context(wrapped(tf.GradientTape, "gradient", self._of_tapes))
            stack.enter_context(wrapped(optimizers, "apply", self._of_optimizers))
            stack.enter_context(wrapped(_owner(type(self._model), "__call__"), "__call__", self._of_calls))
            yield

    @contextmanager
    def step(self) -> Iterator[_Seen]:
        """Notes what one step does."""
        self._seen = _Seen()
        try:
            yield self._seen
        finally:
            self._seen = None

    def _of_tapes(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            found = original(tape, target, sources, *args, **kwargs)
            if self._seen is None:
                return found
            flat, given = tf.nest.flatten(sources), tf.nest.flatten(found)
            keys = [self._key(source) for source in flat]
            if not any(keys):
                return found
            changed, penalty = self._changed(original, flat, keys, given)
            if tf.executing_eagerly():
                total = tf.add_n([tf.reduce_sum(tf.convert_to_tensor(one)) for one in tf.nest.flatten(target)])
                arrays = {key: None if g is None else _dense(g) for key, g in zip(keys, changed, strict=True) if key}
                self._seen.taken.append(
                    Taken(
                        float(total) + float(penalty),
                        {key: array for key, array in arrays.items() if array is not None},
                        tuple(key for key, array in arrays.items() if array is None),
                    )
                )
            return tf.nest.pack_sequence_as(sources, changed)

        return gradient

    def _changed(
        self, gradient_of: Callable[..., Any], sources: Sequence[Any], keys: Sequence[str], gradients: Sequence[Any]
    ) -> tuple[list[Any], Any]:
        """Returns gradients as the edit has them, and what it adds to the loss."""
        divisor = self._edit.divisor
        changed = [g if g is None or divisor == 1.0 else tf.convert_to_tensor(g) / divisor for g in gradients]
        if not self._edit.penalties:
            return changed, 0.0
        with tf.GradientTape() as tape:
            raw = [private.raw_variable(source) for source in sources]
            tape.watch([variable for variable, key in zip(raw, keys, strict=True) if key])
            penalties = [
                variable.regularizer(variable)
                for key, variable in self._variables.items()
                if key in keys and getattr(variable, "regularizer", None) is not None
            ]
            total = tf.add_n([tf.reduce_sum(one) for one in penalties]) if penalties else None
        if total is None:
            return changed, 0.0
        added = gradient_of(tape, total, raw)
        summed = [
            g if more is None else more if g is None else tf.convert_to_tensor(g) + tf.convert_to_tensor(more)
            for g, more in zip(changed, added, strict=True)
        ]
        return summed, total

    def _of_optimizers(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            seen = self._seen
            if seen is None or not tf.executing_eagerly():
                return original(optimizer, grads, trainable_variables)
            gradients = list(grads)
            variables = list(trainable_variables or ())
            pairs = [(self._key(variable), g) for variable, g in zip(variables, gradients, strict=False)]
            rate = getattr(optimizer, "learning_rate", None)
            noted = _Applying(
                _told(optimizer),
                {key: _dense(g) for key, g in pairs if key and g is not None},
                None if rate is None else float(np.asarray(rate)),
            )
            seen.applied.append(noted)
            result = original(optimizer, gradients, trainable_variables)
            noted.left.update({key: np.array(private.raw_variable(v).numpy()) for key, v in self._variables.items()})
            return result

        return apply

    def _of_calls(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if layer is self._model and self._seen is not None:
                said = kwargs.get("training")
                self._seen.calls.append(None if said is None else bool(said))
                if self._edit.training:
                    kwargs["training"] = True
            return original(layer, *args, **kwargs)

        return call

    def _key(self, variable: Any) -> str:
        """Returns the key of a variable of the model; empty of anything else."""
        known = isinstance(variable, tf.Variable) or private.is_keras_variable(variable)
        return self._keys.get(id(private.raw_variable(variable)), "") if known else ""


def _told(optimizer: Any) -> str:
    """Returns an optimizer's class, with what it does besides its rule."""
    configuration = configuration_of(optimizer)
    besides = [f"{name}={configuration[name]}" for name in _BESIDES if configuration.get(name)]
    return f"{type(optimizer).__name__}{'(' + ', '.join(besides) + ')' if besides else ''}"


def _owner(kind: type, name: str) -> type:
    """Returns the class that a method is defined in."""
    return next(each for each in kind.__mro__ if name in vars(each))


def _dense(gradient: Any) -> np.ndarray:
    return np.array(tf.convert_to_tensor(gradient))
