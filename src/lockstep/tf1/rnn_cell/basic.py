"""The cells without a memory of their own: `BasicRNNCell` and `GRUCell`."""
# ruff: noqa: PLR0913, PLR0917 - the signatures are TF 1.15's

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lockstep.tf1.layers import identifiers
from lockstep.tf1.rnn_cell.cell import LayerRNNCell

_v1 = tf.compat.v1


class BasicRNNCell(LayerRNNCell):
    """The simplest cell: `output = state = activation([inputs, state] * kernel + bias)`.

    Variables: `kernel` (input size + units, units), `bias` (units,).

    Args:
        num_units: size of the state and of the output.
        activation: function, or the name of one; None is tanh.
        reuse: True finds the variables in the scope.
        name: the cell's name, and its scope's.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: `trainable` and other arguments of a layer.
    """

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        name: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(reuse, name, dtype, **kwargs)
        self._num_units = num_units
        self._activation = identifiers.activation_function(activation) or tf.tanh

    def build(self, inputs_shape: Any) -> None:
        """Makes `kernel` and `bias`."""
        depth = self._depth_of(inputs_shape)
        self._kernel = self.add_weight("kernel", [depth + self._num_units, self._num_units])
        self._bias = self.add_weight("bias", [self._num_units], initializer=_v1.zeros_initializer())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, (batch, units), twice: it is the next state."""
        self._check_step(inputs, state)
        output = self._activation(affine([inputs, state], self._kernel, self._bias))
        return output, output


class GRUCell(LayerRNNCell):
    """Gated recurrent unit (Cho et al. 2014, arXiv 1406.1078).

    `r, u = sigmoid([inputs, state] * gates/kernel + gates/bias)`, then
    `c = activation([inputs, r * state] * candidate/kernel + candidate/bias)` and `u * state + (1 - u) * c`.

    Variables: `gates/kernel` (input size + units, 2 units), `gates/bias` (2 units,), `candidate/kernel`
    (input size + units, units), `candidate/bias` (units,).

    Args:
        num_units: size of the state and of the output.
        activation: function, or the name of one; None is tanh.
        reuse: True finds the variables in the scope.
        kernel_initializer: of both kernels; None is the scope's.
        bias_initializer: of both biases; None fills that of the gates with ones, the other with zeros.
        name: the cell's name, and its scope's.
        dtype: dtype of the weights; None takes that of the first input.
        **kwargs: `trainable` and other arguments of a layer.
    """

    def __init__(
        self,
        num_units: int,
        activation: Any = None,
        reuse: Any = None,
        kernel_initializer: Any = None,
        bias_initializer: Any = None,
        name: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(reuse, name, dtype, **kwargs)
        self._num_units = num_units
        self._activation = identifiers.activation_function(activation) or tf.tanh
        self._kernel_initializer = identifiers.initializer(kernel_initializer)
        self._bias_initializer = identifiers.initializer(bias_initializer)

    def build(self, inputs_shape: Any) -> None:
        """Makes the kernels and biases of the gates and of the candidate."""
        rows, units = self._depth_of(inputs_shape) + self._num_units, self._num_units
        ones, zeros = _v1.constant_initializer(1.0), _v1.zeros_initializer()
        given = self._bias_initializer
        self._gate_kernel = self.add_weight("gates/kernel", [rows, 2 * units], initializer=self._kernel_initializer)
        self._gate_bias = self.add_weight("gates/bias", [2 * units], initializer=ones if given is None else given)
        self._candidate_kernel = self.add_weight(
            "candidate/kernel", [rows, units], initializer=self._kernel_initializer
        )
        self._candidate_bias = self.add_weight("candidate/bias", [units], initializer=zeros if given is None else given)
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """Returns the output, (batch, units), twice: it is the next state."""
        self._check_step(inputs, state)
        gates = tf.sigmoid(affine([inputs, state], self._gate_kernel, self._gate_bias))
        reset, update = tf.split(gates, 2, axis=1)
        candidate = affine([inputs, reset * state], self._candidate_kernel, self._candidate_bias)
        output = update * state + (1 - update) * self._activation(candidate)
        return output, output


def affine(parts: list[Any], kernel: Any, bias: Any) -> Any:
    """Returns `concat(parts) * kernel + bias`.

    Args:
        parts: tensors (batch, size), put side by side.
        kernel: (sum of the sizes, outputs).
        bias: (outputs,).

    Returns:
        (batch, outputs).
    """
    # The raw operations take a third of the time of tf.matmul and tf.nn.bias_add in eager execution.
    product = tf.raw_ops.MatMul(a=tf.concat(parts, 1), b=kernel)
    return tf.raw_ops.BiasAdd(value=product, bias=bias)
