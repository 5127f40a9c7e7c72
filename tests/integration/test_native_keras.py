"""Native Keras 3 rewrites with dropout: right ones are equivalent in all steps, each mistake is found at its step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep

v1 = tf.compat.v1
IMAGES = np.random.default_rng(3).uniform(size=(4, 8, 8, 3)).astype(np.float32)
ROWS = np.random.default_rng(4).normal(size=(16, 6)).astype(np.float32)
STEPS = ("variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random")


def perceptron(inputs, training):
    """Draws in the order kernel, dropout, kernel, dropout, kernel."""
    h = v1.layers.dense(inputs["x"], 12, tf.nn.relu, name="first")
    if training:
        h = tf.nn.dropout(h, rate=0.5)
    h = v1.layers.dense(h, 10, tf.nn.relu, name="second")
    if training:
        h = v1.nn.dropout(h, keep_prob=0.8)
    return v1.layers.dense(h, 4, name="logits")


class Perceptron(keras.Model):
    def __init__(self, rates=(0.5, 0.2), **mistake):
        super().__init__(name="net")
        kernel = mistake.pop("kernel", "glorot_uniform")
        self.first = keras.layers.Dense(12, "relu", kernel_initializer=kernel, name="first")
        self.second = keras.layers.Dense(10, "relu", name="second")
        self.logits = keras.layers.Dense(4, name="logits")
        self.drops = [keras.layers.Dropout(rate) for rate in rates]
        self.mistake = mistake

    def call(self, inputs, training=None):
        h = self.drops[0](inputs["x"], training=training) if "place" in self.mistake else inputs["x"]
        h = self.first(h)
        if "place" not in self.mistake:
            h = self.drops[0](h, training=True if "always" in self.mistake else training)
        h = self.second(h)
        if len(self.drops) > 1:
            h = self.drops[1](h, training=training)
        if "twice" in self.mistake:
            h = self.drops[1](h, training=training)
        return self.logits(h)


def check(build, reference=perceptron, inputs=None):
    rename = ((r"^(.*)$", r"net/\1"),)
    return lockstep.verify(lockstep.tf1_graph(reference), lockstep.keras(build), inputs or {"x": ROWS}, rename=rename)


def verdicts(report):
    return {step.name: str(step.verdict) for step in report.steps[:5]}


def test_a_right_perceptron_with_dropout_is_equivalent_in_all_steps():
    report = check(Perceptron)
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report
    assert report.culprits == ()
    by_name = {step.name: step.summary for step in report.steps}
    assert "6 initial values bit-equal" in by_name["inference-random"]
    # The kernels behind a dropout draw later in the TF1 program than in Keras, unless every draw has the same seeds.
    assert "num_random_ops: initial values taken from the reference" in by_name["training-random"]
    assert "constant, functional model: 6 initial values bit-equal" in by_name["training-random"]


def test_the_functional_and_the_sequential_way_to_write_it_are_equivalent_too():
    def build():
        inputs = keras.Input((6,), name="x")
        h = inputs
        for layer in (
            keras.layers.Dense(12, "relu", name="first"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, "relu", name="second"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(4, name="logits"),
        ):
            h = layer(h)
        return keras.Model({"x": inputs}, h, name="net")

    report = lockstep.verify(lockstep.tf1_graph(perceptron), lockstep.keras(build), {"x": ROWS})
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report


def convolutional(inputs, training):
    h = v1.layers.conv2d(inputs["image"], 6, 3, activation=tf.nn.relu, name="conv",
                         kernel_initializer=v1.initializers.he_normal())  # fmt: skip
    if training:
        h = tf.nn.dropout(h, rate=0.3, noise_shape=[4, 1, 1, 6])
    h = v1.layers.flatten(v1.layers.max_pooling2d(h, 2, 2))
    h = v1.layers.dense(h, 10, tf.nn.relu, name="dense", kernel_initializer=v1.orthogonal_initializer())
    if training:
        h = tf.nn.dropout(h, rate=0.4)
    return v1.layers.dense(h, 3, name="logits", kernel_initializer=v1.truncated_normal_initializer(stddev=0.1))


class Convolutional(keras.Model):
    def __init__(self, spatial=keras.layers.SpatialDropout2D):
        super().__init__(name="net")
        self.conv = keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer="he_normal", name="conv")
        self.spatial, self.pool, self.flatten = spatial(0.3), keras.layers.MaxPool2D(), keras.layers.Flatten()
        self.dense = keras.layers.Dense(10, "relu", kernel_initializer="orthogonal", name="dense")
        self.drop = keras.layers.Dropout(0.4)
        small = keras.initializers.TruncatedNormal(stddev=0.1)
        self.logits = keras.layers.Dense(3, kernel_initializer=small, name="logits")

    def call(self, inputs, training=None):
        h = self.flatten(self.pool(self.spatial(self.conv(inputs["image"]), training=training)))
        return self.logits(self.drop(self.dense(h), training=training))


def test_a_right_convolutional_network_with_dropout_is_equivalent_in_all_steps():
    report = check(Convolutional, convolutional, {"image": IMAGES})
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report
    assert "6 initial values bit-equal" in report.steps[3].summary


def test_dropping_single_values_instead_of_whole_channels_diverges():
    report = check(lambda: Convolutional(spatial=keras.layers.Dropout), convolutional, {"image": IMAGES})
    assert verdicts(report) == {**dict.fromkeys(STEPS, "equivalent"), "training-random": "diverged"}


@pytest.mark.parametrize(
    ("first_step", "told", "mistake"),
    [
        ("training-random", "output", {"rates": (0.4, 0.2)}),
        ("training-random", "output", {"rates": (0.5, 0.8)}),  # keep_prob taken as the rate
        ("training-random", "output", {"rates": (0.2, 0.5)}),
        ("training-random", "output", {"place": True}),
        ("training-random", "2 random draws in the forward pass against 1", {"rates": (0.5,)}),
        ("training-random", "2 random draws in the forward pass against 3", {"twice": True}),
        ("inference-fixed", "output", {"always": True}),
        ("training-random", "another initializer", {"kernel": "he_uniform"}),
    ],
)
def test_a_planted_mistake_diverges_at_its_step(first_step, told, mistake):
    report = check(lambda: Perceptron(**mistake))
    diverged = [step for step in report.steps if step.verdict == "diverged"]
    assert diverged[0].name == first_step
    causes = "\n".join(culprit.cause for culprit in report.culprits)
    assert told in "\n".join((diverged[0].summary, *diverged[0].details, causes))


def test_another_initializer_is_blamed_alone_where_the_rest_is_right():
    report = check(lambda: Perceptron(kernel="he_uniform"))
    assert verdicts(report) == {**dict.fromkeys(STEPS, "equivalent"), "training-random": "diverged"}
    assert [(c.candidate, c.kind) for c in report.culprits] == [("net/first/kernel", "initializer")]


def test_numbers_drawn_past_keras_own_functions_are_undecided_not_passed():
    class ByHand(Perceptron):
        def __init__(self):
            super().__init__(rates=(0.2,))
            self.generator = keras.random.SeedGenerator(1)

        def call(self, inputs, training=None):
            h = self.first(inputs["x"])
            if training:
                seed = tf.cast(self.generator.next(), tf.int32)
                h = tf.nn.experimental.stateless_dropout(h, 0.5, seed)
            return self.logits(self.drops[0](self.second(h), training=training))

    report = check(ByHand)
    assert verdicts(report) == {**dict.fromkeys(STEPS, "equivalent"), "training-random": "undecided"}
    told = r"(?s)next\(\)\s+of a Keras SeedGenerator.*keras\.random\s+instead"  # the report's lines are broken
    with pytest.raises(lockstep.UndecidedError, match=told):
        report.raise_if_diverged()


def test_a_variable_drawn_by_hand_and_a_rate_of_zero_do_not_shift_the_draws_of_the_forward_pass():
    def reference(inputs, training):
        weights = tf.Variable(tf.random.normal([6, 5]) * 0.1, name="first/kernel")
        bias = v1.get_variable("first/bias", [5], initializer=v1.zeros_initializer())
        h = tf.matmul(inputs["x"], weights) + bias
        return tf.nn.dropout(tf.nn.dropout(h, rate=0.0), rate=0.5) if training else h

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.drop = keras.layers.Dropout(0.5)
            kernel = keras.initializers.RandomNormal(stddev=0.1)
            self.first = keras.layers.Dense(5, kernel_initializer=kernel, name="first")

        def call(self, inputs, training=None):
            return self.drop(self.first(inputs["x"]), training=training)

    report = check(Net, reference)
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report


@pytest.mark.parametrize("shared", [False, True])
def test_another_order_of_dropouts_and_a_mask_used_twice_are_told_as_such(shared):
    """In mode constant, where all masks are equal, neither can be seen."""

    def reference(inputs, training):
        x = inputs["x"]
        masks = [tf.nn.dropout(tf.ones_like(x), rate=0.5) for _ in range(2)] if training else [1.0, 1.0]
        return {"a": x * masks[0], "b": 2.0 * x * masks[1]}

    class Net(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.drop = keras.layers.Dropout(0.5)

        def call(self, inputs, training=None):
            masks = [self.drop(tf.ones_like(inputs["x"]), training=training) for _ in range(2)]
            masks = [masks[0], masks[0]] if shared else masks[::-1]
            return {"a": inputs["x"] * masks[0], "b": 2.0 * inputs["x"] * masks[1]}

    step = check(Net, reference).steps[4]
    assert step.verdict == "diverged"
    assert "nothing differs in mode constant, where all draws are alike: look for another order" in step.summary


def test_a_forward_pass_that_is_traced_draws_with_the_references_seeds_too():
    class Traced(Perceptron):
        def build(self, shapes):
            for layer, units in ((self.first, 6), (self.second, 12), (self.logits, 10)):
                layer.build((None, units))

        @tf.function
        def call(self, inputs, training=None):
            return Perceptron.call(self, inputs, training)

    report = check(Traced)
    assert verdicts(report) == dict.fromkeys(STEPS, "equivalent"), report
    assert verdicts(check(lambda: Traced(rates=(0.4, 0.2))))["training-random"] == "diverged"
    assert not tf.config.functions_run_eagerly()


def test_two_keras_models_are_compared_too():
    report = lockstep.verify(lockstep.keras(Perceptron), lockstep.keras(Perceptron), {"x": ROWS})
    assert report.verdict == "equivalent"
    other = lockstep.verify(
        lockstep.keras(Perceptron), lockstep.keras(lambda: Perceptron(rates=(0.5, 0.3))), {"x": ROWS}
    )
    assert verdicts(other) == {**dict.fromkeys(STEPS, "equivalent"), "training-random": "diverged"}
