"""A sentiment classifier as TF1 code: an embedding, two LSTM layers run by `dynamic_rnn`, dropout around them."""

import tensorflow.compat.v1 as tf

WORDS, SIZE = 500, 32


def forward(inputs, training):
    """Classify texts: word numbers (batch, length) and the length of each text."""
    with tf.variable_scope("sentiment", initializer=tf.random_uniform_initializer(-0.1, 0.1)):
        words = tf.get_variable("embedding", [WORDS, SIZE])
        net = tf.nn.embedding_lookup(words, inputs["words"])
        net = tf.layers.dropout(net, 0.2, training=training)
        layers = [tf.nn.rnn_cell.LSTMCell(SIZE), tf.nn.rnn_cell.LSTMCell(SIZE, use_peepholes=True)]
        cell = tf.nn.rnn_cell.MultiRNNCell(layers)
        _, states = tf.nn.dynamic_rnn(cell, net, sequence_length=inputs["length"], dtype=tf.float32)
        net = tf.layers.dropout(states[-1].h, 0.5, training=training)
        logits = tf.layers.dense(net, 2, name="logits")
    return {"logits": logits, "probability": tf.nn.softmax(logits), "memory": states[-1].c}
