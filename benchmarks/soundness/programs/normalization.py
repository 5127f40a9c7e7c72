"""Normalisations in all forms that TF1 code writes them."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import slim, tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("normalization")
program = PROGRAMS.program

IMAGES = (3, 4, 4, 6)


def _later(update):
    if not tf.executing_eagerly():
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def _affine(size):
    gamma = tf.get_variable("gamma", [size], initializer=tf.ones_initializer())
    beta = tf.get_variable("beta", [size], initializer=tf.zeros_initializer())
    return gamma, beta


@program(x=floats(6, 5))
def batch_norm_by_hand(x, training):
    gamma, beta = _affine(5)
    mean = tf.get_variable("moving_mean", [5], initializer=tf.zeros_initializer(), trainable=False)
    variance = tf.get_variable("moving_variance", [5], initializer=tf.ones_initializer(), trainable=False)
    if not training:
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
    m, v = tf.nn.moments(x, [0])
    _later(tf.assign(mean, 0.9 * mean + 0.1 * m))
    _later(tf.assign(variance, 0.9 * variance + 0.1 * v))
    return tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3)


@program(x=floats(*IMAGES))
def fused_batch_norm_of_nn(x, training):
    gamma, beta = _affine(6)
    mean = tf.get_variable("mean", [6], initializer=tf.zeros_initializer(), trainable=False)
    variance = tf.get_variable("variance", [6], initializer=tf.ones_initializer(), trainable=False)
    if training:
        y, m, v = tf.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-4)
        _later(tf.assign(mean, 0.99 * mean + 0.01 * m))
        _later(tf.assign(variance, 0.99 * variance + 0.01 * v))
        return y
    return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=1e-4, is_training=False)[0]


@program(x=floats(*IMAGES))
def batch_norm_with_the_average_of_a_class(x, training):
    from tensorflow.python.training import moving_averages

    gamma, beta = _affine(6)
    mean = tf.get_variable("mean", [6], initializer=tf.zeros_initializer(), trainable=False)
    m, v = tf.nn.moments(x, [0, 1, 2])
    if training:
        _later(moving_averages.assign_moving_average(mean, m, 0.95, zero_debias=False))
    return gamma * (x - (m if training else mean)) * tf.rsqrt(v + 1e-5) + beta


@program(x=floats(*IMAGES))
def batch_norm_in_a_conditional(x, training):
    flag = tf.placeholder_with_default(training, [])
    return tf.layers.batch_normalization(x, training=flag, momentum=0.8)


@program(x=floats(*IMAGES))
def batch_norms_of_two_towers(x, training):
    def tower(y):
        with tf.variable_scope("tower", reuse=tf.AUTO_REUSE):
            return tf.layers.batch_normalization(tf.layers.conv2d(y, 3, 1, name="c"), training=False, name="n")

    return tower(x) + tower(-x) if not training else tower(x)


@program(x=floats(*IMAGES))
def batch_norm_that_is_frozen(x):
    return tf.layers.batch_normalization(tf.layers.conv2d(x, 4, 3), training=False, trainable=False)


@program(x=floats(*IMAGES))
def slim_batch_norm_in_arg_scope(x, training):
    options = {"is_training": training, "decay": 0.95, "epsilon": 1e-5, "scale": True}
    with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=options):
        return slim.conv2d(slim.conv2d(x, 4, 3), 5, 1)


@program(x=floats(*IMAGES))
def slim_batch_norm_updates_in_place(x, training):
    return slim.batch_norm(x, is_training=training, updates_collections=None, decay=0.9, scale=True)


@program(x=floats(6, 5))
def layer_norm_by_hand(x):
    gamma, beta = _affine(5)
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    return gamma * (x - mean) * tf.rsqrt(variance + 1e-6) + beta


@program(x=floats(6, 5))
def layer_norm_with_a_standard_deviation(x):
    """As the Annotated Transformer and OpenAI's baselines write it."""
    gamma, beta = _affine(5)
    mean = tf.reduce_mean(x, axis=-1, keepdims=True)
    deviation = tf.sqrt(tf.reduce_mean(tf.squared_difference(x, mean), axis=-1, keepdims=True))
    return gamma * (x - mean) / (deviation + 1e-6) + beta


@program(x=floats(2, 3, 8))
def layer_norm_of_slim(x):
    return slim.layer_norm(x, begin_norm_axis=-1, begin_params_axis=-1)


@program(x=floats(*IMAGES))
def group_norm_by_reshaping(x):
    gamma, beta = _affine(6)
    groups = tf.reshape(x, [3, 4, 4, 2, 3])
    mean, variance = tf.nn.moments(groups, [1, 2, 4], keep_dims=True)
    y = tf.reshape((groups - mean) / tf.sqrt(variance + 1e-5), tf.shape(x))
    return y * gamma + beta


@program(x=floats(*IMAGES))
def instance_norm_by_hand(x):
    gamma, beta = _affine(6)
    mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-6)


@program(x=floats(*IMAGES), style=floats(3, 5))
def adaptive_instance_norm(x, style):
    scale = tf.layers.dense(style, 6, name="scale")[:, None, None]
    shift = tf.layers.dense(style, 6, name="shift")[:, None, None]
    mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-8) * (scale + 1.0) + shift


@program(x=floats(*IMAGES))
def pixel_norm(x):
    y = tf.layers.conv2d(x, 5, 3, padding="same")
    return y * tf.rsqrt(tf.reduce_mean(tf.square(y), axis=-1, keepdims=True) + 1e-8)


@program(x=floats(4, 6))
def rms_norm(x):
    scale = tf.get_variable("scale", [6], initializer=tf.ones_initializer())
    return x * tf.rsqrt(tf.reduce_mean(x**2, -1, keepdims=True) + 1e-6) * scale


@program(x=floats(*IMAGES))
def local_response(x):
    return tf.nn.lrn(tf.layers.conv2d(x, 8, 3), depth_radius=2, bias=1.0, alpha=1e-3, beta=0.75)


@program(x=floats(4, 6))
def weight_norm(x):
    v = tf.get_variable("v", [6, 3], initializer=tf.random_normal_initializer(0, 0.05))
    g = tf.get_variable("g", [3], initializer=tf.ones_initializer())
    b = tf.get_variable("b", [3], initializer=tf.zeros_initializer())
    return tf.matmul(x, v) * (g / tf.sqrt(tf.reduce_sum(tf.square(v), [0]))) + b


@program(x=floats(*IMAGES))
def filter_response_norm(x):
    gamma, beta = _affine(6)
    tau = tf.get_variable("tau", [6], initializer=tf.zeros_initializer())
    epsilon = tf.abs(tf.get_variable("epsilon", [], initializer=tf.constant_initializer(1e-6)))
    power = tf.reduce_mean(tf.square(x), axis=[1, 2], keepdims=True)
    return tf.maximum(gamma * x * tf.rsqrt(power + epsilon) + beta, tau)


@program(x=floats(6, 5))
def sufficient_statistics(x):
    statistics = tf.nn.sufficient_statistics(x, [0], shift=0.1)
    mean, variance = tf.nn.normalize_moments(*statistics)
    return (x - mean) * tf.rsqrt(variance + 1e-3) * tf.get_variable("scale", [5])


@program(x=floats(6, 5), weights=floats(6, 1, low=0.1))
def weighted_moments(x, weights):
    mean, variance = tf.nn.weighted_moments(x, [0], weights)
    return (x - mean) / tf.sqrt(variance + 1e-3) * tf.get_variable("scale", [5])


@program(x=floats(4, 6))
def unit_length(x):
    w = tf.get_variable("w", [6, 3])
    return tf.matmul(tf.nn.l2_normalize(x, 1, epsilon=1e-10), tf.nn.l2_normalize(w, 0))
