"""The modules of layer classes that tf_slim asks for, made of Lockstep's own layers.

tf_slim takes its layers from `tensorflow.python.layers`, which on today's TensorFlow leads to private leftovers of an
old Keras, and for batch normalisation to a module of tf_keras that has moved away.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace, new_class
from typing import Any

from lockstep.tf1 import layers

# The name under which tf_slim.layers.layers imported the module -> its classes under the names that tf_slim uses.
LAYER_MODULES: Mapping[str, SimpleNamespace] = MappingProxyType(
    {
        "convolutional_layers": SimpleNamespace(
            Convolution1D=layers.Conv1D,
            Convolution2D=layers.Conv2D,
            Convolution3D=layers.Conv3D,
            Convolution2DTranspose=layers.Conv2DTranspose,
            Convolution3DTranspose=layers.Conv3DTranspose,
            SeparableConvolution2D=layers.SeparableConv2D,
        ),
        "core_layers": SimpleNamespace(Dense=layers.Dense, Dropout=layers.Dropout, flatten=layers.flatten),
        "normalization_layers": SimpleNamespace(BatchNormalization=layers.BatchNormalization),
        "pooling_layers": SimpleNamespace(
            AveragePooling2D=layers.AveragePooling2D,
            AveragePooling3D=layers.AveragePooling3D,
            MaxPooling2D=layers.MaxPooling2D,
            MaxPooling3D=layers.MaxPooling3D,
        ),
    }
)

INPUT_SPECIFICATION = SimpleNamespace(InputSpec=layers.InputSpec)


def rebased(layer_class: type, **attributes: Any) -> type:
    """Makes a copy of a layer class of tf_slim that rests on Lockstep's base of all layers.

    What the class's methods say to `super()` reaches the new base once the copy has taken the class's name in its
    module: they name their class there.

    Args:
        layer_class: a direct subclass of `tensorflow.python.layers.base.Layer`.
        **attributes: what is to be different in the copy.
    """
    own = {name: value for name, value in vars(layer_class).items() if name not in {"__dict__", "__weakref__"}}
    return new_class(layer_class.__name__, (layers.Layer,), exec_body=lambda body: body.update({**own, **attributes}))
