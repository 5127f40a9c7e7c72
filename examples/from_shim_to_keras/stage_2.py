"""Stage 2: body and head are Keras layers, made once, as attributes; the stem still goes through the shim."""

import keras
import tensorflow.compat.v1 as tf
from keras_layers import Body, Head
from legacy_model import stem

from lockstep import tf1


class Net(keras.layers.Layer):
    """Only what is decorated may hold TF1 code."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.body, self.head = Body(name="body"), Head(name="head")

    def call(self, inputs, training=False):
        net = self.stem(inputs["image"], training)
        return {"logits": self.head(self.body(net, training=training))}

    @tf1.track_tf1_style_variables
    def stem(self, image, training):
        """The last of the TF1 code."""
        with tf.variable_scope("net"):
            return stem(image, training)


def build():
    """Make a new layer."""
    return Net(name="net")
