"""Sorting, selecting, gathering, segments, sparse tensors, Python functions, gradients in the forward pass."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("rearranging")
program = PROGRAMS.program


@program(x=floats(3, 4))
def where_of_three(x):
    w = tf.get_variable("w", [4])
    return tf.where(x > 0.1, x * w, tf.exp(x) - w)


@program(x=floats(3, 4))
def where_picks_rows(x):
    w = tf.get_variable("w", [4])
    return tf.where(tf.constant([True, False, True]), x * w, x - w)


@program(x=floats(3, 4))
def where_of_one(x):
    w = tf.get_variable("w", [4])
    return tf.gather_nd(x * w, tf.where(x > 0.0))


@program(x=floats(5, 3))
def boolean_masks(x):
    w = tf.get_variable("w", [3])
    return tf.boolean_mask(x * w, x[:, 0] > 0.0)


@program(x=floats(6, 3), ids=integers(6, high=3))
def partition_and_stitch(x, ids):
    w = tf.get_variable("w", [3, 3])
    parts = tf.dynamic_partition(x, ids, 3)
    places = tf.dynamic_partition(tf.range(6), ids, 3)
    return tf.dynamic_stitch(places, [part * w[n] for n, part in enumerate(parts)])


@program(ids=integers(8, high=5))
def unique_and_counts(ids):
    table = tf.get_variable("table", [5, 3])
    values, places, counts = tf.unique_with_counts(ids)
    return tf.gather(table, values) * tf.cast(counts, tf.float32)[:, None], places


@program(x=floats(3, 6))
def sorted_and_argsorted(x):
    w = tf.get_variable("w", [6])
    return tf.sort(x * w, direction="DESCENDING"), tf.argsort(x)


@program(x=floats(3, 6))
def top_k_and_in_top_k(x):
    logits = tf.layers.dense(x, 5)
    values, places = tf.nn.top_k(logits, 2)
    return values, places, tf.nn.in_top_k(logits, tf.constant([1, 0, 4]), 2)


@program(x=floats(3, 6))
def arg_max_and_one_hot(x):
    h = tf.layers.dense(x, 5)
    hot = tf.one_hot(tf.argmax(h, 1), 5)
    return h * hot, tf.argmin(h, 1)


@program(x=floats(6, 3), ids=np.int32([0, 0, 1, 3, 3, 3]))
def segments(x, ids):
    y = x * tf.get_variable("w", [3])
    kinds = (tf.segment_sum, tf.segment_mean, tf.segment_max, tf.segment_prod, tf.segment_min)
    return [kind(y, ids) for kind in kinds]


@program(x=floats(6, 3), ids=integers(6, high=4))
def unsorted_segments(x, ids):
    y = x * tf.get_variable("w", [3])
    kinds = (tf.unsorted_segment_sum, tf.unsorted_segment_max, tf.unsorted_segment_mean, tf.unsorted_segment_sqrt_n)
    return [kind(y, ids, 4) for kind in kinds]


@program(x=floats(4, 3), senders=integers(6, high=4), receivers=integers(6, high=4, seed=3))
def messages_of_a_graph_network(x, senders, receivers):
    for layer in range(2):
        messages = tf.layers.dense(tf.gather(x, senders), 3, tf.nn.relu, name=f"edge{layer}")
        received = tf.unsorted_segment_sum(messages, receivers, 4)
        x = tf.layers.dense(tf.concat([x, received], 1), 3, tf.tanh, name=f"node{layer}")
    return x


@program(x=floats(3, 4), places=np.int32([[0, 1], [2, 3], [0, 1]]))
def gather_and_scatter_nd(x, places):
    w = tf.get_variable("w", [4])
    return tf.gather_nd(x * w, places), tf.scatter_nd(places, tf.gather_nd(x, places) * w[:3], [3, 4])


@program(x=floats(2, 3, 4))
def gathers_along_axes(x):
    y = x * tf.get_variable("w", [4])
    places = tf.constant([[0, 2], [1, 1]])
    return tf.gather(y, [2, 0], axis=1), tf.gather(y, places, axis=1, batch_dims=1), tf.batch_gather(y, places)


@program(x=floats(3, 4))
def cumulative(x):
    y = x * tf.get_variable("w", [4])
    return tf.cumsum(y, 1), tf.cumsum(y, 0, exclusive=True, reverse=True), tf.cumprod(y, axis=1)


@program(x=floats(3, 4))
def strided_slices(x):
    y = x * tf.get_variable("w", [4])
    return (
        y[::2, 1:-1],
        y[:, None, ::-1],
        y[..., -1],
        tf.strided_slice(y, [0, 3], [3, 0], [1, -2]),
        y[tf.shape(y)[0] - 1],
    )


@program(x=floats(3, 4))
def pads_of_all_modes(x):
    y = x * tf.get_variable("w", [4])
    pads = [[1, 0], [2, 1]]
    return [tf.pad(y, pads, mode) for mode in ("CONSTANT", "REFLECT", "SYMMETRIC")], tf.pad(y, pads, constant_values=-1)


@program(x=floats(2, 4, 4, 3))
def blocks_and_depth(x):
    y = tf.layers.conv2d(x, 4, 1)
    back = tf.batch_to_space_nd(tf.space_to_batch_nd(y, [2, 2], [[0, 0], [0, 0]]), [2, 2], [[0, 0], [0, 0]])
    return tf.space_to_depth(y, 2), tf.depth_to_space(y, 2), back


@program(x=floats(2, 3, 4))
def reshaping_and_stacking(x):
    y = x * tf.get_variable("w", [4])
    parts = tf.unstack(tf.transpose(y, [1, 0, 2]))
    split = tf.split(y, [1, 3], axis=2)
    return tf.stack(parts[::-1], 1), tf.concat(split[::-1], 2), tf.tile(tf.squeeze(y[:1], 0), [1, 2]), tf.roll(y, 1, 2)


@program(x=floats(3, 3))
def diagonals(x):
    y = x * tf.get_variable("w", [3])
    return tf.diag_part(y), tf.matrix_diag(y), tf.matrix_set_diag(y, tf.zeros([3])), tf.matrix_band_part(y, 0, 1)


@program(x=floats(3, 4))
def reductions(x):
    y = x * tf.get_variable("w", [4])
    kinds = (tf.reduce_sum, tf.reduce_mean, tf.reduce_max, tf.reduce_min, tf.reduce_prod, tf.reduce_logsumexp)
    return (
        [kind(y, axis=1, keepdims=True) for kind in kinds],
        [kind(y, 0) for kind in kinds],
        tf.count_nonzero(y > 0, 1),
    )


@program(x=floats(3, 4))
def clipping_and_rounding(x):
    y = 3.0 * x * tf.get_variable("w", [4], initializer=tf.ones_initializer())
    return (
        tf.clip_by_value(y, -0.5, 0.4),
        tf.clip_by_norm(y, 1.0, [1]),
        tf.round(y),
        tf.floor(y),
        tf.ceil(y),
        tf.sign(y),
    )


@program(x=floats(3, 4))
def activations(x):
    y = 2.0 * x * tf.get_variable("w", [4])
    nn = tf.nn
    kinds = (
        nn.relu,
        nn.relu6,
        nn.crelu,
        nn.elu,
        nn.selu,
        nn.softplus,
        nn.softsign,
        nn.leaky_relu,
        nn.swish,
        nn.sigmoid,
    )
    return [kind(y) for kind in kinds]


@program(x=floats(3, 4))
def elementary_functions(x):
    y = 0.9 * x + 0.05 * tf.get_variable("w", [4])
    return [f(y) for f in (tf.sin, tf.cos, tf.tan, tf.asin, tf.acos, tf.atan, tf.sinh, tf.erf, tf.expm1, tf.square)]


@program(x=floats(3, 4, low=0.1))
def functions_of_positive_numbers(x):
    y = x * tf.exp(tf.get_variable("w", [4]))
    return [f(y) for f in (tf.log, tf.log1p, tf.sqrt, tf.rsqrt, tf.lgamma, tf.digamma, tf.reciprocal, tf.acosh)][:7]


@program(x=floats(3, 4), n=integers(3, 4, high=5))
def divisions(x, n):
    w = tf.get_variable("w", [4])
    return (
        tf.div(x, w + 3.0),
        tf.floordiv(n, 2),
        tf.mod(n, 3),
        tf.truediv(n, 3),
        tf.div_no_nan(x, tf.zeros([4])),
        n // 3,
    )


@program(x=floats(3, 4), ids=np.int64([[0, 1], [1, 3], [2, 0]]))
def sparse_times_dense(x, ids):
    w = tf.get_variable("w", [4, 2])
    sparse = tf.SparseTensor(ids, tf.gather_nd(x, ids), [3, 4])
    return tf.sparse_tensor_dense_matmul(sparse, w), tf.sparse_tensor_to_dense(sparse), tf.sparse_reduce_sum(sparse, 1)


@program(x=floats(3, 4))
def stopped_gradients(x):
    w = tf.get_variable("w", [4])
    y = tf.tanh(x * w)
    return y + tf.stop_gradient(tf.exp(y)), tf.stop_gradient(y) * w


@program(x=floats(3, 4))
def gradient_of_ones_own(x):
    w = tf.get_variable("w", [4])

    @tf.custom_gradient
    def reversed_gradient(y):
        return tf.identity(y), lambda dy: -0.5 * dy

    return reversed_gradient(x * w) * w


@program(x=floats(3, 4))
def straight_through_rounding(x):
    y = x * tf.get_variable("w", [4]) * 4.0
    return y + tf.stop_gradient(tf.round(y) - y)


@program(x=floats(3, 4))
def a_python_function(x):
    w = tf.get_variable("w", [4])
    doubled = tf.py_func(lambda a: (2.0 * a).astype(np.float32), [x], tf.float32)
    doubled.set_shape([3, 4])
    return doubled * w


@program(x=floats(3, 4))
def a_function_of_numpy(x):
    w = tf.get_variable("w", [4])
    low, high = tf.numpy_function(lambda a: (np.sort(a, 1), np.float32(a.max())), [x], [tf.float32, tf.float32])
    return tf.reshape(low, [3, 4]) * w + tf.reshape(high, [])


@program(x=floats(3, 4))
def printed(x):
    w = tf.get_variable("w", [4])
    return tf.identity(x * w, name="here"), tf.identity_n([x, w])


@program(x=floats(4, 3), y=floats(5, 3, seed=2))
def distances(x, y):
    w = tf.get_variable("w", [3])
    x, y = x * w, y * w
    return tf.reduce_sum(tf.squared_difference(x[:, None], y[None]), -1), tf.norm(x, axis=1), tf.norm(y, ord=1)


@program(x=floats(3, 4))
def meshes_and_ranges(x):
    rows, columns = tf.meshgrid(tf.range(3.0), tf.lin_space(0.0, 1.0, 4), indexing="ij")
    return (x + rows * columns) * tf.get_variable("w", [4]), tf.zeros_like(x), tf.ones_like(x), tf.fill([2], 3.0)


@program(words=np.array([["a", "b b"], ["c", ""]]))
def words_and_buckets(words):
    table = tf.get_variable("table", [8, 3])
    buckets = tf.string_to_hash_bucket_fast(words, 8)
    return tf.nn.embedding_lookup(table, buckets), tf.strings.length(words), tf.strings.join([words, words])


@program(words=np.array(["b", "a", "c", "z"]))
def lookup_in_a_vocabulary(words):
    known = tf.equal(words[:, None], tf.constant(["a", "b", "c"])[None])
    places = tf.where(tf.reduce_any(known, 1), tf.argmax(tf.cast(known, tf.int32), 1), tf.fill([4], np.int64(3)))
    return tf.gather(tf.get_variable("table", [4, 3]), places)


@program(age=floats(4, low=10.0, high=70.0))
def buckets_and_crosses(age):
    buckets = tf.searchsorted(tf.constant([18.0, 30.0, 50.0]), age)
    crossed = tf.mod(buckets * 3 + tf.cast(age, tf.int32), 5)
    wide = tf.gather(tf.get_variable("wide", [4]), buckets) + tf.gather(tf.get_variable("cross", [5]), crossed)
    return wide, tf.matmul(tf.one_hot(buckets, 4), tf.get_variable("deep", [4, 2]))


@program(ids=integers(6, high=4))
def histograms(ids):
    w = tf.get_variable("w", [4])
    return (
        tf.cast(tf.bincount(ids, minlength=4), tf.float32) * w,
        tf.invert_permutation([2, 0, 1]),
        tf.setdiff1d(ids, [1]),
    )


@program(logits=floats(2, 6))
def nucleus_of_the_distribution(logits):
    logits *= tf.exp(tf.get_variable("w", [6]))
    ordered = tf.sort(logits, direction="DESCENDING")
    kept = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True) < 0.8
    least = tf.reduce_min(tf.where(kept, ordered, tf.ones_like(ordered) * 1e10), axis=1, keepdims=True)
    return tf.where(logits < least, tf.ones_like(logits) * -1e10, logits)
