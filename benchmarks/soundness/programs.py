"""Small TF1 programs that hold what other pairs lack: bounds, a stopped gradient, averages by hand, draws, masks."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

Tensors = dict[str, Any]


def bounds(inputs: Tensors, training: bool) -> Tensors:
    """Clips, absolute values, a branch by sign, a Huber loss, the largest of two layers."""
    del training
    with tf.variable_scope("bounds"):
        net = tf.clip_by_value(inputs["x"], -3.0, 3.0)
        net = tf.layers.dense(net, 6, tf.nn.relu6, name="first")
        wide = tf.layers.dense(net, 4, name="second")
        net = tf.maximum(wide, tf.layers.dense(net, 4, name="third"))
        net = tf.where(net > 0.5, net * 0.5 + 0.25, tf.abs(net))
        error = tf.abs(net - tf.stop_gradient(wide))
        huber = tf.where(error < 1.0, 0.5 * tf.square(error), error - 0.5)
        return {"net": tf.sign(net) * tf.sqrt(tf.abs(net) + 1e-6), "loss": tf.reduce_mean(huber, axis=1)}


def critic(inputs: Tensors, training: bool) -> Tensors:
    """Two networks, one of which follows the other: a stopped gradient, and an average kept by hand."""
    with tf.variable_scope("critic"):
        value = _value(inputs["state"], "online")
        target = tf.stop_gradient(0.5 + 0.9 * _value(inputs["next"], "target"))
        baseline = tf.get_variable("baseline", [], initializer=tf.zeros_initializer(), trainable=False)
        error = tf.identity(target - value - baseline, name="error")
        if training:
            moved = tf.assign(baseline, 0.95 * baseline + 0.05 * tf.reduce_mean(target - value))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, moved)
        return {"error": error, "advantage": error / (tf.math.reduce_std(error) + 1e-4)}


def _value(state: Any, name: str) -> Any:
    with tf.variable_scope(name):
        hidden = tf.layers.dense(state, 5, tf.tanh, name="hidden")
        return tf.squeeze(tf.layers.dense(hidden, 1, name="value"), 1)


def noisy(inputs: Tensors, training: bool) -> Tensors:
    """Noise that is added, multiplied and drawn as a choice; dropout of the output."""
    with tf.variable_scope("noisy"):
        net = inputs["x"]
        if training:
            net += tf.random_normal(tf.shape(net), stddev=0.1)
            net *= tf.random_uniform([int(net.shape[0]), 1], 0.8, 1.2)
        net = tf.layers.dense(net, 5, tf.nn.elu, name="hidden")
        net = tf.layers.dropout(net, 0.4, training=training)
        return {"scores": tf.layers.dense(net, 3, name="scores")}


def masked(inputs: Tensors, training: bool) -> Tensors:
    """Attention over words of which some are padding; pooled by mean and by the largest; the three best scores."""
    del training
    with tf.variable_scope("masked"):
        table = tf.get_variable("table", [11, 4])
        words = tf.nn.embedding_lookup(table, inputs["words"])
        mask = tf.cast(tf.not_equal(inputs["words"], 0), tf.float32)
        query, key = (tf.layers.dense(words, 4, use_bias=False, name=name) for name in ("query", "key"))
        scores = tf.matmul(query, key, transpose_b=True) / 2.0 + (1.0 - mask[:, None, :]) * -1e4
        mixed = tf.matmul(tf.nn.softmax(scores), words)
        mean = tf.reduce_sum(mixed * mask[:, :, None], 1) / (tf.reduce_sum(mask, 1, keepdims=True) + 1e-6)
        best = tf.reduce_max(mixed - (1.0 - mask[:, :, None]) * 100.0, 1)
        logits = tf.layers.dense(tf.concat([mean, best], 1), 6, name="logits")
        values, places = tf.nn.top_k(logits, 3)
        return {"values": values, "places": places, "share": tf.cumsum(tf.nn.softmax(logits), axis=1)}


def normalised(inputs: Tensors, training: bool) -> Tensors:
    """Layer, instance and L2 normalisation spelled out, a gated unit, and a batch norm with moving averages."""
    with tf.variable_scope("normalised"):
        net = tf.layers.conv2d(inputs["image"], 4, 3, padding="same", use_bias=False, name="conv")
        mean, variance = tf.nn.moments(net, [1, 2], keepdims=True)
        net = (net - mean) * tf.math.rsqrt(variance + 1e-5)
        net = tf.layers.batch_normalization(net, momentum=0.9, training=training, name="norm")
        left, right = tf.split(net, 2, axis=3)
        net = left * tf.sigmoid(right)
        net = tf.layers.average_pooling2d(net, 2, 2)
        net = tf.nn.l2_normalize(tf.layers.flatten(net), axis=1)
        return {"logits": tf.layers.dense(net, 3, name="logits")}
