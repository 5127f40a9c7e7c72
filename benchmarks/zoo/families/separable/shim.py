"""The mobile network behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf
import tf_slim as slim

from lockstep import tf1


def build(faults):
    """Make the migration."""
    return Separable(faults)


class Separable(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def forward(inputs, training, faults):
    norm = {"decay": 0.99 if "momentum" in faults else 0.95, "epsilon": 1e-3, "is_training": training}
    with tf.variable_scope("net"):
        half = 128.0 if "centre" in faults else 127.5
        net = tf.divide(tf.subtract(inputs["image"], half, name="centred"), 127.5, name="scaled")
        with slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            normalizer_fn=slim.batch_norm,
            normalizer_params=norm,
            activation_fn=tf.nn.relu6,
        ):
            net = slim.conv2d(net, 8, 3, stride=2, scope="stem")
            net = blocks(net, norm, faults)
        net = excited(net, faults)
        net = joint(net, faults)
        activation = tf.nn.relu if "relu" in faults else tf.nn.relu6
        net = activation(tf.multiply(net, 100.0, name="amplified"), name="clipped")
        reduce = tf.reduce_max if "max_pool" in faults else tf.reduce_sum if "sum_pool" in faults else tf.reduce_mean
        net = reduce(net, [1, 2], name="global_pool")
        logits = slim.fully_connected(net, 6, activation_fn=None, scope="logits")
        softmax = tf.nn.softmax if "softmax" in faults else tf.nn.log_softmax
        return {"logits": logits, "scores": softmax(logits, name="scores")}


def blocks(net, norm, faults):
    first = dict(norm, epsilon=1e-5) if "epsilon" in faults else norm
    rate = 2 if "dilation" in faults else 1
    net = slim.separable_conv2d(
        net, None, 3, depth_multiplier=1, rate=rate, normalizer_params=first, scope="depthwise_1"
    )
    net = slim.conv2d(net, 12, 1, activation_fn=None if "linear" in faults else tf.nn.relu6, scope="pointwise_1")
    if "padding" in faults:
        net = tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]])
        net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=2, padding="VALID", scope="depthwise_2")
    elif "stride_place" in faults:
        net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, scope="depthwise_2")
        return slim.conv2d(net, 16, 1, stride=2, scope="pointwise_2")
    else:
        net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=2, scope="depthwise_2")
    fixed = dict(norm, is_training=False) if "frozen" in faults else norm
    return slim.conv2d(net, 16, 1, normalizer_params=fixed, scope="pointwise_2")


def excited(net, faults):
    with tf.variable_scope("excite"):
        axes = [1] if "squeeze_axis" in faults else [1, 2]
        gate = tf.reduce_mean(net, axes, keepdims=True, name="squeeze")
        gate = slim.conv2d(gate, 4, 1, scope="reduce")
        gate = slim.conv2d(gate, 16, 1, activation_fn=None, scope="expand")
        if "sigmoid" in faults:
            return tf.multiply(net, tf.sigmoid(gate), name="gated")
        factor = 0.2 if "gate_factor" in faults else 1.0 / 6.0
        gate = tf.multiply(tf.nn.relu6(tf.add(gate, 3.0, name="shifted"), name="bounded"), factor, name="gate")
        return net + gate if "added" in faults else tf.multiply(net, gate, name="gated")


def joint(net, faults):
    if "multiplier_order" not in faults:
        return slim.separable_conv2d(net, 16, 3, depth_multiplier=2, activation_fn=None, scope="joint")
    # The depthwise step's channels are (channel, multiplier); here they are taken as (multiplier, channel).
    with tf.variable_scope("joint"):
        depthwise = tf.get_variable("depthwise_weights", [3, 3, 16, 2], initializer=slim.xavier_initializer())
        pointwise = tf.get_variable("pointwise_weights", [1, 1, 32, 16], initializer=slim.xavier_initializer())
        biases = tf.get_variable("biases", [16], initializer=tf.zeros_initializer())
        net = tf.nn.depthwise_conv2d(net, depthwise, [1, 1, 1, 1], "SAME")
        net = tf.reshape(net, [-1, 4, 4, 16, 2])
        net = tf.reshape(tf.transpose(net, [0, 1, 2, 4, 3]), [-1, 4, 4, 32])
        return tf.nn.bias_add(tf.nn.conv2d(net, pointwise, [1, 1, 1, 1], "SAME"), biases)
