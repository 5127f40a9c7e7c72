"""Embeddings and attention: per head or batched, masks added or selected, merged or split projections."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, as_number, number, variable

PAIRS = Topic("attention")


@PAIRS.original(ids=integers(3, 5, high=7))
def embedding(ids):
    with tf.variable_scope("words"):
        return tf.nn.embedding_lookup(variable("embeddings", 7, 4), ids)


@PAIRS.rewrite(embedding)
def one_hot_product(ids):
    with tf.variable_scope("words"):
        table = variable("embeddings", 7, 4)
    return tf.reshape(tf.matmul(tf.one_hot(tf.reshape(ids, [-1]), 7, dtype=table.dtype), table), [3, 5, 4])


@PAIRS.rewrite(embedding)
def gathered_flat(ids):
    with tf.variable_scope("words"):
        table = variable("embeddings", 7, 4)
    return tf.reshape(tf.gather(table, tf.reshape(ids, [-1])), [3, 5, 4])


@PAIRS.rewrite(embedding)
def gathered_by_coordinates(ids):
    with tf.variable_scope("words"):
        return tf.gather_nd(variable("embeddings", 7, 4), ids[..., None])


@PAIRS.native(embedding)
def keras_embedding(ids):
    return keras.layers.Embedding(7, 4, embeddings_initializer="glorot_uniform", name="words")(ids)


@PAIRS.original(ids=integers(3, 5, high=7))
def bag_of_words(ids):
    return tf.reduce_mean(tf.nn.embedding_lookup(variable("table", 7, 4), ids), 1)


@PAIRS.rewrite(bag_of_words)
def counts_times_the_table(ids):
    counts = tf.reduce_sum(tf.one_hot(ids, 7, dtype=keras.config.floatx()), 1)
    return tf.matmul(counts, variable("table", 7, 4)) / 5.0


@PAIRS.rewrite(bag_of_words)
def sums_of_segments(ids):
    rows = tf.nn.embedding_lookup(variable("table", 7, 4), tf.reshape(ids, [-1]))
    return tf.segment_sum(rows, tf.constant([0] * 5 + [1] * 5 + [2] * 5)) / 5.0


@PAIRS.original(ids=integers(3, 5, high=7))
def tied_logits(ids):
    table = variable("table", 7, 4)
    return tf.matmul(tf.reduce_sum(tf.gather(table, ids), 1), table, transpose_b=True)


@PAIRS.rewrite(tied_logits)
def tied_einsum(ids):
    table = variable("table", 7, 4)
    hot = tf.one_hot(ids, 7, dtype=table.dtype)
    return tf.einsum("bsv,vd,wd->bw", hot, table, table)


def _projected(x):
    return [tf.layers.dense(x, 8, name=name) for name in ("q", "k", "v")]


def _in_heads(x):
    return tf.transpose(tf.reshape(x, [2, 5, 2, 4]), [0, 2, 1, 3])


def _joined(x):
    return tf.layers.dense(tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [2, 5, 8]), 8, name="o")


@PAIRS.original(x=floats(2, 5, 8))
def attention(x):
    q, k, v = (_in_heads(y) for y in _projected(x))
    return _joined(tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0), v))


@PAIRS.rewrite(attention)
def head_after_head(x):
    q, k, v = _projected(x)
    heads = []
    for n in range(2):
        mine = slice(4 * n, 4 * n + 4)
        weights = tf.nn.softmax(tf.matmul(q[..., mine] * 0.5, k[..., mine], transpose_b=True))
        heads.append(tf.matmul(weights, v[..., mine]))
    return tf.layers.dense(tf.concat(heads, -1), 8, name="o")


@PAIRS.rewrite(attention)
def einsum_over_heads(x):
    q, k, v = (tf.reshape(y, [2, 5, 2, 4]) for y in _projected(x))
    weights = tf.nn.softmax(tf.einsum("bqhd,bkhd->bhqk", q, k) * 0.5)
    return tf.layers.dense(tf.reshape(tf.einsum("bhqk,bkhd->bqhd", weights, v), [2, 5, 8]), 8, name="o")


@PAIRS.rewrite(attention)
def flat_projections(x):
    def dense(y, name):
        with tf.variable_scope(name):
            kernel, bias = variable("kernel", 8, 8), variable("bias", 8, initializer=tf.zeros_initializer())
        return tf.matmul(y, kernel) + bias

    flat = tf.reshape(x, [10, 8])
    q, k, v = (_in_heads(dense(flat, name)) for name in ("q", "k", "v"))
    scores = tf.matmul(q, k, transpose_b=True) * 4**-0.5
    e = tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
    heads = tf.matmul(e, v) / tf.reduce_sum(e, -1, keepdims=True)
    return tf.reshape(dense(tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), [10, 8]), "o"), [2, 5, 8])


@PAIRS.rewrite(attention)
def heads_in_the_batch(x):
    q, k, v = (tf.concat(tf.split(y, 2, axis=2), axis=0) for y in _projected(x))
    y = tf.matmul(tf.nn.softmax(tf.matmul(q, tf.transpose(k, [0, 2, 1])) / 4**0.5), v)
    return tf.layers.dense(tf.concat(tf.split(y, 2, axis=0), axis=2), 8, name="o")


@PAIRS.native(attention)
def keras_by_operations(x):
    ops = keras.ops
    q, k, v = (keras.layers.Dense(8, name=name)(x) for name in ("q", "k", "v"))
    q, k, v = (ops.transpose(ops.reshape(y, (2, 5, 2, 4)), (0, 2, 1, 3)) for y in (q, k, v))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0)
    y = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (2, 5, 8))
    return keras.layers.Dense(8, name="o")(y)


_NAMES = [("^q/", "mha/query/"), ("^k/", "mha/key/"), ("^v/", "mha/value/"), ("^o/", "mha/attention_output/")]
_SHAPES = [
    ("(query|key|value)/kernel$", "reshape(8,2,4)"),
    ("(query|key|value)/bias$", "reshape(2,4)"),
    ("attention_output/kernel$", "reshape(2,4,8)"),
]


@PAIRS.native(attention, rename=_NAMES, transforms=_SHAPES)
def keras_multi_head_attention(x):
    glorot = keras.initializers.RandomUniform(-((6 / 16) ** 0.5), (6 / 16) ** 0.5)
    return keras.layers.MultiHeadAttention(2, 4, kernel_initializer=glorot, name="mha")(x, x)


@PAIRS.native(
    attention,
    rename=[
        ("^q/(.*)$", r"qkv/\1[0]"),
        ("^k/(.*)$", r"qkv/\1[1]"),
        ("^v/(.*)$", r"qkv/\1[2]"),
    ],
    parts=[("^qkv/kernel$", 1, [8, 8, 8]), ("^qkv/bias$", 0, [8, 8, 8])],
)
def keras_merged_projection(x):
    ops = keras.ops
    glorot = keras.initializers.RandomUniform(-((6 / 16) ** 0.5), (6 / 16) ** 0.5)
    merged = keras.layers.Dense(24, kernel_initializer=glorot, name="qkv")(x)
    q, k, v = ops.unstack(ops.transpose(ops.reshape(merged, (2, 5, 3, 2, 4)), (2, 0, 3, 1, 4)), 3)
    y = ops.matmul(ops.softmax(ops.matmul(q, ops.swapaxes(k, -1, -2)) * 0.5), v)
    return keras.layers.Dense(8, name="o")(ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (2, 5, 8)))


@PAIRS.original(x=floats(2, 5, 8), lengths=np.int32([5, 3]))
def masked_attention(x, lengths):
    q, k, v = _projected(x)
    mask = as_number(tf.sequence_mask(lengths, 5))[:, None]
    return tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) + (1.0 - mask) * -1e9), v)


@PAIRS.rewrite(masked_attention)
def selected_minus_infinity(x, lengths):
    q, k, v = _projected(x)
    mask = tf.tile((tf.range(5) < lengths[:, None])[:, None], [1, 5, 1])
    scores = tf.matmul(q, k, transpose_b=True)
    return tf.matmul(tf.nn.softmax(tf.where(mask, scores, tf.fill([2, 5, 5], number(-np.inf)))), v)


@PAIRS.rewrite(masked_attention)
def added_a_smaller_number(x, lengths):
    q, k, v = _projected(x)
    mask = as_number(tf.sequence_mask(lengths, 5))[:, None]
    return tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True) - 10000.0 * (1.0 - mask)), v)


@PAIRS.rewrite(masked_attention)
def exponentials_times_the_mask(x, lengths):
    q, k, v = _projected(x)
    mask = as_number(tf.sequence_mask(lengths, 5))[:, None]
    e = tf.exp(tf.matmul(q, k, transpose_b=True)) * mask
    return tf.matmul(e / tf.reduce_sum(e, -1, keepdims=True), v)


@PAIRS.native(masked_attention)
def keras_masked_softmax(x, lengths):
    ops = keras.ops
    q, k, v = (keras.layers.Dense(8, name=name)(x) for name in ("q", "k", "v"))
    mask = ops.expand_dims(ops.less(ops.arange(5, dtype="int32"), ops.expand_dims(lengths, 1)), 1)
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1)))
    return ops.matmul(ops.softmax(ops.where(mask, scores, -1e9)), v)


@PAIRS.original(x=floats(2, 5, 8))
def causal_attention(x):
    q, k, v = _projected(x)
    allowed = tf.linalg.band_part(number(np.ones((5, 5))), -1, 0)
    scores = tf.matmul(q, k, transpose_b=True) * 8**-0.5
    return tf.matmul(tf.nn.softmax(scores * allowed - 1e10 * (1 - allowed)), v)


@PAIRS.rewrite(causal_attention)
def future_selected(x):
    q, k, v = _projected(x)
    future = tf.range(5)[:, None] < tf.range(5)
    scores = tf.einsum("bid,bjd->bij", q, k) / 8**0.5
    return tf.matmul(tf.nn.softmax(tf.where(tf.tile(future[None], [2, 1, 1]), tf.ones_like(scores) * -1e9, scores)), v)


@PAIRS.rewrite(causal_attention)
def step_by_step(x):
    q, k, v = _projected(x * 1.0)
    rows = []
    for n in range(5):
        weights = tf.nn.softmax(tf.reduce_sum(q[:, n, None] * k[:, : n + 1], -1) / np.sqrt(8.0))
        rows.append(tf.reduce_sum(weights[:, :, None] * v[:, : n + 1], 1))
    return tf.stack(rows, 1)


@PAIRS.original(x=floats(2, 5, 6), state=floats(2, 4))
def additive_attention(x, state):
    memory = tf.layers.dense(x, 6, use_bias=False, name="memory")
    query = tf.layers.dense(state, 6, use_bias=False, name="query")
    weights = tf.nn.softmax(tf.reduce_sum(variable("v", 6) * tf.tanh(memory + query[:, None]), 2))
    return tf.reduce_sum(weights[:, :, None] * x, 1)


@PAIRS.rewrite(additive_attention)
def additive_by_matmul(x, state):
    memory = tf.layers.dense(x, 6, use_bias=False, name="memory")
    query = tf.layers.dense(tf.tile(state[:, None], [1, 5, 1]), 6, use_bias=False, name="query")
    scores = tf.einsum("bsd,d->bs", tf.tanh(query + memory), variable("v", 6))
    return tf.squeeze(tf.matmul(tf.nn.softmax(scores)[:, None], x), 1)
