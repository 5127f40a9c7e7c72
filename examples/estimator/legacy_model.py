"""The original: the model_fn of an Estimator, as TF1 code had it."""

import tensorflow.compat.v1 as tf


def model_fn(features, labels, mode, params):
    """Classifies rows of numbers; the same function serves training, evaluation and prediction."""
    training = mode == tf.estimator.ModeKeys.TRAIN
    with tf.variable_scope("net"):
        w = tf.get_variable("hidden/w", [6, params["hidden"]], regularizer=lambda v: 1e-3 * tf.nn.l2_loss(v))
        b = tf.get_variable("hidden/b", [params["hidden"]], initializer=tf.zeros_initializer())
        net = tf.matmul(features["row"], w) + b
        mean, variance = tf.nn.moments(net, [0])
        moving_mean = tf.get_variable(
            "norm/mean", [params["hidden"]], trainable=False, initializer=tf.zeros_initializer()
        )
        moving_variance = tf.get_variable(
            "norm/variance", [params["hidden"]], trainable=False, initializer=tf.ones_initializer()
        )
        if training:
            for average, value in ((moving_mean, mean), (moving_variance, variance)):
                update = tf.assign_sub(average, (1.0 - params["momentum"]) * (average - value))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        else:
            mean, variance = moving_mean, moving_variance
        net = tf.nn.relu((net - mean) * tf.math.rsqrt(variance + 1e-3))
        if training:
            net = tf.nn.dropout(net, rate=params["rate"])
        logits = tf.matmul(net, tf.get_variable("out/w", [params["hidden"], 3]))
    predictions = {"probabilities": tf.nn.softmax(logits), "logits": logits}
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions=predictions)
    tf.losses.sparse_softmax_cross_entropy(labels, logits)
    loss = tf.losses.get_total_loss()
    if mode == tf.estimator.ModeKeys.EVAL:
        accuracy = tf.metrics.accuracy(labels, tf.argmax(logits, 1))
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={"accuracy": accuracy})
    optimizer = tf.train.AdamOptimizer(params["learning_rate"])
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss, global_step=tf.train.get_global_step())
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)
