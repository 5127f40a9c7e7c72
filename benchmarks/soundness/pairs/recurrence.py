"""Recurrent networks: cells by hand, from TF1 and from Keras; loops unrolled and not."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, variable, zeros

PAIRS = Topic("recurrence")

X = floats(3, 4, 5)


@PAIRS.original(x=X)
def long_short_term_memory(x):
    cell = tf.nn.rnn_cell.LSTMCell(3, name="cell")
    return tf.nn.dynamic_rnn(cell, x, dtype=x.dtype, scope="rnn")[0]


def _lstm_weights():
    with tf.variable_scope("rnn/cell"):
        return variable("kernel", 8, 12), variable("bias", 12, initializer=tf.zeros_initializer())


def _lstm_step(gates, c):
    i, j, f, o = tf.split(gates, 4, 1)
    c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
    return tf.tanh(c) * tf.sigmoid(o), c


@PAIRS.rewrite(long_short_term_memory)
def lstm_unrolled(x):
    cell = tf.nn.rnn_cell.LSTMCell(3, name="cell")
    return tf.stack(tf.nn.static_rnn(cell, tf.unstack(x, axis=1), dtype=x.dtype, scope="rnn")[0], 1)


@PAIRS.rewrite(long_short_term_memory)
def lstm_by_hand(x):
    kernel, bias = _lstm_weights()
    h = c = zeros(3, 3)
    outputs = []
    for step in range(4):
        h, c = _lstm_step(tf.matmul(tf.concat([x[:, step], h], 1), kernel) + bias, c)
        outputs.append(h)
    return tf.stack(outputs, 1)


@PAIRS.rewrite(long_short_term_memory)
def inputs_projected_at_once(x):
    kernel, bias = _lstm_weights()
    projected = tf.tensordot(x, kernel[:5], 1) + bias
    h = c = zeros(3, 3)
    outputs = []
    for step in range(4):
        h, c = _lstm_step(projected[:, step] + tf.matmul(h, kernel[5:]), c)
        outputs.append(h)
    return tf.stack(outputs, 1)


@PAIRS.rewrite(long_short_term_memory)
def lstm_in_a_scan(x):
    kernel, bias = _lstm_weights()

    def step(carried, row):
        return _lstm_step(tf.matmul(tf.concat([row, carried[0]], 1), kernel) + bias, carried[1])

    outputs, _ = tf.scan(step, tf.transpose(x, [1, 0, 2]), (zeros(3, 3), zeros(3, 3)))
    return tf.transpose(outputs, [1, 0, 2])


@PAIRS.rewrite(long_short_term_memory)
def lstm_time_major(x):
    cell = tf.nn.rnn_cell.LSTMCell(3, name="cell")
    y, _ = tf.nn.dynamic_rnn(cell, tf.transpose(x, [1, 0, 2]), dtype=x.dtype, time_major=True, scope="rnn")
    return tf.transpose(y, [1, 0, 2])


_LSTM = {
    "transforms": [
        ("^lstm/lstm_cell/kernel$", "split(0, 0, [5, 3]) | gates(ijfo->ifco)", "rnn/cell/kernel"),
        ("^lstm/lstm_cell/recurrent_kernel$", "split(0, 1, [5, 3]) | gates(ijfo->ifco)", "rnn/cell/kernel"),
        ("^lstm/lstm_cell/bias$", "forget_bias(1.0, ijfo) | gates(ijfo->ifco)", "rnn/cell/bias"),
    ]
}


def _lstm_initializer():
    return keras.initializers.RandomUniform(-((6 / 20) ** 0.5), (6 / 20) ** 0.5)


@PAIRS.native(long_short_term_memory, **_LSTM)
def keras_lstm(x):
    init = _lstm_initializer()
    layer = keras.layers.LSTM(
        3, return_sequences=True, kernel_initializer=init, recurrent_initializer=_lstm_initializer(), name="lstm"
    )
    return layer(x)


@PAIRS.native(long_short_term_memory, **_LSTM)
def keras_lstm_unrolled(x):
    init = _lstm_initializer()
    layer = keras.layers.LSTM(
        3,
        return_sequences=True,
        unroll=True,
        kernel_initializer=init,
        recurrent_initializer=_lstm_initializer(),
        name="lstm",
    )
    return layer(x)


@PAIRS.original(x=X)
def gated_recurrent_unit(x):
    cell = tf.nn.rnn_cell.GRUCell(3, name="cell")
    return tf.nn.dynamic_rnn(cell, x, dtype=x.dtype, scope="rnn")[1]


def _gru_weights():
    with tf.variable_scope("rnn/cell/gates"):
        gates = variable("kernel", 8, 6), variable("bias", 6, initializer=tf.ones_initializer())
    with tf.variable_scope("rnn/cell/candidate"):
        return *gates, variable("kernel", 8, 3), variable("bias", 3, initializer=tf.zeros_initializer())


@PAIRS.rewrite(gated_recurrent_unit)
def gru_by_hand(x):
    wg, bg, wc, bc = _gru_weights()
    h = zeros(3, 3)
    for step in range(4):
        r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([x[:, step], h], 1), wg) + bg), 2, 1)
        c = tf.tanh(tf.matmul(tf.concat([x[:, step], r * h], 1), wc) + bc)
        h = u * h + (1 - u) * c
    return h


@PAIRS.rewrite(gated_recurrent_unit)
def gru_as_an_interpolation(x):
    wg, bg, wc, bc = _gru_weights()
    h = zeros(3, 3)
    for step in range(4):
        row = x[:, step]
        gates = tf.sigmoid(tf.matmul(row, wg[:5]) + tf.matmul(h, wg[5:]) + bg)
        r, u = gates[:, :3], gates[:, 3:]
        c = tf.tanh(tf.matmul(row, wc[:5]) + tf.matmul(r * h, wc[5:]) + bc)
        h = c + u * (h - c)
    return h


@PAIRS.rewrite(gated_recurrent_unit)
def gru_in_a_while_loop(x):
    wg, bg, wc, bc = _gru_weights()

    def body(step, h):
        row = tf.gather(x, step, axis=1)
        r, u = tf.split(tf.sigmoid(tf.matmul(tf.concat([row, h], 1), wg) + bg), 2, 1)
        c = tf.tanh(tf.matmul(tf.concat([row, r * h], 1), wc) + bc)
        return step + 1, u * h + (1 - u) * c

    return tf.while_loop(lambda step, _: step < 4, body, [tf.constant(0), zeros(3, 3)])[1]


@PAIRS.original(x=X)
def simple_recurrence(x):
    cell = tf.nn.rnn_cell.BasicRNNCell(3, name="cell")
    return tf.nn.dynamic_rnn(cell, x, dtype=x.dtype, scope="rnn")[0]


_SIMPLE = {
    "transforms": [
        ("/kernel$", "split(0, 0, [5, 3])", "rnn/cell/kernel"),
        ("/recurrent_kernel$", "split(0, 1, [5, 3])", "rnn/cell/kernel"),
    ],
    "rename": [("^rnn/cell/bias$", "simple/simple_rnn_cell/bias")],
}


@PAIRS.native(simple_recurrence, **_SIMPLE)
def keras_simple_rnn(x):
    return keras.layers.SimpleRNN(
        3,
        return_sequences=True,
        kernel_initializer=keras.initializers.RandomUniform(-((6 / 11) ** 0.5), (6 / 11) ** 0.5),
        recurrent_initializer=keras.initializers.RandomUniform(-((6 / 11) ** 0.5), (6 / 11) ** 0.5),
        name="simple",
    )(x)


@PAIRS.rewrite(simple_recurrence)
def powers_written_out(x):
    with tf.variable_scope("rnn/cell"):
        kernel, bias = variable("kernel", 8, 3), variable("bias", 3, initializer=tf.zeros_initializer())
    first = tf.tensordot(x, kernel[:5], [[2], [0]])
    h, outputs = zeros(3, 3), []
    for column in tf.unstack(first, axis=1):
        h = tf.tanh(tf.add_n([column, tf.matmul(h, kernel[5:]), tf.zeros_like(h) + bias]))
        outputs.append(h[:, None])
    return tf.concat(outputs, 1)


@PAIRS.original(x=X, lengths=np.int32([4, 1, 3]))
def masked_recurrence(x, lengths):
    cell = tf.nn.rnn_cell.BasicRNNCell(3, name="cell")
    return tf.nn.dynamic_rnn(cell, x, lengths, dtype=x.dtype, scope="rnn")


@PAIRS.rewrite(masked_recurrence)
def steps_selected(x, lengths):
    with tf.variable_scope("rnn/cell"):
        kernel, bias = variable("kernel", 8, 3), variable("bias", 3, initializer=tf.zeros_initializer())
    h, outputs = zeros(3, 3), []
    for step in range(4):
        new = tf.tanh(tf.matmul(tf.concat([x[:, step], h], 1), kernel) + bias)
        runs = tf.tile((step < lengths)[:, None], [1, 3])
        h = tf.where(runs, new, h)
        outputs.append(tf.where(runs, new, tf.zeros_like(new)))
    return tf.stack(outputs, 1), h


@PAIRS.original(x=X)
def running_average(x):
    decay = tf.sigmoid(variable("decay", 5))
    return tf.scan(lambda a, row: decay * a + (1 - decay) * row, tf.transpose(x, [1, 0, 2]), tf.zeros_like(x[:, 0]))


@PAIRS.rewrite(running_average)
def weighted_sums(x):
    decay = tf.sigmoid(variable("decay", 5))

    def row(step):
        return tf.add_n([(1 - decay) * decay ** float(step - n) * x[:, n] for n in range(step + 1)])

    return tf.stack([row(step) for step in range(4)])


@PAIRS.rewrite(running_average)
def average_in_a_while_loop(x):
    decay = tf.sigmoid(variable("decay", 5))

    def body(step, a, written):
        a = a + (1 - decay) * (x[:, step] - a)
        return step + 1, a, written.write(step, a)

    start = [0, tf.zeros_like(x[:, 0]), tf.TensorArray(x.dtype, 4)]
    return tf.while_loop(lambda step, *_: step < 4, body, start)[2].stack()


@PAIRS.original(x=X)
def bidirectional(x):
    cells = [tf.nn.rnn_cell.BasicRNNCell(3, name="cell") for _ in range(2)]
    outputs, _ = tf.nn.bidirectional_dynamic_rnn(*cells, x, dtype=x.dtype, scope="both")
    return tf.concat(outputs, 2)


@PAIRS.rewrite(bidirectional)
def two_loops(x):
    def run(y, name):
        with tf.variable_scope("both"):
            cell = tf.nn.rnn_cell.BasicRNNCell(3, name="cell")
            return tf.nn.dynamic_rnn(cell, y, dtype=y.dtype, scope=name)[0]

    return tf.concat([run(x, "fw"), run(x[:, ::-1], "bw")[:, ::-1]], 2)


@PAIRS.native(
    bidirectional,
    transforms=[
        ("forward_simple/.*/kernel$", "split(0, 0, [5, 3])", "both/fw/cell/kernel"),
        ("forward_simple/.*recurrent_kernel$", "split(0, 1, [5, 3])", "both/fw/cell/kernel"),
        ("forward_simple/.*bias$", "transpose(0)", "both/fw/cell/bias"),
        ("backward_simple/.*/kernel$", "split(0, 0, [5, 3])", "both/bw/cell/kernel"),
        ("backward_simple/.*recurrent_kernel$", "split(0, 1, [5, 3])", "both/bw/cell/kernel"),
        ("backward_simple/.*bias$", "transpose(0)", "both/bw/cell/bias"),
    ],
)
def keras_bidirectional(x):
    layer = keras.layers.SimpleRNN(
        3,
        return_sequences=True,
        kernel_initializer=keras.initializers.RandomUniform(-((6 / 11) ** 0.5), (6 / 11) ** 0.5),
        recurrent_initializer=keras.initializers.RandomUniform(-((6 / 11) ** 0.5), (6 / 11) ** 0.5),
        name="simple",
    )
    return keras.layers.Bidirectional(layer, name="both")(x)
