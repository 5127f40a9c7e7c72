"""A small classifier as TF1 code: the part of the code that somebody still owns."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Scale the pixels, one hidden layer with dropout, ten logits."""
    with tf.variable_scope("classifier"):
        scale = tf.get_variable("scale", [], initializer=tf.constant_initializer(2.0))
        bias = tf.get_variable("bias", [], initializer=tf.constant_initializer(2.0))
        return classify(inputs["image"] * scale + bias, training)


def classify(net, training):
    """Everything behind the scaling."""
    hidden = tf.layers.dense(net, 64, tf.nn.relu, kernel_regularizer=decay, name="hidden")
    hidden = tf.layers.dropout(hidden, 0.3, training=training)
    return {"logits": tf.layers.dense(hidden, 10, kernel_regularizer=decay, name="logits")}


def decay(weights):
    """Weight decay, as a regularization loss."""
    return 1e-4 * tf.nn.l2_loss(weights)
