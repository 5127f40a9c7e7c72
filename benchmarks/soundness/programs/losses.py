"""Losses, spelled out and from the collections."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import slim, tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("losses")
program = PROGRAMS.program


@program(x=floats(4, 5), labels=integers(4, high=3))
def softmax_cross_entropies(x, labels):
    logits = tf.layers.dense(x, 3)
    hot = tf.one_hot(labels, 3)
    return (
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=hot, logits=logits),
        tf.nn.softmax_cross_entropy_with_logits(labels=hot, logits=logits),
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits),
        -tf.reduce_sum(hot * tf.nn.log_softmax(logits), 1),
    )


@program(x=floats(4, 5), labels=integers(4, 3, high=2))
def sigmoid_cross_entropies(x, labels):
    logits, targets = tf.layers.dense(x, 3), tf.to_float(labels)
    return (
        tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits),
        tf.nn.weighted_cross_entropy_with_logits(targets, logits, 2.5),
        tf.losses.hinge_loss(targets, logits, reduction=tf.losses.Reduction.NONE),
    )


@program(x=floats(4, 5), y=floats(4, 3, seed=2))
def regressions(x, y):
    p = tf.layers.dense(x, 3)
    none = tf.losses.Reduction.NONE
    return (
        tf.losses.huber_loss(y, p, delta=0.5, reduction=none),
        tf.losses.absolute_difference(y, p, reduction=none),
        tf.losses.mean_squared_error(y, p),
        tf.losses.cosine_distance(tf.nn.l2_normalize(y, 1), tf.nn.l2_normalize(p, 1), axis=1),
        tf.nn.l2_loss(p - y),
    )


@program(x=floats(4, 5), labels=integers(4, high=3), weights=np.float32([1, 0, 2, 0.5]))
def weighted_losses_of_the_collection(x, labels, weights):
    logits = tf.layers.dense(x, 3)
    kinds = tf.losses.Reduction
    return [
        tf.losses.sparse_softmax_cross_entropy(labels, logits, weights=weights, reduction=kind)
        for kind in (kinds.SUM, kinds.MEAN, kinds.SUM_BY_NONZERO_WEIGHTS, kinds.SUM_OVER_BATCH_SIZE)
    ]


@program(x=floats(4, 5), labels=integers(4, high=3))
def smoothed_labels(x, labels):
    return tf.losses.softmax_cross_entropy(tf.one_hot(labels, 3), tf.layers.dense(x, 3), label_smoothing=0.1)


@program(x=floats(4, 5))
def total_of_the_regularization(x):
    decay = tf.keras.regularizers.l2(0.05)
    h = tf.layers.dense(x, 4, kernel_regularizer=decay)
    return tf.layers.dense(h, 2, kernel_regularizer=decay)


@program(x=floats(4, 5))
def l1_and_l2_of_slim(x):
    h = slim.fully_connected(x, 4, weights_regularizer=slim.l1_regularizer(0.01))
    return slim.fully_connected(h, 2, weights_regularizer=slim.l1_l2_regularizer(0.02, 0.03))


@program(x=floats(4, 5))
def decay_of_all_kernels_by_hand(x):
    with tf.variable_scope("net"):
        y = tf.layers.dense(tf.layers.dense(x, 4), 2)
    kernels = [v for v in tf.trainable_variables("net") if "kernel" in v.name]
    return y, 0.01 * tf.add_n([tf.nn.l2_loss(v) for v in kernels])


@program(a=floats(4, 5), p=floats(4, 5, seed=1), n=floats(4, 5, seed=2))
def triplets(a, p, n):
    with tf.variable_scope("embed", reuse=tf.AUTO_REUSE):
        a, p, n = (tf.nn.l2_normalize(tf.layers.dense(z, 3, name="d"), 1) for z in (a, p, n))
    positive, negative = tf.reduce_sum((a - p) ** 2, 1), tf.reduce_sum((a - n) ** 2, 1)
    return tf.reduce_mean(tf.maximum(positive - negative + 0.2, 0.0))


@program(x=floats(4, 5), labels=integers(4, 3, high=2))
def focal_and_dice(x, labels):
    p, y = tf.sigmoid(tf.layers.dense(x, 3)), tf.to_float(labels)
    pt = tf.where(tf.equal(y, 1), p, 1 - p)
    dice = 1 - (2 * tf.reduce_sum(p * y) + 1) / (tf.reduce_sum(p) + tf.reduce_sum(y) + 1)
    return -tf.reduce_mean(0.25 * (1 - pt) ** 2 * tf.log(tf.maximum(pt, 1e-7))), dice


@program(x=floats(2, 6, 4), labels=np.int32([[1, 2, 0], [2, 1, 1]]), lengths=np.int32([2, 3]))
def connectionist_temporal_classification(x, labels, lengths):
    logits = tf.transpose(tf.layers.dense(x, 4), [1, 0, 2])
    places = tf.where(tf.sequence_mask(lengths, 3))
    sparse = tf.SparseTensor(places, tf.gather_nd(labels, places), [2, 3])
    decoded, _ = tf.nn.ctc_greedy_decoder(logits, [6, 5])
    return tf.nn.ctc_loss(sparse, logits, [6, 5]), decoded[0].values


@program(x=floats(4, 5), y=floats(4, 5, seed=3))
def adversarial(x, y):
    def critic(z):
        with tf.variable_scope("critic", reuse=tf.AUTO_REUSE):
            return tf.layers.dense(tf.nn.leaky_relu(tf.layers.dense(z, 4, name="a")), 1, name="b")

    cross = tf.nn.sigmoid_cross_entropy_with_logits
    real, fake = critic(x), critic(y)
    return tf.reduce_mean(cross(labels=tf.ones_like(real), logits=real)) + tf.reduce_mean(
        cross(labels=tf.zeros_like(fake), logits=fake)
    )


@program(x=floats(4, 5), y=floats(4, 2, seed=3))
def mixture_of_densities(x, y):
    weights = tf.nn.log_softmax(tf.layers.dense(x, 3))
    mean = tf.reshape(tf.layers.dense(x, 6), [4, 3, 2])
    deviation = tf.exp(tf.reshape(tf.layers.dense(x, 6), [4, 3, 2]))
    logs = -0.5 * ((y[:, None] - mean) / deviation) ** 2 - tf.log(deviation) - 0.5 * float(np.log(2 * np.pi))
    return -tf.reduce_logsumexp(weights + tf.reduce_sum(logs, 2), 1)


@program(x=floats(4, 5), actions=integers(4, high=3), advantages=floats(4, seed=4), old=floats(4, low=-2, high=-0.5))
def clipped_policy_gradient(x, actions, advantages, old):
    logits = tf.layers.dense(x, 3)
    log_p = -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=actions, logits=logits)
    ratio = tf.exp(log_p - old)
    surrogate = tf.minimum(ratio * advantages, tf.clip_by_value(ratio, 0.8, 1.2) * advantages)
    p = tf.nn.softmax(logits)
    return -tf.reduce_mean(surrogate), -tf.reduce_sum(p * tf.log(p), 1)


@program(x=floats(4, 5), following=floats(4, 5, seed=6), rewards=floats(4, seed=7))
def temporal_difference(x, following, rewards):
    def q(z, scope, trainable):
        with tf.variable_scope(scope):
            return tf.layers.dense(z, 3, name="d", trainable=trainable)

    target = rewards + 0.9 * tf.reduce_max(q(following, "target", False), 1)
    return tf.losses.huber_loss(tf.stop_gradient(target), q(x, "online", True)[:, 1])


@program(x=floats(4, 5), y=floats(4, 3, seed=8), mask=np.float32([1, 1, 0, 1]))
def masked_mean(x, y, mask):
    errors = tf.reduce_mean(tf.square(tf.layers.dense(x, 3) - y), 1)
    return tf.reduce_sum(errors * mask) / tf.maximum(tf.reduce_sum(mask), 1.0)


@program(x=floats(4, 5), y=floats(4, 3, seed=9))
def loss_added_to_the_collection(x, y):
    p = tf.layers.dense(x, 3)
    tf.losses.add_loss(0.1 * tf.reduce_mean(tf.square(p)))
    return p - y


@program(x=floats(4, 5), y=floats(4, 3, seed=9))
def total_loss_of_everything(x, y):
    p = tf.layers.dense(x, 3, kernel_regularizer=lambda v: 0.1 * tf.nn.l2_loss(v))
    tf.losses.mean_squared_error(y, p)
    return p, tf.losses.get_total_loss()
