"""Convolution layers in one, two and three dimensions with the semantics of TF 1.15's `tf.layers`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import arguments, identifiers
from lockstep.tf1.layers.arguments import CHANNELS_FIRST
from lockstep.tf1.layers.layer import InputSpec, LibraryLayer

_v1 = tf.compat.v1
_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
_OPERATION_NAMES = {1: "conv1d", 2: "Conv2D", 3: "Conv3D"}


class Convolution(LibraryLayer):
    """What all convolutions share: arguments, `kernel` and `bias`, and the plain convolution itself.

    Variables: `kernel` (*kernel_size, input channels, filters), `bias` (filters,).
    """

    # Whether `padding="causal"` is understood.
    _causal = False

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = 1,
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
        self.rank = rank
        self.filters = filters
        self.kernel_size = arguments.int_tuple(kernel_size, rank, "kernel_size")
        self.strides = arguments.int_tuple(strides, rank, "strides")
        self.padding = arguments.padding(padding, causal=self._causal)
        self.data_format = arguments.data_format(data_format)
        self.dilation_rate = arguments.int_tuple(dilation_rate, rank, "dilation_rate")
        self.activation = identifiers.activation_function(activation)
        self.use_bias = use_bias
        self.kernel_initializer = identifiers.initializer(kernel_initializer)
        self.bias_initializer = identifiers.initializer(bias_initializer)
        self.kernel_regularizer = identifiers.regularizer(kernel_regularizer)
        self.bias_regularizer = identifiers.regularizer(bias_regularizer)
        self.kernel_constraint = identifiers.constraint(kernel_constraint)
        self.bias_constraint = identifiers.constraint(bias_constraint)
        self.input_spec = InputSpec(ndim=rank + 2)
        self.kernel: Any = None
        self.bias: Any = None

    @property
    def _format(self) -> str:
        return (_FIRST if self.data_format == CHANNELS_FIRST else _LAST)[self.rank]

    def _input_channels(self, input_shape: Any) -> int:
        """Reads the number of channels off the input shape, and makes `input_spec` demand it from now on."""
        axis = 1 if self.data_format == CHANNELS_FIRST else -1
        shape = tf.TensorShape(input_shape)
        if shape.rank != self.rank + 2:
            raise InputError(
                f"Layer {self.name}: inputs should have rank {self.rank + 2}. Received input shape: {shape}"
            )
        if shape[axis] is None:
            raise InputError(
                "The channel dimension of the inputs should be defined. Found `None` "
                f"at axis {axis} of shape {shape} of layer {self.name}."
            )
        self.input_spec = InputSpec(ndim=self.rank + 2, axes={axis: shape[axis]})
        return int(shape[axis])

    def build(self, input_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        self._make_kernel((*self.kernel_size, self._input_channels(input_shape), self.filters))
        self._make_bias()
        self.built = True

    def _make_kernel(self, shape: tuple[int, ...]) -> None:
        self.kernel = self.add_weight(
            "kernel",
            shape=shape,
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            trainable=True,
        )

    def _make_bias(self) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                trainable=True,
            )

    def call(self, inputs: Any) -> Any:
        """Convolves; returns (batch, *spatial, filters), or channels first as the inputs are."""
        if self.padding == "causal":
            inputs = self._pad_causally(inputs)
        outputs = self._convolve(inputs)
        if self.use_bias:
            outputs = self._add_bias(outputs)
        return outputs if self.activation is None else self.activation(outputs)

    def _convolve(self, inputs: Any) -> Any:
        padding = "SAME" if self.padding == "same" else "VALID"
        if self.rank == 1 or any(rate != 1 for rate in self.dilation_rate):
            return tf.nn.convolution(
                inputs,
                self.kernel,
                self.strides,
                padding,
                data_format=self._format,
                dilations=self.dilation_rate,
                name=_OPERATION_NAMES[self.rank],
            )
        strides = arguments.spatial_first(self.strides, self.data_format)
        operation = tf.raw_ops.Conv2D if self.rank == 2 else tf.raw_ops.Conv3D
        return operation(input=inputs, filter=self.kernel, strides=strides, padding=padding, data_format=self._format)

    def _add_bias(self, outputs: Any) -> Any:
        if self.data_format != CHANNELS_FIRST:
            return tf.raw_ops.BiasAdd(value=outputs, bias=self.bias)
        if self.rank == 1:
            return outputs + tf.reshape(self.bias, (1, self.filters, 1))
        return tf.raw_ops.BiasAdd(value=outputs, bias=self.bias, data_format="NCHW")

    def _pad_causally(self, inputs: Any) -> Any:
        before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
        time = [before, 0]
        return tf.pad(inputs, [[0, 0], [0, 0], time] if self.data_format == CHANNELS_FIRST else [[0, 0], time, [0, 0]])

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the output's shape; None stays None."""
        shape = tf.TensorShape(input_shape).as_list()
        first = self.data_format == CHANNELS_FIRST
        spatial = [
            arguments.output_length(length, window, self.padding, stride, rate)
            for length, window, stride, rate in zip(
                shape[2:] if first else shape[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True
            )
        ]
        return tf.TensorShape([shape[0], self.filters, *spatial] if first else [shape[0], *spatial, self.filters])


class Conv1D(Convolution):
    """One-dimensional convolution over inputs (batch, steps, channels), or channels first."""

    _causal = True

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = 1,
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
            1, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def conv1d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: Any = 1,
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
    """Applies a `Conv1D` layer whose variables are found, or made, in the scope `name`."""
    layer = Conv1D(
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)


class Conv2D(Convolution):
    """Two-dimensional convolution over inputs (batch, height, width, channels), or channels first."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1),
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
            2, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def conv2d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: Any = (1, 1),
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
    """Applies a `Conv2D` layer whose variables are found, or made, in the scope `name`."""
    layer = Conv2D(
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)


class Conv3D(Convolution):
    """Three-dimensional convolution over (batch, depth, height, width, channels), or channels first."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1, 1),
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
            3, filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint, trainable, name, **kwargs,
        )  # fmt: skip


def conv3d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1, 1),
    padding: str = "valid",
    data_format: str = "channels_last",
    dilation_rate: Any = (1, 1, 1),
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
    """Applies a `Conv3D` layer whose variables are found, or made, in the scope `name`."""
    layer = Conv3D(
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
        kernel_constraint, bias_constraint, trainable, name, _scope=name, _reuse=reuse,
    )  # fmt: skip
    return layer(inputs)
