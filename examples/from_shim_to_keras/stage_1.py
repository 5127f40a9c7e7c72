"""Stage 1: the head is a Keras layer, got in the place where the TF1 code was."""

import keras
import tensorflow.compat.v1 as tf
from keras_layers import Head
from legacy_model import body, stem

from lockstep import tf1


class Net(keras.layers.Layer):
    """Stem and body go through the shim."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        with tf.variable_scope("net"):
            net = body(stem(inputs["image"], training), training)
            return {"logits": tf1.get_or_create_layer("head", lambda: Head(name="head"))(net)}


def build():
    """Make a new layer."""
    return Net()
