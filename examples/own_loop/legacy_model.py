"""The original: a training graph as TF1 code had it, whose train_op updates the moving averages too."""

import tensorflow.compat.v1 as tf


def forward(inputs, training):
    """Dense layers around a batch normalization, with the penalty of one kernel."""
    penalty = lambda kernel: 1e-3 * tf.nn.l2_loss(kernel)  # noqa: E731
    hidden = tf.layers.dense(inputs["x"], 16, name="hidden", kernel_regularizer=penalty)
    hidden = tf.nn.relu(tf.layers.batch_normalization(hidden, training=training, momentum=0.9, name="norm"))
    if training:
        hidden = tf.nn.dropout(hidden, rate=0.25)
    logits = tf.layers.dense(hidden, 3, name="out")
    if training:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=inputs["y"], logits=logits)
        total = tf.add(tf.reduce_mean(losses), tf.losses.get_regularization_loss(), name="total_loss")
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            tf.train.MomentumOptimizer(0.05, 0.9).minimize(total, name="train")
    return {"logits": logits}
