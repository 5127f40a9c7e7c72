"""The cells with a memory: `BasicLSTMCell`, `LSTMCell`, and the pair of tensors that is their state."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from lockstep.common.errors import InputError
from lockstep.tf1.layers import identifiers
from lockstep.tf1.rnn_cell.basic import affine
from lockstep.tf1.rnn_cell.cell import LayerRNNCell

_v1 = tf.compat.v1


class _StatePair(NamedTuple):
    c: Any
    h: Any


class LSTMStateTuple(_StatePair):
    """The state of an LSTM, or its size: `c`, the memory, and `h`, the output."""

    __slots__ = ()

    @property
    def dtype(self) -> Any:
        """The dtype of both tensors.

        Raises:
            TypeError: they differ.
        """
        c, h = self
        if c.dtype != h.dtype:
            raise TypeError(f"Inconsistent internal state: {c.dtype} vs {h.dtype}")
        return c.dtype


class BasicLSTMCell(LayerRNNCell):
    """LSTM without peepholes, clipping or projection (Zaremba et al. 2014, arXiv 1409.2329).

    `i, j, f, o = [inputs, h] * kernel + bias`, in this order, then
    `c = c * sigmoid(f + forget_bias) + sigmoid(i) * activation(j)` and `h = activation(c) * sigmoid(o)`.

    Variables: `kernel` (input size + units, 4 units), `bias` (4 units,).

    Args:
        num_units: size of the memory and of the output.
        forget_bias: added to the forget gate at every step; no checkpoint holds it.
        state_is_tuple: whether the state is an `LSTMStateTuple`; else one tensor (batch, 2 units), c first.
        activation: function, or the name of one; None is tanh.
        reuse: True finds the variables in the scope.
        name: the cell's name, and its scope's.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: `trainable` and other arguments of a layer.
    """

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(reuse, name, dtype, **kwargs)
        self._num_units = num_units
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = identifiers.activation_function(activation) or tf.tanh

    @property
    def state_size(self) -> Any:
        """`LSTMStateTuple(units, units)`, or twice the units."""
        units = self._num_units
        return LSTMStateTuple(units, units) if self._state_is_tuple else 2 * units

    def build(self, inputs_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        depth, units = self._depth_of(inputs_shape), self._num_units
        self._kernel = self.add_weight("kernel", [depth + units, 4 * units])
        self._bias = self.add_weight("bias", [4 * units], initializer=_v1.zeros_initializer())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, (batch, units), and the next state."""
        self._check_step(inputs, state)
        c, h = state if self._state_is_tuple else tf.split(state, 2, axis=1)
        i, j, f, o = tf.split(affine([inputs, h], self._kernel, self._bias), 4, axis=1)
        forget = tf.sigmoid(tf.add(f, tf.constant(self._forget_bias, f.dtype)))
        c = tf.add(tf.multiply(c, forget), tf.multiply(tf.sigmoid(i), self._activation(j)))
        h = tf.multiply(self._activation(c), tf.sigmoid(o))
        return h, (LSTMStateTuple(c, h) if self._state_is_tuple else tf.concat([c, h], 1))


class LSTMCell(LayerRNNCell):
    """LSTM with, if asked for, peepholes, a clipped memory and a projection of the output (Sak et al. 2014).

    As `BasicLSTMCell`; peepholes add `w_f_diag * c`, `w_i_diag * c` and, of the new memory, `w_o_diag * c` to the
    gates; the projection multiplies the output by `projection/kernel`.

    Variables: `kernel` (input size + output size, 4 units), `bias` (4 units,), `w_f_diag`, `w_i_diag`, `w_o_diag`
    (units,), `projection/kernel` (units, num_proj).

    Args:
        num_units: size of the memory.
        use_peepholes: whether the gates see the memory.
        cell_clip: the memory is clipped to [-cell_clip, cell_clip]; None does not clip.
        initializer: of all variables but the bias; None is the scope's.
        num_proj: size of the projected output; None does not project.
        proj_clip: as `cell_clip`, for the projected output.
        num_unit_shards: number of parts in which `kernel` is kept; graphs only.
        num_proj_shards: number of parts in which `projection/kernel` is kept; graphs only.
        forget_bias: added to the forget gate at every step; no checkpoint holds it.
        state_is_tuple: whether the state is an `LSTMStateTuple`; else one tensor, c first.
        activation: function, or the name of one; None is tanh.
        reuse: True finds the variables in the scope.
        name: the cell's name, and its scope's.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: `trainable` and other arguments of a layer.
    """

    def __init__(
        self,
        num_units: int,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer: Any = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        num_unit_shards: int | None = None,
        num_proj_shards: int | None = None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: Any = None,
        reuse: Any = None,
        name: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(reuse, name, dtype, **kwargs)
        self._num_units = num_units
        self._use_peepholes = use_peepholes
        self._cell_clip = cell_clip
        self._weight_initializer = identifiers.initializer(initializer)
        self._num_proj = num_proj
        self._proj_clip = proj_clip
        self._num_unit_shards = num_unit_shards
        self._num_proj_shards = num_proj_shards
        self._forget_bias = forget_bias
        self._state_is_tuple = state_is_tuple
        self._activation = identifiers.activation_function(activation) or tf.tanh

    @property
    def output_size(self) -> Any:
        """`num_proj`, or the number of units."""
        return self._num_proj or self._num_units

    @property
    def state_size(self) -> Any:
        """`LSTMStateTuple(units, output size)`, or the sum of both."""
        sizes = LSTMStateTuple(self._num_units, self.output_size)
        return sizes if self._state_is_tuple else sum(sizes)

    def build(self, inputs_shape: Any) -> None:
        """Makes the kernel, the bias, and the weights of peepholes and projection."""
        depth, units, output_size = self._depth_of(inputs_shape), self._num_units, self.output_size
        self._kernel = self._add_sharded("kernel", [depth + output_size, 4 * units], self._num_unit_shards)
        self._bias = self.add_weight("bias", [4 * units], initializer=_v1.zeros_initializer())
        if self._use_peepholes:
            self._w_f_diag = self.add_weight("w_f_diag", [units], initializer=self._weight_initializer)
            self._w_i_diag = self.add_weight("w_i_diag", [units], initializer=self._weight_initializer)
            self._w_o_diag = self.add_weight("w_o_diag", [units], initializer=self._weight_initializer)
        if self._num_proj is not None:
            self._proj_kernel = self._add_sharded("projection/kernel", [units, self._num_proj], self._num_proj_shards)
        self.built = True

    def _add_sharded(self, name: str, shape: list[int], shards: int | None) -> Any:
        partitioner = None if shards is None else _v1.fixed_size_partitioner(shards)
        return self.add_weight(name, shape, initializer=self._weight_initializer, partitioner=partitioner)

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, (batch, output size), and the next state."""
        self._check_step(inputs, state)
        if inputs.shape[1] is None:
            raise InputError(f"Could not infer input size from inputs.get_shape()[-1]: {inputs.shape}")
        c, h = state if self._state_is_tuple else tf.split(state, [self._num_units, self.output_size], axis=1)
        i, j, f, o = tf.split(affine([inputs, h], self._kernel, self._bias), 4, axis=1)
        c = self._next_memory(c, i, j, f)
        h = tf.sigmoid(o + self._w_o_diag * c if self._use_peepholes else o) * self._activation(c)
        if self._num_proj is not None:
            h = tf.raw_ops.MatMul(a=h, b=self._proj_kernel)
            if self._proj_clip is not None:
                h = tf.clip_by_value(h, -self._proj_clip, self._proj_clip)
        return h, (LSTMStateTuple(c, h) if self._state_is_tuple else tf.concat([c, h], 1))

    def _next_memory(self, c: Any, i: Any, j: Any, f: Any) -> Any:
        f = f + self._forget_bias
        if self._use_peepholes:
            f, i = f + self._w_f_diag * c, i + self._w_i_diag * c
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * self._activation(j)
        return c if self._cell_clip is None else tf.clip_by_value(c, -self._cell_clip, self._cell_clip)
