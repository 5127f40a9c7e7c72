"""A small inception network on TF-Slim: argument scopes, batch normalisation, branches, pooling, dropout."""

import tensorflow.compat.v1 as tf
import tf_slim as slim


def forward(inputs, training):
    """Classify images (batch, 16, 16, 3) in [0, 1] into ten classes."""
    norm = {"decay": 0.9, "epsilon": 0.001, "scale": True, "is_training": training}
    decay = slim.l2_regularizer(1e-3)
    regularized = slim.arg_scope([slim.conv2d, slim.fully_connected], weights_regularizer=decay)
    with tf.variable_scope("net"), regularized:
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params=norm):
            net = tf.subtract(tf.multiply(inputs["image"], 2.0, name="doubled"), 1.0, name="centred")
            net = slim.conv2d(net, 8, 3, stride=2, scope="conv_1")
            net = slim.conv2d(net, 12, 3, scope="conv_2")
            net = slim.max_pool2d(net, 3, stride=2, padding="SAME", scope="pool")
            net = mixed(net)
        net = slim.flatten(net, scope="flat")
        net = slim.dropout(net, 0.8, is_training=training, scope="drop")
        logits = slim.fully_connected(net, 10, activation_fn=None, scope="logits")
        return {"logits": logits, "classes": tf.nn.softmax(logits, name="classes")}


def mixed(net):
    """Three branches, joined along the channels."""
    with tf.variable_scope("mixed"):
        first = slim.conv2d(net, 8, 1, scope="first")
        second = slim.conv2d(net, 6, 1, scope="second_reduce")
        second = slim.conv2d(second, 8, 3, scope="second")
        third = slim.avg_pool2d(net, 3, stride=1, padding="SAME", scope="third_pool")
        third = slim.conv2d(third, 4, 1, scope="third")
        return tf.concat([first, second, third], axis=3, name="joined")
