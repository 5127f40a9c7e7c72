"""Dense layers: flattened or not, einsum, tensordot, convolutions of width one, split and merged kernels."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, variable

PAIRS = Topic("dense")


@PAIRS.original(x=floats(3, 4, 5))
def dense_of_rank_3(x):
    return tf.layers.dense(x, 6, name="d")


def _kernel_and_bias(*shape):
    with tf.variable_scope("d"):
        return variable("kernel", *shape), variable("bias", 6, initializer=tf.zeros_initializer())


@PAIRS.rewrite(dense_of_rank_3)
def flattened(x):
    kernel, bias = _kernel_and_bias(5, 6)
    return tf.reshape(tf.matmul(tf.reshape(x, [12, 5]), kernel) + bias, [3, 4, 6])


@PAIRS.rewrite(dense_of_rank_3)
def einsum(x):
    kernel, bias = _kernel_and_bias(5, 6)
    return tf.einsum("bsc,cd->bsd", x, kernel) + bias


@PAIRS.rewrite(dense_of_rank_3)
def tensordot(x):
    kernel, bias = _kernel_and_bias(5, 6)
    return tf.nn.bias_add(tf.tensordot(x, kernel, [[2], [0]]), bias)


@PAIRS.rewrite(dense_of_rank_3)
def products_and_sums(x):
    kernel, bias = _kernel_and_bias(5, 6)
    return tf.reduce_sum(x[..., None] * kernel, axis=2) + bias


@PAIRS.rewrite(dense_of_rank_3)
def two_halves_of_the_sum(x):
    kernel, bias = _kernel_and_bias(5, 6)
    flat = tf.reshape(x, [12, 5])
    y = tf.matmul(flat[:, 3:], kernel[3:]) + bias + tf.matmul(flat[:, :3], kernel[:3])
    return tf.reshape(y, [3, 4, 6])


@PAIRS.rewrite(dense_of_rank_3, transforms=[("^d/kernel$", "transpose(1,0)")])
def transposed_kernel(x):
    kernel, bias = _kernel_and_bias(6, 5)
    return tf.reshape(tf.matmul(tf.reshape(x, [12, 5]), kernel, transpose_b=True) + bias, [3, 4, 6])


@PAIRS.rewrite(dense_of_rank_3)
def output_transposed(x):
    kernel, bias = _kernel_and_bias(5, 6)
    y = tf.matmul(kernel, tf.reshape(x, [12, 5]), transpose_a=True, transpose_b=True)
    return tf.reshape(tf.transpose(y) + bias, [3, 4, 6])


@PAIRS.rewrite(dense_of_rank_3)
def row_by_row(x):
    kernel, bias = _kernel_and_bias(5, 6)
    return tf.stack([tf.matmul(row, kernel) + bias for row in tf.unstack(x)])


@PAIRS.native(dense_of_rank_3)
def keras_dense(x):
    return keras.layers.Dense(6, name="d")(x)


@PAIRS.native(dense_of_rank_3)
def keras_einsum_dense(x):
    return keras.layers.EinsumDense("bsc,cd->bsd", (4, 6), bias_axes="d", name="d")(x)


@PAIRS.native(dense_of_rank_3)
def keras_flattened(x):
    y = keras.layers.Dense(6, name="d")(keras.ops.reshape(x, (12, 5)))
    return keras.ops.reshape(y, (3, 4, 6))


@PAIRS.native(dense_of_rank_3, rename=[("^d/", "steps/d/")])
def keras_time_distributed(x):
    return keras.layers.TimeDistributed(keras.layers.Dense(6, name="d"), name="steps")(x)


@PAIRS.native(dense_of_rank_3, transforms=[("^d/kernel$", "expand(0)")])
def keras_convolution_of_width_one(x):
    return keras.layers.Conv1D(6, 1, name="d")(x)


@PAIRS.original(x=floats(4, 5), y=floats(4, 3, seed=2))
def dense_of_a_concatenation(x, y):
    return tf.nn.tanh(tf.layers.dense(tf.concat([x, y], 1), 6, name="d"))


@PAIRS.native(
    dense_of_a_concatenation,
    transforms=[
        ("^left/kernel$", "split(0, 0, [5, 3])", "d/kernel"),
        ("^right/kernel$", "split(0, 1, [5, 3])", "d/kernel"),
    ],
    rename=[("^d/bias$", "left/bias")],
    reason="",
)
def keras_sum_of_two(x, y):
    scale = keras.initializers.RandomUniform(-((6 / 14) ** 0.5), (6 / 14) ** 0.5)
    left = keras.layers.Dense(6, kernel_initializer=scale, name="left")(x)
    return keras.ops.tanh(left + keras.layers.Dense(6, use_bias=False, kernel_initializer=scale, name="right")(y))


@PAIRS.original(x=floats(4, 5))
def three_projections(x):
    return tuple(tf.layers.dense(x, 4, name=name) for name in ("q", "k", "v"))


@PAIRS.native(
    three_projections,
    parts=[("^qkv/kernel$", 1, [4, 4, 4]), ("^qkv/bias$", 0, [4, 4, 4])],
    rename=[
        ("^q/(.*)$", r"qkv/\1[0]"),
        ("^k/(.*)$", r"qkv/\1[1]"),
        ("^v/(.*)$", r"qkv/\1[2]"),
    ],
)
def keras_merged_projections(x):
    glorot = keras.initializers.RandomUniform(-((6 / 9) ** 0.5), (6 / 9) ** 0.5)
    return tuple(keras.ops.split(keras.layers.Dense(12, kernel_initializer=glorot, name="qkv")(x), 3, axis=-1))


@PAIRS.original(x=floats(4, 5))
def two_layers(x):
    return tf.layers.dense(tf.layers.dense(x, 6, tf.nn.relu, name="a"), 3, name="b")


@PAIRS.native(two_layers)
def keras_activation_apart(x):
    h = keras.layers.ReLU()(keras.layers.Dense(6, name="a")(x))
    return keras.layers.Dense(3, name="b")(h)


@PAIRS.rewrite(two_layers)
def bias_as_a_column_of_ones(x):
    def affine(y, units):
        kernel = variable("kernel", y.shape[1], units)
        bias = variable("bias", units, initializer=tf.zeros_initializer())
        return tf.matmul(tf.concat([y, tf.ones_like(y[:, :1])], 1), tf.concat([kernel, bias[None]], 0))

    with tf.variable_scope("a"):
        h = tf.nn.relu(affine(x, 6))
    with tf.variable_scope("b"):
        return affine(h, 3)


@PAIRS.original(x=floats(4, 6), dropped=floats(4, 6, seed=2))
def dropout_of_rank_3(x, dropped, training):
    h = tf.reshape(tf.layers.dense(x + dropped, 6, name="d"), [2, 2, 6])
    return tf.layers.dense(tf.layers.dropout(h, 0.4, training=training), 3, name="e")


@PAIRS.native(dropout_of_rank_3)
def keras_dropout_of_rank_2(x, dropped):
    h = keras.layers.Dropout(0.4)(keras.layers.Dense(6, name="d")(x + dropped))
    return keras.layers.Dense(3, name="e")(keras.ops.reshape(h, (2, 2, 6)))


@PAIRS.original(x=floats(4, 5))
def regularized(x):
    decay = lambda v: 0.02 * tf.nn.l2_loss(v)  # noqa: E731
    return tf.layers.dense(x, 3, kernel_regularizer=decay, name="d")


@PAIRS.native(regularized)
def keras_l2_of_half_the_rate(x):
    return keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01), name="d")(x)


@PAIRS.original(x=floats(4, 5), z=floats(4, 6, seed=2))
def bilinear_form(x, z):
    return tf.einsum("bi,ij,bj->b", x, variable("w", 5, 6), z)


@PAIRS.rewrite(bilinear_form)
def matmul_and_sum(x, z):
    return tf.reduce_sum(tf.matmul(x, variable("w", 5, 6)) * z, 1)


@PAIRS.rewrite(bilinear_form)
def the_other_side_first(x, z):
    return tf.reduce_sum(x * tf.matmul(z, variable("w", 5, 6), transpose_b=True), -1)
