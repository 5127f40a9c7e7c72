"""The recurrent classifier behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf

from lockstep import tf1

tf1.enable()  # brings back `tf.nn.rnn_cell.RNNCell`, which is needed while this file is imported

WORDS, SIZE = 20, 8


def build(faults):
    """Make the migration."""
    return Recurrent(faults)


class Recurrent(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def long_short_term_memory(faults):
    """The library's cell, or, where its inside is to be wrong, one written by hand."""
    if faults & {"gate_order", "output_activation", "no_input_gate"}:
        return ByHand(faults)
    options = {}
    if "forget_bias" in faults:
        options["forget_bias"] = 0.0
    if "cell_clip" in faults:
        options["cell_clip"] = 0.3
    if "activation" in faults:
        options["activation"] = tf.nn.softsign
    return tf.nn.rnn_cell.LSTMCell(SIZE, **options)


class ByHand(tf.nn.rnn_cell.RNNCell):
    """An LSTM cell with the library's variables."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @property
    def state_size(self):
        return tf.nn.rnn_cell.LSTMStateTuple(SIZE, SIZE)

    @property
    def output_size(self):
        return SIZE

    def __call__(self, inputs, state, scope=None):
        del scope
        with tf.variable_scope("lstm_cell", reuse=tf.AUTO_REUSE):
            kernel = tf.get_variable("kernel", [inputs.shape[-1] + SIZE, 4 * SIZE])
            bias = tf.get_variable("bias", [4 * SIZE], initializer=tf.zeros_initializer())
        gates = tf.nn.bias_add(tf.matmul(tf.concat([inputs, state.h], 1), kernel), bias)
        if "gate_order" in self.faults:  # as Keras has it
            entering, forgetting, new, leaving = tf.split(gates, 4, axis=1)
        else:
            entering, new, forgetting, leaving = tf.split(gates, 4, axis=1)
        new = tf.tanh(new)
        if "no_input_gate" not in self.faults:
            new = tf.sigmoid(entering) * new
        cell = tf.sigmoid(forgetting + 1.0) * state.c + new
        shown = cell if "output_activation" in self.faults else tf.tanh(cell)
        hidden = tf.sigmoid(leaving) * shown
        return hidden, tf.nn.rnn_cell.LSTMStateTuple(cell, hidden)


def forward(inputs, training, faults):
    with tf.variable_scope("net"):
        start = tf.random_uniform_initializer(-0.05 if "initializer" in faults else -0.5, 0.5)
        table = tf.get_variable("table", [WORDS, SIZE], initializer=start)
        words = inputs["words"][:, ::-1] if "reversed" in faults else inputs["words"]
        net = tf.nn.embedding_lookup(table, words, name="embedded")
        lengths = inputs["length"]
        lstm = long_short_term_memory(faults)
        state = lstm.zero_state(4, tf.float32)
        if "initial_state" in faults:
            state = tf.nn.rnn_cell.LSTMStateTuple(tf.ones([4, SIZE]), tf.zeros([4, SIZE]))
        shown = None if "mask" in faults else lengths - 1 if "mask_offset" in faults else lengths
        net, last = tf.nn.dynamic_rnn(lstm, net, sequence_length=shown, initial_state=state, scope="lstm")
        hidden = net[:, -1] if "last_step" in faults else last.c if "cell_state" in faults else last.h
        net = net if "no_activation" in faults else tf.nn.relu(net, name="between")
        gru = tf.nn.rnn_cell.GRUCell(6, bias_initializer=tf.zeros_initializer() if "gate_bias" in faults else None)
        shown = None if "gru_mask" in faults else lengths
        net, _ = tf.nn.dynamic_rnn(gru, net, sequence_length=shown, dtype=tf.float32, scope="gru")
        if "whole_mean" in faults:
            mean = tf.reduce_mean(net, axis=1, name="mean")
        else:
            count = tf.cast(lengths, tf.float32)[:, tf.newaxis]
            mean = tf.divide(tf.reduce_sum(net, axis=1, name="total"), count, name="mean")
        features = tf.concat([hidden, mean], axis=1, name="features")
        rate = 0.75 if "keep_prob" in faults else 0.25
        features = tf.layers.dropout(features, rate, training=training, name="drop")
        logits = tf.layers.dense(features, 3, name="logits")
        return {"logits": logits, "memory": last.c, "states": net}
