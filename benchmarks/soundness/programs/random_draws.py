"""Dropout of all kinds and other draws in the forward pass."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import slim, tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("random-draws")
program = PROGRAMS.program


@program(x=floats(4, 6))
def dropout_with_keep_prob(x, training):
    return tf.layers.dense(tf.nn.dropout(x, keep_prob=0.7 if training else 1.0), 3)


@program(x=floats(4, 6))
def dropout_with_rate(x, training):
    h = tf.layers.dense(x, 5, tf.nn.relu)
    return tf.nn.dropout(h, rate=0.4) if training else h


@program(x=floats(4, 6))
def dropout_whose_rate_is_a_tensor(x, training):
    rate = tf.where(tf.constant(training), 0.3, 0.0)
    return tf.nn.dropout(x, rate=rate) * tf.get_variable("w", [6])


@program(x=floats(4, 6))
def dropout_whose_keep_prob_is_fed(x, training):
    keep = tf.placeholder_with_default(0.6 if training else 1.0, [])
    return tf.nn.dropout(tf.layers.dense(x, 5), keep_prob=keep)


@program(x=floats(4, 6))
def dropout_with_its_own_seed(x, training):
    return tf.layers.dropout(x, 0.5, seed=7, training=training) + tf.get_variable("w", [6])


@program(x=floats(2, 4, 4, 3))
def dropout_of_whole_maps(x, training):
    y = tf.layers.conv2d(x, 4, 3)
    return tf.nn.dropout(y, rate=0.3, noise_shape=[2, 1, 1, 4]) if training else y


@program(x=floats(4, 6))
def dropout_twice_in_a_row(x, training):
    y = tf.layers.dropout(tf.layers.dropout(x, 0.2, training=training), 0.3, training=training)
    return tf.layers.dense(y, 3)


@program(x=floats(4, 6))
def dropout_that_leads_nowhere(x, training):
    y = tf.layers.dense(x, 3, name="a")
    tf.layers.dropout(tf.layers.dense(x, 3, name="b"), training=training)
    return tf.layers.dropout(y, 0.4, training=training)


@program(x=floats(4, 6))
def dropout_of_slim(x, training):
    y = slim.dropout(slim.fully_connected(x, 5), 0.8, is_training=training)
    return slim.fully_connected(y, 2, activation_fn=None)


@program(ids=integers(3, 5, high=8))
def dropout_of_words(ids, training):
    table = tf.get_variable("table", [8, 4])
    h = tf.nn.embedding_lookup(table, ids)
    return tf.nn.dropout(h, keep_prob=0.8, noise_shape=[3, 5, 1]) if training else h


@program(x=floats(4, 6))
def dropout_in_both_branches(x, training):
    if not training:
        return x * tf.get_variable("w", [6])
    w = tf.get_variable("w", [6])
    return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.nn.dropout(x * w, rate=0.2), lambda: tf.nn.dropout(x, rate=0.6))


@program(x=floats(4, 6))
def alpha_dropout(x, training):
    """Self-normalising dropout, spelled out."""
    h = tf.nn.selu(tf.layers.dense(x, 5))
    if not training:
        return h
    alpha, keep = -1.7580993408473766, 0.9
    mask = tf.floor(keep + tf.random_uniform(tf.shape(h)))
    a = (keep + alpha**2 * keep * (1 - keep)) ** -0.5
    return a * (h * mask + alpha * (1 - mask)) - a * alpha * (1 - keep)


@program(x=floats(4, 6))
def gaussian_noise(x, training):
    noisy = x + tf.random_normal(tf.shape(x), stddev=0.1) if training else x
    return tf.layers.dense(noisy, 3)


@program(x=floats(4, 6))
def gaussian_dropout(x, training):
    h = tf.layers.dense(x, 5)
    return h * tf.random_normal([4, 5], 1.0, 0.5) if training else h


@program(x=floats(4, 6))
def reparameterization(x):
    mean, log_variance = tf.split(tf.layers.dense(x, 8), 2, 1)
    z = mean + tf.exp(0.5 * log_variance) * tf.random_normal([4, 4])
    return {"x": tf.layers.dense(z, 6), "kl": -0.5 * tf.reduce_sum(1 + log_variance - mean**2 - tf.exp(log_variance))}


@program(x=floats(4, 6))
def truncated_and_uniform(x):
    w = tf.get_variable("w", [6])
    return x * w + tf.truncated_normal([6], stddev=0.2) * tf.random_uniform([4, 1], -1, 1)


@program(x=floats(4, 6))
def gumbel_softmax(x):
    logits = tf.layers.dense(x, 5)
    u = tf.random_uniform(tf.shape(logits), minval=1e-6, maxval=1.0)
    return tf.nn.softmax((logits - tf.log(-tf.log(u))) / 0.7)


@program(x=floats(4, 6))
def categorical_samples(x):
    logits = tf.layers.dense(x, 5)
    return {"logits": logits, "samples": tf.multinomial(logits, 3)}


@program(x=floats(4, 6))
def bernoulli_of_probabilities(x):
    p = tf.sigmoid(tf.layers.dense(x, 5))
    return p + tf.stop_gradient(tf.cast(tf.random_uniform(tf.shape(p)) < p, tf.float32) - p)


@program(x=floats(6, 4))
def mixup(x, training):
    mixed = 0.7 * x + 0.3 * tf.random_shuffle(x) if training else x
    return tf.layers.dense(mixed, 3)


@program(x=floats(2, 6, 6, 3, low=0.0))
def augmented_images(x, training):
    if training:
        x = tf.map_fn(lambda image: tf.image.random_flip_left_right(image, seed=3), x, parallel_iterations=1)
    return tf.layers.conv2d(x, 2, 3)


@program(x=floats(6, 6, 3, low=0.0))
def random_crop_and_colour(x, training):
    if training:
        x = tf.random_crop(x, [4, 4, 3])
        x = tf.image.random_brightness(x, 0.2)
        x = tf.image.random_contrast(x, 0.5, 1.5)
    else:
        x = x[1:5, 1:5]
    return tf.layers.conv2d(x[None], 2, 3)


@program(x=floats(4, 4, 4, 3))
def stochastic_depth(x, training):
    y = tf.layers.conv2d(x, 3, 3, padding="same")
    if training:
        keep = tf.floor(0.8 + tf.random_uniform([4, 1, 1, 1]))
        y = tf.div(y, 0.8) * keep
    return x + y


@program(x=floats(4, 6))
def drawn_integers(x):
    offsets = tf.random_uniform([4], 0, 3, tf.int32)
    picked = tf.gather(x, offsets + 1, axis=1, batch_dims=1)
    return picked * tf.get_variable("w", [])


@program(x=floats(4, 6))
def gamma_and_poisson(x):
    w = tf.get_variable("w", [6])
    return x * w + tf.random_gamma([6], 2.0) * 0.1 + tf.random_poisson(3.0, [6])


@program(x=floats(4, 6))
def stateless_draws(x):
    noise = tf.random.stateless_normal([4, 6], seed=[1, 2]) + tf.random.stateless_uniform([6], seed=[3, 4])
    return (x + noise) * tf.get_variable("w", [6])


@program(x=floats(4, 6))
def draws_of_a_seeded_graph(x, training):
    tf.set_random_seed(5)
    return tf.layers.dropout(tf.layers.dense(x, 4), training=training)


@program(x=floats(4, 6), labels=integers(4, 1, high=12, dtype="int64"))
def sampled_softmax(x, labels):
    w = tf.get_variable("w", [12, 6])
    b = tf.get_variable("b", [12])
    return tf.nn.sampled_softmax_loss(w, b, labels, x, num_sampled=4, num_classes=12)


@program(x=floats(4, 6), labels=integers(4, 1, high=12, dtype="int64"))
def noise_contrastive(x, labels):
    w = tf.get_variable("w", [12, 6])
    b = tf.get_variable("b", [12])
    return tf.reduce_mean(tf.nn.nce_loss(w, b, labels, x, num_sampled=5, num_classes=12))


@program(x=floats(3, 4, 5))
def zoneout_by_hand(x, training):
    cell = tf.nn.rnn_cell.GRUCell(3)
    h = tf.zeros([3, 3])
    for step in range(4):
        _, new = cell(x[:, step], h)
        keep = tf.nn.dropout(tf.ones_like(h), keep_prob=0.9) * 0.9 if training else 0.9
        h = h + (new - h) * keep
    return h


@program(x=floats(3, 4, 5))
def dropout_between_cells(x, training):
    keep = 0.7 if training else 1.0
    cells = [tf.nn.rnn_cell.DropoutWrapper(tf.nn.rnn_cell.LSTMCell(3), output_keep_prob=keep) for _ in range(2)]
    return tf.nn.static_rnn(tf.nn.rnn_cell.MultiRNNCell(cells), tf.unstack(x, axis=1), dtype=tf.float32)[0][-1]


@program(x=floats(4, 6))
def noisy_linear_layer(x, training):
    mean = tf.get_variable("mean", [6, 3])
    sigma = tf.get_variable("sigma", [6, 3], initializer=tf.constant_initializer(0.17))
    if not training:
        return tf.matmul(x, mean)
    row, column = tf.random_normal([6, 1]), tf.random_normal([1, 3])
    noise = tf.sign(row) * tf.sqrt(tf.abs(row)) * tf.sign(column) * tf.sqrt(tf.abs(column))
    return tf.matmul(x, mean + sigma * noise)
