"""Layers of Keras 2 in a TF1 graph: their losses and updates are the original's, wherever it runs."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tests.commands import lockstep

from lockstep import tf1
from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide
from lockstep.ground.failures import RecordingError
from lockstep.recorder import graph, keras_layers
from lockstep.recorder.randomness import GraphSeeds

v1 = tf.compat.v1
MODELS = Path(__file__).parents[1] / "data" / "keras2"
ENVIRONMENTS = {
    "TensorFlow 1.15": ("3.7", ("tensorflow==1.15.5", "protobuf<3.21")),
    "TensorFlow 2.4": ("3.8", ("tensorflow==2.4.3", "protobuf<3.21")),
    "tf_keras": ("3.11", ("tensorflow-cpu==2.16.2", "tf_keras==2.16.0", "setuptools<81")),
}
CONFIGURATION = """
gradients = true
[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"
python = "{python}"
requirements = {requirements}
[candidate]
runtime = "keras"
entry = "native_model.py:{build}"
[variables]
rename = [["^(f/|s/)?(f1|f2|s1|s2|e|z|w)/", "top/\\\\2/"], ["^net/(d|bn)/", "top/\\\\1/"]]
[inputs.x]
shape = [8, 6]
fill = "normal"
"""


def check(folder, environment, build):
    python, requirements = ENVIRONMENTS[environment]
    try:
        provide(EnvironmentSpec(python, requirements), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no {environment} can be had here: {error}")
    shutil.copytree(MODELS, folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "models" / "lockstep.toml"
    file.write_text(CONFIGURATION.format(python=python, requirements=json.dumps(requirements), build=build))
    done = lockstep("check", file, "--json", "-")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_right_rewrite_is_equivalent(tmp_path, environment):
    report = check(tmp_path, environment, "build")
    assert report["verdict"] == "equivalent", report
    steps = {step["name"]: step for step in report["steps"]}
    assert "26 initial values bit-equal" in steps["inference-random"]["summary"]
    training = steps["training-random"]
    assert training["figures"]["state_variables"] == 6
    assert training["figures"]["reference_losses"] == 5
    assert training["figures"]["reference_added_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "lost", "kind", "name"),
    [
        ("TensorFlow 1.15", "regularizer", "regularizer", "s/s1/bias"),
        ("TensorFlow 2.4", "activity", "loss", "added losses"),
        ("tf_keras", "add_loss", "loss", "added losses"),
    ],
)
def test_what_a_rewrite_lost_is_named(tmp_path, environment, lost, kind, name):
    report = check(tmp_path, environment, f"build_without_{lost}")
    assert report["verdict"] == "diverged"
    first = report["culprits"][0]
    assert first["kind"] == kind
    assert (first["reference"] or "").endswith(name.rpartition("/")[2])


# --- the Keras 2 that TensorFlow itself still holds stands in for one in another environment


@pytest.fixture
def keras2():
    return pytest.importorskip("tensorflow.python.keras", reason="this TensorFlow holds no Keras 2")


X = {"x": tf.ones([4, 3]).numpy()}


def built(forward, *, training=True):
    return graph.build(forward, X, training, GraphSeeds(mode="num_random_ops"))


def losses(model):
    values = {record.key: 0.5 * tf.ones(record.shape).numpy() for record in model.variables}
    return [(record.variable, round(float(record.value), 5)) for record in model.run(values, X).losses]


def dense(keras2, **more):
    return keras2.layers.Dense(2, name="d", kernel_regularizer=keras2.regularizers.l2(0.1), **more)


def moving(keras2):
    """A layer with an update, as batch norm has two."""

    class Moving(keras2.layers.Layer):
        def build(self, shape):
            self.sum = self.add_weight("sum", [], initializer="zeros", trainable=False)

        def call(self, x, training=None):
            if training:
                self.add_update(self.sum.assign_add(tf.reduce_sum(x)))
            return x

    return Moving(name="moving")


def test_a_layers_losses_and_updates_are_found_without_any_collection(keras2):
    def forward(inputs, training):
        net = dense(keras2, activity_regularizer=keras2.regularizers.l2(0.01))(inputs["x"])
        return moving(keras2)(net, training=training)

    # Activity: 0.01 * 8 elements * (3 * 0.5 + 0.5)^2, divided by the batch of 4; kernel: 0.1 * 6 * 0.25.
    assert losses(built(forward)) == [(None, 0.08), ("d/kernel", 0.15)]
    assert len(built(forward).updates) == 1
    assert not built(forward, training=False).updates


def test_what_the_program_collects_itself_counts_once(keras2):
    def forward(inputs, training):
        layer = dense(keras2)
        net = layer(inputs["x"])
        key = v1.GraphKeys.REGULARIZATION_LOSSES
        if way == "one by one":
            for loss in layer.losses:
                v1.add_to_collection(key, loss)
        elif way == "asked twice":
            assert layer.losses
            v1.add_to_collection(key, layer.losses[0])
        elif way == "in a sum":
            v1.losses.add_loss(tf.add_n([*layer.losses, tf.reduce_mean(net)]))
        elif way == "updates":
            layer = moving(keras2)
            net = layer(net, training=training)
            for update in layer.updates:
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
        return net

    for way, expected in {
        "not": [("d/kernel", 0.15)],
        "one by one": [("d/kernel", 0.15)],
        "asked twice": [("d/kernel", 0.15)],
        "in a sum": [(None, 2.15)],
    }.items():
        assert losses(built(forward)) == expected, way
    way = "updates"
    assert len(built(forward).updates) == 1


def test_two_losses_that_are_computed_alike_are_two(keras2):
    def forward(inputs, training):
        net = inputs["x"]
        for name in ("a", "b"):
            net = keras2.layers.Dense(3, name=name, kernel_regularizer=keras2.regularizers.l2(0.1))(net)
        return net

    assert losses(built(forward)) == [("a/kernel", 0.225), ("b/kernel", 0.225)]


def test_a_functional_model_leaves_no_loss_update_or_draw_of_its_construction(keras2):
    def forward(inputs, training):
        tensor = keras2.Input((3,))
        net = dense(keras2, activity_regularizer=keras2.regularizers.l2(0.01))(tensor)
        net = keras2.layers.Dropout(0.5)(moving(keras2)(net))
        return keras2.Model(tensor, net)(inputs["x"], training=training)

    model = built(forward)
    assert losses(model) == [(None, 0.08), ("d/kernel", 0.15)]
    assert len(model.updates) == 1
    assert sum(draw.forward for draw in model.draws) == 1


@pytest.mark.parametrize("training", [False, True])
def test_the_learning_phase_is_the_mode(keras2, training):
    def forward(inputs, training):
        return keras2.layers.Dropout(0.5)(inputs["x"])  # told nothing

    model = built(forward, training=training)
    assert len(model.draws) == training
    assert not any(draw.repeated for draw in model.draws)


def test_layers_that_collect_by_themselves_are_left_alone():
    def forward(inputs, training):
        return tf1.layers.dense(inputs["x"], 2, kernel_regularizer=tf.nn.l2_loss, name="d")

    assert len(losses(built(forward))) == 1


def test_a_loss_in_a_function_is_refused_with_the_way_out(keras2):
    class Layer(keras2.layers.Layer):
        @tf.function(autograph=False)
        def call(self, x):
            self.add_loss(tf.reduce_mean(x))
            return x

    with pytest.raises(RecordingError, match=r"Take @tf\.function off its call"):
        built(lambda inputs, training: Layer()(inputs["x"]))


def test_keras_is_left_as_it_was(keras2):
    (layer, *_), _ = next(k for k in keras_layers.installed() if k.layers)
    before = layer.__call__, layer.__init__

    def forward(inputs, training):
        assert layer.__call__ is not before[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        built(forward)
    assert (layer.__call__, layer.__init__) == before
