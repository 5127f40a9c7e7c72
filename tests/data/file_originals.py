"""Models of TF1 code that are written as files, by the TensorFlow of the process: 1.15, or 2 through `tf.compat.v1`.

Run by Python 3.7 too: `python file_originals.py FOLDER` writes each as a SavedModel, a frozen graph and a MetaGraph.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

SHAPES = {"cnn": (2, 8, 8, 3), "sequence": (3, 4, 5)}


def conv(x, channels, scope, padding="SAME"):
    with tf.variable_scope(scope):
        kernel = tf.get_variable("kernel", [3, 3, int(x.shape[-1]), channels])
        bias = tf.get_variable("bias", [channels], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, [1, 1, 1, 1], padding), bias)


def batch_norm(x, scope, epsilon=1e-3):
    size = [int(x.shape[-1])]
    with tf.variable_scope(scope):
        gamma = tf.get_variable("gamma", size, initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", size, initializer=tf.zeros_initializer())
        mean = tf.get_variable("moving_mean", size, initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable("moving_variance", size, initializer=tf.ones_initializer(), trainable=False)
        if len(x.shape) == 4:
            return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def layer_norm(x, scope):
    with tf.variable_scope(scope):
        gamma = tf.get_variable("gamma", [int(x.shape[-1])], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [int(x.shape[-1])], initializer=tf.zeros_initializer())
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-6)


def dense(x, units, scope):
    with tf.variable_scope(scope):
        kernel = tf.get_variable("kernel", [int(x.shape[-1]), units])
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
        return tf.matmul(x, kernel) + bias


def prelu(x, scope):
    with tf.variable_scope(scope):
        alpha = tf.get_variable("alpha", [int(x.shape[-1])], initializer=tf.constant_initializer(0.25))
        return tf.nn.relu(x) - alpha * tf.nn.relu(-x)


def lstm(x, units, scope):
    """An LSTM written out, step by step."""
    with tf.variable_scope(scope):
        kernel = tf.get_variable("kernel", [int(x.shape[-1]) + units, 4 * units])
        bias = tf.get_variable("bias", [4 * units], initializer=tf.zeros_initializer())
        h = c = tf.zeros([tf.shape(x)[0], units])
        for step in range(int(x.shape[1])):
            i, j, f, o = tf.split(tf.matmul(tf.concat([x[:, step], h], 1), kernel) + bias, 4, axis=1)
            c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
            h = tf.tanh(c) * tf.sigmoid(o)
        return h


def cnn(inputs, training):
    x = inputs["x"]
    with tf.variable_scope("net"):
        x = tf.nn.relu(batch_norm(conv(x, 4, "conv1"), "bn1"))
        x = tf.nn.relu(batch_norm(conv(x, 4, "conv2"), "bn2"))
        x = tf.reduce_mean(x, [1, 2])
        return {"logits": tf.identity(dense(x, 3, "dense"), name="logits")}


def sequence(inputs, training):
    x = inputs["x"]
    with tf.variable_scope("net"):
        scores = tf.nn.softmax(tf.matmul(x, x, transpose_b=True) * 0.5)
        x = layer_norm(x + tf.matmul(scores, x), "norm")
        x = prelu(lstm(x, 6, "lstm"), "prelu")
        return {"logits": tf.identity(batch_norm(dense(x, 3, "dense"), "bn"), name="logits")}


MODELS = {"cnn": cnn, "sequence": sequence}


def write(folder, name):
    """Writes a model as `NAME_saved`, `NAME.pb` and `NAME.ckpt`; its weights are random."""
    rng = np.random.RandomState(3)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, (None, *SHAPES[name][1:]), name="x")
        outputs = MODELS[name]({"x": x}, False)
        variables = tf.global_variables()
        for variable in variables:
            variable.load(rng.uniform(0.2, 0.9, variable.shape.as_list()).astype("float32"), session)
        names = [output.op.name for output in outputs.values()]
        tf.saved_model.simple_save(session, folder + "/" + name + "_saved", {"x": x}, outputs)
        tf.train.Saver().save(session, folder + "/" + name + ".ckpt")
        frozen = tf.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), names)
        Path(folder, name + ".pb").write_bytes(frozen.SerializeToString())


if __name__ == "__main__":
    tf.disable_eager_execution()
    for model in MODELS:
        write(sys.argv[1], model)
