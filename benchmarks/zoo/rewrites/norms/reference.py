"""Norms of many kinds, one behind the other, each by hand as papers' code has it."""

import tensorflow.compat.v1 as tf


def scaled(x, name):
    with tf.variable_scope(name):
        gain = tf.get_variable("gain", [8], initializer=tf.ones_initializer())
        offset = tf.get_variable("offset", [8], initializer=tf.zeros_initializer())
        return x * gain + offset


def forward(inputs, training):
    """Normalise x (2, 6, 8)."""
    with tf.variable_scope("net"):
        x = tf.layers.dense(inputs["x"], 8, name="first")
        with tf.name_scope("layer"):
            mean, variance = tf.nn.moments(x, [2], keep_dims=True)
            x = scaled((x - mean) * tf.rsqrt(variance + 1e-6), "layer")
        x = tf.layers.dense(x, 8, tf.nn.relu, name="second")
        with tf.name_scope("rms"):
            square = tf.reduce_mean(tf.square(x), -1, keepdims=True)
            x = scaled(x * tf.rsqrt(square + 1e-6), "rms")
        x = tf.layers.dense(x, 8, tf.nn.relu, name="third")
        with tf.name_scope("group"):
            pieces = tf.reshape(x, [2, 6, 2, 4])
            mean, variance = tf.nn.moments(pieces, [1, 3], keep_dims=True)
            x = scaled(tf.reshape((pieces - mean) / tf.sqrt(variance + 1e-3), [2, 6, 8]), "group")
        x = tf.layers.dense(x, 8, name="fourth")
        with tf.name_scope("length"):
            x = tf.nn.l2_normalize(x, 2)
        return tf.layers.dense(x, 3, name="last")
