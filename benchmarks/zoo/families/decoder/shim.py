"""The decoder behind the shim, written anew so that mistakes can be planted."""

import keras
import tensorflow.compat.v1 as tf

from lockstep import tf1


def build(faults):
    """Make the migration."""
    return Decoder(faults)


class Decoder(keras.layers.Layer):
    """TF1 code in a Keras layer."""

    def __init__(self, faults):
        super().__init__()
        self.faults = faults

    @tf1.track_tf1_style_variables
    def call(self, inputs, training=None):
        return forward(inputs, bool(training), self.faults)


def forward(inputs, training, faults):
    with tf.variable_scope("net"):
        net = projected(inputs["code"], faults)
        stddev = 0.05 if "initializer" in faults else None
        start = tf.random_normal_initializer(stddev=stddev) if stddev else None
        net = tf.layers.conv2d_transpose(
            net, 8, 4, strides=2, padding="same", use_bias=False, kernel_initializer=start, name="up_1"
        )
        net = tf.layers.batch_normalization(
            net,
            momentum=0.2 if "momentum" in faults else 0.8,
            epsilon=1e-3 if "epsilon" in faults else 2e-5,
            fused=False,
            training=True if "always_batch" in faults else training,
            name="norm",
        )
        net = tf.nn.softplus(net) if "softplus" in faults else tf.nn.relu(net, name="activation")
        net = tf.image.resize_bilinear(net, [9, 9], align_corners="align_corners" not in faults, name="smooth")
        net = second(net, faults)
        net = tf.nn.softplus(net, name="positive")
        if "bicubic" in faults:
            net = tf.image.resize_bicubic(net, [13, 13], name="larger")
        else:
            net = tf.image.resize_bilinear(net, [13, 13], half_pixel_centers="half_pixel" in faults, name="larger")
        rough = tf.image.resize_nearest_neighbor(net, [5, 5], align_corners="nearest_corners" in faults, name="rough")
        net = tf.layers.conv2d(net, 3, 3, padding="same", use_bias="no_bias" not in faults, name="colours")
        image = tf.sigmoid(net) if "sigmoid" in faults else tf.tanh(net, name="image")
        axes = [1] if "spread_axis" in faults else [1, 2]
        spread = tf.math.reduce_std(image, axis=axes, name="spread")
        if "spread_axis" in faults:
            spread = tf.reduce_mean(spread, axis=1)
        if "unbiased" in faults:
            spread *= (169.0 / 168.0) ** 0.5
        return {"image": image, "rough": rough, "spread": spread}


def projected(code, faults):
    net = tf.layers.dense(code, 3 * 3 * 8, name="project")
    if "flatten_order" in faults:
        return tf.reshape(net, [-1, 3, 3, 8], name="unflat")
    net = tf.reshape(net, [-1, 8, 3, 3], name="unflat")
    order = [0, 3, 2, 1] if "swapped_axes" in faults else [0, 2, 3, 1]
    return tf.transpose(net, order, name="channels_last")


def second(net, faults):
    if "plain_convolution" not in faults:
        return tf.layers.conv2d_transpose(net, 6, 3, strides=1, padding="same", name="up_2")
    # With stride one a transposed convolution is a convolution with its kernel flipped; this one is not.
    with tf.variable_scope("up_2"):
        kernel = tf.get_variable("kernel", [3, 3, 6, 8])
        bias = tf.get_variable("bias", [6], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.nn.conv2d(net, tf.transpose(kernel, [0, 1, 3, 2]), [1, 1, 1, 1], "SAME"), bias)
