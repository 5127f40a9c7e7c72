"""The names that tf_slim looks for where TensorFlow 1 had them, and where they are now.

Every new place is a public one, so nothing here depends on how a TensorFlow version arranges its private modules.
Which names are missing was found by asking each tf_slim module's own imports for every attribute that its source
names, on TensorFlow 2.16.2 and 2.21.0: the two lists are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import tensorflow as tf

from lockstep.tf1.slim.scopes import name_scope

TENSOR_TYPES = {"Tensor": tf.Tensor, "IndexedSlices": tf.IndexedSlices}
# The compat.v1 functions take their arguments in TensorFlow 1's order, which tf_slim passes by position.
CONTROL_FLOW = {
    "Assert": tf.compat.v1.Assert,
    "case": tf.compat.v1.case,
    "cond": tf.compat.v1.cond,
    "while_loop": tf.compat.v1.while_loop,
}
ARRAY = {"stack": tf.stack, "unstack": tf.unstack}

# tf_slim module -> the name under which it imported a TensorFlow module -> what that module has lost.
MOVED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "tf_slim.data.tfexample_decoder": {"array_ops": ARRAY, "control_flow_ops": CONTROL_FLOW},
    "tf_slim.layers.layers": {"array_ops": ARRAY, "ops": {"name_scope": name_scope}},  # not lost, but nameless
    "tf_slim.layers.optimizers": {"ops": TENSOR_TYPES},
    "tf_slim.layers.rev_block_lib": {"framework_ops": TENSOR_TYPES},
    "tf_slim.layers.utils": {"control_flow_ops": CONTROL_FLOW, "ops": TENSOR_TYPES},
    "tf_slim.learning": {"ops": TENSOR_TYPES},
    "tf_slim.losses.metric_learning": {"control_flow_ops": CONTROL_FLOW},
    "tf_slim.metrics.histogram_ops": {"control_flow_ops": CONTROL_FLOW},
    "tf_slim.metrics.metric_ops": {"array_ops": ARRAY, "control_flow_ops": CONTROL_FLOW},
    "tf_slim.ops.variables": {"variable_scope": {"variable": tf.compat.v1.Variable}},
    "tf_slim.training.training": {"ops": TENSOR_TYPES},
}


class ModuleWithMovedNames(ModuleType):
    """A module of TensorFlow as TensorFlow 1 had it: the moved names, and everything else from the module itself.

    What the module has is asked for at each access, so that whoever replaces something in it is heard here too.
    """

    def __init__(self, module: ModuleType, moved: Mapping[str, Any]) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__.update(moved)
        self.__dict__["__wrapped__"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.__dict__["__wrapped__"])})
