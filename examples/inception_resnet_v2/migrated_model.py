"""The same network as a Keras 3 layer: the TF1-style forward pass, unchanged, behind one decorator."""

import keras
import legacy_model

from lockstep import tf1


class InceptionResnetV2(keras.layers.Layer):
    """Inception-ResNet-v2 with its variables under their TF1 names."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        # slim takes no None for is_training, which Keras passes while it traces a functional model.
        return legacy_model.forward(inputs, training=bool(training))


def build():
    """Makes the layer; its weights come with the first call."""
    return InceptionResnetV2()
