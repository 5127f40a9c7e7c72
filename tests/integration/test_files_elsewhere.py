"""Files of Keras 2 that are loaded and recorded by a TensorFlow of their own."""

import os
import subprocess

import keras
import numpy as np
import pytest

import lockstep
from lockstep.common.errors import InputError, UnavailableEnvironmentError
from lockstep.environments import EnvironmentSpec, provide

WRITE = """
import sys
import numpy as np
import tensorflow as tf
k = tf.keras
np.random.seed(3)
x = i = k.layers.Input((6, 5), name="x")
x = k.layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid", name="lstm")(x)
x = k.layers.LeakyReLU(name="leaky")(k.layers.BatchNormalization(name="bn")(x))
x = k.layers.Dropout(0.5, name="dropout")(k.layers.Flatten(name="flatten")(x))
model = k.models.Model(i, k.layers.Dense(3, name="dense")(x))
model.set_weights([np.random.uniform(0.2, 0.9, w.shape).astype("float32") for w in model.get_weights()])
model.compile("adam", "mse")
model.save(sys.argv[1])
"""
X = {"x": np.random.default_rng(2).normal(size=(3, 6, 5)).astype(np.float32)}
ENVIRONMENTS = {
    "TensorFlow 1.15": ("3.7", ["tensorflow==1.15.5"]),
    "TensorFlow 2.10": ("3.10", ["tensorflow-cpu==2.10.1"]),
}


def hard_sigmoid(x):
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def rewritten(slope=0.3, gates=hard_sigmoid):
    layers = keras.layers
    x = i = keras.Input((6, 5), name="x")
    x = layers.LSTM(4, return_sequences=True, recurrent_activation=gates, name="lstm")(x)
    x = layers.LeakyReLU(slope, name="leaky")(layers.BatchNormalization(name="bn")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.Flatten(name="flatten")(x))
    return keras.Model(i, layers.Dense(3, name="dense")(x))


@pytest.fixture(scope="module", params=["TensorFlow 2.10", pytest.param("TensorFlow 1.15", marks=pytest.mark.release)])
def table(request, tmp_path_factory):
    python, requirements = ENVIRONMENTS[request.param]
    try:
        found = provide(EnvironmentSpec(python, tuple(requirements)), say=lambda _: None)
    except UnavailableEnvironmentError as error:
        pytest.skip(f"no {request.param} can be had here: {error}")
    file = tmp_path_factory.mktemp("written") / "model.h5"
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(found.python), "-c", WRITE, str(file)]
    subprocess.run(command, check=True, timeout=600, capture_output=True, env=environment)
    return {"keras_file": str(file), "python": python, "requirements": requirements}


@pytest.mark.slow
def test_the_model_is_run_by_the_tensorflow_that_wrote_it(table):
    right = lockstep.verify(table, lockstep.keras(rewritten), X)
    assert str(right.verdict) == "equivalent", str(right)
    assert right.environments["reference"]["tensorflow"] == table["requirements"][0].partition("==")[2]
    found = {step.name: str(step.verdict) for step in right.steps}
    assert found["training-random"] == found["gradients"] == "equivalent"
    said = next(step.summary for step in right.steps if step.name == "inference-random")
    assert "the reference is a file: both sides run from the reference's values" in said
    wrong = lockstep.verify(table, lockstep.keras(lambda: rewritten(0.2)), X, steps=("inference-fixed",))
    assert str(wrong.verdict) == "diverged"
    assert "0.3" in " ".join(str(culprit.cause) for culprit in wrong.culprits)


@pytest.mark.parametrize("kind", ["saved_model", "frozen_graph", "meta_graph"])
def test_a_graph_is_imported_by_this_process(tmp_path, kind):
    side = {kind: "model", "python": "3.10", "requirements": ["tensorflow==2.10.1"]}
    with pytest.raises(InputError, match="a graph is imported by this process's TensorFlow"):
        lockstep.verify(side, lockstep.keras(rewritten), X)


def test_a_file_in_an_environment_of_its_own_is_the_reference(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"a model")
    side = {"keras_file": str(tmp_path / "model.h5"), "python": "3.10", "requirements": ["tensorflow==2.10.1"]}
    with pytest.raises(InputError, match="so it is the reference"):
        lockstep.verify(lockstep.keras(rewritten), side, X)


def test_what_keras_3_wrote_needs_no_environment(tmp_path):
    rewritten(gates="sigmoid").save(tmp_path / "model.keras")
    side = {"keras_file": str(tmp_path / "model.keras"), "python": "3.10", "requirements": ["tensorflow==2.10.1"]}
    with pytest.raises(InputError, match="written by Keras 3, which loads it in this process"):
        lockstep.verify(side, lockstep.keras(rewritten), X)
