"""Losses, spelled out and from Keras."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, as_number

PAIRS = Topic("losses")

X, LABELS = floats(4, 5), integers(4, high=3)
Y = floats(4, 3, seed=6)


def _logits(x):
    return tf.layers.dense(x, 3, name="d")


def _native(x):
    return keras.layers.Dense(3, name="d")(x)


@PAIRS.original(x=X, labels=LABELS)
def sparse_cross_entropy(x, labels):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=_logits(x))


@PAIRS.rewrite(sparse_cross_entropy)
def one_hot_times_log_softmax(x, labels):
    logits = _logits(x)
    return -tf.reduce_sum(tf.one_hot(labels, 3, dtype=logits.dtype) * tf.nn.log_softmax(logits), 1)


@PAIRS.rewrite(sparse_cross_entropy)
def log_sum_exp_minus_the_right_one(x, labels):
    logits = _logits(x)
    right = tf.gather_nd(logits, tf.stack([tf.range(4), labels], 1))
    return tf.reduce_logsumexp(logits, 1) - right


@PAIRS.rewrite(sparse_cross_entropy)
def dense_cross_entropy(x, labels):
    logits = _logits(x)
    hot = tf.one_hot(labels, 3, dtype=logits.dtype)
    return tf.nn.softmax_cross_entropy_with_logits_v2(labels=hot, logits=logits)


@PAIRS.rewrite(sparse_cross_entropy)
def logarithm_of_a_probability(x, labels):
    return -tf.log(tf.gather(tf.nn.softmax(_logits(x)), labels, axis=1, batch_dims=1))


@PAIRS.native(sparse_cross_entropy)
def keras_sparse_cross_entropy(x, labels):
    return keras.losses.sparse_categorical_crossentropy(labels, _native(x), from_logits=True)


@PAIRS.original(x=X, y=floats(4, 3, low=0.0, seed=6))
def sigmoid_cross_entropy(x, y):
    return tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=_logits(x))


@PAIRS.rewrite(sigmoid_cross_entropy)
def stable_form(x, y):
    z = _logits(x)
    return tf.maximum(z, 0.0) - z * y + tf.log(1.0 + tf.exp(-tf.abs(z)))


@PAIRS.rewrite(sigmoid_cross_entropy)
def by_softplus(x, y):
    z = _logits(x)
    return (1.0 - y) * z + tf.nn.softplus(-z)


@PAIRS.rewrite(sigmoid_cross_entropy)
def by_logarithms_of_sigmoids(x, y):
    z = _logits(x)
    return -y * tf.log(tf.sigmoid(z)) - (1.0 - y) * tf.log(tf.sigmoid(-z))


@PAIRS.native(sigmoid_cross_entropy)
def keras_binary_cross_entropy(x, y):
    return keras.ops.binary_crossentropy(y, _native(x), from_logits=True)


@PAIRS.original(precision="float32", x=X, y=Y)
def huber(x, y):
    reduction = tf.losses.Reduction.NONE
    return tf.losses.huber_loss(y, _logits(x), delta=0.5, reduction=reduction, loss_collection=None)


@PAIRS.rewrite(huber)
def huber_selected(x, y):
    e = tf.abs(y - _logits(x))
    return tf.where(e <= 0.5, 0.5 * e * e, 0.5 * e - 0.125)


@PAIRS.rewrite(huber)
def huber_of_two_parts(x, y):
    e = tf.abs(y - _logits(x))
    near = tf.clip_by_value(e, 0.0, 0.5)
    return 0.5 * near**2 + 0.5 * (e - near)


@PAIRS.original(precision="float32", x=X, y=Y)
def mean_squared_error(x, y):
    return tf.losses.mean_squared_error(y, _logits(x), loss_collection=None)


@PAIRS.rewrite(mean_squared_error)
def mean_of_squares(x, y):
    return tf.reduce_mean(tf.square(_logits(x) - y))


@PAIRS.native(mean_squared_error)
def keras_mean_squared_error(x, y):
    return keras.ops.mean(keras.losses.mean_squared_error(y, _native(x)))


@PAIRS.original(precision="float32", x=X, labels=LABELS)
def smoothed_cross_entropy(x, labels):
    logits = _logits(x)
    hot = tf.one_hot(labels, 3, dtype=logits.dtype)
    return tf.losses.softmax_cross_entropy(hot, logits, label_smoothing=0.1, loss_collection=None)


@PAIRS.rewrite(smoothed_cross_entropy)
def smoothed_by_hand(x, labels):
    logits = _logits(x)
    smooth = 0.9 * tf.one_hot(labels, 3, dtype=logits.dtype) + 0.1 / 3.0
    return -tf.reduce_mean(tf.reduce_sum(smooth * tf.nn.log_softmax(logits), 1))


@PAIRS.native(smoothed_cross_entropy)
def keras_smoothed(x, labels):
    logits = _native(x)
    hot = keras.ops.one_hot(labels, 3, dtype=logits.dtype)
    each = keras.losses.categorical_crossentropy(hot, logits, from_logits=True, label_smoothing=0.1)
    return keras.ops.mean(each)


@PAIRS.original(x=X, y=Y)
def divergence(x, y):
    p = tf.nn.softmax(y)
    return tf.reduce_sum(p * (tf.log(p) - tf.nn.log_softmax(_logits(x))), 1)


@PAIRS.rewrite(divergence)
def logarithm_of_the_quotient(x, y):
    p, q = tf.nn.softmax(y), tf.nn.softmax(_logits(x))
    return tf.reduce_sum(p * tf.log(p / q), 1)


@PAIRS.rewrite(divergence)
def cross_entropy_minus_entropy(x, y):
    p = tf.nn.softmax(y)
    cross = tf.nn.softmax_cross_entropy_with_logits_v2(labels=p, logits=_logits(x))
    return cross - tf.nn.softmax_cross_entropy_with_logits_v2(labels=p, logits=y)


@PAIRS.original(precision="float32", x=X, labels=LABELS, weights=np.float32([1.0, 0.0, 2.0, 0.5]))
def weighted_mean(x, labels, weights):
    return tf.losses.sparse_softmax_cross_entropy(labels, _logits(x), weights=weights, loss_collection=None)


@PAIRS.rewrite(weighted_mean)
def weighted_by_hand(x, labels, weights):
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=_logits(x))
    return tf.reduce_sum(each * weights) / tf.reduce_sum(as_number(tf.not_equal(weights, 0.0)))


@PAIRS.original(x=X, y=Y)
def hinge(x, y):
    sign = tf.where(y > 0, tf.ones_like(y), -tf.ones_like(y))
    return tf.nn.relu(1.0 - sign * _logits(x))


@PAIRS.rewrite(hinge)
def hinge_by_maximum(x, y):
    z = _logits(x)
    return tf.maximum(tf.where(y > 0, 1.0 - z, 1.0 + z), 0.0)


@PAIRS.original(x=X, y=Y)
def log_cosh(x, y):
    return tf.log(tf.cosh(_logits(x) - y))


@PAIRS.native(log_cosh)
def keras_log_cosh(x, y):
    e = _native(x) - y
    return e + keras.ops.softplus(-2.0 * e) - float(np.log(2.0))
