"""Dense, dropout and flattening layers with the semantics of TF 1.15's `tf.layers`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import arguments, identifiers
from lockstep.tf1.layers.conditional import constant_training, either
from lockstep.tf1.layers.layer import InputSpec, LibraryLayer

_v1 = tf.compat.v1


class Dense(LibraryLayer):
    """Fully connected layer: `activation(inputs * kernel + bias)` over the last axis.

    Variables: `kernel` (input size, units), `bias` (units,).
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=trainable, name=name, activity_regularizer=activity_regularizer, **kwargs)
        self.units = int(units)
        self.activation = identifiers.activation_function(activation)
        self.use_bias = use_bias
        self.kernel_initializer = identifiers.initializer(kernel_initializer)
        self.bias_initializer = identifiers.initializer(bias_initializer)
        self.kernel_regularizer = identifiers.regularizer(kernel_regularizer)
        self.bias_regularizer = identifiers.regularizer(bias_regularizer)
        self.kernel_constraint = identifiers.constraint(kernel_constraint)
        self.bias_constraint = identifiers.constraint(bias_constraint)
        self.input_spec = InputSpec(min_ndim=2)
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        dtype = tf.as_dtype(self.dtype or tf.float32)
        if not (dtype.is_floating or dtype.is_complex):
            raise TypeError(
                f"Unable to build `Dense` layer {self.name} with non-floating point dtype {dtype.name}; cast its input."
            )
        input_size = tf.TensorShape(input_shape)[-1]
        if input_size is None:
            raise InputError(
                f"The last dimension of the inputs to `Dense` should be defined. Found `None` "
                f"in shape {input_shape} of layer {self.name}."
            )
        self.input_spec = InputSpec(min_ndim=2, axes={-1: input_size})
        self.kernel = self.add_weight(
            "kernel",
            shape=[input_size, self.units],
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            trainable=True,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                shape=[self.units],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                trainable=True,
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns (..., units) of inputs (..., input size)."""
        if isinstance(inputs, tf.SparseTensor):
            outputs = tf.sparse.sparse_dense_matmul(tf.cast(inputs, self.dtype), self.kernel)
        elif inputs.shape.rank > 2:
            outputs = tf.tensordot(inputs, self.kernel, [[inputs.shape.rank - 1], [0]])
            if not tf.executing_eagerly():
                outputs.set_shape([*inputs.shape.as_list()[:-1], self.units])
        else:
            if inputs.dtype != self.dtype:
                inputs = tf.cast(inputs, self.dtype)
            outputs = tf.raw_ops.MatMul(a=inputs, b=self.kernel)
        if self.use_bias:
            outputs = tf.raw_ops.BiasAdd(value=outputs, bias=self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the input shape with `units` in the last place."""
        shape = tf.TensorShape(input_shape).with_rank_at_least(2)
        if shape[-1] is None:
            raise InputError(f"The innermost dimension of input_shape must be defined, but saw: {shape}")
        return shape[:-1].concatenate(self.units)


def dense(
    inputs: Any,
    units: int,
    activation: Any = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
    kernel_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    kernel_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: Any = None,
    reuse: Any = None,
) -> Any:
    """Applies a `Dense` layer whose variables are found, or made, in the scope `name`."""
    layer = Dense(
        units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
        activity_regularizer, kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)


class Dropout(LibraryLayer):
    """Sets a share `rate` of the inputs to zero while training, and divides the rest by 1 - `rate`."""

    def __init__(
        self, rate: Any = 0.5, noise_shape: Any = None, seed: int | None = None, name: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.rate = rate
        self.noise_shape = noise_shape
        self.seed = seed

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Drops out if `training`, a bool or a scalar bool tensor."""

        def dropped() -> Any:
            if tf.get_static_value(self.rate) == 0:
                return inputs  # as TF 1.15: no draw, so that later operations keep their seeds
            return tf.nn.dropout(inputs, rate=self.rate, noise_shape=self._noise_shape_of(inputs), seed=self.seed)

        return either(constant_training(training), training, dropped, lambda: tf.identity(inputs))

    def _noise_shape_of(self, inputs: Any) -> Any:
        if self.noise_shape is None or tf.is_tensor(self.noise_shape):
            return self.noise_shape
        sizes = tf.shape(inputs)
        return tf.stack([sizes[axis] if size is None else size for axis, size in enumerate(self.noise_shape)])

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input shape."""
        return input_shape


def dropout(
    inputs: Any,
    rate: Any = 0.5,
    noise_shape: Any = None,
    seed: int | None = None,
    training: Any = False,
    name: Any = None,
) -> Any:
    """Applies a `Dropout` layer."""
    return Dropout(rate, noise_shape, seed, name)(inputs, training=training)


class Flatten(LibraryLayer):
    """Joins all axes but the first; channels_first inputs are put channels last before."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = arguments.data_format("channels_last" if data_format is None else data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Any:
        """Returns (batch, size) of inputs (batch, ...)."""
        rank = inputs.shape.rank
        if self.data_format == "channels_first" and rank is not None and rank > 1:
            inputs = tf.transpose(inputs, [0, *range(2, rank), 1])
        outputs = tf.reshape(inputs, (inputs.shape[0] or tf.shape(inputs)[0], -1))
        if not tf.executing_eagerly():
            outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns (batch, product of the other dimensions)."""
        batch, *rest = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([batch, int(np.prod(rest)) if all(rest) else None])


def flatten(inputs: Any, name: Any = None, data_format: str = "channels_last") -> Any:
    """Applies a `Flatten` layer."""
    return Flatten(name=name, data_format=data_format)(inputs)
