"""A discriminator with spectral norm by power iteration, instance norm, and a hinge loss."""

import tensorflow.compat.v1 as tf


def spectral(w):
    with tf.variable_scope("spectral"):
        rows = tf.reshape(w, [-1, int(w.shape[-1])])
        u = tf.get_variable("u", [1, int(w.shape[-1])], initializer=tf.random_normal_initializer(), trainable=False)
        v = tf.nn.l2_normalize(tf.matmul(u, rows, transpose_b=True), epsilon=1e-12)
        new = tf.nn.l2_normalize(tf.matmul(v, rows), epsilon=1e-12)
        sigma = tf.matmul(tf.matmul(v, rows), new, transpose_b=True)
        return w / sigma[0, 0]


def conv(x, filters, name):
    with tf.variable_scope(name):
        start = tf.random_normal_initializer(stddev=0.1)
        w = tf.get_variable("w", [4, 4, int(x.shape[-1]), filters], initializer=start)
        b = tf.get_variable("b", [filters], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.nn.conv2d(x, spectral(w), [1, 2, 2, 1], "SAME"), b)


def instance_norm(x, name):
    with tf.variable_scope(name):
        channels = int(x.shape[-1])
        scale = tf.get_variable("scale", [channels], initializer=tf.ones_initializer())
        offset = tf.get_variable("offset", [channels], initializer=tf.zeros_initializer())
        mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
        return scale * (x - mean) * tf.rsqrt(variance + 1e-5) + offset


def score(x):
    x = tf.nn.leaky_relu(conv(x, 6, "conv_0"), 0.2, name="leaky_0")
    x = tf.nn.leaky_relu(instance_norm(conv(x, 8, "conv_1"), "norm_1"), 0.2, name="leaky_1")
    return tf.layers.dense(tf.reduce_sum(x, axis=[1, 2], name="pooled"), 1, name="score")


def forward(inputs, training):
    """Tell real pictures (3, 8, 8, 3) from fake ones."""
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        real, fake = score(inputs["real"]), score(inputs["fake"])
        with tf.name_scope("loss"):
            loss = tf.reduce_mean(tf.nn.relu(1.0 - real)) + tf.reduce_mean(tf.nn.relu(1.0 + fake))
        return {"real": real, "loss": loss}
