"""A credit scorer as TF1 code: `get_variable`, `tf.layers`, batch normalisation, a shared scope."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Score applicants: 24 features each, normalised, two hidden layers, one logit; and an embedding of the branch."""
    with tf.variable_scope("scorer", initializer=tf.variance_scaling_initializer(2.0)):
        net = tf.layers.batch_normalization(inputs["features"], training=training, momentum=0.9, name="normalise")
        branches = tf.get_variable("branches", [12, 8], regularizer=decay)
        net = tf.concat([net, tf.gather(branches, inputs["branch"])], axis=1)
        for number, units in enumerate((32, 16)):
            net = hidden(net, units, training, f"hidden_{number}")
        logit = tf.layers.dense(net, 1, kernel_regularizer=decay, name="logit")
    return {"logit": logit, "score": tf.sigmoid(logit)}


def hidden(net, units, training, name):
    """A layer with weights of its own making, an activation, and dropout."""
    with tf.variable_scope(name):
        weights = tf.get_variable("weights", [net.shape[-1], units], regularizer=decay)
        biases = tf.get_variable("biases", [units], initializer=tf.constant_initializer(0.1))
        net = tf.nn.elu(tf.nn.xw_plus_b(net, weights, biases))
        return tf.layers.dropout(net, 0.25, training=training)


def decay(weights):
    """Weight decay, as a regularization loss."""
    return 5e-4 * tf.nn.l2_loss(weights)
