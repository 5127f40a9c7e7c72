"""The migration: the same TF1 code inside a Keras 3 layer, which owns its variables."""

import keras
import legacy_model

from lockstep import tf1


class Scorer(keras.layers.Layer):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return legacy_model.forward(inputs, training=bool(training))


def build():
    return Scorer()
