"""The perceptron behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf

from lockstep import tf1

MEAN, DEVIATION = 0.1, 1.2


def build(faults):
    """Make the migration."""
    return Perceptron(faults)


class Perceptron(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def weight_decay(weights):
    return 0.01 * tf.nn.l2_loss(weights)


def whole_squares(weights):
    return 0.01 * tf.reduce_sum(tf.square(weights))


def forward(inputs, training, faults):
    decay = whole_squares if "l2_half" in faults else weight_decay
    with tf.variable_scope("net"):
        net = (inputs["features"] - (0.0 if "mean" in faults else MEAN)) / DEVIATION
        limit = 1.6 if "clip" in faults else 1.5
        net = tf.clip_by_value(net, -limit, limit)
        with tf.variable_scope("first"):
            weights = tf.get_variable("weights", [12, 16], regularizer=decay)
            start = 0.1 if "bias_start" in faults else 0.0
            biases = tf.get_variable("biases", [16], initializer=tf.constant_initializer(start))
            net = tf.matmul(net, weights) + biases
            net = net if "no_activation" in faults else tf.nn.relu(net)
        if training:
            net = tf.nn.dropout(net, rate=0.8) if "keep_prob" in faults else tf.nn.dropout(net, keep_prob=0.8)
        net = second(net, None if "no_regularizer" in faults else decay, faults)
        net = normalized(net, training, faults)
        dropped = tf.layers.dropout(net, 0.3, training=training, name="drop")
        gate = gating(dropped if "dropout_place" in faults else net, faults)
        net = tf.multiply(dropped, gate, name="gated")
        deviation = 0.2 if "deviation" in faults else 0.1
        normal = tf.truncated_normal_initializer(stddev=deviation)
        logits = tf.layers.dense(net, 5, kernel_initializer=normal, name="logits")
        temperature = tf.get_variable("temperature", [], initializer=tf.constant_initializer(2.0))
        if "temperature" not in faults:
            logits = tf.divide(logits, temperature, name="tempered")
        axis = 0 if "softmax_axis" in faults else -1
        return {"logits": logits, "probabilities": tf.nn.softmax(logits, axis=axis, name="probabilities")}


def second(net, decay, faults):
    if "transposed" not in faults:
        return tf.layers.dense(net, 16, use_bias=False, kernel_regularizer=decay, name="second")
    with tf.variable_scope("second"):
        kernel = tf.get_variable("kernel", [16, 16], regularizer=decay)
        return tf.matmul(net, kernel, transpose_b=True)


def normalized(net, training, faults):
    epsilon = 1e-5 if "epsilon" in faults else 1e-3
    momentum = 0.99 if "momentum" in faults else 0.9
    training = training and "frozen" not in faults
    if "activation_first" in faults:
        net = tf.nn.elu(net, name="elu")
    net = tf.layers.batch_normalization(net, momentum=momentum, epsilon=epsilon, training=training, name="norm")
    if "activation_first" in faults:
        return net
    return tf.nn.selu(net) if "selu" in faults else tf.nn.elu(net, name="elu")


def gating(net, faults):
    activation = tf.tanh if "tanh_gate" in faults else tf.sigmoid
    if "half_precision" in faults:
        net = tf.cast(tf.cast(net, tf.float16), tf.float32)
    gate = tf.layers.dense(net, 16, activation, name="gate")
    if "shared_kernel" in faults:
        with tf.variable_scope("second", reuse=True):
            kernel = tf.get_variable("kernel")
        with tf.variable_scope("gate", reuse=True):
            bias = tf.get_variable("bias")
        gate = tf.sigmoid(tf.matmul(net, kernel) + bias)
    return gate
