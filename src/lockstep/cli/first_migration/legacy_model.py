"""The original: put your TF1 code here, or import it."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """A perceptron with one hidden layer; `inputs` is a dict of tensors under the names of lockstep.toml."""
    del training  # this one does the same in training: it has neither dropout nor batch normalisation
    with tf.variable_scope("mlp"):
        hidden = tf.nn.relu(dense(inputs["features"], 32, "hidden"))
        return {"logits": dense(hidden, 4, "logits")}


def dense(x, units, name):
    """A fully connected layer, its variables made by hand."""
    with tf.variable_scope(name):
        weights = tf.get_variable("weights", [x.shape[-1], units], initializer=tf.glorot_uniform_initializer())
        biases = tf.get_variable("biases", [units], initializer=tf.zeros_initializer())
        return tf.matmul(x, weights) + biases
