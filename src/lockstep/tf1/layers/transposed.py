"""Transposed convolution layers with the semantics of TF 1.15's `tf.layers`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from lockstep.tf1.layers import arguments
from lockstep.tf1.layers.arguments import CHANNELS_FIRST
from lockstep.tf1.layers.convolution import Convolution

_v1 = tf.compat.v1


@functools.cache
def channels_first_runs() -> bool:
    """Tells whether this machine's kernels take channels_first; without a GPU TF 1.15 transposes instead."""
    return bool(tf.config.list_physical_devices("GPU"))


class TransposedConvolution(Convolution):
    """What the transposed convolutions share.

    Variables: `kernel` (*kernel_size, filters, input channels), `bias` (filters,).
    """

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        self._make_kernel((*self.kernel_size, self.filters, self._input_channels(input_shape)))
        self._make_bias()
        self.built = True

    def _convolve(self, inputs: Any) -> Any:
        output_shape = self._lengths(tf.unstack(tf.shape(inputs)))
        outputs = self._transposed(inputs, output_shape)
        if not tf.executing_eagerly():
            outputs.set_shape(self.compute_output_shape(inputs.shape))
        return outputs

    def _transposed(self, inputs: Any, output_shape: list[Any]) -> Any:
        operation = tf.nn.conv2d_transpose if self.rank == 2 else tf.nn.conv3d_transpose
        padding = self.padding.upper()
        # TF 1.15 transposes in two dimensions only; in three, channels_first is the kernel's business.
        if self.rank == 2 and self.data_format == CHANNELS_FIRST and not channels_first_runs():
            batch, channels, height, width = output_shape
            outputs = operation(
                tf.transpose(inputs, (0, 2, 3, 1)), self.kernel, tf.stack([batch, height, width, channels]),
                [1, *self.strides, 1], padding, "NHWC",
            )  # fmt: skip
            return tf.transpose(outputs, (0, 3, 1, 2))
        strides = arguments.spatial_first(self.strides, self.data_format)
        return operation(inputs, self.kernel, tf.stack(output_shape), strides, padding, self._format)

    def _lengths(self, shape: list[Any]) -> list[Any]:
        first = self.data_format == CHANNELS_FIRST
        spatial = [
            arguments.transposed_length(length, window, self.padding, stride)
            for length, window, stride in zip(
                shape[2:] if first else shape[1:-1], self.kernel_size, self.strides, strict=True
            )
        ]
        return [shape[0], self.filters, *spatial] if first else [shape[0], *spatial, self.filters]

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the output's shape; None stays None."""
        return tf.TensorShape(self._lengths(tf.TensorShape(input_shape).as_list()))


class Conv2DTranspose(TransposedConvolution):
    """Two-dimensional transposed convolution over inputs (batch, height, width, channels), or channels first."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
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
        super().__init__(
            2, filters, kernel_size, strides, padding, data_format, 1, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def conv2d_transpose(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
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
    """Applies a `Conv2DTranspose` layer whose variables are found, or made, in the scope `name`."""
    layer = Conv2DTranspose(
        filters, kernel_size, strides, padding, data_format, activation, use_bias,
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)


class Conv3DTranspose(TransposedConvolution):
    """Three-dimensional transposed convolution over (batch, depth, height, width, channels), or channels first."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
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
        super().__init__(
            3, filters, kernel_size, strides, padding, data_format, 1, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def conv3d_transpose(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
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
    """Applies a `Conv3DTranspose` layer whose variables are found, or made, in the scope `name`."""
    layer = Conv3DTranspose(
        filters, kernel_size, strides, padding, data_format, activation, use_bias,
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)
