"""A sentiment classifier as TF1 code: an embedding, two LSTM layers with dropout run by `dynamic_rnn`, a softmax."""

import tensorflow.compat.v1 as tf

WORDS, SIZE = 500, 32


def forward(inputs, training):
    """Classify texts: word numbers (batch, length) and the length of each text."""
    with tf.variable_scope("sentiment", initializer=tf.random_uniform_initializer(-0.1, 0.1)):
        words = tf.get_variable("embedding", [WORDS, SIZE])
        net = tf.nn.embedding_lookup(words, inputs["words"])
        cell = tf.nn.rnn_cell.MultiRNNCell([lstm(training) for _ in range(2)])
        _, states = tf.nn.dynamic_rnn(cell, net, sequence_length=inputs["length"], dtype=tf.float32)
        logits = tf.layers.dense(states[-1].h, 2, name="logits")
    return {"logits": logits, "probability": tf.nn.softmax(logits), "memory": states[-1].c}


def lstm(training):
    """One layer; dropout on what goes in while training."""
    cell = tf.nn.rnn_cell.LSTMCell(SIZE, forget_bias=1.0)
    keep = 0.8 if training else 1.0
    return tf.nn.rnn_cell.DropoutWrapper(cell, input_keep_prob=keep)
