"""The migration: the TF1 code runs unchanged inside a Keras 3 layer, which owns its variables."""

import keras
from legacy_model import forward

from lockstep import tf1


class Classifier(keras.layers.Layer):
    """Can be trained, saved and put into a Keras model like any other layer."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return forward(inputs, training)


def build():
    """Make a new layer."""
    return Classifier()
