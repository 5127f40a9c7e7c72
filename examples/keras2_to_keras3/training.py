"""The loss of both sides: what `train_on_batch` computes for these labels."""

import tensorflow as tf

LABELS = [0, 1, 4, 2]


def loss(outputs, batch):
    del batch  # the labels are no input of the model
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant(LABELS), logits=outputs))
