"""Writes `model.pb`: a small network of TF1 code, frozen, as a stranger would hand it over."""

from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
HERE = Path(__file__).parent


def network(image):
    with v1.variable_scope("net"):
        kernel = v1.get_variable("conv/kernel", [3, 3, 3, 8])
        bias = v1.get_variable("conv/bias", [8], initializer=v1.zeros_initializer())
        x = tf.nn.bias_add(tf.nn.conv2d(image, kernel, 1, "SAME"), bias)
        size = [8]
        gamma = v1.get_variable("norm/gamma", size, initializer=v1.ones_initializer())
        beta = v1.get_variable("norm/beta", size, initializer=v1.zeros_initializer())
        mean = v1.get_variable("norm/moving_mean", size, initializer=v1.zeros_initializer(), trainable=False)
        variance = v1.get_variable("norm/moving_variance", size, initializer=v1.ones_initializer(), trainable=False)
        x = tf.nn.relu(v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, 1e-3, is_training=False)[0])
        weights = v1.get_variable("logits/kernel", [8, 4])
        return tf.matmul(tf.reduce_mean(x, [1, 2]), weights, name="logits/MatMul")


def write(path):
    """Writes the frozen graph; its weights are random, and none is trained."""
    rng = np.random.default_rng(1)
    with tf.Graph().as_default() as graph, v1.Session() as session:
        logits = network(v1.placeholder(tf.float32, [None, 8, 8, 3], name="image"))
        for variable in v1.global_variables():
            variable.load(rng.uniform(0.1, 1, variable.shape).astype(np.float32), session)
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [logits.op.name])
    Path(path).write_bytes(frozen.SerializeToString())


if __name__ == "__main__":
    write(HERE / "model.pb")
