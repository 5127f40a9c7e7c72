"""Separable convolution layers with the semantics of TF 1.15's `tf.layers`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.tf1.layers import arguments, identifiers
from lockstep.tf1.layers.arguments import CHANNELS_FIRST
from lockstep.tf1.layers.convolution import Convolution

_v1 = tf.compat.v1


class SeparableConvolution(Convolution):
    """What the separable convolutions share: a convolution per channel, then one over the channels.

    Variables: `depthwise_kernel` (*kernel_size, input channels, depth_multiplier), `pointwise_kernel`
    (1, ..., input channels * depth_multiplier, filters), `bias` (filters,).
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        pointwise_initializer: Any = None,
        bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            rank, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer=bias_initializer, bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer, bias_constraint=bias_constraint,
            trainable=trainable, name=name, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = identifiers.initializer(depthwise_initializer)
        self.pointwise_initializer = identifiers.initializer(pointwise_initializer)
        self.depthwise_regularizer = identifiers.regularizer(depthwise_regularizer)
        self.pointwise_regularizer = identifiers.regularizer(pointwise_regularizer)
        self.depthwise_constraint = identifiers.constraint(depthwise_constraint)
        self.pointwise_constraint = identifiers.constraint(pointwise_constraint)
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes `depthwise_kernel`, `pointwise_kernel` and `bias`."""
        channels = self._input_channels(input_shape)
        self.depthwise_kernel = self.add_weight(
            "depthwise_kernel",
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
            trainable=True,
        )
        self.pointwise_kernel = self.add_weight(
            "pointwise_kernel",
            shape=(1,) * self.rank + (self.depth_multiplier * channels, self.filters),
            initializer=self.pointwise_initializer,
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
            trainable=True,
        )
        self._make_bias()
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Convolves; returns (batch, *spatial, filters), or channels first as the inputs are."""
        if self.padding == "causal":
            inputs = self._pad_causally(inputs)
        outputs = self._separable(
            inputs, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.dilation_rate
        )
        return outputs if self.activation is None else self.activation(outputs)

    def _separable(self, inputs: Any, depthwise: Any, pointwise: Any, strides: Any, rate: Any) -> Any:
        form = "NCHW" if self.data_format == CHANNELS_FIRST else "NHWC"
        outputs = _v1.nn.separable_conv2d(
            inputs,
            depthwise,
            pointwise,
            strides=arguments.spatial_first(strides, self.data_format),
            padding="SAME" if self.padding == "same" else "VALID",
            rate=rate,
            data_format=form,
        )
        return tf.raw_ops.BiasAdd(value=outputs, bias=self.bias, data_format=form) if self.use_bias else outputs


class SeparableConv1D(SeparableConvolution):
    """One-dimensional separable convolution over inputs (batch, steps, channels), or channels first."""

    _causal = True

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        pointwise_initializer: Any = None,
        bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            1, filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation,
            use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
            pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            pointwise_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip

    def _separable(self, inputs: Any, depthwise: Any, pointwise: Any, strides: Any, rate: Any) -> Any:
        # There is no operation for one dimension: TF 1.15 adds a height of 1 and takes it off again.
        axis = 2 if self.data_format == CHANNELS_FIRST else 1
        outputs = super()._separable(
            tf.expand_dims(inputs, axis),
            tf.expand_dims(depthwise, 0),
            tf.expand_dims(pointwise, 0),
            strides * 2,
            (1, *rate),
        )
        return tf.squeeze(outputs, [axis])


def separable_conv1d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: Any = 1,
    depth_multiplier: int = 1,
    activation: Any = None,
    use_bias: bool = True,
    depthwise_initializer: Any = None,
    pointwise_initializer: Any = None,
    bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
    depthwise_regularizer: Any = None,
    pointwise_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    depthwise_constraint: Any = None,
    pointwise_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: Any = None,
    reuse: Any = None,
) -> Any:
    """Applies a `SeparableConv1D` layer whose variables are found, or made, in the scope `name`."""
    layer = SeparableConv1D(
        filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation, use_bias,
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
        pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint,
        bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)


class SeparableConv2D(SeparableConvolution):
    """Two-dimensional separable convolution over inputs (batch, height, width, channels), or channels first."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1),
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        pointwise_initializer: Any = None,
        bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        trainable: bool = True,
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation,
            use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
            pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            pointwise_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def separable_conv2d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: Any = (1, 1),
    depth_multiplier: int = 1,
    activation: Any = None,
    use_bias: bool = True,
    depthwise_initializer: Any = None,
    pointwise_initializer: Any = None,
    bias_initializer: Any = _v1.zeros_initializer(),  # noqa: B008 - stateless, and TF 1.15's default
    depthwise_regularizer: Any = None,
    pointwise_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    depthwise_constraint: Any = None,
    pointwise_constraint: Any = None,
    bias_constraint: Any = None,
    trainable: bool = True,
    name: Any = None,
    reuse: Any = None,
) -> Any:
    """Applies a `SeparableConv2D` layer whose variables are found, or made, in the scope `name`."""
    layer = SeparableConv2D(
        filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation, use_bias,
        depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
        pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint, pointwise_constraint,
        bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)
