"""An LSTM and a GRU behind an embedding, run by `dynamic_rnn` over texts of different lengths."""

import tensorflow.compat.v1 as tf

WORDS, SIZE = 20, 8


def forward(inputs, training):
    """Classify texts, words (batch, 7) int32 with length (batch,) int32, into three classes."""
    with tf.variable_scope("net"):
        start = tf.random_uniform_initializer(-0.5, 0.5)
        table = tf.get_variable("table", [WORDS, SIZE], initializer=start)
        net = tf.nn.embedding_lookup(table, inputs["words"], name="embedded")
        lstm = tf.nn.rnn_cell.LSTMCell(SIZE)
        net, last = tf.nn.dynamic_rnn(lstm, net, sequence_length=inputs["length"], dtype=tf.float32, scope="lstm")
        net = tf.nn.relu(net, name="between")
        gru = tf.nn.rnn_cell.GRUCell(6)
        net, _ = tf.nn.dynamic_rnn(gru, net, sequence_length=inputs["length"], dtype=tf.float32, scope="gru")
        lengths = tf.cast(inputs["length"], tf.float32)
        mean = tf.divide(tf.reduce_sum(net, axis=1, name="total"), lengths[:, tf.newaxis], name="mean")
        features = tf.concat([last.h, mean], axis=1, name="features")
        features = tf.layers.dropout(features, 0.25, training=training, name="drop")
        logits = tf.layers.dense(features, 3, name="logits")
        return {"logits": logits, "memory": last.c, "states": net}
