"""The training of 2018: a graph, a session, a TF1 optimizer, and a loop. Runs on TensorFlow 1.15 as on today's."""

import contextlib

import numpy as np
import tensorflow.compat.v1 as tf
from legacy_network import network

BATCH = 64
# A power of two: TF1 keeps the momentum without the learning rate in it, Keras with; see the README.
LEARNING_RATE = 2.0**-5
MOMENTUM = 0.9


def train(data, epochs, aligned=contextlib.nullcontext, optimizer=None, config=None):
    """Train on batches in the order of the data.

    Args:
        data: `((images, labels), (test_images, test_labels))`.
        epochs: How often the data are gone through.
        aligned: Called for a context in which random operations get aligned seeds; once for what makes the variables
            and once for what is trained, so that initial values and dropout are counted apart.
        optimizer: Called for a TF1 optimizer; the default is momentum.
        config: The session's `ConfigProto`.

    Returns:
        The loss of every step, the accuracy on the test data, and the variables' final values by name.
    """
    (images, labels), test = data
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 28, 28])
        y = tf.placeholder(tf.int64, [None])
        with aligned():
            predicted = tf.argmax(network(x, training=False), axis=-1)
        model_variables = tf.global_variables()
        with tf.variable_scope(tf.get_variable_scope(), reuse=True), aligned():
            logits = network(x, training=True)
        tf.losses.sparse_softmax_cross_entropy(y, logits)
        loss = sum(tf.losses.get_losses() + tf.losses.get_regularization_losses())
        optimizer = optimizer() if optimizer else tf.train.MomentumOptimizer(LEARNING_RATE, MOMENTUM)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            step = optimizer.minimize(loss)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            losses = []
            for _ in range(epochs):
                for start in range(0, len(images), BATCH):
                    batch = slice(start, start + BATCH)
                    losses.append(float(session.run([loss, step], {x: images[batch], y: labels[batch]})[0]))
            accuracy = float(np.mean(session.run(predicted, {x: test[0]}) == test[1]))
            values = session.run({v.op.name: v for v in model_variables})
    return losses, accuracy, values
