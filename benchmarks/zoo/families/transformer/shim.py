"""The transformer behind the shim, written anew so that mistakes can be planted."""

import math

import keras
import numpy as np
import tensorflow.compat.v1 as tf

from lockstep import tf1

WORDS, SIZE, HEADS, LENGTH = 30, 16, 2, 6


def build(faults):
    """Make the migration."""
    return Transformer(faults)


class Transformer(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def forward(inputs, training, faults):
    with tf.variable_scope("net", initializer=tf.random_normal_initializer(stddev=0.2)):
        table = tf.get_variable("words", [WORDS, SIZE])
        start = tf.random_normal_initializer(stddev=0.02) if "place_start" in faults else None
        places = tf.get_variable("places", [LENGTH, SIZE], initializer=start)
        net = tf.gather(table, inputs["words"], name="embedded")
        if "embedding_scale" not in faults:
            net = tf.multiply(net, math.sqrt(SIZE), name="scaled")
        if "place_offset" in faults:
            places = tf.roll(places, 1, axis=0)
        net = tf.add(net, places, name="placed")
        normed = layer_norm(net, "attention_norm", faults)
        residual = normed if "residual_input" in faults else net
        net = tf.add(residual, attention(normed, training, faults), name="attended")
        net = tf.add(net, feed_forward(layer_norm(net, "feed_norm", faults), faults), name="fed")
        net = layer_norm(net, "last_norm", faults)
        logits = tf.tensordot(net, table, [[2], [1]], name="logits")
        reduce = tf.reduce_max if "max_summary" in faults else tf.reduce_mean
        return {"logits": logits, "summary": reduce(net, axis=1, name="summary")}


def layer_norm(net, scope, faults):
    with tf.variable_scope(scope):
        gamma = tf.get_variable("gamma", [SIZE], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [SIZE], initializer=tf.zeros_initializer())
        axes = [1, 2] if "norm_axes" in faults and scope == "feed_norm" else [-1]
        mean, variance = tf.nn.moments(net, axes, keepdims=True)
        if "unbiased" in faults and scope == "last_norm":
            variance *= SIZE / (SIZE - 1)
        epsilon = 1e-5 if "epsilon" in faults else 1e-3 if "first_epsilon" in faults and scope[0] == "a" else 1e-6
        return tf.nn.batch_normalization(net, mean, variance, beta, gamma, epsilon)


def attention(net, training, faults):
    with tf.variable_scope("attention"):
        query, key, value = (tf.layers.dense(net, SIZE, name=name) for name in ("query", "key", "value"))
        if "shared_key" in faults:
            with tf.variable_scope("query", reuse=True):
                key = tf.nn.bias_add(tf.tensordot(net, tf.get_variable("kernel"), 1), tf.get_variable("bias"))
        query, key, value = heads(query), heads(key), heads(value)
        scores = tf.matmul(query, key, transpose_b=True, name="products")
        if "score_scale" not in faults:
            size = SIZE if "whole_size" in faults else SIZE // HEADS
            scores = tf.multiply(scores, 1.0 / math.sqrt(size), name="scores")
        diagonal = 0 if "mask_inclusive" in faults else 2 if "mask_late" in faults else 1
        future = np.triu(np.full([LENGTH, LENGTH], -1e9, np.float32), diagonal)
        if "no_mask" not in faults:
            scores = tf.add(scores, future, name="masked")
        weights = tf.nn.softmax(scores, axis=2 if "softmax_axis" in faults else -1, name="weights")
        rate = 0.9 if "keep_prob" in faults else 0.1
        if "dropout_place" in faults:
            value = tf.layers.dropout(value, rate, training=training, name="drop")
        else:
            weights = tf.layers.dropout(weights, rate, training=training, name="drop")
        mixed = tf.matmul(weights, value, name="mixed")
        if "heads_apart" not in faults:
            mixed = tf.transpose(mixed, [0, 2, 1, 3], name="together")
        return tf.layers.dense(tf.reshape(mixed, [-1, LENGTH, SIZE], name="joined"), SIZE, name="output")


def heads(net):
    return tf.transpose(tf.reshape(net, [-1, LENGTH, HEADS, SIZE // HEADS]), [0, 2, 1, 3])


def feed_forward(net, faults):
    with tf.variable_scope("feed"):
        net = tf.layers.dense(net, 24, name="wide")
        if "gelu_form" in faults:
            net = 0.5 * net * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (net + 0.044715 * tf.pow(net, 3))))
        elif "relu" in faults:
            net = tf.nn.relu(net)
        else:
            net = tf.multiply(0.5 * net, 1.0 + tf.math.erf(net / math.sqrt(2.0), name="erf"), name="gelu")
        if "half_precision" in faults:
            net = tf.cast(tf.cast(net, tf.float16), tf.float32)
        return tf.layers.dense(net, SIZE, use_bias=False, name="narrow")
