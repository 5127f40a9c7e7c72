"""Batch normalisation with the semantics of TF 1.15's `tf.layers`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import identifiers, renormalization
from lockstep.tf1.layers.conditional import constant_training, either
from lockstep.tf1.layers.layer import InputSpec, LibraryLayer
from lockstep.tf1.layers.moving_average import assign_moving_average, constant, decay_in_float32, decay_of

_v1 = tf.compat.v1
# cuDNN refuses smaller ones (cudnn.h); TF 1.15 raises them for every device, TF 2.21 no longer does.
_SMALLEST_FUSED_EPSILON = 1.001e-5


class BatchNormalization(LibraryLayer):
    """Normalises by the batch's moments while training, by their moving averages otherwise.

    Variables, each of the size of the normalised axis: `gamma`, `beta`, `moving_mean`, `moving_variance`; with
    `renorm` also `moving_stddev`, `renorm_mean`, `renorm_stddev`.

    With `training=True` the averages are updated even where nothing else trains; with `trainable=False` the
    batch's moments are used all the same and the averages never change. The fused kernel, which rank 4 gets,
    reports the variance with n / (n - 1), and that enters the moving variance.
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: Any = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
        gamma_initializer: Any = _v1.ones_initializer(),  # noqa: B008
        moving_mean_initializer: Any = _v1.zeros_initializer(),  # noqa: B008
        moving_variance_initializer: Any = _v1.ones_initializer(),  # noqa: B008
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: Any = 0.99,
        fused: bool | None = None,
        trainable: bool = True,
        virtual_batch_size: int | None = None,
        adjustment: Callable[[Any], tuple[Any, Any]] | None = None,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=trainable, name=name, **kwargs)
        if not isinstance(axis, int | list):
            raise TypeError(f"axis must be int or list, type given: {type(axis).__name__}")
        self.axis: Any = axis if isinstance(axis, int) else axis[:]
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = identifiers.initializer(beta_initializer)
        self.gamma_initializer = identifiers.initializer(gamma_initializer)
        self.moving_mean_initializer = identifiers.initializer(moving_mean_initializer)
        self.moving_variance_initializer = identifiers.initializer(moving_variance_initializer)
        self.beta_regularizer = identifiers.regularizer(beta_regularizer)
        self.gamma_regularizer = identifiers.regularizer(gamma_regularizer)
        self.beta_constraint = identifiers.constraint(beta_constraint)
        self.gamma_constraint = identifiers.constraint(gamma_constraint)
        self.renorm = renorm
        self.renorm_clipping = renormalization.checked_clipping(renorm_clipping) if renorm else {}
        self.renorm_momentum = renorm_momentum
        self.virtual_batch_size = virtual_batch_size
        self.adjustment = adjustment
        # True is a wish: build takes the fused kernel where the input and the other arguments allow it.
        self.fused = fused is None or bool(fused)
        self.gamma: Any = None
        self.beta: Any = None
        self._format = "NHWC"

    # --- build

    @property
    def _param_dtype(self) -> Any:
        dtype = tf.as_dtype(self.dtype or tf.float32)
        return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype

    def build(self, input_shape: Any) -> None:
        """Makes the variables."""
        shape = tf.TensorShape(input_shape)
        if not shape.rank:
            raise InputError(f"Input has undefined rank: {shape} (layer {self.name}).")
        self._resolve_axes(shape)
        self.fused = self.fused and shape.rank == 4 and self._fused_is_possible()
        if self.fused:
            self._format = "NCHW" if self.axis == [1] else "NHWC"
        sizes = {axis: shape[axis] for axis in self.axis}
        if None in sizes.values():
            raise InputError(f"Input has undefined `axis` dimension. Input shape: {shape} (layer {self.name}).")
        self.input_spec = InputSpec(ndim=shape.rank, axes=sizes)
        if len(sizes) == 1 and self.virtual_batch_size is None:
            param_shape = list(sizes.values())
        else:
            param_shape = [sizes.get(axis, 1) for axis in range(shape.rank)]
            if self.virtual_batch_size is not None:
                param_shape.insert(1, 1)
                self.axis = [axis + 1 for axis in self.axis]
        self._make_scale_and_offset(param_shape)
        self._without_partitioner(lambda: self._make_averages(param_shape))
        self.built = True

    def _resolve_axes(self, shape: tf.TensorShape) -> None:
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        self.axis = [shape.rank + axis if axis < 0 else axis for axis in axes]
        for axis in self.axis:
            if not 0 <= axis < shape.rank:
                raise InputError(f"Invalid axis: {axis} for an input of shape {shape} (layer {self.name}).")
        if len(set(self.axis)) != len(self.axis):
            raise InputError(f"Duplicate axis: {self.axis} (layer {self.name}).")
        if self.virtual_batch_size is None:
            return
        if self.virtual_batch_size <= 0:
            raise InputError(
                "virtual_batch_size must be a positive integer that divides the true batch size of the input "
                f"Tensor, but is {self.virtual_batch_size}."
            )
        if 0 in self.axis:
            raise InputError(
                "When using virtual_batch_size, the batch dimension must be 0 and thus axis cannot include 0."
            )
        if self.adjustment is not None:
            raise InputError("When using virtual_batch_size, adjustment cannot be specified.")

    def _fused_is_possible(self) -> bool:
        plain = not self.renorm and self.virtual_batch_size is None and self.adjustment is None
        return plain and self.axis in ([1], [3])

    def _make_scale_and_offset(self, shape: list[int]) -> None:
        if self.scale:
            self.gamma = self.add_weight(
                "gamma",
                shape=shape,
                dtype=self._param_dtype,
                initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
                trainable=True,
            )
        if self.center:
            self.beta = self.add_weight(
                "beta",
                shape=shape,
                dtype=self._param_dtype,
                initializer=self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
                trainable=True,
            )

    def _make_averages(self, shape: list[int]) -> None:
        self.moving_mean = self._average("moving_mean", shape, self.moving_mean_initializer)
        self.moving_variance = self._average("moving_variance", shape, self.moving_variance_initializer)
        if self.renorm:

            def stddev_initializer(*args: Any, **kwargs: Any) -> Any:
                return tf.sqrt(self.moving_variance_initializer(*args, **kwargs))

            self.moving_stddev = self._average("moving_stddev", shape, stddev_initializer)
            self.renorm_mean = self._average("renorm_mean", shape, self.moving_mean_initializer)
            self.renorm_stddev = self._average("renorm_stddev", shape, stddev_initializer)

    def _average(self, name: str, shape: list[int], initializer: Any) -> Any:
        return self.add_weight(
            name,
            shape=shape,
            dtype=self._param_dtype,
            initializer=initializer,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
        )

    def _without_partitioner(self, make: Callable[[], None]) -> None:
        """Makes the averages in one piece, whatever partitioner the scope has."""
        scopes = [scope for scope in (self._scope, self._current_scope) if scope is not None and scope.partitioner]
        partitioners = [scope.partitioner for scope in scopes]
        for scope in scopes:
            scope.set_partitioner(None)
        try:
            make()
        finally:
            for scope, partitioner in zip(scopes, partitioners, strict=True):
                scope.set_partitioner(partitioner)

    # --- call

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Normalises; returns a tensor of the input's shape.

        Args:
            inputs: the tensor to normalise.
            training: bool, or scalar bool tensor: by the batch's moments, or by their moving averages.
        """
        known = constant_training(training)
        if self.fused:
            return self._normalize_fused(inputs, known, training)
        if self.virtual_batch_size is None:
            return self._normalize(inputs, known, training)
        # Virtual batches: the batch axis is parted in two, and each part is normalised on its own.
        shape = [-1, *inputs.shape.as_list()[1:]]
        parted = tf.reshape(inputs, [self.virtual_batch_size, *shape])
        return tf.reshape(self._normalize(parted, known, training), shape)

    def _normalize_fused(self, inputs: Any, known: bool | None, training: Any) -> Any:
        size = inputs.shape[self.axis[0]]
        gamma = self.gamma if self.scale else constant(1.0, (size,), self._param_dtype)
        beta = self.beta if self.center else constant(0.0, (size,), self._param_dtype)

        def kernel(mean: Any, variance: Any, *, is_training: bool) -> tuple[Any, Any, Any]:
            result = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=gamma,
                offset=beta,
                mean=mean,
                variance=variance,
                epsilon=max(self.epsilon, _SMALLEST_FUSED_EPSILON),
                data_format=self._format,
                is_training=is_training,
            )
            return result[0], result[1], result[2]

        def by_batch() -> tuple[Any, Any, Any]:
            nothing = constant(0.0, (0,), self._param_dtype)
            return kernel(nothing, nothing, is_training=True)

        def by_averages() -> tuple[Any, Any, Any]:
            return kernel(self.moving_mean, self.moving_variance, is_training=False)

        outputs, mean, variance = either(known, training, by_batch, by_averages)
        if known is False:
            return outputs
        momentum = self.momentum
        if known is None:
            momentum = either(None, training, lambda: tf.constant(self.momentum), lambda: tf.constant(1.0))

        def update(average: Any, value: Any) -> Any:
            return assign_moving_average(average, value, decay_in_float32(momentum, average.dtype.base_dtype))

        self.add_update([lambda: update(self.moving_mean, mean), lambda: update(self.moving_variance, variance)])
        return outputs

    def _normalize(self, inputs: Any, known: bool | None, training: Any) -> Any:
        scale, offset = self._broadcast(self.gamma, inputs), self._broadcast(self.beta, inputs)
        if known is False:
            mean, variance = self.moving_mean, self.moving_variance
        else:
            if self.adjustment is not None:
                scale, offset = self._adjusted(inputs, known, training, scale, offset)
            mean, variance = self._moments(inputs, known, training)
            new_mean, new_variance = mean, variance
            if self.virtual_batch_size is not None:
                new_mean = tf.reduce_mean(mean, axis=1, keepdims=True)
                new_variance = tf.reduce_mean(variance, axis=1, keepdims=True)
            if self.renorm:
                r, d, new_mean, new_variance = renormalization.corrections(
                    self, new_mean, new_variance, known, training
                )
                r = self._broadcast(tf.stop_gradient(r, name="renorm_r"), inputs)
                d = self._broadcast(tf.stop_gradient(d, name="renorm_d"), inputs)
                scale, offset = _composed(r, d, scale, offset)
            self._add_average_updates(new_mean, new_variance, known, training)
        mean, variance, scale, offset = (
            None if value is None else tf.cast(value, inputs.dtype) for value in (mean, variance, scale, offset)
        )
        outputs = tf.nn.batch_normalization(
            inputs, self._broadcast(mean, inputs), self._broadcast(variance, inputs), offset, scale, self.epsilon
        )
        if not tf.executing_eagerly():
            outputs.set_shape(inputs.shape)  # an adjustment may have lost some of it
        return outputs

    def _reduction_axes(self, inputs: Any) -> list[int]:
        axes = [axis for axis in range(inputs.shape.rank) if axis not in self.axis]
        if self.virtual_batch_size is not None:
            del axes[1]
        return axes

    def _broadcast(self, value: Any, inputs: Any) -> Any:
        """Gives a value per channel the input's rank where TensorFlow's own broadcasting would not do it."""
        rank = inputs.shape.rank
        if value is None or value.shape.rank == rank or self._reduction_axes(inputs) == list(range(rank - 1)):
            return value
        shape = [1] * rank
        shape[self.axis[0]] = inputs.shape[self.axis[0]]
        return tf.reshape(value, shape)

    def _moments(self, inputs: Any, known: bool | None, training: Any) -> tuple[Any, Any]:
        keeps = self.virtual_batch_size is not None or len(self.axis) > 1
        mean, variance = tf.nn.moments(tf.cast(inputs, self._param_dtype), self._reduction_axes(inputs), keepdims=keeps)
        if known:
            return mean, variance
        return (
            either(None, training, lambda: mean, lambda: tf.convert_to_tensor(self.moving_mean)),
            either(None, training, lambda: variance, lambda: tf.convert_to_tensor(self.moving_variance)),
        )

    def _adjusted(self, inputs: Any, known: bool | None, training: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
        assert self.adjustment is not None
        factor, bias = self.adjustment(tf.shape(inputs))
        factor = either(known, training, lambda: factor, lambda: tf.ones_like(factor))
        bias = either(known, training, lambda: bias, lambda: tf.zeros_like(bias))
        return _composed(factor, bias, scale, offset)

    def _add_average_updates(self, mean: Any, variance: Any, known: bool | None, training: Any) -> None:
        def update(average: Any, value: Any) -> Any:
            return assign_moving_average(average, value, decay_of(self.momentum, average.dtype.base_dtype))

        def update_variance() -> Any:
            if self.renorm:
                return renormalization.assign_variance(self, variance, update)
            return update(self.moving_variance, variance)

        def conditional(change: Callable[[], Any], average: Any) -> Callable[[], Any]:
            if known:
                return change
            return lambda: either(None, training, lambda: tf.identity(change()), lambda: tf.identity(average))

        self.add_update(
            [
                conditional(lambda: update(self.moving_mean, mean), self.moving_mean),
                conditional(update_variance, self.moving_variance),
            ]
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input shape."""
        return input_shape


def _composed(scale: Any, offset: Any, then_scale: Any, then_offset: Any) -> tuple[Any, Any]:
    """Returns the scale and offset that do one transformation and then another."""
    if then_scale is not None:
        scale, offset = scale * then_scale, offset * then_scale
    if then_offset is not None:
        offset = offset + then_offset
    return scale, offset


def batch_normalization(
    inputs: Any,
    axis: Any = -1,
    momentum: Any = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
    beta_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
    gamma_initializer: Any = _v1.ones_initializer(),  # noqa: B008
    moving_mean_initializer: Any = _v1.zeros_initializer(),  # noqa: B008
    moving_variance_initializer: Any = _v1.ones_initializer(),  # noqa: B008
    beta_regularizer: Any = None,
    gamma_regularizer: Any = None,
    beta_constraint: Any = None,
    gamma_constraint: Any = None,
    training: Any = False,
    trainable: bool = True,
    name: Any = None,
    reuse: Any = None,
    renorm: bool = False,
    renorm_clipping: Any = None,
    renorm_momentum: Any = 0.99,
    fused: bool | None = None,
    virtual_batch_size: int | None = None,
    adjustment: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Any:
    """Applies a `BatchNormalization` layer whose variables are found, or made, in the scope `name`.

    In a graph the updates of the moving averages are in `tf.compat.v1.GraphKeys.UPDATE_OPS`, and whoever trains
    has to run them; in eager execution and in a `tf.function` they happen at once.
    """
    layer = BatchNormalization(
        axis, momentum, epsilon, center, scale, beta_initializer, gamma_initializer, moving_mean_initializer,
        moving_variance_initializer, beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint,
        renorm, renorm_clipping, renorm_momentum, fused, trainable, virtual_batch_size, adjustment, name,
        _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs, training=training)
