"""The same structure in other words: branches, loops, joins, slices, sorting, dropout, residual blocks."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, as_number, variable

PAIRS = Topic("structure")


@PAIRS.original(x=floats(4, 6))
def branch(x):
    w = variable("w", 6)
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * w, lambda: tf.tanh(x) - w)


@PAIRS.rewrite(branch)
def both_computed(x):
    w = variable("w", 6)
    first = tf.fill([4, 6], tf.reduce_sum(x) > 0.0)
    return tf.where(first, x * w, tf.tanh(x) - w)


@PAIRS.original(x=floats(4, 6))
def loop(x):
    w = variable("w", 6, 6)
    return tf.while_loop(lambda n, _: n < 3, lambda n, y: (n + 1, tf.tanh(tf.matmul(y, w))), [tf.constant(0), x])[1]


@PAIRS.rewrite(loop)
def unrolled(x):
    w = variable("w", 6, 6)
    for _ in range(3):
        x = tf.tanh(tf.matmul(x, w))
    return x


@PAIRS.rewrite(loop)
def folded(x):
    w = variable("w", 6, 6)
    return tf.foldl(lambda y, _: tf.tanh(tf.einsum("bi,ij->bj", y, w)), tf.range(3), initializer=x)


@PAIRS.original(x=floats(4, 6))
def mapped_rows(x):
    w = variable("w", 6, 3)
    return tf.map_fn(lambda row: tf.nn.softmax(tf.linalg.matvec(w, row, transpose_a=True)), x)


@PAIRS.rewrite(mapped_rows)
def whole_batch(x):
    return tf.nn.softmax(tf.matmul(x, variable("w", 6, 3)))


@PAIRS.original(x=floats(4, 6))
def masked_sum(x):
    y = x * variable("w", 6)
    return tf.reduce_sum(tf.where(x > 0, y, tf.zeros_like(y)), 1)


@PAIRS.rewrite(masked_sum)
def product_with_the_mask(x):
    return tf.reduce_sum(x * variable("w", 6) * as_number(x > 0), 1)


@PAIRS.original(x=floats(6, 3), ids=np.int32([0, 0, 1, 3, 3, 3]))
def sums_of_segments(x, ids):
    return tf.unsorted_segment_sum(x * variable("w", 3), ids, 4)


@PAIRS.rewrite(sums_of_segments)
def product_with_one_hot(x, ids):
    y = x * variable("w", 3)
    return tf.matmul(tf.one_hot(ids, 4, dtype=y.dtype), y, transpose_a=True)


@PAIRS.rewrite(sums_of_segments)
def scattered(x, ids):
    return tf.scatter_nd(ids[:, None], x * variable("w", 3), [4, 3])


@PAIRS.original(x=floats(4, 6))
def largest_values(x):
    return tf.nn.top_k(x * variable("w", 6), 2)[0]


@PAIRS.rewrite(largest_values)
def first_of_the_sorted(x):
    return tf.sort(x * variable("w", 6), direction="DESCENDING")[:, :2]


@PAIRS.original(x=floats(4, 6), ids=integers(4, high=6))
def picked(x, ids):
    y = x * variable("w", 6)
    return tf.gather_nd(y, tf.stack([tf.range(4), ids], 1))


@PAIRS.rewrite(picked)
def sum_over_one_hot(x, ids):
    y = x * variable("w", 6)
    return tf.reduce_sum(y * tf.one_hot(ids, 6, dtype=y.dtype), 1)


@PAIRS.rewrite(picked)
def batched_gather(x, ids):
    return tf.gather(x * variable("w", 6), ids, axis=1, batch_dims=1)


@PAIRS.original(x=floats(4, 6))
def residual_block(x, training):
    h = tf.nn.relu(tf.layers.dense(x, 8, name="a"))
    h = tf.layers.dropout(h, 0.3, training=training)
    return x + tf.layers.dense(h, 6, name="b")


@PAIRS.native(residual_block)
def keras_residual_block(x):
    h = keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="relu", name="a")(x))
    return keras.layers.Add()([keras.layers.Dense(6, name="b")(h), x])


@PAIRS.rewrite(residual_block)
def dropout_by_keep_prob(x, training):
    h = tf.layers.dense(x, 8, tf.nn.relu, name="a")
    if training:
        h = tf.nn.dropout(h, keep_prob=0.7)
    return tf.layers.dense(h, 6, name="b") + x


@PAIRS.original(x=floats(4, 6))
def mixture(x):
    gates = tf.nn.softmax(tf.layers.dense(x, 3, name="gates"))
    experts = [tf.layers.dense(x, 5, tf.nn.relu, name=f"expert{n}") for n in range(3)]
    return tf.add_n([gates[:, n : n + 1] * expert for n, expert in enumerate(experts)])


@PAIRS.rewrite(mixture)
def experts_stacked(x):
    gates = tf.nn.softmax(tf.layers.dense(x, 3, name="gates"))
    experts = tf.stack([tf.layers.dense(x, 5, tf.nn.relu, name=f"expert{n}") for n in range(3)], 1)
    return tf.einsum("be,bed->bd", gates, experts)


@PAIRS.native(mixture)
def keras_mixture(x):
    gates = keras.layers.Dense(3, activation="softmax", name="gates")(x)
    experts = [keras.layers.Dense(5, activation="relu", name=f"expert{n}")(x) for n in range(3)]
    stacked = keras.ops.stack(experts, 1)
    return keras.ops.squeeze(keras.ops.matmul(keras.ops.expand_dims(gates, 1), stacked), 1)


@PAIRS.original(x=floats(2, 6, 6, 3))
def squeeze_and_excite(x):
    y = tf.layers.conv2d(x, 6, 3, padding="same", name="c")
    gate = tf.layers.dense(tf.reduce_mean(y, [1, 2]), 2, tf.nn.relu, name="down")
    return y * tf.layers.dense(gate, 6, tf.sigmoid, name="up")[:, None, None]


@PAIRS.native(squeeze_and_excite)
def keras_squeeze_and_excite(x):
    y = keras.layers.Conv2D(6, 3, padding="same", name="c")(x)
    gate = keras.layers.Dense(2, activation="relu", name="down")(keras.layers.GlobalAveragePooling2D(keepdims=True)(y))
    return keras.layers.Multiply()([y, keras.layers.Dense(6, activation="sigmoid", name="up")(gate)])


@PAIRS.native(squeeze_and_excite, transforms=[("^(down|up)/kernel$", "expand(0) | expand(0)")])
def keras_gate_of_convolutions(x):
    y = keras.layers.Conv2D(6, 3, padding="same", name="c")(x)
    gate = keras.layers.Conv2D(2, 1, activation="relu", name="down")(keras.ops.mean(y, axis=(1, 2), keepdims=True))
    return y * keras.layers.Conv2D(6, 1, activation="sigmoid", name="up")(gate)


@PAIRS.original(x=floats(2, 8, 8, 3))
def small_classifier(x, training):
    y = tf.layers.conv2d(x, 4, 3, use_bias=False, name="c1")
    y = tf.nn.relu(tf.layers.batch_normalization(y, momentum=0.9, fused=False, training=training, name="n1"))
    y = tf.layers.flatten(tf.layers.max_pooling2d(y, 2, 2))
    y = tf.layers.dropout(tf.layers.dense(y, 6, tf.nn.relu, name="d1"), 0.5, training=training)
    return tf.layers.dense(y, 3, name="d2")


@PAIRS.native(small_classifier)
def keras_small_classifier(x):
    y = keras.layers.Conv2D(4, 3, use_bias=False, name="c1")(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9, name="n1")(y))
    y = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(y))
    y = keras.layers.Dropout(0.5)(keras.layers.Dense(6, activation="relu", name="d1")(y))
    return keras.layers.Dense(3, name="d2")(y)


@PAIRS.original(x=floats(4, 6), y=floats(4, 6, seed=2))
def shared_tower(x, y):
    def tower(z):
        with tf.variable_scope("tower", reuse=tf.AUTO_REUSE):
            return tf.layers.dense(tf.nn.relu(tf.layers.dense(z, 5, name="a")), 3, name="b")

    return tower(x) - tower(y)


@PAIRS.rewrite(shared_tower)
def one_call_for_both(x, y):
    with tf.variable_scope("tower"):
        h = tf.layers.dense(tf.nn.relu(tf.layers.dense(tf.concat([x, y], 0), 5, name="a")), 3, name="b")
    return h[:4] - h[4:]


@PAIRS.native(shared_tower, rename=[("^tower/", "")])
def keras_shared_layers(x, y):
    a, b = keras.layers.Dense(5, activation="relu", name="a"), keras.layers.Dense(3, name="b")
    return keras.ops.subtract(b(a(x)), b(a(y)))


@PAIRS.original(x=floats(4, 6))
def coupled_halves(x):
    a, b = x[:, :3], x[:, 3:]
    h = tf.layers.dense(a, 4, tf.tanh, name="h")
    b = b * tf.exp(tf.layers.dense(h, 3, name="s")) + tf.layers.dense(h, 3, name="t")
    return tf.concat([b, a], 1)


@PAIRS.native(coupled_halves)
def keras_coupled_halves(x):
    a, b = keras.ops.split(x, 2, axis=1)
    h = keras.layers.Dense(4, activation="tanh", name="h")(a)
    s, t = keras.layers.Dense(3, name="s")(h), keras.layers.Dense(3, name="t")(h)
    return keras.ops.concatenate([t + keras.ops.exp(s) * b, a], axis=1)


@PAIRS.original(x=floats(3, 4, 6))
def transposed_mixing(x):
    """A block of an MLP mixer."""
    y = tf.transpose(tf.layers.dense(tf.transpose(x, [0, 2, 1]), 4, name="tokens"), [0, 2, 1])
    return tf.layers.dense(x + y, 6, name="channels")


@PAIRS.rewrite(transposed_mixing)
def mixing_by_einsum(x):
    with tf.variable_scope("tokens"):
        kernel, bias = variable("kernel", 4, 4), variable("bias", 4, initializer=tf.zeros_initializer())
    y = tf.einsum("btc,ts->bsc", x, kernel) + bias[:, None]
    return tf.layers.dense(y + x, 6, name="channels")


@PAIRS.native(transposed_mixing, transforms=[("^tokens/bias$", "expand(1)")])
def keras_mixing(x):
    y = keras.layers.EinsumDense("btc,ts->bsc", (4, 6), bias_axes="s", name="tokens")(x)
    return keras.layers.Dense(6, name="channels")(x + y)
