"""Small whole models, put together as published ones are."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import slim, tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("networks")
program = PROGRAMS.program

IMAGES = (2, 8, 8, 3)


@program(x=floats(*IMAGES))
def residual_network(x, training):
    def norm(y):
        return tf.nn.relu(tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, training=training))

    x = tf.layers.conv2d(x, 4, 3, padding="same", use_bias=False)
    for number, stride in enumerate((1, 2)):
        with tf.variable_scope(f"block{number}"):
            y = norm(x)
            shortcut = tf.layers.conv2d(y, 4 * stride, 1, stride, use_bias=False)
            y = tf.layers.conv2d(y, 4 * stride, 3, stride, "same", use_bias=False)
            x = shortcut + tf.layers.conv2d(norm(y), 4 * stride, 3, padding="same", use_bias=False)
    return tf.layers.dense(tf.reduce_mean(norm(x), [1, 2]), 3)


@program(x=floats(*IMAGES))
def u_net(x):
    down = tf.layers.conv2d(x, 4, 3, padding="same", activation=tf.nn.relu)
    bottom = tf.layers.conv2d(tf.layers.max_pooling2d(down, 2, 2), 8, 3, padding="same", activation=tf.nn.relu)
    up = tf.layers.conv2d_transpose(bottom, 4, 2, 2, activation=tf.nn.relu)
    return tf.layers.conv2d(tf.concat([down, up], 3), 2, 1)


@program(ids=integers(2, 5, high=11))
def transformer_block(ids, training):
    def norm(y, name):
        with tf.variable_scope(name):
            mean, variance = tf.nn.moments(y, [-1], keep_dims=True)
            scale = tf.get_variable("scale", [8], initializer=tf.ones_initializer())
            return (y - mean) * tf.rsqrt(variance + 1e-5) * scale + tf.get_variable("shift", [8])

    table = tf.get_variable("table", [11, 8], initializer=tf.random_normal_initializer(stddev=0.2))
    h = tf.nn.embedding_lookup(table, ids) + tf.get_variable("positions", [5, 8])
    a = norm(h, "before_attention")
    q, k, v = tf.split(tf.layers.dense(a, 24, name="qkv"), 3, 2)
    q, k, v = (tf.transpose(tf.reshape(z, [2, 5, 2, 4]), [0, 2, 1, 3]) for z in (q, k, v))
    weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.5)
    weights = tf.layers.dropout(weights, 0.1, training=training)
    joined = tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [2, 5, 8])
    h += tf.layers.dropout(tf.layers.dense(joined, 8, name="project"), 0.1, training=training)
    b = tf.layers.dense(norm(h, "before_feeding"), 16, name="wide")
    b = 0.5 * b * (1 + tf.tanh(0.79788456 * (b + 0.044715 * b**3)))
    h += tf.layers.dropout(tf.layers.dense(b, 8, name="narrow"), 0.1, training=training)
    return tf.einsum("bld,vd->blv", norm(h, "last"), table)


@program(dense=floats(4, 3), ids=integers(4, 2, high=9))
def wide_and_deep(dense, ids):
    wide = tf.reduce_sum(tf.nn.embedding_lookup(tf.get_variable("wide", [9, 1]), ids), 1)
    deep = tf.reshape(tf.nn.embedding_lookup(tf.get_variable("deep", [9, 4]), ids), [4, 8])
    deep = tf.layers.dense(tf.concat([dense, deep], 1), 6, tf.nn.relu)
    return tf.sigmoid(wide + tf.layers.dense(deep, 1))


@program(ids=integers(4, 3, high=9))
def factorization_machine(ids):
    v = tf.nn.embedding_lookup(tf.get_variable("v", [9, 4]), ids)
    linear = tf.reduce_sum(tf.nn.embedding_lookup(tf.get_variable("w", [9]), ids), 1)
    return linear + 0.5 * tf.reduce_sum(tf.square(tf.reduce_sum(v, 1)) - tf.reduce_sum(tf.square(v), 1), 1)


@program(x=floats(3, 12))
def variational_autoencoder(x):
    h = tf.layers.dense(x, 6, tf.nn.relu, name="encoder")
    mean, log_variance = tf.layers.dense(h, 2, name="mean"), tf.layers.dense(h, 2, name="log_variance")
    z = mean + tf.exp(log_variance / 2) * tf.random_normal(tf.shape(mean))
    logits = tf.layers.dense(tf.layers.dense(z, 6, tf.nn.relu, name="decoder"), 12, name="logits")
    return tf.sigmoid(logits), -0.5 * tf.reduce_mean(1 + log_variance - tf.square(mean) - tf.exp(log_variance))


@program(z=floats(3, 4))
def generator_of_images(z, training):
    h = tf.reshape(tf.layers.dense(z, 2 * 2 * 6), [3, 2, 2, 6])
    for filters in (4, 2):
        h = tf.nn.relu(tf.layers.batch_normalization(h, training=training, momentum=0.8))
        h = tf.layers.conv2d_transpose(h, filters, 5, 2, "same")
    return tf.tanh(h)


@program(x=floats(*IMAGES))
def squeeze_and_excite(x):
    y = tf.layers.conv2d(x, 6, 3, padding="same")
    gate = tf.layers.dense(tf.layers.dense(tf.reduce_mean(y, [1, 2]), 2, tf.nn.relu), 6, tf.sigmoid)
    return y * gate[:, None, None]


@program(x=floats(*IMAGES))
def densely_connected(x, training):
    for _ in range(3):
        y = tf.nn.relu(tf.layers.batch_normalization(x, training=training, momentum=0.9))
        x = tf.concat([x, tf.layers.conv2d(y, 2, 3, padding="same")], 3)
    return tf.layers.average_pooling2d(x, 2, 2)


@program(x=floats(*IMAGES))
def inception_block_of_slim(x):
    with slim.arg_scope([slim.conv2d], weights_regularizer=slim.l2_regularizer(1e-3)), tf.variable_scope("Mixed"):
        with tf.variable_scope("Branch_0"):
            a = slim.conv2d(x, 2, 1, scope="Conv2d_0a_1x1")
        with tf.variable_scope("Branch_1"):
            b = slim.conv2d(slim.conv2d(x, 2, 1, scope="Conv2d_0a_1x1"), 3, [3, 1], scope="Conv2d_0b_3x1")
        with tf.variable_scope("Branch_2"):
            c = slim.conv2d(slim.avg_pool2d(x, 3, stride=1, padding="SAME"), 2, 1, scope="Conv2d_0b_1x1")
    return tf.concat([a, b, c], 3)


@program(x=floats(*IMAGES))
def mobile_network_of_slim(x, training):
    norm = {"is_training": training, "decay": 0.9, "scale": True}
    with slim.arg_scope(
        [slim.conv2d, slim.separable_conv2d],
        activation_fn=tf.nn.relu6,
        normalizer_fn=slim.batch_norm,
        normalizer_params=norm,
    ):
        x = slim.conv2d(x, 4, 3, stride=2)
        x = slim.separable_conv2d(x, None, 3, depth_multiplier=1)
        x = slim.conv2d(x, 6, 1)
    x = slim.dropout(tf.reduce_mean(x, [1, 2], keepdims=True), 0.8, is_training=training)
    return tf.squeeze(slim.conv2d(x, 3, 1, activation_fn=None, normalizer_fn=None), [1, 2])


@program(ids=integers(2, 5, high=9))
def language_model(ids, training):
    table = tf.get_variable("table", [9, 6], initializer=tf.random_uniform_initializer(-0.3, 0.3))
    h = tf.layers.dropout(tf.nn.embedding_lookup(table, ids), 0.2, training=training)
    cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.LSTMCell(6) for _ in range(2)])
    outputs, state = tf.nn.dynamic_rnn(cell, h, dtype=tf.float32)
    outputs = tf.layers.dropout(outputs, 0.2, training=training)
    logits = tf.matmul(tf.reshape(outputs, [-1, 6]), table, transpose_b=True) + tf.get_variable("bias", [9])
    return logits, state


@program(x=floats(2, 6, 4), y=floats(2, 5, 4, seed=4))
def bidirectional_attention_flow(x, y):
    w = tf.get_variable("w", [12])
    wide_x = tf.tile(x[:, :, None], [1, 1, 5, 1])
    wide_y = tf.tile(y[:, None], [1, 6, 1, 1])
    similarity = tf.reduce_sum(tf.concat([wide_x, wide_y, wide_x * wide_y], 3) * w, 3)
    to_y = tf.matmul(tf.nn.softmax(similarity), y)
    to_x = tf.reduce_sum(tf.nn.softmax(tf.reduce_max(similarity, 2))[:, :, None] * x, 1, keepdims=True)
    return tf.concat([x, to_y, x * to_y, x * to_x], 2)


@program(x=floats(4, 6))
def highway_and_maxout(x):
    gate = tf.layers.dense(x, 6, tf.sigmoid, bias_initializer=tf.constant_initializer(-1.0), name="gate")
    x = gate * tf.layers.dense(x, 6, tf.nn.relu, name="transform") + (1 - gate) * x
    return tf.reduce_max(tf.reshape(tf.layers.dense(x, 8, name="maxout"), [4, 4, 2]), 2)


@program(x=floats(4, 6))
def mixture_of_experts(x):
    gates = tf.nn.softmax(tf.layers.dense(x, 3, use_bias=False, name="gates"))
    experts = tf.stack([tf.layers.dense(x, 5, tf.nn.relu, name=f"expert{n}") for n in range(3)], 1)
    return tf.reduce_sum(gates[:, :, None] * experts, 1)


@program(x=floats(4, 6))
def self_normalizing(x):
    for units in (6, 5):
        x = tf.layers.dense(x, units, tf.nn.selu, kernel_initializer=tf.initializers.lecun_normal())
    return tf.layers.dense(x, 2)


@program(x=floats(4, 6))
def invertible_coupling(x):
    for number in range(2):
        a, b = x[:, :3], x[:, 3:]
        h = tf.layers.dense(a, 4, tf.nn.relu, name=f"h{number}")
        scale = tf.tanh(tf.layers.dense(h, 3, kernel_initializer=tf.zeros_initializer(), name=f"s{number}"))
        x = tf.concat([b * tf.exp(scale) + tf.layers.dense(h, 3, name=f"t{number}"), a], 1)
    return x


@program(points=floats(2, 7, 3))
def network_of_points(points, training):
    h = tf.layers.conv1d(points, 6, 1)
    h = tf.nn.relu(tf.layers.batch_normalization(h, training=training, momentum=0.9))
    return tf.layers.dense(tf.reduce_max(h, 1), 3)


@program(x=floats(2, 5, 6))
def single_shot_heads(x, training):
    feature = tf.layers.conv2d(x[:, :, None], 6, [3, 1], padding="same", activation=tf.nn.relu6)
    boxes = tf.reshape(tf.layers.conv2d(feature, 8, [3, 1], padding="same", name="boxes"), [2, -1, 4])
    scores = tf.reshape(tf.layers.conv2d(feature, 6, [3, 1], padding="same", name="scores"), [2, -1, 3])
    centres = tf.concat([boxes[..., :2] * 0.1, tf.exp(boxes[..., 2:] * 0.2)], -1)
    return {"boxes": centres, "scores": scores if training else tf.nn.softmax(scores)}


@program(x=floats(2, 9))
def autoregressive_masks(x):
    """A masked autoencoder: the output at a place sees the places before it."""
    degrees = [i % 8 for i in range(12)]
    first = tf.constant([[float(j <= degree) for degree in degrees] for j in range(9)])
    second = tf.constant([[float(degree < j) for j in range(9)] for degree in degrees])
    h = tf.nn.relu(tf.matmul(x, first * tf.get_variable("w", [9, 12])) + tf.get_variable("b", [12]))
    return tf.matmul(h, second * tf.get_variable("v", [12, 9]))
