"""All of `tf.compat.v1.nn.rnn_cell`, on TensorFlow's public operations and without any Keras.

Names, signatures, defaults, variable names and seeds are TF 1.15's. The cells run in a TF1 graph, in eager
execution and in a `tf.function`, alone or in `tf.compat.v1.nn.dynamic_rnn`, `static_rnn`, `raw_rnn` and their
companions, which TensorFlow still has; outside a graph a `lockstep.tf1.VariableStore` keeps the variables.

Randomness differs in one place: a loop of a graph, or of a `tf.function`, holds one dropout operation that runs at
every step, eager execution makes a new one at every step. So under aligned seeds `dynamic_rnn` with dropout draws
what TF 1.15 drew in a graph and in a `tf.function`, and eagerly only if the `DropoutWrapper` has its own `seed`;
`lockstep check` aligns the steps itself. In a loop with `parallel_iterations` above 1 (32 by default)
TensorFlow may draw for the steps in any order: pass 1 to compare masks by hand.
"""

from __future__ import annotations

from lockstep.tf1.rnn_cell.basic import BasicRNNCell, GRUCell
from lockstep.tf1.rnn_cell.cell import RNNCell
from lockstep.tf1.rnn_cell.dropout import DropoutWrapper
from lockstep.tf1.rnn_cell.lstm import BasicLSTMCell, LSTMCell, LSTMStateTuple
from lockstep.tf1.rnn_cell.multi import MultiRNNCell
from lockstep.tf1.rnn_cell.wrappers import DeviceWrapper, ResidualWrapper

__all__ = [
    "BasicLSTMCell",
    "BasicRNNCell",
    "DeviceWrapper",
    "DropoutWrapper",
    "GRUCell",
    "LSTMCell",
    "LSTMStateTuple",
    "MultiRNNCell",
    "RNNCell",
    "ResidualWrapper",
]
