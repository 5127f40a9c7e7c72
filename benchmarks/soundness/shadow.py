"""Carries float64 values beside the float32 ones of eager operations: exact enough to call a mutant harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from benchmarks.soundness.interception import RAW, definition, listed, taken_apart
from tensorflow.python.eager import core

from lockstep.tf1 import private

_DRAWS = ("Random", "Stateless", "TruncatedNormal", "Multinomial", "ParameterizedTruncatedNormal")
_STEPS = {"AssignAddVariableOp": tf.add, "AssignSubVariableOp": tf.subtract}
_FLOAT = tf.float32.as_datatype_enum
_FUSED_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


class Shadow:
    """What runs operations in place of TensorFlow's own function, and each a second time on float64 values.

    Args:
        variables: The variables; their float64 values are what they hold now, and are watched by gradient tapes as
            `leaves`.
        inputs: The tensors that the model is given.

    Attributes:
        leaves: For each variable the float64 tensor that it starts from.
        single: Types of operations that had to run in float32, because there is no float64 kernel or rule.
    """

    def __init__(self, variables: Sequence[Any], inputs: Sequence[Any]) -> None:
        self.variables = [private.raw_variable(variable) for variable in variables]
        self.leaves = [_double(tf.identity(variable)) for variable in self.variables]
        self._state = {private.tensor_id(v.handle): leaf for v, leaf in zip(self.variables, self.leaves, strict=True)}
        self._doubles: dict[int, Any] = {}
        self._busy = False
        self.single: set[str] = set()
        for tensor in inputs:
            self._doubles[private.tensor_id(tensor)] = _double(tensor)

    def of(self, tensor: Any) -> Any:
        """Returns the float64 tensor beside a tensor; of an integer, what the float64 run has there."""
        if isinstance(tensor, tf.Variable) or private.is_keras_variable(tensor):
            return self._state[private.tensor_id(private.raw_variable(tensor).handle)]
        if tensor.dtype == tf.resource:
            return tensor
        found = self._doubles.get(private.tensor_id(tensor))
        return _double(tensor) if found is None else found

    def after(self) -> list[Any]:
        """Returns the float64 values that the variables were left with, in order."""
        return [self._state[private.tensor_id(variable.handle)] for variable in self.variables]

    def __call__(self, context: Any, kind: str, name: Any, *given: Any) -> Any:
        """Runs one operation; returns what TensorFlow's function returns."""
        outputs = RAW(context, kind, name, *given)
        if self._busy:  # an operation on float64 values
            return outputs
        self._busy = True
        try:
            self._follow(context, kind, given, outputs)
        finally:
            self._busy = False
        return outputs

    def _follow(self, context: Any, kind: str, given: Sequence[Any], outputs: Any) -> None:
        inputs, attributes = taken_apart(kind, given)
        doubles = self._run(context, kind, inputs, attributes, outputs)
        for single, double in zip(listed(outputs), listed(doubles), strict=False):
            self._doubles[private.tensor_id(single)] = double

    def _run(self, context: Any, kind: str, inputs: list[Any], attributes: Mapping[str, Any], outputs: Any) -> Any:
        if kind.startswith(_DRAWS):
            return [_double(output) for output in listed(outputs)]
        if inputs and _is_handle(inputs[0]):
            return self._of_variable(kind, inputs, attributes, outputs)
        given = [self._of_input(one) for one in inputs]
        if kind in _FUSED_NORMS:
            return _fused_norm(given, attributes, outputs)
        types = {a.name for a in definition(kind).attr if a.type == "type"}
        wide = {n: tf.float64 if n in types and _is_single(v) else v for n, v in attributes.items()}
        flat = [item for pair in wide.items() for item in pair]
        try:
            made = listed(RAW(context, kind, None, *given, *flat))
        except (core._NotOkStatusException, core._FallbackException, TypeError, ValueError):
            return self._single(context, kind, given, attributes)
        if any(output.dtype == tf.float32 for output in made):  # some operations give float32 whatever they are given
            self.single.add(kind)
        return [_double(output) for output in made]

    def _single(self, context: Any, kind: str, given: list[Any], attributes: Mapping[str, Any]) -> Any:
        """Runs an operation in float32, on the float64 values rounded."""
        self.single.add(kind)
        narrow = [[_narrow(one) for one in value] if isinstance(value, list) else _narrow(value) for value in given]
        flat = [item for pair in attributes.items() for item in pair]
        return [_double(output) for output in listed(RAW(context, kind, None, *narrow, *flat))]

    def _of_input(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and any(isinstance(one, tf.Tensor | tf.Variable) for one in value):
            return [self._of_input(one) for one in value]
        if isinstance(value, (tf.Tensor, tf.Variable)) or private.is_keras_variable(value):
            return self.of(value)
        return value

    def _of_variable(self, kind: str, inputs: list[Any], attributes: Mapping[str, Any], outputs: Any) -> Any:
        handle = inputs[0].handle if isinstance(inputs[0], tf.Variable) else inputs[0]
        number = private.tensor_id(handle)
        value = self._state.get(number)
        if value is None:  # a variable of the model's own making that it does not own
            return [_double(output) for output in listed(outputs)]
        if kind == "ReadVariableOp":
            return tf.identity(value)
        if kind == "ResourceGather":
            return tf.gather(value, self._of_input(inputs[1]), batch_dims=attributes.get("batch_dims", 0))
        if kind == "AssignVariableOp":
            self._state[number] = self._of_input(inputs[1])
        elif kind in _STEPS:
            self._state[number] = _STEPS[kind](value, self._of_input(inputs[1]))
        elif kind == "VariableShape":
            return listed(outputs)
        else:
            self.single.add(kind)
            for variable in self.variables:
                if private.tensor_id(variable.handle) == number:
                    self._state[number] = _double(tf.identity(variable))
        return None


def _fused_norm(given: Sequence[Any], attributes: Mapping[str, Any], outputs: Any) -> list[Any]:
    """Batch normalisation spelled out: TensorFlow has no float64 kernel of the fused one."""
    x, scale, offset, mean, variance = given
    first = attributes.get("data_format", "NHWC") in ("NCHW", b"NCHW")
    axes = [0, 2, 3] if first else [0, 1, 2]

    def spread(vector: Any) -> Any:
        return vector[:, None, None] if first else vector

    epsilon = tf.constant(attributes.get("epsilon", 1e-4), tf.float64)
    batch_mean, batch_variance = mean, variance
    if attributes.get("is_training", True):
        mean, variance = tf.nn.moments(x, axes)
        count = tf.cast(tf.size(x) / tf.size(mean), tf.float64)
        batch_mean, batch_variance = mean, variance * (count / tf.maximum(count - 1, 1))
    y = (x - spread(mean)) * spread(tf.math.rsqrt(variance + epsilon)) * spread(scale) + spread(offset)
    rest = [_double(output) for output in listed(outputs)[3:]]
    return [y, batch_mean, batch_variance, *rest]


def _is_handle(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and value.dtype == tf.resource


def _is_single(value: Any) -> bool:
    return bool(value in (_FLOAT, tf.float32))


def _double(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float64) if tensor.dtype == tf.float32 else tensor


def _narrow(value: Any) -> Any:
    return tf.cast(value, tf.float32) if isinstance(value, tf.Tensor) and value.dtype == tf.float64 else value
