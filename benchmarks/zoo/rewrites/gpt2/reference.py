"""A block as GPT-2's code has it: a norm by hand, one product for query, key and value, heads split by a reshape."""

import numpy as np
import tensorflow.compat.v1 as tf

LENGTH, SIZE, HEADS = 5, 12, 3


def norm(x, scope):
    with tf.variable_scope(scope):
        g = tf.get_variable("g", [SIZE], initializer=tf.constant_initializer(1))
        b = tf.get_variable("b", [SIZE], initializer=tf.constant_initializer(0))
        u = tf.reduce_mean(x, axis=-1, keepdims=True)
        s = tf.reduce_mean(tf.square(x - u), axis=-1, keepdims=True)
        return (x - u) * tf.rsqrt(s + 1e-5) * g + b


def conv1d(x, scope, nf):
    with tf.variable_scope(scope):
        w = tf.get_variable("w", [1, int(x.shape[-1]), nf], initializer=tf.random_normal_initializer(stddev=0.2))
        b = tf.get_variable("b", [nf], initializer=tf.constant_initializer(0))
        product = tf.matmul(tf.reshape(x, [-1, int(x.shape[-1])]), tf.reshape(w, [-1, nf])) + b
        return tf.reshape(product, [int(x.shape[0]), LENGTH, nf])


def split_heads(x):
    return tf.transpose(tf.reshape(x, [int(x.shape[0]), LENGTH, HEADS, SIZE // HEADS]), [0, 2, 1, 3])


def attention(x, scope):
    with tf.variable_scope(scope):
        c = conv1d(x, "c_attn", 3 * SIZE)
        q, k, v = map(split_heads, tf.split(c, 3, axis=2))
        with tf.name_scope("scores"):
            w = tf.matmul(q, k, transpose_b=True) * (1.0 / np.sqrt(SIZE // HEADS))
            b = tf.constant(np.tril(np.ones([LENGTH, LENGTH], np.float32))[None, None])
            w = w * b - 1e10 * (1 - b)
        with tf.name_scope("softmax"):
            w = tf.exp(w - tf.reduce_max(w, axis=-1, keepdims=True))
            w = w / tf.reduce_sum(w, axis=-1, keepdims=True)
        a = tf.transpose(tf.matmul(w, v), [0, 2, 1, 3])
        return conv1d(tf.reshape(a, [int(x.shape[0]), LENGTH, SIZE]), "c_proj", SIZE)


def gelu(x):
    with tf.name_scope("gelu"):
        return 0.5 * x * (1 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


def forward(inputs, training):
    """Continue features (batch, 5, 12)."""
    with tf.variable_scope("net"):
        x = inputs["x"]
        for layer in range(1):
            with tf.variable_scope("h%d" % layer):
                x = x + attention(norm(x, "ln_1"), "attn")
                with tf.variable_scope("mlp"):
                    hidden = gelu(conv1d(norm(x, "ln_2"), "c_fc", 2 * SIZE))
                    x = x + conv1d(hidden, "c_proj", SIZE)
        return norm(x, "ln_f")
