"""A residual network of `tf.layers`: pre-activation, fixed padding, projected shortcut, residual scale, dilation."""

import tensorflow.compat.v1 as tf


def weight_decay(weights):
    """Return the loss of a regularized kernel."""
    return 2e-3 * tf.nn.l2_loss(weights)


def forward(inputs, training):
    """Map images (batch, 12, 12, 3) to four values in (-1, 1)."""
    with tf.variable_scope("net"):
        net = tf.layers.conv2d(inputs["image"], 8, 3, padding="same", use_bias=False, name="stem")
        net = block(net, 8, 1, training, "block_1")
        net = block(net, 12, 2, training, "block_2")
        net = block(net, 12, 1, training, "block_3")
        net = tf.layers.conv2d(net, 12, 3, padding="same", dilation_rate=2, name="context")
        net = tf.nn.leaky_relu(norm(net, training, "last_norm"), alpha=0.2, name="last_activation")
        low = tf.layers.average_pooling2d(net, 2, 2, name="low")
        net = tf.reduce_mean(low, axis=[1, 2], name="global_pool")
        net = tf.layers.dense(net, 4, kernel_regularizer=weight_decay, name="values")
        return {"values": tf.tanh(net, name="bounded"), "low": low}


def norm(net, training, name):
    """Normalise; not fused, so that the moving variance is the batch's own."""
    return tf.layers.batch_normalization(net, momentum=0.9, epsilon=1e-5, fused=False, training=training, name=name)


def fixed_padding(net):
    """Pad as much before as behind, whatever the size: SAME would pad behind only."""
    return tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]], name="pad")


def block(net, filters, stride, training, scope):
    """Return shortcut + 0.3 * residual."""
    with tf.variable_scope(scope):
        shortcut = net
        net = tf.nn.leaky_relu(norm(net, training, "norm_1"), alpha=0.2, name="activation_1")
        if stride != 1:
            # The projection reads what is already normalised and activated.
            shortcut = tf.layers.conv2d(net, filters, 1, strides=stride, use_bias=False, name="shortcut")
            net = tf.layers.conv2d(fixed_padding(net), filters, 3, strides=stride, use_bias=False,
                                   kernel_regularizer=weight_decay, name="conv_1")  # fmt: skip
        else:
            net = tf.layers.conv2d(
                net, filters, 3, padding="same", use_bias=False, kernel_regularizer=weight_decay, name="conv_1"
            )
        net = tf.nn.leaky_relu(norm(net, training, "norm_2"), alpha=0.2, name="activation_2")
        net = tf.layers.conv2d(net, filters, 3, padding="same", name="conv_2")
        return tf.add(shortcut, tf.multiply(net, 0.3, name="scaled"), name="sum")
