"""Originals that are files: each kind against the code that it was written from, a rewrite, and the other kinds."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

DATA = Path(__file__).parents[1] / "data" / "file_originals.py"
_spec = importlib.util.spec_from_file_location("file_originals", DATA)
file_originals = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(file_originals)
OUTPUTS = {"logits": "net/logits:0"}


def batch(name):
    return {"x": np.random.default_rng(5).uniform(-1, 1, file_originals.SHAPES[name]).astype(np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("originals")
    for name in file_originals.MODELS:
        file_originals.write(str(place), name)
    return place


def table(folder, kind, name):
    path = {"saved_model": f"{name}_saved", "frozen_graph": f"{name}.pb", "meta_graph": f"{name}.ckpt"}[kind]
    return {kind: str(folder / path), **({} if kind == "saved_model" else {"outputs": OUTPUTS})}


def steps(report):
    return {step.name: str(step.verdict) for step in report.steps}


KINDS = ("saved_model", "frozen_graph", "meta_graph")


@pytest.mark.parametrize("name", file_originals.MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_code_that_it_was_written_from(folder, kind, name):
    code = lockstep.tf1_graph(file_originals.MODELS[name])
    report = lockstep.verify(table(folder, kind, name), code, batch(name))
    assert str(report.verdict) == "equivalent", str(report)
    found = steps(report)
    assert found["variables-match"] == found["inference-fixed"] == found["inference-random"] == "equivalent"
    assert {found[step] for step in ("training-random", "gradients", "optimizer", "trajectory")} == {"not asked for"}
    training = next(step for step in report.steps if step.name == "training-random")
    assert training.summary == "not offered: the reference is a file that holds inference alone"
    match = next(step for step in report.steps if step.name == "variables-match")
    assert "rule" not in match.summary  # every weight bears the name that the code gave it


@pytest.mark.parametrize(("reference", "candidate"), [("saved_model", "frozen_graph"), ("frozen_graph", "meta_graph")])
def test_files_of_one_model_are_equal_to_each_other(folder, reference, candidate):
    report = lockstep.verify(table(folder, reference, "cnn"), table(folder, candidate, "cnn"), batch("cnn"))
    assert str(report.verdict) == "equivalent", str(report)
    assert "14 initial values bit-equal" in next(s for s in report.steps if s.name == "inference-random").summary


def test_files_with_other_weights_are_not_equivalent(folder, tmp_path):
    graph = tf.compat.v1.GraphDef.FromString((folder / "cnn.pb").read_bytes())
    kernel = next(node for node in graph.node if node.name == "net/dense/kernel")
    kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.ones((4, 3), np.float32)))
    (tmp_path / "other.pb").write_bytes(graph.SerializeToString())
    other = {"frozen_graph": str(tmp_path / "other.pb"), "outputs": OUTPUTS}
    report = lockstep.verify(table(folder, "frozen_graph", "cnn"), other, batch("cnn"))
    assert str(report.verdict) == "diverged"
    assert steps(report)["inference-random"] == "diverged"


class Rewrite(keras.Model):
    """The network of `cnn`, native."""

    def __init__(self, mistake=None):
        super().__init__(name="net")
        layers = keras.layers
        padding = "valid" if mistake == "padding" else "same"
        epsilon = 1e-2 if mistake == "epsilon" else 1e-3
        self.blocks = [
            (layers.Conv2D(4, 3, padding="same", name="conv1"), layers.BatchNormalization(epsilon=1e-3, name="bn1")),
            (
                layers.Conv2D(4, 3, padding=padding, name="conv2"),
                layers.BatchNormalization(epsilon=epsilon, name="bn2"),
            ),
        ]
        self.dense = layers.Dense(3, name="dense")
        self.mistake = mistake

    def call(self, inputs):
        x = inputs["x"]
        for conv, norm in self.blocks:
            x = conv(x)
            x = keras.ops.relu(norm(x, training=False)) if self.mistake != "activation" else keras.ops.elu(norm(x))
        return {"logits": self.dense(keras.ops.mean(x, (1, 2)))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_native_rewrite_is_equivalent(folder, kind):
    report = lockstep.verify(table(folder, kind, "cnn"), lockstep.keras(Rewrite), batch("cnn"))
    assert str(report.verdict) == "equivalent", str(report)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mistake", "told"), [("epsilon", "epsilon"), ("padding", "padding"), ("activation", "Relu")])
def test_a_planted_mistake_is_named(folder, kind, mistake, told):
    report = lockstep.verify(table(folder, kind, "cnn"), lockstep.keras(lambda: Rewrite(mistake)), batch("cnn"))
    assert str(report.verdict) == "diverged"
    causes = " ".join(f"{culprit.cause} {culprit.candidate}" for culprit in report.culprits)
    assert told.lower() in causes.lower(), causes
    assert not any("test_file_originals" in (culprit.reference_source or "") for culprit in report.culprits)


def test_weights_that_the_candidate_loads_and_that_are_others_are_not_taken_for_right(folder):
    def build():
        model = Rewrite()
        model({"x": batch("cnn")["x"]})
        model.set_weights([np.full(weight.shape, 0.3, np.float32) for weight in model.get_weights()])
        return model

    report = lockstep.verify(table(folder, "saved_model", "cnn"), lockstep.keras(build), batch("cnn"))
    assert str(report.verdict) == "undecided", str(report)
    assert "starts from values of its own" in next(s for s in report.steps if s.name == "inference-random").summary


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files of Keras 3 and of TensorFlow 2."""
    place = tmp_path_factory.mktemp("written")
    for name, make in BUILDS.items():
        keras.utils.set_random_seed(4)
        model = make()
        model.export(str(place / f"{name}_exported"), verbose=False)
        model.save(place / f"{name}.keras")
        model.save(place / f"{name}.h5")
        (place / f"{name}_frozen.pb").write_bytes(frozen(model))
    tf.saved_model.save(Module(), str(place / "module"))
    module = Module()
    tf.saved_model.save(module, str(place / "signed"), signatures={"encode": module.encode})
    return place


def frozen(model):
    """A graph that TensorFlow 2 freezes, which gives the constants other names than the variables had."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32, name="x")
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    return convert_variables_to_constants_v2(function).graph.as_graph_def().SerializeToString()


def convolutional():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="x"),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.PReLU(shared_axes=(1, 2), name="prelu"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(3, name="dense"),
        ],
        name="net",
    )


def recurrent():
    layers = keras.layers
    x = keras.Input((4, 5), name="x")
    attended = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    normed = layers.LayerNormalization(name="norm")(layers.Add(name="add")([x, attended]))
    h = layers.LSTM(6, return_sequences=True, name="lstm")(normed)
    y = layers.Dense(3, name="dense")(layers.GRU(4, name="gru")(h))
    return keras.Model(x, y, name="net")


BUILDS = {"convolutional": convolutional, "recurrent": recurrent}
SHAPES = {"convolutional": (2, 8, 8, 3), "recurrent": (2, 4, 5)}


class Module(tf.Module):
    def __init__(self, scale=2.0):
        super().__init__()
        self.layers = [tf.Module() for _ in range(2)]
        for number, layer in enumerate(self.layers):
            layer.w = tf.Variable(tf.reshape(tf.linspace(-1.0, 1.0 + number, 9), [3, 3]), name="w")
        self.bias = tf.Variable([0.1, 0.2, 0.3], name="bias", trainable=False)
        self.scale = tf.constant([scale, 1.0, 1.0])

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def encode(self, x):
        for layer in self.layers:
            x = tf.nn.relu(x @ layer.w)
        return {"code": x + self.bias, "scaled": x * self.scale}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def decode(self, x):
        return x @ self.layers[0].w

    def __call__(self, inputs):
        return self.encode(inputs["x"])


def of(name):
    return {"x": np.random.default_rng(6).uniform(-1, 1, SHAPES[name]).astype(np.float32)}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize(
    "file", ["saved_model {}_exported", "frozen_graph {}_frozen.pb", "keras_file {}.keras", "keras_file {}.h5"]
)
def test_what_keras_3_writes_is_the_model(written, file, name):
    kind, path = file.format(name).split()
    report = lockstep.verify({kind: str(written / path)}, lockstep.keras(BUILDS[name]), of(name))
    assert str(report.verdict) == "equivalent", str(report)
    if kind == "keras_file":
        assert steps(report)["training-random"] == steps(report)["gradients"] == "equivalent"


class OfItsOwnNames(Module):
    """The same with a name of its own for each variable."""

    def __init__(self):
        super().__init__()
        for number, layer in enumerate(self.layers):
            layer.w = tf.Variable(layer.w, name=f"w{number}")


class Decoder(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.ones([3, 3]), name="w")

    def __call__(self, inputs):
        return inputs["x"] @ self.w


@pytest.mark.parametrize(("wanted", "candidate"), [("encode", OfItsOwnNames), ("decode", Decoder)])
def test_a_function_without_a_signature_is_run_by_its_name(written, wanted, candidate):
    x = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    original = {"saved_model": str(written / "module"), "signature": wanted}
    report = lockstep.verify(original, lockstep.keras(candidate), x)
    assert str(report.verdict) == "equivalent", str(report)


def test_variables_of_one_name_are_told_apart_by_their_paths(written):
    x = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    report = lockstep.verify(
        {"saved_model": str(written / "signed")}, {"saved_model": str(written / "module"), "signature": "encode"}, x
    )
    assert str(report.verdict) == "equivalent", str(report)


class Turned(Module):
    """The same, its layers made in the other order, so that what bears one name is met in another order."""

    def __init__(self, mistake=False):
        super().__init__()
        self.first, self.second = self.layers
        self.layers = ()
        self.a_late, self.z_early = self.second, self.first
        del self.first, self.second
        self.mistake = mistake

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def encode(self, x):
        for layer in (self.z_early, self.a_late):
            x = tf.nn.leaky_relu(x @ layer.w, 0.2 if self.mistake else 0.0)
        return {"code": x + self.bias, "scaled": x * self.scale}


@pytest.mark.parametrize("candidate", [Module, Turned])
def test_variables_of_one_name_find_their_partners_in_a_file(written, candidate):
    x = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    file = {"saved_model": str(written / "signed")}
    for sides in ((file, lockstep.keras(candidate)), (lockstep.keras(candidate), file)):
        report = lockstep.verify(*sides, x, steps=FORWARD)
        match = next(step for step in report.steps if step.name == "variables-match")
        assert str(match.verdict) == "equivalent", str(report)
        assert "confirmed by running" in match.summary
        assert not report.culprits


def test_a_mistake_is_named_where_variables_bear_one_name(written):
    x = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    report = lockstep.verify({"saved_model": str(written / "signed")}, lockstep.keras(lambda: Turned(True)), x)
    assert str(report.verdict) != "equivalent"
    assert {culprit.kind for culprit in report.culprits} <= {"operation"}, str(report)


def test_a_constant_that_differs_is_named(written):
    x = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    candidate = lockstep.keras(lambda: Module(scale=2.5))
    report = lockstep.verify({"saved_model": str(written / "signed")}, candidate, x)
    assert str(report.verdict) == "diverged"


def test_the_command_finds_out_what_lies_there(folder, tmp_path):
    (tmp_path / "migrated.py").write_text(
        f"import sys\nsys.path.insert(0, {str(DATA.parent)!r})\nimport file_originals\n\n\n"
        "def forward(inputs, training):\n"
        "    return file_originals.cnn(inputs, training)\n"
    )
    command = [sys.executable, "-m", "lockstep", "check", str(folder / "cnn_saved"), f"{tmp_path}/migrated.py:forward"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cnn_saved" in done.stdout


@pytest.fixture(scope="module")
def of_tensorflow_1(tmp_path_factory):
    spec = EnvironmentSpec("3.7", ("tensorflow==1.15.5", "protobuf<3.21"))
    try:
        python = provide(spec, say=lambda _: None).python
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no TensorFlow 1.15 can be had here: {error}")
    place = tmp_path_factory.mktemp("of_tensorflow_1")
    command = [str(python), str(DATA), str(place)]
    subprocess.run(command, check=True, timeout=900, capture_output=True, env={**os.environ, "PYTHONPATH": ""})
    return place


@pytest.mark.slow
def test_files_of_tensorflow_1_are_the_code_that_they_were_written_from(of_tensorflow_1):
    for name, forward in file_originals.MODELS.items():
        for kind in KINDS:
            report = lockstep.verify(table(of_tensorflow_1, kind, name), lockstep.tf1_graph(forward), batch(name))
            assert str(report.verdict) == "equivalent", str(report)
    report = lockstep.verify(
        table(of_tensorflow_1, "frozen_graph", "cnn"), lockstep.keras(lambda: Rewrite("epsilon")), batch("cnn")
    )
    assert "epsilon" in " ".join(str(culprit.cause) for culprit in report.culprits)


FORWARD = ("variables-match", "inference-fixed", "inference-random")


@pytest.fixture(scope="module")
def of_keras_2(tmp_path_factory):
    tf_keras = pytest.importorskip("tf_keras", reason="the extra keras2 is not installed")
    place = tmp_path_factory.mktemp("of_keras_2")
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 3), name="x"),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.LeakyReLU(name="leaky"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(3, name="dense"),
        ],
        name="net",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that .h5 is a legacy format, which is why it is tested
        for suffix in ("h5", "keras"):
            model.save(place / f"model.{suffix}")
    return place


def rewritten(slope):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="x"),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.LeakyReLU(slope, name="leaky"),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(3, name="dense"),
        ],
        name="net",
    )


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_what_keras_2_writes_is_the_model(of_keras_2, suffix):
    file = {"keras_file": str(of_keras_2 / f"model.{suffix}")}
    right = lockstep.verify(file, lockstep.keras(lambda: rewritten(0.3)), of("convolutional"), steps=FORWARD)
    assert str(right.verdict) == "equivalent", str(right)
    wrong = lockstep.verify(file, lockstep.keras(lambda: rewritten(0.2)), of("convolutional"), steps=FORWARD)
    assert str(wrong.verdict) == "diverged"
    assert "0.3" in " ".join(str(culprit.cause) for culprit in wrong.culprits)
    assert not any("test_file_originals" in (culprit.reference_source or "") for culprit in wrong.culprits)
