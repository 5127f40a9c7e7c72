"""Two layers of BERT with its masked loss, as Google's code has them."""

import numpy as np
import tensorflow.compat.v1 as tf

BATCH, LENGTH, SIZE, HEADS, WORDS = 2, 5, 8, 2, 11


def gelu(x):
    with tf.name_scope("gelu"):
        return x * 0.5 * (1.0 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


def norm(x, name):
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", [SIZE], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [SIZE], initializer=tf.zeros_initializer())
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def heads(x):
    return tf.transpose(tf.reshape(x, [BATCH, LENGTH, HEADS, SIZE // HEADS]), [0, 2, 1, 3])


def attention(x, mask):
    with tf.variable_scope("attention"):
        flat = tf.reshape(x, [-1, SIZE])
        query, key, value = (heads(tf.layers.dense(flat, SIZE, name=name)) for name in ("query", "key", "value"))
        with tf.name_scope("scores"):
            scores = tf.multiply(tf.matmul(query, key, transpose_b=True), 1.0 / np.sqrt(SIZE // HEADS))
            adder = (1.0 - tf.cast(tf.expand_dims(mask, axis=[1]), tf.float32)) * -10000.0
            scores += adder
        mixed = tf.matmul(tf.nn.softmax(scores), value)
        flat = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [BATCH * LENGTH, SIZE])
        return tf.reshape(tf.layers.dense(flat, SIZE, name="output"), [BATCH, LENGTH, SIZE])


def forward(inputs, training):
    """Guess masked words; words (2, 5) int32, mask (2, 5) int32, labels and weights of as many."""
    with tf.variable_scope("net"):
        with tf.variable_scope("words"):
            table = tf.get_variable("embeddings", [WORDS, SIZE], initializer=tf.random_normal_initializer(stddev=0.2))
        x = tf.gather(table, inputs["words"])
        ones = tf.ones([BATCH, LENGTH, 1], tf.float32)
        mask = ones * tf.cast(tf.reshape(inputs["mask"], [BATCH, 1, LENGTH]), tf.float32)
        for layer in range(2):
            with tf.variable_scope("layer_%d" % layer):
                x = norm(x + attention(x, mask), "attention_norm")
                wide = gelu(tf.layers.dense(x, 12, name="wide"))
                x = norm(x + tf.layers.dense(wide, SIZE, name="narrow"), "output_norm")
        pooled = tf.layers.dense(x[:, 0], SIZE, tf.tanh, name="pooler")
        with tf.variable_scope("loss"):
            logits = tf.matmul(tf.reshape(x, [-1, SIZE]), table, transpose_b=True)
            log_probs = tf.nn.log_softmax(logits, axis=-1)
            weights = tf.reshape(inputs["weights"], [-1])
            one_hot = tf.one_hot(tf.reshape(inputs["labels"], [-1]), WORDS, dtype=tf.float32)
            per_example = -tf.reduce_sum(log_probs * one_hot, axis=[-1])
            loss = tf.reduce_sum(weights * per_example) / (tf.reduce_sum(weights) + 1e-5)
        return {"pooled": pooled, "loss": loss}
