"""The original, as TF1 code: three scopes, each of which will be rewritten in a stage of its own."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Stem, body and head; the image's batch is (batch, 12, 12, 3) float32, the logits (batch, 5)."""
    with tf.variable_scope("net"):
        return {"logits": head(body(stem(inputs["image"], training), training), training)}


def stem(image, training):
    """A convolution, batch normalisation, and a maximum over windows of two."""
    with tf.variable_scope("stem"):
        net = tf.layers.conv2d(image, 8, 3, padding="same", kernel_regularizer=weight_decay, name="conv")
        net = tf.layers.batch_normalization(net, training=training, fused=False, name="norm")
        return tf.layers.max_pooling2d(tf.nn.relu(net), 2, 2)


def body(net, training):
    """A hidden layer with dropout."""
    with tf.variable_scope("body"):
        net = tf.layers.dense(tf.layers.flatten(net), 16, tf.nn.relu, kernel_regularizer=weight_decay, name="hidden")
        return tf.layers.dropout(net, 0.3, training=training)


def head(net, training):
    """Logits, and a scale made by hand."""
    del training
    with tf.variable_scope("head", regularizer=weight_decay):
        weights = tf.get_variable("weights", [16, 5], initializer=tf.glorot_uniform_initializer())
        scale = tf.get_variable("scale", [], initializer=tf.ones_initializer(), regularizer=nothing)
        return scale * tf.matmul(net, weights)


def weight_decay(weights):
    """The loss of a regularized variable."""
    return 1e-3 * tf.nn.l2_loss(weights)


def nothing(weights):
    """No loss: says so where the scope around it would add one."""
    del weights
