"""TF1-style code on today's TensorFlow and Keras 3.

`track_tf1_style_variables` lets a Keras layer, a Keras model or a `tf.Module` run TF1 code that makes its
variables by name; `layers` is all of `tf.compat.v1.layers`, `rnn_cell` all of `tf.compat.v1.nn.rnn_cell`;
`enable()` puts these, and the guide's other tools, back where TF1 code looks for them, and mends tf_slim.
"""

from __future__ import annotations

from lockstep.tf1 import layers, rnn_cell
from lockstep.tf1.enabling import disable, enable
from lockstep.tf1.ownership import UntrackedVariablesError
from lockstep.tf1.store import VariableStore
from lockstep.tf1.tracking import VariableScopeLayer, get_or_create_layer, track_tf1_style_variables

__all__ = [
    "UntrackedVariablesError",
    "VariableScopeLayer",
    "VariableStore",
    "disable",
    "enable",
    "get_or_create_layer",
    "layers",
    "rnn_cell",
    "track_tf1_style_variables",
]
