"""The variables of a layer: made by `tf.compat.v1.get_variable`, owned by the layer."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import identifiers, keras_style
from lockstep.tf1.layers.losses import LossesAndUpdates
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.store import active_store

_v1 = tf.compat.v1
_ON_READ = tf.VariableSynchronization.ON_READ


class Weights(LossesAndUpdates):
    """Variables, trainable or not."""

    built: bool
    _dtype: str | None
    _unscoped: bool
    _trainable_weights: list[Any]
    _non_trainable_weights: list[Any]
    _weight_names: dict[str, Any]

    @property
    def dtype(self) -> str | None:
        """The name of the weights' dtype; None before the first call unless it was given."""
        return self._dtype

    @property
    def trainable_weights(self) -> list[Any]:
        """The trainable variables, in the order in which they were made."""
        return list(self._trainable_weights) if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The other variables; all of them if the layer is not trainable."""
        if self.trainable:
            return list(self._non_trainable_weights)
        return self._trainable_weights + self._non_trainable_weights

    @property
    def weights(self) -> list[Any]:
        """All variables, the trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def count_params(self) -> int:
        """Returns the number of scalars in all variables.

        Raises:
            InputError: the layer has no variables yet.
        """
        if not self.built:
            raise InputError(
                f"You tried to call `count_params` on {self.name}, but the layer isn't built. "
                f"Call it on an input, or build it with `{self.name}.build(batch_input_shape)`."
            )
        return sum(int(np.prod(weight.shape.as_list())) for weight in self.weights)

    def add_weight(  # noqa: PLR0913, PLR0917 - the signature is TF 1.15's
        self,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        use_resource: bool | None = None,
        synchronization: Any = tf.VariableSynchronization.AUTO,
        aggregation: Any = tf.VariableAggregation.NONE,
        partitioner: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Makes a variable in the layer's scope, or finds it there, and adds it to the layer's weights.

        Args:
            name: the variable's name within the scope.
            shape: its shape; None is a scalar.
            dtype: its dtype; None is the layer's, or float32.
            initializer: None is the scope's, or Glorot uniform for floats and zeros for integers.
            regularizer: function of the variable that gives its loss, or None.
            trainable: None is True unless `synchronization` is ON_READ; False if the layer is not trainable.
            constraint: projection for optimizers, or None.
            use_resource: as in `tf.compat.v1.get_variable`.
            synchronization: as in `tf.compat.v1.get_variable`.
            aggregation: as in `tf.compat.v1.get_variable`.
            partitioner: splits the variable; graph only.
            **kwargs: `experimental_autocast` is accepted and has no effect.

        Returns:
            The variable, or a `PartitionedVariable`.

        Raises:
            InputError: `trainable` contradicts `synchronization`, or a dtype without a default has no initializer.
        """
        if kwargs.keys() - {"experimental_autocast"}:
            raise TypeError(f"add_weight does not take the arguments {sorted(kwargs)}.")
        if synchronization == _ON_READ and trainable:
            raise InputError(
                "Synchronization value can be set to VariableSynchronization.ON_READ only for non-trainable "
                f"variables, but variable {name} of layer {self.name} was given trainable=True."
            )
        if self._unscoped:
            return self._add_own_weight(
                name, shape, dtype, initializer, regularizer, trainable, constraint, use_resource
            )
        self._set_scope()
        if _v1.get_variable_scope() is not self._current_scope:
            with self._entered(self.built or self._reuse):
                return self.add_weight(
                    name, shape, dtype, initializer, regularizer, trainable, constraint, use_resource,
                    synchronization, aggregation, partitioner,
                )  # fmt: skip
        scope = self._current_scope
        dtype = tf.as_dtype(dtype or self._dtype or tf.float32)
        if self._dtype is None:
            self._dtype = dtype.base_dtype.name
        trainable = (synchronization != _ON_READ if trainable is None else trainable) and self.trainable
        in_graph = not _v1.executing_eagerly_outside_functions()
        regularizer = identifiers.regularizer(regularizer)
        # The store in use computes the loss of a regularized weight, as no collection outlives an eager call.
        store_regularizes = not in_graph and active_store() is not None
        known = _variables_of_graph() if regularizer is not None and in_graph else []
        variable = _v1.get_variable(
            name,
            shape=() if shape is None else shape,
            dtype=dtype,
            initializer=self._initializer(name, dtype, initializer or scope.initializer),
            regularizer=_with_scope_regularizer(regularizer, scope) if store_regularizes else None,
            trainable=trainable,
            partitioner=partitioner,
            use_resource=use_resource or scope.use_resource,
            constraint=identifiers.constraint(constraint),
            synchronization=synchronization,
            aggregation=aggregation,
        )
        self._adopt(name, variable, trainable, in_graph)
        if regularizer is not None and not _among_parts(variable, known):
            self._add_weight_loss(name, variable, regularizer)
        return variable

    def _add_own_weight(  # noqa: PLR0913, PLR0917
        self,
        name: str,
        shape: Any,
        dtype: Any,
        initializer: Any,
        regularizer: Any,
        trainable: bool | None,
        constraint: Any,
        use_resource: bool | None,
    ) -> Any:
        """Makes a variable in Keras style: no variable scope, no getter, no partitioner."""
        dtype = tf.as_dtype(dtype or self._dtype or tf.float32)
        if self._dtype is None:
            self._dtype = dtype.base_dtype.name
        trainable = True if trainable is None else trainable and self.trainable
        variable = keras_style.make_variable(
            name,
            () if shape is None else shape,
            dtype,
            initializer=self._initializer(name, dtype, initializer),
            trainable=trainable,
            constraint=identifiers.constraint(constraint),
            use_resource=use_resource,
        )
        regularizer = identifiers.regularizer(regularizer)
        (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        self._weight_names[name] = variable
        if regularizer is not None:
            self._add_weight_loss(name, variable, regularizer)
        store = active_store()
        if store is not None and _v1.executing_eagerly_outside_functions():
            store.take_in(variable, regularizer)
        return variable

    def add_variable(self, *args: Any, **kwargs: Any) -> Any:
        """Does what `add_weight` does, under its older name."""
        return self.add_weight(*args, **kwargs)

    def _initializer(self, name: str, dtype: tf.DType, given: Any) -> Any:
        if given is not None:
            return identifiers.initializer(given)
        if dtype.is_floating:
            return _default_initializer()
        if dtype.is_integer or dtype.is_bool:
            return _v1.zeros_initializer()
        raise InputError(
            f"An initializer for variable {name} of type {dtype.base_dtype.name} is required for layer {self.name}"
        )

    def _adopt(self, name: str, variable: Any, trainable: bool, in_graph: bool) -> None:
        # A custom getter may have made it not trainable; TF 1.15 goes by the collection, where the parts of a
        # partitioned variable are and the whole is not.
        if trainable and in_graph:
            trainable = any(variable is other for other in _v1.trainable_variables())
        elif trainable:
            trainable = bool(getattr(variable, "trainable", True))
        (self._trainable_weights if trainable else self._non_trainable_weights).append(variable)
        self._weight_names[name] = variable

    def _trackable_children(self, save_type: Any = "checkpoint", **kwargs: Any) -> dict[str, Any]:
        """Lets object-based checkpoints find the variables under the names that `add_weight` was given."""
        return {**super()._trackable_children(save_type, **kwargs), **self.checkpoint_children()}

    def checkpoint_children(self) -> dict[str, Any]:
        """Returns what an object-based checkpoint holds of the layer, by name."""
        return self._weight_names

    def _add_weight_loss(self, name: str, variable: Any, regularizer: Any) -> None:
        def loss_of(part: Any) -> Any:
            with name_scope(f"{name}/Regularizer"):
                return regularizer(part)

        parts = list(variable) if _is_partitioned(variable) else [variable]
        self.add_loss([functools.partial(loss_of, part) for part in parts])


@functools.cache
def _default_initializer() -> Any:
    # It has no state, and to make it takes longer than to find a variable.
    return _v1.glorot_uniform_initializer()


def _variables_of_graph() -> list[Any]:
    return list(_v1.global_variables())


def _is_partitioned(variable: Any) -> bool:
    return not isinstance(variable, tf.Variable) and hasattr(variable, "as_tensor") and hasattr(variable, "__iter__")


def _among_parts(variable: Any, variables: list[Any]) -> bool:
    if not variables:
        return False
    parts = {id(part) for part in variable} if _is_partitioned(variable) else {id(variable)}
    return any(id(other) in parts for other in variables)


def _with_scope_regularizer(regularizer: Any, scope: Any) -> Any:
    """Joins a layer's regularizer with its scope's: TF 1.15 counts both, `get_variable` would take one."""
    if regularizer is None or scope.regularizer is None:
        return regularizer

    def both(variable: Any) -> Any:
        losses = [loss for loss in (regularizer(variable), scope.regularizer(variable)) if loss is not None]
        return tf.add_n(losses) if losses else None

    return both
