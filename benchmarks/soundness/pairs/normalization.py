"""Normalisations, fused, spelled out and from Keras."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, later, variable

PAIRS = Topic("normalization")

IMAGES = (3, 4, 4, 6)
ROWS = (5, 6)


def _affine(scale="gamma", shift="beta"):
    gamma = variable(scale, 6, initializer=tf.ones_initializer())
    return gamma, variable(shift, 6, initializer=tf.zeros_initializer())


def _averages():
    mean = variable("moving_mean", 6, initializer=tf.zeros_initializer(), trainable=False)
    return mean, variable("moving_variance", 6, initializer=tf.ones_initializer(), trainable=False)


@PAIRS.original(precision="float32", x=floats(*IMAGES))
def fused_batch_norm(x, training):
    return tf.layers.batch_normalization(x, momentum=0.9, training=training, name="n")


@PAIRS.rewrite(fused_batch_norm)
def spelled_out_with_the_unbiased_variance(x, training):
    """What the fused kernel keeps is the unbiased variance, what it divides by the biased one."""
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        average, kept = _averages()
        mean, variance = average, kept
        if training:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            later(tf.assign(average, 0.9 * average + 0.1 * mean))
            later(tf.assign(kept, 0.9 * kept + 0.1 * variance * (48.0 / 47.0)))
        return gamma * (x - mean) / tf.sqrt(variance + 1e-3) + beta


@PAIRS.rewrite(fused_batch_norm)
def channels_first_in_between(x, training):
    y = tf.transpose(tf.transpose(x, [0, 3, 1, 2]), [0, 2, 3, 1])
    return tf.layers.batch_normalization(y, axis=-1, momentum=0.9, training=training, name="n")


@PAIRS.rewrite(fused_batch_norm)
def positive_axis_of_a_flat_image(x, training):
    y = tf.layers.batch_normalization(tf.reshape(x, [3, 16, 1, 6]), 3, 0.9, training=training, name="n")
    return tf.reshape(y, [3, 4, 4, 6])


@PAIRS.original(x=floats(*IMAGES))
def batch_norm_not_fused(x, training):
    return tf.layers.batch_normalization(x, momentum=0.9, fused=False, training=training, name="n")


@PAIRS.native(batch_norm_not_fused)
def keras_batch_norm(x):
    return keras.layers.BatchNormalization(momentum=0.9, name="n")(x)


@PAIRS.rewrite(batch_norm_not_fused)
def on_rows(x, training):
    y = tf.layers.batch_normalization(tf.reshape(x, [48, 6]), momentum=0.9, training=training, name="n")
    return tf.reshape(y, [3, 4, 4, 6])


@PAIRS.rewrite(batch_norm_not_fused)
def channels_first_inside(x, training):
    y = tf.transpose(x, [0, 3, 1, 2])
    y = tf.layers.batch_normalization(y, 1, 0.9, fused=False, training=training, name="n")
    return tf.transpose(y, [0, 2, 3, 1])


@PAIRS.rewrite(batch_norm_not_fused)
def differences_of_the_averages(x, training):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        average, kept = _averages()
        if not training:
            factor = gamma * tf.rsqrt(kept + 0.001)
            return x * factor + (beta - average * factor)
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean(tf.squared_difference(x, mean), [0, 1, 2])
        later(tf.assign_sub(average, (average - mean) * 0.1))
        later(tf.assign_sub(kept, (kept - variance) * 0.1))
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


@PAIRS.original(x=floats(*ROWS))
def batch_norm_of_rows(x, training):
    h = tf.layers.dense(x, 6, use_bias=False, name="d")
    return tf.layers.batch_normalization(h, momentum=0.8, epsilon=1e-4, training=training, name="n")


@PAIRS.native(batch_norm_of_rows)
def keras_batch_norm_of_rows(x):
    h = keras.layers.Dense(6, use_bias=False, name="d")(x)
    return keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-4, name="n")(h)


@PAIRS.original(x=floats(*ROWS))
def folded_batch_norm(x):
    """In inference alone."""
    h = tf.layers.dense(x, 6, use_bias=False, name="d")
    return tf.layers.batch_normalization(h, training=False, name="n")


@PAIRS.rewrite(folded_batch_norm)
def into_the_kernel(x):
    with tf.variable_scope("d"):
        kernel = variable("kernel", 6, 6)
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        mean, variance = _averages()
    factor = gamma / tf.sqrt(variance + 0.001)
    return tf.matmul(x, kernel * factor) + beta - mean * factor


@PAIRS.original(x=floats(2, 5, 6))
def layer_norm(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return (x - mean) * tf.rsqrt(variance + 1e-5) * gamma + beta


@PAIRS.native(layer_norm)
def keras_layer_norm(x):
    return keras.layers.LayerNormalization(epsilon=1e-5, name="n")(x)


@PAIRS.rewrite(layer_norm)
def by_batch_normalization(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        mean, variance = tf.nn.moments(x, [2], keep_dims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)


@PAIRS.rewrite(layer_norm)
def mean_of_squares(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        mean = tf.reduce_mean(x, 2, keepdims=True)
        variance = tf.reduce_mean(tf.square(x), 2, keepdims=True) - tf.square(mean)
        return (x - mean) / tf.sqrt(variance + 1e-5) * gamma + beta


@PAIRS.rewrite(layer_norm)
def by_the_fused_kernel(x):
    """Each row is a channel of an image."""
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        rows = tf.reshape(x, [1, 10, 6, 1])
        one, none = tf.ones([10], x.dtype), tf.zeros([10], x.dtype)
        if x.dtype == tf.float64:  # which the fused kernel does not have
            mean, variance = tf.nn.moments(rows, [0, 2, 3], keep_dims=True)
            y = (rows - mean) / tf.sqrt(variance + 1e-5)
        else:
            y = tf.transpose(tf.reshape(rows, [1, 10, 1, 6]), [0, 2, 3, 1])
            y = tf.nn.fused_batch_norm(y, one, none, epsilon=1e-5)[0]
            y = tf.transpose(y, [0, 3, 1, 2])
        return tf.reshape(y, [2, 5, 6]) * gamma + beta


@PAIRS.rewrite(layer_norm)
def centred_first(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        centred = x - tf.reduce_sum(x, -1, keepdims=True) / 6.0
        return beta + gamma * centred / tf.sqrt(tf.reduce_sum(centred**2, -1, keepdims=True) / 6.0 + 1e-5)


@PAIRS.original(x=floats(*IMAGES))
def group_norm(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        groups = tf.reshape(x, [3, 4, 4, 2, 3])
        mean, variance = tf.nn.moments(groups, [1, 2, 4], keep_dims=True)
        return tf.reshape((groups - mean) / tf.sqrt(variance + 1e-5), [3, 4, 4, 6]) * gamma + beta


@PAIRS.native(group_norm)
def keras_group_norm(x):
    return keras.layers.GroupNormalization(2, epsilon=1e-5, name="n")(x)


@PAIRS.rewrite(group_norm)
def group_after_group(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        normalized = []
        for part in tf.split(x, 2, 3):
            mean = tf.reduce_mean(part, [1, 2, 3], keepdims=True)
            variance = tf.reduce_mean((part - mean) ** 2, [1, 2, 3], keepdims=True)
            normalized.append((part - mean) * tf.rsqrt(variance + 1e-5))
        return tf.concat(normalized, 3) * gamma + beta


@PAIRS.rewrite(group_norm)
def channels_first_groups(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        rows = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [6, 48])
        mean, variance = tf.nn.moments(rows, [1], keep_dims=True)
        y = tf.reshape((rows - mean) * tf.rsqrt(variance + 1e-5), [3, 6, 4, 4])
        return tf.transpose(y * gamma[:, None, None] + beta[:, None, None], [0, 2, 3, 1])


@PAIRS.original(x=floats(*IMAGES))
def instance_norm(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()
        mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


@PAIRS.native(instance_norm)
def keras_groups_of_one_channel(x):
    return keras.layers.GroupNormalization(-1, epsilon=1e-3, name="n")(x)


@PAIRS.rewrite(instance_norm)
def image_after_image(x):
    with tf.variable_scope("n"):
        gamma, beta = _affine()

        def one(image):
            mean = tf.reduce_mean(image, [0, 1])
            return (image - mean) / tf.sqrt(tf.reduce_mean((image - mean) ** 2, [0, 1]) + 1e-3)

        return tf.map_fn(one, x) * gamma + beta


@PAIRS.original(x=floats(*ROWS))
def rms_norm(x):
    with tf.variable_scope("n"):
        scale = variable("scale", 6, initializer=tf.ones_initializer())
        return x * tf.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-6) * scale


@PAIRS.native(rms_norm)
def keras_rms_norm(x):
    return keras.layers.RMSNormalization(epsilon=1e-6, name="n")(x)


@PAIRS.rewrite(rms_norm)
def division_by_the_root(x):
    with tf.variable_scope("n"):
        scale = variable("scale", 6, initializer=tf.ones_initializer())
        return scale * x / tf.sqrt(tf.reduce_sum(x * x, 1, keepdims=True) / 6.0 + 1e-6)


@PAIRS.original(x=floats(*ROWS))
def unit_length(x):
    return tf.nn.l2_normalize(tf.layers.dense(x, 6, name="d"), 1)


@PAIRS.rewrite(unit_length)
def division_by_the_norm(x):
    h = tf.layers.dense(x, 6, name="d")
    return h / tf.norm(h, axis=1, keepdims=True)


@PAIRS.native(unit_length)
def keras_unit_norm(x):
    return keras.layers.UnitNormalization()(keras.layers.Dense(6, name="d")(x))


@PAIRS.original(x=floats(*IMAGES))
def moments(x):
    mean, variance = tf.nn.moments(x * variable("w", 6), [0, 1, 2])
    return mean, variance


@PAIRS.rewrite(moments)
def moments_by_hand(x):
    y = tf.reshape(x * variable("w", 6), [48, 6])
    mean = tf.reduce_sum(y, 0) / 48.0
    return mean, tf.reduce_sum((y - mean) ** 2, 0) / 48.0


@PAIRS.rewrite(moments)
def moments_of_moments(x):
    y = x * variable("w", 6)
    each = tf.reduce_mean(y, [1, 2])
    mean = tf.reduce_mean(each, 0)
    within = tf.reduce_mean((y - each[:, None, None]) ** 2, [0, 1, 2])
    return mean, within + tf.reduce_mean((each - mean) ** 2, 0)


@PAIRS.rewrite(moments)
def power_minus_square(x):
    y = tf.reshape(x * variable("w", 6), [48, 6])
    mean = tf.reduce_mean(y, 0)
    return mean, tf.reduce_mean(y * y, 0) - mean * mean
