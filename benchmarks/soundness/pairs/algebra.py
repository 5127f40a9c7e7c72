"""Sums in another order, distances, products and other algebra."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, variable

PAIRS = Topic("algebra")


@PAIRS.original(x=floats(4, 5), y=floats(6, 5, seed=3))
def squared_distances(x, y):
    w = variable("w", 5)
    return tf.reduce_sum(tf.squared_difference((x * w)[:, None], (y * w)[None]), -1)


@PAIRS.rewrite(squared_distances)
def expanded(x, y):
    """The form that cancels."""
    w = variable("w", 5)
    x, y = x * w, y * w
    squares = tf.reduce_sum(x * x, 1)[:, None] + tf.reduce_sum(y * y, 1)[None]
    return squares - 2.0 * tf.matmul(x, y, transpose_b=True)


@PAIRS.rewrite(squared_distances)
def one_pair_after_the_other(x, y):
    w = variable("w", 5)
    rows = [tf.reduce_sum(((row - y) * w) ** 2, 1) for row in tf.unstack(x)]
    return tf.stack(rows)


@PAIRS.rewrite(squared_distances)
def weights_squared_once(x, y):
    w2 = tf.square(variable("w", 5))
    return tf.einsum("ijd,d->ij", (x[:, None] - y[None]) ** 2, w2)


@PAIRS.original(x=floats(4, 5), y=floats(4, 5, seed=3))
def cosine_similarity(x, y):
    w = variable("w", 5)
    return tf.reduce_sum(tf.nn.l2_normalize(x * w, 1) * tf.nn.l2_normalize(y * w, 1), 1)


@PAIRS.rewrite(cosine_similarity)
def divided_once(x, y):
    w = variable("w", 5)
    x, y = x * w, y * w
    return tf.reduce_sum(x * y, 1) / (tf.norm(x, axis=1) * tf.norm(y, axis=1))


@PAIRS.original(x=floats(7, 4))
def covariance(x):
    y = x * variable("w", 4)
    centred = y - tf.reduce_mean(y, 0)
    return tf.matmul(centred, centred, transpose_a=True) / 7.0


@PAIRS.rewrite(covariance)
def second_moment_minus_means(x):
    y = x * variable("w", 4)
    mean = tf.reduce_mean(y, 0)
    return tf.matmul(y, y, transpose_a=True) / 7.0 - mean[:, None] * mean[None]


@PAIRS.rewrite(covariance)
def sum_of_outer_products(x):
    y = x * variable("w", 4)
    centred = y - tf.reduce_mean(y, 0, keepdims=True)
    return tf.reduce_mean(centred[:, :, None] * centred[:, None], 0)


@PAIRS.original(x=floats(4, 5))
def product_of_three(x):
    return tf.matmul(tf.matmul(x, variable("a", 5, 6)), variable("b", 6, 3))


@PAIRS.rewrite(product_of_three)
def last_two_first(x):
    return tf.matmul(x, tf.matmul(variable("a", 5, 6), variable("b", 6, 3)))


@PAIRS.rewrite(product_of_three)
def one_einsum(x):
    return tf.einsum("bi,ij,jk->bk", x, variable("a", 5, 6), variable("b", 6, 3))


@PAIRS.original(x=floats(4, 5))
def polynomial(x):
    a, b, c = (variable(name, 5) for name in "abc")
    return a * tf.pow(x, 3) + b * tf.square(x) + c * x


@PAIRS.rewrite(polynomial)
def scheme_of_horner(x):
    a, b, c = (variable(name, 5) for name in "abc")
    return x * (c + x * (b + x * a))


@PAIRS.original(x=floats(4, 6))
def mean_and_sum(x):
    y = x * variable("w", 6)
    return tf.reduce_mean(y, 1), tf.reduce_sum(y, 0), tf.reduce_mean(y)


@PAIRS.rewrite(mean_and_sum)
def additions_in_turn(x):
    y = x * variable("w", 6)
    total = y[:, 5]
    for column in (4, 3, 2, 1, 0):
        total = total + y[:, column]
    return total / 6.0, tf.add_n(tf.unstack(y)[::-1]), tf.reduce_sum(total) / 24.0


@PAIRS.rewrite(mean_and_sum)
def products_with_ones(x):
    y = x * variable("w", 6)
    rows = tf.matmul(y, tf.ones([6, 1], y.dtype))[:, 0]
    return rows / 6.0, tf.matmul(tf.ones([1, 4], y.dtype), y)[0], tf.reduce_mean(tf.reduce_mean(y, 1))


@PAIRS.original(x=floats(4, 6))
def running_sums(x):
    return tf.cumsum(x * variable("w", 6), 1)


@PAIRS.rewrite(running_sums)
def triangular_matrix(x):
    y = x * variable("w", 6)
    return tf.matmul(y, tf.linalg.band_part(tf.ones([6, 6], y.dtype), 0, -1))


@PAIRS.rewrite(running_sums)
def one_after_the_other(x):
    columns = tf.unstack(x * variable("w", 6), axis=1)
    for place in range(1, 6):
        columns[place] = columns[place - 1] + columns[place]
    return tf.stack(columns, 1)


@PAIRS.original(x=floats(4, 6))
def interpolation(x):
    t = tf.sigmoid(variable("t", 6))
    return x[:, ::-1] + t * (x - x[:, ::-1])


@PAIRS.rewrite(interpolation)
def convex_combination(x):
    t = tf.sigmoid(variable("t", 6))
    return t * x + (1.0 - t) * tf.reverse(x, [1])


@PAIRS.original(x=floats(4, 6, low=0.2, high=3.0))
def logarithms(x):
    y = x * tf.exp(variable("w", 6))
    return tf.log(y / (1.0 + y)), tf.exp(y - 1.0), tf.sqrt(y), 1.0 / y


@PAIRS.rewrite(logarithms)
def logarithms_apart(x):
    w = variable("w", 6)
    y = tf.exp(tf.log(x) + w)
    root = tf.rsqrt(y)
    return tf.log(y) - tf.log1p(y), tf.exp(y) / tf.exp(tf.ones_like(y)), y * root, root * root


@PAIRS.original(x=floats(4, 6))
def log_sum_exp(x):
    return tf.reduce_logsumexp(x * variable("w", 6), 1)


@PAIRS.rewrite(log_sum_exp)
def logarithm_of_the_sum(x):
    return tf.log(tf.reduce_sum(tf.exp(x * variable("w", 6)), 1))


@PAIRS.rewrite(log_sum_exp)
def pair_after_pair(x):
    columns = tf.unstack(x * variable("w", 6), axis=1)
    total = columns[0]
    for column in columns[1:]:
        total = tf.maximum(total, column) + tf.nn.softplus(-tf.abs(total - column))
    return total


@PAIRS.original(x=floats(3, 4, 5))
def pairs_of_factors(x):
    """The second-order term of a factorization machine."""
    v = x * variable("v", 5)
    return 0.5 * tf.reduce_sum(tf.square(tf.reduce_sum(v, 1)) - tf.reduce_sum(tf.square(v), 1), 1)


@PAIRS.rewrite(pairs_of_factors)
def each_pair_once(x):
    v = tf.unstack(x * variable("v", 5), axis=1)
    return tf.add_n([tf.reduce_sum(v[i] * v[j], 1) for i in range(4) for j in range(i + 1, 4)])


@PAIRS.original(x=floats(4, 3))
def linear_system(x):
    y = x * variable("w", 3)
    matrix = tf.matmul(y, y, transpose_a=True) + tf.eye(3, dtype=y.dtype)
    return tf.matrix_solve(matrix, tf.transpose(x))


@PAIRS.rewrite(linear_system)
def product_with_the_inverse(x):
    y = x * variable("w", 3)
    matrix = tf.matmul(y, y, transpose_a=True) + tf.eye(3, dtype=y.dtype)
    return tf.matmul(tf.matrix_inverse(matrix), x, transpose_b=True)


@PAIRS.rewrite(linear_system)
def by_cholesky(x):
    y = x * variable("w", 3)
    factor = tf.cholesky(tf.einsum("bi,bj->ij", y, y) + tf.eye(3, dtype=y.dtype))
    return tf.cholesky_solve(factor, tf.transpose(x))


@PAIRS.original(x=floats(4, 5), y=floats(4, 5, seed=3))
def outer_products(x, y):
    return tf.einsum("bi,bj->bij", x * variable("w", 5), y)


@PAIRS.rewrite(outer_products)
def by_matmul(x, y):
    return tf.matmul((x * variable("w", 5))[:, :, None], y[:, None])


@PAIRS.rewrite(outer_products)
def by_broadcasting(x, y):
    return variable("w", 5)[:, None] * (x[:, :, None] * y[:, None, :])


@PAIRS.original(x=floats(4, 5))
def division_by_a_constant(x):
    return tf.layers.dense(x, 5, name="d") / 8.0**0.5


@PAIRS.rewrite(division_by_a_constant)
def product_with_the_reciprocal(x):
    return tf.layers.dense(x, 5, name="d") * 8.0**-0.5


@PAIRS.native(division_by_a_constant)
def keras_rescaling(x):
    return keras.layers.Rescaling(8.0**-0.5)(keras.layers.Dense(5, name="d")(x))


@PAIRS.original(x=floats(3, 5, 4))
def gram_matrix(x):
    y = x * variable("w", 4)
    return tf.matmul(y, y, transpose_a=True) / 20.0


@PAIRS.rewrite(gram_matrix)
def gram_by_einsum(x):
    y = x * variable("w", 4)
    return tf.einsum("bni,bnj->bij", y / 20.0, y)


@PAIRS.original(x=floats(4, 5), y=floats(4, 5, seed=3))
def means_of_errors(x, y):
    e = x * variable("w", 5) - y
    return tf.reduce_mean(tf.square(e)), tf.reduce_mean(tf.abs(e)), tf.nn.l2_loss(e)


@PAIRS.rewrite(means_of_errors)
def errors_by_other_means(x, y):
    e = y - x * variable("w", 5)
    flat = tf.reshape(e, [-1])
    power = tf.tensordot(flat, flat, 1)
    return power / 20.0, tf.reduce_mean(tf.maximum(e, -e)), 0.5 * power


@PAIRS.original(x=floats(4, 9))
def softened_maximum(x):
    y = 3.0 * x * variable("w", 9)
    return tf.reduce_sum(y * tf.nn.softmax(y), 1)


@PAIRS.rewrite(softened_maximum)
def quotient_of_two_sums(x):
    y = 3.0 * x * variable("w", 9)
    e = tf.exp(y)
    return tf.reduce_sum(y * e, 1) / tf.reduce_sum(e, 1)
