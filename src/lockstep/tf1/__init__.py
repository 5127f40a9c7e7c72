"""TF1-style code on today's TensorFlow and Keras 3.

`track_tf1_style_variables` lets a Keras layer, a Keras model or a `tf.Module` run TF1 code that makes its
variables by name; `layers` is all of `tf.compat.v1.layers`, `rnn_cell` all of `tf.compat.v1.nn.rnn_cell`;
`enable()` puts these, and the guide's other tools, back where TF1 code looks for them, and mends tf_slim.
"""

from __future__ import annotations

# First, because it refuses versions on which the imports below would fail with less to go by.
from lockstep.tf1 import private as _private  # noqa: F401

# isort: split
from lockstep.tf1 import layers, rnn_cell
from lockstep.tf1.citizenship import StatelessCallError
from lockstep.tf1.enabling import disable, enable
from lockstep.tf1.owners import NoOwnerError
from lockstep.tf1.ownership import UntrackedVariablesError
from lockstep.tf1.package_imports import AlreadyImportedError, give_tensorflow_1_to
from lockstep.tf1.store import VariableStore
from lockstep.tf1.tensorflow_1 import GoneFromTensorFlowError
from lockstep.tf1.tracking import (
    TF1GraphError,
    VariableScopeLayer,
    build,
    get_or_create_layer,
    store_of,
    track_tf1_style_variables,
)

__all__ = [
    "AlreadyImportedError",
    "GoneFromTensorFlowError",
    "NoOwnerError",
    "StatelessCallError",
    "TF1GraphError",
    "UntrackedVariablesError",
    "VariableScopeLayer",
    "VariableStore",
    "build",
    "disable",
    "enable",
    "get_or_create_layer",
    "give_tensorflow_1_to",
    "layers",
    "rnn_cell",
    "store_of",
    "track_tf1_style_variables",
]
