"""Activations and softmax, spelled out in other ways."""

from __future__ import annotations

import math

import numpy as np
from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, variable

PAIRS = Topic("activations")

X = floats(4, 6, low=-4.0, high=4.0)


def _hidden(x):
    return tf.layers.dense(x, 6, name="d")


def _native(x):
    return keras.layers.Dense(6, name="d")(x)


@PAIRS.original(x=X)
def gelu_by_erf(x):
    h = _hidden(x)
    return 0.5 * h * (1.0 + tf.erf(h / math.sqrt(2.0)))


@PAIRS.rewrite(gelu_by_erf)
def normal_distribution_function(x):
    h = _hidden(x)
    return h * (0.5 * tf.erfc(-h * math.sqrt(0.5)))


@PAIRS.native(gelu_by_erf)
def keras_gelu(x):
    return keras.layers.Activation(lambda h: keras.activations.gelu(h, approximate=False))(_native(x))


@PAIRS.original(x=X)
def gelu_by_tanh(x):
    h = _hidden(x)
    return h * 0.5 * (1.0 + tf.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * tf.pow(h, 3))))


@PAIRS.rewrite(gelu_by_tanh)
def factored_polynomial(x):
    h = _hidden(x)
    return 0.5 * h * (1.0 + tf.tanh(0.7978845608028654 * h * (1.0 + 0.044715 * h * h)))


@PAIRS.rewrite(gelu_by_tanh)
def gelu_by_sigmoid_of_twice(x):
    h = _hidden(x)
    return h * tf.sigmoid(2 * 0.7978845608028654 * (h + 0.044715 * h * h * h))


@PAIRS.native(gelu_by_tanh)
def keras_gelu_by_tanh(x):
    return keras.layers.Activation(lambda h: keras.activations.gelu(h, approximate=True))(_native(x))


@PAIRS.original(x=X)
def silu(x):
    return tf.nn.swish(_hidden(x))


@PAIRS.rewrite(silu)
def input_times_sigmoid(x):
    h = _hidden(x)
    return h * tf.sigmoid(h)


@PAIRS.rewrite(silu)
def division_by_exponential(x):
    h = _hidden(x)
    return h / (1.0 + tf.exp(-h))


@PAIRS.native(silu)
def keras_silu(x):
    return keras.layers.Activation("silu")(_native(x))


@PAIRS.original(x=X)
def softplus(x):
    return tf.nn.softplus(_hidden(x))


@PAIRS.rewrite(softplus)
def logarithm_of_one_plus(x):
    return tf.log1p(tf.exp(_hidden(x)))


@PAIRS.rewrite(softplus)
def softplus_that_cannot_overflow(x):
    h = _hidden(x)
    return tf.maximum(h, 0.0) + tf.log1p(tf.exp(-tf.abs(h)))


@PAIRS.rewrite(softplus)
def minus_log_sigmoid(x):
    return -tf.log_sigmoid(-_hidden(x))


@PAIRS.native(softplus)
def keras_softplus(x):
    return keras.layers.Activation("softplus")(_native(x))


@PAIRS.original(x=X)
def elu(x):
    return tf.nn.elu(_hidden(x))


@PAIRS.rewrite(elu)
def elu_selected(x):
    h = _hidden(x)
    return tf.where(h > 0, h, tf.exp(h) - 1.0)


@PAIRS.rewrite(elu)
def elu_by_relu(x):
    h = _hidden(x)
    return tf.nn.relu(h) + tf.expm1(tf.minimum(h, 0.0))


@PAIRS.native(elu)
def keras_elu(x):
    return keras.layers.ELU()(_native(x))


@PAIRS.original(x=X)
def selu(x):
    return tf.nn.selu(_hidden(x))


@PAIRS.rewrite(selu)
def selu_selected(x):
    h = _hidden(x)
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return scale * tf.where(h >= 0.0, h, alpha * tf.nn.elu(h))


@PAIRS.original(x=X)
def relu(x):
    return tf.nn.relu(_hidden(x))


@PAIRS.rewrite(relu)
def relu_by_maximum(x):
    return tf.maximum(_hidden(x), 0.0)


@PAIRS.rewrite(relu)
def relu_by_magnitude(x):
    h = _hidden(x)
    return 0.5 * (h + tf.abs(h))


@PAIRS.rewrite(relu)
def relu_by_a_mask(x):
    h = _hidden(x)
    return h * tf.cast(h > 0, h.dtype)


@PAIRS.original(x=X)
def leaky_relu(x):
    return tf.nn.leaky_relu(_hidden(x), 0.25)


@PAIRS.rewrite(leaky_relu)
def leaky_relu_by_maximum(x):
    h = _hidden(x)
    return tf.maximum(h, 0.25 * h)


@PAIRS.rewrite(leaky_relu)
def leaky_relu_by_magnitude(x):
    h = _hidden(x)
    return 0.625 * h + 0.375 * tf.abs(h)


@PAIRS.native(leaky_relu)
def keras_leaky_relu(x):
    return keras.layers.LeakyReLU(negative_slope=0.25)(_native(x))


@PAIRS.original(x=X)
def relu6(x):
    return tf.nn.relu6(3.0 * _hidden(x))


@PAIRS.rewrite(relu6)
def relu6_by_clipping(x):
    return tf.clip_by_value(_hidden(x) * 3.0, 0.0, 6.0)


@PAIRS.native(relu6)
def keras_relu6(x):
    return keras.layers.ReLU(max_value=6.0)(3.0 * _native(x))


@PAIRS.original(x=X)
def hard_sigmoid(x):
    return tf.clip_by_value(0.2 * _hidden(x) + 0.5, 0.0, 1.0)


@PAIRS.rewrite(hard_sigmoid)
def hard_sigmoid_by_bounds(x):
    return tf.maximum(0.0, tf.minimum(1.0, (_hidden(x) + 2.5) / 5.0))


@PAIRS.original(x=X)
def hard_swish(x):
    h = _hidden(x)
    return h * tf.nn.relu6(h + 3.0) / 6.0


@PAIRS.native(hard_swish)
def keras_hard_silu(x):
    return keras.layers.Activation("hard_silu")(_native(x))


@PAIRS.original(x=X)
def sigmoid_and_tanh(x):
    h = _hidden(x)
    return tf.sigmoid(h), tf.tanh(h)


@PAIRS.rewrite(sigmoid_and_tanh)
def each_by_the_other(x):
    h = _hidden(x)
    return 0.5 * (1.0 + tf.tanh(0.5 * h)), 2.0 * tf.sigmoid(2.0 * h) - 1.0


@PAIRS.rewrite(sigmoid_and_tanh)
def both_by_exponentials(x):
    h = _hidden(x)
    return 1.0 / (1.0 + tf.exp(-h)), (tf.exp(h) - tf.exp(-h)) / (tf.exp(h) + tf.exp(-h))


@PAIRS.original(x=X)
def mish(x):
    h = _hidden(x)
    return h * tf.tanh(tf.nn.softplus(h))


@PAIRS.native(mish)
def keras_mish(x):
    return keras.layers.Activation("mish")(_native(x))


@PAIRS.original(x=X)
def parametric_relu(x):
    h = _hidden(x)
    alpha = variable("alpha", 6, initializer=tf.constant_initializer(0.25))
    return tf.nn.relu(h) + alpha * (h - tf.abs(h)) * 0.5


@PAIRS.rewrite(parametric_relu)
def parametric_relu_selected(x):
    h = _hidden(x)
    return tf.where(h > 0.0, h, h * variable("alpha", 6, initializer=tf.constant_initializer(0.25)))


@PAIRS.native(parametric_relu, rename=[("^alpha$", "prelu/alpha")])
def keras_prelu(x):
    return keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), name="prelu")(_native(x))


@PAIRS.original(x=X)
def gated_linear_unit(x):
    a, b = tf.split(_hidden(x), 2, 1)
    return a * tf.sigmoid(b)


@PAIRS.rewrite(gated_linear_unit)
def gate_by_slices(x):
    h = _hidden(x)
    return h[:, :3] / (1.0 + tf.exp(-h[:, 3:]))


@PAIRS.original(x=X)
def softmax(x):
    return tf.nn.softmax(_hidden(x))


@PAIRS.rewrite(softmax)
def softmax_spelled_out(x):
    h = _hidden(x)
    e = tf.exp(h - tf.reduce_max(h, -1, keepdims=True))
    return e / tf.reduce_sum(e, -1, keepdims=True)


@PAIRS.rewrite(softmax)
def softmax_without_the_maximum(x):
    e = tf.exp(_hidden(x))
    return e / tf.reduce_sum(e, 1, keepdims=True)


@PAIRS.rewrite(softmax)
def exponential_of_the_logarithm(x):
    h = _hidden(x)
    return tf.exp(h - tf.reduce_logsumexp(h, 1, keepdims=True))


@PAIRS.native(softmax)
def keras_softmax(x):
    return keras.layers.Softmax()(_native(x))


@PAIRS.original(x=X)
def log_softmax(x):
    return tf.nn.log_softmax(_hidden(x))


@PAIRS.rewrite(log_softmax)
def logarithm_of_the_softmax(x):
    return tf.log(tf.nn.softmax(_hidden(x)))


@PAIRS.rewrite(log_softmax)
def minus_log_sum_exp(x):
    h = _hidden(x)
    high = tf.stop_gradient(tf.reduce_max(h, 1, keepdims=True))
    return h - high - tf.log(tf.reduce_sum(tf.exp(h - high), 1, keepdims=True))


@PAIRS.original(x=X)
def first_of_two_by_sigmoid(x):
    h = _hidden(x)
    return tf.sigmoid(h[:, 0] - h[:, 1])


@PAIRS.rewrite(first_of_two_by_sigmoid)
def first_of_two_by_softmax(x):
    return tf.nn.softmax(_hidden(x)[:, :2])[:, 0]


@PAIRS.original(x=X)
def maxout(x):
    return tf.reduce_max(tf.reshape(_hidden(x), [4, 3, 2]), 2)


@PAIRS.rewrite(maxout)
def maximum_of_slices(x):
    h = _hidden(x)
    return tf.maximum(h[:, ::2], h[:, 1::2])
