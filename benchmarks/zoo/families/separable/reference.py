"""A mobile network on TF-Slim: depthwise and separable convolutions, ReLU6, squeeze and excitation."""

import tensorflow.compat.v1 as tf
import tf_slim as slim


def forward(inputs, training):
    """Classify images (batch, 16, 16, 3) of bytes as floats, 0 to 255, into six classes."""
    norm = {"decay": 0.95, "epsilon": 1e-3, "is_training": training}  # slim: no gamma
    with tf.variable_scope("net"):
        net = tf.divide(tf.subtract(inputs["image"], 127.5, name="centred"), 127.5, name="scaled")
        with slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            normalizer_fn=slim.batch_norm,
            normalizer_params=norm,
            activation_fn=tf.nn.relu6,
        ):
            net = slim.conv2d(net, 8, 3, stride=2, scope="stem")
            net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, scope="depthwise_1")
            net = slim.conv2d(net, 12, 1, scope="pointwise_1")
            net = slim.separable_conv2d(net, None, 3, depth_multiplier=1, stride=2, scope="depthwise_2")
            net = slim.conv2d(net, 16, 1, scope="pointwise_2")
        net = excited(net)
        # One layer for both steps: neither norm nor activation between them; biases, and values far above six.
        net = slim.separable_conv2d(net, 16, 3, depth_multiplier=2, activation_fn=None, scope="joint")
        net = tf.nn.relu6(tf.multiply(net, 100.0, name="amplified"), name="clipped")
        net = tf.reduce_mean(net, [1, 2], name="global_pool")
        logits = slim.fully_connected(net, 6, activation_fn=None, scope="logits")
        return {"logits": logits, "scores": tf.nn.log_softmax(logits, name="scores")}


def excited(net):
    """Scale each channel by a gate computed from all of them."""
    with tf.variable_scope("excite"):
        gate = tf.reduce_mean(net, [1, 2], keepdims=True, name="squeeze")
        gate = slim.conv2d(gate, 4, 1, scope="reduce")
        gate = slim.conv2d(gate, 16, 1, activation_fn=None, scope="expand")
        gate = tf.multiply(tf.nn.relu6(tf.add(gate, 3.0, name="shifted"), name="bounded"), 1.0 / 6.0, name="gate")
        return tf.multiply(net, gate, name="gated")
