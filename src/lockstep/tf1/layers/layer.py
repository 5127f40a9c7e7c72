"""The base of all legacy layers, with the semantics of TF 1.15's `tf.layers.Layer`."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1 import private
from lockstep.tf1.layers import identifiers, keras_style
from lockstep.tf1.layers.call_context import CONTEXT
from lockstep.tf1.layers.input_spec import InputSpec, check_input
from lockstep.tf1.layers.losses import collect_once
from lockstep.tf1.layers.scoping import name_scope
from lockstep.tf1.layers.weights import Weights
from lockstep.tf1.scope_counts import ScopeCounts

_v1 = tf.compat.v1
# What Keras's constructor takes and a legacy layer has no use for.
_IGNORED_ARGUMENTS = frozenset({"autocast", "batch_input_shape", "batch_size", "dynamic", "input_dim", "input_shape"})


class Layer(Weights):
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
        self._unscoped = keras_style.STYLE.on
        if self._unscoped:
            keras_style.refuse("scope", scope)
            keras_style.refuse("reuse", self._reuse)
        self._scope: Any = None
        if scope is not None and scope != "":
            self._capture_scope(scope)

    def build(self, input_shape: Any) -> None:
        """Makes the variables; a subclass overrides it."""
        del input_shape
        self.built = True

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Computes the outputs; a subclass overrides it, with the further arguments it likes."""
        del args, kwargs
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
        if self._unscoped:
            keras_style.refuse("scope", scope)
            with keras_style.scope_of_call(self):
                return self._run(_as_tensors(inputs), args, kwargs)
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
            collect_once(self.updates, _v1.GraphKeys.UPDATE_OPS)
        return outputs

    def _call_eagerly(self, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Eager execution knows no reuse, so that the scope can be put in place as it is, its counters kept.
        store = private.variable_scope_store()
        outer_scope, outer_counts = store.current_scope, store.variable_scopes_count
        if isinstance(outer_counts, ScopeCounts):
            counts_kept = outer_counts.unchanged()  # a copy would take longer with every scope of the network
        else:
            counts_kept = contextlib.nullcontext()
            store.variable_scopes_count = dict(outer_counts)
        store.current_scope = self._current_scope = self._scope
        try:
            with counts_kept, name_scope(self._scope.original_name_scope):
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
        if "scope" in parameters and not self._unscoped:
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


class LibraryLayer(Layer):
    """A layer of this package: AutoGraph, which would rewrite it at every first trace, leaves it alone."""

    __call__ = tf.autograph.experimental.do_not_convert(Layer.__call__)

    apply = tf.autograph.experimental.do_not_convert(Layer.apply)


@functools.cache
def _call_parameters(call: Callable[..., Any]) -> dict[str, int]:
    """Returns the parameters of a `call` method: name -> position, `inputs` being 0."""
    names = [name for name in inspect.signature(call).parameters if name != "self"]
    return {name: position for position, name in enumerate(names)}


def _as_tensors(inputs: Any) -> Any:
    def convert(item: Any) -> Any:
        return tf.convert_to_tensor(item) if isinstance(item, np.ndarray | np.generic | float | int) else item

    return tf.nest.map_structure(convert, inputs)


__all__ = ["InputSpec", "Layer", "LibraryLayer"]
