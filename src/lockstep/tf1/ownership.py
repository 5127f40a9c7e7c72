"""How a Keras 3 layer, or a `tf.Module`, comes to own the variables of TF1-style code.

Keras 3 tracks `keras.Variable` only: a raw `tf.Variable` on a layer is trained by nobody and saved by
nobody, without an error. So each variable of a store is wrapped by an `AdoptedVariable`, which shares
its storage, and that is what the layer's `variables`, `trainable_variables` and `losses` see.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from lockstep.common.errors import InputError, LockstepError
from lockstep.common.source_lines import SourceLine, frames, is_users, source_line
from lockstep.tf1 import private, raw_variables

CALL_RECORDS = "_tf1_style_call_records"
"""The attribute of a layer under which `call_records` keeps the calls that made variables."""
LAYERS = "_tf1_style_layers"
"""Attribute of a layer: the names of the sublayers that `get_or_create_layer` made for it."""
_PENDING = "_tf1_style_pending_values"


class UntrackedVariablesError(LockstepError, RuntimeError):
    """Variables that TF1-style code made are missing among the weights of their layer."""


# Keras 3.3 takes nothing but instances of these two classes.
class _TF1Regularizer(keras.regularizers.Regularizer):
    """TF1's regularizers want the variable itself (its dtype as a DType, sometimes its op), not what Keras hands."""

    def __init__(self, loss: Callable[[], tf.Tensor]) -> None:
        self._loss = loss

    def __call__(self, x: Any) -> tf.Tensor:
        del x
        return self._loss()


class _TF1Constraint(keras.constraints.Constraint):
    def __init__(self, constraint: Callable[[tf.Tensor], tf.Tensor]) -> None:
        self._constraint = constraint

    def __call__(self, w: Any) -> tf.Tensor:
        return self._constraint(tf.convert_to_tensor(w))


class AdoptedVariable(keras.Variable):
    """A `keras.Variable` that shares the storage of an existing `tf.Variable`.

    Its `name` is the TF1 name with output number (`scope/weights:0`), as the guide compares it, and its
    `path` the same below the layer's path.
    """

    def __init__(
        self,
        variable: tf.Variable,
        path: str,
        loss: Callable[[], tf.Tensor] | None = None,
        made_late_at: SourceLine | None = None,
    ) -> None:
        self._adopted = variable
        self._made_late_at = made_late_at
        super().__init__(
            initializer=lambda *_, **__: variable.read_value(),
            shape=tuple(variable.shape),
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            name="adopted",
        )
        # In a stateless scope (a symbolic build) Keras has put the initialization off; there is none to do.
        self._value = variable
        self._initializer = None
        private.rename_variable(self, variable.name, path)
        if loss is not None:
            self.regularizer = _TF1Regularizer(loss)
        if variable.constraint is not None:
            self.constraint = _TF1Constraint(variable.constraint)

    # Keras 3.3 copies a `tf.Variable` that it is given; later versions share it. Overriding the three ways
    # in which a value comes about makes all of them share.
    def _initialize(self, value: Any) -> None:
        del value
        self._value = self._adopted

    def _initialize_with_initializer(self, initializer: Any) -> None:
        self._initialize(initializer)

    def _deferred_initialize(self) -> None:
        self._initialize(None)

    # An optimizer that does not know a variable prints it, and nothing else that would help.
    def __repr__(self) -> str:
        text = f"<AdoptedVariable {self.name}, path={self.path}, shape={tuple(self.shape)}, dtype={self.dtype}"
        if self._made_late_at is None:
            return f"{text}>"
        return (
            f"{text}, made at {self._made_late_at}, after the first call of its layer; if it was made after the "
            "optimizer was built, call the layer once on a batch in every mode (training=True and training=False) "
            "before fit, or before optimizer.build>"
        )


def adopt_into_layer(layer: keras.layers.Layer, variable: tf.Variable, loss: Callable[[], tf.Tensor] | None) -> None:
    """Makes `variable` a weight of `layer`, with at most one regularization loss."""
    name = variable.name.removesuffix(":0")
    _give_pending_value(layer, variable)
    # Keras 3.3 layers have no path, and later ones none before they are built.
    path = getattr(layer, "path", None) or layer.name
    late = _users_line() if vars(layer).get(CALL_RECORDS) else None
    adopted = AdoptedVariable(variable, f"{path}/{name}", loss, late)
    private.track_variable(layer, adopted)
    # Keras leaves this to attributes, and these variables are none.
    private.track_for_checkpoints(layer, name, adopted)


def adopt_sublayer(layer: keras.layers.Layer, name: str, sublayer: Any) -> None:
    """Makes a Keras layer that TF1-style code made a sublayer of `layer`, also for Keras's weight files."""
    private.track_layer(layer, name, sublayer)
    if LAYERS not in vars(layer):
        object.__setattr__(layer, LAYERS, [])
    vars(layer)[LAYERS].append(name)
    # Keras saves what it finds among a layer's attributes; in the list of sublayers it does not look.
    object.__setattr__(layer, f"tf1_style_layer:{name.replace('/', '|')}", sublayer)


def pending_of(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns the values loaded for variables that are not made yet, by variable name; to be changed in place."""
    if _PENDING not in vars(layer):
        object.__setattr__(layer, _PENDING, {})
    return vars(layer)[_PENDING]  # type: ignore[no-any-return]


def _give_pending_value(layer: keras.layers.Layer, variable: tf.Variable) -> None:
    pending = vars(layer).get(_PENDING)
    if not pending:
        return
    if variable.name not in pending:
        raise InputError(
            f"Layer {layer.name!r} makes variable {variable.name} {tuple(variable.shape)}, for which the weight file "
            f"loaded before holds no value; it still holds {len(pending)} others, as {next(iter(pending))}. The file "
            "comes from other code than this layer's."
        )
    value = pending.pop(variable.name)
    if tuple(value.shape) != tuple(variable.shape):
        raise InputError(
            f"Layer {layer.name!r} makes variable {variable.name} with the shape {tuple(variable.shape)}; the weight "
            f"file loaded before holds {tuple(value.shape)} for it."
        )
    with tf.init_scope():
        variable.assign(tf.cast(value, variable.dtype))


def _users_line() -> SourceLine | None:
    return next((source_line(f) for f in frames(sys._getframe(1)) if is_users(f)), None)


def adopt_attributes(layer: keras.layers.Layer) -> None:
    """Adopts every raw `tf.Variable` that the attributes of `layer` lead to; see `raw_variables.held`.

    Keras 2 tracked these; Keras 3 ignores them silently. The guide's repaired layer keeps its variables so.
    """
    found = raw_variables.held(layer)
    if not found:
        return
    known = {id(private.raw_variable(v)) for v in private.own_variables(layer)}
    for variable, loss in found:
        if id(variable) not in known:
            known.add(id(variable))
            adopt_into_layer(layer, variable, loss)


def check_owned(layer: keras.layers.Layer, variables: list[tf.Variable]) -> None:
    """Raises unless each of `variables` is among the layer's weights: training them must never fail silently.

    Raises:
        UntrackedVariablesError: A variable is missing among `layer.variables`.
    """
    # The variables that a call made are the last; looking through all after every call that makes one takes its time.
    owned = {id(private.raw_variable(v)) for v in private.own_variables(layer, newest=len(variables))}
    if all(id(v) in owned for v in variables):
        return
    owned = {id(private.raw_variable(v)) for v in layer.variables}
    missing = [v.name for v in variables if id(v) not in owned]
    if missing:
        raise UntrackedVariablesError(
            f"{len(missing)} of {len(variables)} variables made by TF1-style code are not among the weights of layer "
            f"{layer.name!r} (the first: {missing[0]}), so nothing would train or save them. This is a fault of "
            f"lockstep.tf1 with Keras {keras.__version__}; please report it."
        )
