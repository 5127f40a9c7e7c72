"""The decoder of an autoencoder: a dense projection, transposed convolutions, both kinds of resizing."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Paint images (batch, 13, 13, 3) in (-1, 1) from codes (batch, 10)."""
    with tf.variable_scope("net"):
        net = tf.layers.dense(inputs["code"], 3 * 3 * 8, name="project")
        # The encoder was trained with channels first.
        net = tf.reshape(net, [-1, 8, 3, 3], name="unflat")
        net = tf.transpose(net, [0, 2, 3, 1], name="channels_last")
        net = tf.layers.conv2d_transpose(net, 8, 4, strides=2, padding="same", use_bias=False, name="up_1")
        net = tf.layers.batch_normalization(
            net, momentum=0.8, epsilon=2e-5, fused=False, training=training, name="norm"
        )
        net = tf.nn.relu(net, name="activation")
        net = tf.image.resize_bilinear(net, [9, 9], align_corners=True, name="smooth")
        net = tf.layers.conv2d_transpose(net, 6, 3, strides=1, padding="same", name="up_2")
        net = tf.nn.softplus(net, name="positive")
        net = tf.image.resize_bilinear(net, [13, 13], name="larger")
        rough = tf.image.resize_nearest_neighbor(net, [5, 5], name="rough")
        net = tf.layers.conv2d(net, 3, 3, padding="same", name="colours")
        image = tf.tanh(net, name="image")
        return {"image": image, "rough": rough, "spread": tf.math.reduce_std(image, axis=[1, 2], name="spread")}
