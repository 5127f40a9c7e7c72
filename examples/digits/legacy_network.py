"""The network as TF1 code, as somebody wrote it in 2018: it is run unchanged by both sides."""

import tensorflow.compat.v1 as tf


def network(images, training):
    """Two convolutions with batch normalisation, a hidden layer with dropout, and ten logits made by hand.

    Args:
        images: (batch, 28, 28) float32.
        training: Whether batch statistics and dropout are used; a Python boolean.

    Returns:
        The logits, (batch, 10) float32.
    """
    with tf.variable_scope("digits"):
        net = tf.expand_dims(images, -1)
        for number, filters in enumerate((8, 16), 1):
            with tf.variable_scope(f"block{number}"):
                net = tf.layers.conv2d(
                    net, filters, 5, padding="same", use_bias=False, kernel_regularizer=weight_decay, name="conv"
                )
                net = tf.nn.relu(tf.layers.batch_normalization(net, momentum=0.9, training=training, name="norm"))
                net = tf.layers.max_pooling2d(net, 2, 2)
                net = tf.layers.dropout(net, 0.1, training=training)
        net = tf.layers.flatten(net)
        net = tf.layers.dense(net, 64, tf.nn.relu, kernel_regularizer=weight_decay, name="hidden")
        net = tf.layers.dropout(net, 0.3, training=training)
        with tf.variable_scope("logits"):
            weights = tf.get_variable("weights", [64, 10], regularizer=weight_decay)
            biases = tf.get_variable("biases", [10], initializer=tf.zeros_initializer())
            return tf.matmul(net, weights) + biases


def weight_decay(weights):
    """Half the squared length, times a small factor, as TF1 code has it."""
    return 5e-4 * tf.nn.l2_loss(weights)
