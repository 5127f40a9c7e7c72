"""A migration that went wrong: the scaling layer of TensorFlow's guide that makes new variables in every call."""

import keras
import tensorflow.compat.v1 as tf
from legacy_model import classify

from lockstep import tf1


class Classifier(keras.layers.Layer):
    """Looks right, and computes the right numbers until it is trained: `scale` and `bias` never learn."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        with tf.variable_scope("classifier"):
            scale = tf.Variable(2.0, name="scale")  # the mistake: a new variable every time, which nobody owns
            bias = tf.Variable(2.0, name="bias")
            return classify(inputs["image"] * scale + bias, training)


def build():
    """Make a new layer."""
    return Classifier()
