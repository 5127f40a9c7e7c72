"""The inception network behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf
import tf_slim as slim

from lockstep import tf1


def build(faults):
    """Make the migration."""
    return Convolutional(faults)


class Convolutional(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def forward(inputs, training, faults):
    norm = {
        "decay": 0.9,
        "epsilon": 1e-5 if "epsilon" in faults else 0.001,
        "scale": True,
        "is_training": training and "frozen" not in faults,
    }
    decay = slim.l2_regularizer(1.5e-3 if "weight_decay" in faults else 1e-3)
    regularized = slim.arg_scope([slim.conv2d, slim.fully_connected], weights_regularizer=decay)
    with tf.variable_scope("net"), regularized:
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm):
            net = inputs["image"]
            if "not_doubled" not in faults:
                net = tf.multiply(net, 2.0, name="doubled")
            net = tf.subtract(net, 0.5 if "offset" in faults else 1.0, name="centred")
            net = stem(net, norm, faults)
            net = mixed(net, faults)
        if "flatten_order" in faults:
            net = tf.transpose(net, [0, 3, 1, 2])
        net = slim.flatten(net, scope="flat")
        keep = 0.2 if "keep_prob" in faults else 0.8
        net = slim.dropout(net, keep, is_training=training, scope="drop")
        plain = None if "no_regularizer" in faults else decay
        logits = slim.fully_connected(net, 10, activation_fn=None, weights_regularizer=plain, scope="logits")
        return {"logits": logits, "classes": tf.nn.softmax(logits, name="classes")}


def stem(net, norm, faults):
    if "padding" in faults:
        net = tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]])
        net = slim.conv2d(net, 8, 3, stride=2, padding="VALID", scope="conv_1")
    else:
        net = slim.conv2d(net, 8, 3, stride=1 if "stride_place" in faults else 2, scope="conv_1")
    second = dict(norm)
    if "momentum" in faults:
        second["decay"] = 0.99
    if "unbiased" in faults:
        second["fused"] = False
    if "no_gamma" in faults:
        second["scale"] = False
    activation = tf.nn.leaky_relu if "leaky" in faults else tf.nn.relu
    stride = 2 if "stride_place" in faults else 1
    net = slim.conv2d(net, 12, 3, stride=stride, normalizer_params=second, activation_fn=activation, scope="conv_2")
    if "half_precision" in faults:
        net = tf.cast(tf.cast(net, tf.float16), tf.float32)
    if "average_pool" in faults:
        return slim.avg_pool2d(net, 3, stride=2, padding="SAME", scope="pool")
    size = 2 if "pool_size" in faults else 3
    return slim.max_pool2d(net, size, stride=2, padding="SAME", scope="pool")


def mixed(net, faults):
    with tf.variable_scope("mixed"):
        first = slim.conv2d(net, 8, 1, scope="first")
        second = slim.conv2d(net, 6, 1, scope="second_reduce")
        rate = 2 if "dilation" in faults else 1
        second = slim.conv2d(second, 8, 3, rate=rate, scope="second")
        if "no_pool" in faults:
            third = net
        elif "max_pool" in faults:
            third = slim.max_pool2d(net, 3, stride=1, padding="SAME", scope="third_pool")
        else:
            third = slim.avg_pool2d(net, 3, stride=1, padding="SAME", scope="third_pool")
        third = slim.conv2d(third, 4, 1, scope="third")
        branches = [second, first, third] if "concat_order" in faults else [first, second, third]
        return tf.concat(branches, axis=3, name="joined")
