"""The migrated model: put your Keras layer or model here, or import it."""

import keras
import tensorflow.compat.v1 as tf
from legacy_model import dense

from lockstep import tf1


class Mlp(keras.layers.Layer):
    """The same perceptron as a Keras 3 layer: the decorator makes the layer own what `get_variable` makes."""

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        del training
        with tf.variable_scope("mlp"):
            hidden = keras.ops.relu(dense(inputs["features"], 32, "hidden"))
            return {"logits": dense(hidden, 4, "logits")}


def build():
    """Make a new layer; called once for each way of running it."""
    return Mlp()
