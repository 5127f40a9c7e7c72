"""The residual network behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf

from lockstep import tf1


def build(faults):
    """Make the migration."""
    return Residual(faults)


class Residual(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def weight_decay(weights):
    return 2e-3 * tf.nn.l2_loss(weights)


def forward(inputs, training, faults):
    with tf.variable_scope("net"):
        net = tf.layers.conv2d(inputs["image"], 8, 3, padding="same", use_bias=False, name="stem")
        net = block(net, 8, 1, training, "block_1", faults & {"scale_1", "norm_variance"})
        net = block(net, 12, 2, training, "block_2", faults - {"scale_1", "scale_3", "norm_variance", "no_decay"})
        net = block(net, 12, 1, training, "block_3", faults & {"scale_3", "epsilon", "leaky_slope", "no_decay"})
        rate = 1 if "dilation" in faults else 2
        bias = "no_bias" not in faults
        net = tf.layers.conv2d(net, 12, 3, padding="same", dilation_rate=rate, use_bias=bias, name="context")
        net = norm(net, training, "last_norm", faults)
        slope = 0.3 if "last_slope" in faults else 0.2
        net = tf.nn.leaky_relu(net, alpha=slope, name="last_activation")
        if "resized_low" in faults:
            low = net[:, ::2, ::2]
        else:
            low = tf.layers.average_pooling2d(net, 2, 2, name="low")
        net = tf.reduce_mean(low, axis=[1, 2], name="global_pool")
        net = tf.layers.dense(net, 4, kernel_regularizer=weight_decay, name="values")
        return {"values": tf.tanh(net, name="bounded"), "low": low}


def norm(net, training, name, faults):
    epsilon = 1e-3 if "epsilon" in faults else 4e-5 if "tiny_epsilon" in faults and name == "norm_1" else 1e-5
    momentum = 0.99 if "momentum" in faults and name == "last_norm" else 0.9
    fused = "fused" in faults and name == "last_norm"
    if "norm_variance" in faults and name == "norm_2":
        return unbiased_norm(net, training, name)
    return tf.layers.batch_normalization(
        net, momentum=momentum, epsilon=epsilon, fused=fused, training=training, name=name
    )


def unbiased_norm(net, training, name):
    """Batch normalisation that normalises with the variance over n - 1, as `std` of other libraries has it."""
    with tf.variable_scope(name):
        shape = [net.shape[-1]]
        gamma = tf.get_variable("gamma", shape, initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", shape, initializer=tf.zeros_initializer())
        means = tf.get_variable("moving_mean", shape, initializer=tf.zeros_initializer(), trainable=False)
        variances = tf.get_variable("moving_variance", shape, initializer=tf.ones_initializer(), trainable=False)
        mean, variance = means, variances
        if training:
            mean, variance = tf.nn.moments(net, [0, 1, 2])
            for average, value in ((means, mean), (variances, variance)):
                average.assign_sub((average - value) * 0.1)
            count = 4 * 12 * 12
            variance *= count / (count - 1)
        return tf.nn.batch_normalization(net, mean, variance, beta, gamma, 1e-5)


def block(net, filters, stride, training, scope, faults):
    slope = 0.3 if "leaky_slope" in faults else 0.2
    decay = None if "no_decay" in faults else weight_decay
    with tf.variable_scope(scope):
        shortcut = net
        net = norm(net, training, "norm_1", faults)
        raw = net
        net = tf.nn.leaky_relu(net, alpha=slope, name="activation_1")
        if stride != 1:
            source = raw if "shortcut_input" in faults else net
            shortcut = tf.layers.conv2d(source, filters, 1, strides=stride, use_bias=False, name="shortcut")
            net = strided(net, filters, stride, faults)
        else:
            net = tf.layers.conv2d(
                net, filters, 3, padding="same", use_bias=False, kernel_regularizer=decay, name="conv_1"
            )
        net = tf.nn.leaky_relu(norm(net, training, "norm_2", faults), alpha=slope, name="activation_2")
        net = tf.layers.conv2d(net, filters, 3, padding="same", name="conv_2")
        if "no_scale" in faults:
            return tf.add(shortcut, net, name="sum")
        scale = 0.33 if faults & {"scale_1", "scale_3"} else 0.3
        net = tf.multiply(net, scale, name="scaled")
        return net if "no_shortcut" in faults else tf.add(shortcut, net, name="sum")


def strided(net, filters, stride, faults):
    if "same_padding" in faults:
        return tf.layers.conv2d(
            net, filters, 3, stride, "same", use_bias=False, kernel_regularizer=weight_decay, name="conv_1"
        )
    mode = "SYMMETRIC" if "pad_mode" in faults else "CONSTANT"
    net = tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]], mode, name="pad")
    return tf.layers.conv2d(net, filters, 3, stride, use_bias=False, kernel_regularizer=weight_decay, name="conv_1")
