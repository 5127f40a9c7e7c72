"""Embeddings, attention, recurrences and decoders written by hand."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("sequences")
program = PROGRAMS.program


@program(ids=integers(3, 5, high=9))
def embedding_lookup(ids):
    return tf.nn.embedding_lookup(tf.get_variable("table", [9, 4]), ids, max_norm=0.5)


@program(ids=integers(3, 5, high=9))
def embedding_of_several_variables(ids):
    tables = [tf.get_variable(f"part_{n}", [3, 4]) for n in range(3)]
    return {
        "mod": tf.nn.embedding_lookup(tables, ids, partition_strategy="mod"),
        "div": tf.nn.embedding_lookup(tables, ids, partition_strategy="div"),
    }


@program(ids=integers(6, high=9, dtype="int64"), rows=integers(6, high=3, dtype="int64"))
def embedding_of_sparse_ids(ids, rows):
    rows = tf.sort(rows)
    places = tf.stack([rows, tf.range(6, dtype=tf.int64)], 1)
    sparse = tf.SparseTensor(places, ids, [3, 6])
    table = tf.get_variable("table", [9, 4])
    return [tf.nn.embedding_lookup_sparse(table, sparse, None, combiner=c) for c in ("mean", "sum", "sqrtn")]


@program(ids=integers(3, 4, high=9), targets=integers(3, high=9, seed=4))
def skip_gram(ids, targets):
    center = tf.nn.embedding_lookup(tf.get_variable("in", [9, 5]), targets)
    context = tf.gather(tf.get_variable("out", [9, 5]), ids)
    return tf.reduce_mean(tf.nn.softplus(-tf.einsum("bd,bcd->bc", center, context)))


@program(ids=integers(2, 6, high=9))
def learned_and_sinusoidal_positions(ids):
    h = tf.nn.embedding_lookup(tf.get_variable("words", [9, 8]), ids) * 8**0.5
    h += tf.get_variable("positions", [10, 8])[None, :6]
    rates = tf.exp(-np.log(10000.0) / 3 * tf.range(4, dtype=tf.float32))
    angles = tf.range(6, dtype=tf.float32)[:, None] * rates
    return h + tf.concat([tf.sin(angles), tf.cos(angles)], 1)


def _heads(x, heads):
    length, width = x.shape.as_list()[1:]
    return tf.transpose(tf.reshape(x, [-1, length, heads, width // heads]), [0, 2, 1, 3])


@program(x=floats(2, 5, 8), lengths=np.int32([5, 3]))
def attention_with_a_padding_mask(x, lengths, training):
    q, k, v = (_heads(tf.layers.dense(x, 8, name=name), 2) for name in ("query", "key", "value"))
    scores = tf.matmul(q, k, transpose_b=True) / 2.0
    mask = tf.cast(tf.sequence_mask(lengths, 5), tf.float32)
    weights = tf.nn.softmax(scores + (1.0 - mask[:, None, None]) * -10000.0)
    weights = tf.layers.dropout(weights, 0.1, training=training)
    joined = tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [-1, 5, 8])
    return tf.layers.dense(joined, 8, name="output")


@program(x=floats(2, 5, 8))
def causal_attention(x):
    q, k, v = tf.split(tf.layers.dense(x, 24, use_bias=False, name="qkv"), 3, -1)
    scores = tf.einsum("bid,bjd->bij", q, k) * 8**-0.5
    allowed = tf.linalg.band_part(tf.ones([5, 5]), -1, 0)
    scores = scores * allowed - 1e10 * (1 - allowed)
    return tf.matmul(tf.nn.softmax(scores), v)


@program(x=floats(2, 5, 8))
def causal_attention_selected(x):
    q, k, v = (tf.layers.dense(x, 8, name=name) for name in "qkv")
    scores = tf.matmul(q, k, transpose_b=True)
    future = tf.range(5)[:, None] < tf.range(5)[None]
    scores = tf.where(tf.tile(future[None], [2, 1, 1]), tf.fill([2, 5, 5], -np.inf), scores)
    return tf.matmul(tf.nn.softmax(scores), v)


@program(x=floats(2, 5, 8), state=floats(2, 4))
def additive_attention(x, state):
    memory = tf.layers.dense(x, 6, use_bias=False, name="memory")
    query = tf.layers.dense(state, 6, use_bias=False, name="query")
    v = tf.get_variable("v", [6])
    weights = tf.nn.softmax(tf.reduce_sum(v * tf.tanh(memory + query[:, None]), 2))
    return tf.reduce_sum(weights[:, :, None] * x, 1)


@program(x=floats(2, 5, 4))
def relative_positions(x):
    table = tf.get_variable("table", [9, 4])
    distance = tf.range(5)[None] - tf.range(5)[:, None] + 4
    biases = tf.einsum("bid,ijd->bij", x, tf.gather(table, distance))
    return tf.matmul(tf.nn.softmax(tf.matmul(x, x, transpose_b=True) + biases), x)


@program(query=floats(2, 4), memory=floats(2, 6, 4))
def memory_network_hops(query, memory):
    for hop in range(3):
        weights = tf.nn.softmax(tf.squeeze(tf.matmul(memory, query[:, :, None]), 2))
        query = tf.layers.dense(query, 4, use_bias=False, name=f"hop{hop}")
        query += tf.einsum("bm,bmd->bd", weights, memory)
    return query


@program(x=floats(3, 5, 4))
def lstm_by_hand(x):
    w = tf.get_variable("w", [4 + 3, 12])
    b = tf.get_variable("b", [12], initializer=tf.zeros_initializer())
    c = h = tf.zeros([3, 3])
    for step in range(5):
        i, j, f, o = tf.split(tf.matmul(tf.concat([x[:, step], h], 1), w) + b, 4, 1)
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
    return h, c


@program(x=floats(3, 5, 4))
def gru_in_a_scan(x):
    kernel = tf.get_variable("kernel", [7, 6])
    candidate = tf.get_variable("candidate", [7, 3])

    def step(h, row):
        r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([row, h], 1), kernel)), 2, 1)
        c = tf.tanh(tf.matmul(tf.concat([row, r * h], 1), candidate))
        return u * h + (1 - u) * c

    return tf.scan(step, tf.transpose(x, [1, 0, 2]), initializer=tf.zeros([3, 3]))


@program(x=floats(2, 4, 5, 5, 2))
def convolutional_lstm(x):
    c = h = tf.zeros([2, 5, 5, 3])
    for step in range(4):
        with tf.variable_scope("cell", reuse=step > 0):
            gates = tf.layers.conv2d(tf.concat([x[:, step], h], -1), 12, 3, padding="same", name="gates")
        i, f, o, g = tf.split(gates, 4, -1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
    return h


@program(x=floats(3, 5, 4), lengths=np.int32([5, 2, 3]))
def last_output_of_each_row(x, lengths):
    outputs, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.GRUCell(3), x, sequence_length=lengths, dtype=tf.float32)
    places = tf.stack([tf.range(3), lengths - 1], 1)
    return tf.layers.dense(tf.gather_nd(outputs, places), 2)


@program(x=floats(3, 5, 4), lengths=np.int32([5, 2, 3]))
def reversed_sequences(x, lengths):
    backwards = tf.reverse_sequence(x, lengths, seq_axis=1, batch_axis=0)
    outputs, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.LSTMCell(3), backwards, dtype=tf.float32)
    return tf.reverse_sequence(outputs, lengths, seq_axis=1, batch_axis=0)


@program(ids=integers(2, 4, high=7), targets=integers(2, 3, high=7, seed=8))
def encoder_and_decoder(ids, targets):
    table = tf.get_variable("table", [7, 4])
    with tf.variable_scope("encoder"):
        cell = tf.nn.rnn_cell.LSTMCell(5)
        _, state = tf.nn.dynamic_rnn(cell, tf.nn.embedding_lookup(table, ids), dtype=tf.float32)
    with tf.variable_scope("decoder"):
        cell = tf.nn.rnn_cell.LSTMCell(5)
        shifted = tf.pad(targets, [[0, 0], [1, 0]])[:, :-1]
        outputs, _ = tf.nn.dynamic_rnn(cell, tf.nn.embedding_lookup(table, shifted), initial_state=state)
        return tf.layers.dense(outputs, 7, name="logits")


@program(x=floats(2, 4))
def greedy_decoding(x):
    table = tf.get_variable("table", [7, 4])
    cell = tf.nn.rnn_cell.GRUCell(4)
    with tf.variable_scope("decoder"):
        cell(x, x)
    project = tf.get_variable("project", [4, 7])

    def body(step, state, words, written):
        with tf.variable_scope("decoder", reuse=True):
            _, state = cell(tf.nn.embedding_lookup(table, words), state)
        logits = tf.matmul(state, project)
        words = tf.argmax(logits, 1, output_type=tf.int32)
        return step + 1, state, words, written.write(step, logits)

    start = [0, x, tf.zeros([2], tf.int32), tf.TensorArray(tf.float32, 4)]
    return tf.while_loop(lambda step, *_: step < 4, body, start)[3].stack()


@program(x=floats(2, 4))
def beams(x):
    """Two steps of a beam search of width 3."""
    w = tf.get_variable("w", [4, 6])
    v = tf.get_variable("v", [6, 6])
    scores, words = tf.nn.top_k(tf.nn.log_softmax(tf.matmul(x, w)), 3)
    following = scores[:, :, None] + tf.nn.log_softmax(tf.gather(v, words))
    best, places = tf.nn.top_k(tf.reshape(following, [2, 18]), 3)
    return {"scores": best, "parents": places // 6, "words": places % 6}


@program(x=floats(2, 5, 3), tags=integers(2, 5, high=3))
def conditional_random_field(x, tags):
    transitions = tf.get_variable("transitions", [3, 3])
    alphas = x[:, 0]
    for step in range(1, 5):
        alphas = tf.reduce_logsumexp(alphas[:, :, None] + transitions[None], 1) + x[:, step]
    unary = tf.reduce_sum(x * tf.one_hot(tags, 3), [1, 2])
    pairs = tf.stack([tags[:, :-1], tags[:, 1:]], -1)
    return unary + tf.reduce_sum(tf.gather_nd(transitions, pairs), 1) - tf.reduce_logsumexp(alphas, 1)


@program(x=floats(2, 7, 4))
def dilated_causal_convolutions(x):
    for rate in (1, 2):
        padded = tf.pad(x, [[0, 0], [rate, 0], [0, 0]])
        gate, content = tf.split(tf.layers.conv1d(padded, 8, 2, dilation_rate=rate, name=f"c{rate}"), 2, -1)
        x += tf.sigmoid(gate) * tf.tanh(content)
    return x


@program(x=floats(2, 6, 4))
def convolution_and_max_over_time(x):
    pooled = [tf.reduce_max(tf.layers.conv1d(x, 3, size, activation=tf.nn.relu), 1) for size in (2, 3, 4)]
    return tf.layers.dense(tf.concat(pooled, 1), 2)


@program(x=floats(2, 6, 4))
def quasi_recurrent(x):
    z, f = tf.split(tf.layers.conv1d(tf.pad(x, [[0, 0], [1, 0], [0, 0]]), 6, 2), 2, -1)
    z, f = tf.tanh(z), tf.sigmoid(f)
    h = tf.zeros([2, 3])
    for step in range(6):
        h = f[:, step] * h + (1 - f[:, step]) * z[:, step]
    return h


@program(x=floats(2, 4, 3), logits=floats(2, 4))
def pointer_to_the_input(x, logits):
    _, places = tf.nn.top_k(logits + tf.reduce_sum(x * tf.get_variable("w", [3]), -1), 2)
    rows = tf.tile(tf.range(2)[:, None], [1, 2])
    return tf.gather_nd(x, tf.stack([rows, places], -1)) * tf.get_variable("v", [3])


@program(x=floats(2, 3, 4))
def capsule_routing(x):
    w = tf.get_variable("w", [3, 4, 2, 5])
    votes = tf.einsum("bni,nikd->bnkd", x, w)
    logits = tf.zeros([2, 3, 2])
    for _ in range(3):
        s = tf.reduce_sum(tf.nn.softmax(logits)[..., None] * votes, 1)
        power = tf.reduce_sum(s**2, -1, keepdims=True)
        v = s * power / (1 + power) / tf.sqrt(power + 1e-9)
        logits += tf.reduce_sum(votes * v[:, None], -1)
    return v
