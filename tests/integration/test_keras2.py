"""Models of Keras 2 as sides: `runtime = "keras2"`, `lockstep.keras2`.

The Keras 2 that TensorFlow itself still holds stands in for tf_keras here, and real ones run in `test_keras2_versions`.
"""

import importlib.machinery
import json
import sys

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import lockstep
from lockstep.cli import main
from lockstep.common.errors import InputError
from lockstep.config.describing import tree_of
from lockstep.ground.failures import RecordingError
from lockstep.ground.structure import same_bits
from lockstep.recorder import keras2, keras2_optimizing
from lockstep.recorder.randomness import GraphSeeds
from lockstep.subjects import INITIAL, TRAINING

X = np.random.RandomState(0).randn(4, 6).astype(np.float32)
Y = np.random.RandomState(1).randn(4, 6).astype(np.float32)


@pytest.fixture
def k2():
    return pytest.importorskip("tensorflow.python.keras", reason="this TensorFlow holds no Keras 2")


def seeds():
    return GraphSeeds(mode="num_random_ops")


def built(make, inputs=None, *, training=True):
    builder = keras2.Builder({"x": X} if inputs is None else inputs, seeds)
    return builder.build(make, training, seeds)[0], builder


def ran(make, inputs=None, *, training=True):
    inputs = {"x": X} if inputs is None else inputs
    return built(make, inputs, training=training)[0].run({}, inputs)


def centring(keras, *, momentum=0.9, name="centring"):
    """A layer with a moving average, as batch norm has two: this Keras 2 holds none."""

    class Centring(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=[shape[-1]], initializer="ones")
            self.mean = self.add_weight(name="mean", shape=[shape[-1]], initializer="zeros", trainable=False)

        def call(self, x, training=None):
            if not training:
                return (x - self.mean) * self.scale
            mean = tf.reduce_mean(x, 0)
            assign = self.mean.assign(momentum * self.mean + (1 - momentum) * mean)
            if keras is not keras3:
                self.add_update(assign)
            return (x - mean) * self.scale

    return Centring(name=name)


def dense(k2):
    layers = [k2.layers.Dense(3, input_shape=(6,)), centring(k2), k2.layers.Dropout(0.5)]
    return k2.Sequential([*layers, k2.layers.Dense(2, kernel_regularizer=k2.regularizers.l2(0.1))])


def dense_in_3():
    layers = [keras3.Input((6,)), keras3.layers.Dense(3), centring(keras3), keras3.layers.Dropout(0.5)]
    return keras3.Sequential([*layers, keras3.layers.Dense(2, kernel_regularizer=keras3.regularizers.L2(0.1))])


# ---- against Keras 3


def test_a_right_rewrite_is_equivalent_in_all_that_is_asked(k2):
    def original():
        model = dense(k2)
        model.compile(k2.optimizer_v2.adam.Adam(0.01), "mse", ["mae"])
        return model

    def rewrite():
        model = dense_in_3()
        model.compile(keras3.optimizers.Adam(0.01), "mse", ["mae"])
        return model

    def loss(outputs, batch):
        return tf.reduce_mean(tf.square(outputs))

    report = lockstep.verify(lockstep.keras2(original), lockstep.keras(rewrite), {"x": X}, loss=loss, trajectory=3)
    assert report.verdict == "equivalent", report
    asked = {step.name: step.verdict for step in report.steps}
    assert asked.pop("checkpoint") == asked.pop("metrics") == "not asked for"
    assert set(asked.values()) == {"equivalent"}, asked
    assert len(asked) == 8


def test_another_epsilon_of_the_compiled_optimizer_is_named(k2):
    def original():
        model = dense(k2)
        model.compile(k2.optimizer_v2.adam.Adam(0.01, epsilon=1e-7), "mse")
        return model

    def rewrite():
        model = dense_in_3()
        model.compile(keras3.optimizers.Adam(0.01, epsilon=1e-4), "mse")
        return model

    report = lockstep.verify(lockstep.keras2(original), lockstep.keras(rewrite), {"x": X}, steps=("optimizer",))
    assert report.verdict == "diverged"
    assert "epsilon" in report.culprits[0].cause


def test_where_one_model_is_compiled_alone_the_step_says_so(k2):
    def original():
        model = dense(k2)
        model.compile("sgd", "mse")
        return model

    report = lockstep.verify(lockstep.keras2(original), lockstep.keras(dense_in_3), {"x": X}, steps=("optimizer",))
    (step,) = [step for step in report.steps if step.name == "optimizer"]
    assert "the reference is compiled and the candidate is not" in step.summary


@pytest.mark.parametrize(
    ("mine", "theirs", "told"),
    [
        (lambda k2: k2.layers.LeakyReLU(0.3), lambda: keras3.layers.LeakyReLU(0.2), "0.3"),
        (centring, lambda: centring(keras3, momentum=0.99), "0.9"),
    ],
)
def test_a_mistake_is_named(k2, mine, theirs, told):
    def original():
        return k2.Sequential([k2.layers.Dense(5, input_shape=(6,)), mine(k2), k2.layers.Dense(2)])

    def rewrite():
        return keras3.Sequential([keras3.Input((6,)), keras3.layers.Dense(5), theirs(), keras3.layers.Dense(2)])

    report = lockstep.verify(lockstep.keras2(original), lockstep.keras(rewrite), {"x": X})
    assert report.verdict == "diverged"
    assert told in report.culprits[0].cause


# ---- how a model is built


def test_values_that_build_sets_are_what_it_starts_from(k2):
    def make():
        model = dense(k2)
        model.set_weights([np.full(weight.shape, 0.5, np.float32) for weight in model.weights])
        return model

    run = ran(make, training=False)
    assert all((value == 0.5).all() for value in run.before.values())
    initial = ran(lambda: dense(k2), training=False)
    assert not same_bits(initial.before["dense/kernel"], run.before["dense/kernel"])


def test_an_initializer_with_a_seed_draws_as_one_without(k2):
    def make(seed):
        initializer = k2.initializers.GlorotUniformV2(seed)
        return k2.Sequential([k2.layers.Dense(3, kernel_initializer=initializer, input_shape=(6,))])

    seeded, unseeded = (ran(lambda seed=seed: make(seed)).before["dense/kernel"] for seed in (7, None))
    assert same_bits(seeded, unseeded)


def test_variables_of_optimizers_and_metrics_are_no_part_of_the_model(k2):
    def make():
        model = dense(k2)
        model.compile(k2.optimizer_v2.adam.Adam(), "mse", ["mae"])
        tf.Variable(3.0, name="a_stranger")
        return model

    model, _ = built(make)
    assert [record.name for record in model.variables] == [
        record.name for record in built(lambda: dense(k2))[0].variables
    ]
    assert model.compiled


def test_a_frozen_layer_has_no_trainable_variables(k2):
    def make():
        model = dense(k2)
        model.layers[1].trainable = False
        return model

    model, _ = built(make)
    flags = {record.name: record.trainable for record in model.variables}
    assert not flags["centring/scale"]
    assert flags["dense/kernel"]


def two(k2):
    class Two(k2.Model):
        def __init__(self):
            super().__init__(name="two")
            self.a, self.b = k2.layers.Dense(3, name="a"), k2.layers.Dense(3, name="b")

        def mix(self, left, right):
            return self.a(left) - 2 * self.b(right)

    return Two


def as_arguments(k2):
    class Model(two(k2)):
        def call(self, left, right, training=None):
            return self.mix(left, right)

    return Model()


def as_dict(k2):
    class Model(two(k2)):
        def call(self, inputs):
            return self.mix(inputs["left"], inputs["right"])

    return Model()


def as_tuple(k2):
    class Model(two(k2)):
        def call(self, inputs):
            left, right = inputs
            return self.mix(left, right)

    return Model()


def functional(k2):
    left, right = k2.Input((6,), name="left"), k2.Input((6,), name="right")
    a, b = k2.layers.Dense(3, name="a")(left), k2.layers.Dense(3, name="b")(right)
    return k2.Model([right, left], k2.layers.Subtract()([a, k2.layers.Lambda(lambda t: 2 * t)(b)]))


@pytest.mark.parametrize("make", [as_arguments, as_dict, as_tuple, functional])
def test_inputs_come_as_the_model_wants_them(k2, make):
    inputs = {"left": X, "right": Y}
    model, _ = built(lambda: make(k2), inputs, training=False)
    values = {record.key: np.full(record.shape, 0.5, np.float32) for record in model.variables}
    wanted = (X.sum(1) * 0.5 + 0.5) - 2 * (Y.sum(1) * 0.5 + 0.5)
    (output,) = model.run(values, inputs).outputs.values()
    assert output == pytest.approx(np.repeat(wanted[:, None], 3, 1), abs=1e-5)


def test_inputs_of_other_shapes_are_refused_with_those_of_the_model(k2):
    with pytest.raises(RecordingError, match=r"the model's inputs are dense_input \(\?, 6\)|\(None, 6\)"):
        built(lambda: dense(k2), {"x": np.ones([4, 5], np.float32)})


# ---- eagerly, where a graph loses something


def counting(k2):
    class Counting(k2.Model):
        def __init__(self):
            super().__init__(name="counting")
            self.dense = k2.layers.Dense(3, name="d")
            self.count = tf.Variable(0.0, trainable=False, name="count")

        def call(self, x, training=None):
            if training:
                self.count.assign_add(1.0)
            return self.dense(x) * self.count

    return Counting()


def test_an_assignment_that_no_output_depends_on_is_made(k2):
    model, builder = built(lambda: counting(k2))
    run = model.run({}, {"x": X})
    assert builder.eagerly
    assert run.after == {"count": np.float32(1.0)}
    assert np.abs(run.outputs[""]).sum() > 1  # read after it was written, as the program says
    assert not model.run({}, {"x": X}).before["count"]


def in_the_middle(k2):
    """A model that asks for a number while it is made, with all that has to be aligned."""

    class Middle(k2.Model):
        def __init__(self):
            super().__init__(name="middle")
            self.d, self.n = k2.layers.Dense(3, name="d", kernel_regularizer="l2"), centring(k2, name="n")
            self.drop = k2.layers.Dropout(0.5)
            self.scale = float(tf.reduce_sum(tf.ones([2])).numpy()) if eager else 2.0

        def call(self, x, training=None):
            return self.drop(self.n(self.d(x) * self.scale, training=training), training=training)

    eager = not hasattr(in_the_middle, "in_graph")
    return Middle()


def test_made_eagerly_a_model_is_what_it_is_in_a_graph(k2, monkeypatch):
    eager, builder = built(lambda: in_the_middle(k2))
    assert builder.eagerly
    monkeypatch.setattr(in_the_middle, "in_graph", True, raising=False)
    graph, builder = built(lambda: in_the_middle(k2))
    assert not builder.eagerly
    one, other = (model.run({}, {"x": X}) for model in (eager, graph))
    names = sorted(one.before)
    assert names == sorted(other.before)
    assert all(same_bits(one.before[name], other.before[name]) for name in names)
    assert one.outputs[""] == pytest.approx(other.outputs[""], abs=1e-6)
    assert sorted(one.after) == sorted(other.after) == ["middle/n/mean"]
    assert float(one.total_loss) == pytest.approx(float(other.total_loss))
    again, _ = built(lambda: in_the_middle(k2))
    assert all(same_bits(again.run({}, {"x": X}).before[name], one.before[name]) for name in names)


def test_a_model_that_was_made_eagerly_is_checked_as_any_other(k2):
    class Rewrite(keras3.Model):
        def __init__(self):
            super().__init__(name="middle")
            self.d = keras3.layers.Dense(3, name="d", kernel_regularizer="l2")
            self.n, self.drop = centring(keras3, name="n"), keras3.layers.Dropout(0.5)

        def call(self, x, training=None):
            return self.drop(self.n(self.d(x) * 2.0, training=training), training=training)

    report = lockstep.verify(lockstep.keras2(lambda: in_the_middle(k2)), lockstep.keras(Rewrite), {"x": X})
    assert report.verdict == "equivalent", report


def test_what_fails_in_both_ways_fails_as_it_does_eagerly(k2):
    class Broken(k2.Model):
        def call(self, x):
            raise ZeroDivisionError("nothing to divide by")

    with pytest.raises(Exception, match="nothing to divide by"):
        built(Broken)


# ---- optimizers


def kinds():
    from tensorflow.python.keras.optimizer_v2 import adagrad, adam, gradient_descent, rmsprop

    return {
        "sgd": gradient_descent.SGD(0.1),
        "momentum": gradient_descent.SGD(0.1, momentum=0.9, nesterov=True),
        "adam": adam.Adam(0.01, amsgrad=True),
        "rmsprop": rmsprop.RMSprop(0.01),
        "adagrad": adagrad.Adagrad(0.1),
    }


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "rmsprop", "adagrad"])
def test_a_rule_is_what_its_description_replays(k2, kind):
    from lockstep.optimizers.rules import replay

    shapes = {"w": ((3, 2), np.float32)}
    optimizer = keras2_optimizing.make(lambda: kinds()[kind], shapes)
    description = optimizer.description
    assert description["kind"] == kind
    start = {"w": np.full([3, 2], 0.5, np.float32)}
    gradients = [{"w": np.full([3, 2], size, np.float32)} for size in (0.3, 1e-4)]
    values, done, before = start, [], []
    for gradient in gradients:
        before.append(values)
        done.append(optimizer.apply(values, gradient))
        values = done[-1].variables
    assert done[-1].step == 2
    rates = optimizer.learning_rates([0, 1])
    replayed = replay(kind, description["arguments"], [rates[0], rates[1]], before, gradients)
    assert replayed.variables[-1]["w"] == pytest.approx(done[-1].variables["w"], rel=1e-5)


def test_decay_is_a_rate_that_falls(k2):
    make = lambda: k2.optimizer_v2.gradient_descent.SGD(0.1, decay=0.5)  # noqa: E731
    optimizer = keras2_optimizing.make(make, {"w": ((2,), np.float32)})
    rates = optimizer.learning_rates([0, 2])
    assert rates == pytest.approx({0: 0.1, 2: 0.05})


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: None, "build() returned nothing"),
        (lambda: 3, "build() returned a int"),
        (lambda: keras3.Sequential, "build() returned the class Sequential"),
        (dense_in_3, 'build() returned the Keras 3 model .* Give it runtime = "keras"'),
    ],
)
def test_what_is_no_model_of_keras_2_is_refused(make, told):
    with pytest.raises(InputError, match=told.replace("(", r"\(").replace(")", r"\)")):
        lockstep.keras2(make).build(TRAINING, {"x": X}).run(INITIAL)


def test_a_model_of_keras_2_is_no_model_of_keras_3(k2):
    with pytest.raises(InputError, match=r"the Keras 2 model .* Give it runtime = \"keras2\""):
        lockstep.keras(lambda: dense(k2)).build(TRAINING, {"x": X})


def check(folder, *arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


CONFIGURATION = """
[reference]
runtime = "{reference}"
entry = "model.py:build"
{more}
[candidate]
runtime = "keras"
entry = "model.py:build"
[inputs.x]
shape = [4, 6]
"""


@pytest.mark.parametrize(
    ("code", "reference", "more", "told"),
    [
        ("import keras\ndef build():\n    keras.Input((6,))\n", "keras2", "", "build() returned nothing"),
        (
            "import keras\ndef build():\n    return keras.Sequential([keras.layers.Dense(3)])\n",
            "keras2",
            "",
            "the Keras 3 model",
        ),
        ("import tf_keras\ndef build():\n    pass\n", "keras2", "", "pip install 'lockstep-verify[keras2]'"),
        (
            "def build():\n    pass\n",
            "keras",
            'python = "3.11"\nrequirements = ["tensorflow==2.15.1"]',
            'take runtime = "keras2"',
        ),
    ],
)
def test_a_wrong_configuration_gets_its_sentence(tmp_path, monkeypatch, code, reference, more, told):
    if "tf_keras" in code:
        find = importlib.machinery.PathFinder.find_spec
        hidden = classmethod(lambda _, name, *more: None if name == "tf_keras" else find(name, *more))
        monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", hidden)  # as if it was not installed
        monkeypatch.delitem(sys.modules, "tf_keras", raising=False)
    (tmp_path / "model.py").write_text(code)
    file = tmp_path / "lockstep.toml"
    file.write_text(CONFIGURATION.format(reference=reference, more=more))
    done = check(tmp_path, file)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.output.split())


# ---- two entries without a file


@pytest.mark.parametrize(
    ("code", "requirements", "runtime"),
    [
        ("import tf_keras\ndef build(): pass", (), "keras2"),
        ("from tf_keras import layers\nclass build: pass", (), "keras2"),
        ("import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\ndef build(): pass", (), "keras2"),
        ("import tensorflow as tf\ndef build(): pass", (), "keras"),
        ("import tensorflow as tf\ndef build(): pass", ("tensorflow==2.10.1",), "keras2"),
        ("import tensorflow as tf\ndef build(): pass", ("tensorflow-cpu<2.16",), "keras2"),
        ("import tensorflow as tf\ndef build(): pass", ("tensorflow==2.16.2", "keras==3.3.3"), "keras"),
        ("import tensorflow as tf\ndef build(inputs, training): pass", ("tensorflow==1.15.5",), "tf1"),
    ],
)
def test_which_keras_an_entry_uses_is_found_out(tmp_path, monkeypatch, code, requirements, runtime):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.py").write_text(code)
    (tmp_path / "new.py").write_text("import keras\ndef build(): pass")
    entries = ("old.py:build", "new.py:build")
    tree = tree_of(entries, [], folder=tmp_path, python=None, requirements=requirements)
    assert tree["reference"]["runtime"] == runtime
    assert tree["candidate"]["runtime"] == "keras"
    json.dumps(tree)


# ---- recurrent dropout, of tf_keras: the Keras 2 that TensorFlow still holds has no random numbers of today


def recurrent(keras, rate, **more):
    def build():
        x = keras.Input((3, 2), name="x")
        return keras.Model(x, keras.layers.GRU(2, recurrent_dropout=rate, name="gru", **more)(x))

    return build


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.4, pytest.param(0.0, marks=pytest.mark.release)])
def test_masks_that_are_drawn_in_each_round_and_once_are_undecided_in_a_sentence(rate):
    tf_keras = pytest.importorskip("tf_keras", reason="the extra keras2 is not installed")
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)}
    sides = lockstep.keras2(recurrent(tf_keras, 0.4)), lockstep.keras(recurrent(keras3, rate))
    report = lockstep.verify(*sides, x, steps=("training-random", "gradients"))
    found = {step.name: (str(step.verdict), step.summary) for step in report.steps}
    told = "masks of its recurrent dropout anew in each round"
    if rate:
        assert not report.culprits
        for step in ("training-random", "gradients"):
            assert found[step][0] == "undecided", report
            assert told in found[step][1]
    else:  # a dropout that was forgotten is a mistake
        assert found["training-random"][0] == "diverged", report
        assert told not in found["training-random"][1]
