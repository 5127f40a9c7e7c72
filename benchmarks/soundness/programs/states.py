"""Variables that the forward pass changes: counters, averages, buffers."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("states")
program = PROGRAMS.program


def _later(update):
    if not tf.executing_eagerly():
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


@program(x=floats(3, 4))
def counter_in_the_updates(x, training):
    count = tf.get_variable("count", [], tf.int64, initializer=tf.zeros_initializer(), trainable=False)
    if training:
        _later(tf.assign_add(count, 1))
    return x * tf.get_variable("w", [4])


@program(x=floats(3, 4))
def output_waits_for_a_counter(x):
    count = tf.get_variable("count", [], initializer=tf.zeros_initializer(), trainable=False)
    w = tf.get_variable("w", [4])
    with tf.control_dependencies([tf.assign_add(count, 1.0)]):
        return tf.identity(x * w)


@program(x=floats(3, 4))
def output_is_what_was_assigned(x):
    total = tf.get_variable("total", [4], initializer=tf.zeros_initializer(), trainable=False)
    return x * tf.assign(total, 0.5 * total + tf.reduce_mean(x, 0))


@program(x=floats(5, 4))
def moving_average_by_hand(x, training):
    average = tf.get_variable("average", [4], initializer=tf.zeros_initializer(), trainable=False)
    mean = tf.reduce_mean(x, 0)
    if training:
        _later(tf.assign_sub(average, (average - mean) * 0.01))
        return x - mean
    return x - average


@program(x=floats(5, 4))
def assign_moving_average(x, training):
    from tensorflow.python.training import moving_averages

    average = tf.get_variable("average", [4], initializer=tf.zeros_initializer(), trainable=False)
    mean, _ = tf.nn.moments(x, [0])
    if training:
        _later(moving_averages.assign_moving_average(average, mean, 0.9, zero_debias=False))
    return x - (mean if training else average)


@program(x=floats(5, 4))
def averages_of_variables(x, training):
    w = tf.get_variable("w", [4])
    y = x * w
    if training:
        with tf.control_dependencies([y]):
            _later(tf.train.ExponentialMovingAverage(0.9).apply([w]))
    return y


@program(x=floats(5, 4))
def spectral_normalization(x, training):
    w = tf.get_variable("w", [4, 6], initializer=tf.random_normal_initializer())
    u = tf.get_variable("u", [1, 6], initializer=tf.truncated_normal_initializer(), trainable=False)
    v = tf.nn.l2_normalize(tf.matmul(u, w, transpose_b=True))
    after = tf.nn.l2_normalize(tf.matmul(v, w))
    sigma = tf.matmul(tf.matmul(tf.stop_gradient(v), w), tf.stop_gradient(after), transpose_b=True)
    if training:
        _later(tf.assign(u, after))
    return tf.matmul(x, w / sigma)


@program(x=floats(2, 4))
def buffer_of_the_last_inputs(x, training):
    buffer = tf.get_variable("buffer", [6, 4], initializer=tf.zeros_initializer(), trainable=False)
    following = tf.concat([x, buffer[:-2]], 0)
    if training:
        with tf.control_dependencies([tf.assign(buffer, following)]):
            following = tf.identity(following)
    return tf.matmul(x, following, transpose_b=True) * tf.get_variable("w", [])


@program(x=floats(3, 4), ids=integers(3, high=6))
def centres_are_moved(x, ids, training):
    """The centres of a centre loss."""
    centres = tf.get_variable("centres", [6, 4], initializer=tf.random_normal_initializer(), trainable=False)
    difference = x - tf.gather(centres, ids)
    if training:
        _later(tf.scatter_add(centres, ids, 0.1 * difference))
    return difference * tf.get_variable("w", [4])


@program(x=floats(3, 4))
def largest_so_far(x, training):
    largest = tf.get_variable("largest", [], initializer=tf.zeros_initializer(), trainable=False)
    now = tf.maximum(largest, tf.reduce_max(tf.abs(x)))
    if training:
        _later(largest.assign(now))
    return x / (now + 1.0)


@program(x=floats(3, 4))
def two_updates_in_order(x):
    state = tf.get_variable("state", [4], initializer=tf.ones_initializer(), trainable=False)
    with tf.control_dependencies([tf.assign(state, state * 0.5)]):
        second = tf.assign_add(state, tf.reduce_sum(x, 0))
    with tf.control_dependencies([second]):
        return x * state.read_value()


@program(x=floats(3, 4))
def update_within_a_cond(x, training):
    state = tf.get_variable("state", [4], initializer=tf.zeros_initializer(), trainable=False)
    new = tf.cond(
        tf.constant(training),
        lambda: tf.assign(state, 0.9 * state + 0.1 * tf.reduce_mean(x, 0)),
        lambda: tf.identity(state),
    )
    return x - new


@program(x=floats(3, 4))
def momentum_of_one_changes_nothing(x, training):
    return tf.layers.batch_normalization(x, momentum=1.0, training=training)


@program(x=floats(3, 4))
def copy_of_the_online_net(x, training):
    with tf.variable_scope("online"):
        online = tf.get_variable("w", [4])
    with tf.variable_scope("target"):
        target = tf.get_variable("w", [4], trainable=False)
    y = x * online + tf.stop_gradient(tf.tanh(x * target))
    if training:
        with tf.control_dependencies([y]):
            _later(target.assign(0.99 * target + 0.01 * online))
    return y
