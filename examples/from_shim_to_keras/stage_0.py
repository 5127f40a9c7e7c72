"""Stage 0: the TF1 code, unchanged, in a Keras layer."""

import keras
from legacy_model import forward

from lockstep import tf1


class Net(keras.layers.Layer):
    """Everything goes through the shim."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return forward(inputs, training)


def build():
    """Make a new layer."""
    return Net()
