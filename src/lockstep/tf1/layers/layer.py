"""The base of all legacy layers: names, scopes, weights, losses and updates as in TF 1.15.

Three ways to run differ in what becomes of losses and updates. In a TF1 graph both go into graph collections.
In eager execution, and in a `tf.function` called from it, updates run at once and the losses of weights are
known to the active `VariableStore`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.errors import InputError
from lockstep.tf1 import private
from lockstep.tf1.layers import identifiers, reachability
from lockstep.tf1.layers.call_context import CONTEXT
from lockstep.tf1.layers.input_spec import InputSpec, check_input
from lockstep.tf1.store import active_store

_v1 = tf.compat.v1
_ON_READ = tf.VariableSynchronization.ON_READ
# What Keras's constructor takes and a legacy layer has no use for.
_IGNORED_ARGUMENTS = frozenset({"autocast", "batch_input_shape", "batch_size", "dynamic", "input_dim", "input_shape"})

_names_in_graph: weakref.WeakKeyDictionary[Any, Counter[str]] = weakref.WeakKeyDictionary()


class Layer(private.trackable_class()):  # type: ignore[misc]
    """Base class of the legacy layers; a subclass gives `build` (makes variables) and `call` (computes).

    Variables are made by `tf.compat.v1.get_variable` in the layer's own variable scope, which is found at the
    layer's first call, so that reuse, custom getters and the scope's defaults act on them as anywhere else.

    Args:
        trainable: whether the layer's variables are trainable.
        name: the layer's name; None makes one of the class name.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: `activity_regularizer`; `_scope` and `_reuse` for the functional forms and tf_slim.

    Attributes:
        built: whether the variables exist.
        input_spec: an `InputSpec`, a list of them, or None.
        stateful: whether updates count although `trainable` is False.
        automatically_named: whether the name was made of the class name, so that a further layer gets another.
    """

    automatically_named = False

    def __init__(self, trainable: bool = True, name: Any = None, dtype: Any = None, **kwargs: Any) -> None:
        scope = kwargs.pop("_scope", None)
        self._reuse = kwargs.pop("_reuse", None)
        self._activity_regularizer = identifiers.regularizer(kwargs.pop("activity_regularizer", None))
        if kwargs and not kwargs.keys() <= _IGNORED_ARGUMENTS:
            unknown = ", ".join(sorted(kwargs.keys() - _IGNORED_ARGUMENTS))
            raise TypeError(f"{type(self).__name__} does not take the argument {unknown}.")
        self.trainable = trainable
        self.built = False
        self.stateful = False
        self.supports_masking = False
        self.input_spec: Any = None
        self._dtype = tf.as_dtype(dtype).base_dtype.name if dtype is not None else None
        self._trainable_weights: list[Any] = []
        self._non_trainable_weights: list[Any] = []
        self._weight_names: dict[str, Any] = {}
        self._weight_losses: list[Callable[[], Any]] = []
        self._losses: list[tuple[Any, Any]] = []
        self._eager_losses: list[tuple[Any, Any]] = []
        self._updates: list[tuple[Any, Any]] = []
        self._call_inputs: Any = None
        self._current_scope: Any = None
        self._set_name(name)
        self._scope: Any = None
        if scope is not None and scope != "":
            self._capture_scope(scope)

    # --- names and scopes

    def _set_name(self, name: Any) -> None:
        if isinstance(name, str) and name:
            self._name = self._base_name = name
            return
        self.automatically_named = name is None
        snake_case = _snake_case(type(self).__name__)
        counter = _names_in_graph.setdefault(_v1.get_default_graph(), Counter())
        counter[snake_case] += 1
        self._name = f"{snake_case}_{counter[snake_case]}"
        self._base_name = name.name if isinstance(name, _v1.VariableScope) else snake_case

    def _capture_scope(self, scope: Any) -> None:
        if isinstance(scope, _v1.VariableScope) and tf.executing_eagerly():
            # Entering it would only copy it; a graph also counts the entry in the names of its operations.
            self._scope = scope
            return
        with _v1.variable_scope(scope) as captured:
            self._scope = captured

    def _set_scope(self, scope: Any = None) -> None:
        if self._scope is not None:
            return
        if self._reuse:
            self._capture_scope(scope if scope is not None else self._base_name)
        else:
            with _v1.variable_scope(scope, default_name=self._base_name) as captured:
                self._scope = captured

    @contextmanager
    def _entered(self, reuse: Any) -> Iterator[Any]:
        with _v1.variable_scope(self._scope, reuse=reuse, auxiliary_name_scope=False) as scope:
            self._current_scope = scope
            with _name_scope(scope.original_name_scope):
                yield scope

    @property
    def name(self) -> str:
        """The layer's name; where it was made of the class name, not the name of its scope."""
        return self._name

    @property
    def scope_name(self) -> str:
        """The full name of the layer's variable scope.

        Raises:
            InputError: the layer has not been called yet.
        """
        if self._scope is None:
            raise InputError(
                f"No name available for layer scope because the layer {self._name!r} has not been used yet. "
                "The scope name is determined the first time the layer instance is called."
            )
        return str(self._scope.name)

    @property
    def graph(self) -> None:
        """None: layers do not keep their graph."""
        if tf.executing_eagerly():
            raise RuntimeError("Layer.graph not supported when executing eagerly.")

    @property
    def dtype(self) -> str | None:
        """The name of the weights' dtype; None before the first call unless it was given."""
        return self._dtype

    @property
    def activity_regularizer(self) -> Any:
        """Function of each output that gives a loss, or None."""
        return self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, value: Any) -> None:
        self._activity_regularizer = value

    # --- weights

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
            # The store in use computes the loss of a regularized weight, as no collection outlives an eager call.
            regularizer=_with_scope_regularizer(regularizer, scope)
            if not in_graph and active_store() is not None
            else None,
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
        return {**super()._trackable_children(save_type, **kwargs), **self._weight_names}

    # --- losses and updates

    def _add_weight_loss(self, name: str, variable: Any, regularizer: Any) -> None:
        def loss_of(part: Any) -> Any:
            with _name_scope(f"{name}/Regularizer"):
                return regularizer(part)

        parts = list(variable) if _is_partitioned(variable) else [variable]
        self.add_loss([functools.partial(loss_of, part) for part in parts])

    @property
    def losses(self) -> list[Any]:
        """The losses of the weights, computed anew, and those of outputs and `add_loss`."""
        given = [loss for loss, _ in (self._eager_losses or self._losses)]
        computed = (loss() for loss in self._weight_losses)
        return given + [loss for loss in computed if loss is not None]

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses: scalar tensors, or functions of no argument that compute them.

        Args:
            losses: one or a list.
            inputs: the tensors on which the losses depend; None if they hold for any input.

        Raises:
            InputError: a tensor's value is given in eager execution outside `call`.
        """
        collected = []
        in_graph = not _v1.executing_eagerly_outside_functions()
        for loss in tf.nest.flatten(losses):
            if loss is None:
                continue
            if callable(loss):
                self._weight_losses.append(loss)
                tensor = loss() if in_graph else None
            else:
                tensor = tf.convert_to_tensor(loss)
                if not in_graph and not CONTEXT.depth:
                    raise InputError(
                        f"Layer {self.name} was given the value of a loss outside its call. "
                        "Pass a function of no argument that computes the loss."
                    )
                (self._losses if in_graph else self._eager_losses).append((tensor, inputs))
            if tensor is not None:
                collected.append(tensor)
        if in_graph:
            _collect_once(collected, _v1.GraphKeys.REGULARIZATION_LOSSES)

    def get_losses_for(self, inputs: Any) -> list[Any]:
        """Returns the losses that depend on `inputs`; None asks for those that depend on no input."""
        given = self._eager_losses or self._losses
        if inputs is None:
            computed = (loss() for loss in self._weight_losses)
            free = [loss for loss, depends_on in given if depends_on is None]
            return free + [loss for loss in computed if loss is not None]
        reachable = reachability.reachable_from(tf.nest.flatten(inputs))
        return [loss for loss, depends_on in given if depends_on is not None and id(loss) in reachable]

    @property
    def updates(self) -> list[Any]:
        """The update operations of a graph; none if the layer is not trainable."""
        return [update for update, _ in self._updates] if self.trainable or self.stateful else []

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds update operations, or functions of no argument that make them.

        In eager execution and in a `tf.function` the functions are called at once, unless the layer or one
        around it is not trainable; in a graph the operations go to `GraphKeys.UPDATE_OPS` when the call ends.
        """
        updates = list(updates) if isinstance(updates, list | tuple) else [updates]
        if _v1.executing_eagerly_outside_functions():
            if not (CONTEXT.frozen or not self.trainable):
                for update in updates:
                    if callable(update):
                        update()
            return
        depends_on = tf.nest.flatten(self._call_inputs if inputs is None else inputs)
        for update in updates:
            made = update() if callable(update) else update
            self._updates.append((made if isinstance(made, tf.Operation) else made.op, depends_on))

    def get_updates_for(self, inputs: Any) -> list[Any]:
        """Returns the updates that depend on `inputs`; None asks for those that depend on no input."""
        updates = self._updates if self.trainable or self.stateful else []
        conditional = [
            (update, id(update) in reachability.reachable_from(depends_on)) for update, depends_on in updates
        ]
        if inputs is None:
            return [update for update, depends in conditional if not depends]
        reachable = reachability.reachable_from(tf.nest.flatten(inputs))
        return [update for update, depends in conditional if depends and id(update) in reachable]

    def _add_activity_losses(self, inputs: Any, outputs: Any) -> None:
        with _name_scope("ActivityRegularizer"):
            for output in tf.nest.flatten(outputs):
                loss = self._activity_regularizer(output)
                self.add_loss(loss / tf.cast(tf.shape(output)[0], loss.dtype), inputs=inputs)

    # --- build and call

    def build(self, input_shape: Any) -> None:
        """Makes the variables; a subclass overrides it."""
        del input_shape
        self.built = True

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """Computes the outputs; a subclass overrides it."""
        del kwargs
        return inputs

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the output's shape; a subclass overrides it."""
        raise NotImplementedError(f"{type(self).__name__} does not tell its output shape.")

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Builds the layer at the first call, and computes the outputs in its scope.

        Args:
            inputs: a tensor, an array, or a structure of tensors.
            *args: further arguments of `call`.
            **kwargs: further arguments of `call`; `scope` names the variable scope of the first call.

        Returns:
            What `call` returns.

        Raises:
            InputError: the inputs do not fit `input_spec`, or `call` returned None.
        """
        scope = kwargs.pop("scope", None) if kwargs else None
        if self._scope is None:
            self._set_scope(scope)
        if not isinstance(inputs, tf.Tensor):
            inputs = _as_tensors(inputs)
        if tf.executing_eagerly():
            return self._call_eagerly(inputs, args, kwargs)
        # TensorFlow sets reuse for a built layer only: its variables exist.
        with self._entered(True if self.built else self._reuse):
            outputs = self._run(inputs, args, kwargs)
        if self._updates and not _v1.executing_eagerly_outside_functions():
            _collect_once(self.updates, _v1.GraphKeys.UPDATE_OPS)
        return outputs

    def _call_eagerly(self, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Eager execution knows no reuse, so that the scope can be put in place as it is, its counters kept.
        store = private.variable_scope_store()
        outer_scope, outer_counts = store.current_scope, store.variable_scopes_count
        store.current_scope, store.variable_scopes_count = self._scope, dict(outer_counts)
        self._current_scope = self._scope
        try:
            with _name_scope(self._scope.original_name_scope):
                return self._run(inputs, args, kwargs)
        finally:
            store.current_scope, store.variable_scopes_count = outer_scope, outer_counts

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        return self(inputs, *args, **kwargs)

    def _run(self, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if CONTEXT.depth == 0:
            self._eager_losses = []
        if self.input_spec is not None:
            check_input(self.input_spec, inputs, self._name)
        if not self.built:
            self._build_for(inputs)
        outer_training, outer_frozen = CONTEXT.training, CONTEXT.frozen
        self._call_inputs = inputs
        CONTEXT.training = self._training_of_call(args, kwargs)
        CONTEXT.frozen = outer_frozen or not self.trainable
        CONTEXT.depth += 1
        try:
            outputs = self.call(inputs, *args, **kwargs)
            if outputs is None:
                raise InputError(
                    f"A layer's `call` method should return a Tensor or a list of Tensors, not None "
                    f"(layer: {self.name})."
                )
            if self._activity_regularizer is not None:
                self._add_activity_losses(inputs, outputs)
        finally:
            CONTEXT.depth -= 1
            CONTEXT.training, CONTEXT.frozen = outer_training, outer_frozen
            self._call_inputs = None
        return outputs

    def _build_for(self, inputs: Any) -> None:
        if isinstance(inputs, tf.Tensor):
            if self._dtype is None:
                self._dtype = inputs.dtype.base_dtype.name
            self.build(inputs.shape)
        else:
            flat = tf.nest.flatten(inputs)
            if self._dtype is None and flat and hasattr(flat[0], "dtype"):
                self._dtype = flat[0].dtype.base_dtype.name
            known = all(hasattr(tensor, "shape") for tensor in flat)
            self.build(tf.nest.map_structure(lambda tensor: tensor.shape, inputs) if known else None)
        self.built = True

    def _training_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Settles `training` and `scope` among the arguments of `call`; returns the `training` in force."""
        parameters = _call_parameters(type(self).call)
        if "scope" in parameters:
            kwargs["scope"] = self._current_scope
        if "training" in kwargs:
            return kwargs["training"] if "training" in parameters else kwargs.pop("training")
        if "training" in parameters and len(args) >= parameters["training"]:
            return args[parameters["training"] - 1]
        if "training" in parameters and CONTEXT.training is not None:
            kwargs["training"] = CONTEXT.training
        return CONTEXT.training

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        """Copies the layer; the copy shares the variables, as there is no second set of them in the graph."""
        result = type(self).__new__(type(self))
        memo[id(self)] = result
        for key, value in vars(self).items():
            if key == "_scope":
                copied = copy.copy(value)
            elif any(tf.is_tensor(item) for item in tf.nest.flatten(value)):
                copied = copy.copy(value) if isinstance(value, list | dict) else value
            else:
                copied = copy.deepcopy(value, memo)
            setattr(result, key, copied)
        return result


def _snake_case(name: str) -> str:
    """Makes a scope's name of a class name, by Keras's rule.

    >>> _snake_case("Conv2DTranspose"), _snake_case("MaxPooling1D"), _snake_case("_Cell")
    ('conv2d_transpose', 'max_pooling1d', 'private_cell')
    """
    parted = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()
    return "private" + parted if parted.startswith("_") else parted


@functools.cache
def _call_parameters(call: Callable[..., Any]) -> dict[str, int]:
    """Returns the parameters of a `call` method: name -> position, `inputs` being 0."""
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    return {name: position for position, name in enumerate(names)}


@functools.cache
def _default_initializer() -> Any:
    # It has no state, and to make it takes longer than to find a variable.
    return _v1.glorot_uniform_initializer()


def _name_scope(name: str | None) -> Any:
    # In eager execution tf.name_scope takes two thirds of the time; a graph's root, None, is for TF1's alone.
    return tf.name_scope(name) if name and tf.executing_eagerly() else _v1.name_scope(name or None)


def _as_tensors(inputs: Any) -> Any:
    def convert(item: Any) -> Any:
        return tf.convert_to_tensor(item) if isinstance(item, np.ndarray | np.generic | float | int) else item

    return tf.nest.map_structure(convert, inputs)


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


def _collect_once(elements: list[Any], collection: str) -> None:
    members = _v1.get_collection_ref(collection)
    present = {id(member) for member in members}
    members.extend(element for element in elements if id(element) not in present)


__all__ = ["InputSpec", "Layer"]
