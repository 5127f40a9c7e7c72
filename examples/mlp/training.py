"""How the credit scorer is trained: the loss, and the optimizer of both sides."""

import tensorflow.compat.v1 as tf


def loss(outputs, batch):
    """Cross entropy; who defaults is made up from the features, so that every batch has its labels."""
    labels = tf.cast(tf.reduce_sum(batch["features"], axis=1, keepdims=True) > 0, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs["logit"]))


def legacy_optimizer():
    """Adam, at a rate that halves every thousand steps."""
    step = tf.train.get_or_create_global_step()
    return tf.train.AdamOptimizer(tf.train.exponential_decay(0.01, step, 1000, 0.5, staircase=True))


def migrated_optimizer():
    """The same in Keras, whose epsilon is another one by default."""
    import keras

    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 1000, 0.5, staircase=True)
    return keras.optimizers.Adam(rate, epsilon=1e-8)
