"""A small U-Net with group norm by hand and mish spelled out."""

import tensorflow.compat.v1 as tf

GROUPS = 4


def group_norm(x, scope):
    with tf.variable_scope(scope):
        n, h, w, c = (int(size) for size in x.shape)
        gamma = tf.get_variable("gamma", [c], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [c], initializer=tf.zeros_initializer())
        grouped = tf.reshape(x, [n, h, w, GROUPS, c // GROUPS])
        mean, variance = tf.nn.moments(grouped, [1, 2, 4], keep_dims=True)
        grouped = (grouped - mean) / tf.sqrt(variance + 1e-5)
        return tf.reshape(grouped, [n, h, w, c]) * gamma + beta


def mish(x):
    with tf.name_scope("mish"):
        return x * tf.tanh(tf.nn.softplus(x))


def forward(inputs, training):
    """Segment pictures (2, 8, 8, 3)."""
    with tf.variable_scope("net"):
        down = tf.layers.conv2d(inputs["x"], 8, 3, padding="same", name="down")
        down = mish(group_norm(down, "down_norm"))
        low = tf.layers.max_pooling2d(down, 2, 2, name="pool")
        low = tf.layers.conv2d(low, 8, 3, padding="same", name="low")
        low = tf.nn.leaky_relu(group_norm(low, "low_norm"), alpha=0.1, name="leaky")
        up = tf.image.resize_nearest_neighbor(low, [8, 8], name="up")
        both = tf.concat([up, down], axis=3, name="skip")
        both = tf.layers.conv2d(both, 8, 3, padding="same", name="merge")
        both = mish(group_norm(both, "merge_norm"))
        return tf.layers.conv2d(both, 2, 1, name="classes")
