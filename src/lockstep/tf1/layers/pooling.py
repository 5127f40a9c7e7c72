"""Pooling layers with the semantics of TF 1.15's `tf.layers`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import arguments
from lockstep.tf1.layers.arguments import CHANNELS_FIRST
from lockstep.tf1.layers.layer import InputSpec, LibraryLayer
from lockstep.tf1.layers.transposed import channels_first_runs

# TensorFlow's raw operations: tf.nn.pool refuses strides larger than the window.
_OPERATIONS = {
    ("average", 2): lambda x, **kwargs: tf.raw_ops.AvgPool(value=x, **kwargs),
    ("max", 2): lambda x, **kwargs: tf.raw_ops.MaxPool(input=x, **kwargs),
    ("average", 3): lambda x, **kwargs: tf.raw_ops.AvgPool3D(input=x, **kwargs),
    ("max", 3): lambda x, **kwargs: tf.raw_ops.MaxPool3D(input=x, **kwargs),
}


class Pooling(LibraryLayer):
    """What all poolings share: a window slides over the spatial axes."""

    _kind = "max"

    def __init__(
        self, rank: int, pool_size: Any, strides: Any, padding: str, data_format: str, name: Any, **kwargs: Any
    ) -> None:
        if strides is None:
            raise InputError("Argument `strides` must not be None.")
        super().__init__(name=name, **kwargs)
        self.rank = rank
        self.pool_size = arguments.int_tuple(pool_size, rank, "pool_size")
        self.strides = arguments.int_tuple(strides, rank, "strides")
        self.padding = arguments.padding(padding)
        self.data_format = arguments.data_format(data_format)
        self.input_spec = InputSpec(ndim=rank + 2)

    def call(self, inputs: Any) -> Any:
        """Returns the pooled inputs, channels where they were."""
        if self.rank == 1:
            axis = 3 if self.data_format == CHANNELS_FIRST else 2
            outputs = self._pool(tf.expand_dims(inputs, axis), (*self.pool_size, 1), (*self.strides, 1))
            return tf.squeeze(outputs, [axis])
        return self._pool(inputs, self.pool_size, self.strides)

    def _pool(self, inputs: Any, window: tuple[int, ...], strides: tuple[int, ...]) -> Any:
        rank = len(window)
        form = self.data_format
        # Where TF 1.15 transposes: always in three dimensions, in one where no GPU takes channels_first.
        transposes = form == CHANNELS_FIRST and (self.rank == 3 or (self.rank == 1 and not channels_first_runs()))
        if transposes:
            inputs, form = tf.transpose(inputs, [0, *range(2, rank + 2), 1]), "channels_last"
        outputs = _OPERATIONS[self._kind, rank](
            inputs,
            ksize=arguments.spatial_first(window, form),
            strides=arguments.spatial_first(strides, form),
            padding=self.padding.upper(),
            data_format=("NCHW" if form == CHANNELS_FIRST else "NHWC") if rank == 2 else "NDHWC",
        )
        return tf.transpose(outputs, [0, rank + 1, *range(1, rank + 1)]) if transposes else outputs

    def compute_output_shape(self, input_shape: Any) -> tf.TensorShape:
        """Returns the output's shape; None stays None."""
        shape = tf.TensorShape(input_shape).as_list()
        start = 2 if self.data_format == CHANNELS_FIRST else 1
        for place, (window, stride) in enumerate(zip(self.pool_size, self.strides, strict=True), start):
            shape[place] = arguments.output_length(shape[place], window, self.padding, stride)
        return tf.TensorShape(shape)


class AveragePooling1D(Pooling):
    """The mean of each window over inputs (batch, steps, channels), or channels first (padding does not count)."""

    _kind = "average"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(1, pool_size, strides, padding, data_format, name, **kwargs)


def average_pooling1d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `AveragePooling1D` layer."""
    return AveragePooling1D(pool_size, strides, padding, data_format, name)(inputs)


class AveragePooling2D(Pooling):
    """The mean of each window over (batch, height, width, channels), or channels first (padding does not count)."""

    _kind = "average"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(2, pool_size, strides, padding, data_format, name, **kwargs)


def average_pooling2d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `AveragePooling2D` layer."""
    return AveragePooling2D(pool_size, strides, padding, data_format, name)(inputs)


class AveragePooling3D(Pooling):
    """The mean of each window, without padding, over (batch, depth, height, width, channels), or channels first."""

    _kind = "average"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(3, pool_size, strides, padding, data_format, name, **kwargs)


def average_pooling3d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `AveragePooling3D` layer."""
    return AveragePooling3D(pool_size, strides, padding, data_format, name)(inputs)


class MaxPooling1D(Pooling):
    """The maximum of each window over inputs (batch, steps, channels), or channels first."""

    _kind = "max"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(1, pool_size, strides, padding, data_format, name, **kwargs)


def max_pooling1d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `MaxPooling1D` layer."""
    return MaxPooling1D(pool_size, strides, padding, data_format, name)(inputs)


class MaxPooling2D(Pooling):
    """The maximum of each window over inputs (batch, height, width, channels), or channels first."""

    _kind = "max"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(2, pool_size, strides, padding, data_format, name, **kwargs)


def max_pooling2d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `MaxPooling2D` layer."""
    return MaxPooling2D(pool_size, strides, padding, data_format, name)(inputs)


class MaxPooling3D(Pooling):
    """The maximum of each window over (batch, depth, height, width, channels), or channels first."""

    _kind = "max"

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str = "channels_last",
        name: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(3, pool_size, strides, padding, data_format, name, **kwargs)


def max_pooling3d(
    inputs: Any,
    pool_size: Any,
    strides: Any,
    padding: str = "valid",
    data_format: str = "channels_last",
    name: Any = None,
) -> Any:
    """Applies a `MaxPooling3D` layer."""
    return MaxPooling3D(pool_size, strides, padding, data_format, name)(inputs)
