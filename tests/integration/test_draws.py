"""What a draw leads to decides which draw of the other side it is: code that draws alike is never blamed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1

v1 = tf.compat.v1
X = np.random.default_rng(3).normal(size=(4, 6, 8)).astype(np.float32)
"""(batch, length, features)"""


def shim(forward):
    class Net(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, inputs, training=False):
            return forward(inputs, bool(training))

    return lockstep.keras(Net)


def check(ours, theirs=None, **options):
    theirs = shim(theirs or ours) if theirs is None or not isinstance(theirs, type) else lockstep.keras(theirs)
    return lockstep.verify(lockstep.tf1_graph(ours), theirs, {"x": X}, **options)


def weights(name="w", units=8):
    return v1.get_variable(name, [8, units], initializer=v1.random_uniform_initializer(-0.5, 0.5))


def dense(x, name="w"):
    return tf.tensordot(x, weights(name), 1)


def dropped(x, training, rate=0.3, **options):
    return tf.nn.dropout(x, rate=rate, **options) if training else x


# ---- the same code on both sides


def drawn_initial_value(inputs, training):
    w = v1.get_variable("w", initializer=v1.random_uniform([8, 4], -0.5, 0.5))
    again = v1.get_variable("again", initializer=v1.truncated_normal([4, 4]))
    return tf.tensordot(tf.tensordot(dropped(inputs["x"], training), w, 1), again, 1)


def drawn_for_nothing(inputs, training):
    h, outputs = inputs["x"], []
    for _ in range(3):
        h = tf.tanh(dense(h, "w") if not outputs else h)
        outputs.append(dropped(h, training))
    tf.random.normal([7])
    return outputs[-1] + dense(h, "later")


def noise_at_all_times(inputs, training):
    h = dense(inputs["x"]) + tf.random.normal(tf.shape(inputs["x"]), stddev=0.1)
    h = h * tf.random.uniform([8], 0.5, 1.5)
    order = tf.random.shuffle(tf.range(6))
    steps = tf.random.uniform([4], 0, 6, dtype=tf.int32)
    return {"h": dense(tf.gather(h, order, axis=1), "v"), "steps": tf.gather(inputs["x"], steps, axis=1)}


def other_distributions(inputs, training):
    h = dense(inputs["x"])
    logits = tf.reshape(h, [24, 8])
    index = tf.reshape(tf.random.categorical(logits, 1), [4, 6])
    return h * tf.random.gamma([8], 2.0) + tf.random.truncated_normal([6, 1]) + tf.cast(index, tf.float32)[..., None]


def without_seeds(inputs, training):
    mask = tf.random.stateless_uniform([4, 6, 8], seed=[3, 4]) < 0.5
    return dense(tf.where(mask, inputs["x"], 0.0)) + tf.random.stateless_normal([8], seed=[5, 6])


def noise_shapes(inputs, training):
    h = dropped(dense(inputs["x"]), training, noise_shape=[4, 1, 8])
    h = dropped(dense(h, "v"), training, noise_shape=[4, 6, 1])
    return v1.layers.dropout(h, 0.4, training=training)


def rate_of_zero(inputs, training):
    h = tf.nn.dropout(dense(inputs["x"]), rate=0.0)
    return dropped(v1.nn.dropout(dense(h, "v"), keep_prob=1.0), training)


def loop(inputs, training):
    w, v = weights("w"), weights("v")

    def body(i, h):
        h = dropped(tf.tanh(tf.tensordot(h, w, 1)), training)
        return i + 1, tf.tensordot(dropped(h, training, 0.5), v, 1) + tf.random.normal([8])

    return dense(tf.while_loop(lambda i, _: i < 3, body, [0, inputs["x"]])[1], "u")


def loop_within_a_loop(inputs, training):
    w = weights()

    def inner(i, h):
        return i + 1, dropped(tf.tanh(tf.tensordot(h, w, 1)), training)

    def outer(i, h):
        h = tf.while_loop(lambda i, _: i < 2, inner, [0, h])[1]
        return i + 1, dropped(h, training, 0.5)

    return tf.while_loop(lambda i, _: i < 3, outer, [0, inputs["x"]])[1]


def last_round_alone(inputs, training):
    w = weights()

    def body(i, h, drops):
        h = tf.tanh(tf.tensordot(h, w, 1))
        return i + 1, h, drops.write(i, dropped(h, training))

    drops = tf.TensorArray(tf.float32, 4, element_shape=[4, 6, 8])
    return tf.while_loop(lambda i, *_: i < 4, body, [0, inputs["x"], drops])[2].read(3)


def mapped(inputs, training):
    w = weights()
    return tf.map_fn(lambda row: dropped(tf.matmul(row, w), training), inputs["x"]) + tf.random.normal([8])


def branch(inputs, training):
    h = dense(inputs["x"])
    if training:
        kept = tf.random.uniform([]) < 0.5
        h = tf.cond(kept, lambda: tf.nn.dropout(h, rate=0.5), lambda: h + tf.random.normal([8]))
    return dropped(dense(h, "v"), training)


def cells(**options):
    def cell():
        lstm = v1.nn.rnn_cell.BasicLSTMCell(5)
        return v1.nn.rnn_cell.DropoutWrapper(lstm, 0.7, 0.8, 0.6, **options)

    return v1.nn.rnn_cell.MultiRNNCell([cell() for _ in range(2)])


def dynamic(inputs, training):
    return v1.nn.dynamic_rnn(cells() if training else plain(), inputs["x"], dtype=tf.float32)[0]


def static(inputs, training):
    steps = tf.unstack(inputs["x"], axis=1)
    return v1.nn.static_rnn(cells() if training else plain(), steps, dtype=tf.float32)[0][-1]


def variational(inputs, training):
    sizes = {"variational_recurrent": True, "dtype": tf.float32}
    lstm = v1.nn.rnn_cell.BasicLSTMCell(5)
    kept = v1.nn.rnn_cell.DropoutWrapper(lstm, 0.7, 0.8, 0.6, input_size=tf.TensorShape(8), **sizes)
    return v1.nn.dynamic_rnn(kept if training else lstm, inputs["x"], dtype=tf.float32)[0]


def plain():
    return v1.nn.rnn_cell.MultiRNNCell([v1.nn.rnn_cell.BasicLSTMCell(5) for _ in range(2)])


UNCHANGED = [
    drawn_initial_value,
    drawn_for_nothing,
    noise_at_all_times,
    other_distributions,
    without_seeds,
    noise_shapes,
    rate_of_zero,
    loop,
    loop_within_a_loop,
    last_round_alone,
    mapped,
    branch,
    dynamic,
    static,
    variational,
]


@pytest.mark.parametrize("forward", UNCHANGED, ids=lambda forward: forward.__name__)
def test_unchanged_code_is_equivalent(forward):
    report = check(forward, gradients=True)
    assert {
        step.name: step.verdict for step in report.steps if step.verdict not in ("equivalent", "not asked for")
    } == {}
    assert report.culprits == ()


# ---- right rewrites


def flattened(inputs, training):
    h = tf.reshape(inputs["x"], [24, 8])
    for name, rate in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        h = dropped(tf.tanh(tf.matmul(h, weights(name))), training, rate)
        h = tf.reshape(h, [2, 12, 8]) if name == "b" else tf.reshape(h, [24, 8])
        h = tf.reshape(h, [24, 8])
    return tf.reshape(h, [4, 6, 8])


def in_three_dimensions(inputs, training):
    h = inputs["x"]
    for name, rate in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        h = dropped(tf.tanh(dense(h, name)), training, rate)
    return h


def in_two_batches(inputs, training):
    h = inputs["x"]
    for name, rate in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        h = tf.reshape(dropped(tf.reshape(tf.tanh(dense(h, name)), [2, 2, 6, 8]), training, rate), [4, 6, 8])
    return h


def rounds(inputs, training):
    w = weights()

    def body(i, h):
        return i + 1, dropped(tf.tanh(tf.tensordot(h, w, 1)), training)

    return dropped(tf.while_loop(lambda i, _: i < 3, body, [0, dropped(inputs["x"], training)])[1], training, 0.5)


def rounds_unrolled(inputs, training):
    w = weights()
    h = dropped(inputs["x"], training)
    for _ in range(3):
        h = dropped(tf.tanh(tf.tensordot(h, w, 1)), training)
    return dropped(h, training, 0.5)


def two_branches(inputs, training):
    a, b = dense(inputs["x"], "a"), tf.reduce_mean(inputs["x"], 1)
    a = dropped(a, training)
    return {"a": a, "b": dense(dropped(b, training, 0.5), "b")}


def two_branches_in_another_order(inputs, training):
    b = dropped(tf.reduce_mean(inputs["x"], 1), training, 0.5)
    a = dropped(dense(inputs["x"], "a"), training)
    return {"a": a, "b": dense(b, "b")}


def variables_in_order(inputs, training):
    a, b = weights("a"), weights("b")
    return tf.tensordot(dropped(tf.tensordot(inputs["x"], a, 1), training), b, 1)


def variables_in_another_order(inputs, training):
    b, a = weights("b"), weights("a")
    return tf.tensordot(dropped(tf.tensordot(inputs["x"], a, 1), training), b, 1)


def more_is_drawn_for_nothing(inputs, training):
    tf.nn.dropout(inputs["x"], rate=0.3)
    a = weights("a")
    tf.nn.dropout(inputs["x"], rate=0.0)
    b = weights("b")
    h = tf.tensordot(inputs["x"], a, 1)
    return tf.tensordot(dropped(h, training), b, 1) + 0.0 * tf.reduce_sum(tf.stop_gradient(h))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (flattened, in_three_dimensions),
        (in_three_dimensions, flattened),
        (flattened, in_two_batches),
        (rounds, rounds_unrolled),
        (rounds_unrolled, rounds),
        (two_branches, two_branches_in_another_order),
        (variables_in_order, variables_in_another_order),
        (variables_in_order, more_is_drawn_for_nothing),
        (more_is_drawn_for_nothing, variables_in_order),
    ],
)
def test_a_right_rewrite_is_equivalent(ours, theirs):
    report = check(ours, theirs, gradients=True)
    assert {
        step.name: step.verdict for step in report.steps if step.verdict not in ("equivalent", "not asked for")
    } == {}
    assert report.culprits == ()


class Native(keras.Model):
    """Channels dropped as a whole, and noise, by Keras's own layers."""

    def __init__(self, drops=0.3, spatial=keras.layers.SpatialDropout1D, noise=0.2):
        super().__init__(name="net")
        kernel = keras.initializers.RandomUniform(-0.5, 0.5)
        self.first = keras.layers.Dense(8, use_bias=False, kernel_initializer=kernel, name="first")
        self.second = keras.layers.Dense(8, use_bias=False, kernel_initializer=kernel, name="second")
        self.spatial, self.noise, self.drop = (
            spatial(drops),
            keras.layers.GaussianNoise(noise),
            keras.layers.Dropout(0.4),
        )

    def call(self, inputs, training=None):
        h = self.noise(self.spatial(self.first(inputs["x"]), training=training), training=training)
        return self.second(self.drop(h, training=training))


def channels(inputs, training):
    h = dropped(dense(inputs["x"], "first/kernel"), training, noise_shape=[4, 1, 8])
    if training:
        h = tf.reshape(h, [24, 8]) + tf.random.normal([24, 8], stddev=0.2)
        h = tf.reshape(h, [4, 6, 8])
    return dense(dropped(h, training, 0.4), "second/kernel")


NET = ((r"^(.*)$", r"net/\1"),)


def natively(build):
    return lockstep.verify(lockstep.tf1_graph(channels), lockstep.keras(build), {"x": X}, rename=NET, gradients=True)


def test_keras_own_layers_that_draw_are_equivalent():
    report = natively(Native)
    assert report.verdict == "equivalent", report
    assert report.culprits == ()


@pytest.mark.parametrize("mistake", [{"drops": 0.4}, {"spatial": keras.layers.Dropout}, {"noise": 0.3}, {"noise": 0.0}])
def test_mistakes_in_keras_own_layers_are_found(mistake):
    report = natively(lambda: Native(**mistake))
    assert report.verdict == "diverged", report


# ---- mistakes


def two_masks(inputs, training):
    x = inputs["x"]
    masks = [dropped(tf.ones_like(x), training) for _ in range(2)]
    return {"a": dense(x * masks[0], "a"), "b": dense(x * masks[1], "b")}


def one_mask_for_two(inputs, training):
    x = inputs["x"]
    mask = dropped(tf.ones_like(x), training)
    return {"a": dense(x * mask, "a"), "b": dense(x * mask, "b")}


def two_initial_values(inputs, training):
    a, b = (v1.get_variable(n, initializer=v1.random_uniform([8, 8])) for n in "ab")
    return tf.tensordot(tf.tensordot(inputs["x"], a, 1), b, 1)


def one_initial_value_for_two(inputs, training):
    start = v1.random_uniform([8, 8])
    a, b = (v1.get_variable(n, initializer=start) for n in "ab")
    return tf.tensordot(tf.tensordot(inputs["x"], a, 1), b, 1)


def another_initializer(inputs, training):
    a, b = (v1.get_variable(n, initializer=v1.random_uniform([8, 8], 0.0, 1.01)) for n in "ab")
    tf.random.normal([3])
    return tf.tensordot(tf.tensordot(inputs["x"], a, 1), b, 1)


def normal_noise(inputs, training):
    return dense(inputs["x"] + (tf.random.normal([4, 6, 8], stddev=0.5) if training else 0.0))


def truncated_noise(inputs, training):
    return dense(inputs["x"] + (tf.random.truncated_normal([4, 6, 8], stddev=0.5) if training else 0.0))


def less_noise(inputs, training):
    return dense(inputs["x"] + (tf.random.normal([4, 6, 8], stddev=0.4) if training else 0.0))


def of_rate(rate, at=3, loop_rate=0.3, once=False):
    def forward(inputs, training):
        w = weights()
        h = dropped(inputs["x"], training, rate)
        mask = dropped(tf.ones_like(h), training, loop_rate) if once else 0.0

        def body(i, h):
            h = tf.tanh(tf.tensordot(h, w, 1))
            return i + 1, h * mask if once else dropped(h, training, loop_rate)

        return tf.while_loop(lambda i, _: i < at, body, [0, h])[1]

    return forward


def dropped_after(inputs, training):
    w = weights()
    h = inputs["x"]
    for _ in range(3):
        h = dropped(tf.tanh(tf.tensordot(h, w, 1)), training)
    return dropped(h, training)


def shuffled(inputs, training):
    return dense(tf.random.shuffle(inputs["x"]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (two_masks, one_mask_for_two),
        (one_mask_for_two, two_masks),
        (two_initial_values, one_initial_value_for_two),
        (one_initial_value_for_two, two_initial_values),
        (two_initial_values, another_initializer),
        (normal_noise, truncated_noise),
        (normal_noise, less_noise),
        (of_rate(0.3), of_rate(0.4)),
        (of_rate(0.3), of_rate(0.0)),
        (of_rate(0.0), of_rate(0.3)),
        (of_rate(0.3), of_rate(0.3, loop_rate=0.4)),
        (of_rate(0.3), of_rate(0.3, loop_rate=0.0)),
        (of_rate(0.3), of_rate(0.3, once=True)),
        (of_rate(0.3, once=True), of_rate(0.3)),
        (of_rate(0.3), of_rate(0.3, at=2)),
        (of_rate(0.3), dropped_after),
        (lambda inputs, training: dense(inputs["x"]), shuffled),
        (noise_shapes, in_three_dimensions),
    ],
)
def test_a_mistake_is_found(ours, theirs):
    report = check(ours, theirs)
    assert report.verdict == "diverged", report


def gamma_rounds(rate):
    def forward(inputs, training):
        def body(i, h):
            return i + 1, h * tf.random.gamma([8], rate)

        return tf.while_loop(lambda i, _: i < 2, body, [0, dense(inputs["x"])])[1]

    return forward


def test_rounds_that_cannot_be_drawn_again_are_undecided_with_the_reason():
    step = check(gamma_rounds(2.0)).steps[4]
    assert step.verdict == "undecided"
    assert "of which the candidate cannot draw a later round's alone" in step.summary
    assert check(gamma_rounds(2.0), gamma_rounds(3.0)).verdict == "diverged"


# ---- updates that change nothing


def updated(how=None):
    def forward(inputs, training):
        average = v1.get_variable("average", [8], initializer=v1.zeros_initializer(), trainable=False)
        mean = tf.reduce_mean(inputs["x"], [0, 1])
        update = {
            "itself": lambda: v1.assign(average, average),
            "nothing": lambda: v1.assign_add(average, tf.zeros([8])),
            "momentum 1": lambda: v1.assign_sub(average, (average - mean) * (1 - 1.0)),
            "momentum 0.9": lambda: v1.assign_sub(average, (average - mean) * 0.1),
        }.get(how)
        if update is not None and training:
            done = update()
            if not tf.executing_eagerly():
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, done)
        return inputs["x"] * 2.0 + average

    return forward


@pytest.mark.parametrize("how", ["itself", "nothing", "momentum 1"])
def test_an_update_that_leaves_the_value_as_it_was_is_none(how):
    for ours, theirs in ((how, None), (None, how)):
        report = check(updated(ours), updated(theirs))
        assert report.verdict == "equivalent", report
        assert report.culprits == ()
        report = check(updated(ours or "momentum 0.9"), updated(theirs or "momentum 0.9"))
        assert report.verdict == "diverged"
