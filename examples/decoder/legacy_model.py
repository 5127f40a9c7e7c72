"""The decoder of an autoencoder as TF1 code: transposed convolutions, resizing, batch normalisation without Keras."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Paint images (batch, 32, 32, 3) in [-1, 1] from codes (batch, 64)."""
    with tf.variable_scope("decoder"):
        net = tf.layers.dense(inputs["code"], 4 * 4 * 64, name="project")
        net = tf.reshape(net, [-1, 4, 4, 64])
        for number, filters in enumerate((48, 32)):
            net = upwards(net, filters, training, "up_%d" % number)
        # What TF1 does by default: corners not aligned, pixels not centred.
        net = tf.image.resize_bilinear(net, [32, 32])
        net = tf.layers.conv2d(net, 16, 3, padding="same", activation=tf.nn.leaky_relu, name="smooth")
        net = tf.image.resize_nearest_neighbor(net, [32, 32], align_corners=True)
        image = tf.tanh(tf.layers.conv2d(net, 3, 1, name="colours"))
    return {"image": image, "brightness": tf.reduce_mean(image, axis=[1, 2, 3])}


def upwards(net, filters, training, name):
    """Twice the height and width."""
    with tf.variable_scope(name):
        net = tf.layers.conv2d_transpose(net, filters, 4, strides=2, padding="same", use_bias=False, name="deconv")
        net = tf.layers.batch_normalization(net, training=training, epsilon=1e-5, name="norm")
        return tf.nn.relu(net)
