"""Stage 3: Keras 3 alone. Nothing of TF1, and nothing of Lockstep, is left to import."""

import keras
from keras_layers import Body, Head, Stem


class Net(keras.layers.Layer):
    """The rewritten model."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem, self.body, self.head = Stem(name="stem"), Body(name="body"), Head(name="head")

    def call(self, inputs, training=False):
        net = self.stem(inputs["image"], training=training)
        return {"logits": self.head(self.body(net, training=training))}


def build():
    """Make a new layer."""
    return Net(name="net")
