"""A transformer block by hand: embeddings, layer normalisation, masked attention, GELU, tied weights."""

import math

import numpy as np
import tensorflow.compat.v1 as tf

WORDS, SIZE, HEADS, LENGTH = 30, 16, 2, 6


def forward(inputs, training):
    """Predict the next word at each place of texts (batch, 6) int32: logits (batch, 6, 30)."""
    with tf.variable_scope("net", initializer=tf.random_normal_initializer(stddev=0.2)):
        table = tf.get_variable("words", [WORDS, SIZE])
        places = tf.get_variable("places", [LENGTH, SIZE])
        net = tf.multiply(tf.gather(table, inputs["words"], name="embedded"), math.sqrt(SIZE), name="scaled")
        net = tf.add(net, places, name="placed")
        net = tf.add(net, attention(layer_norm(net, "attention_norm"), training), name="attended")
        net = tf.add(net, feed_forward(layer_norm(net, "feed_norm")), name="fed")
        net = layer_norm(net, "last_norm")
        logits = tf.tensordot(net, table, [[2], [1]], name="logits")
        return {"logits": logits, "summary": tf.reduce_mean(net, axis=1, name="summary")}


def layer_norm(net, scope):
    """Normalise each vector."""
    with tf.variable_scope(scope):
        gamma = tf.get_variable("gamma", [SIZE], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [SIZE], initializer=tf.zeros_initializer())
        mean, variance = tf.nn.moments(net, [-1], keepdims=True)
        return tf.nn.batch_normalization(net, mean, variance, beta, gamma, 1e-6)


def attention(net, training):
    """Causal self-attention with two heads and dropout on its weights."""
    with tf.variable_scope("attention"):
        query, key, value = (heads(tf.layers.dense(net, SIZE, name=name)) for name in ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True, name="products")
        scores = tf.multiply(scores, 1.0 / math.sqrt(SIZE // HEADS), name="scores")
        future = np.triu(np.full([LENGTH, LENGTH], -1e9, np.float32), 1)
        weights = tf.nn.softmax(tf.add(scores, future, name="masked"), name="weights")
        weights = tf.layers.dropout(weights, 0.1, training=training, name="drop")
        mixed = tf.transpose(tf.matmul(weights, value, name="mixed"), [0, 2, 1, 3], name="together")
        return tf.layers.dense(tf.reshape(mixed, [-1, LENGTH, SIZE], name="joined"), SIZE, name="output")


def heads(net):
    """Return (batch, heads, length, size of a head)."""
    return tf.transpose(tf.reshape(net, [-1, LENGTH, HEADS, SIZE // HEADS]), [0, 2, 1, 3])


def feed_forward(net):
    """Two layers with the exact GELU, by the error function, between them."""
    with tf.variable_scope("feed"):
        net = tf.layers.dense(net, 24, name="wide")
        net = tf.multiply(0.5 * net, 1.0 + tf.math.erf(net / math.sqrt(2.0), name="erf"), name="gelu")
        return tf.layers.dense(net, SIZE, use_bias=False, name="narrow")
